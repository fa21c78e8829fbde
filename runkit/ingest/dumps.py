"""Per-sample dumps of an evaluation (JSON lines) as outcomes; answers are compared as text."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from runkit.records.manifest import AnswerCount, SystemScore
from runkit.records.outcomes import INVALID_MARKER, EvaluationOutcomes

_EXTRACTED = "_extracted"
_NUM_MOST_COMMON = 5


@dataclass(frozen=True)
class Dump:
    """What one dump holds."""

    outcomes: EvaluationOutcomes | None
    """None when the dump has no readable row."""
    num_unreadable_rows: int
    items_sha256: str | None
    """Digest of item ids, questions and gold answers in order."""
    noise_draw: int | None
    checkpoint_step: int | None
    split: str | None


def read_dump(text: str, *, label: str) -> Dump:
    """Return the outcomes in *text*, one JSON object a line; torn lines are counted and left out.

    The systems are those that every readable row has an extracted answer of.
    """
    rows, num_unreadable = _rows(text)
    if not rows:
        return Dump(None, num_unreadable, None, None, None, None)
    systems = _systems(rows)
    items = _item_ids(rows)
    golds = tuple(str(row["gold_extracted"]) for row in rows)
    outcomes = EvaluationOutcomes(
        label=label,
        items=items,
        golds=golds,
        answers={system: tuple(_answer(row[system + _EXTRACTED]) for row in rows) for system in systems},
    )
    return Dump(
        outcomes=outcomes,
        num_unreadable_rows=num_unreadable,
        items_sha256=_items_digest(items, rows),
        noise_draw=_common_int(rows, "noise_draw"),
        checkpoint_step=_common_int(rows, "checkpoint_step"),
        split=_common_text(rows, "split"),
    )


def scores(outcomes: EvaluationOutcomes) -> tuple[SystemScore, ...]:
    """Return the three-way score of each system."""
    return tuple(_score(outcomes, system) for system in outcomes.answers)


def _rows(text: str) -> tuple[list[dict[str, Any]], int]:
    rows, num_unreadable = [], 0
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict) and isinstance(row.get("gold_extracted"), str | int):
            rows.append(row)
        else:
            num_unreadable += 1
    return rows, num_unreadable


def _systems(rows: list[dict[str, Any]]) -> list[str]:
    keys = [key for key in rows[0] if key.endswith(_EXTRACTED) and key != "gold" + _EXTRACTED]
    return [key.removesuffix(_EXTRACTED) for key in keys if all(key in row for row in rows)]


def _item_ids(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the items' own ids, or their places in the dump when the ids are missing or not unique."""
    for key in ("item", "index"):
        ids = tuple(str(row.get(key)) for row in rows)
        if all(key in row for row in rows) and len(set(ids)) == len(ids):
            return ids
    return tuple(str(place) for place in range(len(rows)))


def _answer(extracted: object) -> str | None:
    if extracted is None or extracted in (INVALID_MARKER, ""):
        return None
    return str(extracted)


def _items_digest(items: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    digest = hashlib.sha256()
    for item, row in zip(items, rows, strict=True):
        line = json.dumps([item, row.get("question"), str(row["gold_extracted"])], ensure_ascii=False)
        digest.update(line.encode(errors="surrogatepass") + b"\n")
    return digest.hexdigest()


def _common_int(rows: list[dict[str, Any]], key: str) -> int | None:
    value = rows[0].get(key)
    is_common = type(value) is int and all(row.get(key) == value for row in rows)
    return value if is_common else None


def _common_text(rows: list[dict[str, Any]], key: str) -> str | None:
    value = rows[0].get(key)
    is_common = isinstance(value, str) and all(row.get(key) == value for row in rows)
    return value if is_common else None


def _score(outcomes: EvaluationOutcomes, system: str) -> SystemScore:
    kinds = Counter(outcomes.outcomes(system))
    answers = Counter(answer for answer in outcomes.answers[system] if answer is not None)
    most_common = sorted(answers.items(), key=lambda pair: (-pair[1], pair[0]))[:_NUM_MOST_COMMON]
    return SystemScore(
        system=system,
        correct=kinds["correct"],
        wrong=kinds["wrong"],
        invalid=kinds["invalid"],
        distinct_answers=len(answers) + (kinds["invalid"] > 0),
        most_common=tuple(AnswerCount(answer=answer, count=count) for answer, count in most_common),
    )
