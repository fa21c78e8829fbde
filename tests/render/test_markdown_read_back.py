"""Markdown is read back by a parser as the texts that were given."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runkit.records.cells import Table
from runkit.render.escaping import code_span, escaped_markdown
from runkit.render.markdown import markdown_table
from runkit.tables.ablation import ablation_table
from tests.tables.building import ablation_archive
from tests.tables.specs import spec_of

markdown_it = pytest.importorskip("markdown_it")
PARSER = markdown_it.MarkdownIt("commonmark").enable("table").enable("strikethrough")
LETTERS = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Cf", "Zl", "Zp", "Zs", "Cn", "Co"])
TEXTS = st.text(LETTERS | st.just(" "))


def _plain(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", markup))


def _rows(markdown: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", PARSER.render(markdown), re.DOTALL)
    return [
        [_plain(cell).strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
        for row in rows
    ]


@given(TEXTS)
@settings(deadline=None)
def test_a_text_in_a_cell_is_read_back(text: str) -> None:
    rows = _rows(f"| a | b |\n| --- | --- |\n| x{escaped_markdown(text)}x | end |\n")
    assert rows[1] == [f"x{' '.join(text.split())}x", "end"]


@given(TEXTS)
@settings(deadline=None)
def test_code_is_read_back(text: str) -> None:
    rendered = PARSER.render(f"- x {code_span(text)} x\n")
    code = re.search(r"<code>(.*?)</code>", rendered, re.DOTALL)
    assert code is not None
    assert html.unescape(code[1]).strip() == " ".join(text.split())


def test_a_table_is_read_back_cell_by_cell() -> None:
    table: Table = ablation_table(
        spec_of(), ablation_archive(), replicates=frozenset({"again", "once_more"}), blocking={}
    )
    rows = [row for row in _rows(markdown_table(table, name="ablation")) if any(row[1:])]
    printed = {row[0].removesuffix(mark): row[1:] for row in rows[1:] for mark in ("a", "b", "c", "d", "")}
    for row in table.rows:
        texts = [cell.text + ",".join(cell.marks) for cell in row.cells]
        assert printed[row.label] == texts
