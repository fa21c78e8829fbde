"""Tables printed from an archive on the disk: complete, stale or sabotaged."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runkit.archive.workspace import Workspace
from runkit.checks.catalogue import found
from runkit.checks.waivers import waiver_of
from runkit.cli.app import app
from runkit.cli.printing import _show_rich
from runkit.errors import OutsideWorkspace, RecordInvalid, TableRefused, UnknownName, UsageError
from runkit.records.cells import CellSidecar
from runkit.records.manifest import Manifest, Relation, Waiver
from runkit.render.latex import standalone_document
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.table import (
    check_tables,
    compile_pdf,
    explain_cell,
    render_table,
    table_names,
    write_table,
)
from tests.render.compiling import compile_document
from tests.tables.archiving import SPEC, write_archive
from tests.tables.building import ablation_archive

FILES = ("ablation.tex", "ablation.md", "ablation.cells.json")


@pytest.fixture(scope="module")
def printed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Workspace(tmp_path_factory.mktemp("printed"))
    write_archive(workspace, ablation_archive().values())
    (workspace.paper_tables / "ablation.toml").write_text(SPEC)
    write_table(workspace, "ablation")
    return workspace.root


@pytest.fixture
def printed(printed_once: Path, tmp_path: Path) -> Workspace:
    """A workspace with one printed table."""
    return Workspace(Path(shutil.copytree(printed_once, tmp_path / "printed")))


def run(workspace: Workspace, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, [*words, "--workspace", str(workspace.root)])
    return result.exit_code, result.output


def respecified(workspace: Workspace, old: str, new: str) -> None:
    (workspace.paper_tables / "ablation.toml").write_text(SPEC.replace(old, new))


def numbers(text: str) -> list[str]:
    return re.findall(r"\d+\.\d+", text)


def test_a_printed_table_is_as_the_archive_gives_it(printed: Workspace) -> None:
    assert check_tables(printed) == ()


def test_printing_again_changes_no_byte(printed: Workspace) -> None:
    before = {name: (printed.paper_tables / name).read_bytes() for name in FILES}
    assert [path.name for path in write_table(printed, "ablation")] == list(FILES)
    assert {name: (printed.paper_tables / name).read_bytes() for name in FILES} == before


def test_latex_and_markdown_print_the_same_digits(printed: Workspace) -> None:
    files = render_table(printed, "ablation").files
    latex = files["ablation.tex"].split(r"\toprule")[1].split(r"\end{tabular}")[0]
    markdown = files["ablation.md"].split("| --- |")[1].split("\n\n")[0]
    assert sorted(numbers(latex)) == sorted(numbers(markdown))
    sidecar = CellSidecar.parse(files["ablation.cells.json"], origin="sidecar")
    assert sorted(numbers(" ".join(cell.text for row in sidecar.rows for cell in row.cells))) == sorted(
        numbers(latex)
    )


def test_the_text_names_no_folder_host_or_time_of_the_machine(printed: Workspace) -> None:
    for text in render_table(printed, "ablation").files.values():
        assert str(printed.root) not in text
        assert "/tmp" not in text


def test_the_replicate_is_found_from_the_configurations(printed: Workspace) -> None:
    table = render_table(printed, "ablation").table
    assert [row.run_id for row in table.blocks[-1].rows] == ["again"]


@pytest.mark.parametrize("name", FILES)
def test_one_changed_digit_is_found(printed: Workspace, name: str) -> None:
    path = printed.paper_tables / name
    path.write_text(path.read_text().replace("64.5", "65.5", 1))
    (found,) = [
        finding for finding in check_tables(printed) if finding.place.startswith(f"paper_tables/{name}")
    ]
    assert (found.rule, found.severity) == ("RK603", "error")
    assert "65.5" in found.message
    assert "64.5" in found.message
    assert "edited by hand" in found.message


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_is_found(printed: Workspace, name: str) -> None:
    (printed.paper_tables / name).unlink()
    (found,) = check_tables(printed)
    assert found.message == f"paper_tables/{name} was never printed, or was removed"


def test_a_changed_specification_makes_the_files_stale_and_not_edited(printed: Workspace) -> None:
    respecified(printed, "No KL", "Without KL")
    by_place = {finding.place.split(":")[0]: finding.message for finding in check_tables(printed)}
    assert sorted(by_place) == sorted(f"paper_tables/{name}" for name in FILES)
    assert "ablation.tex is stale: line" in by_place["paper_tables/ablation.tex"]


def test_files_without_a_specification_are_found(printed: Workspace) -> None:
    (printed.paper_tables / "ablation.toml").unlink()
    (found,) = check_tables(printed)
    assert found.message == "table ablation was printed and has no specification"


def test_a_changed_outcomes_file_is_refused(printed: Workspace) -> None:
    shutil.copy(printed.outcomes_path("wide"), printed.outcomes_path("mean"))
    with pytest.raises(TableRefused, match=r"run mean: .* does not have the digest that the manifest gives"):
        render_table(printed, "ablation")


def test_a_missing_artifact_is_refused_and_a_waiver_lets_it_pass(printed: Workspace) -> None:
    (printed.preserved_path("mean") / "last.pt").unlink()
    with pytest.raises(TableRefused, match="run mean has an error finding, RK101"):
        render_table(printed, "ablation")
    path = printed.manifest_path("mean")
    manifest = Manifest.parse(path.read_bytes(), origin=path.name)
    missing = found("RK101", "mean", "last.pt", "last.pt is not there; expected a file of 13 bytes")
    for waiver in (Waiver(rule="RK101", reason="of older notes"), waiver_of(missing, "it is lost.")):
        notes = manifest.notes.model_copy(update={"waivers": (waiver,)})
        path.write_text(manifest.model_copy(update={"notes": notes}).to_json())
        if waiver.place is None:
            with pytest.raises(TableRefused, match="run mean has an error finding, RK101"):
                render_table(printed, "ablation")
    table = render_table(printed, "ablation").table
    (note,) = [note for note in table.notes if note.text.startswith("Waived error")]
    assert note.text == (
        "Waived error, RK101 at last.pt: last.pt is not there; expected a file of 13 bytes. Accepted "
        "because: it is lost."
    )
    assert [row.run_id for row in table.rows if note.mark in row.marks] == ["mean"]


def test_a_broken_manifest_of_a_row_is_refused(printed: Workspace) -> None:
    printed.manifest_path("mean").write_text("{")
    with pytest.raises(RecordInvalid, match="mean"):
        render_table(printed, "ablation")


@pytest.mark.parametrize("name", ["../ablation", "a/b", "..", "a\\b", "/etc/passwd"])
def test_a_name_that_leads_out_is_refused(printed: Workspace, name: str) -> None:
    with pytest.raises(OutsideWorkspace, match="is not a table name"):
        render_table(printed, name)


def test_a_link_that_leads_out_is_refused(printed: Workspace, tmp_path: Path) -> None:
    (tmp_path / "outside.toml").write_text(SPEC)
    (printed.paper_tables / "linked.toml").symlink_to(tmp_path / "outside.toml")
    with pytest.raises(OutsideWorkspace):
        render_table(printed, "linked")


def test_a_misspelled_table_names_the_nearest(printed: Workspace) -> None:
    with pytest.raises(UnknownName, match="there is no table 'ablatoin'; did you mean 'ablation'"):
        render_table(printed, "ablatoin")
    assert table_names(printed) == ("ablation",)


def test_a_misspelled_run_in_a_specification_names_the_nearest(printed: Workspace) -> None:
    respecified(printed, 'run = "no_kl"', 'run = "no_kll"')
    with pytest.raises(UnknownName, match="there is no preserved run 'no_kll'; did you mean 'no_kl'"):
        render_table(printed, "ablation")


def test_a_specification_that_is_not_utf8_is_refused(printed: Workspace) -> None:
    (printed.paper_tables / "ablation.toml").write_bytes(SPEC.encode() + b"# \xff\n")
    with pytest.raises(RecordInvalid, match="is not UTF-8"):
        render_table(printed, "ablation")


def test_a_cell_is_explained_from_the_archive(printed: Workspace) -> None:
    lines = explain_cell(printed, "ablation", "Mean pooling", "difference").lines
    assert lines[0].startswith("Mean pooling, difference: −8.0")
    assert any("only row 9, only control 25" in line for line in lines)
    assert any("logged at train.log:3498" in line for line in lines)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_a_table_compiles_to_a_pdf(printed: Workspace, tmp_path: Path) -> None:
    path = compile_pdf(printed, "ablation", tmp_path)
    assert path == tmp_path / "ablation.pdf"
    assert path.read_bytes().startswith(b"%PDF")


def test_without_pdflatex_there_is_no_pdf(
    printed: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert compile_pdf(printed, "ablation", tmp_path) is None
    code, output = run(printed, "table", "--pdf")
    assert code == 0
    assert "no PDF, because there is no pdflatex on this machine" in output


def test_the_verb_prints_the_table_and_its_files(printed: Workspace) -> None:
    code, output = run(printed, "table", "ablation")
    assert code == 0
    assert re.search(r"16 tokens [(\w,)]* +cross  16      \*79.5\* \[73.4, 84.5\]", output)
    assert output.splitlines()[-3:] == [str(printed.paper_tables / name) for name in FILES]


def test_the_verb_prints_latex_and_nothing_else_on_request(printed: Workspace) -> None:
    code, output = run(printed, "table", "ablation", "--latex")
    assert (code, output) == (0, (printed.paper_tables / "ablation.tex").read_text())


def test_check_exits_with_one_when_it_finds_something(printed: Workspace) -> None:
    assert run(printed, "table", "--check") == (0, "1 table checked: all as printed\n")
    (printed.paper_tables / "ablation.md").write_text("edited\n")
    code, output = run(printed, "table", "--check")
    assert code == 1
    assert "RK603 error paper_tables/ablation.md:1: " in output
    assert (printed.paper_tables / "ablation.md").read_text() == "edited\n"


def test_a_workspace_without_specifications_says_what_to_write(workspace: Workspace) -> None:
    code, output = run(workspace, "table")
    assert (code, output) == (
        2,
        "runkit: there is no table specification; write one as paper_tables/NAME.toml\n",
    )


def test_the_sidecar_is_json_with_the_digest_of_each_file(printed: Workspace) -> None:
    sidecar = json.loads((printed.paper_tables / "ablation.cells.json").read_text())
    assert (sidecar["format"], sidecar["table"], sorted(sidecar["files"])) == (
        1,
        "ablation",
        ["ablation.md", "ablation.tex"],
    )


def test_a_name_that_a_comment_could_not_hold_is_refused(printed: Workspace) -> None:
    (printed.paper_tables / "two words.toml").write_text(SPEC)
    with pytest.raises(UsageError, match="rename the specification"):
        render_table(printed, "two words")


def test_a_file_with_lines_added_at_its_end_is_found(printed: Workspace) -> None:
    path = printed.paper_tables / "ablation.md"
    path.write_text(path.read_text() + "one more\n")
    (found,) = check_tables(printed)
    assert "is 'one more', the archive gives ''" in found.message


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_first_complaint_of_pdflatex_is_quoted(
    printed: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "pdflatex"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'This is pdfTeX'\necho '! Undefined control sequence.'\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    with pytest.raises(TableRefused, match="cannot compile the table ablation: ! Undefined control sequence"):
        compile_pdf(printed, "ablation", tmp_path)


def test_a_terminal_gets_the_same_numbers_as_a_pipe(
    printed: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    table = render_table(printed, "ablation").table
    _show_rich(table, width=200)
    shown = capsys.readouterr().out
    for row in table.rows:
        for cell in row.cells:
            assert all(line in shown for line in cell.lines)


def test_the_command_line_starts_without_the_renderers() -> None:
    heavy = "{'jinja2', 'rich', 'pyarrow', 'pydantic'}"
    code = f"import sys, runkit.cli.printing; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SEED_SPEC = """format = 1
caption = "Five preserved runs."
label = "tab:bridge"
control = "phase1_full_20251116_201212"
rows = [
  { run = "phase1_full_20251116_201212", label = "All fixes" },
  { run = "ablB_20251116_234242", label = "KL only" },
  { run = "ablC_20251117_013909", label = "KL + prompt" },
  { run = "phase2_swap_20251118_192955", label = "Swap, soft + text" },
  { run = "phase2_swap_20251118_213543", label = "Swap, soft only" },
]
[[factors]]
key = "dit_teacher"
label = "Teacher"
[[factors]]
key = "world_size"
label = "GPUs"
[[factors]]
key = "eval_prompt_mode"
label = "Prompt"
names = { soft_plus_text = "soft + text", soft_only = "soft only" }
"""


@pytest.mark.seed
def test_the_seed_ablation_is_printed_as_one_control_with_two_replicates(
    seed_runs: Path, workspace: Workspace, tmp_path: Path
) -> None:
    for path in sorted(seed_runs.iterdir()):
        preserve(workspace, PreserveRequest(run=path))
    workspace.paper_tables.mkdir()
    (workspace.paper_tables / "bridge.toml").write_text(SEED_SPEC)
    rendered = render_table(workspace, "bridge")
    texts = {row.label: [cell.text for cell in row.cells[3:]] for row in rendered.table.rows}
    assert texts == {
        "Source (1)": ["54.0 [47.1, 60.8]", "", "", "14.5", ""],
        "Source (2)": ["76.5 [70.2, 81.8]", "", "", "3.5", ""],
        "Target (1)": ["77.0 [70.7, 82.3]", "", "", "2.0", ""],
        "Target (2)": ["51.5 [44.6, 58.3]", "", "", "15.0", ""],
        "All fixes": ["64.5 [57.7, 70.8]", "", "", "7.5", "68.0→66.2 @1500 of 9"],
        "Swap, soft + text": [
            "26.0 [20.4, 32.5]",
            "−38.5 [−45.5, −30.7]",
            "<0.001",
            "44.0",
            "29.0→27.7 @750, 1500 of 7",
        ],
        "Swap, soft only": ["–", "–", "", "–", "0.5→0.0 @500 of 3"],
        "KL only": ["62.5 [55.6, 68.9]", "−2.0 [−6.9, 2.9]", "", "5.5", "71.0→69.9 @1750 of 9"],
        "KL + prompt": ["65.5 [58.7, 71.7]", "+1.0 [−4.3, 6.3]", "", "6.5", "61.5→58.8 @750, 1500 of 7"],
    }
    assert [row.label for row in rendered.table.blocks[-1].rows] == ["KL only", "KL + prompt"]
    assert any(
        "p 0.541256" in line for line in explain_cell(workspace, "bridge", "KL only", "difference").lines
    )
    result = compile_document(standalone_document(rendered.files["bridge.tex"]), tmp_path)
    assert (result.returncode, result.complaints) == (0, [])


def test_a_row_whose_run_was_superseded_or_has_a_warning_is_marked(printed: Workspace) -> None:
    path = printed.manifest_path("once_more")
    path.chmod(0o644)
    manifest = Manifest.parse(path.read_bytes(), origin=path.name)
    relation = Relation(kind="supersedes", run_id="wide")
    notes = manifest.notes.model_copy(update={"relations": (*manifest.notes.relations, relation)})
    path.write_text(manifest.model_copy(update={"notes": notes}).to_json())
    table = render_table(printed, "ablation").table
    notes_by_mark = {note.mark: note.text for note in table.notes if note.mark}
    marked = {row.run_id: [notes_by_mark[mark] for mark in row.marks] for row in table.rows if row.run_id}
    assert any("RK408" in text for text in marked["wide"])
    assert not any("RK408" in text for text in marked["mean"])
