"""The generated part of the README: whole, apart from what people write, never out of date unseen."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runkit.archive.workspace import Workspace
from runkit.cli.app import app
from runkit.errors import OutsideWorkspace, RecordInvalid
from runkit.records.manifest import Manifest, Notes
from runkit.workflows.readme import check_readme, render_readme, write_readme
from tests.tables.archiving import write_archive
from tests.tables.building import ablation_archive


@pytest.fixture
def archive(tmp_path: Path) -> Workspace:
    """A workspace with three runs and a README."""
    workspace = Workspace(tmp_path)
    runs = ablation_archive()
    write_archive(workspace, [runs[name] for name in ("control", "mean", "cut_off")])
    write_readme(workspace)
    return workspace


def readme(workspace: Workspace) -> Path:
    return workspace.preserved_runs / "README.md"


def renamed(workspace: Workspace, run_id: str, notes: Notes) -> None:
    path = workspace.manifest_path(run_id)
    manifest = Manifest.parse(path.read_bytes(), origin=path.name)
    path.write_text(manifest.model_copy(update={"notes": notes}).to_json(), encoding="utf-8")


def test_a_fresh_readme_is_as_the_archive_gives_it(archive: Workspace) -> None:
    assert check_readme(archive) == ()
    assert readme(archive).read_text().startswith("# Preserved runs\n\n<!-- runkit:begin runs sha256:")


def test_printing_again_changes_no_byte(archive: Workspace) -> None:
    before = readme(archive).read_bytes()
    write_readme(archive)
    assert readme(archive).read_bytes() == before


def test_text_outside_the_markers_is_kept(archive: Workspace) -> None:
    text = readme(archive).read_text()
    readme(archive).write_text(f"Mine above.\n\n{text}\nMine below.\n")
    assert check_readme(archive) == ()
    renamed(archive, "mean", Notes(title="Another title"))
    write_readme(archive)
    after = readme(archive).read_text()
    assert after.startswith("Mine above.\n\n# Preserved runs\n")
    assert after.endswith("<!-- runkit:end -->\n\nMine below.\n")
    assert "Another title" in after


def test_a_readme_without_markers_gets_the_block_at_its_end(archive: Workspace) -> None:
    readme(archive).write_text("# My runs\n")
    (found,) = check_readme(archive)
    assert found.message == "preserved_runs/README.md has no generated block"
    write_readme(archive)
    assert readme(archive).read_text().startswith("# My runs\n\n<!-- runkit:begin runs sha256:")
    assert check_readme(archive) == ()


def test_a_changed_note_makes_the_block_stale(archive: Workspace) -> None:
    renamed(archive, "mean", Notes(title="Another title"))
    (found,) = check_readme(archive)
    assert found.rule == "RK603"
    assert "is stale, first at line" in found.message


def test_one_changed_digit_is_an_edit_by_hand(archive: Workspace) -> None:
    path = readme(archive)
    path.write_text(path.read_text().replace("129/200", "130/200", 1))
    (found,) = check_readme(archive)
    assert "was edited by hand, first at line" in found.message


def test_a_missing_readme_is_found(archive: Workspace) -> None:
    readme(archive).unlink()
    (found,) = check_readme(archive)
    assert found.message == "preserved_runs/README.md was never printed, or was removed"


@pytest.mark.parametrize("text", ["<!-- runkit:begin runs -->\n", "<!-- runkit:end -->\n",
                                  "<!-- runkit:end -->\n<!-- runkit:begin runs -->\n",
                                  "<!-- runkit:begin runs -->\n" * 2 + "<!-- runkit:end -->\n"])  # fmt: skip
def test_broken_markers_are_refused_and_nothing_is_overwritten(archive: Workspace, text: str) -> None:
    readme(archive).write_text(text)
    with pytest.raises(RecordInvalid, match="must hold one line"):
        write_readme(archive)
    assert readme(archive).read_text() == text


def test_a_note_cannot_close_the_block(archive: Workspace) -> None:
    hostile = "x\n<!-- runkit:end -->\n| `a` | <script>"
    renamed(
        archive, "mean", Notes(title=hostile, why=hostile, command_as_reported=hostile, went_wrong=hostile)
    )
    write_readme(archive)
    assert check_readme(archive) == ()
    assert "<script>" not in readme(archive).read_text().replace("`", "").split("(as reported")[1]


def test_an_unreadable_manifest_stops_the_readme(archive: Workspace) -> None:
    archive.manifest_path("mean").write_text("{")
    with pytest.raises(RecordInvalid, match="mean"):
        render_readme(archive)


def test_an_empty_archive_has_an_empty_index(workspace: Workspace) -> None:
    workspace.preserved_runs.mkdir()
    write_readme(workspace)
    assert check_readme(workspace) == ()


def test_the_verb_writes_and_checks(archive: Workspace) -> None:
    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["readme", *words, "--workspace", str(archive.root)])
        return result.exit_code, result.output

    assert run() == (0, f"{readme(archive)}\n")
    assert run("--check") == (0, "preserved_runs/README.md checked: all as printed\n")
    readme(archive).write_text(readme(archive).read_text().replace("Wilson", "Wald"))
    code, output = run("--check")
    assert code == 1
    assert output.startswith("RK603 error preserved_runs/README.md:")


def test_preserved_files_that_are_gone_are_told_of(archive: Workspace) -> None:
    shutil.rmtree(archive.preserved_path("control"))
    assert "**RK101** error `last.pt`: last.pt is not there" in render_readme(archive)
    shutil.rmtree(archive.preserved_runs)
    assert write_readme(archive).is_file()


def test_a_broken_outcomes_file_does_not_stop_the_readme(archive: Workspace) -> None:
    archive.outcomes_path("mean").write_bytes(b"torn")
    assert "`mean`" in render_readme(archive)


def test_a_folder_that_leads_out_is_refused(
    archive: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    shutil.rmtree(archive.preserved_runs)
    archive.preserved_runs.symlink_to(outside)
    with pytest.raises(OutsideWorkspace):
        write_readme(archive)
    assert list(outside.iterdir()) == []


def test_a_readme_that_is_not_utf8_is_refused(archive: Workspace) -> None:
    readme(archive).write_bytes(b"\xff\n")
    with pytest.raises(RecordInvalid, match="is not UTF-8"):
        check_readme(archive)
