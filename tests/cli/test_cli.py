"""The command line: quick to start, one line for every error, and exit statuses that a script can trust."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runkit.archive.workspace import Workspace
from runkit.cli.app import app
from tests.conftest import needs_torch
from tests.processes import PATIENCE_SECONDS, wait_for

VERBS = (
    "train",
    "eval",
    "demo",
    "preserve",
    "note",
    "list",
    "show",
    "validate",
    "lineage",
    "explain",
    "audit",
    "table",
    "readme",
    "verify",
    "seal",
    "gc",
    "pack",
    "unpack",
    "push",
    "pull",
    "schema",
)
runner = CliRunner()


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runkit", *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


def test_the_verbs_are_these_and_each_explains_itself() -> None:
    shown = runner.invoke(app, ["--help"])
    assert shown.exit_code == 0
    for verb in VERBS:
        assert f"  {verb} " in shown.stdout
        assert runner.invoke(app, [verb, "--help"]).exit_code == 0


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "pyarrow", "pandas", "scipy", "numpy", "jinja2", "runkit.records")
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom runkit.cli.app import app\n"
        f"for verb in {VERBS!r}:\n    assert CliRunner().invoke(app, [verb, '--help']).exit_code == 0\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments", [("list",), ("validate",), ("lineage",), ("explain", "RK401")], ids=lambda words: words[0]
)
def test_no_verb_but_train_imports_torch(
    workspace: Workspace, cluster_run: Path, arguments: tuple[str, ...]
) -> None:
    assert run("preserve", str(cluster_run), "--workspace", str(workspace.root)).returncode == 0
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom runkit.cli.app import app\n"
        f"done = CliRunner().invoke(app, {list(arguments)!r})\nassert done.exit_code in (0, 1), done\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=workspace.root
    )
    assert done.stdout.strip() == "False"


def test_an_unknown_preset_is_answered_with_the_nearest(workspace: Workspace) -> None:
    assert one_line(run("train", "pokcet", cwd=workspace.root)) == (
        "runkit: there is no preset 'pokcet'; did you mean 'pocket'"
    )
    assert not workspace.runs.exists()


def test_a_misspelled_key_is_answered_with_the_nearest(workspace: Workspace) -> None:
    (workspace.root / "mine.toml").write_text('preset = "pocket"\n[bridge]\nconditionning = "mean"\n')
    line = one_line(run("train", "--config", "mine.toml", cwd=workspace.root))
    assert "'bridge.conditionning'" in line
    assert "did you mean 'bridge.conditioning'" in line
    line = one_line(run("train", "--set", "train.step=3", cwd=workspace.root))
    assert "did you mean 'train.steps'" in line
    assert not workspace.runs.exists()


def test_a_missing_run_is_named(workspace: Workspace) -> None:
    assert "there is no run directory 'runs/none'" in one_line(
        run("preserve", "runs/none", cwd=workspace.root)
    )
    assert "there is no preserved run 'none'" in one_line(run("show", "none", cwd=workspace.root))


def test_a_missing_workspace_is_named() -> None:
    assert one_line(run("list", "--workspace", "/nowhere/at/all")) == (
        "runkit: there is no workspace /nowhere/at/all; create the folder, or name another with --workspace"
    )


@needs_torch
def test_an_existing_run_id_is_refused(workspace: Workspace, cluster_run: Path) -> None:
    first = run("preserve", str(cluster_run), cwd=workspace.root)
    assert (first.returncode, first.stderr) == (0, "")
    assert "preserved runs never change" in one_line(run("preserve", str(cluster_run), cwd=workspace.root))
    (workspace.runs / "mine").mkdir(parents=True)
    assert "there is a run 'mine' already" in one_line(run("train", "--run-id", "mine", cwd=workspace.root))


def test_a_run_id_outside_the_workspace_is_refused(workspace: Workspace, cluster_run: Path) -> None:
    line = one_line(run("preserve", str(cluster_run), "--run-id", "../x", cwd=workspace.root))
    assert "would lead out of the archive" in line
    line = one_line(run("train", "--run-id", "../x", cwd=workspace.root))
    assert "would lead out of the archive" in line
    line = one_line(run("table", "../x", cwd=workspace.root))
    assert "x" in line


def test_a_torn_manifest_is_a_finding_where_all_are_read_and_an_error_where_it_is_asked_for(
    workspace: Workspace, cluster_run: Path
) -> None:
    run("preserve", str(cluster_run), cwd=workspace.root)
    path = workspace.manifests / "small_20260102_030405.json"
    path.write_text(path.read_text()[:300])
    listed = run("list", cwd=workspace.root)
    assert (listed.returncode, listed.stderr) == (1, "")
    assert "unreadable: manifests/small_20260102_030405.json is not a valid manifest" in listed.stdout
    validated = run("validate", cwd=workspace.root)
    assert validated.returncode == 1
    assert "RK105" in validated.stdout
    assert "is not a valid manifest" in one_line(run("show", "small_20260102_030405", cwd=workspace.root))


def test_a_read_only_archive_is_named(workspace: Workspace, cluster_run: Path) -> None:
    (workspace.root / "manifests").write_text("a file where the folder should be")
    line = one_line(run("preserve", str(cluster_run), cwd=workspace.root))
    assert "manifests" in line
    assert not (workspace.preserved_runs / "small_20260102_030405").exists()


def test_unknown_words_end_with_status_2(workspace: Workspace) -> None:
    for words in (("frobnicate",), ("list", "--frobnicate"), ("preserve",)):
        done = run(*words, cwd=workspace.root)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(workspace: Workspace) -> None:
    command = f"{sys.executable} -u -m runkit explain | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("RK101")


@needs_torch
def test_control_c_during_training_leaves_an_honest_run(workspace: Workspace) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "runkit", "train", "--run-id", "mine"],
        cwd=workspace.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # a shell starts what runs in its background without Ctrl-C, and the tests may run there
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    log = workspace.runs / "mine" / "train.log"
    wait_for(process, log, "Step 20/")
    os.kill(process.pid, signal.SIGINT)
    _output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2
    assert errors.startswith("runkit: interrupted; ")
    assert errors.count("\n") == 1
    assert "[Interrupted] at step" in log.read_text()
    preserved = run("preserve", "runs/mine", cwd=workspace.root)
    assert preserved.returncode == 0, preserved.stderr
    assert "preserved mine: truncated, the run was interrupted after step" in preserved.stdout
