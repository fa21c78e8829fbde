"""``gc``: remove what killed processes left in the archive; never a file of a run."""

from __future__ import annotations

from dataclasses import dataclass

from runkit.archive.collecting import Leftover, leftovers, remove
from runkit.archive.store import collecting
from runkit.archive.workspace import Workspace


@dataclass(frozen=True)
class CollectionReport:
    """What was no part of a preserved run."""

    removable: tuple[Leftover, ...]
    """Removed, unless it was only asked for."""
    kept: tuple[Leftover, ...]
    """What a person has to decide."""

    @property
    def size_bytes(self) -> int:
        """Bytes that :attr:`removable` takes up on the disk."""
        return sum(one.size_bytes for one in self.removable)


def collect(workspace: Workspace, *, dry_run: bool) -> CollectionReport:
    """Remove, or with *dry_run* only list, what is no part of a preserved run.

    Raises:
        AlreadyExists: A run is being preserved right now, and something would be removed.
        StorageFailed: The disk refused.
    """
    if dry_run:
        return _report(leftovers(workspace))
    if not workspace.preserved_runs.is_dir():
        return _report(())
    with collecting(workspace):
        report = _report(leftovers(workspace))
        for one in report.removable:
            remove(workspace, one)
    return report


def _report(found: tuple[Leftover, ...]) -> CollectionReport:
    removable = tuple(one for one in found if one.is_removable)
    return CollectionReport(removable, tuple(one for one in found if not one.is_removable))
