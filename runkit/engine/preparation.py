"""All that a run needs before its first step and that training cannot change: models, problems, baselines.

Legend: I items, N source tokens, S width of source states.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from runkit.engine import noise
from runkit.engine.alignment_pairs import char_ends, paired_tokens
from runkit.engine.baselines import cached_alone
from runkit.engine.bridge import Adapter, Bridge, DiTBridge, LinearBridge, Resampler, SourceAlign
from runkit.engine.bridge.align import LinearMap, fit_procrustes, fit_ridge, identity_map, normalised
from runkit.engine.bridge.scale import Scale, median_row_rms
from runkit.engine.config import TrainConfig
from runkit.engine.evaluate import BridgeInputs, Scored, score
from runkit.engine.pair import FrozenModel, States, load_frozen
from runkit.engine.prompts import prompt_text
from runkit.engine.supervision import FullTextTeacher, Supervision, format_start, question_bank
from runkit.engine.tasks import Item, Split, Task, load_task
from runkit.engine.tasks.base import outcome
from runkit.engine.trainer import Schedule, Trainer, TrainingPool, Weights

_STATES_BATCH = 256
_ALIGN_QUESTIONS = 512
"""Training questions that a map of source states is fitted to; some 10,000 paired tokens."""


@dataclass(frozen=True)
class Measured:
    """A split that is measured, with everything about it that stays the same."""

    split: Split
    items: tuple[Item, ...]
    inputs: BridgeInputs
    alone: Mapping[str, list[Scored]]
    """``source_alone`` and ``target_alone``."""
    controls: Mapping[str, list[Scored]]
    """``no_soft_tokens`` where it is not the target alone, that is in ``soft_only`` mode."""


@dataclass(frozen=True)
class Prepared:
    """The fixed part of a run."""

    task: Task
    source: FrozenModel
    target: FrozenModel
    scale: Scale
    dev: Measured
    test: Measured
    trainer: Trainer
    source_map: LinearMap | None
    """Where the bridge's map of source states starts from; None without one."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the problems of the test and the dev split, in that order."""
        items = [*self.test.items, *self.dev.items]
        text = "".join(json.dumps(list(item), ensure_ascii=False) + "\n" for item in items)
        return hashlib.sha256(text.encode()).hexdigest()


def prepare(config: TrainConfig, *, cache_dir: Path, note: Callable[[str], object]) -> Prepared:
    """Load the pair, make the problems, generate or look up the baselines and encode the training pool.

    Raises:
        UnknownName: The task or a model does not exist.
        TrainingStopped: A model cannot be bridged.
        StorageFailed: The cache cannot be written.
    """
    builder = _Builder(
        config, load_task(config.task.name), load_frozen(config.pair.source), load_frozen(config.pair.target)
    )
    scale = Scale(median_row_rms(builder.target.embedding_table), method=config.bridge.rms)
    trainer = builder.trainer(scale)
    return Prepared(
        task=builder.task,
        source=builder.source,
        target=builder.target,
        scale=scale,
        dev=builder.measured("dev", config.eval.dev_items, cache_dir, note),
        test=builder.measured("test", config.eval.test_items, cache_dir, note),
        trainer=trainer,
        source_map=builder.source_map(trainer.pool.states, scale),
    )


def new_bridge(config: TrainConfig, prepared: Prepared) -> Bridge:
    """Return the bridge at initialisation, a function of the seed; the caller's generator is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        fitted, align = prepared.source_map, None
        source_width = prepared.trainer.pool.states.states_BNS.shape[2]
        if fitted is not None:
            align = SourceAlign(fitted, trainable=config.source_align.trainable)
            source_width = len(fitted.bias_A)
        target_width = prepared.target.embedding_table.shape[1]
        return _bridge(config, source_width=source_width, target_width=target_width, align=align)


def _bridge(
    config: TrainConfig, *, source_width: int, target_width: int, align: SourceAlign | None
) -> Bridge:
    bridge = config.bridge
    if bridge.kind == "linear":
        return LinearBridge(
            source_width=source_width,
            target_width=target_width,
            num_soft_tokens=bridge.num_soft_tokens,
            align=align,
        )
    if config.prompt.injection == "adapter":
        return Adapter(
            source_width=source_width,
            target_width=target_width,
            width=bridge.width,
            depth=bridge.depth,
            heads=bridge.heads,
            align=align,
        )
    if bridge.kind == "resampler":
        return Resampler(
            source_width=source_width,
            target_width=target_width,
            width=bridge.width,
            depth=bridge.depth,
            heads=bridge.heads,
            num_soft_tokens=bridge.num_soft_tokens,
            align=align,
        )
    return DiTBridge(
        source_width=source_width,
        target_width=target_width,
        width=bridge.width,
        depth=bridge.depth,
        heads=bridge.heads,
        num_soft_tokens=bridge.num_soft_tokens,
        slot_positions=bridge.slot_positions,
        conditioning=bridge.conditioning,
        method=config.sampler.method,
        guidance=config.sampler.guidance,
        align=align,
    )


@dataclass(frozen=True)
class _Builder:
    config: TrainConfig
    task: Task
    source: FrozenModel
    target: FrozenModel

    def items(self, split: Split, num_items: int) -> tuple[Item, ...]:
        seed = self.config.task.seed
        return tuple(self.task.item(seed=seed, split=split, index=index) for index in range(num_items))

    def measured(
        self, split: Split, num_items: int, cache_dir: Path, note: Callable[[str], object]
    ) -> Measured:
        items = self.items(split, num_items)
        instruction = self.config.prompt.instruction
        questions = [item.question + instruction for item in items]

        def alone(frozen: FrozenModel, prompts: Sequence[str]) -> list[Scored]:
            generations = cached_alone(
                frozen,
                prompts,
                batch_size=self.config.eval.batch_size,
                max_new_tokens=self.config.eval.max_new_tokens,
                threads=self.config.compute.threads,
                cache_dir=cache_dir,
                note=note,
            )
            return score(self.task, frozen, items, generations)

        controls = {}
        if self.config.prompt.mode == "soft_only":
            controls["no_soft_tokens"] = alone(self.target, [instruction] * len(items))
        return Measured(
            split=split,
            items=items,
            inputs=self.bridge_inputs(split, items),
            alone={
                "source_alone": alone(self.source, questions),
                "target_alone": alone(self.target, questions),
            },
            controls=controls,
        )

    def bridge_inputs(self, split: Split, items: Sequence[Item]) -> BridgeInputs:
        drawn = self.evaluation_noise(split, items) if self.config.bridge.kind == "dit" else None
        return BridgeInputs(
            self.source_states(items), drawn, self.target_texts(items), self.question_lengths(items)
        )

    def evaluation_noise(self, split: Split, items: Sequence[Item]) -> Tensor:
        return noise.batch_noise(
            run_seed=self.config.seed,
            split=split,
            item_ids=[item.id for item in items],
            draw=noise.EVALUATION_DRAW,
            shape=(self.config.bridge.num_soft_tokens, self.target.embedding_table.shape[1]),
            std=self.config.sampler.noise_std,
        )

    def source_states(self, items: Sequence[Item]) -> States:
        """Return the states of all questions, padded to one length; batches follow a fixed plan."""
        layers = [int(layer) for layer in self.config.pair.source_layers.split(",")]
        texts = [self.source.encode(item.question) for item in items]
        longest = 1 + max(map(len, texts))
        states_INS = torch.zeros(len(texts), longest, len(layers) * self.source.embedding_table.shape[1])
        keep_IN = torch.zeros(len(texts), longest, dtype=torch.bool)
        for first in range(0, len(texts), _STATES_BATCH):
            part = self.source.hidden_states(texts[first : first + _STATES_BATCH], layers=layers)
            rows, length = part.keep_BN.shape
            states_INS[first : first + rows, :length] = part.states_BNS
            keep_IN[first : first + rows, :length] = part.keep_BN
        return States(states_INS, keep_IN)

    def target_texts(self, items: Sequence[Item]) -> tuple[tuple[int, ...], ...]:
        mode, instruction = self.config.prompt.mode, self.config.prompt.instruction
        texts = [prompt_text(question=item.question, instruction=instruction, mode=mode) for item in items]
        return tuple(self.target.encode(text) for text in texts)

    def question_lengths(self, items: Sequence[Item]) -> tuple[int, ...]:
        """Return how many of each text's first tokens lie in the question; nothing without an adapter."""
        if self.config.prompt.injection == "prepend":
            return ()
        texts = self.target_texts(items)
        return tuple(
            sum(end <= len(item.question) for end in char_ends(ids, self.target.decode))
            for item, ids in zip(items, texts, strict=True)
        )

    def teacher_ids(self, item: Item) -> tuple[int, ...]:
        """Return exactly K tokens: the teacher text's first, filled up with the end token."""
        num_slots = self.config.bridge.num_soft_tokens
        text = item.answer if self.config.loss.teacher == "answer" else item.question
        ids = self.target.encode(text)[:num_slots]
        return ids + (self.target.special.eos,) * (num_slots - len(ids))

    def trainer(self, scale: Scale) -> Trainer:
        config = self.config
        items = self.items("train", config.train.pool_items)
        pool = TrainingPool(
            item_ids=tuple(item.id for item in items),
            states=self.source_states(items),
            target_texts=self.target_texts(items),
            answers=tuple(self.target.encode(item.answer) for item in items),
            teacher_ids=tuple(self.teacher_ids(item) for item in items),
            question_lengths=self.question_lengths(items),
        )
        return Trainer(
            target=self.target,
            pool=pool,
            weights=Weights(
                nll=config.loss.nll_weight,
                flow=config.loss.flow_weight,
                prompt_alignment=config.loss.prompt_alignment_weight,
                kl=config.loss.kl_weight,
                info_nce=config.loss.info_nce_weight,
                format=config.loss.format_weight,
                decode=config.loss.decode_weight,
            ),
            schedule=Schedule(
                config.optim.learning_rate,
                config.optim.warmup_steps,
                config.train.steps,
                config.optim.decay == "cosine",
            ),
            run_seed=config.seed,
            batch_size=config.train.batch_size,
            sampler_steps=config.sampler.train_steps,
            noise_std=config.sampler.noise_std,
            condition_drop=config.sampler.condition_drop,
            scale=scale,
            grad_clip_norm=config.optim.grad_clip_norm,
            alignment_mode=config.loss.prompt_alignment_mode,
            supervision=self.supervision(items, pool.answers),
            decode_every_steps=config.loss.decode_every_steps,
            max_new_tokens=config.eval.max_new_tokens,
        )

    def source_map(self, states: States, scale: Scale) -> LinearMap | None:
        """Return the map that source states start from, fitted to training questions only."""
        kind = self.config.source_align.kind
        if kind == "none":
            return None
        if kind == "identity":
            return identity_map(states.states_BNS.shape[2])
        states_MS, embeddings_ME = self.aligned_pairs("train", states, scale)
        fit = fit_ridge if kind == "ridge" else fit_procrustes
        return fit(states_MS, embeddings_ME)

    def aligned_pairs(self, split: Split, states: States, scale: Scale) -> tuple[Tensor, Tensor]:
        """Return normalised source states and target embeddings of the same characters, row by row.

        Embeddings are in units of the table's median RMS. States have BOS first.
        """
        items = self.items(split, len(states.keep_BN))[:_ALIGN_QUESTIONS]
        rows, columns, ids = [], [], []
        for row, item in enumerate(items):
            target_ids = self.target.encode(item.question)
            pairs = paired_tokens(
                self.source.encode(item.question), self.source.decode, target_ids, self.target.decode
            )
            rows += [row] * len(pairs)
            columns += [1 + source_index for source_index, _ in pairs]
            ids += [target_ids[target_index] for _, target_index in pairs]
        embeddings_ME = self.target.embedding_table[ids] / scale.rms
        return normalised(states.states_BNS[rows, columns]), embeddings_ME

    def supervision(self, items: Sequence[Item], answers: Sequence[tuple[int, ...]]) -> Supervision:
        """Return what the terms with a weight learn from, and nothing for those without."""
        loss, target = self.config.loss, self.target
        full_text = bank = starts = None
        if loss.kl_weight > 0:
            prompts = [target.encode(item.question + self.config.prompt.instruction) for item in items]
            full_text = FullTextTeacher(target, prompts, answers)
        if loss.info_nce_weight > 0:
            bank = question_bank(target.embedding_table, [target.encode(item.question) for item in items])
        if loss.format_weight > 0:
            starts = tuple(format_start(answer, target.decode) for answer in answers)

        def is_correct(row: int, token_ids: Sequence[int]) -> bool:
            return outcome(self.task.extract(target.decode(token_ids)), items[row].gold) == "correct"

        return Supervision(full_text, bank, starts, is_correct if loss.decode_weight > 0 else None)
