"""Merging what several sources found in one run directory: better evidence wins, a contradiction is told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runkit.ingest.source import FoundFacts
from runkit.records.items import ItemScores, RunItems
from runkit.records.manifest import Evidence
from runkit.records.measurement import EVIDENCE_KINDS, Score, ScoreKey, Series
from runkit.records.notice import Notice
from runkit.records.record import Scalar

_RELATIVE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Combined:
    """What a run directory says, all sources together."""

    sources: tuple[str, ...]
    parameters: Mapping[str, Scalar]
    parameters_at: Evidence | None
    scores: tuple[Score, ...]
    series: tuple[Series, ...]
    items: RunItems
    notices: tuple[Notice, ...]
    primary: str | None


def combined(found: Sequence[FoundFacts]) -> Combined:
    """Return what *found* says; of two that say the same thing, the earlier counts where both are as good."""
    notices = [notice for one in found for notice in one.notices]
    parameters, at = _parameters(found, notices)
    return Combined(
        sources=tuple(one.source for one in found),
        parameters=parameters,
        parameters_at=at,
        scores=_scores(found, notices),
        series=_series(found),
        items=_items(found),
        notices=tuple(notices),
        primary=next((one.primary for one in found if one.primary is not None), None),
    )


def _parameters(
    found: Sequence[FoundFacts], notices: list[Notice]
) -> tuple[dict[str, Scalar], Evidence | None]:
    merged: dict[str, Scalar] = {}
    said_by: dict[str, FoundFacts] = {}
    for one in found:
        for key, value in one.parameters.items():
            if key not in merged:
                merged[key], said_by[key] = value, one
            elif merged[key] != value:
                first, second = _place(said_by[key].parameters_at), _place(one.parameters_at)
                message = f"{key} is {merged[key]!r} in {first} and {value!r} in {second}"
                path = _path(one.parameters_at)
                notices.append(Notice(kind="conflict", path=path, line=None, message=message))
    at = next((one.parameters_at for one in found if one.parameters_at is not None), None)
    return dict(sorted(merged.items())), at


def _scores(found: Sequence[FoundFacts], notices: list[Notice]) -> tuple[Score, ...]:
    best: dict[ScoreKey, Score] = {}
    for score in (score for one in found for score in one.scores):
        other = best.setdefault(score.key, score)
        if other is score:
            continue
        better, worse = sorted((other, score), key=_rank)
        if better.value is not None and worse.value is not None:
            if not agree(better.value, worse.value):
                message = (
                    f"{better.name} is {better.value:g} by {_of(better)}, which was taken, and "
                    f"{worse.value:g} by {_of(worse)}"
                )
                place = worse.path or "."
                notices.append(Notice(kind="conflict", path=place, line=worse.line, message=message))
            if better.logged_value is None and worse.evidence == "logged":
                better = better.model_copy(update={"logged_value": worse.value})
        best[score.key] = better
    notices += _two_directions(best.values())
    return tuple(best.values())


def _rank(score: Score) -> int:
    return EVIDENCE_KINDS.index(score.evidence) if score.evidence is not None else len(EVIDENCE_KINDS)


def agree(first: float, second: float) -> bool:
    """Return whether two spellings of one number agree: to the digits that the shorter of them has."""
    if math.isclose(first, second, rel_tol=_RELATIVE_TOLERANCE, abs_tol=1e-12):
        return True
    short, long = sorted((first, second), key=lambda value: len(repr(value)))
    decimals = len(repr(short).partition(".")[2]) if "e" not in repr(short) else 17
    return decimals >= 2 and abs(short - long) <= 0.5 * 10**-decimals + 1e-12


def _two_directions(scores: Iterable[Score]) -> list[Notice]:
    directions: dict[str, Score] = {}
    told = []
    for score in scores:
        before = directions.setdefault(score.metric.name, score)
        if before.metric.direction != score.metric.direction and None not in (
            before.metric.direction,
            score.metric.direction,
        ):
            message = (
                f"{score.metric.name} is better when {before.metric.direction} by {_of(before)}, and when "
                f"{score.metric.direction} by {_of(score)}"
            )
            told.append(Notice(kind="conflict", path=score.path or ".", line=score.line, message=message))
    return told


def _series(found: Sequence[FoundFacts]) -> tuple[Series, ...]:
    known: dict[tuple[str, str, str | None, str], Series] = {}
    for series in (series for one in found for series in one.series):
        known.setdefault((series.system, series.task, series.split, series.metric.name), series)
    return tuple(known.values())


def _items(found: Sequence[FoundFacts]) -> dict[ScoreKey, ItemScores]:
    known: dict[ScoreKey, ItemScores] = {}
    for items in (items for one in found for items in one.items):
        known.setdefault(items.key, items)
    return known


def _of(score: Score) -> str:
    line = f":{score.line}" if score.line is not None else ""
    return f"{score.path or 'no file'}{line}"


def _place(evidence: Evidence | None) -> str:
    if evidence is None:
        return "no file"
    return evidence.path if evidence.line is None else f"{evidence.path}:{evidence.line}"


def _path(evidence: Evidence | None) -> str:
    return evidence.path if evidence is not None else "."
