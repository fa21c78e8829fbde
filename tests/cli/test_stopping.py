"""Real processes that are killed, asked to stop or out of room, and what `train --resume` makes of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from runkit.archive.workspace import Workspace
from runkit.engine.reporter import LinesReporter
from runkit.errors import RunUnreadable
from runkit.ingest.readers import ingest
from runkit.records.capture import RunCapture
from runkit.workflows.run import runs_in
from runkit.workflows.train import TrainRequest, resume, train
from tests.conftest import needs_torch
from tests.processes import PATIENCE_SECONDS, started, until, wait_for

pytestmark = needs_torch

SHORT = (
    "train.steps=20",
    "train.pool_items=32",
    "train.batch_size=8",
    "train.eval_every_steps=10",
    "train.log_every_steps=5",
    "eval.dev_items=10",
    "eval.test_items=40",
)
QUIET = LinesReporter(lambda _line: None)
SETTINGS = [word for setting in SHORT for word in ("--set", setting)]


def stopped(process: subprocess.Popen[str], log: Path, text: str, number: int) -> tuple[int, str]:
    """Send signal *number* as soon as *log* holds *text*; return exit status and errors."""
    wait_for(process, log, text)
    os.kill(process.pid, number)
    _output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, errors


def refused(workspace: Workspace, *arguments: str) -> str:
    process = started(workspace, "train", "--resume", *arguments)
    output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, output) == (2, "")
    assert errors.count("\n") == 1, errors
    return errors.strip()


def content(run: Path) -> dict[str, bytes]:
    """Every file's bytes, without what tells the time and without the lines about resuming."""
    found = {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    found = {name: text for name, text in found.items() if not name.startswith("code/")}  # of this checkout
    found["metrics.jsonl"] = re.sub(
        rb'"(samples_per_second|peak_memory_bytes)": [0-9.]+', b"", found["metrics.jsonl"]
    )
    found["train.log"] = re.sub(rb"\[Resumed\] from step \d+\n", b"", found["train.log"])
    del found["summary.log"], found["run.json"]
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    workspace = Workspace(tmp_path_factory.mktemp("uninterrupted"))
    train(workspace, TrainRequest(overrides=SHORT, run_id="whole"), reporter=QUIET)
    return workspace.runs / "whole"


def test_a_run_killed_twice_ends_with_the_bytes_of_an_uninterrupted_one(
    workspace: Workspace, whole: Path
) -> None:
    log = workspace.runs / "mine" / "train.log"
    first = started(workspace, "train", "--run-id", "mine", *SETTINGS)
    assert stopped(first, log, "Step 10/20", signal.SIGKILL)[0] == -signal.SIGKILL
    (seen,) = runs_in(workspace)
    assert (seen.run_id, seen.state.value) == ("mine", "killed")
    facts = ingest(workspace.runs / "mine", run_id="mine", directory_name="mine").facts
    assert facts.status.value == "truncated"
    assert "; its last sign of life is of 2" in facts.status.reason
    again = started(workspace, "train", "--resume", "mine")
    assert stopped(again, log, "Step 20/20", signal.SIGKILL)[0] == -signal.SIGKILL
    again = started(workspace, "train", "--resume", "runs/mine", *SETTINGS)
    output, errors = again.communicate(timeout=PATIENCE_SECONDS)
    assert (again.returncode, errors) == (0, "")
    assert "trained mine: 20 steps" in output
    assert content(workspace.runs / "mine") == content(whole)
    assert [seen.state.value for seen in runs_in(workspace)] == ["ended"]

    capture = RunCapture.parse((workspace.runs / "mine" / "run.json").read_bytes(), origin="run.json")
    assert [one.command.argv for one in capture.resumptions] == [
        ("runkit", "train", "--resume", "mine"),
        ("runkit", "train", "--resume", "runs/mine", *SETTINGS),
    ]
    assert capture.command.argv == ("runkit", "train", "--run-id", "mine", *SETTINGS)
    assert [one.stopped_at for one in capture.resumptions] == [None, None]
    assert capture.ended_at is not None
    assert refused(workspace, "mine") == "runkit: run 'mine' came to its end, there is nothing to resume"
    assert "resumptions" not in (whole / "run.json").read_text()


def test_sigterm_ends_a_run_as_control_c_does_and_another_configuration_does_not_go_on(
    workspace: Workspace,
) -> None:
    log = workspace.runs / "mine" / "train.log"
    process = started(workspace, "train", "--run-id", "mine", *SETTINGS)
    until(log.is_file, of=process)
    assert "another process is writing runs/mine right now" in refused(workspace, "mine")
    status, errors = stopped(process, log, "Step 10/20", signal.SIGTERM)
    assert (status, errors) == (
        2,
        "runkit: interrupted; runs/mine keeps what was measured so far and says where it stopped; `runkit "
        "train --resume mine` goes on from its last evaluation; `runkit preserve runs/mine` archives it as "
        "truncated\n",
    )
    assert re.fullmatch(r"\[Interrupted\] at step \d+", log.read_text().splitlines()[-1])
    before = log.read_bytes()
    assert refused(workspace, "mine", "--set", "bridge.conditioning=mean") == (
        "runkit: run 'mine' was started with another configuration: bridge.conditioning ('cross' in the run, "
        "'mean' asked for); resume it as it was, or train a new run"
    )
    assert "give one of them" in refused(workspace, "mine", "--run-id", "other")
    assert "there is no run 'mien'; did you mean 'mine'" in refused(workspace, "mien")
    state = workspace.runs / "mine" / "checkpoint" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(RunUnreadable, match=r"^state\.safetensors cannot be read as the state of a run: .+$"):
        resume(workspace, "mine", TrainRequest(), reporter=QUIET)
    state.unlink()
    assert "has no checkpoint/state.safetensors to go on from" in refused(workspace, "mine")
    assert log.read_bytes() == before


def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    workspace: Workspace, whole: Path
) -> None:
    # room for the state of step 0, and none for that of step 20, which has the optimiser's statistics
    limited = started(workspace, "train", "--run-id", "mine", *SETTINGS, file_size=3_000_000)
    _output, errors = limited.communicate(timeout=PATIENCE_SECONDS)
    assert (limited.returncode, errors) == (
        2,
        "runkit: cannot write state.safetensors: File too large; make room for runs/mine, then `runkit train "
        "--resume mine` goes on from its last evaluation\n",
    )
    log = (workspace.runs / "mine" / "train.log").read_text()
    assert log.endswith("\n[Crash] cannot write state.safetensors: File too large\n")
    resume(workspace, "mine", TrainRequest(), reporter=QUIET)
    assert content(workspace.runs / "mine") == content(whole)


@pytest.mark.parametrize("run", ["../elsewhere", "preserved_runs/one", "runs/none"])
def test_a_run_that_is_no_folder_under_runs_is_named(workspace: Workspace, run: str) -> None:
    (workspace.preserved_runs / "one").mkdir(parents=True)
    line = refused(workspace, run)
    assert run in line
    assert "Traceback" not in line
