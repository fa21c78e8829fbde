"""Whether a run still goes on, derived from its process and its traces, never from its own last word."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from runkit.archive.opening import MANIFEST_LIMIT_BYTES, read_regular
from runkit.archive.processes import boot_id, is_alive
from runkit.errors import RecordInvalid
from runkit.records.capture import CAPTURE_FILE, HEARTBEAT_FILE, Heartbeat, RunCapture

State = Literal["running", "silent", "ended", "killed", "unknown"]
"""``silent``: the process lives without a sign of life, or is on another machine and gave none lately."""

_LATE = 4
"""So many intervals without a heartbeat are silence; a machine under load misses one or two."""

_LOG_LIMIT_BYTES = 1 << 30
"""Lines of longer logs are not counted."""


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
        return RunState("unknown", f"there is no readable {CAPTURE_FILE} in it")
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
            return RunState("ended", f"{CAPTURE_FILE} gives the end {capture.ended_at}")
        if is_late:
            return RunState("silent", f"{who} lives and has been silent for {age_seconds:.0f} s{said}")
        return RunState("running", f"{who} lives{said}")
    if capture.ended_at is not None and beat is None:
        return RunState("ended", f"{CAPTURE_FILE} gives the end {capture.ended_at}")
    if alive is None:
        if is_late or beat is None:
            return RunState("silent", f"{who} cannot be seen from here{said}")
        return RunState("running", f"{who} cannot be seen from here, and gave a sign of life at {beat.at}")
    rebooted = ", and the machine was started again since" if process.boot_id != boot_id() else ""
    return RunState("killed", f"{who} is gone and wrote no end{rebooted}{said}{_log_tail(folder)}")


def _capture(folder: Path) -> RunCapture | None:
    try:
        return RunCapture.parse(
            read_regular(folder / CAPTURE_FILE, limit=MANIFEST_LIMIT_BYTES), origin=CAPTURE_FILE
        )
    except (OSError, RecordInvalid):
        return None


def _heartbeat(folder: Path) -> Heartbeat | None:
    try:
        return Heartbeat.parse(
            read_regular(folder / HEARTBEAT_FILE, limit=MANIFEST_LIMIT_BYTES), origin=HEARTBEAT_FILE
        )
    except (OSError, RecordInvalid):
        return None


def _log_tail(folder: Path) -> str:
    """Return where the log ends: its last line and whether that is whole."""
    try:
        content = read_regular(folder / "train.log", limit=_LOG_LIMIT_BYTES)
    except OSError:
        return ""
    num_lines = content.count(b"\n") + (not content.endswith(b"\n"))
    torn = "" if content.endswith(b"\n") or not content else ", in the middle of a line"
    return f"; train.log ends at line {num_lines}{torn}"
