"""A program's configuration as one flat mapping of scalars."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from runkit.records.record import Scalar

_LARGEST_INT = 2**63


def flattened(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return *values* with nested keys joined by dots; a list is its JSON, since its order is part of it."""
    return dict(_flat(values, ""))


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Scalar]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, _scalar(value)


def _scalar(value: Any) -> Scalar:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) < _LARGEST_INT else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    try:
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return str(value)
