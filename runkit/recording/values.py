"""Whatever a program holds, as what a line of JSON can: numbers, texts, and mappings and lists of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress

from runkit.recording.warning import warn_once

TYPE_CHECKING = False  # typing takes longer to load than all the rest; checkers know this name
if TYPE_CHECKING:
    from typing import Any

Number = bool | int | float | str | None
"""A text stands for what is no finite number: ``nan``, ``inf``, ``-inf``, or what else the program gave."""

_LARGEST_INT = 2**63
_MOST_LETTERS = 200
"""Of what is no number but was given as one."""
_DEEPEST = 40


def as_number(value: Any, what: str) -> Number:
    """Return *value* as a number, or as the text that stands for it; None stays None.

    Scalars of numpy, torch, jax and their like are known by their ``item``.
    """
    if value is None or isinstance(value, bool):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else _not_finite(value)
    if type(value) is int and abs(value) < _LARGEST_INT:
        return value
    plain = _plain(value)
    if isinstance(plain, bool):
        return plain
    if isinstance(plain, int) and abs(plain) < _LARGEST_INT:
        return int(plain)
    try:
        number = float(plain) if not isinstance(plain, str | bytes) else None
    except Exception:  # noqa: BLE001 - what a foreign type raises here is its own affair
        number = None
    if number is None:
        warn_once(f"number {what}", f"{what} is no number but {type(value).__name__}; it is kept as text")
        return _foreign_text(value, str)[:_MOST_LETTERS]
    return number if math.isfinite(number) else _not_finite(number)


def as_text(value: Any) -> str:
    """Return *value* as text: what names an item, an answer."""
    if isinstance(value, str):
        return str(value)
    return _foreign_text(_plain(value), str)


def as_parameter(value: Any, depth: int = 0) -> Any:
    """Return a value of a configuration as JSON can hold it, nested as it is."""
    if value is None or isinstance(value, bool | str):
        return value if value is None or isinstance(value, bool) else str(value)
    plain = _plain(value)
    if isinstance(plain, bool):
        return plain
    if isinstance(plain, int):
        return int(plain) if abs(plain) < _LARGEST_INT else _foreign_text(plain, hex)
    if isinstance(plain, float):
        return float(plain) if math.isfinite(plain) else _not_finite(plain)
    if depth < _DEEPEST:
        with suppress(Exception):  # a mapping of a foreign kind may raise what it likes
            if isinstance(plain, Mapping):
                return {as_text(key): as_parameter(one, depth + 1) for key, one in plain.items()}
            if isinstance(plain, Set):
                return sorted((as_parameter(one, depth + 1) for one in plain), key=str)
            if isinstance(plain, Sequence) and not isinstance(plain, bytes | bytearray):
                return [as_parameter(one, depth + 1) for one in plain]
    return _foreign_text(plain, str)


def _plain(value: Any) -> Any:
    """Return the Python number in a scalar of another package, else *value*."""
    item = getattr(value, "item", None)
    if item is None or isinstance(value, Mapping | str) or not callable(item):
        return value
    with suppress(Exception):  # an array of several numbers, a tensor without one
        return item()
    return value


def _not_finite(number: float) -> str:
    return "nan" if math.isnan(number) else "inf" if number > 0 else "-inf"


def _foreign_text(value: Any, spell: Callable[[Any], str]) -> str:
    try:
        return str(spell(value))
    except Exception:  # noqa: BLE001 - a text of a foreign type is no reason to end a training
        return f"<{type(value).__name__}>"
