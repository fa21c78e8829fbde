"""What a task has to offer to the engine; the problems themselves live in the task's own module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

Split = Literal["train", "dev", "test"]
Outcome = Literal["correct", "wrong", "invalid"]

INVALID = "[invalid]"
"""What an extraction says when the text holds no answer at all."""


class Item(NamedTuple):
    """One problem with its gold answer."""

    id: str
    """Stable name such as ``test-17``: split and index."""
    question: str
    answer: str
    """The worked reference answer, ending in the line that extraction reads."""
    gold: str
    """What a correct generation extracts to; compared as a string."""


class Wording(NamedTuple):
    """What stands around a question, the same for all items and all systems."""

    prefix: str
    """Before everything else, worked examples for instance; static, so that it is read once and shared."""
    opening: str
    """Directly before the question."""


class Task(Protocol):
    """Problems that are a pure function of (seed, split, index)."""

    @property
    def name(self) -> str:
        """The name in ``task.name``."""
        ...

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings at which a generation ends; the text before the first of them is scored."""
        ...

    def wording(self, *, seed: int) -> Wording:
        """Return what stands around every question."""
        ...

    def item(self, *, seed: int, split: Split, index: int) -> Item:
        """Return problem *index* of *split*; the same arguments always give the same problem."""
        ...

    def extract(self, text: str) -> str:
        """Return the answer that *text* states, or :data:`INVALID` when it states none."""
        ...

    def extract_flexibly(self, text: str) -> str | None:
        """Return a second, more lenient reading that is recorded and decides nothing; None: there is none."""
        ...


def before_stop(text: str, stops: Sequence[str]) -> str:
    """Return *text* up to the first of *stops*: what follows answers a question that nobody asked."""
    return text[: min((at for at in map(text.find, stops) if at >= 0), default=len(text))]


def outcome(extracted: str, gold: str) -> Outcome:
    """Return the three-way verdict on one generation; strings are compared, never numbers."""
    if extracted == INVALID:
        return "invalid"
    return "correct" if extracted == gold else "wrong"
