"""Relations that configurations propose: for a person to confirm, never noted by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runkit.checks.comparison import EffectiveDifference, KeyDifference, effective_difference, is_noop
from runkit.checks.view import ArchiveView
from runkit.records.manifest import Manifest, Relation, RelationKind
from runkit.records.record import canonical_json

MAX_FACTORS = 2
"""Up to so many settings that differ are called an ablation; beyond, two runs are merely different."""


@dataclass(frozen=True)
class Suggestion:
    """A relation that the configurations would bear out."""

    run_id: str
    relation: Relation
    because: str

    @property
    def command(self) -> str:
        """How a person notes it."""
        factors = "".join(f" --factor {factor}" for factor in self.relation.factors)
        return f"runkit note {self.run_id} --relate {self.relation.kind}:{self.relation.run_id}{factors}"


def suggestions(archive: ArchiveView) -> tuple[Suggestion, ...]:
    """Return a relation for each run that has none, where one fits; sorted by run.

    The earlier of two runs is the one that is related to: by start, and by id where no start is known. A
    replicate comes before a swap, a swap before an ablation, and the fewest differences first. A seed that
    differs makes a replicate of what would be equal otherwise, and with other settings it is a second factor.
    """
    ordered = sorted(archive.by_id.values(), key=_began)
    return tuple(
        found
        for index, manifest in enumerate(ordered)
        if not manifest.notes.relations
        for found in _best(manifest, ordered[:index])
    )


def _began(manifest: Manifest) -> tuple[str, str]:
    started = manifest.sealed.started
    return (started.at if started is not None else "9999", manifest.run_id)


def _best(manifest: Manifest, earlier: Sequence[Manifest]) -> Iterator[Suggestion]:
    """Yield the relation to an earlier run that fits best, if one fits."""
    if not manifest.sealed.configuration.effective:
        return
    found = [one for other in earlier if (one := _fitting(manifest, other)) is not None]
    if found:
        yield min(found, key=lambda one: one[0])[1]


def _fitting(manifest: Manifest, other: Manifest) -> tuple[tuple[int, int, str], Suggestion] | None:
    if not other.sealed.configuration.effective or not _measure_alike(manifest, other):
        return None
    difference = effective_difference(manifest, other)
    fit = _kind(manifest, other, difference)
    if fit is None:
        return None
    kind, factors, because, rank = fit
    relation = Relation(kind=kind, run_id=other.run_id, factors=factors)
    return (rank, len(difference.changed), other.run_id), Suggestion(manifest.run_id, relation, because)


def _measure_alike(manifest: Manifest, other: Manifest) -> bool:
    """Return whether two runs of any programs have a measure in common, or one of them has none."""
    here, there = manifest.sealed.scores, other.sealed.scores
    if not here or not there:
        return True
    return not {(one.task, one.metric.name) for one in here}.isdisjoint(
        (one.task, one.metric.name) for one in there
    )


def _kind(
    manifest: Manifest, other: Manifest, difference: EffectiveDifference
) -> tuple[RelationKind, tuple[str, ...], str, int] | None:
    if is_noop(manifest, other):
        return "replicates", (), "the same effective configuration", 0
    changed = [one for one in difference.changed if not one.is_seed]
    if not changed:
        return "replicates", (), f"only the seed differs ({_listed(difference.changed)})", 0
    if _is_swap(manifest, other, changed):
        return "swaps", (), "source and target are exchanged", 1
    settings = [one for one in changed if not one.is_setup]
    if len(settings) != len(difference.changed) and not settings:
        return None
    if 1 <= len(settings) <= MAX_FACTORS and not any(_is_input(one) for one in settings):
        return "ablates", tuple(one.key for one in settings), _listed(difference.changed), 2
    return None


def _is_swap(manifest: Manifest, other: Manifest, changed: Sequence[KeyDifference]) -> bool:
    here, there = (
        [model.name if model is not None else None for model in map(run.sealed.model, ("source", "target"))]
        for run in (manifest, other)
    )
    if None in here or here != there[::-1] or here == there:
        return False
    names = {canonical_json(name) for name in here}
    rest = [one for one in changed if not _is_input(one) and {one.value, one.control_value} != names]
    return len([one for one in rest if not one.is_setup]) <= MAX_FACTORS


def _is_input(difference: KeyDifference) -> bool:
    return difference.key.startswith(("models.", "data."))


def _listed(differences: Sequence[KeyDifference]) -> str:
    return "; ".join(map(str, differences))
