"""A run that somebody is still writing is told as such, and a snapshot of it is a state that it had."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from runkit.archive.running import only_writer
from runkit.archive.taking import take
from runkit.archive.workspace import Workspace
from runkit.errors import RunUnreadable, UsageError
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.verify import verify
from tests.archive.test_store_promises import a_run, one_line, runkit
from tests.processes import until

WRITER = """
import os, sys, time
folder = sys.argv[1]
log = open(os.path.join(folder, "inner", "train.log"), "a")
step = 0
while True:
    step += 1
    with open(os.path.join(folder, "inner", f"dump_{step % 50}.tmp"), "w") as dump:
        dump.write(f"{step}\\n")
    os.replace(dump.name, os.path.join(folder, "inner", "newest.txt"))
    log.write(f"Step {step} ")
    log.flush()
    log.write(f"was written whole, as newest.txt shows {'.' * (step % 97)}\\n")
    log.flush()
    time.sleep(float(sys.argv[2]))
"""


@contextmanager
def writer_in(run: Path, *, pause_seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that appends to the log and replaces a file, until the end of the block."""
    log = run / "inner" / "train.log"
    before = log.stat().st_size
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(run), str(pause_seconds)])
    try:
        until(lambda: log.stat().st_size > before, of=process)
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def test_a_log_that_is_open_for_writing_is_told_in_one_line(workspace: Workspace) -> None:
    run = a_run(workspace.runs / "mine")
    with (run / "inner" / "train.log").open("a"):
        line = one_line(runkit("preserve", "runs/mine", cwd=workspace.root))
    assert line == (
        "runkit: runs/mine is still being written: inner/train.log is open for writing; preserve it when it "
        "is finished, or take what is there now with --snapshot"
    )
    assert [path for path in workspace.preserved_runs.rglob("*") if path.is_file()] == []
    assert runkit("preserve", "runs/mine", cwd=workspace.root).returncode == 0


def test_a_run_that_is_being_trained_is_told(workspace: Workspace) -> None:
    run = a_run(workspace.runs / "mine")
    with only_writer(run), pytest.raises(RunUnreadable, match="a process is training in it"):
        preserve(workspace, PreserveRequest(run))
    assert preserve(workspace, PreserveRequest(run)).sealed.snapshot is None


def test_a_reader_is_no_writer(workspace: Workspace) -> None:
    run = a_run(workspace.runs / "mine")
    with (run / "inner" / "train.log").open() as reader:
        reader.read(1)
        assert preserve(workspace, PreserveRequest(run)).sealed.snapshot is None


def test_a_snapshot_of_a_run_at_rest_is_that_run(workspace: Workspace) -> None:
    run = a_run(workspace.runs / "mine")
    snapshot = preserve(workspace, PreserveRequest(run, run_id="snapshot", snapshot=True))
    plain = preserve(workspace, PreserveRequest(run, run_id="plain"))
    assert snapshot.sealed.snapshot is None
    assert snapshot.sealed.artifacts == plain.sealed.artifacts
    assert '"snapshot":' not in workspace.manifest_path("snapshot").read_text()


def test_half_a_line_is_cut_and_the_manifest_says_so(workspace: Workspace) -> None:
    run = a_run(workspace.runs / "mine")
    log = run / "inner" / "train.log"
    whole = log.read_bytes()
    with log.open("ab") as writer:
        writer.write(b"Step 40/20 | Lo")
        writer.flush()
        done = runkit("preserve", "runs/mine", "--snapshot", cwd=workspace.root)
        assert done.returncode == 0, done.stderr
    kept = workspace.preserved_path("mine") / "inner" / "train.log"
    assert kept.read_bytes() == whole
    assert log.read_bytes() == whole + b"Step 40/20 | Lo"
    assert "snapshot    still being written; taken at " in done.stdout
    assert f"cut         inner/train.log: {len(whole)} of {len(whole) + 15} bytes, whole lines" in done.stdout
    assert verify(workspace).findings == ()


def test_snapshots_of_a_busy_run_are_whole_lines_of_a_state_that_it_had(workspace: Workspace) -> None:
    run = a_run(workspace.runs / "mine")
    log = run / "inner" / "train.log"
    with writer_in(run, pause_seconds=0.2):
        manifests = [
            preserve(workspace, PreserveRequest(run, run_id=f"snapshot{number}", snapshot=True))
            for number in range(3)
        ]
    now = log.read_bytes()
    for manifest in manifests:
        folder = workspace.preserved_path(manifest.run_id)
        kept = (folder / "inner" / "train.log").read_bytes()
        assert now.startswith(kept)
        assert kept.endswith(b"\n")
        assert manifest.sealed.snapshot is not None
        steps = [int(found) for found in re.findall(rb"^Step (\d+) was written whole", kept, re.MULTILINE)]
        newest = int((folder / "inner" / "newest.txt").read_text())
        # A program writes first and tells afterwards; so what the log tells of is there.
        assert newest >= max(steps, default=0)
        assert newest <= max(steps, default=0) + 1
    assert verify(workspace).findings == ()


def test_a_log_that_is_rewritten_under_the_copy_is_refused_in_the_end(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(workspace.runs / "mine")
    log = run / "inner" / "train.log"
    real = os.utime

    def rewriting(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        if Path(arguments[0]).name == "train.log":
            log.write_bytes(os.urandom(log.stat().st_size + 1))

    monkeypatch.setattr(os, "utime", rewriting)
    with pytest.raises(
        RunUnreadable, match=r"is rewritten faster than it can be copied: inner/train\.log went from"
    ):
        preserve(workspace, PreserveRequest(run, snapshot=True))
    assert [path for path in workspace.preserved_runs.rglob("*") if path.is_file()] == []


def test_a_file_that_changes_under_the_copy_is_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(workspace.runs / "mine")
    real = os.utime

    def growing(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        (run / "summary.log").write_text("another text")

    monkeypatch.setattr(os, "utime", growing)
    with pytest.raises(RunUnreadable, match=r"still being written: summary\.log went from \d+ to 12 bytes"):
        preserve(workspace, PreserveRequest(run))


def test_a_file_that_goes_away_under_the_copy_is_told(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(workspace.runs / "mine")
    real = os.utime

    def vanishing(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        (run / "summary.log").unlink(missing_ok=True)

    monkeypatch.setattr(os, "utime", vanishing)
    with pytest.raises(RunUnreadable, match=r"summary\.log went away while it was read"):
        preserve(workspace, PreserveRequest(run))


@pytest.mark.parametrize("storage", ["link", "reference"])
def test_a_snapshot_needs_copies(tmp_path: Path, storage: Any) -> None:
    with pytest.raises(UsageError, match=f"cannot go with --artifacts {storage}"):
        take(tmp_path, tmp_path, storage=storage, reference_over=None, snapshot=True)


def test_asking_whether_somebody_writes_holds_nobody_up(workspace: Workspace) -> None:
    """The kernel is asked by a lease; none is left, and no lock either."""
    run = a_run(workspace.runs / "mine")
    preserve(workspace, PreserveRequest(run))
    with (run / "inner" / "train.log").open() as reader:
        assert fcntl.fcntl(reader, fcntl.F_GETLEASE) == fcntl.F_UNLCK
    with only_writer(run):
        pass
