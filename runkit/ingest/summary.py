"""``summary.log``: up to three lines that a launch script writes when the run is over."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

_END = re.compile(r"End time: (?P<time>.+)$")
_CLOCK = r"(?P<clock>[0-9]{1,2}:[0-9]{2}:[0-9]{2})(?: (?P<half>AM|PM|am|pm))?"
_ZONE = r"(?P<zone>[A-Z]{2,5}|[+-][0-9]{2,4})"
_DAY = r"(?P<day>[0-9]{1,2})"
_MONTH = r"(?P<month>[A-Z][a-z]{2})"
_YEAR = r"(?P<year>[0-9]{4})"
_WEEKDAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_CLUSTER_TIMES = (
    re.compile(rf"{_WEEKDAY} {_MONTH} +{_DAY} {_CLOCK} {_ZONE} {_YEAR}$"),
    re.compile(rf"{_WEEKDAY},? {_DAY} {_MONTH} {_YEAR} {_CLOCK} {_ZONE}$"),
)
"""``date`` in the C locale, with a 24-hour clock or AM and PM, and in the order of newer English locales."""
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([+-][0-9]{2}:[0-9]{2})?")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


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
    lines = text.removeprefix("\ufeff").split("\n")
    for number, line in enumerate(lines, start=1):
        if found := _END.match(line.strip()):
            return _parsed(found["time"].strip(), number)
    return None


def is_known_summary(text: str) -> bool:
    """Return whether any line of *text* is one that the launch script writes."""
    lines = [line.strip() for line in text.removeprefix("\ufeff").split("\n")]
    return read_end_time(text) is not None or any(
        line.startswith(("Run directory: ", "Logs: ")) for line in lines
    )


def _parsed(written: str, line: int) -> EndTime | None:
    found = next((found for form in _CLUSTER_TIMES if (found := form.match(written))), None)
    try:
        if found is not None:
            return EndTime(_moment(found).isoformat(), found["zone"], line)
        at = datetime.fromisoformat(written).isoformat(timespec="seconds")
    except ValueError:
        return None
    return EndTime(at, None, line) if _ISO.fullmatch(at) else None


def _moment(found: re.Match[str]) -> datetime:
    """Return the time that *found* spells; :class:`ValueError` when there is none of that name."""
    hour, minute, second = (int(part) for part in found["clock"].split(":"))
    if found["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("a clock with AM and PM goes from 1 to 12")
        hour = hour % 12 + (12 if found["half"].upper() == "PM" else 0)
    month = _MONTHS.index(found["month"]) + 1
    return datetime(int(found["year"]), month, int(found["day"]), hour, minute, second)
