"""A bad file in a folder that runkit reads is told of, and hides nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runkit.archive.workspace import Workspace
from runkit.cli.app import app
from runkit.workflows.preserve import PreserveRequest, preserve


def socket_at(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the name of a socket is at most 108 bytes long
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


BAD: dict[str, Callable[[Path], object]] = {
    "nested": lambda path: path.write_text("[" * 3000),
    "nested object": lambda path: path.write_text('{"format": 1, "sealed": ' + '{"a":' * 100_000),
    "pipe": lambda path: os.mkfifo(path),
    "folder": lambda path: path.mkdir(),
    "socket": socket_at,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "circle": lambda path: path.symlink_to(path.name),
    "huge": sparse,
    "not UTF-8": lambda path: path.write_bytes(b'{"format": 1, "\xff": 1}'),
    "NaN": lambda path: path.write_text('{"format": NaN}'),
    "1e400": lambda path: path.write_text('{"format": 1, "sealed": 1e400}'),
    "long number": lambda path: path.write_text('{"format": ' + "9" * 10_000 + "}"),
    "lone surrogate": lambda path: path.write_text('{"format": 2, "a": "\\ud800"}'),
    "empty": lambda path: path.write_text(""),
    "other encoding": lambda path: path.write_bytes("{}".encode("utf-16")),
}


def runkit(workspace: Workspace, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runkit", *arguments], cwd=workspace.root, text=True,
        errors="replace", capture_output=True, timeout=600, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "verb", [("list",), ("validate", "--no-rehash"), ("lineage", "--check"), ("verify",)]
)
def test_no_bad_manifest_hides_the_others(
    workspace: Workspace, cluster_run: Path, verb: tuple[str, ...]
) -> None:
    preserve(workspace, PreserveRequest(cluster_run, run_id="good"))
    for number, make in enumerate(BAD.values()):
        make(workspace.manifests / f"bad{number:02}.json")
    done = runkit(workspace, *verb)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    for number, name in enumerate(BAD):
        assert f"manifests/bad{number:02}.json" in done.stdout, name
    if verb == ("list",):
        assert "\ngood " in done.stdout
    else:
        assert f"{len(BAD) + 1} runs" in done.stdout


def test_pack_and_audit_go_on_without_bad_manifests_and_say_so(
    workspace: Workspace, cluster_run: Path
) -> None:
    preserve(workspace, PreserveRequest(cluster_run, run_id="good"))
    os.mkfifo(workspace.manifests / "bad.json")
    packed = runkit(workspace, "pack", "all.tar.zst")
    assert (packed.returncode, packed.stdout.partition(",")[0]) == (1, "packed 1 run")
    said = "runkit: went on without manifests/bad.json cannot be read: it is a named pipe, no regular file\n"
    assert packed.stderr == said
    (workspace.root / "paper.md").write_text("Nothing is claimed here.\n")
    assert runkit(workspace, "audit", "paper.md").stderr == said
    assert runkit(workspace, "gc").returncode == 0


@pytest.mark.parametrize("name", BAD)
def test_a_bad_specification_is_one_line(workspace: Workspace, name: str) -> None:
    workspace.paper_tables.mkdir()
    workspace.manifests.mkdir()
    BAD[name](workspace.paper_tables / "bad.toml")
    done = CliRunner().invoke(app, ["table", "--workspace", str(workspace.root)])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("runkit: ")
    assert "internal error" not in done.stderr


def test_gc_looks_at_nothing_behind_a_link_and_minds_no_strange_name(
    workspace: Workspace, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "letters"
    elsewhere.mkdir()
    (elsewhere / "only copy").write_text("dear")
    workspace.preserved_runs.mkdir()
    workspace.objects.symlink_to(elsewhere)
    (workspace.preserved_runs / "no run id").mkdir()
    done = runkit(workspace, "gc")
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "only copy").read_text() == "dear"
