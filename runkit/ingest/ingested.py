"""What a reader makes of a run directory: all facts of the manifest that do not concern the archive."""

from __future__ import annotations

from dataclasses import dataclass

from runkit.records.manifest import (
    Command,
    Configuration,
    DataReference,
    Evaluation,
    Hardware,
    Metric,
    MissingArtifact,
    ModelReference,
    Moment,
    Notes,
    Provenance,
    Software,
    StatusFact,
    Training,
)
from runkit.records.outcomes import RunOutcomes


@dataclass(frozen=True)
class IngestedRun:
    """The facts of one run, its outcomes, and the notes that it brought along."""

    provenance: Provenance
    started: Moment | None
    ended: Moment | None
    duration_seconds: float | None
    status: StatusFact
    command: Command
    hardware: Hardware
    software: Software
    configuration: Configuration
    models: tuple[ModelReference, ...]
    data: DataReference
    training: Training
    evaluations: tuple[Evaluation, ...]
    metrics: tuple[Metric, ...]
    missing_artifacts: tuple[MissingArtifact, ...]
    outcomes: RunOutcomes
    notes: Notes
    declared_factors: tuple[str, ...]
    """Configuration keys that the run itself says it changes against its control."""
