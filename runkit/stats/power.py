"""What a paired comparison of a given size could have seen."""

from __future__ import annotations

import math
from statistics import NormalDist

from runkit.stats.proportions import two_sided_z


def items_needed(discordance: float, difference: float, *, alpha: float = 0.05, power: float = 0.80) -> float:
    """Return the number of items at which *difference* is found with *power*.

    Args:
        discordance: Fraction of items on which exactly one system is correct.
        difference: True difference of the accuracies, a fraction.
    Raises:
        ValueError: *difference* is 0 or larger than *discordance*, or *discordance* is not in 0..1.
    Source:
        Connor (1987), Biometrics 43:207-211.
    """
    _check_discordance(discordance)
    if not 0.0 < abs(difference) <= discordance:
        raise ValueError(f"a difference must lie in (0, {discordance}], not {difference}")
    z_alpha, z_power = two_sided_z(1 - alpha), NormalDist().inv_cdf(power)
    spread = z_alpha * math.sqrt(discordance) + z_power * math.sqrt(discordance - difference**2)
    return (spread / difference) ** 2


def minimum_detectable_effect(
    discordance: float, n: int, *, alpha: float = 0.05, power: float = 0.80
) -> float | None:
    """Return the smallest difference, a fraction, that *n* items show with *power*; None when none can.

    Source:
        Connor (1987), solved for the difference.
    """
    _check_discordance(discordance)
    if n <= 0:
        raise ValueError(f"a comparison needs at least one item, not {n}")
    if discordance == 0 or items_needed(discordance, discordance, alpha=alpha, power=power) > n:
        return None
    low, high = 0.0, discordance
    for _ in range(80):
        middle = (low + high) / 2
        enough = middle > 0 and items_needed(discordance, middle, alpha=alpha, power=power) <= n
        low, high = (low, middle) if enough else (middle, high)
    return high


def rule_of_thumb_effect(discordance: float, n: int, *, alpha: float = 0.05, power: float = 0.80) -> float:
    """Return about 2.80 times the root of ``discordance / n``: the detectable effect on an envelope."""
    _check_discordance(discordance)
    return (two_sided_z(1 - alpha) + NormalDist().inv_cdf(power)) * math.sqrt(discordance / n)


def resolution_ratio(discordance: float, difference: float, n: int) -> float:
    """Return *n* over the number of items that *difference* needs; below 1 the design is too small.

    Source:
        Kotawala (2026), arXiv:2605.30315.
    """
    return n / items_needed(discordance, difference)


def items_needed_with_repeats(
    between_items: float, within_item: float, difference: float, *, repeats: int = 1, alpha: float = 0.05,
    power: float = 0.80,
) -> float:  # fmt: skip
    """Return the number of items at which *difference* is found when each item is answered *repeats* times.

    Args:
        between_items: Variance over items of the difference of true accuracies.
        within_item: Variance of one answer of one system to one item, equal for both systems.
    Raises:
        ValueError: A variance is negative, *difference* is 0 or *repeats* below 1.
    Source:
        Miller (2024), arXiv:2411.00640, equation 9.
    """
    if difference == 0:
        raise ValueError("no number of items shows a difference of 0")
    variance = _variance_with_repeats(between_items, within_item, repeats)
    return (two_sided_z(1 - alpha) + NormalDist().inv_cdf(power)) ** 2 * variance / difference**2


def detectable_with_repeats(
    between_items: float, within_item: float, n: int, *, repeats: int = 1, alpha: float = 0.05,
    power: float = 0.80,
) -> float:  # fmt: skip
    """Return the smallest difference that *n* items, answered *repeats* times, show; source as above."""
    if n <= 0:
        raise ValueError(f"a comparison needs at least one item, not {n}")
    variance = _variance_with_repeats(between_items, within_item, repeats)
    return (two_sided_z(1 - alpha) + NormalDist().inv_cdf(power)) * math.sqrt(variance / n)


def _variance_with_repeats(between_items: float, within_item: float, repeats: int) -> float:
    if between_items < 0 or within_item < 0 or repeats < 1:
        raise ValueError(
            f"variances cannot be negative and repeats not below 1: {between_items}, {within_item}, {repeats}"
        )
    return between_items + 2 * within_item / repeats


def _check_discordance(discordance: float) -> None:
    if not 0.0 <= discordance <= 1.0:
        raise ValueError(f"a discordance lies in 0..1, not {discordance}")
