"""Differences to a control, against exact counts by hand."""

from __future__ import annotations

from collections.abc import Sequence

from runkit.checks.gather import gather
from runkit.checks.statistics import STATISTICS, compared_runs
from runkit.checks.view import ArchiveView
from runkit.records.manifest import Manifest, Notes, Relation
from runkit.records.outcomes import RunOutcomes
from tests.checks.builders import GOLDS, SETTINGS, lines, manifest_of, outcomes_for

MEAN = {**SETTINGS, "bridge.conditioning": "mean"}
ABLATES = Notes(relations=(Relation(kind="ablates", run_id="control", factors=("conditioning",)),))


def final(*right: int) -> tuple[str, ...]:
    """Return final answers that are right on the items *right* and wrong on the others."""
    return tuple(gold if index in right else f"no {index}" for index, gold in enumerate(GOLDS))


FIRST_TWELVE = tuple(range(12))


def judged(finals: dict[str, Sequence[int]], *, replicates: Sequence[str] = ()) -> list[str]:
    """Return the findings over runs with these right items; all but control and *replicates* ablate it."""
    manifests: list[Manifest] = []
    outcomes: dict[str, RunOutcomes] = {}
    for run_id, right in finals.items():
        is_same = run_id == "control" or run_id in replicates
        settings, notes = (SETTINGS, Notes()) if is_same else (MEAN, ABLATES)
        manifests.append(manifest_of(run_id, settings=settings, notes=notes, final=final(*right)))
        outcomes[run_id] = outcomes_for(run_id, final=final(*right))
    return lines(gather(ArchiveView(tuple(manifests), outcomes=outcomes), (STATISTICS,)))


def test_a_difference_that_is_not_significant_is_noted_with_its_counts() -> None:
    assert judged({"control": FIRST_TWELVE, "b": (*range(9), 12)}) == [
        "info RK501 b notes.relations.ablates.control: -10.0 points against control on 20 items "
        "(discordant 1:3, "
        "McNemar exact p = 0.62), expected p below 0.05; no replicate of the control measures its noise"
    ]


def test_a_significant_difference_is_no_finding() -> None:
    assert judged({"control": FIRST_TWELVE, "b": range(6)}) == []


def test_five_lost_items_are_not_significant_and_six_are() -> None:
    assert len(judged({"control": FIRST_TWELVE, "b": range(7)})) == 1
    assert judged({"control": FIRST_TWELVE, "b": range(6)}) == []


def test_replicates_of_the_control_measure_the_noise_floor() -> None:
    lost = {"control": FIRST_TWELVE, "again": (*range(7), *range(12, 17)), "b": range(6)}
    assert judged(lost, replicates=["again"]) == [
        "info RK501 b notes.relations.ablates.control: -30.0 points against control on 20 items "
        "(discordant 0:6, "
        "McNemar exact p = 0.03), inside the noise floor of 31.0 points that 2 runs of the control's "
        "configuration "
        "measure"
    ]


def test_a_difference_beyond_the_measured_floor_is_no_finding() -> None:
    lost = {"control": FIRST_TWELVE, "again": (*range(11), 12), "b": range(6)}
    assert judged(lost, replicates=["again"]) == []


def test_a_difference_beyond_the_floor_still_has_to_be_significant() -> None:
    lost = {"control": FIRST_TWELVE, "again": (*range(11), 12), "b": range(7)}
    assert judged(lost, replicates=["again"]) == [
        "info RK501 b notes.relations.ablates.control: -25.0 points against control on 20 items "
        "(discordant 0:5, McNemar exact p = 0.06), expected p below 0.05; it is beyond the noise floor of "
        "13.9 points that 2 runs of the control's configuration measure"
    ]


def test_replicates_without_any_noise_leave_the_decision_to_the_test() -> None:
    same = {"control": FIRST_TWELVE, "again": FIRST_TWELVE, "b": (*range(9), 12)}
    assert len(judged(same, replicates=["again"])) == 1
    assert judged({**same, "b": range(6)}, replicates=["again"]) == []


def test_runs_without_outcomes_are_not_compared() -> None:
    runs = (manifest_of(), manifest_of("b", settings=MEAN, notes=ABLATES))
    assert gather(ArchiveView(runs), (STATISTICS,)) == ()


def test_only_compared_runs_and_their_replicates_are_needed() -> None:
    runs = (
        manifest_of(),
        manifest_of("again"),
        manifest_of("b", settings=MEAN, notes=ABLATES),
        manifest_of("stranger", settings={**SETTINGS, "seed": 9}),
    )
    assert compared_runs(ArchiveView(runs)) == ("again", "b", "control")
    assert compared_runs(ArchiveView(runs[:2])) == ()
