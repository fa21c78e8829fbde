"""Per-sample outcomes as one Parquet file: a row an evaluation, item and system."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

from runkit.archive.opening import OUTCOMES_LIMIT_BYTES, read_regular
from runkit.errors import RunUnreadable
from runkit.records.outcomes import EvaluationOutcomes, RunOutcomes

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

COLUMNS = ("evaluation", "item", "gold", "system", "answer", "outcome")
"""All texts; ``answer`` is null where nothing could be extracted."""

MOST_ROWS = 20_000_000
"""Answers of a run: ten thousand evaluations of a thousand items by two systems."""
_MOST_UNCOMPRESSED_BYTES = 2 << 30


def outcomes_to_parquet(outcomes: RunOutcomes) -> tuple[bytes, int]:
    """Return the Parquet bytes of *outcomes* and the number of rows; equal outcomes give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow.lib import StringBuilder

    columns: dict[str, list[str | None]] = {name: [] for name in COLUMNS}
    for evaluation in outcomes.values():
        _append_rows(columns, evaluation)
    schema = pa.schema([pa.field(name, pa.string(), nullable=name == "answer") for name in COLUMNS])
    arrays = []
    for name in COLUMNS:
        # Lists that are given to pa.table are asked whether they are of pandas, which is loaded for that.
        builder = StringBuilder()
        builder.append_values(columns[name])
        arrays.append(builder.finish())
    table = pa.Table.from_arrays(arrays, schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", use_dictionary=True)
    return buffer.getvalue(), table.num_rows


def _append_rows(columns: dict[str, list[str | None]], evaluation: EvaluationOutcomes) -> None:
    num_items = len(evaluation.items)
    for system, answers in evaluation.answers.items():
        columns["evaluation"] += [evaluation.label] * num_items
        columns["item"] += evaluation.items
        columns["gold"] += evaluation.golds
        columns["system"] += [system] * num_items
        columns["answer"] += answers
        columns["outcome"] += evaluation.outcomes(system)


def outcomes_from_parquet(path: Path, *, num_rows: int | None = None) -> RunOutcomes:
    """Return the outcomes that :func:`outcomes_to_parquet` wrote to *path*.

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
        # pq.read_table loads what reads folders of files, and pandas with it, which takes 0.4 s. Texts that
        # come again and again stay one text each.
        with pq.ParquetFile(content, read_dictionary=COLUMNS) as file:
            _check_extent(path, file.metadata, num_rows)
            table = file.read()
            return _regrouped(path, table)
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise RunUnreadable(f"{path} is not a readable Parquet file: {reason}") from error
    except (pa.ArrowException, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunUnreadable(f"{path} is not a readable Parquet file: {reason}") from error


def _check_extent(path: Path, metadata: pq.FileMetaData, num_rows: int | None) -> None:
    names = [metadata.schema.column(index).name for index in range(metadata.num_columns)]
    if tuple(names) != COLUMNS:
        raise RunUnreadable(f"{path} has columns {names[:20]}, expected {list(COLUMNS)}")
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    found = sum(group.num_rows for group in groups)
    if found != metadata.num_rows or (num_rows is not None and found != num_rows):
        said = (
            f"the manifest says {num_rows:,}"
            if num_rows is not None
            else f"its end says {metadata.num_rows:,}"
        )
        raise RunUnreadable(f"{path} has {found:,} rows, {said}")
    num_bytes = sum(group.total_byte_size for group in groups)
    if found > MOST_ROWS or num_bytes > _MOST_UNCOMPRESSED_BYTES:
        raise RunUnreadable(
            f"{path} has {found:,} rows and {num_bytes:,} bytes when uncompressed; at most {MOST_ROWS:,} and "
            f"{_MOST_UNCOMPRESSED_BYTES:,} are read"
        )


def _regrouped(path: Path, table: pa.Table) -> RunOutcomes:
    columns = {name: _texts(table.column(name)) for name in COLUMNS}
    if any(None in columns[name] for name in COLUMNS if name != "answer"):
        raise RunUnreadable(f"{path} lacks texts that every row has")
    keys = list(zip(columns["evaluation"], columns["system"], strict=True))
    starts = [row for row in range(len(keys)) if row == 0 or keys[row] != keys[row - 1]]
    answers: dict[str, dict[str, tuple[str | None, ...]]] = {}
    items: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    for start, end in pairwise([*starts, len(keys)]):
        label, system = cast("tuple[str, str]", keys[start])
        asked = cast(
            "tuple[tuple[str, ...], tuple[str, ...]]",
            (tuple(columns["item"][start:end]), tuple(columns["gold"][start:end])),
        )
        if items.setdefault(label, asked) != asked or system in answers.setdefault(label, {}):
            raise RunUnreadable(
                f"{path} does not give each system of evaluation {label!r} the same items, once"
            )
        answers[label][system] = tuple(columns["answer"][start:end])
    return {
        label: EvaluationOutcomes(label, items[label][0], items[label][1], systems)
        for label, systems in answers.items()
    }


def _texts(column: pa.ChunkedArray) -> list[str | None]:
    """Return the texts of *column*; equal ones of a chunk are one object."""
    import pyarrow as pa

    texts: list[str | None] = []
    for chunk in column.chunks:
        if not (pa.types.is_dictionary(chunk.type) and pa.types.is_string(chunk.type.value_type)):
            raise pa.ArrowInvalid(f"a column is of type {chunk.type}, not of texts")
        known = [*chunk.dictionary.to_pylist(), None]
        texts += [known[-1 if index is None else index] for index in chunk.indices.to_pylist()]
    return texts
