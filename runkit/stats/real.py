"""Real values on the same items, one run a side: means, differences, their intervals and a sign-flip test.

A difference is the first system minus the second, item by item. Items that come in groups are resampled and
flipped group by group. A mean is always over items, so a large group weighs more. What this does not do: it
knows nothing of training seeds (see ``runkit.stats.seeds``), and it drops no missing value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runkit.stats.paired import mcnemar_exact
from runkit.stats.proportions import Interval

Floats = NDArray[np.float64]

BOOTSTRAP = "BCa bootstrap"
STUDENT = "Student's t"

FEWEST_FOR_BOOTSTRAP = 50
"""Items or clusters below which the interval is Student's: a BCa interval of few is too narrow, of 20 normal
ones it covers 92.7 % (``benchmarks/coverage.py`` measures both)."""
MOST_FOR_BOOTSTRAP = 10_000
"""Items or clusters above which the interval is Student's: the two agree, and resampling costs minutes."""
MOST_FOR_EXACT = 16
"""Items or clusters with a difference for which every one of the 2**16 flips is counted."""

_RESAMPLES = 9_999
_FEWEST_RESAMPLES = 99
_FEWEST_FLIPS = 999
_MOST_SIGNS = 200_000_000
"""Signs drawn for one test of many items; with more than 20,000 items the flips become fewer."""
_CELLS_AT_ONCE = 4_000_000
_COMPARISONS_AT_ONCE = 256
_TIE = 1e-9
"""Of the sum of all absolute differences: sums nearer than this are the same sum, added in another order."""


class RealMean(NamedTuple):
    """The mean of real values over items, in their unit."""

    mean: float
    interval: Interval | None
    """None when there is nothing to estimate a spread from: one item or cluster, or all values equal."""
    interval_method: str
    """:data:`BOOTSTRAP` or :data:`STUDENT`."""
    n: int
    num_clusters: int
    """Equal to *n* when no two items share a cluster."""


class FlipTest(NamedTuple):
    """The sign-flip permutation test of paired differences, two-sided."""

    p: float
    p_error: float
    """Standard error of *p* by drawing flips; 0 when all were counted."""
    num_flips: int
    """Flips drawn; 0 when all were counted."""


class RealBatch(NamedTuple):
    """M paired comparisons, each an entry of every array ``[M]``; the first system minus the second."""

    difference: Floats
    low: Floats
    """NaN where there is no interval."""
    high: Floats
    p: Floats
    p_error: Floats


class _Units(NamedTuple):
    """Sums over what is resampled whole, U items or clusters, for M comparisons."""

    sums: Floats
    """``[M][U]``."""
    sizes: Floats
    """Items in each, ``[U]``."""

    @property
    def means(self) -> Floats:
        return np.asarray(self.sums.sum(axis=1) / self.sizes.sum())


def real_mean(
    values: ArrayLike,
    *,
    seed: int,
    clusters: Sequence[object] | None = None,
    coverage: float = 0.95,
    resamples: int = _RESAMPLES,
) -> RealMean:
    """Return the mean of *values* ``[n]`` over items with its interval; of differences, their mean.

    From 50 to 10,000 items (or clusters) the interval is the bias-corrected and accelerated bootstrap,
    otherwise Student's, with the error that is robust to clusters.

    Args:
        seed: Of the resamples.
        clusters: A label for each item; items with the same label are resampled together.
        coverage: Of the interval.
        resamples: How many are drawn.
    Raises:
        ValueError: No values, one that is not finite, labels of another number, coverage not within 0 and 1.
    Source:
        Efron (1987), JASA 82:171-185 (BCa); Cameron and Miller (2015), Journal of Human Resources 50:317-372
        (clusters, with the factor G/(G-1)).
    """
    row = _row(values)
    units = _units(row[None, :], clusters)
    num_units = len(units.sizes)
    method = _interval_method(num_units)
    low, high = _intervals(units, method, seed, coverage, resamples)
    return RealMean(float(units.means[0]), _first(low, high), method, row.size, num_units)


def bca_interval(
    values: ArrayLike,
    *,
    seed: int,
    clusters: Sequence[object] | None = None,
    coverage: float = 0.95,
    resamples: int = _RESAMPLES,
) -> Interval | None:
    """Return the bootstrap interval of :func:`real_mean` however many items there are."""
    units = _units(_row(values)[None, :], clusters)
    return _first(*_intervals(units, BOOTSTRAP, seed, coverage, resamples))


def student_interval(
    values: ArrayLike, *, clusters: Sequence[object] | None = None, coverage: float = 0.95
) -> Interval | None:
    """Return Student's interval of :func:`real_mean` however many items there are."""
    units = _units(_row(values)[None, :], clusters)
    return _first(*_intervals(units, STUDENT, 0, coverage, _RESAMPLES))


def flip_test(
    differences: ArrayLike, *, seed: int, clusters: Sequence[object] | None = None, flips: int = _RESAMPLES
) -> FlipTest:
    """Return the two-sided sign-flip test of *differences* ``[n]``: were they as likely with the other sign?

    Up to 16 items (or clusters) that differ, and any number that differ by the same amount, every flip is
    counted; differences of outcomes 0 and 1 thereby have the p-value of the exact McNemar test. Otherwise
    flips are drawn, and the observed one counts as drawn.

    Raises:
        ValueError: As for :func:`real_mean`.
    Source:
        Fisher (1935), The Design of Experiments, section 21; Phipson and Smyth (2010), Statistical
        Applications in Genetics and Molecular Biology 9:39 (the observed flip counts).
    """
    units = _units(_row(differences)[None, :], clusters)
    exact = _exact_flips(units.sums[0])
    if exact is not None:
        return FlipTest(exact, 0.0, 0)
    num_flips = _num_flips(flips, len(units.sizes))
    p = float(_drawn_flips(units.sums, seed, num_flips)[0])
    return FlipTest(p, _p_error(p, num_flips), num_flips)


def compare_real_many(
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int,
    clusters: Sequence[object] | None = None,
    coverage: float = 0.95,
    resamples: int = _RESAMPLES,
) -> RealBatch:
    """Return M paired comparisons of real values, as :func:`real_mean` and :func:`flip_test` one by one.

    All comparisons share their resamples and flips, so their chance errors are not independent.

    Args:
        first: Values ``[M][n]``.
        second: Values ``[M][n]``, or ``[n]`` for one reference of all.
        seed: Of resamples and flips.
        clusters: A label for each item.
        coverage: Of the intervals.
        resamples: How many are drawn, and how many flips.
    Raises:
        ValueError: The two cannot be paired, or as for :func:`real_mean`.
    """
    here, there = np.atleast_2d(_finite(first)), _finite(second)
    if here.shape[-1] != there.shape[-1] or (there.ndim == 2 and len(there) not in (1, len(here))):
        raise ValueError(f"values {here.shape} cannot be paired with {there.shape}")
    units = _units(here - there, clusters)
    method = _interval_method(len(units.sizes))
    low, high = _intervals(units, method, seed, coverage, resamples)
    counted = [_exact_flips(sums) for sums in units.sums]
    p = np.array([math.nan if one is None else one for one in counted])
    error = np.zeros(len(p))
    drawn = np.isnan(p)
    if drawn.any():
        num_flips = _num_flips(resamples, len(units.sizes))
        p[drawn] = _drawn_flips(units.sums[drawn], seed, num_flips)
        error[drawn] = [_p_error(one, num_flips) for one in p[drawn]]
    return RealBatch(units.means, low, high, p, error)


def cluster_values(values: Floats, clusters: Sequence[object]) -> Floats:
    """Return values ``[...][G]``, one a cluster, whose mean and spread are those of the mean over items.

    A cluster's value is the overall mean plus its items' deviations from it, times clusters per item: the
    linearised ratio of sum and number, which is the item itself where every cluster has one.
    """
    codes, sizes = _coded(clusters, values.shape[-1])
    mean = values.mean(axis=-1, keepdims=True)
    deviations = _summed(np.atleast_2d(values - mean), codes, len(sizes))
    spread = deviations * (len(sizes) / values.shape[-1])
    return np.asarray(spread.reshape(*values.shape[:-1], len(sizes)) + mean)


def _row(values: ArrayLike) -> Floats:
    row = _finite(values)
    if row.ndim != 1:
        raise ValueError(f"real values of one comparison are one row, not {row.shape}")
    return row


def _finite(values: ArrayLike) -> Floats:
    found = np.asarray(values, dtype=np.float64)
    if found.shape[-1:] in ((), (0,)):
        raise ValueError("a mean needs at least one item")
    if not np.isfinite(found).all():
        raise ValueError("real values must be finite; drop what is missing and count it")
    return found


def _units(values: Floats, clusters: Sequence[object] | None) -> _Units:
    if clusters is None:
        return _Units(values, np.ones(values.shape[1]))
    codes, sizes = _coded(clusters, values.shape[1])
    if len(sizes) == values.shape[1]:
        return _Units(values, np.ones(values.shape[1]))
    return _Units(_summed(values, codes, len(sizes)), sizes)


def _coded(clusters: Sequence[object], num_items: int) -> tuple[NDArray[np.int64], Floats]:
    """Return a number for each item, by first appearance, and the sizes of the clusters."""
    if len(clusters) != num_items:
        raise ValueError(f"{len(clusters)} cluster labels do not fit {num_items} items")
    numbers: dict[object, int] = {}
    codes = np.array([numbers.setdefault(label, len(numbers)) for label in clusters], dtype=np.int64)
    return codes, np.bincount(codes).astype(np.float64)


def _summed(values: Floats, codes: NDArray[np.int64], num_clusters: int) -> Floats:
    def summed(row: Floats) -> Floats:
        return np.bincount(codes, weights=row, minlength=num_clusters).astype(np.float64)

    sums, sizes = (np.array([summed(row) for row in rows]) for rows in (values, np.abs(values)))
    # What cancels but for rounding is zero, or a sign would be tested that is none.
    return np.where(np.abs(sums) > 1e-12 * sizes, sums, 0.0)


def _interval_method(num_units: int) -> str:
    return BOOTSTRAP if FEWEST_FOR_BOOTSTRAP <= num_units <= MOST_FOR_BOOTSTRAP else STUDENT


def _first(low: Floats, high: Floats) -> Interval | None:
    return None if math.isnan(low[0]) else Interval(float(low[0]), float(high[0]))


def _intervals(
    units: _Units, method: str, seed: int, coverage: float, resamples: int
) -> tuple[Floats, Floats]:
    """Return the ends ``[M]`` of the intervals of the means; NaN where the units show no spread."""
    if not 0.0 < coverage < 1.0:
        raise ValueError(f"coverage must lie strictly between 0 and 1, not {coverage}")
    if resamples < _FEWEST_RESAMPLES:
        raise ValueError(f"a bootstrap needs at least {_FEWEST_RESAMPLES} resamples, not {resamples}")
    num_units = len(units.sizes)
    low = np.full(len(units.sums), math.nan)
    high = low.copy()
    if num_units < 2:
        return low, high
    residuals = units.sums - units.means[:, None] * units.sizes
    scale = np.abs(units.sums).max(axis=1)
    spread = np.flatnonzero(np.abs(residuals).max(axis=1) > 1e-12 * scale)
    for start in range(0, len(spread), _COMPARISONS_AT_ONCE):
        chosen = spread[start : start + _COMPARISONS_AT_ONCE]
        part = _Units(units.sums[chosen], units.sizes)
        low[chosen], high[chosen] = (
            _student(part, coverage) if method == STUDENT else _bca(part, seed, coverage, resamples)
        )
    return low, high


def _student(units: _Units, coverage: float) -> tuple[Floats, Floats]:
    from scipy.special import stdtrit

    num_units, means = len(units.sizes), units.means
    residuals = units.sums - means[:, None] * units.sizes
    # Divided by the largest, so that squares and cubes of large or tiny values stay numbers.
    largest = np.abs(residuals).max(axis=1)
    squares = ((residuals / largest[:, None]) ** 2).sum(axis=1) * num_units / (num_units - 1)
    error = largest * np.sqrt(squares) / units.sizes.sum()
    half_width = float(stdtrit(num_units - 1, 0.5 + coverage / 2)) * error
    return means - half_width, means + half_width


def _bca(units: _Units, seed: int, coverage: float, resamples: int) -> tuple[Floats, Floats]:
    means = units.means
    resampled = np.empty((len(means), resamples))
    for place, times in _resamples(seed, resamples, len(units.sizes)):
        resampled[:, place] = (units.sums @ times.T) / (times @ units.sizes)
    tie = 1e-12 * np.abs(units.sums).sum(axis=1) / units.sizes.sum()
    above = (resampled > (means + tie)[:, None]).sum(axis=1)
    below = (resampled < (means - tie)[:, None]).sum(axis=1)
    left_out = (units.sums.sum(axis=1)[:, None] - units.sums) / (units.sizes.sum() - units.sizes)
    pulls = left_out.mean(axis=1)[:, None] - left_out
    pulls /= np.abs(pulls).max(axis=1)[:, None]
    acceleration = (pulls**3).sum(axis=1) / (6 * (pulls**2).sum(axis=1) ** 1.5)
    normal = NormalDist()
    ends = np.empty((len(means), 2))
    resampled.sort(axis=1)
    for m in range(len(means)):
        # Half of the ties count as below; neither all nor none of the resamples is on one side.
        share = min(max(0.5 + (below[m] - above[m]) / (2 * resamples), 0.5 / resamples), 1 - 0.5 / resamples)
        bias = normal.inv_cdf(float(share))
        for side, tail in enumerate(((1 - coverage) / 2, (1 + coverage) / 2)):
            moved = bias + normal.inv_cdf(tail)
            stretch = 1 - float(acceleration[m]) * moved
            level = normal.cdf(bias + moved / stretch) if stretch > 0 else float(moved > 0)
            ends[m, side] = _sorted_quantile(resampled[m], level)
    return ends[:, 0], ends[:, 1]


def _sorted_quantile(ranked: Floats, level: float) -> float:
    """Return the quantile of numbers in order, between two by a straight line, as numpy's default does."""
    place = level * (len(ranked) - 1)
    before = min(int(place), len(ranked) - 2)
    return float(ranked[before] + (ranked[before + 1] - ranked[before]) * (place - before))


def _resamples(seed: int, resamples: int, num_units: int) -> Iterator[tuple[slice, Floats]]:
    """Yield how often each resample holds each unit ``[B][U]``, in blocks of bounded size."""
    drawn = np.random.default_rng(seed)
    at_once = max(1, _CELLS_AT_ONCE // num_units)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        places = drawn.integers(0, num_units, (size, num_units)) + np.arange(size)[:, None] * num_units
        times = np.bincount(places.ravel(), minlength=size * num_units)
        yield slice(start, start + size), times.reshape(size, num_units).astype(np.float64)


def _exact_flips(sums: Floats) -> float | None:
    """Return the p-value over all flips, or None when there are too many to count."""
    moving = sums[np.abs(sums) > _TIE * np.abs(sums).max()]
    if moving.size == 0:
        return 1.0
    sizes = np.abs(moving)
    if sizes.max() - sizes.min() <= _TIE * sizes.max():
        num_up = int((moving > 0).sum())
        return mcnemar_exact(num_up, moving.size - num_up)
    if moving.size > MOST_FOR_EXACT:
        return None
    # Of two opposite flips one is enough: both are equally far from zero.
    patterns = np.arange(1 << (moving.size - 1))[:, None] >> np.arange(moving.size) & 1
    reached = np.abs((1.0 - 2.0 * patterns) @ moving)
    return float((reached >= abs(moving.sum()) - _TIE * sizes.sum()).mean())


def _num_flips(wanted: int, num_units: int) -> int:
    return min(wanted, max(_FEWEST_FLIPS, _MOST_SIGNS // num_units))


def _drawn_flips(sums: Floats, seed: int, flips: int) -> Floats:
    num_units = sums.shape[1]
    totals = sums.sum(axis=1)
    reached = np.abs(totals) - _TIE * np.abs(sums).sum(axis=1)
    num_reached = np.zeros(len(sums), dtype=np.int64)
    drawn = np.random.default_rng(seed)
    at_once = max(1, _CELLS_AT_ONCE // num_units)
    for start in range(0, flips, at_once):
        size = min(at_once, flips - start)
        packed = drawn.integers(0, 256, (size, -(-num_units // 8)), dtype=np.uint8)
        is_kept = np.unpackbits(packed, axis=1, count=num_units).astype(np.float64)
        for begin in range(0, len(sums), _COMPARISONS_AT_ONCE):
            part = slice(begin, begin + _COMPARISONS_AT_ONCE)
            flipped = 2.0 * (sums[part] @ is_kept.T) - totals[part, None]
            num_reached[part] += (np.abs(flipped) >= reached[part, None]).sum(axis=1)
    return np.asarray((1.0 + num_reached) / (1.0 + flips), dtype=np.float64)


def _p_error(p: float, num_flips: int) -> float:
    return math.sqrt(p * (1.0 - p) / num_flips)
