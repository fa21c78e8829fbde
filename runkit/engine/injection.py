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
from runkit.engine.staging import sent


class Soft(NamedTuple):
    """What a bridge says to a batch, in the size of embeddings."""

    soft_BKE: Tensor
    question_keep_BK: Tensor | None
    """For an adapter, True at real question tokens; None where there are slots."""
    first_B: Tensor | None = None
    """For an adapter, which token of its text each question begins with."""

    def rows(self, indices: Sequence[int]) -> Soft:
        """Return the part that belongs to *indices*."""
        rows, keep, first = list(indices), self.question_keep_BK, self.first_B
        return Soft(
            self.soft_BKE[rows], None if keep is None else keep[rows], None if first is None else first[rows]
        )

    def detached(self) -> Soft:
        """Return the same without gradients."""
        return self._replace(soft_BKE=self.soft_BKE.detach())


class Span(NamedTuple):
    """Which tokens of a text are the question."""

    first: int
    after: int

    @property
    def length(self) -> int:
        """The number of tokens."""
        return self.after - self.first


def adapter_says(
    adapter: Adapter,
    states: States,
    texts: Sequence[Sequence[int]],
    spans: Sequence[Span],
    *,
    table_VE: Tensor,
    scale: Scale,
) -> Soft:
    """Return what *adapter* adds to the question, the tokens of *spans*, in each of *texts*."""
    device, num_tokens = table_VE.device, [span.length for span in spans]
    ids_BQ = torch.zeros(len(texts), max(num_tokens), dtype=torch.long)
    for row, (text, (first, after)) in enumerate(zip(texts, spans, strict=True)):
        ids_BQ[row, : after - first] = torch.tensor(text[first:after])
    keep_BQ = torch.arange(max(num_tokens), device=device) < sent(torch.tensor(num_tokens), device)[:, None]
    question_BQE = table_VE[sent(ids_BQ, device)].float() / scale.rms
    told_BQE = adapter(states.states_BNS, states.keep_BN, question_BQE, keep_BQ)
    first_B = sent(torch.tensor([first for first, _ in spans]), device)
    return Soft(adapter.gate * scale(told_BQE), keep_BQ, first_B)


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
    if soft.question_keep_BK is None or soft.first_B is None:
        num_slots = soft.soft_BKE.shape[1]
        sequences = build_sequences(texts, num_slots=num_slots, special=special, answers=answers, start=start)
        return sequences, embed(sequences, table_VE=table_VE, soft_BKE=soft.soft_BKE)
    sequences = build_sequences(texts, num_slots=0, special=special, answers=answers, start=start)
    return sequences, embed_told(
        sequences,
        table_VE=table_VE,
        told_BQE=soft.soft_BKE,
        question_keep_BQ=soft.question_keep_BK,
        first_B=soft.first_B,
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
