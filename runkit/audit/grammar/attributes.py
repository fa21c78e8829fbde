"""Which system, statistic and steps an amount is of: from the nearest words of its sentence."""

from __future__ import annotations

import re

from runkit.audit.amounts import Amount
from runkit.audit.claims import Stat, Steps, Where
from runkit.audit.grammar.sentence import (
    DIFFERENCES,
    Sentence,
    has_amounts,
    is_closed,
    is_of_a_curve,
    lent_meaning,
    nearest,
    stands_in_brackets_of,
)
from runkit.audit.places import step_mentions
from runkit.audit.words import STATS, SYSTEMS, Mark

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
"""``68.0 (peak)``, ``64.5 final``, ``26 at the end``; not ``68.0 final 64.5``, leading the next one."""


def where_of(sentence: Sentence, amount: Amount) -> Where:
    """Return the statistic and the steps that *amount* is of."""
    steps = _steps_of(sentence, amount)
    mark, near = nearest(sentence, sentence.stats, amount)
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
        stat = stat if stands_in_brackets_of(sentence, amount) else None
    if stat in {"first", "lowest", "last_step"} and not near:
        stat = None
    if stat is None:
        stat, near = lent_meaning(sentence, STATS)
    if steps is not None and stat not in {"peak", "final"}:
        return Where(stat="any", steps=steps, is_stated=True)
    if steps is not None and mark is not None and not near:
        return Where(stat="any", steps=steps, is_stated=True)
    if stat == "peak" and steps is not None and (steps.low is not None or steps.is_throughout):
        return Where(stat="peak", steps=steps, is_stated=near)
    known: Stat = stat if stat in {"peak", "final", "first", "last_step", "lowest"} else "any"  # type: ignore[assignment]
    return Where(stat=known, steps=steps if stat == "peak" else None, is_stated=near and known != "any")


def _steps_of(sentence: Sentence, amount: Amount) -> Steps | None:
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
        and not has_amounts(sentence, one.start)
    ]
    if leading:
        return leading[-1].steps
    lent = step_mentions(sentence.around.label)
    if lent and sentence.around.is_cell:
        return lent[0].steps
    return None


def _means_alone(sentence: Sentence, mark: Mark, amount: Amount) -> bool:
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


def systems_of(sentence: Sentence, amount: Amount) -> tuple[tuple[str, ...], bool]:
    """Return the systems that *amount* can be of, and whether the text says so."""
    start, end = sentence.segment(amount.start)
    inside = [mark for mark in sentence.systems if start <= mark.start < end]
    mine = [one for one in sentence.amounts if start <= one.start < end]
    plain = [mark for mark in inside if not mark.meaning.startswith("model:")]
    if len(plain) > 1 and len(mine) == len(plain) and all(mark.end <= mine[0].start for mark in plain):
        return (plain[mine.index(amount)].meaning,), True
    named = [one for one in inside if one.meaning.startswith("model:")]
    mark, near = nearest(sentence, plain or named, amount)
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
    lent, close = lent_meaning(sentence, SYSTEMS)
    if lent is not None and close:
        return (lent,), True
    if sentence.systems:
        earlier = [
            one for one in sentence.systems if one.end <= start and not is_closed(sentence, one, start)
        ]
        if not stands_in_brackets_of(sentence, amount):
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
    if is_of_a_curve(sentence, amount):
        return ("bridged",), True  # the two models are frozen: only the bridge has a curve
    return ("bridged", "source", "target"), False


def other_systems_score(sentence: Sentence, amount: Amount, mark: Mark | None) -> str | None:
    """Return the system in ``below the target alone with 0.515``, where the amount is not the difference."""
    if mark is None or mark.meaning not in DIFFERENCES - {"degradation"} or amount.unit == "points":
        return None
    between = sentence.text[mark.end : amount.start]
    if mark.end > amount.start or not re.fullmatch(r"(?:[ -]alone)?\s*(?:with|at|of|=|:|,|\()?\s*", between):
        return None
    if re.match(r"gap|deficit|lift|gain", sentence.text[mark.start : mark.end], re.IGNORECASE):
        return None
    return "source" if mark.meaning.endswith("source") else "target"
