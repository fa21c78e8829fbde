"""The kept files of a run before they are read again, and what they said then; nothing is read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from runkit.records.manifest import RunFacts


@dataclass(frozen=True)
class KeptFile:
    """A file whose bytes are those that the manifest seals, hashed just now."""

    path: str
    """Inside the run directory."""
    place: str
    """Where it lies on this machine."""
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class KeptRun:
    """What is at hand of one run, for a reader to read again."""

    run_id: str
    directory_name: str
    """Name of the run directory when the run was preserved."""
    reader: str
    seal_digest: str
    files: tuple[KeptFile, ...]
    """Sorted by path."""
    folder: str | None
    """A folder that holds these files and no other one; null when they lie apart."""
    stand_ins: tuple[str, ...] = ()
    """Files that are not at hand and that our readers only look for, checkpoints for one."""
    absent: frozenset[str] = frozenset()
    """Dumps that are not at hand; what stands on them cannot be compared."""
    not_read_because: str | None = None
    """Why nothing, or not everything, can be read again; null when all can."""
    is_readable: bool = True
    """Whether there is enough at hand to read anything."""

    @property
    def num_bytes(self) -> int:
        """Size of the files together."""
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True)
class Rereading:
    """What this version read from the kept files of one run."""

    facts: RunFacts | None
    """Null when nothing could be read."""
    outcomes_sha256: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """As :func:`~runkit.records.outcomes.outcome_digests` gives them."""
    trouble: str | None = None
    """Why the reader could not read what is there."""
    absent: frozenset[str] = frozenset()
    not_read_because: str | None = None
    """Why nothing, or not everything, was read; null when all was."""
