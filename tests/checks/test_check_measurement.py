"""Sabotage of scores and outcomes: one change gives exactly one finding."""

from __future__ import annotations

from runkit.checks.gather import gather
from runkit.records.manifest import (
    Command,
    Evidence,
    LoggedScore,
    Manifest,
    Metric,
    MissingArtifact,
    ModelReference,
    StatusFact,
)
from runkit.records.outcomes import EvaluationOutcomes, RunOutcomes
from tests.checks.builders import (
    GOLDS,
    ITEMS,
    N,
    answers,
    changed,
    evaluation_of,
    lines,
    manifest_of,
    outcomes_for,
    outcomes_of,
    view_of,
)


def judged(*manifests: Manifest, outcomes: dict[str, RunOutcomes] | None = None) -> list[str]:
    return lines(gather(view_of(*manifests, outcomes=outcomes)))


def with_evaluation(label: str, **changes: object) -> Manifest:
    return manifest_of(evaluations=changed(manifest_of().sealed.evaluations, label, **changes))


def with_outcomes(outcomes: RunOutcomes) -> Manifest:
    return manifest_of(evaluations=tuple(evaluation_of(found) for found in outcomes.values()))


def test_a_logged_accuracy_that_the_dump_refutes_is_found() -> None:
    manifest = with_evaluation("final", logged=(LoggedScore(system="bridged", accuracy_fraction=0.65),))
    assert judged(manifest) == [
        "error RK201 control train.log:103: the final evaluation: the log says bridged 0.650, the dump has "
        "12 of "
        "20 correct, which is 0.600"
    ]


def test_a_logged_accuracy_is_right_to_its_third_decimal() -> None:
    within = LoggedScore(system="bridged", accuracy_fraction=0.6005)
    assert judged(with_evaluation("final", logged=(within,))) == []
    beyond = LoggedScore(system="bridged", accuracy_fraction=0.6006)
    assert len(judged(with_evaluation("final", logged=(beyond,)))) == 1


def test_a_sealed_score_that_the_outcomes_refute_is_found() -> None:
    outcomes = outcomes_for("control")
    other = {**outcomes, "20": outcomes_of("20", answers(13, salt="control"))}
    assert judged(manifest_of(), outcomes={"control": other}) == [
        "error RK201 control sealed.evaluations.20.systems.bridged: step 20: the manifest says bridged 12 "
        "correct, "
        "8 wrong and 0 invalid, the per-sample outcomes have 13 correct, 7 wrong and 0 invalid"
    ]


def metric(name: str, correct: int, *steps: int) -> Metric:
    return Metric(
        name=name,
        value_fraction=correct / N,
        correct=correct,
        n=N,
        steps=steps,
        split="test",
        num_candidates=None,
        evidence="recomputed",
        missing_because=None,
    )


def test_a_metric_that_its_evaluation_refutes_is_found() -> None:
    honest = (
        metric("final.bridged", 12),
        metric("peak.bridged", 12, 20),
        metric("last_step.bridged", 12, 20),
    )
    assert judged(manifest_of(metrics=honest)) == []
    assert judged(manifest_of(metrics=(metric("final.bridged", 13), metric("peak.bridged", 14, 20)))) == [
        "error RK201 control sealed.metrics.final.bridged: the metric final.bridged says 13 of 20 correct, "
        "the final evaluation has 12 of 20",
        "error RK201 control sealed.metrics.peak.bridged: the metric peak.bridged says 14 of 20 correct, "
        "step 20 has 12 of 20",
    ]


def test_outcomes_that_lack_an_evaluation_are_found() -> None:
    outcomes = {label: found for label, found in outcomes_for("control").items() if label != "20"}
    found = judged(manifest_of(), outcomes={"control": outcomes})
    assert len(found) == 3
    assert found[0].endswith("12 correct, 8 wrong and 0 invalid, the per-sample outcomes have nothing")


def test_outcomes_of_an_evaluation_that_the_manifest_hides_are_found() -> None:
    honest = manifest_of()
    manifest = manifest_of(evaluations=tuple(one for one in honest.sealed.evaluations if one.label != "20"))
    assert judged(manifest) == [
        "error RK201 control sealed.evaluations.20: there are outcomes of evaluation '20', and the "
        "manifest has no "
        "scores for it"
    ]


def test_an_evaluation_without_samples_is_found_whatever_the_log_prints() -> None:
    zero = (LoggedScore(system="bridged", accuracy_fraction=0.0),)
    manifest = with_evaluation("final", systems=(), logged=zero, missing_because="the dump is empty")
    outcomes = {label: found for label, found in outcomes_for("control").items() if label != "final"}
    assert judged(manifest, outcomes={"control": outcomes}) == [
        "error RK202 control train.log:103: no samples in 1 of 4 evaluations (final), though the log "
        "prints 0.000; "
        "the accuracy is null"
    ]


def test_a_run_whose_status_is_that_it_had_no_samples_is_found_once() -> None:
    zero = (LoggedScore(system="bridged", accuracy_fraction=0.0),)
    empty = tuple(
        one.model_copy(update={"systems": (), "logged": zero, "dump": None, "missing_because": "no samples"})
        for one in manifest_of().sealed.evaluations
    )
    status = StatusFact(value="no_eval_samples", reason="the evaluation had no samples", evidence=None)
    assert judged(manifest_of(status=status, evaluations=empty), outcomes={}) == [
        "error RK202 control train.log:100: no samples in 4 of 4 evaluations (0, 10, 20, final), though "
        "the log "
        "prints 0.000; the accuracy is null"
    ]


def test_a_status_without_samples_is_found_when_no_evaluation_is_recorded() -> None:
    status = StatusFact(value="no_eval_samples", reason="the evaluation had no samples", evidence=None)
    assert judged(manifest_of(status=status, evaluations=()), outcomes={}) == [
        "error RK202 control sealed.status: the status is no_eval_samples and no evaluation is recorded"
    ]


def test_fewer_rows_than_planned_are_found() -> None:
    assert judged(with_evaluation("10", n_planned=25)) == [
        "warning RK203 control dump_10.jsonl: step 10: the dump has 20 rows, 25 were planned"
    ]


def test_torn_rows_are_found_once_when_they_explain_what_is_lacking() -> None:
    assert judged(with_evaluation("10", n_planned=21, num_unreadable_rows=1)) == [
        "warning RK204 control dump_10.jsonl: step 10: 1 line of the dump cannot be read, 20 can"
    ]


def test_a_logged_evaluation_without_a_dump_is_found() -> None:
    manifest = with_evaluation("20", dump=None, systems=(), missing_because="there is no dump")
    outcomes = {label: found for label, found in outcomes_for("control").items() if label != "20"}
    assert judged(manifest, outcomes={"control": outcomes}) == [
        "warning RK205 control train.log:102: step 20 is in the log and has no dump"
    ]


def test_a_dump_that_is_known_to_be_lost_is_not_found_twice() -> None:
    line = Evidence(path="train.log", line=101, what="the line that says so")
    missing = MissingArtifact(path="a/dump_20.jsonl", role="dump", evidence=line, reason="the log says so")
    honest = manifest_of()
    manifest = manifest_of(
        evaluations=changed(
            honest.sealed.evaluations, "20", dump=None, systems=(), missing_because="no dump"
        ),
        missing_artifacts=(missing,),
    )
    outcomes = {label: found for label, found in outcomes_for("control").items() if label != "20"}
    assert judged(manifest, outcomes={"control": outcomes}) == [
        "warning RK107 control train.log:101: the dump a/dump_20.jsonl was not there to preserve: the log "
        "says so"
    ]


def test_a_dump_without_a_log_line_is_found() -> None:
    assert judged(with_evaluation("20", logged=(), log_line=None)) == [
        "warning RK205 control dump_20.jsonl: step 20 has the dump dump_20.jsonl and is not in the log"
    ]


def test_a_frozen_baseline_whose_count_moves_within_a_run_is_found() -> None:
    outcomes = outcomes_for("control")
    moved = EvaluationOutcomes("20", ITEMS, GOLDS, {**outcomes["20"].answers, "target": answers(13)})
    other = {**outcomes, "20": moved}
    assert judged(with_outcomes(other), outcomes={"control": other}) == [
        "warning RK206 control train.log:102: target alone is frozen and scored on the same items, but "
        "step 0 and "
        "step 20 differ: 14 and 13 correct of 20"
    ]


def test_a_frozen_baseline_whose_answers_move_at_equal_counts_is_found() -> None:
    outcomes = outcomes_for("control")
    moved = EvaluationOutcomes(
        "20", ITEMS, GOLDS, {**outcomes["20"].answers, "target": answers(14, salt="x")}
    )
    other = {**outcomes, "20": moved}
    assert judged(with_outcomes(other), outcomes={"control": other}) == [
        "warning RK206 control train.log:102: target alone is frozen and scored on the same items, but "
        "step 0 and "
        "step 20 differ: 6 of 20 answers changed"
    ]


def swapped(run_id: str, *, target_correct: int) -> tuple[Manifest, RunOutcomes]:
    """Return a run on one process in which the other runs' target is the source."""
    by_label = {
        label: EvaluationOutcomes(
            label,
            ITEMS,
            GOLDS,
            {
                "source": answers(target_correct),
                "target": answers(8, num_invalid=2),
                "bridged": found.answers["bridged"],
            },
        )
        for label, found in outcomes_for(run_id).items()
    }
    manifest = manifest_of(
        run_id,
        evaluations=tuple(evaluation_of(found) for found in by_label.values()),
        models=(
            ModelReference(role="source", name="org/writer", revision=None, sha256=None),
            ModelReference(role="target", name="org/reader", revision=None, sha256=None),
        ),
        command=Command(
            argv=None, launcher=None, world_size=1, environment={}, missing_because="not recorded"
        ),
    )
    return manifest, by_label


def test_a_frozen_model_that_scores_alike_in_both_roles_is_no_finding() -> None:
    other, outcomes = swapped("swap", target_correct=14)
    assert judged(manifest_of(), other, outcomes={"control": outcomes_for("control"), "swap": outcomes}) == []


def test_a_frozen_model_that_scores_differently_in_another_run_is_found_there() -> None:
    other, outcomes = swapped("swap", target_correct=13)
    runs = (manifest_of("a"), manifest_of("b"), other)
    both = {"a": outcomes_for("a"), "b": outcomes_for("b"), "swap": outcomes}
    assert judged(*runs, outcomes=both) == [
        "warning RK206 swap train.log:100: org/writer alone is frozen and has 13 correct of 20 here, 14 "
        "correct of "
        "20 in a (and in 1 other run), on the same items; evaluated by 1 and 4 processes"
    ]


def test_invalid_outputs_are_found_once_a_run_with_their_range() -> None:
    outcomes = outcomes_for("control", final=answers(10, num_invalid=10))
    outcomes = {**outcomes, "20": outcomes_of("20", answers(10, num_invalid=5))}
    assert judged(with_outcomes(outcomes), outcomes={"control": outcomes}) == [
        "warning RK207 control train.log:102: 25.0 % to 50.0 % of the bridged outputs have no extractable "
        "answer at "
        "step 20 and the final evaluation (2 of 3 trained evaluations); expected at most 20 %"
    ]


def test_a_fifth_of_invalid_outputs_is_not_yet_too_many() -> None:
    outcomes = outcomes_for("control", final=answers(10, num_invalid=4))
    assert judged(with_outcomes(outcomes), outcomes={"control": outcomes}) == []


def test_the_untrained_bridge_may_be_invalid_or_collapsed() -> None:
    outcomes = {**outcomes_for("control"), "0": outcomes_of("0", ("7",) * N)}
    assert judged(with_outcomes(outcomes), outcomes={"control": outcomes}) == []


def test_one_answer_to_half_of_the_questions_is_a_collapse() -> None:
    collapsed = (*GOLDS[:10], *(("1000",) * 10))
    outcomes = outcomes_for("control", final=collapsed)
    assert judged(with_outcomes(outcomes), outcomes={"control": outcomes}) == [
        "warning RK208 control train.log:103: the final evaluation: the answer 1000 stands in 10 of 20 "
        "bridged "
        "outputs; expected fewer than half"
    ]
    almost = outcomes_for("control", final=(*GOLDS[:10], *(("1000",) * 9), "3"))
    assert judged(with_outcomes(almost), outcomes={"control": almost}) == []


def test_an_endless_answer_is_not_printed_whole() -> None:
    outcomes = outcomes_for("control", final=("1" + "0" * 300,) * N)
    assert judged(with_outcomes(outcomes), outcomes={"control": outcomes}) == [
        "warning RK208 control train.log:103: the final evaluation: the answer 100000000000000000000000… "
        "(301 "
        "characters) stands in 20 of 20 bridged outputs; expected fewer than half"
    ]


def test_a_checkpoint_chosen_on_the_reported_items_is_found() -> None:
    assert judged(with_evaluation("final", checkpoint="best")) == [
        "warning RK209 control train.log:103: the best of 3 evaluations was chosen on the same 20 items "
        "that the "
        "final accuracy is reported on; expected held-out items"
    ]
