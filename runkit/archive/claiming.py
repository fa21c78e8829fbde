"""A run directory for a program that is about to start: a new one, or that of the run which it goes on with.

A name that is taken never stands in the way: the next free one is used, and why is said.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from runkit.archive.liveness import run_state
from runkit.archive.naming import distinct_name
from runkit.archive.running import only_writer
from runkit.archive.workspace import checked_run_id
from runkit.errors import AlreadyExists, RecordInvalid, StorageFailed, UsageError
from runkit.records.capture import CAPTURE_FILE, HEARTBEAT_FILE, RunCapture, SchedulerJob
from runkit.records.manifest import Command

_LONGEST_STEM = 100
"""Of 128, so that job, rank and number find room behind it."""
_NUM_TRIES, _TRY_SECONDS = 5, 0.05
"""To lock a run that somebody only looks at."""


@dataclass(frozen=True)
class Start:
    """One start of a program."""

    command: Command
    job: SchedulerJob | None
    run_id: str | None
    """As a person named it; None: they did not."""


@dataclass(frozen=True)
class ClaimedRun:
    """A run directory that nobody else writes."""

    folder: Path
    lock: int
    """Descriptor that holds the lock."""
    earlier: RunCapture | None
    """The run that this is another start of; None for a new one."""
    remark: str | None
    """Why it is not called as it was wished."""


def claimed_run(runs: Path, start: Start, held: ExitStack) -> ClaimedRun:
    """Return the directory below *runs* for *start*; its lock is released with *held*.

    Raises:
        StorageFailed: There is no room below *runs*, or it may not be written.
    """
    wished, is_named, remark = _wished(start)
    if not is_named and (before := _requeued(runs, start)) is not None:
        claim = _tried(before, start, held, may_go_on=True)
        if isinstance(claim, ClaimedRun):
            return claim
    because = ""
    for name in _numbered(wished):
        claim = _tried(runs / name, start, held, may_go_on=is_named and name.startswith(wished))
        if isinstance(claim, ClaimedRun):
            if start.run_id is not None and because:
                remark = f"{remark + '; ' if remark else ''}{because}, so this one is called {name!r}"
            return replace(claim, remark=remark)
        because = because or f"there is a run {name!r} already and {claim}"
    raise StorageFailed(f"{runs} has no name left for {wished!r}")


class _Wished(NamedTuple):
    """The name that a run should have."""

    name: str
    is_of_the_run: bool
    """Whether who gives this name again means the same run."""
    remark: str | None = None
    """Why it is not the one that was asked for."""


def _wished(start: Start) -> _Wished:
    rank = f"_r{start.job.rank}" if start.job is not None and start.job.rank is not None else ""
    default = f"{_stem(start.command)}_{datetime.now():%Y%m%d_%H%M%S}"
    if start.job is not None:
        default = f"{default}_{start.job.label}"
    if start.run_id is None:
        return _Wished(f"{default}{rank}", is_of_the_run=False)
    try:
        return _Wished(checked_run_id(f"{start.run_id}{rank}"), is_of_the_run=True)
    except UsageError as error:
        try:
            name, is_of_the_run = f"{distinct_name(start.run_id, longest=_LONGEST_STEM)}{rank}", True
        except UsageError:  # nothing of it can be one
            name, is_of_the_run = f"{default}{rank}", False
        return _Wished(name, is_of_the_run, f"{error}; this run is called {name!r}")


def _stem(command: Command) -> str:
    name = Path(command.argv[0]).stem if command.argv else ""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:_LONGEST_STEM] or "run"


def _numbered(wished: str) -> Iterator[str]:
    yield wished
    for number in range(2, 100_000):
        yield f"{wished[:120]}_{number}"


def _requeued(runs: Path, start: Start) -> Path | None:
    """Return the directory of the run that a requeued job began when it ran before.

    A job that starts several programs starts them again in the same order: it goes on with the first run
    of this command that has no start since the job was requeued.
    """
    job = start.job
    if job is None or not job.restart_count:
        return None
    found = []
    for path in runs.glob(f"*_{job.label}*/{CAPTURE_FILE}"):
        capture = _capture(path.parent)
        if (
            capture is None
            or not job.is_same(capture.last_job)
            or not _is_same(capture.command, start.command)
        ):
            continue
        if capture.last_job is not None and capture.last_job.restart_count < job.restart_count:
            found.append((capture.started_at, path.parent.name, path.parent))
    return min(found)[2] if found else None


def _tried(folder: Path, start: Start, held: ExitStack, *, may_go_on: bool) -> ClaimedRun | str:
    """Return the claim on *folder*, or why it cannot be had."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if not may_go_on:
            return "it is another one"
    except OSError as error:
        raise StorageFailed(f"cannot make {folder}: {error.strerror}") from error
    if not folder.is_dir():
        return "it is no folder"
    mine = ExitStack()
    lock = _locked(folder, mine)
    if lock is None:
        return "it is still going on"
    with suppress(OSError):
        if all(path.name.startswith(".") for path in folder.iterdir()):
            held.push(mine)
            return ClaimedRun(folder, lock, None, None)
    capture = _capture(folder)
    because = _another(folder, capture, start)
    if capture is None or because is not None:
        mine.close()
        return because or "it cannot be read"
    with suppress(OSError):
        (folder / HEARTBEAT_FILE).unlink(missing_ok=True)
    held.push(mine)
    return ClaimedRun(folder, lock, capture, None)


def _locked(folder: Path, held: ExitStack) -> int | None:
    for _try in range(_NUM_TRIES):
        with suppress(AlreadyExists):
            return held.enter_context(only_writer(folder))
        time.sleep(_TRY_SECONDS)
    return None


def _another(folder: Path, capture: RunCapture | None, start: Start) -> str | None:
    """Return why *start* is not another start of the run in *folder*, or None when it is one."""
    if capture is None:
        return f"it has no {CAPTURE_FILE} that can be read"
    if capture.captured != "command":
        return "it is a training run"
    log = folder / "train.log"
    if log.is_symlink() or (log.is_file() and log.stat().st_nlink > 1):
        return "its log is a link, perhaps into the archive"
    before = capture.last_job
    if (start.job is None) != (before is None) or (start.job is not None and not start.job.is_same(before)):
        return "it is of another job" if before is None else f"it is of Slurm job {before.label}"
    was_requeued = start.job and before and start.job.restart_count > before.restart_count
    if not was_requeued:
        state = run_state(folder, now=datetime.now().astimezone())
        if state.value in {"running", "silent"}:
            return f"it may still be going on: {state.because}"
    is_complete = capture.end is not None and capture.end.exit_code == 0 and not capture.end.asked
    if is_complete and not _is_same(capture.command, start.command):
        return "it was completed by another command"
    return None


def _is_same(before: Command, now: Command) -> bool:
    return (before.argv, before.cwd) == (now.argv, now.cwd)


def _capture(folder: Path) -> RunCapture | None:
    path = folder / CAPTURE_FILE
    try:
        return RunCapture.parse(path.read_bytes(), origin=str(path)) if path.is_file() else None
    except (OSError, RecordInvalid):
        return None


def ghosts_and_runs(runs: Path) -> Sequence[str]:
    """Return the names of all folders below *runs*: runs, and what is left of starts that were cut short."""
    try:
        return sorted(path.name for path in runs.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []
