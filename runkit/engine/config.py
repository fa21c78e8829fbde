"""The configuration of a training run, as text and as a record; importing this module does not load torch.

A configuration is written as TOML, optionally on top of a preset, and read as a frozen record. Its *flat*
form names each value by a dotted key such as ``bridge.num_soft_tokens``. The *effective* form is the flat
one without inert keys, that is without the keys that cannot change this run; its digest identifies what
was run.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from runkit.errors import RecordInvalid, StorageFailed, UnknownName, UsageError
from runkit.records.schema import IMPLIED

Scalar = bool | int | float | str
Flat = dict[str, Scalar]

_Positive = Annotated[int, Field(ge=1)]
_Count = Annotated[int, Field(ge=0)]
_Weight = Annotated[float, Field(ge=0)]


def _unfit(expected: str, got: str) -> PydanticCustomError:
    return PydanticCustomError("unfit", "should be {expected}, got {got}", {"expected": expected, "got": got})


class _Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class TaskConfig(_Section):
    """Which problems."""

    name: str = "pricelist"
    seed: _Count = 7
    """Seed of the problems, apart from the run's seed: runs of any seed are scored on the same problems."""
    dataset: str = "openai/gsm8k"
    """For ``gsm8k``: a data set on the hub, or a local folder that ``datasets`` can load."""
    train_file: str = ""
    """For ``gsm8k``: local JSONL with the fields question and answer, in place of the data set's train."""
    test_file: str = ""
    few_shot: _Count = 8
    """For ``gsm8k``: worked examples before every question, drawn from train with ``task.seed``."""


class PairConfig(_Section):
    """Which two frozen models, and what is read from the source."""

    source: str = "pocket/source"
    """``pocket/source``, a local folder that transformers can load, or a name on the hub."""
    target: str = "pocket/target"
    source_revision: str = "main"
    """Branch, tag or commit of a model on the hub; the run records the commit."""
    target_revision: str = "main"
    dtype: Literal["fp32", "bf16"] = "fp32"
    """Of both frozen models; the bridge is always trained in fp32."""
    source_layers: Annotated[str, StringConstraints(pattern=r"^\d+(,\d+)*$")] = "1,3"
    """Tapped hidden states, concatenated; 0 is the embedding, n the output of layer n."""


class SourceAlignConfig(_Section):
    """A linear map of the source's states, fitted before training, that the bridge starts from."""

    kind: Literal["none", "identity", "ridge", "procrustes"] = "none"
    """``ridge`` and ``procrustes`` are fitted to the target's embeddings of the same characters.

    ``rope`` is read as ``identity``, which is what runs under that name had: a square linear layer of the
    states. It undid no rotation and could not: positions are rotated inside attention only, hidden states
    never are, and one matrix for all tokens could not tell positions apart.
    """
    trainable: bool = True

    @field_validator("kind", mode="before")
    @classmethod
    def _rope_is_a_linear_map(cls, kind: object) -> object:
        return "identity" if kind == "rope" else kind


class PromptConfig(_Section):
    """How the target's input is laid out."""

    mode: Literal["soft_plus_text", "soft_only"] = "soft_plus_text"
    injection: Literal["prepend", "adapter"] = "prepend"
    """``adapter`` adds to the target's embeddings of the question what a resampler tells each token."""
    instruction: str = "\nA:"
    """Follows the question for all systems; in ``soft_only`` it follows the soft tokens."""


class BridgeConfig(_Section):
    """The trained network."""

    kind: Literal["dit", "resampler", "linear"] = "dit"
    """``dit`` integrates a velocity from noise; ``resampler`` asks with learned queries; ``linear`` is one
    matrix on the means of K parts of the question, the floor."""
    conditioning: Literal["cross", "attn_pool", "mean"] = "cross"
    num_soft_tokens: _Positive = 8
    slot_positions: bool = True
    width: _Positive = 64
    depth: _Positive = 2
    heads: _Positive = 4
    rms: Literal["exact", "none", "legacy_clamped"] = "exact"
    """Whether each soft token gets exactly the median RMS of the target's embeddings, or keeps its size.
    ``legacy_clamped`` repeats an old fault: a factor between 1/4 and 4 on soft tokens of any size."""

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.width % 2 or self.width % self.heads:
            got = f"{self.width} and {self.heads}"
            raise _unfit("a width that is even and a multiple of heads", got)
        return self


class SamplerConfig(_Section):
    """The way from noise to soft tokens."""

    method: Literal["euler", "heun"] = "euler"
    """``heun`` takes two velocities a step and is of second order."""
    guidance: _Weight = 1.0
    """Classifier-free guidance, in training as in evaluation; 1 is one conditional velocity."""
    condition_drop: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the flow loss that is computed without the source, under guidance only."""

    train_steps: _Positive = 2
    eval_steps: _Positive = 2
    noise_std: Annotated[float, Field(gt=0)] = 0.1
    """Size of the noise that sampling starts from, in units of the embeddings' median RMS. At 1 the bridge
    first has to learn to drown its noise; ten times less trains in half the steps."""


class LossConfig(_Section):
    """Weights of the loss terms; a term of weight 0 is not computed.

    The teacher of flow and alignment is a text: the embeddings of its first tokens, one a slot.
    """

    nll_weight: _Weight = 1.0
    flow_weight: _Weight = 0.1
    prompt_alignment_weight: _Weight = 0.0
    prompt_alignment_mode: Literal["mse", "ce"] = "mse"
    """``ce`` asks which token of the vocabulary a soft token points at, ``mse`` how far it is from it."""
    kl_weight: _Weight = 0.0
    """Pull towards what the target itself would answer to the full text. Does no harm, and forbids gains."""
    info_nce_weight: _Weight = 0.0
    """Soft tokens should tell their question from all other training questions."""
    format_weight: _Weight = 0.0
    """More weight on the tokens of the final ``#### n``."""
    decode_weight: _Weight = 0.0
    """Likelihood of the bridge's own greedy answers where they are correct. It cannot be the only term:
    without a correct answer there is nothing to learn from."""
    decode_every_steps: _Positive = 10
    teacher: Literal["question", "answer"] = "question"
    """With ``answer`` soft tokens are asked to *contain* the answer, so a run also says how many answers
    can be read off the soft tokens alone."""

    @model_validator(mode="after")
    def _something_is_learned(self) -> Self:
        if self.flow_weight == 0 and not self.learns_without_flow:
            raise _unfit("terms of which at least one has a weight", "all weights 0")
        return self

    @property
    def learns_without_flow(self) -> bool:
        """Whether some other term that is there at every step has a weight."""
        terms = (self.nll_weight, self.prompt_alignment_weight, self.kl_weight, self.info_nce_weight)
        return max(*terms, self.format_weight) > 0


class OptimConfig(_Section):
    """AdamW in fp32."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    weight_decay: _Weight = 0.01
    warmup_steps: _Count = 50
    decay: Literal["cosine", "none"] = "cosine"
    """After the warmup: down to a tenth at the last step, or constant."""
    grad_clip_norm: Annotated[float, Field(gt=0)] = 1.0


class TrainSection(_Section):
    """The loop."""

    steps: _Positive = 800
    batch_size: _Positive = 16
    pool_items: _Positive = 4096
    """Number of training problems; an epoch is one pass over them."""
    log_every_steps: _Positive = 20
    eval_every_steps: _Positive = 100
    patience_evals: _Positive = 3
    """Evaluations without a new best after which training stops early."""


class EvalConfig(_Section):
    """The measurements."""

    dev_items: _Positive = 200
    """Problems held out from training on which the best checkpoint is selected."""
    test_items: _Positive = 500
    """Problems of the final evaluation; never used for a choice."""
    batch_size: _Positive = 128
    batches: Literal["one_length", "padded"] = "one_length"
    """What a batch holds: prompts of one length, or prompts of any length padded on the right. With questions
    of many lengths, as in ``gsm8k``, batches of one length are nearly empty and slow."""
    max_new_tokens: _Positive = 28


class ComputeConfig(_Section):
    """How the machine is used; fixed in the configuration because sums depend on it in the last bit."""

    threads: _Positive = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` is CUDA where there is one, and the CPU for the embedded pair, whose runs repeat."""


class TrainConfig(_Section):
    """All that decides what a training run computes."""

    seed: _Count = 1234
    task: TaskConfig = TaskConfig()
    pair: PairConfig = PairConfig()
    source_align: SourceAlignConfig = SourceAlignConfig()
    prompt: PromptConfig = PromptConfig()
    bridge: BridgeConfig = BridgeConfig()
    sampler: SamplerConfig = SamplerConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()
    train: TrainSection = TrainSection()
    eval: EvalConfig = EvalConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _an_adapter_has_a_question_and_no_slots(self) -> Self:
        if self.prompt.injection == "prepend":
            return self
        if self.bridge.kind != "resampler" or self.prompt.mode != "soft_plus_text":
            got = f"{self.bridge.kind} in {self.prompt.mode}"
            raise _unfit("a resampler in soft_plus_text for prompt.injection adapter", got)
        if self.loss.prompt_alignment_weight > 0 or self.loss.info_nce_weight > 0:
            raise _unfit("no alignment and no InfoNCE, which look at slots that an adapter lacks", "one")
        return self

    @model_validator(mode="after")
    def _the_factors_know_the_task(self) -> Self:
        """These factors read the target's whole prompt, and do not know of worked examples before it."""
        loss = self.loss
        asked = {
            "loss.kl_weight": loss.kl_weight > 0,
            "loss.info_nce_weight": loss.info_nce_weight > 0,
            "loss.format_weight": loss.format_weight > 0,
            "loss.decode_weight": loss.decode_weight > 0,
            "prompt.injection adapter": self.prompt.injection == "adapter",
            "source_align": self.source_align.kind != "none",
        }
        unknown = [factor for factor, is_asked in asked.items() if is_asked]
        if unknown and self.task.name != "pricelist":
            raise _unfit(f"of the pricelist task to use {', '.join(unknown)}", self.task.name)
        return self

    @model_validator(mode="after")
    def _the_bridge_can_learn(self) -> Self:
        if self.bridge.kind != "dit" and not self.loss.learns_without_flow:
            raise _unfit("a loss with a weight besides flow, which only the dit bridge has", "none")
        return self


class Ablates(_Section):
    """What an ablation preset claims: it differs from the control in these factors and in nothing else."""

    run: str
    factors: tuple[str, ...]


class PresetNotes(_Section):
    """Why a preset exists."""

    title: str
    why: str
    ablates: Ablates | None = None


class Preset(_Section):
    """A named configuration with its notes."""

    name: str
    notes: PresetNotes
    config: TrainConfig


_DATA_KEYS = ("task.dataset", "task.train_file", "task.test_file", "task.few_shot")
_LATER_KEYS = frozenset(
    {
        *_DATA_KEYS,
        "eval.batches",
        "pair.source_revision",
        "pair.target_revision",
        "pair.dtype",
        "compute.device",
    }
)
"""Keys that are younger than the first runs of the price list. Where they have their default, the effective
form of a price-list run does not hold them, so that the digests of those runs stay what they were."""


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets, sorted."""
    names = (entry.name for entry in resources.files(__package__).joinpath("presets").iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_preset(name: str) -> TrainConfig:
    """Return the configuration of preset *name*.

    Raises:
        UnknownName: There is no such preset; names the nearest one.
    """
    return preset(name).config


def preset_notes(name: str) -> PresetNotes:
    """Return the notes of preset *name*; errors as in :func:`load_preset`."""
    return preset(name).notes


@cache
def preset(name: str) -> Preset:
    """Return preset *name* whole; errors as in :func:`load_preset`."""
    if name not in preset_names():
        raise UnknownName.among("preset", name, preset_names())
    document = tomllib.loads(
        resources.files(__package__).joinpath("presets", f"{name}.toml").read_text("utf-8")
    )
    origin = f"preset {name}"
    return Preset(
        name=name,
        notes=PresetNotes.model_validate_json(json.dumps(document.pop("notes"))),
        config=_from_document(document, origin=origin),
    )


def given(path: Path) -> Flat:
    """Return the flat values that the file at *path* itself gives; errors as in :func:`read_config`."""
    read_config(path)
    tables = {key: value for key, value in _read_document(path).items() if key not in {"preset", "notes"}}
    return _flat(tables)


def preset_named_by(path: Path) -> str | None:
    """Return the preset that the file at *path* builds on, or None; errors as in :func:`read_config`."""
    base = _read_document(path).get("preset")
    return base if isinstance(base, str) else None


def read_config(path: Path) -> TrainConfig:
    """Return the configuration in the TOML file at *path*.

    The file may start with ``preset = "pocket"``; its tables then change that preset.

    Raises:
        StorageFailed: The file cannot be read.
        UsageError: It is not TOML.
        UnknownName: It names a key or a preset that does not exist.
        RecordInvalid: A value has the wrong type or is out of range; lists all of them.
    """
    return _from_document(_read_document(path), origin=path.name)


def with_overrides(config: TrainConfig, overrides: Iterable[str]) -> TrainConfig:
    """Return *config* with each ``key=value`` of *overrides* applied, in order.

    Values are read as TOML; what is no TOML value is taken as text, so that ``bridge.conditioning=mean``
    needs no quotes.

    Raises:
        UsageError: An override has no ``=``.
        UnknownName: A key does not exist.
        RecordInvalid: A value has the wrong type or is out of range.
    """
    flat = flatten(config)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"override {override!r} should read key=value, for example train.steps=100")
        flat = _changed(flat, {key.strip(): _value(text.strip())}, origin="overrides")
    return _from_flat(flat, origin="overrides")


def flatten(config: TrainConfig) -> Flat:
    """Return every value of *config* under its dotted key, defaults included, in the order of the record."""
    return _flat(config.model_dump())


def inert(config: TrainConfig) -> dict[str, str]:
    """Return the keys that cannot change this run, each with the reason.

    A key of :data:`IMPLIED` at its value is not named: it says nothing that the key's absence does not say.
    """
    flat = flatten(config)
    reasons = {
        **_inert_without_guidance(config),
        **_inert_without_a_term(config),
        **_inert_for_the_kind(config),
    }
    if config.train.patience_evals * config.train.eval_every_steps >= config.train.steps:
        reasons["train.patience_evals"] = "train.steps end before patience could run out"
    if config.optim.warmup_steps >= config.train.steps:
        reasons["optim.decay"] = "train.steps end within optim.warmup_steps"
    if config.task.name == "pricelist":
        given = flat.items() - flatten(TrainConfig()).items()
        reasons |= {key: "the price list reads no data" for key, _ in given if key in _DATA_KEYS}
    return {key: reason for key, reason in reasons.items() if key not in IMPLIED or flat[key] != IMPLIED[key]}


def effective(config: TrainConfig) -> Flat:
    """Return the flat configuration without its inert keys: what this run really depends on.

    A key of :data:`IMPLIED` at its value is left out too, and of a price-list run the keys that only other
    tasks need, at their defaults.
    """
    flat, without = flatten(config), {*inert(config)}
    without |= {key for key, value in IMPLIED.items() if flat[key] == value}
    if config.task.name == "pricelist":
        default = flatten(TrainConfig())
        without |= {key for key in _LATER_KEYS & default.keys() if flat[key] == default[key]}
    return {key: value for key, value in flat.items() if key not in without}


def digest(config: TrainConfig) -> str:
    """Return the SHA-256 of the effective configuration as canonical JSON, in hexadecimal."""
    text = json.dumps(
        effective(config), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


_KINDS_WITHOUT = {
    "resampler": ("reads all source states by cross-attention", "has queries for slots", ()),
    "linear": ("reads means of parts of the question", "has no slots", ("width", "depth", "heads")),
}


def _inert_for_the_kind(config: TrainConfig) -> dict[str, str]:
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
    sampler = {
        key: f"the {kind} bridge has no sampler" for key in flatten(config) if key.startswith("sampler.")
    }
    if config.prompt.injection == "adapter":
        reasons["bridge.num_soft_tokens"] = "the adapter adds to the question's own tokens"
    return {**reasons, **sampler}


def _inert_without_guidance(config: TrainConfig) -> dict[str, str]:
    if config.sampler.guidance == 1.0:
        return {"sampler.condition_drop": "sampler.guidance is 1, so there is no null token"}
    if config.loss.flow_weight == 0:
        return {"sampler.condition_drop": "loss.flow_weight is 0"}
    return {}


def _inert_without_a_term(config: TrainConfig) -> dict[str, str]:
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


def _read_document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise StorageFailed(f"cannot read the configuration {path.name}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name} is not TOML: {error}") from error


def _from_document(document: Mapping[str, Any], *, origin: str) -> TrainConfig:
    tables = dict(document)
    tables.pop("notes", None)
    base = tables.pop("preset", None)
    if base is not None and not isinstance(base, str):
        raise UsageError(f"{origin}: preset should be a name in quotes, got {base!r}")
    start = TrainConfig() if base is None else load_preset(base)
    return _from_flat(_changed(flatten(start), _flat(tables), origin=origin), origin=origin)


def _changed(flat: Flat, changes: Mapping[str, Any], *, origin: str) -> Flat:
    for key in changes:
        if key not in flat:
            raise UnknownName(f"{origin}: {UnknownName.among('configuration key', key, flat)}")
    return {**flat, **changes}


def _from_flat(flat: Mapping[str, Any], *, origin: str) -> TrainConfig:
    try:
        return TrainConfig.model_validate_json(json.dumps(_nested(flat)))
    except ValidationError as error:
        wrong = "; ".join(_wrong_value(one, flat) for one in error.errors())
        raise RecordInvalid(f"{origin}: {wrong}") from error


def _wrong_value(one: Any, flat: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in one["loc"]) or "the configuration"
    if one["type"] == "unfit":
        return f"{key} {one['msg']}"
    expected = _EXPECTED.get(one["type"], one["msg"]).format(**one.get("ctx", {}))
    return f"{key} should be {expected}, got {flat.get(key)!r}"


_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "literal_error": "{expected}",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "string_pattern_mismatch": "layer numbers such as '1,3'",
}


def _flat(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    tables: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, last = key.split(".")
        table = tables
        for section in sections:
            table = table.setdefault(section, {})
        table[last] = value
    return tables


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
