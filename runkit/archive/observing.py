"""Looking at the files of a preserved run, for the checks to judge. Judges nothing itself."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from runkit.archive.hashing import file_digest
from runkit.archive.workspace import Workspace
from runkit.records.manifest import Artifact, Manifest
from runkit.records.observation import FileObservation, RunObservation

_WORTH_THREADS_BYTES = 8 << 20
"""Starting threads for less than this takes longer than hashing it."""


def observe_runs(
    workspace: Workspace,
    manifests: Sequence[Manifest],
    *,
    rehash: bool = True,
    references: Path | None = None,
    jobs: int | None = None,
) -> list[RunObservation]:
    """Return what lies on the disk for each run; files that share their bytes are read once.

    Args:
        rehash: Read every byte; otherwise only sizes are looked at.
        references: Folder that holds the run directories of artifacts kept by reference, each under its
            run id; None when they are not at hand.
        jobs: Files that are hashed at once; None: one a core.
    """
    is_worth_it = rehash and sum(map(_num_bytes, manifests)) >= _WORTH_THREADS_BYTES
    runs = [_RunPlaces.of(workspace, manifest, references) for manifest in manifests]
    paths = {path for run in runs for path in run.paths()}
    num_at_once = (jobs or os.cpu_count() or 1) if is_worth_it else 1
    seen = _observed_files(paths, rehash=rehash, jobs=num_at_once)
    return [run.observation(seen, rehash=rehash) for run in runs]


def _num_bytes(manifest: Manifest) -> int:
    return sum(artifact.size_bytes for artifact in manifest.sealed.artifacts)


@dataclass(frozen=True)
class _RunPlaces:
    """Where the files of one run should be."""

    manifest: Manifest
    folder: Path
    artifacts: dict[str, Path]
    """Path inside the run directory to where it lies."""
    linked: frozenset[str]
    """Those of :attr:`artifacts` that a linked folder leads to."""
    outcomes: Path | None

    @classmethod
    def of(cls, workspace: Workspace, manifest: Manifest, references: Path | None) -> _RunPlaces:
        sealed = manifest.sealed
        folder = workspace.preserved_path(sealed.run_id)
        places = {
            artifact.path: place
            for artifact in sealed.artifacts
            if (place := place_of(workspace, manifest, artifact, references)) is not None
        }
        outcomes = workspace.outcomes_path(sealed.run_id) if sealed.outcomes else None
        return cls(manifest, folder, places, _through_links(places), outcomes)

    def paths(self) -> list[Path]:
        """Return what has to be looked at."""
        found = [path for inside, path in self.artifacts.items() if inside not in self.linked]
        return found + ([self.outcomes] if self.outcomes is not None else [])

    def observation(self, seen: Mapping[Path, FileObservation], *, rehash: bool) -> RunObservation:
        """Return what *seen* says of this run."""
        sealed = self.manifest.sealed
        listed = {artifact.path for artifact in sealed.artifacts if artifact.is_here}
        link = FileObservation("link")
        return RunObservation(
            run_id=sealed.run_id,
            artifacts={
                inside: link if inside in self.linked else seen[path]
                for inside, path in self.artifacts.items()
            },
            unlisted=tuple(path for path in _files_below(self.folder) if path not in listed),
            outcomes=seen[self.outcomes] if self.outcomes is not None else None,
            rehashed=rehash,
            num_not_checked=len(sealed.artifacts) - len(self.artifacts),
        )


def _through_links(places: Mapping[str, Path]) -> frozenset[str]:
    """Return which of *places* lie below a folder that is a link; each folder is looked at once."""
    is_link: dict[Path, bool] = {}

    def leads_through_link(inside: str) -> bool:
        path = places[inside]
        folders = path.parents[: len(PurePosixPath(inside).parts) - 1]
        for folder in folders:
            if folder not in is_link:
                is_link[folder] = folder.is_symlink()
        return any(is_link[folder] for folder in folders)

    return frozenset(filter(leads_through_link, places))


def _observed_files(paths: Collection[Path], *, rehash: bool, jobs: int) -> dict[Path, FileObservation]:
    """Return what lies at each of *paths*; of links to one file, the bytes are read once."""
    firsts: dict[tuple[int, int] | Path, Path] = {}
    same: dict[Path, Path] = {}
    for path in sorted(paths):
        same[path] = firsts.setdefault(_identity(path), path)

    def observe(path: Path) -> FileObservation:
        return observe_file(path, rehash=rehash)

    chosen = list(firsts.values())
    if jobs == 1:
        found = dict(zip(chosen, map(observe, chosen), strict=True))
    else:
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            found = dict(zip(chosen, pool.map(observe, chosen), strict=True))
    return {path: found[first] for path, first in same.items()}


def _identity(path: Path) -> tuple[int, int] | Path:
    """Return what names the bytes at *path*: the file for one that has several names, else the path."""
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return path
    return (found.st_dev, found.st_ino) if found.st_nlink > 1 and stat.S_ISREG(found.st_mode) else path


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


def place_of(
    workspace: Workspace, manifest: Manifest, artifact: Artifact, references: Path | None
) -> Path | None:
    """Return where *artifact* should lie, or None when it is kept by reference and not at hand.

    Without *references*, a file by reference is looked for where the manifest says that it is; what is not
    there is not at hand.
    """
    if artifact.is_here:
        return workspace.preserved_path(manifest.run_id) / artifact.path
    if references is not None:
        return references / manifest.run_id / artifact.path
    recorded = _recorded_folder(workspace, manifest)
    place = recorded / artifact.path if recorded is not None else None
    return place if place is not None and place.is_file() else None


def _recorded_folder(workspace: Workspace, manifest: Manifest) -> Path | None:
    """Return the folder that the manifest names for its files by reference, if it is one on this machine."""
    location = manifest.sealed.artifacts_location
    if not location:
        return None
    try:
        named = workspace.root / location
        folders = (named / manifest.run_id, named)
        return next((folder for folder in folders if folder.is_dir()), None)
    except (OSError, ValueError):  # words, not a path: too long for a name, or with a null in them
        return None


def _files_below(folder: Path) -> list[str]:
    found = []
    for parent, folders, names in os.walk(folder):
        linked = [name for name in folders if Path(parent, name).is_symlink()]
        found += [Path(parent, name).relative_to(folder).as_posix() for name in (*names, *linked)]
    return sorted(found)
