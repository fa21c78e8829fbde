"""Where nothing can be written, or not every character, the exit status still says what happened."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runkit.archive.workspace import Workspace
from runkit.cli import keeping
from runkit.cli.app import app
from runkit.workflows.preserve import PreserveRequest, preserve

VERBS = ["list", "--help", "lineage --format json"]


def shell(workspace: Workspace, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    line = command.replace("runkit ", f"'{sys.executable}' -m runkit ")
    return subprocess.run(
        ["bash", "-c", line], cwd=workspace.root, text=True, capture_output=True, timeout=600,
        check=False, env={**os.environ, **variables},
    )  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_output_that_cannot_be_written_is_one_line_and_exit_2(workspace: Workspace, verb: str) -> None:
    workspace.manifests.mkdir()
    full = shell(workspace, f"runkit {verb} > /dev/full")
    closed = shell(workspace, f"runkit {verb} >&-")
    said = "runkit: cannot write to standard output: "
    assert (full.returncode, full.stderr) == (2, f"{said}No space left on device\n")
    assert (closed.returncode, closed.stderr) == (2, f"{said}it is closed\n")
    assert shell(workspace, f"runkit {verb} 2>&-").returncode == 0
    piped = shell(workspace, f"runkit {verb} | true; exit ${{PIPESTATUS[0]}}")
    assert (piped.returncode, piped.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "cp932"])
def test_characters_that_there_are_not_become_escapes(
    workspace: Workspace, cluster_run: Path, encoding: str
) -> None:
    preserve(workspace, PreserveRequest(cluster_run, run_id="mine"))
    done = shell(workspace, "runkit show mine && runkit no\u202ething", PYTHONIOENCODING=encoding)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "no\\u202ething" in done.stderr


def test_a_program_keeps_its_exit_status_where_nothing_can_be_written(workspace: Workspace) -> None:
    for index, place in enumerate((">&-", "2>&-", ">&- 2>&-", ">/dev/full", ">/dev/full 2>/dev/full")):
        done = shell(workspace, f"runkit run --run-id r{index} -- sh -c 'echo x; exit 7' {place}")
        assert done.returncode == 7, done.stderr


@pytest.mark.parametrize(
    "error", [RecursionError("deep"), MemoryError(), KeyError("\x1b[31m"), ValueError("é")]
)
def test_a_crash_is_one_line_and_never_exit_1(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(keeping, "opened", crash)
    done = CliRunner().invoke(app, ["list"])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"runkit: internal error: {type(error).__name__} in runkit/cli/keeping.py:")
    assert "this is a defect of runkit" in done.stderr
    traced = CliRunner().invoke(app, ["list"], env={"RUNKIT_TRACEBACK": "1"})
    assert "\n  runkit/cli/keeping.py:" in traced.stderr
    assert str(Path(__file__).parents[2]) not in traced.stderr


def test_an_installation_that_is_not_whole_says_so(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise ImportError('torn')")
    done = subprocess.run(
        [sys.executable, "-m", "runkit", "list"], env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("runkit: cannot start: ImportError: torn; ")
