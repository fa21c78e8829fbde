"""SHA-256 of files, and copies that are hashed on the way."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from runkit.archive.opening import opened_regular

_CHUNK_BYTES = 1 << 20
_ZEROS = memoryview(bytes(_CHUNK_BYTES))
_BYTES_A_BLOCK = 512
"""The unit in which the system counts what a file takes, on every file system."""


class FileDigest(NamedTuple):
    """What a file's bytes are."""

    sha256: str
    size_bytes: int


def file_digest(path: Path, *, num_bytes: int | None = None) -> FileDigest:
    """Return digest and size of the file at *path*, or of its first *num_bytes*."""
    digest = hashlib.sha256()
    size_bytes = 0
    with opened_regular(path) as source:
        for part in _parts(source, num_bytes):
            digest.update(part.content)
            size_bytes += len(part.content)
    return FileDigest(digest.hexdigest(), size_bytes)


def copy_hashed(source: Path, target: Path, *, num_bytes: int | None = None) -> FileDigest:
    """Copy *source*, or its first *num_bytes*, to the new file *target*, and return what was written.

    Bytes are read once, and where *source* has a hole, *target* has one: a file that takes no room takes none
    in the archive. They are not yet durable: see :func:`runkit.archive.writing.sync_file`.

    Raises:
        FileExistsError: *target* exists.
        OSError: As reading and writing raise it; *target* may then be incomplete.
    """
    with opened_regular(source) as reader:
        return _write_parts(_parts(reader, num_bytes), target)


def write_hashed(
    reader: BinaryIO | io.RawIOBase, target: Path, *, num_bytes: int | None = None
) -> FileDigest:
    """Write what *reader* gives to the new file *target*; otherwise as :func:`copy_hashed`."""
    return _write_parts(_chunks(reader, num_bytes), target)


class _Part(NamedTuple):
    """Some bytes of a file, one after the other."""

    content: bytes | memoryview
    is_hole: bool = False
    """Whether the disk has nothing there, and all of them are zero."""


def _write_parts(parts: Iterator[_Part], target: Path) -> FileDigest:
    digest = hashlib.sha256()
    size_bytes = 0
    ends_in_hole = False
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        for part in parts:
            digest.update(part.content)
            if part.is_hole:
                os.lseek(descriptor, len(part.content), os.SEEK_CUR)
            else:
                write_whole(descriptor, part.content)
            size_bytes += len(part.content)
            ends_in_hole = part.is_hole
    finally:
        os.close(descriptor)
    if ends_in_hole:
        os.truncate(target, size_bytes)
    return FileDigest(digest.hexdigest(), size_bytes)


def _parts(source: BinaryIO, num_bytes: int | None) -> Iterator[_Part]:
    """Return the bytes of the file *source*; its holes are not read."""
    found = os.fstat(source.fileno())
    if found.st_blocks * _BYTES_A_BLOCK >= found.st_size:
        return _chunks(source, num_bytes)
    size_bytes = found.st_size if num_bytes is None else min(found.st_size, num_bytes)
    return _parts_with_holes(source, size_bytes)


def _parts_with_holes(source: BinaryIO, size_bytes: int) -> Iterator[_Part]:
    at = 0
    while at < size_bytes:
        start = _next_place(source, at, os.SEEK_DATA, size_bytes)
        for length in _lengths(start - at):
            yield _Part(_ZEROS[:length], is_hole=True)
        end = _next_place(source, start, os.SEEK_HOLE, size_bytes)
        source.seek(start)
        while start < end:
            chunk = source.read(min(_CHUNK_BYTES, end - start))
            if not chunk:
                return  # the file became shorter
            yield _Part(chunk)
            start += len(chunk)
        at = end


def _next_place(source: BinaryIO, at: int, whence: int, size_bytes: int) -> int:
    """Return where the next bytes begin, or the next hole."""
    if at >= size_bytes:
        return size_bytes
    try:
        return min(os.lseek(source.fileno(), at, whence), size_bytes)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a hole up to the end
            return size_bytes
        if error.errno == errno.EINVAL:  # a file system that does not tell
            return at if whence == os.SEEK_DATA else size_bytes
        raise


def _lengths(num_bytes: int) -> Iterator[int]:
    while num_bytes > 0:
        yield min(num_bytes, _CHUNK_BYTES)
        num_bytes -= _CHUNK_BYTES


def _chunks(reader: BinaryIO | io.RawIOBase, num_bytes: int | None) -> Iterator[_Part]:
    size_bytes = 0
    while chunk := reader.read(_next_chunk(size_bytes, num_bytes)):
        yield _Part(chunk)
        size_bytes += len(chunk)


def write_whole(descriptor: int, content: bytes | memoryview) -> None:
    """Write all of *content*; the system may take it in several parts."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def _next_chunk(size_bytes: int, num_bytes: int | None) -> int:
    return _CHUNK_BYTES if num_bytes is None else min(_CHUNK_BYTES, num_bytes - size_bytes)
