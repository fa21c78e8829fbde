"""What the four functions wrote, read back: whole, merged, and every contradiction told with its lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runkit
from runkit.errors import RunUnreadable
from runkit.ingest.source import FoundFacts
from runkit.ingest.sources.recorded import SOURCE
from runkit.records.items import items_digest
from runkit.records.measurement import Metric, Score, Weights
from runkit.records.metrics import metric_named

NAME = "measurements.jsonl"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory that the functions write into."""
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RUNKIT_RUN_DIRECTORY", str(tmp_path))
    return tmp_path


def read(run: Path) -> FoundFacts:
    assert SOURCE.recognises(run)
    return SOURCE.read(run)


def notices(found: FoundFacts) -> list[tuple[str, int | None, str]]:
    assert {notice.path for notice in found.notices} <= {NAME}
    return [(notice.kind, notice.line, notice.message) for notice in found.notices]


def write(run: Path, *lines: dict[str, Any] | bytes) -> None:
    head = {"at": "2026-01-02T03:04:05+00:00", "rank": None, "pid": 7}
    with (run / NAME).open("ab") as file:
        for line in lines:
            file.write(line if isinstance(line, bytes) else json.dumps({**head, **line}).encode() + b"\n")


def scored(value: Any, *, metric: str = "accuracy", **named: Any) -> dict[str, Any]:
    return {"kind": "score", "metric": metric, "value": value, **named}


def rows(
    *given: tuple[Any, ...], part: tuple[int, int] = (1, 1), call: str = "a", **named: Any
) -> dict[str, Any]:
    return {
        "kind": "items", "metric": "accuracy", "part": list(part), "call": call,
        "columns": ["item", "value"], "rows": [list(one) for one in given], **named,
    }  # fmt: skip


def test_what_the_functions_write_is_what_is_read(run: Path) -> None:
    runkit.params({"model": {"width": 8}}, lr=0.1)
    runkit.log(step=10, split="train", loss=2.0)
    runkit.log(step=20, split="train", loss=1.0)
    runkit.score("latency", 12.5, unit="ms", task="serving", n=3, conditions={"batch": 4}, primary=True)
    runkit.items("exact_match", {"q2": True, "q1": False}, task="squad", split="dev", answers=["a", "b"])
    found = read(run)
    latency = Metric(name="latency", kind="scalar", direction="lower", unit="ms")
    exact = Metric(name="exact_match", kind="binary", direction="higher", unit="fraction", low=0.0, high=1.0)
    assert notices(found) == []
    assert found.parameters == {"model.width": 8, "lr": 0.1}
    assert (found.last_step, found.primary, found.files) == (20, "serving/latency@final", {NAME})
    (series,) = found.series
    assert (series.metric, series.split) == (Metric(name="loss", kind="scalar", direction="lower"), "train")
    assert (series.steps, series.values) == ((10, 20), (2.0, 1.0))
    (items,) = found.items
    assert (items.metric, items.items, items.values) == (exact, ("q1", "q2"), (0.0, 1.0))
    assert (items.answers, items.golds, items.outcomes) == (("b", "a"), None, None)
    summed, logged = found.scores
    assert (summed.metric, summed.value, summed.n, summed.evidence) == (exact, 0.5, 2, "per_sample")
    assert summed.items_sha256 == items_digest(("q1", "q2"), None)
    assert logged == Score(
        task="serving", metric=latency, value=12.5, n=3, conditions={"batch": "4"}, evidence="logged",
        path=NAME, line=4,
    )  # fmt: skip
    assert found.started is not None


def test_only_files_that_the_functions_wrote_are_recognised(tmp_path: Path) -> None:
    assert not SOURCE.recognises(tmp_path)
    (tmp_path / NAME).write_text('{"kind": "measurement", "length": 3}\n')
    assert not SOURCE.recognises(tmp_path)
    with (tmp_path / NAME).open("a") as file:
        file.write('{"kind":"log","at":"2026-01-02T03:04:05+00:00","pid":1,"values":{}}\n')
    assert SOURCE.recognises(tmp_path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path, scored(0.5))
    inside = tmp_path / "run"
    inside.mkdir()
    (inside / NAME).symlink_to(tmp_path / NAME)
    assert not SOURCE.recognises(inside)
    with pytest.raises(
        RunUnreadable, match=r"^measurements.jsonl cannot be read: .*; check its permissions$"
    ):
        SOURCE.read(inside)


def test_torn_lines_and_unknown_ones_are_counted_and_cost_nothing_else(tmp_path: Path) -> None:
    write(
        tmp_path, scored(0.5), b'{"kind":"sco\n', b"\n", b"\xff\xfe\n", {"kind": "figure"},
        scored(1, metric="a" * 501), {"kind": "log", "step": -1, "values": {}}, b"[" * 10_000 + b"\n",
        scored(0.75, metric="f1"),
    )  # fmt: skip
    found = read(tmp_path)
    assert [score.value for score in found.scores] == [0.5, 0.75]
    assert notices(found) == [
        ("unreadable", 2, "3 lines are torn or no line of runkit's: 2, 4, 8"),
        ("unreadable", 5, "1 line is of a kind that this version of runkit does not know: 5"),
        ("unreadable", 6, "1 line is with a metric that is no name of at most 500 letters: 6"),
        ("unreadable", 7, "1 line is with a step that is no whole number of 0 or more: 7"),
    ]


def test_a_parameter_that_is_given_twice_is_merged_and_a_contradiction_told(tmp_path: Path) -> None:
    def params(rank: int | None = None, **values: Any) -> dict[str, Any]:
        return {"kind": "params", "values": values, "rank": rank}

    write(
        tmp_path, params(lr=0.1, local_rank=0, rank=0), params(rank=1, lr=0.1, local_rank=1),
        params(seed=3, lr=0.2), params(seed=3),
    )  # fmt: skip
    found = read(tmp_path)
    assert found.parameters == {"lr": 0.2, "local_rank": 0, "seed": 3}
    assert notices(found) == [
        ("conflict", 3, "lr is 0.1 in line 1 (rank 0) and 0.2 in line 3; the later one is taken")
    ]


def test_a_score_with_another_value_is_a_conflict_and_the_last_one_is_taken(tmp_path: Path) -> None:
    write(
        tmp_path, scored(0.5, rank=0), scored(0.5, rank=1), scored(0.7, rank=2), scored(0.9, metric="f1"),
        scored(0.9, metric="f1"),
    )  # fmt: skip
    found = read(tmp_path)
    assert [(score.value, score.line, score.contradicting_lines) for score in found.scores] == [
        (0.7, 3, (2,)),
        (0.9, 5, ()),
    ]
    assert notices(found) == [
        (
            "conflict",
            3,
            "accuracy is 0.5 in line 2 (rank 1) and 0.7 in line 3 (rank 2); the later one is taken",
        )
    ]


@pytest.mark.parametrize(
    ("value", "because"),
    [
        ("nan", "the program gave nan"),
        ("-inf", "the program gave -inf"),
        (None, "the program gave no value"),
        ("BLEU = 31", "the program gave a text, no number"),
    ],
)
def test_a_score_without_a_number_is_kept_without_a_value(tmp_path: Path, value: Any, because: str) -> None:
    write(tmp_path, scored(value))
    (score,) = read(tmp_path).scores
    assert (score.value, score.evidence, score.missing_because) == (None, None, because)


def test_a_step_without_a_rule_is_of_the_course_and_a_saved_checkpoint_is_the_result(tmp_path: Path) -> None:
    write(
        tmp_path, scored(0.1, step=5), scored(0.2, step=9, weights="best"), scored(0.3, weights="last"),
        scored(0.4, metric="f1", step=9, weights="best dev f1"),
        scored(0.5, metric="auc", step=7, weights="best"),
    )  # fmt: skip
    weights = {score.value: score.weights for score in read(tmp_path).scores}
    assert weights == {
        0.1: Weights(step=5, is_final=False),
        0.2: Weights(step=9, kind="best", is_final=False),
        0.3: Weights(kind="last"),
        0.4: Weights(step=9, chosen_by="best dev f1"),
        0.5: Weights(step=7, kind="best"),
    }


def test_two_scores_of_one_label_are_told_apart_by_a_condition(tmp_path: Path) -> None:
    write(
        tmp_path, scored(0.1, step=5), scored(0.2, step=5, weights="best"), scored(0.3, weights="last"),
        scored(0.4, weights="by dev loss"),
    )  # fmt: skip
    assert [
        (score.value, score.weights.label, dict(score.conditions)) for score in read(tmp_path).scores
    ] == [
        (0.1, "5", {}),
        (0.2, "5", {"weights": "best"}),
        (0.3, "final", {}),
        (0.4, "unknown", {}),
    ]


@pytest.mark.parametrize(("logged", "kept"), [(0.75, 0.75), (75.0, 0.75), (1.0, 1.0)])
def test_a_percentage_beside_items_is_compared_as_the_fraction_that_it_is(
    tmp_path: Path, logged: float, kept: float
) -> None:
    write(tmp_path, rows(("a", 1), ("b", 1)), scored(logged), scored(81.0, split="dev"))
    items, other = read(tmp_path).scores
    assert (items.metric.unit, items.value, items.logged_value) == ("fraction", 1.0, kept)
    assert (other.metric.unit, other.value) == ("points", 81.0)


def test_two_scores_that_are_both_primary_are_told(tmp_path: Path) -> None:
    write(tmp_path, scored(0.1, primary=True), scored(0.1, metric="f1", task="squad", primary=True))
    found = read(tmp_path)
    assert found.primary == "accuracy@final"
    assert notices(found) == [
        (
            "conflict",
            2,
            "accuracy@final (line 1) and squad/f1@final (line 2) are both said to be primary; "
            "the first one is taken",
        )
    ]


def test_a_course_is_the_lowest_ranks_and_what_is_not_finite_or_differs_is_told(tmp_path: Path) -> None:
    def log(step: int | None, loss: Any, rank: int | None = None) -> dict[str, Any]:
        at = {} if step is None else {"step": step}
        return {"kind": "log", "values": {"loss": loss}, "rank": rank, **at}

    write(
        tmp_path, log(1, 3.0, 0), log(1, 4.0, 1), log(2, 2.0, 1), log(2, 2.0, 0), log(3, "nan", 0),
        log(2, 2.5, 0),
    )  # fmt: skip
    found = read(tmp_path)
    (series,) = found.series
    assert (series.steps, series.values, found.last_step) == ((1, 2, 3), (3.0, 2.5, None), 3)
    assert notices(found) == [
        (
            "conflict",
            6,
            "loss at step 2 is 2.0 in line 4 (rank 0) and 2.5 in line 6 (rank 0); the later one is taken",
        ),
        (
            "conflict",
            2,
            "loss of rank 0 and of rank 1 differ at 2 steps, first at step 1 (lines 1 and 2); "
            "that of rank 0 is taken",
        ),
        ("not_finite", 5, "loss is no finite number at 1 of 3 steps, first at step 3 (line 5): nan"),
    ]


def test_a_course_without_steps_is_numbered_in_the_order_of_the_calls(run: Path) -> None:
    for loss in (3.0, 2.0, 1.0):
        runkit.log(loss=loss)
    (series,) = read(run).series
    assert (series.steps, series.values) == ((0, 1, 2), (3.0, 2.0, 1.0))


@pytest.mark.parametrize(
    ("columns", "kind", "num_missing"),
    [
        ({"values": [1, 0, 1]}, "binary", 0),
        ({"values": [True, "nan", False]}, "binary", 1),
        ({"values": [1, 0, 0], "outcomes": ["correct", "wrong", "invalid"]}, "ternary", 0),
        ({"values": [1, 0.5, 0]}, "real", 0),
        ({"values": ["inf", None, "what"]}, "real", 3),
        ({"values": [1, 0, 1], "metric": "rouge1"}, "real", 0),
        ({"values": [1, 0, 1], "metric": "zorp"}, "binary", 0),
    ],
)
def test_the_kind_of_a_metric_shows_in_its_items(
    tmp_path: Path, columns: dict[str, Any], kind: str, num_missing: int
) -> None:
    outcomes = columns.get("outcomes", [None] * 3)
    table = list(zip("abc", columns["values"], outcomes, strict=True))
    line = rows(*table, columns=["item", "value", "outcome"], metric=columns.get("metric", "accuracy"))
    write(tmp_path, {**line, "columns": ["item", "value", "outcome"]})
    found = read(tmp_path)
    (score,) = found.scores
    assert (score.metric.kind, score.num_missing) == (kind, num_missing)
    assert sum(map(int, score.missing_values.values())) == num_missing
    assert notices(found) == []


def test_processes_that_share_the_items_are_read_together_in_an_order_of_their_own(tmp_path: Path) -> None:
    write(
        tmp_path, rows(("10", 1), ("2", 0), call="b", rank=1, pid=8),
        rows(("1", 1), ("3", 1), ("10", 1), call="a", rank=0),
    )  # fmt: skip
    found = read(tmp_path)
    assert notices(found) == []
    assert [(items.items, items.values) for items in found.items] == [
        (("1", "2", "3", "10"), (1.0, 0.0, 1.0, 1.0))
    ]


LINES_OF_A_REPETITION = [
    ([rows(("a", 1), ("b", 0), ("a", 1))], "item 'a' is given twice in the call at line 1"),
    ([rows(("a", 1)), rows(("a", 1), call="b")], "item 'a' is given twice in the calls at lines 1 and 2"),
    (
        [rows(("a", 1), rank=0), rows(("a", 0), call="b", rank=1, pid=8)],
        "item 'a' is given twice in the calls at lines 1 and 2",
    ),
]


@pytest.mark.parametrize(("lines", "because"), LINES_OF_A_REPETITION)
@pytest.mark.parametrize("with_score", [True, False])
def test_an_item_that_is_given_twice_costs_the_item_scores_and_no_sum_is_made_of_them(
    tmp_path: Path, lines: list[dict[str, Any]], because: str, with_score: bool
) -> None:
    write(tmp_path, *lines, *([scored(0.5)] if with_score else []))
    found = read(tmp_path)
    said = f"{because} among the items of accuracy"
    assert found.items == []
    assert notices(found) == [("conflict", 1, f"{said}; its item scores are not taken")]
    assert [(score.value, score.evidence, score.missing_because) for score in found.scores] == [
        (0.5, "logged", None) if with_score else (None, None, said)
    ]


def test_a_part_that_is_missing_costs_the_item_scores(tmp_path: Path) -> None:
    write(tmp_path, rows(("a", 1), part=(1, 3)), rows(("b", 1), part=(3, 3)), b'{"kind":"items","par')
    found = read(tmp_path)
    assert found.items == []
    assert [score.value for score in found.scores] == [None]
    assert notices(found) == [
        ("unreadable", 3, "1 line is torn or no line of runkit's: 3"),
        (
            "unreadable",
            1,
            "part 2 of 3 of the items of accuracy (from line 1) is missing; its item scores are not taken",
        ),
    ]


def test_an_outcome_that_the_value_speaks_against_costs_the_item_scores(tmp_path: Path) -> None:
    write(tmp_path, {**rows(("a", 0, "correct")), "columns": ["item", "value", "outcome"]})
    found = read(tmp_path)
    said = (
        "item 'a' is correct and has the value 0 among the items of accuracy; its item scores are not taken"
    )
    assert (found.items, notices(found)) == ([], [("conflict", 1, said)])


def test_a_score_of_the_same_items_is_compared_and_the_sum_of_the_items_taken(tmp_path: Path) -> None:
    write(tmp_path, rows(("a", 1), ("b", 0)), scored(0.75))
    (score,) = read(tmp_path).scores
    assert (score.value, score.evidence, score.logged_value) == (0.5, "per_sample", 0.75)


def test_what_is_said_of_a_metric_in_two_ways_is_null_and_told(tmp_path: Path) -> None:
    write(
        tmp_path, scored(0.1, higher_is_better=True, unit="fraction"),
        scored(0.1, split="dev", higher_is_better=False),
        scored(0.1, split="test", unit="points"), scored(81.0, metric="f1", unit="fraction"),
    )  # fmt: skip
    found = read(tmp_path)
    assert {(s.metric.name, s.metric.direction, s.metric.unit) for s in found.scores} == {
        ("accuracy", None, None),
        ("f1", "higher", None),
    }
    assert notices(found) == [
        ("conflict", 2, "higher accuracy is better by line 1 and worse by line 2; no direction is taken"),
        ("conflict", 3, "the unit of accuracy is fraction (line 1) and points (line 3); none is taken"),
        (
            "conflict",
            4,
            "f1 is said to be a fraction in line 4 and has values from 81 to 81; no unit is taken",
        ),
    ]


@pytest.mark.parametrize(
    ("name", "values", "meaning"),
    [
        ("accuracy", [0.81], ("higher", "fraction", 0.0, 1.0)),
        ("accuracy", [1.0], ("higher", "fraction", 0.0, 1.0)),
        ("accuracy", [0.5, 81.0], ("higher", "points", 0.0, 100.0)),
        ("accuracy", [810.0], ("higher", None, None, None)),
        ("accuracy", [-0.1], ("higher", None, None, None)),
        ("eval/pass@10", [0.3], ("higher", "fraction", 0.0, 1.0)),
        ("test_rougeL", [41.2], ("higher", "points", 0.0, 100.0)),
        ("bleu", [31.4], ("higher", "points", 0.0, 100.0)),
        ("bleu", [0.314], ("higher", None, 0.0, None)),
        ("wer", [0.4, 1.2], ("lower", None, None, None)),
        ("wer", [0.4], ("lower", "fraction", 0.0, None)),
        ("perplexity", [12.0], ("lower", "1", 1.0, None)),
        ("eval_loss", [2.5], ("lower", None, None, None)),
        ("rmse", [2.5], ("lower", None, 0.0, None)),
        ("r2", [-3.0], ("higher", "1", None, 1.0)),
        ("zorp", [0.5], (None, None, None, None)),
    ],
)
def test_what_a_metric_means_is_what_is_usual_unless_a_value_speaks_against_it(
    name: str, values: list[float], meaning: tuple[Any, ...]
) -> None:
    metric = metric_named(name, "scalar", values=values)
    assert (metric.direction, metric.unit, metric.low, metric.high) == meaning


def test_what_the_caller_says_of_a_metric_comes_first() -> None:
    said = metric_named("accuracy", "scalar", False, "%", values=[81.0])
    assert (said.direction, said.unit) == ("lower", "points")
    assert metric_named("zorp", "scalar", True, "fraction", values=[0.5]).is_fraction
    assert not metric_named("zorp", "scalar", True, "fraction", values=[1.5]).is_fraction


def test_half_a_surrogate_pair_can_be_kept(run: Path) -> None:
    runkit.items("accuracy", {"\ud800": True}, answers=["\udfff"])
    (items,) = read(run).items
    assert (items.items, items.answers) == (("\\ud800",), ("\\udfff",))


def test_numbers_beyond_what_a_float_holds_are_not_finite(tmp_path: Path) -> None:
    write(
        tmp_path,
        b'{"kind":"score","at":"x","pid":1,"rank":null,"metric":"a","value":1e999}\n',
        b'{"kind":"score","at":"x","pid":1,"rank":null,"metric":"b","value":1' + b"0" * 400 + b"}\n",
    )
    assert [(score.value, score.missing_because is not None) for score in read(tmp_path).scores] == [
        (None, True),
        (None, True),
    ]


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["nan", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SOME = st.sampled_from(["accuracy", "loss", "zorp", "best", "last", "live", "a\nb"])


def perhaps(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(usual, usual, usual, ANY)


LINE = st.fixed_dictionaries(
    {
        "kind": perhaps(st.sampled_from(["params", "log", "score", "items"])),
        "value": perhaps(st.floats(0, 100)),
    },
    optional={
        "metric": perhaps(SOME),
        "values": perhaps(st.dictionaries(SOME, ANY)),
        "rank": perhaps(st.integers(0, 2)),
        "step": perhaps(st.integers(0, 3)),
        "task": perhaps(SOME),
        "split": perhaps(SOME),
        "weights": perhaps(SOME),
        "unit": perhaps(st.sampled_from(["fraction", "points"])),
        "higher_is_better": perhaps(st.booleans()),
        "conditions": perhaps(st.dictionaries(SOME, SOME)),
        "n": perhaps(st.integers(0, 9)),
        "primary": perhaps(st.booleans()),
        "call": perhaps(st.sampled_from(["a", "b"])),
        "part": perhaps(st.sampled_from([[1, 1], [1, 2], [2, 2], [1, 10**15]])),
        "columns": perhaps(st.just(["item", "value", "outcome"])),
        "rows": perhaps(
            st.lists(
                st.tuples(SOME, perhaps(st.integers(0, 1)), st.sampled_from([None, "correct", "invalid"]))
            )
        ),
    },
)


@settings(max_examples=300)
@given(lines=st.lists(LINE, max_size=6))
def test_whatever_the_lines_are_what_is_read_of_them_can_be_sealed(
    tmp_path_factory: pytest.TempPathFactory, lines: list[dict[str, Any]]
) -> None:
    run = tmp_path_factory.mktemp("any")
    write(run, {"kind": "log", "values": {}}, *lines)
    found = read(run)
    for record in (*found.scores, *found.series, *found.notices):
        assert type(record).parse(record.to_json(), origin="here") == record
    json.dumps(found.parameters, allow_nan=False).encode()
    assert len({score.key for score in found.scores}) == len(found.scores)
    assert {items.key for items in found.items} <= {score.key for score in found.scores}
    assert all("\n" not in notice.message for notice in found.notices)
