"""Manifests of format 1 seen as scores: pure, so that what was sealed stays sealed as it is."""

from __future__ import annotations

from collections.abc import Iterator

from runkit.records.items import ItemScores, RunItems
from runkit.records.manifest import MEASURES_NOTHING, Evaluation, RunFacts, SystemScore
from runkit.records.measurement import Counts, EvidenceKind, Metric, Protocol, Score, Series, Weights
from runkit.records.outcomes import RunOutcomes
from runkit.records.protocols import ACCURACY, BRIDGE, BRIDGE_READERS
from runkit.records.record import EMPTY

_LOSS = Metric(name="loss", kind="scalar", direction="lower", unit="nats")


def protocol_of(facts: RunFacts) -> Protocol:
    """Return the protocol of a run of either format."""
    if facts.protocol is not None:
        return facts.protocol
    measures_bridge = any(score.system == "bridged" for one in facts.evaluations for score in one.systems)
    if facts.provenance.reader in BRIDGE_READERS or measures_bridge:
        return BRIDGE
    return Protocol()


def scores_of(facts: RunFacts) -> tuple[Score, ...]:
    """Return the scores of a run of either format, in the order of its evaluations."""
    if facts.scores is not None:
        return facts.scores
    return tuple(score for evaluation in facts.evaluations for score in _scores(facts, evaluation))


def series_of(facts: RunFacts) -> tuple[Series, ...]:
    """Return the values over steps of a run of either format."""
    if facts.series is not None:
        return facts.series
    training = facts.training
    if not training.loss_steps:
        return ()
    path = facts.provenance.log_path
    return (
        Series(
            task=facts.data.name,
            split="train",
            metric=_LOSS,
            steps=training.loss_steps,
            values=training.loss_values,
            path=path,
        ),
    )


def items_of(facts: RunFacts, outcomes: RunOutcomes) -> RunItems:
    """Return the item scores of a run of format 1, from its outcomes."""
    found: dict[object, ItemScores] = {}
    for evaluation in facts.evaluations:
        measured = outcomes.get(evaluation.label)
        if measured is None:
            continue
        task, conditions = _task(facts, evaluation)
        for system in measured.answers:
            came_out = measured.outcomes(system)
            items = ItemScores(
                metric=ACCURACY,
                items=measured.items,
                values=tuple(1.0 if outcome == "correct" else 0.0 for outcome in came_out),
                system=system,
                task=task,
                split=evaluation.split,
                weights=_weights(facts, evaluation),
                conditions=conditions,
                outcomes=came_out,
                answers=measured.answers[system],
                golds=measured.golds,
            )
            found[items.key] = items
    return found  # type: ignore[return-value]


def _scores(facts: RunFacts, evaluation: Evaluation) -> Iterator[Score]:
    logged = {one.system: one.accuracy_fraction for one in evaluation.logged}
    measured = {one.system: one for one in evaluation.systems}
    task, conditions = _task(facts, evaluation)
    for system in (*measured, *(name for name in logged if name not in measured)):
        counted = measured.get(system)
        value, evidence = _value(evaluation, counted, logged.get(system))
        reason = evaluation.missing_because or "the evaluation has no items"
        yield Score(
            system=system,
            task=task,
            split=evaluation.split,
            metric=ACCURACY,
            weights=_weights(facts, evaluation),
            conditions=conditions,
            value=value,
            n=counted.n if counted is not None else evaluation.n_planned if value is not None else None,
            n_planned=evaluation.n_planned,
            evidence=evidence,
            path=evaluation.dump if counted is not None else facts.provenance.log_path,
            line=evaluation.log_line if counted is None else None,
            missing_because=None if value is not None else reason,
            counts=_counts(counted) if counted is not None else None,
            items_file=evaluation.dump,
            items_sha256=evaluation.items_sha256,
            num_unreadable_rows=evaluation.num_unreadable_rows,
            logged_value=logged.get(system),
            contradicting_lines=evaluation.contradicting_log_lines,
        )


def _value(
    evaluation: Evaluation, counted: SystemScore | None, logged: float | None
) -> tuple[float, EvidenceKind] | tuple[None, None]:
    if counted is not None and counted.n:
        return counted.correct / counted.n, "recomputed"
    measured_nothing = evaluation.missing_because in MEASURES_NOTHING or evaluation.n_planned == 0
    if logged is None or measured_nothing or evaluation.dump is not None:
        return None, None
    return logged, "logged"


def _counts(score: SystemScore) -> Counts:
    return Counts(
        correct=score.correct,
        wrong=score.wrong,
        invalid=score.invalid,
        distinct_answers=score.distinct_answers,
        most_common=score.most_common,
    )


def _weights(facts: RunFacts, evaluation: Evaluation) -> Weights:
    is_step = evaluation.label.isdigit() and facts.provenance.reader != "lm-eval"
    return Weights(step=evaluation.step, kind=evaluation.checkpoint, is_final=not is_step)


def _task(facts: RunFacts, evaluation: Evaluation) -> tuple[str, dict[str, str]]:
    """Return the task of *evaluation*, and its conditions."""
    if facts.provenance.reader == "lm-eval":
        task, slash, name = evaluation.label.rpartition("/")
        return (task, {"filter": name}) if slash else (name, dict(EMPTY))
    draw = evaluation.noise_draw
    return facts.data.name, {"noise_draw": str(draw)} if draw is not None else {}
