"""What a source could not take, or read twice with two values: sealed, and told as a finding."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from runkit.records.record import Record

NoticeKind = Literal["conflict", "not_read", "not_finite", "unreadable"]
"""Two places that disagree; a file of which no number was read; values that are no finite numbers; rows or
files that are torn."""


class Notice(Record):
    """One thing to be known about how a run was read."""

    kind: NoticeKind
    path: str
    """File inside the run directory, ``.`` for the whole of it."""
    line: PositiveInt | None
    message: str
