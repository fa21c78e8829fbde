"""Whether a run came to its end as it was meant to; reads manifests only."""

from __future__ import annotations

from collections.abc import Iterator

from runkit.checks.catalogue import found
from runkit.checks.view import ArchiveView, Family
from runkit.records.finding import Finding
from runkit.records.manifest import Evidence, Manifest

_OWN_READER = "runkit"
"""Runs of our own engine record their end in run.json and have no summary."""


def _completion_findings(archive: ArchiveView) -> Iterator[Finding]:
    for manifest in archive.manifests:
        yield from status_findings(manifest)
        yield from _no_summary(manifest)
        texts = archive.texts.get(manifest.run_id)
        for path in texts.unknown_summaries if texts is not None else ():
            message = f"no line of {path} has a known form; expected the end of the run"
            yield found("RK305", manifest.run_id, path, message)


def status_findings(manifest: Manifest) -> Iterator[Finding]:
    """Yield what is wrong with how a run ended, and with what its notes claim about it."""
    status = manifest.sealed.status
    if status.value == "truncated":
        message = f"the run ends {_how_far(manifest)}, with no final evaluation and no early-stop line"
        yield found("RK301", manifest.run_id, _place(status.evidence), message)
    if status.value == "crashed":
        what = status.evidence.what if status.evidence else status.reason
        message = f"the run crashed {_how_far(manifest)}: {what.rstrip('.')}"
        yield found("RK302", manifest.run_id, _place(status.evidence), message)
    claimed = manifest.notes.claimed_status
    if claimed is not None and claimed != status.value:
        message = (
            f"the notes claim that the run is {claimed}, its own artifacts say {status.value} "
            f"({_place(status.evidence)})"
        )
        yield found("RK303", manifest.run_id, "notes.claimed_status", message)


def _how_far(manifest: Manifest) -> str:
    training = manifest.sealed.training
    if training.last_step is None:
        return "before the first logged step"
    planned = "an unknown number" if training.planned_steps is None else str(training.planned_steps)
    return f"at step {training.last_step} of {planned}"


def _place(evidence: Evidence | None) -> str:
    if evidence is None:
        return "sealed.status"
    return evidence.path if evidence.line is None else f"{evidence.path}:{evidence.line}"


def _no_summary(manifest: Manifest) -> Iterator[Finding]:
    sealed = manifest.sealed
    named = next((missing for missing in sealed.missing_artifacts if missing.role == "summary"), None)
    has_one = any(artifact.role == "summary" for artifact in sealed.artifacts)
    if named is not None:
        message = f"{named.path} is not there; expected a summary with the end of the run: {named.reason}"
        yield found("RK305", manifest.run_id, named.path, message)
    elif not has_one and sealed.scores is None and sealed.provenance.reader != _OWN_READER:
        message = "no artifact is a summary; expected one with the end of the run"
        yield found("RK305", manifest.run_id, "sealed.artifacts", message)


COMPLETION = Family("completion", _completion_findings, frozenset({"RK301", "RK302", "RK303", "RK305"}))
