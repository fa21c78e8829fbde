"""``validate``: is the archive what it says it is? Reads, judges, and leaves no trace on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runkit.archive.kept_files import kept_run
from runkit.archive.observing import observe_runs
from runkit.archive.reading import read_items, read_manifests, read_outcomes, wanted_ids
from runkit.archive.reading import run_ids as preserved_ids
from runkit.archive.rereading_cache import RereadingCache
from runkit.archive.scanning import suspected_secrets
from runkit.archive.sealed_files import sealed_text
from runkit.archive.workspace import Workspace
from runkit.checks.catalogue import RULES, Rule, found
from runkit.checks.causes import SYSTEM, reported_evaluation
from runkit.checks.checkpoints import compared_labels
from runkit.checks.gather import FOR_ALL_RUNS, FOR_ONE_RUN, NEED_TEXTS, concluded, unwaived
from runkit.checks.integrity import rightly_named, unreadable_manifest
from runkit.checks.view import ArchiveView
from runkit.checks.waivers import not_looked_at
from runkit.errors import RunUnreadable
from runkit.ingest.generations import read_generations
from runkit.ingest.rereading import read_again
from runkit.ingest.summary import is_known_summary
from runkit.records.finding import Finding
from runkit.records.generation import Generation
from runkit.records.items import RunItems
from runkit.records.manifest import Manifest
from runkit.records.observation import RunObservation
from runkit.records.outcomes import RunOutcomes
from runkit.records.rereading import Rereading
from runkit.records.run_texts import RunTexts

_NEEDS_BYTES = frozenset({"RK102", "RK110", "RK201", "RK206", "RK505"}) | NEED_TEXTS
"""Rules that are not judged in full while bytes are not hashed."""


@dataclass(frozen=True)
class ValidationReport:
    """What was found, and what it was found in."""

    findings: tuple[Finding, ...]
    """Worst first."""
    num_runs: int
    """Runs that were looked at, those with an unreadable manifest included."""
    num_artifacts: int
    """Artifacts that were at hand as regular files."""
    num_artifacts_rehashed: int
    """Artifacts of which every byte was read."""
    num_not_checked: int
    """Artifacts by reference that were not at hand."""
    rehashed: bool
    """Whether bytes were read at all; without it only sizes were compared and no score was recomputed."""
    num_reread: int = 0
    """Runs whose kept files were all read again, and compared with the sealed facts."""
    not_reread: Mapping[str, str] = field(default_factory=dict)
    """Run id to why nothing, or not everything, of it was read again."""
    run_ids: tuple[str, ...] = ()
    """The runs that were looked at, sorted."""
    rules: tuple[Rule, ...] = ()
    """The rules that were judged in full."""
    kept_paths: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Run id to the paths of its artifacts that lie in the archive."""


@dataclass(frozen=True)
class _Look:
    """What one run looked like."""

    findings: list[Finding]
    observation: RunObservation
    rereading: Rereading | None
    unseen: frozenset[str]
    """Artifacts that were not at hand."""


def validate(
    workspace: Workspace,
    run_ids: Sequence[str] = (),
    *,
    rehash: bool = True,
    references: Path | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> ValidationReport:
    """Return what is wrong with the runs *run_ids*, or with all when none is named.

    What compares runs looks at the whole archive, so that a run's findings do not depend on the choice.

    Args:
        rehash: Read every byte, read every log and dump again, and recompute every score.
        references: Folder that holds the run directories of artifacts kept by reference.
        jobs: Runs that are read again at once; None: one a core.
        progress: Is given how many runs were read again, and of how many.
    Raises:
        UnknownName: *run_ids* names a run that has no manifest.
    """
    wanted = wanted_ids(preserved_ids(workspace), run_ids)
    folder = read_manifests(workspace)
    named = rightly_named(folder.manifests, folder.file_ids)
    chosen = [manifest for manifest in named.manifests if manifest.run_id in wanted]
    seen = observe_runs(workspace, chosen, rehash=rehash, references=references, jobs=jobs)
    said: Iterable[Rereading | None] = [None] * len(chosen)
    if rehash:
        kept = [
            kept_run(workspace, manifest, observation, references=references)
            for manifest, observation in zip(chosen, seen, strict=True)
        ]
        said = read_again(kept, cache=RereadingCache.of_user(workspace), jobs=jobs, progress=progress)
    looks = [
        _look_at(workspace, manifest, observation, rereading, references=references)
        for manifest, observation, rereading in zip(chosen, seen, said, strict=True)
    ]
    findings = [unreadable_manifest(bad.path, bad.message) for bad in folder.unreadable]
    findings += [*named.findings, *unwaived(ArchiveView(named.manifests), FOR_ALL_RUNS)]
    findings = [finding for finding in findings if finding.run_id in wanted]
    findings += [finding for look in looks for finding in look.findings]
    judged = frozenset[str]().union(*(family.rules for family in FOR_ONE_RUN + FOR_ALL_RUNS))
    judged = judged if rehash else judged - _NEEDS_BYTES
    return ValidationReport(
        findings=concluded(
            findings,
            chosen,
            judged=judged,
            unseen={look.observation.run_id: look.unseen for look in looks},
        ),
        num_runs=len(wanted),
        num_artifacts=sum(_num_seen(look.observation, hashed=False) for look in looks),
        num_artifacts_rehashed=sum(_num_seen(look.observation, hashed=True) for look in looks),
        num_not_checked=sum(look.observation.num_not_checked for look in looks),
        rehashed=rehash,
        num_reread=sum(_is_reread(look) for look in looks),
        not_reread={
            look.observation.run_id: look.rereading.not_read_because
            for look in looks
            if look.rereading is not None and look.rereading.not_read_because is not None
        },
        run_ids=tuple(sorted(wanted)),
        rules=tuple(rule for rule in RULES if rule.code in judged),
        kept_paths={
            manifest.run_id: frozenset(
                one.path for one in manifest.sealed.artifacts if one.storage != "reference"
            )
            for manifest in chosen
        },
    )


def _is_reread(look: _Look) -> bool:
    found = look.rereading
    return found is not None and found.facts is not None and found.not_read_because is None


def _look_at(
    workspace: Workspace,
    manifest: Manifest,
    observation: RunObservation,
    rereading: Rereading | None,
    *,
    references: Path | None,
) -> _Look:
    rehash = observation.rehashed
    observations = {manifest.run_id: observation}
    outcomes: dict[str, RunOutcomes] = {}
    items: dict[str, RunItems] = {}
    unreadable = []
    if rehash and observation.outcomes is not None and observation.outcomes.kind == "file":
        try:
            if manifest.sealed.scores is None:
                outcomes = {manifest.run_id: read_outcomes(workspace, manifest)}
            else:
                items = {manifest.run_id: read_items(workspace, manifest)}
        except RunUnreadable as error:
            unreadable = [_unreadable_outcomes(manifest, observation, error)]
    texts = {manifest.run_id: _texts(workspace, manifest, observation, references)} if rehash else {}
    rereadings = {manifest.run_id: rereading} if rereading is not None else {}
    view = ArchiveView((manifest,), observations, outcomes, texts, rereadings, items=items)
    findings = unwaived(view, FOR_ONE_RUN)
    findings += [one for one in unreadable if not _says_changed(findings, one)]
    return _Look(findings, observation, rereading, not_looked_at(manifest, observation))


def _texts(
    workspace: Workspace, manifest: Manifest, observation: RunObservation, references: Path | None
) -> RunTexts:
    """Return the texts of the evaluations that checks compare, and of the reported one."""
    reported = reported_evaluation(manifest)
    labels = {*compared_labels(manifest), *([reported.label] if reported is not None else [])}
    generations: dict[str, Sequence[Generation]] = {}
    unknown: list[str] = []
    for artifact in manifest.sealed.artifacts:
        seen = observation.artifacts.get(artifact.path)
        if seen is None or seen.sha256 != artifact.sha256:
            continue
        if artifact.role == "summary" and manifest.sealed.provenance.reader == "bridge-cluster":
            text = sealed_text(workspace, manifest, artifact.path, references=references)
            if text is not None and not is_known_summary(text):
                unknown.append(artifact.path)
        evaluation = next((one for one in manifest.sealed.evaluations if one.dump == artifact.path), None)
        if evaluation is None or evaluation.label not in labels:
            continue
        text = sealed_text(workspace, manifest, artifact.path, references=references)
        written = read_generations(text).get(SYSTEM) if text is not None else None
        if written:
            generations[evaluation.label] = written
    return RunTexts(generations, tuple(unknown), suspected_secrets(workspace, manifest))


def _unreadable_outcomes(manifest: Manifest, observation: RunObservation, error: RunUnreadable) -> Finding:
    place = f"manifests/{manifest.run_id}.outcomes.parquet"
    reason = str(error).partition(" is not ")[2] or "not a readable table"
    return found("RK102", manifest.run_id, place, f"{place} is not {reason}")


def _says_changed(findings: Sequence[Finding], finding: Finding) -> bool:
    return any(one.rule == finding.rule and one.place == finding.place for one in findings)


def _num_seen(observation: RunObservation, *, hashed: bool) -> int:
    files = [seen for seen in observation.artifacts.values() if seen.kind == "file"]
    return sum(1 for seen in files if seen.sha256 is not None or not hashed)
