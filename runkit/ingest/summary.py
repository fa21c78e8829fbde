"""``summary.log``: up to three lines that a launch script writes when the run is over."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

_END = re.compile(r"End time: (?P<time>.+)$")
_CLUSTER_TIME = re.compile(
    r"[A-Z][a-z]{2} (?P<date>[A-Z][a-z]{2} +\d{1,2}) (?P<clock>\d{2}:\d{2}:\d{2})(?: (?P<half>AM|PM))?"
    r" (?P<zone>[A-Z]{2,5}|[+-]\d{2,4}) (?P<year>\d{4})$"
)


@dataclass(frozen=True)
class EndTime:
    """When the run ended, as the summary says."""

    at: str
    """ISO 8601; with an offset when the summary gives one."""
    zone: str | None
    line: int


def read_end_time(text: str) -> EndTime | None:
    """Return the end time in *text*, or None when no line gives one in a known form.

    Known are ISO 8601 and the output of ``date`` with a 24-hour or an AM/PM clock.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if found := _END.match(line.strip()):
            return _parsed(found["time"], number)
    return None


def _parsed(written: str, line: int) -> EndTime | None:
    if found := _CLUSTER_TIME.match(written):
        clock = "%I:%M:%S %p" if found["half"] else "%H:%M:%S"
        text = f"{found['year']} {found['date']} {found['clock']} {found['half'] or ''}".strip()
        try:
            moment = datetime.strptime(text, f"%Y %b %d {clock}")
        except ValueError:
            return None
        return EndTime(moment.isoformat(), found["zone"], line)
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        return None
    return EndTime(moment.isoformat(timespec="seconds"), None, line)
