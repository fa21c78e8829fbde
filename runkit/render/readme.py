"""The generated part of ``preserved_runs/README.md``: an index and a section for each run.

Reads no file but its template, and says nothing that manifests and findings do not.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from runkit.records.finding import Finding
from runkit.records.manifest import Evaluation, Evidence, Hardware, Manifest, Metric, Relation, SystemScore
from runkit.render.artifacts import artifact_lines, byte_size
from runkit.render.markdown import code_span, escaped_markdown
from runkit.stats.proportions import wilson_interval
from runkit.stats.rounding import MINUS, percent, percent_interval, plain_percent, points

_BRIDGED = "bridged"
_DIFFERENCES = {
    "degradation": "Degradation (peak − final)",
    "gap_to_target": "Gap to target (target − bridged)",
    "gain_over_source": "Gain over source (bridged − source)",
}
_COLLAPSED_FROM = 0.25
"""An answer in at least this part of the outputs is worth a reader's attention."""


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
class RunSection:
    """All that is printed of one run."""

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
    findings: tuple[str, ...]
    artifacts: tuple[str, ...]


def readme_block(manifests: Sequence[Manifest], findings: Mapping[str, Sequence[Finding]]) -> str:
    """Return the generated Markdown for *manifests*, by start and then run id.

    Args:
        findings: Run id to the findings of the checks, in the order of printing.
    """
    ordered = sorted(manifests, key=_by_start)
    sections = [run_section(manifest, findings.get(manifest.run_id, ())) for manifest in ordered]
    environment = Environment(
        loader=PackageLoader("runkit.render"),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701  # this is Markdown: each value goes through a filter below
        keep_trailing_newline=True,
    )
    environment.filters.update(md=escaped_markdown, code=code_span)
    text = environment.get_template("readme.md.j2").render(runs=sections)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


def run_section(manifest: Manifest, findings: Sequence[Finding]) -> RunSection:
    """Return what is printed of one run."""
    sealed, notes = manifest.sealed, manifest.notes
    return RunSection(
        run_id=manifest.run_id,
        anchor=f"run-{re.sub('[^a-z0-9_-]', '-', manifest.run_id.lower())}",
        title=notes.title,
        status=_spoken(sealed.status.value),
        final=_short(sealed.metric(f"final.{_BRIDGED}")),
        peak=_short(sealed.metric(f"peak.{_BRIDGED}")),
        verdict=_spoken(notes.publishability.verdict),
        facts=tuple(_facts(manifest)),
        metrics=tuple(_metric_line(metric) for metric in sealed.metrics),
        evaluations=tuple(_evaluation_line(found) for found in sealed.evaluations),
        findings=tuple(_finding_line(finding) for finding in findings),
        artifacts=artifact_lines(sealed),
    )


def _by_start(manifest: Manifest) -> tuple[str, str]:
    started = manifest.sealed.started
    return (started.at if started is not None else "9999", manifest.run_id)


def _facts(manifest: Manifest) -> Iterable[Fact]:
    sealed, notes = manifest.sealed, manifest.notes
    yield Fact("Why we ran it", escaped_markdown(notes.why or "not recorded"))
    yield Fact("Command", _command(manifest))
    yield Fact("Hardware", _hardware(sealed.hardware, sealed.command.world_size))
    yield Fact("Models", _models(manifest))
    status = f"{_spoken(sealed.status.value)}: {sealed.status.reason.rstrip('.')}"
    yield Fact("Status", escaped_markdown(status) + _cited(sealed.status.evidence) + _claimed(manifest))
    yield Fact("Invalid generations", escaped_markdown(_invalid_range(sealed.evaluations)))
    yield Fact("What went wrong", _what_went_wrong(manifest))
    verdict = f"{_spoken(notes.publishability.verdict)}: {notes.publishability.reason}"
    yield Fact("Publishability", escaped_markdown(verdict))
    yield Fact("Relations", "; ".join(map(_relation, notes.relations)) or "none")
    yield Fact("Seal", f"sha256 {code_span(manifest.seal.digest)}")


def _command(manifest: Manifest) -> str:
    command, reported = manifest.sealed.command, manifest.notes.command_as_reported
    if command.argv is not None:
        return code_span(shlex.join(command.argv))
    if reported is not None:
        return f"{code_span(reported)} (as reported, not recorded)"
    return escaped_markdown(f"not recorded: {command.missing_because or 'no reason given'}")


def _hardware(hardware: Hardware, world_size: int | None) -> str:
    gpus = [f"{gpu.count} × {gpu.name}{_memory(gpu.memory_bytes)}" for gpu in hardware.gpus]
    cpus = [f"{hardware.num_cpus} CPUs"] if hardware.num_cpus is not None else []
    memory = [f"{byte_size(hardware.memory_bytes)} memory"] if hardware.memory_bytes is not None else []
    processes = [f"world size {world_size}"] if world_size is not None else []
    spoken = ", ".join(
        [*gpus, *([hardware.cpu_model] if hardware.cpu_model else []), *cpus, *memory, *processes]
    )
    return escaped_markdown(spoken or "not recorded") + _cited(hardware.evidence)


def _memory(memory_bytes: int | None) -> str:
    return "" if memory_bytes is None else f" ({byte_size(memory_bytes)})"


def _models(manifest: Manifest) -> str:
    spoken = [f"{model.role} {model.name}" for model in manifest.sealed.models]
    return escaped_markdown(", ".join(spoken) or "not recorded")


def _claimed(manifest: Manifest) -> str:
    claimed = manifest.notes.claimed_status
    if claimed is None or claimed == manifest.sealed.status.value:
        return ""
    return f"; **reported as {escaped_markdown(_spoken(claimed))}, which the log does not show**"


def _what_went_wrong(manifest: Manifest) -> str:
    notes = manifest.notes
    parts = []
    if notes.root_cause is not None:
        parts.append(f"{code_span(notes.root_cause.code)} {escaped_markdown(notes.root_cause.sentence)}")
    if notes.went_wrong is not None:
        parts.append(escaped_markdown(notes.went_wrong))
    return " ".join(parts) or "nothing is noted; see the findings below"


def _relation(relation: Relation) -> str:
    factors = f" ({', '.join(map(code_span, relation.factors))})" if relation.factors else ""
    return f"{relation.kind} {code_span(relation.run_id)}{factors}"


def _cited(evidence: Evidence | None) -> str:
    if evidence is None:
        return ""
    place = evidence.path if evidence.line is None else f"{evidence.path}:{evidence.line}"
    return f" ({code_span(place)})"


def _short(metric: Metric | None) -> str:
    if metric is None or metric.value_fraction is None:
        return "–"
    counts = f" ({metric.correct}/{metric.n})" if metric.correct is not None and metric.n is not None else ""
    steps = f" at {', '.join(map(str, metric.steps))}" if metric.num_candidates is not None else ""
    return f"{_percentage(metric)}{counts}{steps}"


def _metric_line(metric: Metric) -> MetricLine:
    name = _metric_name(metric.name)
    if metric.value_fraction is None:
        return MetricLine(name, "–", "–", "–", metric.missing_because or "no reason given", "–")
    counted = metric.correct is not None and metric.n is not None
    return MetricLine(
        name=name,
        value=_percentage(metric),
        counts=f"{metric.correct}/{metric.n}".replace("-", MINUS) if counted else "–",
        interval=_interval(metric),
        where=_where(metric),
        evidence=metric.evidence or "–",
    )


def _metric_name(name: str) -> str:
    moment, _, system = name.partition(".")
    return _DIFFERENCES.get(name) or (f"{_spoken(moment).capitalize()} {system}" if system else name)


def _percentage(metric: Metric) -> str:
    if metric.name in _DIFFERENCES:
        return f"{_difference(metric)} points"
    if metric.correct is not None and metric.n is not None:
        return f"{percent(metric.correct, metric.n)}%"
    return f"{plain_percent(metric.value_fraction or 0.0)}%"


def _difference(metric: Metric) -> str:
    if metric.correct is not None and metric.n is not None:
        return points(metric.correct, metric.n)
    return plain_percent(metric.value_fraction or 0.0)


def _interval(metric: Metric) -> str:
    if metric.name in _DIFFERENCES or metric.correct is None or metric.n is None:
        return "–"
    return percent_interval(wilson_interval(metric.correct, metric.n))


def _where(metric: Metric) -> str:
    steps = f"step {', '.join(map(str, metric.steps))}" if metric.steps else ""
    split = f"{metric.split} split" if metric.split else ""
    selected = (
        "" if metric.num_candidates is None else f"largest of {metric.num_candidates} evaluations, selected"
    )
    return ", ".join(part for part in (steps, split, selected) if part)


def _evaluation_line(evaluation: Evaluation) -> EvaluationLine:
    score = evaluation.score(_BRIDGED)
    if score is None or score.n == 0:
        return EvaluationLine(evaluation.label, "–", "–", evaluation.missing_because or "not measured")
    return EvaluationLine(
        label=evaluation.label,
        correct=f"{percent(score.correct, score.n)}% ({score.correct}/{score.n})",
        invalid=f"{percent(score.invalid, score.n)}% ({score.invalid}/{score.n})",
        favourite=_favourite(score),
    )


def _favourite(score: SystemScore) -> str:
    if not score.most_common or score.most_common[0].count < _COLLAPSED_FROM * score.n:
        return ""
    favourite = score.most_common[0]
    answer = favourite.answer if len(favourite.answer) <= 24 else favourite.answer[:23] + "…"
    return f"“{answer}” in {favourite.count} of {score.n}"


def _invalid_range(evaluations: Sequence[Evaluation]) -> str:
    scores = [(found.label, score) for found in evaluations if (score := found.score(_BRIDGED)) and score.n]
    trained = [pair for pair in scores if pair[0] != "0"] or scores
    if not scores:
        return "not measured"
    untrained = "" if len(trained) == len(scores) else f"{_invalid_rate(scores[0][1])} at step 0, then "
    least, most = (pick(trained, key=_invalid_fraction) for pick in (min, max))
    if _invalid_fraction(least) == _invalid_fraction(most):
        num_trained = f"{len(trained)} evaluation{'s' * (len(trained) > 1)}"
        return f"bridged {untrained}{_invalid_rate(least[1])} in {num_trained}"
    low, high = (f"{_invalid_rate(score)} ({_at(label)})" for label, score in (least, most))
    return f"bridged {untrained}{low} to {high} over {len(trained)} evaluations"


def _invalid_fraction(labelled: tuple[str, SystemScore]) -> float:
    return labelled[1].invalid / labelled[1].n


def _invalid_rate(score: SystemScore) -> str:
    return f"{percent(score.invalid, score.n)}%"


def _at(label: str) -> str:
    return f"step {label}" if label.isdecimal() else label


def _finding_line(finding: Finding) -> str:
    place = f" {code_span(finding.place)}" if finding.place else ""
    waived = (
        "" if finding.waived_because is None else f" (waived: {escaped_markdown(finding.waived_because)})"
    )
    return f"**{finding.rule}** {finding.severity}{place}: {escaped_markdown(finding.message)}{waived}"


def _spoken(word: str) -> str:
    return word.replace("_", " ")
