"""Preserving keeps every byte, tells the truth about the run, and is all or nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runkit.archive.hashing import file_digest
from runkit.archive.naming import repaired_name
from runkit.archive.reading import read_manifest, read_outcomes, run_ids
from runkit.archive.workspace import Workspace
from runkit.errors import (
    AlreadyExists,
    OutsideWorkspace,
    RecordInvalid,
    RunUnreadable,
    StorageFailed,
    UnknownName,
    UsageError,
)
from runkit.workflows.preserve import PreserveRequest, changed_notes, note, preserve

RUN_ID = "small_20260102_030405"


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def test_the_exact_layout_is_kept_and_the_run_is_not_touched(workspace: Workspace, cluster_run: Path) -> None:
    (cluster_run / "empty").mkdir()
    before = contents(cluster_run)
    preserve(workspace, PreserveRequest(cluster_run))
    assert contents(workspace.preserved_path(RUN_ID)) == before == contents(cluster_run)


def test_the_manifest_on_disk_is_the_one_returned_and_seals_every_file(
    workspace: Workspace, cluster_run: Path
) -> None:
    manifest = preserve(workspace, PreserveRequest(cluster_run))
    assert read_manifest(workspace, RUN_ID) == manifest
    kept = {artifact.path: (artifact.sha256, artifact.size_bytes) for artifact in manifest.sealed.artifacts}
    assert kept == {path: tuple(file_digest(cluster_run / path)) for path in kept}
    assert set(kept) == {path for path, content in contents(cluster_run).items() if content is not None}
    assert manifest.seal.digest == manifest.sealed.content_digest()


def test_metrics_are_recomputed_and_carry_their_n(workspace: Workspace, cluster_run: Path) -> None:
    sealed = preserve(workspace, PreserveRequest(cluster_run)).sealed
    shown = {metric.name: (metric.value_fraction, metric.correct, metric.n) for metric in sealed.metrics}
    assert shown == {
        "peak.bridged": (0.75, 3, 4),
        "last_step.bridged": (0.75, 3, 4),
        "final.source": (0.5, 2, 4),
        "final.target": (0.75, 3, 4),
        "final.bridged": (0.5, 2, 4),
        "degradation": (0.25, 1, 4),
        "gap_to_target": (0.25, 1, 4),
        "gain_over_source": (0.0, 0, 4),
    }
    peak = sealed.metric("peak.bridged")
    assert peak is not None
    assert (peak.steps, peak.num_candidates) == ((20, 40), 3)


def test_outcomes_on_disk_are_those_of_the_dumps(workspace: Workspace, cluster_run: Path) -> None:
    manifest = preserve(workspace, PreserveRequest(cluster_run))
    final = read_outcomes(workspace, manifest)["final"]
    assert final.outcomes("bridged") == ("correct", "correct", "wrong", "invalid")


def test_end_and_duration_come_from_directory_name_and_summary(
    workspace: Workspace, cluster_run: Path
) -> None:
    sealed = preserve(workspace, PreserveRequest(cluster_run)).sealed
    assert sealed.started is not None
    assert sealed.ended is not None
    assert (sealed.started.at, sealed.ended.at, sealed.ended.zone) == (
        "2026-01-02T03:04:05",
        "2026-01-02T04:04:05",
        "PST",
    )
    assert sealed.duration_seconds == 3600


def test_references_keep_hashes_and_outcomes_but_no_file(workspace: Workspace, cluster_run: Path) -> None:
    copied = preserve(workspace, PreserveRequest(cluster_run, run_id="copied"))
    referenced = preserve(
        workspace,
        PreserveRequest(
            cluster_run, run_id="referenced", artifacts="reference", artifacts_location="the cluster"
        ),
    )
    assert not workspace.preserved_path("referenced").exists()
    assert referenced.sealed.artifacts_location == "the cluster"
    assert [file.sha256 for file in referenced.sealed.artifacts] == [
        file.sha256 for file in copied.sealed.artifacts
    ]
    assert read_outcomes(workspace, referenced) == read_outcomes(workspace, copied)


def test_an_existing_id_is_refused_and_stays_as_it_was(workspace: Workspace, cluster_run: Path) -> None:
    preserve(workspace, PreserveRequest(cluster_run))
    before = contents(workspace.root)
    (cluster_run / "inner" / "train.log").write_text("another run")
    with pytest.raises(
        AlreadyExists, match=f"run '{RUN_ID}' is already preserved in .*; preserved runs never change"
    ):
        preserve(workspace, PreserveRequest(cluster_run))
    assert contents(workspace.root) == before


def test_quotes_in_the_directory_name_are_repaired_and_the_name_is_kept_as_a_fact(
    workspace: Workspace, cluster_run: Path
) -> None:
    quoted = cluster_run.rename(cluster_run.with_name('small_"20260102_030405"'))
    manifest = preserve(workspace, PreserveRequest(quoted))
    assert manifest.run_id == RUN_ID
    assert manifest.sealed.provenance.logged_run_directory == "runs/small_20260102_030405/inner"


def test_a_directory_name_without_a_safe_character_is_refused() -> None:
    with pytest.raises(UsageError, match="is not a run id"):
        repaired_name('""')


def test_a_run_that_was_cut_off_is_truncated_with_its_last_step(
    workspace: Workspace, cluster_run: Path
) -> None:
    log = cluster_run / "inner" / "train.log"
    log.write_text(log.read_text().split("[Eval] Step 40")[0])
    (cluster_run / "inner" / "eval_samples_step_final.jsonl").unlink()
    sealed = preserve(workspace, PreserveRequest(cluster_run)).sealed
    assert sealed.status.value == "truncated"
    assert sealed.status.evidence is not None
    assert sealed.status.evidence.line == sealed.training.evidence.line if sealed.training.evidence else False
    final = sealed.metric("final.bridged")
    assert final is not None
    assert (final.value_fraction, final.missing_because) == (None, "the run has no final evaluation")


def test_a_run_that_crashed_names_the_first_line_of_the_error(
    workspace: Workspace, cluster_run: Path
) -> None:
    log = cluster_run / "inner" / "train.log"
    head = log.read_text().split("[Final Eval]")[0]
    log.write_text(head + "Traceback (most recent call last):\n  File x\nOutOfMemoryError: no\n")
    sealed = preserve(workspace, PreserveRequest(cluster_run)).sealed
    assert sealed.status.evidence is not None
    assert (sealed.status.value, sealed.status.evidence.line) == ("crashed", head.count("\n") + 1)


def test_an_evaluation_without_samples_is_null_and_never_zero(
    workspace: Workspace, cluster_run: Path
) -> None:
    for dump in (cluster_run / "inner").glob("*.jsonl"):
        dump.unlink()
    log = cluster_run / "inner" / "train.log"
    zeros = "Source-alone acc: 0.000 | Target-alone acc: 0.000 | Bridged acc: 0.000"
    head = log.read_text().split("[Eval]")[0]
    log.write_text(f"{head}[Eval] sample_records empty\n[Eval] Step 0 | {zeros}\n[Final Eval] {zeros}\n")
    sealed = preserve(workspace, PreserveRequest(cluster_run)).sealed
    assert sealed.status.value == "no_eval_samples"
    assert [metric.value_fraction for metric in sealed.metrics] == [None] * len(sealed.metrics)
    assert sealed.outcomes is None


def test_a_torn_dump_is_preserved_with_the_number_of_bad_rows(
    workspace: Workspace, cluster_run: Path
) -> None:
    dump = cluster_run / "inner" / "eval_samples_step_final.jsonl"
    dump.write_text(dump.read_text()[:-20])
    final = preserve(workspace, PreserveRequest(cluster_run)).sealed.evaluation("final")
    assert final is not None
    assert (final.n, final.num_unreadable_rows) == (3, 1)


def test_a_link_in_the_run_is_left_out_and_listed(workspace: Workspace, cluster_run: Path) -> None:
    (cluster_run / "secret").symlink_to("/etc")
    manifest = preserve(workspace, PreserveRequest(cluster_run))
    left_out = [(one.path, one.reason) for one in manifest.sealed.missing_artifacts if one.role == "other"]
    assert left_out == [("secret", "a link to '/etc'; links are neither followed nor kept")]
    assert not (workspace.preserved_path(RUN_ID) / "secret").is_symlink()


def test_a_missing_run_is_answered_with_the_nearest_one(workspace: Workspace) -> None:
    (workspace.runs / "pocket").mkdir(parents=True)
    with pytest.raises(UnknownName) as caught:
        preserve(workspace, PreserveRequest(Path("runs/pokcet")))
    assert str(caught.value) == "there is no run directory 'runs/pokcet'; did you mean 'runs/pocket'"


def test_a_folder_without_a_log_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    with pytest.raises(RunUnreadable, match=r"^no reader knows nothing: it holds no file"):
        preserve(workspace, PreserveRequest(tmp_path / "nothing"))


def test_a_folder_with_two_runs_is_refused_and_both_are_named(
    workspace: Workspace, cluster_run: Path
) -> None:
    shutil.copytree(cluster_run / "inner", cluster_run / "other")
    with pytest.raises(RunUnreadable, match=r"more than one run \(inner/train\.log, other/train\.log\)"):
        preserve(workspace, PreserveRequest(cluster_run))


def test_an_id_that_leads_out_of_the_archive_is_refused(workspace: Workspace, cluster_run: Path) -> None:
    with pytest.raises(OutsideWorkspace):
        preserve(workspace, PreserveRequest(cluster_run, run_id="../../escape"))


def test_a_full_disk_leaves_nothing(cluster_run: Path, tmp_path: Path) -> None:
    root = tmp_path / "full"
    root.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(root)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small tmpfs is not permitted here")
    try:
        (cluster_run / "inner" / "checkpoint.pt").write_bytes(os.urandom(1 << 20))
        with pytest.raises(StorageFailed, match="No space left on device"):
            preserve(Workspace(root), PreserveRequest(cluster_run))
        assert run_ids(Workspace(root)) == ()
        assert list(Workspace(root).preserved_runs.iterdir()) == []
    finally:
        subprocess.run(["umount", str(root)], check=True)


KILLED_AT = """
import os, signal, sys
from pathlib import Path
call, workspace, run = sys.argv[1:]
setattr(os, call, lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
from runkit.archive.workspace import Workspace
from runkit.workflows.preserve import PreserveRequest, preserve
preserve(Workspace(Path(workspace)), PreserveRequest(Path(run)))
"""


@pytest.mark.parametrize("call", ["rename", "replace", "link", "fsync"])
def test_killed_at_any_step_it_is_not_there_and_the_same_command_succeeds_next_time(
    workspace: Workspace, cluster_run: Path, call: str
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT, call, str(workspace.root), str(cluster_run)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert run_ids(workspace) == ()
    preserve(workspace, PreserveRequest(cluster_run))
    assert contents(workspace.preserved_path(RUN_ID)) == contents(cluster_run)


def test_of_many_processes_that_preserve_one_run_exactly_one_wins(
    workspace: Workspace, cluster_run: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "runkit",
        "preserve",
        str(cluster_run),
        "--workspace",
        str(workspace.root),
    ]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(6)
    ]
    ended = [(process.communicate(), process.returncode) for process in running]
    assert sorted(status for _output, status in ended) == [0, 2, 2, 2, 2, 2]
    assert all("preserved" in errors for (_out, errors), status in ended if status)
    assert contents(workspace.preserved_path(RUN_ID)) == contents(cluster_run)


def test_an_ablation_names_its_control_and_an_unknown_control_is_refused(
    workspace: Workspace, cluster_run: Path
) -> None:
    preserve(workspace, PreserveRequest(cluster_run, run_id="control"))
    ablation = preserve(
        workspace, PreserveRequest(cluster_run, run_id="row", ablates="control", factors=("lr",))
    )
    assert [(found.run_id, found.factors) for found in ablation.relations("ablates")] == [
        ("control", ("lr",))
    ]
    with pytest.raises(UnknownName, match="there is no preserved run 'contorl'; did you mean 'control'"):
        preserve(workspace, PreserveRequest(cluster_run, run_id="row2", ablates="contorl"))
    with pytest.raises(UsageError, match="name its control with --ablates"):
        preserve(workspace, PreserveRequest(cluster_run, run_id="row2", factors=("lr",)))
    assert run_ids(workspace) == ("control", "row")


def test_notes_change_and_the_seal_does_not(workspace: Workspace, cluster_run: Path, tmp_path: Path) -> None:
    before = preserve(workspace, PreserveRequest(cluster_run))
    source = tmp_path / "notes.toml"
    source.write_text(
        'title = "A small run"\n[publishability]\nverdict = "supporting"\nreason = "it is small"\n'
    )

    def change(notes: Any) -> Any:
        return changed_notes(notes, source=source, ablates=None, factors=())

    note(workspace, RUN_ID, change=change)
    after = read_manifest(workspace, RUN_ID)
    assert (after.sealed, after.seal) == (before.sealed, before.seal)
    assert after.notes.title == "A small run"
    assert after.notes.publishability.verdict == "supporting"


def test_a_misspelled_note_is_answered_with_the_nearest(
    workspace: Workspace, cluster_run: Path, tmp_path: Path
) -> None:
    source = tmp_path / "notes.toml"
    source.write_text('tilte = "x"\n')
    with pytest.raises(UnknownName, match="called 'tilte'; did you mean 'title'"):
        preserve(workspace, PreserveRequest(cluster_run, notes_file=source))
    source.write_text("title = 3\n")
    with pytest.raises(RecordInvalid, match="title: input should be a valid string"):
        preserve(workspace, PreserveRequest(cluster_run, notes_file=source))
    assert run_ids(workspace) == ()
