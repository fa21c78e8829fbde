"""The paired bootstrap of 0/1 outcomes as an exact law: no resampling, no seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runkit.stats.paired import PairedCounts
from runkit.stats.proportions import Interval


class BootstrapLaw(NamedTuple):
    """The law of the difference over all resamples of the items, each as likely as it is."""

    num_items: int
    probabilities: NDArray[np.float64]
    """Of the differences -n/n, (-n+1)/n, …, n/n, in this order."""

    @property
    def differences(self) -> NDArray[np.float64]:
        """The differences that a resample can have, fractions."""
        return np.arange(-self.num_items, self.num_items + 1) / self.num_items

    @property
    def standard_error(self) -> float:
        """The standard deviation over resamples."""
        mean = float(self.probabilities @ self.differences)
        return float(np.sqrt(self.probabilities @ (self.differences - mean) ** 2))

    def at_most(self, difference: float) -> float:
        """Return the probability that a resample has a difference of at most *difference*."""
        is_within = self.differences <= difference + 0.25 / self.num_items
        return float(min(1.0, self.probabilities[is_within].sum()))

    def percentile_interval(self, *, coverage: float = 0.95) -> Interval:
        """Return the percentile interval; both ends are differences that n items can have."""
        if not 0.0 < coverage < 1.0:
            raise ValueError(f"coverage must lie strictly between 0 and 1, not {coverage}")
        tail = (1 - coverage) / 2
        return Interval(self._quantile(tail), self._quantile(1 - tail))

    def _quantile(self, probability: float) -> float:
        reached = np.cumsum(self.probabilities) >= probability * (1 - 1e-12)
        return float(self.differences[int(np.argmax(reached))])


def bootstrap_law(counts: PairedCounts) -> BootstrapLaw:
    """Return the law of the paired bootstrap of *counts*: the n-fold convolution of one item's law.

    Raises:
        ValueError: There are no items.
    """
    n = counts.n
    if n == 0:
        raise ValueError("a bootstrap needs at least one item")
    item = np.array([counts.only_second, counts.both + counts.neither, counts.only_first]) / n
    law, power = np.ones(1), item
    remaining = n
    while remaining:
        if remaining & 1:
            law = np.convolve(law, power)
        remaining >>= 1
        if remaining:
            power = np.convolve(power, power)
    return BootstrapLaw(n, law)
