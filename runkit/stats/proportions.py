"""Intervals for one proportion, from integer counts; nothing about comparisons."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple


class Interval(NamedTuple):
    """An interval of fractions, both ends included."""

    low: float
    high: float


def two_sided_z(coverage: float) -> float:
    """Return the standard normal quantile that leaves ``1 - coverage`` outside, half on each side.

    Raises:
        ValueError: *coverage* is not strictly between 0 and 1.
    """
    if not 0.0 < coverage < 1.0:
        raise ValueError(f"coverage must lie strictly between 0 and 1, not {coverage}")
    return NormalDist().inv_cdf(0.5 + coverage / 2)


def wilson_interval(correct: int, n: int, *, coverage: float = 0.95) -> Interval:
    """Return the Wilson score interval of ``correct / n``.

    Raises:
        ValueError: *n* is not positive or *correct* is not in 0..n.
    Source:
        Wilson (1927), Probable inference, JASA 22:209-212.
    """
    _check_counts(correct, n)
    z = two_sided_z(coverage)
    fraction, shrink = correct / n, 1 + z * z / n
    center = (fraction + z * z / (2 * n)) / shrink
    half_width = z / shrink * math.sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n))
    low = 0.0 if correct == 0 else max(0.0, center - half_width)
    high = 1.0 if correct == n else min(1.0, center + half_width)
    return Interval(low, high)


def clopper_pearson_interval(correct: int, n: int, *, coverage: float = 0.95) -> Interval:
    """Return the Clopper-Pearson interval of ``correct / n``, which is never too narrow and often too wide.

    Raises:
        ValueError: *n* is not positive or *correct* is not in 0..n.
    Source:
        Clopper and Pearson (1934), Biometrika 26:404-413.
    """
    _check_counts(correct, n)
    if not 0.0 < coverage < 1.0:
        raise ValueError(f"coverage must lie strictly between 0 and 1, not {coverage}")
    tail = (1 - coverage) / 2
    low = 0.0 if correct == 0 else 1.0 - _fraction_with_tail(n - correct, n, tail)
    high = 1.0 if correct == n else _fraction_with_tail(correct, n, tail)
    return Interval(low, high)


def standard_error(correct: int, n: int) -> float:
    """Return the standard error of ``correct / n`` with one degree of freedom taken for the mean.

    Raises:
        ValueError: *n* is below 2 or *correct* is not in 0..n.
    """
    _check_counts(correct, n)
    if n < 2:
        raise ValueError("a standard error needs at least two items")
    return math.sqrt(correct / n * (1 - correct / n) / (n - 1))


def _fraction_with_tail(correct: int, n: int, tail: float) -> float:
    """Return the proportion under which at most *correct* of *n* have probability *tail*."""
    low, high = correct / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(correct, n, middle) > tail else (low, middle)
    return (low + high) / 2


def _at_most(correct: int, n: int, fraction: float) -> float:
    if not 0.0 < fraction < 1.0:
        return 1.0 if fraction <= 0.0 else 0.0
    log_hit, log_miss = math.log(fraction), math.log1p(-fraction)
    return math.fsum(
        math.exp(_log_ways(n, hits) + hits * log_hit + (n - hits) * log_miss) for hits in range(correct + 1)
    )


def _log_ways(n: int, hits: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(hits + 1) - math.lgamma(n - hits + 1)


def _check_counts(correct: int, n: int) -> None:
    if n <= 0:
        raise ValueError(f"a proportion needs at least one item, not {n}")
    if not 0 <= correct <= n:
        raise ValueError(f"correct must lie in 0..{n}, not {correct}")
