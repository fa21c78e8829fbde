"""What was seen on the disk when a preserved run was looked at; the disk's side of an integrity check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class FileObservation:
    """One path as it was found."""

    kind: Literal["file", "missing", "link", "other", "unreadable"]
    size_bytes: int | None = None
    sha256: str | None = None
    """Null when the file was not hashed."""


@dataclass(frozen=True)
class RunObservation:
    """The files of one preserved run as they were found."""

    run_id: str
    artifacts: Mapping[str, FileObservation]
    """Path inside the run directory to what was found there; copied artifacts only, unless a folder
    with the referenced ones was given."""
    unlisted: tuple[str, ...]
    """Paths inside the preserved directory that the manifest does not list."""
    outcomes: FileObservation | None
    """The Parquet file; null when the manifest names none."""
    rehashed: bool
    """Whether bytes were hashed, or only sizes compared."""
    num_not_checked: int
    """Artifacts by reference that were not at hand."""
