"""Equal bytes stored once: hard links from preserved runs into one folder of contents.

The folder is a convenience and no part of what is preserved. A run's own folder has all its files; what
lies here is found again by content, compared byte by byte before it is shared, and may be deleted.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from runkit.archive.hashing import FileDigest
from runkit.archive.workspace import Workspace
from runkit.archive.writing import NO_LINKS, TEMPORARY_SUFFIX, sync_files

_CHUNK_BYTES = 1 << 20
_EXECUTABLE = 0o111


def object_path(workspace: Workspace, file: Path, sha256: str) -> Path:
    """Return where bytes with this digest are shared; an executable file shares with executable ones."""
    suffix = ".x" if file.stat().st_mode & _EXECUTABLE else ""
    return workspace.objects / "sha256" / sha256[:2] / f"{sha256}{suffix}"


def share_and_sync(
    workspace: Workspace, files: Sequence[tuple[Path, FileDigest]]
) -> tuple[tuple[Path, Path], ...]:
    """Make staged *files* durable, and let those whose bytes are here already become links to them.

    Files are only ever replaced by equal ones. An empty file is not worth a link.

    Returns:
        Each file whose bytes nobody shares yet, with the place where they can be offered.
    """
    firsts: dict[Path, Path] = {}
    repeated: list[tuple[Path, Path]] = []
    alone: list[Path] = []
    for path, digest in files:
        shared = object_path(workspace, path, digest.sha256) if digest.size_bytes else None
        if shared is None:
            alone.append(path)
        elif shared in firsts:
            repeated.append((path, firsts[shared]))
        elif not (_equal(shared, path) and _became_link(path, shared)):
            firsts[shared] = path
    repeated = [(path, first) for path, first in repeated if not _became_link(path, first)]
    sync_files([*alone, *firsts.values(), *(path for path, _first in repeated)])
    return tuple((path, shared) for shared, path in firsts.items())


def offer(path: Path, shared: Path) -> None:
    """Let later runs find the bytes of *path* at *shared*; what lies there has other bytes or is equal.

    This comes after the run is whole: before, bytes of a run that fails would stay and fill the disk. Where
    it fails, later runs have copies of their own.
    """
    aside = shared.with_name(f".{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    with suppress(OSError):
        shared.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, aside)
        os.replace(aside, shared)
    # When both are links to one file already, a rename does nothing and leaves the other name.
    with suppress(OSError):
        aside.unlink(missing_ok=True)


def _became_link(path: Path, shared: Path) -> bool:
    """Replace *path* by a link to *shared*; False where that cannot be, and *path* is as it was."""
    aside = path.with_name(f".{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        os.link(shared, aside)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno in NO_LINKS:
            return False
        raise
    os.replace(aside, path)
    return True


def _equal(shared: Path, path: Path) -> bool:
    """Return whether both files have the same bytes; what has the right name may be damaged."""
    try:
        with shared.open("rb", buffering=0) as one, path.open("rb", buffering=0) as other:
            if os.fstat(one.fileno()).st_size != os.fstat(other.fileno()).st_size:
                return False
            while True:
                chunk = one.read(_CHUNK_BYTES)
                if chunk != other.read(_CHUNK_BYTES):
                    return False
                if not chunk:
                    return True
    except FileNotFoundError:
        return False
