"""Other programs under ``runkit run``: real ones, really killed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from runkit.archive.liveness import run_state
from runkit.archive.processes import identity_of, is_alive, own_identity
from runkit.archive.watching import is_being_trained
from runkit.archive.workspace import Workspace
from runkit.errors import UsageError
from runkit.records.capture import CAPTURE_FILE, HEARTBEAT_FILE, Heartbeat, RunCapture
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.run import FOLDER_VARIABLE, RunRequest, run, runs_in
from runkit.workflows.validate import validate
from tests.processes import PATIENCE_SECONDS, until

ROOT = Path(__file__).resolve().parents[2]


def ran(workspace: Workspace, script: str, run_id: str = "mine") -> tuple[int, RunCapture, bytes]:
    output = io.BytesIO()
    request = RunRequest((sys.executable, "-c", script), run_id=run_id, heartbeat_seconds=1)
    finished = run(workspace, request, output=output)
    text = (finished.folder / CAPTURE_FILE).read_bytes()
    return finished.exit_status, RunCapture.parse(text, origin=CAPTURE_FILE), output.getvalue()


@pytest.fixture
def wrapped(workspace: Workspace) -> Iterator[subprocess.Popen[bytes]]:
    """``runkit run`` in a process of its own, around a program that would sleep for an hour."""
    script = "import time; print('begun', flush=True); time.sleep(3600)"
    command = [sys.executable, "-m", "runkit", "run", "--run-id", "long", "--workspace", str(workspace.root)]
    process = subprocess.Popen(
        [*command, "--", sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    log = workspace.runs / "long" / "train.log"
    until(lambda: log.is_file() and log.read_bytes() == b"begun\n")
    until((workspace.runs / "long" / HEARTBEAT_FILE).is_file)
    yield process
    process.kill()
    process.wait()
    pid = child_of(workspace).pid
    if is_alive(child_of(workspace)):
        os.kill(pid, signal.SIGKILL)


def child_of(workspace: Workspace) -> object:
    capture = RunCapture.parse((workspace.runs / "long" / CAPTURE_FILE).read_bytes(), origin=CAPTURE_FILE)
    assert capture.process is not None
    return capture.process


def test_output_end_and_surroundings_are_written_down(workspace: Workspace) -> None:
    script = (
        "import os, sys; print('to out', flush=True); print('to err', file=sys.stderr, flush=True); "
        f"open(os.environ['{FOLDER_VARIABLE}'] + '/made.txt', 'w').close()"
    )
    status, capture, output = ran(workspace, script)
    folder = workspace.runs / "mine"
    assert (status, output) == (0, b"to out\nto err\n")
    assert (folder / "train.log").read_bytes() == output
    assert (folder / "made.txt").is_file()
    assert not (folder / HEARTBEAT_FILE).exists()
    assert capture.end is not None
    assert (capture.end.exit_code, capture.end.signal, capture.captured) == (0, None, "command")
    assert datetime.fromisoformat(capture.started_at).utcoffset() is not None
    assert capture.command.argv == (sys.executable, "-c", script)
    assert capture.command.cwd == str(Path.cwd())
    assert capture.hardware.num_cpus == os.cpu_count()
    assert "pydantic" in capture.software.packages


@pytest.mark.parametrize(
    ("script", "exit_status", "status", "reason"),
    [
        ("raise SystemExit(7)", 7, "crashed", "the program ended with exit code 7"),
        ("import nothing_like_it", 1, "crashed", "the program ended with exit code 1"),
        ("import os; os.kill(os.getpid(), 9)", 137, "crashed", "SIGKILL ended the program"),
        ("import os; os.kill(os.getpid(), 15)", 143, "truncated", "SIGTERM ended the program"),
        ("print('done')", 0, "completed", "the program ended with exit code 0"),
    ],
)
def test_the_end_is_what_the_parent_saw(
    workspace: Workspace, script: str, exit_status: int, status: str, reason: str
) -> None:
    assert ran(workspace, script)[0] == exit_status
    fact = preserve(workspace, PreserveRequest(workspace.runs / "mine")).sealed.status
    assert (fact.value, fact.reason) == (status, reason)


def test_a_captured_run_is_preserved_with_its_code_as_configuration(workspace: Workspace) -> None:
    ran(workspace, "print('x')")
    manifest = preserve(workspace, PreserveRequest(workspace.runs / "mine"))
    assert manifest.sealed.provenance.reader == "command"
    assert set(manifest.sealed.configuration.effective) == {"command"}
    assert {one.rule for one in validate(workspace).findings} <= {"RK410", "RK210"}


# Its ranks live until the wrapper has looked at all processes once since they began.
TWO_RANKS = f"""
import os, subprocess, sys, time
def heartbeat():
    path = os.path.join(os.environ["{FOLDER_VARIABLE}"], "{HEARTBEAT_FILE}")
    return open(path).read() if os.path.exists(path) else ""
ranks = [
    subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE,
        env={{**os.environ, "RANK": rank, "LOCAL_RANK": rank, "CUDA_VISIBLE_DEVICES": "0,1"}},
    )
    for rank in "01"
]
for _ in range(2):
    before = heartbeat()
    while heartbeat() == before:
        time.sleep(0.05)
for rank in ranks:
    rank.communicate(b"\\n")
"""


def test_ranks_are_seen_while_they_run(workspace: Workspace) -> None:
    _status, capture, _output = ran(workspace, TWO_RANKS)
    assert [(one.rank, one.local_rank, one.visible_devices) for one in capture.hardware.ranks] == [
        (0, 0, "0,1"),
        (1, 1, "0,1"),
    ]
    assert capture.command.world_size == 2


def test_a_program_that_is_not_there_makes_no_run(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="there is no program 'no-such-program'"):
        run(workspace, RunRequest(("no-such-program",)), output=io.BytesIO())
    assert not workspace.runs.exists()


def test_an_id_that_exists_keeps_no_program_from_running(workspace: Workspace) -> None:
    ran(workspace, "print(1)")
    status, capture, output = ran(workspace, "print(2)")
    assert (status, output, capture.run_id) == (0, b"2\n", "mine_2")
    assert (workspace.runs / "mine" / "train.log").read_text() == "1\n"


def test_a_wrapper_that_is_killed_leaves_a_run_that_is_seen_to_go_on_and_then_to_be_killed(
    workspace: Workspace, wrapped: subprocess.Popen[bytes]
) -> None:
    (seen,) = runs_in(workspace)
    assert (seen.run_id, seen.state.value) == ("long", "running")
    wrapped.kill()
    wrapped.wait()
    child = child_of(workspace)
    folder = workspace.runs / "long"
    beat = Heartbeat.parse((folder / HEARTBEAT_FILE).read_bytes(), origin=HEARTBEAT_FILE)
    last = datetime.fromisoformat(beat.at)
    assert run_state(folder, now=last).value == "running"  # the program itself lives
    assert run_state(folder, now=last + timedelta(hours=1)).value == "silent"
    os.kill(child.pid, signal.SIGKILL)  # type: ignore[attr-defined]
    until(lambda: not is_alive(child))  # type: ignore[arg-type]
    (seen,) = runs_in(workspace)
    assert seen.state.value == "killed"
    assert "is gone and wrote no end; the last sign of life is of" in seen.state.because
    assert seen.state.because.endswith("train.log ends at line 1")
    until(lambda: not is_being_trained(folder))  # who kept the log lets go of it
    status = preserve(workspace, PreserveRequest(folder)).sealed.status
    assert status.value == "truncated"
    assert status.reason.startswith("nobody saw how the program ended; its last sign of life is of 2")


def test_sigterm_to_the_wrapper_reaches_the_program_and_the_end_is_written_down(
    workspace: Workspace, wrapped: subprocess.Popen[bytes]
) -> None:
    wrapped.terminate()
    assert wrapped.wait(PATIENCE_SECONDS) == 143
    (seen,) = runs_in(workspace, ["long"])
    assert seen.state.value == "ended"
    assert preserve(workspace, PreserveRequest(workspace.runs / "long")).sealed.status.reason == (
        "SIGTERM ended the program"
    )


def test_the_word_of_the_writer_does_not_outlive_its_process(workspace: Workspace) -> None:
    """A heartbeat of this minute by a process of another boot or start, or by a dead one, is no life."""
    ran(workspace, "print(1)")
    folder = workspace.runs / "mine"
    capture = RunCapture.parse((folder / CAPTURE_FILE).read_bytes(), origin=CAPTURE_FILE)
    now = datetime.now().astimezone()
    me = own_identity()
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    states = {}
    for name, process in {
        "me": me,
        "other start of the same pid": me.model_copy(update={"started_ticks": me.started_ticks + 1}),
        "another boot": me.model_copy(update={"boot_id": "0-0"}),
        "dead": me.model_copy(update={"pid": dead.pid}),
        "another host": me.model_copy(update={"host": "elsewhere"}),
    }.items():
        beat = Heartbeat(format=1, at=now.isoformat(timespec="seconds"), interval_seconds=10, process=process)
        (folder / HEARTBEAT_FILE).write_text(beat.to_json())
        going = capture.model_copy(update={"ended_at": None, "end": None, "process": process})
        (folder / CAPTURE_FILE).write_text(going.to_json())
        states[name] = run_state(folder, now=now).value
    assert states == {
        "me": "running",
        "other start of the same pid": "killed",
        "another boot": "killed",
        "dead": "killed",
        "another host": "running",
    }
    (folder / HEARTBEAT_FILE).write_text("{torn")
    assert run_state(folder, now=now).value == "silent"
    (folder / CAPTURE_FILE).write_text("{torn")
    assert run_state(folder, now=now).value == "unknown"


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    until(lambda: identity_of(child.pid) is None)  # it ended, and nobody waited for it yet
    child.wait()
