"""What ``train`` writes down about its surroundings while it runs: the file ``run.json`` of a run."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from runkit.records.manifest import Command, Hardware, Software
from runkit.records.record import Record, RunId

CAPTURE_FILE = "run.json"


class RankPlace(Record):
    """Where one of several processes of a run computed."""

    rank: int
    node: int
    """Number of its machine, from 0."""
    device: str
    """``cpu``, or ``cuda:1``."""


class Resumption(Record):
    """One later start of a run that had stopped before its end."""

    resumed_at: str
    """ISO 8601 with offset."""
    stopped_at: str | None
    """End of the process before; null when it was killed."""
    command: Command
    hardware: Hardware
    software: Software
    ranks: tuple[RankPlace, ...] = ()
    """Absent where one process trained."""

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_empty(serialize(self), "ranks")


class RunCapture(Record):
    """Command, machine and software of one run; written at the start, and again with the end."""

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
    ranks: tuple[RankPlace, ...] = ()
    """The processes of the first start, by rank; absent where one process trained."""

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_empty(serialize(self), "resumptions", "ranks")


def without_empty(document: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return *document* without those of *keys* that hold nothing, as files from before they came are."""
    return {name: value for name, value in document.items() if name not in keys or value}
