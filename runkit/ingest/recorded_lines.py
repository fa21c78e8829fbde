"""The lines of ``measurements.jsonl``: what is read of one, and why it is none. Knows no other line."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from runkit.ingest.dumps import storable
from runkit.recording import ITEM_COLUMNS

KINDS = ("params", "log", "score", "items")
LONGEST_NAME = 500
NOT_FINITE = ("nan", "inf", "-inf")
_LONGEST_LINE_BYTES = 64 << 20
_LARGEST_WHOLE = 2**63


class Unfit(ValueError):
    """A line that is not what the four functions write."""


def text_in(line: Mapping[str, Any], name: str) -> str | None:
    """Return the name in *line*; None where there is none."""
    value = line.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_NAME:
        raise Unfit(f"with a {name} that is no name of at most {LONGEST_NAME} letters")
    return value


def whole_in(line: Mapping[str, Any], name: str) -> int | None:
    """Return the whole number in *line*; None where there is none."""
    value = line.get(name)
    if value is None:
        return None
    if type(value) is not int or not 0 <= value < _LARGEST_WHOLE:
        raise Unfit(f"with a {name} that is no whole number of 0 or more")
    return value


def opened(path: Path) -> BinaryIO:
    """Return the regular file at *path* for reading; nothing else is waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "it is no regular file", str(path))
    return os.fdopen(descriptor, "rb")


def lines_in(file: BinaryIO) -> Iterator[dict[str, Any] | None]:
    """Yield each line as an object: an empty one for an empty line, None for what is no object."""
    while line := file.readline(_LONGEST_LINE_BYTES):
        if len(line) == _LONGEST_LINE_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(_LONGEST_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            yield None
        else:
            yield _object(line) if line.strip() else {}


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        try:  # half of a surrogate pair, which JSON can spell and no file can hold
            value = _storable(json.loads(line, parse_constant=str))
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) and value else None


def _storable(value: Any) -> Any:
    if isinstance(value, dict):
        return {storable(key): _storable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_storable(one) for one in value]
    return storable(value) if isinstance(value, str) else value


def is_ours(line: dict[str, Any] | None) -> bool:
    """Return whether one of the four functions wrote *line*."""
    return line is not None and line.get("kind") in KINDS and "at" in line and "pid" in line


def columns_in(line: dict[str, Any]) -> tuple[tuple[Any, ...], ...]:
    """Return the columns of the rows in *line*, in the order of :data:`ITEM_COLUMNS`."""
    names, rows = line.get("columns"), line.get("rows")
    if (
        not isinstance(names, list)
        or not isinstance(rows, list)
        or not all(isinstance(n, str) for n in names)
    ):
        raise Unfit("items without columns and rows")
    try:
        given = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    except (TypeError, ValueError):
        raise Unfit("items with rows of another length") from None
    nulls = (None,) * len(rows)
    columns = [given.get(name, nulls) for name in ITEM_COLUMNS]
    texts = set(map(type, columns[0]))
    others = {kind for column in columns[2:] for kind in set(map(type, column))}
    if not texts <= {str} or not others <= {str, type(None)}:
        raise Unfit("items with something else than texts")
    if not set(map(type, columns[1])) <= {bool, int, float, str, type(None)}:
        raise Unfit("items with values that are no numbers")
    if not set(columns[5]) <= {"correct", "wrong", "invalid", None}:
        raise Unfit("items with an outcome that is none")
    return tuple(columns)


def finite(value: Any) -> float | None:
    """Return *value* as a number, None when it is none or not finite."""
    if not isinstance(value, bool | int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def same(one: Any, other: Any) -> bool:
    """Return whether two values are the same; a text is no number."""
    return bool(one == other) and isinstance(one, str) == isinstance(other, str)
