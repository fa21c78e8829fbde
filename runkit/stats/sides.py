"""One side of a comparison, item by item or run by run, and what of it can be compared; no test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runkit.stats.proportions import Interval
from runkit.stats.real import RealMean, cluster_values

Floats = NDArray[np.float64]
Values = Sequence[float | None]
"""Numbers; None and NaN are missing."""
ItemKind = Literal["binary", "ternary", "real"]
"""What one item can have: an outcome of 0 or 1 (ternary: what is invalid counts as 0), or any number."""


class Items(NamedTuple):
    """Values of one side, item by item."""

    runs: Sequence[Values]
    """One row a run (a training seed), the same items in the same order in every row of both sides."""


class Scalars(NamedTuple):
    """Values of one side for which no items exist or none were kept."""

    runs: Values
    """One value a run."""


Side = Items | Scalars


class Spread(NamedTuple):
    """One side over its runs."""

    mean: float | None
    deviation: float | None
    """Sample standard deviation over runs; None with fewer than two."""
    num_runs: int


class Kept(NamedTuple):
    """Tables ``[runs][items]`` without the items that miss a value anywhere."""

    tables: tuple[Floats, ...]
    clusters: tuple[object, ...] | None
    """Labels of the items that are left; None when no two share one."""
    num_clusters: int
    num_dropped: int

    @property
    def n(self) -> int:
        """Number of items that are left."""
        return int(self.tables[0].shape[1])

    @property
    def over(self) -> str:
        """What a mean is over, in words."""
        items = counted(self.n, "item")
        return items if self.clusters is None else f"{items} in {counted(self.num_clusters, 'cluster')}"

    @property
    def by_unit(self) -> tuple[Floats, ...]:
        """The tables with one column for each item or cluster."""
        if self.clusters is None:
            return self.tables
        return tuple(cluster_values(table, self.clusters) for table in self.tables)


class IntervalOptions(NamedTuple):
    """How an interval is to be made."""

    seed: int
    """Of resamples and drawn flips."""
    limits: Interval
    """Where it ends at the latest."""
    coverage: float

    def divided(self, exponent: int) -> IntervalOptions:
        """Return the options for values that were divided by two to the *exponent*."""
        low, high = (float(np.ldexp(end, -exponent)) for end in self.limits)
        return self._replace(limits=Interval(low, high))

    def within(self, interval: Interval) -> Interval:
        """Return *interval* without what the measure cannot be."""
        return Interval(max(self.limits.low, interval.low), min(self.limits.high, interval.high))


UNLIMITED = Interval(-math.inf, math.inf)
_LARGEST_EXPONENT = 100
_FRACTIONS = Interval(0.0, 1.0)


class _Alone(NamedTuple):
    """The label of an item that belongs to no cluster."""

    place: int


def mean_interval(
    mean: RealMean, values: str, over: IntervalOptions
) -> tuple[Interval | None, str | None, str]:
    """Return the interval of *mean*, its name, and in words what there is or why there is none."""
    if mean.interval is None:
        why = f"{values} without a spread" if mean.num_clusters > 1 else f"{values} of one item or cluster"
        return None, None, f"no interval from {why}"
    return over.within(mean.interval), mean.interval_method, f"{mean.interval_method} interval"


def spread_of(runs: Floats, exponent: int = 0) -> Spread:
    """Return mean and deviation of one value a run, each times two to the *exponent*."""
    mean = float(runs.mean()) if runs.size else None
    deviation = float(runs.std(ddof=1)) if runs.size > 1 else None
    return Spread(multiplied(mean, exponent), multiplied(deviation, exponent), runs.size)


def exponent_of(*tables: Floats) -> int:
    """Return the power of two that values are divided by while they are compared; 0 for all but extreme ones.

    A perplexity of 1e80 is a number, and its fourth power is none.
    """
    largest = max((float(np.abs(table).max(initial=0.0)) for table in tables), default=0.0)
    exponent = math.frexp(largest)[1]
    return exponent if abs(exponent) > _LARGEST_EXPONENT else 0


def multiplied(value: float | None, exponent: int) -> float | None:
    """Return *value* times two to the *exponent*, in two steps because the power alone may be no number."""
    half = exponent // 2
    return None if value is None else value * 2.0**half * 2.0 ** (exponent - half)


def sentence(method: str, num_dropped: int, of_what: str) -> str:
    """Return *method* as one sentence that says what was left out."""
    left_out = f"; {counted(num_dropped, of_what)} with a missing value left out" if num_dropped else ""
    return method[0].upper() + method[1:] + left_out + "."


def counted(number: int, noun: str) -> str:
    """Return *number* with its noun."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def limits_of(kind: ItemKind, limits: Interval | None) -> Interval:
    """Return what a measure of *kind* can be: outcomes are fractions, whatever else is said."""
    return _FRACTIONS if kind != "real" else limits or UNLIMITED


def limits_of_differences(limits: Interval) -> Interval:
    """Return what a difference of two values within *limits* can be."""
    return Interval(limits.low - limits.high, limits.high - limits.low)


def numbers_of(values: Values, limits: Interval) -> Floats:
    """Return *values* with NaN for what is missing.

    Raises:
        ValueError: They are no row, a value is infinite or outside of *limits*.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 1:
        raise ValueError(f"the values of a side are one row, not {found.shape}")
    if np.isinf(found).any():
        raise ValueError("values must be finite; give None for what is missing")
    if (found < limits.low).any() or (found > limits.high).any():
        raise ValueError(f"values lie outside of {limits.low:g} to {limits.high:g}")
    return found


def table_of(side: Items, kind: ItemKind, limits: Interval) -> Floats:
    """Return the runs of *side* as a table ``[runs][items]``, NaN for what is missing.

    Raises:
        ValueError: No runs, runs of different items, outcomes that are none, or as for :func:`numbers_of`.
    """
    if len(side.runs) == 0:
        raise ValueError("a side needs at least one run")
    rows = [numbers_of(run, limits) for run in side.runs]
    if len({row.size for row in rows}) > 1:
        raise ValueError("every run of a side needs the same items")
    table = np.array(rows)
    if kind != "real" and not (np.isnan(table) | (table == 0.0) | (table == 1.0)).all():
        raise ValueError(f"outcomes of a {kind} measure must be 0 or 1")
    return table


def kept_items(tables: tuple[Floats, ...], clusters: Sequence[object] | None) -> Kept:
    """Return *tables* without the items that miss a value in any run of any table.

    Args:
        clusters: A label for each item before any is left out; None and NaN stand for a cluster of its own.
    Raises:
        ValueError: There are more or fewer labels than items.
    """
    present = np.asarray(~np.isnan(np.concatenate(tables)).any(axis=0))
    kept = tuple(table[:, present] for table in tables)
    n, num_dropped = int(present.sum()), int((~present).sum())
    if clusters is None:
        return Kept(kept, None, n, num_dropped)
    if len(clusters) != present.size:
        raise ValueError(f"{len(clusters)} cluster labels do not fit {present.size} items")
    labels = tuple(
        _Alone(place) if label is None or label != label else label
        for place, label in enumerate(clusters)
        if present[place]
    )
    num_clusters = len(set(labels))
    return Kept(kept, None if num_clusters == n else labels, num_clusters, num_dropped)
