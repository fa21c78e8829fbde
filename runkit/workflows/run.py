"""``run``: any other program, with its surroundings captured beside its output; and what runs are doing.

runkit never stands between a person and their program: whatever cannot be found out, kept or named, the
program starts, its output is passed on and its exit status kept, and what is missing is told and recorded.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from runkit.archive.beside import Beside
from runkit.archive.capture import captured_command, captured_hardware, seen_ranks
from runkit.archive.claiming import ClaimedRun, Start, claimed_run, ghosts_and_runs
from runkit.archive.clock import now
from runkit.archive.code import MAX_BYTES, captured_code
from runkit.archive.heartbeat import INTERVAL_SECONDS, heart_beating
from runkit.archive.interpreter import InterpreterPackages, named_interpreter, packages_of, seen_interpreter
from runkit.archive.job import job_in
from runkit.archive.liveness import RunState, run_state
from runkit.archive.output_log import OutputLog
from runkit.archive.processes import identity_of, own_identity
from runkit.archive.run_record import RunRecord
from runkit.archive.watched_program import WatchedEnd, run_watched
from runkit.archive.workspace import Workspace
from runkit.errors import ProgramNotFound, StorageFailed, UnknownName, UsageError
from runkit.records.capture import LostOutput, ProcessIdentity, Resumption, RunCapture
from runkit.records.manifest import Code, Command, Hardware, RankDevice, Software

LOG_FILE = "train.log"
FOLDER_VARIABLE = "RUNKIT_RUN_DIRECTORY"
"""Tells the program where its run directory is, so that it can write dumps and checkpoints there."""
_CODE_SECONDS = 60.0
"""So long the program waits for git at most: afterwards it may change the code that it runs."""
_PATIENCE_SECONDS = 5.0
"""After this a person is told what is waited for."""
_LAST_ANSWER_SECONDS = 10.0
"""So long is waited for machine and packages when the program has ended already."""
_NOT_YET = "its start was cut short before that was found out"
_NO_PYTHON = "no Python was seen among the processes of the program"


@dataclass(frozen=True)
class RunRequest:
    """What the caller wants run."""

    argv: Sequence[str]
    """The program and its arguments, after ``--``."""
    run_id: str | None = None
    """None: the program's name, the start time, and the job under Slurm."""
    also_variables: Sequence[str] = ()
    """More environment variables to write down."""
    max_code_bytes: int = MAX_BYTES
    heartbeat_seconds: int = INTERVAL_SECONDS


@dataclass(frozen=True)
class FinishedRun:
    """A program that has ended."""

    run_id: str
    folder: Path | None
    """None: nothing could be kept, which was told."""
    capture: RunCapture
    exit_status: int
    """What a shell would give: the program's own code, or 128 and the number of the signal."""


@dataclass(frozen=True)
class SeenRun:
    """A run directory of the workspace and what it is doing."""

    run_id: str
    state: RunState


def run(
    workspace: Workspace,
    request: RunRequest,
    *,
    output: BinaryIO,
    tell: Callable[[str], None] = lambda _line: None,
) -> FinishedRun:
    """Run a program, keep what it prints, and write down what it ran on.

    Args:
        output: Gets what the program prints, as it prints it.
        tell: Gets what the person should know at once, as lines.
    Raises:
        UsageError: No program is named.
        ProgramNotFound: There is no such program, or it is none.
    """
    if not request.argv:
        raise UsageError("nothing to run; give the program after --, as in `runkit run -- python train.py`")
    program = _found_program(request.argv[0])
    with ExitStack() as held:
        watched: _Watched | None = None
        with _surviving("NOT RECORDED", tell):
            watched = _prepared(workspace, request, program, held, tell)
        if watched is None:
            return _unrecorded(request, program, output, tell)
        end = watched.run(output, tell)
        with _surviving("NOT RECORDED, how the program ended", tell):
            watched.finish(end)
    folder = watched.claim.folder if watched.claim is not None else None
    return FinishedRun(watched.record.capture.run_id, folder, watched.record.capture, end.exit_status)


def runs_in(workspace: Workspace, run_ids: Sequence[str] = ()) -> tuple[SeenRun, ...]:
    """Return what the runs under ``runs/`` are doing, sorted by id; what is left of cut starts among them.

    Args:
        run_ids: Only these; empty: all.
    Raises:
        UnknownName: There is no such run directory.
    """
    present = ghosts_and_runs(workspace.runs)
    for run_id in run_ids:
        if run_id not in present:
            raise UnknownName.among("run directory", run_id, present)
    at = datetime.now().astimezone()
    return tuple(
        SeenRun(run_id, run_state(workspace.runs / run_id, now=at))
        for run_id in present
        if not run_ids or run_id in run_ids
    )


@contextmanager
def _surviving(what_is_lost: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Let nothing that goes wrong in here reach the program; it is told."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - a fault of ours is no reason to keep a program from running
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
        tell(f"{what_is_lost}: {what}; the program runs all the same")


def _prepared(
    workspace: Workspace, request: RunRequest, program: str, held: ExitStack, tell: Callable[[str], None]
) -> _Watched:
    """Claim a directory, write the stub, and capture the code before the program can change it."""
    start = Start(_command(request), job_in(os.environ), request.run_id)
    claim = _claimed(workspace, start, held, tell)
    if claim is not None and claim.remark:
        tell(claim.remark)
    record = RunRecord(claim.folder if claim is not None else None, _begun(claim, start), tell)
    watched = _Watched(record, claim, request, program)
    watched.find_code(tell)
    return watched


def _unrecorded(
    request: RunRequest, program: str, output: BinaryIO, tell: Callable[[str], None]
) -> FinishedRun:
    environment = dict(os.environ)
    end = run_watched(
        program, request.argv, environment=environment, log=None, lock=None, output=output,
        at_start=lambda _pid: None, tell=tell,
    )  # fmt: skip
    command = Command(
        argv=None, launcher=None, world_size=None, environment={}, missing_because="it could not be recorded"
    )
    capture = _begun(None, Start(command, None, request.run_id))
    return FinishedRun(capture.run_id, None, capture.model_copy(update={"end": end.end}), end.exit_status)


def _command(request: RunRequest) -> Command:
    try:
        return captured_command(request.argv, world_size=1, also=request.also_variables)
    except OSError as error:
        because = f"the folder that it was typed in cannot be told: {error.strerror}"
        return Command(argv=None, launcher=None, world_size=1, environment={}, missing_because=because)


def _found_program(name: str) -> str:
    program = shutil.which(name)
    if program is not None:
        return program
    if "/" in name and Path(name).exists():
        raise ProgramNotFound(f"{name!r} cannot be run: it is no file that may be executed", exit_status=126)
    raise ProgramNotFound(
        f"there is no program {name!r} on the PATH; name the file, or install it", exit_status=127
    )


def _claimed(
    workspace: Workspace, start: Start, held: ExitStack, tell: Callable[[str], None]
) -> ClaimedRun | None:
    try:
        return claimed_run(workspace.runs, start, held)
    except (StorageFailed, OSError) as error:
        tell(f"{error}; the program starts all the same")
    try:
        place = Path(tempfile.mkdtemp(prefix="runkit-runs-"))
        claim = claimed_run(place, start, held)
    except (StorageFailed, OSError) as error:
        tell(f"NOT RECORDED: {error}; make room or name another folder with --workspace for the next run")
        return None
    tell(f"this run is recorded in {claim.folder} instead; move it to {workspace.runs} to keep it")
    return claim


def _begun(claim: ClaimedRun | None, start: Start) -> RunCapture:
    """Return what is known before anything is looked at: the stub that is written first."""
    hardware = Hardware(gpus=(), cpu_model=None, num_cpus=None, memory_bytes=None, evidence=None)
    code = Code(git_commit=None, is_dirty=None, missing_because=_NOT_YET)
    software = Software(python_version=None, packages={}, code=code, packages_missing_because=_NOT_YET)
    earlier = claim.earlier if claim is not None else None
    if earlier is None:
        return RunCapture(
            format=1,
            run_id=claim.folder.name if claim is not None else start.run_id or "unrecorded",
            started_at=now(),
            ended_at=None,
            command=start.command,
            hardware=hardware,
            software=software,
            captured="command",
            process=_own_identity(),
            job=start.job,
        )
    resumption = Resumption(
        resumed_at=now(),
        stopped_at=earlier.ended_at,
        stopped=earlier.end,
        command=start.command,
        hardware=hardware,
        software=software,
        job=start.job,
    )
    return earlier.model_copy(
        update={
            "ended_at": None,
            "end": None,
            "process": _own_identity(),
            "resumptions": (*earlier.resumptions, resumption),
        }
    )


def _own_identity() -> ProcessIdentity | None:
    with suppress(OSError, RuntimeError):
        return own_identity()
    return None


@dataclass
class _Watched:
    """One program, and what is found out about it beside it."""

    record: RunRecord
    claim: ClaimedRun | None
    request: RunRequest
    program: str
    ranks: dict[int, RankDevice] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._log: OutputLog | None = None
        self._hardware = Beside("machine", captured_hardware)
        self._packages: Beside[InterpreterPackages] | None = None
        self._named = Beside(
            "interpreter", lambda: named_interpreter(self.program, self.request.argv, dict(os.environ))
        ).within(_PATIENCE_SECONDS)
        if self._named is not None:
            named = self._named
            self._packages = Beside("packages", lambda: packages_of(named))

    def find_code(self, tell: Callable[[str], None]) -> None:
        """Capture the code before the program can change it."""
        number = len(self.record.capture.resumptions) + 1
        below = "" if number == 1 else f"start-{number}/"
        folder = self.claim.folder / below if self.claim is not None else None
        looking = Beside(
            "code",
            lambda: captured_code(Path.cwd(), run_folder=folder, max_bytes=self.request.max_code_bytes),
        )
        code = looking.within(_PATIENCE_SECONDS)
        if code is None and not looking.is_done:
            tell(f"waiting for git, {_CODE_SECONDS:g} s at most, before the program starts")
            code = looking.within(_CODE_SECONDS - _PATIENCE_SECONDS)
        if code is None:
            code = Code(git_commit=None, is_dirty=None, missing_because=looking.missing_because)
            self.record.miss(looking.missing_because)
        code = code.model_copy(update={"changes": tuple(f"{below}{path}" for path in code.changes)})
        software = self.record.this_start.software
        self.record.add_to_start(software=software.model_copy(update={"code": code}))

    def run(self, output: BinaryIO, tell: Callable[[str], None]) -> WatchedEnd:
        """Run the program to its end and put all that was found out into the record."""
        environment = dict(os.environ)
        log = None
        if self.claim is not None:
            environment[FOLDER_VARIABLE] = str(self.claim.folder.resolve())
            log = OutputLog(self.claim.folder.resolve() / LOG_FILE, tell=tell)
            with _surviving("not recorded", tell):
                self._mark_start(log)
        with ExitStack() as beating:
            end = run_watched(
                self.program,
                self.request.argv,
                environment=environment,
                log=log,
                lock=self.claim.lock if self.claim is not None else None,
                output=output,
                at_start=lambda pid: self._begin_looking(pid, beating, tell),
                tell=tell,
            )
            self._ended.set()
        self._log = log
        return end

    def finish(self, end: WatchedEnd) -> None:
        """Put all that was found out into the record, and write it for the last time."""
        self.record.add(ended_at=end.at, end=end.end)
        if self._log is not None:
            self._finish_log(self._log)
        self._put_together()
        self.record.end()

    def _begin_looking(self, pid: int, beating: ExitStack, tell: Callable[[str], None]) -> None:
        with _surviving("not recorded", tell):
            self._started(pid, beating)

    def _mark_start(self, log: OutputLog) -> None:
        """Begin a later start with a line of its own in the log."""
        capture = self.record.capture
        if not capture.resumptions:
            return
        last = capture.resumptions[-1]
        self.record.add_to_start(log_offset=log.num_bytes)
        job = ""
        if last.job is not None:
            job = f", Slurm job {last.job.label} after {last.job.restart_count} restarts"
        before = (
            capture.model_copy(update={"end": last.stopped, "resumptions": capture.resumptions[:-1]}).ending
            or "nobody saw how the program ended"
        )
        log.write_line(
            f"start {len(capture.resumptions) + 1} of this run at {last.resumed_at}{job}; before it: {before}"
        )

    def _started(self, pid: int, beating: ExitStack) -> None:
        process = None
        with suppress(OSError):
            process = identity_of(pid)
        self.record.add(process=process or self.record.capture.process)
        if self._packages is None:
            self._packages = Beside("packages", lambda: self._seen_packages(pid))
        if self.claim is None:
            return
        Beside("record", self.record.write)
        process = self.record.capture.process
        if process is not None:
            beating.enter_context(
                heart_beating(
                    self.claim.folder,
                    interval_seconds=self.request.heartbeat_seconds,
                    process=process,
                    look=lambda: self._look(pid),
                )
            )

    def _seen_packages(self, pid: int) -> InterpreterPackages:
        seen = seen_interpreter(pid, self._ended)
        return InterpreterPackages(None, {}, _NO_PYTHON) if seen is None else packages_of(seen)

    def _look(self, pid: int) -> None:
        for one in seen_ranks(pid):
            before = self.ranks.get(one.rank)
            if before is None or before.gpu is None:
                self.ranks[one.rank] = one

    def _finish_log(self, log: OutputLog) -> None:
        log.close()
        lost = tuple(
            LostOutput(
                log_offset=gap.log_offset,
                num_bytes=gap.num_bytes,
                because=gap.because,
                lost_from=gap.lost_from,
                lost_until=gap.lost_until,
            )
            for gap in log.gaps
            if gap.num_bytes
        )
        self.record.add(lost_output=(*self.record.capture.lost_output, *lost))

    def _put_together(self) -> None:
        start = self.record.this_start
        hardware = self._hardware.within(_LAST_ANSWER_SECONDS)
        if hardware is None:
            hardware = start.hardware
            self.record.miss(self._hardware.missing_because)
        ranks = tuple(self.ranks[rank] for rank in sorted(self.ranks))
        command: Command = start.command
        if ranks:
            command = command.model_copy(update={"world_size": len(ranks)})
        self.record.add_to_start(
            command=command,
            hardware=hardware.model_copy(update={"ranks": ranks}),
            software=self._software(start.software),
        )

    def _software(self, software: Software) -> Software:
        found = self._packages.within(_LAST_ANSWER_SECONDS) if self._packages is not None else None
        if found is None:
            because = self._packages.missing_because if self._packages is not None else _NO_PYTHON
            found = InterpreterPackages(None, {}, because)
        return software.model_copy(
            update={
                "python_version": found.python_version,
                "packages": found.packages,
                "packages_missing_because": found.missing_because,
            }
        )
