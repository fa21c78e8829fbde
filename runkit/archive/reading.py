"""Reading the archive: manifests and outcomes as records. Takes no lock and writes nothing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from runkit.archive.outcomes_file import outcomes_from_parquet
from runkit.archive.workspace import Workspace
from runkit.errors import RecordInvalid, UnknownName
from runkit.records.manifest import Manifest
from runkit.records.outcomes import RunOutcomes


@dataclass(frozen=True)
class UnreadableManifest:
    """A manifest file that is not a valid record."""

    path: str
    """File name inside ``manifests/``."""
    message: str


@dataclass(frozen=True)
class ManifestFolder:
    """All of ``manifests/``: what could be read, and what could not."""

    manifests: tuple[Manifest, ...]
    """Sorted by run id."""
    unreadable: tuple[UnreadableManifest, ...]


def run_ids(workspace: Workspace) -> tuple[str, ...]:
    """Return the ids of all runs that have a manifest, sorted."""
    return tuple(sorted(path.stem for path in workspace.manifests.glob("*.json")))


def read_manifest(workspace: Workspace, run_id: str) -> Manifest:
    """Return the manifest of one run.

    Raises:
        UnknownName: No such run is preserved; with the nearest id.
        RecordInvalid: The file is not a valid manifest.
    """
    known = run_ids(workspace)
    if run_id not in known:
        raise UnknownName.among(
            "preserved run", run_id, known, way_out="`runkit list` shows the preserved runs"
        )
    path = workspace.manifest_path(run_id)
    return Manifest.parse(path.read_bytes(), origin=f"manifests/{path.name}")


def read_manifests(workspace: Workspace) -> ManifestFolder:
    """Return all manifests; a bad one is reported as such and does not hide the others."""
    manifests, unreadable = [], []
    with _without_collecting_cycles():
        for path in sorted(workspace.manifests.glob("*.json")):
            try:
                manifests.append(Manifest.parse(path.read_bytes(), origin=f"manifests/{path.name}"))
            except RecordInvalid as error:
                unreadable.append(UnreadableManifest(path.name, str(error)))
            except OSError as error:
                unreadable.append(
                    UnreadableManifest(path.name, f"manifests/{path.name} cannot be read: {error.strerror}")
                )
    return ManifestFolder(tuple(manifests), tuple(unreadable))


@contextmanager
def _without_collecting_cycles() -> Iterator[None]:
    """Let Python not look for cycles meanwhile: records have none, and looking takes longer than reading."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_outcomes(workspace: Workspace, manifest: Manifest) -> RunOutcomes:
    """Return a run's per-sample outcomes; empty when its manifest names none.

    Raises:
        RunUnreadable: The outcomes file is missing or torn.
    """
    if manifest.sealed.outcomes is None:
        return {}
    return outcomes_from_parquet(workspace.outcomes_path(manifest.run_id))
