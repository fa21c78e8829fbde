"""The adapter: what a bridge adds to the target's own embeddings of the question, instead of slots before it.

Legend: B examples, N source tokens, S width of source states, Q question tokens of the target, E width of
the target's embeddings, D width of the bridge.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from runkit.engine.bridge.align import SourceAlign
from runkit.engine.bridge.conditioning import SourceEncoder, sincos
from runkit.engine.bridge.dimensions import Dimensions
from runkit.engine.bridge.resampler import ResamplerLayer


class Adapter(nn.Module):
    """A resampler whose queries are the question's embeddings, with one gate on what comes out.

    The gate is zero at initialisation, so an untrained bridge is the target alone, bit for bit. At the
    first step only the gate learns; from the second on everything does.

    Source:
        Fu et al. (2025), Cache-to-Cache, arXiv:2510.03215, for target plus gated projection.
    """

    def __init__(self, dimensions: Dimensions, *, align: SourceAlign | None = None) -> None:
        super().__init__()
        source_width, target_width, width, depth, heads, _no_slots = dimensions
        self.source = SourceEncoder(source_width=source_width, width=width, conditioning="cross", align=align)
        self.enter = nn.Linear(target_width, width)
        self.layers = nn.ModuleList(ResamplerLayer(width=width, heads=heads) for _ in range(depth))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.leave = nn.Linear(width, target_width)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(
        self, states_BNS: Tensor, keep_BN: Tensor, question_BQE: Tensor, question_keep_BQ: Tensor
    ) -> Tensor:
        """Return what each question token is told, ``[B, Q, E]``, before the gate; padding tells nothing.

        Args:
            question_BQE: Embeddings of the question in units of the table's RMS.
            question_keep_BQ: True at real question tokens.
        """
        condition = self.source(states_BNS, keep_BN)
        slots_BQD = self.enter(question_BQE)
        places_Q = torch.arange(slots_BQD.shape[1], dtype=torch.float32, device=slots_BQD.device)
        slots_BQD = slots_BQD + sincos(places_Q, slots_BQD.shape[2])
        for layer in self.layers:
            slots_BQD = layer(slots_BQD, condition.states_BND, keep_BN, question_keep_BQ)
        told_BQE: Tensor = self.leave(self.norm(slots_BQD))
        return told_BQE
