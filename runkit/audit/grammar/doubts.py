"""Why the words around an amount leave open what it is of; a doubtful claim is never contradicted."""

from __future__ import annotations

import re

from runkit.audit.amounts import Amount
from runkit.audit.claims import Where
from runkit.audit.grammar.sentence import Sentence, is_of_a_curve, stands_in_brackets_of

DRIFT = re.compile(
    r"\b(?:up from|down from|compared (?:to|with)|vs\.?|versus|instead of|rather than|not)\s*~?\s*$",
    re.IGNORECASE,
)


_JOINTLY = re.compile(
    r"\b(?:they|together|both|either|oracle|ensemble|union|combined|jointly)\b", re.IGNORECASE
)


_SHARE_OF = re.compile(
    r"""
    \s+of\ (?:the\ |all\ |its\ )*(?:\w+\ )?
    (?:items|questions|outputs|samples|time|steps|tokens|cases|rows|problems)
    \b
    """,
    re.IGNORECASE | re.VERBOSE,
)


_LISTED = re.compile(r"\d\s*(?:,|;|/|→|->)\s*(?:and\s+)?$")


GOAL = re.compile(r"\btarget\b\s*(?:of|is|was|:|=)?\s*$", re.IGNORECASE)


def label_doubt(label: str) -> str:
    """Return a doubt for the cells of a row or column of means, goals or changes."""
    if re.search(r"\b(?:mean|average|avg|median|std|stdev|total|sum)\b", label, re.IGNORECASE):
        return "the row or column is of means or sums"
    if re.search(r"\b(?:goal|planned|expected|hoped|required|criterion|wanted)\b", label, re.IGNORECASE):
        return "the row or column is of what was to be"
    return ""


def other_subject(sentence: Sentence, amount: Amount, systems: tuple[str, ...]) -> str:
    """Return a doubt when the segment has a subject of its own, and its system comes from an earlier one."""
    start, end = sentence.segment(amount.start)
    own = sentence.text[start : amount.start]
    if _JOINTLY.search(own):
        return "the sentence speaks of several systems together"
    is_inherited = not any(start <= one.start < end for one in sentence.systems)
    has_predicate = any(start <= one.start < amount.start for one in sentence.quantities) or is_of_a_curve(
        sentence, amount
    )
    if is_inherited and has_predicate and not sentence.around.is_cell and not set(systems) & {"bridged"}:
        return "the system is named in another part of the sentence"
    return ""


def far_words(sentence: Sentence, amount: Amount, measure_near: bool, where: Where) -> str:
    """Return why the words around do not say for sure what *amount* is of, or an empty string."""
    if sentence.around.label:
        return ""
    if stands_in_brackets_of(sentence, amount):
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
