"""What ``train`` writes down about its surroundings while it runs: the file ``run.json`` of a run."""

from __future__ import annotations

from typing import Literal

from runkit.records.manifest import Command, Hardware, Software
from runkit.records.record import Record, RunId

CAPTURE_FILE = "run.json"


class RunCapture(Record):
    """Command, machine and software of one run; written at the start, and again with the end."""

    format: Literal[1]
    run_id: RunId
    started_at: str
    """ISO 8601 with offset."""
    ended_at: str | None
    """ISO 8601 with offset; null while the run goes on, and for ever when it was killed."""
    command: Command
    hardware: Hardware
    software: Software
