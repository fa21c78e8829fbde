"""Audit of documents written for the test: reports, notes, tables and a paper about the archived runs.

Each checkable phrase is marked with what a careful reader with the archive at hand says of it: ``⟦+…⟧``
holds, ``⟦-…⟧`` is wrong, ``⟦?…⟧`` cannot be known. The marks are removed before the tool sees the text.
The documents ``blind*`` were written and marked before the tool had read them; DECISIONS.md has the
numbers of those first readings. What is counted here is how they are read now, after the repairs.
"""

from __future__ import annotations

import re

import pytest

from runkit.audit.auditing import Verdict
from tests.audit.reading import ROOT, audited_text, confusion

FOLDER = ROOT / "tests" / "audit" / "documents"
DOCUMENTS = sorted(path.name for path in FOLDER.iterdir())
WORDS = {"+": "supported", "-": "contradicted", "?": "unverifiable"}
MARK = re.compile(r"⟦([+?-])(.*?)⟧", re.DOTALL)


def unmarked(text: str) -> tuple[str, list[tuple[int, int, str]]]:
    """The text without marks, and the marked stretches with their verdicts."""
    plain, expected, place = "", [], 0
    for match in MARK.finditer(text):
        plain += text[place : match.start()]
        expected.append((len(plain), len(plain) + len(match.group(2)), WORDS[match.group(1)]))
        plain += match.group(2)
        place = match.end()
    return plain + text[place:], expected


def judged(name: str) -> tuple[list[tuple[str, str, str]], list[Verdict]]:
    """Expected verdict, found verdict and phrase of each mark; and what is called wrong without a mark."""
    text, expected = unmarked((FOLDER / name).read_text(encoding="utf-8"))
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    found = [
        (starts[one.line - 1] + one.column - 1, starts[one.end_line - 1] + one.end_column - 1, one)
        for one in audited_text(text, kind=name.rpartition(".")[2])
    ]
    rows = []
    for start, end, word in expected:
        here = [one.verdict for left, right, one in found if left < end and start < right]
        told = (
            word if word in here else "contradicted" if "contradicted" in here else (here or ["not found"])[0]
        )
        rows.append((word, told, text[start:end]))
    stray = [
        one
        for left, right, one in found
        if one.verdict == "contradicted"
        and not any(left < end and start < right for start, end, word in expected if word == "contradicted")
    ]
    return rows, stray


@pytest.mark.parametrize("name", DOCUMENTS)
def test_nothing_that_holds_is_called_contradicted(name: str) -> None:
    rows, stray = judged(name)
    assert [(one.line, one.quantity, one.claim) for one in stray] == []
    assert [row for row in rows if row[0] != "contradicted" and row[1] == "contradicted"] == []


def test_the_confusion_table_over_all_documents() -> None:
    pairs = [row[:2] for name in DOCUMENTS for row in judged(name)[0]]
    assert confusion(pairs) == (
        "expected      contradicted    supported unverifiable    not found\n"
        "contradicted           117            1           17            5\n"
        "supported                0          685           46           89\n"
        "unverifiable             0            0           24            3"
    )
