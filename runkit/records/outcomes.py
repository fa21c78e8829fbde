"""Per-sample outcomes of a run's evaluations: who answered what on which item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from runkit.records.manifest import Outcome
from runkit.records.record import canonical_digest

INVALID_MARKER = "[invalid]"
"""What dumps write when no answer could be extracted."""


def outcome_of(answer: str | None, gold: str) -> Outcome:
    """Return the outcome of *answer*, compared with *gold* as text; None means that nothing was extracted."""
    if answer is None:
        return "invalid"
    return "correct" if answer == gold else "wrong"


@dataclass(frozen=True)
class EvaluationOutcomes:
    """The outcomes of one evaluation, items in the order of the dump."""

    label: str
    """The step as text, or ``final``; the label of the manifest's evaluation."""
    items: tuple[str, ...]
    golds: tuple[str, ...]
    answers: Mapping[str, tuple[str | None, ...]]
    """System to its extracted answers, one an item; None where nothing could be extracted."""

    def outcomes(self, system: str) -> tuple[Outcome, ...]:
        """Return the outcome of *system* on each item."""
        return tuple(
            outcome_of(answer, gold) for answer, gold in zip(self.answers[system], self.golds, strict=True)
        )

    def correct(self, system: str) -> tuple[bool, ...]:
        """Return for each item whether *system* was correct."""
        return tuple(outcome == "correct" for outcome in self.outcomes(system))


RunOutcomes = Mapping[str, EvaluationOutcomes]
"""Label of the evaluation to its outcomes."""


def outcome_digests(outcomes: RunOutcomes) -> dict[str, dict[str, str]]:
    """Return digests by evaluation: of each system's answers, and of items and gold answers under ``""``.

    An evaluation without an answer has none, as in the file of outcomes.
    """
    return {
        label: {"": canonical_digest([found.items, found.golds])}
        | {system: canonical_digest(answers) for system, answers in found.answers.items()}
        for label, found in outcomes.items()
        if found.items and found.answers
    }
