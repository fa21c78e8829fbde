"""The specification that goes with the small archive."""

from __future__ import annotations

from runkit.records.cells import Cell, Row, Table
from runkit.records.tablespec import FactorColumn, TableRow, TableSpec

LABELS = {
    "control": "All fixes (control)",
    "mean": "Mean pooling",
    "wide": "16 tokens",
    "no_kl": "No KL",
    "cut_off": "No prompt alignment",
    "again": "KL only",
    "once_more": "KL + prompt",
}

FACTORS = (
    FactorColumn(key="bridge.conditioning", label="Cond."),
    FactorColumn(key="bridge.num_tokens", label="Tokens"),
    FactorColumn(key="loss.kl", label="KL"),
)


def spec_of(*runs: str, **changes: object) -> TableSpec:
    """Return a specification with rows for *runs*, all of the small archive by default."""
    rows = tuple(TableRow(run=run, label=LABELS.get(run, run)) for run in runs or LABELS)
    spec = TableSpec(
        format=1, caption="What each part contributes.", label="tab:ablation", control="control", rows=rows,
        factors=FACTORS,
    )  # fmt: skip
    return spec.model_copy(update=changes)


def row_of(table: Table, label: str) -> Row:
    """Return the row called *label*."""
    return next(row for row in table.rows if row.label == label)


def cell_of(table: Table, label: str, column: str) -> Cell:
    """Return one cell by the label of its row and the key of its column."""
    keys = [found.key for found in table.columns]
    return row_of(table, label).cells[keys.index(column)]


def notes_of(table: Table) -> str:
    """Return all notes as one text."""
    return "\n".join(f"{note.mark}: {note.text}" if note.mark else note.text for note in table.notes)
