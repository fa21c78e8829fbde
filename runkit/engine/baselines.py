"""Generations of a frozen model on its own, made once and kept under a digest of all they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runkit.engine import operations
from runkit.engine.checkpoint import write_whole
from runkit.engine.pair import FrozenModel, Generation, Prefix, length_of
from runkit.engine.prompts import build_sequences, embed
from runkit.engine.world import SOLO, World

_FORMAT = 2


def generate_alone(
    frozen: FrozenModel,
    prompts: Sequence[str],
    *,
    batch_size: int,
    max_new_tokens: int,
    padded: bool = False,
    prefix: Prefix | None = None,
    stops: Sequence[str] = (),
    world: World = SOLO,
) -> list[Generation]:
    """Return *frozen*'s greedy continuation of each prompt, through the builder that bridged prompts use."""
    texts = [frozen.encode(prompt) for prompt in prompts]
    generations: dict[int, Generation] = {}
    plan = batch_plan([len(text) for text in texts], batch_size=batch_size, padded=padded)
    for rows in world.share(plan):
        sequences = build_sequences(
            [texts[row] for row in rows], num_slots=0, special=frozen.special, start=length_of(prefix)
        )
        written = frozen.generate_greedy(
            embed(sequences, table_VE=frozen.embedding_table, soft_BKE=None),
            max_new_tokens=max_new_tokens,
            lengths=sequences.lengths,
            prefix=prefix,
            stops=stops,
        )
        generations.update(zip(rows, written, strict=True))
    generations = world.merged(generations)
    return [generations[row] for row in range(len(texts))]


def cached_alone(
    frozen: FrozenModel,
    prompts: Sequence[str],
    *,
    batch_size: int,
    max_new_tokens: int,
    threads: int,
    cache_dir: Path,
    note: Callable[[str], object],
    padded: bool = False,
    prefix: Prefix | None = None,
    stops: Sequence[str] = (),
    world: World = SOLO,
) -> list[Generation]:
    """Return what :func:`generate_alone` does, from *cache_dir* where it was made before.

    An entry that does not check out is made again, and *note* is given one line about it. Of several
    processes the main one alone reads and writes the cache.

    Raises:
        StorageFailed: The cache cannot be written.
    """
    key = {
        "format": _FORMAT,
        "model": frozen.sha256 or f"{frozen.name}@{frozen.revision}",
        "prompts_sha256": hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest(),
        "decoding": "greedy",
        "max_new_tokens": max_new_tokens,
        "batch_size": batch_size,
        "operations": operations.fingerprint(),
        "threads": threads,
        "padded": padded,
        "prefix": [] if prefix is None else list(prefix.token_ids),
        "stops": list(stops),
        "dtype": str(frozen.embedding_table.dtype),
        "device": frozen.device.type,
    }
    path = cache_dir / f"{_digest(key)}.json"

    def looked_up() -> list[Generation] | None:
        if not path.is_file():
            return None
        kept = _read_entry(path, key)
        if kept is None:
            note(f"[Baselines] cache entry {path.name} is damaged; generating again")
        return kept

    kept = world.from_main(looked_up)
    if kept is not None:
        return kept
    made = generate_alone(
        frozen,
        prompts,
        batch_size=batch_size,
        max_new_tokens=max_new_tokens,
        padded=padded,
        prefix=prefix,
        stops=stops,
        world=world,
    )
    if not world.is_main:
        return made
    rows = [[list(one.token_ids), one.finish] for one in made]
    write_whole(path, json.dumps({"key": key, "rows_sha256": _digest(rows), "rows": rows}).encode())
    return made


def batch_plan(lengths: Sequence[int], *, batch_size: int, padded: bool = False) -> list[list[int]]:
    """Return row numbers in batches: of one length each, or *padded*, all full but the last.

    The plan is a function of the lengths alone: shortest first, rows of a length in their order. Prompts of
    real questions are nearly all of different lengths, so that batches of one length would hold few rows.
    """
    if padded:
        order = sorted(range(len(lengths)), key=lambda row: lengths[row])
        return [order[first : first + batch_size] for first in range(0, len(order), batch_size)]
    plan: list[list[int]] = []
    for length in sorted(set(lengths)):
        rows = [row for row, one in enumerate(lengths) if one == length]
        plan += [rows[first : first + batch_size] for first in range(0, len(rows), batch_size)]
    return plan


def _read_entry(path: Path, key: dict[str, Any]) -> list[Generation] | None:
    try:
        entry = json.loads(path.read_bytes())
        if entry["key"] != key or entry["rows_sha256"] != _digest(entry["rows"]):
            return None
        return [Generation(tuple(token_ids), finish) for token_ids, finish in entry["rows"]]
    except (ValueError, KeyError, TypeError):
        return None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
