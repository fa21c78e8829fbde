"""Where a bridge's output enters the target's input: in slots before the text, or added to the question.

Legend: B examples, T sequence positions, K soft tokens (slots, or question tokens for an adapter), E width
of the target's embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from runkit.engine.bridge import Adapter, Bridge, DiTBridge
from runkit.engine.bridge.scale import Scale
from runkit.engine.pair import FrozenModel, Prefix, States, length_of
from runkit.engine.prompts import Sequences, build_sequences, embed, embed_told


class Soft(NamedTuple):
    """What a bridge says to a batch, in the size of embeddings."""

    soft_BKE: Tensor
    question_keep_BK: Tensor | None
    """For an adapter, True at real question tokens; None where there are slots."""

    def rows(self, indices: Sequence[int]) -> Soft:
        """Return the part that belongs to *indices*."""
        keep = self.question_keep_BK
        return Soft(self.soft_BKE[list(indices)], None if keep is None else keep[list(indices)])

    def detached(self) -> Soft:
        """Return the same without gradients."""
        return Soft(self.soft_BKE.detach(), self.question_keep_BK)


def adapter_says(
    adapter: Adapter,
    states: States,
    texts: Sequence[Sequence[int]],
    lengths: Sequence[int],
    *,
    table_VE: Tensor,
    scale: Scale,
) -> Soft:
    """Return what *adapter* adds to the first *lengths* tokens, the question, of each of *texts*."""
    longest = max(lengths)
    ids_BQ = torch.zeros(len(texts), longest, dtype=torch.long)
    for row, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        ids_BQ[row, :length] = torch.tensor(text[:length])
    keep_BQ = torch.arange(longest) < torch.tensor(lengths)[:, None]
    told_BQE = adapter(states.states_BNS, states.keep_BN, table_VE[ids_BQ] / scale.rms, keep_BQ)
    return Soft(adapter.gate * scale(told_BQE), keep_BQ)


def bridged_input(
    soft: Soft,
    texts: Sequence[Sequence[int]],
    target: FrozenModel,
    *,
    answers: Sequence[Sequence[int]] | None = None,
    prefix: Prefix | None = None,
) -> tuple[Sequences, Tensor]:
    """Return the rows and their embeddings ``[B, T, E]``, the one way in for training and evaluation."""
    table_VE, special, start = target.embedding_table, target.special, length_of(prefix)
    if soft.question_keep_BK is None:
        num_slots = soft.soft_BKE.shape[1]
        sequences = build_sequences(texts, num_slots=num_slots, special=special, answers=answers, start=start)
        return sequences, embed(sequences, table_VE=table_VE, soft_BKE=soft.soft_BKE)
    sequences = build_sequences(texts, num_slots=0, special=special, answers=answers, start=start)
    return sequences, embed_told(
        sequences, table_VE=table_VE, told_BQE=soft.soft_BKE, question_keep_BQ=soft.question_keep_BK
    )


def bridge_precision(table_VE: Tensor) -> torch.autocast:
    """Return the precision of a bridge's products: that of the target, whose weights are fp32 or bf16.

    The bridge's own weights, the path from noise and all losses stay fp32.
    """
    mixed = table_VE.dtype == torch.bfloat16
    return torch.autocast(table_VE.device.type, dtype=torch.bfloat16, enabled=mixed, cache_enabled=False)


def raw_slots(
    bridge: Bridge, states: States, noise_IKE: Tensor | None, rows: Sequence[int], *, steps: int
) -> Tensor:
    """Return soft tokens ``[B, K, E]`` in units of the embeddings' RMS, from the noise of *rows* if any."""
    assert not isinstance(bridge, Adapter), "an adapter has no slots"
    if isinstance(bridge, DiTBridge):
        assert noise_IKE is not None, "a DiT bridge starts from noise"
        sampled_BKE: Tensor = bridge(
            states.states_BNS, states.keep_BN, noise_IKE[list(rows)].to(states.states_BNS.device), steps=steps
        )
        return sampled_BKE
    mapped_BKE: Tensor = bridge(states.states_BNS, states.keep_BN)
    return mapped_BKE
