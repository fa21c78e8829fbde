"""Paired comparisons, against an oracle, published values, statsmodels and full enumeration."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runkit.stats.paired import (
    PairedCounts,
    mcnemar_asymptotic,
    mcnemar_exact,
    mcnemar_midp,
    newcombe_interval,
    paired_counts,
    paired_standard_error,
    probability_first_is_better,
    tango_interval,
)
from tests.stats.oracle_file import read_oracle

WORKED = PairedCounts(130, 32, 15, 23)
CAVO = PairedCounts(59, 6, 16, 80)
COUNTS = st.builds(PairedCounts, *[st.integers(0, 80)] * 4).filter(lambda counts: counts.n > 0)
SMALL = st.integers(0, 60)


@pytest.fixture(scope="module")
def oracle() -> dict[str, Any]:
    return read_oracle()


def test_pairing_counts_each_of_the_four_cells() -> None:
    first = [True] * 130 + [True] * 32 + [False] * 15 + [False] * 23
    second = [True] * 130 + [False] * 32 + [True] * 15 + [False] * 23
    counts = paired_counts(first, second)
    assert counts == WORKED
    assert (counts.n, counts.num_discordant) == (200, 47)
    assert (counts.difference_fraction, counts.discordance_fraction) == (0.085, 0.235)


def test_rows_of_different_length_are_not_paired() -> None:
    with pytest.raises(ValueError, match="2 items cannot be paired with 1"):
        paired_counts([True, False], [True])


def test_the_worked_example_comes_out() -> None:
    assert mcnemar_exact(32, 15) == pytest.approx(0.018623836615006432, abs=1e-12)
    assert mcnemar_midp(32, 15) == pytest.approx(0.013283281562245005, abs=1e-12)
    assert newcombe_interval(WORKED) == pytest.approx((0.017827, 0.151830), abs=1e-6)
    assert tango_interval(WORKED) == pytest.approx((0.018453, 0.153332), abs=1e-6)


def test_the_published_values_of_cavo_2012_come_out() -> None:
    """Asserted in the test suite of the R package contingencytables, to the digits given there."""
    assert newcombe_interval(CAVO) == pytest.approx((-0.1186, -0.0046), abs=5e-5)
    assert tango_interval(CAVO) == pytest.approx((-0.1240, -0.0054), abs=5e-5)
    assert mcnemar_exact(6, 16) == pytest.approx(0.052479, abs=5e-7)
    assert mcnemar_midp(6, 16) == pytest.approx(0.034690, abs=5e-7)


@pytest.mark.parametrize(
    ("first", "second", "p"), [(10, 14, 0.541256), (15, 13, 0.850554), (0, 0, 1.0), (10, 10, 1.0)]
)
def test_equal_systems_are_not_told_apart(first: int, second: int, p: float) -> None:
    assert mcnemar_exact(first, second) == pytest.approx(p, abs=5e-7)


def test_all_paired_tables_of_the_oracle_come_out(oracle: dict[str, Any]) -> None:
    tables = [
        oracle["worked_example"][name]
        for name in ("bridged_vs_target", "bridged_vs_source", "target_vs_source")
    ]
    tables += [oracle["paired_extra"][name]["computed"] for name in
               ("cavo_2012_published", "altman_table6_2", "bentur_2009")]  # fmt: skip
    for expected in tables:
        counts = PairedCounts(*expected["table"].values())
        exact, midp = mcnemar_exact(counts.only_first, counts.only_second), mcnemar_midp(*counts[1:3])
        assert exact == pytest.approx(expected["mcnemar"]["exact_conditional"], abs=1e-9)
        assert midp == pytest.approx(expected["mcnemar"]["mid_p"], abs=1e-9)
        assert newcombe_interval(counts) == pytest.approx(expected["ci"]["newcombe_method10"], abs=1e-9)
        assert tango_interval(counts) == pytest.approx(expected["ci"]["tango_score"], abs=1e-6)


def test_the_smallest_significant_splits_of_the_oracle_come_out(oracle: dict[str, Any]) -> None:
    for test, name in ((mcnemar_midp, "midp"), (mcnemar_exact, "exact")):
        for total, split in oracle["paired_extra"][f"smallest_significant_split_{name}_alpha05"].items():
            smallest = next((more for more in range(int(total) + 1) if 2 * more >= int(total)
                             and test(more, int(total) - more) < 0.05), None)  # fmt: skip
            assert smallest == (split[0] if split else None)


@settings(deadline=None)
@given(SMALL, SMALL)
def test_mcnemar_agrees_with_statsmodels(first: int, second: int) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    if first + second:
        expected = tables.mcnemar([[0, first], [second, 0]], exact=True).pvalue
        assert mcnemar_exact(first, second) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("first", "second"), [(3, 1), (5, 0), (4, 4), (0, 6), (2, 7)])
def test_mcnemar_agrees_with_counting_every_way_the_items_could_fall(first: int, second: int) -> None:
    total, distance = first + second, abs(first - second)
    falls = [abs(2 * sum(fall) - total) for fall in itertools.product((0, 1), repeat=total)]
    as_far, further = (
        sum(compare(fall) for fall in falls) / len(falls)
        for compare in (lambda fall: fall >= distance, lambda fall: fall > distance)
    )
    assert mcnemar_exact(first, second) == pytest.approx(as_far)
    assert mcnemar_midp(first, second) == pytest.approx(1.0 if distance == 0 else (as_far + further) / 2)


@given(SMALL, SMALL)
def test_midp_is_never_larger_than_exact_and_both_are_symmetric(first: int, second: int) -> None:
    assert 0.0 < mcnemar_midp(first, second) <= mcnemar_exact(first, second) <= 1.0
    assert mcnemar_midp(first, second) == mcnemar_midp(second, first)
    assert mcnemar_exact(first, second) == mcnemar_exact(second, first)


@given(COUNTS)
def test_intervals_hold_the_difference_and_stay_in_range(counts: PairedCounts) -> None:
    for low, high in (newcombe_interval(counts), tango_interval(counts)):
        assert -1.0 <= low <= counts.difference_fraction + 1e-12
        assert counts.difference_fraction - 1e-12 <= high <= 1.0


@given(COUNTS)
def test_exchanging_the_systems_mirrors_the_intervals(counts: PairedCounts) -> None:
    exchanged = PairedCounts(counts.both, counts.only_second, counts.only_first, counts.neither)
    for interval in (newcombe_interval, tango_interval):
        low, high = interval(counts)
        assert interval(exchanged) == pytest.approx((-high, -low), abs=1e-9)


def test_the_extremes_have_intervals() -> None:
    assert newcombe_interval(PairedCounts(0, 5, 0, 0)).high == 1.0
    assert tango_interval(PairedCounts(0, 5, 0, 0)).high == 1.0
    assert tango_interval(PairedCounts(0, 0, 5, 0)).low == -1.0


def test_nothing_is_said_about_no_items() -> None:
    empty = PairedCounts(0, 0, 0, 0)
    for question in (lambda: empty.difference_fraction, lambda: empty.discordance_fraction):
        with pytest.raises(ValueError, match="needs at least one item"):
            question()
    with pytest.raises(ValueError, match="cannot be negative"):
        mcnemar_exact(-1, 2)


def test_the_other_numbers_of_the_paired_oracle_come_out(oracle: dict[str, Any]) -> None:
    for name in ("bridged_vs_target", "bridged_vs_source", "target_vs_source"):
        expected = oracle["worked_example"][name]
        counts = PairedCounts(*expected["table"].values())
        only = counts.only_first, counts.only_second
        assert paired_standard_error(counts) == pytest.approx(expected["se_paired_plugin"], abs=1e-9)
        assert mcnemar_asymptotic(*only) == pytest.approx(expected["mcnemar"]["asymptotic_p"], abs=1e-9)
        assert mcnemar_asymptotic(*only, is_corrected=True) == pytest.approx(
            expected["mcnemar"]["asymptotic_cc_p"], abs=1e-9
        )
        assert probability_first_is_better(*only) == pytest.approx(
            expected["bayes_P(sys1>sys2)_dirichlet1111"], abs=1e-9
        )


@settings(deadline=None)
@given(SMALL, SMALL, st.booleans())
def test_the_chi_squared_test_agrees_with_statsmodels(first: int, second: int, corrected: bool) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    if first + second:
        expected = tables.mcnemar([[0, first], [second, 0]], exact=False, correction=corrected).pvalue
        # statsmodels lets the correction push |b - c| = 0 to one; ours stops at no distance
        if not (corrected and first == second):
            found = mcnemar_asymptotic(first, second, is_corrected=corrected)
            assert found == pytest.approx(expected, abs=1e-12)


@given(SMALL, SMALL)
def test_one_of_the_two_is_better_with_probabilities_that_add_up(first: int, second: int) -> None:
    here, there = probability_first_is_better(first, second), probability_first_is_better(second, first)
    assert here + there == pytest.approx(1.0)
    assert (here > 0.5) == (first > second)
