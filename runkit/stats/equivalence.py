"""Two one-sided tests: when "no difference" may be said of two systems on the same items."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

from runkit.stats.paired import PairedCounts, tango_interval, tango_score
from runkit.stats.proportions import Interval


class Equivalence(NamedTuple):
    """Whether a difference is smaller than a margin that was chosen beforehand."""

    margin_fraction: float
    p: float
    """The larger of the two one-sided p-values."""
    interval: Interval
    """Tango's interval at coverage 1 - 2 alpha; it lies within the margin exactly when p is below alpha."""
    is_equivalent: bool
    smallest_margin_fraction: float
    """The smallest margin for which these items show equivalence: what may honestly be claimed."""


def equivalence(counts: PairedCounts, *, margin: float, alpha: float = 0.05) -> Equivalence:
    """Return whether the difference of two systems lies within plus and minus *margin*, a fraction.

    A large p-value of McNemar's test is not this: it says that no difference was seen, and few items see
    none.

    Raises:
        ValueError: *margin* is not in (0, 1), *alpha* not in (0, 0.5), or there are no items.
    Source:
        Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics 15:657-680, with the score
        statistic of Tango (1998), Statistics in Medicine 17:891-908.
    """
    if not 0.0 < margin < 1.0:
        raise ValueError(f"a margin lies strictly between 0 and 1, not {margin}")
    if not 0.0 < alpha < 0.5:
        raise ValueError(f"alpha must lie strictly between 0 and 0.5, not {alpha}")
    interval = tango_interval(counts, coverage=1 - 2 * alpha)
    above, below = tango_score(counts, -margin), tango_score(counts, margin)
    p = max(NormalDist().cdf(-above), NormalDist().cdf(below))
    return Equivalence(
        margin_fraction=margin,
        p=p,
        interval=interval,
        is_equivalent=p < alpha,
        smallest_margin_fraction=max(abs(interval.low), abs(interval.high)),
    )
