"""A waiver is stretched over what nobody accepted: other files, other words, what may never be waived."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from runkit.archive.reading import read_manifest
from runkit.archive.workspace import Workspace
from runkit.cli.app import app
from runkit.records.finding import text_sha256
from runkit.records.manifest import Manifest, Waiver
from tests.tables.archiving import SPEC, write_archive
from tests.tables.building import ablation_archive

RUN = "mean"
LOST, LOST_TOO = "step_250.pt", "step_500.pt"


def run(archive: Workspace, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--workspace", str(archive.root)])


def noted(archive: Workspace, *arguments: str) -> str:
    done = run(archive, "note", RUN, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(archive: Workspace, *arguments: str) -> str:
    done = run(archive, "note", *arguments)
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("runkit: ").strip()


def findings(archive: Workspace, verb: str = "validate") -> list[dict[str, Any]]:
    done = run(archive, verb, "--format", "json")
    return [one for one in json.loads(done.stdout)["findings"] if one["run_id"] == RUN]


def with_waivers(archive: Workspace, *waivers: Waiver) -> None:
    """Write notes as an older version, or an editor, would."""
    manifest = read_manifest(archive, RUN)
    notes = manifest.notes.model_copy(update={"waivers": waivers})
    archive.manifest_path(RUN).write_text(manifest.model_copy(update={"notes": notes}).to_json())


@pytest.fixture
def archive(workspace: Workspace) -> Workspace:
    write_archive(workspace, ablation_archive().values(), checkpoints=(LOST, LOST_TOO, "last.pt"))
    (workspace.paper_tables / "ablation.toml").write_text(SPEC)
    return workspace


@pytest.fixture
def one_file_waived(archive: Workspace) -> Workspace:
    """An archive in which one checkpoint is lost, and somebody accepted that."""
    (archive.preserved_path(RUN) / LOST).unlink()
    noted(archive, "--waive", "RK101", "--because", "the scratch folder was emptied.")
    return archive


def test_a_waiver_of_one_lost_file_is_none_of_the_others(one_file_waived: Workspace) -> None:
    archive = one_file_waived
    kept = sorted(path.name for path in archive.preserved_path(RUN).iterdir())
    for name in kept:
        (archive.preserved_path(RUN) / name).unlink()
    validated = run(archive, "validate", RUN)
    assert validated.exit_code == 1
    missing = [one for one in findings(archive) if one["rule"] == "RK101"]
    assert {one["place"]: one["waived_because"] for one in missing} == {
        LOST: "the scratch folder was emptied.",
        **dict.fromkeys(kept),
    }
    table = run(archive, "table", "ablation")
    assert table.exit_code == 2
    assert f"run {RUN} has an error finding, RK101" in table.stderr


def test_a_waived_error_is_a_note_of_its_row_and_on_the_page_of_its_run(one_file_waived: Workspace) -> None:
    archive = one_file_waived
    printed = run(archive, "table", "ablation").stdout
    (line,) = [line for line in printed.splitlines() if "Waived error" in line]
    assert line.partition(": ")[2] == (
        f"Waived error, RK101 at {LOST}: {LOST} is not there; expected a file of 17 bytes. Accepted because: "
        "the scratch folder was emptied."
    )
    page = Path(run(archive, "readme").stdout.strip()).read_text()
    assert "no such finding" not in page
    assert "(waived: the scratch folder was emptied.)" in page


def test_each_waived_finding_is_told_in_every_format(one_file_waived: Workspace) -> None:
    archive = one_file_waived
    noted(archive, "--waive", "RK107", "--because", "it is lost")
    shown = run(archive, "validate", RUN).stdout
    assert f"  waived RK101 {LOST}: " in shown
    assert "    waived because the scratch folder was emptied." in shown
    assert shown.splitlines()[-1].endswith(", 2 waived")
    annotations = run(archive, "validate", RUN, "--format", "github").stdout.splitlines()
    waived = [line.partition(",title=")[2] for line in annotations if "waived because" in line]
    assert [title.split(":")[0].split(",")[0] for title in waived] == [
        "RK101 mean waived",
        "RK107 mean waived",
    ]
    (log,) = json.loads(run(archive, "validate", RUN, "--format", "sarif").stdout)["runs"]
    suppressed = {one["ruleId"]: one["suppressions"] for one in log["results"] if "suppressions" in one}
    assert {rule: [one["justification"] for one in said] for rule, said in suppressed.items()} == {
        "RK101": ["the scratch folder was emptied."],
        "RK107": ["it is lost"],
    }
    junit = run(archive, "validate", RUN, "--format", "junit").stdout
    assert "waived error" in junit
    assert '<skipped message="1 waived: it is lost" />' in junit


@pytest.mark.parametrize("code", ["RK102", "RK104", "RK105", "RK106", "RK109", "RK112"])
def test_what_says_that_the_record_was_changed_cannot_be_waived(archive: Workspace, code: str) -> None:
    (archive.preserved_path(RUN) / LOST).write_text("other bytes\n")
    expected = f"{code} cannot be waived: no reason makes a record what was sealed, or a waiver hold"
    way_out = f"mend what it found: `runkit explain {code}`"
    assert refused(archive, RUN, "--waive", code, "--because", "x") == f"--waive: {expected}; {way_out}"
    source = archive.root / "notes.toml"
    source.write_text(f'[[waivers]]\nrule = "{code}"\nreason = "x"\n')
    assert refused(archive, RUN, "--from", str(source)) == f"{source}: {expected}; {way_out}"
    with_waivers(archive, Waiver(rule=code, reason="x"))
    found = {one["rule"]: one for one in findings(archive) if one["rule"] in {"RK102", "RK112"}}
    assert (found["RK102"]["severity"], found["RK102"]["waived_because"]) == ("error", None)
    assert found["RK112"]["message"] == f"{code} is waived (x), to no effect: {expected}"


def test_a_waiver_of_several_findings_has_to_say_which(archive: Workspace) -> None:
    for name in (LOST, LOST_TOO):
        (archive.preserved_path(RUN) / name).unlink()
    message = refused(archive, RUN, "--waive", "RK101", "--because", "lost")
    assert message.startswith(
        "mean has 2 findings of RK101, and a waiver accepts one; choose with --at PLACE or --at DIGITS, or "
        f"waive each of them with --every: {LOST} ("
    )
    assert f"; {LOST_TOO} (" in message
    assert read_manifest(archive, RUN).notes.waivers == ()
    noted(archive, "--waive", "RK101", "--because", "lost", "--at", LOST)
    assert [one.place for one in read_manifest(archive, RUN).notes.waivers] == [LOST]
    noted(archive, "--waive", "RK101", "--because", "lost too", "--every")
    waivers = read_manifest(archive, RUN).notes.waivers
    assert [(one.place, one.reason) for one in waivers] == [
        (LOST, "lost"),
        (LOST_TOO, "lost too"),
    ]
    message = refused(archive, RUN, "--waive", "RK201", "--because", "x")
    assert message.startswith("mean has no finding of RK201 to waive; there is RK107 at train.log:")


def test_an_older_waiver_waives_nothing_until_it_is_bound_to_the_one_finding_that_fits(
    archive: Workspace,
) -> None:
    for name in (LOST, LOST_TOO):
        (archive.preserved_path(RUN) / name).unlink()
    with_waivers(
        archive, Waiver(rule="RK107", reason="it is lost"), Waiver(rule="RK101", reason="dumps are lost")
    )
    before = {one["rule"] for one in findings(archive) if one["waived_because"] is None}
    assert {"RK101", "RK107", "RK112"} <= before
    seal = read_manifest(archive, RUN).seal
    done = run(archive, "note", "--migrate-waivers")
    assert done.exit_code == 1
    assert f"{RUN}: waived RK107 train.log:" in done.stdout
    assert "RK101 is waived (dumps are lost) and stays without effect: 2 findings of RK101 are" in done.stdout
    assert "1 waivers bound to their findings, 1 left; the seals are as they were" in done.stdout
    assert [
        (one["rule"], one["waived_because"]) for one in findings(archive) if one["rule"] in {"RK101", "RK107"}
    ] == [("RK101", None), ("RK101", None), ("RK107", "it is lost")]
    noted(archive, "--waive", "RK101", "--every")
    after = read_manifest(archive, RUN)
    assert after.seal == seal
    assert [(one.rule, one.reason) for one in after.notes.waivers] == [
        ("RK107", "it is lost"),
        ("RK101", "dumps are lost"),
        ("RK101", "dumps are lost"),
    ]
    assert run(archive, "note", "--migrate-waivers").exit_code == 0


def test_notes_of_the_older_form_are_bound_when_they_are_read_from_a_file(archive: Workspace) -> None:
    source = archive.root / "notes.toml"
    source.write_text('[[waivers]]\nrule = "RK107"\nreason = "it is lost"\n')
    assert f"{RUN}: waived RK107 train.log:" in noted(archive, "--from", str(source))
    (waiver,) = read_manifest(archive, RUN).notes.waivers
    assert (waiver.place, waiver.reason) == ("train.log:3185", "it is lost")


def test_a_waiver_in_words_of_another_version_is_stale_and_the_way_out_works(archive: Workspace) -> None:
    noted(archive, "--waive", "RK107", "--because", "it is lost")
    text = archive.manifest_path(RUN).read_text()
    manifest = Manifest.parse(text, origin="m")
    (waiver,) = manifest.notes.waivers
    digest = text_sha256("the weights are gone")
    reworded = waiver.model_copy(update={"message": "the weights are gone", "message_sha256": digest})
    with_waivers(archive, reworded)
    (stale,) = [one for one in findings(archive) if one["rule"] == "RK109"]
    assert "it was: the weights are gone; one finding of RK107 is there: train.log:" in stale["message"]
    assert "`runkit note mean --waive RK107` waives it for the same reason" in stale["way_out"]
    noted(archive, "--waive", "RK107")
    assert read_manifest(archive, RUN).notes.waivers == (waiver,)
    noted(archive, "--unwaive", "RK107")
    assert read_manifest(archive, RUN).notes.waivers == ()


def test_a_stale_waiver_is_not_called_stale_by_a_look_that_could_not_see_it(archive: Workspace) -> None:
    noted(archive, "--waive", "RK107", "--because", "it is lost")
    for verb in (("validate", "--no-rehash"), ("lineage", "--check"), ("lineage",)):
        assert "RK109" not in run(archive, *verb).stdout


def test_read_only_verbs_migrate_nothing(archive: Workspace) -> None:
    with_waivers(archive, Waiver(rule="RK107", reason="it is lost"))
    before = archive.manifest_path(RUN).read_bytes()
    for verb in (("validate",), ("lineage",), ("table", "--check"), ("readme", "--check")):
        run(archive, *verb)
    assert archive.manifest_path(RUN).read_bytes() == before


def test_a_preserved_run_may_bring_a_waiver_of_what_is_found_in_it(
    workspace: Workspace, cluster_run: Path, tmp_path: Path
) -> None:
    source = tmp_path / "notes.toml"
    source.write_text('[[waivers]]\nrule = "RK209"\nreason = "there were no other items"\n')
    command = ["preserve", str(cluster_run), "--notes", str(source), "--workspace", str(workspace.root)]
    done = subprocess.run(
        [sys.executable, "-m", "runkit", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (waiver,) = read_manifest(workspace, cluster_run.name).notes.waivers
    assert (waiver.place is not None) == ("waived RK209" in done.stdout)
    source.write_text('[[waivers]]\nrule = "RK104"\nreason = "x"\n')
    done = subprocess.run(
        [sys.executable, "-m", "runkit", *command, "--run-id", "b"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "RK104 cannot be waived" in done.stderr) == (2, True)
    assert not workspace.manifest_path("b").exists()
