"""Looking at a checkout runs no program that the checkout names; each here would leave a trace."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from runkit.archive.code import DIFF_FILE, UNTRACKED_FILE, captured_code
from tests.archive.test_code import everything_below, git


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    """A folder in which a program that ran leaves a file."""
    folder = tmp_path / "traces"
    folder.mkdir()
    return folder


def program(traces: Path, name: str) -> str:
    """Return a command that leaves a trace and passes on what it is given."""
    path = traces.parent / f"program-{name}"
    path.write_text(f"#!/bin/sh\ntouch '{traces}/{name}'\nexec cat\n")
    path.chmod(0o755)
    return str(path)


def trapped(folder: Path, traces: Path, name: str) -> None:
    """Make a checkout in *folder* whose configuration names programs wherever git would run one."""
    git(folder.parent, "init", "-q", str(folder))
    (folder / "model.py").write_text("a = 1\n")
    (folder / "data.csv").write_text("1\n")
    (folder / "odd.csv").write_text("1\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    (folder / ".gitattributes").write_text("*.csv filter=f diff=d\nodd.csv filter=o=1 diff=d\n*.py diff=d\n")
    included = folder / ".git" / "more"
    run = program(traces, name)
    settings = {
        "core.fsmonitor": run, "core.pager": run, "core.sshCommand": run, "core.editor": run,
        "core.askPass": run, "core.alternateRefsCommand": run, "core.gitProxy": run, "gpg.program": run,
        "credential.helper": run, "alias.diff": f"!{run}", "alias.ls-files": f"!{run}", "pager.diff": run,
        "diff.external": run, "diff.d.command": run, "diff.d.textconv": run, "interactive.diffFilter": run,
        "filter.f.clean": run, "filter.f.smudge": run, "filter.f.required": "true", "merge.d.driver": run,
        "filter.o=1.process": run, "filter.o=1.required": "true", "log.showSignature": "true",
        "submodule.recurse": "true", "include.path": str(included), "core.untrackedCache": "true",
        "core.hooksPath": str(folder / ".git" / "traps"), "trailer.x.command": run,
        "uploadpack.packObjectsHook": run,
    }  # fmt: skip
    included.write_text(f'[filter "g"]\n\tclean = {run}\n[core]\n\tfsmonitor = {run}\n')
    for hooks in (folder / ".git" / "hooks", folder / ".git" / "traps"):
        hooks.mkdir(exist_ok=True)
        for hook in (
            "post-index-change",
            "pre-commit",
            "post-checkout",
            "fsmonitor-watchman",
            "reference-transaction",
        ):
            (hooks / hook).write_text(f"#!/bin/sh\ntouch '{traces}/{name}-{hook}'\n")
            (hooks / hook).chmod(0o755)
    for key, value in settings.items():
        subprocess.run(["git", "config", "--file", str(folder / ".git" / "config"), key, value], check=True)
    (folder / "model.py").write_text("a = 2\n")
    for data in ("data.csv", "odd.csv", "new.csv"):
        (folder / data).write_text("22\n")
    (folder / "other.py").write_text("b = 1\n")
    os.utime(folder / "model.py", (1, 1))


def test_the_traps_are_real(tmp_path: Path, traces: Path) -> None:
    trapped(tmp_path / "project", traces, "outer")
    for verb in ("status", "diff", "add"):
        subprocess.run(["git", "-C", str(tmp_path / "project"), verb, "."], capture_output=True, check=False)
    assert list(traces.iterdir())


def test_no_program_of_a_checkout_or_its_submodules_runs_and_what_that_hides_is_said(
    tmp_path: Path, traces: Path
) -> None:
    project = tmp_path / "project"
    trapped(project, traces, "outer")
    trapped(project / "inner", traces, "inner")
    commit = (project / "inner" / ".git" / "refs" / "heads").glob("*")
    for path in commit:
        entry = f"160000,{path.read_text().strip()},inner"
        index = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C", str(project)]
        subprocess.run([*index, "update-index", "--add", "--cacheinfo", entry], check=True)
    for trace in traces.iterdir():
        trace.unlink()
    before = everything_below(project)
    run = tmp_path / "workspace" / "runs" / "r"
    code = captured_code(project, run_folder=run)
    assert [path.name for path in traces.iterdir()] == []
    assert everything_below(project) == before
    no_program = "git runs the program of the filter {} on it, and runkit runs none"
    assert sorted(code.left_out) == [
        f"data.csv: {no_program.format('f')}",
        "inner: changes inside a submodule",
        f"new.csv: {no_program.format('f')}",
        f"odd.csv: {no_program.format('o=1')}",
    ]
    assert (code.is_dirty, code.reapplies, code.changes) == (True, False, (DIFF_FILE, UNTRACKED_FILE))
    diff = (run / DIFF_FILE).read_text()
    assert "+a = 2" in diff
    assert ".csv" not in diff
    with tarfile.open(run / UNTRACKED_FILE) as archive:
        assert archive.getnames() == [".gitattributes", "other.py"]


def test_a_clone_without_its_contents_fetches_nothing(tmp_path: Path, traces: Path) -> None:
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    git(tmp_path, "init", "-q", str(origin))
    (origin / "model.py").write_text("a = 1\n")
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "first")
    git(origin, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{origin}", str(clone))
    git(clone, "read-tree", "HEAD")
    git(clone, "config", "core.sshCommand", program(traces, "ssh"))
    git(clone, "config", "remote.origin.url", "ssh://nowhere.invalid/x")
    (clone / "model.py").write_text("a = 2\n")
    code = captured_code(clone, run_folder=tmp_path / "workspace" / "runs" / "r")
    assert list(traces.iterdir()) == []
    assert code.is_dirty is None or code.left_out or code.reapplies is not True


def test_files_of_git_lfs_are_compared_by_what_the_commit_points_to(tmp_path: Path, traces: Path) -> None:
    project = tmp_path / "project"
    git(tmp_path, "init", "-q", str(project))
    content = b"weights" * 100
    digest = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 700\n"
    (project / ".gitattributes").write_text("*.bin filter=lfs\n")
    for name in ("same.bin", "other.bin"):
        (project / name).write_text(pointer)
    git(project, "add", "-A")
    git(project, "commit", "-qm", "first")
    git(project, "config", "filter.lfs.process", program(traces, "lfs"))
    (project / "same.bin").write_bytes(content)
    assert captured_code(project).is_dirty is False
    (project / "other.bin").write_bytes(content[:-1])
    code = captured_code(project, run_folder=tmp_path / "workspace" / "runs" / "r")
    assert code.left_out == ("other.bin: git runs the program of the filter lfs on it, and runkit runs none",)
    assert list(traces.iterdir()) == []


def test_variables_and_a_work_tree_that_point_elsewhere_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, traces: Path
) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (project, elsewhere):
        git(tmp_path, "init", "-q", str(folder))
        (folder / "model.py").write_text(f"{folder.name} = 1\n")
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "first")
    monkeypatch.setenv("GIT_DIR", str(elsewhere / ".git"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", program(traces, "external"))
    code = captured_code(project)
    monkeypatch.delenv("GIT_DIR")
    assert code.git_commit == git(project, "rev-parse", "HEAD")
    git(project, "config", "core.worktree", str(tmp_path))
    assert captured_code(project).missing_because == (
        "the work tree of the repository lies elsewhere (core.worktree)"
    )
    assert list(traces.iterdir()) == []


def test_what_git_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q", "--bare", str(tmp_path / "bare"))
    bare = captured_code(tmp_path / "bare")
    assert bare.missing_because == "the folder lies in a bare git repository, which has no files"
    git(tmp_path, "init", "-q", str(tmp_path / "project"))
    (tmp_path / "project" / "a.py").write_text("a = 1\n")
    git(tmp_path / "project", "add", "-A")
    git(tmp_path / "project", "commit", "-qm", "first")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    assert captured_code(tmp_path / "project").missing_because == (
        "git refuses the checkout, which belongs to another user; safe.directory allows it"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    assert captured_code(tmp_path / "project").missing_because == (
        "git cannot tell the state of the checkout: git is not installed"
    )
