"""The power of McNemar's tests by enumeration: what a paired design of n items finds, and how it errs."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, bdtrc, gammaln, xlog1py, xlogy

Test = Literal["midp", "exact"]
"""Which McNemar test decides."""


class PairedPower(NamedTuple):
    """What a test does when the true difference is the one that was asked about; all are probabilities."""

    right_sign: float
    """It rejects, and the sign is right: the power."""
    any_sign: float
    """It rejects, whatever the sign; at a true difference of 0 the size of the test."""
    type_s: float
    """The sign is wrong, given that it rejects (Gelman and Carlin)."""
    type_m: float
    """How many times too large the observed difference is, given that it rejects; not a probability."""


def paired_power(
    discordance: float, difference: float, n: int, *, alpha: float = 0.05, test: Test = "midp"
) -> PairedPower:
    """Return what a McNemar test on *n* items does, summed over all tables that can come out.

    Args:
        discordance: Probability that exactly one system is correct on an item.
        difference: True difference of the accuracies; its sign does not matter.
    Raises:
        ValueError: The numbers are no probabilities, or *n* is not positive.
    Source:
        The trinomial law of discordant items; type S and M after Gelman and Carlin (2014), Perspectives on
        Psychological Science 9:641-651.
    """
    _check(discordance, difference, n, alpha)
    totals = np.arange(n + 1)
    limits = _largest_significant(n, alpha, test)
    weights = _binomial_pmf(totals, n, discordance)
    chance = 0.5 + abs(difference) / (2 * discordance) if discordance else 0.5
    can_reject = limits >= 0
    totals, limits, weights = totals[can_reject], limits[can_reject], weights[can_reject]
    right = bdtrc(totals - limits - 1, totals, chance)
    wrong = bdtr(limits, totals, chance)
    # E[b; b > t] of a binomial b is m p P(Bin(m - 1, p) > t - 1); here for both tails of b - c = 2 b - m.
    smaller = np.maximum(totals - 1, 0)
    gained = 2 * totals * chance * _tail(totals - limits - 2, smaller, chance) - totals * right
    lost = totals * wrong - 2 * totals * chance * _head(limits - 1, smaller, chance)
    power, opposite = float(weights @ right), float(weights @ wrong)
    rejected = power + opposite
    observed = float(weights @ (gained + lost)) / (n * rejected) if rejected else float("nan")
    return PairedPower(
        right_sign=power,
        any_sign=rejected,
        type_s=opposite / rejected if rejected else float("nan"),
        type_m=observed / abs(difference) if difference else float("inf"),
    )


def exact_minimum_detectable_effect(
    discordance: float, n: int, *, alpha: float = 0.05, power: float = 0.80, test: Test = "midp"
) -> float | None:
    """Return the smallest difference, a fraction, that *n* items show with *power*; None when none can.

    Unlike Connor's formula this is the power of the test that is used, found by bisection.
    """
    _check(discordance, 0.0, n, alpha)

    def is_seen(difference: float) -> bool:
        return paired_power(discordance, difference, n, alpha=alpha, test=test).right_sign >= power

    if discordance == 0 or not is_seen(discordance):
        return None
    low, high = 0.0, discordance
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if is_seen(middle) else (middle, high)
    return high


@lru_cache(maxsize=16)
def _largest_significant(n: int, alpha: float, test: Test) -> NDArray[np.int64]:
    """Return for 0..n discordant items the largest number on the smaller side that is significant, or -1."""
    totals = np.arange(n + 1)
    limits = np.maximum(-1, np.floor(totals / 2 - 4 * np.sqrt(totals)).astype(np.int64) - 1)
    while True:
        candidates = limits + 1
        more = (2 * candidates <= totals) & (_pvalues(candidates, totals, test) < alpha)
        if not more.any():
            return np.asarray(limits)
        limits = np.where(more, candidates, limits)


def _pvalues(fewer: NDArray[np.int64], totals: NDArray[np.int64], test: Test) -> NDArray[np.float64]:
    doubled = 2 * bdtr(fewer, totals, 0.5)
    if test == "midp":
        doubled = doubled - _binomial_pmf(fewer, totals, 0.5)
    return np.asarray(np.minimum(1.0, doubled))


def _binomial_pmf(
    hits: NDArray[np.int64], totals: int | NDArray[np.int64], chance: float
) -> NDArray[np.float64]:
    misses = totals - hits
    ways = gammaln(np.add(totals, 1)) - gammaln(hits + 1) - gammaln(misses + 1)
    return np.asarray(np.exp(ways + xlogy(hits, chance) + xlog1py(misses, -chance)))


def _tail(above: NDArray[np.int64], totals: NDArray[np.int64], chance: float) -> NDArray[np.float64]:
    return np.where(above < 0, 1.0, bdtrc(np.clip(above, 0, totals), totals, chance))


def _head(upto: NDArray[np.int64], totals: NDArray[np.int64], chance: float) -> NDArray[np.float64]:
    return np.where(upto < 0, 0.0, bdtr(np.clip(upto, 0, totals), totals, chance))


def _check(discordance: float, difference: float, n: int, alpha: float) -> None:
    if not 0.0 <= discordance <= 1.0:
        raise ValueError(f"a discordance lies in 0..1, not {discordance}")
    if abs(difference) > discordance:
        raise ValueError(f"a difference cannot be larger than the discordance {discordance}: {difference}")
    if n <= 0:
        raise ValueError(f"a comparison needs at least one item, not {n}")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie strictly between 0 and 1, not {alpha}")
