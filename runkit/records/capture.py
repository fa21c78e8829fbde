"""What ``train`` writes down about its surroundings while it runs: the file ``run.json`` of a run."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeInt, PositiveInt

from runkit.records.manifest import Command, Hardware, Software
from runkit.records.record import GrownRecord, Record, RunId

CAPTURE_FILE = "run.json"
HEARTBEAT_FILE = "heartbeat.json"


class Resumption(Record):
    """One later start of a run that had stopped before its end."""

    resumed_at: str
    """ISO 8601 with offset."""
    stopped_at: str | None
    """End of the process before; null when it was killed."""
    command: Command
    hardware: Hardware
    software: Software


class ProcessIdentity(Record):
    """One process, told apart from every other one, also after its number was given out again."""

    host: str
    boot_id: str
    """The kernel's id of the time since the machine was started."""
    pid: PositiveInt
    started_ticks: NonNegativeInt
    """When the process started, in clock ticks since the machine was."""


class ProcessEnd(Record):
    """How a process ended, as its parent saw it."""

    exit_code: int | None
    """Null when a signal ended it."""
    signal: str | None
    """Name of the signal that ended it, for example ``SIGKILL``."""


class Heartbeat(Record):
    """The last sign of life of a run, in ``heartbeat.json`` while it goes on."""

    format: Literal[1]
    at: str
    """ISO 8601 with offset."""
    interval_seconds: PositiveInt
    """The next one is due after this time."""
    process: ProcessIdentity


class RunCapture(GrownRecord):
    """Command, machine and software of one run; written at the start, and again with the end."""

    younger: ClassVar[frozenset[str]] = frozenset({"resumptions", "captured", "process", "end"})

    format: Literal[1]
    run_id: RunId
    started_at: str
    """ISO 8601 with offset; of the first start."""
    ended_at: str | None
    """ISO 8601 with offset; null while the run goes on, and for ever when it was killed."""
    command: Command
    hardware: Hardware
    software: Software
    resumptions: tuple[Resumption, ...] = ()
    """Later starts, oldest first; absent in files of runs that were never resumed."""
    captured: Literal["training", "command"] = "training"
    """``command``: another program under ``runkit run``."""
    process: ProcessIdentity | None = None
    """The process that wrote the run last; absent in files of older versions."""
    end: ProcessEnd | None = None
    """How the program under ``runkit run`` ended; null while it goes on, and when nobody saw its end."""
