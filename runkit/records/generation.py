"""One generated text as a dump holds it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Generation:
    """What one system wrote on one item."""

    question: str
    """The question that was asked, without worked examples; empty when the dump does not hold it."""
    text: str
    gold: str
    answer: str | None
    """The extracted answer; None where nothing could be extracted."""
    finish: str | None
    """Why generation ended, as the dump says; None when it does not."""
