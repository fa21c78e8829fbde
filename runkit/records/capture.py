"""What ``train`` and ``run`` write down about a run while it goes on: the file ``run.json``."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeInt, PositiveInt

from runkit.records.manifest import Command, Hardware, Software
from runkit.records.record import GrownRecord, Record, RunId

CAPTURE_FILE = "run.json"
HEARTBEAT_FILE = "heartbeat.json"


ASKED_TO_STOP = frozenset({"SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGXCPU"})
"""Signals by which people and schedulers ask a program to end; one that ends after it ended early."""


class SchedulerJob(Record):
    """The job of a batch system that a start of a run belongs to."""

    scheduler: Literal["slurm"]
    job_id: str
    """Its own number; each task of an array has one."""
    array_job_id: str | None
    array_task_id: str | None
    restart_count: NonNegativeInt
    """How often the job was requeued before."""
    rank: NonNegativeInt | None
    """Of the task among those of a step of several; null when it is alone."""

    @property
    def label(self) -> str:
        """The job as people call it: ``1234``, or ``1230_7`` for task 7 of an array."""
        return f"{self.array_job_id}_{self.array_task_id}" if self.array_job_id else self.job_id

    def is_same(self, other: SchedulerJob | None) -> bool:
        """Return whether *other* is this job, perhaps before or after it was requeued, on the same rank."""
        return other is not None and (self.job_id, self.rank) == (other.job_id, other.rank)


class ProcessIdentity(Record):
    """One process, told apart from every other one, also after its number was given out again."""

    host: str
    boot_id: str
    """The kernel's id of the time since the machine was started."""
    pid: PositiveInt
    started_ticks: NonNegativeInt
    """When the process started, in clock ticks since the machine was."""


class ProcessEnd(GrownRecord):
    """How a process ended, as its parent saw it."""

    younger: ClassVar[frozenset[str]] = frozenset({"asked", "never_started"})

    exit_code: int | None
    """Null when a signal ended it."""
    signal: str | None
    """Name of the signal that ended it, for example ``SIGKILL``."""
    asked: tuple[str, ...] = ()
    """Signals that reached runkit while the program ran, and that asked it to end."""
    never_started: str | None = None
    """Why the program could not be started."""


class Resumption(GrownRecord):
    """One later start of a run that had stopped before its end."""

    younger: ClassVar[frozenset[str]] = frozenset({"stopped", "job", "log_offset"})

    resumed_at: str
    """ISO 8601 with offset."""
    stopped_at: str | None
    """End of the process before; null when it was killed."""
    command: Command
    hardware: Hardware
    software: Software
    stopped: ProcessEnd | None = None
    """How the program before ended under ``runkit run``; null when nobody saw it."""
    job: SchedulerJob | None = None
    log_offset: NonNegativeInt | None = None
    """Byte of ``train.log`` where this start begins, with a line that says so."""


class LostOutput(Record):
    """Output of a program that the disk did not take."""

    log_offset: NonNegativeInt
    """Byte of ``train.log`` where it would stand; a line there says so, once there was room for one."""
    num_bytes: PositiveInt
    because: str
    lost_from: str
    """ISO 8601 with offset."""
    lost_until: str


class Heartbeat(GrownRecord):
    """The last sign of life of a run, in ``heartbeat.json`` while it goes on."""

    younger: ClassVar[frozenset[str]] = frozenset({"standby"})

    format: Literal[1]
    at: str
    """ISO 8601 with offset."""
    interval_seconds: PositiveInt
    """The next one is due after this time."""
    process: ProcessIdentity
    standby: bool = False
    """Whether ``runkit run`` itself was killed, and what stood by for that keeps the output since."""


class RunCapture(GrownRecord):
    """Command, machine and software of one run; written at the start, and again with the end."""

    younger: ClassVar[frozenset[str]] = frozenset(
        {"resumptions", "captured", "process", "end", "job", "lost_output", "not_recorded"}
    )

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
    job: SchedulerJob | None = None
    """Of the first start; null when it had none."""
    lost_output: tuple[LostOutput, ...] = ()
    not_recorded: tuple[str, ...] = ()
    """What could not be found out or kept, each with the reason."""

    @property
    def last_job(self) -> SchedulerJob | None:
        """The job of the last start."""
        return self.resumptions[-1].job if self.resumptions else self.job

    @property
    def ending(self) -> str | None:
        """How the last start of the program ended, in our words; None when nobody saw it."""
        end = self.end
        if end is None:
            return None
        if end.never_started is not None:
            return f"the program could not be started: {end.never_started}"
        within = "" if self.last_job is None else f" of Slurm job {self.last_job.label}"
        if end.signal is not None:
            if not within:
                return f"{end.signal} ended the program"
            return f"ended by {end.signal} ({_sender(end.signal)}{within})"
        asked = next(iter(end.asked), None)
        by = f" ({_sender(asked)}{within})" if asked and within else ""
        after = f" after {asked}{by}" if asked else ""
        return f"the program ended with exit code {end.exit_code}{after}"


def _sender(signal: str) -> str:
    """Return who sends *signal* to a job of a batch system."""
    if signal == "SIGKILL":
        return "out of memory, kill or time limit"
    return "scancel / time limit" if signal in ASKED_TO_STOP else "in the program"
