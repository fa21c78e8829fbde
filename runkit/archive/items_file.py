"""Item scores as one Parquet file: a row a score and item, columns that any reader of Parquet understands."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from runkit.archive.opening import OUTCOMES_LIMIT_BYTES, read_regular
from runkit.errors import RecordInvalid, RunUnreadable
from runkit.records.items import ItemScores, RunItems
from runkit.records.manifest import Outcome
from runkit.records.measurement import Metric, ScoreKey, Weights

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = (
    "system", "task", "split", "metric", "weights", "conditions",
    "item", "cluster", "value", "outcome", "answer", "gold",
)  # fmt: skip
"""Texts but for ``value``. ``metric``, ``weights`` and ``conditions`` are JSON; ``weights`` says the step."""

_OF_SCORE = COLUMNS[:6]
_OF_ITEM = COLUMNS[6:]
_MOST_ROWS = 100_000_000
_PART_ROWS = 100_000
_MOST_UNCOMPRESSED_BYTES = 8 << 30


def items_to_parquet(found: Iterable[ItemScores]) -> tuple[bytes, int]:
    """Return the Parquet bytes of *found* and the number of rows; equal item scores give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([pa.field(name, pa.float64() if name == "value" else pa.string()) for name in COLUMNS])
    buffer, num_rows = io.BytesIO(), 0
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for items in found:
            # By parts, since what all rows of a score share is written out before it is packed again.
            for start in range(0, len(items.items), _PART_ROWS):
                part = slice(start, start + _PART_ROWS)
                writer.write_table(pa.Table.from_arrays(list(_arrays(items, part)), schema=schema))
            num_rows += len(items.items)
    return buffer.getvalue(), num_rows


def _arrays(items: ItemScores, part: slice) -> Iterable[pa.Array]:
    import pyarrow as pa

    num_rows = len(items.items[part])
    for text in _head(items):
        # One text many times: a dictionary of one entry takes no time and the same bytes in the file.
        yield pa.DictionaryArray.from_arrays(
            pa.array(memoryview(bytes(4 * num_rows)).cast("i"), pa.int32()), pa.array([text], pa.string())
        ).cast(pa.string())
    columns: Sequence[Sequence[Any] | None] = (
        items.items, items.clusters, items.values, items.outcomes, items.answers, items.golds,
    )  # fmt: skip
    for name, column in zip(_OF_ITEM, columns, strict=True):
        kind = pa.float64() if name == "value" else pa.string()
        yield pa.nulls(num_rows, kind) if column is None else pa.array(column[part], kind)


def _head(items: ItemScores) -> tuple[str | None, ...]:
    return (
        items.system,
        items.task,
        items.split,
        json.dumps(items.metric.model_dump(mode="json"), sort_keys=True),
        json.dumps(items.weights.model_dump(mode="json"), sort_keys=True),
        json.dumps(dict(items.conditions), sort_keys=True),
    )


def items_from_parquet(path: Path, *, num_rows: int | None) -> RunItems:
    """Return the item scores that :func:`items_to_parquet` wrote to *path*.

    How much there is to read is told before anything is: a few bytes can stand for billions of rows.

    Args:
        num_rows: Rows that the manifest says there are; None: it was not asked.
    Raises:
        RunUnreadable: The file is missing, torn, too large, or has other columns or rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = pa.BufferReader(read_regular(path, limit=OUTCOMES_LIMIT_BYTES))
        _check_extent(path, pq.read_metadata(content), num_rows)
        content.seek(0)
        with pq.ParquetFile(content, read_dictionary=_OF_SCORE) as file:
            table = file.read()
        return _by_key(path, _regrouped(path, table))
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise RunUnreadable(f"{path} is not a readable Parquet file: {reason}") from error
    except (pa.ArrowException, UnicodeDecodeError, ValueError, RecursionError, RecordInvalid) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunUnreadable(f"{path} is not a readable file of item scores: {reason}") from error


def _check_extent(path: Path, metadata: Any, num_rows: int | None) -> None:
    names = tuple(metadata.schema.column(index).name for index in range(metadata.num_columns))
    if names != COLUMNS:
        raise RunUnreadable(f"{path} has columns {list(names[:20])}, expected {list(COLUMNS)}")
    for index, name in enumerate(names):
        column = metadata.schema.column(index)
        expected = ("DOUBLE", "NONE") if name == "value" else ("BYTE_ARRAY", "STRING")
        if (column.physical_type, column.logical_type.type) != expected or column.max_repetition_level:
            raise RunUnreadable(f"{path} has a column {name} of {column.physical_type}, no file of ours has")
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    found = sum(group.num_rows for group in groups)
    num_bytes = sum(group.total_byte_size for group in groups)
    said = metadata.num_rows if num_rows is None else num_rows
    if found != metadata.num_rows or found != said:
        raise RunUnreadable(f"{path} has {found:,} rows, the manifest says {said:,}")
    if found > _MOST_ROWS or num_bytes > _MOST_UNCOMPRESSED_BYTES:
        raise RunUnreadable(
            f"{path} has {found:,} rows and {num_bytes:,} bytes when uncompressed; at most {_MOST_ROWS:,} "
            f"and {_MOST_UNCOMPRESSED_BYTES:,} are read"
        )


def _by_key(path: Path, found: Iterable[ItemScores]) -> RunItems:
    by_key: dict[ScoreKey, ItemScores] = {}
    for items in found:
        if by_key.setdefault(items.key, items) is not items:
            raise RunUnreadable(f"{path} has item scores of {'/'.join(items.key[:4])} in two places")
    return by_key


def _regrouped(path: Path, table: pa.Table) -> Iterable[ItemScores]:
    import pyarrow.compute as pc

    if table.num_rows == 0:
        return
    table = table.combine_chunks()
    heads = [table.column(name).combine_chunks() for name in _OF_SCORE]
    starts = {0}
    for column in heads:
        indices = column.indices.fill_null(-1)
        changed = pc.not_equal(indices.slice(1), indices.slice(0, len(indices) - 1))
        starts.update(index + 1 for index in pc.indices_nonzero(changed).to_pylist())
    for start, end in pairwise([*sorted(starts), table.num_rows]):
        yield _one(path, table.slice(start, end - start))


def _one(path: Path, rows: pa.Table) -> ItemScores:
    system, task, split, metric, weights, conditions = (rows.column(name)[0].as_py() for name in _OF_SCORE)
    columns = {name: rows.column(name) for name in _OF_ITEM}
    if columns["item"].null_count or None in (system, task, metric, weights, conditions):
        raise RunUnreadable(f"{path} lacks texts that every row has")

    items, values = columns["item"].to_pylist(), columns["value"].to_pylist()
    outcomes = set(columns["outcome"].unique().to_pylist())
    said = json.loads(conditions)
    if len(set(items)) != len(items):
        raise RunUnreadable(f"{path} has an item twice in the scores of {task}")
    if not all(value is None or math.isfinite(value) for value in values):
        raise RunUnreadable(f"{path} has a value that is not finite in the scores of {task}")
    if not outcomes <= {None, *get_args(Outcome)}:
        raise RunUnreadable(f"{path} has an outcome that is none of {', '.join(get_args(Outcome))}")
    if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
        raise RunUnreadable(f"{path} has conditions that are not texts in the scores of {task}")

    def texts(name: str) -> Any:
        return None if columns[name].null_count == len(rows) else tuple(columns[name].to_pylist())

    return ItemScores(
        metric=Metric.parse(metric, origin=str(path)),
        items=tuple(items),
        values=tuple(values),
        system=system,
        task=task,
        split=split,
        weights=Weights.parse(weights, origin=str(path)),
        conditions=said,
        outcomes=texts("outcome"),
        answers=texts("answer"),
        golds=texts("gold"),
        clusters=texts("cluster"),
    )
