"""The rows of a table over seeds as measurements: which runs belong together, and why some do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from runkit.errors import TableRefused
from runkit.records.manifest import Evaluation
from runkit.records.outcomes import EvaluationOutcomes
from runkit.records.seedspec import SeedRow, SeedTableSpec
from runkit.tables.measured import ArchivedRun, evidence_of, final_evaluation, proven_outcomes, why_no_final

SEED = "seed"
"""Key of the effective configuration that is allowed, and expected, to differ between the runs of a row."""


class Change(NamedTuple):
    """One setting in which a run differs from another one."""

    key: str
    value: str
    """In the run, as JSON."""


Changes = Callable[[ArchivedRun, ArchivedRun], Sequence[Change]]
"""In what the first run differs from the second: settings, models and data, but no mere consequences."""


@dataclass(frozen=True)
class MeasuredRow:
    """The runs of a row in the order of the control's seeds, each with its final evaluation."""

    label: str
    seeds: tuple[int, ...]
    runs: tuple[ArchivedRun, ...]
    evaluations: tuple[Evaluation, ...]
    outcomes: tuple[EvaluationOutcomes, ...]

    def correct(self, system: str) -> list[tuple[bool, ...]]:
        """Return for each seed and item whether *system* was correct."""
        return [found.correct(system) for found in self.outcomes]

    @property
    def evidence(self) -> tuple[str, ...]:
        """Where each final evaluation stands."""
        return tuple(evidence_of(run, found) for run, found in zip(self.runs, self.evaluations, strict=True))


def measured_rows(
    spec: SeedTableSpec, runs: Mapping[str, ArchivedRun], changes: Changes
) -> tuple[MeasuredRow, ...]:
    """Return the rows of *spec*, all with the control's seeds, in its order.

    Raises:
        TableRefused: Runs of a row differ in more than their seed, a row has other seeds or items than the
            control, a run does not record its seed or did not finish.
    """
    control_row = next(row for row in spec.rows if row.label == spec.control)
    seeds = tuple(_by_seed(control_row, runs))
    measured = tuple(_measured(row, seeds, spec.control, runs, changes) for row in spec.rows)
    control = next(row for row in measured if row.label == spec.control)
    for row in measured:
        _check_items(row, control)
    return measured


def _measured(
    row: SeedRow, seeds: tuple[int, ...], control: str, runs: Mapping[str, ArchivedRun], changes: Changes
) -> MeasuredRow:
    by_seed = _by_seed(row, runs)
    if set(by_seed) != set(seeds):
        raise TableRefused(
            f"row {row.label!r} has the seeds {_listed(sorted(by_seed))}, the control {control!r} "
            f"{_listed(sorted(seeds))}, so differences cannot be taken seed by seed; train the missing ones, "
            "or leave them out of all rows"
        )
    in_order = tuple(by_seed[seed] for seed in seeds)
    for run in in_order[1:]:
        others = [change.key for change in changes(run, in_order[0]) if change.key != SEED]
        if others:
            raise TableRefused(
                f"runs {in_order[0].run_id} and {run.run_id} of row {row.label!r} differ in more than their "
                f"seed: {', '.join(others)}; give each configuration a row of its own"
            )
    evaluations = tuple(_final(run) for run in in_order)
    outcomes = tuple(proven_outcomes(run, found) for run, found in zip(in_order, evaluations, strict=True))
    return MeasuredRow(row.label, seeds, in_order, evaluations, outcomes)


def _by_seed(row: SeedRow, runs: Mapping[str, ArchivedRun]) -> dict[int, ArchivedRun]:
    by_seed: dict[int, ArchivedRun] = {}
    for run_id in row.runs:
        seed = runs[run_id].manifest.sealed.configuration.effective.get(SEED)
        if not isinstance(seed, int):
            raise TableRefused(
                f"run {run_id} does not record its training seed, so it is no row over seeds; leave it out"
            )
        if seed in by_seed:
            raise TableRefused(
                f"runs {by_seed[seed].run_id} and {run_id} of row {row.label!r} both have seed {seed}; a "
                "seed counts once, so leave one out"
            )
        by_seed[seed] = runs[run_id]
    return by_seed


def _final(run: ArchivedRun) -> Evaluation:
    final = final_evaluation(run)
    if final is None:
        raise TableRefused(
            f"run {run.run_id} has no final score, {why_no_final(run)}; finish it, or leave its seed out of "
            "all rows"
        )
    return final


def _check_items(row: MeasuredRow, control: MeasuredRow) -> None:
    first, digest = control.outcomes[0], control.evaluations[0].items_sha256
    for run, evaluation, found in zip(row.runs, row.evaluations, row.outcomes, strict=True):
        if evaluation.items_sha256 != digest or (found.items, found.golds) != (first.items, first.golds):
            raise TableRefused(
                f"run {run.run_id} was measured on other items than {control.runs[0].run_id}, so the two "
                "cannot be paired; evaluate both on the same items, or leave the row out"
            )


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
