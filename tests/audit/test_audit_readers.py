"""Readers: places stay places, tables become cells, and what authors write for runkit wins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.audit.document import Span
from tests.audit.reading import READERS, audited_text

FRAGMENTS = (
    "# Head `pocket`\n",
    "\n",
    "- item **bold** 64.5 %\n",
    "| a | b |\n|---|---|\n| 1 | `x|y` |\n",
    "~~~\ncode\n~~~\n",
    "<!-- rk: run=pocket -->\n",
    "text – with — dashes × 4 ≈ 0.5\n",
    "[link](a/b_c.md) &lt;5\n",
    "\\section{A \\textbf{b}}\n",
    "\\begin{tabular}{lc}\nA & B \\\\\n\\midrule\n1 & 2\\% \\\\\n\\end{tabular}\n",
    "% comment 0.5\n",
    "\\rk{run=pocket}{0.9}\n",
    "key: value 0.5\n",
    "====\n",
    "$x \\approx 0.5$ -- 3\n",
    "\\item one\n",
    "{",
    "}",
    "```\n",
    "|",
    "\t",
    "\u00a0é",
    "`",
)
fragments = st.sampled_from(FRAGMENTS)


@pytest.mark.parametrize("kind", sorted(READERS))
@given(st.lists(fragments, max_size=12).map("".join))
def test_a_reader_keeps_every_place_and_never_fails(kind: str, source: str) -> None:
    document = READERS[kind](source, name="doc")
    assert len(document.text) == len(document.source)
    spans = [block.span for block in document.blocks]
    assert all(0 <= span.start <= span.end <= len(source) for span in spans)
    audited_text(source, kind=kind)


@given(st.text(max_size=200))
def test_any_text_can_be_audited(source: str) -> None:
    for kind in READERS:
        audited_text(source, kind=kind)


def test_a_place_is_a_line_and_a_column() -> None:
    document = READERS["md"]("ab\ncé 64.5 %\n", name="doc")
    assert document.line_and_column(6) == (2, 4)
    assert document.quote(Span(6, 12)) == "64.5 %"


SENTENCE = "The final bridged accuracy is 0.645."
PHASE1, ABL_B = "phase1_full_20251116_201212", "ablB_20251116_234242"


@pytest.mark.parametrize(
    ("kind", "source", "expected"),
    [
        ("md", SENTENCE, ("", "unverifiable")),
        ("md", f"<!-- rk: run={PHASE1} -->\n{SENTENCE}", (PHASE1, "supported")),
        ("md", f"## `pocket`\n\n{SENTENCE} <!-- rk: run={ABL_B} -->", (ABL_B, "contradicted")),
        ("md", f"{SENTENCE} <!-- rk: run=no_such_run -->", ("", "unverifiable")),
        ("tex", f"% rk: run={ABL_B}\n{SENTENCE}", (ABL_B, "contradicted")),
        ("txt", f"{SENTENCE} [rk: run={ABL_B}]", (ABL_B, "contradicted")),
    ],
)
def test_an_annotation_binds_and_wins_over_the_heading(
    kind: str, source: str, expected: tuple[str, str]
) -> None:
    assert [(one.run_id, one.verdict) for one in audited_text(source, kind=kind)] == [expected]


def test_an_annotated_metric_wins_over_the_words() -> None:
    source = "A number: 0.680. <!-- rk: run=phase1_full_20251116_201212 metric=peak.bridged -->"
    assert [(one.quantity, one.verdict, one.bound_by) for one in audited_text(source)] == [
        ("peak.bridged_accuracy", "supported", "annotation")
    ]


def test_an_ignored_line_makes_no_claim() -> None:
    assert audited_text(f"## `pocket`\n\n{SENTENCE} <!-- rk: ignore -->") == ()


def test_a_macro_of_latex_binds_the_number_inside() -> None:
    macro = r"\rk{run=pocket,metric=final.bridged}"
    source = rf"We see {macro}{{97.2\%}} and {macro}{{98.2\%}}."
    assert [(one.claim, one.verdict) for one in audited_text(source, kind="tex")] == [
        (r"97.2\%", "supported"),
        (r"98.2\%", "contradicted"),
    ]


def test_code_blocks_and_comments_hold_no_claims() -> None:
    source = f"## `pocket`\n\n```\n{SENTENCE}\n```\n\n<!-- {SENTENCE} -->\n"
    assert audited_text(source) == ()
