"""Writing that is all or nothing: a reader sees the old file or the new one, never a part."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from runkit.errors import AlreadyExists, StorageFailed


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write *content* to *path*, replacing what is there in one step.

    The text goes to a temporary file in the same folder, to the disk, and is then renamed.

    Raises:
        StorageFailed: The disk refused; *path* is as it was.
    """
    temporary = _written_temporary(path, content)
    try:
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _refused(path, error) from error
    sync_folder(path.parent)


def publish_new(path: Path, content: str | bytes) -> None:
    """Write *content* to *path*, which must not exist; of two writers exactly one succeeds.

    Raises:
        AlreadyExists: *path* exists; it is not touched.
        StorageFailed: The disk refused; *path* does not exist.
    """
    temporary = _written_temporary(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise AlreadyExists(f"{path} exists already and is never overwritten") from error
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush *folder*'s entries to the disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _written_temporary(path: Path, content: str | bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _refused(path, error) from error
    return temporary


def _refused(path: Path, error: OSError) -> StorageFailed:
    return StorageFailed(f"cannot write {path}: {error.strerror or error}; nothing was left behind")
