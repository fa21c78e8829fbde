"""The best of K checkpoints on the items that chose it: how much too high it is; says nothing of seeds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from runkit.stats.proportions import Interval, wilson_interval

_PERMUTED_AT_ONCE = 100
"""Permutations drawn together; their numbers, and so the results, do not depend on it."""


class CorrectedPeak(NamedTuple):
    """The maximum over checkpoints, and what a checkpoint chosen in this way has on other items."""

    naive_fraction: float
    best_index: int
    """Of the earliest checkpoint that reaches it."""
    num_candidates: int
    corrected_fraction: float
    """Chosen on the resampled items, scored on those left out, averaged."""
    corrected_interval: Interval
    """Percentiles over the resamples, for the corrected value."""
    predicted_optimism: float
    """By how much the maximum of equally good checkpoints is too high; a flag, not a correction."""
    naive_interval: Interval
    """Wilson's for the maximum, at a coverage that allows for K choices (Bonferroni)."""


class Degradation(NamedTuple):
    """The fall from the best checkpoint to the last one, against what equal checkpoints show."""

    fraction: float
    p: float
    """One-sided: how often equally good checkpoints fall at least as far."""
    expected_fraction: float
    """The mean fall of equally good checkpoints: the bias of any such fall."""
    upper_fraction: float
    """95 % of equally good checkpoints fall less."""


def expected_maximum(num_candidates: int) -> float:
    """Return the expected maximum of *num_candidates* independent standard normal numbers.

    Raises:
        ValueError: There is none.
    """
    if num_candidates < 1:
        raise ValueError(f"a maximum needs at least one candidate, not {num_candidates}")
    from scipy.special import ndtr

    grid = np.linspace(-12.0, 12.0, 4801)
    density = (
        num_candidates * np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi) * ndtr(grid) ** (num_candidates - 1)
    )
    return float((grid * density).sum() * (grid[1] - grid[0]))


def mean_discordance(correct: ArrayLike) -> float:
    """Return the fraction of items on which two checkpoints of outcomes ``[K][n]`` differ, over all pairs."""
    outcomes = _outcomes(correct)
    num_candidates, num_items = outcomes.shape
    if num_candidates < 2:
        return 0.0
    ones = outcomes.sum(axis=0)
    pairs = num_candidates * (num_candidates - 1) / 2
    return float((ones * (num_candidates - ones)).sum() / (pairs * num_items))


def optimism(discordance: float, n: int, num_candidates: int) -> float:
    """Return by how much the maximum of equally good checkpoints exceeds the truth on average, a fraction.

    What this does not do: it over-corrects when checkpoints really differ.
    """
    return expected_maximum(num_candidates) * float(np.sqrt(discordance / (2 * n)))


def corrected_peak(
    correct: ArrayLike, *, seed: int, resamples: int = 2_000, coverage: float = 0.95
) -> CorrectedPeak:
    """Return the maximum over checkpoints of outcomes ``[K][n]``, and what it is worth.

    Raises:
        ValueError: There is no checkpoint, fewer than two items, or a value other than 0 and 1.
    Source:
        Tsamardinos, Greasidou and Borboudakis (2018), Machine Learning 107:1895-1922 (BBC-CV).
    """
    outcomes = _outcomes(correct)
    num_candidates, num_items = outcomes.shape
    counts = outcomes.sum(axis=1)
    index = int(np.argmax(counts))
    estimates = _out_of_bag(outcomes, seed, resamples)
    tails = 100 * np.array([(1 - coverage) / 2, (1 + coverage) / 2])
    low, high = (float(end) for end in np.percentile(estimates, tails))
    return CorrectedPeak(
        naive_fraction=float(counts[index]) / num_items,
        best_index=index,
        num_candidates=num_candidates,
        corrected_fraction=float(estimates.mean()),
        corrected_interval=Interval(low, high),
        predicted_optimism=optimism(mean_discordance(outcomes), num_items, num_candidates),
        naive_interval=wilson_interval(
            int(counts[index]), num_items, coverage=1 - (1 - coverage) / num_candidates
        ),
    )


def cross_fitted_peak(correct: ArrayLike) -> float:
    """Return the mean accuracy of a choice on the even items scored on the odd ones, and vice versa."""
    outcomes = _outcomes(correct)
    even, odd = outcomes[:, ::2], outcomes[:, 1::2]
    chosen = int(np.argmax(even.sum(axis=1))), int(np.argmax(odd.sum(axis=1)))
    return float(odd[chosen[0]].mean() + even[chosen[1]].mean()) / 2


def degradation(correct: ArrayLike, *, seed: int, final: int = -1, permutations: int = 2_000) -> Degradation:
    """Return the fall from the best of outcomes ``[K][n]`` to checkpoint *final*, tested by permutation.

    The labels of the checkpoints are permuted within each item, so that the null is: they are equally good.

    Raises:
        ValueError: As for :func:`corrected_peak`.
    """
    outcomes = _outcomes(correct)
    num_candidates, num_items = outcomes.shape
    sums = outcomes.sum(axis=1)
    observed = int(sums.max() - sums[final])
    drawn = np.random.default_rng(seed)
    falls = np.empty(permutations)
    for start in range(0, permutations, _PERMUTED_AT_ONCE):
        size = min(_PERMUTED_AT_ONCE, permutations - start)
        order = np.argsort(drawn.random((size, num_candidates, num_items)), axis=1)
        permuted = np.take_along_axis(np.broadcast_to(outcomes, order.shape), order, axis=1).sum(axis=2)
        falls[start : start + size] = permuted.max(axis=1) - permuted[:, final]
    return Degradation(
        fraction=observed / num_items,
        p=float(1 + (falls >= observed).sum()) / (permutations + 1),
        expected_fraction=float(falls.mean()) / num_items,
        upper_fraction=float(np.percentile(falls, 95)) / num_items,
    )


def _out_of_bag(outcomes: NDArray[np.int64], seed: int, resamples: int) -> NDArray[np.float64]:
    num_items = outcomes.shape[1]
    drawn = np.random.default_rng(seed).integers(0, num_items, size=(resamples, num_items))
    times = np.zeros((resamples, num_items), dtype=np.int64)
    np.add.at(times, (np.arange(resamples)[:, None], drawn), 1)
    chosen = np.argmax(times @ outcomes.T, axis=1)
    left_out = times == 0
    num_left_out = left_out.sum(axis=1)
    # A resample that holds every item leaves nothing to score on; with two items or more it is rare.
    kept = num_left_out > 0
    if not kept.any():
        raise ValueError(f"{resamples} resamples of {num_items} items left no item out")
    scored = (left_out * outcomes[chosen]).sum(axis=1)
    return np.asarray(scored[kept] / num_left_out[kept])


def _outcomes(correct: ArrayLike) -> NDArray[np.int64]:
    outcomes = np.asarray(correct)
    if outcomes.ndim != 2 or outcomes.shape[0] < 1 or outcomes.shape[1] < 2:
        raise ValueError(f"a peak needs outcomes of checkpoints on at least two items, not {outcomes.shape}")
    if not np.isin(outcomes, (0, 1)).all():
        raise ValueError("a peak needs outcomes that are 0 or 1")
    return outcomes.astype(np.int64)
