"""Runs that repeat one configuration, as a value; which runs those are is found in ``runkit.checks``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReplicateGroup:
    """Runs that are declared as replicates of one another and differ in nothing but seeds."""

    run_ids: tuple[str, ...]
    """At least two; first the run that the others repeat."""
    seed_keys: tuple[str, ...]
    """The configuration keys that differ, sorted; empty when the same seed was run again."""
