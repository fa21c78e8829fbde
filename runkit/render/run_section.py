"""The section of one run: all that is printed of it, as values for a template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from runkit.records.finding import Finding
from runkit.records.manifest import Evaluation, Manifest, Metric, Waiver
from runkit.records.measurement import Score
from runkit.records.selector import primary, spelled
from runkit.render.artifacts import artifact_lines
from runkit.render.escaping import code_span, escaped_markdown
from runkit.render.phrases import (
    BRIDGED,
    anchor,
    cited,
    claimed_text,
    command_text,
    favourite,
    finding_text,
    hardware_text,
    invalid_range,
    invalid_rate,
    metric_conditions,
    metric_interval,
    metric_name,
    metric_steps,
    metric_value,
    models_text,
    relation_text,
    short_metric,
    spoken,
    waiver_without_finding,
    what_went_wrong,
)
from runkit.stats.rounding import MINUS, measured_value, percent


@dataclass(frozen=True)
class Fact:
    """One line of a section; the text is Markdown."""

    name: str
    text: str


@dataclass(frozen=True)
class MetricLine:
    """One row of the table of metrics, as plain text."""

    name: str
    value: str
    counts: str
    interval: str
    where: str
    evidence: str


@dataclass(frozen=True)
class EvaluationLine:
    """One row of the table of evaluations, as plain text."""

    label: str
    correct: str
    invalid: str
    favourite: str


@dataclass(frozen=True)
class ScoreLine:
    """One row of the table of scores of a run of format 2, as plain text."""

    name: str
    split: str
    value: str
    n: str
    evidence: str


@dataclass(frozen=True)
class RunSection:
    """All that is printed of one run."""

    template: ClassVar[str] = "run.md.j2"

    run_id: str
    anchor: str
    title: str | None
    status: str
    final: str
    peak: str
    verdict: str
    facts: tuple[Fact, ...]
    metrics: tuple[MetricLine, ...]
    evaluations: tuple[EvaluationLine, ...]
    scores: tuple[ScoreLine, ...]
    findings: tuple[str, ...]
    artifacts: tuple[str, ...]


def run_section(manifest: Manifest, findings: Sequence[Finding]) -> RunSection:
    """Return what is printed of one run."""
    sealed, notes = manifest.sealed, manifest.notes
    return RunSection(
        run_id=manifest.run_id,
        anchor=anchor(manifest.run_id),
        title=notes.title,
        status=spoken(sealed.status.value),
        final=_final(manifest),
        peak=short_metric(sealed.metric(f"peak.{BRIDGED}")) if sealed.scores is None else "–",
        verdict=spoken(notes.publishability.verdict),
        facts=tuple(_facts(manifest)),
        metrics=tuple(_metric_line(metric) for metric in sealed.metrics),
        evaluations=tuple(_evaluation_line(found) for found in sealed.evaluations),
        scores=tuple(map(_score_line, sealed.scores or ())),
        findings=(*map(_finding_line, findings), *_waivers_alone(notes.waivers, findings)),
        artifacts=artifact_lines(sealed),
    )


def _facts(manifest: Manifest) -> Iterable[Fact]:
    sealed, notes = manifest.sealed, manifest.notes
    yield Fact("Why we ran it", escaped_markdown(notes.why or "not recorded"))
    yield Fact("Command", command_text(manifest))
    yield Fact("Hardware", hardware_text(sealed.hardware, sealed.command.world_size))
    yield Fact("Models", models_text(manifest))
    status = f"{spoken(sealed.status.value)}: {sealed.status.reason.rstrip('.')}"
    yield Fact("Status", escaped_markdown(status) + cited(sealed.status.evidence) + claimed_text(manifest))
    if sealed.scores is None:
        yield Fact("Invalid generations", escaped_markdown(invalid_range(sealed.evaluations)))
    yield Fact("What went wrong", what_went_wrong(manifest))
    verdict = f"{spoken(notes.publishability.verdict)}: {notes.publishability.reason}"
    yield Fact("Publishability", escaped_markdown(verdict))
    yield Fact("Relations", "; ".join(map(relation_text, notes.relations)) or "none")
    yield Fact("Seal", f"sha256 {code_span(manifest.seal.digest)}")


def _metric_line(metric: Metric) -> MetricLine:
    name = metric_name(metric.name)
    if metric.value_fraction is None:
        return MetricLine(name, "–", "–", "–", metric.missing_because or "no reason given", "–")
    counted = metric.correct is not None and metric.n is not None
    return MetricLine(
        name=name,
        value=metric_value(metric),
        counts=f"{metric.correct}/{metric.n}".replace("-", MINUS) if counted else "–",
        interval=metric_interval(metric),
        where=", ".join(part for part in (metric_steps(metric), metric_conditions(metric)) if part),
        evidence=metric.evidence or "–",
    )


def _final(manifest: Manifest) -> str:
    """Return what the run is judged by, in a few words."""
    sealed = manifest.sealed
    if sealed.scores is None:
        return short_metric(sealed.metric(f"final.{BRIDGED}"))
    score = primary(sealed)
    if score is not None and score.value is not None:
        return f"{spelled(score)} {measured_value(score.value)}"
    return f"{len(sealed.scores)} scores, see below" if sealed.scores else "no number was read"


def _score_line(score: Score) -> ScoreLine:
    place = f"{score.path or ''}{f':{score.line}' if score.line is not None else ''}"
    counted = f" ({score.counts.correct}/{score.counts.n})" if score.counts is not None else ""
    proof = f"{(score.evidence or '').replace('_', ' ')}, {place}"
    unit = f" {score.metric.unit}" if score.metric.unit not in (None, "1", "fraction") else ""
    return ScoreLine(
        name=spelled(score),
        split=score.split or "–",
        value=f"{measured_value(score.value)}{unit}{counted}" if score.value is not None else "–",
        n=f"{score.n:,}" if score.n is not None else "–",
        evidence=proof if score.value is not None else score.missing_because or "no reason given",
    )


def _evaluation_line(evaluation: Evaluation) -> EvaluationLine:
    score = evaluation.score(BRIDGED)
    if score is None or score.n == 0:
        return EvaluationLine(evaluation.label, "–", "–", evaluation.missing_because or "not measured")
    return EvaluationLine(
        label=evaluation.label,
        correct=f"{percent(score.correct, score.n)}% ({score.correct}/{score.n})",
        invalid=f"{invalid_rate(score)} ({score.invalid}/{score.n})",
        favourite=favourite(score),
    )


def _finding_line(finding: Finding) -> str:
    waived = (
        "" if finding.waived_because is None else f" (waived: {escaped_markdown(finding.waived_because)})"
    )
    return f"{finding_text(finding)}{waived}"


def _waivers_alone(waivers: Sequence[Waiver], findings: Sequence[Finding]) -> Iterator[str]:
    for waiver in waivers:
        text = waiver_without_finding(waiver, findings)
        if text is not None:
            yield text
