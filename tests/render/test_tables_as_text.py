"""Whole tables in LaTeX and Markdown: golden files, compiled, with the digits that were given."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from runkit.records.cells import Cell, Row, Table
from runkit.records.tablespec import TableRow
from runkit.render.escaping import code_span, escaped_markdown
from runkit.render.latex import latex_table, standalone_document
from runkit.render.markdown import markdown_table
from runkit.tables.ablation import ablation_table
from tests.render.compiling import Compiled, compile_document
from tests.tables.building import ablation_archive
from tests.tables.specs import spec_of

Compile = Callable[[str], Compiled]


class LatexFile(SingleFileSnapshotExtension):
    """A snapshot that is a LaTeX file."""

    _write_mode = WriteMode.TEXT
    file_extension = "tex"


class MarkdownFile(SingleFileSnapshotExtension):
    """A snapshot that is a Markdown file."""

    _write_mode = WriteMode.TEXT
    file_extension = "md"


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    return partial(compile_document, folder=tmp_path)


@pytest.fixture(scope="module")
def table() -> Table:
    return ablation_table(
        spec_of(), ablation_archive(), replicates=frozenset({"again", "once_more"}), blocking={}
    )


def test_the_latex_is_the_golden_file(table: Table, snapshot: SnapshotAssertion) -> None:
    assert latex_table(table, name="ablation") == snapshot(extension_class=LatexFile)


def test_the_markdown_is_the_golden_file(table: Table, snapshot: SnapshotAssertion) -> None:
    assert markdown_table(table, name="ablation") == snapshot(extension_class=MarkdownFile)


@pytest.mark.parametrize("changes", [{}, {"caption_side": "below"}, {"spans_both_columns": True}])
def test_a_table_with_three_factors_fits_the_text_of_five_and_a_half_inches(
    table: Table, compiled: Compile, changes: dict[str, object]
) -> None:
    result = compiled(standalone_document(latex_table(replace(table, **changes), name="ablation")))  # type: ignore[arg-type]
    assert (result.returncode, result.complaints) == (0, [])
    assert "79.5" in result.text


def test_a_caption_stands_above_or_below(table: Table) -> None:
    above, below = (latex_table(replace(table, caption_side=side), name="a") for side in ("above", "below"))  # type: ignore[arg-type]
    assert above.index(r"\caption") < above.index(r"\begin{tabular}")
    assert below.index(r"\caption") > below.index(r"\end{tablenotes}")
    for text in (above, below):
        assert text.index(r"\caption") < text.index(r"\label{tab:ablation}")


def test_no_text_is_smaller_than_small_and_nothing_is_scaled(table: Table) -> None:
    text = latex_table(table, name="ablation")
    assert not re.search(r"\\(footnotesize|scriptsize|tiny|resizebox|scalebox)", text)


def test_the_preamble_is_left_alone_and_the_packages_are_named(table: Table) -> None:
    text = latex_table(table, name="ablation")
    assert "% Needs in the preamble: \\usepackage{booktabs, threeparttable, amssymb}" in text
    assert r"\documentclass" not in text
    assert not re.search(r"^\\usepackage", text, re.MULTILINE)


HOSTILE = ("a_b", "50% of R&D", "[x] *", "Δ #1 {}", r"\input{x}", "~^ $|<>", "`code` -- ---")


def test_hostile_labels_and_captions_compile(compiled: Compile) -> None:
    runs = ablation_archive()
    labels = dict(zip(runs, HOSTILE, strict=True))
    rows = tuple(TableRow(run=run, label=label) for run, label in labels.items())
    table = ablation_table(
        spec_of(rows=rows, caption=" ".join(HOSTILE)), runs, replicates=frozenset({"again"}), blocking={}
    )
    result = compiled(standalone_document(latex_table(table, name="hostile")))
    assert (result.returncode, [line for line in result.complaints if line.startswith("!")]) == (0, [])
    markdown = markdown_table(table, name="hostile")
    columns = {len(re.findall(r"(?<!\\)\|", line)) for line in markdown.splitlines() if line.startswith("|")}
    assert columns == {len(table.columns) + 2}


def test_an_empty_label_does_not_break_a_row(table: Table) -> None:
    block = replace(table.blocks[0], rows=(Row("", None, tuple(Cell() for _ in table.columns)),))
    text = latex_table(replace(table, blocks=(block,)), name="a")
    assert r"\\" in text


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("a|b", r"a\|b"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("*x* _y_ `z`", r"\*x\* \_y\_ \`z\`"),
        ("[a](b)", r"\[a\](b)"),
        ("two\nlines", "two lines"),
        ("<!-- runkit:end -->", "&lt;!-- runkit:end --&gt;"),
    ],
)
def test_markdown_prints_a_text_as_it_is(text: str, markdown: str) -> None:
    assert escaped_markdown(text) == markdown


@pytest.mark.parametrize(("text", "code"), [("a_b", "`a_b`"), ("a`b", "``a`b``"), ("`a`", "`` `a` ``"),
                                            ("", "`  `"),
                                            ("a|b\nc", "`a|b c`")])  # fmt: skip
def test_code_holds_whatever_backticks_there_are(text: str, code: str) -> None:
    assert code_span(text) == code


def test_the_golden_latex_compiles(compiled: Compile) -> None:
    golden = next((Path(__file__).parent / "__snapshots__").rglob("test_the_latex_is_the_golden_file.tex"))
    result = compiled(standalone_document(golden.read_text(encoding="utf-8")))
    assert (result.returncode, result.complaints) == (0, [])


def test_a_table_without_notes_has_no_block_of_notes(table: Table) -> None:
    assert "tablenotes" not in latex_table(replace(table, notes=()), name="a")


def test_what_a_terminal_would_obey_is_replaced_in_markdown() -> None:
    assert escaped_markdown("a\x1b\\[2J") == "a\\\\x1b\\\\\\[2J"
