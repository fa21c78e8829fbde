"""Equivalence: "no difference" is a claim of its own, and few items never prove it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.stats.equivalence import equivalence
from runkit.stats.paired import PairedCounts, mcnemar_midp
from runkit.stats.power import minimum_detectable_effect

COUNTS = st.builds(PairedCounts, *[st.integers(0, 80)] * 4).filter(lambda counts: counts.n > 0)
MARGINS = st.floats(0.005, 0.5)


def test_no_significant_difference_is_not_equivalence() -> None:
    counts = PairedCounts(115, 10, 14, 61)
    assert mcnemar_midp(10, 14) > 0.4
    found = equivalence(counts, margin=0.05)
    assert not found.is_equivalent
    assert found.smallest_margin_fraction == pytest.approx(0.0628, abs=5e-4)
    assert equivalence(counts, margin=0.07).is_equivalent


def test_many_items_prove_what_few_do_not() -> None:
    few, many = PairedCounts(60, 5, 5, 30), PairedCounts(6_000, 500, 500, 3_000)
    assert not equivalence(few, margin=0.03).is_equivalent
    assert equivalence(many, margin=0.03).is_equivalent
    assert minimum_detectable_effect(0.1, 100) > 0.03  # type: ignore[operator]


def test_a_score_of_the_margin_is_the_textbook_one_without_discordance() -> None:
    """With b = c = 0 the restricted estimate is the margin in one cell: z = sqrt(n m / (1 - m))."""
    found = equivalence(PairedCounts(90, 0, 0, 10), margin=0.05)
    statistics = pytest.importorskip("scipy.stats")
    assert found.p == pytest.approx(statistics.norm.sf((100 * 0.05 / 0.95) ** 0.5), abs=1e-12)


@given(COUNTS, MARGINS)
def test_the_test_and_the_interval_say_the_same(counts: PairedCounts, margin: float) -> None:
    found = equivalence(counts, margin=margin)
    assert 0.0 <= found.p <= 1.0
    if abs(found.smallest_margin_fraction - margin) > 1e-9:
        assert found.is_equivalent == (found.smallest_margin_fraction < margin)


@given(COUNTS, MARGINS)
def test_exchanging_the_systems_changes_nothing(counts: PairedCounts, margin: float) -> None:
    swapped = PairedCounts(counts.both, counts.only_second, counts.only_first, counts.neither)
    assert equivalence(swapped, margin=margin).p == pytest.approx(equivalence(counts, margin=margin).p)


@given(COUNTS, MARGINS)
def test_a_wider_margin_is_never_harder(counts: PairedCounts, margin: float) -> None:
    assert equivalence(counts, margin=margin * 1.5).p <= equivalence(counts, margin=margin).p + 1e-9


def test_what_is_no_margin_is_refused() -> None:
    counts = PairedCounts(1, 1, 1, 1)
    with pytest.raises(ValueError, match="a margin lies"):
        equivalence(counts, margin=0.0)
    with pytest.raises(ValueError, match="alpha must lie"):
        equivalence(counts, margin=0.1, alpha=0.5)
    with pytest.raises(ValueError, match="at least one item"):
        equivalence(PairedCounts(0, 0, 0, 0), margin=0.1)
