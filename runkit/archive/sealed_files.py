"""Reading the files of a preserved run, only as the bytes that its manifest seals."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

from runkit.archive.hashing import file_digest
from runkit.archive.opening import read_regular
from runkit.archive.workspace import Workspace
from runkit.errors import RunUnreadable
from runkit.records.manifest import Artifact, Manifest


def sealed_text(
    workspace: Workspace, manifest: Manifest, path: str, *, references: Path | None = None
) -> str | None:
    """Return the text of the artifact *path*, or None when it is kept by reference and not at hand.

    Args:
        references: Folder that holds the run directories of artifacts kept by reference.
    Raises:
        RunUnreadable: The file is missing, or has other bytes than the manifest says.
    """
    found = _found(workspace, manifest, path, references)
    if found is None:
        return None
    artifact, place = found
    try:
        content = read_regular(place, limit=artifact.size_bytes)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise _changed(place, manifest) from error
        raise _unreadable(place, error) from error
    if hashlib.sha256(content).hexdigest() != artifact.sha256:
        raise _changed(place, manifest)
    return content.decode(errors="replace")


def sealed_file(
    workspace: Workspace, manifest: Manifest, path: str, *, references: Path | None = None
) -> Path | None:
    """Return where the artifact *path* lies, its bytes hashed; otherwise as :func:`sealed_text`.

    For files that are too large to be read at once.
    """
    found = _found(workspace, manifest, path, references)
    if found is None:
        return None
    artifact, place = found
    try:
        digest = file_digest(place)
    except OSError as error:
        raise _unreadable(place, error) from error
    if digest.sha256 != artifact.sha256:
        raise _changed(place, manifest)
    return place


def _found(
    workspace: Workspace, manifest: Manifest, path: str, references: Path | None
) -> tuple[Artifact, Path] | None:
    artifact = next((one for one in manifest.sealed.artifacts if one.path == path), None)
    if artifact is None:
        return None
    if artifact.storage != "reference":
        return artifact, workspace.preserved_path(manifest.run_id) / path
    return (artifact, references / manifest.run_id / path) if references is not None else None


def _unreadable(place: Path, error: OSError) -> RunUnreadable:
    return RunUnreadable(f"{place} cannot be read: {error.strerror}; run `runkit validate`")


def _changed(place: Path, manifest: Manifest) -> RunUnreadable:
    return RunUnreadable(
        f"{place} has other bytes than the manifest of {manifest.run_id} seals; run `runkit validate`"
    )
