"""Dumps with the same bytes in two runs; compares digests that were sealed, hashes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import combinations

from runkit.checks.catalogue import found
from runkit.checks.comparison import is_noop
from runkit.checks.replication import declared_replicates
from runkit.checks.view import ArchiveView
from runkit.records.finding import Finding, Severity
from runkit.records.manifest import Artifact, Manifest

MAX_ALL_PAIRS = 8
"""Up to so many runs with one dump in common, each pair is reported; beyond, each run with the first one."""

_MAX_SHOWN = 3


def duplicate_findings(archive: ArchiveView) -> Iterator[Finding]:
    """Yield one finding for each pair of runs that share dumps and are not declared as replicates."""
    replicate_group = declared_replicates(archive)
    pairs = {
        pair
        for run_ids in _runs_by_dump(archive).values()
        for pair in _pairs(run_ids)
        if replicate_group[pair[0]] != replicate_group[pair[1]]
    }
    for pair in sorted(pairs):
        first, second = (archive.by_id[run_id] for run_id in pair)
        if any(relation.run_id == second.run_id for relation in first.notes.relations):
            first, second = second, first
        if not _is_same_start(first, second):
            yield _duplicate(first, second)


def equal_dumps(manifest: Manifest, other: Manifest) -> tuple[str, ...]:
    """Return the paths of the dumps of *manifest* whose bytes are those of a dump of *other*."""
    theirs = {artifact.sha256 for artifact in _dumps(other)}
    return tuple(artifact.path for artifact in _dumps(manifest) if artifact.sha256 in theirs)


def dump_digests(manifest: Manifest) -> dict[str | None, str]:
    """Return the path of each dump that holds something with its SHA-256."""
    return {artifact.path: artifact.sha256 for artifact in _dumps(manifest)}


def _dumps(manifest: Manifest) -> Iterator[Artifact]:
    """Yield the dumps that hold something; two empty files are no evidence of anything."""
    artifacts = manifest.sealed.artifacts
    return (artifact for artifact in artifacts if artifact.role == "dump" and artifact.size_bytes)


def _runs_by_dump(archive: ArchiveView) -> dict[str, list[str]]:
    """Return each digest that dumps of several runs have, with the runs sorted."""
    first: dict[str, str] = {}
    shared: dict[str, list[str]] = {}
    for run_id, manifest in archive.by_id.items():
        for digest in {artifact.sha256 for artifact in _dumps(manifest)}:
            earlier = first.setdefault(digest, run_id)
            if earlier != run_id:
                shared.setdefault(digest, [earlier]).append(run_id)
    return shared


def _pairs(run_ids: list[str]) -> Iterable[tuple[str, str]]:
    if len(run_ids) <= MAX_ALL_PAIRS:
        return combinations(run_ids, 2)
    return ((run_ids[0], other) for other in run_ids[1:])


def _is_same_start(first: Manifest, second: Manifest) -> bool:
    """Return whether all that two different configurations share is the output of equal untrained weights."""
    return set(equal_dumps(second, first)) <= _untrained_dumps(second) and not is_noop(second, first)


def _untrained_dumps(manifest: Manifest) -> set[str | None]:
    return {evaluation.dump for evaluation in manifest.sealed.evaluations if evaluation.step == 0}


def _duplicate(first: Manifest, second: Manifest) -> Finding:
    """Return the finding, told of the second run."""
    same = equal_dumps(second, first)
    is_replicate = is_noop(second, first)
    noun, have = ("dump", "has") if len(same) == 1 else ("dumps", "have")
    lowered: Severity | None = "warning" if is_replicate else None
    if set(same) <= _untrained_dumps(second):
        noun += " of the untrained step 0"
    configuration = "; both ran the same effective configuration" if is_replicate else ""
    others = (
        f" (also {', '.join(same[1:_MAX_SHOWN])}{'…' if len(same) > _MAX_SHOWN else ''})" if same[1:] else ""
    )
    message = (
        f"{len(same)} {noun}{others} {have} the same bytes in {second.run_id} and {first.run_id}, "
        f"which are not declared as replicates{configuration}"
    )
    return found("RK406", second.run_id, same[0], message, severity=lowered)
