"""The exact law of the paired bootstrap, against the oracle and against every resample of few items."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runkit.stats.bootstrap import bootstrap_law
from runkit.stats.paired import PairedCounts, paired_standard_error
from tests.stats.oracle_file import read_oracle

COUNTS = st.builds(PairedCounts, *[st.integers(0, 60)] * 4).filter(lambda counts: counts.n > 0)


@pytest.fixture(scope="module")
def oracle() -> dict[str, Any]:
    return read_oracle()


def test_the_percentiles_of_the_worked_example_come_out() -> None:
    law = bootstrap_law(PairedCounts(130, 32, 15, 23))
    assert law.percentile_interval() == pytest.approx((0.020, 0.150))
    assert law.standard_error == pytest.approx(0.033747222, abs=1e-9)


def test_every_law_of_the_oracle_comes_out(oracle: dict[str, Any]) -> None:
    tables = [
        oracle["worked_example"][name]
        for name in ("bridged_vs_target", "bridged_vs_source", "target_vs_source")
    ]
    tables += [oracle["paired_extra"][name]["computed"] for name in
               ("cavo_2012_published", "altman_table6_2", "bentur_2009")]  # fmt: skip
    for expected in tables:
        law, values = bootstrap_law(PairedCounts(*expected["table"].values())), expected["bootstrap_exact"]
        assert law.percentile_interval() == pytest.approx(values["percentile_ci_inverse_cdf"], abs=1e-9)
        assert law.standard_error == pytest.approx(values["se"], abs=1e-9)
        assert law.at_most(0.0) == pytest.approx(values["P(delta*<=0)"], abs=1e-9)
        assert law.at_most(-1 / law.num_items) == pytest.approx(values["P(delta*<0)"], abs=1e-9)


@pytest.mark.parametrize("counts", [(1, 2, 0, 1), (2, 1, 1, 1), (0, 0, 3, 0), (0, 2, 2, 0)])
def test_the_law_is_the_frequency_over_every_resample(counts: tuple[int, int, int, int]) -> None:
    table = PairedCounts(*counts)
    differences = [0] * table.both + [1] * table.only_first + [-1] * table.only_second + [0] * table.neither
    seen = Counter(sum(resample) for resample in itertools.product(differences, repeat=table.n))
    expected = [seen[total] / table.n**table.n for total in range(-table.n, table.n + 1)]
    assert bootstrap_law(table).probabilities == pytest.approx(expected, abs=1e-14)


def test_resampling_with_a_seed_comes_near_it() -> None:
    counts = PairedCounts(130, 32, 15, 23)
    differences = np.repeat([0, 1, -1, 0], counts)
    drawn = np.random.default_rng(20260101).integers(0, 200, size=(10_000, 200))
    resampled = differences[drawn].mean(axis=1)
    assert bootstrap_law(counts).standard_error == pytest.approx(resampled.std(ddof=1), rel=0.02)


@settings(deadline=None)
@given(COUNTS)
def test_the_law_is_one_and_has_the_moments_of_the_items(counts: PairedCounts) -> None:
    law = bootstrap_law(counts)
    assert law.probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    assert law.probabilities @ law.differences == pytest.approx(counts.difference_fraction, abs=1e-12)
    assert law.standard_error == pytest.approx(paired_standard_error(counts), abs=1e-9)
    low, high = law.percentile_interval()
    assert -1.0 <= low <= high <= 1.0


@settings(deadline=None)
@given(COUNTS)
def test_exchanging_the_systems_mirrors_the_law(counts: PairedCounts) -> None:
    mirrored = bootstrap_law(PairedCounts(counts.both, counts.only_second, counts.only_first, counts.neither))
    assert bootstrap_law(counts).probabilities == pytest.approx(mirrored.probabilities[::-1], abs=1e-13)


def test_nothing_is_resampled_from_nothing() -> None:
    with pytest.raises(ValueError, match="at least one item"):
        bootstrap_law(PairedCounts(0, 0, 0, 0))
    with pytest.raises(ValueError, match="coverage must lie"):
        bootstrap_law(PairedCounts(1, 1, 1, 1)).percentile_interval(coverage=0.0)
