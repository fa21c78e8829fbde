"""Lines of JSON at the end of one file that many processes write: each line whole, or none.

A line is one write to the end of the file under a lock. Who is killed in it leaves at most a torn last
line, and the next writer begins a new one. The file is opened for each call: so nothing is shared with
the processes that a program forks, and threads wait for each other at the same lock.
"""

from __future__ import annotations

import _thread
import errno
import json
import os
import re
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from runkit.recording.warning import warn_once

TYPE_CHECKING = False  # typing takes longer to load than all the rest; checkers know this name
if TYPE_CHECKING:
    from typing import Any

try:
    import fcntl
except ImportError:  # a system without file locks; short lines at the end of a file stay whole there too
    fcntl = None  # type: ignore[assignment]

FILE_NAME = "measurements.jsonl"
FOLDER_VARIABLE = "RUNKIT_RUN_DIRECTORY"
"""The run directory, as `runkit run` tells it; without it, one is made and told to all children."""

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT
for _name in ("O_CLOEXEC", "O_NONBLOCK", "O_NOCTTY", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)  # a pipe in the file's place is refused, not waited for
_PATIENCE_SECONDS = 5.0
"""So long a process waits for one that was stopped while it held the lock."""
_patience_seconds = _PATIENCE_SECONDS
_LONGEST_STEM = 60
_choosing = _thread.allocate_lock()


def write_lines(lines: Iterable[Mapping[str, Any]]) -> None:
    """Write *lines*, each with the time, the rank and the process; what cannot be written is told once."""
    head = {"at": _now(), "rank": _rank(), "pid": os.getpid()}
    path = FILE_NAME
    try:
        path = os.path.join(_folder(), FILE_NAME)
        with _opened(path) as descriptor:
            for line in lines:
                _append(descriptor, _encoded({"kind": line["kind"], **head, **line}))
    except (OSError, ValueError) as error:
        because = getattr(error, "strerror", None) or error
        warn_once("lines", f"NOT RECORDED: {path}: {because}; the program goes on")


def _encoded(line: Mapping[str, Any]) -> bytes:
    try:
        text = json.dumps(line, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # half of a surrogate pair
        return json.dumps(line, allow_nan=False, separators=(",", ":")).encode() + b"\n"


@contextmanager
def _opened(path: str) -> Iterator[int]:
    try:
        descriptor = os.open(path, _FLAGS, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, _FLAGS, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        yield descriptor
    finally:
        os.close(descriptor)


def _append(descriptor: int, line: bytes) -> None:
    is_locked = _lock(descriptor)
    try:
        size = os.fstat(descriptor).st_size
        if size and not _ends_a_line(descriptor, size):
            line = b"\n" + line
        try:
            _write_whole(descriptor, line)
        except OSError:
            if is_locked:  # no one else has written since
                with suppress(OSError):
                    os.ftruncate(descriptor, size)
            raise
    finally:
        if is_locked:
            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _write_whole(descriptor: int, line: bytes) -> None:
    """Write *line* with one call; a second one is needed only where a disk is nearly full."""
    rest = line
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _ends_a_line(descriptor: int, size: int) -> bool:
    if hasattr(os, "pread"):
        return os.pread(descriptor, 1, size - 1) == b"\n"
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) == b"\n"


def _lock(descriptor: int) -> bool:
    global _patience_seconds  # one wait for a lock that is never given back, not one a call
    if fcntl is None:
        return False
    end = time.monotonic() + _patience_seconds
    pause = 0.0005
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                _patience_seconds = 0.0
                return False
            time.sleep(pause)
            pause = min(2 * pause, 0.02)
        except OSError:  # a file system without locks
            return False
        else:
            _patience_seconds = _PATIENCE_SECONDS
            return True


def _now() -> str:
    seconds = time.time()
    local = time.localtime(seconds)
    sign, offset = ("-" if local.tm_gmtoff < 0 else "+"), abs(local.tm_gmtoff) // 60
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', local)}{sign}{offset // 60:02d}:{offset % 60:02d}"


def _rank() -> int | None:
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        value = os.environ.get(name, "")
        if value.isascii() and value.isdigit() and len(value) < 10:
            return int(value)
    return None


def _folder() -> str:
    told = os.environ.get(FOLDER_VARIABLE)
    if told:
        return told
    _choosing.acquire(timeout=_PATIENCE_SECONDS)  # a process that was forked meanwhile is not released by it
    try:
        told = os.environ.get(FOLDER_VARIABLE) or _shared_by_ranks() or _new_folder()
        os.environ[FOLDER_VARIABLE] = told
        return told
    finally:
        with suppress(RuntimeError):
            _choosing.release()


def _new_folder() -> str:
    wished = os.path.join(os.path.abspath("runs"), f"{_stem()}_{time.strftime('%Y%m%d_%H%M%S')}")
    os.makedirs(os.path.dirname(wished), exist_ok=True)
    for number in range(1, 100_000):
        folder = wished if number == 1 else f"{wished}_{number}"
        with suppress(FileExistsError):
            os.mkdir(folder)
            return folder
    raise OSError(errno.EEXIST, "there are too many runs of this second", wished)


def _shared_by_ranks() -> str | None:
    """Return the folder of a program that a launcher started several times, the same in each; else None."""
    environment = os.environ
    if environment.get("SLURM_STEP_ID") and environment.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        launch = f"job{environment.get('SLURM_JOB_ID', '')}_{environment['SLURM_STEP_ID']}"
    elif environment.get("RANK") and environment.get("WORLD_SIZE", "1") != "1":
        launch = f"launch{os.getppid()}_{_start_of(os.getppid())}"
    else:
        return None
    name = f"{_stem()}_{re.sub(r'[^A-Za-z0-9_]+', '_', launch)}"
    return os.path.join(os.path.abspath("runs"), name)


def _start_of(pid: int) -> str:
    """Return when *pid* started, in ticks since the machine did: a number may be used for another later."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return "0"


def _stem() -> str:
    name = os.path.splitext(os.path.basename(sys.argv[0] if sys.argv else ""))[0]
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:_LONGEST_STEM] or "run"
