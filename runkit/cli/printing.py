"""The verbs that print: table and readme. They show what workflows rendered, in the terminal's own way."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runkit.cli.failing import tell_error
from runkit.cli.options import WorkspaceFolder, opened, tell
from runkit.cli.output import console
from runkit.render.escaping import one_line

if TYPE_CHECKING:
    from rich.text import Text

    from runkit.archive.workspace import Workspace
    from runkit.records.cells import Block, Cell, Row, Table
    from runkit.records.finding import Finding


def register(app: typer.Typer) -> None:
    """Add the verbs to *app*."""
    app.command()(table)
    app.command()(readme)


def table(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Specifications in paper_tables/; default: all.", metavar="[NAME]..."),
    ] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Print the LaTeX instead of the table.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; find files that are not as printed.")
    ] = False,
    pdf: Annotated[
        bool, typer.Option("--pdf", help="Also compile paper_tables/NAME.pdf, if pdflatex is there.")
    ] = False,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Print tables from the archive.

    LaTeX, Markdown, and where each cell comes from. Exit status 1 when --check
    finds a printed file that is stale or was edited by hand.
    """
    from runkit.workflows.table import check_tables

    archive = opened(workspace)
    chosen = _chosen(archive, names or [], is_check=check)
    if check:
        _report(
            check_tables(archive, tuple(names or ())),
            f"{len(chosen)} table{'s' * (len(chosen) != 1)} checked",
        )
        return
    _print_each(archive, chosen, latex=latex, pdf=pdf)


def readme(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; find out whether the README is as printed.")
    ] = False,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Print what preserved_runs/README.md says of each run.

    Text outside its markers is kept. Exit status 1 when --check finds that it is stale or was edited by hand.
    """
    from runkit.workflows.readme import check_readme, write_readme

    archive = opened(workspace)
    if check:
        _report(check_readme(archive), "preserved_runs/README.md checked")
    else:
        print(write_readme(archive, tell=tell))


def _chosen(archive: Workspace, names: Sequence[str], *, is_check: bool) -> tuple[str, ...]:
    from runkit.errors import UsageError
    from runkit.workflows.table import table_names

    chosen = tuple(dict.fromkeys(names)) or table_names(archive)
    if not chosen and not is_check:
        raise UsageError("there is no table specification; write one as paper_tables/NAME.toml")
    return chosen


def _print_each(archive: Workspace, names: Sequence[str], *, latex: bool, pdf: bool) -> None:
    """Print all tables; one that cannot be printed does not hide the others."""
    from runkit.errors import RunkitError

    failed = False
    for name in names:
        try:
            _print_one(archive, name, latex=latex, pdf=pdf)
        except RunkitError as error:
            tell_error(error)
            failed = True
    if failed:
        raise typer.Exit(2)


def _print_one(archive: Workspace, name: str, *, latex: bool, pdf: bool) -> None:
    from runkit.workflows.table import compile_pdf, print_table

    rendered, written = print_table(archive, name, tell=tell)
    paths = list(written)
    if pdf:
        compiled = compile_pdf(archive, name, archive.paper_tables)
        paths += [compiled] if compiled is not None else []
        if compiled is None:
            print("runkit: no PDF, because there is no pdflatex on this machine", file=sys.stderr)
    if latex:
        print(rendered.files[f"{name}.tex"], end="")
        return
    _show(rendered.table)
    print("\n".join(one_line(str(path)) for path in paths))


def _report(findings: Sequence[Finding], checked: str) -> None:
    for finding in findings:
        print(one_line(f"{finding.rule} {finding.severity} {finding.place}: {finding.message}"))
        print(f"  -> {one_line(finding.way_out)}")
    print(f"{checked}: {f'{len(findings)} not as printed' if findings else 'all as printed'}")
    if findings:
        raise typer.Exit(1)


def _show(table: Table) -> None:
    if sys.stdout.isatty():
        _show_rich(table)
    else:
        print("\n".join(map(one_line, plain_lines(table))))


def plain_lines(table: Table) -> Iterator[str]:
    """Yield *table* as aligned text, a value and its interval in one line."""
    header = [table.stub_header, *(" ".join(column.header) for column in table.columns)]
    rows = [[_label(row), *(_text(cell) for cell in row.cells)] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    yield table.caption
    yield ""
    yield _aligned(header, widths)
    for block in table.blocks:
        yield "-" * (sum(widths) + 2 * (len(widths) - 1))
        yield from _block_lines(block, widths)
    yield ""
    yield from (f"{note.mark + ': ' if note.mark else ''}{note.text}" for note in table.notes)
    yield ""


def _block_lines(block: Block, widths: Sequence[int]) -> Iterator[str]:
    if block.title is not None:
        yield block.title
    for row in block.rows:
        yield _aligned([_label(row), *(_text(cell) for cell in row.cells)], widths)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _label(row: Row) -> str:
    return row.label + _marked(row.marks)


def _text(cell: Cell) -> str:
    emphasis = "*" if cell.is_bold else ""
    return " ".join(
        [emphasis + line + emphasis if not index else line for index, line in enumerate(cell.lines)]
    ) + (_marked(cell.marks))


def _marked(marks: Sequence[str]) -> str:
    return f" ({','.join(marks)})" if marks else ""


def _show_rich(table: Table, *, width: int | None = None) -> None:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(
        box=box.SIMPLE_HEAD, title=Text(one_line(table.caption)), title_justify="left", pad_edge=False
    )
    grid.add_column(Text(one_line(table.stub_header)))
    for column in table.columns:
        grid.add_column(Text("\n".join(map(one_line, column.header))), justify="center")
    for block in table.blocks:
        if block.title is not None:
            grid.add_row(Text(one_line(block.title), style="italic"))
        for row in block.rows:
            grid.add_row(Text(one_line(_label(row))), *(_rich_cell(cell) for cell in row.cells))
        grid.add_section()
    terminal = console(width=width)
    terminal.print(grid)
    for note in table.notes:
        text = one_line(f"{note.mark + ': ' if note.mark else ''}{note.text}")
        terminal.print(text, markup=False, highlight=False, style="dim")


def _rich_cell(cell: Cell) -> Text:
    from rich.text import Text

    text = Text()
    for index, line in enumerate(map(one_line, cell.lines)):
        text.append("\n" if index else "")
        text.append(line, style="bold" if cell.is_bold and not index else None)
        text.append("" if index else _marked(cell.marks))
    return text
