"""Item scores survive the round trip through Parquet, and a file of others takes no more than it says."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.archive.items_file import COLUMNS, items_from_parquet, items_to_parquet
from runkit.errors import RunUnreadable
from runkit.records.items import ItemScores
from runkit.records.measurement import Metric, ScoreKey, Weights
from runkit.records.metrics import metric_named

texts = st.text(max_size=6)
names = st.text(min_size=1, max_size=6)
ACCURACY = metric_named("accuracy", "binary")


@st.composite
def item_scores(draw: st.DrawFn) -> ItemScores:
    items = tuple(draw(st.lists(texts, min_size=1, max_size=5, unique=True)))

    def column(values: st.SearchStrategy[object]) -> tuple[object, ...]:
        return tuple(draw(st.lists(values, min_size=len(items), max_size=len(items))))

    def texts_or_none() -> tuple[object, ...] | None:
        found = column(st.none() | texts)
        return None if set(found) == {None} else found

    outcomes = column(st.sampled_from([None, "correct", "wrong", "invalid"]))
    return ItemScores(
        metric=Metric(
            name=draw(names),
            kind=draw(st.sampled_from(["binary", "ternary", "real"])),
            direction=draw(st.sampled_from(["higher", "lower", None])),
            unit=draw(st.none() | names),
        ),
        items=items,
        values=column(st.none() | st.floats(allow_nan=False, allow_infinity=False)),  # type: ignore[arg-type]
        system=draw(names),
        task=draw(names),
        split=draw(st.none() | names),
        weights=Weights(step=draw(st.none() | st.integers(0, 99)), is_final=draw(st.booleans())),
        conditions=draw(st.dictionaries(names, texts, max_size=2)),
        outcomes=None if set(outcomes) == {None} else outcomes,  # type: ignore[arg-type]
        answers=texts_or_none(),  # type: ignore[arg-type]
        golds=texts_or_none(),  # type: ignore[arg-type]
        clusters=texts_or_none(),  # type: ignore[arg-type]
    )


def by_key(found: list[ItemScores]) -> dict[ScoreKey, ItemScores]:
    return {items.key: items for items in found}


@given(st.lists(item_scores(), max_size=4, unique_by=lambda items: items.key))
def test_item_scores_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, found: list[ItemScores]
) -> None:
    path = tmp_path_factory.mktemp("items") / "r.parquet"
    parquet, num_rows = items_to_parquet(found)
    path.write_bytes(parquet)
    assert num_rows == sum(len(items.items) for items in found)
    assert items_from_parquet(path, num_rows=num_rows) == by_key(found)
    assert items_to_parquet(found)[0] == parquet


def test_several_scores_of_the_same_items_stay_apart(tmp_path: Path) -> None:
    found = [
        ItemScores(ACCURACY, ("a", "b"), (1.0, 0.0), weights=Weights(step=step, is_final=step is None))
        for step in (10, 20, None)
    ]
    path = tmp_path / "r.parquet"
    path.write_bytes(items_to_parquet(found)[0])
    assert list(items_from_parquet(path, num_rows=6).values()) == found


def rows(num_rows: int, **changed: pa.Array) -> pa.Table:
    [items] = [ItemScores(ACCURACY, tuple(map(str, range(num_rows))), (1.0,) * num_rows)]
    table = pq.read_table(pa.BufferReader(items_to_parquet([items])[0]))
    for name, column in changed.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def refusal(path: Path, table: pa.Table, *, num_rows: int | None = None) -> str:
    pq.write_table(table, path)
    with pytest.raises(RunUnreadable) as caught:
        items_from_parquet(path, num_rows=num_rows)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path} ")


def test_rows_are_counted_before_they_are_read(tmp_path: Path) -> None:
    expected = "has 1,000 rows, the manifest says 3"
    assert refusal(tmp_path / "r.parquet", rows(1_000), num_rows=3) == expected


def test_a_few_bytes_that_stand_for_many_rows_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runkit.archive.items_file._MOST_ROWS", 999)
    assert refusal(tmp_path / "r.parquet", rows(1_000)).startswith("has 1,000 rows and ")


def test_other_columns_are_named(tmp_path: Path) -> None:
    table = rows(2).rename_columns(["model", *COLUMNS[1:]])
    found = ["model", *COLUMNS[1:]]
    assert refusal(tmp_path / "r.parquet", table) == f"has columns {found}, expected {list(COLUMNS)}"
    reversed_columns = rows(2).select(list(reversed(COLUMNS)))
    assert refusal(tmp_path / "r.parquet", reversed_columns).startswith("has columns ['gold', ")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("value", pa.array(["1", "1"])),
        ("item", pa.array(["a", None])),
        ("item", pa.array([1, 2])),
        ("item", pa.array(["a", "a"])),
        ("value", pa.array([math.nan, 1.0])),
        ("outcome", pa.array(["excellent", "wrong"])),
        ("answer", pa.array([1, 2])),
        ("cluster", pa.array([["x"], ["y"]])),
        ("system", pa.array([None, None], pa.string())),
        ("system", pa.array([1, 1])),
        ("metric", pa.array(["{", "{"])),
        ("metric", pa.array(['{"name": "x", "kind": "magic"}'] * 2)),
        ("weights", pa.array(['{"step": -1}'] * 2)),
        ("conditions", pa.array(["[1]"] * 2)),
        ("conditions", pa.array(['{"a": 1}'] * 2)),
        ("conditions", pa.array(["[" * 100_000] * 2)),
    ],
)
def test_what_no_writer_of_ours_writes_is_refused(tmp_path: Path, column: str, values: pa.Array) -> None:
    assert refusal(tmp_path / "r.parquet", rows(2, **{column: values}))


def test_one_score_in_two_places_is_refused(tmp_path: Path) -> None:
    other = ItemScores(metric_named("f1", "real"), ("a",), (0.5,))
    table = pq.read_table(pa.BufferReader(items_to_parquet([other])[0]))
    assert refusal(tmp_path / "r.parquet", pa.concat_tables([rows(2), table, rows(2)]))


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_torn_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.outcomes.parquet"
    path.write_bytes(content)
    with pytest.raises(RunUnreadable, match=r"r\.outcomes\.parquet is not a readable"):
        items_from_parquet(path, num_rows=None)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunUnreadable, match=r"r\.outcomes\.parquet"):
        items_from_parquet(tmp_path / "r.outcomes.parquet", num_rows=None)
