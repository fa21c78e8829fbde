"""Intervals for one proportion, against an oracle, statsmodels and what must hold for all counts."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.stats.proportions import clopper_pearson_interval, standard_error, wilson_interval
from tests.stats.oracle_file import read_oracle

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.fixture(scope="module")
def oracle() -> dict[str, Any]:
    return read_oracle()


@pytest.mark.parametrize(
    ("correct", "low", "high"),
    [
        (162, 0.749988, 0.858328),
        (145, 0.659317, 0.782203),
        (130, 0.581635, 0.712712),
        (200, 0.98115, 1.0),
        (0, 0.0, 0.01885),
    ],
)
def test_wilson_gives_the_worked_examples(correct: int, low: float, high: float) -> None:
    assert wilson_interval(correct, 200) == pytest.approx((low, high), abs=5e-6)


def test_clopper_pearson_gives_the_worked_example() -> None:
    assert clopper_pearson_interval(162, 200) == pytest.approx(
        (0.7486684813762559, 0.8618968746271604), abs=1e-9
    )


def test_both_agree_with_the_oracle(oracle: dict[str, Any]) -> None:
    for name, values in oracle["single_proportion"].items():
        correct, n = map(int, name.split("/"))
        assert wilson_interval(correct, n) == pytest.approx(values["wilson"], abs=1e-9)
        assert clopper_pearson_interval(correct, n) == pytest.approx(values["clopper_pearson"], abs=1e-9)


@pytest.mark.parametrize("coverage", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("correct", "n"), [(1, 7), (129, 200), (199, 200), (660, 1319)])
def test_both_agree_with_statsmodels(correct: int, n: int, coverage: float) -> None:
    proportion = pytest.importorskip("statsmodels.stats.proportion")
    wilson = proportion.proportion_confint(correct, n, alpha=1 - coverage, method="wilson")
    exact = proportion.proportion_confint(correct, n, alpha=1 - coverage, method="beta")
    assert wilson_interval(correct, n, coverage=coverage) == pytest.approx(wilson, abs=1e-9)
    assert clopper_pearson_interval(correct, n, coverage=coverage) == pytest.approx(exact, abs=1e-9)


@given(COUNTS)
def test_wilson_holds_the_proportion_and_stays_in_range(counts: tuple[int, int]) -> None:
    correct, n = counts
    low, high = wilson_interval(correct, n)
    assert 0.0 <= low <= correct / n <= high <= 1.0


@given(COUNTS)
def test_wilson_of_the_misses_is_the_mirror_image(counts: tuple[int, int]) -> None:
    correct, n = counts
    low, high = wilson_interval(correct, n)
    assert wilson_interval(n - correct, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(COUNTS)
def test_one_more_correct_answer_moves_both_ends_up(counts: tuple[int, int]) -> None:
    correct, n = counts
    if correct < n:
        here, there = wilson_interval(correct, n), wilson_interval(correct + 1, n)
        assert there.low > here.low
        assert there.high >= here.high


@pytest.mark.parametrize("interval", [wilson_interval, clopper_pearson_interval])
@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(interval: Any, correct: int, n: int) -> None:
    with pytest.raises(ValueError, match=r"proportion needs|must lie in"):
        interval(correct, n)


@pytest.mark.parametrize("interval", [wilson_interval, clopper_pearson_interval])
@pytest.mark.parametrize("coverage", [0.0, 1.0, 95.0])
def test_an_impossible_coverage_is_refused(interval: Any, coverage: float) -> None:
    with pytest.raises(ValueError, match="coverage must lie"):
        interval(1, 2, coverage=coverage)


def test_the_statistics_start_without_scipy() -> None:
    modules = "runkit.stats.proportions, runkit.stats.paired, runkit.stats.power, runkit.stats.noise"
    code = f"import sys, {modules}; sys.exit('scipy' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_standard_error_is_the_one_of_the_oracle(oracle: dict[str, Any]) -> None:
    for name, values in oracle["single_proportion"].items():
        assert standard_error(*map(int, name.split("/"))) == pytest.approx(values["se_ddof1"], abs=1e-12)
    with pytest.raises(ValueError, match="at least two items"):
        standard_error(1, 1)


def test_the_coverage_of_both_intervals_is_the_one_of_the_oracle(oracle: dict[str, Any]) -> None:
    """Added up over all 201 counts that 200 items can give."""
    binomial = pytest.importorskip("scipy.stats").binom
    intervals = {
        "wilson": [wilson_interval(k, 200) for k in range(201)],
        "clopper_pearson": [clopper_pearson_interval(k, 200) for k in range(201)],
    }
    for name, expected in oracle["coverage_n200"].items():
        truth = float(name.split("=")[1])
        for method, found in intervals.items():
            covering = [k for k, (low, high) in enumerate(found) if low <= truth <= high]
            assert binomial.pmf(covering, 200, truth).sum() == pytest.approx(expected[method], abs=1e-9)
