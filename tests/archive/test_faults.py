"""Whatever goes wrong in any system call of ``preserve``, the archive stays valid and the run untouched."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runkit.archive.workspace import Workspace
from runkit.workflows.preserve import PreserveRequest, preserve

ROOT = Path(__file__).resolve().parents[2]


def faults(folder: Path, *arguments: str, before: tuple[str, ...] = ()) -> Any:
    done = subprocess.run(
        [*before, sys.executable, "-m", "tests.archive.faults", str(folder), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def scene(cluster_run: Path) -> Iterator[Path]:
    """A folder with a workspace: one run preserved, and another that shares files with it and with itself.

    In memory where that is possible, since hundreds of faults wait thousands of times for a disk.
    """
    in_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=in_memory if os.access(in_memory, os.W_OK) else None) as folder:
        yield _scene_in(Path(folder) / "scene", cluster_run)


def _scene_in(folder: Path, cluster_run: Path) -> Path:
    template = folder / "template"
    workspace = Workspace(template / "workspace")
    workspace.root.mkdir(parents=True)
    preserve(workspace, PreserveRequest(cluster_run, run_id="old"))
    new = workspace.runs / "new"
    shutil.copytree(cluster_run, new)
    log = new / "inner" / "train.log"
    log.write_text(log.read_text() + "a line that the other run does not have\n")
    (new / "inner" / "deep").mkdir()
    (new / "inner" / "deep" / "notes.txt").write_text("bytes twice\n")
    (new / "notes.txt").write_text("bytes twice\n")
    (new / "empty.txt").touch()
    (new / "empty folder").mkdir()
    return template.parent


@pytest.mark.parametrize("request_", [{}, {"artifacts": "link"}, {"artifacts": "reference"}], ids=str)
def test_no_fault_in_any_call_breaks_a_promise(
    scene: Path, request_: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    report = faults(scene, "faults", json.dumps(request_))
    with capsys.disabled():
        num = sum(report["injected"].values())
        print(f"\n{request_ or 'copy'}: {num} faults injected at {sum(report['calls'].values())} calls "
              f"{report['calls']}, {len(report['broken'])} promises broken")  # fmt: skip
    assert report["broken"] == []
    assert {"write", "fsync", "link", "replace", "unlink"} <= set(report["calls"])
    assert report["injected"].keys() >= {"fails with EIO", "killed before", "killed after"}


def test_a_power_cut_takes_nothing_that_a_manifest_speaks_of(scene: Path) -> None:
    whole, without_files, without_folders = faults(
        scene, "syncs", json.dumps([None, "fsync of files", "fsync of folders"])
    )
    assert whole == []
    # The same question finds what is missing when the program is made to forget it.
    assert {"bytes of preserved_runs/new/inner/train.log", "bytes of manifest"} <= set(without_files)
    assert {"name of preserved_runs/new", "name of preserved_runs/new/inner/train.log", "manifest"} <= set(
        without_folders
    )


_NAMES = {
    "openat": "open", "linkat": "link", "renameat": "rename", "renameat2": "rename", "replace": "rename",
    "unlinkat": "unlink", "mkdirat": "mkdir", "fchmodat": "chmod", "utimensat": "utime",
    "symlinkat": "symlink", "pwrite64": "write", "remove": "unlink", "rmdir": "unlink",
}  # fmt: skip


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_faults_reach_every_system_call_that_changes_the_disk(scene: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    kinds = "%file,write,pwrite64,writev,fsync,fdatasync,ftruncate,fchmod,sendfile,copy_file_range"
    strace = ("strace", "-f", "-y", "-qq", "-o", str(trace), "-e", f"trace={kinds}")
    try:
        counted = faults(scene, "calls", before=strace)
    except AssertionError as error:
        if "ptrace" in str(error):
            pytest.skip("this machine does not let strace trace")
        raise
    lines = trace.read_text().partition("from here on")[2].splitlines()[1:]
    seen = Counter(_changing(line, str(scene)) for line in lines)
    del seen[None]
    expected = Counter[str]()
    for name, count in counted.items():
        expected[_NAMES.get(name, name)] += count
    assert seen == expected


def _changing(line: str, scene: str) -> str | None:
    """Return the kind of a traced call that changes something below *scene*."""
    found = re.match(r"(?:\d+ +)?(\w+)\(", line)
    if found is None or scene not in line:
        return None
    name = found[1]
    if name in {"open", "openat"} and "O_CREAT" not in line and "O_TRUNC" not in line:
        return None
    looking = {
        "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat",
        "execve", "getcwd", "statfs", "chdir",
    }  # fmt: skip
    return None if name in looking else _NAMES.get(name, name)


def test_the_shell_sees_what_was_asserted(scene: Path) -> None:
    """The scene is what the tests think it is: equal files are one file, also across runs."""
    work = scene / "template" / "workspace"
    assert (work / "preserved_runs/old/summary.log").stat().st_nlink == 2
