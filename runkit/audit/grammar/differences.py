"""Sentences and cells -> claims that two accuracies differ, by an amount or in their order."""

from __future__ import annotations

import re
from dataclasses import replace

from runkit.audit.amounts import Amount
from runkit.audit.claims import Difference, Found, Order, Where
from runkit.audit.document import Span
from runkit.audit.grammar.attributes import where_of
from runkit.audit.grammar.sentence import DIFFERENCES, RunMention, Sentence, span_of
from runkit.audit.words import Mark

_LOWER = re.compile(
    r"""
    (?:
          below | under | behind | worse\ than | lower\ than | less\ than
        | underperform(?:s|ed|ing)?
        | lag(?:s|ged)?(?:\ behind)?
        | trail(?:s|ed)?
    )
    \s+(?:the\ |by\ |run\ )*[\"`(]*$
    """,
    re.IGNORECASE | re.VERBOSE,
)


_HIGHER = re.compile(
    r"""
    (?:
          above | over | better\ than | higher\ than | beat(?:s|ing)?
        | outperform(?:s|ed|ing)? | ahead\ of | exceed(?:s|ed)? | more\ than
    )
    \s+(?:the\ |by\ |run\ )*[\"`(]*$
    """,
    re.IGNORECASE | re.VERBOSE,
)


_COMPARED = re.compile(
    r"\b(?:compared (?:with|to)|relative to|against|than)\s+(?:the |run )*[\"`(]*$", re.IGNORECASE
)


def difference(sentence: Sentence, amount: Amount, measure: str | None, near: bool) -> Found | None:
    """Return the claim that *amount* is the difference *measure*, or None."""
    if amount.unit == "bare":
        if "." not in amount.text and not sentence.around.is_cell:
            return None
        if amount.high > 1:
            if not sentence.around.is_cell:
                return None
            amount = amount.in_percent()
    if amount.unit == "count":
        return None
    where = where_of(sentence, amount)
    named = [one.steps for one in sentence.steps if one.steps.at and one.start < amount.start]
    if named and where.stat == "any" and where.steps is None:
        where = replace(where, steps=named[-1])  # the difference may be meant at the step just named
    doubt = sentence.doubt_at(amount.start)
    other = _other_run(sentence, amount)
    start, end = sentence.segment(amount.start)
    marks_here = [
        mark for mark in sentence.quantities if start <= mark.start < end and mark.meaning in DIFFERENCES
    ]
    if marks_here and measure not in DIFFERENCES:
        measure = min(marks_here, key=lambda mark: abs(mark.start - amount.end)).meaning
    elliptic = None
    if not marks_here and any(
        mark.meaning in DIFFERENCES and mark.end <= start for mark in sentence.measures
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
        led = next(mark.meaning for mark in reversed(sentence.measures) if mark.meaning in DIFFERENCES)
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
    return Found(span_of(sentence, amount), quantity, amount.text.strip(), claim, not doubt, doubt)


def _other_run(sentence: Sentence, amount: Amount) -> tuple[RunMention, int] | None:
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


_DENIED = re.compile(
    r"\b(?:not|never|no|fail(?:s|ed)? to|doesn't|didn't|without)\s+(?:\w+\s+){0,2}$", re.IGNORECASE
)


_SELF_DENYING = re.compile(r"\b(?:fails?|failed) to\b", re.IGNORECASE)


def orders(sentence: Sentence) -> list[Found]:
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


def _where_order(sentence: Sentence, mark: Mark) -> Where:
    start, end = sentence.segment(mark.start)
    near = [one.meaning for one in sentence.stats if start <= one.start < end]
    return Where(stat="peak", is_stated=True) if near == ["peak"] else Where()
