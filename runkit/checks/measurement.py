"""Whether the numbers of one run agree and mean what they seem to; no test of significance."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from runkit.checks.catalogue import found
from runkit.checks.generations import text_signs
from runkit.checks.view import ArchiveView, Family
from runkit.records.finding import Finding, Severity
from runkit.records.manifest import MEASURES_NOTHING, Evaluation, Manifest, SystemScore
from runkit.records.measurement import AnswerCount
from runkit.records.outcomes import EvaluationOutcomes, RunOutcomes
from runkit.records.run_texts import RunTexts

LOGGED_TOLERANCE_FRACTION = 0.0005 + 1e-9
"""Half of the last digit of an accuracy that is logged with three decimals."""

MAX_INVALID_FRACTION = 0.20

_LONGEST_ANSWER = 24

FROZEN = ("source", "target")
"""The systems that training does not change."""


def _measurement_findings(archive: ArchiveView) -> Iterator[Finding]:
    for manifest in archive.manifests:
        yield from run_findings(manifest)
        outcomes = archive.outcomes.get(manifest.run_id)
        if outcomes is not None:
            yield from _recomputed_findings(manifest, outcomes)
        yield from _baseline_moved(manifest, outcomes or {})
        if manifest.run_id in archive.texts:
            yield from _vain_outputs(manifest, archive.texts[manifest.run_id])


def run_findings(manifest: Manifest) -> Iterator[Finding]:
    """Yield what the evaluations of one manifest say against each other."""
    yield from _no_samples(manifest)
    for evaluation in manifest.sealed.evaluations:
        yield from _logged_differs(manifest, evaluation)
        yield from _log_contradicts_itself(manifest, evaluation)
        yield from _row_findings(manifest, evaluation)
        yield from _half_recorded(manifest, evaluation)
    yield from _metric_differs(manifest)
    yield from _many_invalid(manifest)
    yield from _collapsed(manifest)
    yield from _selected_on_reported(manifest)


def place_of(manifest: Manifest, evaluation: Evaluation) -> str:
    """Return the log line of *evaluation*, or its field when it is not in the log."""
    log = manifest.sealed.provenance.log_path
    if log is not None and evaluation.log_line is not None:
        return f"{log}:{evaluation.log_line}"
    return f"sealed.evaluations.{evaluation.label}"


def _logged_differs(manifest: Manifest, evaluation: Evaluation) -> Iterator[Finding]:
    for logged in evaluation.logged:
        score = evaluation.score(logged.system)
        if score is None or score.accuracy_fraction is None:
            continue
        if abs(logged.accuracy_fraction - score.accuracy_fraction) > LOGGED_TOLERANCE_FRACTION:
            message = (
                f"{_spoken(evaluation)}: the log says {logged.system} {logged.accuracy_fraction:.3f}, the "
                f"dump has {score.correct} of {score.n} correct, which is {score.accuracy_fraction:.3f}"
            )
            yield found("RK201", manifest.run_id, place_of(manifest, evaluation), message)


def _log_contradicts_itself(manifest: Manifest, evaluation: Evaluation) -> Iterator[Finding]:
    lines = evaluation.contradicting_log_lines
    if lines:
        message = (
            f"{_spoken(evaluation)}: the log gives other accuracies at {', '.join(map(str, lines))} than at "
            f"line {evaluation.log_line}, which was read"
        )
        severity: Severity = "info" if evaluation.n else "error"
        yield found("RK201", manifest.run_id, place_of(manifest, evaluation), message, severity=severity)


def _metric_differs(manifest: Manifest) -> Iterator[Finding]:
    """Yield metrics of one system that are not the score of the evaluations they name."""
    for metric in manifest.sealed.metrics:
        kind, _, system = metric.name.partition(".")
        if not system or metric.evidence != "recomputed":
            continue
        for evaluation in manifest.sealed.evaluations:
            is_final = evaluation.label == "final"
            score = evaluation.score(system)
            is_named = is_final if kind == "final" else not is_final and evaluation.step in metric.steps
            if is_named and score is not None and (metric.correct, metric.n) != (score.correct, score.n):
                message = (
                    f"the metric {metric.name} says {metric.correct} of {metric.n} correct, "
                    f"{_spoken(evaluation)} has {score.correct} of {score.n}"
                )
                yield found("RK201", manifest.run_id, f"sealed.metrics.{metric.name}", message)


def _recomputed_findings(manifest: Manifest, outcomes: RunOutcomes) -> Iterator[Finding]:
    if manifest.sealed.outcomes is None:
        return
    for evaluation in manifest.sealed.evaluations:
        measured = outcomes.get(evaluation.label)
        for score in evaluation.systems:
            sealed = _counts(score.correct, score.wrong, score.invalid)
            proven = _recounted(measured, score.system)
            if sealed != proven:
                message = (
                    f"{_spoken(evaluation)}: the manifest says {score.system} {sealed}, "
                    f"the per-sample outcomes have {proven}"
                )
                place = f"sealed.evaluations.{evaluation.label}.systems.{score.system}"
                yield found("RK201", manifest.run_id, place, message)
    sealed_labels = {evaluation.label for evaluation in manifest.sealed.evaluations if evaluation.systems}
    for label in sorted(set(outcomes) - sealed_labels):
        message = f"there are outcomes of evaluation {label!r}, and the manifest has no scores for it"
        yield found("RK201", manifest.run_id, f"sealed.evaluations.{label}", message)


def _recounted(measured: EvaluationOutcomes | None, system: str) -> str:
    if measured is None or system not in measured.answers:
        return "nothing"
    outcomes = measured.outcomes(system)
    return _counts(outcomes.count("correct"), outcomes.count("wrong"), outcomes.count("invalid"))


def _counts(correct: int, wrong: int, invalid: int) -> str:
    return f"{correct} correct, {wrong} wrong and {invalid} invalid"


def _is_without_samples(manifest: Manifest, evaluation: Evaluation) -> bool:
    if evaluation.n:
        return False
    had_none = (
        evaluation.dump is not None
        or evaluation.n_planned == 0
        or evaluation.missing_because in MEASURES_NOTHING
    )
    return had_none or manifest.sealed.status.value == "no_eval_samples"


def _no_samples(manifest: Manifest) -> Iterator[Finding]:
    empty = [one for one in manifest.sealed.evaluations if _is_without_samples(manifest, one)]
    if empty:
        logged = sorted({score.accuracy_fraction for evaluation in empty for score in evaluation.logged})
        printed = f", though the log prints {logged[0]:.3f}" if logged else ""
        labels = ", ".join(evaluation.label for evaluation in empty)
        of_all = f"{len(empty)} of {_num(manifest.sealed.evaluations, 'evaluation')}"
        message = f"no samples in {of_all} ({labels}){printed}; the accuracy is null"
        yield found("RK202", manifest.run_id, place_of(manifest, empty[0]), message)
    elif manifest.sealed.status.value == "no_eval_samples":
        message = "the status is no_eval_samples and no evaluation is recorded"
        yield found("RK202", manifest.run_id, "sealed.status", message)


def _row_findings(manifest: Manifest, evaluation: Evaluation) -> Iterator[Finding]:
    n, planned, torn = evaluation.n, evaluation.n_planned, evaluation.num_unreadable_rows
    place = evaluation.dump or place_of(manifest, evaluation)
    if torn:
        message = f"{_spoken(evaluation)}: {_num(range(torn), 'line')} of the dump cannot be read, {n} can"
        yield found("RK204", manifest.run_id, place, message)
    if n and planned is not None and n + torn != planned:
        message = f"{_spoken(evaluation)}: the dump has {n} rows, {planned} were planned"
        yield found("RK203", manifest.run_id, place, message)


def _half_recorded(manifest: Manifest, evaluation: Evaluation) -> Iterator[Finding]:
    if _is_without_samples(manifest, evaluation):
        return
    place = place_of(manifest, evaluation)
    if evaluation.logged and evaluation.dump is None and not _is_known_missing(manifest, evaluation):
        message = f"{_spoken(evaluation)} is in the log and has no dump"
        yield found("RK205", manifest.run_id, place, message)
    is_logged = bool(evaluation.logged) or evaluation.log_line is not None
    if evaluation.dump is not None and not is_logged and manifest.sealed.provenance.log_path is not None:
        message = f"{_spoken(evaluation)} has the dump {evaluation.dump} and is not in the log"
        yield found("RK205", manifest.run_id, evaluation.dump, message)


def _is_known_missing(manifest: Manifest, evaluation: Evaluation) -> bool:
    """Return whether RK107 says already that this dump was written and not preserved."""
    lost = [
        missing.path
        for missing in manifest.sealed.missing_artifacts
        if missing.role == "dump" and missing.evidence is not None
    ]
    return any(re.search(rf"(^|[^A-Za-z0-9]){re.escape(evaluation.label)}\.[^/.]*$", path) for path in lost)


def _trained(manifest: Manifest) -> Iterator[tuple[Evaluation, SystemScore]]:
    for evaluation in manifest.sealed.evaluations:
        score = evaluation.score("bridged")
        if evaluation.step != 0 and score is not None and score.n:
            yield evaluation, score


def _many_invalid(manifest: Manifest) -> Iterator[Finding]:
    trained = list(_trained(manifest))
    above = [pair for pair in trained if pair[1].invalid / pair[1].n > MAX_INVALID_FRACTION]
    if not above:
        return
    fractions = sorted(score.invalid / score.n for _, score in above)
    rates = _range(*(f"{100 * fraction:.1f} %" for fraction in (fractions[0], fractions[-1])))
    message = (
        f"{rates} of the bridged outputs have no extractable answer at {_steps(above)} "
        f"({len(above)} of {_num(trained, 'trained evaluation')}); "
        f"expected at most {100 * MAX_INVALID_FRACTION:.0f} %"
    )
    yield found("RK207", manifest.run_id, place_of(manifest, above[0][0]), message)


def _collapsed(manifest: Manifest) -> Iterator[Finding]:
    collapsed = [pair for pair in _trained(manifest) if _favourite(pair[1]) is not None]
    if not collapsed:
        return
    evaluation, score = max(collapsed, key=lambda pair: pair[1].most_common[0].count / pair[1].n)
    answer = score.most_common[0]
    others = f", and {_num(collapsed[1:], 'other evaluation')} collapsed too" if len(collapsed) > 1 else ""
    message = (
        f"{_spoken(evaluation)}: the answer {_shortened(answer.answer)} stands in {answer.count} of "
        f"{score.n} bridged outputs{others}; expected fewer than half"
    )
    yield found("RK208", manifest.run_id, place_of(manifest, evaluation), message)


def _vain_outputs(manifest: Manifest, texts: RunTexts) -> Iterator[Finding]:
    """Yield evaluations in which half of the outputs echo the question, or loop, and are not correct."""
    for evaluation, _score in _trained(manifest):
        generations = texts.generations.get(evaluation.label)
        if not generations:
            continue
        signs = text_signs(generations)
        for count, what in (
            (signs.num_echoed_in_vain, "repeat the question"),
            (signs.num_looped_in_vain, "end in a repeated piece of text"),
        ):
            if 2 * count >= len(generations):
                message = (
                    f"{_spoken(evaluation)}: {count} of {len(generations)} bridged outputs {what} and are "
                    "not correct; expected fewer than half"
                )
                yield found("RK208", manifest.run_id, place_of(manifest, evaluation), message)


def _favourite(score: SystemScore) -> AnswerCount | None:
    """Return the answer that stands in at least half of the outputs, or None."""
    return next((answer for answer in score.most_common[:1] if 2 * answer.count >= score.n), None)


def _selected_on_reported(manifest: Manifest) -> Iterator[Finding]:
    final = manifest.sealed.evaluation("final")
    if final is None or final.checkpoint != "best" or final.items_sha256 is None:
        return
    candidates = [
        evaluation
        for evaluation in manifest.sealed.evaluations
        if evaluation.label != "final" and evaluation.items_sha256 == final.items_sha256
    ]
    if candidates:
        message = (
            f"the best of {_num(candidates, 'evaluation')} was chosen on the same {final.n} items that the "
            "final accuracy is reported on; expected held-out items"
        )
        yield found("RK209", manifest.run_id, place_of(manifest, final), message)


def _baseline_moved(manifest: Manifest, outcomes: RunOutcomes) -> Iterator[Finding]:
    for system in FROZEN:
        first: dict[str, Evaluation] = {}
        for evaluation in manifest.sealed.evaluations:
            if evaluation.items_sha256 is None or evaluation.score(system) is None:
                continue
            before = first.setdefault(evaluation.items_sha256, evaluation)
            if difference := _moved(before, evaluation, system, outcomes):
                message = (
                    f"{system} alone is frozen and scored on the same items, but {_spoken(before)} and "
                    f"{_spoken(evaluation)} differ: {difference}"
                )
                yield found("RK206", manifest.run_id, place_of(manifest, evaluation), message)
                break


def _moved(before: Evaluation, after: Evaluation, system: str, outcomes: RunOutcomes) -> str | None:
    first, second = before.score(system), after.score(system)
    if before is after or first is None or second is None:
        return None
    if (first.correct, first.wrong, first.invalid) != (second.correct, second.wrong, second.invalid):
        return f"{first.correct} and {second.correct} correct of {second.n}"
    labels = [label for label in (before.label, after.label) if label in outcomes]
    known = [outcomes[label].answers.get(system, ()) for label in labels]
    num_changed = sum(a != b for a, b in zip(*known, strict=False)) if len(known) == 2 else 0
    return f"{num_changed} of {second.n} answers changed" if num_changed else None


def _spoken(evaluation: Evaluation) -> str:
    return "the final evaluation" if evaluation.label == "final" else f"step {evaluation.label}"


def _steps(pairs: Sequence[tuple[Evaluation, SystemScore]]) -> str:
    labels = [evaluation.label for evaluation, _ in pairs]
    numbered = [label for label in labels if label != "final"]
    parts = []
    if numbered:
        plural = "steps" if len(numbered) > 1 else "step"
        parts.append(f"{plural} {_range(numbered[0], numbered[-1])}")
    if "final" in labels:
        parts.append("the final evaluation")
    return " and ".join(parts)


def _range(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


def _num(things: Iterable[object], noun: str) -> str:
    count = sum(1 for _ in things)
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _shortened(answer: str) -> str:
    if len(answer) <= _LONGEST_ANSWER:
        return answer
    return f"{answer[:_LONGEST_ANSWER]}… ({len(answer)} characters)"


MEASUREMENT = Family(
    "measurement",
    _measurement_findings,
    frozenset({"RK201", "RK202", "RK203", "RK204", "RK205", "RK206", "RK207", "RK208", "RK209"}),
)
