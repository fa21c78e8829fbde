"""A match of a pattern -> a claim with its place; and small numbers in words."""

from __future__ import annotations

import re

from runkit.audit.claims import Found, Statement
from runkit.audit.document import Span

SMALL_NUMBERS = {
    "one": 1,
    "single": 1,
    "a single": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "six": 6,
    "eight": 8,
    "sixteen": 16,
    "dual": 2,
}


def found_at(
    match: re.Match[str], quantity: str, statement: Statement, *, doubt: str = "", claimed: str = ""
) -> Found:
    """Return the claim *statement* at the place of *match*, without the blanks around it."""
    words = " ".join((claimed or match.group()).split())
    start = match.start() + len(match.group()) - len(match.group().lstrip())
    end = match.start() + len(match.group().rstrip(" ,("))
    return Found(Span(start, end), quantity, words, statement, not doubt, doubt)
