"""An archive behind a URL that fsspec understands: S3, another folder, memory, SFTP.

The layout is contents by digest and manifests by name, so that runs share equal files::

    URL/objects/<aa>/<sha256>
    URL/manifests/<run_id>.outcomes.parquet
    URL/manifests/<run_id>.json             the last to be written
"""

from __future__ import annotations

import hashlib
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from runkit.archive.opening import OUTCOMES_LIMIT_BYTES
from runkit.archive.processes import boot_id, identity_of, own_identity
from runkit.archive.workspace import checked_run_id, is_run_id
from runkit.errors import RunkitError, RunUnreadable, StorageFailed, UsageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_WHOLE_OR_NOT = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "az", "memory"})
"""Protocols whose files appear whole or not at all; elsewhere a file gets its name when it is complete."""


_LEFTOVER = re.compile(
    r"^\..+\.(?P<machine>[0-9a-f]{16})-(?P<pid>[0-9]{1,10})-(?P<ticks>[0-9]{1,20})\.[0-9a-f]{32}\.tmp$",
    re.DOTALL,
)
"""The name of a file that is not whole yet: who writes it."""


class RemoteArchive:
    """What lies behind one URL."""

    def __init__(self, url: str) -> None:
        """Open *url*; nothing is written yet.

        Raises:
            UsageError: There is no such protocol, or the package for it is not installed.
        """
        self.url = url.rstrip("/")
        self._fs, self._root = _opened(self.url)
        self._tidied: set[str] = set()

    def run_ids(self) -> tuple[str, ...]:
        """Return the ids of all runs that have a manifest there, sorted."""
        with self._told("manifests"):
            self._fs.invalidate_cache()
            if not self._fs.isdir(f"{self._root}/manifests"):
                return ()
            names = [str(found).rpartition("/")[2] for found in self._fs.ls(f"{self._root}/manifests", False)]
        ids = (name[:-5] for name in names if name.endswith(".json"))
        return tuple(sorted(run_id for run_id in ids if is_run_id(run_id)))

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
            # No more than can be meant is asked for, whatever lies there.
            content = bytes(self._fs.cat_file(f"{self._root}/{place}", start=0, end=OUTCOMES_LIMIT_BYTES + 1))
        if len(content) > OUTCOMES_LIMIT_BYTES:
            raise RunUnreadable(
                f"{self.url}/{place} has more than {OUTCOMES_LIMIT_BYTES:,} bytes; nothing was taken"
            )
        return content

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
        self._remove_leftovers(folder)
        aside = f"{folder}/.{name}.{_writer()}.{uuid.uuid4().hex}.tmp"
        try:
            write(aside)
            self._fs.mv(aside, target)
        except BaseException:
            with suppress(Exception):  # what was refused is told, and not what that leaves behind
                self._fs.rm_file(aside)
            raise

    def _remove_leftovers(self, folder: str) -> None:
        """Remove from *folder* what processes of this machine were writing when they were killed."""
        if folder in self._tidied:
            return
        self._tidied.add(folder)
        for found in self._fs.ls(folder, False):
            match = _LEFTOVER.search(str(found).rpartition("/")[2])
            if match is not None and _is_dead(match):
                self._fs.rm_file(str(found))

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


def _writer() -> str:
    own = own_identity()
    return f"{_machine()}-{own.pid}-{own.started_ticks}"


def _machine() -> str:
    """Return what names this machine since it was started, and says nothing of it."""
    return hashlib.sha256(f"{socket.gethostname()}\0{boot_id()}".encode()).hexdigest()[:16]


def _is_dead(leftover: re.Match[str]) -> bool:
    """Return whether the writer of *leftover* is known to be gone: it was a process of this machine."""
    if leftover["machine"] != _machine():
        return False
    writer = identity_of(int(leftover["pid"]))
    return writer is None or str(writer.started_ticks) != leftover["ticks"]


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
