"""The size of embeddings: what a row of the target's table measures, and soft tokens brought to that size.

Legend: B examples, K soft tokens, E width of the target model's embeddings, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

_SMALLEST_RMS = 1e-6
_SMALLEST_MEAN = 1e-30
"""A mean square of 0 has no reciprocal root."""
_CLAMP = (0.25, 4.0)

Method = Literal["exact", "none", "legacy_clamped"]


def row_rms(rows: Tensor) -> Tensor:
    """Return the root mean square of each row over the last axis, in fp32; 0 for a row of zeros.

    The root is taken as ``m / sqrt(m)`` by torch's own kernel: on a CPU ``sqrt`` is MKL's, which approximates
    it otherwise on processors of another maker.
    """
    mean = rows.float().square().mean(dim=-1)
    return mean * mean.clamp_min(_SMALLEST_MEAN).rsqrt()


def median_row_rms(table_VE: Tensor) -> float:
    """Return the median RMS over the rows of an embedding table; all-zero rows (padding) do not count."""
    rms_V = row_rms(table_VE)
    return float(rms_V[rms_V > 0].median())


@dataclass(frozen=True)
class Scale:
    """Brings soft tokens from units of *rms* to the size of embeddings."""

    rms: float
    """Median row RMS of the target's table."""
    method: Method
    """Whether every single row gets that RMS, the whole is only multiplied by it, or the old fault."""

    def __call__(self, soft_BKE: Tensor) -> Tensor:
        """Return *soft_BKE* in embedding size."""
        if self.method == "legacy_clamped":
            return match_rms_clamped(soft_BKE, rms=self.rms)
        return match_rms(soft_BKE, rms=self.rms) if self.method == "exact" else self.rms * soft_BKE


def match_rms(soft_BKE: Tensor, *, rms: float) -> Tensor:
    """Return *soft_BKE* with every row scaled to the root mean square *rms*.

    Exact and without a clamp: a clamped factor leaves soft tokens many times too large when the target's
    embeddings are small. Gradients flow through the scale.
    """
    return soft_BKE * (rms / row_rms(soft_BKE).clamp_min(_SMALLEST_RMS))[..., None]


def match_rms_clamped(soft_BKE: Tensor, *, rms: float) -> Tensor:
    """Return what runs of old did instead of :func:`match_rms`, to repeat them; nothing else needs it.

    The factor is kept between 1/4 and 4, so rows of size 1 stay some twenty times too large for a table
    whose rows measure 0.01.
    """
    return soft_BKE * (rms / row_rms(soft_BKE).clamp_min(_SMALLEST_RMS)).clamp(*_CLAMP)[..., None]
