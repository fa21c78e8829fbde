"""The sidecar of a table: each cell's text and source, and digests of the printed files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from runkit.records.cells import CellSidecar, Row, SidecarCell, SidecarRow, Table


def sidecar(table: Table, *, name: str, spec_text: bytes, files: Mapping[str, str]) -> CellSidecar:
    """Return the sidecar of *table*.

    Args:
        name: Name of the specification.
        spec_text: Its bytes.
        files: Name of each printed file to its text.
    """
    return CellSidecar(
        format=1,
        table=name,
        spec_sha256=hashlib.sha256(spec_text).hexdigest(),
        files={file: hashlib.sha256(text.encode()).hexdigest() for file, text in sorted(files.items())},
        rows=tuple(_sidecar_row(table, row) for row in table.rows),
        notes=tuple(f"{note.mark}: {note.text}" if note.mark else note.text for note in table.notes),
    )


def _sidecar_row(table: Table, row: Row) -> SidecarRow:
    cells = tuple(
        SidecarCell(column=column.key, text=cell.text, source=cell.source)
        for column, cell in zip(table.columns, row.cells, strict=True)
        if cell.lines
    )
    return SidecarRow(label=row.label, run_id=row.run_id, cells=cells)
