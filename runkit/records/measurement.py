"""What was measured: a score is one system on one task by one metric with certain weights.

The same shape for every program: a bridge, a classifier, a harness call, a leaderboard of others. A score
without a value says why; a value has the kind of evidence that supports it. Item scores are the same without
the sum, one value an item (:mod:`runkit.records.items`).
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from runkit.records.record import EMPTY, GrownRecord, Record, Sha256, TextMap

MetricKind = Literal["binary", "ternary", "real", "scalar"]
"""Of one item: right or wrong; correct, wrong or invalid; any number. ``scalar``: no items were kept."""

Direction = Literal["higher", "lower"]
"""Which way is better."""

EvidenceKind = Literal["recomputed", "per_sample", "logged", "reported"]
"""How well a number is supported, best first: we computed it from item scores and it agrees row by row with
what the producer wrote; the producer's verdicts of each row, summed by us; a line or a field; only prose."""

EVIDENCE_KINDS: tuple[EvidenceKind, ...] = ("recomputed", "per_sample", "logged", "reported")

SystemRole = Literal["trained", "reference", "control", "reported"]

WeightsKind = Literal["live", "best", "last", "unknown"]
"""Which weights were evaluated: those in training, a saved checkpoint, or not provable."""

Name = Annotated[str, Field(min_length=1, max_length=500)]

SYSTEM = "model"
"""Name of the system of a run that has only one and does not name it."""

TASK = "run"
"""Name of the task of a score that the run does not put under one."""


class Metric(Record):
    """What a value means. What nobody said is null, and never guessed."""

    name: Name
    kind: MetricKind
    direction: Direction | None = None
    unit: str | None = None
    """``fraction``, ``points``, ``nats``, ``seconds``, ``1``, …"""
    low: float | None = None
    """Smallest possible value."""
    high: float | None = None

    @property
    def is_fraction(self) -> bool:
        """Whether the value may be printed as a percentage."""
        return self.unit == "fraction"


class Weights(Record):
    """Of what moment of training the weights are."""

    step: NonNegativeInt | None = None
    """Training step; null when the run does not prove it."""
    kind: WeightsKind = "unknown"
    is_final: bool = True
    """Whether the score is the result of the run, and not one of its course."""
    chosen_by: str | None = None
    """The rule that chose a checkpoint, for example ``best dev accuracy``; null when none is recorded."""

    @property
    def label(self) -> str:
        """``final``, or the step in digits, or the kind where no step is known."""
        if self.is_final:
            return "final"
        return str(self.step) if self.step is not None else self.kind


class AnswerCount(Record):
    """How often one extracted answer occurred."""

    answer: str
    """The extracted answer as text; answers can have hundreds of digits and are never numbers."""
    count: PositiveInt


class Counts(Record):
    """How many items came out how."""

    correct: NonNegativeInt
    wrong: NonNegativeInt
    invalid: NonNegativeInt
    distinct_answers: NonNegativeInt | None = None
    """Number of different extracted answers, all invalid ones together as one; null where none were kept."""
    most_common: tuple[AnswerCount, ...] = ()
    """The five most common valid answers, most common first."""

    @property
    def n(self) -> int:
        """Number of items."""
        return self.correct + self.wrong + self.invalid


class Score(GrownRecord):
    """One number of a run, and what supports it."""

    younger: ClassVar[frozenset[str]] = frozenset(
        {
            "contradicting_lines",
            "num_unreadable_rows",
            "num_missing",
            "missing_values",
            "n_planned",
            "counts",
            "standard_deviation",
            "items_file",
            "items_sha256",
            "logged_value",
            "line",
            "missing_because",
            "conditions",
            "clusters",
        }
    )

    system: Name = SYSTEM
    task: Name = TASK
    split: str | None = None
    metric: Metric
    weights: Weights = Weights()
    conditions: TextMap = Field(default_factory=lambda: EMPTY)
    """What must be equal before two scores may be paired: noise draw, filter, few-shot count, …"""
    value: float | None
    """In the metric's unit; a fraction between 0 and 1 where the unit is ``fraction``."""
    n: NonNegativeInt | None = None
    """Items that have a value; null when nobody recorded it."""
    n_planned: NonNegativeInt | None = None
    evidence: EvidenceKind | None
    """Null exactly when there is no value."""
    path: str | None = None
    """File inside the run directory that proves the value, ``.`` for none in particular."""
    line: PositiveInt | None = None
    missing_because: str | None = None
    """Why there is no value."""
    counts: Counts | None = None
    """For ``binary`` and ``ternary`` metrics whose items are known."""
    standard_deviation: float | None = None
    """Over items, with n - 1; null where it is not known."""
    num_missing: NonNegativeInt = 0
    """Items whose value is no finite number: kept, counted, and in no mean."""
    missing_values: TextMap = Field(default_factory=lambda: EMPTY)
    """What stands for the missing ones (``nan``, ``inf``, …) to how often."""
    items_file: str | None = None
    """File inside the run directory with one row an item."""
    items_sha256: Sha256 | None = None
    """Digest of item ids, questions and golds in order: equal means that runs can be paired."""
    clusters: NonNegativeInt | None = None
    """Number of groups that the items come in; null when they come in none."""
    num_unreadable_rows: NonNegativeInt = 0
    """Rows of the file of items that are torn or no rows."""
    logged_value: float | None = None
    """What the producer printed for the same thing; compared, never trusted."""
    contradicting_lines: tuple[PositiveInt, ...] = ()
    """Lines that give the same score another value."""

    @model_validator(mode="after")
    def _value_or_reason(self) -> Score:
        if (self.value is None) != (self.evidence is None):
            raise ValueError("a value has its kind of evidence, and what has none has no value")
        if self.value is None and self.missing_because is None:
            raise ValueError("a score without a value says why in missing_because")
        return self

    @property
    def key(self) -> ScoreKey:
        """What the score is of, without its value: equal for the same thing in two runs."""
        return key_of(self)

    @property
    def name(self) -> str:
        """The score as a selector: ``model:squad/f1@final``, the system only where it is not the usual."""
        return name_of(self)


ScoreKey = tuple[str, str, str, str, str, tuple[tuple[str, str], ...]]
"""System, task, split, metric, label of the weights, conditions."""


class _Named(typing.Protocol):
    @property
    def name(self) -> str: ...


class _Labelled(typing.Protocol):
    @property
    def label(self) -> str: ...


class _Measured(typing.Protocol):
    """What scores, their items and their projections are told apart by."""

    @property
    def system(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def split(self) -> str | None: ...
    @property
    def metric(self) -> _Named: ...
    @property
    def weights(self) -> _Labelled: ...
    @property
    def conditions(self) -> Mapping[str, str]: ...


def key_of(one: _Measured) -> ScoreKey:
    """Return what *one* is of, without its value: equal for the same thing in two runs."""
    conditions = tuple(sorted(one.conditions.items()))
    return (one.system, one.task, one.split or "", one.metric.name, one.weights.label, conditions)


def name_of(one: _Measured) -> str:
    """Return *one* as a selector: ``squad/f1@final``, system and task only where they are not the usual."""
    system = "" if one.system == SYSTEM else f"{one.system}:"
    task = "" if one.task == TASK else f"{one.task}/"
    return f"{system}{task}{one.metric.name}@{one.weights.label}"


class Series(Record):
    """A value over the steps of a run."""

    system: Name = SYSTEM
    task: Name = TASK
    split: str | None = None
    metric: Metric
    steps: tuple[NonNegativeInt, ...]
    values: tuple[float | None, ...]
    """At each step; null for what is no finite number."""
    path: str | None = None
    """File inside the run directory that the values stand in."""


class System(Record):
    """One of the things that were measured."""

    name: Name
    role: SystemRole


class Protocol(Record):
    """What of a run's numbers is its result, and in which words people speak of them."""

    name: str = "run"
    primary: str | None = None
    """Selector of the measure that the run is judged by; null when nobody said it and several could be."""
    systems: tuple[System, ...] = ()

    def names(self, role: SystemRole) -> tuple[str, ...]:
        """Return the systems in *role*, in order."""
        return tuple(one.name for one in self.systems if one.role == role)
