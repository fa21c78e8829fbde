"""The time as records write it. Needs the standard library alone: what stands by starts with no more."""

from __future__ import annotations

from datetime import datetime


def now() -> str:
    """Return the time in ISO 8601 with the machine's offset, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
