"""Measures how often the intervals of real values, of clusters and of means near 1 cover the truth.

Run it from a checkout::

    python benchmarks/coverage.py [--studies 2000] [--resamples 1999]

Every study is drawn anew from a law whose mean is known; nominal is 95 %. *below* and *above* are the shares
of studies whose interval lies wholly below or above the truth: an honest interval misses on both sides alike.
Nothing is timed, so a busy machine changes no number; the seed is fixed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from runkit.stats.logit import logit_interval
from runkit.stats.proportions import Interval
from runkit.stats.real import bca_interval, flip_test, student_interval
from runkit.stats.seeds import seeds_by_items

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

LAWS: dict[str, Draw] = {
    "normal": lambda drawn, n: drawn.normal(0.0, 1.0, n),
    "skewed (exponential - 1)": lambda drawn, n: drawn.exponential(1.0, n) - 1.0,
    "mostly no difference, few large": lambda drawn, n: (
        (drawn.random(n) < 0.2) * (drawn.exponential(1.0, n)) - 0.2
    ),
    "heavy tails (t with 3 degrees)": lambda drawn, n: drawn.standard_t(3, n),
}
"""Laws of a paired difference whose mean is 0."""

SIZES = (5, 10, 20, 50, 200)


def row(label: str, intervals: Iterable[Interval | None], truth: float) -> str:
    """Return a Markdown row: covered, wholly below, wholly above, and without an interval."""
    found = list(intervals)
    given = [one for one in found if one is not None]
    below = sum(one.high < truth for one in given) / len(found)
    above = sum(one.low > truth for one in given) / len(found)
    none = 1 - len(given) / len(found)
    return f"| {label} | {1 - below - above:.3f} | {below:.3f} | {above:.3f} | {none:.3f} |"


def paired(studies: int, resamples: int) -> Iterator[str]:
    """Yield the rows of real values on items that are independent."""
    for name, law in LAWS.items():
        for n in SIZES:
            drawn = np.random.default_rng(20261128)
            differences = [law(drawn, n) for _ in range(studies)]
            yield row(
                f"{name}, n = {n}, BCa",
                (bca_interval(one, seed=k, resamples=resamples) for k, one in enumerate(differences)),
                0.0,
            )
            yield row(f"{name}, n = {n}, Student", map(student_interval, differences), 0.0)


def clustered(studies: int, resamples: int) -> Iterator[str]:
    """Yield the rows of groups of 1 to 10 items that share an effect, with and without saying so."""
    for num_clusters in (5, 10, 20, 50):
        drawn = np.random.default_rng(20261128)
        studied = []
        for _ in range(studies):
            labels = np.repeat(np.arange(num_clusters), drawn.integers(1, 11, num_clusters))
            effects = drawn.exponential(1.0, num_clusters) - 1.0
            studied.append((effects[labels] + drawn.normal(0.0, 1.0, labels.size), labels.tolist()))
        yield row(
            f"{num_clusters} clusters, BCa",
            (
                bca_interval(one, seed=k, clusters=labels, resamples=resamples)
                for k, (one, labels) in enumerate(studied)
            ),
            0.0,
        )
        yield row(
            f"{num_clusters} clusters, Student",
            (student_interval(one, clusters=labels) for one, labels in studied),
            0.0,
        )
        yield row(
            f"{num_clusters} clusters, labels ignored, Student",
            (student_interval(one) for one, _ in studied),
            0.0,
        )


def near_one(studies: int) -> Iterator[str]:
    """Yield the rows of mean proportions over 3 seeds and 200 items of unequal difficulty."""
    for truth in (0.5, 0.8, 0.95, 0.98, 0.99, 0.995, 0.998):
        drawn = np.random.default_rng(20261128)
        found = []
        for _ in range(studies):
            # Beta laws keep the mean exactly at the truth, with correlated outcomes of one item.
            chance = drawn.beta(truth * 2, (1 - truth) * 2, (1, 200))
            found.append(seeds_by_items(drawn.random((3, 200)) < chance))
        yield row(f"mean {truth}, fraction scale", (one.crossed_interval for one in found), truth)
        yield row(f"mean {truth}, logit scale", (logit_interval(one) for one in found), truth)


def sizes_of_the_test(studies: int, flips: int) -> Iterator[str]:
    """Yield how often the sign-flip test rejects at 0.05 a null that holds: both signs are as likely."""
    for n in (8, 20, 200):
        drawn = np.random.default_rng(20261128)
        rejected = sum(
            flip_test(drawn.standard_t(3, n), seed=k, flips=flips).p <= 0.05 for k in range(studies)
        )
        yield f"| heavy tails, n = {n} | {rejected / studies:.3f} |"


def main() -> None:
    """Print the Markdown tables."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--studies", type=int, default=2_000)
    arguments.add_argument("--resamples", type=int, default=1_999)
    given = arguments.parse_args()
    for title, rows in (
        ("mean difference of real values", paired(given.studies, given.resamples)),
        ("mean difference, items in clusters", clustered(given.studies, given.resamples)),
        ("mean over 3 seeds and 200 items", near_one(given.studies)),
    ):
        print(f"| {title}, {given.studies} studies | covered | below | above | none |")
        print("| --- | --: | --: | --: | --: |")
        print(*rows, "", sep="\n", flush=True)
    print("| sign-flip test | rejects at 0.05 |\n| --- | --: |")
    print(*sizes_of_the_test(given.studies, given.resamples), sep="\n")


if __name__ == "__main__":
    main()
