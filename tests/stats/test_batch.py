"""Many comparisons at once give what each gives by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runkit.stats.batch import compare_counts, compare_many
from runkit.stats.paired import (
    PairedCounts,
    mcnemar_exact,
    mcnemar_midp,
    newcombe_interval,
    paired_counts,
    tango_interval,
)

COUNTS = st.builds(PairedCounts, *[st.integers(0, 90)] * 4).filter(lambda counts: counts.n > 0)


def _check(tables: list[PairedCounts]) -> None:
    found = compare_counts(*(np.array(column) for column in zip(*tables, strict=True)))
    for index, counts in enumerate(tables):
        assert found.difference_fraction[index] == counts.difference_fraction
        assert found.p_exact[index] == pytest.approx(mcnemar_exact(*counts[1:3]), abs=1e-12)
        assert found.p_midp[index] == pytest.approx(mcnemar_midp(*counts[1:3]), abs=1e-12)
        newcombe = found.newcombe_low[index], found.newcombe_high[index]
        tango = found.tango_low[index], found.tango_high[index]
        assert newcombe == pytest.approx(newcombe_interval(counts), abs=1e-12)
        assert tango == pytest.approx(tango_interval(counts), abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.lists(COUNTS, min_size=1, max_size=8))
def test_a_batch_is_its_comparisons_one_by_one(tables: list[PairedCounts]) -> None:
    _check(tables)


def test_the_corners_are_those_of_one_comparison_too() -> None:
    corners = [
        (0, 0, 0, 5),
        (5, 0, 0, 0),
        (0, 5, 0, 0),
        (0, 0, 5, 0),
        (190, 10, 0, 0),
        (0, 7, 7, 0),
        (1, 1, 7, 12),
    ]
    _check([PairedCounts(*corner) for corner in corners])
    _check([PairedCounts(5_000_000, 300, 200, 4_000_000)])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 6), st.integers(1, 30), st.randoms(use_true_random=False))
def test_outcomes_are_counted_item_by_item(num: int, items: int, drawn: object) -> None:
    seeded = np.random.default_rng(drawn.getrandbits(32))  # type: ignore[attr-defined]
    first, second = seeded.integers(0, 2, (num, items)), seeded.integers(0, 2, (num, items))
    found = compare_many(first, second)
    reference = compare_many(first, second[0])
    for index in range(num):
        counts = paired_counts(first[index].astype(bool).tolist(), second[index].astype(bool).tolist())
        assert (
            found.both[index],
            found.only_first[index],
            found.only_second[index],
            found.neither[index],
        ) == counts
        against = paired_counts(first[index].astype(bool).tolist(), second[0].astype(bool).tolist())
        assert reference.only_first[index] == against.only_first


def test_what_cannot_be_paired_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        compare_many([[1, 0, 1]], [1, 0])
    with pytest.raises(ValueError, match="cannot be paired"):
        compare_many([[1, 0]] * 3, [[1, 0]] * 2)
    with pytest.raises(ValueError, match="at least one item"):
        compare_counts([0], [0], [0], [0])
    with pytest.raises(ValueError, match="not negative"):
        compare_counts([-1], [1], [1], [1])
