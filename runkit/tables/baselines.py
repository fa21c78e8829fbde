"""The two frozen models alone: one row for all runs that measured the same, more when they did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from runkit.records.cells import ScoreSource
from runkit.stats.multiplicity import holm
from runkit.stats.paired import PairedCounts, mcnemar_exact, paired_counts
from runkit.tables.measured import (
    BRIDGED,
    ArchivedRun,
    baseline_evaluation,
    final_evaluation,
    proven_outcomes,
    score_source,
)

_SYSTEMS: tuple[Literal["source", "target"], ...] = ("source", "target")


@dataclass(frozen=True)
class BaselineGroup:
    """One baseline row: a system with equal counts on equal items in several runs."""

    name: str
    """``Source alone``, or ``Source (1)`` and so on when there are several."""
    model: str | None
    """Name of the model without its organisation."""
    correct: ScoreSource
    invalid: ScoreSource
    labels: tuple[str, ...]
    """Labels of the rows that it is the baseline of."""


def baseline_groups(rows: Sequence[tuple[str, ArchivedRun]]) -> tuple[BaselineGroup, ...]:
    """Return the baselines of *rows*, pairs of label and run: sources first, then targets.

    A run without a final evaluation contributes the baselines of its last one with outcomes.
    """
    return tuple(group for system in _SYSTEMS for group in _groups_of(system, rows))


@dataclass(frozen=True)
class FrozenComparison:
    """Every row with a final score against one frozen model alone, on the row's own items."""

    system: Literal["source", "target"]
    rows: tuple[tuple[str, PairedCounts, float], ...]
    """Label, joint counts with the row first, and Holm-adjusted exact p over all these rows."""


def frozen_comparisons(rows: Sequence[tuple[str, ArchivedRun]]) -> tuple[FrozenComparison, ...]:
    """Return *rows*, pairs of label and run, compared with the target alone and with the source alone."""
    found = (_against(system, rows) for system in reversed(_SYSTEMS))
    return tuple(comparison for comparison in found if comparison.rows)


def _against(
    system: Literal["source", "target"], rows: Sequence[tuple[str, ArchivedRun]]
) -> FrozenComparison:
    paired: list[tuple[str, PairedCounts]] = []
    for label, run in rows:
        evaluation = final_evaluation(run)
        if evaluation is None or evaluation.score(system) is None:
            continue
        outcomes = proven_outcomes(run, evaluation)
        paired.append((label, paired_counts(outcomes.correct(BRIDGED), outcomes.correct(system))))
    adjusted = holm([mcnemar_exact(counts.only_first, counts.only_second) for _, counts in paired])
    return FrozenComparison(
        system, tuple((label, counts, p) for (label, counts), p in zip(paired, adjusted, strict=True))
    )


def model_names(run: ArchivedRun) -> Mapping[str, str | None]:
    """Return the names of the source and the target without their organisations; None where not recorded."""
    models = {system: run.manifest.sealed.model(system) for system in _SYSTEMS}
    return {
        system: None if model is None else model.name.rstrip("/").rsplit("/", 1)[-1]
        for system, model in models.items()
    }


def _groups_of(
    system: Literal["source", "target"], rows: Sequence[tuple[str, ArchivedRun]]
) -> tuple[BaselineGroup, ...]:
    groups: dict[tuple[object, ...], BaselineGroup] = {}
    for label, run in rows:
        evaluation = baseline_evaluation(run)
        if evaluation is None or evaluation.score(system) is None:
            continue
        correct = score_source(run, evaluation, system, "correct")
        invalid = score_source(run, evaluation, system, "invalid")
        group = BaselineGroup("", model_names(run)[system], correct, invalid, (label,))
        key = (group.model, correct.count, invalid.count, correct.n, correct.split, correct.items_sha256)
        groups[key] = _joined(groups[key], group) if key in groups else group
    return _named(system.capitalize(), tuple(groups.values()))


def _named(name: str, groups: tuple[BaselineGroup, ...]) -> tuple[BaselineGroup, ...]:
    if len(groups) == 1:
        return (replace(groups[0], name=f"{name} alone"),)
    return tuple(replace(group, name=f"{name} ({number})") for number, group in enumerate(groups, start=1))


def _joined(first: BaselineGroup, second: BaselineGroup) -> BaselineGroup:
    return replace(
        first,
        correct=first.correct.model_copy(update={"runs": first.correct.runs + second.correct.runs}),
        invalid=first.invalid.model_copy(update={"runs": first.invalid.runs + second.invalid.runs}),
        labels=first.labels + second.labels,
    )
