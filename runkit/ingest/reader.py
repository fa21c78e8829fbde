"""What a reader of run directories is, for ours and for those that other packages bring."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from runkit.ingest.ingested import IngestedRun


class Reader(Protocol):
    """Turns one kind of run directory into facts. It only reads, and only below the folder it is given.

    What it cannot read it says with :class:`~runkit.errors.RunUnreadable`; any other exception is a defect.
    """

    @property
    def name(self) -> str:
        """Stands in the manifest; a published name never moves to another layout."""

    @property
    def looks_for(self) -> str:
        """What makes a directory its own, in words for the message that nobody knows one."""

    def can_read(self, root: Path) -> bool:
        """Return whether *root* is of this kind, by what lies in it and never by its name."""

    def read(self, root: Path, *, run_id: str, directory_name: str) -> IngestedRun:
        """Return the facts of the run in *root*.

        Args:
            run_id: The run's name in the archive.
            directory_name: Name of the original directory, since *root* may be a copy of it.
        Raises:
            RunUnreadable: What it needs is torn.
        """
