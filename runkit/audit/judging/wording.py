"""Evaluations in words: values, places and evidence, for people."""

from __future__ import annotations

from collections.abc import Sequence

from runkit.audit.claims import Difference, Stat, Where
from runkit.audit.truth import Point, points
from runkit.records.manifest import Manifest

FINAL_AND_PEAK: tuple[Stat, Stat] = ("final", "peak")


def listed(meant: Sequence[Point]) -> str:
    """Return *meant* in words."""
    if len(meant) == 1:
        return named(meant[0])
    return ", ".join(f"{point.label}: {point.told()}" for point in meant)


def named(point: Point) -> str:
    """Return one evaluation in words."""
    return (
        f"{point.told()} {'in the final evaluation' if point.label == 'final' else f'at step {point.label}'}"
    )


def dumps_of(meant: Sequence[Point]) -> str:
    """Return where the first of *meant* stand."""
    shown = [point.evidence for point in meant[:3] if point.evidence]
    more = f" and {len(meant) - 3} more" if len(meant) > 3 else ""
    return ", ".join(shown) + more


def final_evidence(run: Manifest) -> str:
    """Return where the last evaluation of the bridge stands."""
    everything = points(run, "bridged")
    return everything[-1].evidence if everything else ""


def nothing_there(run: Manifest, where: Where) -> str:
    """Return why *run* has no evaluation there."""
    if where.stat == "final":
        status = run.sealed.status
        return f"{run.run_id} has no final evaluation: {status.reason}"
    return f"{run.run_id} has no evaluation there"


def no_difference(run: Manifest, claim: Difference) -> str:
    """Return why *run* has no such difference."""
    if claim.where.is_stated and claim.where.stat == "final":
        return f"{run.run_id} has no final evaluation: {run.sealed.status.reason}"
    return f"{run.run_id} has not the scores for it"
