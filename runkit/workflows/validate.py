"""``validate``: is the archive what it says it is? Reads, judges, and leaves no trace on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runkit.archive.observing import observe_run
from runkit.archive.reading import ManifestFolder, read_manifests, read_outcomes
from runkit.archive.reading import run_ids as preserved_ids
from runkit.archive.workspace import Workspace
from runkit.checks.catalogue import found
from runkit.checks.gather import FOR_ALL_RUNS, FOR_ONE_RUN, concluded, unwaived
from runkit.checks.integrity import NamedManifests, rightly_named, unreadable_manifest
from runkit.checks.view import ArchiveView
from runkit.errors import RunUnreadable, UnknownName
from runkit.records.finding import Finding
from runkit.records.manifest import Manifest
from runkit.records.observation import RunObservation
from runkit.records.outcomes import RunOutcomes

_NEEDS_BYTES = frozenset({"RK102", "RK201", "RK206", "RK505"})
"""Rules that are not judged in full while bytes are not hashed."""


@dataclass(frozen=True)
class ValidationReport:
    """What was found, and what it was found in."""

    findings: tuple[Finding, ...]
    """Worst first."""
    num_runs: int
    """Runs that were looked at, those with an unreadable manifest included."""
    num_artifacts: int
    """Artifacts that were at hand as regular files."""
    num_artifacts_rehashed: int
    """Artifacts of which every byte was read."""
    num_not_checked: int
    """Artifacts by reference that were not at hand."""
    rehashed: bool
    """Whether bytes were read at all; without it only sizes were compared and no score was recomputed."""


@dataclass(frozen=True)
class _Look:
    """What one run looked like."""

    findings: list[Finding]
    observation: RunObservation


def validate(
    workspace: Workspace, run_ids: Sequence[str] = (), *, rehash: bool = True, references: Path | None = None
) -> ValidationReport:
    """Return what is wrong with the runs *run_ids*, or with all when none is named.

    What compares runs looks at the whole archive, so that a run's findings do not depend on the choice.

    Args:
        rehash: Read every byte and recompute every score.
        references: Folder that holds the run directories of artifacts kept by reference.
    Raises:
        UnknownName: *run_ids* names a run that has no manifest.
    """
    files = preserved_ids(workspace)
    wanted = _wanted(files, run_ids)
    folder = read_manifests(workspace)
    named = _named(folder, files)
    looks = [
        _look_at(workspace, manifest, rehash=rehash, references=references)
        for manifest in named.manifests
        if manifest.run_id in wanted
    ]
    findings = [unreadable_manifest(bad.path, bad.message) for bad in folder.unreadable]
    findings += [*named.findings, *unwaived(ArchiveView(named.manifests), FOR_ALL_RUNS)]
    findings = [finding for finding in findings if finding.run_id in wanted]
    findings += [finding for look in looks for finding in look.findings]
    judged = frozenset[str]().union(*(family.rules for family in FOR_ONE_RUN + FOR_ALL_RUNS))
    return ValidationReport(
        findings=concluded(
            findings,
            [manifest for manifest in named.manifests if manifest.run_id in wanted],
            judged=judged if rehash else judged - _NEEDS_BYTES,
        ),
        num_runs=len(wanted),
        num_artifacts=sum(_num_seen(look.observation, hashed=False) for look in looks),
        num_artifacts_rehashed=sum(_num_seen(look.observation, hashed=True) for look in looks),
        num_not_checked=sum(look.observation.num_not_checked for look in looks),
        rehashed=rehash,
    )


def _wanted(files: Sequence[str], chosen: Sequence[str]) -> frozenset[str]:
    for run_id in chosen:
        if run_id not in files:
            way_out = "`runkit list` shows the preserved runs"
            raise UnknownName.among("preserved run", run_id, files, way_out=way_out)
    return frozenset(chosen or files)


def _named(folder: ManifestFolder, files: Sequence[str]) -> NamedManifests:
    unreadable = {bad.path.removesuffix(".json") for bad in folder.unreadable}
    return rightly_named(folder.manifests, [name for name in files if name not in unreadable])


def _look_at(workspace: Workspace, manifest: Manifest, *, rehash: bool, references: Path | None) -> _Look:
    observation = observe_run(workspace, manifest, rehash=rehash, references=references)
    observations = {manifest.run_id: observation}
    outcomes: dict[str, RunOutcomes] = {}
    unreadable = []
    if rehash and observation.outcomes is not None and observation.outcomes.kind == "file":
        try:
            outcomes = {manifest.run_id: read_outcomes(workspace, manifest)}
        except RunUnreadable as error:
            unreadable = [_unreadable_outcomes(manifest, observation, error)]
    view = ArchiveView((manifest,), observations, outcomes)
    findings = unwaived(view, FOR_ONE_RUN)
    return _Look(findings + [one for one in unreadable if not _says_changed(findings, one)], observation)


def _unreadable_outcomes(manifest: Manifest, observation: RunObservation, error: RunUnreadable) -> Finding:
    place = f"manifests/{manifest.run_id}.outcomes.parquet"
    reason = str(error).partition(" is not ")[2] or "not a readable table"
    return found("RK102", manifest.run_id, place, f"{place} is not {reason}")


def _says_changed(findings: Sequence[Finding], finding: Finding) -> bool:
    return any(one.rule == finding.rule and one.place == finding.place for one in findings)


def _num_seen(observation: RunObservation, *, hashed: bool) -> int:
    files = [seen for seen in observation.artifacts.values() if seen.kind == "file"]
    return sum(1 for seen in files if seen.sha256 is not None or not hashed)
