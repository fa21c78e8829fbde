"""Per-sample dumps of an evaluation (JSON lines) as outcomes; answers are compared as text.

Numbers in a dump stay the text that they were written as: ``10.`` and ``10.0`` are other answers, and one
with thousands of digits is no integer that anybody wants to compute with.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runkit.records.manifest import SystemScore
from runkit.records.measurement import AnswerCount
from runkit.records.outcomes import INVALID_MARKER, EvaluationOutcomes

_EXTRACTED = "_extracted"
_SYSTEM_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}_extracted")
_NUM_MOST_COMMON = 5
_MOST_DIGITS = 18
"""Whole numbers with more digits stay text; places and steps have fewer."""


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
    rows, num_unreadable = read_rows(text)
    if not rows:
        return Dump(None, num_unreadable, None, None, None, None)
    systems = _systems(rows)
    items = _item_ids(rows)
    golds = tuple(storable(row["gold_extracted"]) for row in rows)
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


def read_rows(text: str) -> tuple[list[dict[str, Any]], int]:
    """Return the readable rows of *text*, and the number of lines that are none.

    A row has a gold answer and, of each system that it names, an extracted answer or null.
    """
    rows, num_unreadable = [], 0
    for line in text.removeprefix("\ufeff").split("\n"):
        if not line.strip():
            continue
        row = json_object(line)
        if row is not None and _is_row(row):
            rows.append(row)
        else:
            num_unreadable += 1
    return rows, num_unreadable


def json_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that *text* is, with fractions and very long numbers as text, or None."""
    try:
        value = json.loads(text, parse_float=str, parse_int=_whole, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


def _is_row(row: Mapping[str, Any]) -> bool:
    answers = (value for key, value in row.items() if key.endswith(_EXTRACTED))
    return isinstance(row.get("gold_extracted"), str | int) and all(
        answer is None or isinstance(answer, str | int) for answer in answers
    )


def _systems(rows: list[dict[str, Any]]) -> list[str]:
    keys = [key for key in rows[0] if _SYSTEM_KEY.fullmatch(key) and key != "gold" + _EXTRACTED]
    return [key.removesuffix(_EXTRACTED) for key in keys if all(key in row for row in rows)]


def _item_ids(rows: list[dict[str, Any]]) -> tuple[str, ...]:
    """Return the items' own ids, or their places in the dump when the ids are missing or not unique."""
    for key in ("item", "index"):
        ids = tuple(storable(row.get(key)) for row in rows)
        if all(key in row for row in rows) and len(set(ids)) == len(ids):
            return ids
    return tuple(str(place) for place in range(len(rows)))


def _answer(extracted: object) -> str | None:
    if extracted is None or extracted in (INVALID_MARKER, ""):
        return None
    return storable(extracted)


def storable(value: object) -> str:
    """Return *value* as text that any file can hold: half of a surrogate pair is spelled out."""
    return str(value).encode(errors="backslashreplace").decode()


def _items_digest(items: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    digest = hashlib.sha256()
    for item, row in zip(items, rows, strict=True):
        line = json.dumps([item, row.get("question"), str(row["gold_extracted"])], ensure_ascii=False)
        digest.update(line.encode(errors="surrogatepass") + b"\n")
    return digest.hexdigest()


def _common_int(rows: list[dict[str, Any]], key: str) -> int | None:
    value = rows[0].get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return None
    return value if all(row.get(key) == value for row in rows) else None


def _common_text(rows: list[dict[str, Any]], key: str) -> str | None:
    value = rows[0].get(key)
    is_common = isinstance(value, str) and all(row.get(key) == value for row in rows)
    return storable(value) if is_common else None


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
