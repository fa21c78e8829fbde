"""Files that lie there anyway, files described in words, and what several sources say together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runkit.errors import RecordInvalid, RunUnreadable
from runkit.ingest.combine import agree, combined
from runkit.ingest.source import FoundFacts
from runkit.ingest.sources.declared import SOURCE as DECLARED
from runkit.ingest.sources.results_files import SOURCE as FILES
from runkit.records.items import ItemScores
from runkit.records.layout import LAYOUT_FILE, ItemsFile, Layout, ScoresFile
from runkit.records.measurement import Metric, Score
from runkit.records.metrics import metric_named

ROWS = ({"id": "007", "f1": 0.5}, {"id": "7", "f1": 0.25}, {"id": "c", "f1": 1.0})


def lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(root: Path, **files: str) -> FoundFacts:
    """Return what is found in files named as the keywords, with ``__`` for the dot."""
    for name, text in files.items():
        (root / name.replace("__", ".")).write_text(text)
    assert FILES.recognises(root)
    return FILES.read(root)


def values(found: FoundFacts) -> dict[str, float | None]:
    return {score.name: score.value for score in found.scores}


def notices(found: FoundFacts) -> list[tuple[str, str]]:
    return [(notice.kind, notice.message) for notice in found.notices]


def described(root: Path, text: str, **files: str) -> FoundFacts:
    """Return what is found in *files* by the description *text*."""
    for name, content in files.items():
        (root / name.replace("__", ".")).write_text(content)
    (root / LAYOUT_FILE).write_text(text)
    assert DECLARED.recognises(root)
    return DECLARED.read(root)


def refusal(root: Path, text: str, **files: str) -> str:
    with pytest.raises(RunUnreadable) as caught:
        described(root, text, **files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- the same in every form


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.json", '{"lr": 0.1, "model": {"depth": 2}, "seed": 3}'),
        ("config.yaml", "lr: 0.1\nmodel:\n  depth: 2\nseed: 3\n"),
        ("hparams.yml", "lr: 0.1\nmodel: {depth: 2}\nseed: 3\n"),
        ("params.toml", "lr = 0.1\nseed = 3\n[model]\ndepth = 2\n"),
    ],
)
def test_a_configuration_is_the_same_in_every_form(tmp_path: Path, name: str, text: str) -> None:
    found = read(tmp_path, **{name: text})
    assert found.parameters == {"lr": 0.1, "model.depth": 2, "seed": 3}
    assert found.parameters_at is not None
    assert found.parameters_at.path == name
    assert notices(found) == []


def _written(root: Path, ending: str) -> str:
    path = root / f"predictions{ending}"
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(ROWS)), path)
    elif ending == ".csv":
        path.write_text("id,f1\n" + "".join(f"{row['id']},{row['f1']}\n" for row in ROWS))
    else:
        path.write_text(lines(ROWS))
    return path.name


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_items_are_the_same_in_every_form_and_an_id_is_its_text(tmp_path: Path, ending: str) -> None:
    name = _written(tmp_path, ending)
    found = read(tmp_path)
    metric = metric_named("f1", "real", values=[0.5, 0.25, 1.0])
    assert found.items == [ItemScores(metric, ("007", "7", "c"), (0.5, 0.25, 1.0))]
    [score] = found.scores
    assert (score.value, score.n, score.evidence, score.path) == (1.75 / 3, 3, "per_sample", name)
    assert (score.metric.direction, score.metric.unit) == ("higher", "fraction")
    assert notices(found) == []


@pytest.mark.parametrize("name", ["metrics.csv", "metrics.jsonl"])
def test_values_over_steps_end_in_the_last_of_a_usual_name(tmp_path: Path, name: str) -> None:
    rows = [{"step": 10, "val_loss": 0.5, "odd": 1.5}, {"step": 20, "val_loss": 0.25, "odd": 2.5}]
    is_csv = name.endswith(".csv")
    text = "step,val_loss,odd\n10,0.5,1.5\n20,0.25,2.5\n" if is_csv else lines(rows)
    found = read(tmp_path, **{name: text})
    assert [(one.split, one.metric.name, one.steps, one.values) for one in found.series] == [
        ("validation", "loss", (10, 20), (0.5, 0.25)),
        (None, "odd", (10, 20), (1.5, 2.5)),
    ]
    assert [(score.split, score.metric.name, score.value) for score in found.scores] == [
        ("validation", "loss", 0.25)
    ]
    assert found.last_step == 20


def test_answers_are_compared_with_the_right_ones_as_texts(tmp_path: Path) -> None:
    text = "id,prediction,gold\na,007,7\nb,7,7\nc,7.0,7\n"
    [items] = read(tmp_path, predictions__csv=text).items
    assert (items.metric.name, items.metric.kind, items.values) == ("exact_match", "binary", (0.0, 1.0, 0.0))
    assert (items.answers, items.golds) == (("007", "7", "7.0"), ("7", "7", "7"))


# ---- bad input


@pytest.mark.parametrize("spelling", ["NaN", "Infinity", "-Infinity", "1" + "0" * 400])
def test_a_number_that_is_not_finite_is_a_score_without_a_value(tmp_path: Path, spelling: str) -> None:
    [score] = read(tmp_path, results__json=f'{{"f1": {spelling}}}').scores
    told = {"NaN": "nan", "-Infinity": "-inf"}.get(spelling, "inf")
    assert (score.value, score.evidence) == (None, None)
    assert score.missing_because == f"results.json says {told}"


def test_items_without_a_finite_value_are_counted_and_in_no_mean(tmp_path: Path) -> None:
    text = "id,f1\na,0.5\nb,nan\nc,inf\nd,\ne,nan\nf,1.0\n"
    found = read(tmp_path, per_sample__csv=text)
    [score] = found.scores
    assert (score.value, score.n, score.num_missing) == (0.75, 2, 4)
    assert dict(score.missing_values) == {"nan": "2", "inf": "1", "": "1"}
    assert [kind for kind, _message in notices(found)] == ["not_finite"]


def test_a_step_without_a_finite_value_is_kept_as_a_gap(tmp_path: Path) -> None:
    found = read(tmp_path, metrics__csv="step,loss\n1,0.5\n2,nan\n3,0.25\n")
    assert [one.values for one in found.series] == [(0.5, None, 0.25)]
    assert values(found) == {"loss@final": 0.25}


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_ids_that_repeat_are_told_and_no_item_is_taken(tmp_path: Path, ending: str) -> None:
    rows = [{"id": "a", "f1": 1}, {"id": "b", "f1": 1}, {"id": "a", "f1": 0}]
    text = "id,f1\na,1\nb,1\na,0\n" if ending == "csv" else lines(rows)
    found = read(tmp_path, **{f"predictions.{ending}": text})
    assert (found.items, found.scores) == ([], [])
    assert notices(found) == [
        (
            "conflict",
            f"predictions.{ending} has 1 item ids twice, such as a; no item was taken, since nobody can tell "
            "which row counts",
        )
    ]


@pytest.mark.parametrize("row", ['{"f1": 1}', '{"id": null, "f1": 1}', '{"id": "", "f1": 1}'])
def test_a_row_without_an_id_is_told_and_no_item_is_taken(tmp_path: Path, row: str) -> None:
    found = read(tmp_path, predictions__jsonl='{"id": "a", "f1": 1}\n{"id": "b", "f1": 0}\n' + row + "\n")
    assert (found.items, found.scores) == ([], [])
    message = "predictions.jsonl has 1 rows without an item id in id; no item was taken"
    assert notices(found) == [("conflict", message)]


def test_a_file_with_one_row_a_run_is_no_file_of_items(tmp_path: Path) -> None:
    found = read(tmp_path, predictions__csv="id,f1\nrun-1,0.5\n")
    assert (found.items, found.scores) == ([], [])
    message = "it has one row; a file with one row a run is no file of items, give it as metrics"
    assert notices(found) == [("unreadable", f"predictions.csv cannot be read: {message}")]
    text = '[[items]]\npath = "predictions.csv"\n'
    assert refusal(tmp_path, text) == f"predictions.csv: {message}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("predictions.jsonl", '{"id": "a", "f1": 1}\n{"id": "b", "f1": 0}\n{"id": "c", "f'),
        ("predictions.csv", "id,f1\na,1\nb,0\nc"),
    ],
)
def test_a_torn_row_is_counted_and_the_others_are_read(tmp_path: Path, name: str, text: str) -> None:
    found = read(tmp_path, **{name: text})
    [score] = found.scores
    assert (score.value, score.n, score.num_unreadable_rows) == (0.5, 2, 1)
    assert notices(found) == [("unreadable", f"{name}: 1 rows are torn")]


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("config.yaml", "!!python/object/apply:os.system ['touch executed']", "unreadable"),
        ("config.json", "{", "unreadable"),
        ("config.toml", "a = ", "unreadable"),
        ("config.json", "[" * 100_000, "unreadable"),
        ("config.yaml", "just words", "not_read"),
        ("results.json", '{"run": {"mystery": 3}}', "not_read"),
        ("results.json", "[1, 2]", "not_read"),
        ("metrics.csv", "name\nx\n", "not_read"),
        ("predictions.jsonl", "\n\n", "not_read"),
        ("predictions.csv", "question,f1\nq,1\nr,1\n", "not_read"),
        ("predictions.csv", "id,mystery\na,1\nb,1\n", "not_read"),
        ("results.json", '{"accuracy": 0.5, "accuracy": 0.7}', "unreadable"),
        ("config.json", '{"a": {"lr": 1, "lr": 2}}', "unreadable"),
        ("predictions.csv", "id,f1,f1\na,1,0\nb,1,1\n", "unreadable"),
        ("metrics.csv", "step,loss,loss\n1,2,3\n", "unreadable"),
        ("predictions.parquet", "PAR1 and no more", "unreadable"),
    ],
)
def test_what_cannot_be_read_is_said_and_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    found = read(tmp_path, **{name: text})
    assert (found.scores, found.items, found.parameters) == ([], [], {})
    [(said, message)] = notices(found)
    assert said == kind
    assert message.startswith(name)
    assert "\n" not in message
    assert not (tmp_path / "executed").exists()


def test_results_of_which_nothing_is_known_name_the_way_out(tmp_path: Path) -> None:
    found = read(tmp_path, results__json='{"run": {"mystery": 3, "riddle": 4}}')
    assert notices(found) == [
        (
            "not_read",
            "results.json holds 2 numbers and none was read (run.mystery, run.riddle); say how in "
            "runkit.toml, or with --metrics or --items of preserve",
        )
    ]


# ---- files described in words


def test_a_description_says_what_files_and_columns_are(tmp_path: Path) -> None:
    layout = Layout(
        config=("conf/all.toml",),
        metrics=(
            ScoresFile(path="out.json", scores={"final.mystery": "riddle"}, task="t", direction="lower"),
            ScoresFile(path="course.csv", scores={"err": "error_rate"}),
        ),
        items=(ItemsFile(path="rows.csv", item="name", value="points", metric="grade", cluster="class"),),
        primary="t/riddle",
        command="python 'my train.py' --fast",
    )
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "all.toml").write_text("lr = 0.1\n")
    found = described(
        tmp_path,
        layout.to_toml(),
        out__json='{"final": {"mystery": 3}}',
        course__csv="epoch,err\n1,0.5\n2,0.25\n",
        rows__csv="name,points,class\n01,3.5,x\n1,2.5,x\n",
    )
    assert found.parameters == {"lr": 0.1}
    assert found.primary == "t/riddle"
    assert found.command is not None
    assert found.command.argv == ("python", "my train.py", "--fast")
    assert values(found) == {"t/riddle@final": 3.0, "error_rate@final": 0.25, "grade@final": 3.0}
    [items] = found.items
    assert (items.items, items.values, items.clusters) == (("01", "1"), (3.5, 2.5), ("x", "x"))
    assert [score.metric.direction for score in found.scores] == ["lower", "lower", None]


SCORES = '[[metrics]]\npath = "out.json"\n'
ITEMS = '[[items]]\npath = "rows.csv"\n'


@pytest.mark.parametrize(
    ("text", "files", "expected"),
    [
        ('config = ["confg.json"]', {"config.json": "{}"},
         "there is no file confg.json in the run directory; did you mean config.json"),
        ('config = ["../../outside.json"]', {},
         "there is no file ../../outside.json in the run directory; it holds runkit.layout.toml"),
        ('config = ["config.py"]', {"config.py": "lr = 0.1"},
         "config.py is no JSON, YAML or TOML file; nothing of a run is executed to read it; write its "
         "settings as JSON, YAML or TOML"),
        ('config = ["config.pkl"]', {"config.pkl": "cos\nsystem\n(S'touch executed'\ntR."},
         "config.pkl is no JSON, YAML or TOML file; nothing of a run is executed to read it; write its "
         "settings as JSON, YAML or TOML"),
        ('config = ["c.json"]', {"c.json": "[1]"}, "c.json holds no settings; expected keys with values"),
        (SCORES + 'scores = { "final.acuracy" = "accuracy" }', {"out.json": '{"final": {"accuracy": 1}}'},
         "out.json has no number 'final.acuracy'; did you mean 'final.accuracy'"),
        (SCORES, {"out.json": '{"mystery": 1}'},
         "out.json holds no number of a usual name; say which with scores = { key = 'metric' }: it has "
         "mystery"),
        (SCORES + 'scores = { note = "accuracy" }', {"out.json": '{"note": "high", "n": 1}'},
         "out.json has no number 'note'; it is 'high'"),
        (ITEMS + 'value = "scor"', {"rows.csv": "id,score\na,1\nb,0\n"},
         "rows.csv: there is no column 'scor'; it has id, score; the first row is {'id': 'a', 'score': '1'}"),
        ('[[metrics]]\npath = "m.csv"\nscores = { acc = "accuracy" }', {"m.csv": "step,loss\n1,0.5\n"},
         "m.csv: there is no column 'acc' with numbers; it has loss"),
        ('command = "python \'x"\n' + SCORES, {"out.json": "{}"},
         "the command \"python 'x\" cannot be read: No closing quotation; mend its quotes"),
    ],
)  # fmt: skip
def test_a_description_that_does_not_fit_is_refused_in_one_line(
    tmp_path: Path, text: str, files: dict[str, str], expected: str
) -> None:
    assert refusal(tmp_path, text, **files) == expected
    assert not (tmp_path / "executed").exists()


def test_a_misspelled_key_of_a_description_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(RecordInvalid) as caught:
        described(tmp_path, '[[items]]\npath = "rows.csv"\nvalues = "score"\n', rows__csv="id,score\na,1\n")
    assert str(caught.value) == (
        "runkit.layout.toml is not a valid layout: there is no key 'items.0.values'; did you mean 'value'"
    )


@pytest.mark.parametrize("linked", ["../outside.json", "/etc/hostname"])
def test_a_link_out_of_the_run_directory_is_not_followed(tmp_path: Path, linked: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (tmp_path / "outside.json").write_text('{"accuracy": 1}')
    (run / "out.json").symlink_to(linked)
    assert refusal(run, SCORES).startswith("there is no file out.json in the run directory; ")


# ---- several sources


def found_in(source: str, path: str, value: float, *, line: int | None = None, **named: Any) -> FoundFacts:
    found = FoundFacts(source)
    metric = named.pop("metric", metric_named("accuracy", "scalar", values=[value]))
    found.score(metric, value, path=path, line=line, **named)
    return found


def items_in(source: str, path: str, *given: float | None) -> FoundFacts:
    found = FoundFacts(source)
    ids = tuple(str(index) for index in range(len(given)))
    known = [value for value in given if value is not None]
    found.measured(ItemScores(metric_named("accuracy", "binary", values=known), ids, given), path=path)
    return found


def test_item_scores_win_over_a_line_whatever_the_order_and_keep_what_it_says() -> None:
    line, items = found_in("log", "log.txt", 0.75, line=3), items_in("items", "rows.csv", 1.0, 1.0, 1.0, 0.0)
    for order in ((line, items), (items, line)):
        merged = combined(order)
        [score] = merged.scores
        assert (score.value, score.evidence, score.path, score.logged_value) == (
            0.75, "per_sample", "rows.csv", 0.75,
        )  # fmt: skip
        assert merged.notices == ()
        assert len(merged.items) == 1


def test_two_sources_that_disagree_are_both_named_with_file_and_line() -> None:
    first = found_in("a", "results.json", 0.75)
    second = found_in("b", "log.txt", 0.5, line=12)
    merged = combined((first, second))
    [score] = merged.scores
    assert score.value == 0.75
    assert [(one.kind, one.path, one.line, one.message) for one in merged.notices] == [
        (
            "conflict", "log.txt", 12,
            "accuracy@final is 0.75 by results.json, which was taken, and 0.5 by log.txt:12",
        )
    ]  # fmt: skip


def test_two_sources_that_give_a_setting_two_values_are_both_named() -> None:
    first, second = FoundFacts("a"), FoundFacts("b")
    first.params({"lr": 0.1, "seed": 1}, path="config.json")
    second.params({"lr": 0.2, "seed": 1}, path="log.txt", line=7)
    merged = combined((first, second))
    assert merged.parameters == {"lr": 0.1, "seed": 1}
    assert [one.message for one in merged.notices] == ["lr is 0.1 in config.json and 0.2 in log.txt:7"]


def test_a_metric_with_two_directions_is_a_conflict_and_one_without_a_direction_none() -> None:
    def with_direction(direction: Any, task: str) -> FoundFacts:
        metric = Metric(name="mystery", kind="scalar", direction=direction)
        return found_in("s", f"{task}.json", 1.0, metric=metric, task=task)

    up, down, unknown = (
        with_direction("higher", "a"), with_direction("lower", "b"), with_direction(None, "c"),
    )  # fmt: skip
    assert [one.message for one in combined((up, down)).notices] == [
        "mystery is better when higher by a.json, and when lower by b.json"
    ]
    assert combined((up, unknown)).notices == ()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (0.123456, 0.12, True), (0.123456, 0.13, False), (0.12, 0.123456, True), (0.5, 0.500000001, True),
        (0.5, 0.6, False), (1.0, 1.04, False), (31.4159, 31.42, True), (1e-9, 2e-9, False), (3.0, 3, True),
    ],
)  # fmt: skip
def test_two_spellings_agree_to_the_digits_of_the_shorter(
    first: float, second: float, expected: bool
) -> None:
    assert agree(first, second) is expected


def test_a_score_with_a_value_wins_over_one_without() -> None:
    empty = FoundFacts("a")
    empty.scores.append(
        Score(
            metric=metric_named("accuracy", "scalar"), value=None, evidence=None, missing_because="nan",
        )
    )  # fmt: skip
    full = found_in("b", "results.json", 0.5)
    for order in ((empty, full), (full, empty)):
        [score] = combined(order).scores
        assert score.value == 0.5
