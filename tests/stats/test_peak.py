"""The best of K checkpoints, against the oracle's simulated curve and what must hold for all outcomes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runkit.stats.peak import (
    corrected_peak,
    cross_fitted_peak,
    degradation,
    expected_maximum,
    mean_discordance,
    optimism,
)
from runkit.stats.proportions import wilson_interval
from tests.stats.oracle_file import read_oracle

CURVES = st.integers(1, 6).flatmap(
    lambda size: st.lists(st.lists(st.integers(0, 1), min_size=12, max_size=12), min_size=size, max_size=size)
)


@pytest.fixture(scope="module")
def oracle() -> dict[str, Any]:
    values: dict[str, Any] = read_oracle()["peak"]
    return values


@pytest.fixture(scope="module")
def flat_curve(oracle: dict[str, Any]) -> list[list[int]]:
    rows = oracle["simulated_flat_curve"]["outcomes_rows_checkpoints"]
    return [[int(outcome) for outcome in row] for row in rows]


def test_the_expected_maximum_of_normal_numbers_is_the_known_one(oracle: dict[str, Any]) -> None:
    assert expected_maximum(1) == pytest.approx(0.0, abs=1e-12)
    assert expected_maximum(2) == pytest.approx(1 / np.sqrt(np.pi), abs=1e-12)
    for num_candidates, value in oracle["E[max of K iid N(0,1)]"].items():
        assert expected_maximum(int(num_candidates)) == pytest.approx(value, abs=1e-9)


def test_the_optimism_of_equal_checkpoints_is_the_one_of_the_oracle(oracle: dict[str, Any]) -> None:
    assert optimism(0.2, 200, 10) == pytest.approx(0.0344, abs=5e-5)
    for name, value in oracle["optimism_n200"].items():
        candidates, psi = (part.split("=")[1] for part in name.split(","))
        assert optimism(float(psi), 200, int(candidates)) == pytest.approx(value, abs=1e-9)


def test_the_simulated_flat_curve_of_the_oracle_comes_out(
    oracle: dict[str, Any], flat_curve: list[list[int]]
) -> None:
    expected = oracle["simulated_flat_curve"]
    found = corrected_peak(flat_curve, seed=12345)
    assert (found.naive_fraction, found.best_index, found.num_candidates) == (0.81, 0, 10)
    assert found.corrected_fraction == pytest.approx(expected["bbc_oob"]["estimate"], abs=1e-9)
    assert found.corrected_interval == pytest.approx(expected["bbc_oob"]["percentile95"], abs=1e-9)
    assert found.naive_interval == pytest.approx(expected["wilson_peak_bonferroni_K"], abs=1e-9)
    assert mean_discordance(flat_curve) == pytest.approx(expected["mean_pairwise_discordance"], abs=1e-12)
    assert found.predicted_optimism == pytest.approx(
        expected["predicted_optimism e_K*sqrt(psi/(2n))"], abs=1e-9
    )
    assert cross_fitted_peak(flat_curve) == pytest.approx(expected["crossfit_mean"], abs=1e-12)


def test_a_fall_that_equal_checkpoints_show_too_is_no_degradation(
    oracle: dict[str, Any], flat_curve: list[list[int]]
) -> None:
    expected = oracle["simulated_flat_curve"]
    found = degradation(flat_curve, seed=99)
    assert found.fraction == pytest.approx(0.055)
    assert found.p == pytest.approx(expected["degradation_permutation_p (add-one)"], abs=1e-12)
    assert found.expected_fraction == pytest.approx(expected["degradation_null_mean"], abs=1e-9)
    assert found.upper_fraction == pytest.approx(expected["degradation_null_q95"], abs=1e-9)


def test_a_real_fall_is_found() -> None:
    good, bad = [1] * 150 + [0] * 50, [1] * 110 + [0] * 90
    found = degradation([bad, good, bad], seed=1)
    assert found.fraction == pytest.approx(0.2)
    assert found.p < 0.001


def test_the_correction_is_unbiased_where_the_plain_maximum_is_not() -> None:
    """Flat curves: 300 simulated runs of 10 checkpoints at 0.75 on 200 items, as far apart as real ones."""
    drawn = np.random.default_rng(7)
    naive, corrected = [], []
    for simulation in range(300):
        latent = 0.7**0.5 * drawn.normal(size=(1, 200)) + 0.3**0.5 * drawn.normal(size=(10, 200))
        outcomes = (latent < 0.6744897501960817).astype(int)
        found = corrected_peak(outcomes, seed=simulation, resamples=200)
        naive.append(found.naive_fraction - 0.75)
        corrected.append(found.corrected_fraction - 0.75)
    assert np.mean(naive) > 0.025
    assert abs(np.mean(corrected)) < 0.005


@settings(deadline=None, max_examples=40)
@given(CURVES)
def test_the_corrected_peak_stays_in_range_and_is_a_function_of_its_seed(curve: list[list[int]]) -> None:
    found = corrected_peak(curve, seed=3, resamples=50)
    assert found == corrected_peak(curve, seed=3, resamples=50)
    assert (
        0.0
        <= found.corrected_interval.low
        <= found.corrected_fraction
        <= found.corrected_interval.high
        <= 1.0
    )
    assert found.naive_fraction == max(sum(row) for row in curve) / 12
    assert found.predicted_optimism >= 0.0


@settings(deadline=None, max_examples=40)
@given(CURVES)
def test_a_fall_is_never_negative_and_its_p_is_a_probability(curve: list[list[int]]) -> None:
    found = degradation(curve, seed=5, permutations=60)
    assert 0.0 <= found.fraction <= 1.0
    assert 1 / 61 <= found.p <= 1.0
    if found.fraction == 0.0:
        assert found.p == 1.0


def test_one_checkpoint_has_nothing_to_correct() -> None:
    row = [1] * 30 + [0] * 10
    found = corrected_peak([row], seed=1)
    assert found.corrected_fraction == pytest.approx(0.75, abs=0.01)
    assert found.naive_interval == pytest.approx(wilson_interval(30, 40))
    assert (found.predicted_optimism, degradation([row], seed=1).p) == (pytest.approx(0.0, abs=1e-12), 1.0)


@pytest.mark.parametrize("curve", [[], [[1]], [[1, 2], [0, 1]], [1, 0, 1]])
def test_what_is_no_curve_is_refused(curve: Any) -> None:
    with pytest.raises(ValueError, match="a peak needs"):
        corrected_peak(curve, seed=1)
    with pytest.raises(ValueError, match="at least one candidate"):
        expected_maximum(0)
