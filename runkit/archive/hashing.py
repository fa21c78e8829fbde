"""SHA-256 of files, and copies that are hashed on the way."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

_CHUNK_BYTES = 1 << 20


class FileDigest(NamedTuple):
    """What a file's bytes are."""

    sha256: str
    size_bytes: int


def file_digest(path: Path) -> FileDigest:
    """Return digest and size of the file at *path*."""
    digest = hashlib.sha256()
    size_bytes = 0
    with path.open("rb", buffering=0) as source:
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
    return FileDigest(digest.hexdigest(), size_bytes)


def copy_hashed(source: Path, target: Path) -> FileDigest:
    """Copy the bytes of *source* to the new file *target*, durably, and return what was written.

    Bytes are read once. The target is flushed to the disk before this returns.

    Raises:
        FileExistsError: *target* exists.
        OSError: As reading and writing raise it; *target* may then be incomplete.
    """
    digest = hashlib.sha256()
    size_bytes = 0
    with source.open("rb", buffering=0) as reader, target.open("xb") as writer:
        while chunk := reader.read(_CHUNK_BYTES):
            digest.update(chunk)
            writer.write(chunk)
            size_bytes += len(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    return FileDigest(digest.hexdigest(), size_bytes)
