"""``show --generations`` and ``show --causes``: what a preserved run's own texts say of it. Read-only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runkit.archive.reading import read_manifest, read_outcomes, run_ids
from runkit.archive.sealed_files import sealed_file, sealed_text
from runkit.archive.workspace import Workspace
from runkit.checks.causes import (
    SYSTEM,
    CauseRecord,
    Control,
    ProposedCause,
    proposed_causes,
    reported_evaluation,
)
from runkit.checks.generations import (
    OutcomeChange,
    SteadyItems,
    SystemGenerations,
    outcome_changes,
    steady_items,
    system_generations,
)
from runkit.checks.taxonomy import cause
from runkit.errors import UnknownName, UsageError
from runkit.ingest.generations import read_generations
from runkit.ingest.signals import read_signals
from runkit.ingest.trainlog import read_train_log
from runkit.records.manifest import Evaluation, Manifest, RootCause
from runkit.records.outcomes import EvaluationOutcomes


@dataclass(frozen=True)
class GenerationReport:
    """What the systems of one run wrote."""

    run_id: str
    systems: tuple[SystemGenerations, ...]
    """Evaluations in order, the systems of each in the order of the dump."""
    changes: tuple[OutcomeChange, ...]
    steady: tuple[SteadyItems, ...]
    num_without_texts: int
    """Evaluations whose dumps are kept by reference and not at hand."""


def generations(
    workspace: Workspace, run_id: str, *, systems: Sequence[str] = (), references: Path | None = None
) -> GenerationReport:
    """Return the statistics of what was generated in a preserved run.

    Args:
        systems: Only these; empty: all.
        references: Folder that holds the run directories of artifacts kept by reference.
    Raises:
        UnknownName: No such run or system.
        RunUnreadable: A file is missing or has other bytes than its manifest seals.
    """
    manifest = read_manifest(workspace, run_id)
    outcomes = read_outcomes(workspace, manifest)
    known = list(dict.fromkeys(system for one in outcomes.values() for system in one.answers))
    for system in systems:
        if system not in known:
            raise UnknownName.among(f"system in {run_id} called", system, known)
    chosen = [system for system in known if not systems or system in systems]
    found: list[SystemGenerations] = []
    num_without_texts = 0
    for evaluation in manifest.sealed.evaluations:
        measured = outcomes.get(evaluation.label)
        if measured is None:
            continue
        text = _dump_text(workspace, manifest, evaluation, references)
        num_without_texts += text is None
        found += _counted(measured, text, [system for system in chosen if system in measured.answers])
    return GenerationReport(
        run_id=run_id,
        systems=tuple(found),
        changes=tuple(one for system in chosen for one in outcome_changes(manifest, outcomes, system)),
        steady=tuple(one for system in chosen for one in steady_items(manifest, outcomes, system)),
        num_without_texts=num_without_texts,
    )


def causes(workspace: Workspace, run_id: str, *, references: Path | None = None) -> tuple[ProposedCause, ...]:
    """Return the root causes that a preserved run's record speaks for; errors as in :func:`generations`."""
    manifest = read_manifest(workspace, run_id)
    outcomes = read_outcomes(workspace, manifest)
    log_path = manifest.sealed.provenance.log_path
    log = sealed_file(workspace, manifest, log_path, references=references) if log_path else None
    present = run_ids(workspace)
    controls = [
        Control(control, read_outcomes(workspace, control))
        for relation in manifest.relations("ablates")
        if relation.run_id in present and relation.run_id != run_id
        for control in (read_manifest(workspace, relation.run_id),)
    ]
    evaluation = reported_evaluation(manifest)
    measured = outcomes.get(evaluation.label) if evaluation is not None else None
    reported = None
    if evaluation is not None and measured is not None and SYSTEM in measured.answers:
        text = _dump_text(workspace, manifest, evaluation, references)
        reported = _counted(measured, text, [SYSTEM])[0]
    return proposed_causes(
        CauseRecord(
            manifest=manifest,
            outcomes=outcomes,
            signals=read_signals(log) if log is not None else (),
            setting_lines=tuple(read_train_log(log).setting_lines.items()) if log is not None else (),
            reported=reported,
            controls=controls,
        )
    )


def confirmed_cause(
    workspace: Workspace, run_id: str, code: str, *, because: str | None, references: Path | None = None
) -> RootCause:
    """Return the root cause *code* as a person states it, with the evidence of a proposal that it confirms.

    Args:
        because: The sentence that stands in the notes; needed for a code that the rules do not propose.
    Raises:
        UnknownName: No such run or code.
        UsageError: The rules propose other codes, and no reason is given.
    """
    named = cause(code)
    proposals = causes(workspace, run_id, references=references)
    confirmed = next((one for one in proposals if one.code == named.code), None)
    if confirmed is not None:
        return RootCause(
            code=named.code, sentence=because or f"{confirmed.sentence}.", evidence=confirmed.evidence
        )
    if because is None:
        shown = ", ".join(one.code for one in proposals) or "none"
        raise UsageError(
            f"the record of {run_id} speaks for other causes ({shown}); say why it is {code}, with --because"
        )
    return RootCause(code=named.code, sentence=because, replaces=proposals[0].code if proposals else None)


def _dump_text(
    workspace: Workspace, manifest: Manifest, evaluation: Evaluation, references: Path | None
) -> str | None:
    if evaluation.dump is None:
        return None
    return sealed_text(workspace, manifest, evaluation.dump, references=references)


def _counted(
    measured: EvaluationOutcomes, text: str | None, systems: Sequence[str]
) -> list[SystemGenerations]:
    texts = read_generations(text) if text is not None else {}
    return [system_generations(measured, system, texts.get(system)) for system in systems]
