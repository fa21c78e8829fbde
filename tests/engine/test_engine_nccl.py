"""Laws of one run on several GPUs, a process each, over NCCL: what one process trains, ends and goes on with.

``-m gpu`` states them on two GPUs. ``-m slow`` states the same on the CPU over gloo, which keeps this file
running where there is no GPU; the CPU's closer laws are in test_engine_world and tests/cli/test_launching.
"""

import json
import math
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch

from runkit.archive.workspace import Workspace
from runkit.engine.checkpoint import read_checkpoint
from runkit.engine.launching import LaunchEnd
from runkit.engine.resumption import STATE
from runkit.records.capture import RunCapture
from tests.engine.conftest import SHORT
from tests.processes import PATIENCE_SECONDS, pid_of, started, wait_for

from .test_engine_train_run import log_of, rows_of
from .test_engine_world import MEASURED, TERMS, WHOLE_BATCH, dumps, losses, together


@dataclass(frozen=True)
class Device:
    """Where the laws are stated, and how far apart numbers of different processes may be there, relatively.

    Half a batch is another shape than a whole one, so that sums are taken in another order and each of a
    step's products is rounded differently. In fp32 a number is rounded by 6e-8 of itself: 1e-5 of a loss is
    what some hundred such roundings can add up to, and a norm of gradients, which are differences of large
    numbers, has ten times that. In bf16 a number is rounded by 2e-3, and a loss is the mean over some
    hundred tokens of numbers that ten or twenty layers of products have rounded: 2e-2 and 1e-1.
    """

    name: str
    loss: float
    grad_norm: float

    @property
    def overrides(self):
        return (f"compute.device={self.name}", "compute.kernels=plain")


NEEDS_TWO_GPUS = [
    pytest.mark.gpu,
    pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two CUDA devices are there"),
]
DEVICES = [
    pytest.param(Device("cuda", loss=1e-5, grad_norm=1e-4), id="nccl", marks=NEEDS_TWO_GPUS),
    pytest.param(Device("cpu", loss=1e-6, grad_norm=1e-5), id="gloo", marks=pytest.mark.slow),
]
BF16 = {"loss": 2e-2, "grad_norm": 1e-1}
LATER = 1e-3
"""How far apart losses of 60 steps may be: each step's rounding is trained on by all later ones."""


@pytest.fixture(scope="module", params=DEVICES)
def device(request):
    return request.param


@contextmanager
def alone(folder, *configurations):
    """Let one process train *configurations* meanwhile, as launched ones do; it has to come to its end."""
    folder.mkdir()
    words = ["-m", "tests.engine.launched_together", "train_all", folder, json.dumps(configurations)]
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True)
    try:
        yield
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0, errors
    finally:
        process.kill()
        process.communicate()


def weights(run_dir, role):
    return read_checkpoint(run_dir / "checkpoint" / f"{role}.safetensors").weights


def outcomes(run_dir):
    """What was extracted from the answers of each system, by dump and item."""
    return {
        name: [
            {key: value for key, value in json.loads(line).items() if key.endswith("_extracted")}
            for line in text.splitlines()
        ]
        for name, text in dumps(run_dir).items()
    }


def texts_alone(run_dir):
    """What the frozen models wrote without a bridge."""
    return {
        name: [(row["source_full"], row["target_full"]) for row in map(json.loads, text.splitlines())]
        for name, text in dumps(run_dir).items()
    }


def without_losses(run_dir):
    """The log without the digits of losses, the last of which may be rounded either way."""
    return [re.sub(r"(\| Loss .*: )[\d.]+", r"\1", line) for line in log_of(run_dir)]


def about(rows, *, loss, grad_norm):
    """Rows of metrics that another one may equal up to rounding."""
    return [
        {
            key: value
            if key in {"step", "learning_rate"}
            else pytest.approx(value, rel=grad_norm if key == "grad_norm" else loss)
            for key, value in row.items()
        }
        for row in rows
    ]


@pytest.fixture(scope="module")
def both(device, tmp_path_factory, problems, tiny):
    """Runs by name, of two processes and of one; one machine trains both at the same time."""
    pocket = ("pocket", [*SHORT, *TERMS, *WHOLE_BATCH, *device.overrides])
    adapter = ("pocket_adapter", [*SHORT, *device.overrides])
    models = [*problems, f"pair.source={tiny['llama']}", f"pair.target={tiny['qwen2']}"]
    small = ("pocket", [*SHORT, *models, *device.overrides])
    longer = ("pocket", [*SHORT, *TERMS, "train.steps=12", *device.overrides])
    in_passes = (longer[0], [*longer[1], "compute.gradient_accumulation_steps=2"])
    root = tmp_path_factory.mktemp("both")
    one, two = root / "one", root / "two"
    two.mkdir()
    with alone(one, pocket, adapter, small, in_passes):
        end = together("train_all", two, pocket, adapter, small, longer, longer)
    assert end == LaunchEnd("done")
    names = ("pocket", "adapter", "tiny models", "longer")
    return {name: (two / str(number), one / str(number)) for number, name in enumerate(names)}


@pytest.mark.parametrize("name", ["pocket", "adapter", "tiny models"])
def test_two_processes_train_the_run_that_one_trains(both, device, name):
    ours, theirs = both[name]
    assert losses(ours) == about(losses(theirs), loss=device.loss, grad_norm=device.grad_norm)
    assert outcomes(ours) == outcomes(theirs)
    assert texts_alone(ours) == texts_alone(theirs)
    assert without_losses(ours) == [
        line.replace("World size: 1", "World size: 2") for line in without_losses(theirs)
    ]


def test_two_processes_give_the_same_bits_twice(both):
    """Two numbers have one sum, in whatever order NCCL adds; of more processes NCCL promises no order."""
    first = both["longer"][0]
    second = first.parent / str(int(first.name) + 1)
    assert losses(first) == losses(second)
    assert dumps(first) == dumps(second)
    for role in ("best", "last"):
        here, there = weights(first, role), weights(second, role)
        assert here.keys() == there.keys()
        assert [name for name in here if not torch.equal(here[name], there[name])] == []


def test_two_processes_are_one_in_two_passes_to_the_last_bit(both):
    ours, theirs = both["longer"]
    assert losses(ours) == losses(theirs)
    assert dumps(ours) == dumps(theirs)
    for role in ("best", "last"):
        here, there = weights(ours, role), weights(theirs, role)
        assert here.keys() == there.keys()
        assert [name for name in here if not torch.equal(here[name], there[name])] == []


def test_each_process_holds_memory_of_its_own_gpu_only(both, device):
    held = json.loads((both["pocket"][0].parent / "memory_of_ranks.json").read_text())
    used = [[gpu for gpu, most in enumerate(of_rank) if most > 0] for of_rank in held]
    assert used == ([[0], [1]] if device.name == "cuda" else [[], []])


def assert_numbers(rows):
    """Do nothing if everything that was measured is a number, time and memory too."""
    for row in rows:
        assert row.keys() >= MEASURED
        assert all(math.isfinite(value) for value in row.values())
        assert row["samples_per_second"] > 0
        assert isinstance(row["peak_memory_bytes"], int)
        assert 1e6 < row["peak_memory_bytes"] < 20e9


def assert_captured(run, device):
    """Do nothing if run.json tells the place of both ranks, and NVML what the machine has."""
    hardware = RunCapture.parse((run / "run.json").read_bytes(), origin="run.json").hardware
    is_gpu = device.name == "cuda"
    names = [torch.cuda.get_device_name(gpu) for gpu in (0, 1)] if is_gpu else [None, None]
    ranks = [(one.rank, one.local_rank, one.gpu) for one in hardware.ranks]
    assert ranks == [(0, 0, names[0]), (1, 1, names[1])]
    if is_gpu:
        assert sum(gpu.count for gpu in hardware.gpus if gpu.name in names) >= 2
        assert all(gpu.memory_bytes is not None and gpu.memory_bytes > 1e9 for gpu in hardware.gpus)
        assert re.fullmatch(r"[\d.]+", hardware.gpu_driver or "")


def test_a_process_killed_in_training_ends_the_run_with_one_line_and_one_process_goes_on(device, tmp_path):
    settings = (*SHORT, "train.steps=60", "train.eval_every_steps=20", "train.log_every_steps=5")
    settings = (*settings, *device.overrides)
    words = [word for setting in settings for word in ("--set", setting)]
    workspace = Workspace(tmp_path)
    run, log = workspace.runs / "killed", workspace.runs / "killed" / "train.log"
    process = started(workspace, "train", "--launch", "2", "--run-id", run.name, *words)
    wait_for(process, log, "Step 25/60")
    os.kill(pid_of(1, run.name), signal.SIGKILL)
    with alone(tmp_path / "whole", ("pocket", settings)):  # while the launcher waits
        _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2
    assert "Traceback" not in errors
    way_on = f"`runkit train --resume {run.name}` goes on from its last evaluation"
    assert [line for line in errors.splitlines() if line.startswith("runkit")] == [
        f"runkit: rank 1: ended by SIGKILL; {way_on}"
    ]
    with pytest.raises(AssertionError, match="there is no process"):
        pid_of(0, run.name)
    assert log_of(run)[-1] in {  # of rank 0, or of the launcher where rank 0 waited for its GPU
        "[Crash] rank 1 died without a word, as a killed process does",
        "[Crash] rank 1: ended by SIGKILL",
    }
    assert not (run / "summary.log").exists()
    assert_captured(run, device)

    again = started(workspace, "train", "--resume", run.name)
    output, errors = again.communicate(timeout=PATIENCE_SECONDS)
    assert again.returncode == 0, errors
    assert f"trained {run.name}: 60 steps" in output
    assert {"[Resumed] from step 20", "[Resumed] from step 40"} & {*log_of(run)}
    assert losses(run) == about(losses(tmp_path / "whole" / "0"), loss=LATER, grad_norm=10 * LATER)
    assert outcomes(run) == outcomes(tmp_path / "whole" / "0")
    assert_numbers(rows_of(run / "metrics.jsonl"))


def test_a_number_of_one_process_that_is_not_finite_stops_both_and_keeps_the_weights_before(device, tmp_path):
    settings = [*SHORT, "train.steps=12", "train.eval_every_steps=12", "train.log_every_steps=1"]
    end = together("break_states_of_rank_1", tmp_path, ("pocket", [*settings, *device.overrides]))
    assert end.kind == "failed"
    # of the step after the third, or of the one after that where a GPU's next batch was drawn ahead
    said = r"the nll term is nan at step ([456]); training cannot go on"
    found = re.fullmatch(said, end.cause)
    assert found is not None, end
    assert log_of(tmp_path)[-1] == f"[Crash] {end.cause}"
    steps = [row["step"] for row in rows_of(tmp_path / "metrics.jsonl")]
    assert steps == list(range(1, int(found[1])))
    assert (tmp_path / STATE).is_file()
    assert all(weight.isfinite().all() for weight in weights(tmp_path, "best").values())


def test_compiled_kernels_in_bf16_train_the_run_that_one_process_trains(device, tmp_path):
    settings = [*SHORT, "train.steps=4", "train.eval_every_steps=4", "train.log_every_steps=1"]
    settings += ["pair.dtype=bf16", f"compute.device={device.name}", "compute.kernels=auto"]
    two = tmp_path / "two"
    two.mkdir()
    with alone(tmp_path / "one", ("pocket", settings)):
        end = together("train_all", two, ("pocket", settings))
    assert end == LaunchEnd("done")
    ours, theirs = two / "0", tmp_path / "one" / "0"
    assert losses(ours) == about(losses(theirs), **BF16)
    here, there = ([one for rows in texts_alone(run).values() for one in rows] for run in (ours, theirs))
    same = sum(one == other for one, other in zip(here, there, strict=True))
    assert same >= 0.8 * len(here)  # of two tokens almost as probable, rounding may choose the other
    assert_numbers(rows_of(ours / "metrics.jsonl"))


def test_runkit_train_launch_is_the_run_of_one_process_and_says_where_it_computed(device, tmp_path):
    settings = (*SHORT, *device.overrides)
    words = [word for setting in settings for word in ("--set", setting)]
    workspace = Workspace(tmp_path)
    process = started(workspace, "train", "--launch", "2", "--run-id", "two", *words)
    with alone(tmp_path / "one", ("pocket", settings)):
        output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, errors
    assert output.count("trained two: 6 steps") == 1
    run = workspace.runs / "two"
    assert losses(run) == about(losses(tmp_path / "one" / "0"), loss=device.loss, grad_norm=device.grad_norm)
    assert outcomes(run) == outcomes(tmp_path / "one" / "0")
    assert_numbers(rows_of(run / "metrics.jsonl"))
    assert_captured(run, device)
