"""Answers that could not be read: what they may hide, and how often they occur."""

from __future__ import annotations

from typing import NamedTuple

from runkit.stats.proportions import Interval, wilson_interval


class ThreeWay(NamedTuple):
    """An accuracy with its invalid answers; fractions throughout."""

    accuracy_fraction: float
    """Correct of all; an invalid answer counts as wrong."""
    accuracy_interval: Interval
    bounds: Interval
    """The accuracy if every invalid answer were wrong, and if every one were right."""
    invalid_fraction: float
    invalid_interval: Interval
    given_valid_fraction: float | None
    """Correct of the valid: conditioned on an outcome, so for an appendix; None without valid answers."""
    given_valid_interval: Interval | None


def three_way(correct: int, wrong: int, invalid: int, *, coverage: float = 0.95) -> ThreeWay:
    """Return what *correct*, *wrong* and *invalid* answers say together; intervals are Wilson's.

    Raises:
        ValueError: A count is negative, or all are 0.
    Source:
        Manski (1989), Journal of Human Resources 24:343-360, for the bounds.
    """
    if min(correct, wrong, invalid) < 0:
        raise ValueError(f"counts cannot be negative: {correct}, {wrong}, {invalid}")
    n, valid = correct + wrong + invalid, correct + wrong
    return ThreeWay(
        accuracy_fraction=correct / n if n else 0.0,
        accuracy_interval=wilson_interval(correct, n, coverage=coverage),
        bounds=Interval(correct / n, (correct + invalid) / n),
        invalid_fraction=invalid / n,
        invalid_interval=wilson_interval(invalid, n, coverage=coverage),
        given_valid_fraction=correct / valid if valid else None,
        given_valid_interval=wilson_interval(correct, valid, coverage=coverage) if valid else None,
    )
