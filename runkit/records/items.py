"""Item scores: what one score is the sum of, one value an item."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from runkit.records.manifest import Outcome
from runkit.records.measurement import (
    SYSTEM,
    TASK,
    AnswerCount,
    Counts,
    EvidenceKind,
    Metric,
    Score,
    ScoreKey,
    Weights,
    key_of,
)
from runkit.records.record import EMPTY, canonical_digest, canonical_json

Texts = tuple[str | None, ...]


@dataclass(frozen=True)
class ItemScores:
    """One value an item, items in the order of the file; equal lengths, ids without repetition."""

    metric: Metric
    items: tuple[str, ...]
    values: tuple[float | None, ...]
    """In the metric's unit, 0 or 1 where it is binary or ternary; None for what is no finite number."""
    system: str = SYSTEM
    task: str = TASK
    split: str | None = None
    weights: Weights = field(default_factory=Weights)
    conditions: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    outcomes: tuple[Outcome | None, ...] | None = None
    """Correct, wrong or invalid, where that is known."""
    answers: Texts | None = None
    golds: Texts | None = None
    clusters: Texts | None = None
    """What items belong together, such as the paragraph that several questions are about."""

    def __post_init__(self) -> None:
        for column in (self.values, self.outcomes, self.answers, self.golds, self.clusters):
            if column is not None and len(column) != len(self.items):
                raise ValueError(f"{len(column)} values for {len(self.items)} items")

    @property
    def key(self) -> ScoreKey:
        """What the scores are of, as :attr:`Score.key`."""
        return key_of(self)


RunItems = Mapping[ScoreKey, ItemScores]
"""What a score is of to its items."""


def counts_of(items: ItemScores) -> Counts | None:
    """Return how many came out how; None for a real metric, or where an outcome is not known."""
    if items.metric.kind not in ("binary", "ternary"):
        return None
    outcomes = items.outcomes
    if outcomes is None:
        if any(value not in (0, 1) for value in items.values):
            return None
        outcomes = tuple("correct" if value == 1 else "wrong" for value in items.values)
    counted = Counter(outcomes)
    if None in counted:
        return None
    given = Counter(answer for answer in items.answers or () if answer is not None)
    common = sorted(given.items(), key=lambda pair: (-pair[1], pair[0]))[:5]
    return Counts(
        correct=counted["correct"],
        wrong=counted["wrong"],
        invalid=counted["invalid"],
        distinct_answers=len(set(items.answers)) if items.answers is not None else None,
        most_common=tuple(AnswerCount(answer=answer, count=count) for answer, count in common),
    )


def score_of_items(
    items: ItemScores,
    *,
    evidence: EvidenceKind,
    path: str | None,
    logged_value: float | None = None,
    line: int | None = None,
    missing_values: Mapping[str, str] = EMPTY,
    n_planned: int | None = None,
    num_unreadable_rows: int = 0,
) -> Score:
    """Return the mean of *items* as a score; one without a value when no item has a finite one.

    Args:
        path: The file that holds the items.
        logged_value: What the producer printed for it.
        missing_values: What stands for the missing ones to how often, where that is known.
    """
    known = [value for value in items.values if value is not None]
    mean = math.fsum(known) / len(known) if known else None
    num_missing = len(items.values) - len(known)
    deviation = None
    if mean is not None and len(known) > 1:
        deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in known) / (len(known) - 1))
    clusters = {cluster for cluster in items.clusters or () if cluster is not None}
    return Score(
        system=items.system,
        task=items.task,
        split=items.split,
        metric=items.metric,
        weights=items.weights,
        conditions=items.conditions,
        value=mean,
        n=len(known),
        n_planned=n_planned,
        evidence=evidence if mean is not None else None,
        path=path,
        line=line,
        missing_because=None if mean is not None else _why_no_mean(items),
        counts=counts_of(items),
        standard_deviation=deviation,
        num_missing=num_missing,
        missing_values=missing_values,
        items_file=path,
        items_sha256=items_digest(items.items, items.golds),
        clusters=len(clusters) if items.clusters is not None else None,
        num_unreadable_rows=num_unreadable_rows,
        logged_value=logged_value,
    )


def _why_no_mean(items: ItemScores) -> str:
    return "no item has a finite value" if items.items else "there are no items"


def items_digest(items: Sequence[str], golds: Sequence[str | None] | None) -> str:
    """Return the digest that is equal for the same items with the same right answers in the same order."""
    return canonical_digest([list(items), list(golds) if golds is not None else None])


def item_digests(found: RunItems) -> dict[str, dict[str, str]]:
    """Return for each set of item scores, named by what it is of, the digest of all that it says."""
    return {
        canonical_json(key): {
            "items": canonical_digest(
                [items.items, items.values, items.outcomes, items.answers, items.golds, items.clusters]
            )
        }
        for key, items in found.items()
        if items.items
    }
