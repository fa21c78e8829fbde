"""The part of a manifest that relations are judged by, read without building the rest.

The classes here have the names and the meaning of those in ``runkit.records.manifest``, fewer fields, and no
opinion on fields that they do not have: whether a manifest is valid in all its fields is asked elsewhere.
They exist because a gate reads ten thousand manifests, and skipping a field is ten times cheaper than
checking it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from runkit.records.manifest import RelationKind, Status
from runkit.records.measurement import ScoreKey, key_of, name_of
from runkit.records.record import Scalar

_OPTIONS: Any = {"frozen": True, "gc": False}
"""Values without references back to themselves, so that the collector need not look at them."""


class Relation(msgspec.Struct, **_OPTIONS):
    """How this run relates to another one."""

    kind: RelationKind
    run_id: str
    factors: tuple[str, ...] = ()


class Waiver(msgspec.Struct, **_OPTIONS):
    """One finding that a person accepts, and why."""

    rule: str
    reason: str
    place: str | None = None
    message: str | None = None
    message_sha256: str | None = None


class Claim(msgspec.Struct, **_OPTIONS):
    """What people say of the run's result."""

    says: Literal["better", "worse", "no_difference"]
    than: str
    by_fraction: float | None = None
    measured_at: Literal["final", "peak"] = "final"
    measure: str | None = None
    by: float | None = None


class Notes(msgspec.Struct, **_OPTIONS):
    """What people say about the run."""

    title: str | None = None
    relations: tuple[Relation, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    claims: tuple[Claim, ...] = ()


class Provenance(msgspec.Struct, **_OPTIONS):
    """Where the facts come from."""

    reader: str
    logged_run_directory: str | None


class StatusFact(msgspec.Struct, **_OPTIONS):
    """How the run ended."""

    value: Status


class Command(msgspec.Struct, **_OPTIONS):
    """How the run was started."""

    world_size: int | None


class Code(msgspec.Struct, **_OPTIONS):
    """The state of the code that ran."""

    git_commit: str | None


class Software(msgspec.Struct, **_OPTIONS):
    """What ran."""

    code: Code


class Configuration(msgspec.Struct, **_OPTIONS):
    """What of the configuration had an effect."""

    effective: dict[str, Scalar]
    effective_digest: str
    inert: dict[str, str]


class ModelReference(msgspec.Struct, **_OPTIONS):
    """One of the two frozen models."""

    role: str
    name: str
    revision: str | None
    sha256: str | None


class DataReference(msgspec.Struct, **_OPTIONS):
    """The items that were trained and measured on."""

    name: str
    fingerprint: str | None


class Training(msgspec.Struct, **_OPTIONS):
    """How far training came."""

    last_step: int | None
    loss_steps: tuple[int, ...]
    loss_values: tuple[float, ...]


class SystemScore(msgspec.Struct, **_OPTIONS):
    """Three-way outcomes of one system."""

    system: str
    correct: int
    wrong: int
    invalid: int

    @property
    def n(self) -> int:
        """Number of items."""
        return self.correct + self.wrong + self.invalid


class Evaluation(msgspec.Struct, **_OPTIONS):
    """One evaluation of one checkpoint."""

    label: str
    step: int | None
    split: str
    checkpoint: str
    noise_draw: int | None
    dump: str | None
    items_sha256: str | None
    systems: tuple[SystemScore, ...]

    def score(self, system: str) -> SystemScore | None:
        """Return the score of *system*, or None when it was not measured."""
        return next((score for score in self.systems if score.system == system), None)

    @property
    def n(self) -> int:
        """Number of items that have outcomes."""
        return self.systems[0].n if self.systems else 0


class Metric(msgspec.Struct, **_OPTIONS):
    """A number derived from evaluations."""

    name: str
    value_fraction: float | None
    steps: tuple[int, ...]
    num_candidates: int | None


class ScoreMetric(msgspec.Struct, **_OPTIONS):
    """What a value means."""

    name: str
    kind: str
    direction: str | None = None
    unit: str | None = None
    low: float | None = None
    high: float | None = None


class Weights(msgspec.Struct, **_OPTIONS):
    """Of what moment of training the weights are."""

    step: int | None
    kind: str
    is_final: bool

    @property
    def label(self) -> str:
        """``final``, or the step in digits."""
        if self.is_final:
            return "final"
        return str(self.step) if self.step is not None else self.kind


class Score(msgspec.Struct, **_OPTIONS):
    """One number of a run of format 2."""

    system: str
    task: str
    split: str | None
    metric: ScoreMetric
    weights: Weights
    value: float | None
    n: int | None
    items_sha256: str | None = None
    conditions: dict[str, str] = msgspec.field(default_factory=dict)
    missing_because: str | None = None

    @property
    def key(self) -> ScoreKey:
        """What the score is of, without its value."""
        return key_of(self)

    @property
    def name(self) -> str:
        """The score as a selector."""
        return name_of(self)


class System(msgspec.Struct, **_OPTIONS):
    """One of the things that were measured."""

    name: str
    role: str


class Protocol(msgspec.Struct, **_OPTIONS):
    """Which of a run's numbers is its result."""

    primary: str | None
    systems: tuple[System, ...]

    def names(self, role: str) -> tuple[str, ...]:
        """Return the systems in *role*, in order."""
        return tuple(one.name for one in self.systems if one.role == role)


class Artifact(msgspec.Struct, **_OPTIONS):
    """A file of the run."""

    path: str
    role: str
    size_bytes: int
    sha256: str


class OutcomesReference(msgspec.Struct, **_OPTIONS):
    """The Parquet file with per-sample outcomes."""

    path: str
    sha256: str


class SealedFacts(msgspec.Struct, **_OPTIONS):
    """What ``preserve`` found."""

    run_id: str
    provenance: Provenance
    status: StatusFact
    command: Command
    software: Software
    configuration: Configuration
    models: tuple[ModelReference, ...]
    data: DataReference
    training: Training
    artifacts: tuple[Artifact, ...]
    outcomes: OutcomesReference | None
    evaluations: tuple[Evaluation, ...] = ()
    metrics: tuple[Metric, ...] = ()
    scores: tuple[Score, ...] | None = None
    protocol: Protocol | None = None

    def evaluation(self, label: str) -> Evaluation | None:
        """Return the evaluation called *label*, or None."""
        return next((found for found in self.evaluations if found.label == label), None)

    def metric(self, name: str) -> Metric | None:
        """Return the metric called *name*, or None."""
        return next((found for found in self.metrics if found.name == name), None)

    def model(self, role: str) -> ModelReference | None:
        """Return the model in *role*, or None."""
        return next((found for found in self.models if found.role == role), None)


class Seal(msgspec.Struct, **_OPTIONS):
    """The digest that shows whether sealed facts were edited; it cannot be checked against a part of them."""

    digest: str


class Projection(msgspec.Struct, **_OPTIONS):
    """What relations are judged by, of one run."""

    sealed: SealedFacts
    seal: Seal
    notes: Notes

    @property
    def run_id(self) -> str:
        """The run's name in the archive."""
        return self.sealed.run_id

    def relations(self, kind: RelationKind) -> tuple[Relation, ...]:
        """Return the relations of one *kind*."""
        return tuple(relation for relation in self.notes.relations if relation.kind == kind)


_DECODER = msgspec.json.Decoder(Projection)


def projection_of(text: bytes | memoryview) -> Projection | None:
    """Return the projection of the manifest *text*, or None when the text does not allow one."""
    try:
        return _DECODER.decode(text)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return None
