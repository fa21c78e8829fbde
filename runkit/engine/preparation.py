"""All that a run needs before its first step and that training cannot change: models, problems, baselines.

Legend: I items, N source tokens, S width of source states.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from runkit.engine import limits, noise
from runkit.engine.alignment_pairs import char_ends, paired_tokens
from runkit.engine.baselines import cached_alone
from runkit.engine.bridge import Adapter, Bridge, Dimensions, DiTBridge, LinearBridge, Resampler, SourceAlign
from runkit.engine.bridge.align import LinearMap, fit_procrustes, fit_ridge, identity_map, normalised
from runkit.engine.bridge.scale import Scale, median_row_rms
from runkit.engine.config import AUTO, EVALUATION_ROWS, TrainConfig, effective, with_evaluation_rows
from runkit.engine.evaluate import BridgeInputs, Scored, bridged_generations, score
from runkit.engine.evaluation_rows import agreed, rows_for_cpu, rows_for_device, why_for_cpu, why_for_device
from runkit.engine.injection import Span
from runkit.engine.launched import Launched
from runkit.engine.limits import STATES_ROWS, TEACHER_ROWS
from runkit.engine.memory import enough_memory
from runkit.engine.origin import EMBEDDED
from runkit.engine.pair import (
    FrozenModel,
    Generation,
    Prefix,
    available_bytes,
    load_frozen,
    placed,
    shape_before_loading,
    shape_of,
)
from runkit.engine.prompts import prompt_text
from runkit.engine.source_states import SourceStates, num_begin_tokens, source_states
from runkit.engine.supervision import Supervision, format_start, full_text_teacher, question_bank
from runkit.engine.tasks import Item, Split, Task, Wording, load_task
from runkit.engine.tasks.base import outcome
from runkit.engine.trainer import Schedule, Trainer, TrainingPool, Weights
from runkit.engine.world import SOLO, World
from runkit.errors import TrainingStopped, UsageError

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

    config: TrainConfig
    """What it was prepared for, with no number left to be chosen."""
    task: Task
    source: FrozenModel
    target: FrozenModel
    wording: Wording
    scale: Scale
    dev: Measured
    test: Measured
    trainer: Trainer
    source_map: LinearMap | None
    """Where the bridge's map of source states starts from; None without one."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the problems of the test and the dev split, in that order, and the examples if any."""
        items = [*self.test.items, *self.dev.items]
        text = "".join(json.dumps(list(item), ensure_ascii=False) + "\n" for item in items)
        text += self.wording.prefix
        return hashlib.sha256(text.encode()).hexdigest()


def prepare(
    config: TrainConfig, *, cache_dir: Path, note: Callable[[str], object], world: World = SOLO
) -> Prepared:
    """Load the pair, make the problems, generate or look up the baselines and encode the training pool.

    Several processes share what takes long, by whole batches, and end with the same.

    Raises:
        UnknownName: The task or a model does not exist.
        TrainingStopped: A model cannot be bridged, or the run does not fit.
        StorageFailed: The cache cannot be written.
    """
    return fit(config, cache_dir=cache_dir, note=note, world=world).prepared()


@dataclass(frozen=True)
class Fitted:
    """A loaded pair and problems that fit context and memory; nothing was generated yet."""

    config: TrainConfig
    """With no number left to be chosen."""
    automatic: Mapping[str, str]
    """Keys that were chosen here, each with the value and the reason."""
    builder: _Builder

    def prepared(self) -> Prepared:
        """Do what :func:`prepare` has left to do; errors as there."""
        config, builder = self.config, self.builder
        scale = Scale(median_row_rms(builder.target.embedding_table), method=config.bridge.rms)
        trainer = builder.trainer(scale)
        return Prepared(
            config=config,
            task=builder.task,
            source=builder.source,
            target=builder.target,
            wording=builder.wording,
            scale=scale,
            dev=builder.measured("dev", config.eval.dev_items),
            test=builder.measured("test", config.eval.test_items),
            trainer=trainer,
            source_map=builder.source_map(trainer.pool.states, scale),
        )


def fit(
    config: TrainConfig, *, cache_dir: Path, note: Callable[[str], object], world: World = SOLO
) -> Fitted:
    """Load the pair and the problems, choose how many rows evaluations take if *config* says ``auto``, and
    refuse what does not fit.

    Several processes choose the same number, the smallest of what each can take.

    Raises:
        UnknownName: The task or a model does not exist.
        TrainingStopped: A model cannot be bridged, or the run does not fit.
    """
    task = load_task(**config.task.model_dump(exclude={"seed"}))
    builder = _Builder(config, task, *_load_pair(config, world), cache_dir, note, world)
    load, automatic = builder.workload(), {}
    if config.eval.batch_size == AUTO:
        rows, why = builder.chosen_rows(load)
        config = with_evaluation_rows(config, rows)
        automatic[EVALUATION_ROWS] = f"{rows}, {why}"
    builder.refuse_what_does_not_fit(load._replace(eval_batch=config.eval.rows))
    return Fitted(config, automatic, replace(builder, config=config))


def gpu_of(config: TrainConfig, place: Launched) -> str | None:
    """Return the name of the GPU on which the process at *place* computes, or None for the CPU.

    Raises:
        UsageError: There is no CUDA device, or not one for each process of the machine.
    """
    device = placed(config.compute.device, embedded=config.pair.target in EMBEDDED)
    if device.type != "cuda":
        return None
    if place.local_size > torch.cuda.device_count():
        raise UsageError(
            f"{place.local_size} processes on one machine with {torch.cuda.device_count()} CUDA devices; "
            "launch as many as there are devices, or use compute.device=cpu"
        )
    return torch.cuda.get_device_name(place.local_rank)


def new_bridge(config: TrainConfig, prepared: Prepared) -> Bridge:
    """Return the bridge at initialisation, a function of the seed; the caller's generator is untouched."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        fitted, align = prepared.source_map, None
        source_width = prepared.trainer.pool.states.width
        if fitted is not None:
            align = SourceAlign(fitted, trainable=config.source_align.trainable)
            source_width = len(fitted.bias_A)
        target_width = prepared.target.embedding_table.shape[1]
        bridge = _bridge(config, source_width=source_width, target_width=target_width, align=align)
    return bridge.to(prepared.target.device)


def num_bridge_parameters(config: TrainConfig, *, source_width: int, target_width: int) -> int:
    """Return how many parameters the bridge of *config* has, its map of source states included.

    Args:
        source_width: Of the concatenated source states.
    """
    align, kind = None, config.source_align.kind
    with torch.device("meta"):  # shapes without memory
        if kind != "none":
            width = source_width if kind == "identity" else target_width
            align = SourceAlign(
                LinearMap(torch.empty(source_width, width), torch.empty(width)), trainable=True
            )
            source_width = width
        bridge = _bridge(config, source_width=source_width, target_width=target_width, align=align)
    return sum(weight.numel() for weight in bridge.parameters())


def _bridge(
    config: TrainConfig, *, source_width: int, target_width: int, align: SourceAlign | None
) -> Bridge:
    bridge = config.bridge
    dimensions = Dimensions(
        source_width=source_width,
        target_width=target_width,
        width=bridge.width,
        depth=bridge.depth,
        heads=bridge.heads,
        num_soft_tokens=bridge.num_soft_tokens,
    )
    if bridge.kind == "linear":
        return LinearBridge(dimensions, align=align)
    if config.prompt.injection == "adapter":
        return Adapter(dimensions, align=align)
    if bridge.kind == "resampler":
        return Resampler(dimensions, align=align)
    return DiTBridge(
        dimensions,
        slot_positions=bridge.slot_positions,
        conditioning=bridge.conditioning,
        method=config.sampler.method,
        guidance=config.sampler.guidance,
        align=align,
    )


def _load_pair(config: TrainConfig, world: World) -> tuple[FrozenModel, FrozenModel]:
    """Return source and target, or refuse before loading when the weights alone do not fit."""
    pair, device = config.pair, config.compute.device
    roles = ((pair.source, pair.source_revision), (pair.target, pair.target_revision))
    shapes = [shape_before_loading(name, revision=at, dtype=pair.dtype) for name, at in roles]
    place = torch.device("cuda" if torch.cuda.is_available() and device != "cpu" else "cpu")
    _check_memory(limits.weight_bytes(*shapes), place, world)
    plain = config.compute.kernels == "plain"
    loaded = []
    for role, (name, at) in zip(("source", "target"), roles, strict=True):
        with enough_memory(f"{role} weights", doing=f"loading {name}"):
            loaded.append(load_frozen(name, revision=at, dtype=pair.dtype, device=device, plain=plain))
    source, target = loaded
    return source, target


def _check_memory(
    needed: Mapping[str, int],
    place: torch.device,
    world: World,
    *,
    rows_that_fit: Callable[[int], int] = lambda _free_bytes: 0,
) -> None:
    """Refuse what does not fit."""
    free = _free_bytes(place, world)
    if free is not None:
        where, rows = _where(place), rows_that_fit(free)
        limits.refuse_what_does_not_fit(needed, available_bytes=free, where=where, rows_that_fit=rows)


def _free_bytes(place: torch.device, world: World) -> int | None:
    """Return what this process can have: those of a node share its memory, each has a GPU of its own."""
    free = available_bytes(place)
    if free is None or place.type == "cpu":
        return None if free is None else free // world.local_size
    kept = torch.cuda.memory_reserved(place) - torch.cuda.memory_allocated(place)  # for this process alone
    return free + kept


def _where(place: torch.device) -> str:
    return f"this machine's {place.type}"


def bridged(
    config: TrainConfig,
    prepared: Prepared,
    bridge: Bridge,
    inputs: BridgeInputs,
    *,
    states_from: Sequence[int] | None = None,
) -> list[Generation]:
    """Return what the bridged target writes for *inputs*, as *config* says that evaluations are made."""
    if prepared.target.device.type == "cuda":  # while a step is recorded, what training left cannot be freed
        torch.cuda.empty_cache()
    with enough_memory("evaluation", doing="an evaluation"):
        return bridged_generations(
            bridge,
            prepared.target,
            inputs,
            states_from=states_from,
            steps=config.sampler.eval_steps,
            scale=prepared.scale,
            batch_size=config.eval.rows,
            max_new_tokens=config.eval.max_new_tokens,
            padded=config.eval.batches == "padded",
            stops=prepared.task.stops,
            world=prepared.trainer.world,
        )


@dataclass(frozen=True)
class _Builder:
    config: TrainConfig
    task: Task
    source: FrozenModel
    target: FrozenModel
    cache_dir: Path
    note: Callable[[str], object]
    world: World = SOLO

    @cached_property
    def wording(self) -> Wording:
        return self.task.wording(seed=self.config.task.seed)

    @cached_property
    def source_prefix(self) -> Prefix | None:
        return self.source.read_prefix(self.wording.prefix)

    @cached_property
    def target_prefix(self) -> Prefix | None:
        return self.target.read_prefix(self.wording.prefix)

    @property
    def bridged_prefix(self) -> Prefix | None:
        """What the target reads before soft tokens: in ``soft_only`` mode nothing."""
        return self.target_prefix if self.config.prompt.mode == "soft_plus_text" else None

    @cached_property
    def layers(self) -> list[int]:
        return [int(layer) for layer in self.config.pair.source_layers.split(",")]

    def prefix_length(self, frozen: FrozenModel) -> int:
        """Return the number of tokens before a row's own, without reading them."""
        return 1 + len(frozen.encode(self.wording.prefix))

    def workload(self) -> limits.Workload:
        """Return the sizes of the run, for one evaluated row where their number is to be chosen.

        Raises:
            TrainingStopped: A sequence is longer than a context.
        """
        config = self.config
        train = self.items("train", config.train.pool_items)
        measured = [
            *self.items("dev", config.eval.dev_items),
            *self.items("test", config.eval.test_items),
        ]
        answers = 1 + max(len(self.target.encode(item.answer)) for item in train)
        rows = {
            "train": max(map(len, self.target_texts(train))),
            "eval": max(map(len, self.target_texts(measured))),
        }
        soft, new = config.bridge.num_soft_tokens, config.eval.max_new_tokens
        examples = self.prefix_length(self.target) if config.prompt.mode == "soft_plus_text" else 1
        for text, tail in ((rows["train"], {"answer": answers}), (rows["eval"], {"new": new})):
            parts = {"begin or examples": examples, "soft": soft, "prompt": text, **tail}
            limits.refuse_what_is_too_long(self.target.name, context=self.target.context, parts=parts)
        alone = [self.wording.opening + item.question + config.prompt.instruction for item in measured]
        prompts = [max(len(frozen.encode(text)) for text in alone) for frozen in (self.source, self.target)]
        for frozen, prompt in zip((self.source, self.target), prompts, strict=True):
            parts = {"begin or examples": self.prefix_length(frozen), "prompt": prompt, "new": new}
            limits.refuse_what_is_too_long(frozen.name, context=frozen.context, parts=parts)
        opening = self.wording.opening
        states = [1 + len(self.source.encode(opening + item.question)) for item in [*train, *measured]]
        tapped, bridge, in_place = len(self.layers), config.bridge, self._computes_in_place()
        source, target = self.shapes
        has_slots, is_sampled = config.prompt.injection == "prepend", bridge.kind == "dit"
        return limits.Workload(
            bridge_parameters=num_bridge_parameters(
                config, source_width=tapped * source.width, target_width=target.width
            ),
            num_states=sum(states),
            tapped_layers=tapped,
            prefix_positions=max(map(self.prefix_length, (self.source, self.target))),
            train_batch=config.train.batch_size
            // (self.world.size * config.compute.gradient_accumulation_steps),
            train_positions=soft + rows["train"] + answers,
            train_answers=answers,
            eval_batch=1 if config.eval.batch_size == AUTO else config.eval.rows,
            evaluation=limits.Evaluation(
                slots=soft if has_slots else 0,
                text=1 + rows["eval"],
                alone=1 + max(prompts),
                question=max(states),
                new=new,
                bridge_width=bridge.width,
                reads_examples=config.prompt.mode == "soft_plus_text",
                on_gpu=self.target.device.type != "cpu",
                in_place=in_place,
                spells=effective(config).get("loss.teacher") == "answer",
                taught=self._taught(train, answers) if config.loss.kl_weight > 0 else 0,
            ),
            sampler_steps=config.sampler.train_steps + 1 if in_place and is_sampled else 0,
            bridge_depth=bridge.depth,
        )

    @cached_property
    def shapes(self) -> tuple[limits.ModelShape, limits.ModelShape]:
        """Of source and target."""
        return shape_of(self.source.model), shape_of(self.target.model)

    @property
    def num_evaluated(self) -> int:
        """Items of the largest evaluation."""
        return max(self.config.eval.dev_items, self.config.eval.test_items)

    def _computes_in_place(self) -> bool:
        return self.target.kernels is not None and self.source.kernels is not None

    def _taught(self, train: Sequence[Item], answers: int) -> int:
        """Return the tokens of the longest row that the teacher of KL reads."""
        opening, instruction = self.wording.opening, self.config.prompt.instruction
        prompts = (len(self.target.encode(opening + item.question + instruction)) for item in train)
        return 1 + max(prompts) + min(answers, limits.TEACHER_POSITIONS)

    def chosen_rows(self, load: limits.Workload) -> tuple[int, str]:
        """Return how many rows evaluations take, and why so many.

        All processes return the same; it is 1 where nothing fits, which is refused afterwards.
        """
        items, place, size = self.num_evaluated, self.target.device, self.world.size
        free = _free_bytes(place, self.world)
        if free is None or place.type == "cpu":
            sized = rows_for_cpu(*self.shapes, load, items=items)
            return sized.rows, why_for_cpu(sized, items=items)
        here = rows_for_device(*self.shapes, load, items=items, free_bytes=free, processes=size)
        sized = agreed(self.world.gathered(here))
        return sized.rows, why_for_device(sized, items=items, processes=size)

    def refuse_what_does_not_fit(self, load: limits.Workload) -> None:
        """Refuse the run when the memory is too small.

        Raises:
            TrainingStopped: It is.
        """
        needed, place = limits.run_bytes(*self.shapes, load), self.target.device
        if place.type != "cpu":  # the states wait on the host
            _check_memory({"source states": needed.pop("source states")}, torch.device("cpu"), self.world)
        beside = needed.get("source states", 0)

        def rows_that_fit(free_bytes: int) -> int:
            sized = rows_for_device(
                *self.shapes,
                load,
                items=self.num_evaluated,
                free_bytes=free_bytes - beside,
                processes=self.world.size,
            )
            return sized.rows if sized.fits else 0

        _check_memory(needed, place, self.world, rows_that_fit=rows_that_fit)

    def items(self, split: Split, num_items: int) -> tuple[Item, ...]:
        seed = self.config.task.seed
        return tuple(self.task.item(seed=seed, split=split, index=index) for index in range(num_items))

    def measured(self, split: Split, num_items: int) -> Measured:
        items = self.items(split, num_items)
        instruction, opening = self.config.prompt.instruction, self.wording.opening
        questions = [opening + item.question + instruction for item in items]

        def alone(frozen: FrozenModel, prompts: Sequence[str], prefix: Prefix | None) -> list[Scored]:
            with enough_memory("evaluation", doing=f"generating with {frozen.name} alone"):
                generations = cached_alone(
                    frozen,
                    prompts,
                    batch_size=self.config.eval.rows,
                    max_new_tokens=self.config.eval.max_new_tokens,
                    threads=self.config.compute.threads,
                    cache_dir=self.cache_dir,
                    note=self.note,
                    padded=self.config.eval.batches == "padded",
                    prefix=prefix,
                    stops=self.task.stops,
                    world=self.world,
                )
            return score(self.task, frozen, items, generations)

        controls = {}
        if self.config.prompt.mode == "soft_only":
            controls["no_soft_tokens"] = alone(self.target, [instruction] * len(items), None)
        return Measured(
            split=split,
            items=items,
            inputs=self.bridge_inputs(split, items),
            alone={
                "source_alone": alone(self.source, questions, self.source_prefix),
                "target_alone": alone(self.target, questions, self.target_prefix),
            },
            controls=controls,
        )

    def bridge_inputs(self, split: Split, items: Sequence[Item]) -> BridgeInputs:
        drawn = self.evaluation_noise(split, items) if self.config.bridge.kind == "dit" else None
        return BridgeInputs(
            states=self.source_states(items),
            noise_IKE=drawn,
            target_texts=self.target_texts(items),
            prefix=self.bridged_prefix,
            question_spans=self.question_spans(items),
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

    def source_states(self, items: Sequence[Item]) -> SourceStates:
        """Return the states of all questions.

        Where there are worked examples, the source reads them before the question; their states are not kept.
        """
        prefix = self.source_prefix
        with enough_memory("source states", doing=f"reading questions with {self.source.name}"):
            return source_states(
                self.source,
                [self.source.encode(self.wording.opening + item.question) for item in items],
                layers=self.layers,
                prefix=prefix,
                batch_size=STATES_ROWS if prefix is None else min(STATES_ROWS, self.config.eval.rows),
                threads=self.config.compute.threads,
                cache_dir=self.cache_dir,
                note=self.note,
                world=self.world,
            )

    def target_texts(self, items: Sequence[Item]) -> tuple[tuple[int, ...], ...]:
        mode, instruction = self.config.prompt.mode, self.config.prompt.instruction
        questions = [self.wording.opening + item.question for item in items]
        texts = [prompt_text(question=one, instruction=instruction, mode=mode) for one in questions]
        return tuple(self.target.encode(text) for text in texts)

    def question_spans(self, items: Sequence[Item]) -> tuple[Span, ...]:
        """Return which tokens of each text end in the question; nothing without an adapter."""
        if self.config.prompt.injection == "prepend":
            return ()
        opening = len(self.wording.opening)
        spans = []
        for item, ids in zip(items, self.target_texts(items), strict=True):
            ends = char_ends(ids, self.target.decode)
            first = sum(end <= opening for end in ends)
            spans.append(Span(first, sum(end <= opening + len(item.question) for end in ends)))
        return tuple(spans)

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
            question_spans=self.question_spans(items),
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
            prefix=self.bridged_prefix,
            alignment_mode=config.loss.prompt_alignment_mode,
            supervision=self.supervision(items, pool.answers),
            decode_every_steps=config.loss.decode_every_steps,
            max_new_tokens=config.eval.max_new_tokens,
            padded=config.eval.batches == "padded",
            stops=self.task.stops,
            world=self.world,
            accumulation_steps=config.compute.gradient_accumulation_steps,
        )

    def source_map(self, states: SourceStates, scale: Scale) -> LinearMap | None:
        """Return the map that source states start from, fitted to training questions only."""
        kind = self.config.source_align.kind
        if kind == "none":
            return None
        if kind == "identity":
            return identity_map(states.width)
        states_MS, embeddings_ME = self.aligned_pairs("train", states, scale)
        fit = fit_ridge if kind == "ridge" else fit_procrustes
        return fit(states_MS, embeddings_ME)

    def aligned_pairs(self, split: Split, states: SourceStates, scale: Scale) -> tuple[Tensor, Tensor]:
        """Return normalised source states and target embeddings of the same characters, row by row.

        Embeddings are in units of the table's median RMS. Only tokens that end in a question are paired.
        """
        items = self.items(split, len(states))[:_ALIGN_QUESTIONS]
        opening = self.wording.opening
        begin = num_begin_tokens(self.source, self.source_prefix)
        rows, columns, ids = [], [], []
        for row, item in enumerate(items):
            source_ids, target_ids = (
                frozen.encode(opening + item.question) for frozen in (self.source, self.target)
            )
            pairs = paired_tokens(
                source_ids, self.source.decode, target_ids, self.target.decode, after=len(opening)
            )
            rows += [row] * len(pairs)
            columns += [begin + source_index for source_index, _ in pairs]
            ids += [target_ids[target_index] for _, target_index in pairs]
        if not ids:
            raise TrainingStopped(
                f"source_align.kind {self.config.source_align.kind} is fitted to tokens that end at the same "
                f"characters, and {self.source.name} and {self.target.name} have none; use identity"
            )
        embeddings_ME = self.target.embedding_table[ids].float().cpu() / scale.rms
        return normalised(states.picked(rows, columns)), embeddings_ME

    def supervision(self, items: Sequence[Item], answers: Sequence[tuple[int, ...]]) -> Supervision:
        """Return what the terms with a weight learn from, and nothing for those without."""
        loss, target = self.config.loss, self.target
        full_text = bank = starts = None
        if loss.kl_weight > 0:
            opening, instruction = self.wording.opening, self.config.prompt.instruction
            with enough_memory("evaluation", doing="asking the teacher of kl"):
                full_text = full_text_teacher(
                    target,
                    [target.encode(opening + item.question + instruction) for item in items],
                    answers,
                    prefix=self.target_prefix,
                    batch_size=min(TEACHER_ROWS, self.config.eval.rows),
                    threads=self.config.compute.threads,
                    cache_dir=self.cache_dir,
                    note=self.note,
                    world=self.world,
                )
        if loss.info_nce_weight > 0:
            bank = question_bank(target.embedding_table, [target.encode(item.question) for item in items])
        if loss.format_weight > 0:
            starts = tuple(format_start(answer, target.decode) for answer in answers)

        def is_correct(row: int, token_ids: Sequence[int]) -> bool:
            return outcome(self.task.extract(target.decode(token_ids)), items[row].gold) == "correct"

        return Supervision(full_text, bank, starts, is_correct if loss.decode_weight > 0 else None)
