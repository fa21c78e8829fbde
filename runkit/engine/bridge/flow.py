"""Rectified flow: the straight path from noise to a target, its loss and its sampler; no network here.

Legend: B examples, K soft tokens, E width of the target model's embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]
"""Maps (point ``[B, K, E]``, time ``[B]`` in [0, 1]) to a velocity ``[B, K, E]``; only Heun asks at 1."""

Method = Literal["euler", "heun"]


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
    _assert_steps(steps)
    point_BKE = noise_BKE
    for index in range(steps):
        point_BKE = point_BKE + velocity(point_BKE, _time(index / steps, noise_BKE)) / steps
    return point_BKE


def sample_heun(velocity: Velocity, noise_BKE: Tensor, *, steps: int) -> Tensor:
    """Return the end of the path from *noise_BKE*, after *steps* steps of two velocities each.

    A step takes the mean of the velocities at its start and at the end of an Euler step: second order,
    for twice the work. Gradients flow through all of it.

    Raises:
        ValueError: *steps* is not positive.
    Source:
        Karras et al. (2022), Elucidating Diffusion Models, arXiv:2206.00364, algorithm 1, without the
        switch to Euler in the last step: our velocity is defined at the end of the path.
    """
    _assert_steps(steps)
    point_BKE = noise_BKE
    for index in range(steps):
        start_BKE = velocity(point_BKE, _time(index / steps, noise_BKE))
        end_BKE = velocity(point_BKE + start_BKE / steps, _time((index + 1) / steps, noise_BKE))
        point_BKE = point_BKE + (start_BKE + end_BKE) / (2 * steps)
    return point_BKE


SAMPLERS: Mapping[Method, Callable[..., Tensor]] = {"euler": sample_euler, "heun": sample_heun}


def guided(conditional: Tensor, unconditional: Tensor, *, guidance: float) -> Tensor:
    """Return ``v_null + g (v_condition - v_null)``: 1 is the conditional velocity, 0 the other.

    Source:
        Ho and Salimans (2022), Classifier-Free Diffusion Guidance, arXiv:2207.12598, equation 6 with
        ``g = 1 + w``, of velocities instead of scores.
    """
    return unconditional + guidance * (conditional - unconditional)


def _time(fraction: float, noise_BKE: Tensor) -> Tensor:
    return torch.full((noise_BKE.shape[0],), fraction, dtype=noise_BKE.dtype, device=noise_BKE.device)


def _assert_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"a sampler needs at least one step, got {steps}")
