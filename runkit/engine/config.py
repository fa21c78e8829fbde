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
from typing import Annotated, Any, Literal, NamedTuple, Self

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

from runkit.engine.inert import implied, inert_reasons
from runkit.errors import RecordInvalid, StorageFailed, UnknownName, UsageError
from runkit.records.schema import Setting

Flat = dict[str, Setting]
AUTO: Literal["auto"] = "auto"
EVALUATION_ROWS = "eval.batch_size"
"""A key that the engine chooses where it says :data:`AUTO`; a run records what was chosen as effective."""

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
        if kind == "rope_rerotate":
            raise _unfit(
                "none, identity, ridge or procrustes: rope_rerotate turns cached keys back and forth, and no "
                "prompt.injection here hands over keys",
                "rope_rerotate",
            )
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
    can be read off the soft tokens alone.

    ``prompt`` is read as ``question``: of the prompt only the question's own tokens are taught, no worked
    examples and no instruction. Whoever asks for it by hand, and not for a ``prompt.mode``, gets
    ``soft_only``: the question stands in the soft tokens then, and not beside them as text too.
    """

    @field_validator("teacher", mode="before")
    @classmethod
    def _the_prompt_is_the_question(cls, teacher: object) -> object:
        return "question" if teacher == "prompt" else teacher

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
    batch_size: _Positive | Literal["auto"] = 128
    """``auto`` is the largest of a few numbers whose estimate fits the free memory of the GPU, and on the CPU
    what models and problems alone decide. It is chosen once: the run records the number, and whatever goes on
    with the run takes it from there, because in bf16 results depend on it."""
    batches: Literal["one_length", "padded"] = "one_length"
    """What a batch holds: prompts of one length, or prompts of any length padded on the right. With questions
    of many lengths, as in ``gsm8k``, batches of one length are nearly empty and slow."""
    max_new_tokens: _Positive = 28

    @field_validator("batch_size", mode="before")
    @classmethod
    def _a_number_or_auto(cls, rows: object) -> object:
        is_number = isinstance(rows, int) and not isinstance(rows, bool)
        if rows == AUTO or (is_number and rows >= 1):  # type: ignore[operator]
            return rows
        raise _unfit(f"a whole number of at least 1, or {AUTO!r}", repr(rows))

    @property
    def rows(self) -> int:
        """:attr:`batch_size`, once it is a number."""
        assert self.batch_size != AUTO, "chosen before anything is evaluated"
        return self.batch_size


class ComputeConfig(_Section):
    """How the machine is used; fixed in the configuration because sums depend on it in the last bit."""

    threads: _Positive = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` is CUDA where there is one, and the CPU for the embedded pair, whose runs repeat."""
    kernels: Literal["auto", "plain"] = "auto"
    """``auto`` compiles layers and records CUDA graphs where a model runs on CUDA; ``plain`` computes as
    transformers does. The last bits differ, and on the CPU nothing does."""
    arithmetic: Literal["portable", "fast"] = "portable"
    """On a CPU: ``portable`` gives the same bits on every x86-64 processor with AVX2 (see
    :mod:`runkit.engine.arithmetic`); ``fast`` computes with the machine's own kernels, in about two thirds of
    the time, and repeats on the same kind of processor only."""
    gradient_accumulation_steps: _Positive = 1
    """Passes in which each process takes its share of ``train.batch_size``, which is the global batch: more
    passes or more processes need less memory each, and the batches stay what they are."""


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
    def _a_batch_has_whole_passes(self) -> Self:
        steps, loss = self.compute.gradient_accumulation_steps, self.loss
        if self.train.batch_size % steps:
            expected = f"a divisor of train.batch_size {self.train.batch_size}"
            raise _unfit(f"{expected} in compute.gradient_accumulation_steps", str(steps))
        if steps > 1 and max(loss.info_nce_weight, loss.decode_weight) > 0:
            expected = (
                "1 in compute.gradient_accumulation_steps with info_nce or decode, which look at a batch"
            )
            raise _unfit(f"{expected} as a whole", str(steps))
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
    document = _preset_document(name)
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


class Resolved(NamedTuple):
    """A configuration with what was decided for the person who asked for it."""

    config: TrainConfig
    automatic: Mapping[str, str]
    """Keys whose value nobody wrote and that is not the default, each with the value and the reason."""
    explained: tuple[str, ...]
    """A sentence for each value that is read as another."""


def resolved(config: TrainConfig, written: Mapping[str, Any]) -> Resolved:
    """Return *config* with what follows from *written*, the values that a preset or a person wrote down."""
    explained = tuple(text for (key, value), text in _READ_AS.items() if written.get(key) == value)
    asks_for_the_prompt = written.get("loss.teacher") in {"prompt", "question"}
    if not asks_for_the_prompt or "prompt.mode" in written or config.prompt.injection == "adapter":
        return Resolved(config, {}, explained)
    chosen = with_overrides(config, ["prompt.mode=soft_only"])
    return Resolved(chosen, {"prompt.mode": _SOFT_ONLY_CHOSEN}, explained)


def with_evaluation_rows(config: TrainConfig, rows: int) -> TrainConfig:
    """Return *config* with *rows* as its evaluations' batch."""
    return with_overrides(config, [f"{EVALUATION_ROWS}={rows}"])


def written_by(
    preset_name: str | None = None, path: Path | None = None, overrides: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the values that a preset with all below it, a file and overrides write down, as written."""
    document = {"preset": preset_name} if path is None else _read_document(path)
    written = _written(document)
    for override in overrides:
        key, _equals, text = override.partition("=")
        written[key.strip()] = _value(text.strip())
    return written


def flatten(config: TrainConfig) -> Flat:
    """Return every value of *config* under its dotted key, defaults included, in the order of the record."""
    return _flat(config.model_dump())


def inert(config: TrainConfig) -> dict[str, str]:
    """Return the keys that cannot change this run, each with the reason.

    A key that is absent at its value is not named: it says nothing that the key's absence does not say.
    """
    flat, absent = flatten(config), implied(config)
    return {
        key: reason
        for key, reason in inert_reasons(config).items()
        if key not in absent or flat[key] != absent[key]
    }


def effective(config: TrainConfig) -> Flat:
    """Return the flat configuration without its inert keys: what this run really depends on.

    A key of :func:`runkit.engine.inert.implied` at its value is left out too.
    """
    flat, reasons, absent = flatten(config), inert(config), implied(config)
    return {
        key: value
        for key, value in flat.items()
        if key not in reasons and (key not in absent or value != absent[key])
    }


def digest(config: TrainConfig) -> str:
    """Return the SHA-256 of the effective configuration as canonical JSON, in hexadecimal."""
    text = json.dumps(
        effective(config), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return hashlib.sha256(text.encode()).hexdigest()


_READ_AS: Mapping[tuple[str, str], str] = {
    ("source_align.kind", "rope"): (
        "source_align.kind rope is read as identity, a linear layer of the states: positions are rotated "
        "inside attention only, so hidden states have no rotation to undo"
    ),
    ("loss.teacher", "prompt"): (
        "loss.teacher prompt is read as question: no worked examples and no instruction are taught"
    ),
}

_SOFT_ONLY_CHOSEN = (
    "soft_only, because loss.teacher asks for the question in the soft tokens and prompt.mode was not set"
)


def _written(document: Mapping[str, Any]) -> dict[str, Any]:
    base = document.get("preset")
    tables = {key: value for key, value in document.items() if key not in {"preset", "notes"}}
    return {**({} if base is None else _written(_preset_document(base))), **_flat(tables)}


def _preset_document(name: str) -> dict[str, Any]:
    if name not in preset_names():
        raise UnknownName.among("preset", name, preset_names())
    return tomllib.loads(resources.files(__package__).joinpath("presets", f"{name}.toml").read_text("utf-8"))


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
