"""What the optional loss terms learn from, computed once from the frozen target; no loss is computed here.

Legend: B examples, P training problems, E width of the target's embeddings, V vocabulary, M positions that
have a teacher, A supervised positions of a batch, T positions of all problems that have a teacher, C tokens
of which the teacher's probability is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from runkit.engine.baselines import batch_plan
from runkit.engine.content_cache import cached_tensors, digest_of_tokens, identity_of
from runkit.engine.losses import TopLogProbs, top_log_probs
from runkit.engine.pair import FrozenModel, Generation, Prefix, length_of
from runkit.engine.prompts import build_sequences, embed
from runkit.engine.staging import sent
from runkit.engine.tasks.base import before_stop
from runkit.engine.world import SOLO, World
from runkit.errors import TrainingStopped

MAX_TEACHER_TOKENS = 20
"""Supervised positions of an answer that the full-text teacher speaks about, the first one included."""

NUM_TOP_TOKENS = 64
"""Most probable tokens of which the teacher's log-probability is kept, where the vocabulary is large."""
WHOLE_VOCABULARY = 512
"""Up to here the whole vocabulary is kept: 64 tokens and a tail would save little and would not be exact."""

_TEACHER_FORMAT = 1
_FORMAT_MARK = "####"

TokenIds = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class FullTextTeacher:
    """The frozen target's own predictions when it reads the whole question, with any examples, as text.

    Of a small vocabulary all log-probabilities are kept, of a large one the most probable tokens and the
    probability of all others together: 10 kB a problem instead of 10 MB for 128,000 tokens.
    """

    log_probs_TC: Tensor
    """At the first positions of each problem, problem after problem."""
    token_ids_TC: Tensor | None
    """Which tokens the columns are; None where they are the whole vocabulary."""
    tail_T: Tensor | None
    """Log-probability of all other tokens together; None where there are none."""
    lengths: tuple[int, ...]
    """Number of positions of each problem."""
    device: torch.device

    @cached_property
    def spans(self) -> tuple[range, ...]:
        """The positions of each problem among all."""
        ends = accumulate(self.lengths)
        return tuple(range(end - length, end) for end, length in zip(ends, self.lengths, strict=True))

    def log_probs(self, rows: Sequence[int]) -> Tensor | TopLogProbs:
        """Return log-probabilities at the first positions of each row, row after row, M in all.

        They are ``[M, V]``, or those of the most probable tokens of each position.
        """
        at_M = torch.tensor([position for row in rows for position in self.spans[row]])
        log_probs_MC = sent(self.log_probs_TC[at_M], self.device)
        if self.token_ids_TC is None or self.tail_T is None:
            return log_probs_MC
        ids_MC = sent(self.token_ids_TC[at_M], self.device).long()
        return TopLogProbs(ids_MC, log_probs_MC, sent(self.tail_T[at_M], self.device))


def full_text_teacher(
    target: FrozenModel,
    prompts: TokenIds,
    answers: TokenIds,
    *,
    prefix: Prefix | None,
    batch_size: int,
    threads: int,
    cache_dir: Path,
    note: Callable[[str], object],
    world: World = SOLO,
) -> FullTextTeacher:
    """Return what *target* predicts at the first positions of *answers* after *prompts* in full text.

    It is asked once for all problems, in batches that are a function of lengths alone, and what it says is
    kept in *cache_dir*. Several processes share the asking.

    Args:
        prefix: Worked examples that stand before every prompt.
    Raises:
        StorageFailed: The cache cannot be written.
    """
    heard = [answer[: MAX_TEACHER_TOKENS - 1] for answer in answers]
    vocabulary = len(target.embedding_table)
    kept = None if vocabulary <= WHOLE_VOCABULARY else NUM_TOP_TOKENS
    key = {
        "kind": "teacher of kl",
        "format": _TEACHER_FORMAT,
        **identity_of(target, threads=threads),
        "begin": target.special.bos,
        "end": target.special.eos,
        "prompts": digest_of_tokens([list(prompt) for prompt in prompts]),
        "answers": digest_of_tokens([list(answer) for answer in heard]),
        "prefix": [] if prefix is None else list(prefix.token_ids),
        "batch_size": batch_size,
        "kept": kept,
    }

    def asked() -> dict[str, Tensor]:
        return _asked(target, prompts, heard, prefix=prefix, batch_size=batch_size, kept=kept, world=world)

    said = cached_tensors(
        "what the teacher of kl says", key, asked, cache_dir=cache_dir, note=note, world=world
    )
    return FullTextTeacher(
        said["log_probs_TC"],
        said.get("token_ids_TC"),
        said.get("tail_T"),
        tuple(len(answer) + 1 for answer in heard),
        target.device,
    )


def _asked(
    target: FrozenModel,
    prompts: TokenIds,
    answers: TokenIds,
    *,
    prefix: Prefix | None,
    batch_size: int,
    kept: int | None,
    world: World,
) -> dict[str, Tensor]:
    lengths = [len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
    by_row: dict[int, TopLogProbs | Tensor] = {}
    for rows in world.share(batch_plan(lengths, batch_size=batch_size, padded=True)):
        sequences = build_sequences(
            [prompts[row] for row in rows],
            num_slots=0,
            special=target.special,
            answers=[answers[row] for row in rows],
            start=length_of(prefix),
        )
        with torch.no_grad():
            embedded_BTE = embed(sequences, table_VE=target.embedding_table, soft_BKE=None)
            logits_MV = target.logits(
                embedded_BTE, sequences.position_ids_BT, sequences.predicting_A, prefix=prefix
            )
            log_probs_MV = functional.log_softmax(logits_MV.float(), dim=-1)
            said = log_probs_MV if kept is None else top_log_probs(log_probs_MV, num_tokens=kept)
        by_row.update(zip(rows, _split(said, [len(answers[row]) + 1 for row in rows]), strict=True))
    by_row = world.merged(by_row)
    return _joined([by_row[row] for row in range(len(prompts))])


def _split(said: Tensor | TopLogProbs, sizes: list[int]) -> list[Tensor | TopLogProbs]:
    if isinstance(said, Tensor):
        return list(torch.split(said.cpu(), sizes))
    parts = zip(*(torch.split(part.cpu(), sizes) for part in said), strict=True)
    return [TopLogProbs(*part) for part in parts]


def _joined(parts: Sequence[Tensor | TopLogProbs]) -> dict[str, Tensor]:
    whole = [part for part in parts if isinstance(part, Tensor)]
    if whole:
        return {"log_probs_TC": torch.cat(whole)}
    top = [part for part in parts if isinstance(part, TopLogProbs)]
    return {
        "token_ids_TC": torch.cat([part.token_ids_MC for part in top]).int(),
        "log_probs_TC": torch.cat([part.log_probs_MC for part in top]),
        "tail_T": torch.cat([part.tail_M for part in top]),
    }


class QuestionBank(NamedTuple):
    """One vector for each training question, for the contrastive term."""

    mean_PE: Tensor
    """Mean embedding of the question's tokens, centred over all questions, of unit length."""
    alike_P: Tensor
    """Equal numbers for questions of the same tokens in any order, whose means are equal."""


def question_bank(table_VE: Tensor, questions: TokenIds) -> QuestionBank:
    """Return the bank of *questions* in the target's embedding space."""
    mean_PE = torch.stack([table_VE[list(ids)].float().mean(dim=0) for ids in questions])
    numbers: dict[tuple[int, ...], int] = {}
    alike = [numbers.setdefault(tuple(sorted(ids)), len(numbers)) for ids in questions]
    alike_P = torch.tensor(alike, device=mean_PE.device)
    return QuestionBank(functional.normalize(mean_PE - mean_PE.mean(dim=0), dim=-1), alike_P)


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
    # from the end, where the mark is: decoding every beginning of a long answer takes its square
    after = (index for index in reversed(range(len(answer))) if len(decode(answer[:index])) <= len(before))
    return next(after)


def own_answer(
    written: Generation, decode: Callable[[Sequence[int]], str], stops: Sequence[str]
) -> tuple[int, ...] | None:
    """Return the tokens of the answer that *written* came to the end of, or None where it did not.

    A generation that began a next question had come to the end of its answer: that is what stands before
    the stop string, without the white space in front of it.
    """
    if written.finish != "stop":
        return written.token_ids if written.finish == "eos" else None
    length = len(before_stop(decode(written.token_ids), stops).rstrip())
    ends = (end for end in range(len(written.token_ids)) if len(decode(written.token_ids[:end])) <= length)
    return written.token_ids[: max(ends)]


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
