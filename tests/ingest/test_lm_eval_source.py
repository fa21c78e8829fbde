"""What the source for lm-evaluation-harness says of a folder: its numbers, and what its rows prove."""

from __future__ import annotations

import json
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.errors import RunUnreadable
from runkit.ingest.source import FoundFacts
from runkit.ingest.sources.lm_eval import SOURCE, LmEval
from runkit.ingest.sources.lm_eval_rows import agrees
from runkit.records.record import canonical_json
from tests.conftest import SHARED

TIME = "2026-01-02T03-04-05.678901"
LATER = "2026-01-03T03-04-05.678901"
RESULTS = f"results_{TIME}.json"

Row = dict[str, Any]


def row(
    item: int, target: object, responses: Sequence[Any], filter_name: str = "none", **metrics: Any
) -> Row:
    """One document as the harness writes it."""
    return {
        "doc_id": item,
        "doc": {"question": f"Question {item}?"},
        "target": target,
        "arguments": {"gen_args_0": {"arg_0": f"Question {item}?", "arg_1": "x"}},
        "resps": [[one] for one in responses],
        "filtered_resps": list(responses),
        "filter": filter_name,
        "metrics": list(metrics),
        "doc_hash": f"{item:064x}",
        "prompt_hash": f"{item + 1:064x}",
        "target_hash": f"{item + 2:064x}",
        **metrics,
    }


def choices(item: int, gold: object, best: int, num_options: int = 4, **metrics: Any) -> Row:
    """A document of multiple choice of which the option *best* is the most likely."""
    return row(item, gold, [[str(-1.0 - (at != best)), "False"] for at in range(num_options)], **metrics)


def generate(**more: Any) -> dict[str, Any]:
    return {
        "output_type": "generate_until",
        "test_split": "test",
        "metric_list": [_metric("exact_match")],
        **more,
    }


def choose(**more: Any) -> dict[str, Any]:
    return {"output_type": "multiple_choice", "test_split": "test", "metric_list": [_metric("acc")], **more}


def _metric(name: str, **more: Any) -> dict[str, Any]:
    return {"metric": name, "aggregation": "mean", "higher_is_better": True, **more}


def document(
    results: Mapping[str, Mapping[str, Any]],
    configs: Mapping[str, Mapping[str, Any]],
    *,
    num: int | None = None,
    config: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A results file of version 0.4."""
    return {
        "results": {task: {"alias": task, **found} for task, found in results.items()},
        "group_subtasks": {task: [] for task in configs},
        "configs": {task: {"task": task, **found} for task, found in configs.items()},
        "versions": dict.fromkeys(configs, 1.0),
        "n-shot": dict.fromkeys(configs, 0),
        "n-samples": {task: {"original": num, "effective": num} for task in configs} if num else {},
        "config": {"model": "hf", "model_args": "pretrained=org/Tiny-1B", "limit": None, **(config or {})},
        "date": 1767323045.5,
        "total_evaluation_time_seconds": "12.5",
        "lm_eval_version": "0.4.9",
        **more,
    }


def write(
    root: Path, found: Mapping[str, Any] | None, samples: Mapping[str, Sequence[Row]], time: str = TIME
) -> Path:
    """Write a call of the harness into *root*."""
    root.mkdir(parents=True, exist_ok=True)
    if found is not None:
        (root / f"results_{time}.json").write_text(json.dumps(found), encoding="utf-8")
    for task, rows in samples.items():
        lines = "".join(json.dumps(one) + "\n" for one in rows)
        (root / f"samples_{task}_{time}.jsonl").write_text(lines, encoding="utf-8")
    return root


def read(root: Path) -> FoundFacts:
    assert SOURCE.recognises(root)
    return SOURCE.read(root)


Summary = tuple[str, dict[str, str], float | None, int | None, str | None]


def scores(found: FoundFacts) -> list[Summary]:
    """Name, filter, value, items and evidence of each score."""
    return [
        (
            score.name.removesuffix("@final"),
            {key: value for key, value in score.conditions.items() if key != "num_fewshot"},
            score.value if score.value is None else round(score.value, 12),
            score.n,
            score.evidence,
        )
        for score in found.scores
    ]


def notices(found: FoundFacts) -> list[tuple[str, str, str]]:
    return [(one.kind, one.path, one.message) for one in found.notices]


# Exact matches


def test_a_number_is_recomputed_where_every_row_says_what_our_comparison_says(tmp_path: Path) -> None:
    options = {"ignore_case": True, "ignore_punctuation": True, "regexes_to_ignore": [",", r"\$"]}
    task = generate(metric_list=[_metric("exact_match", **options)])
    rows = [
        row(0, "1,200", ["$1200"], exact_match=1.0),
        row(1, "Rome", ["rome."], exact_match=1.0),
        row(2, "7", ["8"], exact_match=0.0),
        row(3, "9", ["[invalid]"], exact_match=0.0),
    ]
    found = read(
        write(tmp_path, document({"qa": {"exact_match,none": 0.5}}, {"qa": task}, num=4), {"qa": rows})
    )
    assert scores(found) == [("qa/exact_match", {}, 0.5, 4, "recomputed")]
    score, items = found.scores[0], found.items[0]
    assert (score.metric.kind, score.metric.direction, score.metric.unit) == ("binary", "higher", "fraction")
    assert (score.split, score.logged_value, score.path) == ("test", 0.5, f"samples_qa_{TIME}.jsonl")
    assert score.counts is not None
    assert (score.counts.correct, score.counts.wrong, score.counts.invalid) == (2, 1, 1)
    assert items.items == ("0", "1", "2", "3")
    assert items.answers == ("1200", "rome", "8", None)
    assert items.golds == ("1,200", "Rome", "7", "9")
    assert notices(found) == []


def test_filters_are_scores_of_their_own_and_never_summed(tmp_path: Path) -> None:
    rows = [
        row(item, "1", [answer], name, exact_match=float(answer == "1"))
        for name, answers in (("strict-match", "1200"), ("flexible-extract", "1120"))
        for item, answer in enumerate(answers)
    ]
    printed = {
        "exact_match,strict-match": 0.25,
        "exact_match_stderr,strict-match": 0.2,
        "exact_match,flexible-extract": 0.5,
        "exact_match_stderr,flexible-extract": "N/A",
    }
    found = read(write(tmp_path, document({"gsm8k": printed}, {"gsm8k": generate()}, num=4), {"gsm8k": rows}))
    assert scores(found) == [
        ("gsm8k/exact_match", {"filter": "flexible-extract"}, 0.5, 4, "recomputed"),
        ("gsm8k/exact_match", {"filter": "strict-match"}, 0.25, 4, "recomputed"),
    ]


@pytest.mark.parametrize("target", [["Paris", "PARIS"], "['Paris', 'PARIS']"], ids=["list", "text"])
def test_any_of_several_accepted_answers_is_right(tmp_path: Path, target: object) -> None:
    rows = [row(0, target, ["PARIS"], exact_match=1.0), row(1, target, ["Rome"], exact_match=0.0)]
    found = read(
        write(tmp_path, document({"qa": {"exact_match,none": 0.5}}, {"qa": generate()}), {"qa": rows})
    )
    assert scores(found) == [("qa/exact_match", {}, 0.5, 2, "recomputed")]


def test_a_gold_that_only_looks_like_a_list_is_compared_as_it_stands(tmp_path: Path) -> None:
    rows = [row(0, "['a', 'b']", ["['a', 'b']"], exact_match=1.0), row(1, "['a']", ["a"], exact_match=0.0)]
    found = read(
        write(tmp_path, document({"qa": {"exact_match,none": 0.5}}, {"qa": generate()}), {"qa": rows})
    )
    assert scores(found) == [("qa/exact_match", {}, 0.5, 2, "recomputed")]


@pytest.mark.parametrize(
    "task",
    [
        generate(process_results="def process_results(doc, results):\n    ...\n"),
        generate(metric_list=[_metric("exact_match", judge="other")]),
        generate(metric_list=[_metric("math_verify")]),
        generate(doc_to_choice=["a", "b"]),
        {"test_split": "test"},
    ],
    ids=["own scorer", "unknown option", "other metric", "choices", "no type"],
)
def test_where_the_rule_is_not_known_the_verdict_of_each_row_counts(
    tmp_path: Path, task: dict[str, Any]
) -> None:
    rows = [row(0, r"so \boxed{4}", ["it is 4"], exact_match=1), row(1, "5", ["6"], exact_match=0)]
    found = read(write(tmp_path, document({"m": {"exact_match,none": 0.5}}, {"m": task}), {"m": rows}))
    assert scores(found) == [("m/exact_match", {}, 0.5, 2, "per_sample")]
    assert found.items[0].values == (1.0, 0.0)
    assert notices(found) == []


def test_a_verdict_that_the_rule_of_the_task_does_not_give_is_found(tmp_path: Path) -> None:
    rows = [row(0, "1", ["1"], exact_match=1.0), row(1, "2", ["3"], exact_match=1.0)]
    found = read(
        write(tmp_path, document({"qa": {"exact_match,none": 1.0}}, {"qa": generate()}), {"qa": rows})
    )
    assert scores(found) == [("qa/exact_match", {}, 1.0, 2, "per_sample")]
    assert notices(found) == [
        (
            "conflict",
            RESULTS,
            "exact_match of qa is not what the task's rule gives for the responses in "
            f"samples_qa_{TIME}.jsonl, documents 1",
        )
    ]


# Multiple choice


def test_the_most_likely_option_is_the_answer(tmp_path: Path) -> None:
    rows = [choices(0, 2, 2, acc=1.0, acc_norm=0.0), choices(1, "0", 3, acc=0.0, acc_norm=1.0)]
    printed = {"acc,none": 0.5, "acc_norm,none": 0.5}
    found = read(write(tmp_path, document({"arc": printed}, {"arc": choose()}, num=2), {"arc": rows}))
    assert scores(found) == [
        ("arc/acc", {}, 0.5, 2, "recomputed"),
        ("arc/acc_norm", {}, 0.5, 2, "per_sample"),
    ]
    assert found.items[0].answers == ("2", "3")
    assert found.items[1].answers is None


def test_a_digit_may_be_the_label_of_an_option(tmp_path: Path) -> None:
    rows = [choices(0, "2", 1, acc=1.0), choices(1, "1", 1, acc=0.0)]
    task = choose(doc_to_choice=["1", "2", "3", "4"])
    found = read(write(tmp_path, document({"q": {"acc,none": 0.5}}, {"q": task}), {"q": rows}))
    assert scores(found) == [("q/acc", {}, 0.5, 2, "recomputed")]


def test_labels_of_options_that_nobody_lists_make_no_judgement(tmp_path: Path) -> None:
    rows = [choices(0, "2", 1, acc=1.0), choices(1, "3", 2, acc=1.0), choices(2, "1", 3, acc=0.0)]
    found = read(write(tmp_path, document({"q": {"acc,none": 2 / 3}}, {"q": choose()}), {"q": rows}))
    assert scores(found) == [("q/acc", {}, round(2 / 3, 12), 3, "per_sample")]
    assert notices(found) == []


def test_several_options_may_be_right(tmp_path: Path) -> None:
    rows = [choices(0, "[1, 2]", 2, acc=1.0), choices(1, "[0, 3]", 1, acc=0.0)]
    found = read(write(tmp_path, document({"q": {"acc,none": 0.5}}, {"q": choose()}), {"q": rows}))
    assert scores(found) == [("q/acc", {}, 0.5, 2, "recomputed")]


def test_likelihoods_without_context_are_no_options(tmp_path: Path) -> None:
    without = [["-0.1", "False"]] * 2
    rows = [
        row(0, 0, [["-1.0", "False"], ["-2.0", "False"], *without], acc=1.0, acc_mutual_info=1.0),
        row(1, 0, [["-2.0", "False"], ["-1.0", "False"], *without], acc=0.0, acc_mutual_info=1.0),
    ]
    task = choose(metric_list=[_metric("acc"), _metric("acc_mutual_info")])
    printed = {"acc,none": 0.5, "acc_mutual_info,none": 1.0}
    found = read(write(tmp_path, document({"mi": printed}, {"mi": task}), {"mi": rows}))
    assert scores(found) == [
        ("mi/acc", {}, 0.5, 2, "recomputed"),
        ("mi/acc_mutual_info", {}, 1.0, 2, "per_sample"),
    ]


# Other metrics


def test_a_probability_called_acc_is_a_real_number_an_item(tmp_path: Path) -> None:
    rows = [choices(0, 0, 1, acc=0.625), choices(1, 0, 0, acc=0.5)]
    task = choose(process_results="def process_results_mc2(doc, results):\n    ...\n")
    found = read(write(tmp_path, document({"mc2": {"acc,none": 0.5625}}, {"mc2": task}), {"mc2": rows}))
    assert scores(found) == [("mc2/acc", {}, 0.5625, 2, "per_sample")]
    assert (found.scores[0].metric.kind, found.scores[0].counts) == ("real", None)


def test_what_is_no_mean_over_rows_is_logged(tmp_path: Path) -> None:
    metrics = [
        {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
        {"metric": "f1", "aggregation": "def span_f1(items):\n    ...\n", "higher_is_better": True},
        {"metric": "bleu", "aggregation": "bleu", "higher_is_better": True},
        {"metric": "mcc"},
    ]
    rows = [
        row(0, "a", ["b"], perplexity=-2.0, f1=["a", ["b"]], bleu=["a", "b"], mcc=1),
        row(1, "a", ["a"], perplexity=-2.0, f1=["a", ["a"]], bleu=["a", "a"], mcc=1),
    ]
    printed = {"perplexity,none": math.exp(2), "f1,none": 0.5, "bleu,none": 31.4, "mcc,none": 1.0}
    task = generate(metric_list=metrics)
    found = read(write(tmp_path, document({"t": printed}, {"t": task}, num=2), {"t": rows}))
    assert scores(found) == [
        ("t/bleu", {}, 31.4, 2, "logged"),
        ("t/f1", {}, 0.5, 2, "logged"),
        ("t/mcc", {}, 1.0, 2, "logged"),
        ("t/perplexity", {}, round(math.exp(2), 12), 2, "logged"),
    ]
    assert [(one.metric.unit, one.metric.direction, one.metric.kind) for one in found.scores] == [
        (None, "higher", "scalar"),
        ("fraction", "higher", "scalar"),
        (None, None, "scalar"),
        (None, "lower", "scalar"),
    ]
    assert (found.items, notices(found)) == ([], [])


def test_real_values_of_rows_are_kept(tmp_path: Path) -> None:
    rows = [row(0, "a", ["b"], rouge1=40.0, ok=True), row(1, "a", ["a"], rouge1=20.5, ok="False")]
    task = generate(metric_list=[_metric("rouge1"), _metric("ok")])
    printed = {"rouge1,none": "30.25", "ok,none": 0.5}  # the harness spells float32 of NumPy
    found = read(write(tmp_path, document({"t": printed}, {"t": task}), {"t": rows}))
    assert scores(found) == [("t/ok", {}, 0.5, 2, "per_sample"), ("t/rouge1", {}, 30.25, 2, "per_sample")]
    assert [(one.metric.kind, one.metric.unit) for one in found.scores] == [
        ("binary", "fraction"),
        ("real", None),
    ]


def test_values_that_are_no_finite_numbers_are_counted_and_in_no_mean(tmp_path: Path) -> None:
    rows = [row(0, "a", ["b"], score=0.5), row(1, "a", ["b"], score=math.nan), row(2, "a", ["b"], score=1.0)]
    task = generate(metric_list=[_metric("score", aggregation="nanmean")])
    found = read(write(tmp_path, document({"t": {"score,none": 0.75}}, {"t": task}, num=3), {"t": rows}))
    (score,) = found.scores
    assert (score.value, score.n, score.num_missing, dict(score.missing_values)) == (0.75, 2, 1, {"nan": "1"})


def test_a_placeholder_of_predict_only_is_no_score(tmp_path: Path) -> None:
    rows = [row(0, "a", ["b"], bypass=None)]
    found = read(write(tmp_path, document({"t": {"bypass,none": 999}}, {"t": generate()}), {"t": rows}))
    assert found.scores == []
    assert notices(found) == [
        ("not_read", RESULTS, "bypass of t is a placeholder of --predict_only and no score")
    ]


# Rows and results that disagree


def test_results_that_the_rows_contradict_are_logged_and_both_files_named(tmp_path: Path) -> None:
    rows = [choices(0, 0, 0, acc=1.0), choices(1, 0, 1, acc=0.0)]
    found = read(write(tmp_path, document({"q": {"acc,none": 0.75}}, {"q": choose()}, num=2), {"q": rows}))
    assert scores(found) == [("q/acc", {}, 0.75, 2, "logged")]
    assert found.items == []
    assert notices(found) == [
        (
            "conflict",
            RESULTS,
            f"acc of q is 0.75 in {RESULTS}, and the 2 rows of samples_q_{TIME}.jsonl give 0.5",
        )
    ]


def test_rows_that_are_fewer_than_the_harness_counts_prove_nothing(tmp_path: Path) -> None:
    rows = [choices(0, 0, 0, acc=1.0, acc_norm=1.0), choices(1, 0, 1, acc=0.0, acc_norm=1.0)]
    found = read(write(tmp_path, document({"q": {"acc,none": 0.5}}, {"q": choose()}, num=4), {"q": rows}))
    assert scores(found) == [("q/acc", {}, 0.5, 4, "logged")]
    assert found.scores[0].path == RESULTS
    assert notices(found) == [
        ("conflict", f"samples_q_{TIME}.jsonl", f"q has 2 documents, {RESULTS} counts 4")
    ]


@pytest.mark.parametrize(("value", "spelled"), [(math.nan, "NaN"), (math.inf, "Infinity"), ("N/A", '"N/A"')])
def test_no_number_is_put_in_the_place_of_none(tmp_path: Path, value: object, spelled: str) -> None:
    rows = [choices(0, 0, 0, acc=1.0), choices(1, 0, 1, acc=0.0)]
    found = read(write(tmp_path, document({"q": {"acc,none": value}}, {"q": choose()}), {"q": rows}))
    assert scores(found) == [("q/acc", {}, None, None, None)]
    assert found.scores[0].missing_because == f"the results file says {spelled}"
    assert notices(found) == [
        (
            "conflict",
            RESULTS,
            f"acc of q is {spelled} in {RESULTS}, and samples_q_{TIME}.jsonl gives 0.5 over 2 rows",
        )
    ]


def test_no_number_without_rows_is_said_too(tmp_path: Path) -> None:
    found = read(write(tmp_path, document({"q": {"acc,none": math.nan}}, {"q": choose()}), {}))
    assert scores(found) == [("q/acc", {}, None, None, None)]
    assert notices(found) == [("not_finite", RESULTS, f"acc of q is NaN in {RESULTS}")]
    assert [one.path for one in found.missing] == [f"samples_q_{TIME}.jsonl"]


def test_documents_that_stand_twice_count_once_when_they_are_equal(tmp_path: Path) -> None:
    rows = [choices(0, 0, 0, acc=1.0), choices(1, 0, 1, acc=0.0)]
    printed = document({"q": {"acc,none": 0.5}}, {"q": choose()}, num=2)
    found = read(write(tmp_path, printed, {"q": [*rows, rows[0]]}))
    assert scores(found) == [("q/acc", {}, 0.5, 2, "recomputed")]
    assert found.items[0].items == ("0", "1")
    assert notices(found) == [
        ("conflict", f"samples_q_{TIME}.jsonl", "q has the same rows twice, which count once: 0")
    ]


def test_documents_that_stand_twice_with_other_rows_prove_nothing(tmp_path: Path) -> None:
    rows = [choices(0, 0, 0, acc=1.0), choices(1, 0, 1, acc=0.0), choices(1, 0, 0, acc=1.0)]
    found = read(write(tmp_path, document({"q": {"acc,none": 0.5}}, {"q": choose()}, num=2), {"q": rows}))
    assert scores(found) == [("q/acc", {}, 0.5, 2, "logged")]
    assert found.items == []
    assert notices(found) == [
        (
            "conflict",
            f"samples_q_{TIME}.jsonl",
            "q has documents twice with different rows, so that no row counts: 1",
        )
    ]


def test_torn_rows_are_counted(tmp_path: Path) -> None:
    root = write(tmp_path, document({"q": {"acc,none": 1.0}}, {"q": choose()}, num=1), {})
    whole = json.dumps(choices(0, 0, 0, acc=1.0))
    (root / f"samples_q_{TIME}.jsonl").write_text(f"{whole}\n{whole[:50]}")
    found = read(root)
    assert scores(found) == [("q/acc", {}, 1.0, 1, "recomputed")]
    assert found.scores[0].num_unreadable_rows == 1
    assert notices(found) == [
        ("unreadable", f"samples_q_{TIME}.jsonl", "1 rows are torn or no rows, and count nowhere")
    ]


def test_rows_of_several_processes_are_items_in_order(tmp_path: Path) -> None:
    rows = [choices(item, 0, item % 2, acc=float(item % 2 == 0)) for item in (0, 2, 10, 1, 3)]
    found = read(write(tmp_path, document({"q": {"acc,none": 0.6}}, {"q": choose()}, num=5), {"q": rows}))
    assert found.items[0].items == ("0", "1", "2", "3", "10")


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=50), st.integers(4, 12))
def test_a_mean_agrees_with_itself_and_with_its_own_rounding(values: list[float], digits: int) -> None:
    mean = math.fsum(values) / len(values)
    assert agrees(mean, mean)
    assert agrees(mean, round(mean, digits))


def test_a_short_number_is_not_a_rounded_one() -> None:
    assert not agrees(6 / 11, 0.5)
    assert not agrees(0.5254, 0.53)
    assert agrees(0.52545, 0.5254)
    assert not agrees(0.6, 0.59)


# Groups


def test_a_group_has_the_number_that_the_harness_gives_it(tmp_path: Path) -> None:
    results = {
        "law": {"acc,none": 0.5},
        "math": {"acc,none": 1.0},
        "mmlu": {"acc,none": 0.75},
        "all": {" ": " "},
    }
    printed = document(results, {"law": choose(), "math": choose()}, num=2)
    printed["group_subtasks"] = {"mmlu": ["law", "math"], "all": ["mmlu"]}
    printed["groups"] = {"mmlu": {"alias": "mmlu", "acc,none": 0.75}}
    rows = {
        "law": [choices(0, 0, 0, acc=1.0), choices(1, 0, 1, acc=0.0)],
        "math": [choices(0, 0, 0, acc=1.0), choices(1, 0, 0, acc=1.0)],
    }
    found = read(write(tmp_path, printed, rows))
    assert scores(found) == [
        ("law/acc", {}, 0.5, 2, "recomputed"),
        ("math/acc", {}, 1.0, 2, "recomputed"),
        ("mmlu/acc", {}, 0.75, 4, "recomputed"),
    ]
    group = found.scores[-1]
    assert (group.metric.kind, group.metric.direction, group.metric.unit) == ("scalar", "higher", "fraction")
    assert dict(group.conditions) == {"num_fewshot": "0"}
    assert notices(found) == []


def test_two_numbers_of_one_group_are_found(tmp_path: Path) -> None:
    printed = document({"a": {"acc,none": 0.5}, "g": {"acc,none": 0.5}}, {"a": choose()})
    printed["groups"] = {"g": {"acc,none": 0.6}}
    found = read(write(tmp_path, printed, {}))
    assert notices(found) == [("conflict", RESULTS, "acc of g is 0.5 under results and 0.6 under groups")]


# Layouts


def test_version_0_3_is_one_flat_file_under_any_name(tmp_path: Path) -> None:
    flat = {
        "results": {
            "boolq": {"acc": 0.7, "acc_stderr": 0.01},
            "wikitext": {"word_perplexity": 18.5, "byte_perplexity": 1.7, "bits_per_byte": 0.8},
        },
        "versions": {"boolq": 1, "wikitext": 1},
        "config": {
            "model": "hf-causal",
            "model_args": "pretrained=org/m",
            "num_fewshot": 3,
            "no_cache": True,
        },
    }
    (tmp_path / "m_3-shot.json").write_text(json.dumps(flat))
    found = read(tmp_path)
    assert scores(found) == [
        ("boolq/acc", {}, 0.7, None, "logged"),
        ("wikitext/bits_per_byte", {}, 0.8, None, "logged"),
        ("wikitext/byte_perplexity", {}, 1.7, None, "logged"),
        ("wikitext/word_perplexity", {}, 18.5, None, "logged"),
    ]
    assert {dict(one.conditions)["num_fewshot"] for one in found.scores} == {"3"}
    assert found.parameters["num_fewshot"] == 3
    assert [one.name for one in found.models] == ["org/m"]


def test_version_0_4_0_writes_arrays_named_after_model_and_task(tmp_path: Path) -> None:
    rows = [choices(0, 0, 0, acc=1.0), choices(1, 0, 1, acc=0.0)]
    rows[0]["filtered_resps"] = [[-1.0, False], [-2.0, False]]
    found = document(
        {"arc_easy": {"acc,none": 0.5}, "arc": {"acc,none": 1.0}}, {"arc_easy": choose(), "arc": choose()}
    )
    (tmp_path / "results.json").write_text(json.dumps(found, indent=2))
    (tmp_path / "pretrained__org__m_arc_easy.jsonl").write_text(json.dumps(rows, indent=2))
    (tmp_path / "pretrained__org__m_arc.jsonl").write_text(json.dumps(rows[:1], indent=2))
    assert scores(read(tmp_path)) == [
        ("arc/acc", {}, 1.0, 1, "recomputed"),
        ("arc_easy/acc", {}, 0.5, 2, "recomputed"),
    ]


@pytest.mark.parametrize(
    "name", [f"results_m:2026-01-02T0304-05_{TIME}.json", f"mine_5shot_{TIME}.json", "mine.json"]
)
def test_a_results_file_is_known_by_what_is_in_it(tmp_path: Path, name: str) -> None:
    rows = [choices(0, 0, 0, acc=1.0)]
    root = write(tmp_path, document({"q": {"acc,none": 1.0}}, {"q": choose()}), {"q": rows})
    (root / RESULTS).rename(root / name)
    found = read(root)
    assert scores(found) == [("q/acc", {}, 1.0, 1, "recomputed")]
    assert found.status is not None
    assert (found.status.value, found.missing) == ("completed", [])


def test_rows_inside_the_results_file_are_read(tmp_path: Path) -> None:
    found = document({"q": {"acc,none": 1.0}}, {"q": choose()}, samples={"q": [choices(0, 0, 0, acc=1.0)]})
    assert scores(read(write(tmp_path, found, {}))) == [("q/acc", {}, 1.0, 1, "recomputed")]


def test_samples_without_results_are_a_call_that_did_not_end(tmp_path: Path) -> None:
    rows = [choices(0, 0, 0, acc=1.0, odd=3.0), choices(1, 0, 1, acc=0.0, odd=4.0)]
    found = read(write(tmp_path, None, {"q": rows}))
    assert scores(found) == [("q/acc", {}, 0.5, 2, "per_sample")]
    assert found.status is not None
    assert found.status.value == "truncated"
    assert [one.path for one in found.missing] == [f"results_{TIME}.json"]
    assert notices(found) == [
        (
            "not_read",
            f"samples_q_{TIME}.jsonl",
            "odd of q is in the rows, and no results file says what the harness makes of it",
        )
    ]


def test_rows_that_name_no_filter_have_the_only_one(tmp_path: Path) -> None:
    rows = [row(0, "1", ["1"], exact_match=1.0)]
    del rows[0]["filter"]
    printed = document({"q": {"exact_match,get-answer": 1.0}}, {"q": generate()})
    assert scores(read(write(tmp_path, printed, {"q": rows}))) == [
        ("q/exact_match", {"filter": "get-answer"}, 1.0, 1, "recomputed")
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"config_general": {}, "results": {"all": {"acc": 0.5}}, "versions": {"all": 0}},
        {"results": [{"acc": 0.5}], "config": {}, "versions": {}},
        {"results": {"acc": 0.5}, "config": {}, "versions": {}},
        {"metrics": {"acc": 0.5}},
    ],
)
def test_files_of_other_programs_are_left_alone(tmp_path: Path, other: dict[str, Any]) -> None:
    (tmp_path / RESULTS).write_text(json.dumps(other))
    (tmp_path / "results.json").write_text("not JSON")
    (tmp_path / "predictions.jsonl").write_text('{"id": 1, "answer": "x"}\n')
    assert not SOURCE.recognises(tmp_path)


def test_a_torn_results_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / RESULTS).write_text('{"results": {"q": ')
    assert SOURCE.recognises(tmp_path)
    with pytest.raises(
        RunUnreadable, match=rf"^{re.escape(RESULTS)} is not JSON: .*killed while it wrote it$"
    ):
        SOURCE.read(tmp_path)


def test_pointers_of_git_lfs_are_said(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
    root = write(tmp_path, document({"q": {"acc,none": 1.0}}, {"q": choose()}), {})
    (root / f"samples_q_{TIME}.jsonl").write_text(pointer)
    found = read(root)
    assert scores(found) == [("q/acc", {}, 1.0, None, "logged")]
    assert notices(found) == [
        (
            "unreadable",
            f"samples_q_{TIME}.jsonl",
            "a pointer of Git LFS and not the file; fetch it with git lfs pull",
        )
    ]
    (root / RESULTS).write_text(pointer)
    with pytest.raises(RunUnreadable) as caught:
        SOURCE.read(root)
    assert str(caught.value) == (
        f"{RESULTS} is a pointer of Git LFS and not the file; fetch it with git lfs pull"
    )


def test_links_are_not_followed(tmp_path: Path) -> None:
    away = write(tmp_path / "away", document({"q": {"acc,none": 1.0}}, {"q": choose()}), {})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / RESULTS).symlink_to(away / RESULTS)
    (tmp_path / "run" / "inner").symlink_to(away)
    assert not SOURCE.recognises(tmp_path / "run")


# Several calls


def _two_calls(root: Path, tasks: tuple[str, str], **second: Any) -> Path:
    for task, time, more in ((tasks[0], TIME, {}), (tasks[1], LATER, second)):
        found = document({task: {"acc,none": 1.0}}, {task: choose()}, **more)
        write(root, found, {task: [choices(0, 0, 0, acc=1.0)]}, time)
    return root


def test_calls_of_other_tasks_are_one_run(tmp_path: Path) -> None:
    found = read(_two_calls(tmp_path, ("a", "b")))
    assert scores(found) == [("a/acc", {}, 1.0, 1, "recomputed"), ("b/acc", {}, 1.0, 1, "recomputed")]
    assert found.duration_seconds == 25.0


def test_two_calls_of_one_task_are_refused_with_the_way_out(tmp_path: Path) -> None:
    root = _two_calls(tmp_path, ("a", "a"))
    with pytest.raises(RunUnreadable) as caught:
        SOURCE.read(root)
    assert str(caught.value) == (
        f"calls of the harness measured a more than once ({TIME}, {LATER}); each is a run of its own: choose "
        f"one with --call {LATER}"
    )
    found = LmEval(call=TIME).read(root)
    assert found.files == {RESULTS, f"samples_a_{TIME}.jsonl"}
    with pytest.raises(RunUnreadable) as caught:
        LmEval(call="yesterday").read(root)
    assert str(caught.value) == (
        f"there is no call of the harness at 'yesterday'; there are: {TIME}, {LATER}"
    )


def test_calls_with_other_settings_are_no_one_run(tmp_path: Path) -> None:
    root = _two_calls(tmp_path, ("a", "b"), config={"model_args": "pretrained=org/Other"})
    with pytest.raises(RunUnreadable, match=r"^calls of the harness had other settings \(model_args\), so"):
        SOURCE.read(root)


def test_samples_of_a_call_that_was_killed_prove_nothing_of_another(tmp_path: Path) -> None:
    rows = [choices(0, 0, 0, acc=1.0)]
    root = write(tmp_path, document({"q": {"acc,none": 1.0}}, {"q": choose()}), {})
    write(root, None, {"q": rows}, LATER)
    found = read(root)
    assert scores(found) == [("q/acc", {}, 1.0, None, "logged")]
    assert notices(found) == [
        ("not_read", f"samples_q_{LATER}.jsonl", "samples that belong to none of the results files")
    ]


# Settings


def settings(root: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    return read(write(root, found, {})).parameters


def changed(tmp_path: Path, one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    """Return the keys in which two calls differ."""
    left, right = settings(tmp_path / "one", one), settings(tmp_path / "other", other)
    return {key for key in {*left, *right} if left.get(key) != right.get(key)}


def _call(
    tasks: Sequence[str] = ("a", "b"), config: Mapping[str, Any] | None = None, **of_task: Any
) -> dict[str, Any]:
    return document({}, {task: generate(**of_task) for task in tasks}, config=config)


def test_addresses_in_memory_are_no_settings(tmp_path: Path) -> None:
    def call(address: str) -> dict[str, Any]:
        function = f"functools.partial(<function process_docs at {address}>, category='Law')"
        return _call(process_docs=function, fewshot_config={"doc_to_text": f"<function text at {address}>"})

    assert changed(tmp_path, call("0x7d120fe367a0"), call("0x798a080f40e0")) == set()
    assert changed(tmp_path, call("0x7d12"), _call(process_docs="other")) == {
        *("a.process_docs", "b.process_docs", "a.fewshot_config", "b.fewshot_config")
    }


def test_another_model_is_one_setting(tmp_path: Path) -> None:
    def call(name: str, size: int) -> dict[str, Any]:
        config = {
            "model_args": {"pretrained": name, "dtype": "bfloat16"},
            "model_sha": name[-1] * 40,
            "model_num_parameters": size,
            "model_dtype": f"torch.float{size}",
        }
        metadata = {"version": 1.0, "pretrained": name, "dtype": "bfloat16"}
        return _call(config=config, metadata=metadata) | {"max_length": size, "model_name": name}

    assert changed(tmp_path, call("org/a", 16), call("org/b", 32)) == {"model_args"}


def test_arguments_as_text_and_as_mapping_are_one_setting(tmp_path: Path) -> None:
    text = _call(config={"model_args": "pretrained=org/m,dtype=float16,trust_remote_code=True,n=4"})
    arguments = {"pretrained": "org/m", "dtype": "float16", "trust_remote_code": True, "n": 4}
    assert changed(tmp_path, text, _call(config={"model_args": arguments, "gen_kwargs": {}})) == set()


def test_generation_that_was_set_for_all_tasks_is_one_setting(tmp_path: Path) -> None:
    greedy = _call(generation_kwargs={"until": ["\n"], "do_sample": False, "temperature": 0.0})
    sampled = _call(
        config={"gen_kwargs": "temperature=0.7,do_sample=True"},
        generation_kwargs={"until": ["\n"], "do_sample": True, "temperature": 0.7},
    )
    assert changed(tmp_path / "common", greedy, sampled) == {"gen_kwargs"}
    greedy["configs"]["b"]["generation_kwargs"] = {"until": ["\n"]}
    assert changed(tmp_path / "said by one", greedy, sampled) == {"gen_kwargs"}


def test_generation_of_one_task_is_its_own_setting(tmp_path: Path) -> None:
    one = _call(generation_kwargs={"until": ["Q:"], "do_sample": False})
    other = _call(generation_kwargs={"until": ["Q:"], "do_sample": False})
    other["configs"]["b"]["generation_kwargs"] = {"until": ["\n"], "do_sample": False, "max_gen_toks": 9}
    assert changed(tmp_path, one, other) == {"b.generation_kwargs"}


def test_shots_for_all_tasks_are_one_setting(tmp_path: Path) -> None:
    one, other = _call(num_fewshot=0), _call(num_fewshot=5) | {"n-shot": {"a": 5, "b": 5}}
    assert changed(tmp_path, one, other) == {"num_fewshot"}


@pytest.mark.parametrize(
    ("config", "seed"),
    [
        ({}, None),
        (dict.fromkeys(("random_seed", "numpy_seed", "torch_seed", "fewshot_seed"), 42), 42),
        (
            {"random_seed": 0, "numpy_seed": 1234, "torch_seed": 1234, "fewshot_seed": 1234},
            "0,1234,1234,1234",
        ),
        ({"random_seed": 0, "numpy_seed": 1234, "torch_seed": 1234}, "0,1234,1234,1234"),
    ],
)
def test_the_seed_is_one_setting_as_it_was_typed(
    tmp_path: Path, config: dict[str, int], seed: object
) -> None:
    found = settings(tmp_path, _call(config=config))
    assert found.get("seed") == seed
    assert not any(key.endswith("_seed") for key in found)


def test_keys_of_newer_versions_with_their_defaults_are_no_difference(tmp_path: Path) -> None:
    older = _call(doc_to_text="def text(doc):\n    ...\n", doc_to_target="answer", fewshot_split="dev")
    expanded = {
        "sampler": "default",
        "split": "dev",
        "samples": None,
        "doc_to_text": "<function text at 0x7e2db2830ca0>",
        "doc_to_target": "answer",
        "fewshot_delimiter": "\n\n",
        "target_delimiter": " ",
    }
    newer = _call(
        doc_to_text="def text(doc):\n    ...\n",
        doc_to_target="answer",
        fewshot_split="dev",
        unsafe_code=False,
        repeats=1,
        description="",
        fewshot_config=expanded,
    ) | {"fewshot_as_multiturn": False, "chat_template_sha": None}
    assert changed(tmp_path, older, newer) == set()
    assert changed(tmp_path / "again", older, _call(doc_to_text="x", unsafe_code=True)) >= {
        *("a.unsafe_code", "b.unsafe_code", "a.doc_to_text", "b.doc_to_text")
    }


def test_what_has_no_effect_is_inert_with_the_reason(tmp_path: Path) -> None:
    config = {"bootstrap_iters": 100, "use_cache": "x", "batch_sizes": [4], "model_dtype": "torch.float16"}
    found = read(write(tmp_path, _call(config=config), {}))
    assert found.inert == {
        "bootstrap_iters": "only the standard error",
        "batch_sizes": "what the automatic batch size came to",
        "use_cache": "where responses are cached",
        "model_dtype": "follows model_args",
    }
    assert not found.inert.keys() & found.parameters.keys()


@pytest.mark.parametrize("is_text", [True, False], ids=["text", "mapping"])
def test_no_credential_is_taken(tmp_path: Path, is_text: bool) -> None:
    token, key, word = "hf_" + "a1B2" * 8 + "xY", "sk-" + "c3D4" * 10, "hunter2word"
    arguments = {
        "pretrained": "org/gated",
        "token": token,
        "base_url": f"https://user:{word}@host.example/v1",
        "api_key": key,
    }
    text = ",".join(f"{name}={value}" for name, value in arguments.items())
    call = _call(
        config={"model_args": text if is_text else arguments}, metadata={**arguments, "extra": token}
    )
    found = read(write(tmp_path, call, {}))
    said = canonical_json([found.parameters, found.inert, [one.model_dump() for one in found.models]])
    assert not [secret for secret in (token, key, word) if secret in said]
    assert found.parameters["model_args"] == canonical_json(
        {
            "pretrained": "org/gated",
            "token": "[dropped]",
            "base_url": "https://user:[dropped]@host.example/v1",
            "api_key": "[dropped]",
        }
    )


def test_machine_software_and_time_are_taken(tmp_path: Path) -> None:
    environment = (
        "Python version: 3.11.9 | x\nGPU models and configuration: \nGPU 0: NVIDIA L4\nGPU 1: NVIDIA L4\n"
    )
    found = read(write(tmp_path, _call() | {"pretty_env_info": environment, "git_hash": "abc1234"}, {}))
    assert found.hardware is not None
    assert found.software is not None
    assert found.started is not None
    assert [(gpu.name, gpu.count) for gpu in found.hardware.gpus] == [("NVIDIA L4", 2)]
    assert (found.software.python_version, dict(found.software.packages)) == ("3.11.9", {"lm_eval": "0.4.9"})
    assert (found.software.code.git_commit, found.duration_seconds) == ("abc1234", 12.5)
    assert found.started.at == "2026-01-02T03:04:05+00:00"


# Damage


ODD: list[Any] = [
    None,
    [],
    {},
    "",
    "x",
    -1,
    0.5,
    True,
    math.nan,
    1e308 * 10,
    [[]],
    {"a": {"b": [1]}},
    "a,b=c",
    2**70,
]


def _damaged(found: Any, draw: st.DrawFn) -> Any:
    """Return *found* with one value somewhere replaced, or one key taken out."""
    if isinstance(found, dict | list) and found and draw(st.integers(0, 4)):
        place = draw(st.sampled_from(sorted(found) if isinstance(found, dict) else list(range(len(found)))))
        copy = dict(found) if isinstance(found, dict) else list(found)
        copy[place] = _damaged(found[place], draw)
        return copy
    return draw(st.sampled_from(ODD))


@st.composite
def damaged_calls(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    rows = [choices(0, 0, 0, acc=1.0, f=0.5), choices(1, "[0, 1]", 1, acc=1.0, f=0.5)]
    tasks = {"q": choose(num_fewshot=1, fewshot_config={"split": "x"}, metadata={"version": 1})}
    call = document({"q": {"acc,none": 1.0, "f,none": 0.5}, "g": {"acc,none": 1.0}}, tasks, num=2)
    call |= {"group_subtasks": {"g": ["q"]}, "groups": {"g": {"acc,none": 1.0}}, "model_name": "org/m"}
    call |= {"higher_is_better": {"q": {"acc": True}, "g": {"acc": True}}, "task_hashes": {"q": "0" * 64}}
    call["config"] |= {"gen_kwargs": {"temperature": 0}, "random_seed": 0, "model_sha": "abc"}
    found: Any = call
    for _time in range(draw(st.integers(0, 3))):
        found = _damaged(found, draw)
    return found, [*rows, _damaged(rows[0], draw)] if draw(st.booleans()) else rows


@given(damaged_calls())
@hypothesis.settings(max_examples=400)
def test_a_damaged_call_is_refused_or_read_with_the_numbers_that_it_prints(
    call: tuple[Any, list[Any]],
) -> None:
    found, rows = call
    with tempfile.TemporaryDirectory() as folder:
        root = write(Path(folder), found, {"q": rows})
        if not SOURCE.recognises(root):
            return
        try:
            facts = SOURCE.read(root)
        except RunUnreadable as error:
            assert "\n" not in str(error)  # noqa: PT017
            return
    for score in facts.scores:
        if score.evidence == "recomputed":
            assert score.value is not None
            assert score.logged_value is not None
            assert agrees(score.value, score.logged_value)
    canonical_json([facts.parameters, [one.model_dump(mode="json") for one in facts.scores]])


# Cases that were reported

reported = pytest.mark.skipif(not SHARED.is_dir(), reason="the reported cases are not beside the checkout")
T = "2025-03-01T10-00-00.000001"


def _case(name: str) -> FoundFacts:
    return read(SHARED / "cases" / name)


@reported
@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (
            "lmeval-acc-is-a-probability/run",
            [("truthfulqa_mc2/acc", {}, 0.525448567332, 20, "per_sample")],
        ),
        (
            "lmeval-group-score/run",
            [
                ("mmlu_law/acc", {}, 0.4, 20, "recomputed"),
                ("mmlu_law/acc_norm", {}, 0.4, 20, "per_sample"),
                ("mmlu_math/acc", {}, 0.7, 20, "recomputed"),
                ("mmlu_math/acc_norm", {}, 0.7, 20, "per_sample"),
                ("mmlu/acc", {}, 0.55, 40, "recomputed"),
            ],
        ),
        (
            "lmeval-mutual-information/run",
            [
                ("commonsense_qa_mi/acc", {}, 0.6, 20, "recomputed"),
                ("commonsense_qa_mi/acc_mutual_info", {}, 0.0, 20, "per_sample"),
            ],
        ),
        (
            "lmeval-own-scorer/run",
            [
                ("minerva_math_algebra/exact_match", {}, 0.45, 20, "per_sample"),
                ("minerva_math_algebra/math_verify", {}, 0.45, 20, "per_sample"),
            ],
        ),
        (
            "lmeval-several-accepted-answers/run",
            [("triviaqa/exact_match", {"filter": "remove_whitespace"}, 0.6, 20, "recomputed")],
        ),
        (
            "lmeval-older-and-renamed-layouts/flat-0.3",
            [("gsm8k/acc", {}, 0.008, None, "logged")],
        ),
        *(
            (
                f"lmeval-{case}",
                [("mini/acc", {}, 0.6, 20, "recomputed"), ("mini/acc_norm", {}, 0.6, 20, "per_sample")],
            )
            for case in (
                "older-and-renamed-layouts/plain-0.4.1",
                "older-and-renamed-layouts/renamed",
                "credentials-in-results/run",
            )
        ),
    ],
)
def test_a_reported_case_has_the_harness_numbers(case: str, expected: list[Summary]) -> None:
    found = _case(case)
    assert scores(found) == expected
    assert notices(found) == []
    assert found.status is not None
    assert found.status.value == "completed"


@reported
def test_the_reported_documents_twice_count_once() -> None:
    found = _case("lmeval-documents-twice/run")
    assert scores(found) == [("mini/exact_match", {}, 0.5, 20, "recomputed")]
    assert notices(found) == [
        ("conflict", f"samples_mini_{T}.jsonl", "mini has the same rows twice, which count once: 0, 1, 2, 3")
    ]


@reported
def test_the_reported_nan_is_a_finding() -> None:
    found = _case("lmeval-nan-metric/run")
    assert scores(found)[0] == ("mini/acc", {}, None, None, None)
    assert notices(found) == [
        (
            "conflict",
            f"results_{T}.json",
            f"acc of mini is NaN in results_{T}.json, and samples_mini_{T}.jsonl gives 0.6 over 20 rows",
        )
    ]


@reported
def test_the_reported_addresses_are_no_difference() -> None:
    first, second = (_case(f"lmeval-addresses-in-configuration/{one}") for one in ("first", "second"))
    assert first.parameters == second.parameters


@reported
def test_the_reported_setting_is_one() -> None:
    control, ablated = (_case(f"lmeval-one-setting-many-keys/{one}") for one in ("control", "ablated"))
    keys = {*control.parameters, *ablated.parameters}
    assert {key for key in keys if control.parameters.get(key) != ablated.parameters.get(key)} == {
        "model_args"
    }


@reported
def test_the_reported_two_calls_can_be_chosen() -> None:
    root = SHARED / "cases" / "lmeval-two-calls-in-one-folder" / "run"
    with pytest.raises(RunUnreadable, match="mini more than once"):
        SOURCE.read(root)
    for time, value in ((T, 0.55), ("2025-03-02T10-00-00.000001", 0.6)):
        assert scores(LmEval(call=time).read(root))[0] == ("mini/acc", {}, value, 20, "recomputed")
