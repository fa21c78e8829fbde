"""Two runs side by side: every fact that differs, and every fact that is equal; judges nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from runkit.checks.duplicates import equal_dumps
from runkit.checks.noop import losses_in_common, relative_difference
from runkit.records.items import RunItems
from runkit.records.manifest import Evaluation, Hardware, Manifest, Software
from runkit.records.outcomes import EvaluationOutcomes, RunOutcomes
from runkit.records.record import Scalar, canonical_json
from runkit.records.schema import settings_in_effect
from runkit.stats.paired import PairedCounts, mcnemar_exact, mcnemar_midp, newcombe_interval, paired_counts
from runkit.stats.pairing import ScorePair, comparison, incomparable, score_pairs
from runkit.stats.proportions import Interval


@dataclass(frozen=True)
class Fact:
    """One fact of both runs, as text."""

    name: str
    first: str | None
    """Of the first run; None when it is not recorded or not set."""
    second: str | None
    remark: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether both recorded the same."""
        return self.first is not None and self.first == self.second

    @property
    def is_unknown(self) -> bool:
        """Whether neither recorded it."""
        return self.first is None and self.second is None


@dataclass(frozen=True)
class Section:
    """Facts of one kind."""

    name: str
    facts: tuple[Fact, ...]

    @property
    def differing(self) -> tuple[Fact, ...]:
        """The facts that differ, those that only one run recorded among them."""
        return tuple(fact for fact in self.facts if not fact.is_equal and not fact.is_unknown)

    @property
    def equal(self) -> tuple[Fact, ...]:
        """The facts that both recorded alike."""
        return tuple(fact for fact in self.facts if fact.is_equal)

    @property
    def unknown(self) -> tuple[Fact, ...]:
        """The facts that neither recorded: not equal, for nobody knows."""
        return tuple(fact for fact in self.facts if fact.is_unknown)


@dataclass(frozen=True)
class SystemContrast:
    """One system in one evaluation of both runs, item by item."""

    evaluation: str
    split: str
    system: str
    counts: PairedCounts
    """The first run is the first system."""
    won_by_first: tuple[str, ...]
    """Items that only the first run answered correctly, in the order of the dump."""
    won_by_second: tuple[str, ...]
    num_changed_answers: int
    """Items whose extracted answers differ, right or wrong."""
    interval: Interval
    """Newcombe's 95 % interval for the difference, first minus second."""
    p_exact: float
    p_midp: float


@dataclass(frozen=True)
class ScoreContrast:
    """One measure of both runs, on the items that both have where they have the same ones."""

    name: str
    """The score as a selector."""
    first: float | None
    second: float | None
    unit: str | None
    better: str | None
    """``A`` or ``B``, whose value is better; None when nobody knows which way is, or both equal."""
    difference: float | None
    """First minus second, as are the ends of its interval."""
    low: float | None
    high: float | None
    p: float | None
    n: int
    method: str
    """What was compared, and how, in one sentence."""


@dataclass(frozen=True)
class RunContrast:
    """What differs between two runs, and what is equal."""

    first_id: str
    second_id: str
    sections: tuple[Section, ...]
    outcomes: tuple[SystemContrast, ...]
    not_paired: tuple[Fact, ...]
    """Evaluations that cannot be compared item by item, with the reason as a remark."""
    scores: tuple[ScoreContrast, ...] = ()
    """What both measured, where one of them is of format 2."""

    def section(self, name: str) -> Section:
        """Return the section called *name*."""
        return next(section for section in self.sections if section.name == name)


def contrast(
    first: Manifest,
    second: Manifest,
    outcomes: Mapping[str, RunOutcomes] | None = None,
    items: Mapping[str, RunItems] | None = None,
) -> RunContrast:
    """Return what differs between *first* and *second*.

    Args:
        outcomes: Run id to per-sample outcomes; without them nothing is compared item by item.
        items: Run id to item scores, in the place of outcomes where a run is of format 2.
    """
    measured = outcomes or {}
    here, there = measured.get(first.run_id, {}), measured.get(second.run_id, {})
    paired, not_paired = _outcomes(first, second, here, there)
    sections = (
        Section("configuration", tuple(_settings(first, second))),
        Section("settings without effect", tuple(_inert(first, second))),
        Section("models and data", tuple(_inputs(first, second))),
        Section("code", tuple(_code(first, second))),
        Section("environment", tuple(_environment(first, second))),
        Section("hardware", tuple(_hardware(first, second))),
        Section("course", tuple(_course(first, second))),
        Section("evaluations", tuple(_evaluations(first, second))),
        Section("dumps", tuple(_dumps(first, second))),
    )
    scores = tuple(_scores(first, second, items or {})) if _is_foreign(first) or _is_foreign(second) else ()
    return RunContrast(first.run_id, second.run_id, sections, paired, not_paired, scores)


def _is_foreign(manifest: Manifest) -> bool:
    return manifest.sealed.scores is not None


def _scores(first: Manifest, second: Manifest, items: Mapping[str, RunItems]) -> Iterator[ScoreContrast]:
    from runkit.stats.compare import is_better

    here, there = items.get(first.run_id, {}), items.get(second.run_id, {})
    for pair in score_pairs(first, second, here, there):
        reason = incomparable(pair.first, pair.second)
        if reason is not None:
            yield _not_compared(pair, reason)
            continue
        found = comparison(pair)
        better = is_better(found.difference, pair.first.metric.direction)
        method = found.method
        if pair.not_paired_because:
            method = f"{method.removesuffix('.')}; not paired: {pair.not_paired_because}."
        yield ScoreContrast(
            name=pair.name,
            first=pair.first.value,
            second=pair.second.value,
            unit=pair.first.metric.unit,
            better={True: "A", False: "B", None: None}[better],
            difference=found.difference,
            low=found.low,
            high=found.high,
            p=found.p,
            n=found.n,
            method=method,
        )


def _not_compared(pair: ScorePair, reason: str) -> ScoreContrast:
    """Return two numbers of which none can be taken from the other."""
    return ScoreContrast(
        name=pair.name,
        first=pair.first.value,
        second=pair.second.value,
        unit=None,
        better=None,
        difference=None,
        low=None,
        high=None,
        p=None,
        n=0,
        method=f"Not compared: {reason}.",
    )


def _spelled(value: Scalar | tuple[str, ...]) -> str:
    if isinstance(value, tuple):
        return " ".join(value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else canonical_json(value)


def _fact(name: str, first: Scalar | tuple[str, ...], second: Scalar | tuple[str, ...]) -> Fact:
    here, there = (None if value is None else _spelled(value) for value in (first, second))
    return Fact(name, here, there)


def _settings(first: Manifest, second: Manifest) -> Iterator[Fact]:
    here, there = settings_in_effect(first.sealed), settings_in_effect(second.sealed)
    inert = {**second.sealed.configuration.inert, **first.sealed.configuration.inert}
    for key in sorted({*here, *there}):
        remark = f"inert in one of them: {inert[key]}" if key in inert else ""
        ours, theirs = (_spelled(run[key]) if key in run else None for run in (here, there))
        yield Fact(key, ours, theirs, remark)


def _inert(first: Manifest, second: Manifest) -> Iterator[Fact]:
    here, there = first.sealed.configuration, second.sealed.configuration
    reasons = {**there.inert, **here.inert}
    for key in sorted(reasons.keys() - here.effective.keys() - there.effective.keys()):
        yield Fact(key, here.logged.get(key), there.logged.get(key), remark=reasons[key])


def _inputs(first: Manifest, second: Manifest) -> Iterator[Fact]:
    for role in ("source", "target"):
        here, there = first.sealed.model(role), second.sealed.model(role)
        for part in ("name", "revision", "sha256"):
            yield _fact(
                f"{role} {part}",
                getattr(here, part) if here else None,
                getattr(there, part) if there else None,
            )
    yield _fact("data name", first.sealed.data.name, second.sealed.data.name)
    yield _fact("data fingerprint", first.sealed.data.fingerprint, second.sealed.data.fingerprint)


def _code(first: Manifest, second: Manifest) -> Iterator[Fact]:
    here, there = first.sealed.software.code, second.sealed.software.code
    yield _fact("commit", here.git_commit, there.git_commit)
    yield _fact("uncommitted changes", here.is_dirty, there.is_dirty)
    if here.digest is not None or there.digest is not None:
        yield Fact("what they change", here.digest or "no code", there.digest or "no code")


def _environment(first: Manifest, second: Manifest) -> Iterator[Fact]:
    here, there = first.sealed, second.sealed
    yield _fact("python", here.software.python_version, there.software.python_version)
    yield from _packages(here.software, there.software)
    yield from _mapped("variable ", here.command.environment, there.command.environment)


def _packages(here: Software, there: Software) -> Iterator[Fact]:
    """Yield each package, or one fact where a run did not record them: none of them is known to differ."""
    remark = here.packages_missing_because or there.packages_missing_because
    if remark is None or bool(here.packages) == bool(there.packages):
        yield from _mapped("package ", here.packages, there.packages)
        return
    yield Fact("packages", _number_of(here), _number_of(there), remark)


def _number_of(software: Software) -> str | None:
    return f"{len(software.packages)} packages" if software.packages else None


def _mapped(prefix: str, here: Mapping[str, str], there: Mapping[str, str]) -> Iterator[Fact]:
    for name in sorted({*here, *there}):
        yield Fact(f"{prefix}{name}", here.get(name), there.get(name))


def _hardware(first: Manifest, second: Manifest) -> Iterator[Fact]:
    here, there = first.sealed.hardware, second.sealed.hardware
    yield Fact("GPUs", _gpus(here), _gpus(there))
    yield _fact("CPU", here.cpu_model, there.cpu_model)
    yield _fact("CPUs", here.num_cpus, there.num_cpus)
    yield _fact("memory bytes", here.memory_bytes, there.memory_bytes)


def _gpus(hardware: Hardware) -> str | None:
    return ", ".join(f"{gpu.count} x {gpu.name}" for gpu in hardware.gpus) or None


def _course(first: Manifest, second: Manifest) -> Iterator[Fact]:
    here, there = first.sealed, second.sealed
    yield _fact("command", here.command.argv, there.command.argv)
    yield _fact("launcher", here.command.launcher, there.command.launcher)
    yield _fact("world size", here.command.world_size, there.command.world_size)
    yield _fact("status", here.status.value, there.status.value)
    yield _fact("planned steps", here.training.planned_steps, there.training.planned_steps)
    yield _fact("last step", here.training.last_step, there.training.last_step)
    yield _fact("duration seconds", here.duration_seconds, there.duration_seconds)
    yield from _losses(first, second)


def _losses(first: Manifest, second: Manifest) -> Iterator[Fact]:
    """Yield the first logged loss in common and the first one that differs, or that all are equal."""
    common = losses_in_common(first, second)
    differing = [step for step, (here, there) in common.items() if here != there]
    for step in dict.fromkeys([*list(common)[:1], *differing[:1]]):
        here, there = common[step]
        apart = relative_difference(here, there)
        remark = f"relative difference {apart:.0e}" if apart else ""
        yield Fact(f"loss at step {step}", _spelled(here), _spelled(there), remark)
    if common:
        num_all = f"all {len(common)}"
        num_equal = f"{len(common) - len(differing)} of {len(common)}" if differing else num_all
        yield Fact("logged losses in common, and how many are equal", num_all, num_equal)


def _evaluations(first: Manifest, second: Manifest) -> Iterator[Fact]:
    for label in _labels(first, second):
        here, there = first.sealed.evaluation(label), second.sealed.evaluation(label)
        yield Fact(label, _conditions(here), _conditions(there))


def _conditions(evaluation: Evaluation | None) -> str | None:
    """Return under which conditions an evaluation was made, without its result."""
    if evaluation is None:
        return None
    noise = "unseeded" if evaluation.noise_draw is None else f"draw {evaluation.noise_draw}"
    items = f", items {evaluation.items_sha256[:12]}" if evaluation.items_sha256 else ""
    return f"{evaluation.split}, n = {evaluation.n}{items}, checkpoint {evaluation.checkpoint}, noise {noise}"


def _dumps(first: Manifest, second: Manifest) -> Iterator[Fact]:
    same = set(equal_dumps(first, second))
    theirs = {one.path: one.sha256 for one in second.sealed.artifacts if one.role == "dump"}
    for artifact in first.sealed.artifacts:
        if artifact.role == "dump" and (artifact.path in same or artifact.path in theirs):
            digest = artifact.sha256 if artifact.path in same else theirs[artifact.path]
            yield Fact(artifact.path, artifact.sha256[:12], digest[:12])


def _labels(first: Manifest, second: Manifest) -> Iterable[str]:
    labels = [one.label for run in (first, second) for one in run.sealed.evaluations]
    return sorted(
        dict.fromkeys(labels),
        key=lambda label: (not label.isdecimal(), int(label) if label.isdecimal() else 0),
    )


def _outcomes(
    first: Manifest, second: Manifest, here: RunOutcomes, there: RunOutcomes
) -> tuple[tuple[SystemContrast, ...], tuple[Fact, ...]]:
    paired: list[SystemContrast] = []
    not_paired: list[Fact] = []
    for label in _labels(first, second):
        ours, theirs = here.get(label), there.get(label)
        reason = _why_not_paired(ours, theirs)
        if reason is not None or ours is None or theirs is None:
            not_paired.append(Fact(label, _size(ours), _size(theirs), reason or ""))
            continue
        evaluation = first.sealed.evaluation(label) or second.sealed.evaluation(label)
        split = evaluation.split if evaluation is not None else "unknown"
        paired += [_compared(label, split, system, ours, theirs) for system in _systems(ours, theirs)]
    return tuple(paired), tuple(not_paired)


def _size(outcomes: EvaluationOutcomes | None) -> str | None:
    return None if outcomes is None else f"n = {len(outcomes.items)}"


def _why_not_paired(ours: EvaluationOutcomes | None, theirs: EvaluationOutcomes | None) -> str | None:
    if ours is None or theirs is None:
        return (
            "only one of the runs has outcomes of it" if ours or theirs else "neither run has outcomes of it"
        )
    if (ours.items, ours.golds) != (theirs.items, theirs.golds):
        return "the items are not the same"
    return None


def _systems(ours: EvaluationOutcomes, theirs: EvaluationOutcomes) -> Iterator[str]:
    return (system for system in ours.answers if system in theirs.answers)


def _compared(
    label: str, split: str, system: str, ours: EvaluationOutcomes, theirs: EvaluationOutcomes
) -> SystemContrast:
    here, there = ours.correct(system), theirs.correct(system)
    counts = paired_counts(here, there)
    pairs = list(zip(ours.items, here, there, strict=True))
    answers = zip(ours.answers[system], theirs.answers[system], strict=True)
    return SystemContrast(
        evaluation=label,
        split=split,
        system=system,
        counts=counts,
        won_by_first=tuple(item for item, won, lost in pairs if won and not lost),
        won_by_second=tuple(item for item, won, lost in pairs if lost and not won),
        num_changed_answers=sum(mine != yours for mine, yours in answers),
        interval=newcombe_interval(counts),
        p_exact=mcnemar_exact(counts.only_first, counts.only_second),
        p_midp=mcnemar_midp(counts.only_first, counts.only_second),
    )
