"""Which files of a preserved run can be read again: those whose bytes are, now, what was sealed."""

from __future__ import annotations

from pathlib import Path

from runkit.archive.observing import place_of
from runkit.archive.workspace import Workspace
from runkit.records.manifest import Artifact, Manifest
from runkit.records.observation import RunObservation
from runkit.records.rereading import KeptFile, KeptRun

ONLY_LOOKED_FOR = frozenset({"checkpoint", "other"})
"""Roles of files that our readers look for and do not open."""


def kept_run(
    workspace: Workspace, manifest: Manifest, observation: RunObservation, *, references: Path | None = None
) -> KeptRun:
    """Return what is at hand of the run, as *observation* saw it with every byte read.

    Args:
        references: Folder that holds the run directories of artifacts kept by reference.
    """
    sealed = manifest.sealed
    files, away = [], []
    for artifact in sealed.artifacts:
        seen = observation.artifacts.get(artifact.path)
        place = place_of(workspace, manifest, artifact, references)
        if place is not None and seen is not None and seen.sha256 == artifact.sha256:
            place = place.absolute()
            files.append(KeptFile(artifact.path, str(place), artifact.sha256, artifact.size_bytes))
        else:
            away.append(artifact)
    needed = [artifact for artifact in away if artifact.role not in ONLY_LOOKED_FOR]
    is_whole_folder = not away and not observation.unlisted and all(one.is_here for one in sealed.artifacts)
    return KeptRun(
        run_id=sealed.run_id,
        directory_name=sealed.directory_name or sealed.run_id,
        reader=sealed.provenance.reader,
        seal_digest=manifest.seal.digest,
        files=tuple(files),
        folder=str(workspace.preserved_path(sealed.run_id).absolute()) if is_whole_folder else None,
        stand_ins=tuple(artifact.path for artifact in away if artifact.role in ONLY_LOOKED_FOR),
        absent=frozenset(artifact.path for artifact in needed),
        not_read_because=_why_not(sealed.artifacts, needed),
        is_readable=bool(files) and all(artifact.role == "dump" for artifact in needed),
    )


def _why_not(artifacts: tuple[Artifact, ...], needed: list[Artifact]) -> str | None:
    if not artifacts:
        return "the manifest lists no file"
    parts = []
    if any(not artifact.is_here for artifact in needed):
        parts.append("files by reference, not at hand")
    if any(artifact.is_here for artifact in needed):
        parts.append("files not as sealed")
    return "; ".join(parts) or None
