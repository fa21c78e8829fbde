"""Locks between processes that change one file: the second one waits, then reads what the first one wrote.

The system frees a lock when its process dies, however it dies. Readers take none: files are replaced whole.
A lock is an empty looking file beside what it guards, since network file systems lock no folder; it goes
when the lock is given back, and one that a killed process left is taken over.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from runkit.archive.writing import make_folder
from runkit.errors import StorageFailed

Tell = Callable[[str], None]
"""Takes one sentence for the person who waits."""

_LOOK_EVERY_SECONDS = 0.02
_TELL_AFTER_SECONDS = 5.0
_GIVE_UP_AFTER_SECONDS = 600.0
_HOLDER = re.compile(r"process ([0-9]{1,10}) on ([A-Za-z0-9._-]{1,64})\n")


def say_nothing(_sentence: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Lock:
    """A lock file that is open in this process."""

    path: Path
    descriptor: int
    is_held: bool
    """False on a file system without locks, where it keeps nobody out."""

    def release(self) -> None:
        """Give the lock back, and take its file away."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


def lock_now(path: Path) -> Lock:
    """Take the lock at *path*.

    Raises:
        BlockingIOError: Another process holds it.
        StorageFailed: Its file cannot be made.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StorageFailed(f"cannot write to {path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        except OSError:
            return Lock(path, descriptor, is_held=False)
        if _is_still_at(path, descriptor):
            return Lock(path, descriptor, is_held=True)
        os.close(descriptor)  # its last holder removed the file between our two calls


@contextmanager
def changing(what: Path, *, tell: Tell = say_nothing) -> Iterator[None]:
    """Hold the right to change *what*, a file; read it again inside the block.

    Args:
        tell: Is told who is waited for, once that takes long, and when the file system has no locks.
    Raises:
        StorageFailed: The folder cannot be written, or another process holds the lock for ever.
    """
    try:
        make_folder(what.parent)
    except OSError as error:
        raise StorageFailed(f"cannot write to {what.parent}: {error.strerror}") from error
    # No run can be called so, and the lock of a run that is being preserved is another one.
    lock = _lock_when_free(what.with_name(f".@{what.name}.lock"), what, tell)
    try:
        if lock.is_held:
            _sign(lock.descriptor)
        else:
            tell(
                f"{what.parent} lies on a file system without locks: a change of {what.name} that another "
                "process makes at this moment may be lost"
            )
        yield
    finally:
        lock.release()


def waiting_for(take: Callable[[], bool], *, who: Callable[[], str], what: Path, tell: Tell) -> None:
    """Return once *take* says that it has what it is for.

    Args:
        who: Names the process that has it.
    Raises:
        StorageFailed: It did not say so in a long time.
    """
    started = time.monotonic()
    is_told = False
    while not take():
        waited = time.monotonic() - started
        if waited >= _GIVE_UP_AFTER_SECONDS:
            raise StorageFailed(
                f"{what} is held by {who()} for {waited:.0f} seconds; nothing was changed: wait for that "
                "process or stop it, then try again"
            )
        if waited >= _TELL_AFTER_SECONDS and not is_told:
            tell(f"waiting for {who()}, which is changing {what}")
            is_told = True
        time.sleep(_LOOK_EVERY_SECONDS)


def _lock_when_free(path: Path, what: Path, tell: Tell) -> Lock:
    taken: list[Lock] = []

    def take() -> bool:
        with suppress(BlockingIOError):
            taken.append(lock_now(path))
        return bool(taken)

    waiting_for(take, who=lambda: _holder(path), what=what, tell=tell)
    return taken[0]


def _sign(descriptor: int) -> None:
    """Write into the lock who holds it, as a courtesy to those who wait."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())


def _holder(path: Path) -> str:
    """Return who holds the lock at *path*, by what it wrote there; no word of it is believed otherwise."""
    try:
        with path.open("rb") as file:
            said = _HOLDER.fullmatch(file.read(128).decode("ascii", "replace"))
    except OSError:
        said = None
    return f"process {said[1]} on {said[2]}" if said is not None else "another process"


def _is_still_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
