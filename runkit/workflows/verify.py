"""``verify``: does each preserved byte hash to what was sealed, and the archive to what was expected?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runkit.archive.observing import observe_runs
from runkit.archive.reading import read_manifests, wanted_ids
from runkit.archive.reading import run_ids as preserved_ids
from runkit.archive.workspace import Workspace
from runkit.checks.anchor import anchor_findings, digest_in
from runkit.checks.integrity import disk_findings, rightly_named, sealed_findings, unreadable_manifest
from runkit.errors import UsageError
from runkit.records.finding import Finding
from runkit.records.observation import FileObservation, RunObservation

_OF_BYTES = frozenset({"RK101", "RK102", "RK103", "RK104", "RK105", "RK106"})


@dataclass(frozen=True)
class VerifyReport:
    """What was read, and where it is not what was sealed."""

    findings: tuple[Finding, ...]
    """Sorted by run, then by place."""
    num_runs: int
    num_files: int
    """Files of which every byte was read, outcomes included."""
    num_bytes: int
    num_not_checked: int
    """Artifacts by reference that were not at hand."""


def verify(
    workspace: Workspace,
    run_ids: Sequence[str] = (),
    *,
    references: Path | None = None,
    expected: str | None = None,
    jobs: int | None = None,
) -> VerifyReport:
    """Hash every file of the runs *run_ids*, or of all, and compare.

    Files that share their bytes on the disk are read once.

    Args:
        references: Folder that holds the run directories of artifacts kept by reference.
        expected: Digest that ``seal`` printed for these runs.
        jobs: Files that are hashed at once; None: one a core.
    Raises:
        UsageError: *expected* is no digest.
        UnknownName: *run_ids* names a run that has no manifest.
    """
    anchor = digest_in(expected) if expected is not None else None
    if expected is not None and anchor is None:
        raise UsageError(
            f"--expect {expected!r} is no digest: expected sha256: and 64 hexadecimal digits, as "
            "`runkit seal` prints them"
        )
    wanted = wanted_ids(preserved_ids(workspace), run_ids)
    folder = read_manifests(workspace)
    named = rightly_named(folder.manifests, folder.file_ids)
    chosen = [manifest for manifest in named.manifests if manifest.run_id in wanted]
    seen = observe_runs(workspace, chosen, references=references, jobs=jobs)
    findings = [unreadable_manifest(bad.path, bad.message) for bad in folder.unreadable] + list(
        named.findings
    )
    for manifest, observation in zip(chosen, seen, strict=True):
        findings += [*sealed_findings(manifest), *disk_findings(manifest, observation)]
    if anchor is not None:
        lost = sorted(wanted - {manifest.run_id for manifest in chosen})
        findings += anchor_findings(chosen, anchor, unreadable=lost)
    return VerifyReport(
        findings=tuple(
            sorted(
                (
                    one
                    for one in findings
                    if one.rule in _OF_BYTES and (not one.run_id or one.run_id in wanted)
                ),
                key=lambda one: (one.run_id, one.place, one.rule),
            )
        ),
        num_runs=len(wanted),
        num_files=sum(len(_hashed(observation)) for observation in seen),
        num_bytes=sum(found.size_bytes or 0 for observation in seen for found in _hashed(observation)),
        num_not_checked=sum(observation.num_not_checked for observation in seen),
    )


def _hashed(observation: RunObservation) -> list[FileObservation]:
    found = [*observation.artifacts.values(), *([observation.outcomes] if observation.outcomes else [])]
    return [one for one in found if one.sha256 is not None]
