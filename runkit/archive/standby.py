"""What stands by while ``runkit run`` watches a program, and keeps its output if runkit itself is killed.

A program whose wrapper is gone would die of its next line, for nobody holds the other end of its pipe. So
this holds it too, in a process of its own, and begins to read when the wrapper is gone. It starts with the
standard library alone, in some milliseconds, and does nothing at all when nothing happens.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from runkit.archive.clock import now
from runkit.archive.output_log import OutputLog

_FINISHED, _LEFT = b".", b"l"
_BEAT_SECONDS = 10
_START = (
    "import sys; sys.path.append(sys.argv[1]); from runkit.archive.standby import main; main(sys.argv[2:])"
)
_POLITE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class Standby:
    """The process that stands by, as the wrapper sees it."""

    def __init__(self, process: subprocess.Popen[bytes], life: int) -> None:
        """Hold *process* and the end *life* of the pipe through which it sees that the wrapper lives."""
        self._process = process
        self._life = life

    def finish(self) -> None:
        """Let it go: the program and everything that it left behind has closed its output."""
        self._say(_FINISHED)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)

    def leave(self) -> None:
        """Let it read on: the program ended, and something that it started still holds its output."""
        self._say(_LEFT)

    def _say(self, word: bytes) -> None:
        with suppress(OSError):
            os.write(self._life, word)
        os.close(self._life)


def standing_by(reading: int, *, log: Path, lock: int | None) -> Standby | None:
    """Start the process that stands by, or return None when it cannot be started.

    Args:
        reading: The end of the program's pipe that is read from.
        log: Where the output goes on; beside it are record and signs of life.
        lock: Descriptor of the lock on the run, which is held on.
    """
    life_reading, life = os.pipe()
    descriptors = (life_reading, reading, *([lock] if lock is not None else []))
    package = Path(__file__).resolve().parents[2]
    try:
        process = subprocess.Popen(
            [
                sys.executable,
                "-I",
                "-S",
                "-B",
                "-c",
                _START,
                str(package),
                str(life_reading),
                str(reading),
                log,
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=descriptors,
            start_new_session=True,
        )
    except OSError:
        os.close(life)
        return None
    finally:
        os.close(life_reading)
    return Standby(process, life)


def main(arguments: Sequence[str]) -> None:
    """Wait until the wrapper finished, or take its place."""
    for number in _POLITE:
        signal.signal(number, signal.SIG_IGN)
    life, reading, path = int(arguments[0]), int(arguments[1]), Path(arguments[2])
    word = os.read(life, 1)
    if word == _FINISHED:
        return
    log = OutputLog(path)
    _kept(reading, log, None if word == _LEFT else _BEAT_SECONDS)
    log.close()


def _kept(reading: int, log: OutputLog, beat_seconds: int | None) -> None:
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    killed_at = now()
    is_first = beat_seconds is not None
    beat_at = time.monotonic()
    while True:
        if beat_seconds is not None and time.monotonic() >= beat_at:
            _beat(log.path.parent, beat_seconds)
            beat_at = time.monotonic() + beat_seconds
        if not poll.poll(None if beat_seconds is None else 1000 * beat_seconds):
            continue
        chunk = os.read(reading, 1 << 16)
        if not chunk:
            break
        if is_first:
            log.write_line(f"runkit was killed at {killed_at}; what it had read last may be missing here")
            is_first = False
        log.write(chunk)
        with suppress(OSError):
            os.write(1, chunk)
    if beat_seconds is not None:
        _beat(log.path.parent, beat_seconds)
        for reserved in log.path.parent.glob(".run.json.*.tmp"):
            with suppress(OSError):
                reserved.unlink()


def _beat(folder: Path, interval_seconds: int) -> None:
    """Write a sign of life of the program that ``run.json`` names; as text, for no record is at hand."""
    temporary = folder / ".heartbeat.json.standby.tmp"
    with suppress(OSError, ValueError, KeyError):
        process = json.loads((folder / "run.json").read_bytes())["process"]
        beat = {"format": 1, "at": now(), "interval_seconds": interval_seconds, "process": process}
        temporary.write_text(json.dumps({**beat, "standby": True}))
        temporary.replace(folder / "heartbeat.json")
