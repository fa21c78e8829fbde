"""Linear maps from the source's states to the target's embeddings, fitted to paired tokens; no text here.

A token-wise linear map cannot undo rotary positions and does not have to: the states of the residual
stream are never rotated. What it can do is bring two spaces together.

Legend: M paired tokens, S width of source states, E width of the target's embeddings, B examples,
N source tokens, A width after the map.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

_RIDGE_SHARE = 1e-3
"""Ridge penalty as a share of the states' mean variance."""


class LinearMap(NamedTuple):
    """``x W + b``."""

    weight_SA: Tensor
    bias_A: Tensor


def identity_map(width: int) -> LinearMap:
    """Return the map that changes nothing."""
    return LinearMap(torch.eye(width), torch.zeros(width))


def fit_ridge(states_MS: Tensor, embeddings_ME: Tensor) -> LinearMap:
    """Return the affine map with the least squared error plus a small penalty on its weights."""
    mean_S, mean_E = states_MS.mean(dim=0), embeddings_ME.mean(dim=0)
    centred_MS = (states_MS - mean_S).double()
    gram_SS = centred_MS.T @ centred_MS
    penalty = _RIDGE_SHARE * gram_SS.diagonal().mean()
    cross_SE = centred_MS.T @ (embeddings_ME - mean_E).double()
    weight_SE = torch.linalg.solve(gram_SS + penalty * torch.eye(len(gram_SS)), cross_SE).float()
    return LinearMap(weight_SE, mean_E - mean_S @ weight_SE)


def fit_procrustes(states_MS: Tensor, embeddings_ME: Tensor) -> LinearMap:
    """Return the (semi-)orthogonal map that agrees best with the pairs, between centred clouds.

    Lengths are kept in the smaller of the two spaces; there is no scale.

    Source:
        Schoenemann (1966), A generalized solution of the orthogonal Procrustes problem; for unequal
        widths the polar factor of the cross-covariance is the maximiser of the same trace.
    """
    mean_S, mean_E = states_MS.mean(dim=0), embeddings_ME.mean(dim=0)
    cross_SE = (states_MS - mean_S).double().T @ (embeddings_ME - mean_E).double()
    left_SR, _, right_RE = torch.linalg.svd(cross_SE, full_matrices=False)
    weight_SE = (left_SR @ right_RE).float()
    return LinearMap(weight_SE, mean_E - mean_S @ weight_SE)


class SourceAlign(nn.Module):
    """A fitted map in front of a bridge, on normalised states, in fp32; trained on or kept as it is."""

    def __init__(self, fitted: LinearMap, *, trainable: bool) -> None:
        super().__init__()
        self.weight_SA = nn.Parameter(fitted.weight_SA.clone(), requires_grad=trainable)
        self.bias_A = nn.Parameter(fitted.bias_A.clone(), requires_grad=trainable)

    def forward(self, states_BNS: Tensor) -> Tensor:
        """Return the mapped states, shape ``[B, N, A]``."""
        return normalised(states_BNS) @ self.weight_SA + self.bias_A


def normalised(states_BNS: Tensor) -> Tensor:
    """Return states of root mean square 1, which is what maps are fitted to."""
    return torch.nn.functional.rms_norm(states_BNS, states_BNS.shape[-1:], eps=1e-6)
