"""An archive behind a URL that fsspec understands: S3, another folder, memory, SFTP.

The layout is contents by digest and manifests by name, so that runs share equal files::

    URL/objects/<aa>/<sha256>
    URL/manifests/<run_id>.outcomes.parquet
    URL/manifests/<run_id>.json             the last to be written
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from runkit.archive.workspace import checked_run_id
from runkit.errors import RunkitError, StorageFailed, UsageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_WHOLE_OR_NOT = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "az", "memory"})
"""Protocols whose files appear whole or not at all; elsewhere a file gets its name when it is complete."""


class RemoteArchive:
    """What lies behind one URL."""

    def __init__(self, url: str) -> None:
        """Open *url*; nothing is written yet.

        Raises:
            UsageError: There is no such protocol, or the package for it is not installed.
        """
        self.url = url.rstrip("/")
        self._fs, self._root = _opened(self.url)

    def run_ids(self) -> tuple[str, ...]:
        """Return the ids of all runs that have a manifest there, sorted."""
        with self._told("manifests"):
            self._fs.invalidate_cache()
            if not self._fs.isdir(f"{self._root}/manifests"):
                return ()
            names = [str(found).rpartition("/")[2] for found in self._fs.ls(f"{self._root}/manifests", False)]
        return tuple(sorted(checked_run_id(name[:-5]) for name in names if name.endswith(".json")))

    def manifest(self, run_id: str) -> bytes:
        """Return a run's manifest."""
        return self._read(f"manifests/{checked_run_id(run_id)}.json")

    def outcomes(self, run_id: str) -> bytes:
        """Return a run's per-sample outcomes."""
        return self._read(f"manifests/{checked_run_id(run_id)}.outcomes.parquet")

    def manifest_if_any(self, run_id: str) -> bytes | None:
        """Return a run's manifest as it is there now, or None when there is none."""
        place = f"manifests/{checked_run_id(run_id)}.json"
        with self._told(place):
            self._fs.invalidate_cache()
            try:
                return bytes(self._fs.cat_file(f"{self._root}/{place}"))
            except FileNotFoundError:
                return None

    def put_manifest(self, run_id: str, text: bytes) -> None:
        """Write a run's manifest, the last step of all."""
        self._write(f"manifests/{checked_run_id(run_id)}.json", text)

    def put_outcomes(self, run_id: str, content: bytes) -> None:
        """Write a run's per-sample outcomes."""
        self._write(f"manifests/{checked_run_id(run_id)}.outcomes.parquet", content)

    def has_object(self, sha256: str, size_bytes: int) -> bool:
        """Return whether contents of this digest and size are there; their bytes are not read."""
        place = _object(sha256)
        with self._told(place):
            try:
                found: Any = self._fs.info(f"{self._root}/{place}")
            except FileNotFoundError:
                return False
            return bool(found.get("size") == size_bytes)

    def put_object(self, path: Path, sha256: str, size_bytes: int) -> None:
        """Upload the file at *path*, whose digest is *sha256*.

        Raises:
            StorageFailed: The other side refused, or has another number of bytes afterwards.
        """
        place = _object(sha256)
        with self._told(place):
            self._put(place, lambda target: self._fs.put_file(str(path), target))
            self._fs.invalidate_cache()
        if not self.has_object(sha256, size_bytes):
            raise StorageFailed(f"{self.url}/{place} does not have {size_bytes} bytes after it was written")

    @contextmanager
    def opened_object(self, sha256: str) -> Iterator[BinaryIO]:
        """Provide the contents of this digest for reading."""
        place = _object(sha256)
        with self._told(place), self._fs.open(f"{self._root}/{place}", "rb") as file:
            yield cast("BinaryIO", file)

    def _read(self, place: str) -> bytes:
        with self._told(place):
            return bytes(self._fs.cat_file(f"{self._root}/{place}"))

    def _write(self, place: str, content: bytes) -> None:
        with self._told(place):
            self._put(place, lambda target: self._fs.pipe_file(target, content))
            self._fs.invalidate_cache()

    def _put(self, place: str, write: Any) -> None:
        target = f"{self._root}/{place}"
        self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        if self._protocols() & _WHOLE_OR_NOT:
            write(target)
            return
        folder, _slash, name = target.rpartition("/")
        aside = f"{folder}/.{name}.{uuid.uuid4().hex}.tmp"
        write(aside)
        self._fs.mv(aside, target)

    def _protocols(self) -> set[str]:
        protocol = self._fs.protocol
        return {protocol} if isinstance(protocol, str) else set(protocol)

    @contextmanager
    def _told(self, place: str) -> Iterator[None]:
        try:
            yield
        except RunkitError:
            raise
        except Exception as error:  # the drivers of others raise what they like
            said = str(error) or type(error).__name__
            raise StorageFailed(f"{self.url}/{place}: {' '.join(said.split())}") from error


def is_remote(text: str) -> bool:
    """Return whether *text* is a URL, and no path.

    >>> is_remote("s3://bucket/runs"), is_remote("memory://x"), is_remote("runs.tar.zst")
    (True, True, False)
    """
    return "://" in text


def _object(sha256: str) -> str:
    return f"objects/{sha256[:2]}/{sha256}"


def _opened(url: str) -> tuple[AbstractFileSystem, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise UsageError(f"{url} needs fsspec; install it with `pip install 'runkit[remote]'`") from error
    if not is_remote(url):
        raise UsageError(f"{url!r} is no URL; write for example s3://bucket/folder or file:///folder")
    try:
        fs, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UsageError(f"{url} cannot be opened: {error}") from error
    return fs, str(root).rstrip("/")
