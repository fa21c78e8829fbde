"""What ``train`` writes down about its surroundings while it runs: the file ``run.json`` of a run."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import SerializerFunctionWrapHandler, model_serializer

from runkit.records.manifest import Command, Hardware, Software
from runkit.records.record import Record, RunId

CAPTURE_FILE = "run.json"


class Resumption(Record):
    """One later start of a run that had stopped before its end."""

    resumed_at: str
    """ISO 8601 with offset."""
    stopped_at: str | None
    """End of the process before; null when it was killed."""
    command: Command
    hardware: Hardware
    software: Software


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

    @model_serializer(mode="wrap")
    def _without_empty_resumptions(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = serialize(self)
        if not self.resumptions:
            del document["resumptions"]
        return document
