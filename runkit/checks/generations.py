"""What is wrong with generated texts, counted: forms of invalid answers, loops, echoes, leakage, collapse.

Reads texts and outcomes that were read before, and opens nothing. *Invalid* is decided by the answer that
the dump says was extracted; the forms only say what such a text looks like.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from runkit.records.generation import Generation
from runkit.records.manifest import Manifest, Outcome
from runkit.records.outcomes import EvaluationOutcomes, RunOutcomes

MARKER = "####"
"""Stands before the answer, in GSM8K and in the pocket task."""

InvalidForm = Literal["empty", "no marker", "not a number", "other"]
INVALID_FORMS: tuple[InvalidForm, ...] = ("empty", "no marker", "not a number", "other")

_OUTCOMES: tuple[Outcome, ...] = ("correct", "wrong", "invalid")
_NUMBER = re.compile(r"[-+]?[$]?(?:\d[\d,]*\.?\d*|\.\d+)")
_NEXT_QUESTION = re.compile(r"\n\s*(?:Q|Question): ?")
_TOKEN_LIMIT = frozenset({"length", "max_tokens", "max_new_tokens", "limit"})
"""How harnesses call an end at the token limit."""
_ECHO_CHARACTERS = 60
_LEAST_ECHO_CHARACTERS = 20
_LEAST_REPEATS = 3
_LEAST_LOOP_CHARACTERS = 40
_NUM_MOST_COMMON = 5


class AnswerShare(NamedTuple):
    """One extracted answer and how often it stands."""

    answer: str
    num_outputs: int
    share_fraction: float


class TextSigns(NamedTuple):
    """How many texts of one system in one evaluation show a sign; a text can show several."""

    invalid_forms: Mapping[InvalidForm, int]
    """Each invalid text is of one form; the sum is the number of invalid ones."""
    num_truncated: int | None
    """Ended at the token limit; None when the dump does not say why generation ended."""
    num_echoed: int
    """Hold the beginning of the asked question."""
    num_looped: int
    """End in a piece of text that is repeated, over at least half of the text."""
    num_leaked: int
    """Their first marker belongs to a following question, which is not the asked one."""
    num_restated: int
    """Their first marker comes after the asked question was written down once more."""
    num_echoed_in_vain: int
    """Of the echoed ones, those that are not correct; a bridge may restate the question and then solve it."""
    num_looped_in_vain: int
    """Of the looped ones, those that are not correct."""


class SystemGenerations(NamedTuple):
    """One system in one evaluation."""

    label: str
    system: str
    n: int
    correct: int
    wrong: int
    invalid: int
    most_common: tuple[AnswerShare, ...]
    distinct_answers: int
    is_collapsed: bool
    """One valid answer stands in at least half of the outputs."""
    signs: TextSigns | None
    """None when the texts are not at hand."""


class OutcomeChange(NamedTuple):
    """What one system did from one evaluation to the next, on the same items."""

    system: str
    before: str
    after: str
    counts: Mapping[tuple[Outcome, Outcome], int]
    """Outcome before and after, to the number of items; all nine pairs."""


class SteadyItems(NamedTuple):
    """Items that one system decides the same way at every trained evaluation on the same items."""

    system: str
    labels: tuple[str, ...]
    """The evaluations, at least two."""
    always_correct: tuple[str, ...]
    never_correct: tuple[str, ...]
    always_invalid: tuple[str, ...]


def system_generations(
    outcomes: EvaluationOutcomes, system: str, texts: Sequence[Generation] | None
) -> SystemGenerations:
    """Return the counts of *system* in one evaluation.

    Args:
        texts: What it wrote, item by item; None when the texts are not at hand.
    """
    kinds = Counter(outcomes.outcomes(system))
    answers = Counter(answer for answer in outcomes.answers[system] if answer is not None)
    n = len(outcomes.items)
    ordered = sorted(answers.items(), key=lambda pair: (-pair[1], pair[0]))
    return SystemGenerations(
        label=outcomes.label,
        system=system,
        n=n,
        correct=kinds["correct"],
        wrong=kinds["wrong"],
        invalid=kinds["invalid"],
        most_common=tuple(
            AnswerShare(answer, count, count / n) for answer, count in ordered[:_NUM_MOST_COMMON]
        ),
        distinct_answers=len(answers) + (kinds["invalid"] > 0),
        is_collapsed=bool(ordered) and 2 * ordered[0][1] >= n,
        signs=text_signs(texts) if texts is not None else None,
    )


def text_signs(texts: Sequence[Generation]) -> TextSigns:
    """Return how many of *texts* show which sign."""
    forms = Counter(invalid_form(one.text) for one in texts if one.answer is None)
    finishes = [one.finish for one in texts]
    late = [late_marker(one) for one in texts]
    echoed = [one for one in texts if is_echo(one)]
    looped = [one for one in texts if is_loop(one.text)]
    return TextSigns(
        invalid_forms={form: forms[form] for form in INVALID_FORMS},
        num_truncated=None if None in finishes else sum(finish in _TOKEN_LIMIT for finish in finishes),
        num_echoed=len(echoed),
        num_looped=len(looped),
        num_leaked=late.count("leaked"),
        num_restated=late.count("restated"),
        num_echoed_in_vain=sum(one.answer != one.gold for one in echoed),
        num_looped_in_vain=sum(one.answer != one.gold for one in looped),
    )


def invalid_form(text: str) -> InvalidForm:
    """Return what a text looks like that no answer was extracted from."""
    if not text.strip():
        return "empty"
    if MARKER not in text:
        return "no marker"
    after = text.partition(MARKER)[2]
    return "other" if _NUMBER.match(after.lstrip(" \t")) else "not a number"


def is_echo(generation: Generation) -> bool:
    """Return whether the text holds the first 60 characters of the asked question, or all of a shorter one.

    White space and case do not count. A question of under 20 characters says too little.
    """
    head = _plain(generation.question)[:_ECHO_CHARACTERS]
    return len(head) >= _LEAST_ECHO_CHARACTERS and head in _plain(generation.text)


def is_loop(text: str) -> bool:
    """Return whether *text* ends in a piece that is repeated, over at least half of it and 40 characters.

    The last repetition may be cut. Repeated means at least three times in a row, character by character.

    >>> is_loop("#### 1000\\n" * 8 + "#### 1")
    True
    >>> is_loop("1 + 1 = 2, 2 + 2 = 4, 4 + 4 = 8, 8 + 8 = 16, 16 + 16 = 32.")
    False
    """
    backwards = text.rstrip()[::-1]
    for period in range(1, len(backwards) // _LEAST_REPEATS + 1):
        if backwards[period : _LEAST_REPEATS * period] != backwards[: (_LEAST_REPEATS - 1) * period]:
            continue
        end = _LEAST_REPEATS * period
        while end < len(backwards) and backwards[end] == backwards[end - period]:
            end += 1
        if end >= max(_LEAST_LOOP_CHARACTERS, len(backwards) / 2):
            return True
    return False


def late_marker(generation: Generation) -> Literal["leaked", "restated"] | None:
    """Return whether the first marker stands behind another question, or behind the asked one once more."""
    marker = generation.text.find(MARKER)
    question = _NEXT_QUESTION.search(generation.text)
    if marker < 0 or question is None or question.start() > marker:
        return None
    last = [found for found in _NEXT_QUESTION.finditer(generation.text) if found.end() <= marker][-1]
    head = _plain(generation.question)[:_ECHO_CHARACTERS]
    written = _plain(generation.text[last.end() : marker])
    return "restated" if head and written.startswith(head) else "leaked"


def outcome_changes(manifest: Manifest, outcomes: RunOutcomes, system: str) -> tuple[OutcomeChange, ...]:
    """Return the changes of *system* from each evaluation to the next one on the same items."""
    changes = []
    for items_sha256 in _item_sets(manifest):
        labels = [label for label in _labels(manifest, items_sha256) if _has(outcomes, label, system)]
        for before, after in pairwise(labels):
            pairs = Counter(
                zip(outcomes[before].outcomes(system), outcomes[after].outcomes(system), strict=True)
            )
            counts = {(first, then): pairs[first, then] for first in _OUTCOMES for then in _OUTCOMES}
            changes.append(OutcomeChange(system, before, after, counts))
    return tuple(changes)


def steady_items(manifest: Manifest, outcomes: RunOutcomes, system: str) -> tuple[SteadyItems, ...]:
    """Return, for each set of items, those that *system* decides the same way at all trained evaluations."""
    found = []
    for items_sha256 in _item_sets(manifest):
        labels = [
            label
            for label in _labels(manifest, items_sha256)
            if label != "0" and _has(outcomes, label, system)
        ]
        if len(labels) < 2:
            continue
        by_item = list(zip(*(outcomes[label].outcomes(system) for label in labels), strict=True))
        items = outcomes[labels[0]].items
        found.append(
            SteadyItems(
                system=system,
                labels=tuple(labels),
                always_correct=_those(items, [set(row) == {"correct"} for row in by_item]),
                never_correct=_those(items, ["correct" not in row for row in by_item]),
                always_invalid=_those(items, [set(row) == {"invalid"} for row in by_item]),
            )
        )
    return tuple(found)


def _those(items: Sequence[str], chosen: Sequence[bool]) -> tuple[str, ...]:
    return tuple(item for item, is_chosen in zip(items, chosen, strict=True) if is_chosen)


def _item_sets(manifest: Manifest) -> list[str]:
    return list(
        dict.fromkeys(one.items_sha256 for one in manifest.sealed.evaluations if one.items_sha256 is not None)
    )


def _labels(manifest: Manifest, items_sha256: str) -> list[str]:
    return [one.label for one in manifest.sealed.evaluations if one.items_sha256 == items_sha256]


def _has(outcomes: RunOutcomes, label: str, system: str) -> bool:
    return label in outcomes and system in outcomes[label].answers


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
