"""Reading the files of a preserved run, only as the bytes that its manifest seals."""

from __future__ import annotations

import hashlib
from pathlib import Path

from runkit.archive.opening import read_regular
from runkit.archive.workspace import Workspace
from runkit.errors import RunUnreadable
from runkit.records.manifest import Manifest


def sealed_text(
    workspace: Workspace, manifest: Manifest, path: str, *, references: Path | None = None
) -> str | None:
    """Return the text of the artifact *path*, or None when it is kept by reference and not at hand.

    Args:
        references: Folder that holds the run directories of artifacts kept by reference.
    Raises:
        RunUnreadable: The file is missing, or has other bytes than the manifest says.
    """
    artifact = next((one for one in manifest.sealed.artifacts if one.path == path), None)
    if artifact is None:
        return None
    if artifact.storage != "reference":
        place = workspace.preserved_path(manifest.run_id) / path
    elif references is None:
        return None
    else:
        place = references / manifest.run_id / path
    try:
        content = read_regular(place, limit=artifact.size_bytes)
    except OSError as error:
        raise RunUnreadable(f"{place} cannot be read: {error.strerror}; run `runkit validate`") from error
    if hashlib.sha256(content).hexdigest() != artifact.sha256:
        raise RunUnreadable(
            f"{place} has other bytes than the manifest of {manifest.run_id} seals; run `runkit validate`"
        )
    return content.decode(errors="replace")
