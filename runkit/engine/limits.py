"""What a pair can take: positions of a context and bytes of a memory; numbers in, numbers or a refusal out.

The bytes are an estimate for refusing a run before its first hour, not a measurement. Weights, states and
caches are exact products of shapes; activations are a rule of thumb (17 values of the model's width a token
and layer, about what a Llama block with fused attention keeps for the backward pass).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from runkit.errors import TrainingStopped

_ACTIVATIONS = 17
_TRAINED_BYTES = 16
"""A trained fp32 parameter: itself, its gradient and two moments of the optimiser."""
_GIB = 2**30


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
    eval_positions: int
    """Of the longest row with all that may be generated, the prefix not counted."""
    prefix_is_shared: bool = False
    """Whether rows that are generated read the prefix where it lies, instead of a copy each."""


WAYS_OUT = {
    "source weights": "use pair.dtype=bf16 or a smaller source",
    "target weights": "use pair.dtype=bf16 or a smaller target",
    "bridge and optimiser": "reduce bridge.width or bridge.depth",
    "source states": "reduce train.pool_items or tap fewer pair.source_layers",
    "training step": "reduce train.batch_size, bridge.num_soft_tokens or task.few_shot",
    "evaluation": "reduce eval.batch_size, eval.max_new_tokens or task.few_shot",
}


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
    copied = 0 if load.prefix_is_shared else load.prefix_positions
    eval_rows = load.eval_batch * (copied + load.eval_positions) + load.prefix_positions - copied
    return {
        "bridge and optimiser": _TRAINED_BYTES * load.bridge_parameters,
        "source states": load.num_states * load.tapped_layers * source.width * source.value_bytes,
        "training step": activations + logits + cache_bytes(target, load.train_batch * shared),
        "evaluation": max(cache_bytes(source, eval_rows), cache_bytes(target, eval_rows)),
    }


def cache_bytes(model: ModelShape, tokens: int) -> int:
    """Return the bytes of the keys and values of *tokens* in all layers."""
    return 2 * model.layers * model.key_value_width * model.value_bytes * tokens


def refuse_what_does_not_fit(
    needed: Mapping[str, int], *, available_bytes: int, where: str, eval_batch: int | None = None
) -> None:
    """Check an estimate against the free memory.

    Args:
        eval_batch: Rows that the evaluation's part is for; the error then says how many would fit.
    Raises:
        TrainingStopped: More is needed; names the parts, largest first, and what to reduce.
    """
    phases = [needed[name] for name in ("training step", "evaluation") if name in needed]
    total = sum(needed.values()) - (min(phases) if len(phases) == 2 else 0)
    if total <= available_bytes:
        return
    largest = sorted(needed, key=lambda part: -needed[part])
    parts = ", ".join(f"{part} {needed[part] / _GIB:.1f}" for part in largest)
    way_out = WAYS_OUT[largest[0]]
    if largest[0] == "evaluation" and eval_batch is not None:
        beside = sum(needed.values()) - sum(phases)
        rows = (available_bytes - beside) * eval_batch // needed["evaluation"]
        way_out = f"eval.batch_size={rows} would fit" if rows > 0 else way_out
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
