"""Real values on the same items, against scipy, enumeration, McNemar, and what must hold for all values."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from runkit.stats.paired import mcnemar_exact
from runkit.stats.real import (
    BOOTSTRAP,
    STUDENT,
    bca_interval,
    cluster_values,
    compare_real_many,
    flip_test,
    real_mean,
    student_interval,
)

VALUES = st.lists(st.integers(-40, 40).map(lambda number: number / 8), min_size=2, max_size=30)


def _skewed(n: int, seed: int = 5) -> NDArray[np.float64]:
    return np.random.default_rng(seed).gamma(1.0, size=n) - 0.8


@pytest.mark.parametrize("n", [20, 80, 333])
@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_the_bootstrap_interval_is_that_of_scipy_from_the_same_resamples(n: int, coverage: float) -> None:
    values = _skewed(n)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=1_999, confidence_level=coverage, method="BCa",
        rng=np.random.default_rng(11),
    ).confidence_interval  # fmt: skip
    found = bca_interval(values, seed=11, coverage=coverage, resamples=1_999)
    assert found == pytest.approx(tuple(expected), rel=1e-12)


def test_with_clusters_it_is_that_of_scipy_for_a_ratio_of_clusters() -> None:
    drawn = np.random.default_rng(3)
    labels = np.repeat(np.arange(30), drawn.integers(1, 6, 30))
    values = drawn.exponential(size=labels.size) + labels % 3
    sums, sizes = np.bincount(labels, weights=values), np.bincount(labels)

    def ratio(chosen: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
        return np.asarray(sums[chosen].sum(axis=axis) / sizes[chosen].sum(axis=axis))

    expected = stats.bootstrap(
        (np.arange(30),), ratio, n_resamples=999, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    found = bca_interval(values, seed=2, clusters=labels.tolist(), resamples=999)
    assert found == pytest.approx(tuple(expected), rel=1e-12)


@pytest.mark.parametrize("n", [2, 10, 60])
def test_students_interval_is_that_of_scipy(n: int) -> None:
    values = _skewed(n)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    assert student_interval(values, coverage=0.9) == pytest.approx(tuple(expected), rel=1e-12)


def test_with_clusters_it_is_the_robust_one_of_statsmodels() -> None:
    linear = pytest.importorskip("statsmodels.api")
    labels = np.repeat(np.arange(12), np.arange(1, 13))
    values = _skewed(labels.size) + labels / 4
    fitted = linear.OLS(values, np.ones(values.size)).fit(
        cov_type="cluster", cov_kwds={"groups": labels, "df_correction": True}, use_t=True
    )
    found = student_interval(values, clusters=labels.tolist())
    assert found == pytest.approx(tuple(fitted.conf_int()[0]), rel=1e-9)


@pytest.mark.parametrize(
    ("n", "method"), [(49, STUDENT), (50, BOOTSTRAP), (10_000, BOOTSTRAP), (10_001, STUDENT)]
)
def test_few_and_very_many_items_have_students_interval(n: int, method: str) -> None:
    values = _skewed(n)
    found = real_mean(values, seed=1, resamples=99)
    expected = student_interval(values) if method == STUDENT else bca_interval(values, seed=1, resamples=99)
    assert (found.interval_method, found.interval, found.n, found.num_clusters) == (method, expected, n, n)
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)


@pytest.mark.parametrize("values", [[0.25], [0.1 + 0.2, 0.3, 0.3], [0.0] * 60, [-2.5] * 60])
def test_without_a_spread_there_is_no_interval(values: list[float]) -> None:
    assert real_mean(values, seed=0).interval is None


def test_items_of_one_cluster_are_one_item() -> None:
    assert real_mean([1.0, 2.0, 3.0], seed=0, clusters=["a", "a", "a"]).interval is None
    assert flip_test([1.0, 2.0, 3.0], seed=0, clusters=["a", "a", "a"]) == (1.0, 0.0, 0)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_the_exact_test_counts_every_flip_and_every_tie(values: list[int]) -> None:
    tenths = [value / 10 for value in values]
    reached = [
        abs(sum(sign * value for sign, value in zip(signs, values, strict=True))) >= abs(sum(values))
        for signs in product((-1, 1), repeat=len(values))
    ]
    assert flip_test(tenths, seed=0).p == sum(reached) / len(reached)


@pytest.mark.parametrize("n", [5, 11, 16])
def test_the_exact_test_is_that_of_scipy(n: int) -> None:
    values = _skewed(n)
    expected = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    ).pvalue
    assert flip_test(values, seed=0) == (pytest.approx(expected, abs=1e-12), 0.0, 0)


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 50))
def test_of_outcomes_it_is_the_exact_test_of_mcnemar(up: int, down: int, same: int) -> None:
    values = [1.0] * up + [-1.0] * down + [0.0] * (same + 1)
    assert flip_test(values, seed=0) == (mcnemar_exact(up, down), 0.0, 0)


def test_drawn_flips_come_as_near_to_all_flips_as_they_say() -> None:
    """Of 20 values all 2**20 flips are counted here; the drawn p-values scatter about theirs as promised."""
    values = _skewed(20, seed=8)
    total = np.zeros(1)
    for value in values:
        total = np.concatenate([total + value, total - value])
    exact = float((np.abs(total) >= abs(values.sum()) - 1e-9).mean())
    found = [flip_test(values, seed=seed, flips=999) for seed in range(300)]
    away = [(one.p - exact) / one.p_error for one in found]
    assert all(one.num_flips == 999 for one in found)
    assert abs(np.mean(away)) < 0.2
    assert 0.85 < np.std(away) < 1.15


def test_a_drawn_p_value_is_never_zero() -> None:
    found = flip_test(np.arange(1.0, 101.0), seed=3)
    assert found.p == 1 / 10_000
    assert found.p_error == pytest.approx(1e-4, rel=0.01)


def test_very_many_items_have_fewer_flips_and_say_so() -> None:
    found = flip_test(np.random.default_rng(1).normal(size=300_000), seed=3)
    assert found.num_flips == 999
    assert found.p_error == pytest.approx(math.sqrt(found.p * (1 - found.p) / 999))


def test_many_comparisons_are_each_what_one_is() -> None:
    drawn = np.random.default_rng(17)
    first, second = drawn.gamma(1.0, size=(300, 60)), drawn.gamma(1.0, size=60)
    first[0], first[1] = second, second + 0.5
    first[2] = second + 0.25 * (np.arange(60) % 7 == 0)
    first[3] = second + np.where(np.arange(60) % 5 == 0, drawn.normal(size=60), 0.0)
    clusters = (np.arange(60) // 2 * 2).tolist()
    for labels in (None, clusters):
        batch = compare_real_many(first, second, seed=4, clusters=labels, resamples=499)
        for row in (0, 1, 2, 3, 4, 255, 256, 299):
            values = first[row] - second
            mean = real_mean(values, seed=4, clusters=labels, resamples=499)
            tested = flip_test(values, seed=4, clusters=labels, flips=499)
            assert batch.difference[row] == pytest.approx(mean.mean, abs=1e-12)
            assert (batch.p[row], batch.p_error[row]) == (tested.p, tested.p_error)
            expected = mean.interval or (math.nan, math.nan)
            assert (batch.low[row], batch.high[row]) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@settings(max_examples=40)
@given(VALUES)
def test_exchanging_the_systems_mirrors_everything(values: list[float]) -> None:
    there = [-value for value in values]
    for interval in (
        lambda given: bca_interval(given, seed=1, resamples=199),
        lambda given: student_interval(given),
    ):
        here, mirrored = interval(values), interval(there)
        if here is None:
            assert mirrored is None
        else:
            assert mirrored == pytest.approx((-here.high, -here.low), abs=1e-9)
    assert flip_test(values, seed=1, flips=199) == flip_test(there, seed=1, flips=199)


@settings(max_examples=40)
@given(VALUES, st.integers(-64, 64), st.integers(1, 16))
def test_another_origin_or_unit_moves_the_interval_with_the_mean(
    values: list[float], shift: int, unit: int
) -> None:
    here = bca_interval(values, seed=1, resamples=199)
    moved = bca_interval([unit * value + shift for value in values], seed=1, resamples=199)
    assert (here is None) == (moved is None)
    if here and moved:
        assert moved == pytest.approx((unit * here.low + shift, unit * here.high + shift), abs=1e-8)


@settings(max_examples=30)
@given(VALUES, st.randoms(use_true_random=False))
def test_clusters_of_one_item_are_no_clusters_and_their_names_mean_nothing(
    values: list[float], shuffled: object
) -> None:
    names = [f"item {number}" for number in range(len(values))]
    shuffled.shuffle(names)  # type: ignore[attr-defined]
    assert real_mean(values, seed=2, clusters=names) == real_mean(values, seed=2)
    assert flip_test(values, seed=2, clusters=names, flips=199) == flip_test(values, seed=2, flips=199)
    assert cluster_values(np.array(values), names) == pytest.approx(np.array(values), abs=1e-12)


@settings(max_examples=30)
@given(VALUES, st.randoms(use_true_random=False))
def test_the_order_of_items_matters_only_by_the_draw(values: list[float], shuffled: object) -> None:
    mixed = list(values)
    shuffled.shuffle(mixed)  # type: ignore[attr-defined]
    here, there = flip_test(values, seed=2, flips=999), flip_test(mixed, seed=2, flips=999)
    assert there.p == pytest.approx(here.p, abs=6 * math.hypot(here.p_error, there.p_error))
    assert student_interval(mixed) == (
        None if student_interval(values) is None else pytest.approx(student_interval(values), abs=1e-9)
    )


def test_huge_and_tiny_values_stay_numbers() -> None:
    values = _skewed(60)
    near = bca_interval(values, seed=1)
    for unit in (1e-150, 1e150):
        found = bca_interval(values * unit, seed=1)
        assert near is not None
        assert found == pytest.approx((near.low * unit, near.high * unit), rel=1e-9)
        assert student_interval(values * unit) is not None


def test_what_cancels_within_a_cluster_has_no_sign() -> None:
    values = [0.1, 0.2, -0.3, 1.0, 2.0]
    assert flip_test(values, seed=0, clusters=["a", "a", "a", "b", "c"]).p == 0.5


@pytest.mark.parametrize(
    ("values", "clusters", "what"),
    [
        ([], None, "at least one item"),
        ([1.0, math.nan], None, "must be finite"),
        ([math.inf], None, "must be finite"),
        ([[1.0, 2.0]], None, "are one row"),
        ([1.0, 2.0], ["a"], "1 cluster labels do not fit 2 items"),
    ],
)
def test_what_is_no_row_of_values_is_refused(values: list[float], clusters: list[str], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        real_mean(values, seed=0, clusters=clusters)
    with pytest.raises(ValueError, match=what):
        flip_test(values, seed=0, clusters=clusters)


def test_other_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="coverage must lie"):
        real_mean([1.0, 2.0], seed=0, coverage=1.0)
    with pytest.raises(ValueError, match="at least 99 resamples, not 5"):
        real_mean([1.0, 2.0], seed=0, resamples=5)
    with pytest.raises(ValueError, match="cannot be paired"):
        compare_real_many([[1.0, 2.0]], [1.0], seed=0)


def test_drawn_flips_count_ties_that_rounding_parts() -> None:
    """Sums of tenths meet the observed sum in many ways; their law is counted in whole numbers."""
    tenths = [1, 2, 3, -1, 2, -2, 3, 1, -3, 2] * 2 + [1]
    law = np.ones(1)
    for value in tenths:
        step = np.zeros(2 * abs(value) + 1)
        step[0] = step[-1] = 0.5
        law = np.convolve(law, step)
    sums = np.arange(-(len(law) // 2), len(law) // 2 + 1)
    exact = float(law[np.abs(sums) >= abs(sum(tenths))].sum())
    found = flip_test([value / 10 for value in tenths], seed=6)
    assert found == flip_test(tenths, seed=6)
    assert found.num_flips == 9_999
    assert found.p == pytest.approx(exact, abs=4 * found.p_error)
    without_ties = float(law[np.abs(sums) > abs(sum(tenths))].sum())
    assert exact - without_ties > 12 * found.p_error


def test_intervals_grow_with_their_coverage_even_where_one_item_decides() -> None:
    values = [0.01 * item for item in range(59)] + [1e6]
    ends = [bca_interval(values, seed=1, coverage=share, resamples=999) for share in (0.5, 0.9, 1 - 1e-12)]
    assert all(end is not None for end in ends)
    lows, highs = zip(*(end for end in ends if end), strict=True)
    assert list(lows) == sorted(lows, reverse=True)
    assert list(highs) == sorted(highs)
    assert lows[-1] <= np.mean(values) <= highs[-1]


def test_clusters_that_all_cancel_do_not_differ() -> None:
    values, clusters = [0.1, 0.2, -0.3] * 3, [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert flip_test(values, seed=0, clusters=clusters) == (1.0, 0.0, 0)
    assert real_mean(values, seed=0, clusters=clusters).interval is None
