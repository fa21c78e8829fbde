"""Compare two measurements of one measure with what both have, and say in one sentence what was done.

The first side minus the second, always: that a smaller value is better is a matter of words and marks (see
:func:`is_better`), never of a sign. What this does not do: it does not check that two sides may be compared
(the same items in the same order, the same conditions and scorer), it corrects for no multiplicity, and of
measures that are no mean over items (a corpus BLEU, an area under a curve) it knows only the scalars.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from runkit.stats.paired import PairedCounts, mcnemar_exact, newcombe_interval
from runkit.stats.proportions import Interval
from runkit.stats.real import FlipTest, flip_test, real_mean
from runkit.stats.sides import (
    UNLIMITED,
    Floats,
    IntervalOptions,
    ItemKind,
    Items,
    Kept,
    Side,
    Spread,
    exponent_of,
    kept_items,
    limits_of,
    limits_of_differences,
    mean_interval,
    multiplied,
    numbers_of,
    sentence,
    spread_of,
    table_of,
)


class Compared(NamedTuple):
    """The first side minus the second, in the unit of the measure."""

    difference: float | None
    """None when nothing is left to compare."""
    low: float | None
    """Ends of the interval; None when there is none, *method* says why."""
    high: float | None
    p: float | None
    p_error: float | None
    """Standard error of *p* by drawing permutations; 0 for an exact or analytic one."""
    n: int
    """Items that both sides have; 0 when only scalars were compared."""
    num_clusters: int
    """Equal to *n* when no two items share a cluster."""
    num_dropped: int
    """Items (of scalars: runs) left out because a value is missing."""
    first: Spread
    second: Spread
    estimator: str
    """What the difference is of: ``paired items``, ``seeds by items``, ``runs`` or ``single runs``."""
    interval: str | None
    """Name of the interval."""
    test: str | None
    """Name of the test."""
    method: str
    """One sentence for a reader who sees only this."""


class _Found(NamedTuple):
    """What one way of comparing found."""

    difference: float | None
    interval: Interval | None
    p: float | None
    p_error: float | None
    estimator: str
    interval_name: str | None
    test: str | None
    method: str
    """Without a full stop."""


def is_better(difference: float | None, direction: Literal["higher", "lower"] | None) -> bool | None:
    """Return whether the first side is better; None when nobody said which direction is, or nothing differs.

    Examples:
        >>> is_better(-0.25, "lower"), is_better(-0.25, "higher"), is_better(-0.25, None)
        (True, False, None)
    """
    if direction is None or difference is None or math.isnan(difference) or difference == 0.0:
        return None
    return (difference > 0.0) == (direction == "higher")


def compare(
    first: Side,
    second: Side,
    *,
    kind: ItemKind,
    seed: int,
    are_seeds_shared: bool = False,
    clusters: Sequence[object] | None = None,
    limits: Interval | None = None,
    coverage: float = 0.95,
) -> Compared:
    """Return the first side minus the second with the interval and the test that suit what both have.

    ==============================  =================================  =====================================
    both have                       interval                           test
    ==============================  =================================  =====================================
    0/1 items, one run              Newcombe's for pairs, method 10    exact McNemar
    0/1 items in clusters, one run  as real values                     as real values
    real items, one run             BCa bootstrap, Student's for few   sign flips, all or drawn
    items, several runs             t, two-way random effects          t, the same error
    items, one run against several  as real values, of the mean run    as real values
    scalars, several runs           Welch's t (paired: Student's)      Welch's t (paired: Student's)
    scalars, one run on a side      none                               none
    ==============================  =================================  =====================================

    Args:
        first: :class:`Items` or :class:`Scalars`.
        second: Of the same sort, with the same items.
        kind: Of the values of items; says nothing about scalars.
        seed: Of resamples and drawn flips.
        are_seeds_shared: Whether run *s* of both sides has the same seed *and* that seed does something to
            both alike. A matter of declaration: equal numbers alone pair nothing.
        clusters: A label for each item; items of one cluster are resampled and flipped together.
        limits: What the measure can be at all, where that is known; intervals end there.
        coverage: Of the interval.
    Raises:
        ValueError: One side has items and the other has not, rows of different lengths, outcomes of a binary
            measure that are not 0 or 1, an infinite value, or seeds that are shared but not equally many.
    """
    if isinstance(first, Items) and isinstance(second, Items):
        return _items_compared(first, second, kind, seed, are_seeds_shared, clusters, limits, coverage)
    if isinstance(first, Items) or isinstance(second, Items):
        raise ValueError("one side has items and the other only scalars; give the scalars of both")
    if clusters is not None:
        raise ValueError("scalars have no items, so there is nothing that clusters could hold together")
    over = IntervalOptions(seed, limits_of_differences(limits or UNLIMITED), coverage)
    here, there = (numbers_of(side.runs, limits or UNLIMITED) for side in (first, second))
    if are_seeds_shared:
        if here.size != there.size:
            raise ValueError(f"{here.size} shared seeds cannot be paired with {there.size}")
        present = ~(np.isnan(here) | np.isnan(there))
        here, there, num_dropped = here[present], there[present], int((~present).sum())
    else:
        num_dropped = int(np.isnan(here).sum() + np.isnan(there).sum())
        here, there = here[~np.isnan(here)], there[~np.isnan(there)]
    exponent = exponent_of(here, there)
    here, there = np.ldexp(here, -exponent), np.ldexp(there, -exponent)
    found = _runs(here, there, are_seeds_shared, over.divided(exponent), "no items")
    return _compared(found, here, there, exponent, 0, 0, num_dropped, "run")


def _items_compared(
    first: Items,
    second: Items,
    kind: ItemKind,
    seed: int,
    are_seeds_shared: bool,
    clusters: Sequence[object] | None,
    limits: Interval | None,
    coverage: float,
) -> Compared:
    limits = limits_of(kind, limits)
    here, there = table_of(first, kind, limits), table_of(second, kind, limits)
    if here.shape[1] != there.shape[1]:
        raise ValueError(f"{here.shape[1]} items cannot be paired with {there.shape[1]}")
    if are_seeds_shared and len(here) != len(there):
        raise ValueError(f"{len(here)} shared seeds cannot be paired with {len(there)}")
    kept = kept_items((here, there), clusters)
    exponent = exponent_of(*kept.tables)
    kept = kept._replace(tables=tuple(np.ldexp(table, -exponent) for table in kept.tables))
    over = IntervalOptions(seed, limits_of_differences(limits), coverage).divided(exponent)
    means = [table.mean(axis=1) if kept.n else np.empty(0) for table in kept.tables]
    if kept.n == 0:
        found = _without("no item has a value on both sides", None, "paired items")
    elif len(here) == len(there) == 1 and kind != "real" and kept.clusters is None:
        found = _binary(kept, coverage)
    elif min(len(here), len(there)) == 1:
        found = _real(kept, over)
    elif kept.num_clusters == 1:
        found = _runs(means[0], means[1], are_seeds_shared, over, kept.over)
    else:
        found = _seeds(kept, are_seeds_shared, over)
    return _compared(found, means[0], means[1], exponent, kept.n, kept.num_clusters, kept.num_dropped, "item")


def _binary(kept: Kept, coverage: float) -> _Found:
    here, there = (table[0] == 1.0 for table in kept.tables)
    counts = PairedCounts(
        int((here & there).sum()),
        int((here & ~there).sum()),
        int((~here & there).sum()),
        int((~here & ~there).sum()),
    )
    return _Found(
        difference=counts.difference_fraction,
        interval=newcombe_interval(counts, coverage=coverage),
        p=mcnemar_exact(counts.only_first, counts.only_second),
        p_error=0.0,
        estimator="paired items",
        interval_name="Newcombe, method 10",
        test="exact McNemar",
        method=f"difference on the same {kept.over}, one run each: "
        "Newcombe's interval for pairs (method 10), exact McNemar test",
    )


def _real(kept: Kept, over: IntervalOptions) -> _Found:
    here, there = kept.tables
    differences = here.mean(axis=0) - there.mean(axis=0)
    mean = real_mean(differences, seed=over.seed, clusters=kept.clusters, coverage=over.coverage)
    tested = flip_test(differences, seed=over.seed, clusters=kept.clusters)
    runs = "one run each"
    if len(here) > 1 or len(there) > 1:
        runs = f"mean of {len(here)} against {len(there)} runs, which says nothing of other seeds"
    interval, name, said = mean_interval(mean, "differences", over)
    return _Found(
        difference=mean.mean,
        interval=interval,
        p=tested.p,
        p_error=tested.p_error,
        estimator="paired items",
        interval_name=name,
        test="sign flips, drawn" if tested.num_flips else "sign flips, all",
        method=f"mean difference on the same {kept.over}, {runs}: {said}, {_flips_said(tested, over.seed)}",
    )


def _seeds(kept: Kept, are_seeds_shared: bool, over: IntervalOptions) -> _Found:
    from runkit.stats.seeds import difference_of_values_over_seeds

    here, there = kept.by_unit
    found = difference_of_values_over_seeds(
        here, there, are_seeds_shared=are_seeds_shared, coverage=over.coverage
    )
    paired = "paired by seed" if are_seeds_shared else "seeds not paired"
    what = (
        f"mean difference over {len(here)} and {len(there)} runs ({paired}) on the same {kept.over}, "
        "for other seeds and other items"
    )
    # Compared with the values, because equal differences leave a spread of rounding.
    if found.crossed_standard_error <= 1e-12 * max(np.abs(here).max(), np.abs(there).max()):
        return _without(
            f"{what}: no spread between seeds or items, so no interval",
            found.difference_fraction,
            "seeds by items",
        )
    return _Found(
        difference=found.difference_fraction,
        interval=over.within(found.crossed_interval),
        p=found.crossed_p,
        p_error=0.0,
        estimator="seeds by items",
        interval_name="t, two-way random effects",
        test="t, two-way random effects",
        method=f"{what}: t interval and t test with two-way random effects",
    )


def _runs(here: Floats, there: Floats, are_seeds_shared: bool, over: IntervalOptions, items: str) -> _Found:
    """Return the comparison of one value a run: t when both sides have two or more."""
    if here.size == 0 or there.size == 0:
        return _without("a side has no run with a value", None, "runs")
    difference = float(here.mean() - there.mean())
    if min(here.size, there.size) == 1:
        sizes = "one run each" if here.size == there.size else f"{here.size} against {there.size} runs"
        return _without(f"{sizes}, no interval", difference, "single runs")
    sides = [here - there] if are_seeds_shared else [here, there]
    variances = [float(side.var(ddof=1)) / side.size for side in sides]
    name = "Student, paired by seed" if are_seeds_shared else "Welch"
    what = f"difference of means over {here.size} and {there.size} runs, {items}"
    error = math.sqrt(math.fsum(variances))
    if error <= 1e-12 * max(np.abs(here).max(), np.abs(there).max()):
        return _without(f"{what}: no spread between runs, so no interval", difference, "runs")
    shares = [variance / error**2 for variance in variances]
    degrees = 1.0 / math.fsum(share**2 / (side.size - 1) for share, side in zip(shares, sides, strict=True))
    from scipy.special import stdtr, stdtrit

    half_width = float(stdtrit(degrees, 0.5 + over.coverage / 2)) * error
    tests = "Student's t over paired seeds" if are_seeds_shared else "Welch's t"
    return _Found(
        difference=difference,
        interval=over.within(Interval(difference - half_width, difference + half_width)),
        p=min(1.0, 2.0 * float(stdtr(degrees, -abs(difference) / error))),
        p_error=0.0,
        estimator="runs",
        interval_name=name,
        test=name,
        method=f"{what}: {tests}, for other runs on the same items only",
    )


def _without(method: str, difference: float | None, estimator: str) -> _Found:
    """Return a difference alone; without any spread nothing can be tested."""
    return _Found(difference, None, None, None, estimator, None, None, method)


def _flips_said(tested: FlipTest, seed: int) -> str:
    if tested.num_flips == 0:
        return "exact sign-flip test"
    return (
        f"sign-flip test with {tested.num_flips:,} flips drawn from seed {seed} "
        f"(error of p {tested.p_error:.2g})"
    )


def _compared(
    found: _Found,
    here: Floats,
    there: Floats,
    exponent: int,
    n: int,
    num_clusters: int,
    num_dropped: int,
    of_what: str,
) -> Compared:
    return Compared(
        difference=multiplied(found.difference, exponent),
        low=multiplied(found.interval.low, exponent) if found.interval else None,
        high=multiplied(found.interval.high, exponent) if found.interval else None,
        p=found.p,
        p_error=found.p_error,
        n=n,
        num_clusters=num_clusters,
        num_dropped=num_dropped,
        first=spread_of(here, exponent),
        second=spread_of(there, exponent),
        estimator=found.estimator,
        interval=found.interval_name,
        test=found.test,
        method=sentence(found.method, num_dropped, of_what),
    )
