"""``validate`` on real folders: one change on the disk gives exactly one finding, and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runkit.archive.reading import read_manifest
from runkit.archive.workspace import Workspace
from runkit.checks.catalogue import RULES
from runkit.errors import UnknownName
from runkit.records.finding import Finding
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.validate import validate

RUN = "small_20260102_030405"
ALWAYS = "RK410"
"""The small run records no commit, which is always noted."""


@pytest.fixture
def archive(workspace: Workspace, cluster_run: Path) -> Workspace:
    """A workspace with one preserved run."""
    preserve(workspace, PreserveRequest(run=cluster_run))
    return workspace


def lines(findings: tuple[Finding, ...]) -> list[str]:
    return [f"{one.rule} {one.place}: {one.message}" for one in findings if one.rule != ALWAYS]


def rewritten(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change a file that may be read-only, as a person with rights could."""
    content = change(path.read_bytes())
    path.chmod(0o644)
    path.write_bytes(content)


def test_a_fresh_archive_is_clean_and_all_files_were_read(archive: Workspace) -> None:
    report = validate(archive)
    baseline = lines(report.findings)
    assert all(line.startswith(("RK107", "RK20", "RK505")) for line in baseline)
    assert report.num_artifacts_rehashed == report.num_artifacts == 6
    assert (report.num_runs, report.num_not_checked, report.rehashed) == (1, 0, True)


def new_findings(archive: Workspace, sabotage: Callable[[], object], **options: Any) -> list[str]:
    before = lines(validate(archive, **options).findings)
    sabotage()
    return [line for line in lines(validate(archive, **options).findings) if line not in before]


def test_one_flipped_bit_in_a_snapshot_is_found(archive: Workspace) -> None:
    log = archive.preserved_path(RUN) / "inner" / "train.log"
    found = new_findings(archive, lambda: rewritten(log, lambda raw: bytes([raw[0] ^ 1]) + raw[1:]))
    assert len(found) == 1
    assert found[0].startswith("RK102 inner/train.log: inner/train.log has sha256 ")


def test_a_flipped_bit_is_not_found_without_reading_bytes(archive: Workspace) -> None:
    log = archive.preserved_path(RUN) / "inner" / "train.log"
    flip = lambda: rewritten(log, lambda raw: bytes([raw[0] ^ 1]) + raw[1:])  # noqa: E731
    assert new_findings(archive, flip, rehash=False) == []
    assert not validate(archive, rehash=False).rehashed


def test_a_deleted_file_is_found(archive: Workspace) -> None:
    path = archive.preserved_path(RUN) / "inner" / "eval_samples_step_20.jsonl"
    size = path.stat().st_size
    assert new_findings(archive, path.unlink) == [
        "RK101 inner/eval_samples_step_20.jsonl: inner/eval_samples_step_20.jsonl is not there; expected a "
        "file of "
        f"{size} bytes"
    ]


def test_a_stray_file_is_found(archive: Workspace) -> None:
    stray = archive.preserved_path(RUN) / "notes.txt"
    found = new_findings(archive, lambda: stray.write_text("x"))
    assert [line.split()[:2] for line in found] == [["RK103", "notes.txt:"]]


def test_an_edited_score_breaks_the_seal_and_contradicts_the_outcomes(archive: Workspace) -> None:
    def edit(raw: bytes) -> bytes:
        document = json.loads(raw)
        final = document["sealed"]["evaluations"][-1]["systems"][-1]
        final["correct"], final["wrong"] = final["correct"] + 1, final["wrong"] - 1
        return json.dumps(document).encode()

    final = read_manifest(archive, RUN).sealed.evaluations[-1]
    found = new_findings(archive, lambda: rewritten(archive.manifest_path(RUN), edit))
    assert [" ".join(line.split()[:2]) for line in found] == [
        "RK104 seal.digest:",
        "RK110 sealed.evaluations.final.systems.bridged.correct:",
        f"RK201 inner/train.log:{final.log_line}:",
        "RK201 sealed.evaluations.final.systems.bridged:",
        "RK201 sealed.metrics.final.bridged:",
    ]


def test_a_torn_outcomes_file_is_a_finding(archive: Workspace) -> None:
    path = archive.outcomes_path(RUN)
    found = new_findings(archive, lambda: rewritten(path, lambda raw: raw[:100]))
    assert [line.split()[:2] for line in found] == [["RK102", f"manifests/{RUN}.outcomes.parquet:"]]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b"[]", b"<<<<<<< HEAD\n{}"])
def test_a_broken_manifest_is_a_finding_and_hides_no_other_run(
    archive: Workspace, cluster_run: Path, content: bytes
) -> None:
    preserve(archive, PreserveRequest(run=cluster_run, run_id="second"))
    rewritten(archive.manifest_path(RUN), lambda _: content)
    report = validate(archive)
    broken = [one for one in report.findings if one.rule == "RK105"]
    assert [(one.run_id, one.place) for one in broken] == [(RUN, f"manifests/{RUN}.json")]
    assert report.num_runs == 2
    assert report.num_artifacts_rehashed == 6


def test_a_renamed_manifest_is_found(archive: Workspace) -> None:
    archive.manifest_path(RUN).rename(archive.manifests / "other.json")
    assert lines(validate(archive).findings) == [
        f"RK105 manifests/other.json: the file says that it is run '{RUN}', not run 'other'"
    ]


def test_an_unknown_run_is_refused_with_the_nearest_name(archive: Workspace) -> None:
    with pytest.raises(UnknownName) as caught:
        validate(archive, ["small_20260102_03040"])
    assert f"did you mean {RUN!r}" in str(caught.value)


def test_only_the_chosen_run_is_reported(archive: Workspace, cluster_run: Path) -> None:
    preserve(archive, PreserveRequest(run=cluster_run, run_id="second"))
    report = validate(archive, ["second"])
    assert report.num_runs == 1
    assert {one.run_id for one in report.findings} <= {"second"}


def test_references_are_checked_only_where_they_are_at_hand(workspace: Workspace, cluster_run: Path) -> None:
    preserve(workspace, PreserveRequest(run=cluster_run, artifacts="reference", artifacts_location="on tape"))
    assert validate(workspace).num_not_checked == 6
    at_hand = validate(workspace, references=cluster_run.parent)
    assert (at_hand.num_not_checked, at_hand.num_artifacts_rehashed) == (0, 6)
    log = cluster_run / "inner" / "train.log"
    log.write_bytes(log.read_bytes() + b"\n")
    changed = lines(validate(workspace, references=cluster_run.parent).findings)
    assert [line.split()[0] for line in changed if line.startswith("RK1")].count("RK102") == 1


def test_looking_leaves_no_trace(archive: Workspace) -> None:
    def seen() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in sorted(archive.root.rglob("*"))}

    before = seen()
    validate(archive)
    assert seen() == before


def run_verb(*words: str, workspace: Workspace) -> Any:
    from runkit.cli.app import app

    return CliRunner().invoke(app, [*words, "--workspace", str(workspace.root)])


def test_the_last_line_says_what_was_checked_and_what_was_not(
    workspace: Workspace, cluster_run: Path
) -> None:
    preserve(workspace, PreserveRequest(run=cluster_run, artifacts="reference", artifacts_location="on tape"))
    last = run_verb("validate", workspace=workspace).stdout.splitlines()[-1]
    assert last.startswith(
        "1 run, 0 files re-hashed, 0 runs read again, 6 by reference not checked, "
        "not read again, or not in full: 1 run (files by reference, not at hand): "
    )
    last = run_verb("validate", "--no-rehash", workspace=workspace).stdout.splitlines()[-1]
    assert "compared by size only, no bytes read, nothing read again, no score recomputed" in last


def test_json_is_one_object_with_findings_and_summary(archive: Workspace) -> None:
    result = run_verb("validate", "--format", "json", workspace=archive)
    document = json.loads(result.stdout)
    assert set(document) == {"findings", "summary"}
    assert document["summary"]["num_runs"] == 1
    assert {"rule", "severity", "run_id", "place", "message", "way_out", "waived_because"} == set(
        document["findings"][0]
    )


def test_hostile_file_names_are_spelled_out_in_text_and_json(archive: Workspace) -> None:
    folder = os.fsencode(archive.preserved_path(RUN))
    Path(os.fsdecode(folder + b"/a\nb\xff\x1b[31m")).write_text("x")
    text = run_verb("validate", workspace=archive).stdout
    assert "  warning RK103 a\\nb\\udcff\\x1b[31m: " in text
    document = json.loads(run_verb("validate", "--format", "json", workspace=archive).stdout)
    assert "a\nb\udcff\x1b[31m" in [finding["place"] for finding in document["findings"]]


def test_the_exit_status_follows_the_findings(archive: Workspace) -> None:
    report = validate(archive)
    fails = any(one.severity != "info" for one in report.findings)
    assert run_verb("validate", workspace=archive).exit_code == int(fails)
    (archive.preserved_path(RUN) / "inner" / "train.log").unlink()
    assert run_verb("validate", workspace=archive).exit_code == 1


def test_a_folder_without_an_archive_is_refused_with_the_way_out(tmp_path: Path) -> None:
    result = run_verb("validate", workspace=Workspace(tmp_path))
    assert result.exit_code == 2
    assert "it has no folder manifests; `runkit preserve RUN` archives a run here" in result.stderr


def test_explain_knows_every_code_and_its_way_out(workspace: Workspace) -> None:
    page = run_verb("explain", "rk401", workspace=workspace).stdout
    assert page.startswith("RK401 noop-ablation (lineage, error)\n")
    assert "  Checked by `runkit lineage`.\n" in page
    listed = run_verb("explain", workspace=workspace).stdout.splitlines()
    assert len(listed) == len(RULES)
    assert run_verb("explain", "RK999", workspace=workspace).exit_code == 2
    assert run_verb("explain", "a", "b", workspace=workspace).exit_code == 2


def test_the_checking_verbs_are_imported_without_pydantic_arrow_or_scipy() -> None:
    code = (
        "import sys, runkit.cli.checking\n"
        "print([name for name in ('pydantic', 'pyarrow', 'scipy', 'torch', 'rich.console') if name in "
        "sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert result.stdout == "[]\n"


@pytest.mark.seed
def test_the_seed_runs_give_what_is_known_of_them(workspace: Workspace, seed_runs: Path) -> None:
    for folder in sorted(seed_runs.iterdir()):
        preserve(
            workspace, PreserveRequest(run=folder, artifacts="reference", artifacts_location="elsewhere")
        )
    found = {(one.rule, one.run_id) for one in validate(workspace).findings if one.severity != "info"}
    runs = {folder.name for folder in seed_runs.iterdir()}
    cut, swap = "phase2_swap_20251118_213543", "phase2_swap_20251118_192955"
    assert found == {
        *(("RK107", run) for run in runs),
        ("RK301", cut),
        ("RK207", cut),
        ("RK208", cut),
        ("RK206", swap),
        ("RK207", swap),
        ("RK505", "ablB_20251116_234242"),
    }
    collapse = next(one for one in validate(workspace).findings if one.rule == "RK208")
    assert collapse.place == "phase2_swap_all_fix/train.log:1272"
    assert "the answer 1000 stands in 101 of 200 bridged outputs" in collapse.message
