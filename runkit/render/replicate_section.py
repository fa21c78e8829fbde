"""The section of runs that repeat one configuration: what they share once, and what differs beside its run.

Loses nothing that the sections of the single runs would say. A row of a table is keyed by everything in it
that is no measurement, so runs that differ there have rows of their own, and cells are empty in the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from runkit.records.finding import SEVERITIES, Finding
from runkit.records.manifest import Evaluation, Manifest, Metric, SealedFacts
from runkit.records.record import canonical_json
from runkit.records.replicates import ReplicateGroup
from runkit.records.schema import settings_in_effect
from runkit.render.artifacts import byte_size, dumps_together, files_apart, missing_text
from runkit.render.escaping import code_span, escaped_markdown
from runkit.render.phrases import (
    BRIDGED,
    anchor,
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
    place_text,
    relation_text,
    short_metric,
    spoken,
    waiver_without_finding,
    what_went_wrong,
)
from runkit.stats.rounding import MINUS, percent


class Said(NamedTuple):
    """A text with the runs that it is said of."""

    of: str
    """Ids of runs, which an audit binds it to; empty when it is said of all runs. Markdown."""
    text: str
    """Markdown."""


@dataclass(frozen=True)
class SharedFact:
    """A fact that is mostly the same in all runs, with each text once."""

    name: str
    said: tuple[Said, ...]


@dataclass(frozen=True)
class RunLine:
    """The row of one run, as plain text."""

    run_id: str
    anchor: str
    """Empty for the first run, whose anchor stands above the section."""
    seeds: tuple[str, ...]
    final: str
    peak: str
    status: str
    verdict: str
    findings: str


@dataclass(frozen=True)
class AcrossLine:
    """A row with a cell for each run, as plain text."""

    before: tuple[str, ...]
    """The cells to the left."""
    cells: tuple[str, ...]
    after: tuple[str, ...] = ()
    """The cells to the right."""


@dataclass(frozen=True)
class ReplicateSection:
    """All that is printed of runs that repeat one configuration."""

    template: ClassVar[str] = "replicates.md.j2"

    run_id: str
    """Of the first run, which the others repeat."""
    anchor: str
    title: str
    status: str
    final: str
    peak: str
    verdict: str
    seed_keys: tuple[str, ...]
    run_ids: tuple[str, ...]
    """Of all runs, as the columns of the tables have them."""
    runs: tuple[RunLine, ...]
    facts: tuple[SharedFact, ...]
    metrics: tuple[AcrossLine, ...]
    evaluations: tuple[AcrossLine, ...]
    findings: tuple[Said, ...]
    waivers: tuple[Said, ...]
    files: tuple[AcrossLine, ...]
    missing: tuple[Said, ...]
    each: tuple[str, ...]
    """What is said of one run only; Markdown."""


@dataclass(frozen=True)
class _Member:
    """One run of the group."""

    manifest: Manifest
    findings: Sequence[Finding]
    seeds: tuple[str, ...]


def replicate_section(
    group: ReplicateGroup, manifests: Sequence[Manifest], findings: Sequence[Sequence[Finding]]
) -> ReplicateSection:
    """Return what is printed of *group*.

    Args:
        manifests: Those of the group, in its order.
        findings: The findings of each of them, in the order of printing.
    """
    members = [
        _Member(manifest, own, _seeds(manifest, group.seed_keys))
        for manifest, own in zip(manifests, findings, strict=True)
    ]
    lead = manifests[0]
    return ReplicateSection(
        run_id=lead.run_id,
        anchor=anchor(lead.run_id),
        title=f"{lead.notes.title or '–'} ({len(members)} runs)",
        status=_counted(spoken(run.sealed.status.value) for run in manifests),
        final=_range([run.sealed.metric(f"final.{BRIDGED}") for run in manifests]),
        peak=_range([run.sealed.metric(f"peak.{BRIDGED}") for run in manifests]),
        verdict=_counted(spoken(run.notes.publishability.verdict) for run in manifests),
        seed_keys=group.seed_keys,
        run_ids=group.run_ids,
        runs=tuple(_run_line(member, is_first=member is members[0]) for member in members),
        facts=tuple(_facts(members)),
        metrics=_metric_lines(members),
        evaluations=_evaluation_lines(members),
        findings=_finding_lines(members),
        waivers=_waivers(members),
        files=tuple(_file_lines(members)),
        missing=_said(members, [map(missing_text, run.sealed.missing_artifacts) for run in manifests]),
        each=tuple(map(_own_line, members)),
    )


def _seeds(manifest: Manifest, seed_keys: Sequence[str]) -> tuple[str, ...]:
    settings = settings_in_effect(manifest.sealed)
    return tuple(canonical_json(settings[key]) if key in settings else "not set" for key in seed_keys)


def _names(some: Sequence[_Member], members: Sequence[_Member]) -> str:
    """Return the ids of *some* of the runs, as Markdown; nothing for all of them."""
    return "" if len(some) == len(members) else ", ".join(code_span(one.manifest.run_id) for one in some)


def _said(members: Sequence[_Member], texts: Iterable[Iterable[str]]) -> tuple[Said, ...]:
    """Return each text once with the runs that it is said of, as they come.

    Args:
        texts: For each of *members* what is said of it.
    """
    of: dict[str, list[_Member]] = {}
    for member, own in zip(members, texts, strict=True):
        for text in dict.fromkeys(own):
            of.setdefault(text, []).append(member)
    return tuple(Said(_names(some, members), text) for text, some in of.items())


def _counted(words: Iterable[str]) -> str:
    counts = Counter(words)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{word} ({count})" for word, count in counts.items())


def _range(metrics: Sequence[Metric | None]) -> str:
    measured = [found for found in metrics if found is not None and found.value_fraction is not None]
    if not measured:
        return "–"
    least, most = (pick(measured, key=lambda found: found.value_fraction or 0.0) for pick in (min, max))
    low, high = metric_value(least), metric_value(most)
    spread = low if low == high else f"{low} to {high}"
    return spread if len(measured) == len(metrics) else f"{spread} in {len(measured)} of {len(metrics)}"


def _run_line(member: _Member, *, is_first: bool) -> RunLine:
    sealed, notes = member.manifest.sealed, member.manifest.notes
    proof = sealed.status.evidence
    place = "" if proof is None else f" ({place_text(proof)})"
    return RunLine(
        run_id=member.manifest.run_id,
        anchor="" if is_first else anchor(member.manifest.run_id),
        seeds=member.seeds,
        final=short_metric(sealed.metric(f"final.{BRIDGED}")),
        peak=short_metric(sealed.metric(f"peak.{BRIDGED}")),
        status=f"{spoken(sealed.status.value)}{place}",
        verdict=spoken(notes.publishability.verdict),
        findings=_finding_counts(member.findings),
    )


def _finding_counts(findings: Sequence[Finding]) -> str:
    counts = Counter((found.rule, found.waived_because is not None) for found in findings)
    return ", ".join(
        f"{rule}{f' × {count}' * (count > 1)}{' waived' * is_waived}"
        for (rule, is_waived), count in counts.items()
    ) or "none"  # fmt: skip


def _facts(members: Sequence[_Member]) -> Iterator[SharedFact]:
    runs = [member.manifest for member in members]

    def fact(name: str, texts: Iterable[str]) -> SharedFact:
        return SharedFact(name, _said(members, ([text] for text in texts)))

    yield fact("Why we ran it", (escaped_markdown(run.notes.why or "not recorded") for run in runs))
    yield fact(
        "Hardware", (hardware_text(run.sealed.hardware, run.sealed.command.world_size) for run in runs)
    )
    yield fact("Models", map(models_text, runs))
    yield fact("Status", map(_status, runs))
    yield fact(
        "Invalid generations", (escaped_markdown(invalid_range(run.sealed.evaluations)) for run in runs)
    )
    yield fact("What went wrong", map(what_went_wrong, runs))
    verdicts = (run.notes.publishability for run in runs)
    yield fact(
        "Publishability", (escaped_markdown(f"{spoken(one.verdict)}: {one.reason}") for one in verdicts)
    )


def _status(manifest: Manifest) -> str:
    status = manifest.sealed.status
    return escaped_markdown(f"{spoken(status.value)}: {status.reason.rstrip('.')}") + claimed_text(manifest)


def _metric_lines(members: Sequence[_Member]) -> tuple[AcrossLine, ...]:
    def rows(metrics: Iterable[Metric]) -> Iterator[tuple[tuple[str, ...], str]]:
        for metric in metrics:
            name = metric_name(metric.name)
            if metric.value_fraction is None:
                yield (name, metric.missing_because or "no reason given", "–"), "–"
            else:
                yield (name, metric_conditions(metric), metric.evidence or "–"), _metric_cell(metric)

    keyed = _across([list(rows(member.manifest.sealed.metrics)) for member in members])
    names = list(
        dict.fromkeys(metric_name(one.name) for run in members for one in run.manifest.sealed.metrics)
    )
    ordered = sorted(keyed, key=lambda line: names.index(line.before[0]))
    return tuple(AcrossLine(line.before[:1], line.cells, line.before[1:]) for line in ordered)


def _metric_cell(metric: Metric) -> str:
    counted = metric.correct is not None and metric.n is not None
    counts = f" ({metric.correct}/{metric.n})".replace("-", MINUS) if counted else ""
    interval = metric_interval(metric)
    steps = metric_steps(metric)
    return f"{metric_value(metric)}{counts}{f' {interval}' * (interval != '–')}{f', {steps}' * bool(steps)}"


def _evaluation_lines(members: Sequence[_Member]) -> tuple[AcrossLine, ...]:
    lines = _across(
        [
            [((found.label,), _evaluation_cell(found)) for found in member.manifest.sealed.evaluations]
            for member in members
        ]
    )
    return tuple(sorted(lines, key=lambda line: _label_order(line.before[0])))


def _label_order(label: str) -> float:
    return float(label) if label.isdecimal() else float("inf")


def _evaluation_cell(evaluation: Evaluation) -> str:
    score = evaluation.score(BRIDGED)
    if score is None or score.n == 0:
        return f"– ({evaluation.missing_because or 'not measured'})"
    correct = f"{percent(score.correct, score.n)}% ({score.correct}/{score.n})"
    invalid = f"invalid {invalid_rate(score)} ({score.invalid}/{score.n})" if score.invalid else ""
    return ", ".join(part for part in (correct, invalid, favourite(score)) if part)


def _across(rows: Sequence[Sequence[tuple[tuple[str, ...], str]]]) -> list[AcrossLine]:
    """Return one line for each key, with a cell for each run; a key that a run has twice has two lines."""
    cells: dict[tuple[tuple[str, ...], int], list[str]] = {}
    for index, own in enumerate(rows):
        seen: Counter[tuple[str, ...]] = Counter()
        for key, cell in own:
            cells.setdefault((key, seen[key]), [""] * len(rows))[index] = cell
            seen[key] += 1
    return [AcrossLine(key, tuple(line)) for (key, _), line in cells.items()]


def _finding_lines(members: Sequence[_Member]) -> tuple[Said, ...]:
    def line(finding: Finding) -> str:
        return finding_text(finding) + " (waived)" * (finding.waived_because is not None)

    rank = {line(one): SEVERITIES.index(one.severity) for member in members for one in member.findings}
    said = _said(members, [map(line, member.findings) for member in members])
    return tuple(sorted(said, key=lambda one: rank[one.text]))


def _waivers(members: Sequence[_Member]) -> tuple[Said, ...]:
    return _said(
        members,
        [
            [
                waiver_without_finding(waiver, member.findings)
                or f"**{waiver.rule}**: {escaped_markdown(waiver.reason)}"
                for waiver in member.manifest.notes.waivers
            ]
            for member in members
        ],
    )


def _file_lines(members: Sequence[_Member]) -> Iterator[AcrossLine]:
    facts = [member.manifest.sealed for member in members]
    if any(run.artifacts for run in facts):
        yield AcrossLine(("kept",), tuple(_kept([file.is_here for file in run.artifacts]) for run in facts))
    yield from _across([list(_file_cells(run)) for run in facts])


def _file_cells(facts: SealedFacts) -> Iterator[tuple[tuple[str, ...], str]]:
    is_mixed = len({file.is_here for file in facts.artifacts}) > 1  # else it stands above, once

    def kept(are_here: Sequence[bool]) -> str:
        return f", {_kept(are_here)}" * is_mixed

    for file in files_apart(facts):
        digest = file.sha256[:12]
        yield (f"{file.role} {file.path}",), f"{byte_size(file.size_bytes)}, {digest}{kept([file.is_here])}"
    dumps = dumps_together(facts)
    if dumps is not None:
        cell = f"{byte_size(dumps.size_bytes)}{kept(dumps.are_here)}"
        yield (f"{dumps.num_dumps} dumps {dumps.pattern} together",), cell


def _kept(are_here: Sequence[bool]) -> str:
    if not are_here:
        return "–"
    return "here" if all(are_here) else "in part" if any(are_here) else "by reference"


def _own_line(member: _Member) -> str:
    sealed, notes = member.manifest.sealed, member.manifest.notes
    title = "" if notes.title is None else f", {escaped_markdown(notes.title)}"
    location = sealed.artifacts_location
    parts = [
        f"{code_span(sealed.run_id)}{title}: {command_text(member.manifest)}",
        *map(relation_text, notes.relations),
        f"seal sha256 {code_span(member.manifest.seal.digest)}",
        *([] if location is None else [f"files by reference are at: {escaped_markdown(location)}"]),
    ]
    return "; ".join(parts)
