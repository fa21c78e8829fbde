"""Measures comparing many pairs of systems by real values: bootstrap intervals and permutation tests at once.

Run it from a checkout with the development tools installed, with one thread::

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/real_comparisons.py [--comparisons 10000]

One by one and with scipy a part is measured and said. Before anything is timed the interval of every way is
compared: scipy draws the same resamples from the same seed. Process time is printed beside wall time,
because other work on the machine slows only the latter.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from runkit.stats.real import compare_real_many, flip_test, real_mean

ITEMS = 200
RESAMPLES = 9_999
Floats = NDArray[np.float64]


def with_scipy(differences: Floats) -> list[tuple[float, float, float]]:
    """Return the ends of the interval and the p-value of each row."""
    found = []
    for row in differences:
        interval = stats.bootstrap(
            (row,), np.mean, n_resamples=RESAMPLES, method="BCa", rng=np.random.default_rng(1)
        ).confidence_interval
        p = stats.permutation_test(
            (row,), np.mean, permutation_type="samples", n_resamples=RESAMPLES, rng=1, vectorized=True
        ).pvalue
        found.append((float(interval.low), float(interval.high), float(p)))
    return found


def one_by_one(differences: Floats) -> list[tuple[object, ...]]:
    """Return what the batch returns, with the functions for a single comparison."""
    return [(real_mean(row, seed=1), flip_test(row, seed=1)) for row in differences]


def timed(way: Callable[[], object]) -> tuple[float, float]:
    """Return wall and process seconds of *way*."""
    wall, process = time.perf_counter(), time.process_time()
    way()
    return time.perf_counter() - wall, time.process_time() - process


def main() -> None:
    """Print one Markdown table."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--comparisons", type=int, default=10_000)
    arguments.add_argument("--part", type=int, default=50, help="how many the slow ways do")
    given = arguments.parse_args()
    drawn = np.random.default_rng(20261128)
    first, second = drawn.gamma(2.0, size=(2, given.comparisons, ITEMS))
    part = first[: given.part] - second[: given.part]
    batch = compare_real_many(first[: given.part], second[: given.part], seed=1)
    expected = np.array(with_scipy(part))
    if not np.allclose(np.stack([batch.low, batch.high], axis=1), expected[:, :2], rtol=1e-9, atol=1e-12):
        raise SystemExit("the intervals differ from those of scipy")
    if (np.abs(batch.p - expected[:, 2]) > 6 * np.sqrt(2) * batch.p_error + 1e-3).any():
        raise SystemExit("the p-values differ from those of scipy by more than chance")
    print(
        f"| {ITEMS} items, {RESAMPLES:,} resamples and flips | comparisons | s, wall | s, process | ms each |"
    )
    print("| --- | --: | --: | --: | --: |")
    for name, count, way in (
        ("scipy, one by one", given.part, lambda: with_scipy(part)),
        ("runkit.stats.real, one by one", given.part, lambda: one_by_one(part)),
        (
            "runkit.stats.real.compare_real_many",
            given.comparisons,
            lambda: compare_real_many(first, second, seed=1),
        ),
    ):
        wall, process = timed(way)
        print(f"| {name} | {count:,} | {wall:.2f} | {process:.2f} | {1000 * process / count:.2f} |")


if __name__ == "__main__":
    main()
