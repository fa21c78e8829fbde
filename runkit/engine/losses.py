"""One function a loss term, all in nats or plain squared error; a term of weight 0 is never called.

Legend: A supervised positions of the whole batch, V vocabulary, B examples, K soft tokens,
E width of the target model's embeddings, M positions that have a teacher, C tokens of which the teacher's
probability is kept, P training questions.
"""

from __future__ import annotations

from typing import NamedTuple

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
    cosine_BKV = functional.normalize(soft_BKE, dim=-1) @ functional.normalize(table_VE.float(), dim=-1).T
    return functional.cross_entropy(
        cosine_BKV.flatten(0, 1) / _ALIGNMENT_TEMPERATURE, teacher_ids_BK.flatten()
    )


class TopLogProbs(NamedTuple):
    """Of M predictions the most probable tokens, and all others as if they were one token."""

    token_ids_MC: Tensor
    log_probs_MC: Tensor
    tail_M: Tensor
    """Log-probability of all other tokens together; minus infinity where there are none."""


def top_log_probs(log_probs_MV: Tensor, *, num_tokens: int) -> TopLogProbs:
    """Return the *num_tokens* most probable tokens of each prediction, or all that there are."""
    kept_MC, ids_MC = log_probs_MV.topk(min(num_tokens, log_probs_MV.shape[1]), dim=-1)
    return TopLogProbs(ids_MC, kept_MC, _tail(log_probs_MV, ids_MC))


def _tail(log_probs_MV: Tensor, ids_MC: Tensor) -> Tensor:
    """Return the log-probability of all tokens but *ids_MC*; a sum, since 1 minus the others cancels."""
    return log_probs_MV.scatter(1, ids_MC, float("-inf")).logsumexp(dim=-1)


def kl(logits_MV: Tensor, teacher: Tensor | TopLogProbs) -> Tensor:
    """Return ``KL(teacher || bridged)`` in nats, the mean over positions.

    Args:
        teacher: Log-probabilities ``[M, V]``, or those of the most probable tokens. Then all other tokens
            count as one, for both: never more than the exact divergence, and equal to it with all tokens.
    """
    log_probs_MV = functional.log_softmax(logits_MV.float(), dim=-1)
    if isinstance(teacher, Tensor):
        return functional.kl_div(log_probs_MV, teacher, reduction="batchmean", log_target=True)
    ids_MC, teacher_MC, teacher_M = teacher
    kept_MC = log_probs_MV.gather(1, ids_MC)
    among_kept_M = (teacher_MC.exp() * (teacher_MC - kept_MC)).sum(dim=-1)
    if ids_MC.shape[1] == log_probs_MV.shape[1]:
        return among_kept_M.mean()
    tail_M = _tail(log_probs_MV, ids_MC)
    return (among_kept_M + teacher_M.exp() * (teacher_M - tail_M)).mean()


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
    own_B = torch.arange(len(rows_B), device=rows_B.device)
    is_twin_BP = alike_P[rows_B][:, None] == alike_P
    is_twin_BP[own_B, rows_B] = False
    score_BP = score_BP.masked_fill(is_twin_BP, float("-inf"))
    among_batch_BB = score_BP[:, rows_B].T
    return (functional.cross_entropy(score_BP, rows_B) + functional.cross_entropy(among_batch_BB, own_B)) / 2
