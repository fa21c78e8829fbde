"""Rows against their control on the same items: paired counts, one family of tests, the noise floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runkit.errors import TableRefused
from runkit.records.cells import ComparisonSource
from runkit.records.manifest import Evaluation
from runkit.stats.multiplicity import holm
from runkit.stats.noise import NoiseFloor, noise_floor
from runkit.stats.paired import PairedCounts, mcnemar_exact, mcnemar_midp, newcombe_interval, paired_counts
from runkit.stats.power import minimum_detectable_effect
from runkit.stats.rounding import stored
from runkit.tables.measured import BRIDGED, ArchivedRun, evidence_of, final_evaluation, proven_outcomes

SIGNIFICANT_BELOW = 0.05


@dataclass(frozen=True)
class Family:
    """The comparisons of one table."""

    by_run: Mapping[str, ComparisonSource]
    """Run id of a row to its comparison; rows without a final score are left out."""
    tested: tuple[str, ...]
    """Run ids in the Holm family, in the order of the rows."""
    noise: NoiseFloor | None
    """From the control and its replicates; None without replicates."""


def compare_rows(control: ArchivedRun, others: Sequence[ArchivedRun], replicates: frozenset[str]) -> Family:
    """Return each row against the control; replicates are compared and not tested.

    Raises:
        TableRefused: A row was measured on other items than the control.
    """
    final = control_final(control)
    paired = {run.run_id: _paired(run, control, final) for run in others if final_evaluation(run) is not None}
    tested = tuple(run_id for run_id in paired if run_id not in replicates)
    adjusted = holm(
        [mcnemar_exact(paired[run_id].only_first, paired[run_id].only_second) for run_id in tested]
    )
    by_run = {
        run.run_id: _source(run, control, paired[run.run_id], dict(zip(tested, adjusted, strict=True)))
        for run in others
        if run.run_id in paired
    }
    repeats = [run for run in others if run.run_id in replicates and run.run_id in paired]
    return Family(by_run, tested, _noise([control, *repeats]) if repeats else None)


def control_final(control: ArchivedRun) -> Evaluation:
    """Return the control's final evaluation.

    Raises:
        TableRefused: It has none.
    """
    final = final_evaluation(control)
    if final is None:
        raise TableRefused(
            f"the control {control.run_id} has no final evaluation, so no row can be compared with it; "
            "choose a control that finished"
        )
    return final


def is_improvement(comparison: ComparisonSource, noise: NoiseFloor | None) -> bool:
    """Return whether a row is better than its control after Holm and beyond the measured noise."""
    gain = (comparison.only_row - comparison.only_control) / num_items(comparison)
    beyond_noise = noise is None or gain > noise.floor_fraction
    return (
        comparison.p_holm is not None and comparison.p_holm < SIGNIFICANT_BELOW and gain > 0 and beyond_noise
    )


def num_items(comparison: ComparisonSource) -> int:
    """Return the number of items that were paired."""
    return comparison.both + comparison.only_row + comparison.only_control + comparison.neither


def _paired(run: ArchivedRun, control: ArchivedRun, control_evaluation: Evaluation) -> PairedCounts:
    evaluation = control_final(run)
    ours, theirs = proven_outcomes(run, evaluation), proven_outcomes(control, control_evaluation)
    digests = (evaluation.items_sha256, control_evaluation.items_sha256)
    if digests[0] != digests[1] or (ours.items, ours.golds) != (theirs.items, theirs.golds):
        raise TableRefused(
            f"run {run.run_id} was measured on other items than the control {control.run_id} "
            f"(digest {_short(digests[0])} against {_short(digests[1])}), so "
            "the two cannot be paired; evaluate both on the same items, or leave the row out"
        )
    return paired_counts(ours.correct(BRIDGED), theirs.correct(BRIDGED))


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "unknown"


def _source(
    run: ArchivedRun, control: ArchivedRun, counts: PairedCounts, adjusted: Mapping[str, float]
) -> ComparisonSource:
    evaluation, interval = control_final(run), newcombe_interval(counts)
    detectable = minimum_detectable_effect(counts.discordance_fraction, counts.n)
    return ComparisonSource(
        runs=(run.source, control.source), evaluation=evaluation.label,
        reference_evaluation=control_final(control).label, split=evaluation.split, system=BRIDGED,
        both=counts.both, only_row=counts.only_first, only_control=counts.only_second, neither=counts.neither,
        estimator="newcombe-95", interval_low=stored(interval.low), interval_high=stored(interval.high),
        test="mcnemar-exact", p_exact=mcnemar_exact(counts.only_first, counts.only_second),
        p_midp=mcnemar_midp(counts.only_first, counts.only_second), p_holm=adjusted.get(run.run_id),
        family=tuple(adjusted) if run.run_id in adjusted else (),
        minimum_detectable_fraction=None if detectable is None else stored(detectable),
        items_sha256=evaluation.items_sha256, evidence=evidence_of(run, evaluation),
    )  # fmt: skip


def _noise(runs: Sequence[ArchivedRun]) -> NoiseFloor:
    return noise_floor([proven_outcomes(run, control_final(run)).correct(BRIDGED) for run in runs])
