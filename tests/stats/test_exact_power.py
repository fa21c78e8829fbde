"""The power of McNemar's tests, against the oracle and against adding up every table one by one."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runkit.stats.exact_power import Test, exact_minimum_detectable_effect, paired_power
from runkit.stats.paired import mcnemar_exact, mcnemar_midp
from tests.stats.oracle_file import read_oracle

TESTS: tuple[Test, Test] = ("midp", "exact")


@pytest.fixture(scope="module")
def oracle() -> dict[str, Any]:
    return read_oracle()


def test_the_power_of_the_worked_example_and_how_it_exaggerates() -> None:
    assert paired_power(0.235, 0.085, 200).right_sign == pytest.approx(0.7094298, abs=1e-7)
    small = paired_power(0.235, 0.05, 200)
    assert (small.right_sign, small.type_s, small.type_m) == pytest.approx(
        (0.306354, 0.001006, 1.775373), abs=1e-6
    )


def test_the_power_examples_of_the_oracle_come_out(oracle: dict[str, Any]) -> None:
    for name, values in oracle["power_examples_n200"].items():
        psi, delta = (float(part.split("=")[1]) for part in name.split(","))
        for test in TESTS:
            expected = values[test]
            found = paired_power(psi, delta, 200, test=test)
            assert found == pytest.approx(
                (
                    expected["power_right_sign"],
                    expected["reject_any"],
                    expected["type_S"],
                    expected["type_M"],
                ),
                rel=1e-6,
            )


def test_the_detectable_effects_of_the_oracle_come_out(oracle: dict[str, Any]) -> None:
    for name, values in oracle["mde_n200_alpha05_power80"].items():
        found = {
            "mde_midp_exact_power": exact_minimum_detectable_effect(float(name), 200),
            "mde_exactcond_exact_power": exact_minimum_detectable_effect(float(name), 200, test="exact"),
            "mde_midp_bonferroni_m6": exact_minimum_detectable_effect(float(name), 200, alpha=0.05 / 6),
        }
        for key, effect in found.items():
            assert effect == (None if values[key] is None else pytest.approx(values[key], abs=1e-6)), (
                name,
                key,
            )


def test_the_size_of_the_tests_is_the_one_of_the_oracle(oracle: dict[str, Any]) -> None:
    for name, sizes in oracle["type_I_error_n200_alpha05"].items():
        for test in TESTS:
            found = paired_power(float(name.split("=")[1]), 0.0, 200, test=test).any_sign
            assert found == pytest.approx(sizes[test], abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.floats(0.05, 1.0), st.floats(0.0, 1.0), st.sampled_from(TESTS))
def test_the_power_is_the_sum_over_every_table(n: int, psi: float, share: float, test: Test) -> None:
    delta = psi * share
    decide = mcnemar_midp if test == "midp" else mcnemar_exact
    gain, loss = (psi + delta) / 2, (psi - delta) / 2
    right = wrong = size = 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            ways = math.comb(n, b) * math.comb(n - b, c)
            chance = ways * gain**b * loss**c * max(0.0, 1 - psi) ** (n - b - c)
            if decide(b, c) < 0.05:
                right += chance * (b > c)
                wrong += chance * (b < c)
                size += chance * abs(b - c) / n
    found = paired_power(psi, delta, n, test=test)
    assert (found.right_sign, found.any_sign) == pytest.approx((right, right + wrong), abs=1e-9)
    if right + wrong > 1e-9 and delta > 1e-6:
        assert found.type_s == pytest.approx(wrong / (right + wrong), abs=1e-7)
        assert found.type_m == pytest.approx(size / (right + wrong) / delta, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(20, 300), st.floats(0.02, 0.6), st.floats(0.0, 0.9))
def test_a_larger_difference_is_seen_more_often(n: int, psi: float, share: float) -> None:
    here, there = paired_power(psi, psi * share, n), paired_power(psi, psi * (share + 0.1), n)
    assert 0.0 <= here.right_sign <= there.right_sign + 1e-12 <= 1.0 + 1e-9


def test_the_detectable_effect_is_seen_with_the_power_asked_for() -> None:
    effect = exact_minimum_detectable_effect(0.2, 1319)
    assert effect is not None
    assert paired_power(0.2, effect, 1319).right_sign == pytest.approx(0.8, abs=1e-6)
    assert exact_minimum_detectable_effect(0.01, 100) is None
    assert exact_minimum_detectable_effect(0.0, 100) is None


def test_impossible_designs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a discordance lies in 0\.\.1"):
        paired_power(1.2, 0.1, 10)
    with pytest.raises(ValueError, match="cannot be larger than the discordance"):
        paired_power(0.1, 0.2, 10)
    with pytest.raises(ValueError, match="at least one item"):
        paired_power(0.1, 0.1, 0)
    with pytest.raises(ValueError, match="alpha must lie"):
        paired_power(0.1, 0.1, 10, alpha=0.0)
