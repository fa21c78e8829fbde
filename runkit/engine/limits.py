"""What a pair can take: positions of a context and bytes of a memory; numbers in, numbers or a refusal out.

The bytes are an estimate, not a measurement: for refusing a run before its first hour, and for choosing how
many rows an evaluation takes. Weights, states and caches are exact products of shapes; activations are a rule
of thumb (17 values of the model's width a token and layer, about what a Llama block with fused attention
keeps for the backward pass, and what one block needs at a time without one).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from runkit.errors import TrainingStopped

_ACTIVATIONS = 17
_TRAINED_BYTES = 16
"""A trained fp32 parameter: itself, its gradient and two moments of the optimiser."""
_GIB = 2**30
_FP32 = 4

PROMPT_TOKENS = 16_384
COLUMNS = 64
SAMPLED_ROWS = 8
"""How evaluations on a GPU go about their memory: prompts are read in parts of about so many tokens, keys and
values have a multiple of so many columns, and a bridge samples so many rows at a time."""
STATES_ROWS = 256
TEACHER_ROWS = 128
"""The most questions that the source reads at once, and the most that the teacher of KL is asked about."""
TEACHER_POSITIONS = 20
"""Of each answer, at which the teacher of KL is asked."""
_SAMPLER_VALUES = 6
"""Noise, point, velocities and what is between them, each as wide as the target's embeddings and in fp32."""


class ModelShape(NamedTuple):
    """The numbers of a frozen model that memory depends on."""

    parameters: int
    layers: int
    width: int
    key_value_width: int
    """Of one layer: heads of keys (as many of values) times the width of a head."""
    vocabulary: int
    value_bytes: int
    """4 for fp32, 2 for bf16."""


class Evaluation(NamedTuple):
    """The sizes of evaluations in tokens, each that of its longest row."""

    slots: int
    """Soft tokens before the text; none for an adapter, which adds to the text."""
    text: int
    """What the target reads besides, without worked examples."""
    alone: int
    """The prompt of a model alone, without worked examples."""
    question: int
    """What the source reads for the bridge."""
    new: int
    """What may be generated."""
    bridge_width: int
    reads_examples: bool = True
    """Whether the target reads the worked examples before soft tokens."""
    on_gpu: bool = False
    """Whether a bridge samples a few rows at a time."""
    in_place: bool = False
    """Whether rows have memory of their own from the start and read examples where they lie, instead of a
    copy each in caches that grow."""
    spells: bool = False
    """Whether soft tokens are also read as the tokens that they point at most."""
    taught: int = 0
    """The longest row that the teacher of KL reads; 0 without one."""


class Workload(NamedTuple):
    """The sizes that a run asks for."""

    bridge_parameters: int
    num_states: int
    """Source tokens that are kept for all problems together."""
    tapped_layers: int
    prefix_positions: int
    train_batch: int
    train_positions: int
    """Of the longest training row, the prefix not counted."""
    train_answers: int
    """Supervised positions of the longest training row."""
    eval_batch: int
    evaluation: Evaluation
    sampler_steps: int = 0
    """Passes through the bridge in a training step that stay recorded between steps; 0 where nothing is."""
    bridge_depth: int = 0


WAYS_OUT = {
    "source weights": "use pair.dtype=bf16 or a smaller source",
    "target weights": "use pair.dtype=bf16 or a smaller target",
    "bridge and optimiser": "reduce bridge.width or bridge.depth",
    "source states": "reduce train.pool_items or tap fewer pair.source_layers",
    "worked examples": "reduce task.few_shot",
    "training step": "reduce train.batch_size, bridge.num_soft_tokens or task.few_shot",
    "evaluation": "reduce eval.batch_size, eval.max_new_tokens or task.few_shot",
}


PHASES = ("training step", "evaluation")
"""Parts that are never there at the same time."""


def weight_bytes(source: ModelShape, target: ModelShape) -> dict[str, int]:
    """Return the bytes of the two frozen models."""
    return {
        "source weights": source.parameters * source.value_bytes,
        "target weights": target.parameters * target.value_bytes,
    }


def run_bytes(source: ModelShape, target: ModelShape, load: Workload) -> dict[str, int]:
    """Return the bytes that a run needs beside the frozen weights; training and evaluation never overlap."""
    train_rows = load.train_batch * load.train_positions
    activations = _ACTIVATIONS * target.layers * target.width * target.value_bytes * train_rows
    shared = load.prefix_positions + load.train_positions if load.prefix_positions else 0
    logits = load.train_batch * load.train_answers * target.vocabulary * (target.value_bytes + 8)
    return {
        "bridge and optimiser": _TRAINED_BYTES * load.bridge_parameters + _recorded_bytes(target, load),
        "source states": load.num_states * load.tapped_layers * source.width * source.value_bytes,
        "worked examples": sum(cache_bytes(model, load.prefix_positions) for model in (source, target)),
        "training step": activations + logits + cache_bytes(target, load.train_batch * shared),
        "evaluation": max(evaluation_bytes(source, target, load).values()),
    }


def total_bytes(needed: Mapping[str, int]) -> int:
    """Return how much of *needed* is there at one time."""
    phases = [needed[name] for name in PHASES if name in needed]
    return sum(needed.values()) - (min(phases) if len(phases) == len(PHASES) else 0)


def evaluation_bytes(source: ModelShape, target: ModelShape, load: Workload) -> dict[str, int]:
    """Return the bytes of each part of an evaluation of ``load.eval_batch`` rows; no two parts overlap."""
    rows, sizes = load.eval_batch, load.evaluation
    examples = load.prefix_positions
    in_parts = sizes.on_gpu and sizes.slots > 0
    at_once = min(rows, SAMPLED_ROWS) if in_parts else rows
    positions, value_bytes = (sizes.slots, target.value_bytes) if sizes.slots else (sizes.question, _FP32)
    soft = rows * positions * target.width * value_bytes
    path = positions * (_SAMPLER_VALUES * target.width + _ACTIVATIONS * sizes.bridge_width)
    read = 2 * sizes.question * load.tapped_layers * source.width  # as kept, and mapped
    sampler = at_once * _FP32 * (path + read)
    parts = {
        "sampling": (2 * soft if in_parts else soft) + sampler,  # parts are put together
        "bridged": soft
        + _decoding_bytes(
            target,
            rows,
            prompt=sizes.slots + sizes.text,
            sizes=sizes,
            examples=examples if sizes.reads_examples else 0,
        ),
        "alone": max(
            _decoding_bytes(model, rows, prompt=sizes.alone, sizes=sizes, examples=examples)
            for model in (source, target)
        ),
        "states": _states_bytes(source, load),
    }
    if sizes.spells:
        scores = (1 if in_parts else rows) * sizes.slots * target.vocabulary * _FP32
        parts["spelling"] = sampler + 2 * _FP32 * target.vocabulary * target.width + scores
    if sizes.taught:
        asked = min(rows, TEACHER_ROWS)
        scores = asked * TEACHER_POSITIONS * target.vocabulary * (target.value_bytes + 2 * _FP32)
        parts["teacher"] = scores + _block_bytes(target, asked, tokens=sizes.taught, examples=examples)
    return parts


def _decoding_bytes(model: ModelShape, rows: int, *, prompt: int, sizes: Evaluation, examples: int) -> int:
    """Return the bytes of rows that are generated: keys and values, prompts, a part of them being read."""
    inputs = rows * prompt * model.width * model.value_bytes
    if not sizes.in_place:
        kept = cache_bytes(model, rows * (examples + prompt + sizes.new))
        return kept + inputs + _block_bytes(model, rows, tokens=prompt, examples=examples)
    columns = -(-(prompt + sizes.new) // COLUMNS) * COLUMNS
    at_once = min(rows, max(1, PROMPT_TOKENS // prompt))
    reading = _block_bytes(model, at_once, tokens=prompt, examples=examples)
    moved = rows * columns * model.key_value_width * model.value_bytes  # rows that go on, of one layer
    logits = rows * model.vocabulary * (model.value_bytes + _FP32)
    return cache_bytes(model, rows * columns) + inputs + max(reading, moved + logits)


def _block_bytes(model: ModelShape, rows: int, *, tokens: int, examples: int) -> int:
    """Return the bytes of a block that reads *rows* without gradients, with a copy of what it attends to."""
    attended = 2 * rows * (examples + tokens) * model.key_value_width * model.value_bytes
    return _ACTIVATIONS * rows * tokens * model.width * model.value_bytes + attended


def _states_bytes(source: ModelShape, load: Workload) -> int:
    """Return the bytes of questions being read by the source, of which all layers' states are at hand."""
    has_examples = load.prefix_positions > 1
    rows = min(load.eval_batch, STATES_ROWS) if has_examples else STATES_ROWS
    tokens = load.evaluation.question
    layers = source.layers + 1 + 2 * load.tapped_layers  # put together, and the real ones picked
    states = rows * tokens * layers * source.width * source.value_bytes
    return states + _block_bytes(source, rows, tokens=tokens, examples=load.prefix_positions)


def _recorded_bytes(target: ModelShape, load: Workload) -> int:
    """Return the bytes of a step's passes through the bridge, which a recording keeps between steps."""
    slots = load.train_batch * load.evaluation.slots
    blocks = _ACTIVATIONS * load.bridge_depth * load.evaluation.bridge_width * target.value_bytes
    ends = 3 * _FP32 * target.width
    return slots * load.sampler_steps * (blocks + ends)


def cache_bytes(model: ModelShape, tokens: int) -> int:
    """Return the bytes of the keys and values of *tokens* in all layers."""
    return 2 * model.layers * model.key_value_width * model.value_bytes * tokens


def refuse_what_does_not_fit(
    needed: Mapping[str, int], *, available_bytes: int, where: str, rows_that_fit: int = 0
) -> None:
    """Check an estimate against the free memory.

    Args:
        rows_that_fit: Of an evaluation, for the error; 0 where nothing is known or none fit.
    Raises:
        TrainingStopped: More is needed; names the parts, largest first, and what to reduce.
    """
    total = total_bytes(needed)
    if total <= available_bytes:
        return
    largest = sorted(needed, key=lambda part: -needed[part])
    parts = ", ".join(f"{part} {needed[part] / _GIB:.1f}" for part in largest)
    way_out = WAYS_OUT[largest[0]]
    if largest[0] == "evaluation" and rows_that_fit > 0:
        way_out = f"eval.batch_size={rows_that_fit} would fit"
    raise TrainingStopped(
        f"the pair needs about {total / _GIB:.1f} GiB more and {where} has {available_bytes / _GIB:.1f} free "
        f"({parts}); {way_out}"
    )


def refuse_what_is_too_long(name: str, *, context: int | None, parts: Mapping[str, int]) -> None:
    """Check the longest sequence against the positions that a model has; None means no limit is known.

    Raises:
        TrainingStopped: It is longer; gives all numbers.
    """
    total = sum(parts.values())
    if context is None or total <= context:
        return
    counted = " + ".join(f"{count} {part}" for part, count in parts.items() if count)
    raise TrainingStopped(
        f"{name} reads at most {context} tokens and this run needs {total} ({counted}); reduce "
        "bridge.num_soft_tokens, task.few_shot or eval.max_new_tokens"
    )
