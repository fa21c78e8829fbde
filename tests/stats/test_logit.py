"""Means of proportions near 0 and 1, against statsmodels, their mirror image and a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runkit.stats.logit import logit_interval
from runkit.stats.seeds import seeds_by_items, values_over_seeds

TABLES = st.tuples(st.integers(2, 4), st.integers(2, 12)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(0, 1), min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    )
)


def test_it_is_the_interval_of_a_logistic_regression_clustered_by_item() -> None:
    """With seeds that agree as their items let them, the crossed error is the one clustered by item."""
    linear = pytest.importorskip("statsmodels.api")
    drawn = np.random.default_rng(4)
    outcomes = (drawn.random((3, 300)) < drawn.beta(4.0, 0.4, (1, 300))).astype(float)
    found = seeds_by_items(outcomes)
    assert found.crossed_standard_error == found.item_standard_error
    fitted = linear.Logit(outcomes.ravel(), np.ones(900)).fit(
        disp=0, cov_type="cluster", cov_kwds={"groups": np.tile(np.arange(300), 3)}, use_t=True
    )
    # statsmodels counts 899 of 900 observations beside 299 of 300 clusters
    center, half = float(fitted.params[0]), np.diff(fitted.conf_int()[0])[0] / 2
    low, high = logit_interval(found)
    assert math.log(low / (1 - low)) == pytest.approx(center - half, rel=2e-3)
    assert math.log(high / (1 - high)) == pytest.approx(center + half, rel=2e-3)


@given(TABLES)
def test_it_stays_within_0_and_1_holds_the_mean_and_mirrors(table: list[list[int]]) -> None:
    found = seeds_by_items(table)
    low, high = logit_interval(found)
    assert 0.0 <= low <= found.mean_fraction + 1e-12
    assert found.mean_fraction - 1e-12 <= high <= 1.0
    mirrored = seeds_by_items(1 - np.array(table))
    # Where seeds vary exactly as much as the rest, rounding decides whether their freedom counts.
    assume(mirrored.crossed_degrees_of_freedom == pytest.approx(found.crossed_degrees_of_freedom))
    other = logit_interval(mirrored)
    assert (low, high) == pytest.approx((1 - other.high, 1 - other.low), abs=1e-9)


def test_in_the_middle_it_is_the_interval_of_fractions() -> None:
    outcomes = np.random.default_rng(1).random((3, 2_000)) < 0.5
    found = seeds_by_items(outcomes)
    assert logit_interval(found) == pytest.approx(found.crossed_interval, abs=5e-4)


def test_near_one_it_covers_where_the_interval_of_fractions_does_not() -> None:
    """Nominal 95 %: 800 studies of 3 seeds and 200 items at 99.5 %, every miss of the other on one side."""
    drawn = np.random.default_rng(20261128)
    covered = missed_above = fractions_covered = 0
    for _ in range(800):
        found = seeds_by_items(drawn.random((3, 200)) < drawn.beta(1.99, 0.01, (1, 200)))
        low, high = logit_interval(found)
        covered += low <= 0.995 <= high
        fractions_covered += found.crossed_interval.low <= 0.995 <= found.crossed_interval.high
        missed_above += found.crossed_interval.low > 0.995
    assert covered / 800 >= 0.95
    assert fractions_covered / 800 <= 0.92
    assert missed_above >= 0.9 * (800 - fractions_covered)


def test_what_is_no_proportion_is_refused() -> None:
    with pytest.raises(ValueError, match="a mean from 0 to 1, not 2"):
        logit_interval(values_over_seeds([[1.0, 3.0]] * 2))
    with pytest.raises(ValueError, match="coverage must lie"):
        logit_interval(seeds_by_items([[0, 1]] * 2), coverage=0.0)
