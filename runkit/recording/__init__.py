"""The four functions by which a program says what it measured, as plain lines that anybody can read.

They run inside somebody's training. So a call is refused only for its form (a metric without a name, a
negative step, answers of another length than the items), which the first call shows; whatever value a
program comes to after three days is written down as it is, and a disk that takes no line stops nothing.

Nothing but the standard library is imported here, and nothing else of runkit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from runkit.recording.lines import FILE_NAME, write_lines
from runkit.recording.values import as_number, as_parameter, as_text

TYPE_CHECKING = False  # typing takes longer to load than all the rest; checkers know this name
if TYPE_CHECKING:
    from typing import Any

    Column = Mapping[Any, Any] | Sequence[Any]
    """Something of each item: by item id, or in the order of the items."""

__all__ = ["FILE_NAME", "ITEMS_PER_LINE", "ITEM_COLUMNS", "items", "log", "params", "score"]

ITEMS_PER_LINE = 1_000
"""Item scores that one line holds at most."""

ITEM_COLUMNS = ("item", "value", "answer", "gold", "cluster", "outcome")
"""What a row of item scores holds, in this order; null where it was not given."""

_OUTCOMES = ("correct", "wrong", "invalid")


def params(mapping: Any = None, /, **values: Any) -> None:
    """Write down the configuration of this run; may be called again for what becomes known later.

    Args:
        mapping: Names to values, nested as they may be; or the result of ``argparse``.
        values: Further ones, by name.
    Raises:
        TypeError: *mapping* is neither.
    """
    given = {} if mapping is None else mapping
    if not isinstance(given, Mapping):
        if not hasattr(given, "__dict__") or isinstance(given, type):
            raise TypeError(f"params takes names and values, not {_kind(given)}; for example params(lr=0.1)")
        given = vars(given)
    write_lines([{"kind": "params", "values": as_parameter({**given, **values})}])


def log(*, step: int | None = None, split: str | None = None, **values: Any) -> None:
    """Write down numbers of one step of the run, such as a loss; together they become a course.

    Args:
        step: The training step, 0 or more. None: the next one, in the order of the calls.
        split: What they were measured on, such as ``train`` or ``dev``.
        values: By name; ``**{"eval/loss": 2.1}`` for names that are no Python names.
    Raises:
        ValueError: *step* is no whole number of 0 or more.
        TypeError: *split* is no text.
    """
    line = {
        "kind": "log",
        "step": _step(step),
        "split": _name("split", split),
        "values": {name: as_number(value, name) for name, value in values.items()},
    }
    write_lines([_without_nulls(line)])


def score(
    metric: str,
    value: Any,
    *,
    task: str | None = None,
    split: str | None = None,
    system: str | None = None,
    step: int | None = None,
    weights: str | None = None,
    higher_is_better: bool | None = None,
    unit: str | None = None,
    n: int | None = None,
    conditions: Mapping[str, Any] | None = None,
    primary: bool = False,
) -> None:
    """Write down one result.

    Args:
        metric: Its name, such as ``accuracy`` or ``bleu``.
        value: A number. One that is not finite is kept as missing, with the reason.
        task: What it was measured on: a benchmark, a data set.
        split: Of that, such as ``dev`` or ``test``.
        system: What was measured, where a run measures several things, such as ``model`` and ``baseline``.
        step: Training step of the weights. A score with a step and no *weights* is one of the run's course
            and not its result.
        weights: ``best`` or ``last`` for those of a saved checkpoint, ``live`` for those in training; any
            other text is kept as the rule that chose them.
        higher_is_better: Which way is better; None: as is usual for the metric, where that is known.
        unit: Of the value, such as ``fraction``, ``points``, ``seconds``.
        n: Items that the value is a mean of.
        conditions: What must be equal before two scores may be compared, such as the few-shot count.
        primary: Whether the run is judged by this one.
    Raises:
        TypeError: Something that is a name is no text, or something is no truth value.
        ValueError: *step* or *n* is no whole number of 0 or more.
    """
    line = {
        **_of_what("score", metric, task, split, system, step, weights, higher_is_better, unit, conditions),
        "value": as_number(value, metric),
        "n": _whole("n", n),
        "primary": _truth("primary", primary) or None,
    }
    write_lines([{**_without_nulls(line), "value": line["value"]}])


def items(
    metric: str,
    values: Mapping[Any, Any] | Iterable[tuple[Any, Any]],
    /,
    *,
    task: str | None = None,
    split: str | None = None,
    system: str | None = None,
    step: int | None = None,
    weights: str | None = None,
    higher_is_better: bool | None = None,
    unit: str | None = None,
    answers: Column | None = None,
    golds: Column | None = None,
    clusters: Column | None = None,
    outcomes: Column | None = None,
    conditions: Mapping[str, Any] | None = None,
) -> None:
    """Write down one value an item: what makes two runs comparable item by item.

    Several calls for the same thing are read together, so that every process may give its own share.

    Args:
        metric: As in :func:`score`, and so are the others that are not named here.
        values: Item ids to values, or pairs of both; True and False for right and wrong.
        answers: What the model answered, by item id or in the order of *values*.
        golds: What would have been right.
        clusters: What items belong together, such as the paragraph that several questions are about.
        outcomes: ``correct``, ``wrong`` or ``invalid`` (no answer could be read), where that is known.
    Raises:
        TypeError: *values* is neither, or as in :func:`score`.
        ValueError: A column has another length than *values*, or an outcome is none; or as in :func:`score`.
    """
    of_what = _of_what(
        "items", metric, task, split, system, step, weights, higher_is_better, unit, conditions
    )
    ids, numbers = _pairs(metric, values)
    columns: list[list[Any]] = [
        [as_text(one) for one in ids],
        [as_number(one, metric) for one in numbers],
        *(
            _column(name, given, ids)
            for name, given in (("answers", answers), ("golds", golds), ("clusters", clusters))
        ),
        _column("outcomes", outcomes, ids),
    ]
    for one in columns[-1]:
        if one is not None and one not in _OUTCOMES:
            raise ValueError(f"an outcome is correct, wrong, invalid or None, not {one!r}")
    rows = list(zip(*columns, strict=True))
    num_parts = max(1, -(-len(rows) // ITEMS_PER_LINE))
    call = os.urandom(6).hex()
    write_lines(
        {
            **_without_nulls(of_what),
            "call": call,
            "part": [number + 1, num_parts],
            "columns": ITEM_COLUMNS,
            "rows": rows[number * ITEMS_PER_LINE : (number + 1) * ITEMS_PER_LINE],
        }
        for number in range(num_parts)
    )


def _of_what(
    kind: str,
    metric: str,
    task: str | None,
    split: str | None,
    system: str | None,
    step: int | None,
    weights: str | None,
    higher_is_better: bool | None,
    unit: str | None,
    conditions: Mapping[str, Any] | None,
) -> dict[str, Any]:
    if _name("metric", metric) is None:
        raise TypeError(f"a metric has a name, as in {kind}('accuracy', ...)")
    if conditions is not None and not isinstance(conditions, Mapping):
        raise TypeError(f"conditions are names and values, not {_kind(conditions)}")
    return {
        "kind": kind,
        "metric": metric,
        "task": _name("task", task),
        "split": _name("split", split),
        "system": _name("system", system),
        "step": _step(step),
        "weights": _name("weights", weights),
        "higher_is_better": _truth("higher_is_better", higher_is_better),
        "unit": _name("unit", unit),
        "conditions": {as_text(name): as_text(value) for name, value in conditions.items()}
        if conditions
        else None,
    }


def _pairs(metric: str, values: Any) -> tuple[list[Any], list[Any]]:
    if isinstance(values, Mapping):
        return list(values), list(values.values())
    wanted = f"items({metric!r}, ...) takes item ids and their values, as a mapping or in pairs"
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{wanted}, not {_kind(values)}")
    ids: list[Any] = []
    numbers: list[Any] = []
    for pair in values:
        if isinstance(pair, str | bytes) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise TypeError(f"{wanted}, not {_kind(pair)} as pair {len(ids) + 1}; use enumerate() for places")
        ids.append(pair[0])
        numbers.append(pair[1])
    return ids, numbers


def _column(name: str, given: Any, ids: Sequence[Any]) -> list[str | None]:
    if given is None:
        return [None] * len(ids)
    if isinstance(given, Mapping):
        found = [given.get(one) for one in ids]
    elif isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise TypeError(f"{name} are one an item, as a mapping or in order, not {_kind(given)}")
    else:
        found = list(given)
    if len(found) != len(ids):
        raise ValueError(f"there are {len(found):,} {name} for {len(ids):,} items")
    return [None if one is None else as_text(one) for one in found]


def _name(what: str, given: Any) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str):
        raise TypeError(f"{what} is a name, not {_kind(given)}")
    if not given.strip():
        raise TypeError(f"{what} is a name, not an empty text")
    return given


def _truth(what: str, given: Any) -> bool | None:
    if given is not None and not isinstance(given, bool):
        raise TypeError(f"{what} is True or False, not {_kind(given)}")
    return given


def _step(given: Any) -> int | None:
    return _whole("step", given)


def _whole(what: str, given: Any) -> int | None:
    if given is None:
        return None
    number = as_number(given, what)
    if isinstance(number, bool | str) or number is None or number != int(number) or number < 0:
        raise ValueError(f"{what} is a whole number of 0 or more, not {as_text(given)[:40]}")
    return int(number)


def _without_nulls(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if value is not None}


def _kind(given: Any) -> str:
    name = type(given).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
