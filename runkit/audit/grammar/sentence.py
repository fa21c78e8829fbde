"""A sentence or cell with everything in it marked, and which mark is nearest to an amount."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from runkit.audit.amounts import Amount, amounts
from runkit.audit.document import Span
from runkit.audit.places import StepMention, segment_breaks, step_mentions, without, without_code
from runkit.audit.words import MEASURES, MOVES, OTHER_QUANTITIES, STATS, SYSTEMS, Mark, doubt_of, marks

DIFFERENCES = {
    "degradation",
    "gap_of_models",
    "gap_to_target",
    "above_target",
    "above_source",
    "below_source",
}


_MARKED_NUMBERS = re.compile(r"\b(?:bold(?:face)?|underlin\w+|highlight\w*|italics?|shaded)\b", re.IGNORECASE)


_ONLY_A_BOUND = re.compile(
    r"\b(?:before|until|prior to|preceding|up to|excluding|except|without|not|than|"
    r"instead of) (?:the |its )?$",
    re.IGNORECASE,
)
"""``before the final evaluation`` says what is not meant."""
_NOT_A_PEAK = re.compile(r"at best$", re.IGNORECASE)


class RunMention(NamedTuple):
    """A run named in the sentence; places are those of the sentence."""

    start: int
    end: int
    run_ids: tuple[str, ...]


@dataclass(frozen=True)
class Surroundings:
    """What stands around a sentence and lends it meaning, nearest first."""

    texts: tuple[str, ...] = ()
    is_cell: bool = False
    label: str = ""
    """For a cell: head and row label; its words count as if they stood in the cell."""
    is_percent: bool = False
    """For a cell: whether its column has numbers above 1, so that others may be per cent too."""


@dataclass(frozen=True)
class Sentence:
    """A sentence with everything in it marked."""

    text: str
    offset: int
    around: Surroundings
    breaks: tuple[int, ...]
    steps: tuple[StepMention, ...]
    systems: tuple[Mark, ...]
    stats: tuple[Mark, ...]
    measures: tuple[Mark, ...]
    others: tuple[Mark, ...]
    amounts: tuple[Amount, ...]
    runs: tuple[RunMention, ...]

    @property
    def quantities(self) -> tuple[Mark, ...]:
        """The measures in words; ``< target`` orders two numbers and is the quantity of none."""
        return tuple(mark for mark in self.measures if self.text[mark.start] not in "<>")

    def doubt_at(self, place: int) -> str:
        """Return why a claim at *place* is no plain statement, or an empty string."""
        return doubt_of(self.text, place)

    def segment(self, place: int) -> tuple[int, int]:
        """Return the borders of the segment that holds *place*."""
        return next((start, end) for start, end in pairwise(self.breaks) if start <= place < end)


def marked(text: str, offset: int, around: Surroundings, runs: tuple[RunMention, ...]) -> Sentence:
    """Return *text* with its steps, systems, statistics, measures, amounts and runs marked."""
    steps = step_mentions(text)
    bare = without(
        without_code(text) if not around.is_cell else text, ((one.start, one.end) for one in steps)
    )
    bare = without(bare, ((one.start, one.end) for one in runs))
    named = without(text, ((one.start, one.end) for one in runs))
    return Sentence(
        text=text,
        offset=offset,
        around=around,
        breaks=segment_breaks(text),
        steps=steps,
        systems=tuple(marks(named, SYSTEMS)),
        stats=tuple(
            mark
            for mark in marks(named, STATS)
            if not _NOT_A_PEAK.search(text[: mark.end]) and not _ONLY_A_BOUND.search(text[: mark.start])
        ),
        measures=tuple(marks(named, MEASURES)),
        others=tuple(Mark(match.start(), match.end(), "other") for match in OTHER_QUANTITIES.finditer(named)),
        amounts=tuple(amounts(bare)),
        runs=runs,
    )


def nearest(sentence: Sentence, found: Sequence[Mark], amount: Amount) -> tuple[Mark | None, bool]:
    """Return the mark that governs *amount*, and whether it stands in the same segment."""
    start, end = sentence.segment(amount.start)
    before = [
        mark for mark in found if start <= mark.start and mark.end <= amount.end and mark.start < amount.end
    ]
    after = [mark for mark in found if amount.end <= mark.start < end]
    earlier = [mark for mark in found if mark.end <= start and not is_closed(sentence, mark, start)]
    others = [one for one in sentence.amounts if one is not amount]
    near_before = [mark for mark in before if not any(mark.end <= one.start < amount.start for one in others)]
    near_after = [mark for mark in after if not any(amount.end <= one.start < mark.start for one in others)]
    if near_before:
        return near_before[-1], True
    if near_after:
        return near_after[0], True
    if before:
        return before[-1], True
    if earlier:
        return earlier[-1], False
    return None, False


def is_closed(sentence: Sentence, mark: Mark, place: int) -> bool:
    """Return whether *mark* stands in brackets that are closed before *place*; its word ends with them."""
    between = sentence.text[mark.end : place]
    return between.count(")") > between.count("(")


def lent_meaning(
    sentence: Sentence, table: tuple[tuple[str, re.Pattern[str]], ...]
) -> tuple[str | None, bool]:
    """Return the meaning that the surroundings lend, and whether it is as good as beside the number."""
    own = [mark.meaning for mark in marks(sentence.around.label, table)]
    if own:
        return own[0], True
    for text in sentence.around.texts:
        lent = [mark.meaning for mark in marks(text, table)]
        if table is STATS and (len(set(lent)) > 1 or _MARKED_NUMBERS.search(text)):
            continue  # a caption on several statistics, or on which numbers are bold, lends none
        if lent:
            return lent[-1], False
    return None, False


def is_of_a_curve(sentence: Sentence, amount: Amount) -> bool:
    """Return whether a verb of a curve stands in the segment of *amount*, before it."""
    start, _ = sentence.segment(amount.start)
    return amount.unit != "points" and MOVES.search(sentence.text, start, amount.start) is not None


def has_amounts(sentence: Sentence, place: int) -> bool:
    """Return whether the segment that holds *place* has an amount, which then owns its steps."""
    start, end = sentence.segment(place)
    return any(start <= one.start < end for one in sentence.amounts)


def stands_in_brackets_of(sentence: Sentence, amount: Amount) -> bool:
    """Return whether *amount* follows in brackets what it is of: ``the final score (64.5 %)``."""
    opened = re.search(r"\(\s*(?:i\.e\.,?\s*|or\s+|=\s*)?$", sentence.text[: amount.start])
    if opened is None:
        return False
    start, end = sentence.segment(max(0, opened.start() - 1))
    marked = (*sentence.measures, *sentence.systems, *sentence.stats)
    words = any(start <= mark.start < end for mark in marked)
    return words or any(0 <= opened.start() - one.end < 3 for one in sentence.amounts)


def span_of(sentence: Sentence, amount: Amount) -> Span:
    """Return the place of *amount* in the document."""
    start = amount.start
    while sentence.text[start].isspace():
        start += 1
    return Span(sentence.offset + start, sentence.offset + amount.end)


def stands_beside_its_words(sentence: Sentence, amount: Amount) -> bool:
    """Return whether a statistic or a step stands close to *amount*, with no other amount in between."""
    if sentence.around.is_cell:
        return any(marks(sentence.around.label, STATS)) or bool(step_mentions(sentence.around.label))
    start, end = sentence.segment(amount.start)
    places = [(mark.start, mark.end) for mark in sentence.stats]
    places += [(mention.start, mention.end) for mention in sentence.steps]
    for left, right in places:
        first, last = (right, amount.start) if right <= amount.start else (amount.end, left)
        is_clear = not any(first <= one.start < last for one in sentence.amounts if one is not amount)
        if start <= left < end and last - first <= 30 and is_clear:
            return True
    return stands_in_brackets_of(sentence, amount)
