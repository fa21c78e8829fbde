"""The code that ran can be put together again from the commit and what was kept, and what was not is said."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from runkit.archive.code import DIFF_FILE, UNTRACKED_FILE, captured_code


def git(folder: Path, *arguments: str) -> str:
    environment = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "package").mkdir(parents=True)
    git(folder.parent, "init", "-q", str(folder))
    (folder / "package" / "model.py").write_text("a = 1\n")
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    (folder / ".gitignore").write_text("runs/\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def rebuilt(checkout: Path, run: Path, place: Path) -> dict[str, bytes]:
    """Return the files that commit, diff and archive give, in a new clone."""
    git(place.parent, "clone", "-q", str(checkout), str(place))
    if (run / DIFF_FILE).is_file():
        git(place, "apply", str(run / DIFF_FILE))
    if (run / UNTRACKED_FILE).is_file():
        with tarfile.open(run / UNTRACKED_FILE) as archive:
            archive.extractall(place, **TAR_FILTER)
    return files_of(place)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(folder).parts and "runs" not in path.parts
    }


def everything_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    code = captured_code(checkout / "package", run_folder=checkout / "runs" / "r")
    assert (code.git_commit, code.is_dirty, code.changes) == (git(checkout, "rev-parse", "HEAD"), False, ())


def test_staged_unstaged_binary_deleted_and_untracked_changes_are_put_together_again(
    checkout: Path, tmp_path: Path
) -> None:
    run = checkout / "runs" / "r"
    (checkout / "package" / "model.py").write_text("a = 2\n")
    (checkout / "weights.bin").write_bytes(bytes(range(255, -1, -1)) * 3)
    (checkout / "staged.py").write_text("b = 1\n")
    git(checkout, "add", "staged.py")
    (checkout / "staged.py").write_text("b = 2\n")
    (checkout / "new file 'x'.py").write_text("c = 1\n")
    before = everything_below(checkout)
    code = captured_code(checkout, run_folder=run)
    kept = {str(run / DIFF_FILE), str(run / UNTRACKED_FILE)}
    assert {path: text for path, text in everything_below(checkout).items() if path not in kept} == before
    assert (code.is_dirty, code.changes, code.left_out) == (True, (DIFF_FILE, UNTRACKED_FILE), ())
    assert code.reapplies is True
    assert rebuilt(checkout, run, tmp_path / "again") == files_of(checkout)


@pytest.mark.parametrize("setting", ["diff.noprefix", "diff.mnemonicPrefix", "color.ui"])
def test_what_a_person_configured_for_git_does_not_spoil_the_diff(checkout: Path, setting: str) -> None:
    git(checkout, "config", setting, "always" if setting == "color.ui" else "true")
    (checkout / "package" / "model.py").write_text("a = 3\n")
    assert captured_code(checkout, run_folder=checkout / "runs" / "r").reapplies is True


def test_a_diff_that_does_not_give_the_tree_is_not_called_proven(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "package" / "model.py").write_text("a = 3\n")

    def written_meanwhile(root: Path, diff: bytes, *_others: object) -> list[bytes]:
        (root / "package" / "model.py").write_text("a = 4\n")
        return [diff]

    monkeypatch.setattr("runkit.archive.code._without_secrets", written_meanwhile)
    assert captured_code(checkout, run_folder=checkout / "runs" / "r").reapplies is False


def test_what_is_too_large_or_may_be_a_secret_is_left_out_loudly(checkout: Path) -> None:
    run = checkout / "runs" / "r"
    (checkout / "big.npy").write_bytes(b"x" * 5000)
    (checkout / ".env").write_text("KEY=1\n")
    (checkout / "my_api_key.txt").write_text("1\n")
    (checkout / "small.py").write_text("d = 1\n")
    code = captured_code(checkout, run_folder=run, max_bytes=1000)
    assert code.left_out == (
        ".env: its name says that it may hold a secret",
        "big.npy: 5000 bytes, and untracked files may have 1000 in all",
        "my_api_key.txt: its name says that it may hold a secret",
    )
    assert code.missing_because is not None
    assert code.missing_because.startswith("NOT KEPT: .env")
    with tarfile.open(run / UNTRACKED_FILE) as archive:
        assert archive.getnames() == ["small.py"]
    (checkout / "weights.bin").write_bytes(os.urandom(4000))
    assert any(
        "bytes of diff are more than 1000" in one
        for one in captured_code(checkout, run_folder=run, max_bytes=1000).left_out
    )


def test_equal_untracked_files_give_equal_archives(checkout: Path) -> None:
    (checkout / "b.py").write_text("1")
    (checkout / "a.py").write_text("2")
    archives = []
    for name in ("r", "s"):
        captured_code(checkout, run_folder=checkout / "runs" / name)
        archives.append((checkout / "runs" / name / UNTRACKED_FILE).read_bytes())
        os.utime(checkout / "a.py", (1, 1))
    assert archives[0] == archives[1]


def test_outside_a_checkout_and_before_the_first_commit_there_is_no_commit(tmp_path: Path) -> None:
    assert captured_code(tmp_path).missing_because == "the code does not run from a git checkout"
    git(tmp_path, "init", "-q", str(tmp_path / "fresh"))
    assert captured_code(tmp_path / "fresh").missing_because == "the checkout has no commit yet"


def test_a_secret_leaves_out_its_file_and_says_which_and_nothing_else(checkout: Path) -> None:
    run = checkout / "runs" / "r"
    token = "hf_" + "a" * 34
    (checkout / "package" / "model.py").write_text(f"a = 1\nlogin('{token}')\n")
    (checkout / "package" / "other.py").write_text("b = 1\n")
    (checkout / "note.ipynb").write_text(f'{{"outputs": [{{"text": ["HF_TOKEN={token}\\n"]}}]}}')
    (checkout / "weights.bin").write_bytes(bytes(range(256)) + token.encode())
    (checkout / ".aws").mkdir()
    (checkout / ".aws" / "config").write_text("region = x\n")
    git(checkout, "add", "package/other.py")
    code = captured_code(checkout, run_folder=run)
    assert code.left_out == (
        "package/model.py: its changes hold what looks like a Hugging Face token",
        "weights.bin: its changes hold what looks like a Hugging Face token",
        ".aws/config: its name says that it may hold a secret",
        "note.ipynb: line 1 holds what looks like a Hugging Face token",
    )
    assert (code.changes, code.reapplies) == ((DIFF_FILE,), False)
    git(checkout, "stash", "-q", "--", "package/model.py", "weights.bin")
    git(checkout, "reset", "-q", "--hard")
    git(checkout, "apply", str(run / DIFF_FILE))
    assert (checkout / "package" / "other.py").read_text() == "b = 1\n"
    assert not [path for path in run.rglob("*") if path.is_file() and b"hf_" in path.read_bytes()]


def test_what_runkit_and_other_tools_write_into_the_checkout_is_no_code(checkout: Path) -> None:
    workspace, other = checkout / "inside" / "workspace", checkout / "another"
    written = [
        workspace / "runs" / "first" / "train.log",
        workspace / "preserved_runs" / "first" / "train.log",
        workspace / "manifests" / "first.json",
        workspace / "paper_tables" / "t.md",
        other / "runs" / "x" / "run.json",
        other / "preserved_runs" / "x" / "train.log",
        other / "manifests" / "x.json",
        checkout / "wandb" / "run-1-a" / "files" / "output.log",
        checkout / "mlruns" / "0" / "meta.yaml",
        checkout / "outputs" / "2026-01-01" / "10-00-00" / ".hydra" / "config.yaml",
        checkout / "package" / "__pycache__" / "model.cpython-311.pyc",
        checkout / "checkpoint-500" / "model.safetensors",
    ]
    for path in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\n")
    assert captured_code(checkout, run_folder=workspace / "runs" / "second").is_dirty is False
    (checkout / "wandb" / "plot.py").write_text("e = 1\n")
    (checkout / "manifests").mkdir()
    (checkout / "manifests" / "deployment.yaml").write_text("f: 1\n")
    code = captured_code(checkout, run_folder=workspace / "runs" / "second")
    assert code.changes == (UNTRACKED_FILE,)
    with tarfile.open(workspace / "runs" / "second" / UNTRACKED_FILE) as archive:
        assert archive.getnames() == ["manifests/deployment.yaml", "wandb/plot.py"]


def test_equal_code_has_an_equal_digest_whatever_a_run_wrote_beside_it(checkout: Path) -> None:
    def digest_of(name: str) -> str | None:
        return captured_code(checkout, run_folder=checkout / "runs" / name).digest

    assert digest_of("clean") is None
    (checkout / "train.py").write_text("c = 1\n")
    first = digest_of("first")
    (checkout / "scores.csv").write_text("1\n")
    assert digest_of("second") == first is not None
    (checkout / "train.py").write_text("c = 2\n")
    assert digest_of("third") != first


def test_worktrees_sparse_and_shallow_checkouts_and_submodules_are_put_together_again(
    checkout: Path, tmp_path: Path
) -> None:
    git(checkout, "worktree", "add", "-q", str(tmp_path / "tree"))
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{checkout}", str(tmp_path / "shallow"))
    git(tmp_path, "clone", "-q", str(checkout), str(tmp_path / "sparse"))
    git(tmp_path / "sparse", "sparse-checkout", "set", "package")
    (tmp_path / "sparse" / "package" / "model.py").write_text("a = 2\n")
    git(tmp_path, "clone", "-q", str(checkout), str(tmp_path / "parent"))
    git(
        tmp_path / "parent",
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        str(checkout),
        "sub",
    )
    git(tmp_path / "parent", "commit", "-qm", "submodule")
    for name in ("tree", "shallow", "sparse", "parent"):
        place = tmp_path / name
        if name != "sparse":
            assert captured_code(place).is_dirty is False
        (place / "package" / "model.py").write_text("a = 2\n")
        code = captured_code(place, run_folder=tmp_path / "runs" / name)
        assert (name, code.is_dirty, code.left_out, code.reapplies) == (name, True, (), True)
        assert code.git_commit == git(place, "rev-parse", "HEAD")
    (tmp_path / "parent" / "sub" / "package" / "model.py").write_text("a = 3\n")
    assert captured_code(tmp_path / "parent", run_folder=tmp_path / "runs" / "again").left_out == (
        "sub: changes inside a submodule",
    )
