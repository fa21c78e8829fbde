"""How far two runs of the same thing differ by chance, from repeated outcomes on the same items."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from runkit.stats.proportions import two_sided_z


class NoiseFloor(NamedTuple):
    """What repeats say about chance."""

    sigma2: float
    """Variance of one outcome of one item between repeats, averaged over items."""
    flip_rate: float
    """Expected fraction of items whose outcome differs between two repeats."""
    floor_fraction: float
    """Two single repeats differ in accuracy by less than this in *coverage* of the cases."""
    num_runs: int
    num_items: int


def noise_floor(correct_by_run: Sequence[Sequence[bool]], *, coverage: float = 0.95) -> NoiseFloor:
    """Return the noise floor of repeats ``[runs][items]``, the same items in the same order.

    Raises:
        ValueError: Fewer than two runs, no items, or runs with different numbers of items.
    """
    num_runs, num_items = len(correct_by_run), len(correct_by_run[0]) if correct_by_run else 0
    if num_runs < 2 or num_items == 0:
        raise ValueError("a noise floor needs at least two runs and one item")
    if any(len(run) != num_items for run in correct_by_run):
        raise ValueError("a noise floor needs the same items in every run")
    sums = [sum(outcomes) for outcomes in zip(*correct_by_run, strict=True)]
    unlike_pairs = sum(correct * (num_runs - correct) for correct in sums)
    sigma2 = unlike_pairs / (num_runs * (num_runs - 1) * num_items)
    floor = two_sided_z(coverage) * math.sqrt(2 * sigma2 / num_items)
    return NoiseFloor(sigma2, 2 * sigma2, floor, num_runs, num_items)


class Repeatability(NamedTuple):
    """What K repeats of one measurement say about it; fractions throughout."""

    mean_fraction: float
    floor: NoiseFloor
    between_items: float
    """Variance over items of the true accuracy on an item."""
    reliability: float
    """Share of the variance that is between items (intraclass correlation); 1 without noise."""
    decoding_deviation: float
    """Standard deviation of one repeat's accuracy, on these items, by noise alone."""
    floor_of_means_fraction: float
    """Two means of K repeats differ by less than this in 95 % of the cases."""
    standard_error_once: float
    """Of the accuracy of one repeat, for other items and other noise."""
    standard_error: float
    """Of the mean of all K repeats."""
    unstable_fraction: float
    """Items that were not always right and not always wrong."""


def repeatability(correct_by_run: Sequence[Sequence[bool]], *, coverage: float = 0.95) -> Repeatability:
    """Return what repeats ``[runs][items]`` say; the same items in the same order.

    Raises:
        ValueError: As for :func:`noise_floor`, or there is only one item.
    Source:
        Miller (2024), arXiv:2411.00640, section 3.
    """
    floor = noise_floor(correct_by_run, coverage=coverage)
    num_runs, n = floor.num_runs, floor.num_items
    if n < 2:
        raise ValueError("repeatability needs at least two items")
    fractions = [sum(outcomes) / num_runs for outcomes in zip(*correct_by_run, strict=True)]
    mean = math.fsum(fractions) / n
    spread = math.fsum((fraction - mean) ** 2 for fraction in fractions) / (n - 1)
    between = max(0.0, spread - floor.sigma2 / num_runs)
    total = between + floor.sigma2
    return Repeatability(
        mean_fraction=mean,
        floor=floor,
        between_items=between,
        reliability=between / total if total else 1.0,
        decoding_deviation=math.sqrt(floor.sigma2 / n),
        floor_of_means_fraction=floor.floor_fraction / math.sqrt(num_runs),
        standard_error_once=math.sqrt(total / n),
        standard_error=math.sqrt((between + floor.sigma2 / num_runs) / n),
        unstable_fraction=sum(0 < fraction < 1 for fraction in fractions) / n,
    )
