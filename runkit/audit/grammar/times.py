"""Sentences -> how long a run took, and when it started or ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from runkit.audit.amounts import amounts
from runkit.audit.claims import Duration, Found, Started
from runkit.audit.grammar.matches import found_at
from runkit.audit.words import doubt_of

_DURATION = re.compile(
    r"""
    \b
    (?:
          took | lasted | ran(?:\ for)?
        | wall[- ]?(?:clock|time)(?:\ of|\ was|:)?
        | duration(?:\ of|\ was|:)?
        | in | elapsed:?
        | runtime(?:\ of|\ was|:)?
    )
    \s+
    (?P<amount>
        (?:
              about\  | around\  | roughly\  | just\ under\  | just\ over\  | under[ ]
            | over\  | less\ than\  | more\ than\  | ~\s*
        )?
        \d[\d.,]*
    )
    \s*
    (?P<unit>h(?:ours?|rs?)?|min(?:utes?|s)?|s(?:ec(?:onds?|s)?)?)
    \b(?!\s*\d)
    """,
    re.IGNORECASE | re.VERBOSE,
)


_HM = re.compile(
    r"""
    \b
    (?:
          took | lasted | ran(?:\ for)?
        | wall[- ]?(?:clock|time)(?:\ of|\ was|:)?
        | duration(?:\ of|\ was|:)?
        | in | elapsed:?
        | runtime(?:\ of|\ was|:)?
    )
    \s+(?:about\ |~\s*)?(?P<h>\d{1,2})\s*h(?:ours?|rs?)?\s*(?P<m>\d{1,2})\s*m(?:in(?:utes?|s)?)?\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


_DATE = re.compile(
    r"""
    \b
    (?P<verb>
          started | launched | began | submitted | kicked\ off | ended | finished
        | completed | stopped
    )
    \s+(?:on\ |at\ )?(?P<date>\d{4}-\d{2}-\d{2})
    (?:[ T](?:at\ )?(?P<time>\d{2}:\d{2}(?::\d{2})?))?
    """,
    re.IGNORECASE | re.VERBOSE,
)


def times(text: str) -> Iterator[Found]:
    """Yield durations, and days of start and end."""
    doubt = doubt_of(text)
    for match in _HM.finditer(text):
        seconds = 60 * int(match["h"]) + int(match["m"])
        amount = next(iter(amounts(f"{seconds}")))
        yield found_at(match, "duration_seconds", Duration(amount, 60), doubt=doubt)
    for match in _DURATION.finditer(text):
        if any(one.start() <= match.start() < one.end() for one in _HM.finditer(text)):
            continue
        word = match.group().split()[0].lower()
        if word == "in" and not re.search(
            r"\b(?:run|training|finished|completed|done|trained)\b", text[: match.start()], re.IGNORECASE
        ):
            continue
        read = next(iter(amounts(match["amount"])), None)
        if read is None:
            continue
        unit = {"h": 3600, "m": 60, "s": 1}[match["unit"][0].lower()]
        yield found_at(match, "duration_seconds", Duration(read, unit), doubt=doubt)
    for match in _DATE.finditer(text):
        is_end = re.match(r"ended|finished|completed|stopped", match["verb"], re.IGNORECASE) is not None
        which: Literal["start", "end"] = "end" if is_end else "start"
        when = match["date"] + (f"T{match['time']}" if match["time"] else "")
        yield found_at(match, f"{which}ed", Started(when, which), doubt=doubt)
