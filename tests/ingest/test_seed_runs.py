"""The five seed runs, read from their raw directories, equal the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runkit.ingest.readers import ingest
from runkit.ingest.trainlog import read_train_log
from runkit.records.manifest import RunFacts
from runkit.stats.paired import mcnemar_exact, paired_counts

RUNS = (
    "ablB_20251116_234242",
    "ablC_20251117_013909",
    "phase1_full_20251116_201212",
    "phase2_swap_20251118_192955",
    "phase2_swap_20251118_213543",
)

pytestmark = pytest.mark.seed


@pytest.fixture(scope="module", params=RUNS)
def pair(
    request: pytest.FixtureRequest, seed_runs: Path, seed_oracle: dict[str, Any]
) -> tuple[RunFacts, dict[str, Any]]:
    return ingest(
        seed_runs / request.param, run_id=request.param, directory_name=request.param
    ).facts, seed_oracle[request.param]


def test_every_count_of_every_evaluation_is_the_oracles(pair: tuple[RunFacts, dict[str, Any]]) -> None:
    run, oracle = pair
    recomputed = {
        evaluation.label: {
            score.system: (score.correct, score.invalid, score.n) for score in evaluation.systems
        }
        for evaluation in run.evaluations
    }
    expected = {
        label: {
            system: (
                found["jsonl"][system]["correct"],
                found["jsonl"][system]["invalid"],
                found["jsonl"]["n"],
            )
            for system in ("source", "target", "bridged")
        }
        for label, found in oracle["evals"].items()
    }
    assert recomputed == expected


def test_logged_accuracies_and_their_lines_are_the_oracles(pair: tuple[RunFacts, dict[str, Any]]) -> None:
    run, oracle = pair
    logged = {
        evaluation.label: (
            {score.system: score.accuracy_fraction for score in evaluation.logged},
            evaluation.log_line,
        )
        for evaluation in run.evaluations
    }
    assert logged == {label: (found["log"], found["log_line"]) for label, found in oracle["evals"].items()}


def test_most_common_answers_are_the_oracles(pair: tuple[RunFacts, dict[str, Any]]) -> None:
    run, oracle = pair
    for evaluation in run.evaluations:
        score = evaluation.score("bridged")
        assert score is not None
        truth = oracle["evals"][evaluation.label]["jsonl"]
        counts = {found.answer: found.count for found in score.most_common}
        assert score.distinct_answers == truth["bridged_distinct"]
        for answer, count in truth["bridged_most_common"][:2]:
            assert count == (score.invalid if answer == "[invalid]" else counts[answer])


def test_status_and_the_line_that_proves_it_are_the_oracles(pair: tuple[RunFacts, dict[str, Any]]) -> None:
    run, oracle = pair
    assert run.status.evidence is not None
    assert (run.status.value, run.status.evidence.line) == (
        oracle["status"],
        oracle["status_evidence"]["line"],
    )


def test_configuration_hardware_and_steps_are_the_oracles(pair: tuple[RunFacts, dict[str, Any]]) -> None:
    run, oracle = pair
    assert dict(run.configuration.logged) == oracle["config"]
    assert run.configuration.evidence.line == oracle["config_lines"][0]
    assert [gpu.name for gpu in run.hardware.gpus] == oracle["gpu_names"]
    assert sum(gpu.count for gpu in run.hardware.gpus) == len(oracle["gpu_indices"])
    assert run.command.world_size == oracle["world_size"]
    assert run.training.planned_steps == oracle["train_steps_planned"]
    assert run.training.last_step == oracle["last_training_step"]
    assert [list(point) for point in zip(run.training.loss_steps, run.training.loss_values, strict=True)] == (
        oracle["losses"]
    )
    assert run.provenance.num_log_lines == oracle["log_lines"]
    assert run.provenance.logged_run_directory == oracle["log_run_dir"]


def test_times_are_the_oracles(pair: tuple[RunFacts, dict[str, Any]]) -> None:
    run, oracle = pair
    assert (run.started.at if run.started else None) == oracle["start_from_dirname"]
    assert (run.ended.at if run.ended else None) == oracle["end_from_summary"]
    assert run.duration_seconds == oracle["wall_seconds"]


def test_derived_metrics_are_the_oracles(pair: tuple[RunFacts, dict[str, Any]]) -> None:
    run, oracle = pair
    values = {metric.name: metric.value_fraction for metric in run.metrics}
    peak = next(metric for metric in run.metrics if metric.name == "peak.bridged")
    assert (peak.value_fraction, list(peak.steps)) == (
        oracle["peak"]["bridged"],
        oracle["peak"]["all_steps"],
    )
    final = oracle["final"] or {"source": None, "target": None, "bridged": None}
    assert {system: values[f"final.{system}"] for system in final} == final
    assert values["last_step.bridged"] == oracle["last_step_bridged"]
    assert values["degradation"] == pytest.approx(oracle["degradation_peak_minus_final"])
    assert values["gap_to_target"] == pytest.approx(oracle["gap_target_minus_final"])
    assert all(metric.evidence == "recomputed" for metric in run.metrics if metric.value_fraction is not None)


def test_files_that_a_whole_run_has_and_this_one_lacks_are_the_oracles(
    pair: tuple[RunFacts, dict[str, Any]],
) -> None:
    run, oracle = pair
    missing = {Path(found.path).name for found in run.missing_artifacts}
    assert missing == set(oracle["expected_files_missing"])


def test_only_inert_keys_tell_the_three_ablation_rows_apart(seed_runs: Path) -> None:
    digests = {
        ingest(seed_runs / name, run_id=name, directory_name=name).facts.configuration.effective_digest
        for name in RUNS[:3]
    }
    assert len(digests) == 1


def test_every_line_that_the_log_facts_cite_is_the_oracles(
    pair: tuple[RunFacts, dict[str, Any]], seed_runs: Path
) -> None:
    run, oracle = pair
    log = read_train_log((seed_runs / run.run_id / oracle["train_log"]).read_bytes().decode(errors="replace"))
    assert log.world_size_line == oracle["world_size_line"]
    assert log.last_step_line == oracle["last_training_step_line"]
    assert log.settings_line == oracle["config_lines"][0]
    assert set(log.gpus) == set(oracle["gpu_indices"])
    assert log.stopped_early_line == (oracle["early_stop_line"] or {"line": None})["line"]
    assert [saved.line for saved in log.checkpoints] == (
        [oracle["saved_line"]["line"]] if oracle["saved_line"] else []
    )
    assert log.num_starts == 1
    assert all(evaluation.has_samples for evaluation in log.evaluations)
    assert (log.crash_line, log.no_samples_line, log.interrupted_line) == (None, None, None)


def test_paired_outcomes_give_the_oracles_exact_p(
    pair: tuple[RunFacts, dict[str, Any]], seed_runs: Path
) -> None:
    run, oracle = pair
    outcomes = ingest(seed_runs / run.run_id, run_id=run.run_id, directory_name=run.run_id).outcomes
    for other in ("source", "target"):
        truth = oracle.get(f"final_bridged_vs_{other}_mcnemar")
        if truth is None:
            assert "final" not in outcomes
            continue
        counts = paired_counts(outcomes["final"].correct("bridged"), outcomes["final"].correct(other))
        assert (counts.only_first, counts.only_second) == (truth["bridged_only"], truth["other_only"])
        assert mcnemar_exact(counts.only_first, counts.only_second) == pytest.approx(
            truth["p_two_sided_exact"], rel=1e-9
        )


def test_settings_that_differ_from_phase_1_are_the_oracles(
    pair: tuple[RunFacts, dict[str, Any]], seed_oracle: dict[str, Any]
) -> None:
    run, oracle = pair
    control = seed_oracle["phase1_full_20251116_201212"]["config"]
    differing = {key for key, value in run.configuration.logged.items() if control.get(key) != value}
    assert differing == set(oracle.get("config_diff_vs_phase1_full") or ())
