"""Runs of any program compared score by score, on the items that both have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from runkit.records.format1 import scores_of
from runkit.records.items import ItemScores, RunItems
from runkit.records.manifest import Manifest
from runkit.records.measurement import Metric, Score
from runkit.records.selector import spelled

if TYPE_CHECKING:
    from runkit.stats.compare import Compared
    from runkit.stats.proportions import Interval

RESAMPLING_SEED = 0
"""Of resamples and drawn flips: what is found is a function of the archive."""


@dataclass(frozen=True)
class ScorePair:
    """The same thing measured in two runs."""

    name: str
    """The score as a selector."""
    first: Score
    second: Score
    first_items: ItemScores | None = None
    """Those items of both runs that have a value in both, in one order; None where they cannot be paired."""
    second_items: ItemScores | None = None
    not_paired_because: str | None = None

    @property
    def values(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The values of the paired items."""
        first = self.first_items.values if self.first_items is not None else ()
        second = self.second_items.values if self.second_items is not None else ()
        pairs = [
            (one, other)
            for one, other in zip(first, second, strict=True)
            if one is not None and other is not None
        ]
        return tuple(one for one, _ in pairs), tuple(other for _, other in pairs)


def score_pairs(first: Manifest, second: Manifest, here: RunItems, there: RunItems) -> Iterator[ScorePair]:
    """Yield each score that both runs have, with its items where both have the same ones."""
    others = {score.key: score for score in scores_of(second.sealed)}
    for score in scores_of(first.sealed):
        other = others.get(score.key)
        if other is not None:
            yield paired(score, other, here.get(score.key), there.get(other.key))


def paired(first: Score, second: Score, here: ItemScores | None, there: ItemScores | None) -> ScorePair:
    """Return two scores of one thing with the items that both have, or why these cannot be paired."""
    name = spelled(first)
    reason = incomparable(first, second)
    if reason is None and (here is None or there is None):
        reason = "no item scores are kept of " + (
            "either" if here is None and there is None else "one of them"
        )
    if reason is not None or here is None or there is None:
        return ScorePair(name, first, second, not_paired_because=reason)
    if here.items != there.items:
        if set(here.items) != set(there.items):
            only = len(set(here.items) ^ set(there.items))
            reason = f"they are of different items ({only:,} stand in only one of them)"
            return ScorePair(name, first, second, not_paired_because=reason)
        there = _in_order(there, here.items)
    if here.golds is not None and there.golds is not None and here.golds != there.golds:
        reason = "the right answers of the same item ids differ"
        return ScorePair(name, first, second, not_paired_because=reason)
    return ScorePair(name, first, second, here, there)


def incomparable(first: Score, second: Score) -> str | None:
    """Return why two scores cannot be set against each other at all; None when they can."""
    if first.metric.unit != second.metric.unit:
        return f"one is in {first.metric.unit or 'no unit'}, the other in {second.metric.unit or 'no unit'}"
    if first.metric.direction != second.metric.direction and None not in (
        first.metric.direction,
        second.metric.direction,
    ):
        return "higher is better in one of them, lower in the other"
    return None


def _in_order(items: ItemScores, order: tuple[str, ...]) -> ItemScores:
    place = {item: index for index, item in enumerate(items.items)}
    chosen = [place[item] for item in order]

    def sorted_column(column: tuple[Any, ...] | None) -> Any:
        return None if column is None else tuple(column[index] for index in chosen)

    return replace(
        items,
        items=order,
        values=sorted_column(items.values),
        outcomes=sorted_column(items.outcomes),
        answers=sorted_column(items.answers),
        golds=sorted_column(items.golds),
        clusters=sorted_column(items.clusters),
    )


def comparison(pair: ScorePair) -> Compared:
    """Return the first minus the second score: over the items that both have, else the two numbers alone."""
    from runkit.stats.compare import compare
    from runkit.stats.sides import Items, Scalars

    here, there = pair.first_items, pair.second_items
    if here is None or there is None:
        return compare(Scalars([pair.first.value]), Scalars([pair.second.value]), kind="real", seed=0)
    kind = pair.first.metric.kind
    return compare(
        Items([here.values]),
        Items([there.values]),
        kind="real" if kind == "scalar" else kind,
        seed=RESAMPLING_SEED,
        clusters=here.clusters,
        limits=limits_of(pair.first.metric),
    )


def limits_of(metric: Metric) -> Interval | None:
    """Return what *metric* can be at all, where that is known."""
    from runkit.stats.proportions import Interval

    if metric.low is None or metric.high is None:
        return None
    return Interval(metric.low, metric.high)
