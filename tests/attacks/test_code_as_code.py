"""Runs inside a checkout do not archive each other; their code is compared as code, apart from settings."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from runkit.archive.workspace import Workspace
from runkit.checks.comparison import effective_difference, is_noop
from runkit.records.manifest import Manifest
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.run import RunRequest, run
from tests.archive.test_code import git


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    git(tmp_path, "init", "-q", str(folder))
    (folder / "train.py").write_text("print('one line')\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    monkeypatch.chdir(folder)
    return folder


def archived(workspace: Workspace, run_id: str) -> Manifest:
    """Return the manifest of ``python train.py``, run and preserved."""
    request = RunRequest(argv=(sys.executable, "train.py"), run_id=run_id)
    finished = run(workspace, request, output=io.BytesIO())
    return preserve(workspace, PreserveRequest(finished.folder))


@pytest.mark.parametrize("inside", [".", "experiments/deep"])
def test_runs_in_a_checkout_do_not_grow_and_are_replicates(checkout: Path, inside: str) -> None:
    root = checkout / inside
    root.mkdir(parents=True, exist_ok=True)
    manifests = [archived(Workspace(root), f"r{number}") for number in range(3)]
    sizes = [sum(one.size_bytes for one in manifest.sealed.artifacts) for manifest in manifests]
    assert max(sizes) - min(sizes) < 100
    for manifest in manifests:
        assert manifest.sealed.software.code.is_dirty is False
        assert dict(manifest.sealed.configuration.effective).keys() == {"command"}
        assert is_noop(manifest, manifests[0])


def test_other_code_is_told_as_code_and_not_as_a_setting(checkout: Path) -> None:
    workspace = Workspace(checkout)
    control = archived(workspace, "control")
    (checkout / "train.py").write_text("print('another line')\n")
    changed = archived(workspace, "changed")
    again = archived(workspace, "again")
    (checkout / "helper.py").write_text("x = 1\n")
    untracked = archived(workspace, "untracked")
    git(checkout, "add", "-A", "train.py")
    git(checkout, "commit", "-qm", "second")
    (checkout / "helper.py").unlink()
    committed = archived(workspace, "committed")
    assert is_noop(again, changed)
    for run_, other in ((changed, control), (untracked, changed), (committed, control)):
        difference = effective_difference(run_, other)
        assert [one.key for one in difference.changed] == ["code"]
        assert [one.key for one in difference.named("code")] == ["code"]
        assert run_.sealed.configuration.effective_digest == other.sealed.configuration.effective_digest
