"""Runs over training seeds on the same items: means, differences, and an error for each question asked.

S seeds, N items. Three questions have three standard errors: what would other seeds give on these items
(seed), what would these seeds give on other items (item), and what would both give (crossed). A number
printed after ± says which. What this does not do: it models neither a choice of the best seed (see
:func:`expected_best_of`) nor items that come in groups, and it takes a mean of proportions for about normal,
which it is not near 0 and 1 (see :mod:`runkit.stats.logit`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from runkit.stats.proportions import Interval

UNLIMITED = Interval(-math.inf, math.inf)
"""Of a measure that may be any number, or of which nobody said what it may be."""


class SeedsByItems(NamedTuple):
    """A mean over seeds and items; fractions of outcomes, or in the unit of the values."""

    mean_fraction: float
    seed_means: tuple[float, ...]
    """Mean over the items for each seed, in the order given."""
    num_seeds: int
    num_items: int
    seed_standard_error: float
    """Of the mean, for other seeds on the same items."""
    item_standard_error: float
    """Of the mean, for the same seeds on other items; an item counts once, however many seeds saw it."""
    crossed_standard_error: float
    """Of the mean, for other seeds on other items; never below the item's, because a negative variance
    between seeds is taken for zero."""
    crossed_degrees_of_freedom: float
    """Of the crossed standard error, after Satterthwaite."""
    seed_interval: Interval
    """Student's interval with one degree of freedom less than seeds."""
    crossed_interval: Interval


class SeedsDifference(NamedTuple):
    """The first of two conditions minus the second, both over seeds on the same items.

    Fractions of outcomes, or in the unit of the values.
    """

    difference_fraction: float
    first_seed_means: tuple[float, ...]
    second_seed_means: tuple[float, ...]
    num_items: int
    are_seeds_shared: bool
    """Whether seed *s* of both conditions is the same seed, so that differences are taken seed by seed."""
    seed_standard_error: float
    item_standard_error: float
    crossed_standard_error: float
    seed_degrees_of_freedom: float
    crossed_degrees_of_freedom: float
    seed_interval: Interval
    crossed_interval: Interval
    seed_p: float
    """Two-sided: paired t test over seeds when they are shared, Welch's otherwise."""
    crossed_p: float
    """Two-sided t test with the crossed standard error: the claim about other seeds and other items."""


class _MeanSquares(NamedTuple):
    """Mean squares of a table of seeds and items."""

    seeds: float
    items: float
    rest: float


class _Error(NamedTuple):
    """A standard error and its degrees of freedom."""

    standard_error: float
    degrees_of_freedom: float


def seeds_by_items(correct: ArrayLike, *, coverage: float = 0.95) -> SeedsByItems:
    """Return the mean of outcomes ``[seeds][items]``, each 0 or 1, with its errors.

    Raises:
        ValueError: Fewer than two seeds or items, values other than 0 and 1, or seeds with different
            numbers of items.
    Source:
        Searle, Casella and McCulloch (1992), Variance Components, chapter 4 (two-way crossed, one value a
        cell); Satterthwaite (1946), Biometrics Bulletin 2:110-114.
    """
    return _seeds_by_items(_outcomes(correct), coverage, Interval(0.0, 1.0))


def values_over_seeds(
    values: ArrayLike, *, coverage: float = 0.95, limits: Interval = UNLIMITED
) -> SeedsByItems:
    """Return the mean of real values ``[seeds][items]`` with its errors, as :func:`seeds_by_items` does.

    Args:
        values: Real numbers; a missing one is the caller's to drop.
        limits: What the measure can be at all; intervals end there.
    Raises:
        ValueError: Fewer than two seeds or items, values that are not finite or outside of *limits*, or
            seeds with different numbers of items.
    """
    return _seeds_by_items(_values(values, limits), coverage, limits)


def _seeds_by_items(scores: NDArray[np.float64], coverage: float, limits: Interval) -> SeedsByItems:
    num_seeds, num_items = scores.shape
    squares, mean = _mean_squares(scores), float(scores.mean())
    seed = _Error(math.sqrt(squares.seeds / (num_seeds * num_items)), num_seeds - 1.0)
    crossed = _combined([*_seed_terms(scores), (squares.items / (num_seeds * num_items), num_items - 1.0)])
    return SeedsByItems(
        mean_fraction=mean,
        seed_means=_seed_means(scores),
        num_seeds=num_seeds,
        num_items=num_items,
        seed_standard_error=seed.standard_error,
        item_standard_error=math.sqrt(squares.items / (num_seeds * num_items)),
        crossed_standard_error=crossed.standard_error,
        crossed_degrees_of_freedom=crossed.degrees_of_freedom,
        seed_interval=_interval(mean, seed, coverage, limits),
        crossed_interval=_interval(mean, crossed, coverage, limits),
    )


def difference_over_seeds(
    first: ArrayLike, second: ArrayLike, *, are_seeds_shared: bool, coverage: float = 0.95
) -> SeedsDifference:
    """Return the first condition minus the second, both measured over seeds on the same items.

    Args:
        first: Outcomes ``[seeds][items]``, each 0 or 1.
        second: The same items in the same order; the same number of seeds when they are shared.
        are_seeds_shared: Whether row *s* of both is the same seed. Pairing removes what a seed does to both
            conditions alike; it is wrong when the rows only happen to stand side by side.
    Raises:
        ValueError: As for :func:`seeds_by_items`, or the two cannot be paired.
    Source:
        Student's paired and Welch's (1947, Biometrika 34:28-35) t tests for the seeds; for the crossed
        error see :func:`seeds_by_items`, of the differences seed by seed when seeds are shared.
    """
    here, there = _outcomes(first), _outcomes(second)
    return _difference(here, there, are_seeds_shared, coverage, Interval(-1.0, 1.0))


def difference_of_values_over_seeds(
    first: ArrayLike,
    second: ArrayLike,
    *,
    are_seeds_shared: bool,
    coverage: float = 0.95,
    limits: Interval = UNLIMITED,
) -> SeedsDifference:
    """Return the first condition minus the second for real values, as :func:`difference_over_seeds` does.

    Args:
        first: Real numbers ``[seeds][items]``.
        second: The same items in the same order; the same number of seeds when they are shared.
        are_seeds_shared: Whether row *s* of both is the same seed.
        limits: What the measure, not the difference, can be at all.
    Raises:
        ValueError: As for :func:`values_over_seeds`, or the two cannot be paired.
    """
    here, there = _values(first, limits), _values(second, limits)
    width = limits.high - limits.low
    return _difference(here, there, are_seeds_shared, coverage, Interval(-width, width))


def _difference(
    here: NDArray[np.float64],
    there: NDArray[np.float64],
    are_seeds_shared: bool,
    coverage: float,
    limits: Interval,
) -> SeedsDifference:
    if here.shape[1] != there.shape[1]:
        raise ValueError(f"{here.shape[1]} items cannot be paired with {there.shape[1]}")
    if are_seeds_shared and len(here) != len(there):
        raise ValueError(f"{len(here)} shared seeds cannot be paired with {len(there)}")
    num_items = here.shape[1]
    item_variance = float((here.mean(axis=0) - there.mean(axis=0)).var(ddof=1)) / num_items
    conditions = [here - there] if are_seeds_shared else [here, there]
    seed = _combined([(float(one.mean(axis=1).var(ddof=1)) / len(one), len(one) - 1.0) for one in conditions])
    terms = [term for one in conditions for term in _seed_terms(one)]
    crossed = _combined([*terms, (item_variance, num_items - 1.0)])
    difference = float(here.mean() - there.mean())
    return SeedsDifference(
        difference_fraction=difference,
        first_seed_means=_seed_means(here),
        second_seed_means=_seed_means(there),
        num_items=num_items,
        are_seeds_shared=are_seeds_shared,
        seed_standard_error=seed.standard_error,
        item_standard_error=math.sqrt(item_variance),
        crossed_standard_error=crossed.standard_error,
        seed_degrees_of_freedom=seed.degrees_of_freedom,
        crossed_degrees_of_freedom=crossed.degrees_of_freedom,
        seed_interval=_interval(difference, seed, coverage, limits),
        crossed_interval=_interval(difference, crossed, coverage, limits),
        seed_p=_two_sided_p(difference, seed),
        crossed_p=_two_sided_p(difference, crossed),
    )


def expected_best_of(scores: Sequence[float], num_runs: int) -> float:
    """Return the mean, over all choices of *num_runs* of *scores*, of the best one; an unbiased estimate.

    Raises:
        ValueError: *num_runs* is not in 1..number of scores.
    Source:
        Tang et al. (2020), ACL, Showing Your Work Doesn't Always Work; the plug-in of Dodge et al. (2019) is
        biased low.
    """
    if not 1 <= num_runs <= len(scores):
        raise ValueError(f"the best of {num_runs} runs cannot be estimated from {len(scores)}")
    ways = math.comb(len(scores), num_runs)
    ranked = sorted(scores)
    return math.fsum(
        score * (math.comb(rank, num_runs - 1) / ways)
        for rank, score in enumerate(ranked)
        if rank >= num_runs - 1
    )


def probability_of_improvement(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the fraction of pairs, one run of each condition, in which the first is better; ties count half.

    Raises:
        ValueError: A condition has no runs.
    Source:
        Mann and Whitney (1947), Annals of Mathematical Statistics 18:50-60; as used by Agarwal et al. (2021).
    """
    if not first or not second:
        raise ValueError("a probability of improvement needs at least one run of each condition")
    wins = sum((here > there) + 0.5 * (here == there) for here in first for there in second)
    return wins / (len(first) * len(second))


def _outcomes(correct: ArrayLike) -> NDArray[np.float64]:
    scores = _table(correct)
    if not np.isin(scores, (0.0, 1.0)).all():
        raise ValueError("an analysis over seeds needs outcomes that are 0 or 1")
    return scores


def _table(given: ArrayLike) -> NDArray[np.float64]:
    try:
        scores = np.asarray(given, dtype=np.float64)
    except ValueError as error:
        raise ValueError("an analysis over seeds needs the same items for every seed") from error
    if scores.ndim != 2 or min(scores.shape) < 2:
        raise ValueError(f"an analysis over seeds needs at least two seeds and two items, not {scores.shape}")
    return scores


def _values(given: ArrayLike, limits: Interval) -> NDArray[np.float64]:
    scores = _table(given)
    if not np.isfinite(scores).all():
        raise ValueError("an analysis over seeds needs values that are finite")
    if scores.min() < limits.low or scores.max() > limits.high:
        raise ValueError(f"an analysis over seeds has values outside of {limits.low:g} to {limits.high:g}")
    return scores


def _seed_means(scores: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(mean) for mean in scores.mean(axis=1))


def _mean_squares(scores: NDArray[np.float64]) -> _MeanSquares:
    num_seeds, num_items = scores.shape
    by_seed, by_item, mean = scores.mean(axis=1), scores.mean(axis=0), scores.mean()
    rest = scores - by_seed[:, None] - by_item[None, :] + mean
    return _MeanSquares(
        seeds=num_items * float(by_seed.var(ddof=1)),
        items=num_seeds * float(by_item.var(ddof=1)),
        rest=float((rest**2).sum()) / ((num_seeds - 1) * (num_items - 1)),
    )


def _seed_terms(scores: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return what seeds add to the variance of the mean, as signed mean squares with degrees of freedom."""
    num_seeds, num_items = scores.shape
    squares = _mean_squares(scores)
    if squares.seeds <= squares.rest:
        return []
    total = num_seeds * num_items
    return [
        (squares.seeds / total, num_seeds - 1.0),
        (-squares.rest / total, (num_seeds - 1.0) * (num_items - 1.0)),
    ]


def _combined(terms: Sequence[tuple[float, float]]) -> _Error:
    """Return the root of the sum of signed *terms* (variance, degrees of freedom), after Satterthwaite."""
    variance = max(0.0, math.fsum(term for term, _ in terms))
    spread = math.fsum(term**2 / degrees for term, degrees in terms)
    fewest = min(degrees for _, degrees in terms)
    # A negative term can push the approximation below the freedom of its parts, which no estimate has.
    degrees = max(fewest, variance**2 / spread) if spread > 0 else fewest
    return _Error(math.sqrt(variance), degrees)


def _interval(center: float, error: _Error, coverage: float, limits: Interval) -> Interval:
    if not 0.0 < coverage < 1.0:
        raise ValueError(f"coverage must lie strictly between 0 and 1, not {coverage}")
    half_width = float(stdtrit(error.degrees_of_freedom, 0.5 + coverage / 2)) * error.standard_error
    return Interval(max(limits.low, center - half_width), min(limits.high, center + half_width))


def _two_sided_p(difference: float, error: _Error) -> float:
    if difference == 0.0:
        return 1.0
    if error.standard_error == 0.0:
        return 0.0
    return min(1.0, 2.0 * float(stdtr(error.degrees_of_freedom, -abs(difference) / error.standard_error)))
