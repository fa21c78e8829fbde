"""What the bridge gets to see of the source's hidden states: all of them, or one pooled vector.

Legend: B examples, N source tokens, S width of the (concatenated) source states, D width of the bridge.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from runkit.engine.bridge.align import SourceAlign

Conditioning = Literal["cross", "attn_pool", "mean"]


class Condition(NamedTuple):
    """The encoded source: exactly one of the two parts is there."""

    states_BND: Tensor | None
    """For cross-attention, with the positions of the source tokens added."""
    keep_BN: Tensor | None
    """True at real tokens, False at padding; belongs to *states_BND*."""
    pooled_BD: Tensor | None
    """One vector for the whole question, to be added to the time embedding."""


class SourceEncoder(nn.Module):
    """Normalises and projects source states, and pools them when the conditioning asks for it."""

    def __init__(
        self,
        *,
        source_width: int,
        width: int,
        conditioning: Conditioning,
        align: SourceAlign | None = None,
    ) -> None:
        super().__init__()
        self.align = align
        self.conditioning = conditioning
        self.norm = nn.RMSNorm(source_width, eps=1e-6)
        self.project = nn.Linear(source_width, width)
        if conditioning == "attn_pool":
            self.score = nn.Linear(width, 1)

    def forward(self, states_BNS: Tensor, keep_BN: Tensor) -> Condition:
        """Return what the bridge's blocks are conditioned on; padding never contributes."""
        aligned_BNS = states_BNS if self.align is None else self.align(states_BNS)
        states_BND = self.project(self.norm(aligned_BNS))
        if self.conditioning == "cross":
            # On the device of the states: a copy from the host would wait for it, and breaks CUDA graphs.
            place_N = torch.arange(states_BND.shape[1], dtype=torch.float32, device=states_BND.device)
            positions_ND = sincos(place_N, states_BND.shape[2])
            return Condition(states_BND + positions_ND, keep_BN, None)
        if self.conditioning == "mean":
            weight_BN = keep_BN / keep_BN.sum(dim=1, keepdim=True)
        else:
            score_BN = self.score(states_BND).squeeze(-1)
            weight_BN = score_BN.masked_fill(~keep_BN, float("-inf")).softmax(dim=1)
        return Condition(None, None, (weight_BN[..., None] * states_BND).sum(dim=1))


class NullCondition(nn.Module):
    """One learned token in place of the whole source, for classifier-free guidance."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token_D = nn.Parameter(torch.randn(width))

    def forward(self, condition: Condition, drop_B: Tensor) -> Condition:
        """Return *condition* with the learned token instead of the source where *drop_B* is true."""
        if condition.pooled_BD is not None:
            return Condition(None, None, torch.where(drop_B[:, None], self.token_D, condition.pooled_BD))
        assert condition.states_BND is not None
        assert condition.keep_BN is not None
        first_N = torch.arange(condition.keep_BN.shape[1], device=drop_B.device) == 0
        return Condition(
            torch.where(drop_B[:, None, None], self.token_D, condition.states_BND),
            torch.where(drop_B[:, None], first_N, condition.keep_BN),
            None,
        )


def sincos(value: Tensor, width: int) -> Tensor:
    """Return the sinusoidal code of each number, shape ``[*value.shape, width]``; *width* is even.

    Source:
        Vaswani et al. (2017), arXiv:1706.03762, section 3.5, cosines first.
    """
    half = width // 2
    frequency = torch.exp(
        -math.log(10_000.0) * torch.arange(half, dtype=torch.float32, device=value.device) / half
    )
    angle = value[..., None].float() * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=-1)
