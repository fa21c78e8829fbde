"""Room on the disk for the last version of a small file, taken while there still is some."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from runkit.archive.hashing import write_whole
from runkit.archive.writing import TEMPORARY_SUFFIX, sync_folder, write_atomically

_BYTES = 64 << 10


class ReservedRoom:
    """A file with nothing in it that becomes *path* when its last version is known.

    What is written goes into blocks that the file has already, and a rename needs none: no other program can
    take the room between letting it go and writing.
    """

    def __init__(self, path: Path, *, num_bytes: int = 0) -> None:
        """Take room for *num_bytes* and some more.

        Raises:
            OSError: There is none.
        """
        self._path = path
        self._file = path.with_name(f".{path.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
        self._descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            os.posix_fallocate(self._descriptor, 0, num_bytes + _BYTES)
        except OSError:
            self.release()
            raise

    def write(self, content: str) -> None:
        """Write the last version of the file.

        Raises:
            StorageFailed: The disk refused that too; *path* is as it was.
        """
        try:
            write_whole(self._descriptor, content.encode())
            os.ftruncate(self._descriptor, len(content.encode()))
            os.fsync(self._descriptor)
            self._file.replace(self._path)
        except OSError:
            self.release()
            write_atomically(self._path, content)
            return
        os.close(self._descriptor)
        with suppress(OSError):
            sync_folder(self._path.parent)

    def release(self) -> None:
        """Give the room back."""
        with suppress(OSError):
            os.close(self._descriptor)
        with suppress(OSError):
            self._file.unlink(missing_ok=True)
