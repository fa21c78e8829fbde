"""What a reader makes of a run directory."""

from __future__ import annotations

from dataclasses import dataclass, field

from runkit.records.items import RunItems
from runkit.records.manifest import Notes, RunFacts
from runkit.records.outcomes import RunOutcomes


@dataclass(frozen=True)
class IngestedRun:
    """The facts of one run, its outcomes, and the notes that it brought along."""

    facts: RunFacts
    outcomes: RunOutcomes
    notes: Notes
    declared_factors: tuple[str, ...]
    """Configuration keys that the run itself says it changes against its control."""
    items: RunItems = field(default_factory=dict)
    """Item scores of a run of format 2; one of format 1 has outcomes."""
