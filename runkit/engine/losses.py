"""One function a loss term, all in nats or plain squared error; a term of weight 0 is never called.

Legend: A supervised positions of the whole batch, V vocabulary, B examples, K soft tokens,
E width of the target model's embeddings, M positions that have a teacher, P training questions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from runkit.engine.bridge.flow import Velocity, velocity_loss

_ALIGNMENT_TEMPERATURE = 0.1
_INFO_NCE_TEMPERATURE = 0.07


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


def prompt_alignment_ce(soft_BKE: Tensor, table_VE: Tensor, teacher_ids_BK: Tensor) -> Tensor:
    """Return the mean cross-entropy, in nats, of which token of the vocabulary each soft token points at.

    Scores are cosines over a temperature of 0.1, so the size of soft tokens does not matter.
    """
    cosine_BKV = functional.normalize(soft_BKE, dim=-1) @ functional.normalize(table_VE, dim=-1).T
    return functional.cross_entropy(
        cosine_BKV.flatten(0, 1) / _ALIGNMENT_TEMPERATURE, teacher_ids_BK.flatten()
    )


def kl(logits_MV: Tensor, teacher_log_probs_MV: Tensor) -> Tensor:
    """Return ``KL(teacher || bridged)`` in nats, the mean over positions."""
    log_probs_MV = functional.log_softmax(logits_MV.float(), dim=-1)
    return functional.kl_div(log_probs_MV, teacher_log_probs_MV, reduction="batchmean", log_target=True)


def info_nce(soft_BKE: Tensor, bank_PE: Tensor, rows_B: Tensor, alike_P: Tensor) -> Tensor:
    """Return how badly mean soft tokens and questions find each other, in nats.

    Half of it asks each mean soft token for its question among all P, half asks each question of the
    batch for its soft tokens among the B. Questions that the bank cannot tell apart are no negatives.

    Args:
        bank_PE: Unit vectors of the questions.
        rows_B: The row in the bank of each example.
        alike_P: Equal numbers for questions that the bank cannot tell apart.
    Source:
        Oord et al. (2018), arXiv:1807.03748; in both directions as Radford et al. (2021), arXiv:2103.00020.
    """
    score_BP = functional.normalize(soft_BKE.mean(dim=1), dim=-1) @ bank_PE.T / _INFO_NCE_TEMPERATURE
    is_twin_BP = alike_P[rows_B][:, None] == alike_P
    is_twin_BP[torch.arange(len(rows_B)), rows_B] = False
    score_BP = score_BP.masked_fill(is_twin_BP, float("-inf"))
    among_batch_BB = score_BP[:, rows_B].T
    own_B = torch.arange(len(rows_B))
    return (functional.cross_entropy(score_BP, rows_B) + functional.cross_entropy(among_batch_BB, own_B)) / 2
