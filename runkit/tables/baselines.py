"""The two frozen models alone: one row for all runs that measured the same, more when they did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from runkit.records.cells import ScoreSource
from runkit.tables.measured import ArchivedRun, baseline_evaluation, score_source

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
