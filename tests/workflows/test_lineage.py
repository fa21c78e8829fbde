"""``lineage`` on real folders, and the tree as a value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from runkit.archive.reading import read_manifest
from runkit.archive.workspace import Workspace
from runkit.records.manifest import Claim, Relation
from runkit.workflows.lineage import check_lineage, lineage
from runkit.workflows.preserve import PreserveRequest, note, preserve


@pytest.fixture
def archive(workspace: Workspace, cluster_run: Path) -> Workspace:
    """A control, and a no-op ablation of it that is a copy."""
    preserve(workspace, PreserveRequest(run=cluster_run, run_id="control"))
    preserve(workspace, PreserveRequest(run=cluster_run, run_id="b", ablates="control", factors=("lr",)))
    return workspace


def relate(workspace: Workspace, run_id: str, *relations: Relation) -> None:
    note(workspace, run_id, change=lambda notes: notes.model_copy(update={"relations": relations}))


def run_verb(*words: str, workspace: Workspace) -> Any:
    from runkit.cli.app import app

    return CliRunner().invoke(app, [*words, "--workspace", str(workspace.root)])


def test_a_copied_run_that_is_called_an_ablation_is_found(archive: Workspace) -> None:
    report = lineage(archive)
    assert [(one.severity, one.rule, one.run_id) for one in report.findings] == [
        ("error", "RK401", "b"),
        ("warning", "RK406", "b"),
        ("info", "RK501", "b"),
    ]
    assert "+0.0 points against control on 4 items (discordant 0:0" in report.findings[2].message
    assert (report.num_runs, report.num_compared) == (2, 2)


def test_the_tree_hangs_a_run_below_its_control_with_what_really_differs(archive: Workspace) -> None:
    text = run_verb("lineage", workspace=archive).stdout.splitlines()
    assert text[:4] == [
        "control (completed)",
        "  b (completed)",
        "    ablates control by lr",
        "    really differs: nothing",
    ]
    assert text[-1] == (
        "2 runs, 1 relation, outcomes of 2 runs compared: 1 error, 1 warning, 1 note, 0 waived"
    )


def test_a_circle_is_a_finding_and_every_run_is_still_shown(archive: Workspace) -> None:
    relate(archive, "control", Relation(kind="follows", run_id="b"))
    report = lineage(archive)
    assert "RK405" in {one.rule for one in report.findings}
    assert sorted(line.node.run_id for line in report.tree()) == ["b", "control"]


def test_an_unreadable_control_is_a_finding_and_not_unknown(archive: Workspace) -> None:
    path = archive.manifest_path("control")
    path.chmod(0o644)
    path.write_text("{")
    report = lineage(archive)
    assert [(one.rule, one.run_id) for one in report.findings] == [("RK105", "control")]
    assert [line.node.status for line in report.tree()] == [None, "completed"]


def test_an_unreadable_outcomes_file_is_left_to_validate(archive: Workspace) -> None:
    path = archive.outcomes_path("control")
    path.chmod(0o644)
    path.write_bytes(b"PAR1")
    assert {one.rule for one in lineage(archive).findings} == {"RK401", "RK406"}


def test_json_holds_nodes_edges_findings_and_summary(archive: Workspace) -> None:
    document = json.loads(run_verb("lineage", "--format", "json", workspace=archive).stdout)
    assert document["summary"] == {
        "num_runs": 2,
        "num_compared": 2,
        "num_errors": 1,
        "num_warnings": 1,
        "num_notes": 1,
        "num_waived": 0,
    }
    assert document["edges"] == [
        {
            "run_id": "b",
            "kind": "ablates",
            "other_id": "control",
            "factors": ["lr"],
            "differences": [],
            "is_noop": True,
        }
    ]
    assert [node["run_id"] for node in document["nodes"]] == ["b", "control"]


def test_mermaid_is_a_whole_diagram(archive: Workspace) -> None:
    assert run_verb("lineage", "--format", "mermaid", workspace=archive).stdout == (
        "graph TD\n"
        '  run0["b<br/>completed"]\n'
        '  run1["control<br/>completed"]\n'
        '  run1 -->|"ablates lr (no difference)"| run0\n'
    )


def test_a_declared_replicate_is_clean(archive: Workspace) -> None:
    relate(archive, "b", Relation(kind="replicates", run_id="control"))
    result = run_verb("lineage", workspace=archive)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "2 runs, 1 relation, outcomes of 0 runs compared: nothing found"


def test_an_empty_archive_is_clean(workspace: Workspace) -> None:
    workspace.manifests.mkdir()
    assert lineage(workspace).findings == ()


@pytest.mark.seed
def test_the_seed_ablations_are_replicates(workspace: Workspace, seed_runs: Path) -> None:
    control = "phase1_full_20251116_201212"
    for folder in sorted(seed_runs.iterdir(), key=lambda path: path.name != control):
        ablates = control if folder.name.startswith("abl") else None
        request = PreserveRequest(
            run=folder,
            artifacts="reference",
            artifacts_location="elsewhere",
            ablates=ablates,
            factors=("source_align",),
        )
        preserve(workspace, request if ablates else PreserveRequest(run=folder, artifacts="reference"))
    findings = lineage(workspace).findings
    assert [(one.rule, one.run_id[:4]) for one in findings if one.severity == "error"] == [
        ("RK401", "ablB"),
        ("RK401", "ablC"),
    ]
    assert len([one for one in findings if one.rule == "RK406"]) == 3
    noise = {one.run_id[:4]: one.message for one in findings if one.rule == "RK501"}
    assert "-2.0 points" in noise["ablB"]
    assert "discordant 10:14, McNemar exact p = 0.54" in noise["ablB"]
    assert "discordant 15:13, McNemar exact p = 0.85" in noise["ablC"]
    assert read_manifest(workspace, control).sealed.status.value == "completed"


def test_the_gate_finds_what_the_graph_finds_but_for_notes_on_significance(archive: Workspace) -> None:
    fast, full = check_lineage(archive), check_lineage(archive, in_full=True)
    assert fast == full
    assert [one for one in lineage(archive).findings if one.rule != "RK501"] == list(fast.findings)
    result = run_verb("lineage", "--check", workspace=archive)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "2 runs, 1 relation: 1 error, 1 warning, 0 notes, 0 waived"
    document = json.loads(run_verb("lineage", "--check", "--format", "json", workspace=archive).stdout)
    assert {one["rule"] for one in document["findings"]} == {"RK401", "RK406"}


def test_the_gate_reads_a_bad_manifest_in_full_for_the_reason(archive: Workspace) -> None:
    path = archive.manifest_path("control")
    path.chmod(0o644)
    document = json.loads(path.read_text())
    del document["sealed"]["configuration"]["effective_digest"]
    path.write_text(json.dumps(document))
    (found,) = check_lineage(archive).findings
    assert (found.rule, found.run_id) == ("RK105", "control")
    assert "sealed.configuration.effective_digest" in found.message


def test_claims_are_tested_by_the_gate_too(archive: Workspace) -> None:
    relate(archive, "b", Relation(kind="replicates", run_id="control"))
    claim = Claim(says="better", than="control")
    note(archive, "b", change=lambda notes: notes.model_copy(update={"claims": (claim,)}))
    assert [one.rule for one in check_lineage(archive).findings] == ["RK502"]
    assert [one.rule for one in lineage(archive).findings] == ["RK502"]


def test_a_picture_shows_runs_relations_and_codes(archive: Workspace) -> None:
    dot = run_verb("lineage", "--format", "dot", workspace=archive).stdout
    assert dot == (
        "digraph lineage {\n"
        "  rankdir=LR;\n"
        '  node [shape=box, style="rounded,filled", fontname="sans-serif"];\n'
        '  "control" [label="control\\ncompleted", fillcolor="#f4f4f4"];\n'
        '  "b" [label="b\\ncompleted\\nRK401 RK406", fillcolor="#fdd8d8"];\n'
        '  "control" -> "b" [label="ablates lr\\nno difference", style=dashed, color="#b00020"];\n'
        "}\n"
    )
    drawing = run_verb("lineage", "--format", "svg", workspace=archive).stdout
    texts = [text for text in ElementTree.fromstring(drawing).itertext() if text.strip()]
    assert texts == [
        "ablates lr, no difference",
        "ablates lr, no difference",
        "control",
        "control",
        "completed",
        "b",
        "b",
        "completed · RK401 RK406",
    ]
    page = run_verb("lineage", "--format", "html", workspace=archive).stdout
    assert drawing in page
    assert "<strong>RK401 error, b:</strong> b declares lr and has the same effective configuration" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_relations_are_proposed_from_configurations(workspace: Workspace, cluster_run: Path) -> None:
    preserve(workspace, PreserveRequest(run=cluster_run, run_id="a"))
    preserve(workspace, PreserveRequest(run=cluster_run, run_id="b"))
    before = {path: path.read_bytes() for path in workspace.manifests.iterdir()}
    result = run_verb("lineage", "--suggest", workspace=workspace)
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            "b replicates a: the same effective configuration",
            "  runkit note b --relate replicates:a",
            "1 relation proposed; nothing was noted",
        ],
    )
    assert {path: path.read_bytes() for path in workspace.manifests.iterdir()} == before
    assert run_verb("note", "b", "--relate", "replicates:a", workspace=workspace).exit_code == 0
    assert read_manifest(workspace, "b").notes.relations == (Relation(kind="replicates", run_id="a"),)
    assert run_verb("lineage", "--suggest", workspace=workspace).stdout.startswith("0 relations proposed")


@pytest.mark.parametrize(
    "words", [("likes:a",), ("replicates",), ("follows:a", "--factor", "x"), ("follows:a b",)]
)
def test_a_relation_that_is_none_is_refused(archive: Workspace, words: tuple[str, ...]) -> None:
    result = run_verb("note", "b", "--relate", *words, workspace=archive)
    assert result.exit_code == 2
    assert "--relate" in result.stderr
