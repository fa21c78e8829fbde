"""Per-sample outcomes as one Parquet file: a row an evaluation, item and system."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from runkit.errors import RunUnreadable
from runkit.records.outcomes import EvaluationOutcomes, RunOutcomes

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("evaluation", "item", "gold", "system", "answer", "outcome")
"""All texts; ``answer`` is null where nothing could be extracted."""


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


def outcomes_from_parquet(path: Path) -> RunOutcomes:
    """Return the outcomes that :func:`outcomes_to_parquet` wrote to *path*.

    Raises:
        RunUnreadable: The file is missing, torn, or has other columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # pq.read_table loads what reads folders of files, and pandas with it, which takes 0.4 s.
        with pq.ParquetFile(path, memory_map=False) as file:
            table = file.read()
    except (OSError, pa.ArrowInvalid) as error:
        raise RunUnreadable(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from error
    if tuple(table.column_names) != COLUMNS:
        raise RunUnreadable(f"{path} has columns {table.column_names}, expected {list(COLUMNS)}")
    return _regrouped(table)


def _regrouped(table: pa.Table) -> RunOutcomes:
    columns = {name: table.column(name).to_pylist() for name in COLUMNS}
    starts = [0]
    keys = list(zip(columns["evaluation"], columns["system"], strict=True))
    starts += [row for row in range(1, len(keys)) if keys[row] != keys[row - 1]]
    answers: dict[str, dict[str, tuple[str | None, ...]]] = {}
    items: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    for start, end in zip(starts, [*starts[1:], len(keys)], strict=True):
        if start == end:
            continue
        label, system = keys[start]
        answers.setdefault(label, {})[system] = tuple(columns["answer"][start:end])
        items.setdefault(label, (tuple(columns["item"][start:end]), tuple(columns["gold"][start:end])))
    return {
        label: EvaluationOutcomes(label, items[label][0], items[label][1], systems)
        for label, systems in answers.items()
    }
