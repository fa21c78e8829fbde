"""What the archive says, as exact numbers with their evidence; looks up and judges nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Literal

from runkit.audit.claims import Steps, Where
from runkit.records.manifest import Evaluation, Manifest

Word = Literal["supported", "contradicted", "unverifiable"]


@dataclass(frozen=True)
class Judgement:
    """What the archive says of one statement about one run."""

    word: Word
    actual: str
    """The true value in short; empty when there is none."""
    evidence: str
    """Where it stands, or why it cannot be known."""
    because: str = ""
    """Code of the finding that the same facts raise elsewhere, for example ``RK401``."""


def supported_if(holds: bool, actual: str, evidence: str, *, otherwise: str = "") -> Judgement:
    """Return *supported* or *contradicted*; the latter with the code *otherwise*."""
    if holds:
        return Judgement("supported", actual, evidence)
    return Judgement("contradicted", actual, evidence, otherwise)


@dataclass(frozen=True)
class Archive:
    """The manifests, and what the document calls their runs."""

    manifests: tuple[Manifest, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    """Run id to everything it is called: its headings in the document, its title, its folder."""

    @cached_property
    def by_id(self) -> Mapping[str, Manifest]:
        """Run id to manifest."""
        return {manifest.run_id: manifest for manifest in self.manifests}

    def twins(self, run: Manifest) -> tuple[Manifest, ...]:
        """Return the other runs with the same effective configuration, the declared control first."""
        digest = run.sealed.configuration.effective_digest
        found = [
            other
            for other in self.manifests
            if other.run_id != run.run_id and other.sealed.configuration.effective_digest == digest
        ]
        declared = {relation.run_id for relation in run.relations("ablates")}
        return tuple(sorted(found, key=lambda other: (other.run_id not in declared, other.run_id)))


@dataclass(frozen=True)
class Point:
    """One system's count in one evaluation."""

    label: str
    step: int | None
    count: int | None
    """Null when only the log's number is known."""
    n: int | None
    value: Fraction
    evidence: str

    def told(self) -> str:
        """Return the value for people."""
        counted = f" ({self.count}/{self.n})" if self.count is not None else ""
        return f"{decimal(self.value)}{counted}"


def points(run: Manifest, system: str, measure: str = "accuracy") -> tuple[Point, ...]:
    """Return *measure* of *system* in every evaluation that has it, in the order of the manifest."""
    found = []
    for evaluation in run.sealed.evaluations:
        point = _point(run, evaluation, system, measure)
        if point is not None:
            found.append(point)
    return tuple(found)


def chosen(all_points: Sequence[Point], where: Where, run: Manifest) -> tuple[Point, ...]:
    """Return the points that *where* means; empty when there are none.

    A step that is the last one also means the final evaluation, because reports do not tell them apart.
    """
    during = [point for point in all_points if point.label != "final"]
    final = [point for point in all_points if point.label == "final"]
    if where.stat == "peak":
        if where.steps is not None and (where.steps.low is not None or where.steps.is_throughout):
            return peak_points(_at_steps(during, final, where.steps, run))
        return peak_points(all_points)
    if where.stat == "final":
        return tuple(final)
    if where.stat == "last_step":
        return tuple(during[-1:]) + tuple(final)
    if where.stat == "first":
        return tuple(during[:1])
    if where.stat == "lowest":
        trained = [point for point in during if point.step] or during
        worst = min((point.value for point in trained), default=None)
        return tuple(point for point in trained if point.value == worst)
    if where.steps is not None:
        return _at_steps(during, final, where.steps, run)
    return tuple(all_points)


def peak_points(all_points: Sequence[Point]) -> tuple[Point, ...]:
    """Return the evaluations during training that share the largest value."""
    during = [point for point in all_points if point.label != "final"] or list(all_points)
    best = max((point.value for point in during), default=None)
    return tuple(point for point in during if point.value == best)


def _at_steps(during: list[Point], final: list[Point], steps: Steps, run: Manifest) -> tuple[Point, ...]:
    if steps.is_throughout:
        return tuple(point for point in during if point.step)
    if steps.low is not None or steps.high is not None:
        low, high = steps.low or 0, steps.high if steps.high is not None else 10**12
        inside = [point for point in during if point.step is not None and low <= point.step <= high]
        last = run.sealed.training.last_step
        is_open = steps.high is None and last is not None and low <= last
        return tuple(inside + (final if is_open else []))
    at = [point for point in during if point.step in steps.at]
    last = run.sealed.training.last_step
    return tuple(at + (final if last in steps.at else []))


def _point(run: Manifest, evaluation: Evaluation, system: str, measure: str) -> Point | None:
    score = evaluation.score(system)
    path = run.sealed.provenance.log_path
    logged = f"{path}:{evaluation.log_line}" if path and evaluation.log_line else ""
    where = "; ".join(part for part in (evaluation.dump or "", logged) if part)
    if score is not None and score.n:
        count = {"accuracy": score.correct, "invalid": score.invalid, "valid": score.n - score.invalid}[
            measure
        ]
        return Point(evaluation.label, evaluation.step, count, score.n, Fraction(count, score.n), where)
    accuracy = evaluation.logged_accuracy(system)
    if measure == "accuracy" and accuracy is not None and evaluation.missing_because is None:
        return Point(evaluation.label, evaluation.step, None, None, Fraction(str(accuracy)), where)
    return None


def decimal(value: Fraction, places: int = 3) -> str:
    """Return *value* with *places* decimals.

    >>> decimal(Fraction(129, 200)), decimal(Fraction(-1, 25))
    ('0.645', '-0.040')
    """
    return f"{float(value):.{places}f}"


def system_of(run: Manifest, system: str) -> str | None:
    """Return the system that a word means in *run*: a model's name is the role that it has there."""
    if not system.startswith("model:"):
        return system
    roles = [model.role for model in run.sealed.models if system.removeprefix("model:") in model.name.lower()]
    return roles[0] if len(roles) == 1 else None


def configured(run: Manifest, key: str) -> tuple[str, str] | None:
    """Return key and value of the first of the keys *key* (``a|b``) that *run* has, as text, or None."""
    for name in key.split("|"):
        effective = run.sealed.configuration.effective
        if name in effective:
            return name, _as_text(effective[name])
        if name in run.sealed.configuration.logged:
            return name, run.sealed.configuration.logged[name]
    return None


def configuration_evidence(run: Manifest) -> str:
    """Return where the configuration of *run* stands."""
    evidence = run.sealed.configuration.evidence
    return f"{evidence.path}:{evidence.line}" if evidence.line else evidence.path


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "none" if value is None else str(value)
