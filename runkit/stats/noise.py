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
