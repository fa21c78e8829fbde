"""What killed processes left in the archive, and contents that no run refers to any more.

What is found here can be made again or belongs to nobody. A run's files without a manifest may be all that
is left of a run, so they are told of and never removed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from runkit.archive.store import STAGING_PREFIX
from runkit.archive.workspace import Workspace
from runkit.archive.writing import TEMPORARY_SUFFIX
from runkit.errors import StorageFailed, UsageError


@dataclass(frozen=True)
class Leftover:
    """Something in the archive that is no part of a preserved run."""

    path: str
    """Path in the workspace."""
    why: str
    size_bytes: int
    """What removing it frees."""
    is_removable: bool


def leftovers(workspace: Workspace) -> tuple[Leftover, ...]:
    """Return what is no part of a preserved run, sorted by path."""
    found = [
        *_in_preserved_runs(workspace),
        *_in_manifests(workspace),
        *_in_objects(workspace),
    ]
    return tuple(sorted(found, key=lambda one: one.path))


def remove(workspace: Workspace, leftover: Leftover) -> None:
    """Remove *leftover*; the caller holds the archive with :func:`runkit.archive.store.collecting`.

    Raises:
        StorageFailed: The disk refused.
    """
    path = workspace.root / leftover.path
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
            if path.is_relative_to(workspace.objects):
                _remove_empty(path.parent, workspace.objects)
    except OSError as error:
        raise StorageFailed(f"cannot remove {path}: {error.strerror or error}") from error


def _in_preserved_runs(workspace: Workspace) -> Iterator[Leftover]:
    for path in _entries(workspace.preserved_runs):
        if path.name.startswith(STAGING_PREFIX):
            yield _leftover(workspace, path, "a run that was on its way in when its process ended")
        elif _is_temporary(path):
            yield _leftover(workspace, path, "a file that was being written when its process ended")
        elif path.name.startswith(".") and path.suffix == ".lock" and not _is_locked(path):
            yield _leftover(workspace, path, "the lock of a process that ended")
        elif path.is_dir() and path.name[0] != "." and not _has_manifest(workspace, path.name):
            why = "files without a manifest; preserve the run again, or move them away"
            yield _leftover(workspace, path, why, is_removable=False)


def _in_manifests(workspace: Workspace) -> Iterator[Leftover]:
    for path in _entries(workspace.manifests):
        if _is_temporary(path):
            yield _leftover(workspace, path, "a file that was being written when its process ended")
        elif path.name.startswith(".") and path.suffix == ".lock" and not _is_locked(path):
            yield _leftover(workspace, path, "the lock of a process that ended")
        elif path.name.endswith(".outcomes.parquet"):
            manifest = path.with_name(path.name.removesuffix(".outcomes.parquet") + ".json")
            if not manifest.exists():
                yield _leftover(workspace, path, "outcomes without a manifest")


def _has_manifest(workspace: Workspace, name: str) -> bool:
    try:
        return workspace.manifest_path(name).exists()
    except UsageError:
        return False  # no run can be called so


def _in_objects(workspace: Workspace) -> Iterator[Leftover]:
    if workspace.objects.is_symlink():
        why = "a link; contents that runs share lie in the archive, and nothing behind it is looked at"
        yield _leftover(workspace, workspace.objects, why, is_removable=False)
        return
    for parent, _folders, names in os.walk(workspace.objects):
        for name in names:
            path = Path(parent, name)
            with suppress(FileNotFoundError):
                if _is_temporary(path) or path.lstat().st_nlink == 1:
                    yield _leftover(workspace, path, "contents that no run refers to")


def _leftover(workspace: Workspace, path: Path, why: str, *, is_removable: bool = True) -> Leftover:
    inside = path.relative_to(workspace.root).as_posix()
    return Leftover(inside, why, _freed_bytes(path), is_removable)


def _freed_bytes(path: Path) -> int:
    """Return what only *path* holds: a file with another name elsewhere frees nothing."""
    if path.is_symlink() or not path.is_dir():
        found = path.lstat()
        return found.st_size if found.st_nlink == 1 else 0
    return sum(
        _freed_bytes(Path(parent, name)) for parent, _folders, names in os.walk(path) for name in names
    )


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _is_temporary(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(TEMPORARY_SUFFIX)


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove_empty(folder: Path, top: Path) -> None:
    while folder.is_relative_to(top):
        try:
            folder.rmdir()
        except OSError:
            return  # something is left in it
        folder = folder.parent
