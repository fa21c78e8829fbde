"""Writing that is all or nothing: a reader sees the old file or the new one, never a part.

Every change goes through a function of :mod:`os` that is one system call, so that a test can let each of
them fail or be the last thing that the process did.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from runkit.archive.hashing import write_whole
from runkit.errors import AlreadyExists, StorageFailed

TEMPORARY_SUFFIX = ".tmp"

NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What a file system answers that cannot make a hard link, or no further one to this file."""

_SYNC_THREADS = 16
"""Waiting threads, not working ones: a journal commits the files of all that wait at once."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write *content* to *path*, replacing what is there in one step.

    The text goes to a temporary file in the same folder, to the disk, and is then renamed.

    Raises:
        StorageFailed: The disk refused; *path* is as it was, unless the message says that it is written.
    """
    temporary = _written_temporary(path, content)
    try:
        os.replace(temporary, path)
    except OSError as error:
        _remove(temporary)
        raise _refused(path, error) from error
    try:
        sync_folder(path.parent)
    except OSError as error:
        raise StorageFailed(
            f"{path} is written, but the disk does not confirm it: {error.strerror or error}"
        ) from error


def publish_new(path: Path, content: str | bytes) -> None:
    """Write *content* to *path*, which must not exist; of two writers exactly one succeeds.

    Raises:
        AlreadyExists: *path* exists; it is not touched.
        StorageFailed: The disk refused; *path* does not exist.
    """
    temporary = _written_temporary(path, content)
    try:
        _link_new(temporary, path)
    except FileExistsError as error:
        raise AlreadyExists(f"{path} exists already and is never overwritten") from error
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        _remove(temporary)
    try:
        sync_folder(path.parent)
    except OSError as error:
        _remove(path)
        raise _refused(path, error) from error


def sync_folder(folder: Path) -> None:
    """Flush *folder*'s entries to the disk, so that a rename in it survives a power cut."""
    _sync(folder, os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Flush the bytes of *path* to the disk."""
    _sync(path, os.O_NOFOLLOW)


def sync_files(paths: Iterable[Path]) -> None:
    """Flush many files; the disk is asked for many at once, which is much faster than one by one."""
    waiting = list(paths)
    if len(waiting) < _SYNC_THREADS:
        for path in waiting:
            sync_file(path)
        return
    with ThreadPoolExecutor(_SYNC_THREADS) as pool:
        for _done in pool.map(sync_file, waiting):
            pass


def make_folder(folder: Path) -> None:
    """Create *folder* and its parents, durably; a folder that exists is left as it is."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def _link_new(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # Some file systems know no hard links. There the lock on the name stands alone between two writers.
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        os.replace(temporary, path)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _written_temporary(path: Path, content: str | bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        make_folder(path.parent)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            write_whole(descriptor, content.encode() if isinstance(content, str) else content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        _remove(temporary)
        raise _refused(path, error) from error
    return temporary


def _remove(path: Path) -> None:
    """Remove what is left over; where even that fails, `runkit gc` finds it."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _refused(path: Path, error: OSError) -> StorageFailed:
    return StorageFailed(f"cannot write {path}: {error.strerror or error}; nothing was left behind")
