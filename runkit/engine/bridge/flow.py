"""Rectified flow: the straight path from noise to a target, its loss and its sampler; no network here.

Legend: B examples, K soft tokens, E width of the target model's embeddings.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""Maps (point ``[B, K, E]``, time ``[B]`` in [0, 1)) to a velocity ``[B, K, E]``."""


def point_on_path(noise_BKE: Tensor, target_BKE: Tensor, time_B: Tensor) -> Tensor:
    """Return ``(1 - t) noise + t target``, shape ``[B, K, E]``: noise at 0, the target at 1."""
    time_B11 = time_B[:, None, None]
    return (1.0 - time_B11) * noise_BKE + time_B11 * target_BKE


def velocity_loss(velocity: Velocity, noise_BKE: Tensor, target_BKE: Tensor, time_B: Tensor) -> Tensor:
    """Return the mean squared error of *velocity* against the straight path's, a scalar.

    Every slot counts: a slot that the language model will see but the loss does not is left to chance,
    so the caller pads short targets with a fixed embedding instead of masking them.

    Raises:
        ValueError: *noise_BKE* and *target_BKE* differ in shape.
    Source:
        Liu et al. (2022), Flow Straight and Fast, arXiv:2209.03003, equation 1.
    """
    if noise_BKE.shape != target_BKE.shape:
        raise ValueError(f"noise has shape {tuple(noise_BKE.shape)}, the target {tuple(target_BKE.shape)}")
    predicted_BKE = velocity(point_on_path(noise_BKE, target_BKE, time_B), time_B)
    return (predicted_BKE - (target_BKE - noise_BKE)).square().mean()


def sample_euler(velocity: Velocity, noise_BKE: Tensor, *, steps: int) -> Tensor:
    """Return the end of the path from *noise_BKE*, after *steps* Euler steps at times ``i / steps``.

    Gradients flow through all steps. The time of a step is that of the point it starts from, as in training.

    Raises:
        ValueError: *steps* is not positive.
    Source:
        Liu et al. (2022), arXiv:2209.03003, section 2 (forward Euler).
    """
    if steps < 1:
        raise ValueError(f"a sampler needs at least one step, got {steps}")
    point_BKE = noise_BKE
    for index in range(steps):
        time_B = torch.full(
            (noise_BKE.shape[0],), index / steps, dtype=noise_BKE.dtype, device=noise_BKE.device
        )
        point_BKE = point_BKE + velocity(point_BKE, time_B) / steps
    return point_BKE
