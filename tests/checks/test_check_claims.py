"""Claims in notes: each is true, or makes one finding that quotes the numbers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from runkit.checks.claims import CLAIMS
from runkit.checks.gather import gather
from runkit.checks.statistics import compared_runs
from runkit.checks.view import ArchiveView
from runkit.errors import RecordInvalid
from runkit.records.manifest import Claim, Manifest, Metric, Notes
from runkit.records.outcomes import RunOutcomes
from tests.checks.builders import GOLDS, SETTINGS, lines, manifest_of, outcomes_for

MEAN = {**SETTINGS, "bridge.conditioning": "mean"}


def final(*right: int) -> tuple[str, ...]:
    return tuple(gold if index in right else f"no {index}" for index, gold in enumerate(GOLDS))


def judged(right: Sequence[int], *claims: Claim, others: dict[str, Sequence[int]] | None = None) -> list[str]:
    """Return the findings on a run that solves *right*, beside a control that solves the first twelve."""
    solved = {"control": range(12), **(others or {})}
    manifests = [manifest_of(name, settings=MEAN) for name in solved]
    outcomes: dict[str, RunOutcomes] = {
        name: outcomes_for(name, final=final(*items)) for name, items in solved.items()
    }
    manifests.append(claiming(*claims, final=final(*right)))
    outcomes["b"] = outcomes_for("b", final=final(*right))
    return lines(gather(ArchiveView(tuple(manifests), outcomes=outcomes), (CLAIMS,)))


def claiming(*claims: Claim, **changes: object) -> Manifest:
    return manifest_of("b", notes=Notes(claims=claims), **changes)  # type: ignore[arg-type]


def test_a_supported_claim_is_no_finding() -> None:
    assert judged(range(20), Claim(says="better", than="control")) == []
    assert judged(range(4), Claim(says="worse", than="control")) == []
    assert judged(range(20), Claim(says="better", than="source"), Claim(says="better", than="target")) == []


def test_better_without_significance_is_found() -> None:
    assert judged(range(14), Claim(says="better", than="control")) == [
        "warning RK502 b notes.claims.better.control: the notes call the run better than control: +10.0 "
        "points on "
        "20 items (discordant 2:0), exact p 0.500, 0.500 after Holm over 1 claim with this "
        "reference; expected "
        "a "
        "gain with an adjusted p below 0.05"
    ]


def test_a_claim_in_the_wrong_direction_is_found_however_small_its_p() -> None:
    found = judged(range(4), Claim(says="better", than="control"))
    assert [line.split()[1] for line in found] == ["RK502"]
    assert "-40.0 points" in found[0]


def test_two_claims_with_one_reference_are_one_family() -> None:
    claim = Claim(says="better", than="control")
    assert judged(range(17), claim) == [] or judged(range(18), claim) == []
    runs = [
        manifest_of("control", settings=MEAN),
        *(manifest_of(name, settings=MEAN, notes=Notes(claims=(claim,))) for name in ("a", "b")),
    ]
    outcomes = {
        "control": outcomes_for("control", final=final(*range(12))),
        "a": outcomes_for("a", final=final(*range(17))),
        "b": outcomes_for("b", final=final(*range(13))),
    }
    found = lines(gather(ArchiveView(tuple(runs), outcomes=outcomes), (CLAIMS,)))
    assert [line.split()[2] for line in found] == ["a", "b"]
    assert "exact p 0.062, 0.125 after Holm over 2 claims" in found[0]


def test_a_claim_of_more_than_the_items_can_show_is_noted() -> None:
    found = judged(range(20), Claim(says="better", than="control", by_fraction=0.05))
    assert found == [
        "info RK504 b notes.claims.better.control: the claim is about 5.0 points; 20 items with 40.0 % "
        "discordant "
        "ones show only 35.6 points or more with 80 % power"
    ]
    assert judged(range(20), Claim(says="better", than="control", by_fraction=0.4)) == []


def test_no_difference_needs_a_margin_that_the_items_exclude() -> None:
    without = judged(range(12), Claim(says="no_difference", than="control"))
    assert without == [
        "info RK504 b notes.claims.no_difference.control: the notes claim no difference to control and give "
        "no "
        "margin; +0.0 points on 20 items (discordant 0:0), which excludes differences beyond 11.9 points and "
        "no "
        "smaller ones"
    ]
    narrow = judged(range(12), Claim(says="no_difference", than="control", by_fraction=0.03))
    assert len(narrow) == 1
    assert "beyond 3.0 points; +0.0 points" in narrow[0]
    assert judged(range(12), Claim(says="no_difference", than="control", by_fraction=0.15)) == []


def peak(steps: tuple[int, ...], correct: int) -> Metric:
    return Metric(
        name="peak.bridged", value_fraction=correct / 20, correct=correct, n=20, steps=steps, split="test",
        num_candidates=3, evidence="recomputed", missing_because=None,
    )  # fmt: skip


def test_a_claim_that_rests_on_a_peak_is_found_with_what_the_peak_is_worth() -> None:
    claim = Claim(says="worse", than="target", measured_at="peak")
    run = claiming(claim, metrics=(peak((20,), 12),))
    found = gather(ArchiveView((run,), outcomes={"b": outcomes_for("b")}), (CLAIMS,))
    assert {one.rule for one in found} == {"RK502", "RK503"}
    message = next(one.message for one in found if one.rule == "RK503")
    assert message.startswith(
        "the claim rests on 60.0 % at step 20, the largest of 3 evaluations on the items that chose it; "
        "chosen on "
        "resampled items and scored on the others it is 5"
    )


def test_a_claim_about_a_run_that_is_not_there_is_found() -> None:
    assert judged(range(12), Claim(says="better", than="nobody")) == [
        "error RK404 b notes.claims.better.nobody: the claim names nobody, which is not in the archive"
    ]


def test_the_outcomes_of_claims_are_read() -> None:
    runs = (claiming(Claim(says="better", than="control")), manifest_of("control"), manifest_of("other"))
    assert compared_runs(ArchiveView(runs)) == ("b", "control")


def test_a_claim_of_nothing_is_refused() -> None:
    with pytest.raises(RecordInvalid, match=r"claims\.0\.says"):
        Notes.from_mapping({"claims": [{"says": "great", "than": "x"}]}, origin="notes")
    with pytest.raises(RecordInvalid, match=r"claims\.0\.by_fraction"):
        Notes.from_mapping({"claims": [{"says": "better", "than": "x", "by_fraction": 5.0}]}, origin="notes")
