"""Results of lm-evaluation-harness, as version 0.4.13 writes them, read like any other run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runkit.archive.workspace import Workspace
from runkit.errors import RunUnreadable
from runkit.ingest.readers import ingest
from runkit.records.manifest import SystemScore
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.validate import validate

TIME = "2026-01-02T03-04-05.678901"

GSM8K = {
    "task": "gsm8k",
    "dataset_path": "openai/gsm8k",
    "dataset_name": "main",
    "test_split": "test",
    "doc_to_target": "{{answer}}",
    "num_fewshot": 5,
    "metric_list": [
        {
            "metric": "exact_match",
            "aggregation": "mean",
            "higher_is_better": True,
            "ignore_case": True,
            "ignore_punctuation": False,
            "regexes_to_ignore": [",", "\\$", "(?s).*#### ", "\\.$"],
        }
    ],
    "output_type": "generate_until",
}
ARC = {"task": "arc_easy", "test_split": "test", "output_type": "multiple_choice", "num_fewshot": 0}


def _sample(
    doc_id: int, filter_name: str, target: str, responses: list[Any], **metrics: float
) -> dict[str, Any]:
    return {
        "doc_id": doc_id,
        "doc": {"question": f"Question {doc_id}?", "answer": target},
        "target": target,
        "arguments": {"gen_args_0": {"arg_0": f"Question: {doc_id}\nAnswer:", "arg_1": "{}"}},
        "resps": [[str(response)] for response in responses],
        "filtered_resps": responses,
        "filter": filter_name,
        "metrics": list(metrics),
        "doc_hash": f"{doc_id:064x}",
        "prompt_hash": f"{doc_id + 100:064x}",
        "target_hash": f"{doc_id + 200:064x}",
        **metrics,
    }


def gsm8k_rows() -> list[dict[str, Any]]:
    """Four problems: right, right with other writing, wrong, and nothing extracted by the strict filter."""
    golds = ("She has 16 - 3 = 13.\n#### 13", "#### 1,200", "#### 7", "#### 40")
    strict = ("13", "$1200.", "8", "[invalid]")
    flexible = ("13", "1200", "8", "40")
    return [
        _sample(place, name, golds[place], [answers[place]], exact_match=float(correct))
        for name, answers, right in (
            ("strict-match", strict, (1, 1, 0, 0)),
            ("flexible-extract", flexible, (1, 1, 0, 1)),
        )
        for place, correct in enumerate(right)
    ]


def arc_rows() -> list[dict[str, Any]]:
    return [
        _sample(
            0, "none", "2", [["-3.5", "False"], ["-2.0", "False"], ["-0.5", "True"]], acc=1.0, acc_norm=1.0
        ),
        _sample(
            1, "none", "0", [["-3.5", "False"], ["-2.0", "False"], ["-9.5", "True"]], acc=0.0, acc_norm=1.0
        ),
    ]


@pytest.fixture
def harness_run(tmp_path: Path) -> Path:
    """One call of the harness over two tasks, as ``--output_path DIR --log_samples`` leaves it."""
    folder = tmp_path / "harness" / "org__Tiny-1B"
    folder.mkdir(parents=True)
    results = {
        "results": {
            "arc_easy": {
                "alias": "arc_easy", "acc,none": 0.5, "acc_stderr,none": 0.5, "acc_norm,none": 1.0,
                "acc_norm_stderr,none": 0.0, "sample_len": 2,
            },
            "gsm8k": {
                "alias": "gsm8k", "exact_match,strict-match": 0.5, "exact_match_stderr,strict-match": 0.2887,
                "exact_match,flexible-extract": 0.75, "exact_match_stderr,flexible-extract": 0.25,
                "sample_len": 4,
            },
        },
        "group_subtasks": {"gsm8k": [], "arc_easy": []},
        "configs": {"gsm8k": GSM8K, "arc_easy": ARC},
        "versions": {"gsm8k": 3.0, "arc_easy": 1.0},
        "n-shot": {"gsm8k": 5, "arc_easy": 0},
        "higher_is_better": {"gsm8k": {"exact_match": True}},
        "n-samples": {"gsm8k": {"original": 1319, "effective": 4},
            "arc_easy": {"original": 2376, "effective": 2}},
        "config": {
            "model": "hf", "model_args": {"pretrained": "org/Tiny-1B", "dtype": "bfloat16"},
            "model_num_parameters": 1000, "model_dtype": "torch.bfloat16", "model_revision": "main",
            "model_sha": "abc123", "batch_size": "auto", "batch_sizes": [64], "device": "cuda:0",
            "use_cache": None,
            "limit": 4.0, "bootstrap_iters": 100000, "gen_kwargs": {}, "random_seed": 0, "numpy_seed": 1234,
            "torch_seed": 1234, "fewshot_seed": 1234,
        },
        "git_hash": "v1-3-gabcdef", "date": 1767323045.5,
        "pretty_env_info": "PyTorch version: 2.6.0\nPython version: 3.11.7 (main)\nGPU models and "
        "configuration: GPU 0: NVIDIA H100 80GB HBM3\nGPU 1: NVIDIA H100 80GB HBM3\n\nDriver: 550",
        "transformers_version": "5.0.0", "lm_eval_version": "0.4.13", "upper_git_hash": None,
        "task_hashes": {"gsm8k": "0" * 64, "arc_easy": "1" * 64},
        "model_source": "hf", "model_name": "org/Tiny-1B", "model_name_sanitized": "org__Tiny-1B",
        "start_time": 12.5, "end_time": 112.75, "total_evaluation_time_seconds": "100.25",
    }  # fmt: skip
    (folder / f"results_{TIME}.json").write_text(json.dumps(results, indent=2))
    for task, rows in (("gsm8k", gsm8k_rows()), ("arc_easy", arc_rows())):
        (folder / f"samples_{task}_{TIME}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "harness"


def changed_results(run: Path, change: dict[str, Any]) -> None:
    path = next(run.rglob("results_*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


def test_every_task_and_filter_is_recomputed_from_the_samples(harness_run: Path) -> None:
    facts = ingest(harness_run, run_id="r", directory_name="harness").facts
    counted = {
        evaluation.label: tuple((score.correct, score.wrong, score.invalid) for score in evaluation.systems)
        for evaluation in facts.evaluations
    }
    assert counted == {
        "arc_easy": ((1, 1, 0),),
        "gsm8k/flexible-extract": ((3, 1, 0),),
        "gsm8k/strict-match": ((2, 1, 1),),
    }
    metrics = {
        metric.name: (metric.value_fraction, metric.correct, metric.n, metric.evidence)
        for metric in facts.metrics
    }
    assert metrics == {
        "acc.arc_easy": (0.5, 1, 2, "recomputed"),
        "acc_norm.arc_easy": (1.0, None, 2, "logged"),
        "exact_match.gsm8k/flexible-extract": (0.75, 3, 4, "recomputed"),
        "exact_match.gsm8k/strict-match": (0.5, 2, 4, "recomputed"),
    }


def test_what_the_harness_records_of_its_surroundings_is_kept(harness_run: Path) -> None:
    facts = ingest(harness_run, run_id="r", directory_name="harness").facts
    assert (facts.status.value, facts.provenance.reader, facts.provenance.log_path) == (
        "completed",
        "lm-eval",
        None,
    )
    assert [(model.role, model.name, model.revision) for model in facts.models] == [
        ("evaluated", "org/Tiny-1B", "abc123")
    ]
    assert [(gpu.name, gpu.count) for gpu in facts.hardware.gpus] == [("NVIDIA H100 80GB HBM3", 2)]
    assert (facts.software.python_version, facts.software.packages["lm_eval"]) == ("3.11.7", "0.4.13")
    assert (facts.started.at if facts.started else None) == "2026-01-02T03:04:05+00:00"
    assert facts.duration_seconds == 100.25
    effective = facts.configuration.effective
    assert (effective["torch_seed"], effective["gsm8k.num_fewshot"]) == (1234, 5)
    assert set(facts.configuration.inert) == {"bootstrap_iters", "batch_sizes", "use_cache"}


def test_the_run_is_preserved_and_validated_like_any_other(workspace: Workspace, harness_run: Path) -> None:
    manifest = preserve(workspace, PreserveRequest(harness_run))
    assert manifest.sealed.outcomes is not None
    assert manifest.sealed.outcomes.num_rows == 10
    assert {(one.rule, one.severity) for one in validate(workspace).findings} == {
        ("RK305", "info"),
        ("RK410", "info"),
    }


def test_a_printed_accuracy_that_the_samples_do_not_give_is_found(
    workspace: Workspace, harness_run: Path
) -> None:
    results = json.loads(next(harness_run.rglob("results_*.json")).read_text())["results"]
    results["gsm8k"]["exact_match,strict-match"] = 0.75
    changed_results(harness_run, {"results": results})
    preserve(workspace, PreserveRequest(harness_run))
    (found,) = [one for one in validate(workspace).findings if one.rule == "RK201"]
    assert found.message == (
        "step gsm8k/strict-match: the log says model 0.750, the dump has 2 of 4 correct, which is 0.500"
    )


def test_results_without_samples_are_logged_evidence_and_the_samples_are_missed(harness_run: Path) -> None:
    for samples in harness_run.rglob("samples_*"):
        samples.unlink()
    facts = ingest(harness_run, run_id="r", directory_name="harness").facts
    assert {metric.name: metric.evidence for metric in facts.metrics} == {
        "acc.arc_easy": "logged",
        "acc_norm.arc_easy": "logged",
        "exact_match.gsm8k/flexible-extract": "logged",
        "exact_match.gsm8k/strict-match": "logged",
    }
    assert [missing.path for missing in facts.missing_artifacts] == [
        f"org__Tiny-1B/samples_arc_easy_{TIME}.jsonl",
        f"org__Tiny-1B/samples_gsm8k_{TIME}.jsonl",
    ]
    assert all(evaluation.systems == () for evaluation in facts.evaluations)


def test_samples_without_results_are_a_truncated_call(harness_run: Path) -> None:
    next(harness_run.rglob("results_*")).unlink()
    facts = ingest(harness_run, run_id="r", directory_name="harness").facts
    assert facts.status.value == "truncated"
    assert facts.evaluation("gsm8k/strict-match") is not None


def test_a_metric_that_runkit_cannot_recompute_is_not_counted(harness_run: Path) -> None:
    path = next(harness_run.rglob("samples_gsm8k_*"))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text(
        "".join(json.dumps({**row, "bleu": 0.4, "exact_match": None}) + "\n" for row in rows).replace(
            '"exact_match": null, ', ""
        )
    )
    results = json.loads(next(harness_run.rglob("results_*.json")).read_text())["results"]
    results["gsm8k"] = {"alias": "gsm8k", "bleu,strict-match": 17.5, "bleu,flexible-extract": 0.4}
    changed_results(harness_run, {"results": results})
    facts = ingest(harness_run, run_id="r", directory_name="harness").facts
    strict = facts.evaluation("gsm8k/strict-match")
    assert strict is not None
    assert (strict.logged, [metric.name for metric in facts.metrics]) == (
        (),
        ["acc.arc_easy", "acc_norm.arc_easy"],
    )


def test_an_evaluation_of_no_samples_claims_nothing(harness_run: Path) -> None:
    for samples in harness_run.rglob("samples_*"):
        samples.write_text("")
    none = {"original": 10, "effective": 0}
    changed_results(harness_run, {"n-samples": {"gsm8k": none, "arc_easy": none}})
    facts = ingest(harness_run, run_id="r", directory_name="harness").facts
    assert facts.status.value == "no_eval_samples"
    assert all(metric.value_fraction is None for metric in facts.metrics)


def test_files_of_two_calls_are_refused(harness_run: Path) -> None:
    (harness_run / "samples_gsm8k_2026-02-02T03-04-05.1.jsonl").touch()
    with pytest.raises(RunUnreadable, match="results of more than one call of the harness"):
        ingest(harness_run, run_id="r", directory_name="harness")


@pytest.mark.parametrize(
    "torn", ["", "{", "[]", '{"results": 3}', "[" * 50_000, '{"results": {}, "date": 1e999}']
)
def test_a_torn_results_file_is_refused_or_claims_nothing(harness_run: Path, torn: str) -> None:
    next(harness_run.rglob("results_*.json")).write_text(torn)
    try:
        facts = ingest(harness_run, run_id="r", directory_name="harness").facts
    except RunUnreadable:
        return
    assert facts.started is None


def test_torn_samples_are_counted_and_the_rest_is_kept(harness_run: Path) -> None:
    path = next(harness_run.rglob("samples_arc_easy_*"))
    path.write_text(path.read_text()[:-40])
    evaluation = ingest(harness_run, run_id="r", directory_name="harness").facts.evaluation("arc_easy")
    assert evaluation is not None
    assert evaluation.num_unreadable_rows == 1
    assert evaluation.systems == (
        SystemScore(
            system="model",
            correct=1,
            wrong=0,
            invalid=0,
            distinct_answers=1,
            most_common=evaluation.systems[0].most_common,
        ),
    )
