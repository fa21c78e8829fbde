"""A program that is run and watched: its output is kept and passed on, signals reach it, its end is seen."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from runkit.archive.clock import now
from runkit.archive.output_log import OutputLog
from runkit.archive.standby import Standby, standing_by
from runkit.records.capture import ASKED_TO_STOP, ProcessEnd

_PASSED_ON = (
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGXCPU,
)
"""Signals that people, shells and Slurm send to the wrapper and that are meant for the program."""
_OF_THE_KEYBOARD = frozenset({signal.SIGINT, signal.SIGQUIT})
_LINGER_SECONDS = 2.0
"""So long is waited for output after the program's end; then what it left behind is left behind."""
_PIPE_BYTES = 1 << 20


@dataclass(frozen=True)
class WatchedEnd:
    """How a program ended."""

    end: ProcessEnd
    at: str
    exit_status: int
    """What a shell would give."""


@dataclass
class _Signals:
    """The signals that came while a program ran."""

    child: subprocess.Popen[bytes] | None = None
    asked: list[str] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)

    def take(self, number: int, _frame: object) -> None:
        if signal.Signals(number).name in ASKED_TO_STOP:
            self.asked.append(signal.Signals(number).name)
        if number in _OF_THE_KEYBOARD and _is_in_foreground():
            return  # the terminal sent it to the program too
        if self.child is None:
            self.waiting.append(number)
            return
        with suppress(ProcessLookupError):
            self.child.send_signal(number)


def run_watched(
    program: str,
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: OutputLog | None,
    lock: int | None,
    output: BinaryIO,
    at_start: Callable[[int], None],
    tell: Callable[[str], None],
) -> WatchedEnd:
    """Run *program* and wait for it.

    Both of its outputs go into one pipe, so that their order is kept; what comes out goes to *log* and
    *output*. No trouble with either is the program's.

    Args:
        lock: Held on by what stands by if this process is killed.
        at_start: Is called with the number of the program's process, once.
        tell: Is told what the person should know at once.
    """
    reading, writing = os.pipe()
    with suppress(OSError):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    try:
        with _taking_signals() as signals:
            try:
                child = _started(program, argv, environment, writing)
            except (OSError, ValueError) as error:
                return _never_started(error)
            finally:
                os.close(writing)
            signals.child = child
            for number in signals.waiting:
                signals.take(number, None)
            standby = standing_by(reading, log=log.path, lock=lock) if log is not None else None
            at_start(child.pid)
            passing = _Passing(log, output, tell)
            ended_at, is_closed = _pumped(child, reading, passing, may_leave=standby is not None)
            _let_go(standby, is_closed=is_closed)
            status = child.wait()
    finally:
        os.close(reading)
    by_signal = signal.Signals(-status).name if -status in set(signal.Signals) else f"SIG{-status}"
    end = ProcessEnd(
        exit_code=status if status >= 0 else None,
        signal=by_signal if status < 0 else None,
        asked=tuple(dict.fromkeys(signals.asked)),
    )
    return WatchedEnd(end, ended_at, status if status >= 0 else 128 - status)


def _started(
    program: str, argv: Sequence[str], environment: Mapping[str, str], writing: int
) -> subprocess.Popen[bytes]:
    def start(file: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(arguments, executable=file, stdout=writing, stderr=writing, env=environment)

    try:
        return start(program, argv)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        return start("/bin/sh", ["sh", program, *argv[1:]])  # a script without a first line, as shells do


def _never_started(error: OSError | ValueError) -> WatchedEnd:
    because = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return WatchedEnd(ProcessEnd(exit_code=126, signal=None, never_started=because), now(), 126)


@contextmanager
def _taking_signals() -> Iterator[_Signals]:
    """Take signals from before the program starts, so that none ends the wrapper and leaves it alone.

    What was ignored stays so, for the program inherits that: `nohup` and background jobs rest on it.
    """
    signals = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {}
    for number in _PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, signals.take)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _is_in_foreground() -> bool:
    """Return whether the terminal sends what is typed to this process's group."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


class _Passing:
    """Where output goes; what cannot go somewhere is told once."""

    def __init__(self, log: OutputLog | None, output: BinaryIO, tell: Callable[[str], None]) -> None:
        self._log = log
        self._output: BinaryIO | None = output
        self._tell = tell
        self._was_told = False

    def write(self, chunk: bytes) -> None:
        if self._log is not None:
            self._log.write(chunk)
        if self._output is None:
            return
        left = memoryview(chunk)
        try:
            while left:
                num_written = self._output.write(left)
                if num_written is None:  # a terminal that somebody made non-blocking
                    select.select([], [self._output], [], 1)
                left = left[num_written or 0 :]
            self._output.flush()
        except BrokenPipeError:
            self._output = None  # the reader, `head` for example, has seen enough
        except (OSError, ValueError) as error:
            if not self._was_told:
                self._was_told = True
                self._tell(f"cannot pass the program's output on: {error}; the program goes on")


def _pumped(
    child: subprocess.Popen[bytes], reading: int, passing: _Passing, *, may_leave: bool
) -> tuple[str, bool]:
    """Pass output on until nobody can write any more.

    Returns:
        When the program ended, and whether all that could write has closed the pipe.
    """
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    watch = _watch_of(child.pid)
    if watch is not None:
        poll.register(watch, select.POLLIN)
    ended_at: str | None = None
    leave_at = 0.0
    try:
        while True:
            ready = [
                descriptor for descriptor, _event in poll.poll(200 if watch is None or ended_at else None)
            ]
            if ended_at is None and child.poll() is not None:
                ended_at = now()
                leave_at = time.monotonic() + _LINGER_SECONDS
                if watch is not None:
                    poll.unregister(watch)
            if reading in ready:
                chunk = os.read(reading, 1 << 16)
                if not chunk:
                    return ended_at or _end_of(child), True
                passing.write(chunk)
            if ended_at is not None and may_leave and time.monotonic() >= leave_at:
                return ended_at, False
    finally:
        if watch is not None:
            os.close(watch)


def _end_of(child: subprocess.Popen[bytes]) -> str:
    """Wait for a program that closed its output before it ended."""
    child.wait()
    return now()


def _watch_of(pid: int) -> int | None:
    """Return a descriptor that becomes readable when process *pid* ends, where the system has such."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None


def _let_go(standby: Standby | None, *, is_closed: bool) -> None:
    if standby is None:
        return
    if is_closed:
        standby.finish()
    else:
        standby.leave()


def standard_output() -> BinaryIO:
    """Return where this process prints, without a buffer; nowhere if that is closed."""
    try:
        return os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    except (AttributeError, OSError, ValueError):  # there is none, or it is no descriptor
        return Path(os.devnull).open("wb", buffering=0)
