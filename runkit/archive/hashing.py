"""SHA-256 of files, and copies that are hashed on the way."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import BinaryIO, NamedTuple

from runkit.archive.opening import opened_regular

_CHUNK_BYTES = 1 << 20


class FileDigest(NamedTuple):
    """What a file's bytes are."""

    sha256: str
    size_bytes: int


def file_digest(path: Path, *, num_bytes: int | None = None) -> FileDigest:
    """Return digest and size of the file at *path*, or of its first *num_bytes*."""
    digest = hashlib.sha256()
    size_bytes = 0
    with opened_regular(path) as source:
        while chunk := source.read(_next_chunk(size_bytes, num_bytes)):
            digest.update(chunk)
            size_bytes += len(chunk)
    return FileDigest(digest.hexdigest(), size_bytes)


def copy_hashed(source: Path, target: Path, *, num_bytes: int | None = None) -> FileDigest:
    """Copy *source*, or its first *num_bytes*, to the new file *target*, and return what was written.

    Bytes are read once. They are not yet durable: see :func:`runkit.archive.writing.sync_file`.

    Raises:
        FileExistsError: *target* exists.
        OSError: As reading and writing raise it; *target* may then be incomplete.
    """
    with opened_regular(source) as reader:
        return write_hashed(reader, target, num_bytes=num_bytes)


def write_hashed(
    reader: BinaryIO | io.RawIOBase, target: Path, *, num_bytes: int | None = None
) -> FileDigest:
    """Write what *reader* gives to the new file *target*; otherwise as :func:`copy_hashed`."""
    digest = hashlib.sha256()
    size_bytes = 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        while chunk := reader.read(_next_chunk(size_bytes, num_bytes)):
            digest.update(chunk)
            write_whole(descriptor, chunk)
            size_bytes += len(chunk)
    finally:
        os.close(descriptor)
    return FileDigest(digest.hexdigest(), size_bytes)


def write_whole(descriptor: int, content: bytes) -> None:
    """Write all of *content*; the system may take it in several parts."""
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def _next_chunk(size_bytes: int, num_bytes: int | None) -> int:
    return _CHUNK_BYTES if num_bytes is None else min(_CHUNK_BYTES, num_bytes - size_bytes)
