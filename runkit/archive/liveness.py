"""Whether a run still goes on, derived from its process and its traces, never from its own last word."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from runkit.archive.opening import MANIFEST_LIMIT_BYTES, opened_regular, read_regular
from runkit.archive.processes import boot_id, is_alive
from runkit.errors import RecordInvalid
from runkit.records.capture import CAPTURE_FILE, HEARTBEAT_FILE, Heartbeat, RunCapture

State = Literal["running", "silent", "ended", "killed", "unknown"]
"""``silent``: the process lives without a sign of life, or is on another machine and gave none lately."""

_MOST_NAMED = 6
_LATE = 4
"""So many intervals without a heartbeat are silence; a machine under load misses one or two."""


@dataclass(frozen=True)
class RunState:
    """What a run is doing, and how that is known."""

    value: State
    because: str


def run_state(folder: Path, *, now: datetime) -> RunState:
    """Return what the run in *folder* is doing.

    Args:
        now: The time, with its offset.
    """
    capture = _capture(folder)
    beat = _heartbeat(folder)
    if capture is None:
        return _ghost(folder)
    process = beat.process if beat is not None else capture.process
    if process is None:
        word = f"{CAPTURE_FILE} gives an end" if capture.ended_at else f"{CAPTURE_FILE} gives no end"
        return RunState("ended" if capture.ended_at else "unknown", f"{word} and names no process")
    alive = is_alive(process)
    who = f"process {process.pid} on {process.host}"
    age_seconds = None if beat is None else (now - datetime.fromisoformat(beat.at)).total_seconds()
    is_late = beat is not None and age_seconds is not None and age_seconds > _LATE * beat.interval_seconds
    said = "" if beat is None else f"; the last sign of life is of {beat.at}"
    if alive:
        if capture.ended_at is not None:
            return _ended(capture)
        if is_late:
            return RunState("silent", f"{who} lives and has been silent for {age_seconds:.0f} s{said}")
        return RunState("running", f"{who} lives{said}")
    if capture.ended_at is not None and (beat is None or beat.process == capture.process):
        return _ended(capture)
    if alive is None:
        if is_late or beat is None:
            return RunState("silent", f"{who} cannot be seen from here{said}")
        return RunState("running", f"{who} cannot be seen from here, and gave a sign of life at {beat.at}")
    standing_by = ""
    if beat is not None and beat.standby:
        standing_by = "runkit itself was killed and the program went on, so that nobody saw how it ended: "
    job = "" if capture.last_job is None else f", of Slurm job {capture.last_job.label}"
    rebooted = ", and the machine was started again since" if process.boot_id != boot_id() else ""
    gone = f"{standing_by}{who} is gone and wrote no end{rebooted}{said}{job}{_log_tail(folder)}"
    return RunState("killed", gone)


def _ended(capture: RunCapture) -> RunState:
    given = f"{CAPTURE_FILE} gives the end {capture.ended_at}"
    return RunState("ended", given if capture.ending is None else f"{capture.ending}; {given}")


def _ghost(folder: Path) -> RunState:
    """Return what a folder is in which no run has written down that it began."""
    is_there = (folder / CAPTURE_FILE).is_file()
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    holds = (
        ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "") if names else "nothing"
    )
    what = f"the {CAPTURE_FILE} in it cannot be read" if is_there else f"there is no {CAPTURE_FILE} in it"
    because = "" if is_there else ", so its start was killed at once, or another program made it"
    return RunState("unknown", f"{what}{because}; it holds {holds}")


def _capture(folder: Path) -> RunCapture | None:
    if not (folder / CAPTURE_FILE).is_file():
        return None
    try:
        return RunCapture.parse(
            read_regular(folder / CAPTURE_FILE, limit=MANIFEST_LIMIT_BYTES), origin=CAPTURE_FILE
        )
    except (OSError, RecordInvalid):
        return None


def _heartbeat(folder: Path) -> Heartbeat | None:
    if not (folder / HEARTBEAT_FILE).is_file():
        return None
    try:
        return Heartbeat.parse(
            read_regular(folder / HEARTBEAT_FILE, limit=MANIFEST_LIMIT_BYTES), origin=HEARTBEAT_FILE
        )
    except (OSError, RecordInvalid):
        return None


def _log_tail(folder: Path) -> str:
    """Return where the log ends: its last line and whether that is whole."""
    num_lines, last = 0, b"\n"
    try:
        with opened_regular(folder / "train.log") as log:
            while chunk := log.read(1 << 20):
                num_lines += chunk.count(b"\n")
                last = chunk[-1:]
    except OSError:
        return ""
    is_torn = last != b"\n"
    return f"; train.log ends at line {num_lines + is_torn}{', in the middle of a line' if is_torn else ''}"
