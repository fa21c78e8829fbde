"""A table as GitHub Markdown, with the same digits as in LaTeX and its notes below."""

from __future__ import annotations

from runkit.records.cells import Cell, Note, Row, Table
from runkit.render.escaping import escaped_markdown


def markdown_table(table: Table, *, name: str) -> str:
    """Return *table* as Markdown, printed from ``paper_tables/<name>.toml``."""
    header = [table.stub_header, *(" ".join(column.header) for column in table.columns)]
    lines = [
        f"<!-- Printed from paper_tables/{name}.toml by runkit. Do not edit: `table --check` finds it. -->",
        "",
        f"**{escaped_markdown(table.caption)}**",
        "",
        _line([escaped_markdown(text) for text in header]),
        _line(["---", *(":-:" for _ in table.columns)]),
    ]
    for block in table.blocks:
        if block.title is not None:
            lines.append(_line([f"*{escaped_markdown(block.title)}*", *("" for _ in table.columns)]))
        lines += [_row(row) for row in block.rows]
    return "\n".join([*lines, "", *(_note(note) for note in table.notes)]) + "\n"


def _row(row: Row) -> str:
    return _line([escaped_markdown(row.label) + _marks(row.marks), *(_cell(cell) for cell in row.cells)])


def _cell(cell: Cell) -> str:
    lines = [escaped_markdown(line) for line in cell.lines]
    if lines and cell.is_bold:
        lines[0] = f"**{lines[0]}**"
    if lines and cell.marks:
        lines[0] += _marks(cell.marks)
    return " ".join(lines)


def _marks(marks: tuple[str, ...]) -> str:
    return f"<sup>{','.join(marks)}</sup>" if marks else ""


def _note(note: Note) -> str:
    return f"- {_marks((note.mark,)) + ' ' if note.mark else ''}{escaped_markdown(note.text)}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
