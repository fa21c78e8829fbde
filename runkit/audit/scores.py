"""Sentences and cells -> claims about scores: accuracies, invalid rates, peaks, differences, series.

An amount becomes a claim only when a word says what it is an amount of. Each attribute (system, quantity,
statistic, steps) is taken from the nearest word: in the same segment before the amount, then behind it, then
from earlier segments, then from what surrounds the sentence (head and row of a table, the list above).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from runkit.audit.amounts import Amount, amounts
from runkit.audit.claims import Difference, Found, Measure, Order, PeakStep, Score, Series, Stat, Steps, Where
from runkit.audit.document import Span
from runkit.audit.places import StepMention, segment_breaks, step_mentions, without, without_code
from runkit.audit.words import MEASURES, MOVES, OTHER_QUANTITIES, STATS, SYSTEMS, Mark, doubt_of, marks

_DIFFERENCES = {
    "degradation",
    "gap_of_models",
    "gap_to_target",
    "above_target",
    "above_source",
    "below_source",
}
_LOWER = re.compile(
    (
        r"(?:below|under|behind|worse than|lower than|less than|underperform(?:s|"
        r"ed|ing)?|lag(?:s|ged)?(?: behind)?|trail(?:s|ed)?)\s+(?:the |by "
        r"|run )*[\"`(]*$"
    ),
    re.IGNORECASE,
)
_HIGHER = re.compile(
    (
        r"(?:above|over|better than|higher than|beat(?:s|ing)?|outperform(?:s|"
        r"ed|ing)?|ahead of|exceed(?:s|ed)?|more than)\s+(?:the |by |run "
        r")*[\"`(]*$"
    ),
    re.IGNORECASE,
)
_DRIFT = re.compile(
    r"\b(?:up from|down from|compared (?:to|with)|vs\.?|versus|instead of|rather than|not)\s*~?\s*$",
    re.IGNORECASE,
)
_COMPARED = re.compile(
    r"\b(?:compared (?:with|to)|relative to|against|than)\s+(?:the |run )*[\"`(]*$", re.IGNORECASE
)
_JOINTLY = re.compile(
    r"\b(?:they|together|both|either|oracle|ensemble|union|combined|jointly)\b", re.IGNORECASE
)
_CLOSES = re.compile(r"\s+of (?:the |that |this )?(?:[\w-]+ ){0,3}gap\b", re.IGNORECASE)
_BRACKET = re.compile(r"\[\s*[+-]?\d[\d.]*\s*%?\s*[,;]\s*[+-]?\d[\d.]*\s*%?\s*\]")
_OTHER_HEAD = re.compile(r"^\s*p\b|\bp[- ](?:value|holm|raw)\b", re.IGNORECASE)
_CHANGE_HEAD = re.compile(r"Δ|\bdelta\b|\bdiff(?:erence)?s?\b|\bchange\b|\bpoints\b|\bpp\b", re.IGNORECASE)
_SHARE_OF = re.compile(
    (
        r"\s+of (?:the |all |its )*(?:\w+ )?(?:items|questions|outputs|samples|"
        r"time|steps|tokens|cases|rows|problems)\b"
    ),
    re.IGNORECASE,
)
_STAT_BEHIND = re.compile(
    r"""
    (?: \s* (?P<opens> \( ) \s* (?: the\s | at\s (?:the\s|its\s)? )?
      | \s+ (?: (?:at|in) \s (?:the\s|its\s)? )? )
    (?: (?P<peak> peak | best \b (?!\s+(?:case|effort)) )
      | (?P<final> final(?:ly)? | end )
      | (?P<last_step> last \s step ) )
    \b (?! \s* [:=(]? \s* [~\d.] )
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""``68.0 (peak)``, ``64.5 final``, ``26 at the end``; not ``68.0 final 64.5``, where it leads the next number."""
_GETS = re.compile(
    r"^[`\s)'\"*]*(?:(?:still|only|now|just|even)\s+)*"
    r"(?:gets|got|scores|scored|achieves|achieved|reaches|reached|obtains|obtained|attains|is at|was at|"
    r"sits at|lands at|landed at|comes in at|manages|managed)\s+(?:only\s+|just\s+|to\s+)*$",
    re.IGNORECASE,
)
"""What may stand between a run and its accuracy: ``run_x gets 64.5 %``."""
_NOT_A_LEVEL = re.compile(
    r"\s*(?:more|less|higher|lower|better|worse|faster|slower|fewer|of|points?|speed|reduction|drop|increase|"
    r"improvement|gain|invalid|valid|correct|above|below|over|loss|cheaper|smaller|larger)\b",
    re.IGNORECASE,
)
_MARKED_NUMBERS = re.compile(r"\b(?:bold(?:face)?|underlin\w+|highlight\w*|italics?|shaded)\b", re.IGNORECASE)
_LISTED = re.compile(r"\d\s*(?:,|;|/|→|->)\s*(?:and\s+)?$")
_GOAL = re.compile(r"\btarget\b\s*(?:of|is|was|:|=)?\s*$", re.IGNORECASE)
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
class _Sentence:
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


def scores(
    text: str, offset: int, around: Surroundings, runs: Sequence[RunMention] = ()
) -> tuple[Found, ...]:
    """Return the claims about scores in *text*, a sentence or a cell that starts at *offset*."""
    sentence = _marked(text, offset, around, tuple(runs))
    series = _series(sentence)
    in_series = {id(amount) for found in series for amount in _amounts_of(found)}
    found = list(series)
    for amount in sentence.amounts:
        if id(amount) not in in_series:
            found.extend(_about(sentence, amount))
    found.extend(_orders(sentence))
    found.extend(_peak_steps(sentence))
    return tuple(sorted(found, key=lambda one: one.span))


def _marked(text: str, offset: int, around: Surroundings, runs: tuple[RunMention, ...]) -> _Sentence:
    steps = step_mentions(text)
    bare = without(
        without_code(text) if not around.is_cell else text, ((one.start, one.end) for one in steps)
    )
    bare = without(bare, ((one.start, one.end) for one in runs))
    named = without(text, ((one.start, one.end) for one in runs))
    return _Sentence(
        text=text,
        offset=offset,
        around=around,
        breaks=segment_breaks(text),
        steps=steps,
        systems=tuple(marks(named, SYSTEMS)),
        stats=tuple(mark for mark in marks(named, STATS) if not _NOT_A_PEAK.search(text[: mark.end])),
        measures=tuple(marks(named, MEASURES)),
        others=tuple(Mark(match.start(), match.end(), "other") for match in OTHER_QUANTITIES.finditer(named)),
        amounts=tuple(amounts(bare)),
        runs=runs,
    )


def _peak_steps(sentence: _Sentence) -> list[Found]:
    """Return the claim of a cell under *peak step*."""
    alone = re.fullmatch(r"\s*(\d[\d,]*)(?:\s*(?:,|&|and)\s*(\d[\d,]*))?\s*", sentence.text)
    label = sentence.around.label
    if not sentence.around.is_cell or alone is None:
        return []
    if not re.search(r"\b(?:peak|best)\b.*\bstep\b|\bstep of (?:the )?(?:peak|best)\b", label, re.IGNORECASE):
        return []
    steps = tuple(int(one.replace(",", "")) for one in alone.groups() if one)
    span = Span(sentence.offset + alone.start(1), sentence.offset + alone.end(alone.lastindex or 1))
    return [Found(span, "peak.step", " & ".join(map(str, steps)), PeakStep(steps))]


def _nearest(sentence: _Sentence, found: Sequence[Mark], amount: Amount) -> tuple[Mark | None, bool]:
    """Return the mark that governs *amount*, and whether it stands in the same segment."""
    start, end = sentence.segment(amount.start)
    before = [
        mark for mark in found if start <= mark.start and mark.end <= amount.end and mark.start < amount.end
    ]
    after = [mark for mark in found if amount.end <= mark.start < end]
    earlier = [mark for mark in found if mark.end <= start and not _is_closed(sentence, mark, start)]
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


def _is_closed(sentence: _Sentence, mark: Mark, place: int) -> bool:
    """Return whether *mark* stands in brackets that are closed before *place*; its word ends with them."""
    between = sentence.text[mark.end : place]
    return between.count(")") > between.count("(")


def _around(sentence: _Sentence, table: tuple[tuple[str, re.Pattern[str]], ...]) -> tuple[str | None, bool]:
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


def _about(sentence: _Sentence, amount: Amount) -> list[Found]:
    if _is_other_quantity(sentence, amount):
        return []
    mark, measure_near = _nearest(sentence, sentence.quantities, amount)
    measure = mark.meaning if mark else None
    if not measure_near and _moves(sentence, amount) and measure in {None, *_DIFFERENCES}:
        measure, measure_near = "accuracy", True
        if amount.unit == "bare" and amount.high > 1 and not sentence.around.is_cell:
            return []
    if measure is None or (not measure_near and sentence.around.label):
        lent, close = _around(sentence, MEASURES)
        measure, measure_near = (lent, close) if lent is not None else (measure, measure_near)
    start, end = sentence.segment(amount.start)
    if (
        amount.unit != "points"
        and not measure_near
        and measure in _DIFFERENCES
        and any(start <= one.start < end for one in (*sentence.systems, *sentence.stats))
    ):
        measure, measure_near = "accuracy", True
    if (
        mark is not None
        and amount.unit == "percent"
        and measure in _DIFFERENCES
        and any(mark.end <= one.start < one.end <= amount.start for one in sentence.stats)
    ):
        measure = "accuracy"  # stays below the target: its maximum is 29 %
    other = _other_systems_score(sentence, amount, mark) if measure_near else None
    if other is not None:
        return _score(sentence, amount, "accuracy", True, systems=(other,))
    if amount.unit == "points" or measure in _DIFFERENCES:
        if amount.unit == "count":
            return []
        found = _difference(sentence, amount, measure, measure_near)
        if found is not None:
            return [found]
        if amount.unit == "points":
            return []
    return _score(sentence, amount, measure if measure not in _DIFFERENCES else None, measure_near)


def _moves(sentence: _Sentence, amount: Amount) -> bool:
    """Return whether a verb of a curve stands in the segment of *amount*, before it."""
    start, _ = sentence.segment(amount.start)
    return amount.unit != "points" and MOVES.search(sentence.text, start, amount.start) is not None


def _is_other_quantity(sentence: _Sentence, amount: Amount) -> bool:
    before = sentence.text[: amount.start]
    if any(match.start() <= amount.start < match.end() for match in _BRACKET.finditer(sentence.text)):
        return True
    if amount.unit == "percent" and _CLOSES.match(sentence.text[amount.end :]):
        return True
    label = sentence.around.label
    if label and (
        _OTHER_HEAD.search(label)
        or (
            _CHANGE_HEAD.search(label)
            and not any(mark.meaning in _DIFFERENCES for mark in marks(label, MEASURES))
        )
    ):
        return True
    if re.search(r"±\s*$", before):
        return True
    if re.search(r"=\s*$", before) and not re.search(
        r"\b(?:acc\w*|bridged|source|target|peak|final|score|invalid)\b[^=,;]{0,20}=\s*$",
        before,
        re.IGNORECASE,
    ):
        return True
    if re.search(r"(?:CI|interval)[^.;]*\[[^\]]*$", before):
        return True
    start, end = sentence.segment(amount.start)
    words = (*sentence.measures, *sentence.systems, *sentence.stats)
    near = [
        mark
        for mark in sentence.others
        if start <= mark.start < end or mark.end >= amount.start - 3 >= mark.start
    ]
    if not near and amount.unit == "bare" and not sentence.around.is_cell:
        before_it = [mark.end for mark in sentence.others if mark.end <= amount.start]
        ours = [mark.end for mark in words if mark.end <= amount.start]
        if before_it and max(before_it) > max(ours, default=-1):
            return True
    if not near:
        return bool(
            sentence.around.label
            and OTHER_QUANTITIES.search(sentence.around.label)
            and not any(marks(sentence.around.label, MEASURES))
        )

    def distance(mark: Mark) -> int:
        return amount.start - mark.end if mark.end <= amount.start else 2 * (mark.start - amount.end) + 4

    own = [distance(mark) for mark in words if start <= mark.start < end]
    return min(map(distance, near)) < min(own, default=10_000)


def _where(sentence: _Sentence, amount: Amount) -> Where:
    steps = _steps_of(sentence, amount)
    mark, near = _nearest(sentence, sentence.stats, amount)
    stat = mark.meaning if mark else None
    behind = _STAT_BEHIND.match(sentence.text, amount.end)
    led = any(
        one.end <= amount.start and not re.search(r"\d", sentence.text[one.end : amount.start])
        for one in sentence.stats
    )
    if behind is not None and (behind["opens"] or not led):
        told = next(name for name in ("peak", "final", "last_step") if behind[name])
        return Where(told, None, is_stated=True)  # type: ignore[arg-type]
    if mark is not None and any(mark.end <= one.start < amount.start for one in sentence.amounts):
        # A statistic with a number of its own says nothing of the next ones, brackets excepted.
        stat = stat if _stands_in_brackets_of(sentence, amount) else None
    if stat in {"first", "lowest", "last_step"} and not near:
        stat = None
    if stat is None:
        stat, near = _around(sentence, STATS)
    if steps is not None and stat not in {"peak", "final"}:
        return Where(stat="any", steps=steps, is_stated=True)
    if steps is not None and mark is not None and not near:
        return Where(stat="any", steps=steps, is_stated=True)
    if stat == "peak" and steps is not None and (steps.low is not None or steps.is_throughout):
        return Where(stat="peak", steps=steps, is_stated=near)
    known: Stat = stat if stat in {"peak", "final", "first", "last_step", "lowest"} else "any"  # type: ignore[assignment]
    return Where(stat=known, steps=steps if stat == "peak" else None, is_stated=near and known != "any")


def _steps_of(sentence: _Sentence, amount: Amount) -> Steps | None:
    start, _ = sentence.segment(amount.start)
    _, end = sentence.segment(amount.end - 1)
    others = [one for one in sentence.amounts if one is not amount]

    def clear(left: int, right: int) -> bool:
        return not any(left <= one.start < right for one in others)

    after = [one for one in sentence.steps if amount.end <= one.start < end and clear(amount.end, one.start)]
    before = [
        one for one in sentence.steps if start <= one.start < amount.start and clear(one.end, amount.start)
    ]
    if after and (not before or after[0].start - amount.end < 25):
        return after[0].steps
    if before:
        return before[-1].steps
    behind = [one for one in sentence.steps if one.start >= end and clear(amount.end, one.start)]
    if behind and re.fullmatch(
        r"[\s,]*\(\s*(?:at |@ ?|reached at |from |by )?", sentence.text[amount.end : behind[0].start]
    ):
        return behind[0].steps
    leading = [
        one
        for one in sentence.steps
        if one.end <= start
        and clear(one.end, amount.start)
        and not re.search(r"[\d%]\s*\(\s*(?:at |@ ?|on )?$", sentence.text[: one.start])
        and not _has_amounts(sentence, one.start)
    ]
    if leading:
        return leading[-1].steps
    lent = step_mentions(sentence.around.label)
    if lent and sentence.around.is_cell:
        return lent[0].steps
    return None


def _means_alone(sentence: _Sentence, mark: Mark, amount: Amount) -> bool:
    """Return whether a model's name means the model alone, and not the bridge into it."""
    if re.match(
        r"\W*(?:alone|by itself|on its own|solo|baseline|gets alone)\b",
        sentence.text[mark.end :],
        re.IGNORECASE,
    ):
        return True
    between = (
        sentence.text[mark.end : amount.start]
        if mark.end <= amount.start
        else sentence.text[amount.end : mark.start]
    )
    return (
        re.fullmatch(
            (
                r"[\s:(=~`*]*(?:[\d.]+B?[ -])?(?:(?:instruct|chat)\s*)?[\s:(=~]*(?:at|"
                r"scores?|gets?|has|of|for|from|reaches)?\s*[\s:(=~]*"
            ),
            between,
            re.IGNORECASE,
        )
        is not None
    )


def _has_amounts(sentence: _Sentence, place: int) -> bool:
    """Return whether the segment that holds *place* has an amount, which then owns its steps."""
    start, end = sentence.segment(place)
    return any(start <= one.start < end for one in sentence.amounts)


def _systems_of(sentence: _Sentence, amount: Amount) -> tuple[tuple[str, ...], bool]:
    """Return the systems that *amount* can be of, and whether the text says so."""
    start, end = sentence.segment(amount.start)
    inside = [mark for mark in sentence.systems if start <= mark.start < end]
    mine = [one for one in sentence.amounts if start <= one.start < end]
    plain = [mark for mark in inside if not mark.meaning.startswith("model:")]
    if len(plain) > 1 and len(mine) == len(plain) and all(mark.end <= mine[0].start for mark in plain):
        return (plain[mine.index(amount)].meaning,), True
    named = [one for one in inside if one.meaning.startswith("model:")]
    mark, near = _nearest(sentence, plain or named, amount)
    if mark is not None and near and not plain and not _means_alone(sentence, mark, amount):
        return (mark.meaning, "bridged"), False
    if mark is not None and near:
        rivals = {one.meaning for one in plain if one.meaning != mark.meaning}
        between = [
            one for one in sentence.amounts if one is not amount and mark.start <= one.start < amount.start
        ]
        if rivals and (between or len(mine) > 1 or len(plain) > 2):
            return tuple(sorted({mark.meaning, *rivals})), True
        if rivals:
            return tuple(sorted({mark.meaning, *rivals})), True
        return (mark.meaning,), True
    lent, close = _around(sentence, SYSTEMS)
    if lent is not None and close:
        return (lent,), True
    if sentence.systems:
        earlier = [
            one for one in sentence.systems if one.end <= start and not _is_closed(sentence, one, start)
        ]
        if not _stands_in_brackets_of(sentence, amount):
            earlier = [one for one in earlier if not one.meaning.startswith("model:")]
        if earlier:
            last = earlier[-1]
            before = sentence.segment(last.start)
            beside = [one for one in earlier if before[0] <= one.start < before[1]]
            rivals = {one.meaning for one in beside if not one.meaning.startswith("model:")}
            rivals = rivals or {one.meaning for one in beside}
            return tuple(sorted(rivals)), True
    if lent is not None:
        return (lent,), True
    if _moves(sentence, amount):
        return ("bridged",), True  # the two models are frozen: only the bridge has a curve
    return ("bridged", "source", "target"), False


def _other_systems_score(sentence: _Sentence, amount: Amount, mark: Mark | None) -> str | None:
    """Return the system in ``below the target alone with 0.515``, where the amount is not the difference."""
    if mark is None or mark.meaning not in _DIFFERENCES - {"degradation"} or amount.unit == "points":
        return None
    between = sentence.text[mark.end : amount.start]
    if mark.end > amount.start or not re.fullmatch(r"(?:[ -]alone)?\s*(?:with|at|of|=|:|,|\()?\s*", between):
        return None
    if re.match(r"gap|deficit|lift|gain", sentence.text[mark.start : mark.end], re.IGNORECASE):
        return None
    return "source" if mark.meaning.endswith("source") else "target"


def _score(
    sentence: _Sentence,
    amount: Amount,
    measure: str | None,
    measure_near: bool,
    *,
    systems: tuple[str, ...] = (),
) -> list[Found]:
    said, system_said = _systems_of(sentence, amount)
    systems, system_said = (systems, True) if systems else (said, system_said)
    where = _where(sentence, amount)
    if measure is None and not system_said and _is_what_a_run_gets(sentence, amount):
        measure, measure_near, systems, system_said = "accuracy", True, ("bridged",), True
    if measure is None and not system_said and where.stat == "any":
        if where.steps is None or not where.steps.at or sentence.around.is_cell:
            return []
        systems = ("bridged",)  # only the bridge has a value of its own at each step
    read = _as_fraction(sentence, amount, measure)
    if read is None or (read.unit == "bare" and not 0 <= read.low <= 1):
        return []
    amount = read
    if amount.unit == "points" or (amount.sign and amount.unit != "count"):
        return []
    what: Measure = "invalid" if measure == "invalid" else "valid" if measure == "valid" else "accuracy"
    if not system_said and (what != "accuracy" or where.stat in {"peak", "final", "last_step"}):
        systems = ("bridged",)
    denied = re.search(r"\bnever\b[^,;]{0,25}$", sentence.text[: amount.start + 1], re.IGNORECASE)
    if (denied and amount.comparator in {">", ">="}) or (
        where.stat == "peak"
        and re.search(r"\bnever\b", sentence.text[: amount.start], re.IGNORECASE)
        and amount.comparator == "="
    ):
        amount = replace(amount, comparator="<=")
    elif denied and amount.comparator in {"<", "<="}:
        amount = replace(amount, comparator=">=", slack=Fraction(0))
    other_reading = _as_percent_too(sentence, amount)
    if amount.unit == "count" and amount.n is None and sentence.around.is_cell:
        other_reading = replace(amount.in_percent(), slack=Fraction(1, 200))
    steps = where.steps
    if where.stat == "peak" and steps is not None and steps.at and not steps.is_after:
        amount = replace(amount, comparator="=" if amount.comparator == "<=" else amount.comparator)
    doubt = sentence.doubt_at(amount.start)
    if amount.comparator in {">", ">="} and _GOAL.search(sentence.text[: amount.start]):
        doubt = doubt or "a target that is to be reached is no target model"
    if sentence.around.label and not doubt:
        doubt = _label_doubt(sentence.around.label)
    if _DRIFT.search(sentence.text[: amount.start]):
        doubt = doubt or "the number stands for comparison and may belong to another run"
    if not system_said and where.stat == "any" and what == "accuracy":
        doubt = doubt or "the text does not say of which system the number is"
    doubt = doubt or _far(sentence, amount, measure_near, where) or _other_subject(sentence, amount, systems)
    found = [
        Found(
            span=_span(sentence, amount),
            quantity=_quantity(what, systems, where, amount),
            claimed=amount.text.strip(),
            statement=Score(what, systems, where, amount, other_reading),
            is_certain=not doubt,
            doubt=doubt,
        )
    ]
    if where.stat == "peak" and steps is not None and steps.at and what == "accuracy":
        place = next((one for one in sentence.steps if one.steps is steps), None)
        found.append(
            Found(
                span=Span(sentence.offset + place.start, sentence.offset + place.end)
                if place
                else _span(sentence, amount),
                quantity="peak.step",
                claimed=" & ".join(map(str, steps.at)),
                statement=PeakStep(steps.at),
                is_certain=not doubt and set(systems) & {"bridged"} != set(),
                doubt=doubt,
            )
        )
    return found


def _is_what_a_run_gets(sentence: _Sentence, amount: Amount) -> bool:
    """Return whether *amount* is the object of ``gets`` and its like, and a run the subject."""
    if amount.unit != "percent" or _NOT_A_LEVEL.match(sentence.text, amount.end):
        return False
    before = [one for one in sentence.runs if one.end <= amount.start]
    return bool(before) and _GETS.search(sentence.text[before[-1].end : amount.start]) is not None


def _label_doubt(label: str) -> str:
    """Return a doubt for the cells of a row or column of means, goals or changes."""
    if re.search(r"\b(?:mean|average|avg|median|std|stdev|total|sum)\b", label, re.IGNORECASE):
        return "the row or column is of means or sums"
    if re.search(r"\b(?:goal|planned|expected|hoped|required|criterion|wanted)\b", label, re.IGNORECASE):
        return "the row or column is of what was to be"
    return ""


def _other_subject(sentence: _Sentence, amount: Amount, systems: tuple[str, ...]) -> str:
    """Return a doubt when the segment has a subject of its own, and its system comes from an earlier one."""
    start, end = sentence.segment(amount.start)
    own = sentence.text[start : amount.start]
    if _JOINTLY.search(own):
        return "the sentence speaks of several systems together"
    is_inherited = not any(start <= one.start < end for one in sentence.systems)
    has_predicate = any(start <= one.start < amount.start for one in sentence.quantities) or _moves(
        sentence, amount
    )
    if is_inherited and has_predicate and not sentence.around.is_cell and not set(systems) & {"bridged"}:
        return "the system is named in another part of the sentence"
    return ""


def _far(sentence: _Sentence, amount: Amount, measure_near: bool, where: Where) -> str:
    """Return why the words around do not say for sure what *amount* is of, or an empty string."""
    if sentence.around.label:
        return ""
    if _stands_in_brackets_of(sentence, amount):
        return ""
    start, end = sentence.segment(amount.start)
    system_near = any(start <= one.start < end for one in sentence.systems)
    if amount.unit == "count":
        if amount.n is None:
            return "a count without its n"
        if _LISTED.search(sentence.text[: amount.start]):
            return "the count is the last one of a list"
        before = sentence.text[: amount.start]
        beside = re.search(
            (
                r"\b(?:bridged|bridge|source|target|alone|accuracy|acc|final|"
                r"peak|latent)\b[\s:=(]*(?:\w+\s*[:=]\s*)?$"
            ),
            before,
            re.IGNORECASE,
        )
        after_score = re.search(r"[\d%]\s*[(=,;]\s*$", before)
        if not measure_near and not beside and not after_score:
            return "the text does not say what is counted"
        return ""
    if _SHARE_OF.match(sentence.text[amount.end :]) and not measure_near:
        return "the text does not say what the share is of"
    if not (measure_near or system_near or where.is_stated):
        return "the words that say what the number is of stand far from it"
    return ""


def _stands_in_brackets_of(sentence: _Sentence, amount: Amount) -> bool:
    """Return whether *amount* follows in brackets what it is of: ``the final score (64.5 %)``."""
    opened = re.search(r"\(\s*(?:i\.e\.,?\s*|or\s+|=\s*)?$", sentence.text[: amount.start])
    if opened is None:
        return False
    start, end = sentence.segment(max(0, opened.start() - 1))
    marked = (*sentence.measures, *sentence.systems, *sentence.stats)
    words = any(start <= mark.start < end for mark in marked)
    return words or any(0 <= opened.start() - one.end < 3 for one in sentence.amounts)


def _as_percent_too(sentence: _Sentence, amount: Amount) -> Amount | None:
    """Return a bare number as per cent too, when others of its column are above 1."""
    is_open = sentence.around.is_cell and sentence.around.is_percent and amount.unit == "bare"
    return amount.in_percent() if is_open and amount.high <= 1 else None


def _as_fraction(sentence: _Sentence, amount: Amount, measure: str | None) -> Amount | None:
    """Return *amount* as a score, or None when a bare number is written in a form that no score has."""
    if amount.unit != "bare":
        return amount
    is_percent = "%" in sentence.around.label or (sentence.around.is_percent and amount.high > 1)
    if sentence.around.is_cell and is_percent and amount.high <= 100:
        return amount.in_percent()
    decimals = len(amount.text.rpartition(".")[2]) if "." in amount.text else 0
    label = sentence.around.label
    if amount.high > 1:
        if (
            sentence.around.is_cell
            and amount.high <= 100
            and ("%" in label or "per cent" in label or decimals)
        ):
            return amount.in_percent()
        if sentence.around.is_cell and not decimals and re.search(r"\binvalids?\b", label, re.IGNORECASE):
            return replace(amount, unit="count")
        following = sentence.text[amount.end : amount.end + 30]
        if measure in {"invalid", "valid"} and re.match(
            r"\s+(?:invalid|valid|outputs|samples|generations)", following
        ):
            return replace(amount, unit="count") if not decimals else None
        if decimals and amount.high <= 100 and measure == "accuracy":
            return amount.in_percent()
        return None
    if decimals == 0:
        return (
            amount
            if sentence.around.is_cell and (measure or "%" in label) and amount.text.strip() in {"0", "1"}
            else None
        )
    return amount


def _difference(sentence: _Sentence, amount: Amount, measure: str | None, near: bool) -> Found | None:
    if amount.unit == "bare":
        if "." not in amount.text and not sentence.around.is_cell:
            return None
        if amount.high > 1:
            if not sentence.around.is_cell:
                return None
            amount = amount.in_percent()
    if amount.unit == "count":
        return None
    where = _where(sentence, amount)
    doubt = sentence.doubt_at(amount.start)
    other = _other_run(sentence, amount)
    start, end = sentence.segment(amount.start)
    marks_here = [
        mark for mark in sentence.quantities if start <= mark.start < end and mark.meaning in _DIFFERENCES
    ]
    if marks_here and measure not in _DIFFERENCES:
        measure = min(marks_here, key=lambda mark: abs(mark.start - amount.end)).meaning
    elliptic = None
    if not marks_here and any(
        mark.meaning in _DIFFERENCES and mark.end <= start for mark in sentence.measures
    ):
        elliptic = re.match(
            r"\s*(?:the |its )?(source|target)(?:[- ]alone)?(?: model)? by\s*$",
            sentence.text[start : amount.start],
            re.IGNORECASE,
        )
    if elliptic is not None:
        measure = None
    if measure != "gap_of_models" and re.match(r"\s+gap\b", sentence.text[amount.end :]):
        measure, doubt = "gap_to_target", ""
    if other is not None and not marks_here:
        mention, direction = other
        if sentence.steps and sentence.steps[-1].steps.at and where.stat == "any":
            where = replace(where, steps=sentence.steps[-1].steps)
        claim = Difference("between_runs", amount, direction, where, mention.run_ids)
        quantity = f"final.difference_to.{'|'.join(mention.run_ids)}"
    elif measure == "degradation":
        claim, quantity = Difference("degradation", amount, 0, where), "degradation.peak_minus_final"
    elif measure == "gap_of_models":
        claim, quantity = Difference("between_models", amount, 0, where), "gap.target_minus_source"
    elif measure == "gap_to_target":
        claim, quantity = Difference("gap", amount, -1, where), "gap.target_minus_final_bridged"
    elif measure == "above_target":
        claim, quantity = Difference("gap", amount, 1, where), "gap.target_minus_final_bridged"
    elif measure == "above_source":
        claim, quantity = Difference("gain", amount, 1, where), "gain.final_bridged_minus_source"
    elif measure == "below_source":
        claim, quantity = Difference("gain", amount, -1, where), "gain.final_bridged_minus_source"
    elif elliptic is not None:
        kind = "gap" if elliptic.group(1).lower() == "target" else "gain"
        led = next(mark.meaning for mark in reversed(sentence.measures) if mark.meaning in _DIFFERENCES)
        direction = 1 if led.startswith("above") else -1
        claim, near = Difference(kind, amount, direction, where), True  # type: ignore[arg-type]
        quantity = "gap.target_minus_final_bridged" if kind == "gap" else "gain.final_bridged_minus_source"
    else:
        return None
    if (
        not near
        and not marks_here
        and not sentence.around.label
        and other is None
        and measure != "gap_to_target"
    ):
        doubt = doubt or "the words that say what the difference is of stand far from the number"
    return Found(_span(sentence, amount), quantity, amount.text.strip(), claim, not doubt, doubt)


def _other_run(sentence: _Sentence, amount: Amount) -> tuple[RunMention, int] | None:
    start, end = sentence.segment(amount.start)
    near = sorted(
        sentence.runs, key=lambda one: min(abs(one.start - amount.end), abs(amount.start - one.end))
    )
    for mention in near:
        if not start <= mention.start < end:
            continue
        before = sentence.text[start : mention.start]
        between = sentence.text[amount.end : mention.start] if amount.end <= mention.start else before
        if _LOWER.search(before) or _LOWER.search(between):
            return mention, -1
        if _HIGHER.search(before) or _HIGHER.search(between):
            return mention, 1
    compared = re.match(
        r"\s*(?:(lower|worse|less|below|behind)|higher|better|more|above)\b", sentence.text[amount.end :]
    )
    for mention in near if compared is not None else ():
        if _COMPARED.search(sentence.text[: mention.start]):
            return mention, -1 if compared is not None and compared.group(1) else 1
    return None


def _series(sentence: _Sentence) -> list[Found]:
    """Return runs of three or more amounts that arrows join."""
    found, chain = [], list[Amount]()
    for amount in (*sentence.amounts, None):
        if amount is not None and (
            not chain
            or re.fullmatch(r"[\s%]*(?:→|->|>)\s*(?:~\s*)?", sentence.text[chain[-1].end : amount.start])
        ):
            chain.append(amount)
            continue
        if len(chain) >= 3 and all(one.unit in {"bare", "percent"} and one.high <= 1 for one in chain):
            systems, said = _systems_of(sentence, chain[0])
            doubt = sentence.doubt_at(chain[0].start) or (
                "" if said else "the text does not say of which system the numbers are"
            )
            found.append(
                Found(
                    Span(sentence.offset + chain[0].start, sentence.offset + chain[-1].end),
                    "series.bridged_accuracy",
                    " → ".join(one.text.strip() for one in chain),
                    Series(systems, tuple(chain)),
                    not doubt,
                    doubt,
                )
            )
        chain = [amount] if amount is not None else []
    return found


def _amounts_of(found: Found) -> tuple[Amount, ...]:
    return found.statement.amounts if isinstance(found.statement, Series) else ()


_DENIED = re.compile(
    r"\b(?:not|never|no|fail(?:s|ed)? to|doesn't|didn't|without)\s+(?:\w+\s+){0,2}$", re.IGNORECASE
)
_SELF_DENYING = re.compile(r"\b(?:fails?|failed) to\b", re.IGNORECASE)


def _orders(sentence: _Sentence) -> list[Found]:
    """Return comparisons without a number of their own: beats the source, still below target."""
    found = []
    for mark in sentence.measures:
        if mark.meaning not in {"gap_to_target", "above_target", "above_source", "below_source"}:
            continue
        words = sentence.text[mark.start : mark.end]
        start, end = sentence.segment(mark.start)
        if re.match(r"gap|deficit|lift|gain|improvement", words, re.IGNORECASE) or any(
            start <= one.start < end for one in sentence.amounts
        ):
            continue
        other = "source" if mark.meaning.endswith("source") else "target"
        relation = "above" if mark.meaning.startswith("above") else "below"
        denied = bool(_DENIED.search(sentence.text[: mark.start]))
        where = _where_order(sentence, mark)
        quantity = f"final.bridged_{relation}_{other}"
        doubt = sentence.doubt_at(mark.start)
        statement = Order(relation, other, where, is_denied=denied)  # type: ignore[arg-type]
        found.append(
            Found(
                Span(sentence.offset + mark.start, sentence.offset + mark.end),
                quantity,
                words,
                statement,
                not doubt,
                doubt,
            )
        )
    for mention in sentence.runs:
        start, end = sentence.segment(mention.start)
        before = sentence.text[start : mention.start]
        if any(start <= one.start < end for one in sentence.amounts):
            continue
        close = re.search(r"\b(?:close|comparable|similar|equal) to (?:the )?$", before, re.IGNORECASE)
        found_relation = (
            "close"
            if close
            else "below"
            if _LOWER.search(before)
            else "above"
            if _HIGHER.search(before)
            else None
        )
        if found_relation is None:
            continue
        span = Span(
            sentence.offset + start + len(before) - len(before.lstrip()), sentence.offset + mention.end
        )
        statement = Order(found_relation, "run", Where(), mention.run_ids)  # type: ignore[arg-type]
        found.append(
            Found(
                span,
                "final.order_of_runs",
                sentence.text[start : mention.end].strip(),
                statement,
                not sentence.doubt_at(mention.start),
                sentence.doubt_at(mention.start),
            )
        )
    return found


def _where_order(sentence: _Sentence, mark: Mark) -> Where:
    start, end = sentence.segment(mark.start)
    near = [one.meaning for one in sentence.stats if start <= one.start < end]
    return Where(stat="peak", is_stated=True) if near == ["peak"] else Where()


def _quantity(measure: Measure, systems: tuple[str, ...], where: Where, amount: Amount) -> str:
    system = systems[0] if len(systems) == 1 else "bridged" if "bridged" in systems else "|".join(systems)
    steps = where.steps
    if measure == "accuracy":
        if system in {"source", "target"} and not (steps and steps.at):
            return f"{system}_accuracy"
        if amount.is_range:
            return f"series.{system}_accuracy.range"
        if where.stat in {"peak", "final", "first", "last_step", "lowest"}:
            return f"{where.stat}.{system}_accuracy"
        return f"step.{steps.at[0]}.{system}_accuracy" if steps and steps.at else f"{system}_accuracy"
    word = "invalid" if measure == "invalid" else "valid"
    if steps is not None and steps.at and not amount.is_range:
        return f"step.{steps.at[0]}.{system}_{word}"
    if amount.is_range or steps is not None:
        tail = f".after_{steps.low}" if steps is not None and steps.low is not None else ""
        return f"series.{system}_{word}_pct{tail}"
    return f"{where.stat}.{system}_{word}" if where.stat != "any" else f"{system}_{word}"


def _span(sentence: _Sentence, amount: Amount) -> Span:
    start = amount.start
    while sentence.text[start].isspace():
        start += 1
    return Span(sentence.offset + start, sentence.offset + amount.end)
