"""Seeds by items, against the oracle, scipy and statsmodels, and what must hold for all outcomes."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runkit.stats.proportions import Interval
from runkit.stats.seeds import (
    difference_of_values_over_seeds,
    difference_over_seeds,
    expected_best_of,
    probability_of_improvement,
    seeds_by_items,
    values_over_seeds,
)
from tests.stats.oracle_file import read_oracle

FIRST_EXAMPLE = {"111": 120, "110": 10, "101": 12, "011": 8, "100": 7, "010": 6, "001": 9, "000": 28}
SECOND_EXAMPLE = {"111": 110, "110": 18, "101": 10, "011": 4, "100": 20, "010": 6, "001": 4, "000": 28}
GOLDEN = [
    "-0x1.2b9e6a5f6f220p-3",
    "0x1.a67fb20d839d0p-3",
    "0x1.149a9d304b6f5p-1",
    "0x1.0000000000000p+1",
    "0x1.1ec0020d954e0p-1",
]
ARM_A, ARM_B = (0.805, 0.79, 0.815, 0.8, 0.78), (0.77, 0.775, 0.76, 0.78, 0.755)

TABLES = st.tuples(st.integers(2, 5), st.integers(2, 12)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(0, 1), min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    )
)


@pytest.fixture(scope="module")
def oracle() -> dict[str, Any]:
    values: dict[str, Any] = read_oracle()["multi_seed"]
    return values


def _table(patterns: dict[str, int]) -> list[list[int]]:
    items = [pattern for pattern, count in patterns.items() for _ in range(count)]
    return [[int(pattern[seed]) for pattern in items] for seed in range(3)]


def _arms(means: tuple[float, ...], shift: int) -> list[list[int]]:
    """Return 200 items for each mean, the correct ones starting at another item for each seed."""
    return [
        [int((item + shift * seed) % 200 < round(200 * mean)) for item in range(200)]
        for seed, mean in enumerate(means)
    ]


def test_three_seeds_without_a_variance_of_their_own_are_as_good_as_the_items() -> None:
    found = seeds_by_items(_table(FIRST_EXAMPLE))
    assert found.seed_means == pytest.approx((0.745, 0.72, 0.745))
    assert (found.num_seeds, found.num_items) == (3, 200)
    errors = (found.seed_standard_error, found.item_standard_error, found.crossed_standard_error)
    assert errors == pytest.approx((0.00833333, 0.02616253, 0.02616253), abs=1e-8)
    assert found.seed_interval == pytest.approx((0.7008112, 0.7725221), abs=1e-7)


def test_the_first_example_of_the_oracle_comes_out(oracle: dict[str, Any]) -> None:
    found = seeds_by_items(_table(oracle["pattern_counts"]))
    assert found.mean_fraction == pytest.approx(oracle["mean"], abs=1e-12)
    assert found.seed_standard_error == pytest.approx(oracle["seed_se = sd/sqrt(S)"], abs=1e-9)
    assert found.seed_interval == pytest.approx(oracle["seed_t_ci95"], abs=1e-9)
    truncated = (
        "crossed_random_effects_se_TRUNCATED(use this) = sqrt(max(0,v_seed)/S + v_item/n + v_resid/(S n))"
    )
    assert found.crossed_standard_error == pytest.approx(oracle[truncated], abs=1e-9)
    assert found.item_standard_error == pytest.approx(
        oracle["item_mean_se = sd(item means)/sqrt(n)"], abs=1e-9
    )


def test_the_second_example_of_the_oracle_comes_out(oracle: dict[str, Any]) -> None:
    example = oracle["example2_with_seed_variance"]
    found = seeds_by_items(_table(example["pattern_counts"]))
    assert found.seed_means == pytest.approx(example["seed_accuracies"], abs=1e-12)
    errors = (found.seed_standard_error, found.item_standard_error, found.crossed_standard_error)
    assert errors == pytest.approx((example["seed_se"], example["item_se"], example["crossed_se"]), abs=1e-9)
    assert found.crossed_degrees_of_freedom < 4


def test_two_conditions_over_five_seeds_give_the_tests_of_the_oracle(oracle: dict[str, Any]) -> None:
    expected = oracle["two_arm_5_seeds"]
    first, second = _arms(tuple(expected["arm_a"]), 3), _arms(tuple(expected["arm_b"]), 3)
    shared = difference_over_seeds(first, second, are_seeds_shared=True)
    apart = difference_over_seeds(first, second, are_seeds_shared=False)
    assert shared.difference_fraction == pytest.approx(expected["mean_diff"], abs=1e-12)
    assert shared.difference_fraction / shared.seed_standard_error == pytest.approx(expected["paired_t"])
    assert shared.seed_p == pytest.approx(expected["paired_p"], abs=1e-9)
    assert apart.difference_fraction / apart.seed_standard_error == pytest.approx(expected["welch_t"])
    assert (apart.seed_p, apart.seed_degrees_of_freedom) == pytest.approx(
        (expected["welch_p"], expected["welch_df"]), abs=1e-9
    )
    improved = probability_of_improvement(expected["arm_a"], expected["arm_b"])
    assert improved == pytest.approx(expected["prob_improvement_MannWhitney(rliable)"])


def test_the_tests_over_seeds_agree_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = _arms(ARM_A, 7), _arms(ARM_B, 7)
    paired, welch = stats.ttest_rel(ARM_A, ARM_B), stats.ttest_ind(ARM_A, ARM_B, equal_var=False)
    shared = difference_over_seeds(first, second, are_seeds_shared=True)
    apart = difference_over_seeds(first, second, are_seeds_shared=False)
    assert (shared.seed_p, apart.seed_p) == pytest.approx((paired.pvalue, welch.pvalue))
    assert shared.seed_interval == pytest.approx(tuple(paired.confidence_interval()))
    assert apart.seed_interval == pytest.approx(tuple(welch.confidence_interval()))


def test_the_item_error_is_the_one_that_statsmodels_clusters_by_item() -> None:
    linear = pytest.importorskip("statsmodels.api")
    scores = np.array(_table(SECOND_EXAMPLE), dtype=float)
    fitted = linear.OLS(scores.ravel(), np.ones(scores.size)).fit(
        cov_type="cluster", cov_kwds={"groups": np.tile(np.arange(200), 3), "df_correction": True}
    )
    # statsmodels multiplies by (N-1)/(N-1) here for one regressor, and by C/(C-1): the sample variance
    assert seeds_by_items(scores).item_standard_error == pytest.approx(float(fitted.bse[0]), rel=1e-9)


def test_a_difference_that_only_one_seed_shows_is_not_one_of_the_method() -> None:
    control = [[0] * 100 for _ in range(5)]
    lucky = [[1] * 40 + [0] * 60, *([0] * 100 for _ in range(4))]
    found = difference_over_seeds(lucky, control, are_seeds_shared=True)
    assert found.difference_fraction == pytest.approx(0.08)
    assert found.item_standard_error < 0.02 < found.crossed_standard_error
    assert found.crossed_p > 0.3
    assert found.crossed_interval.low < 0.0


def test_a_difference_that_every_seed_shows_on_the_same_items_is_found() -> None:
    control = [[0] * 20 + [1] * 180] * 5
    better = [[1] * 200] * 5
    found = difference_over_seeds(better, control, are_seeds_shared=True)
    assert found.difference_fraction == pytest.approx(0.1)
    assert found.crossed_standard_error == found.item_standard_error
    assert found.crossed_p < 1e-5


def test_equal_conditions_do_not_differ() -> None:
    runs = _table(FIRST_EXAMPLE)
    found = difference_over_seeds(runs, runs, are_seeds_shared=True)
    assert (found.difference_fraction, found.seed_p, found.crossed_p) == (0.0, 1.0, 1.0)


def test_the_crossed_interval_covers_other_seeds_and_other_items() -> None:
    """Nominal 95 %: over 2,000 simulated studies of 5 seeds and 200 items, with effects of both."""
    drawn = np.random.default_rng(20261122)
    num_covered, num_studies = 0, 2_000
    for _ in range(num_studies):
        chance = np.clip(0.7 + 0.03 * drawn.normal(size=(5, 1)) + 0.1 * drawn.normal(size=(1, 200)), 0.0, 1.0)
        low, high = seeds_by_items(drawn.random((5, 200)) < chance).crossed_interval
        num_covered += low <= 0.7 <= high
    assert 0.93 <= num_covered / num_studies <= 0.985


@given(TABLES)
def test_the_crossed_error_is_never_below_the_error_of_the_items(table: list[list[int]]) -> None:
    found = seeds_by_items(table)
    assert found.crossed_standard_error >= found.item_standard_error - 1e-12
    assert 0.0 <= found.crossed_interval.low <= found.mean_fraction + 1e-12
    assert found.mean_fraction - 1e-12 <= found.crossed_interval.high <= 1.0
    assert found.crossed_degrees_of_freedom >= found.num_seeds - 1 or found.num_items < found.num_seeds


@given(TABLES, st.booleans())
def test_exchanging_the_conditions_mirrors_the_difference(table: list[list[int]], are_shared: bool) -> None:
    other = [seed[::-1] for seed in table[::-1]]
    here = difference_over_seeds(table, other, are_seeds_shared=are_shared)
    there = difference_over_seeds(other, table, are_seeds_shared=are_shared)
    assert here.difference_fraction == pytest.approx(-there.difference_fraction)
    assert here.crossed_interval == pytest.approx((-there.crossed_interval[1], -there.crossed_interval[0]))
    assert (here.seed_p, here.crossed_p) == pytest.approx((there.seed_p, there.crossed_p))


@given(TABLES, st.randoms(use_true_random=False))
def test_the_order_of_seeds_and_items_does_not_matter(table: list[list[int]], shuffled: Any) -> None:
    order = list(range(len(table[0])))
    shuffled.shuffle(order)
    seeds = shuffled.sample(table, len(table))
    mixed = seeds_by_items([[seed[item] for item in order] for seed in seeds])
    found = seeds_by_items(table)
    for name in ("mean_fraction", "crossed_standard_error", "crossed_degrees_of_freedom", "crossed_interval"):
        assert getattr(mixed, name) == pytest.approx(getattr(found, name), abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=7), st.integers(1, 7))
def test_the_best_of_k_is_the_mean_over_all_choices_of_k(scores: list[float], num_runs: int) -> None:
    if num_runs > len(scores):
        with pytest.raises(ValueError, match="cannot be estimated"):
            expected_best_of(scores, num_runs)
        return
    best = [max(chosen) for chosen in combinations(scores, num_runs)]
    assert expected_best_of(scores, num_runs) == pytest.approx(sum(best) / len(best), abs=1e-12)


def test_the_best_of_k_agrees_with_the_oracle() -> None:
    expected = read_oracle()["expected_best_of_k_runs"]
    for num_runs, value in expected["unbiased_Tang2020"].items():
        assert expected_best_of(expected["values"], int(num_runs)) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ([[1, 0, 1]], "at least two seeds"),
        ([[1], [0]], "at least two seeds and two items"),
        ([[1, 0], [1]], "the same items for every seed"),
        ([[0.5, 1], [0, 1]], "outcomes that are 0 or 1"),
    ],
)
def test_what_is_no_table_of_seeds_and_items_is_refused(table: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        seeds_by_items(table)


def test_conditions_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(ValueError, match="3 items cannot be paired with 2"):
        difference_over_seeds([[1, 0, 1]] * 2, [[1, 0]] * 2, are_seeds_shared=False)
    with pytest.raises(ValueError, match="2 shared seeds cannot be paired with 3"):
        difference_over_seeds([[1, 0]] * 2, [[1, 0]] * 3, are_seeds_shared=True)
    with pytest.raises(ValueError, match="at least one run"):
        probability_of_improvement([], [0.5])
    with pytest.raises(ValueError, match="coverage must lie"):
        seeds_by_items([[1, 0]] * 2, coverage=1.0)


@given(TABLES, st.booleans())
def test_outcomes_taken_as_real_values_give_the_same_bits(table: list[list[int]], are_shared: bool) -> None:
    other = [seed[::-1] for seed in table]
    limits = Interval(0.0, 1.0)
    assert values_over_seeds(table, limits=limits) == seeds_by_items(table)
    assert difference_of_values_over_seeds(
        table, other, are_seeds_shared=are_shared, limits=limits
    ) == difference_over_seeds(table, other, are_seeds_shared=are_shared)


def test_the_bits_are_those_of_the_printed_tables() -> None:
    """Written down before real values were taken: a sidecar holds these numbers."""
    found = difference_over_seeds(_table(FIRST_EXAMPLE), _table(SECOND_EXAMPLE), are_seeds_shared=True)
    numbers = (*found.crossed_interval, found.crossed_p, found.crossed_degrees_of_freedom, found.seed_p)
    assert [number.hex() for number in numbers] == GOLDEN


@given(TABLES, st.integers(-50, 50), st.integers(1, 9))
def test_another_origin_or_unit_moves_everything_with_it(
    table: list[list[int]], shift: int, unit: int
) -> None:
    here = values_over_seeds(table)
    moved = values_over_seeds((unit * np.array(table, dtype=float) + shift).tolist())
    assert moved.mean_fraction == pytest.approx(unit * here.mean_fraction + shift, abs=1e-9)
    errors = (moved.crossed_standard_error, moved.item_standard_error, moved.seed_standard_error)
    assert errors == pytest.approx(
        tuple(unit * error for error in (here.crossed_standard_error, here.item_standard_error,
                                         here.seed_standard_error)), abs=1e-8,
    )  # fmt: skip


def test_the_mean_squares_of_real_values_are_those_of_an_analysis_of_variance() -> None:
    """A small table whose mean squares are known by hand: 1.5, 6, 0.5 of 2 seeds and 3 items."""
    found = values_over_seeds([[1.0, 2.0, 4.0], [1.0, 4.0, 5.0]])
    scores = np.array([[1.0, 2.0, 4.0], [1.0, 4.0, 5.0]])
    total = ((scores - scores.mean()) ** 2).sum()
    seeds = 3 * ((scores.mean(axis=1) - scores.mean()) ** 2).sum()
    items = 2 * ((scores.mean(axis=0) - scores.mean()) ** 2).sum()
    rest = (total - seeds - items) / 2
    assert found.item_standard_error == pytest.approx(math.sqrt(items / 2 / 6))
    variance = max(0.0, seeds - rest) / 6 + items / 2 / 6
    assert found.crossed_standard_error == pytest.approx(math.sqrt(variance))


def test_values_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="values that are finite"):
        values_over_seeds([[1.0, math.nan]] * 2)
    with pytest.raises(ValueError, match="outside of 0 to 1"):
        values_over_seeds([[1.0, 1.5]] * 2, limits=Interval(0.0, 1.0))
