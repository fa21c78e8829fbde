"""The errors that stop runkit, each one line that says where, what, what was expected and the way out.

A *finding* is a value and never raised; see :mod:`runkit.records.finding`. The tree, which a test
compares with the classes below::

    RunkitError
    ├── UsageError
    │   ├── ProgramNotFound
    │   ├── UnknownName
    │   └── OutsideWorkspace
    ├── RecordInvalid
    ├── RunUnreadable
    ├── AlreadyExists
    ├── StorageFailed
    ├── TrainingStopped
    │   └── ProcessLost
    └── TableRefused
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RunkitError(Exception):
    """Something that runkit cannot go on from; its text is one line for the person at the terminal."""


class UsageError(RunkitError):
    """The call asks for something that cannot be: a wrong value, a wrong combination."""


class ProgramNotFound(UsageError):
    """A program that ``run`` should start and that is not there, or is none."""

    def __init__(self, message: str, *, exit_status: int) -> None:
        """Take the *exit_status* that a shell gives then: 127, or 126 for a file that is no program."""
        super().__init__(message)
        self.exit_status = exit_status


class UnknownName(UsageError):
    """A name that does not exist: a preset, a configuration key, a run, a rule, a table."""

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str], *, way_out: str = "") -> UnknownName:
        """Return the error for *name*, a *kind* that is not in *known*, with the nearest known name.

        Args:
            kind: What the name should have been, for example ``"preset"``.
            known: All valid names; listed in the message when there are few of them.
            way_out: What to type to see the valid names.
        """
        names = sorted(set(known))
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
        parts = [f"there is no {kind} {name!r}"]
        if nearest:
            parts.append(f"did you mean {nearest[0]!r}")
        elif not names:
            parts.append(f"there is no {kind} at all yet")
        elif len(names) <= 12:
            parts.append("known: " + ", ".join(names))
        if way_out:
            parts.append(way_out)
        return cls("; ".join(parts))


class OutsideWorkspace(UsageError):
    """A path or an id that would lead out of the folder that runkit works in."""


class RecordInvalid(RunkitError):
    """A file that does not say what its schema demands; the message lists every bad place."""


class RunUnreadable(RunkitError):
    """A run directory from which no facts can be read."""


class AlreadyExists(RunkitError):
    """A run id, folder or file that exists already and is never overwritten."""


class StorageFailed(RunkitError):
    """The disk refused: full, read-only, not permitted. Nothing half-written is left behind."""


class TrainingStopped(RunkitError):
    """Training or evaluation that cannot go on: a loss that is not finite, a pair that cannot be bridged."""


class ProcessLost(TrainingStopped):
    """One of several processes of a run ended, and with it the run; the message names its rank and why."""


class TableRefused(RunkitError):
    """A table that would print what the archive does not prove."""
