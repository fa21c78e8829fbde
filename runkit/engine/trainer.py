"""The training loop over an explicit state; it measures nothing itself and writes no file.

Legend: B examples, N source tokens, S width of source states, K soft tokens, E width of the target's
embeddings, A supervised positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from runkit.engine import losses, noise
from runkit.engine.baselines import batch_plan
from runkit.engine.bridge import Adapter, Bridge, DiTBridge
from runkit.engine.bridge.conditioning import Condition
from runkit.engine.bridge.scale import Scale, row_rms
from runkit.engine.evaluate import pick
from runkit.engine.injection import Soft, Span, adapter_says, bridged_input
from runkit.engine.pair import FrozenModel, Generation, Prefix, States
from runkit.engine.shares import add_up, part_of_each_term
from runkit.engine.source_states import SourceStates
from runkit.engine.supervision import Supervision, first_positions, format_positions, own_answer
from runkit.engine.world import SOLO, World
from runkit.errors import TrainingStopped


class TrainingPool(NamedTuple):
    """The training problems, tokenised once, with the frozen source's states."""

    item_ids: tuple[str, ...]
    states: SourceStates
    target_texts: tuple[tuple[int, ...], ...]
    answers: tuple[tuple[int, ...], ...]
    teacher_ids: tuple[tuple[int, ...], ...]
    """Per item K tokens of the target's vocabulary that flow and alignment pull towards."""
    question_spans: tuple[Span, ...]
    """For an adapter, which tokens of each text are the question; else empty."""


class Weights(NamedTuple):
    """Weights of the loss terms; 0 switches a term off."""

    nll: float
    flow: float
    prompt_alignment: float
    kl: float
    info_nce: float
    format: float
    decode: float


class Schedule(NamedTuple):
    """Learning rate over steps: a linear warmup, then a cosine down to a tenth, or constant."""

    learning_rate: float
    warmup_steps: int
    total_steps: int
    cosine: bool

    def at(self, step: int) -> float:
        """Return the learning rate of *step*, counted from 1."""
        if step <= self.warmup_steps:
            return self.learning_rate * step / self.warmup_steps
        if not self.cosine:
            return self.learning_rate
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return self.learning_rate * (0.1 + 0.9 * 0.5 * (1.0 + math.cos(math.pi * done)))


class StepReport(NamedTuple):
    """What one step measured."""

    loss: float
    terms: dict[str, float]
    """Each computed term, unweighted."""
    grad_norm: float
    learning_rate: float
    rms_ratio: float
    """Mean RMS of the soft tokens over the median RMS of the target's embeddings."""


@dataclass
class TrainState:
    """All that changes during training."""

    bridge: Bridge
    optimizer: torch.optim.Optimizer
    step: int = 0


@dataclass(frozen=True)
class Trainer:
    """The fixed part of training: the data and all numbers, and one method that takes a step."""

    target: FrozenModel
    pool: TrainingPool
    weights: Weights
    schedule: Schedule
    run_seed: int
    batch_size: int
    sampler_steps: int
    noise_std: float
    condition_drop: float
    """Share of the flow loss without the source; has an effect under guidance only."""
    scale: Scale
    grad_clip_norm: float
    alignment_mode: Literal["mse", "ce"]
    supervision: Supervision
    decode_every_steps: int
    max_new_tokens: int
    """How long an own answer may get, for the decode term."""
    prefix: Prefix | None = None
    """What the target reads before the soft tokens, the same as in evaluations."""
    padded: bool = False
    """Whether own answers are generated in batches of any length, as in evaluations."""
    stops: tuple[str, ...] = ()
    """Strings at which an own answer ends."""
    world: World = SOLO
    accumulation_steps: int = 1
    """Passes in which this process takes its share of a batch."""

    def start(self, bridge: Bridge, *, weight_decay: float) -> TrainState:
        """Return the state before the first step."""
        bridge.train()
        optimizer = torch.optim.AdamW(
            [weight for weight in bridge.parameters() if weight.requires_grad],
            lr=self.schedule.learning_rate,
            weight_decay=weight_decay,
            betas=(0.9, 0.98),
        )
        return TrainState(bridge, optimizer)

    def advance(self, state: TrainState) -> StepReport:
        """Take one step and return what it measured.

        Raises:
            TrainingStopped: A term or the gradient is not finite; the weights are those before the step.
        """
        assert state.bridge.training, "the bridge is not in training mode"
        step = state.step + 1
        rows, draw = self._batch(step)
        learning_rate = self.schedule.at(step)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate
        state.optimizer.zero_grad()
        if self.world.size * self.accumulation_steps == 1:
            terms, rms_ratio = self._terms(state.bridge, rows, step, draw=draw)
            _assert_finite(terms, step)
            loss = self._weighted(terms)
            torch.autograd.backward(loss)
        else:
            terms, rms_ratio = self._terms_in_parts(state.bridge, rows, step, draw=draw)
            _assert_finite(terms, step)
            loss = self._weighted(terms)
        grad_norm = torch.nn.utils.clip_grad_norm_(state.bridge.parameters(), self.grad_clip_norm)
        _assert_finite({"gradient": grad_norm}, step)
        state.optimizer.step()
        state.step = step
        return StepReport(
            loss=loss.item(),
            terms={name: term.item() for name, term in terms.items()},
            grad_norm=float(grad_norm),
            learning_rate=learning_rate,
            rms_ratio=rms_ratio,
        )

    def _batch(self, step: int) -> tuple[list[int], int]:
        """Return the pool rows of *step*, of all processes together, and the draw of their noise."""
        rows, epoch = batch_rows(
            step - 1, pool_items=len(self.pool.item_ids), batch_size=self.batch_size, run_seed=self.run_seed
        )
        return rows, noise.EVALUATION_DRAW + 1 + epoch

    def _weighted(self, terms: dict[str, Tensor]) -> Tensor:
        return sum(
            (getattr(self.weights, name) * term for name, term in terms.items()),
            torch.zeros((), device=self.target.device),
        )

    def _terms_in_parts(
        self, bridge: Bridge, batch: Sequence[int], step: int, *, draw: int
    ) -> tuple[dict[str, Tensor], float]:
        """Return the terms of *batch*, all processes and passes together, and leave its gradient on *bridge*.

        Each part's terms are weighed by its part of the *whole* batch's tokens, so that a sum of parts is
        the mean that one process alone would have taken.
        """
        whole: dict[str, Tensor] = {}
        nothing = torch.zeros((), device=self.target.device)
        mine = self.world.share(batch)
        for number in range(self.accumulation_steps):
            rows = mine[number :: self.accumulation_steps]
            terms, rms_ratio = self._terms(bridge, rows, step, draw=draw)
            terms["rms_ratio"] = torch.full((), rms_ratio, device=self.target.device)
            part = part_of_each_term(rows, batch, self.pool, self.supervision, processes=self.world.size)
            shares = {name: part[name].of_gradient * terms[name] for name in terms if name != "rms_ratio"}
            torch.autograd.backward(self._weighted(shares))
            for name, term in terms.items():
                whole[name] = whole.get(name, nothing) + part[name].of_value * term.detach()
        whole = add_up(self.world, whole, bridge)
        return whole, whole.pop("rms_ratio").item()

    def _terms(
        self, bridge: Bridge, rows: Sequence[int], step: int, *, draw: int
    ) -> tuple[dict[str, Tensor], float]:
        states = pick(self.pool.states, rows, device=self.target.device)
        flow: Callable[[], Tensor] | None = None
        if isinstance(bridge, Adapter):
            return self._adapter_terms(bridge, states, rows, step)
        if isinstance(bridge, DiTBridge):
            condition = bridge.condition(states.states_BNS, states.keep_BN)
            noise_BKE = self._noise(rows, draw)
            raw_BKE = bridge.sample(condition, noise_BKE, steps=self.sampler_steps)
            flow = partial(self._flow, bridge, condition, noise_BKE, rows, draw)
        else:
            raw_BKE = bridge(states.states_BNS, states.keep_BN)
        soft_BKE = self.scale(raw_BKE)
        terms = self._answer_terms(Soft(soft_BKE, None), rows)
        if self.weights.flow > 0 and flow is not None:
            terms["flow"] = flow()
        if self.weights.prompt_alignment > 0:
            terms["prompt_alignment"] = self._alignment(soft_BKE, rows)
        if self.weights.info_nce > 0 and (bank := self.supervision.bank) is not None:
            spoken_BKE, asked_B = self._everywhere(soft_BKE, rows)
            terms["info_nce"] = losses.info_nce(spoken_BKE, bank.mean_PE, asked_B, bank.alike_P)
        if self.weights.decode > 0 and step % self.decode_every_steps == 0:
            terms |= self._decode_term(Soft(soft_BKE, None), rows)
        return terms, float(row_rms(soft_BKE.detach()).mean()) / self.scale.rms

    def _everywhere(self, soft_BKE: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return soft tokens and pool rows of the whole batch, others' soft tokens as one mean a row."""
        if self.world.size == 1:
            return soft_BKE, torch.tensor(rows, device=soft_BKE.device)
        mean_B1E = soft_BKE.mean(dim=1, keepdim=True)
        return self.world.rows_of_all(mean_B1E), self.world.rows_of_all(
            torch.tensor(rows, device=soft_BKE.device)
        )

    def _flow(
        self, bridge: DiTBridge, condition: Condition, noise_BKE: Tensor, rows: Sequence[int], draw: int
    ) -> Tensor:
        if bridge.null is not None:
            condition = bridge.null(condition, self._drops(rows, draw))

        def velocity(point_BKE: Tensor, time_B: Tensor) -> Tensor:
            return bridge.velocity(point_BKE, time_B, condition)

        return losses.flow(velocity, noise_BKE, self._teacher(rows), self._times(rows, draw))

    def _adapter_terms(
        self, bridge: Adapter, states: States, rows: Sequence[int], step: int
    ) -> tuple[dict[str, Tensor], float]:
        texts = [self.pool.target_texts[row] for row in rows]
        spans = [self.pool.question_spans[row] for row in rows]
        table_VE = self.target.embedding_table
        soft = adapter_says(bridge, states, texts, spans, table_VE=table_VE, scale=self.scale)
        terms = self._answer_terms(soft, rows)
        if self.weights.decode > 0 and step % self.decode_every_steps == 0:
            terms |= self._decode_term(soft, rows)
        real = soft.soft_BKE.detach()[soft.question_keep_BK]
        return terms, float(row_rms(real).mean()) / self.scale.rms

    def _answer_terms(self, soft: Soft, rows: Sequence[int]) -> dict[str, Tensor]:
        """Return the terms that look at the target's predictions of the reference answers."""
        terms: dict[str, Tensor] = {}
        if max(self.weights.nll, self.weights.kl, self.weights.format) == 0:
            return terms
        answers = [self.pool.answers[row] for row in rows]
        logits_AV, labels_A = self._predict(soft, rows, answers)
        lengths = [len(answer) + 1 for answer in answers]
        if self.weights.nll > 0:
            terms["nll"] = losses.nll(logits_AV, labels_A)
        if self.weights.kl > 0 and (teacher := self.supervision.full_text) is not None:
            terms["kl"] = losses.kl(logits_AV[first_positions(lengths)], teacher.log_probs(rows))
        if self.weights.format > 0 and (starts := self.supervision.format_starts) is not None:
            span_F = format_positions(lengths, [starts[row] for row in rows])
            terms["format"] = losses.nll(logits_AV[span_F], labels_A[span_F])
        return terms

    def _predict(
        self, soft: Soft, rows: Sequence[int], answers: Sequence[Sequence[int]]
    ) -> tuple[Tensor, Tensor]:
        """Return logits ``[A, V]`` and labels ``[A]`` of *answers* after the bridged prompts of *rows*."""
        texts = [self.pool.target_texts[row] for row in rows]
        sequences, embedded_BTE = bridged_input(soft, texts, self.target, answers=answers, prefix=self.prefix)
        logits_AV = self.target.logits(
            embedded_BTE, sequences.position_ids_BT, sequences.predicting_A, prefix=self.prefix
        )
        return logits_AV, sequences.labels_A.to(logits_AV.device)

    def _alignment(self, soft_BKE: Tensor, rows: Sequence[int]) -> Tensor:
        if self.alignment_mode == "ce":
            ids_BK = torch.tensor([self.pool.teacher_ids[row] for row in rows], device=soft_BKE.device)
            return losses.prompt_alignment_ce(soft_BKE, self.target.embedding_table, ids_BK)
        return losses.prompt_alignment(soft_BKE / self.scale.rms, self._teacher(rows))

    def _decode_term(self, soft: Soft, rows: Sequence[int]) -> dict[str, Tensor]:
        """Return the likelihood of own correct answers, or no term where none is correct."""
        own = self._own_answers(soft.detached(), rows)
        num_positions = sum(len(answer) + 1 for answer in own.values())
        num_everywhere = self.world.total(num_positions)
        if num_everywhere == 0:
            return {}
        if not own:  # another process has correct answers
            return {"decode": torch.zeros((), device=self.target.device)}
        kept = list(own)
        logits_AV, labels_A = self._predict(
            soft.rows(kept), [rows[index] for index in kept], [own[index] for index in kept]
        )
        term = losses.nll(logits_AV, labels_A)
        return {"decode": term if self.world.size == 1 else term * (num_positions / num_everywhere)}

    def _own_answers(self, soft: Soft, rows: Sequence[int]) -> dict[int, tuple[int, ...]]:
        """Return the greedy answers that end and are correct, by index in the batch."""
        is_correct, target = self.supervision.is_correct, self.target
        assert is_correct is not None, "the decode term needs to know which answers are correct"
        written: dict[int, Generation] = {}
        lengths = [len(self.pool.target_texts[row]) for row in rows]
        for batch in batch_plan(lengths, batch_size=len(rows), padded=self.padded):
            texts = [self.pool.target_texts[rows[index]] for index in batch]
            sequences, embedded_BTE = bridged_input(soft.rows(batch), texts, target, prefix=self.prefix)
            generations = target.generate_greedy(
                embedded_BTE,
                max_new_tokens=self.max_new_tokens,
                lengths=sequences.lengths,
                prefix=self.prefix,
                stops=self.stops,
            )
            written.update(zip(batch, generations, strict=True))
        return {
            index: answer
            for index, one in sorted(written.items())
            if (answer := own_answer(one, target.decode, self.stops)) is not None
            and is_correct(rows[index], answer)
        }

    def _noise(self, rows: Sequence[int], draw: int) -> Tensor:
        return noise.batch_noise(
            run_seed=self.run_seed,
            split="train",
            item_ids=[self.pool.item_ids[row] for row in rows],
            draw=draw,
            shape=(len(self.pool.teacher_ids[0]), self.target.embedding_table.shape[1]),
            std=self.noise_std,
        ).to(self.target.device)

    def _times(self, rows: Sequence[int], draw: int) -> Tensor:
        ids = [self.pool.item_ids[row] for row in rows]
        times_B = noise.batch_times(run_seed=self.run_seed, split="train", item_ids=ids, draw=draw)
        return times_B.to(self.target.device)

    def _drops(self, rows: Sequence[int], draw: int) -> Tensor:
        return noise.batch_drops(
            run_seed=self.run_seed,
            split="train",
            item_ids=[self.pool.item_ids[row] for row in rows],
            draw=draw,
            probability=self.condition_drop,
        ).to(self.target.device)

    def _teacher(self, rows: Sequence[int]) -> Tensor:
        ids_BK = torch.tensor([self.pool.teacher_ids[row] for row in rows], device=self.target.device)
        return self.target.embedding_table[ids_BK].float() / self.scale.rms


def batch_rows(step: int, *, pool_items: int, batch_size: int, run_seed: int) -> tuple[list[int], int]:
    """Return the pool rows of *step* (from 0) and its epoch; a function of its arguments alone.

    Each epoch is a fresh permutation; rows left over at its end that fill no batch are skipped.

    Raises:
        TrainingStopped: The pool is smaller than one batch.
    """
    batches = pool_items // batch_size
    if batches == 0:
        raise TrainingStopped(f"train.pool_items is {pool_items}, less than one batch of {batch_size}")
    epoch, within = divmod(step, batches)
    order = np.random.Generator(np.random.Philox(key=[run_seed, epoch])).permutation(pool_items)
    return order[within * batch_size : (within + 1) * batch_size].tolist(), epoch


def _assert_finite(terms: dict[str, Tensor], step: int) -> None:
    for name, term in terms.items():
        if not torch.isfinite(term):
            raise TrainingStopped(f"the {name} term is {term.item()} at step {step}; training cannot go on")
