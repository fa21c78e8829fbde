"""Runs of several processes from the command line: whole, killed, asked to stop, resumed by any number."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from runkit.archive.workspace import Workspace
from runkit.records.capture import RunCapture
from runkit.records.manifest import RankDevice
from runkit.workflows.preserve import PreserveRequest, preserve
from tests.cli.test_stopping import SETTINGS, stopped, whole
from tests.conftest import needs_torch
from tests.processes import PATIENCE_SECONDS, pid_of, started, wait_for

pytestmark = needs_torch

__all__ = ["whole"]
CPUS = tuple(
    RankDevice(rank=rank, local_rank=rank, host=socket.gethostname(), visible_devices=None, gpu=None)
    for rank in (0, 1)
)


def dumps(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.glob("eval_samples_*.jsonl")}


def log_lines(run: Path) -> list[str]:
    """The log without what tells the number of processes and that the run was resumed."""
    lines = (run / "train.log").read_text().splitlines()
    return [line for line in lines if not re.match(r"World size: |\[Resumed\] from step ", line)]


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_as_whole(run: Path, whole: Path) -> None:
    assert dumps(run) == dumps(whole)
    assert log_lines(run) == log_lines(whole)
    assert losses(run) == pytest.approx(losses(whole), rel=1e-6)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_ends_the_run_honestly_and_one_process_goes_on(
    workspace: Workspace, whole: Path, rank: int
) -> None:
    run = workspace.runs / "mine-of-two"
    process = started(workspace, "train", "--launch", "2", "--run-id", run.name, *SETTINGS)
    wait_for(process, run / "train.log", "Step 15/20")
    os.kill(pid_of(rank, run.name), signal.SIGKILL)
    _output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors) == (
        2,
        f"runkit: rank {rank}: ended by SIGKILL; `runkit train --resume {run.name}` goes on from its last "
        "evaluation\n",
    )
    last = {
        0: "[Crash] rank 0: ended by SIGKILL",
        1: "[Crash] rank 1 died without a word, as a killed process does",
    }
    assert (run / "train.log").read_text().splitlines()[-1] == last[rank]
    capture = RunCapture.parse((run / "run.json").read_bytes(), origin="run.json")
    assert capture.ended_at is not None
    again = started(workspace, "train", "--resume", run.name)
    output, errors = again.communicate(timeout=PATIENCE_SECONDS)
    assert (again.returncode, errors) == (0, "")
    assert f"trained {run.name}: 20 steps" in output
    assert_as_whole(run, whole)


def test_a_run_of_one_process_is_taken_over_by_two_which_stop_when_their_parent_is_asked_to(
    workspace: Workspace, whole: Path
) -> None:
    run = workspace.runs / "mine"
    alone = started(workspace, "train", "--run-id", "mine", *SETTINGS)
    assert stopped(alone, run / "train.log", "Step 5/20", signal.SIGKILL)[0] == -signal.SIGKILL
    two = started(workspace, "train", "--resume", "mine", "--launch", "2")
    status, errors = stopped(two, run / "train.log", "Step 15/20", signal.SIGTERM)
    assert status == 2
    assert errors.startswith("runkit: interrupted; ")
    assert errors.count("\n") == 1
    assert re.fullmatch(r"\[Interrupted\] at step \d+", (run / "train.log").read_text().splitlines()[-1])
    with pytest.raises(AssertionError, match="there is no process"):
        pid_of(1, "mine")

    last = started(workspace, "train", "--resume", "mine", "--launch", "2", *SETTINGS)
    output, errors = last.communicate(timeout=PATIENCE_SECONDS)
    assert (last.returncode, errors) == (0, "")
    assert output.count("trained mine: 20 steps") == 1
    assert "[Resumed] from step 10 with world size 2\n" in (run / "train.log").read_text()
    assert_as_whole(run, whole)

    capture = RunCapture.parse((run / "run.json").read_bytes(), origin="run.json")
    assert (capture.command.launcher, capture.command.world_size, capture.hardware.ranks) == (None, 1, ())
    of_last = capture.resumptions[-1]
    assert (of_last.command.launcher, of_last.command.world_size) == ("torchrun", 2)
    assert of_last.hardware.ranks == CPUS
    assert "ranks" not in (whole / "run.json").read_text()


def test_torchrun_starts_a_run_that_says_so_and_can_be_preserved(workspace: Workspace, whole: Path) -> None:
    run = workspace.runs / "theirs"
    words = ["train", "--run-id", run.name, *SETTINGS]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "runkit", *words],
        cwd=workspace.root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.count(f"trained {run.name}: 20 steps") == 1
    assert_as_whole(run, whole)
    capture = RunCapture.parse((run / "run.json").read_bytes(), origin="run.json")
    assert capture.command.argv == ("runkit", *words)
    assert capture.hardware.ranks == CPUS
    preserved = preserve(workspace, PreserveRequest(run))
    command = preserved.sealed.command
    assert (command.launcher, command.world_size) == ("torchrun", 2)


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_there(workspace: Workspace) -> None:
    process = started(workspace, "train", "--launch", "3", "--set", "train.batch_size=64")
    output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, output, errors) == (
        2,
        "",
        "runkit: train.batch_size is the global batch of 64, which 3 processes cannot share equally; launch "
        "1, 2, 4, 8, 16, 32, 64 or set train.batch_size to a multiple of 3\n",
    )
    assert not workspace.runs.exists()


def test_what_rank_0_refuses_is_one_line_of_the_parent(workspace: Workspace) -> None:
    process = started(workspace, "train", "--launch", "2", "--set", "pair.source=pocket/sauce")
    _output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2
    assert errors.startswith("runkit: there is no ")
    assert errors.count("\n") == 1
