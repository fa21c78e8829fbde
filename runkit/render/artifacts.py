"""The files of a run in a few lines of Markdown: dumps together, others one by one, missing ones last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from runkit.records.manifest import Artifact, Evidence, MissingArtifact, SealedFacts
from runkit.render.escaping import code_span, escaped_markdown


class DumpsTogether(NamedTuple):
    """All dumps of a run as one thing."""

    num_dumps: int
    pattern: str
    """Their paths with braces, as a shell writes them."""
    size_bytes: int
    are_here: tuple[bool, ...]


def artifact_lines(facts: SealedFacts) -> tuple[str, ...]:
    """Return one line for all dumps, one for each other file, and one for each file that is missing."""
    return (
        *map(_file_line, files_apart(facts)),
        *_dump_line(dumps_together(facts)),
        *_location(facts.artifacts_location),
        *map(missing_text, facts.missing_artifacts),
    )


def files_apart(facts: SealedFacts) -> tuple[Artifact, ...]:
    """Return the files that are told one by one: all but dumps, and a dump that is the only one."""
    dumps = _dumps(facts)
    others = tuple(artifact for artifact in facts.artifacts if artifact.role != "dump")
    return others + dumps if len(dumps) < 2 else others


def dumps_together(facts: SealedFacts) -> DumpsTogether | None:
    """Return the dumps in the order of evaluations, or None when there are not two of them."""
    dumps = _dumps(facts)
    if len(dumps) < 2:
        return None
    order = {evaluation.dump: index for index, evaluation in enumerate(facts.evaluations)}
    paths = sorted((dump.path for dump in dumps), key=lambda path: (order.get(path, len(order)), path))
    return DumpsTogether(
        len(dumps),
        _braced(paths),
        sum(dump.size_bytes for dump in dumps),
        tuple(dump.is_here for dump in dumps),
    )


def missing_text(missing: MissingArtifact) -> str:
    """Return, as Markdown, which file is not there and why."""
    place = _place(missing.evidence)
    return f"**missing** {missing.role} {code_span(missing.path)}: {escaped_markdown(missing.reason)}{place}"


def byte_size(size_bytes: int) -> str:
    """Return a size in the largest binary unit that keeps it above 1.

    >>> byte_size(532), byte_size(85_899_345_920)
    ('532 B', '80.0 GiB')
    """
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size_bytes} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def _file_line(artifact: Artifact) -> str:
    kept = "" if artifact.is_here else ", by reference"
    size = byte_size(artifact.size_bytes)
    return f"{artifact.role} {code_span(artifact.path)} ({size}, sha256 {artifact.sha256[:12]}{kept})"


def _dumps(facts: SealedFacts) -> tuple[Artifact, ...]:
    return tuple(artifact for artifact in facts.artifacts if artifact.role == "dump")


def _dump_line(dumps: DumpsTogether | None) -> Iterator[str]:
    if dumps is not None:
        kept = "" if all(dumps.are_here) else ", by reference"
        size = f"{byte_size(dumps.size_bytes)} together"
        yield f"{dumps.num_dumps} dumps {code_span(dumps.pattern)} ({size}{kept}; digests in the manifest)"


def _braced(paths: Sequence[str]) -> str:
    start = _common_start(paths).rstrip("0123456789")
    end = _common_start([path[len(start) :][::-1] for path in paths])[::-1].lstrip("0123456789")
    middles = [path[len(start) : len(path) - len(end)] for path in paths]
    return f"{start}{{{', '.join(middles)}}}{end}"


def _common_start(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    differs = (index for index, (ours, theirs) in enumerate(zip(first, last, strict=False)) if ours != theirs)
    return first[: next(differs, min(len(first), len(last)))]


def _location(location: str | None) -> Iterator[str]:
    if location is not None:
        yield f"files by reference are at: {escaped_markdown(location)}"


def _place(evidence: Evidence | None) -> str:
    if evidence is None:
        return ""
    return f" ({code_span(evidence.path if evidence.line is None else f'{evidence.path}:{evidence.line}')})"
