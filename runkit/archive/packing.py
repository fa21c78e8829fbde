"""One file with whole runs, for publishing: a tar in a fixed order under zstd with a long window.

Unpacked with ``tar --zstd -xf`` it is a workspace. Equal runs give equal bytes with one version of zstd;
what is inside is sealed in any case.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from runkit.archive.opening import MANIFEST_LIMIT_BYTES, opened_regular
from runkit.archive.workspace import Workspace
from runkit.errors import RunUnreadable
from runkit.records.manifest import Artifact, Manifest

if TYPE_CHECKING:
    import zstandard

SUFFIX = ".tar.zst"

_LEVEL = 19
_WINDOW_LOG = 27
"""128 MiB: the largest window that ``zstd -d`` reads without being told to."""
_HEADER_LIMIT_BYTES = 1 << 20
"""Of what a tar says of one file before it, its name above all; tarfile keeps that in memory."""
_LEAST_LIMIT_BYTES = 1 << 30
_MOST_TIMES_ITS_SIZE = 1_000
_MODE = 0o644


class PackWriter:
    """Adds files to a pack, without owner, date or mode, so that equal files give equal bytes."""

    def __init__(self, stream: BinaryIO) -> None:
        self._tar = tarfile.TarFile.open(
            fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8"
        )

    def add(self, name: str, path: Path, *, size_bytes: int | None = None) -> None:
        """Add the file at *path* under *name*.

        Raises:
            RunUnreadable: It is a link, or does not have *size_bytes*.
        """
        if path.is_symlink():
            raise RunUnreadable(f"{path} is a link; expected the file itself")
        with path.open("rb") as file:
            found_bytes = path.stat().st_size
            if size_bytes not in (None, found_bytes):
                raise RunUnreadable(f"{path} has {found_bytes} bytes, the manifest says {size_bytes}")
            self._tar.addfile(_member(name, found_bytes), file)

    def close(self) -> None:
        """Write what ends a tar."""
        self._tar.close()


@contextmanager
def compressed(target: BinaryIO) -> Iterator[PackWriter]:
    """Provide a pack that is written to *target*."""
    import zstandard

    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, window_log=_WINDOW_LOG, enable_ldm=True, write_checksum=True
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    with compressor.stream_writer(target, closefd=False) as stream:
        writer = PackWriter(cast("BinaryIO", stream))
        try:
            yield writer
        except BaseException:
            with suppress(OSError):  # what is written now is thrown away
                writer.close()
            raise
        writer.close()


def manifest_name(run_id: str) -> str:
    """Return the name of a run's manifest in a pack, as in a workspace."""
    return f"manifests/{run_id}.json"


def outcomes_name(run_id: str) -> str:
    """Return the name of a run's outcomes in a pack, as in a workspace."""
    return f"manifests/{run_id}.outcomes.parquet"


def artifact_name(run_id: str, artifact: Artifact) -> str:
    """Return the name of one file of a run in a pack, as in a workspace."""
    return f"preserved_runs/{run_id}/{artifact.path}"


def add_run(pack: PackWriter, workspace: Workspace, manifest: Manifest) -> None:
    """Add one run: manifest, outcomes, files in the order of the manifest."""
    run_id = manifest.run_id
    pack.add(manifest_name(run_id), workspace.manifest_path(run_id))
    if manifest.sealed.outcomes is not None:
        pack.add(outcomes_name(run_id), workspace.outcomes_path(run_id))
    for artifact in manifest.sealed.artifacts:
        if artifact.is_here:
            path = workspace.preserved_path(run_id) / artifact.path
            pack.add(artifact_name(run_id, artifact), path, size_bytes=artifact.size_bytes)


class _PlainMember(tarfile.TarInfo):
    """A member of a pack: a regular file with all its bytes, after at most one longer name."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        plain = self.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
        if not plain and (self.type != tarfile.XHDTYPE or self.size > _HEADER_LIMIT_BYTES):
            raise tarfile.ReadError(f"a member of type {self.type!r} with {self.size} bytes is in it")
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        if member.issparse():
            raise tarfile.ReadError("a file with holes is in it")
        return member


def default_limit(path: Path) -> int:
    """Return how many bytes the pack at *path* may hold when nobody says: 1 GiB, or 1,000 times its size."""
    return max(_LEAST_LIMIT_BYTES, _MOST_TIMES_ITS_SIZE * path.stat().st_size)


class PackReader:
    """Reads a pack from front to back; knows no names but those that are asked for."""

    def __init__(self, tar: tarfile.TarFile, origin: Path, limit: int | None) -> None:
        self._tar = tar
        self._origin = origin
        self._limit = limit
        self._num_bytes = 0
        self._next = self._following()

    @property
    def next_name(self) -> str | None:
        """Name of the file that comes next; None at the end."""
        return self._next.name if self._next is not None else None

    @contextmanager
    def opened(self, name: str, *, size_bytes: int | None = None) -> Iterator[BinaryIO]:
        """Provide the file that comes next, which must be called *name*; nothing is unpacked before.

        Args:
            size_bytes: The size that it must have; None: any.
        Raises:
            RunUnreadable: Another one comes, the pack is torn, or it holds more than it may.
        """
        member = self._next
        if member is None or member.name != name or not member.isreg():
            found = f"{member.name!r}" if member is not None else "the end"
            raise RunUnreadable(f"{self._origin} is no whole pack: expected {name!r}, found {found}")
        if size_bytes not in (None, member.size):
            raise RunUnreadable(
                f"{self._origin}: {name!r} has {member.size} bytes, the manifest says {size_bytes}; "
                "nothing was taken"
            )
        self.expect(member.size)
        self._num_bytes += member.size
        with self._torn_is_told():
            file = self._tar.extractfile(member)
            if file is None:
                raise RunUnreadable(f"{self._origin}: {name!r} has no bytes")
            with file:
                yield cast("BinaryIO", file)
        self._next = self._following()

    def expect(self, num_bytes: int) -> None:
        """Refuse to go on when *num_bytes* more are more than the pack may hold.

        Raises:
            RunUnreadable: They are.
        """
        if self._limit is not None and self._num_bytes + num_bytes > self._limit:
            raise RunUnreadable(
                f"{self._origin} holds {self._num_bytes + num_bytes:,} bytes or more, and {self._limit:,} "
                "may be unpacked; if you trust it, allow more with --max-size"
            )

    def read(self, name: str, *, limit: int = MANIFEST_LIMIT_BYTES) -> bytes:
        """Return the bytes of the file that comes next, which must be called *name*."""
        if self._next is not None and self._next.size > limit:
            raise RunUnreadable(f"{self._origin}: {name!r} has {self._next.size} bytes, more than {limit}")
        with self.opened(name) as file:
            return file.read()

    def _following(self) -> tarfile.TarInfo | None:
        with self._torn_is_told():
            return self._tar.next()

    @contextmanager
    def _torn_is_told(self) -> Iterator[None]:
        import zstandard

        try:
            yield
        except (
            tarfile.TarError,
            EOFError,
            zstandard.ZstdError,
            UnicodeError,
            ValueError,
            RecursionError,
        ) as error:
            raise RunUnreadable(f"{self._origin} is no whole pack: {error}") from error


@contextmanager
def opened_pack(path: Path, *, limit: int | None = None) -> Iterator[PackReader]:
    """Provide the pack at *path* for reading.

    Args:
        limit: How many bytes it may hold; None: any number.
    Raises:
        RunUnreadable: There is no such file, or it is no pack.
    """
    import zstandard

    try:
        file = opened_regular(path)
    except OSError as error:
        raise RunUnreadable(f"{path} cannot be read: {error.strerror}") from error
    with file:
        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG)
        stream: zstandard.ZstdDecompressionReader = decompressor.stream_reader(file, closefd=False)
        try:
            tar = tarfile.TarFile.open(
                fileobj=cast("BinaryIO", stream),
                mode="r|",
                encoding="utf-8",
                errors="strict",
                tarinfo=_PlainMember,
            )
        except (tarfile.TarError, zstandard.ZstdError, EOFError, UnicodeError, RecursionError) as error:
            raise RunUnreadable(f"{path} is no pack: {error}; expected what `runkit pack` wrote") from error
        with tar:
            yield PackReader(tar, path, limit)


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size_bytes, _MODE, 0
    return member
