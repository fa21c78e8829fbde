"""Holm, the noise floor and power: against the oracle and what must hold for all values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runkit.stats.multiplicity import holm
from runkit.stats.noise import noise_floor, repeatability
from runkit.stats.power import (
    detectable_with_repeats,
    items_needed,
    items_needed_with_repeats,
    minimum_detectable_effect,
    resolution_ratio,
    rule_of_thumb_effect,
)
from tests.stats.oracle_file import read_oracle

PVALUES = st.lists(st.floats(0, 1), max_size=8)


@pytest.fixture(scope="module")
def oracle() -> dict[str, Any]:
    return read_oracle()


def test_holm_gives_the_worked_example() -> None:
    pvalues = (0.013283281562245005, 0.029449373483657837, 0.13604594767093658, 0.0029350556433200875,
               0.8505540192127224, 0.01915729045867921)  # fmt: skip
    expected = (0.066416, 0.088348, 0.272092, 0.017610, 0.850554, 0.076629)
    assert holm(pvalues) == pytest.approx(expected, abs=1e-6)


def test_holm_agrees_with_the_oracle(oracle: dict[str, Any]) -> None:
    rows = oracle["ablation_holm"]["rows"]
    assert holm([row["mid_p"] for row in rows]) == pytest.approx([row["holm"] for row in rows], abs=1e-12)


@settings(deadline=None)
@given(PVALUES)
def test_holm_agrees_with_statsmodels(pvalues: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    expected = multitest.multipletests(pvalues, method="holm")[1] if pvalues else ()
    assert holm(pvalues) == pytest.approx(tuple(expected), abs=1e-12)


@given(PVALUES)
def test_holm_raises_no_value_above_one_and_keeps_the_order(pvalues: list[float]) -> None:
    adjusted = holm(pvalues)
    assert all(before <= after <= 1.0 for before, after in zip(pvalues, adjusted, strict=True))
    order = sorted(range(len(pvalues)), key=lambda index: pvalues[index])
    assert [adjusted[index] for index in order] == sorted(adjusted)


def test_what_is_no_pvalue_is_refused() -> None:
    with pytest.raises(ValueError, match=r"p-values lie in 0\.\.1"):
        holm([0.2, 1.2])
    with pytest.raises(ValueError, match=r"p-values lie in 0\.\.1"):
        holm([float("nan")])


def _repeats(counts: dict[int, int], num_runs: int) -> list[list[bool]]:
    return [
        [run < correct for correct, items in counts.items() for _ in range(items)] for run in range(num_runs)
    ]


def test_the_noise_floor_gives_the_worked_example() -> None:
    floor = noise_floor(_repeats({0: 30, 1: 4, 2: 3, 3: 5, 4: 8, 5: 150}, 5))
    assert floor == pytest.approx((0.024, 0.048, 0.03036363148515984, 5, 200), abs=1e-9)


def test_equal_repeats_have_no_noise() -> None:
    assert noise_floor([[True, False]] * 3)[:3] == (0.0, 0.0, 0.0)


@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=2, max_size=5))
def test_the_flip_rate_is_the_mean_over_all_pairs_of_runs(runs: list[list[bool]]) -> None:
    pairs = [(here, there) for index, here in enumerate(runs) for there in runs[:index]]
    flips = sum(ours != theirs for here, there in pairs for ours, theirs in zip(here, there, strict=True))
    assert noise_floor(runs).flip_rate == pytest.approx(flips / (7 * len(pairs)))


@pytest.mark.parametrize("runs", [[], [[True]], [[], []], [[True, False], [True]]])
def test_noise_needs_two_runs_of_the_same_items(runs: list[list[bool]]) -> None:
    with pytest.raises(ValueError, match="a noise floor needs"):
        noise_floor(runs)


def test_power_gives_the_worked_examples() -> None:
    assert items_needed(0.10, 0.03) == pytest.approx(869.736146, abs=1e-5)
    assert items_needed(0.235, 0.02) == pytest.approx(4608.858268, abs=1e-5)
    assert minimum_detectable_effect(0.235, 200) == pytest.approx(0.0954685245, abs=1e-9)
    assert rule_of_thumb_effect(0.235, 200) == pytest.approx(0.0960335030, abs=1e-9)
    assert resolution_ratio(0.235, 0.085, 200) == pytest.approx(0.7907590913, abs=1e-9)


def test_power_agrees_with_the_oracle(oracle: dict[str, Any]) -> None:
    for name, items in oracle["n_required_connor_alpha05_power80"].items():
        psi, delta = (float(part.split("=")[1]) for part in name.split(","))
        assert items_needed(psi, delta) == pytest.approx(items, rel=1e-9)
    for name, values in oracle["mde_n200_alpha05_power80"].items():
        assert minimum_detectable_effect(float(name), 200) == pytest.approx(
            values["mde_connor_normal"], abs=1e-6
        )
        assert rule_of_thumb_effect(float(name), 200) == pytest.approx(
            values["mde_simple_z_sqrt(psi/n)"], abs=1e-9
        )


def test_the_smallest_effect_needs_exactly_the_items_there_are() -> None:
    effect = minimum_detectable_effect(0.3, 500)
    assert effect is not None
    assert items_needed(0.3, effect) == pytest.approx(500)


def test_more_items_detect_smaller_effects() -> None:
    effects = [minimum_detectable_effect(0.2, n) or 1.0 for n in (50, 200, 1000, 5000)]
    assert effects == sorted(effects, reverse=True)


def test_too_few_discordant_items_detect_nothing() -> None:
    assert minimum_detectable_effect(0.0, 200) is None
    assert minimum_detectable_effect(0.005, 200) is None


def test_impossible_designs_are_refused() -> None:
    with pytest.raises(ValueError, match="a difference must lie in"):
        items_needed(0.1, 0.2)
    with pytest.raises(ValueError, match="a discordance lies in"):
        items_needed(1.5, 0.2)
    with pytest.raises(ValueError, match="at least one item"):
        minimum_detectable_effect(0.1, 0)


def test_repeats_say_what_the_oracle_says_of_them(oracle: dict[str, Any]) -> None:
    expected = oracle["noise_floor"]
    found = repeatability(_repeats({int(key): value for key, value in expected["counts"].items()}, 5))
    assert found.mean_fraction == pytest.approx(expected["mean_accuracy"], abs=1e-12)
    values = {
        found.between_items: "between_item_variance_of_true_p omega_x2 = var(p_i,ddof1)-sigma2/K",
        found.reliability: "ICC = omega/(omega+sigma2)",
        found.decoding_deviation: "sd_of_one_run_due_to_decoding = sqrt(sigma2/n)",
        found.floor_of_means_fraction: "noise_floor95_K5_vs_K5",
        found.standard_error_once: "se_accuracy_K1 = sqrt((omega+sigma2)/n)",
        found.standard_error: "se_accuracy_K5 = sqrt((omega+sigma2/5)/n)",
        found.unstable_fraction: "items_unstable_share",
    }
    for value, name in values.items():
        assert value == pytest.approx(expected[name], abs=1e-9), name


@given(st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=2, max_size=5))
def test_more_repeats_never_make_a_mean_less_certain(runs: list[list[bool]]) -> None:
    found = repeatability(runs)
    assert 0.0 <= found.standard_error <= found.standard_error_once
    assert found.floor_of_means_fraction <= found.floor.floor_fraction
    assert 0.0 <= found.reliability <= 1.0


def test_repeatability_needs_two_items() -> None:
    with pytest.raises(ValueError, match="at least two items"):
        repeatability([[True], [False]])


def test_the_designs_with_repeats_of_the_oracle_come_out(oracle: dict[str, Any]) -> None:
    expected = oracle["miller_power"]
    found = items_needed_with_repeats(1 / 9, 0.0, 0.03)
    assert found == pytest.approx(expected["omega2=1/9,sigma2=0,delta=.03"], abs=1e-6)
    repeated = detectable_with_repeats(1 / 9, 1 / 6, 198, repeats=10)
    assert repeated == pytest.approx(expected["MDE n=198 omega2=1/9 sigma2=1/6 K=10"], abs=1e-9)
    once = [detectable_with_repeats(1 / 9, 1 / 6, n) for n in (198, 200)]
    assert once == pytest.approx([expected["MDE n=198 K=1"], expected["MDE n=200 K=1"]], abs=1e-9)


def test_impossible_designs_with_repeats_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be negative"):
        items_needed_with_repeats(-1.0, 0.0, 0.1)
    with pytest.raises(ValueError, match="difference of 0"):
        items_needed_with_repeats(0.1, 0.1, 0.0)
    with pytest.raises(ValueError, match="at least one item"):
        detectable_with_repeats(0.1, 0.1, 0)
