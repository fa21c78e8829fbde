"""Metrics that follow from evaluations: peak, final, degradation, gaps. Each with what supports it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from runkit.records.manifest import MEASURES_NOTHING, NO_SAMPLES, Evaluation, Metric
from runkit.records.measurement import EvidenceKind

FINAL = "final"


def derived_metrics(evaluations: Sequence[Evaluation], *, had_samples: bool) -> tuple[Metric, ...]:
    """Return the metrics of one run; one that cannot be had is null with the reason.

    Args:
        had_samples: False when the log says that evaluation had no samples; what it logs is then no
            measurement, whatever the number.
    """
    if not had_samples:
        evaluations = [_without_logged(found) for found in evaluations]
    final = next((found for found in evaluations if found.label == FINAL), None)
    peak = _peak(evaluations)
    finals = {
        system: _accuracy(f"final.{system}", final, system) for system in ("source", "target", "bridged")
    }
    return (
        peak,
        _last_step(evaluations),
        *finals.values(),
        _degradation(peak, finals["bridged"], evaluations, final),
        _difference("gap_to_target", finals["target"], finals["bridged"]),
        _difference("gain_over_source", finals["bridged"], finals["source"]),
    )


def _without_logged(evaluation: Evaluation) -> Evaluation:
    reason = evaluation.missing_because if evaluation.missing_because in MEASURES_NOTHING else NO_SAMPLES
    return evaluation.model_copy(update={"logged": (), "missing_because": reason})


def _accuracy(name: str, evaluation: Evaluation | None, system: str) -> Metric:
    if evaluation is None:
        return _missing(name, "the run has no final evaluation")
    score = evaluation.score(system)
    steps = (evaluation.step,) if evaluation.step is not None else ()
    if score is not None and score.n:
        return Metric(
            name=name,
            value_fraction=score.correct / score.n,
            correct=score.correct,
            n=score.n,
            steps=steps,
            split=evaluation.split,
            num_candidates=None,
            evidence="recomputed",
            missing_because=None,
        )
    logged = evaluation.logged_accuracy(system)
    if logged is None or evaluation.n_planned == 0 or _had_no_samples(evaluation):
        return _missing(name, evaluation.missing_because or f"{system} was not measured")
    return Metric(
        name=name,
        value_fraction=logged,
        correct=None,
        n=evaluation.n_planned or None,
        steps=steps,
        split=evaluation.split,
        num_candidates=None,
        evidence="logged",
        missing_because=None,
    )


def _had_no_samples(evaluation: Evaluation) -> bool:
    return (evaluation.dump is not None and not evaluation.systems) or (
        evaluation.missing_because in MEASURES_NOTHING
    )


def _peak(evaluations: Sequence[Evaluation]) -> Metric:
    """Return the maximum over the evaluations during training; the final one is no candidate."""
    candidates = [
        _accuracy("peak.bridged", found, "bridged") for found in evaluations if found.label != FINAL
    ]
    measured = [found for found in candidates if found.value_fraction is not None]
    if not measured:
        return _missing("peak.bridged", "no evaluation during training has samples")
    highest = max(measured, key=lambda found: found.value_fraction or 0.0)
    tied = [found for found in measured if found.value_fraction == highest.value_fraction]
    return highest.model_copy(
        update={
            "steps": tuple(step for found in tied for step in found.steps),
            "num_candidates": len(measured),
        }
    )


def _last_step(evaluations: Sequence[Evaluation]) -> Metric:
    steps = [found for found in evaluations if found.label != FINAL]
    if not steps:
        return _missing("last_step.bridged", "there was no evaluation during training")
    return _accuracy("last_step.bridged", steps[-1], "bridged")


def _degradation(
    peak: Metric, final: Metric, evaluations: Sequence[Evaluation], last: Evaluation | None
) -> Metric:
    """Return peak minus final; only when both are over the same items."""
    name = "degradation"
    if peak.value_fraction is None or final.value_fraction is None or last is None:
        return _missing(name, peak.missing_because or final.missing_because or "not measured")
    at_peak = next(found for found in evaluations if found.step == peak.steps[0] and found.label != FINAL)
    if at_peak.items_sha256 != last.items_sha256:
        return _missing(
            name, f"the peak is over {peak.split} items and the final accuracy over {final.split} items"
        )
    return _difference(name, peak, final)


def _difference(name: str, first: Metric, second: Metric) -> Metric:
    if first.value_fraction is None or second.value_fraction is None:
        return _missing(name, first.missing_because or second.missing_because or "not measured")
    same_n = first.n == second.n
    exact = same_n and first.correct is not None and second.correct is not None
    counts = (first.correct or 0) - (second.correct or 0) if exact else None
    value = (
        float(Fraction(counts, first.n))
        if counts is not None and first.n
        else first.value_fraction - second.value_fraction
    )
    return Metric(
        name=name,
        value_fraction=value,
        correct=counts,
        n=first.n if same_n else None,
        steps=(),
        split=first.split,
        num_candidates=None,
        evidence=_weaker(first.evidence, second.evidence),
        missing_because=None,
    )


def _weaker(first: EvidenceKind | None, second: EvidenceKind | None) -> EvidenceKind:
    order: tuple[EvidenceKind, ...] = ("reported", "logged", "recomputed")
    return min(first or "reported", second or "reported", key=order.index)


def _missing(name: str, reason: str) -> Metric:
    return Metric(
        name=name,
        value_fraction=None,
        correct=None,
        n=None,
        steps=(),
        split=None,
        num_candidates=None,
        evidence=None,
        missing_because=reason,
    )
