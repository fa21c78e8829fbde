"""What the archive proves about one run: its final score, its peak, its baselines; no comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from runkit.errors import TableRefused
from runkit.records.cells import MissingSource, PeakSource, RunSource, ScoreSource
from runkit.records.items import RunItems
from runkit.records.manifest import Evaluation, Evidence, Manifest, Metric
from runkit.records.outcomes import EvaluationOutcomes, RunOutcomes
from runkit.stats.proportions import wilson_interval
from runkit.stats.rounding import stored

BRIDGED = "bridged"

PEAK_SEED = 0
"""Of the resamples that correct a peak, so that a table is a function of the archive."""
FINAL = "final"

Files = Literal["reread", "reference", "lost"]
"""Logs and dumps of a run: kept and read again just now, kept by reference in part, or kept and gone."""


@dataclass(frozen=True)
class ArchivedRun:
    """One preserved run: its manifest and its per-sample outcomes."""

    manifest: Manifest
    outcomes: RunOutcomes
    files: Files = "reference"
    items: RunItems = field(default_factory=dict)
    """Item scores, for tables of measures."""

    @property
    def run_id(self) -> str:
        """The run's name in the archive."""
        return self.manifest.run_id

    @property
    def source(self) -> RunSource:
        """What the sidecar says of this run."""
        return RunSource(run_id=self.run_id, manifest_digest=self.manifest.seal.digest)


def final_evaluation(run: ArchivedRun) -> Evaluation | None:
    """Return the final evaluation if it measured the bridge, else None."""
    evaluation = run.manifest.sealed.evaluation(FINAL)
    return evaluation if evaluation is not None and evaluation.score(BRIDGED) is not None else None


def proven_outcomes(run: ArchivedRun, evaluation: Evaluation) -> EvaluationOutcomes:
    """Return the per-sample outcomes of *evaluation*, once they agree with the manifest's counts.

    Raises:
        TableRefused: The outcomes are not archived, or count differently.
    """
    outcomes = run.outcomes.get(evaluation.label)
    if outcomes is None:
        raise TableRefused(
            f"run {run.run_id}: the per-sample outcomes of evaluation {evaluation.label!r} are not in the "
            "archive, so nothing can be recomputed; restore the outcomes file beside the manifest"
        )
    for score in evaluation.systems:
        counted = sum(outcomes.correct(score.system)) if score.system in outcomes.answers else None
        if counted != score.correct or len(outcomes.items) != score.n:
            raise TableRefused(
                f"run {run.run_id}: the outcomes of evaluation {evaluation.label!r} have {counted} correct "
                f"of {len(outcomes.items)} for {score.system}, the manifest says {score.correct} of "
                f"{score.n}; `runkit validate {run.run_id}` shows which was changed"
            )
    return outcomes


def score_source(
    run: ArchivedRun, evaluation: Evaluation, system: str, outcome: Literal["correct", "invalid"]
) -> ScoreSource:
    """Return the source of one proportion, counted from the per-sample outcomes."""
    outcomes = proven_outcomes(run, evaluation).outcomes(system)
    count, n = outcomes.count(outcome), len(outcomes)
    interval = wilson_interval(count, n)
    return ScoreSource(
        runs=(run.source,), evaluation=evaluation.label, split=evaluation.split, system=system,
        outcome=outcome, count=count, n=n, estimator="wilson-95", interval_low=stored(interval.low),
        interval_high=stored(interval.high),
        evidence_kind="recomputed", evidence=evidence_of(run, evaluation),
        noise_draw=evaluation.noise_draw, items_sha256=evaluation.items_sha256,
    )  # fmt: skip


def final_source(run: ArchivedRun, outcome: Literal["correct", "invalid"]) -> ScoreSource | MissingSource:
    """Return the source of the final score, or the reason why there is none."""
    evaluation = final_evaluation(run)
    if evaluation is None:
        return MissingSource(runs=(run.source,), what=f"final.{BRIDGED}", reason=why_no_final(run))
    return score_source(run, evaluation, BRIDGED, outcome)


def peak_source(run: ArchivedRun) -> PeakSource | MissingSource:
    """Return the source of the peak over the evaluations during training, or why there is none.

    Raises:
        TableRefused: The manifest's peak is not the maximum of its own evaluations.
    """
    metric = run.manifest.sealed.metric(f"peak.{BRIDGED}")
    candidates = _peak_candidates(run)
    reason = _why_no_peak(metric, candidates)
    if metric is None or reason is not None:
        return MissingSource(
            runs=(run.source,), what=f"peak.{BRIDGED}", reason=reason or "no peak was derived"
        )
    largest = max(map(_bridged_correct, candidates))
    best = [found for found in candidates if _bridged_correct(found) == largest]
    _check_peak(run, metric, best)
    curve = [proven_outcomes(run, evaluation).correct(BRIDGED) for evaluation in candidates]
    corrected = _correction(curve)
    return PeakSource(
        runs=(run.source,), steps=tuple(map(_step_of, best)),
        num_candidates=metric.num_candidates or len(candidates),
        split=best[0].split, system=BRIDGED, count=largest, n=best[0].n, estimator="maximum",
        corrected_fraction=corrected.fraction, corrected_low=corrected.low, corrected_high=corrected.high,
        degradation_p=corrected.degradation_p, evidence_kind="recomputed", evidence=evidence_of(run, best[0]),
    )  # fmt: skip


def baseline_evaluation(run: ArchivedRun) -> Evaluation | None:
    """Return the evaluation whose baselines belong to the run's row: the final, or the last with outcomes."""
    final = final_evaluation(run)
    if final is not None:
        return final
    measured = [evaluation for evaluation in run.manifest.sealed.evaluations if evaluation.systems]
    return measured[-1] if measured else None


def evidence_of(run: ArchivedRun, evaluation: Evaluation) -> str:
    """Return the artifact and line that an evaluation stands in: the log, or else the dump."""
    log = run.manifest.sealed.provenance.log_path
    if log is not None and evaluation.log_line is not None:
        return f"{log}:{evaluation.log_line}"
    return evaluation.dump or f"manifests/{run.run_id}.json"


def spoken_evidence(evidence: Evidence) -> str:
    """Return a manifest's evidence as ``path:line``."""
    return evidence.path if evidence.line is None else f"{evidence.path}:{evidence.line}"


def why_no_final(run: ArchivedRun) -> str:
    """Return why a run has no final score, as a sentence without its full stop."""
    facts = run.manifest.sealed
    evaluation = facts.evaluation(FINAL)
    if facts.status.value in {"completed", "early_stopped"} and evaluation is not None:
        reason = evaluation.missing_because or f"the final evaluation did not measure {BRIDGED}"
        return f"{reason.rstrip('.')} ({evidence_of(run, evaluation)})"
    proof = f" ({spoken_evidence(facts.status.evidence)})" if facts.status.evidence is not None else ""
    return f"{facts.status.value.replace('_', ' ')}: {facts.status.reason.rstrip('.')}{proof}"


class _Correction(NamedTuple):
    """What the maximum of a curve is worth; nothing where nothing was chosen."""

    fraction: float | None = None
    low: float | None = None
    high: float | None = None
    degradation_p: float | None = None


def _correction(curve: Sequence[Sequence[bool]]) -> _Correction:
    """Return what the maximum of *curve*, outcomes ``[K][n]``, is worth."""
    if len(curve) < 2 or len(curve[0]) < 2:
        return _Correction()
    from runkit.stats.peak import corrected_peak, degradation

    found, fall = corrected_peak(curve, seed=PEAK_SEED), degradation(curve, seed=PEAK_SEED)
    low, high = found.corrected_interval
    return _Correction(stored(found.corrected_fraction), stored(low), stored(high), stored(fall.p))


def _peak_candidates(run: ArchivedRun) -> list[Evaluation]:
    return [
        evaluation
        for evaluation in run.manifest.sealed.evaluations
        if evaluation.label != FINAL
        and evaluation.score(BRIDGED) is not None
        and (evaluation.step is not None or evaluation.label.isdecimal())
    ]


def _bridged_correct(evaluation: Evaluation) -> int:
    score = evaluation.score(BRIDGED)
    assert score is not None  # candidates are chosen by this
    return score.correct


def _step_of(evaluation: Evaluation) -> int:
    return evaluation.step if evaluation.step is not None else int(evaluation.label)


def _why_no_peak(metric: Metric | None, candidates: list[Evaluation]) -> str | None:
    if metric is not None and metric.missing_because is not None:
        return metric.missing_because
    if metric is not None and metric.evidence != "recomputed":
        return f"the peak is only {metric.evidence}, and cannot be recomputed"
    if not candidates:
        return "no evaluation during training has outcomes"
    if len({(found.n, found.items_sha256) for found in candidates}) != 1:
        return "the evaluations during training used different items, so they have no common peak"
    return None


def _check_peak(run: ArchivedRun, metric: Metric, best: list[Evaluation]) -> None:
    correct, n = _bridged_correct(best[0]), best[0].n
    steps = tuple(found.step for found in best if found.step is not None)
    if (metric.correct, metric.n, metric.steps) != (correct, n, steps):
        raise TableRefused(
            f"run {run.run_id}: the manifest gives a peak of {metric.correct} of {metric.n} at steps "
            f"{metric.steps}, its evaluations give {correct} of {n} at {steps}; preserve the run again under "
            "a new id"
        )
