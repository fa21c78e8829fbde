"""The tasks by name; a task's problems live in its own module."""

from __future__ import annotations

from runkit.engine.tasks.base import INVALID, Item, Outcome, Split, Task, Wording, outcome
from runkit.engine.tasks.gsm8k import GSM8K
from runkit.engine.tasks.pricelist import PriceList
from runkit.errors import UnknownName

__all__ = [
    "INVALID",
    "Item",
    "Outcome",
    "Split",
    "Task",
    "Wording",
    "load_task",
    "outcome",
    "task_names",
]

_NAMES = (GSM8K.name, PriceList.name)


def task_names() -> tuple[str, ...]:
    """Return the names that :func:`load_task` accepts."""
    return tuple(sorted(_NAMES))


def load_task(
    name: str,
    *,
    dataset: str = "openai/gsm8k",
    train_file: str = "",
    test_file: str = "",
    few_shot: int = 8,
) -> Task:
    """Return the task called *name*; the other arguments are for tasks that read data.

    Raises:
        UnknownName: There is no such task; names the nearest one.
    """
    if name not in _NAMES:
        raise UnknownName.among("task", name, _NAMES)
    if name == GSM8K.name:
        return GSM8K(dataset=dataset, train_file=train_file, test_file=test_file, few_shot=few_shot)
    return PriceList()
