"""Opening files that others put there: only regular ones, without waiting for a writer, and not endlessly."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MANIFEST_LIMIT_BYTES = 32 << 20
"""A manifest of a hundred thousand files has fewer."""
SPECIFICATION_LIMIT_BYTES = 1 << 20
"""Of what a person writes: notes, table specifications."""
OUTCOMES_LIMIT_BYTES = 64 << 20
"""Of compressed outcomes: those of a hundred evaluations of a thousand items have a hundredth."""
DOCUMENT_LIMIT_BYTES = 64 << 20
"""Of a document that is audited, and of what tables and READMEs are compared with."""

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""A named pipe is opened at once and then refused, where waiting for its writer could take for ever."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: str | Path, *, folder: int | None = None, follow: bool = True) -> int:
    """Return a descriptor of the regular file at *path*.

    Args:
        folder: Descriptor of the folder that *path* is relative to.
        follow: Whether a link to a regular file is one.
    Raises:
        OSError: There is none, or what is there is no regular file; its ``strerror`` says which.
    """
    flags = _FLAGS if follow else _FLAGS | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ENXIO:  # what opening a socket answers
            raise OSError(errno.ENXIO, "it is a socket, no regular file", str(path)) from error
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = next((name for test, name in _KINDS if test(mode)), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, no regular file", str(path))
    return descriptor


def opened_regular(path: Path, *, follow: bool = True) -> BinaryIO:
    """Return the regular file at *path* for reading; errors as in :func:`open_regular`."""
    return os.fdopen(open_regular(path, follow=follow), "rb", buffering=0)


def read_regular(path: Path, *, limit: int, follow: bool = True) -> bytes:
    """Return the bytes of the regular file at *path*.

    Raises:
        OSError: As in :func:`open_regular`; or it has more than *limit* bytes, of which none was read.
    """
    with opened_regular(path, follow=follow) as file:
        check_size(os.fstat(file.fileno()).st_size, limit, str(path))
        content = bytearray()
        while chunk := file.read(limit + 1 - len(content)):
            content += chunk
            check_size(len(content), limit, str(path))
        return bytes(content)


def check_size(size_bytes: int, limit: int, path: str) -> None:
    """Raise an OSError when a file has more than *limit* bytes."""
    if size_bytes > limit:
        said = f"it has {size_bytes:,} bytes, at most {limit:,} are read"
        raise OSError(errno.EFBIG, said, path)
