"""The linear bridge, the floor that the others have to beat: no attention, no slots, no noise.

Legend: B examples, N source tokens, S width of source states, K soft tokens, E width of the target's
embeddings.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from runkit.engine.bridge.align import SourceAlign
from runkit.engine.bridge.dimensions import Dimensions


class LinearBridge(nn.Module):
    """Cuts the question into K equal parts; one linear map takes each part's mean state to a soft token.

    The whole question is read, whatever K is, and nothing but one matrix is learned: what this bridge
    carries is in the source's states in the order of the words and needs no choosing. The states are
    normalised first, so their size does not matter. A question of fewer than K tokens repeats tokens.
    """

    def __init__(self, dimensions: Dimensions, *, align: SourceAlign | None = None) -> None:
        super().__init__()
        self.align = align
        self.num_soft_tokens = dimensions.num_soft_tokens
        self.norm = nn.RMSNorm(dimensions.source_width, eps=1e-6)
        self.leave = nn.Linear(dimensions.source_width, dimensions.target_width)

    def forward(self, states_BNS: Tensor, keep_BN: Tensor) -> Tensor:
        """Return soft tokens ``[B, K, E]`` in units of the embeddings' RMS; padding never contributes."""
        share_BKN = part_shares(keep_BN, num_parts=self.num_soft_tokens)
        aligned_BNS = states_BNS if self.align is None else self.align(states_BNS)
        soft_BKE: Tensor = self.leave(share_BKN @ self.norm(aligned_BNS))
        return soft_BKE


def part_shares(keep_BN: Tensor, *, num_parts: int) -> Tensor:
    """Return the weight of each token in each part's mean, shape ``[B, K, N]``; rows sum to 1.

    Part k of n real tokens starts at token ``floor(k n / K)`` and has at least one token.
    """
    num_tokens_B1 = keep_BN.sum(dim=1, keepdim=True)
    part_K = torch.arange(num_parts, device=keep_BN.device)
    first_BK = part_K * num_tokens_B1 // num_parts
    after_BK = torch.maximum(first_BK + 1, (part_K + 1) * num_tokens_B1 // num_parts)
    token_N = torch.arange(keep_BN.shape[1], device=keep_BN.device)
    inside_BKN = (token_N >= first_BK[..., None]) & (token_N < after_BK[..., None])
    return inside_BKN / inside_BKN.sum(dim=-1, keepdim=True)
