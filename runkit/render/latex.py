"""A table as a LaTeX float: booktabs and threeparttable, no preamble, no resizing, equal bytes each time."""

from __future__ import annotations

import textwrap
from itertools import zip_longest

from runkit.records.cells import Block, Cell, Column, Note, Row, Table
from runkit.render.escaping import escaped

PACKAGES = ("booktabs", "threeparttable", "amssymb")
"""What the document must load."""

_STUB_WIDTH = 14
"""Characters after which a row label goes on in the line of the intervals."""


def latex_table(table: Table, *, name: str) -> str:
    """Return the whole float of *table*, printed from ``paper_tables/<name>.toml``.

    Raises:
        TableRefused: A text holds a character that pdfLaTeX cannot print.
    """
    environment = "table*" if table.spans_both_columns else "table"
    caption = [rf"\caption{{{escaped(table.caption)}}}", rf"\label{{{table.label}}}"]
    inside = [*_tabular(table), *_notes(table.notes)]
    body = [*caption, *inside] if table.caption_side == "above" else [*inside, r"\medskip", *caption]
    lines = [
        f"% Printed from paper_tables/{name}.toml by runkit. Do not edit: `table --check` finds it.",
        f"% Needs in the preamble: \\usepackage{{{', '.join(PACKAGES)}}}",
        rf"\begin{{{environment}}}[t]",
        *_indented([r"\centering", r"\small", r"\setlength{\tabcolsep}{2.75pt}", r"\begin{threeparttable}"]),
        *_indented(_indented(body)),
        *_indented([r"\end{threeparttable}"]),
        rf"\end{{{environment}}}",
    ]
    return "\n".join(lines) + "\n"


def standalone_document(latex: str, *, width_inches: float = 5.5) -> str:
    """Return a document of one page that shows *latex* at the given width of the text."""
    return "\n".join(
        (
            r"\documentclass[10pt]{article}",
            rf"\usepackage[letterpaper,textwidth={width_inches}in,top=1in]{{geometry}}",
            rf"\usepackage{{{','.join(PACKAGES)}}}",
            r"\pagestyle{empty}",
            r"\begin{document}",
            latex.rstrip("\n"),
            r"\end{document}",
            "",
        )
    )


def _tabular(table: Table) -> list[str]:
    aligns = "".join("l" if column.align == "left" else "c" for column in table.columns)
    body = [r"\toprule", *_header(table.stub_header, table.columns)]
    for block in table.blocks:
        body += [r"\midrule", *_block(block, num_columns=1 + len(table.columns))]
    return [
        rf"\begin{{tabular}}{{@{{}}l{aligns}@{{}}}}",
        *_indented([*body, r"\bottomrule"]),
        r"\end{tabular}",
    ]


def _header(stub: str, columns: tuple[Column, ...]) -> list[str]:
    texts = [[escaped(stub)], *([escaped(line) for line in column.header] for column in columns)]
    return _stacked(texts)


def _block(block: Block, *, num_columns: int) -> list[str]:
    lines = []
    if block.title is not None:
        lines.append(rf"\multicolumn{{{num_columns}}}{{@{{}}l@{{}}}}{{\emph{{{escaped(block.title)}}}}} \\")
    rows = [_row(row, indent=r"\enspace " if block.title is not None else "") for row in block.rows]
    for index, row_lines in enumerate(rows):
        if index:
            lines.append(r"\addlinespace[2pt]")
        lines += row_lines
    return lines


def _row(row: Row, *, indent: str) -> list[str]:
    label = [escaped(line) for line in textwrap.wrap(row.label, _STUB_WIDTH) or [""]]
    label[-1] += _tnote(row.marks)
    return _stacked([[indent + line for line in label], *(_cell(cell) for cell in row.cells)])


def _cell(cell: Cell) -> list[str]:
    lines = [escaped(line) for line in cell.lines]
    if lines and cell.is_bold:
        lines[0] = rf"\textbf{{{lines[0]}}}"
    if lines and cell.marks:
        lines[0] += rf"\rlap{{{_tnote(cell.marks)}}}"
    return lines


def _tnote(marks: tuple[str, ...]) -> str:
    return rf"\tnote{{{','.join(marks)}}}" if marks else ""


def _stacked(texts: list[list[str]]) -> list[str]:
    return [" & ".join(cells).rstrip() + r" \\" for cells in zip_longest(*texts, fillvalue="")]


def _notes(notes: tuple[Note, ...]) -> list[str]:
    if not notes:
        return []
    whole = " ".join(escaped(note.text) for note in notes if not note.mark)
    marked = [rf"\item[{note.mark}] {escaped(note.text)}" for note in notes if note.mark]
    items = [*([rf"\item[] {whole}"] if whole else []), *marked]
    return [r"\begin{tablenotes}[flushleft]", *_indented([r"\small", *items]), r"\end{tablenotes}"]


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]
