"""The tasks by name; a task's problems live in its own module."""

from __future__ import annotations

from runkit.engine.tasks.base import INVALID, Item, Outcome, Split, Task, outcome
from runkit.engine.tasks.pricelist import PriceList
from runkit.errors import UnknownName

__all__ = ["INVALID", "Item", "Outcome", "Split", "Task", "load_task", "outcome", "task_names"]

_TASKS: dict[str, Task] = {PriceList.name: PriceList()}


def task_names() -> tuple[str, ...]:
    """Return the names that :func:`load_task` accepts."""
    return tuple(sorted(_TASKS))


def load_task(name: str) -> Task:
    """Return the task called *name*.

    Raises:
        UnknownName: There is no such task; names the nearest one.
    """
    if name not in _TASKS:
        raise UnknownName.among("task", name, _TASKS)
    return _TASKS[name]
