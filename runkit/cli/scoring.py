"""Scores as rows of text, for the verbs that list and show runs."""

from __future__ import annotations

from collections.abc import Sequence

from runkit.errors import UnknownName, UsageError
from runkit.records.format1 import scores_of
from runkit.records.manifest import Manifest
from runkit.records.measurement import Score
from runkit.records.selector import primary, select, spelled
from runkit.stats.rounding import measured_value

_NOTHING = "–"


def list_rows(manifests: Sequence[Manifest], columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return a head and a row a run: the measures asked for, or the one that each run is judged by.

    Raises:
        UnknownName: No run has a measure that was asked for.
        UsageError: Of every run, one of them names several.
    """
    if columns:
        rows = [tuple(_asked(manifest, text) for text in columns) for manifest in manifests]
        _refuse_unknown(manifests, columns, rows)
        heads = tuple(columns)
    else:
        judged = [primary(manifest.sealed) for manifest in manifests]
        names = {spelled(score) for score in judged if score is not None}
        if len(names) == 1:
            heads = (*names,)
            rows = [
                (value_text(score),) if score is not None else (_unsaid(manifest),)
                for manifest, score in zip(manifests, judged, strict=True)
            ]
        else:
            heads = ("measure", "value")
            rows = [
                (spelled(score), value_text(score)) if score is not None else (_unsaid(manifest), "")
                for manifest, score in zip(manifests, judged, strict=True)
            ]
    told = [(manifest.run_id, manifest.sealed.status.value) for manifest in manifests]
    return [("run", "status", *heads), *((*one, *row) for one, row in zip(told, rows, strict=True))]


def _asked(manifest: Manifest, text: str) -> str:
    try:
        return value_text(select(manifest.sealed, text).score)
    except (UsageError, UnknownName):
        return _NOTHING


def _refuse_unknown(
    manifests: Sequence[Manifest], columns: Sequence[str], rows: Sequence[tuple[str, ...]]
) -> None:
    """Say what is wrong with a column that is empty in every row."""
    for index, text in enumerate(columns):
        if rows and all(row[index] == _NOTHING for row in rows):
            with_scores = [one for one in manifests if scores_of(one.sealed)]
            for manifest in with_scores[:1]:
                select(manifest.sealed, text)


def _unsaid(manifest: Manifest) -> str:
    num_measures = len({score.name for score in scores_of(manifest.sealed) if score.weights.is_final})
    if not num_measures:
        return "no number was read"
    return f"{num_measures} measures; choose with --columns"


def value_text(score: Score) -> str:
    """Return the value with its counts or its number of items; a dash for none."""
    if score.value is None:
        return _NOTHING
    if score.counts is not None:
        return f"{measured_value(score.value)} ({score.counts.correct}/{score.counts.n})"
    return measured_value(score.value) + (f" (n = {score.n:,})" if score.n else "")


def score_rows(manifest: Manifest) -> list[tuple[str, ...]]:
    """Return a head and a row a score, each with what supports it."""
    rows: list[tuple[str, ...]] = [("score", "split", "value", "n", "correct/wrong/invalid", "evidence")]
    for score in scores_of(manifest.sealed):
        counts = score.counts
        outcomes = f"{counts.correct}/{counts.wrong}/{counts.invalid}" if counts is not None else ""
        place = f"{score.path or ''}{f':{score.line}' if score.line is not None else ''}"
        proof = f"{score.evidence}, {place}" if score.evidence is not None else score.missing_because or ""
        value = measured_value(score.value) if score.value is not None else _NOTHING
        n = f"{score.n:,}" if score.n is not None else _NOTHING
        rows.append((spelled(score), score.split or _NOTHING, value, n, outcomes, proof))
    return rows
