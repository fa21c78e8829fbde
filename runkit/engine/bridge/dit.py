"""The bridge network: a diffusion transformer over soft-token slots that reads the source's hidden states.

Legend: B examples, N source tokens, S width of source states, K soft tokens, E width of the target's
embeddings, D width of the bridge, H heads, M modulation vectors of a block.

Soft tokens come in units of the target's median embedding RMS; :mod:`runkit.engine.bridge.scale` brings
them to size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from runkit.engine.bridge.align import SourceAlign
from runkit.engine.bridge.attention import Attention
from runkit.engine.bridge.conditioning import Condition, Conditioning, NullCondition, SourceEncoder, sincos
from runkit.engine.bridge.dimensions import Dimensions
from runkit.engine.bridge.flow import SAMPLERS, Method, guided

_TIME_SCALE = 1000.0
"""Times in [0, 1) barely move a sinusoidal code; the original DiT was trained on steps 0..999."""


class DiTBridge(nn.Module):
    """Maps a question's source states and noise to soft tokens, by integrating a learned velocity.

    A factor that is off has no parameters: without *slot_positions* there is no position table, and with
    pooled conditioning there is no cross-attention; without *guidance* (that is, with guidance 1) there is
    no null token and one velocity a step. Without slot positions the network is equivariant
    under permutations of the slots: it cannot put different content into different slots except by noise.

    Source:
        Peebles and Xie (2023), Scalable Diffusion Models with Transformers, arXiv:2212.09748 (adaLN-Zero).
    """

    def __init__(
        self,
        dimensions: Dimensions,
        *,
        slot_positions: bool,
        conditioning: Conditioning,
        method: Method = "euler",
        guidance: float = 1.0,
        align: SourceAlign | None = None,
    ) -> None:
        super().__init__()
        source_width, target_width, width, depth, heads, num_soft_tokens = dimensions
        self.num_soft_tokens = num_soft_tokens
        self.method: Method = method
        self.guidance = guidance
        self.source = SourceEncoder(
            source_width=source_width, width=width, conditioning=conditioning, align=align
        )
        self.enter = nn.Linear(target_width, width)
        self.slots_KD = nn.Parameter(0.5 * torch.randn(num_soft_tokens, width)) if slot_positions else None
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, crosses=conditioning == "cross") for _ in range(depth)
        )
        self.modulate = nn.Linear(width, 2 * width)
        self.leave = nn.Linear(width, target_width)
        for layer in (self.modulate, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.null = NullCondition(width) if guidance != 1.0 else None

    def condition(self, states_BNS: Tensor, keep_BN: Tensor) -> Condition:
        """Return the encoded source, to be computed once for all steps of the sampler."""
        encoded: Condition = self.source(states_BNS, keep_BN)
        return encoded

    def velocity(self, point_BKE: Tensor, time_B: Tensor, condition: Condition) -> Tensor:
        """Return the velocity at *point_BKE*, shape ``[B, K, E]``; zero everywhere at initialisation."""
        hidden_BKD = self.enter(point_BKE)
        if self.slots_KD is not None:
            hidden_BKD = hidden_BKD + self.slots_KD
        signal_BD = self.time(sincos(_TIME_SCALE * time_B, hidden_BKD.shape[-1]))
        if condition.pooled_BD is not None:
            signal_BD = signal_BD + condition.pooled_BD
        signal_BD = functional.silu(signal_BD)
        for block in self.blocks:
            hidden_BKD = block(hidden_BKD, signal_BD, condition)
        shift_B1D, scale_B1D = self.modulate(signal_BD)[:, None].chunk(2, dim=-1)
        velocity_BKE: Tensor = self.leave(_normalise(hidden_BKD) * (1 + scale_B1D) + shift_B1D)
        return velocity_BKE

    def forward(self, states_BNS: Tensor, keep_BN: Tensor, noise_BKE: Tensor, *, steps: int) -> Tensor:
        """Return soft tokens ``[B, K, E]`` sampled from *noise_BKE* in *steps* steps."""
        return self.sample(self.condition(states_BNS, keep_BN), noise_BKE, steps=steps)

    def sample(self, condition: Condition, noise_BKE: Tensor, *, steps: int) -> Tensor:
        """Return soft tokens ``[B, K, E]`` for an encoded source; gradients flow through all steps."""
        sampler = SAMPLERS[self.method]
        if self.null is None:
            return sampler(lambda point, time: self.velocity(point, time, condition), noise_BKE, steps=steps)
        everywhere_B = torch.ones(noise_BKE.shape[0], dtype=torch.bool, device=noise_BKE.device)
        without = self.null(condition, everywhere_B)

        def velocity(point_BKE: Tensor, time_B: Tensor) -> Tensor:
            conditional_BKE = self.velocity(point_BKE, time_B, condition)
            unconditional_BKE = self.velocity(point_BKE, time_B, without)
            return guided(conditional_BKE, unconditional_BKE, guidance=self.guidance)

        return sampler(velocity, noise_BKE, steps=steps)


class Block(nn.Module):
    """Self-attention over slots, cross-attention to the source (if any) and an MLP, each under adaLN-Zero."""

    def __init__(self, *, width: int, heads: int, crosses: bool) -> None:
        super().__init__()
        self.attend = Attention(width=width, heads=heads)
        self.cross = Attention(width=width, heads=heads) if crosses else None
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )
        self.modulate = nn.Linear(width, (9 if crosses else 6) * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, hidden_BKD: Tensor, signal_BD: Tensor, condition: Condition) -> Tensor:
        """Return the residual stream after the block; the stream itself at initialisation."""
        vectors = self.modulate(signal_BD)[:, None].chunk(9 if self.cross is not None else 6, dim=-1)
        modulation = [Modulation(*vectors[first : first + 3]) for first in range(0, len(vectors), 3)]
        inner_BKD = modulation[0].open(hidden_BKD)
        hidden_BKD = hidden_BKD + modulation[0].gate * self.attend(inner_BKD, inner_BKD, None)
        if self.cross is not None:
            assert condition.states_BND is not None
            crossed_BKD = self.cross(modulation[2].open(hidden_BKD), condition.states_BND, condition.keep_BN)
            hidden_BKD = hidden_BKD + modulation[2].gate * crossed_BKD
        grown_BKD: Tensor = hidden_BKD + modulation[1].gate * self.mlp(modulation[1].open(hidden_BKD))
        return grown_BKD


class Modulation(NamedTuple):
    """Shift, scale and gate of one branch, each ``[B, 1, D]`` and zero at initialisation."""

    shift: Tensor
    scale: Tensor
    gate: Tensor

    def open(self, hidden_BKD: Tensor) -> Tensor:
        """Return the branch's input."""
        return _normalise(hidden_BKD) * (1 + self.scale) + self.shift


def _normalise(hidden_BKD: Tensor) -> Tensor:
    return functional.layer_norm(hidden_BKD, hidden_BKD.shape[-1:], eps=1e-6)
