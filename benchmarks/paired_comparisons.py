"""Measures what comparing many pairs of systems at once saves, side by side with statsmodels in one process.

Run it from a checkout with the development tools installed::

    python benchmarks/paired_comparisons.py [--rounds 5] [--comparisons 10000]

Both ways count the joint outcomes of the same 200 items and test them. statsmodels 0.15 has the exact
McNemar test and no mid-p test and no interval for a paired difference, so its loop does a small part of what
the batch does (exact and mid-p test, Newcombe's and Tango's interval); the ratio is a lower bound. Before
anything is timed the exact p-values of both ways have to agree. The ways alternate, so that other work on
the machine slows both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.contingency_tables import mcnemar

from runkit.stats.batch import PairedBatch, compare_many
from runkit.stats.paired import (
    mcnemar_exact,
    mcnemar_midp,
    newcombe_interval,
    paired_counts,
    tango_interval,
)

ITEMS = 200
Outcomes = NDArray[np.bool_]


def drawn_outcomes(comparisons: int) -> tuple[Outcomes, Outcomes]:
    """Return outcomes ``[M][200]`` of two systems that agree on about three quarters of the items."""
    drawn = np.random.default_rng(20261122)
    second = drawn.random((comparisons, ITEMS)) < 0.7
    flips = drawn.random((comparisons, ITEMS)) < drawn.uniform(0.0, 0.5, (comparisons, 1))
    return second ^ flips, second


def with_statsmodels(first: Outcomes, second: Outcomes) -> list[float]:
    """Return the exact p-values, one comparison after the other."""
    found = []
    for here, there in zip(first, second, strict=True):
        both, only_first = int((here & there).sum()), int((here & ~there).sum())
        only_second = int((~here & there).sum())
        table = [[both, only_first], [only_second, ITEMS - both - only_first - only_second]]
        found.append(float(mcnemar(table, exact=True).pvalue))
    return found


def one_by_one(first: Outcomes, second: Outcomes) -> list[tuple[object, ...]]:
    """Return all that the batch returns, with the functions for a single comparison."""
    found: list[tuple[object, ...]] = []
    for here, there in zip(first.tolist(), second.tolist(), strict=True):
        counts = paired_counts(here, there)
        only = counts.only_first, counts.only_second
        found.append(
            (mcnemar_exact(*only), mcnemar_midp(*only), newcombe_interval(counts), tango_interval(counts))
        )
    return found


def seconds(way: Callable[[], object]) -> float:
    """Return how long *way* takes."""
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def main() -> None:
    """Print one Markdown table."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--comparisons", type=int, default=10_000)
    given = arguments.parse_args()
    first, second = drawn_outcomes(given.comparisons)
    batch: PairedBatch = compare_many(first, second)
    if not np.allclose(batch.p_exact, with_statsmodels(first, second), rtol=1e-9, atol=1e-15):
        raise SystemExit("the exact p-values differ from those of statsmodels")
    ways = {
        "statsmodels, exact test only": lambda: with_statsmodels(first, second),
        "runkit.stats.paired, one by one": lambda: one_by_one(first, second),
        "runkit.stats.batch": lambda: compare_many(first, second),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, way in ways.items():
            times[name].append(seconds(way))
    fastest = times["runkit.stats.batch"]
    print(f"| {given.comparisons} comparisons of {ITEMS} items | s, median | times the batch |")
    print("| --- | --: | --: |")
    for name, measured in times.items():
        ratio = statistics.median(one / base for one, base in zip(measured, fastest, strict=True))
        print(f"| {name} | {statistics.median(measured):.3f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
