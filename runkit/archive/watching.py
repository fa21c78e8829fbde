"""What lies in a run directory at one moment, and whether somebody is still writing it. Changes nothing.

What this does not see: a writer on another machine of a network file system, while it does not write.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from runkit.errors import RunUnreadable
from runkit.records.paths import trouble_of_path

_LOG_SUFFIXES = frozenset({".log", ".jsonl", ".txt", ".csv", ".tsv", ".out", ".err"})
"""Files that programs write line by line."""

_F_SETSIG = 10
"""Linux's number; :mod:`fcntl` names it only in newer Pythons."""


class FileState(NamedTuple):
    """What the system says of a file; equal states mean that nobody wrote in between."""

    size_bytes: int
    modified_ns: int
    inode: int
    device: int


@dataclass(frozen=True)
class LeftOut:
    """Something in a run directory that cannot be kept: no file of its own, or named as no archive can."""

    path: str
    why: str


@dataclass(frozen=True)
class RunListing:
    """All that lies below a run directory."""

    files: dict[str, FileState]
    """Path inside the run directory, forward slashes, to its state; sorted."""
    folders: tuple[str, ...]
    """Empty ones too; sorted."""
    left_out: tuple[LeftOut, ...]
    """Links, special files and what has a name that means another place on some systems; sorted."""

    def is_log(self, path: str) -> bool:
        """Return whether the file at *path* is written line by line, as its name says."""
        return _is_log(path)


def listing_of(run: Path) -> RunListing:
    """Return what lies below *run* now.

    Logs are looked at before other files: what a log speaks of is then there, since a program writes first
    and tells afterwards.

    Raises:
        RunUnreadable: A folder cannot be listed, or a name is not valid text.
    """
    files, folders, left_out = _entries(run)
    states: dict[str, FileState] = {}
    for inside in sorted(files, key=lambda one: not _is_log(one)):
        with suppress(FileNotFoundError):  # gone since the folder was listed, as a temporary file is
            states[inside] = state_of(files[inside].stat(follow_symlinks=False))
    return RunListing(dict(sorted(states.items())), tuple(sorted(folders)), tuple(left_out))


def state_of(found: os.stat_result) -> FileState:
    """Return the part of *found* that tells whether a file was written."""
    return FileState(found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev)


def is_being_trained(run: Path) -> bool:
    """Return whether a process holds the lock that ``runkit train`` takes on its run directory."""
    try:
        descriptor = os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no locks on this file system
    finally:
        os.close(descriptor)
    return False


def open_for_writing(run: Path, paths: Sequence[str]) -> tuple[str, ...]:
    """Return which of *paths* some process of this machine has open for writing."""
    return tuple(inside for inside in paths if _is_open_for_writing(f"{run}/{inside}"))


def _is_log(inside: str) -> bool:
    return os.path.splitext(inside)[1] in _LOG_SUFFIXES  # noqa: PTH122  # ten thousand times


def _is_open_for_writing(path: str) -> bool:
    """Ask for a read lease, which Linux refuses while a writer has the file open.

    File systems and owners that allow no leases say something else, which is taken for no.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # A writer that comes while the lease is held makes the kernel send a signal; this one is ignored.
        fcntl.fcntl(descriptor, _F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        os.close(descriptor)
    return False


def _entries(run: Path) -> tuple[dict[str, os.DirEntry[str]], list[str], list[LeftOut]]:
    files: dict[str, os.DirEntry[str]] = {}
    folders: list[str] = []
    left_out: list[LeftOut] = []
    waiting = [("", run)]
    while waiting:
        above, folder = waiting.pop()
        for entry in _listed(folder, run):
            inside = _checked_name(above + entry.name, run)
            if trouble := trouble_of_path(inside):
                left_out.append(LeftOut(inside, f"its name {trouble}; rename it to keep it"))
            elif entry.is_symlink():
                why = f"a link to {_target(entry)!r}; links are neither followed nor kept"
                left_out.append(LeftOut(inside, why))
            elif entry.is_dir():
                folders.append(inside)
                waiting.append((f"{inside}/", Path(entry.path)))
            elif entry.is_file():
                files[inside] = entry
            else:
                left_out.append(LeftOut(inside, f"{_kind(entry)}, which holds nothing that could be kept"))
    return files, folders, sorted(left_out, key=lambda one: one.path)


def _listed(folder: Path, run: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except FileNotFoundError:
        if folder == run:
            raise
        return []
    except OSError as error:
        raise RunUnreadable(f"{folder} cannot be listed: {error.strerror}; check its permissions") from error


def _checked_name(inside: str, run: Path) -> str:
    try:
        inside.encode()
    except UnicodeEncodeError as error:
        raise RunUnreadable(f"{inside!r} in {run} is not a valid UTF-8 name; rename the file") from error
    return inside


def _target(entry: os.DirEntry[str]) -> str:
    try:
        return os.fsencode(Path(entry.path).readlink()).decode(errors="replace")
    except OSError:
        return "an unknown place"


def _kind(entry: os.DirEntry[str]) -> str:
    mode = entry.stat(follow_symlinks=False).st_mode
    kinds = ((stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")
