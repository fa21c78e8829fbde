"""The state that a stopped run goes on from: one file, whole or absent; it neither trains nor cuts logs.

The sampler's place and all noise are functions of the step and carry no state of their own, so there is no
random state to keep.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from runkit.engine.checkpoint import load_into, snapshot, write_whole
from runkit.engine.evaluate import Counts
from runkit.engine.run_files import Sizes
from runkit.engine.trainer import TrainState
from runkit.errors import RunUnreadable

STATE = Path("checkpoint/state.safetensors")
"""Where in the run directory; it is there from the first evaluation until the run came to its end."""

_FORMAT = 1
_METADATA_KEY = "runkit_state"


class SavedState(NamedTuple):
    """A run as it was after the evaluation at *step*."""

    step: int
    config_digest: str
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    """``<number of the parameter>.<name of its statistic>``."""
    best_step: int
    best_counts: Counts
    best_evals_since: int
    best_weights: dict[str, Tensor]
    losses: tuple[float, ...]
    """Of the steps since the last logged one."""
    sizes: Sizes
    """Of the files that grow."""


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return copies of the optimiser's statistics; the learning rate is a function of the step."""
    per_parameter = optimizer.state_dict()["state"]
    return {
        f"{number}.{name}": value.detach().to("cpu", copy=True).contiguous()
        for number, statistics in per_parameter.items()
        for name, value in statistics.items()
    }


def restore(state: TrainState, saved: SavedState) -> None:
    """Put *state* where *saved* was.

    Raises:
        RunUnreadable: *saved* belongs to another bridge.
    """
    load_into(state.bridge, saved.weights)
    per_parameter: dict[int, dict[str, Tensor]] = {}
    for key, value in saved.optimizer.items():
        number, _dot, name = key.partition(".")
        per_parameter.setdefault(int(number), {})[name] = value
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": per_parameter})
    state.step = saved.step


def saved_state(
    state: TrainState,
    *,
    config_digest: str,
    best_step: int,
    best_counts: Counts,
    best_evals_since: int,
    best_weights: dict[str, Tensor],
    losses: tuple[float, ...],
    sizes: Sizes,
) -> SavedState:
    """Return a copy of *state* with what else the run needs to go on."""
    return SavedState(
        step=state.step,
        config_digest=config_digest,
        weights=snapshot(state.bridge),
        optimizer=optimizer_tensors(state.optimizer),
        best_step=best_step,
        best_counts=best_counts,
        best_evals_since=best_evals_since,
        best_weights=best_weights,
        losses=losses,
        sizes=sizes,
    )


def write_state(path: Path, saved: SavedState) -> None:
    """Write *saved* to *path* in one step, replacing the state before it.

    Raises:
        StorageFailed: The disk refused; *path* is as it was before.
    """
    parts = {"bridge": saved.weights, "best": saved.best_weights, "optimizer": saved.optimizer}
    tensors = {f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()}
    known = {
        "format": _FORMAT,
        "step": saved.step,
        "config_digest": saved.config_digest,
        "best_step": saved.best_step,
        "best_counts": list(saved.best_counts),
        "best_evals_since": saved.best_evals_since,
        "losses": list(saved.losses),
        "sizes": list(saved.sizes),
    }
    sealed = {**known, "sha256": _sha256(known, tensors)}
    write_whole(path, save(tensors, {_METADATA_KEY: json.dumps(sealed)}))


def read_state(path: Path) -> SavedState:
    """Return the state in *path*.

    Raises:
        RunUnreadable: The file is missing, damaged in any byte, or no state of this format.
    """
    try:
        with safetensors.safe_open(path, "pt") as opened:
            known = json.loads((opened.metadata() or {}).get(_METADATA_KEY, "{}"))
        tensors = load_file(path)
        if known.get("format") != _FORMAT:
            raise RunUnreadable(f"{path.name} is not the state of a run in format {_FORMAT}")
        if known.pop("sha256") != _sha256(known, tensors):
            raise RunUnreadable(f"{path.name} is damaged: its content does not have the hash it names")
        return SavedState(
            step=known["step"],
            config_digest=known["config_digest"],
            weights=_part(tensors, "bridge"),
            optimizer=_part(tensors, "optimizer"),
            best_step=known["best_step"],
            best_counts=Counts(*known["best_counts"]),
            best_evals_since=known["best_evals_since"],
            best_weights=_part(tensors, "best"),
            losses=tuple(known["losses"]),
            sizes=Sizes(*known["sizes"]),
        )
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise RunUnreadable(f"{path.name} cannot be read as the state of a run: {error}") from error


def _part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    start = f"{part}/"
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _sha256(known: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)}".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
