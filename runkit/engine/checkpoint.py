"""Bridge weights on disk: safetensors with a few words of metadata, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from runkit.errors import RunUnreadable, StorageFailed

_FORMAT = 1
_METADATA_KEY = "runkit_bridge"
Role = Literal["best", "last"]


class Checkpoint(NamedTuple):
    """Weights with what is known of them."""

    weights: dict[str, Tensor]
    step: int
    role: str
    config_digest: str


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """Return a deep copy of the weights on the CPU, which later steps cannot change."""
    return {
        name: weight.detach().to("cpu", copy=True).contiguous()
        for name, weight in module.state_dict().items()
    }


def weights_sha256(module: nn.Module) -> str:
    """Return one digest over the names and bytes of all weights."""
    whole = hashlib.sha256()
    for name, weight in snapshot(module).items():
        whole.update(name.encode())
        whole.update(weight.reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def write_checkpoint(
    path: Path, weights: Mapping[str, Tensor], *, step: int, role: Role, config_digest: str
) -> None:
    """Write *weights* to *path*: to a temporary file beside it, flushed to the disk, then renamed.

    Raises:
        StorageFailed: The disk refused; *path* is as it was before.
    """
    known = {"format": _FORMAT, "step": step, "role": role, "config_digest": config_digest}
    # one entry, because safetensors writes several in an order that differs from process to process
    write_whole(path, save(dict(weights), {_METADATA_KEY: json.dumps(known)}))


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint in *path*.

    Raises:
        RunUnreadable: The file is missing, damaged or not a bridge checkpoint.
    """
    try:
        with safetensors.safe_open(path, "pt") as opened:
            known = json.loads((opened.metadata() or {}).get(_METADATA_KEY, "{}"))
        weights = load_file(path)
        if known.get("format") != _FORMAT:
            raise RunUnreadable(f"{path.name} is not a bridge checkpoint of format {_FORMAT}")
        return Checkpoint(weights, known["step"], known["role"], known["config_digest"])
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise RunUnreadable(f"{path.name} cannot be read as a bridge checkpoint: {error}") from error


def load_into(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy *weights* into *module*; names and shapes must match exactly.

    Raises:
        RunUnreadable: They belong to another configuration of the bridge.
    """
    try:
        module.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise RunUnreadable(
            f"the checkpoint belongs to another bridge: {' '.join(str(error).split())}"
        ) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write *content* to *path* through a temporary file, fsync and rename.

    Raises:
        StorageFailed: The disk refused; nothing half-written is left behind.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageFailed(f"cannot write {path.name}: {error.strerror}") from error
    except KeyboardInterrupt:
        temporary.unlink(missing_ok=True)
        raise
