"""What went wrong, told once on standard error: a training that runs on is worth more than a second word."""

from __future__ import annotations

import sys
from contextlib import suppress

_told: set[str] = set()


def warn_once(kind: str, message: str) -> None:
    """Tell *message*, unless this process told one of that *kind* already."""
    if kind in _told:
        return
    _told.add(kind)
    with suppress(Exception):  # standard error may be closed, full or another object
        sys.stderr.write(f"runkit: {' '.join(message.split())}\n")
        sys.stderr.flush()
