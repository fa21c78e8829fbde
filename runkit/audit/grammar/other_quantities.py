"""Amounts that are no scores: p-values, settings, intervals, shares of a gap, columns of changes."""

from __future__ import annotations

import re

from runkit.audit.amounts import Amount
from runkit.audit.grammar.sentence import DIFFERENCES, Sentence
from runkit.audit.words import MEASURES, OTHER_QUANTITIES, Mark, marks

_CLOSES = re.compile(
    r"\s+of (?:the |that |this )?(?:[\w-]+ ){0,3}"
    r"(?:gap|gain|improvement|difference|distance|loss|drop|decline|increase|rise|way|budget|steps|training|"
    r"time|cost|compute|parameters|variance)\b",
    re.IGNORECASE,
)


_BRACKET = re.compile(r"\[\s*[+-]?\d[\d.]*\s*%?\s*[,;]\s*[+-]?\d[\d.]*\s*%?\s*\]")


_OTHER_HEAD = re.compile(r"^\s*p\b|\bp[- ](?:value|holm|raw)\b", re.IGNORECASE)


_CHANGE_HEAD = re.compile(r"Δ|\bdelta\b|\bdiff(?:erence)?s?\b|\bchange\b|\bpoints\b|\bpp\b", re.IGNORECASE)


_QUOTED_ANSWER = re.compile(r"[”\"»]\s+(?:stands?\s+)?in\s*$")
"""What follows counts the outputs that give one answer."""


def is_other_quantity(sentence: Sentence, amount: Amount) -> bool:
    """Return whether the words beside *amount* make it something else than a score."""
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
            and not any(mark.meaning in DIFFERENCES for mark in marks(label, MEASURES))
        )
    ):
        return True
    if re.search(r"±\s*$", before) or _QUOTED_ANSWER.search(before):
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
