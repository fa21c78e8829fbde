"""Corrections for several tests in one family; the caller says what the family is."""

from __future__ import annotations

from collections.abc import Sequence


def holm(pvalues: Sequence[float]) -> tuple[float, ...]:
    """Return the Holm-adjusted p-values, in the order given.

    Raises:
        ValueError: A p-value lies outside 0..1.
    Source:
        Holm (1979), Scandinavian Journal of Statistics 6:65-70.
    """
    if not all(0.0 <= pvalue <= 1.0 for pvalue in pvalues):
        raise ValueError(f"p-values lie in 0..1: {tuple(pvalues)}")
    adjusted = [0.0] * len(pvalues)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(pvalues)), key=lambda i: pvalues[i])):
        largest = max(largest, min(1.0, (len(pvalues) - rank) * pvalues[index]))
        adjusted[index] = largest
    return tuple(adjusted)
