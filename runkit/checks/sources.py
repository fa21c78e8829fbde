"""Whether the numbers of a run of any program were read, agree with their items, and with each other."""

from __future__ import annotations

import math
from collections.abc import Iterator

from runkit.checks.catalogue import found
from runkit.checks.view import ArchiveView, Family
from runkit.records.finding import Finding
from runkit.records.items import ItemScores, RunItems, counts_of
from runkit.records.manifest import Manifest
from runkit.records.measurement import Score
from runkit.records.notice import Notice, NoticeKind

_RULES: dict[NoticeKind, str] = {
    "not_read": "RK210", "conflict": "RK211", "not_finite": "RK212", "unreadable": "RK204",
}  # fmt: skip

_TOLERANCE = 1e-9
_PRINTED_DECIMALS = 3


def _source_findings(archive: ArchiveView) -> Iterator[Finding]:
    for manifest in archive.manifests:
        if manifest.sealed.scores is None:
            continue
        for notice in manifest.sealed.notices or ():
            yield found(_RULES[notice.kind], manifest.run_id, _place(notice), notice.message)
        yield from _without_number(manifest)
        yield from _logged_differs(manifest)
        if manifest.run_id in archive.items:
            yield from _recomputed(manifest, archive.items[manifest.run_id])


def _place(notice: Notice) -> str:
    return notice.path if notice.line is None else f"{notice.path}:{notice.line}"


def _without_number(manifest: Manifest) -> Iterator[Finding]:
    scores = manifest.sealed.scores or ()
    if any(score.value is not None for score in scores):
        return
    if not any(notice.kind == "not_read" for notice in manifest.sealed.notices or ()):
        message = "no number was read of this run: none of its files is one that a source knows"
        if scores:
            message = f"none of the {len(scores)} scores of this run has a value: {scores[0].missing_because}"
        yield found("RK210", manifest.run_id, "sealed.scores", message)


def _logged_differs(manifest: Manifest) -> Iterator[Finding]:
    for score in manifest.sealed.scores or ():
        logged, value = score.logged_value, score.value
        if logged is None or value is None or score.evidence not in ("recomputed", "per_sample"):
            continue
        if abs(logged - value) > 0.5 * 10.0**-_PRINTED_DECIMALS * max(1.0, abs(value)) + _TOLERANCE:
            message = (
                f"{score.name}: the items of {score.items_file} give {value:.6g}, and {logged:.6g} was "
                "printed for it"
            )
            if score.metric.kind == "real":
                # A corpus BLEU is no mean over items, so that the two may both be right.
                message += "; a number that is no mean over items should be given without them"
            rule = "RK211" if score.metric.kind == "real" else "RK201"
            yield found(rule, manifest.run_id, _of(score), message)


def _recomputed(manifest: Manifest, items: RunItems) -> Iterator[Finding]:
    known = set()
    for score in manifest.sealed.scores or ():
        known.add(score.key)
        if score.items_file is None or score.evidence not in ("recomputed", "per_sample"):
            continue
        measured = items.get(score.key)
        said = f"{score.value!r} over {score.n} items"
        proven = _proven(measured)
        is_close = measured is not None and _is_close(score, measured)
        if not is_close:
            message = f"{score.name}: the manifest says {said}, the item scores have {proven}"
            yield found("RK201", manifest.run_id, _of(score), message)
    for key in sorted(set(items) - known):
        message = f"there are item scores of {'/'.join(key[:4])}, and the manifest has no score for them"
        yield found("RK201", manifest.run_id, "sealed.scores", message)


def _finite(measured: ItemScores) -> list[float]:
    return [value for value in measured.values if value is not None]


def _is_close(score: Score, measured: ItemScores) -> bool:
    values = _finite(measured)
    if score.value is None or not values or score.n != len(values):
        return score.value is None and not values
    mean = math.fsum(values) / len(values)
    counts = counts_of(measured)
    same = math.isclose(mean, score.value, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return same and (counts is None or score.counts is None or counts == score.counts)


def _proven(measured: ItemScores | None) -> str:
    values = _finite(measured) if measured is not None else []
    if not values:
        return "nothing"
    return f"{math.fsum(values) / len(values)!r} over {len(values)} items"


def _of(score: Score) -> str:
    return f"sealed.scores.{score.name}"


SOURCES = Family("sources", _source_findings, frozenset({"RK201", "RK204", "RK210", "RK211", "RK212"}))
