"""All that checks look at, as one value; not how it was read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from runkit.records.finding import Finding
from runkit.records.items import RunItems
from runkit.records.manifest import Manifest
from runkit.records.observation import RunObservation
from runkit.records.outcomes import RunOutcomes
from runkit.records.rereading import Rereading
from runkit.records.run_texts import RunTexts


@dataclass(frozen=True)
class ArchiveView:
    """Manifests, and beside them what was seen on the disk and measured, as far as it was read."""

    manifests: tuple[Manifest, ...]
    """Each run once, in any order."""
    observations: Mapping[str, RunObservation] = field(default_factory=dict)
    """Run id to what was seen; a run without one is not checked against the disk."""
    outcomes: Mapping[str, RunOutcomes] = field(default_factory=dict)
    """Run id to per-sample outcomes; a run without them is not recomputed."""
    texts: Mapping[str, RunTexts] = field(default_factory=dict)
    """Run id to generated texts and summaries; a run without them is judged by counts only."""
    rereadings: Mapping[str, Rereading] = field(default_factory=dict)
    """Run id to what its kept files say now; a run without one is not compared with its files."""
    unreadable_ids: frozenset[str] = frozenset()
    """Runs whose manifest exists and cannot be read, so that relations to them are not unknown."""
    items: Mapping[str, RunItems] = field(default_factory=dict)
    """Run id to item scores, of runs of format 2; one without them is not recomputed."""

    @cached_property
    def by_id(self) -> Mapping[str, Manifest]:
        """Run id to manifest, sorted by id."""
        return {run.run_id: run for run in sorted(self.manifests, key=lambda run: run.run_id)}


@dataclass(frozen=True)
class Family:
    """Checks that look at the same things."""

    name: str
    findings: Callable[[ArchiveView], Iterable[Finding]]
    rules: frozenset[str]
    """The codes that these checks can find."""
