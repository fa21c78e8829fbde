"""One function a loss term, all in nats or plain squared error; a term of weight 0 is never called.

Legend: A supervised positions of the whole batch, V vocabulary, B examples, K soft tokens,
E width of the target model's embeddings.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from runkit.engine.bridge.flow import Velocity, velocity_loss


def nll(logits_AV: Tensor, labels_A: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the answer tokens and the end token, in nats."""
    return functional.cross_entropy(logits_AV.float(), labels_A)


def flow(velocity: Velocity, noise_BKE: Tensor, teacher_BKE: Tensor, time_B: Tensor) -> Tensor:
    """Return the rectified-flow loss towards *teacher_BKE*, all in units of the table's RMS.

    The teacher is used for this term only: the soft tokens that the language model reads always come from
    the sampler, from noise.
    """
    return velocity_loss(velocity, noise_BKE, teacher_BKE, time_B)


def prompt_alignment(soft_BKE: Tensor, teacher_BKE: Tensor) -> Tensor:
    """Return the mean squared distance of soft tokens to the teacher, both in units of the table's RMS."""
    return (soft_BKE - teacher_BKE).square().mean()
