"""Noise as a function of (run seed, split, item, draw); no generator is carried from one item to the next.

Legend: B examples, K soft tokens, E width of the target model's embeddings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

EVALUATION_DRAW = 0
"""Every evaluation uses draw 0, so equal weights give equal outputs; training uses draws from 1 on."""


def item_noise(*, run_seed: int, split: str, item_id: str, draw: int, shape: tuple[int, ...]) -> Tensor:
    """Return standard normal fp32 noise on the CPU, the same for the same arguments whatever came before.

    The draw depends on no batch, order, device or worker. The stream is numpy's Philox with ziggurat
    normals: stable for one numpy version, not promised across versions.
    """
    noise = torch.empty(shape)
    fill(noise, run_seed=run_seed, split=split, item_id=item_id, draw=draw)
    return noise


def fill(noise: Tensor, *, run_seed: int, split: str, item_id: str, draw: int) -> None:
    """Write :func:`item_noise` into *noise*, fp32 on the CPU; other threads run meanwhile."""
    _generator(f"{run_seed}|{split}|{item_id}|{draw}").standard_normal(out=noise.numpy(), dtype=np.float32)


def batch_noise(
    *, run_seed: int, split: str, item_ids: Sequence[str], draw: int, shape: tuple[int, ...], std: float
) -> Tensor:
    """Return the noise of several items times *std*, stacked along a new first axis."""
    drawn = [
        item_noise(run_seed=run_seed, split=split, item_id=one, draw=draw, shape=shape) for one in item_ids
    ]
    return std * torch.stack(drawn)


def batch_times(*, run_seed: int, split: str, item_ids: Sequence[str], draw: int) -> Tensor:
    """Return one flow time in [0, 1) an item, shape ``[B]``, independent of the item's noise."""
    return torch.tensor(
        [_generator(f"{run_seed}|{split}|{one}|{draw}|time").random(dtype=np.float32) for one in item_ids]
    )


def batch_drops(
    *, run_seed: int, split: str, item_ids: Sequence[str], draw: int, probability: float
) -> Tensor:
    """Return which items lose their source in the flow loss, shape ``[B]``, independent of noise and time."""
    drawn = [_generator(f"{run_seed}|{split}|{one}|{draw}|drop").random() for one in item_ids]
    return torch.tensor([one < probability for one in drawn])


def _generator(name: str) -> np.random.Generator:
    key = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))
