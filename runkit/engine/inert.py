"""Which keys of a configuration say nothing about its run: those without effect, those at what absence means.

The two are kept apart. A key without effect is named with the reason, and a comparison reads it as the
consequence of another key. A key at the value that its absence means has an effect (the bridge *is* a DiT),
and a comparison reports it as changed where it differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from runkit.records.schema import IMPLIED, Setting

if TYPE_CHECKING:
    from runkit.engine.config import TrainConfig

IMPLIED_FOR_PRICE_LIST: Mapping[str, Setting] = {
    "task.dataset": "openai/gsm8k",
    "task.train_file": "",
    "task.test_file": "",
    "task.few_shot": 8,
    "pair.source_revision": "main",
    "pair.target_revision": "main",
    "pair.dtype": "fp32",
    "eval.batches": "one_length",
    "compute.device": "auto",
}
"""Of runs of the price list, beside :data:`IMPLIED`: they had these values without saying so.

Every other task came with the keys, and its runs name them: which data, in what precision.
"""

_DATA_KEYS = ("task.dataset", "task.train_file", "task.test_file", "task.few_shot")

_KINDS_WITHOUT = {
    "resampler": ("reads all source states by cross-attention", "has queries for slots", ()),
    "linear": ("reads means of parts of the question", "has no slots", ("width", "depth", "heads")),
}


def implied(config: TrainConfig) -> Mapping[str, Setting]:
    """Return the keys that may be absent from the effective form of *config*, with what that means."""
    return {**IMPLIED, **IMPLIED_FOR_PRICE_LIST} if config.task.name == "pricelist" else IMPLIED


def inert_reasons(config: TrainConfig) -> dict[str, str]:
    """Return the keys that cannot change the run of *config*, each with the reason."""
    return {
        **_without_guidance(config),
        **_without_a_term(config),
        **_for_the_kind(config),
        **_after_the_end(config),
        **_without_data(config),
    }


def _for_the_kind(config: TrainConfig) -> dict[str, str]:
    kind = config.bridge.kind
    if kind == "dit":
        return {}
    reads, slots, unused = _KINDS_WITHOUT[kind]
    reasons = {
        "bridge.conditioning": f"the {kind} bridge {reads}",
        "bridge.slot_positions": f"the {kind} bridge {slots}",
        **{f"bridge.{key}": f"the {kind} bridge is one matrix" for key in unused},
        "loss.flow_weight": f"the {kind} bridge has no velocity",
    }
    sampler = {f"sampler.{key}": f"the {kind} bridge has no sampler" for key in config.sampler.model_dump()}
    if config.prompt.injection == "adapter":
        reasons["bridge.num_soft_tokens"] = "the adapter adds to the question's own tokens"
    return {**reasons, **sampler}


def _without_guidance(config: TrainConfig) -> dict[str, str]:
    if config.sampler.guidance == 1.0:
        return {"sampler.condition_drop": "sampler.guidance is 1, so there is no null token"}
    if config.loss.flow_weight == 0:
        return {"sampler.condition_drop": "loss.flow_weight is 0"}
    return {}


def _without_a_term(config: TrainConfig) -> dict[str, str]:
    reasons, loss = {}, config.loss
    if config.source_align.kind == "none":
        reasons["source_align.trainable"] = "source_align.kind is none, so there is no map"
    if loss.prompt_alignment_weight == 0:
        reasons["loss.prompt_alignment_mode"] = "loss.prompt_alignment_weight is 0"
        if loss.flow_weight == 0 or config.bridge.kind != "dit":
            reasons["loss.teacher"] = "neither flow nor prompt alignment is computed"
    if loss.decode_weight == 0:
        reasons["loss.decode_every_steps"] = "loss.decode_weight is 0"
    return reasons


def _after_the_end(config: TrainConfig) -> dict[str, str]:
    reasons, train = {}, config.train
    if train.patience_evals * train.eval_every_steps >= train.steps:
        reasons["train.patience_evals"] = "train.steps end before patience could run out"
    if config.optim.warmup_steps >= train.steps:
        reasons["optim.decay"] = "train.steps end within optim.warmup_steps"
    return reasons


def _without_data(config: TrainConfig) -> dict[str, str]:
    if config.task.name != "pricelist":
        return {}
    return dict.fromkeys(_DATA_KEYS, "the price list reads no data")
