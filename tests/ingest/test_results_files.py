"""Files that lie there anyway: what is read is what they say, and what is not read is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from runkit.ingest.source import FoundFacts
from runkit.ingest.sources.results_files import SOURCE


def read(folder: Path, **files: str) -> FoundFacts:
    for name, text in files.items():
        stem, _, ending = name.rpartition("_")
        (folder / f"{stem}.{ending}").write_text(text, encoding="utf-8")
    return SOURCE.read(folder)


def told(found: FoundFacts) -> list[tuple[str, str]]:
    return [(notice.kind, notice.message) for notice in found.notices]


WAY_OUT = "say how in runkit.toml, or with --metrics or --items of preserve"
HUGE = "1" + "0" * 400


def test_an_integer_that_no_float_holds_is_a_score_without_a_value(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        metrics_json=f'{{"accuracy": 0.5, "loss": {HUGE}}}',
        metrics_csv=f"step,loss\n1,0.5\n{HUGE},0.4\n2,{HUGE}\n",
        predictions_jsonl=f'{{"id": 1, "f1": {HUGE}}}\n{{"id": 2, "f1": 0.5}}\n',
    )
    scores = [(score.metric.name, score.value, score.missing_because) for score in found.scores]
    assert ("accuracy", 0.5, None) in scores
    assert ("loss", None, "metrics.json says inf") in scores
    assert found.series[0].steps == (1, 2)
    assert found.series[0].values == (0.5, None)
    assert found.items[0].values == (None, 0.5)


def test_a_few_lines_of_aliases_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    found = read(tmp_path, config_yaml="\n".join(lines))
    assert found.parameters == {}
    assert told(found) == [
        ("unreadable", "config.yaml cannot be read: it stands for more than 100,000 values")
    ]


def test_a_configuration_that_holds_itself_is_refused(tmp_path: Path) -> None:
    found = read(tmp_path, config_yaml="a: &a\n  b: *a\n")
    assert told(found) == [("unreadable", "config.yaml cannot be read: nested more than 64 deep")]


def test_a_set_has_one_order_whatever_process_reads_it(tmp_path: Path) -> None:
    found = read(tmp_path, config_yaml="names: !!set {b, c, a}\n")
    assert found.parameters == {"names": '["a", "b", "c"]'}


def test_two_configurations_that_disagree_are_a_conflict(tmp_path: Path) -> None:
    found = read(tmp_path, config_yaml="lr: 2\nseed: 1\n", config_json='{"lr": 1, "seed": 1}')
    assert told(found) == [
        ("conflict", "config.json gives 1 settings otherwise than another file (lr) and counts")
    ]


@pytest.mark.parametrize(
    ("answer", "gold"), [("05", "5"), ("1_000", "1000"), ("1e3", "1000"), ("nan", "NaN")]
)
def test_cells_are_compared_as_they_are_spelled(tmp_path: Path, answer: str, gold: str) -> None:
    found = read(tmp_path, predictions_csv=f"id,prediction,label\n007,{answer},{gold}\n7,a,a\n")
    assert found.items[0].items == ("007", "7")
    assert found.items[0].values == (0.0, 1.0)


def test_real_numbers_are_not_scored_by_equality(tmp_path: Path) -> None:
    found = read(tmp_path, predictions_csv="id,prediction,target\na,0.11,0.1\nb,1.2,1.3\n")
    assert found.scores == []
    assert told(found) == [
        (
            "not_read",
            f"predictions.csv: target holds real numbers, for which equal answers are no score; {WAY_OUT}",
        )
    ]


def test_numbers_that_are_not_read_beside_some_that_are_get_told(tmp_path: Path) -> None:
    found = read(tmp_path, metrics_json='{"accuracy": 0.5, "zorp": 3, "f1": true, "loss": "1e-3"}')
    assert {score.metric.name: score.value for score in found.scores} == {"accuracy": 0.5, "loss": 0.001}
    assert told(found) == [("not_read", f"metrics.json: 2 of 4 numbers were not read (zorp, f1); {WAY_OUT}")]


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    found = read(
        tmp_path, metrics_json='{"accuracy": 0.5, "accuracy": 0.9}', metrics_csv="step,loss,loss\n1,2,3\n"
    )
    assert found.scores == []
    assert told(found) == [
        ("unreadable", "metrics.csv cannot be read: it gives loss twice"),
        ("unreadable", "metrics.json cannot be read: the key accuracy stands twice in one object"),
    ]


def test_a_log_whose_steps_begin_again_says_so(tmp_path: Path) -> None:
    found = read(tmp_path, metrics_csv="step,loss\n0,5\n1,4\n0,9\n")
    assert found.series[0].values == (9.0, 4.0)
    assert told(found) == [
        ("conflict", "metrics.csv gives 1 values again at a whole step that has one; the later one counts")
    ]


def test_a_last_value_that_is_no_number_is_kept_as_missing(tmp_path: Path) -> None:
    found = read(tmp_path, history_csv="epoch,loss,val_loss\n0,1.2,1.3\n1,0.9,nan\n")
    scores = [(score.metric.name, score.split, score.value, score.missing_because) for score in found.scores]
    assert scores == [("loss", "validation", None, "history.csv says nan")]


def test_keras_numbers_without_a_word_before_them_are_of_the_training(tmp_path: Path) -> None:
    found = read(tmp_path, history_csv="epoch,accuracy,val_accuracy\n0,0.5,0.4\n1,0.8,0.55\n")
    assert [(score.split, score.value) for score in found.scores] == [("validation", 0.55)]
    assert {series.split for series in found.series} == {"train", "validation"}
