"""The resampler bridge: learned queries that read the source's hidden states; no noise, no time, no steps.

Legend: B examples, N source tokens, S width of source states, K soft tokens, E width of the target's
embeddings, D width of the bridge.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from runkit.engine.bridge.align import SourceAlign
from runkit.engine.bridge.attention import Attention
from runkit.engine.bridge.conditioning import SourceEncoder
from runkit.engine.bridge.dimensions import Dimensions

_QUERY_STD = 0.02
_MLP_FACTOR = 8 / 3
"""A SwiGLU of this factor has as many weights as a plain MLP of factor 4."""


class Resampler(nn.Module):
    """Maps a question's source states to soft tokens in units of the target's median embedding RMS.

    No branch has a gate: the output stands alone, so gates of zero would only make all questions look the
    same at initialisation. The learned queries tell the slots apart; there is no position table.

    Source:
        Alayrac et al. (2022), Flamingo, arXiv:2204.14198, section 2.1 (keys from source and queries).
    """

    def __init__(self, dimensions: Dimensions, *, align: SourceAlign | None = None) -> None:
        super().__init__()
        source_width, target_width, width, depth, heads, num_soft_tokens = dimensions
        self.source = SourceEncoder(source_width=source_width, width=width, conditioning="cross", align=align)
        self.queries_KD = nn.Parameter(_QUERY_STD * torch.randn(num_soft_tokens, width))
        self.layers = nn.ModuleList(ResamplerLayer(width=width, heads=heads) for _ in range(depth))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.leave = nn.Linear(width, target_width)

    def forward(self, states_BNS: Tensor, keep_BN: Tensor) -> Tensor:
        """Return soft tokens ``[B, K, E]``; padding never contributes."""
        condition = self.source(states_BNS, keep_BN)
        slots_BKD = self.queries_KD.expand(states_BNS.shape[0], -1, -1)
        for layer in self.layers:
            slots_BKD = layer(slots_BKD, condition.states_BND, keep_BN)
        soft_BKE: Tensor = self.leave(self.norm(slots_BKD))
        return soft_BKE


class ResamplerLayer(nn.Module):
    """Cross-attention to source and slots, self-attention over slots and a SwiGLU, each behind a norm."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.cross_norm = nn.RMSNorm(width, eps=1e-6)
        self.source_norm = nn.RMSNorm(width, eps=1e-6)
        self.cross = Attention(width=width, heads=heads)
        self.attend_norm = nn.RMSNorm(width, eps=1e-6)
        self.attend = Attention(width=width, heads=heads)
        self.mlp_norm = nn.RMSNorm(width, eps=1e-6)
        self.mlp = SwiGLU(width)

    def forward(
        self, slots_BKD: Tensor, states_BND: Tensor, keep_BN: Tensor, slot_keep_BK: Tensor | None = None
    ) -> Tensor:
        """Return the slots after the layer, shape ``[B, K, D]``; *slot_keep_BK* is None where all count."""
        asking_BKD = self.cross_norm(slots_BKD)
        seen_BMD = torch.cat([self.source_norm(states_BND), asking_BKD], dim=1)
        own_BK = slot_keep_BK
        if own_BK is None:
            own_BK = torch.ones_like(asking_BKD[..., 0], dtype=torch.bool)
        seen_BM = torch.cat([keep_BN, own_BK], dim=1)
        slots_BKD = slots_BKD + self.cross(asking_BKD, seen_BMD, seen_BM)
        inner_BKD = self.attend_norm(slots_BKD)
        slots_BKD = slots_BKD + self.attend(inner_BKD, inner_BKD, slot_keep_BK)
        grown_BKD: Tensor = slots_BKD + self.mlp(self.mlp_norm(slots_BKD))
        return grown_BKD


class SwiGLU(nn.Module):
    """A gated MLP.

    Source:
        Shazeer (2020), GLU Variants Improve Transformer, arXiv:2002.05202, equation 6.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = 2 * round(_MLP_FACTOR * width / 2)
        self.gate_and_value = nn.Linear(width, 2 * inner)
        self.out = nn.Linear(inner, width)

    def forward(self, hidden_BKD: Tensor) -> Tensor:
        """Return ``out(silu(gate) * value)``, shape ``[B, K, D]``."""
        gate, value = self.gate_and_value(hidden_BKD).chunk(2, dim=-1)
        mixed_BKD: Tensor = self.out(functional.silu(gate) * value)
        return mixed_BKD
