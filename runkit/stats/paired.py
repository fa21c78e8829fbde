"""Two systems on the same items: counts, McNemar tests and intervals for the difference.

The first system is the row of a table, the second the reference; a positive difference favours the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from runkit.stats.proportions import Interval, two_sided_z, wilson_interval

_MOST_COUNTED = 20_000
"""Discordant items above which whole numbers of ways give way to the incomplete beta function."""


class PairedCounts(NamedTuple):
    """How many items each of two systems got right, jointly."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def n(self) -> int:
        """Number of items."""
        return sum(self)

    @property
    def num_discordant(self) -> int:
        """Items on which exactly one of the two was correct."""
        return self.only_first + self.only_second

    @property
    def difference_fraction(self) -> float:
        """Accuracy of the first minus accuracy of the second.

        Raises:
            ValueError: There are no items.
        """
        if self.n == 0:
            raise ValueError("a difference needs at least one item")
        return (self.only_first - self.only_second) / self.n

    @property
    def discordance_fraction(self) -> float:
        """Discordant items of all items.

        Raises:
            ValueError: There are no items.
        """
        if self.n == 0:
            raise ValueError("a discordance needs at least one item")
        return self.num_discordant / self.n


def paired_counts(correct_first: Sequence[bool], correct_second: Sequence[bool]) -> PairedCounts:
    """Return the joint counts of two systems, item by item in the same order.

    Raises:
        ValueError: The two have different numbers of items.
    """
    if len(correct_first) != len(correct_second):
        raise ValueError(f"{len(correct_first)} items cannot be paired with {len(correct_second)}")
    cells = [0, 0, 0, 0]
    for first, second in zip(correct_first, correct_second, strict=True):
        cells[2 * (not first) + (not second)] += 1
    return PairedCounts(*cells)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Return the two-sided exact conditional McNemar p-value.

    Raises:
        ValueError: A count is negative.
    Source:
        McNemar (1947), Psychometrika 12:153-157; the binomial form.
    """
    fewer, total = _split(only_first, only_second)
    if total > _MOST_COUNTED:
        from scipy.special import bdtr

        return min(1.0, 2.0 * float(bdtr(fewer, total, 0.5)))
    # Each number of ways from the one before: with thousands of items, each anew took minutes.
    ways = term = 1
    for k in range(fewer):
        term = term * (total - k) // (k + 1)
        ways += term
    return min(1.0, 2 * ways / (1 << total))


def mcnemar_midp(only_first: int, only_second: int) -> float:
    """Return the two-sided mid-p McNemar p-value, which is less conservative than the exact one.

    Raises:
        ValueError: A count is negative.
    Source:
        Fagerland, Lydersen and Laake (2013), BMC Medical Research Methodology 13:91.
    """
    fewer, total = _split(only_first, only_second)
    if total == 0:
        return 1.0
    ways = 2 * sum(math.comb(total, k) for k in range(fewer + 1)) - math.comb(total, fewer)
    return min(1.0, ways / (1 << total))


def newcombe_interval(counts: PairedCounts, *, coverage: float = 0.95) -> Interval:
    """Return an interval for the difference of two paired proportions, in fractions from -1 to 1.

    Raises:
        ValueError: There are no items.
    Source:
        Newcombe (1998), Statistics in Medicine 17:2635-2650, method 10.
    """
    n, difference = counts.n, counts.difference_fraction
    num_first, num_second = counts.both + counts.only_first, counts.both + counts.only_second
    first = wilson_interval(num_first, n, coverage=coverage)
    second = wilson_interval(num_second, n, coverage=coverage)
    phi = _corrected_phi(counts)
    below = _hypotenuse(num_first / n - first.low, second.high - num_second / n, phi)
    above = _hypotenuse(first.high - num_first / n, num_second / n - second.low, phi)
    return Interval(max(-1.0, difference - below), min(1.0, difference + above))


def tango_interval(counts: PairedCounts, *, coverage: float = 0.95) -> Interval:
    """Return Tango's score interval for the difference of two paired proportions.

    Raises:
        ValueError: There are no items.
    Source:
        Tango (1998), Statistics in Medicine 17:891-908.
    """
    z, difference = two_sided_z(coverage), counts.difference_fraction

    def beyond(delta: float) -> bool:
        return abs(tango_score(counts, delta)) > z

    return Interval(_boundary(difference, -1.0, beyond), _boundary(difference, 1.0, beyond))


def tango_score(counts: PairedCounts, delta: float) -> float:
    """Return the score statistic, about standard normal, of a true difference of *delta*, a fraction.

    Source:
        Tango (1998), Statistics in Medicine 17:891-908.
    """
    n, b, c = counts.n, counts.only_first, counts.only_second
    linear = -b - c + (2 * n - b + c) * delta
    constant = -c * delta * (1 - delta)
    discriminant = max(0.0, linear * linear - 8 * n * constant)
    only_second_fraction = (math.sqrt(discriminant) - linear) / (4 * n)
    variance = n * (2 * only_second_fraction + delta * (1 - delta))
    distance = b - c - n * delta
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def mcnemar_asymptotic(only_first: int, only_second: int, *, is_corrected: bool = False) -> float:
    """Return the p-value of McNemar's chi-squared test; for comparison with others, never printed by a table.

    Args:
        is_corrected: Whether Edwards' continuity correction is applied.
    Raises:
        ValueError: A count is negative.
    """
    fewer, total = _split(only_first, only_second)
    if total == 0:
        return 1.0
    distance = max(0, total - 2 * fewer - is_corrected)
    return math.erfc(math.sqrt(distance * distance / total / 2))


def paired_standard_error(counts: PairedCounts) -> float:
    """Return the plug-in standard error of the difference, a fraction.

    Raises:
        ValueError: There are no items.
    Source:
        Miller (2024), arXiv:2411.00640.
    """
    return math.sqrt((counts.discordance_fraction - counts.difference_fraction**2) / counts.n)


def probability_first_is_better(only_first: int, only_second: int) -> float:
    """Return the posterior probability that the first system is better, from a flat Dirichlet prior.

    Only the discordant items speak: the larger of the two discordant shares is a matter of Beta(b + 1, c + 1)
    above one half, which for whole numbers is a binomial sum.

    Raises:
        ValueError: A count is negative.
    """
    _split(only_first, only_second)
    tosses = only_first + only_second + 1
    return sum(math.comb(tosses, k) for k in range(only_first + 1)) / (1 << tosses)


def _split(only_first: int, only_second: int) -> tuple[int, int]:
    if only_first < 0 or only_second < 0:
        raise ValueError(f"discordant counts cannot be negative: {only_first}, {only_second}")
    return min(only_first, only_second), only_first + only_second


def _corrected_phi(counts: PairedCounts) -> float:
    a, b, c, d = counts
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if margins == 0:
        return 0.0
    excess = a * d - b * c
    corrected = max(0.0, excess - counts.n / 2) if excess > 0 else float(excess)
    return corrected / math.sqrt(margins)


def _hypotenuse(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(0.0, first * first - 2 * phi * first * second + second * second))


def _boundary(inside: float, outside: float, beyond: Callable[[float], bool]) -> float:
    if not beyond(outside):
        return outside
    for _ in range(80):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if beyond(middle) else (middle, outside)
    return inside
