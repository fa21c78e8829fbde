"""What a source is: it recognises some files of a run directory, reads only them, and returns facts.

A run directory is not of one kind: there is a configuration of one program beside the events of another. So
each source says what it found, and :mod:`runkit.ingest.combine` merges that. Writing one takes a
:class:`FoundFacts` and only what is known::

    class MyTool:
        name = "my-tool"
        looks_for = "scores.tsv"

        def recognises(self, root: Path) -> bool:
            return (root / "scores.tsv").is_file()

        def read(self, root: Path) -> FoundFacts:
            found = FoundFacts(self.name)
            ...
            return found
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

from runkit.errors import RunUnreadable
from runkit.records.items import ItemScores, score_of_items
from runkit.records.manifest import (
    Command,
    DataReference,
    Evidence,
    Hardware,
    MissingArtifact,
    ModelReference,
    Moment,
    Software,
    StatusFact,
)
from runkit.records.measurement import EvidenceKind, Metric, Score, Series
from runkit.records.notice import Notice, NoticeKind
from runkit.records.record import Scalar
from runkit.records.settings import flattened


@dataclass
class FoundFacts:
    """What one source read of a run; whatever it does not know stays out."""

    source: str
    parameters: dict[str, Scalar] = field(default_factory=dict)
    """The program's own configuration, nested keys joined by dots."""
    parameters_at: Evidence | None = None
    scores: list[Score] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    items: list[ItemScores] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    """Files inside the run directory that were read."""
    command: Command | None = None
    models: list[ModelReference] = field(default_factory=list)
    status: StatusFact | None = None
    started: Moment | None = None
    last_step: int | None = None
    primary: str | None = None
    """Selector of the measure that the program says it is judged by."""
    inert: dict[str, str] = field(default_factory=dict)
    """Settings that changed nothing in this run and are no parameters, each with the reason."""
    hardware: Hardware | None = None
    software: Software | None = None
    duration_seconds: float | None = None
    data: DataReference | None = None
    missing: list[MissingArtifact] = field(default_factory=list)
    """Files that the program should have written, and that are not there."""

    def params(self, values: Mapping[str, Any], *, path: str, line: int | None = None) -> None:
        """Take *values*, nested as they may be, as the program's configuration, which stands in *path*."""
        self.parameters.update(flattened(values))
        self.files.add(path)
        self.parameters_at = self.parameters_at or Evidence(path=path, line=line, what="configuration")

    def score(
        self, metric: Metric, value: float, *, path: str, line: int | None = None, **named: Any
    ) -> None:
        """Take a number that stands in *path*; *named* are further fields of :class:`Score`.

        One that is not finite is a score without a value.
        """
        self.files.add(path)
        is_finite = isfinite(value)
        self.scores.append(
            Score(
                metric=metric,
                value=value if is_finite else None,
                evidence="logged" if is_finite else None,
                missing_because=None if is_finite else f"{path} says {value}",
                path=path,
                line=line,
                **named,
            )
        )

    def measured(
        self, items: ItemScores, *, path: str, evidence: EvidenceKind = "per_sample", **named: Any
    ) -> None:
        """Take *items*, which stand in *path*, and their mean; *named* as in :func:`score_of_items`.

        Values that are not finite are counted, and in no mean.

        Args:
            evidence: ``recomputed`` where answers were compared here, and no verdict speaks against it.
        """
        self.files.add(path)
        missing = Counter(str(value) for value in items.values if value is not None and not isfinite(value))
        if missing:
            finite = (value if value is None or isfinite(value) else None for value in items.values)
            items = replace(items, values=tuple(finite))
            named.setdefault("missing_values", {what: str(count) for what, count in missing.items()})
            listed = ", ".join(f"{count} {what}" for what, count in missing.items())
            message = f"{path}: {items.metric.name} of {listed} is no finite number"
            self.say("not_finite", message, path=path)
        self.items.append(items)
        self.scores.append(score_of_items(items, evidence=evidence, path=path, **named))

    def say(self, kind: NoticeKind, message: str, *, path: str, line: int | None = None) -> None:
        """Say what was not taken, or contradicts itself; it becomes a finding."""
        self.notices.append(Notice(kind=kind, path=path, line=line, message=message))


class Source(Protocol):
    """Reads one kind of file in a run directory. It only reads, and only below the folder it is given."""

    @property
    def name(self) -> str:
        """Stands in the manifest; a published name never moves to another layout."""

    @property
    def looks_for(self) -> str:
        """Which files are its own, in words."""

    def recognises(self, root: Path) -> bool:
        """Return whether *root* holds such files, by what is in them."""

    def read(self, root: Path) -> FoundFacts:
        """Return what they say.

        Raises:
            RunUnreadable: What it needs is torn.
        """


def read_with(sources: Sequence[Source], root: Path) -> list[FoundFacts]:
    """Return what each of *sources* that knows something in *root* found, in their order.

    Raises:
        RunUnreadable: One of them cannot read its files.
    """
    return [_read(source, root) for source in sources if source.recognises(root)]


def _read(source: Source, root: Path) -> FoundFacts:
    try:
        return source.read(root)
    except (OSError, ValueError, LookupError) as error:  # a source of another package may be careless
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RunUnreadable(f"the source {source.name} cannot read {source.looks_for}: {reason}") from error
