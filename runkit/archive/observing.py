"""Looking at the files of a preserved run, for the checks to judge. Judges nothing itself."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from runkit.archive.hashing import file_digest
from runkit.archive.workspace import Workspace
from runkit.records.manifest import Artifact, Manifest
from runkit.records.observation import FileObservation, RunObservation

_WORTH_THREADS_BYTES = 8 << 20
"""Starting threads for less than this takes longer than hashing it."""


def observe_run(
    workspace: Workspace, manifest: Manifest, *, rehash: bool, references: Path | None = None
) -> RunObservation:
    """Return what lies on the disk for one run.

    Args:
        rehash: Read every byte; otherwise only sizes are looked at.
        references: Folder that holds the run directories of artifacts kept by reference, each under its
            run id; None when they are not at hand.
    """
    sealed = manifest.sealed
    folder = workspace.preserved_path(sealed.run_id)
    places: dict[str, Path] = {}
    num_not_checked = 0
    for artifact in sealed.artifacts:
        place = _place(artifact, folder, references, sealed.run_id)
        if place is None:
            num_not_checked += 1
        else:
            places[artifact.path] = place
    num_bytes = sum(artifact.size_bytes for artifact in sealed.artifacts) if rehash else 0
    artifacts = dict(zip(places, _observed(places, rehash=rehash, num_bytes=num_bytes), strict=True))
    listed = {artifact.path for artifact in sealed.artifacts if artifact.storage == "copy"}
    return RunObservation(
        run_id=sealed.run_id,
        artifacts=artifacts,
        unlisted=tuple(path for path in _files_below(folder) if path not in listed),
        outcomes=observe_file(workspace.outcomes_path(sealed.run_id), rehash=rehash)
        if sealed.outcomes
        else None,
        rehashed=rehash,
        num_not_checked=num_not_checked,
    )


def _observed(places: dict[str, Path], *, rehash: bool, num_bytes: int) -> list[FileObservation]:
    """Return what lies at each of *places*; large runs are hashed on all cores."""

    def observe(inside: str) -> FileObservation:
        path = places[inside]
        folders = path.parents[: len(PurePosixPath(inside).parts) - 1]
        if any(folder.is_symlink() for folder in folders):
            return FileObservation("link")
        return observe_file(path, rehash=rehash)

    if num_bytes < _WORTH_THREADS_BYTES:
        return [observe(inside) for inside in places]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(observe, places))


def observe_file(path: Path, *, rehash: bool) -> FileObservation:
    """Return what lies at *path*; a link is reported as a link and never followed."""
    if path.is_symlink():
        return FileObservation("link")
    if not path.exists():
        return FileObservation("missing")
    if not path.is_file():
        return FileObservation("other")
    try:
        if not rehash:
            return FileObservation("file", size_bytes=path.stat().st_size)
        digest = file_digest(path)
    except OSError:
        return FileObservation("unreadable")
    return FileObservation("file", digest.size_bytes, digest.sha256)


def _place(artifact: Artifact, folder: Path, references: Path | None, run_id: str) -> Path | None:
    if artifact.storage == "copy":
        return folder / artifact.path
    return references / run_id / artifact.path if references is not None else None


def _files_below(folder: Path) -> list[str]:
    found = []
    for parent, folders, names in os.walk(folder):
        linked = [name for name in folders if Path(parent, name).is_symlink()]
        found += [Path(parent, name).relative_to(folder).as_posix() for name in (*names, *linked)]
    return sorted(found)
