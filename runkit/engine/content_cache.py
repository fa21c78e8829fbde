"""Tensors on disk under a digest of all that they depend on; what does not check out is made again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from runkit.engine import operations
from runkit.engine.pair import FrozenModel
from runkit.engine.world import SOLO, World
from runkit.errors import StorageFailed

_METADATA_KEY = "runkit_cache"


def cached_tensors(
    what: str,
    key: Mapping[str, Any],
    make: Callable[[], Mapping[str, Tensor]],
    *,
    cache_dir: Path,
    note: Callable[[str], object],
    world: World = SOLO,
) -> dict[str, Tensor]:
    """Return what *make* returns, from *cache_dir* where it was made before.

    The tensors are mapped from the file: what is never looked at takes no memory. An entry that does not
    check out is made again, and *note* is given one line about it. Several processes make it together when
    it is missing for one of them, and each reads what lies on its own disk.

    Args:
        what: What the tensors are, for that line.
        key: All that the tensors depend on, as JSON values.
    Raises:
        StorageFailed: The cache cannot be written.
    """
    path = cache_dir / f"{_digest(key)}.safetensors"
    is_there = path.is_file()
    kept = _read_entry(path, key) if is_there else None
    if all(world.gathered(kept is not None)) and kept is not None:
        return kept
    if is_there and kept is None:
        note(f"[Cache] entry {path.name} with {what} is damaged; making it again")
    made = make()
    if world.is_main:
        _write_entry(path, key, made)
    world.gathered(None)  # until the main process has written
    if not world.is_main and _read_entry(path, key) is None:  # a disk of its own
        _write_entry(path, key, made)
    return dict(load_file(path))


def identity_of(frozen: FrozenModel, *, threads: int) -> dict[str, Any]:
    """Return what the numbers that *frozen* computes depend on, for a key: weights, dtype and machine."""
    on_gpu = frozen.device.type == "cuda"
    return {
        "model": frozen.sha256 or f"{frozen.name}@{frozen.revision}",
        "dtype": str(frozen.embedding_table.dtype),
        "device": torch.cuda.get_device_name(frozen.device) if on_gpu else frozen.device.type,
        "operations": operations.fingerprint(),
        "threads": threads,
        "torch": torch.__version__,
    }


def digest_of_tokens(texts: object) -> str:
    """Return the SHA-256 of token ids, as long keys are known by."""
    return _digest(texts)


def _read_entry(path: Path, key: Mapping[str, Any]) -> dict[str, Tensor] | None:
    try:
        with safetensors.safe_open(path, "pt") as opened:
            known = json.loads((opened.metadata() or {}).get(_METADATA_KEY, "{}"))
        tensors = dict(load_file(path))
        return tensors if known == _seal(key, tensors) else None
    except (OSError, ValueError, safetensors.SafetensorError):  # FileNotFoundError among them
        return None


def _write_entry(path: Path, key: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write through a temporary file, fsync and rename; the tensors are not copied for it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(tensors), temporary, {_METADATA_KEY: json.dumps(_seal(key, tensors))})
        with temporary.open("rb") as opened:
            os.fsync(opened.fileno())
        temporary.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StorageFailed(f"cannot write the cache entry {path.name}: {reason}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _seal(key: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    whole = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        whole.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return {"key": json.loads(json.dumps(key)), "sha256": whole.hexdigest()}


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
