"""Three-way outcomes, against the oracle and what must hold for all counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.stats.invalid import three_way
from runkit.stats.paired import PairedCounts, mcnemar_midp, newcombe_interval
from tests.stats.oracle_file import read_oracle


def test_the_worked_example_comes_out() -> None:
    found = three_way(162, 29, 9)
    assert (found.accuracy_fraction, found.invalid_fraction) == (0.81, 0.045)
    assert found.bounds == pytest.approx((0.810, 0.855))
    assert found.invalid_interval == pytest.approx((0.023853, 0.083297), abs=1e-6)
    assert found.given_valid_fraction == pytest.approx(0.848168, abs=1e-6)


def test_the_three_systems_of_the_oracle_come_out() -> None:
    oracle = read_oracle()["invalid_generations"]
    for system in ("source", "target", "bridged"):
        expected = oracle[system]
        found = three_way(expected["correct"], expected["incorrect"], expected["invalid"])
        assert found.accuracy_interval == pytest.approx(expected["acc_all_wilson"], abs=1e-9)
        assert found.bounds == pytest.approx(expected["manski_bounds"], abs=1e-12)
        assert found.invalid_interval == pytest.approx(expected["invalid_rate_wilson"], abs=1e-9)
        assert found.given_valid_fraction == pytest.approx(expected["acc_given_valid"], abs=1e-12)
        assert found.given_valid_interval == pytest.approx(expected["acc_given_valid_wilson"], abs=1e-9)


def test_invalidity_is_tested_like_any_outcome() -> None:
    expected = read_oracle()["invalid_generations"]["paired_invalid_bridged_vs_target"]
    counts = PairedCounts(1, 8, 2, 189)
    assert mcnemar_midp(8, 2) == pytest.approx(expected["mid_p"], abs=1e-12)
    assert newcombe_interval(counts) == pytest.approx(expected["newcombe"], abs=1e-9)


@given(*[st.integers(0, 200)] * 3)
def test_the_bounds_hold_the_accuracy_however_invalid_answers_turn_out(
    correct: int, wrong: int, invalid: int
) -> None:
    if correct + wrong + invalid == 0:
        with pytest.raises(ValueError, match="at least one item"):
            three_way(correct, wrong, invalid)
        return
    found = three_way(correct, wrong, invalid)
    low, high = found.bounds
    assert 0.0 <= low == found.accuracy_fraction <= high <= 1.0
    assert high - low == pytest.approx(found.invalid_fraction)
    assert (found.given_valid_fraction is None) == (correct + wrong == 0)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        three_way(1, -1, 2)
