"""Where a frozen model comes from and what identifies it: the package, a folder or the hub; no weights."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from runkit.errors import TrainingStopped, UnknownName, UsageError

EMBEDDED = ("pocket/source", "pocket/target")
DEFAULT_REVISION = "main"

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_IDENTIFYING = frozenset({".json", ".safetensors", ".bin", ".model", ".txt", ".jinja"})


class Origin(NamedTuple):
    """A model that was found, not loaded yet."""

    name: str
    """For the records: the embedded name, the folder's last name or the name on the hub."""
    location: str
    """What transformers loads it by."""
    sha256: str | None
    """Over the names and bytes of the folder's files; None for a model on the hub."""
    revision: str | None
    """The commit on the hub; None for a folder."""


def find(name: str, *, revision: str) -> Origin:
    """Return where model *name* is, its identity fixed.

    Args:
        revision: A branch, tag or commit on the hub.
    Raises:
        UnknownName: *name* is neither embedded, nor a folder with a ``config.json``, nor like a hub name.
        UsageError: A revision is asked of a folder.
        TrainingStopped: The hub does not have it or cannot be reached.
    """
    folder = Path(__file__).parent / name if name in EMBEDDED else Path(name)
    if (folder / "config.json").is_file():
        if revision != DEFAULT_REVISION:
            raise UsageError(f"{name} is a folder and has no revision {revision!r}; only the hub has")
        return Origin(name if name in EMBEDDED else folder.name, str(folder), folder_sha256(folder), None)
    if not _HUB_NAME.fullmatch(name) or name.startswith("pocket/"):
        way_out = "or give a local folder with a config.json, or a name on the hub such as org/model"
        raise UnknownName.among("model", name, EMBEDDED, way_out=way_out)
    return Origin(name, name, None, _commit(name, revision))


def folder_sha256(folder: Path) -> str:
    """Return one digest over the names and bytes of the model and tokenizer files in *folder*."""
    whole = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in _IDENTIFYING:
            with path.open("rb") as opened:
                whole.update(f"{path.name}\0{hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())
    return whole.hexdigest()


def _commit(name: str, revision: str) -> str:
    """Return the commit that *revision* is now, from the hub or from what was downloaded of it before."""
    try:
        config_file = hf_hub_download(name, "config.json", revision=revision)
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingStopped(
            f"there is no folder {name} with a config.json, and the hub does not give model {name} at "
            f"{revision}: {reason}; without a network, download it elsewhere and give its local folder"
        ) from error
    return Path(config_file).parent.name  # snapshots/<commit>/config.json
