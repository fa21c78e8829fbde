"""Item scores of several calls for one thing, put together: all rows, or a reason why there are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runkit.ingest.recorded_lines import NOT_FINITE, finite, same
from runkit.records.measurement import MetricKind
from runkit.records.metrics import is_of_verdicts


@dataclass
class Call:
    """One call of ``items``, in parts."""

    line: int
    process: tuple[int, Any]
    """Rank, -1 for none, and process."""
    num_parts: int
    parts: dict[int, tuple[tuple[Any, ...], ...]] = field(default_factory=dict)


def joined(calls: Sequence[Call]) -> list[list[Any]]:
    """Return the columns of all calls, one after the other."""
    columns: list[list[Any]] = [[] for _ in range(6)]
    for call in calls:
        for number in range(1, call.num_parts + 1):
            for column, more in zip(columns, call.parts[number], strict=True):
                column.extend(more)
    return columns


def without_repetition(columns: list[list[Any]], calls: Sequence[Call]) -> list[list[Any]] | str:
    """Return *columns* with what several processes gave alike once; or which item is given in two ways.

    Processes that share items often get some twice, to be equal in number. One process that gives an item
    twice has two items of one name.
    """
    processes = [call.process for call in calls for part in call.parts.values() for _row in part[0]]
    lines = [call.line for call in calls for part in call.parts.values() for _row in part[0]]
    first: dict[str, int] = {}
    kept = []
    for place, item in enumerate(columns[0]):
        before = first.setdefault(item, place)
        if before == place:
            kept.append(place)
            continue
        is_same = all(same(column[before], column[place]) for column in columns)
        if processes[before] == processes[place] or not is_same:
            where = f"line {lines[place]}"
            if lines[before] != lines[place]:
                where = f"lines {lines[before]} and {lines[place]}"
            return f"item {item!r} is given twice in the calls at {where}".replace(
                "calls at line ", "call at line "
            )
    return [[column[place] for place in kept] for column in columns]


def by_item(columns: list[list[Any]]) -> list[list[Any]]:
    """Return the rows by item, short names first: the same however many processes shared the work."""
    ids = columns[0]
    order = sorted(range(len(ids)), key=ids.__getitem__)
    lengths = list(map(len, ids))
    order.sort(key=lengths.__getitem__)
    if order == list(range(len(ids))):
        return columns
    return [list(map(column.__getitem__, order)) for column in columns]


def values_of(raw: Sequence[Any]) -> tuple[tuple[float | None, ...], Mapping[str, str]]:
    """Return the values, and what stands for those that are no finite number to how often."""
    values = tuple(map(finite, raw))
    missing = Counter(
        "null" if one is None else str(one) if str(one) in NOT_FINITE else "no number"
        for one, value in zip(raw, values, strict=True)
        if value is None
    )
    return values, {name: str(count) for name, count in sorted(missing.items())}


def kind_of(metric: str, values: Sequence[float | None], outcomes: Sequence[Any] | None) -> MetricKind:
    """Return of what kind a metric with these values is."""
    known = {value for value in values if value is not None}
    if not known or not known <= {0.0, 1.0}:
        return "real"
    if outcomes is not None and "invalid" in outcomes:
        return "ternary"
    return "real" if outcomes is None and is_of_verdicts(metric) is False else "binary"


def contradiction(
    ids: Sequence[str], values: Sequence[float | None], outcomes: Sequence[Any] | None
) -> str | None:
    """Return which item has a value that its outcome speaks against; None: no one has."""
    if outcomes is None or not set(values) <= {0.0, 1.0, None}:
        return None
    for item, value, outcome in zip(ids, values, outcomes, strict=True):
        if value is not None and outcome is not None and (value == 1.0) != (outcome == "correct"):
            return f"item {item!r} is {outcome} and has the value {value:g}"
    return None


def or_none(column: Sequence[Any]) -> Any:
    """Return *column*, or None where nothing was given."""
    return tuple(column) if any(one is not None for one in column) else None
