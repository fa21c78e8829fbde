"""Claims in notes about any measure are tested on the items that both runs have, or are an error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from runkit.checks.measured_claims import MEASURED_CLAIMS
from runkit.checks.view import ArchiveView
from runkit.records.items import ItemScores, score_of_items
from runkit.records.manifest import Claim, Manifest, Notes
from runkit.records.measurement import Metric, Protocol, Score
from runkit.records.metrics import metric_named
from tests.checks.builders import lines, manifest_of

N = 40
ACCURACY = metric_named("accuracy", "binary")
LOSS = metric_named("loss", "real")
"""Of which it is known that lower is better."""


def right_on(num_right: int, *, first: int = 0) -> tuple[float, ...]:
    """Return values that are 1 on *num_right* items from *first* on."""
    return tuple(float(first <= index < first + num_right) for index in range(N))


def items_of(
    values: Sequence[float], *, metric: Metric = ACCURACY, task: str = "run", prefix: str = "q"
) -> ItemScores:
    return ItemScores(metric, tuple(f"{prefix}{i}" for i in range(len(values))), tuple(values), task=task)


def run(run_id: str, *measured: ItemScores | Score, claims: Sequence[Claim] = ()) -> tuple[Manifest, Any]:
    """Return a run of format 2 and its item scores by key."""
    scores = tuple(
        score_of_items(one, evidence="per_sample", path="items.csv") if isinstance(one, ItemScores) else one
        for one in measured
    )
    manifest = manifest_of(
        run_id,
        notes=Notes(claims=tuple(claims)),
        evaluations=(), scores=scores, series=(), protocol=Protocol(),
    )  # fmt: skip
    return manifest, {one.key: one for one in measured if isinstance(one, ItemScores)}


def told(*runs: tuple[Manifest, Any]) -> list[str]:
    archive = ArchiveView(
        manifests=tuple(manifest for manifest, _items in runs),
        items={manifest.run_id: items for manifest, items in runs},
    )
    return lines(tuple(MEASURED_CLAIMS.findings(archive)))


def claim(says: Any, than: str = "control", **more: Any) -> Claim:
    return Claim(says=says, than=than, **more)


CONTROL = run("control", items_of(right_on(10)))


# ---- what the items support, and what they do not


def test_a_claim_that_the_items_support_is_no_finding() -> None:
    assert told(CONTROL, run("a", items_of(right_on(30)), claims=[claim("better")])) == []
    assert told(CONTROL, run("a", items_of(right_on(0)), claims=[claim("worse")])) == []


def test_lower_is_better_where_the_metric_says_so() -> None:
    control = run("control", items_of([2.0 + index / N for index in range(N)], metric=LOSS))
    lower = items_of([1.0 + index / N * 0.9 for index in range(N)], metric=LOSS)
    assert told(control, run("a", lower, claims=[claim("better")])) == []
    [line] = told(control, run("a", lower, claims=[claim("worse")]))
    assert line.startswith("warning RK502 a notes.claims.worse.control: the notes call the run worse than ")


def test_a_claim_the_wrong_way_round_is_not_supported() -> None:
    assert told(CONTROL, run("a", items_of(right_on(30)), claims=[claim("worse")])) == [
        "warning RK502 a notes.claims.worse.control: the notes call the run worse than control: +0.5 "
        "[0.316, 0.631] accuracy@final on 40 items, p <0.001, <0.001 after Holm over 1 claim with this "
        "reference; expected a difference to the worse with an adjusted p below 0.05"
    ]


def test_holm_goes_over_all_claims_with_one_reference() -> None:
    few = run("a", items_of(right_on(16)), claims=[claim("better")])
    assert told(CONTROL, few) == []
    others = [run(name, items_of(right_on(12)), claims=[claim("better")]) for name in ("b", "c")]
    found = told(CONTROL, few, *others)
    assert [line.split()[2] for line in found] == ["a", "b", "c"]
    assert all("over 3 claims with this reference" in line for line in found)


def test_no_difference_needs_a_margin_that_the_interval_does_not_leave() -> None:
    same = items_of(right_on(10))
    assert told(CONTROL, run("a", same, claims=[claim("no_difference", by_fraction=0.2)])) == []
    [line] = told(CONTROL, run("a", same, claims=[claim("no_difference")]))
    assert line.startswith(
        "info RK504 a notes.claims.no_difference.control: the notes claim no difference to control and give "
        "no margin: +0 ["
    )
    moved = items_of(right_on(10, first=10))
    [line] = told(CONTROL, run("a", moved, claims=[claim("no_difference", by_fraction=0.1)]))
    assert "no difference to control beyond 0.1: +0 [" in line


def test_a_margin_of_a_measure_that_is_no_fraction_is_in_its_unit() -> None:
    metric = Metric(name="mystery", kind="real")
    control = run("control", items_of([float(index) for index in range(N)], metric=metric))
    near = items_of([index + (-1) ** index * 0.5 for index in range(N)], metric=metric)
    assert told(control, run("a", near, claims=[claim("no_difference", by=5.0)])) == []


def test_the_measure_that_a_claim_names_is_the_one_that_is_tested() -> None:
    def two(first: int, second: int) -> tuple[ItemScores, ItemScores]:
        return items_of(right_on(first), task="easy"), items_of(right_on(second), task="hard")

    control = run("control", *two(10, 30))
    claims = [claim("better", measure="easy/accuracy"), claim("worse", measure="hard/accuracy")]
    assert told(control, run("a", *two(30, 10), claims=claims)) == []
    assert len(told(control, run("a", *two(10, 30), claims=claims))) == 2


# ---- what cannot be tested

SCALAR = Score(metric=metric_named("bleu", "scalar"), value=31.4, evidence="logged", path="results.json")


@pytest.mark.parametrize(
    ("control", "ours", "said", "reason"),
    [
        (CONTROL, (items_of(right_on(30)),), {"than": "nobody"}, "nobody is not in the archive"),
        ((manifest_of("control"), {}), (items_of(right_on(30)),), {},
         "one of the two was preserved by an older version; preserve it again under a new id"),
        (CONTROL, (items_of(right_on(30), prefix="other"),), {},
         "they are of different items (80 stand in only one of them)"),
        (run("control", SCALAR), (SCALAR,), {}, "no item scores are kept of either"),
        (CONTROL, (items_of(right_on(30)),), {"measured_at": "peak"},
         'nobody says which measure is the largest; name it in the claim, measure = "loss@max"'),
        (run("control", items_of(right_on(9), metric=Metric(name="mystery", kind="binary"))),
         (items_of(right_on(30), metric=Metric(name="mystery", kind="binary")),), {},
         "nobody says whether higher or lower mystery is better"),
        (CONTROL, (items_of(right_on(30), metric=Metric(name="accuracy", kind="binary", unit="points")),), {},
         "one is in points, the other in fraction"),
        (run("control", SCALAR.model_copy(
            update={"value": None, "evidence": None, "missing_because": "results.json says nan"})),
         (SCALAR,), {}, "bleu@final has no value in control"),
    ],
)  # fmt: skip
def test_a_claim_that_cannot_be_tested_is_an_error(
    control: tuple[Manifest, Any], ours: tuple[Any, ...], said: dict[str, Any], reason: str
) -> None:
    than = said.get("than", "control")
    more = {key: value for key, value in said.items() if key != "than"}
    found = told(control, run("a", *ours, claims=[claim("better", than, **more)]))
    assert found == [
        f"error RK506 a notes.claims.better.{than}: the notes say better than {than}, and that cannot be "
        f"tested: {reason}"
    ]


def test_a_claim_that_names_no_measure_of_several_lists_them() -> None:
    both = (items_of(right_on(10), task="easy"), items_of(right_on(10), task="hard"))
    [line] = told(run("control", *both), run("a", *both, claims=[claim("better")]))
    assert line.startswith("error RK506 a notes.claims.better.control: ")
    assert "name one of easy/accuracy@final, hard/accuracy@final" in line
    assert line.endswith('name it in the claim, measure = "task/metric"')


def test_a_claim_with_a_misspelled_measure_names_the_nearest() -> None:
    [line] = told(CONTROL, run("a", items_of(right_on(30)), claims=[claim("better", measure="acuracy")]))
    assert line.startswith("error RK506 ")
    assert "accuracy" in line
