"""One measurement alone: its mean and the interval that suits what it has, said in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from runkit.stats.proportions import Interval, wilson_interval
from runkit.stats.real import real_mean
from runkit.stats.sides import (
    UNLIMITED,
    IntervalOptions,
    ItemKind,
    Kept,
    Scalars,
    Side,
    Spread,
    exponent_of,
    kept_items,
    limits_of,
    mean_interval,
    multiplied,
    numbers_of,
    sentence,
    spread_of,
    table_of,
)


class Summarised(NamedTuple):
    """One side alone, in the unit of the measure."""

    mean: float | None
    low: float | None
    high: float | None
    spread: Spread
    n: int
    num_clusters: int
    num_dropped: int
    interval: str | None
    method: str


def summarise(
    side: Side,
    *,
    kind: ItemKind,
    seed: int,
    clusters: Sequence[object] | None = None,
    limits: Interval | None = None,
    coverage: float = 0.95,
) -> Summarised:
    """Return one side alone: its mean, with the interval that suits what it has.

    Outcomes of 0 and 1 have Wilson's interval (one run) or the one on the logit scale (several, see
    :func:`runkit.stats.logit.logit_interval`), real values those of :func:`compare`. Scalars have a mean and
    a standard deviation over runs, which is no interval.

    Raises:
        ValueError: As for :func:`compare`.
    """
    if isinstance(side, Scalars):
        if clusters is not None:
            raise ValueError("scalars have no items, so there is nothing that clusters could hold together")
        given = numbers_of(side.runs, limits or UNLIMITED)
        runs = given[~np.isnan(given)]
        exponent = exponent_of(runs)
        spread, num_dropped = spread_of(np.ldexp(runs, -exponent), exponent), given.size - runs.size
        method = "no run has a value" if runs.size == 0 else "one run, no interval"
        if runs.size > 1:
            method = f"mean and standard deviation over {runs.size} runs, no interval"
        method = sentence(method, num_dropped, "run")
        return Summarised(spread.mean, None, None, spread, 0, 0, num_dropped, None, method)
    limits = limits_of(kind, limits)
    kept = kept_items((table_of(side, kind, limits),), clusters)
    exponent = exponent_of(*kept.tables)
    table = np.ldexp(kept.tables[0], -exponent)
    over = IntervalOptions(seed, limits, coverage).divided(exponent)
    interval, name, method = _own_interval(kept._replace(tables=(table,)), kind, over)
    return Summarised(
        mean=multiplied(float(table.mean()), exponent) if kept.n else None,
        low=multiplied(interval.low, exponent) if interval else None,
        high=multiplied(interval.high, exponent) if interval else None,
        spread=spread_of(table.mean(axis=1) if kept.n else np.empty(0), exponent),
        n=kept.n,
        num_clusters=kept.num_clusters,
        num_dropped=kept.num_dropped,
        interval=name,
        method=sentence(method, kept.num_dropped, "item"),
    )


def _own_interval(
    kept: Kept, kind: ItemKind, over: IntervalOptions
) -> tuple[Interval | None, str | None, str]:
    table = kept.tables[0]
    num_runs = len(table)
    if kept.n == 0:
        return None, None, "no item has a value"
    if num_runs == 1 and kind != "real" and kept.clusters is None:
        interval = wilson_interval(int(table.sum()), kept.n, coverage=over.coverage)
        return interval, "Wilson", f"mean over {kept.over}, one run: Wilson's interval"
    if num_runs == 1 or kept.num_clusters == 1:
        values = table.mean(axis=0)
        mean = real_mean(values, seed=over.seed, clusters=kept.clusters, coverage=over.coverage)
        given, name, said = mean_interval(mean, "values", over)
        runs = "one run" if num_runs == 1 else f"mean of {num_runs} runs"
        return given, name, f"mean over {kept.over}, {runs}: {said}"
    from runkit.stats.logit import logit_interval
    from runkit.stats.seeds import values_over_seeds

    found = values_over_seeds(kept.by_unit[0], coverage=over.coverage)
    what = f"mean over {num_runs} runs on {kept.over}, for other seeds and other items"
    has_spread = found.crossed_standard_error > 1e-12 * np.abs(table).max()
    if kind != "real" and found.mean_fraction in (0.0, 1.0):
        interval = logit_interval(found, coverage=over.coverage)
        return (
            interval,
            "Clopper-Pearson",
            f"{what}: Clopper-Pearson interval, because every outcome is equal",
        )
    if kind != "real" and has_spread:
        interval = logit_interval(found, coverage=over.coverage)
        return interval, "t on the logit scale", f"{what}: t interval on the logit scale"
    if not has_spread:
        return None, None, f"{what}: no spread between seeds or items, so no interval"
    name = "t, two-way random effects"
    return over.within(found.crossed_interval), name, f"{what}: t interval with two-way random effects"
