"""Why a run went wrong, as far as its record says: codes with the lines that speak for them.

A proposal is no finding and changes nothing. A person confirms or replaces it with ``runkit note``. Several
causes can hold of one run; they come in the order of the taxonomy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from runkit.checks.generations import SystemGenerations
from runkit.checks.taxonomy import CAUSES, Confidence
from runkit.records.log_signal import LogSignal, SignalKind
from runkit.records.manifest import Evaluation, Evidence, Manifest
from runkit.records.outcomes import EvaluationOutcomes, RunOutcomes
from runkit.stats.paired import mcnemar_exact, paired_counts

SYSTEM = "bridged"
SIGNIFICANT_P = 0.05

_ENDED_BY: dict[SignalKind, tuple[str, str]] = {
    "walltime": ("truncated.walltime", "the scheduler ended the job at its time limit"),
    "preempted": ("truncated.preempted", "the scheduler took the machine for another job"),
    "node failure": ("crash.node_failure", "a machine of the cluster failed"),
    "host out of memory": ("crash.host_oom", "the machine ran out of memory"),
    "gpu out of memory": ("crash.oom", "a GPU ran out of memory"),
    "nccl": ("crash.nccl", "communication between the processes failed"),
    "cuda": ("crash.cuda", "a CUDA kernel failed"),
    "import": ("crash.import", "a package is missing or does not fit"),
    "disk full": ("crash.disk_full", "the disk or the quota was full"),
    "not finite": ("crash.not_finite", "the loss became NaN or infinite"),
    "interrupted": ("truncated.interrupted", "the run was asked to stop"),
    "segfault": ("crash.segfault", "the program accessed memory that is not its own"),
    "killed": ("crash.host_oom", "the kernel or a person killed the program"),
    "exception": ("crash.exception", "the program ended with an error of its own"),
}
"""In this order: the first kind that stands in the log names the cause, the others follow from it."""

_PROMPT_KEYS = (("dit_teacher", "eval_prompt_mode"), ("loss.teacher", "prompt.mode"))
"""Teacher and prompt mode, as cluster runs and ours call them."""


class ProposedCause(NamedTuple):
    """A code that the record speaks for."""

    code: str
    confidence: Confidence
    sentence: str
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Control:
    """A run that this one is declared to ablate."""

    manifest: Manifest
    outcomes: RunOutcomes


@dataclass(frozen=True)
class CauseRecord:
    """All that the rules look at."""

    manifest: Manifest
    outcomes: RunOutcomes
    signals: Sequence[LogSignal] = ()
    setting_lines: tuple[tuple[str, int], ...] = ()
    """Lines of settings in the log; empty when the log does not print them."""
    reported: SystemGenerations | None = None
    """The bridged outputs of :func:`reported_evaluation`; None when it has none."""
    controls: Sequence[Control] = ()


def reported_evaluation(manifest: Manifest) -> Evaluation | None:
    """Return the final evaluation, or the last trained one that has outcomes when there is no final one."""
    measured = [one for one in manifest.sealed.evaluations if one.n and one.label != "0"]
    return next((one for one in measured if one.label == "final"), measured[-1] if measured else None)


def proposed_causes(record: CauseRecord) -> tuple[ProposedCause, ...]:
    """Return what the record speaks for, in the order of the taxonomy; empty when it speaks for nothing."""
    found = [
        *_ending(record),
        *_no_samples(record),
        *_duplicated_prompt(record),
        *_collapse(record),
        *_not_distinct(record),
        *_underperforms(record),
    ]
    order = [cause.code for cause in CAUSES]
    return tuple(sorted(found, key=lambda one: order.index(one.code)))


def _ending(record: CauseRecord) -> Iterator[ProposedCause]:
    status = record.manifest.sealed.status
    if status.value not in {"truncated", "crashed"}:
        return
    own = (status.evidence,) if status.evidence is not None else ()
    named = _named_by_signal(record)
    if named is not None:
        yield named
    elif status.value == "crashed":
        sentence = f"{status.reason}; no line names a known cause"
        yield ProposedCause("crash.exception", "possible", sentence, own)
    elif "SIG" in status.reason:
        yield ProposedCause("truncated.interrupted", "proven", status.reason, own)
    else:
        sentence = "the log ends before the end of the run, and no line says why"
        yield ProposedCause("truncated.unknown", "proven", sentence, own)


def _named_by_signal(record: CauseRecord) -> ProposedCause | None:
    log = record.manifest.sealed.provenance.log_path
    if log is None:
        return None
    last_step = record.manifest.sealed.training.evidence
    after = last_step.line if last_step is not None and last_step.line is not None else 0
    late = [one for one in record.signals if one.line > after]
    for kind, (code, sentence) in _ENDED_BY.items():
        lines = [one.line for one in late if one.kind == kind]
        if lines:
            evidence = Evidence(path=log, line=lines[0], what=f"first line of this kind: {kind}")
            confidence: Confidence = "possible" if kind in {"killed", "exception"} else "proven"
            return ProposedCause(code, confidence, sentence, (evidence,))
    return None


def _no_samples(record: CauseRecord) -> Iterator[ProposedCause]:
    status = record.manifest.sealed.status
    if status.value == "no_eval_samples":
        own = (status.evidence,) if status.evidence is not None else ()
        yield ProposedCause("eval.no_samples", "proven", status.reason, own)


def _duplicated_prompt(record: CauseRecord) -> Iterator[ProposedCause]:
    effective = record.manifest.sealed.configuration.effective
    evaluation = reported_evaluation(record.manifest)
    for teacher, mode in _PROMPT_KEYS:
        if (
            effective.get(teacher) != "prompt"
            or effective.get(mode) != "soft_plus_text"
            or evaluation is None
        ):
            continue
        worse = _compared(record, evaluation, "target")
        if worse is None:
            continue
        signs = record.reported.signs if record.reported is not None else None
        echoes = signs is not None and 2 * signs.num_echoed >= evaluation.n
        seen = f", and {signs.num_echoed} of {evaluation.n} outputs repeat the question" if signs else ""
        sentence = (
            f"{teacher} is prompt and {mode} is soft_plus_text, so the target reads the question twice; "
            f"bridged it is worse than alone{seen}; no run here isolates this cause"
        )
        yield ProposedCause(
            "conditioning.duplicated_prompt",
            "likely" if echoes else "possible",
            sentence,
            (*_settings(record, teacher, mode), _place(record.manifest, evaluation)),
        )


def _settings(record: CauseRecord, *keys: str) -> Iterator[Evidence]:
    lines = dict(record.setting_lines)
    configuration = record.manifest.sealed.configuration.evidence
    log = record.manifest.sealed.provenance.log_path
    for key in keys:
        if key in lines and log is not None:
            yield Evidence(path=log, line=lines[key], what=f"setting {key}")
        else:
            yield configuration.model_copy(update={"what": f"setting {key}"})


def _collapse(record: CauseRecord) -> Iterator[ProposedCause]:
    evaluation, reported = reported_evaluation(record.manifest), record.reported
    if evaluation is None or reported is None:
        return
    place = (_place(record.manifest, evaluation), *_dump(evaluation))
    if reported.is_collapsed:
        answer = reported.most_common[0]
        shown = answer.answer if len(answer.answer) <= 24 else f"{answer.answer[:24]}…"
        sentence = f"{answer.num_outputs} of {reported.n} bridged outputs have the answer {shown}"
        yield ProposedCause("collapse.constant_output", "proven", sentence, place)
    signs = reported.signs
    if signs is not None and 2 * signs.num_echoed_in_vain >= reported.n:
        many = f"{signs.num_echoed_in_vain} of {reported.n} bridged outputs"
        sentence = f"{many} repeat the question and are not correct"
        yield ProposedCause("collapse.echo", "proven", sentence, place)
    if signs is not None and 2 * signs.num_looped_in_vain >= reported.n:
        sentence = (
            f"{signs.num_looped_in_vain} of {reported.n} bridged outputs end in a loop and are not right"
        )
        yield ProposedCause("collapse.loop", "proven", sentence, place)


def _not_distinct(record: CauseRecord) -> Iterator[ProposedCause]:
    mine = record.manifest.sealed
    for control in record.controls:
        theirs = control.manifest.sealed
        if mine.configuration.effective_digest == theirs.configuration.effective_digest:
            sentence = f"the effective configuration is that of its control {theirs.run_id}"
            evidence = mine.configuration.evidence
            yield ProposedCause("noise.ablation_not_distinct", "proven", sentence, (evidence,))
            continue
        evaluation, other = reported_evaluation(record.manifest), reported_evaluation(control.manifest)
        if evaluation is None or other is None or evaluation.items_sha256 != other.items_sha256:
            continue
        here, there = record.outcomes.get(evaluation.label), control.outcomes.get(other.label)
        if here is None or there is None or not _both(here, there):
            continue
        counts = paired_counts(here.correct(SYSTEM), there.correct(SYSTEM))
        p = mcnemar_exact(counts.only_first, counts.only_second)
        if p >= SIGNIFICANT_P:
            sentence = (
                f"its outcomes cannot be told from those of its control {theirs.run_id} on {len(here.items)} "
                f"items (discordant {counts.only_first}:{counts.only_second}, exact McNemar p = {p:.2g})"
            )
            yield ProposedCause(
                "noise.ablation_not_distinct", "possible", sentence, (_place(record.manifest, evaluation),)
            )


def _both(here: EvaluationOutcomes, there: EvaluationOutcomes) -> bool:
    return here.items == there.items and SYSTEM in here.answers and SYSTEM in there.answers


def _underperforms(record: CauseRecord) -> Iterator[ProposedCause]:
    evaluation = reported_evaluation(record.manifest)
    if evaluation is None:
        return
    for system in ("target", "source"):
        sentence = _compared(record, evaluation, system)
        if sentence is not None:
            place = (_place(record.manifest, evaluation), *_dump(evaluation))
            yield ProposedCause(f"underperforms.{system}", "proven", sentence, place)


def _compared(record: CauseRecord, evaluation: Evaluation, system: str) -> str | None:
    """Return how much worse the bridge is than *system* alone, or None when it is not, significantly."""
    measured = record.outcomes.get(evaluation.label)
    if measured is None or not {SYSTEM, system} <= set(measured.answers):
        return None
    counts = paired_counts(measured.correct(SYSTEM), measured.correct(system))
    p = mcnemar_exact(counts.only_first, counts.only_second)
    if counts.only_first >= counts.only_second or p >= SIGNIFICANT_P:
        return None
    bridged, alone = sum(measured.correct(SYSTEM)), sum(measured.correct(system))
    where = "the final evaluation" if evaluation.label == "final" else f"step {evaluation.label}"
    return (
        f"at {where} the bridge has {bridged} and the {system} alone {alone} of {len(measured.items)} "
        f"correct (discordant {counts.only_first}:{counts.only_second}, exact McNemar p = {p:.2g})"
    )


def _place(manifest: Manifest, evaluation: Evaluation) -> Evidence:
    log = manifest.sealed.provenance.log_path
    what = "final evaluation" if evaluation.label == "final" else f"evaluation at step {evaluation.label}"
    if log is not None and evaluation.log_line is not None:
        return Evidence(path=log, line=evaluation.log_line, what=what)
    return Evidence(path=evaluation.dump or ".", line=None, what=what)


def _dump(evaluation: Evaluation) -> tuple[Evidence, ...]:
    if evaluation.dump is None:
        return ()
    return (Evidence(path=evaluation.dump, line=None, what="per-sample outputs"),)
