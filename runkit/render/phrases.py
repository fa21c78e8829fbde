"""What is said of one run, a phrase for each fact, as Markdown or cell text; nothing is laid out here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from runkit.records.finding import Finding
from runkit.records.manifest import (
    Evaluation,
    Evidence,
    Hardware,
    Manifest,
    Metric,
    Relation,
    SystemScore,
    Waiver,
)
from runkit.render.artifacts import byte_size
from runkit.render.escaping import code_span, escaped_markdown
from runkit.stats.proportions import wilson_interval
from runkit.stats.rounding import percent, percent_interval, plain_percent, points

BRIDGED = "bridged"

_DIFFERENCES = {
    "degradation": "Degradation (peak − final)",
    "gap_to_target": "Gap to target (target − bridged)",
    "gain_over_source": "Gain over source (bridged − source)",
}
_COLLAPSED_FROM = 0.25
"""An answer in at least this part of the outputs is worth a reader's attention."""


def command_text(manifest: Manifest) -> str:
    """Return how the run was started, and whether that is recorded or only reported."""
    command, reported = manifest.sealed.command, manifest.notes.command_as_reported
    if command.argv is not None:
        return code_span(shlex.join(command.argv))
    if reported is not None:
        return f"{code_span(reported)} (as reported, not recorded)"
    return escaped_markdown(f"not recorded: {command.missing_because or 'no reason given'}")


def hardware_text(hardware: Hardware, world_size: int | None) -> str:
    """Return the machine, with the line that says so."""
    gpus = [f"{gpu.count} × {gpu.name}{_memory(gpu.memory_bytes)}" for gpu in hardware.gpus]
    cpus = [f"{hardware.num_cpus} CPUs"] if hardware.num_cpus is not None else []
    memory = [f"{byte_size(hardware.memory_bytes)} memory"] if hardware.memory_bytes is not None else []
    processes = [f"world size {world_size}"] if world_size is not None else []
    parts = [*gpus, *([hardware.cpu_model] if hardware.cpu_model else []), *cpus, *memory, *processes]
    return escaped_markdown(", ".join(parts) or "not recorded") + cited(hardware.evidence)


def models_text(manifest: Manifest) -> str:
    """Return the models with their roles."""
    roles = [f"{model.role} {model.name}" for model in manifest.sealed.models]
    return escaped_markdown(", ".join(roles) or "not recorded")


def claimed_text(manifest: Manifest) -> str:
    """Return what its authors say of the end when the log does not show it, else nothing."""
    claimed = manifest.notes.claimed_status
    if claimed is None or claimed == manifest.sealed.status.value:
        return ""
    return f"; **reported as {escaped_markdown(spoken(claimed))}, which the log does not show**"


def what_went_wrong(manifest: Manifest) -> str:
    """Return the confirmed root cause and the note, in this order."""
    notes = manifest.notes
    parts = []
    if notes.root_cause is not None:
        parts.append(f"{code_span(notes.root_cause.code)} {escaped_markdown(notes.root_cause.sentence)}")
    if notes.went_wrong is not None:
        parts.append(escaped_markdown(notes.went_wrong))
    return " ".join(parts) or "nothing is noted; see the findings below"


def relation_text(relation: Relation) -> str:
    """Return one relation with its factors."""
    factors = f" ({', '.join(map(code_span, relation.factors))})" if relation.factors else ""
    return f"{relation.kind} {code_span(relation.run_id)}{factors}"


def cited(evidence: Evidence | None) -> str:
    """Return the place that proves something in brackets, or nothing."""
    return "" if evidence is None else f" ({code_span(place_text(evidence))})"


def place_text(evidence: Evidence) -> str:
    """Return file and line of what proves something."""
    return evidence.path if evidence.line is None else f"{evidence.path}:{evidence.line}"


def short_metric(metric: Metric | None) -> str:
    """Return a metric for a row of an index: value, counts, and the steps of a peak."""
    if metric is None or metric.value_fraction is None:
        return "–"
    counts = f" ({metric.correct}/{metric.n})" if metric.correct is not None and metric.n is not None else ""
    steps = f" at {', '.join(map(str, metric.steps))}" if metric.num_candidates is not None else ""
    return f"{metric_value(metric)}{counts}{steps}"


def metric_name(name: str) -> str:
    """Return a metric's name in words."""
    moment, _, system = name.partition(".")
    return _DIFFERENCES.get(name) or (f"{spoken(moment).capitalize()} {system}" if system else name)


def metric_value(metric: Metric) -> str:
    """Return a measured metric in percent, a difference in points."""
    if metric.name in _DIFFERENCES:
        return f"{_difference(metric)} points"
    if metric.correct is not None and metric.n is not None:
        return f"{percent(metric.correct, metric.n)}%"
    return f"{plain_percent(metric.value_fraction or 0.0)}%"


def metric_interval(metric: Metric) -> str:
    """Return the 95% Wilson interval of an accuracy; a dash for what has none."""
    if metric.name in _DIFFERENCES or metric.correct is None or metric.n is None:
        return "–"
    return percent_interval(wilson_interval(metric.correct, metric.n))


def metric_steps(metric: Metric) -> str:
    """Return the steps at which a metric was reached, or nothing."""
    return f"step {', '.join(map(str, metric.steps))}" if metric.steps else ""


def metric_conditions(metric: Metric) -> str:
    """Return on which items a metric was measured, and out of how many evaluations it was picked."""
    split = f"{metric.split} split" if metric.split else ""
    selected = (
        "" if metric.num_candidates is None else f"largest of {metric.num_candidates} evaluations, selected"
    )
    return ", ".join(part for part in (split, selected) if part)


def favourite(score: SystemScore) -> str:
    """Return the answer that a collapsed system gives, or nothing."""
    if not score.most_common or score.most_common[0].count < _COLLAPSED_FROM * score.n:
        return ""
    first = score.most_common[0]
    answer = first.answer if len(first.answer) <= 24 else first.answer[:23] + "…"
    return f"“{answer}” in {first.count} of {score.n}"


def invalid_range(evaluations: Sequence[Evaluation]) -> str:
    """Return how many outputs had no answer, before training and over the trained evaluations."""
    scores = [(found.label, score) for found in evaluations if (score := found.score(BRIDGED)) and score.n]
    trained = [pair for pair in scores if pair[0] != "0"] or scores
    if not scores:
        return "not measured"
    untrained = "" if len(trained) == len(scores) else f"{invalid_rate(scores[0][1])} at step 0, then "
    least, most = (pick(trained, key=_invalid_fraction) for pick in (min, max))
    if _invalid_fraction(least) == _invalid_fraction(most):
        num_trained = f"{len(trained)} evaluation{'s' * (len(trained) > 1)}"
        return f"bridged {untrained}{invalid_rate(least[1])} in {num_trained}"
    low, high = (f"{invalid_rate(score)} ({_at(label)})" for label, score in (least, most))
    return f"bridged {untrained}{low} to {high} over {len(trained)} evaluations"


def invalid_rate(score: SystemScore) -> str:
    """Return the outputs without an answer in percent."""
    return f"{percent(score.invalid, score.n)}%"


def finding_text(finding: Finding) -> str:
    """Return a finding without the reason that a person waived it for."""
    place = f" {code_span(finding.place)}" if finding.place else ""
    return f"**{finding.rule}** {finding.severity}{place}: {escaped_markdown(finding.message)}"


def waiver_without_finding(waiver: Waiver, findings: Sequence[Finding]) -> str | None:
    """Return *waiver* when it stands beside no finding, so that none goes unseen; else None.

    Whether what it waives is there still is not known here: a page looks at manifests, not at files.
    """
    for one in findings:
        is_told = one.place == f"notes.waivers.{waiver.rule}" and waiver.reason in one.message
        is_used = one.waived_because is not None and (waiver.rule, waiver.place, waiver.message) == (
            one.rule,
            one.place,
            one.message,
        )
        if is_told or is_used:
            return None
    reason = escaped_markdown(waiver.reason)
    if waiver.place is None or waiver.message is None:
        return f"**{waiver.rule}** is waived without saying which finding, which waives none: {reason}"
    message = escaped_markdown(waiver.message)
    return (
        f"**{waiver.rule}** {code_span(waiver.place)}: {message} (so it was when it was waived; not looked "
        f"for here; waived: {reason})"
    )


def anchor(run_id: str) -> str:
    """Return the name that links to a run lead to.

    >>> anchor("ablB_2025+1")
    'run-ablb_2025-1'
    """
    return f"run-{re.sub('[^a-z0-9_-]', '-', run_id.lower())}"


def spoken(word: str) -> str:
    """Return a word of a record as people write it."""
    return word.replace("_", " ")


def _memory(memory_bytes: int | None) -> str:
    return "" if memory_bytes is None else f" ({byte_size(memory_bytes)})"


def _difference(metric: Metric) -> str:
    if metric.correct is not None and metric.n is not None:
        return points(metric.correct, metric.n)
    return plain_percent(metric.value_fraction or 0.0)


def _invalid_fraction(labelled: tuple[str, SystemScore]) -> float:
    return labelled[1].invalid / labelled[1].n


def _at(label: str) -> str:
    return f"step {label}" if label.isdecimal() else label
