"""Sentences and cells -> claims about scores: accuracies, invalid rates, peaks, differences, series.

An amount becomes a claim only when a word says what it is an amount of. Each attribute (system, quantity,
statistic, steps) is taken from the nearest word: in the same segment before the amount, then behind it, then
from earlier segments, then from what surrounds the sentence (head and row of a table, the list above).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from runkit.audit.amounts import Amount
from runkit.audit.claims import Found, Measure, PeakStep, Score, Where
from runkit.audit.document import Span
from runkit.audit.grammar.attributes import other_systems_score, systems_of, where_of
from runkit.audit.grammar.differences import difference, orders
from runkit.audit.grammar.doubts import DRIFT, GOAL, far_words, label_doubt, other_subject
from runkit.audit.grammar.other_quantities import is_other_quantity
from runkit.audit.grammar.sentence import (
    DIFFERENCES,
    RunMention,
    Sentence,
    Surroundings,
    is_of_a_curve,
    lent_meaning,
    marked,
    nearest,
    span_of,
    stands_beside_its_words,
)
from runkit.audit.grammar.series import amounts_of, peak_steps, series
from runkit.audit.words import MEASURES

_COUNTED = re.compile(r"\binvalids?\b|\bcorrect\b|\bsolved\b", re.IGNORECASE)
"""Heads of columns of counts; a number there may also be per cent."""
_GETS = re.compile(
    r"""
    ^[`\s)'\"*]*(?:(?:still|only|now|just|even)\s+)*
    (?:
          gets | got | scores | scored | achieves | achieved | reaches | reached
        | obtains | obtained | attains | is\ at | was\ at | sits\ at | lands\ at
        | landed\ at | comes\ in\ at | manages | managed
    )
    \s+(?:only\s+|just\s+|to\s+)*$
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What may stand between a run and its accuracy: ``run_x gets 64.5 %``."""


_NOT_A_LEVEL = re.compile(
    r"""
    \s*
    (?:
          more | less | higher | lower | better | worse | faster | slower | fewer | of
        | points? | speed | reduction | drop | increase | improvement | gain | invalid
        | valid | correct | above | below | over | loss | cheaper | smaller | larger
    )
    \b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def scores(
    text: str, offset: int, around: Surroundings, runs: Sequence[RunMention] = ()
) -> tuple[Found, ...]:
    """Return the claims about scores in *text*, a sentence or a cell that starts at *offset*."""
    sentence = marked(text, offset, around, tuple(runs))
    in_arrows = series(sentence)
    in_series = {id(amount) for found in in_arrows for amount in amounts_of(found)}
    found = list(in_arrows)
    for amount in sentence.amounts:
        if id(amount) not in in_series:
            found.extend(_about(sentence, amount))
    found.extend(orders(sentence))
    found.extend(peak_steps(sentence))
    return tuple(sorted(found, key=lambda one: one.span))


def _about(sentence: Sentence, amount: Amount) -> list[Found]:
    if is_other_quantity(sentence, amount):
        return []
    mark, measure_near = nearest(sentence, sentence.quantities, amount)
    measure = mark.meaning if mark else None
    if not measure_near and is_of_a_curve(sentence, amount) and measure in {None, *DIFFERENCES}:
        measure, measure_near = "accuracy", True
        if amount.unit == "bare" and amount.high > 1 and not sentence.around.is_cell:
            return []
    if measure is None or (not measure_near and sentence.around.label):
        lent, close = lent_meaning(sentence, MEASURES)
        measure, measure_near = (lent, close) if lent is not None else (measure, measure_near)
    start, end = sentence.segment(amount.start)
    if (
        amount.unit != "points"
        and not measure_near
        and measure in DIFFERENCES
        and any(start <= one.start < end for one in (*sentence.systems, *sentence.stats))
    ):
        measure, measure_near = "accuracy", True
    if (
        mark is not None
        and amount.unit == "percent"
        and measure in DIFFERENCES
        and any(mark.end <= one.start < one.end <= amount.start for one in sentence.stats)
    ):
        measure = "accuracy"  # stays below the target: its maximum is 29 %
    other = other_systems_score(sentence, amount, mark) if measure_near else None
    if other is not None:
        return _score(sentence, amount, "accuracy", True, systems=(other,))
    if amount.unit == "points" or measure in DIFFERENCES:
        if amount.unit == "count":
            return []
        found = difference(sentence, amount, measure, measure_near)
        if found is not None:
            return [found]
        if amount.unit == "points":
            return []
    return _score(sentence, amount, measure if measure not in DIFFERENCES else None, measure_near)


def _score(
    sentence: Sentence,
    amount: Amount,
    measure: str | None,
    measure_near: bool,
    *,
    systems: tuple[str, ...] = (),
) -> list[Found]:
    said, system_said = systems_of(sentence, amount)
    systems, system_said = (systems, True) if systems else (said, system_said)
    where = where_of(sentence, amount)
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
    if amount.comparator in {">", ">="} and GOAL.search(sentence.text[: amount.start]):
        doubt = doubt or "a target that is to be reached is no target model"
    if sentence.around.label and not doubt:
        doubt = label_doubt(sentence.around.label)
    if DRIFT.search(sentence.text[: amount.start]):
        doubt = doubt or "the number stands for comparison and may belong to another run"
    if not system_said and where.stat == "any" and what == "accuracy":
        doubt = doubt or "the text does not say of which system the number is"
    doubt = (
        doubt or far_words(sentence, amount, measure_near, where) or other_subject(sentence, amount, systems)
    )
    found = [
        Found(
            span=span_of(sentence, amount),
            quantity=_quantity(what, systems, where, amount),
            claimed=amount.text.strip(),
            statement=Score(
                what, systems, where, amount, other_reading, stands_beside_its_words(sentence, amount)
            ),
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
                else span_of(sentence, amount),
                quantity="peak.step",
                claimed=" & ".join(map(str, steps.at)),
                statement=PeakStep(steps.at),
                is_certain=not doubt and set(systems) & {"bridged"} != set(),
                doubt=doubt,
            )
        )
    return found


def _is_what_a_run_gets(sentence: Sentence, amount: Amount) -> bool:
    """Return whether *amount* is the object of ``gets`` and its like, and a run the subject."""
    if amount.unit != "percent" or _NOT_A_LEVEL.match(sentence.text, amount.end):
        return False
    before = [one for one in sentence.runs if one.end <= amount.start]
    return bool(before) and _GETS.search(sentence.text[before[-1].end : amount.start]) is not None


def _as_percent_too(sentence: Sentence, amount: Amount) -> Amount | None:
    """Return a bare number as per cent too, when others of its column are above 1."""
    is_open = sentence.around.is_cell and sentence.around.is_percent and amount.unit == "bare"
    return amount.in_percent() if is_open and amount.high <= 1 else None


def _as_fraction(sentence: Sentence, amount: Amount, measure: str | None) -> Amount | None:
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
        if sentence.around.is_cell and not decimals and _COUNTED.search(label):
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
