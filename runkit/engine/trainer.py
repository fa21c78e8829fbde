"""The training loop over an explicit state; it measures nothing itself and writes no file.

Legend: B examples, N source tokens, S width of source states, K soft tokens, E width of the target's
embeddings, A supervised positions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from runkit.engine import losses, noise
from runkit.engine.baselines import batch_plan
from runkit.engine.bridge import Adapter, Bridge, DiTBridge
from runkit.engine.bridge.scale import Scale, row_rms
from runkit.engine.bridge_pass import BridgePass, Pass, recorded
from runkit.engine.injection import Soft, Span, adapter_says, bridge_precision, bridged_input
from runkit.engine.pair import FrozenModel, Generation, Prefix, States
from runkit.engine.shares import add_up, part_of_each_term
from runkit.engine.source_states import SourceStates, StagedStates
from runkit.engine.staging import Staged, sent, staged
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
        cosine = round(math.cos(math.pi * done), 12)  # C libraries differ in the last bit
        return self.learning_rate * (0.1 + 0.9 * 0.5 * (1.0 + cosine))


class StepReport(NamedTuple):
    """What one step measured."""

    step: int
    loss: float
    terms: dict[str, float]
    """Each computed term, unweighted."""
    grad_norm: float
    learning_rate: float
    rms_ratio: float
    """Mean RMS of the soft tokens over the median RMS of the target's embeddings."""


class _Drawn(NamedTuple):
    """What a bridge reads of a batch."""

    states: States
    noise_BKE: Tensor | None


class _Begun(NamedTuple):
    """The same on the host, perhaps not there yet."""

    states: StagedStates
    noise_BKE: Staged | None


class Measured(NamedTuple):
    """What one step measured, as long as it may still be on the way from the device."""

    step: int
    names: tuple[str, ...]
    """Of the terms."""
    values: Tensor
    """Loss, norm of the gradient, mean RMS of the soft tokens, and the terms."""
    learning_rate: float
    rms: float
    arrived: torch.cuda.Event | None

    def report(self) -> StepReport:
        """Wait for the numbers and return them.

        Raises:
            TrainingStopped: A term or the gradient is not finite.
        """
        if self.arrived is not None:
            self.arrived.synchronize()
        loss, grad_norm, soft_rms, *terms = self.values.tolist()
        by_name = dict(zip(self.names, terms, strict=True))
        _assert_finite({**by_name, "gradient": grad_norm}, self.step)
        return StepReport(self.step, loss, by_name, grad_norm, self.learning_rate, soft_rms / self.rms)


@dataclass
class TrainState:
    """All that changes during training."""

    bridge: Bridge
    optimizer: torch.optim.Optimizer
    step: int = 0
    passes: dict[tuple[torch.Size, ...], Pass] = field(default_factory=dict)
    """How a DiT bridge is run, by the shapes of its inputs."""
    pending: Measured | None = None
    """On CUDA the step that was launched last."""
    broken: Tensor | None = None
    """On CUDA whether a number was not finite in some step; from there on the weights stay."""
    ahead: dict[tuple[int, ...], _Begun] = field(default_factory=dict)
    """On CUDA the host's part of this step and the next, by draw and rows."""


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
            fused=True,  # also on a CPU: the plain one takes roots by MKL, whose bits differ between makers
        )
        return TrainState(bridge, optimizer)

    @property
    def runs_ahead(self) -> bool:
        """Whether steps are launched without waiting for the numbers of the step before."""
        return self.target.device.type == "cuda"

    def settle(self, state: TrainState) -> StepReport | None:
        """Return the report of the step that is under way, if one is; waits for it, errors as in advance."""
        pending, state.pending = state.pending, None
        return None if pending is None else pending.report()

    def advance(self, state: TrainState) -> StepReport | None:
        """Take one step and return what it measured; on CUDA what the step before measured.

        Raises:
            TrainingStopped: A term or the gradient is not finite; the weights are those before that step.
        """
        assert state.bridge.training, "the bridge is not in training mode"
        step = state.step + 1
        rows, draw = self._batch(step)
        if self.runs_ahead:
            for near in (step, step + 1):
                self._begin(state, near)
        learning_rate = self.schedule.at(step)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate
        state.optimizer.zero_grad()
        if self.world.size * self.accumulation_steps == 1:
            terms, soft_rms = self._terms(state, rows, step, draw=draw)
            self._look_at(terms, step)
            loss = self._weighted(terms)
            torch.autograd.backward(loss)
        else:
            terms, soft_rms = self._terms_in_parts(state, rows, step, draw=draw)
            self._look_at(terms, step)
            loss = self._weighted(terms)
        grad_norm = torch.nn.utils.clip_grad_norm_(state.bridge.parameters(), self.grad_clip_norm)
        numbers = [loss, grad_norm, soft_rms, *terms.values()]
        values = torch.stack([number.detach().float() for number in numbers])
        measured = Measured(step, tuple(terms), values, learning_rate, self.scale.rms, None)
        if self.runs_ahead:
            return self._step_blindly(state, measured)
        report = measured.report()
        state.optimizer.step()
        state.step = step
        return report

    def _step_blindly(self, state: TrainState, measured: Measured) -> StepReport | None:
        """Take the optimiser's step unless a number is not finite, without asking; return the last report."""
        is_broken = ~measured.values.isfinite().all()
        state.broken = is_broken if state.broken is None else state.broken | is_broken
        # the fused optimiser leaves everything as it is where this is not 0, as for a scaled loss
        state.optimizer.found_inf = state.broken.float()  # type: ignore[attr-defined]
        state.optimizer.step()
        state.step = measured.step
        values = torch.empty(measured.values.shape, pin_memory=True)
        values.copy_(measured.values, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record()
        pending, state.pending = state.pending, measured._replace(values=values, arrived=arrived)
        return None if pending is None else pending.report()

    def _look_at(self, terms: dict[str, Tensor], step: int) -> None:
        if not self.runs_ahead:
            _assert_finite({name: term.item() for name, term in terms.items()}, step)

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
        self, state: TrainState, batch: Sequence[int], step: int, *, draw: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return what :meth:`_terms` does of *batch*, all processes and passes together, with its gradient.

        Each part's terms are weighed by its part of the *whole* batch's tokens, so that a sum of parts is
        the mean that one process alone would have taken.
        """
        whole: dict[str, Tensor] = {}
        nothing = torch.zeros((), device=self.target.device)
        for rows in self._parts(batch):
            terms, soft_rms = self._terms(state, rows, step, draw=draw)
            part = part_of_each_term(rows, batch, self.pool, self.supervision, processes=self.world.size)
            shares = {name: part[name].of_gradient * term for name, term in terms.items()}
            torch.autograd.backward(self._weighted(shares))
            for name, term in {**terms, "soft_rms": soft_rms}.items():
                whole[name] = whole.get(name, nothing) + part[name].of_value * term.detach()
        whole = add_up(self.world, whole, state.bridge)
        return whole, whole.pop("soft_rms")

    def _parts(self, batch: Sequence[int]) -> list[list[int]]:
        """Return the rows of *batch* that this process computes, pass by pass."""
        mine = self.world.share(batch)
        return [mine[number :: self.accumulation_steps] for number in range(self.accumulation_steps)]

    def _terms(
        self, state: TrainState, rows: Sequence[int], step: int, *, draw: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return each term and the mean RMS of the soft tokens."""
        bridge, drawn = state.bridge, self._drawn(state, rows, draw)
        states, flow = drawn.states, None
        if isinstance(bridge, Adapter):
            return self._adapter_terms(bridge, states, rows, step)
        if isinstance(bridge, DiTBridge):
            raw_BKE, *flow = self._passed(state, bridge, drawn, rows, draw)
        else:
            with bridge_precision(self.target.embedding_table):
                raw_BKE = bridge(states.states_BNS, states.keep_BN)
        soft_BKE = self.scale(raw_BKE)
        terms = self._answer_terms(Soft(soft_BKE, None), rows)
        if flow:
            terms["flow"] = flow[0]
        if self.weights.prompt_alignment > 0:
            terms["prompt_alignment"] = self._alignment(soft_BKE, rows)
        if self.weights.info_nce > 0 and (bank := self.supervision.bank) is not None:
            spoken_BKE, asked_B = self._everywhere(soft_BKE, rows)
            terms["info_nce"] = losses.info_nce(spoken_BKE, bank.mean_PE, asked_B, bank.alike_P)
        if self.weights.decode > 0 and step % self.decode_every_steps == 0:
            terms |= self._decode_term(Soft(soft_BKE, None), rows)
        return terms, row_rms(soft_BKE.detach()).mean()

    def _passed(
        self, state: TrainState, bridge: DiTBridge, drawn: _Drawn, rows: Sequence[int], draw: int
    ) -> tuple[Tensor, ...]:
        """Return raw soft tokens and, where it has a weight, the flow term."""
        assert drawn.noise_BKE is not None
        inputs: tuple[Tensor, ...] = (*drawn.states, drawn.noise_BKE)
        if self.weights.flow > 0:
            inputs += (self._teacher(rows), self._times(rows, draw))
            inputs += () if bridge.null is None else (self._drops(rows, draw),)
        shapes = tuple(one.shape for one in inputs)
        if shapes not in state.passes:
            whole = BridgePass(bridge, steps=self.sampler_steps, table_VE=self.target.embedding_table)
            is_recorded = (
                self.runs_ahead and self.target.kernels is not None and not state.passes
            )  # a recording keeps its memory
            if is_recorded:
                for begun in state.ahead.values():  # while torch records, no thread may ask for memory
                    begun.states.gathered.result()
            state.passes[shapes] = recorded(whole, inputs) if is_recorded else whole
        return state.passes[shapes](*inputs)

    def _everywhere(self, soft_BKE: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return soft tokens and pool rows of the whole batch, others' soft tokens as one mean a row."""
        if self.world.size == 1:
            return soft_BKE, sent(torch.tensor(rows), soft_BKE.device)
        mean_B1E = soft_BKE.mean(dim=1, keepdim=True)
        return self.world.rows_of_all(mean_B1E), self.world.rows_of_all(
            sent(torch.tensor(rows), soft_BKE.device)
        )

    def _drawn(self, state: TrainState, rows: Sequence[int], draw: int) -> _Drawn:
        """Return states and noise of *rows* on the device."""
        device = self.target.device
        if not self.runs_ahead:
            with_noise = isinstance(state.bridge, DiTBridge)
            noise_BKE = self._noise(rows, draw) if with_noise else None
            return _Drawn(self.pool.states.padded(rows, device=device), noise_BKE)
        begun = state.ahead.pop((draw, *rows))
        return _Drawn(
            begun.states.on(device), None if begun.noise_BKE is None else begun.noise_BKE.on(device)
        )

    def _begin(self, state: TrainState, step: int) -> None:
        """Let the host draw what *step* needs, unless it does so already; the device computes meanwhile."""
        batch, draw = self._batch(step)
        for rows in self._parts(batch):
            if (draw, *rows) not in state.ahead:
                state.ahead[(draw, *rows)] = self._begun(state.bridge, rows, draw)

    def _begun(self, bridge: Bridge, rows: Sequence[int], draw: int) -> _Begun:
        states = self.pool.states.staged(rows)
        if not isinstance(bridge, DiTBridge):
            return _Begun(states, None)

        def fill(noise_KE: Tensor, number: int) -> None:
            item = self.pool.item_ids[rows[number]]
            noise.fill(noise_KE, run_seed=self.run_seed, split="train", item_id=item, draw=draw)
            noise_KE.mul_(self.noise_std)

        return _Begun(states, staged((len(rows), *self._noise_shape), fill))

    @property
    def _noise_shape(self) -> tuple[int, int]:
        return len(self.pool.teacher_ids[0]), self.target.embedding_table.shape[1]

    def _adapter_terms(
        self, bridge: Adapter, states: States, rows: Sequence[int], step: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        texts = [self.pool.target_texts[row] for row in rows]
        spans = [self.pool.question_spans[row] for row in rows]
        table_VE = self.target.embedding_table
        with bridge_precision(table_VE):
            soft = adapter_says(bridge, states, texts, spans, table_VE=table_VE, scale=self.scale)
        terms = self._answer_terms(soft, rows)
        if self.weights.decode > 0 and step % self.decode_every_steps == 0:
            terms |= self._decode_term(soft, rows)
        real = soft.soft_BKE.detach()[soft.question_keep_BK]
        return terms, row_rms(real).mean()

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
            first_M = sent(first_positions(lengths), logits_AV.device)
            terms["kl"] = losses.kl(logits_AV[first_M], teacher.log_probs(rows))
        if self.weights.format > 0 and (starts := self.supervision.format_starts) is not None:
            span_F = sent(format_positions(lengths, [starts[row] for row in rows]), logits_AV.device)
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
        return logits_AV, sent(sequences.labels_A, logits_AV.device)

    def _alignment(self, soft_BKE: Tensor, rows: Sequence[int]) -> Tensor:
        if self.alignment_mode == "ce":
            ids_BK = sent(torch.tensor([self.pool.teacher_ids[row] for row in rows]), soft_BKE.device)
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
            shape=self._noise_shape,
            std=self.noise_std,
        )

    def _times(self, rows: Sequence[int], draw: int) -> Tensor:
        ids = [self.pool.item_ids[row] for row in rows]
        times_B = noise.batch_times(run_seed=self.run_seed, split="train", item_ids=ids, draw=draw)
        return sent(times_B, self.target.device)

    def _drops(self, rows: Sequence[int], draw: int) -> Tensor:
        drop_B = noise.batch_drops(
            run_seed=self.run_seed,
            split="train",
            item_ids=[self.pool.item_ids[row] for row in rows],
            draw=draw,
            probability=self.condition_drop,
        )
        return sent(drop_B, self.target.device)

    def _teacher(self, rows: Sequence[int]) -> Tensor:
        ids_BK = sent(torch.tensor([self.pool.teacher_ids[row] for row in rows]), self.target.device)
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


def _assert_finite(terms: Mapping[str, float], step: int) -> None:
    for name, term in terms.items():
        if not math.isfinite(term):
            raise TrainingStopped(f"the {name} term is {term} at step {step}; training cannot go on")
