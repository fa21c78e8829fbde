"""What the optional loss terms learn from, computed once from the frozen target; no loss is computed here.

Legend: B examples, P training problems, E width of the target's embeddings, V vocabulary, M positions that
have a teacher, A supervised positions of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from runkit.engine.pair import FrozenModel
from runkit.engine.prompts import build_sequences, embed
from runkit.errors import TrainingStopped

MAX_TEACHER_TOKENS = 20
"""Supervised positions of an answer that the full-text teacher speaks about, the first one included."""

_FORMAT_MARK = "####"

TokenIds = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class FullTextTeacher:
    """The frozen target's own predictions when it reads the whole question as text.

    They are kept in memory, whole: positions x vocabulary fp32 numbers a problem. That is 20 kB a problem
    for the pocket target and would be 10 MB for a vocabulary of 128,000.
    """

    target: FrozenModel
    prompts: TokenIds
    answers: TokenIds
    kept: dict[int, Tensor] = field(default_factory=dict)

    def log_probs(self, rows: Sequence[int]) -> Tensor:
        """Return log-probabilities ``[M, V]`` at the first positions of each row, row after row."""
        missing = [row for row in rows if row not in self.kept]
        if missing:
            self.kept.update(zip(missing, self._ask(missing), strict=True))
        return torch.cat([self.kept[row] for row in rows])

    def _ask(self, rows: Sequence[int]) -> tuple[Tensor, ...]:
        answers = [self.answers[row][: MAX_TEACHER_TOKENS - 1] for row in rows]
        sequences = build_sequences(
            [self.prompts[row] for row in rows], num_slots=0, special=self.target.special, answers=answers
        )
        with torch.no_grad():
            embedded_BTE = embed(sequences, table_VE=self.target.embedding_table, soft_BKE=None)
            logits_MV = self.target.logits(embedded_BTE, sequences.position_ids_BT, sequences.predicting_A)
            log_probs_MV = functional.log_softmax(logits_MV.float(), dim=-1)
        return torch.split(log_probs_MV, [len(answer) + 1 for answer in answers])


class QuestionBank(NamedTuple):
    """One vector for each training question, for the contrastive term."""

    mean_PE: Tensor
    """Mean embedding of the question's tokens, centred over all questions, of unit length."""
    alike_P: Tensor
    """Equal numbers for questions of the same tokens in any order, whose means are equal."""


def question_bank(table_VE: Tensor, questions: TokenIds) -> QuestionBank:
    """Return the bank of *questions* in the target's embedding space."""
    mean_PE = torch.stack([table_VE[list(ids)].mean(dim=0) for ids in questions])
    numbers: dict[tuple[int, ...], int] = {}
    alike = [numbers.setdefault(tuple(sorted(ids)), len(numbers)) for ids in questions]
    return QuestionBank(functional.normalize(mean_PE - mean_PE.mean(dim=0), dim=-1), torch.tensor(alike))


def format_start(answer: Sequence[int], decode: Callable[[Sequence[int]], str]) -> int:
    """Return the index of the token in which the last ``####`` of *answer* starts.

    Raises:
        TrainingStopped: The answer has no such mark.
    """
    before, mark, _ = decode(answer).rpartition(_FORMAT_MARK)
    if not mark:
        raise TrainingStopped(
            f"an answer has no {_FORMAT_MARK}, so loss.format_weight has nothing to weigh: {decode(answer)!r}"
        )
    return next(index for index in range(len(answer)) if len(decode(answer[: index + 1])) > len(before))


class Supervision(NamedTuple):
    """What the optional terms need; None where the term is off."""

    full_text: FullTextTeacher | None = None
    bank: QuestionBank | None = None
    format_starts: tuple[int, ...] | None = None
    """Per problem, the first token of the final ``#### n``."""
    is_correct: Callable[[int, Sequence[int]], bool] | None = None
    """Whether tokens answer the problem of a row correctly."""


def first_positions(lengths: Sequence[int]) -> Tensor:
    """Return which of A positions, rows of *lengths* one after another, have a full-text teacher."""
    return _positions(lengths, [range(min(length, MAX_TEACHER_TOKENS)) for length in lengths])


def format_positions(lengths: Sequence[int], starts: Sequence[int]) -> Tensor:
    """Return which of A positions are of the final ``#### n``, the end token left out."""
    spans = [range(start, length - 1) for start, length in zip(starts, lengths, strict=True)]
    return _positions(lengths, spans)


def _positions(lengths: Sequence[int], within: Sequence[range]) -> Tensor:
    first, chosen = 0, []
    for length, span in zip(lengths, within, strict=True):
        chosen += [first + index for index in span]
        first += length
    return torch.tensor(chosen, dtype=torch.long)
