"""The one builder of input sequences, for training and for evaluation alike; it embeds nothing itself.

A sequence reads ``[BOS] F S_1..S_K text answer EOS``. F are worked examples or nothing; it is the same for
all rows, stands first so that it is read once and shared, and is not part of the rows built here. Text is
the question with the instruction (``soft_plus_text``) or the instruction alone (``soft_only``, without F);
K is 0 for a model on its own. Evaluation
builds the same rows without the answer. Padding stands on the right only, after everything that counts,
so positions are 0, 1, 2, … without a gap and causal attention never sees a pad.

Legend: B examples, T sequence positions, K soft tokens, E width of embeddings, A supervised positions,
Q question tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from runkit.engine.staging import sent

PromptMode = Literal["soft_plus_text", "soft_only"]


class SpecialTokens(NamedTuple):
    """Token ids that a sequence is framed with."""

    bos: int | None
    """None for a tokenizer that has none: a sequence then begins with what comes next."""
    eos: int
    pad: int


class Sequences(NamedTuple):
    """A batch of rows; K columns are slots for soft tokens and hold padding ids."""

    token_ids_BT: Tensor
    position_ids_BT: Tensor
    real_BT: Tensor
    """False at the padding on the right, True at slots and tokens."""
    first_slot: int
    """Column of the first slot: 1 after BOS, 0 where the shared prefix holds it or there is none."""
    num_slots: int
    predicting_A: Tensor
    """Flat indices ``b * T + t`` of the positions whose prediction is supervised."""
    labels_A: Tensor
    """The token that each of them should predict: the answer, then EOS; never BOS, never padding."""

    @property
    def lengths(self) -> tuple[int, ...]:
        """The number of slots and tokens of each row, padding not counted."""
        return tuple(self.real_BT.sum(dim=1).tolist())


def prompt_text(*, question: str, instruction: str, mode: PromptMode) -> str:
    """Return the text that follows the soft tokens."""
    return instruction if mode == "soft_only" else question + instruction


def build_sequences(
    texts: Sequence[Sequence[int]],
    *,
    num_slots: int,
    special: SpecialTokens,
    answers: Sequence[Sequence[int]] | None = None,
    start: int = 0,
) -> Sequences:
    """Return the batch for tokenised *texts*, with *answers* for training and without for evaluation.

    Args:
        texts: Token ids of each row's text, without special tokens.
        num_slots: K, the same for all rows.
        answers: Token ids of each row's answer, without EOS, which is appended and supervised.
        start: Number of tokens in the shared prefix before the rows; it holds BOS, so the rows then do not.
    """
    begin = [] if special.bos is None or start > 0 else [special.bos]
    heads = [[*begin, *([special.pad] * num_slots), *text] for text in texts]
    tails = [[] for _ in texts] if answers is None else [[*answer, special.eos] for answer in answers]
    rows = [head + tail for head, tail in zip(heads, tails, strict=True)]
    length = max(map(len, rows))
    predicting = [
        number * length + column
        for number, (head, row) in enumerate(zip(heads, rows, strict=True))
        for column in range(len(head) - 1, len(row) - 1)
    ]
    return Sequences(
        token_ids_BT=torch.tensor([row + [special.pad] * (length - len(row)) for row in rows]),
        position_ids_BT=torch.arange(start, start + length).expand(len(rows), length),
        real_BT=torch.tensor([[True] * len(row) + [False] * (length - len(row)) for row in rows]),
        first_slot=len(begin),
        num_slots=num_slots,
        predicting_A=torch.tensor(predicting, dtype=torch.long),
        labels_A=torch.tensor([token for tail in tails for token in tail], dtype=torch.long),
    )


def embed(sequences: Sequences, *, table_VE: Tensor, soft_BKE: Tensor | None) -> Tensor:
    """Return the embeddings ``[B, T, E]`` with *soft_BKE* in the slots; None when there are no slots.

    Raises:
        ValueError: The number of soft tokens is not the number of slots.
    """
    num_soft = 0 if soft_BKE is None else soft_BKE.shape[1]
    if num_soft != sequences.num_slots:
        raise ValueError(f"{num_soft} soft tokens for {sequences.num_slots} slots")
    embedded_BTE = functional.embedding(sent(sequences.token_ids_BT, table_VE.device), table_VE)
    if soft_BKE is None:
        return embedded_BTE
    first, after = sequences.first_slot, sequences.first_slot + num_soft
    return torch.cat([embedded_BTE[:, :first], soft_BKE.to(table_VE), embedded_BTE[:, after:]], dim=1)


def embed_told(
    sequences: Sequences, *, table_VE: Tensor, told_BQE: Tensor, question_keep_BQ: Tensor, first_B: Tensor
) -> Tensor:
    """Return the embeddings ``[B, T, E]`` of rows without slots, with *told_BQE* added to the question.

    What is told to padding is dropped.

    Args:
        first_B: Which token of its text each question begins with; BOS, if it is in the row, is not counted.
    """
    embedded_BTE = embed(sequences, table_VE=table_VE, soft_BKE=None)
    column_T = torch.arange(embedded_BTE.shape[1], device=embedded_BTE.device)
    token_BT = column_T - sequences.first_slot - first_B[:, None]
    nearest_BT = token_BT.clamp(0, told_BQE.shape[1] - 1)
    is_told_BT = (token_BT == nearest_BT) & question_keep_BQ.gather(1, nearest_BT)
    added_BTE = told_BQE.gather(1, nearest_BT[..., None].expand(-1, -1, told_BQE.shape[2]))
    return embedded_BTE + added_BTE.masked_fill(~is_told_BT[..., None], 0.0).to(table_VE)
