"""``runkit run`` in jobs of a real Slurm: arrays, requeued and cancelled jobs, steps of several tasks."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runkit.archive.workspace import Workspace
from runkit.records.capture import CAPTURE_FILE, RunCapture
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.run import runs_in
from tests.attacks.slurm_cluster import Cluster, cluster_in, missing_because, until

ROOT = Path(__file__).resolve().parents[2]
REASON = missing_because()
pytestmark = [pytest.mark.slurm, pytest.mark.skipif(REASON is not None, reason=REASON or "")]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        with cluster_in(tmp_path_factory.mktemp("slurm")) as cluster:
            yield cluster
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def runkit(*arguments: str) -> str:
    return shlex.join([sys.executable, "-m", "runkit", "run", *arguments])


def captures(workspace: Workspace) -> dict[str, RunCapture]:
    return {
        path.parent.name: RunCapture.parse(path.read_bytes(), origin=str(path))
        for path in sorted(workspace.runs.glob(f"*/{CAPTURE_FILE}"))
    }


def test_tasks_of_an_array_that_start_at_once_each_keep_a_run(cluster: Cluster, workspace: Workspace) -> None:
    line = f"{runkit('--', 'printenv', 'SLURM_ARRAY_TASK_ID')}\n"
    job = cluster.submit(line, "--array=1-4", cwd=workspace.root)
    cluster.until_gone(job)
    found = captures(workspace)
    assert {name.partition("_")[0] for name in found} == {"printenv"}
    assert sorted(name.split("_", 3)[3] for name in found) == [f"{job}_{task}" for task in range(1, 5)]
    for name, capture in found.items():
        assert capture.job is not None
        log = (workspace.runs / name / "train.log").read_text()
        assert (log, capture.end and capture.end.exit_code) == (f"{capture.job.array_task_id}\n", 0)


@pytest.mark.slow  # Slurm waits for two minutes before it starts a requeued job
@pytest.mark.parametrize("name", [(), ("--run-id", "glue")])
def test_a_requeued_job_goes_on_with_its_run(
    cluster: Cluster, workspace: Workspace, name: tuple[str, ...]
) -> None:
    script = 'echo "start ${SLURM_RESTART_COUNT:-0}"; test -n "$SLURM_RESTART_COUNT" || exec sleep 3600'
    job = cluster.submit(f"{runkit(*name, '--', 'bash', '-c', script)}\n", "--requeue", cwd=workspace.root)
    until(lambda: any(path.read_text() == "start 0\n" for path in workspace.runs.glob("*/train.log")))
    cluster.call("scontrol", "requeue", job)
    until(lambda: any("start 1\n" in path.read_text() for path in workspace.runs.glob("*/train.log")))
    cluster.until_gone(job)
    ((run_id, capture),) = captures(workspace).items()
    assert run_id == "glue" if name else run_id.endswith(f"_{job}")
    (later,) = capture.resumptions
    assert capture.job is not None
    assert later.job is not None
    assert (capture.job.restart_count, later.job.restart_count) == (0, 1)
    assert capture.end is not None
    assert capture.end.exit_code == 0
    first, boundary, second = (workspace.runs / run_id / "train.log").read_text().splitlines()
    assert (first, second) == ("start 0", "start 1")
    assert boundary.startswith(
        f"[runkit] start 2 of this run at {later.resumed_at}, Slurm job {job} after 1 restarts; before it: "
    )
    status = preserve(workspace, PreserveRequest(workspace.runs / run_id)).sealed.status
    assert (status.value, status.reason) == (
        "completed",
        "the program ended with exit code 0; this was start 2 of the run",
    )


def test_a_cancelled_job_says_by_what_it_ended(cluster: Cluster, workspace: Workspace) -> None:
    line = f"exec {runkit('--run-id', 'cut', '--', 'bash', '-c', 'echo begun; exec sleep 3600')}\n"
    job = cluster.submit(line, cwd=workspace.root)
    log = workspace.runs / "cut" / "train.log"
    until(lambda: log.is_file() and log.read_text() == "begun\n")
    cluster.call("scancel", job)
    cluster.until_gone(job)
    (seen,) = runs_in(workspace)
    ending = f"ended by SIGTERM (scancel / time limit of Slurm job {job})"
    assert seen.state.value == "ended"
    assert seen.state.because.startswith(f"{ending}; run.json gives the end 2")
    status = preserve(workspace, PreserveRequest(log.parent)).sealed.status
    assert (status.value, status.reason) == ("truncated", ending)


def test_each_task_of_a_step_keeps_a_run_with_its_rank(cluster: Cluster, workspace: Workspace) -> None:
    line = f"srun --ntasks=3 {runkit('--run-id', 'many', '--', 'printenv', 'SLURM_PROCID')}\n"
    cluster.until_gone(cluster.submit(line, "--ntasks=3", cwd=workspace.root))
    logs = {path.parent.name: path.read_text() for path in workspace.runs.glob("*/train.log")}
    assert logs == {f"many_r{rank}": f"{rank}\n" for rank in range(3)}
    assert [one.state.value for one in runs_in(workspace)] == ["ended"] * 3
