"""``run``: any other program, with its surroundings captured beside its output; and what runs are doing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from runkit.archive.capture import (
    captured_command,
    captured_hardware,
    installed_packages,
    now,
    seen_ranks,
)
from runkit.archive.code import MAX_BYTES, captured_code
from runkit.archive.heartbeat import INTERVAL_SECONDS, heart_beating
from runkit.archive.liveness import RunState, run_state
from runkit.archive.processes import identity_of, own_identity
from runkit.archive.running import only_writer
from runkit.archive.workspace import Workspace, checked_run_id
from runkit.archive.writing import write_atomically
from runkit.errors import AlreadyExists, StorageFailed, UnknownName, UsageError
from runkit.records.capture import CAPTURE_FILE, ProcessEnd, RunCapture
from runkit.records.manifest import RankDevice, Software

LOG_FILE = "train.log"
FOLDER_VARIABLE = "RUNKIT_RUN_DIRECTORY"
"""Tells the program where its run directory is, so that it can write dumps and checkpoints there."""
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that Slurm and shells send to the wrapper and that are meant for the program."""


@dataclass(frozen=True)
class RunRequest:
    """What the caller wants run."""

    argv: Sequence[str]
    """The program and its arguments, after ``--``."""
    run_id: str | None = None
    """None: the program's name and the start time."""
    also_variables: Sequence[str] = ()
    """More environment variables to write down."""
    max_code_bytes: int = MAX_BYTES
    heartbeat_seconds: int = INTERVAL_SECONDS


@dataclass(frozen=True)
class FinishedRun:
    """A program that has ended."""

    run_id: str
    folder: Path
    capture: RunCapture

    @property
    def exit_status(self) -> int:
        """What a shell would give: the program's own code, or 128 and the number of the signal."""
        end = self.capture.end
        if end is None or end.signal is not None:
            return 128 + (signal.Signals[end.signal].value if end and end.signal else 0)
        return end.exit_code or 0


@dataclass(frozen=True)
class SeenRun:
    """A run directory of the workspace and what it is doing."""

    run_id: str
    state: RunState


@dataclass
class _Watched:
    """What can only be seen while the program runs."""

    pid: int
    ranks: dict[int, RankDevice] = field(default_factory=dict)

    def look(self) -> None:
        for one in seen_ranks(self.pid):
            before = self.ranks.get(one.rank)
            if before is None or before.gpu is None:
                self.ranks[one.rank] = one


def run(workspace: Workspace, request: RunRequest, *, output: BinaryIO) -> FinishedRun:
    """Run a program, keep what it prints, and write down what it ran on.

    Args:
        output: Gets what the program prints, as it prints it.
    Raises:
        UsageError: No program is named, or it cannot be started.
        AlreadyExists: There is a run of that id.
        StorageFailed: The disk refused; the program goes on only while its output can be kept.
    """
    if not request.argv:
        raise UsageError("nothing to run; give the program after --, as in `runkit run -- python train.py`")
    program = shutil.which(request.argv[0])
    if program is None:
        raise UsageError(f"there is no program {request.argv[0]!r} on the PATH; name the file, or install it")
    stem = "".join(letter if letter.isalnum() else "_" for letter in Path(request.argv[0]).stem) or "run"
    started = datetime.now().strftime("%Y%m%d_%H%M%S")
    run_id = checked_run_id(request.run_id or f"{stem}_{started}")
    folder = _new_folder(workspace, run_id)
    capture = _begun(folder, request)
    with only_writer(folder):
        _write(folder, capture)
        capture = _run_to_its_end(folder, capture, request, program, output)
        _write(folder, capture)
    return FinishedRun(run_id, folder, capture)


def runs_in(workspace: Workspace, run_ids: Sequence[str] = ()) -> tuple[SeenRun, ...]:
    """Return what the runs under ``runs/`` are doing, sorted by id.

    Args:
        run_ids: Only these; empty: all.
    Raises:
        UnknownName: There is no such run directory.
    """
    present = sorted(path.name for path in workspace.runs.glob("*") if (path / CAPTURE_FILE).is_file())
    for run_id in run_ids:
        if run_id not in present:
            raise UnknownName.among("run directory", run_id, present)
    at = datetime.now().astimezone()
    return tuple(
        SeenRun(run_id, run_state(workspace.runs / run_id, now=at))
        for run_id in present
        if not run_ids or run_id in run_ids
    )


def _run_to_its_end(
    folder: Path, capture: RunCapture, request: RunRequest, program: str, output: BinaryIO
) -> RunCapture:
    environment = {**os.environ, FOLDER_VARIABLE: str(folder.resolve())}
    try:
        log = (folder / LOG_FILE).open("xb", buffering=0)
    except OSError as error:
        raise StorageFailed(f"cannot write {folder / LOG_FILE}: {error.strerror}") from error
    with log:
        try:
            child = subprocess.Popen(
                [program, *request.argv[1:]],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        except OSError as error:
            raise UsageError(f"cannot start {request.argv[0]!r}: {error.strerror}") from error
        watched = _Watched(child.pid)
        capture = capture.model_copy(update={"process": identity_of(child.pid) or own_identity()})
        _write(folder, capture)
        with (
            _passing_signals_to(child),
            heart_beating(
                folder,
                interval_seconds=request.heartbeat_seconds,
                process=capture.process,
                look=watched.look,
            ),
        ):
            watched.look()
            _copy_output(child, log, output)
            status = child.wait()
    ranks = tuple(watched.ranks[rank] for rank in sorted(watched.ranks))
    command = capture.command
    if ranks:
        command = command.model_copy(update={"world_size": len(ranks)})
    return capture.model_copy(
        update={
            "ended_at": now(),
            "end": ProcessEnd(
                exit_code=status if status >= 0 else None,
                signal=signal.Signals(-status).name if status < 0 else None,
            ),
            "command": command,
            "hardware": capture.hardware.model_copy(update={"ranks": ranks}),
        }
    )


def _copy_output(child: subprocess.Popen[bytes], log: BinaryIO, output: BinaryIO) -> None:
    """Copy what *child* prints to *log* and *output*, byte for byte, until it closes its end."""
    assert child.stdout is not None
    with child.stdout as pipe:
        while chunk := os.read(pipe.fileno(), 1 << 16):
            log.write(chunk)
            with suppress(BrokenPipeError, ValueError):
                output.write(chunk)
                output.flush()


@contextmanager
def _passing_signals_to(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass the signals that are meant for the program on to it; Ctrl-C reaches it by itself."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def pass_on(number: int, _frame: object) -> None:
        with suppress(ProcessLookupError):
            child.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN if sys.stdin.isatty() else pass_on)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _begun(folder: Path, request: RunRequest) -> RunCapture:
    return RunCapture(
        format=1,
        run_id=folder.name,
        started_at=now(),
        ended_at=None,
        command=captured_command(request.argv, world_size=1, also=request.also_variables),
        hardware=captured_hardware(),
        software=Software(
            python_version=".".join(map(str, sys.version_info[:3])),
            packages=installed_packages(),
            code=captured_code(Path.cwd(), run_folder=folder, max_bytes=request.max_code_bytes),
        ),
        captured="command",
        process=own_identity(),
    )


def _new_folder(workspace: Workspace, run_id: str) -> Path:
    folder = workspace.runs / run_id
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise AlreadyExists(
            f"there is a run {run_id!r} already in {folder}; name the new one with --run-id"
        ) from error
    except OSError as error:
        raise StorageFailed(f"cannot make {folder}: {error.strerror}") from error
    return folder


def _write(folder: Path, capture: RunCapture) -> None:
    write_atomically(folder / CAPTURE_FILE, capture.to_json())
