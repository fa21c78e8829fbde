"""Many paired comparisons at once: the numbers of ``runkit.stats.paired``, for arrays of counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr

from runkit.stats.proportions import two_sided_z

Floats = NDArray[np.float64]

_HALVINGS = 46
"""Of an interval of length 2 at most, so that an end is known to 3e-14."""


class PairedBatch(NamedTuple):
    """M comparisons, each an entry of every array ``[M]``; the first system minus the second."""

    both: NDArray[np.int64]
    only_first: NDArray[np.int64]
    only_second: NDArray[np.int64]
    neither: NDArray[np.int64]
    difference_fraction: Floats
    p_exact: Floats
    p_midp: Floats
    newcombe_low: Floats
    newcombe_high: Floats
    tango_low: Floats
    tango_high: Floats


def compare_many(first: ArrayLike, second: ArrayLike, *, coverage: float = 0.95) -> PairedBatch:
    """Return M paired comparisons.

    Args:
        first: Outcomes ``[M][n]``, each 0 or 1, of the same n items in the same order.
        second: Outcomes ``[M][n]``, or ``[n]`` for one reference of all.
    Raises:
        ValueError: The two cannot be paired, or there are no items.
    """
    here = np.atleast_2d(np.asarray(first)) != 0
    there = np.asarray(second) != 0
    if here.shape[-1] != there.shape[-1] or (there.ndim == 2 and len(there) not in (1, len(here))):
        raise ValueError(f"outcomes {here.shape} cannot be paired with {there.shape}")
    both = (here & there).sum(axis=1)
    only_first = (here & ~there).sum(axis=1)
    only_second = (~here & there).sum(axis=1)
    neither = here.shape[1] - both - only_first - only_second
    return compare_counts(both, only_first, only_second, neither, coverage=coverage)


def compare_counts(
    both: ArrayLike,
    only_first: ArrayLike,
    only_second: ArrayLike,
    neither: ArrayLike,
    *,
    coverage: float = 0.95,
) -> PairedBatch:
    """Return the comparisons of joint counts ``[M]``; for what they mean see ``runkit.stats.paired``.

    Raises:
        ValueError: A count is negative, or a comparison has no items.
    """
    a, b, c, d = (
        np.atleast_1d(np.asarray(one, dtype=np.int64)) for one in (both, only_first, only_second, neither)
    )
    n = a + b + c + d
    if min(one.min(initial=0) for one in (a, b, c, d)) < 0 or (n.size and n.min() == 0):
        raise ValueError("a comparison needs counts that are not negative, and at least one item")
    z = two_sided_z(coverage)
    exact, midp = _mcnemar(b, c)
    newcombe_low, newcombe_high = _newcombe(a, b, c, d, z)
    tango_low, tango_high = _tango(b, c, n, z)
    return PairedBatch(
        a, b, c, d, (b - c) / n, exact, midp, newcombe_low, newcombe_high, tango_low, tango_high
    )  # fmt: skip


def _mcnemar(b: NDArray[np.int64], c: NDArray[np.int64]) -> tuple[Floats, Floats]:
    fewer, total = np.minimum(b, c), b + c
    cumulative = bdtr(fewer, total, 0.5)
    below = np.where(fewer > 0, bdtr(np.maximum(fewer - 1, 0), total, 0.5), 0.0)
    exact = np.where(total == 0, 1.0, np.minimum(1.0, 2 * cumulative))
    # 2 P(X <= k) - P(X = k) is P(X <= k) + P(X <= k - 1).
    return exact, np.where(2 * fewer == total, 1.0, np.minimum(1.0, cumulative + below))


def _wilson(correct: NDArray[np.int64], n: NDArray[np.int64], z: float) -> tuple[Floats, Floats]:
    fraction, shrink = correct / n, 1 + z * z / n
    center = (fraction + z * z / (2 * n)) / shrink
    half_width = z / shrink * np.sqrt(fraction * (1 - fraction) / n + z * z / (4 * n * n))
    low = np.where(correct == 0, 0.0, np.maximum(0.0, center - half_width))
    return low, np.where(correct == n, 1.0, np.minimum(1.0, center + half_width))


def _newcombe(
    a: NDArray[np.int64], b: NDArray[np.int64], c: NDArray[np.int64], d: NDArray[np.int64], z: float
) -> tuple[Floats, Floats]:
    n = a + b + c + d
    first, second = (a + b) / n, (a + c) / n
    first_low, first_high = _wilson(a + b, n, z)
    second_low, second_high = _wilson(a + c, n, z)
    # As floats: the product of four margins of some thousand items each leaves 64 bits.
    margins = (a + b).astype(np.float64) * (c + d) * (a + c) * (b + d)
    excess = (a * d - b * c).astype(np.float64)
    corrected = np.where(excess > 0, np.maximum(0.0, excess - n / 2), excess)
    phi = np.where(margins > 0, corrected / np.sqrt(np.where(margins > 0, margins, 1.0)), 0.0)
    below = _hypotenuse(first - first_low, second_high - second, phi)
    above = _hypotenuse(first_high - first, second - second_low, phi)
    difference = (b - c) / n
    return np.maximum(-1.0, difference - below), np.minimum(1.0, difference + above)


def _hypotenuse(first: Floats, second: Floats, phi: Floats) -> Floats:
    return np.sqrt(np.maximum(0.0, first * first - 2 * phi * first * second + second * second))


def _tango(
    b: NDArray[np.int64], c: NDArray[np.int64], n: NDArray[np.int64], z: float
) -> tuple[Floats, Floats]:
    # The interval depends on (b, c, n) only, and many comparisons share it.
    tables, which = np.unique(np.stack([b, c, n]), axis=1, return_inverse=True)
    fewer, more, items = tables
    low = _tango_end(fewer, more, items, z, outside=-1.0)
    high = _tango_end(fewer, more, items, z, outside=1.0)
    return low[which.ravel()], high[which.ravel()]


def _tango_end(
    b: NDArray[np.int64], c: NDArray[np.int64], n: NDArray[np.int64], z: float, *, outside: float
) -> Floats:
    inner, outer = (b - c) / n, np.full(b.shape, outside)
    is_open = np.abs(_tango_score(b, c, n, outer)) <= z
    for _ in range(_HALVINGS):
        middle = (inner + outer) / 2
        is_beyond = np.abs(_tango_score(b, c, n, middle)) > z
        inner, outer = np.where(is_beyond, inner, middle), np.where(is_beyond, middle, outer)
    return np.where(is_open, outside, inner)


def _tango_score(b: NDArray[np.int64], c: NDArray[np.int64], n: NDArray[np.int64], delta: Floats) -> Floats:
    linear = -b - c + (2 * n - b + c) * delta
    constant = -c * delta * (1 - delta)
    discriminant = np.maximum(0.0, linear * linear - 8 * n * constant)
    variance = n * (2 * (np.sqrt(discriminant) - linear) / (4 * n) + delta * (1 - delta))
    distance = b - c - n * delta
    is_spread = variance > 0
    scored = distance / np.sqrt(np.where(is_spread, variance, 1.0))
    return np.where(is_spread, scored, np.where(distance == 0, 0.0, np.copysign(np.inf, distance)))
