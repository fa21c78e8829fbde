"""The verbs of the store as a user types them: what they print, and their exit status."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from typer.testing import CliRunner, Result

from runkit.archive.workspace import Workspace
from runkit.cli.app import app
from tests.archive.test_store_promises import damage

RUN_ID = "small_20260102_030405"


def runkit(workspace: Workspace, *words: str) -> Result:
    return CliRunner().invoke(app, words, env={"RUNKIT_WORKSPACE": str(workspace.root)})


def test_verify_says_what_it_read_and_what_differs(workspace: Workspace, cluster_run: Path) -> None:
    assert runkit(workspace, "preserve", str(cluster_run)).exit_code == 0
    done = runkit(workspace, "verify")
    assert (done.exit_code, done.stdout.count("\n")) == (0, 1)
    assert re.fullmatch(r"1 run, 7 files, [\d.]+ kB hashed: all as sealed\n", done.stdout)
    damage(workspace.preserved_path(RUN_ID) / "summary.log", 0)
    done = runkit(workspace, "verify", "--jobs", "2")
    assert done.exit_code == 1
    assert done.stdout.startswith(f"  error '{RUN_ID}' RK102 summary.log has sha256 ")
    assert done.stdout.endswith("hashed: 1 finding\n")


def test_gc_shows_before_it_removes(workspace: Workspace, cluster_run: Path) -> None:
    runkit(workspace, "preserve", str(cluster_run))
    staging = workspace.preserved_runs / ".staging-0"
    staging.mkdir()
    (staging / "file").write_bytes(bytes(1500))
    said = "'preserved_runs/.staging-0' (1.5 kB): a run that was on its way in when its process ended\n"
    assert runkit(workspace, "gc", "--dry-run").stdout == (
        f"would remove {said}1 leftover, 1.5 kB would be removed\n"
    )
    assert staging.is_dir()
    assert runkit(workspace, "gc").stdout == f"removed {said}1 leftover, 1.5 kB removed\n"
    assert not staging.exists()
    assert runkit(workspace, "gc").stdout == "0 leftovers, 0 bytes removed\n"


def test_pack_and_unpack_push_and_pull(workspace: Workspace, cluster_run: Path, tmp_path: Path) -> None:
    runkit(workspace, "preserve", str(cluster_run))
    path = tmp_path / "runs.tar.zst"
    done = runkit(workspace, "pack", str(path))
    assert re.fullmatch(
        rf"packed 1 run, 6 files, [\d.]+ kB into {re.escape(str(path))}: [\d.]+ kB, sha256 [0-9a-f]{{64}}\n",
        done.stdout,
    )
    assert re.fullmatch(
        r"1 run, 6 files, [\d.]+ kB hashed: all as sealed\n",
        runkit(workspace, "verify", "--at", str(path)).stdout,
    )
    url = f"file://{tmp_path}/far"
    assert runkit(workspace, "push", url).stdout.startswith(f"pushed {RUN_ID}\n6 files, ")
    assert re.fullmatch(
        r"1 run, [\d.]+ kB hashed: all as sealed\n", runkit(workspace, "verify", "--at", url).stdout
    )
    for number, words in enumerate((("unpack", str(path)), ("pull", url))):
        other = Workspace(tmp_path / f"other{number}")
        other.root.mkdir()
        assert runkit(other, *words).stdout == f"took in {RUN_ID}\nnext: runkit validate\n"
        assert runkit(other, *words).stdout == f"already here: {RUN_ID}\nnext: runkit validate\n"
        assert runkit(other, "verify").exit_code == 0


def test_what_cannot_be_done_is_one_line(workspace: Workspace, tmp_path: Path) -> None:
    for words, said in (
        (("pack", str(tmp_path / "x")), "there is no preserved run to pack"),
        (("unpack", str(tmp_path / "x")), "cannot be read: No such file or directory"),
        (("push", "nosuch://x"), "Protocol not known: nosuch"),
        (("verify", "nosuch"), "there is no preserved run 'nosuch'"),
        (("schema", "manifset"), "did you mean 'manifest'"),
        (("preserve", str(tmp_path), "--reference-over", "much"), "'much' is no size"),
    ):
        done = runkit(workspace, *words)
        assert done.exit_code == 2, words
        assert said in done.stderr
        assert done.stderr.count("\n") == 1


def test_schema_prints_a_schema(workspace: Workspace) -> None:
    assert json.loads(runkit(workspace, "schema").stdout)["$id"] == "urn:runkit:manifest:2"
    assert json.loads(runkit(workspace, "schema", "notes").stdout)["$id"] == "urn:runkit:notes:1"


def test_large_files_stay_where_they_are_when_told(workspace: Workspace, cluster_run: Path) -> None:
    (cluster_run / "checkpoint.pt").write_bytes(os.urandom(20_000))
    assert runkit(workspace, "preserve", str(cluster_run), "--reference-over", "10kB").exit_code == 0
    assert not (workspace.preserved_path(RUN_ID) / "checkpoint.pt").exists()
    assert "1 by reference not checked: all as sealed" in runkit(workspace, "verify").stdout
