"""Taking a run into the archive: staged beside its place, published whole, the manifest last.

A run is in the archive when its manifest is there. Killed at any moment before, ``preserve`` leaves at
most a staging folder or files without a manifest; the same command then succeeds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runkit.archive.hashing import FileDigest, copy_hashed, file_digest
from runkit.archive.workspace import Workspace
from runkit.archive.writing import publish_new, sync_folder, write_atomically
from runkit.errors import AlreadyExists, RunUnreadable, StorageFailed

STAGING_PREFIX = ".staging-"


@dataclass(frozen=True)
class StagedFile:
    """A file of the run, as it was read."""

    path: str
    """Path inside the run directory, forward slashes."""
    digest: FileDigest


@contextmanager
def claimed(workspace: Workspace, run_id: str) -> Iterator[None]:
    """Hold the right to create *run_id*; the system frees it when the process dies.

    Raises:
        AlreadyExists: The run is preserved, or another process is preserving it now.
        StorageFailed: The archive cannot be written.
    """
    manifest = workspace.manifest_path(run_id)
    lock_path = workspace.manifests / f".{run_id}.lock"
    try:
        workspace.manifests.mkdir(parents=True, exist_ok=True)
        workspace.preserved_runs.mkdir(parents=True, exist_ok=True)
        lock = lock_path.open("w")
    except OSError as error:
        raise StorageFailed(f"cannot write to {workspace.manifests}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyExists(f"run {run_id!r} is being preserved by another process right now") from error
        try:
            if manifest.exists():
                raise AlreadyExists(
                    f"run {run_id!r} is already preserved in {manifest}; preserved runs never change, so "
                    "preserve the new one under another id with --run-id"
                )
            yield
        finally:
            lock_path.unlink(missing_ok=True)


@contextmanager
def staging(workspace: Workspace) -> Iterator[Path]:
    """Provide an empty folder on the archive's filesystem; gone afterwards unless it was published."""
    folder = workspace.preserved_runs / f"{STAGING_PREFIX}{uuid.uuid4().hex}"
    try:
        folder.mkdir()
    except OSError as error:
        raise StorageFailed(f"cannot write to {workspace.preserved_runs}: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def files_of(run: Path) -> tuple[str, ...]:
    """Return the paths of all files below *run*, sorted.

    Raises:
        RunUnreadable: A link or a special file is among them, or a name that is not valid text.
    """
    found = []
    for parent, folders, names in os.walk(run):
        for name in (*names, *(folder for folder in folders if Path(parent, folder).is_symlink())):
            path = Path(parent, name)
            _check_ordinary(path, run)
            found.append(path.relative_to(run).as_posix())
    return tuple(sorted(found))


def _check_ordinary(path: Path, run: Path) -> None:
    inside = path.relative_to(run).as_posix()
    try:
        inside.encode()
    except UnicodeEncodeError as error:
        raise RunUnreadable(f"{inside!r} in {run} is not a valid UTF-8 name; rename the file") from error
    if path.is_symlink() or not path.is_file():
        raise RunUnreadable(
            f"{inside!r} in {run} is a link or a special file; put the file itself there, or remove it"
        )


def stage_copies(run: Path, staged: Path) -> tuple[StagedFile, ...]:
    """Copy all of *run* below *staged*, byte for byte in the same layout, hashed on the way.

    Raises:
        StorageFailed: The disk refused a copy.
    """
    paths = files_of(run)
    try:
        for folder in folders_of(run):
            (staged / folder).mkdir(parents=True, exist_ok=True)
        return tuple(StagedFile(inside, _copied(run / inside, staged / inside)) for inside in paths)
    except OSError as error:
        named = error.filename or staged
        raise StorageFailed(
            f"cannot copy {run} into the archive: {error.strerror} ({named}); nothing was left behind, "
            "and the run itself was not touched"
        ) from error


def folders_of(run: Path) -> tuple[str, ...]:
    """Return the paths of all folders below *run*, empty ones too, sorted."""
    found = [Path(parent, name) for parent, folders, _names in os.walk(run) for name in folders]
    return tuple(sorted(path.relative_to(run).as_posix() for path in found))


def _copied(source: Path, target: Path) -> FileDigest:
    digest = copy_hashed(source, target)
    shutil.copystat(source, target)
    return digest


def hash_in_place(run: Path) -> tuple[StagedFile, ...]:
    """Hash all files of *run* where they are."""
    return tuple(StagedFile(inside, file_digest(run / inside)) for inside in files_of(run))


def publish_files(workspace: Workspace, run_id: str, staged: Path) -> None:
    """Move the *staged* folder to its place in one step.

    Raises:
        AlreadyExists: Files lie there that no manifest speaks of and that are not the same.
    """
    place = workspace.preserved_path(run_id)
    if place.exists() and hash_in_place(place) == hash_in_place(staged):
        return
    try:
        os.rename(staged, place)
    except OSError as error:
        raise AlreadyExists(
            f"{place} exists, has no manifest and differs from the run; move it away, then preserve again"
        ) from error
    sync_folder(place.parent)


def publish_records(workspace: Workspace, run_id: str, *, outcomes: bytes | None, manifest: str) -> None:
    """Write the outcomes and then, as the last step of all, the manifest.

    Raises:
        AlreadyExists: The run got a manifest in the meantime.
        StorageFailed: The disk refused; there is no manifest.
    """
    if outcomes is not None:
        write_atomically(workspace.outcomes_path(run_id), outcomes)
    publish_new(workspace.manifest_path(run_id), manifest)
