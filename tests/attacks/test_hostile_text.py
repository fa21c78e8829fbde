"""Whatever a text holds, nothing that a terminal or a page obeys comes out."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from runkit.archive.workspace import Workspace
from runkit.cli.app import app
from runkit.errors import UsageError
from runkit.records.finding import Finding
from runkit.records.manifest import Notes
from runkit.render import escaping
from runkit.render.findings import Report, github_annotations, junit, sarif
from runkit.render.graph import Graph, GraphEdge, GraphNode, dot, html, mermaid, svg
from runkit.workflows.preserve import PreserveRequest, note, plainly_written, preserve

HOSTILE = "\x1b[31mred\x1b]0;t\x07\u202egnp\u2066\r::error::x\n%0A[red]<b>\"&'`](x)\x9b\u2028\x00\x7f\ud800"
texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=20) | st.just(HOSTILE)


def obeyed(text: str) -> set[str]:
    """Return the characters of *text* that a terminal obeys."""
    unwanted = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return {one for one in text if unicodedata.category(one) in unwanted and one not in "\n\t"}


def test_every_character_that_is_not_seen_is_spelled_out() -> None:
    everything = "".join(map(chr, range(0x110000)))
    assert obeyed(escaping.visible(everything)) == set()
    assert not {"\n", "\t"} & set(escaping.one_line(everything))


@given(texts)
def test_no_target_lets_one_through(text: str) -> None:
    for target in (
        escaping.visible, escaping.one_line, escaping.markup, escaping.xml_text, escaping.mermaid_text,
        escaping.dot_text, escaping.sarif_text, escaping.plain_log_line, escaping.escaped_markdown,
        escaping.code_span, lambda one: escaping.github_command("error", {"title": one}, one),
    ):  # fmt: skip
        assert obeyed(target(text)) == set()
    for only_ascii in (False, True):
        written = escaping.json_text({text: text}, only_ascii=only_ascii)
        assert obeyed(written) == set()
        assert json.loads(written) == {text: text}
    assert escaping.github_command("error", {"title": text}, text).count("\n") == 0


@given(texts)
def test_no_report_and_no_picture_lets_one_through(text: str) -> None:
    finding = Finding("RK101", "error", text, text, text, way_out=text)
    waived = Finding("RK102", "error", text, text, text, waived_because=text)
    report = Report([finding, waived], [text], [], {}, text)
    nodes = (GraphNode(text, "completed", 0, "error", ("RK101",)),)
    graph = Graph(nodes, (GraphEdge(text, text, text, False),))
    printed = [form(report) for form in (github_annotations, junit, sarif)]
    printed += [draw(graph) for draw in (mermaid, dot, svg)] + [html(graph, [(text, text)])]
    for one in printed:
        assert obeyed(one) == set()
    ElementTree.fromstring(printed[1])
    ElementTree.fromstring(svg(graph))


@pytest.mark.parametrize(
    "verb",
    [("list",), ("show", "mine"), ("show", "mine", "--json"), ("validate",),
     ("validate", "--format", "github"),
     ("validate", "--format", "junit"), ("lineage",), ("lineage", "--format", "svg"),
     ("lineage", "--format", "html"), ("lineage", "--format", "json"), ("show", HOSTILE.replace("\x00", "")),
     ("table", "\x1b[31m"), ("explain", "\u202e"), ("--\x1b[31m",), ("\x1b[31m",)],
)  # fmt: skip
def test_no_verb_prints_what_old_notes_hold(
    workspace: Workspace, cluster_run: Path, verb: tuple[str, ...]
) -> None:
    preserve(workspace, PreserveRequest(cluster_run, run_id="mine"))
    old = HOSTILE.replace("\ud800", "")
    note(workspace, "mine", change=lambda notes: notes.model_copy(update={"title": old, "why": old}))
    done = CliRunner().invoke(app, [*verb, "--workspace", str(workspace.root)])
    assert obeyed(done.output) == set()
    assert done.exit_code in (0, 1, 2)
    assert "internal error" not in done.output


def test_control_characters_are_refused_in_new_notes_only() -> None:
    with pytest.raises(UsageError, match=r"holds the control character \\u202e; write it without"):
        plainly_written(Notes(title="a\u202eb"), Notes())
    before = Notes(title="a\u202eb")
    after = before.model_copy(update={"why": "two\nlines"})
    assert plainly_written(after, before) == after
