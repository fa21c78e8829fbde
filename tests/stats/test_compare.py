"""What is compared with what, whole results with their sentences, and the oracles behind the numbers."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from runkit.stats.compare import Compared, compare, is_better
from runkit.stats.logit import logit_interval
from runkit.stats.paired import PairedCounts, mcnemar_exact, newcombe_interval
from runkit.stats.proportions import Interval, clopper_pearson_interval, wilson_interval
from runkit.stats.real import flip_test, real_mean
from runkit.stats.seeds import difference_over_seeds, seeds_by_items
from runkit.stats.sides import Items, Scalars, Spread
from runkit.stats.summary import Summarised, summarise

COUNTS = PairedCounts(130, 32, 15, 23)
FIRST = Items([[1.0] * 130 + [1.0] * 32 + [0.0] * 15 + [0.0] * 23])
SECOND = Items([[1.0] * 130 + [0.0] * 32 + [1.0] * 15 + [0.0] * 23])

NUMBERS = st.integers(-40, 40).map(lambda number: number / 8)


def _drawn(runs: int, items: int, seed: int) -> Items:
    return Items(np.random.default_rng(seed).gamma(2.0, size=(runs, items)).tolist())


def _outcomes(runs: int, items: int, seed: int, chance: float = 0.7) -> Items:
    return Items((np.random.default_rng(seed).random((runs, items)) < chance).astype(float).tolist())


def test_outcomes_of_one_run_have_newcombes_interval_and_the_exact_mcnemar_test() -> None:
    low, high = newcombe_interval(COUNTS)
    assert compare(FIRST, SECOND, kind="binary", seed=0) == Compared(
        difference=0.085,
        low=low,
        high=high,
        p=mcnemar_exact(32, 15),
        p_error=0.0,
        n=200,
        num_clusters=200,
        num_dropped=0,
        first=Spread(0.81, None, 1),
        second=Spread(0.725, None, 1),
        estimator="paired items",
        interval="Newcombe, method 10",
        test="exact McNemar",
        method="Difference on the same 200 items, one run each: Newcombe's interval for pairs (method 10), "
        "exact McNemar test.",
    )


def test_its_p_value_is_the_exact_one_of_statsmodels() -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    expected = tables.mcnemar([[130, 32], [15, 23]], exact=True).pvalue
    assert compare(FIRST, SECOND, kind="ternary", seed=0).p == pytest.approx(expected, rel=1e-12)


def test_outcomes_have_one_p_value_whatever_kind_they_are_called() -> None:
    assert compare(FIRST, SECOND, kind="real", seed=0).p == compare(FIRST, SECOND, kind="binary", seed=0).p


def test_thousands_of_discordant_items_are_tested_exactly_too() -> None:
    expected = stats.binomtest(9_900, 20_000).pvalue
    assert mcnemar_exact(9_900, 10_100) == pytest.approx(expected, rel=1e-9)
    expected = stats.binomtest(99_000, 199_000).pvalue
    assert mcnemar_exact(99_000, 100_000) == pytest.approx(expected, rel=1e-9)


def test_real_values_of_one_run_have_a_bootstrap_and_a_sign_flip_test() -> None:
    first, second = _drawn(1, 60, 1), _drawn(1, 60, 2)
    differences = np.array(first.runs[0]) - np.array(second.runs[0])
    mean, tested = real_mean(differences, seed=9), flip_test(differences, seed=9)
    assert mean.interval is not None
    assert compare(first, second, kind="real", seed=9) == Compared(
        difference=mean.mean,
        low=mean.interval.low,
        high=mean.interval.high,
        p=tested.p,
        p_error=tested.p_error,
        n=60,
        num_clusters=60,
        num_dropped=0,
        first=Spread(float(np.mean(first.runs[0])), None, 1),
        second=Spread(float(np.mean(second.runs[0])), None, 1),
        estimator="paired items",
        interval="BCa bootstrap",
        test="sign flips, drawn",
        method="Mean difference on the same 60 items, one run each: BCa bootstrap interval, "
        f"sign-flip test with 9,999 flips drawn from seed 9 (error of p {tested.p_error:.2g}).",
    )


def test_clusters_are_kept_whole_and_outcomes_in_clusters_are_real_values() -> None:
    clusters = [item // 4 for item in range(200)]
    found = compare(FIRST, SECOND, kind="binary", seed=3, clusters=clusters)
    differences = np.array(FIRST.runs[0]) - np.array(SECOND.runs[0])
    assert (found.low, found.high) == real_mean(differences, seed=3, clusters=clusters).interval
    assert found.p == flip_test(differences, seed=3, clusters=clusters).p
    assert (found.n, found.num_clusters, found.interval) == (200, 50, "BCa bootstrap")
    assert found.method.startswith("Mean difference on the same 200 items in 50 clusters, one run each: BCa")


def test_items_without_a_cluster_stand_for_themselves() -> None:
    first, second = Items([[1.0, 2.0, 3.0, 5.0, 7.0]]), Items([[0.0, 0.0, 1.0, 1.0, 2.0]])
    for missing in (None, math.nan):
        found = compare(first, second, kind="real", seed=0, clusters=["a", missing, missing, "a", missing])
        assert (found.n, found.num_clusters) == (5, 4)


@pytest.mark.parametrize("are_shared", [False, True])
def test_outcomes_of_several_seeds_have_the_numbers_of_the_tables(are_shared: bool) -> None:
    first, second = _outcomes(3, 50, 1), _outcomes(3, 50, 2)
    expected = difference_over_seeds(first.runs, second.runs, are_seeds_shared=are_shared)
    found = compare(first, second, kind="binary", seed=0, are_seeds_shared=are_shared)
    assert (found.difference, found.low, found.high, found.p) == (
        expected.difference_fraction, *expected.crossed_interval, expected.crossed_p
    )  # fmt: skip
    assert found.first.deviation == pytest.approx(np.std(expected.first_seed_means, ddof=1))
    paired = "paired by seed" if are_shared else "seeds not paired"
    assert found.method == (
        f"Mean difference over 3 and 3 runs ({paired}) on the "
        "same 50 items, for other seeds and other items: t interval and t test with two-way random effects."
    )


def test_seeds_by_clusters_are_seeds_by_items_of_the_clusters_means_when_all_are_equally_large() -> None:
    first, second = _drawn(4, 60, 1), _drawn(3, 60, 2)
    by_cluster = [
        Items(np.array(side.runs).reshape(len(side.runs), 20, 3).mean(axis=2).tolist())
        for side in (first, second)
    ]
    expected = compare(*by_cluster, kind="real", seed=0)
    found = compare(first, second, kind="real", seed=0, clusters=[item // 3 for item in range(60)])
    assert (found.difference, found.low, found.high, found.p) == pytest.approx(expected[:4], abs=1e-12)


def test_one_run_against_several_says_nothing_of_seeds() -> None:
    first, second = _drawn(3, 60, 1), _drawn(1, 60, 2)
    found = compare(first, second, kind="real", seed=0)
    differences = np.mean(first.runs, axis=0) - np.array(second.runs[0])
    assert (found.low, found.high) == real_mean(differences, seed=0).interval
    assert "mean of 3 against 1 runs, which says nothing of other seeds" in found.method


def test_scalars_of_several_runs_have_welchs_test_of_scipy() -> None:
    first, second = [0.31, 0.35, 0.29, 0.4], [0.2, 0.3, 0.25]
    expected = stats.ttest_ind(first, second, equal_var=False)
    low, high = expected.confidence_interval()
    found = compare(Scalars(first), Scalars(second), kind="real", seed=0)
    assert (found.low, found.high, found.p) == pytest.approx((low, high, expected.pvalue), rel=1e-9)
    assert (found.n, found.num_clusters, found.test, found.first.num_runs) == (0, 0, "Welch", 4)
    assert found.first.deviation == pytest.approx(np.std(first, ddof=1))
    assert found.method == (
        "Difference of means over 4 and 3 runs, no items: Welch's t, for other runs on the same items only."
    )


def test_scalars_of_shared_seeds_have_the_paired_test_of_scipy() -> None:
    first, second = [0.31, 0.35, 0.29, 0.4], [0.2, 0.3, 0.25, 0.33]
    expected = stats.ttest_rel(first, second)
    found = compare(
        Scalars([*first, None]), Scalars([*second, 0.1]), kind="real", seed=0, are_seeds_shared=True
    )
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()), rel=1e-9)
    assert (found.p, found.num_dropped) == (pytest.approx(expected.pvalue, rel=1e-9), 1)


def test_one_scalar_each_is_a_difference_alone() -> None:
    found = compare(Scalars([31.5]), Scalars([30.0]), kind="real", seed=0)
    assert found == Compared(
        1.5, None, None, None, None, 0, 0, 0, Spread(31.5, None, 1), Spread(30.0, None, 1),
        "single runs", None, None, "One run each, no interval.",
    )  # fmt: skip
    several = compare(Scalars([31.5, 32.5]), Scalars([30.0]), kind="real", seed=0)
    assert (several.difference, several.p, several.method) == (2.0, None, "2 against 1 runs, no interval.")


def test_pairs_with_a_missing_value_are_left_out_and_counted() -> None:
    first, second = Items([[1.0, None, 3.0, 7.0]]), Items([[0.5, 9.0, math.nan, 6.0]])
    found = compare(first, second, kind="real", seed=0)
    assert found[:8] == (0.75, *found[1:3], 0.5, 0.0, 2, 2, 2)
    assert found.first.mean == 4.0
    assert found.method.endswith("; 2 items with a missing value left out.")
    complete = compare(Items([[1.0, 7.0]]), Items([[0.5, 6.0]]), kind="real", seed=0)
    assert found[:5] == complete[:5]


def test_an_item_that_one_seed_misses_is_left_out_of_all() -> None:
    first, second = _drawn(3, 20, 1), _drawn(3, 20, 2)
    torn = [list(run) for run in first.runs]
    torn[1][4] = None  # type: ignore[call-overload]
    rest = [Items([[*run[:4], *run[5:]] for run in side.runs]) for side in (first, second)]
    found = compare(Items(torn), second, kind="real", seed=0)
    assert found[:7] == compare(*rest, kind="real", seed=0)[:7]
    assert found.num_dropped == 1


def test_when_everything_is_missing_nothing_is_claimed() -> None:
    found = compare(Items([[None, 1.0]]), Items([[1.0, None]]), kind="real", seed=0)
    assert found == Compared(
        None, None, None, None, None, 0, 0, 2, Spread(None, None, 0), Spread(None, None, 0),
        "paired items", None, None,
        "No item has a value on both sides; 2 items with a missing value left out.",
    )  # fmt: skip
    scalars = compare(Scalars([None]), Scalars([1.0]), kind="real", seed=0)
    assert (scalars.difference, scalars.num_dropped) == (None, 1)


@pytest.mark.parametrize(
    ("first", "second", "end"),
    [
        (Items([[1.5, 2.5]]), Items([[1.0, 2.0]]), "no interval from differences without a spread, exact"),
        (Items([[1.5]]), Items([[1.0]]), "no interval from differences of one item or cluster, exact"),
        (
            Items([[1.1, 2.1]] * 2),
            Items([[1.0, 2.0]] * 2),
            "no spread between seeds or items, so no interval",
        ),
        (Scalars([1.5, 1.5]), Scalars([1.0, 1.0]), "no spread between runs, so no interval"),
    ],
)
def test_without_a_spread_nothing_is_certain(first: Any, second: Any, end: str) -> None:
    found = compare(first, second, kind="real", seed=0, are_seeds_shared=True)
    assert (found.low, found.high) == (None, None)
    assert found.p is None or found.p >= 0.5
    assert end in found.method


def test_one_item_of_several_seeds_is_compared_over_the_seeds() -> None:
    found = compare(Items([[1.0], [2.0]]), Items([[0.0], [0.5]]), kind="real", seed=0)
    assert (found.test, found.n) == ("Welch", 1)
    assert found.method.startswith("Difference of means over 2 and 2 runs, 1 item: Welch's t")


def test_intervals_end_where_the_measure_ends() -> None:
    first, second = Items([[1.0, 1.0, 0.9]]), Items([[0.0, 0.3, 0.1]])
    assert compare(first, second, kind="real", seed=0).high > 1.0  # type: ignore[operator]
    assert compare(first, second, kind="real", seed=0, limits=Interval(0.0, 1.0)).high == 1.0
    assert compare(second, first, kind="real", seed=0, limits=Interval(0.0, 1.0)).low == -1.0
    assert summarise(second, kind="real", seed=0, limits=Interval(0.0, 1.0)).low == 0.0


@pytest.mark.parametrize("pair", [(1, 1), (3, 3), (3, 2), (2, 1)])
@settings(max_examples=15)
@given(st.data())
def test_exchanging_the_sides_mirrors_the_result(pair: tuple[int, int], data: st.DataObject) -> None:
    num_items = data.draw(st.integers(1, 12))
    first, second = (
        Items([data.draw(st.lists(NUMBERS, min_size=num_items, max_size=num_items)) for _ in range(runs)])
        for runs in pair
    )
    here, there = (
        compare(one, other, kind="real", seed=0) for one, other in ((first, second), (second, first))
    )
    assert here.difference == pytest.approx(-there.difference, abs=1e-12)  # type: ignore[operator]
    assert (here.p, here.first) == (pytest.approx(there.p, abs=1e-9), there.second)
    assert (here.low is None) == (there.high is None)
    if here.low is not None and there.high is not None:
        assert here.low == pytest.approx(-there.high, abs=1e-9)


@settings(max_examples=25)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12), NUMBERS)
def test_what_is_added_to_one_side_is_added_to_the_difference(
    pairs: list[tuple[float, float]], shift: float
) -> None:
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    here = compare(Items([first]), Items([second]), kind="real", seed=0)
    moved = compare(Items([[value + shift for value in first]]), Items([second]), kind="real", seed=0)
    both = compare(
        Items([[value + shift for value in first]]), Items([[value + shift for value in second]]),
        kind="real", seed=0,
    )  # fmt: skip
    assert moved.difference == pytest.approx(here.difference + shift, abs=1e-9)  # type: ignore[operator]
    assert both[:5] == pytest.approx(here[:5], abs=1e-9)
    assert (moved.low is None) == (here.low is None)
    if here.low is not None:
        assert moved.low == pytest.approx(here.low + shift, abs=1e-9)


@settings(max_examples=25)
@given(st.permutations(range(12)))
def test_the_order_of_few_items_does_not_matter(order: list[int]) -> None:
    first, second = _drawn(1, 12, 4).runs[0], _drawn(1, 12, 5).runs[0]
    here = compare(Items([first]), Items([second]), kind="real", seed=0)
    mixed = compare(
        Items([[first[item] for item in order]]), Items([[second[item] for item in order]]),
        kind="real", seed=1,
    )  # fmt: skip
    assert mixed[:8] == pytest.approx(here[:8], abs=1e-12)


@pytest.mark.parametrize(
    ("difference", "direction", "expected"),
    [
        (0.1, "higher", True), (-0.1, "higher", False), (0.1, "lower", False), (-0.1, "lower", True),
        (0.1, None, None), (0.0, "higher", None), (0.0, "lower", None), (None, "lower", None),
        (math.nan, "higher", None),
    ],
)  # fmt: skip
def test_better_is_a_matter_of_direction(difference: float, direction: Any, expected: bool | None) -> None:
    assert is_better(difference, direction) is expected


def test_a_mean_of_outcomes_over_seeds_is_on_the_logit_scale() -> None:
    side = _outcomes(3, 200, 1, chance=0.98)
    expected = logit_interval(seeds_by_items(side.runs))
    found = summarise(side, kind="binary", seed=0)
    assert found == Summarised(
        mean=found.mean,
        low=expected.low,
        high=expected.high,
        spread=found.spread,
        n=200,
        num_clusters=200,
        num_dropped=0,
        interval="t on the logit scale",
        method="Mean over 3 runs on 200 items, for other seeds and other items: "
        "t interval on the logit scale.",
    )
    assert found.mean == pytest.approx(np.mean(side.runs))


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_outcomes_that_are_all_equal_have_the_interval_of_their_items(outcome: float) -> None:
    found = summarise(Items([[outcome] * 50] * 3), kind="binary", seed=0)
    assert (found.low, found.high) == clopper_pearson_interval(int(50 * outcome), 50)
    assert found.interval == "Clopper-Pearson"


def test_a_mean_of_one_run_has_wilsons_interval_or_that_of_real_values() -> None:
    outcomes = summarise(FIRST, kind="binary", seed=0)
    assert (outcomes.mean, outcomes.low, outcomes.high) == (0.81, *wilson_interval(162, 200))
    side = _drawn(1, 60, 1)
    real = summarise(side, kind="real", seed=2)
    assert (real.low, real.high) == real_mean(side.runs[0], seed=2).interval
    assert real.method == "Mean over 60 items, one run: BCa bootstrap interval."


def test_a_mean_of_scalars_has_a_deviation_and_no_interval() -> None:
    assert summarise(Scalars([3.0, None, 5.0]), kind="real", seed=0) == Summarised(
        4.0, None, None, Spread(4.0, pytest.approx(math.sqrt(2)), 2), 0, 0, 1, None,
        "Mean and standard deviation over 2 runs, no interval; 1 run with a missing value left out.",
    )  # fmt: skip
    assert summarise(Scalars([3.0]), kind="real", seed=0).method == "One run, no interval."
    assert summarise(Scalars([]), kind="real", seed=0).mean is None
    assert summarise(Items([[None]]), kind="real", seed=0).method.startswith("No item has a value; 1 item")


def test_a_mean_of_real_values_over_seeds_is_crossed_and_needs_a_spread() -> None:
    found = summarise(_drawn(3, 20, 1), kind="real", seed=0, limits=Interval(0.0, 50.0))
    assert found.interval == "t, two-way random effects"
    assert found.low is not None
    assert summarise(Items([[2.0, 2.0]] * 2), kind="real", seed=0).low is None
    one = summarise(Items([[1.0], [2.0]]), kind="real", seed=0)
    assert (one.mean, one.low, one.spread.num_runs) == (1.5, None, 2)


@pytest.mark.parametrize(
    ("first", "second", "options", "what"),
    [
        (Items([[1.0]]), Scalars([1.0]), {}, "one side has items and the other only scalars"),
        (Items([[1.0, 0.0]]), Items([[1.0]]), {}, "2 items cannot be paired with 1"),
        (Items([]), Items([[1.0]]), {}, "at least one run"),
        (Items([[1.0, 2.0], [1.0]]), Items([[1.0]]), {}, "the same items"),
        (Items([[math.inf]]), Items([[1.0]]), {}, "must be finite"),
        (Items([[0.5]]), Items([[1.0]]), {"kind": "binary"}, "outcomes of a binary measure must be 0 or 1"),
        (Items([[1.5]]), Items([[1.0]]), {"limits": Interval(0.0, 1.0)}, "outside of 0 to 1"),
        (Items([[1.0]]), Items([[1.0]]), {"clusters": ["a", "b"]}, "2 cluster labels do not fit 1 items"),
        (Items([[1.0]] * 2), Items([[1.0]]), {"are_seeds_shared": True}, "2 shared seeds cannot be paired"),
        (Scalars([1.0] * 2), Scalars([1.0]), {"are_seeds_shared": True}, "2 shared seeds cannot be paired"),
        (Scalars([1.0]), Scalars([1.0]), {"clusters": ["a"]}, "scalars have no items"),
        (Items([1.0]), Items([[1.0]]), {}, "are one row"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    first: Any, second: Any, options: dict[str, Any], what: str
) -> None:
    with pytest.raises(ValueError, match=what):
        compare(first, second, **{"kind": "real", "seed": 0, **options})


def test_a_summary_of_scalars_in_clusters_is_refused() -> None:
    with pytest.raises(ValueError, match="scalars have no items"):
        summarise(Scalars([1.0]), kind="real", seed=0, clusters=["a"])


def test_importing_the_comparison_loads_neither_scipy_nor_pandas() -> None:
    code = (
        "import sys, runkit.stats.compare, runkit.stats.summary\n"
        "heavy = ('scipy', 'pandas', 'statsmodels', 'runkit.records')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("unit", [2.0**-400, 2.0**400, 2.0**1000])
@pytest.mark.parametrize("runs", [1, 3])
def test_the_unit_of_a_measure_may_be_as_large_as_it_likes(unit: float, runs: int) -> None:
    first, second = _drawn(runs, 60, 1), _drawn(runs, 60, 2)
    large = [Items((np.array(side.runs) * unit).tolist()) for side in (first, second)]
    here, there = compare(first, second, kind="real", seed=0), compare(*large, kind="real", seed=0)
    assert there[:3] == pytest.approx(tuple(value * unit for value in here[:3]), rel=1e-9)  # type: ignore[operator]
    assert (there.p, there.method) == (pytest.approx(here.p, rel=1e-9), here.method)
    alone, grown = summarise(first, kind="real", seed=0), summarise(large[0], kind="real", seed=0)
    assert grown[:3] == pytest.approx(tuple(value * unit for value in alone[:3]), rel=1e-9)  # type: ignore[operator]
    scalars = [Scalars([3.0 * unit, 5.0 * unit]), Scalars([1.0 * unit, 2.0 * unit])]
    welch = compare(*scalars, kind="real", seed=0)
    assert welch.p == pytest.approx(stats.ttest_ind([3.0, 5.0], [1.0, 2.0], equal_var=False).pvalue)
    assert summarise(scalars[0], kind="real", seed=0).spread == pytest.approx(
        (4.0 * unit, math.sqrt(2.0) * unit, 2)
    )


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (FIRST, SECOND, "binary"),
        (_drawn(1, 60, 1), _drawn(1, 60, 2), "real"),
        (_drawn(1, 9, 1), _drawn(1, 9, 2), "real"),
        (_drawn(3, 9, 1), _drawn(3, 9, 2), "real"),
        (_outcomes(3, 60, 1), _outcomes(2, 60, 2), "binary"),
        (Scalars([1.0, 3.0, 4.0]), Scalars([2.0, 4.0]), "real"),
    ],
)
def test_every_interval_grows_with_its_coverage(first: Any, second: Any, kind: Any) -> None:
    narrow, wide = (compare(first, second, kind=kind, seed=0, coverage=coverage) for coverage in (0.5, 0.95))
    assert wide.low < narrow.low < narrow.high < wide.high  # type: ignore[operator]
    assert wide.p == narrow.p
    alone = [summarise(first, kind=kind, seed=0, coverage=coverage) for coverage in (0.5, 0.95)]
    if alone[0].low is not None:
        assert alone[1].low < alone[0].low < alone[0].high < alone[1].high  # type: ignore[operator]
