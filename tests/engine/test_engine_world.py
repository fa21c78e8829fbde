"""Several processes or passes train the run that one process trains in one pass."""

import json
import os
import platform
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from runkit.engine import shares, trainer
from runkit.engine.checkpoint import read_checkpoint
from runkit.engine.config import TrainConfig, digest, load_preset, with_overrides
from runkit.engine.launched import Launched, assert_shareable, launched
from runkit.engine.launching import Failure, LaunchEnd, first_end, launch
from runkit.engine.preparation import new_bridge, prepare
from runkit.engine.run_files import RunFiles
from runkit.engine.train_run import _At, _ending_logged
from runkit.engine.world import SOLO, Peer, World
from runkit.errors import ProcessLost, RecordInvalid, UsageError
from tests.engine.conftest import SHORT, trained
from tests.engine.test_engine_train_run import log_of, rows_of

TERMS = (
    "loss.flow_weight=0.3",
    "loss.prompt_alignment_weight=0.2",
    "loss.kl_weight=0.5",
    "loss.format_weight=0.4",
)
WHOLE_BATCH = ("loss.info_nce_weight=0.3", "loss.decode_weight=0.2", "loss.decode_every_steps=2")
MEASURED = {"samples_per_second", "peak_memory_bytes"}


def losses(run_dir):
    return [
        {key: row[key] for key in row if key not in MEASURED} for row in rows_of(run_dir / "metrics.jsonl")
    ]


def dumps(run_dir):
    return {path.name: path.read_bytes() for path in run_dir.glob("eval_samples_*.jsonl")}


def together(what, folder, *configurations):
    arguments = ["-m", "tests.engine.launched_together", what, str(folder), json.dumps(configurations)]
    return launch(arguments, num_processes=2)


def gradients(config, prepared):
    """The first step's gradient by name, before clipping changes it, and the step's report."""
    bridge = new_bridge(config, prepared)
    state = prepared.trainer.start(bridge, weight_decay=0.0)
    report = prepared.trainer.advance(state)
    return {name: weight.grad for name, weight in bridge.named_parameters()}, report


def largest_difference(config, cache_dir):
    """Of any gradient between one pass and four, relative to the gradient's norm."""
    found = []
    for steps in (1, 4):
        parts = with_overrides(config, [f"compute.gradient_accumulation_steps={steps}"])
        prepared = prepare(parts, cache_dir=cache_dir, note=lambda _line: None)
        found.append(gradients(parts, prepared))
    (whole, of_whole), (parts, of_parts) = found
    assert of_parts.terms == pytest.approx(of_whole.terms, rel=1e-6)
    assert of_parts.loss == pytest.approx(of_whole.loss, rel=1e-6)
    return max(
        float((whole[name] - parts[name]).norm()) / of_whole.grad_norm
        for name in whole
        if whole[name] is not None
    )


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("pocket", TERMS),
        ("pocket", ("sampler.guidance=2", "loss.prompt_alignment_mode=ce", "loss.prompt_alignment_weight=1")),
        ("pocket_adapter", ("loss.kl_weight=0.5",)),
        ("pocket_linear", ("source_align.kind=ridge",)),
    ],
)
def test_the_gradient_of_four_passes_is_that_of_one(preset, overrides, cache_dir):
    config = with_overrides(load_preset(preset), [*SHORT, *overrides, "train.batch_size=8"])
    assert largest_difference(config, cache_dir) < 2e-6


def test_a_mean_of_means_is_another_gradient(cache_dir, monkeypatch):
    """Sabotage: each part counted as a quarter, whatever its number of answer tokens."""

    def quarters(rows, batch, pool, supervision, *, processes):
        names = ("nll", "flow", "soft_rms")
        return dict.fromkeys(names, shares.Part(0.25, 0.25))

    config = with_overrides(load_preset("pocket"), [*SHORT, "train.batch_size=8"])
    monkeypatch.setattr(trainer, "part_of_each_term", quarters)
    with pytest.raises(AssertionError):
        assert largest_difference(config, cache_dir) < 2e-6


def test_two_processes_train_the_runs_that_one_trains(tmp_path, cache_dir, problems, tiny):
    configurations = [
        ("pocket", [*SHORT, *TERMS, *WHOLE_BATCH]),
        ("pocket_adapter", [*SHORT, "compute.gradient_accumulation_steps=2"]),
        ("pocket", [*SHORT, *problems, f"pair.source={tiny['llama']}", f"pair.target={tiny['qwen2']}"]),
    ]
    assert together("train_all", tmp_path, *configurations) == LaunchEnd("done")
    for number, (preset, overrides) in enumerate(configurations):
        config = with_overrides(load_preset(preset), overrides)
        alone, _ = trained(tmp_path / f"alone{number}", config, cache_dir, preset=None)
        ours = tmp_path / str(number)
        assert losses(ours) == [
            {
                # a likelihood is a difference of logits of size 10, whose last bit is a millionth
                key: pytest.approx(value, rel=1e-5 if key == "grad_norm" else 1e-6, abs=1e-6)
                for key, value in row.items()
            }
            for row in losses(alone)
        ]
        assert dumps(ours) == dumps(alone)
        assert log_of(ours) == [line.replace("World size: 1", "World size: 2") for line in log_of(alone)]
        for role in ("best", "last"):
            here, there = (
                read_checkpoint(run / "checkpoint" / f"{role}.safetensors").weights for run in (ours, alone)
            )
            assert here.keys() == there.keys()
            for name in here:
                torch.testing.assert_close(here[name], there[name], rtol=1e-4, atol=2e-5)


def test_two_processes_are_one_in_two_passes_to_the_last_bit(tmp_path, cache_dir):
    overrides = [*SHORT, *TERMS, "train.steps=12"]
    assert together("train_all", tmp_path, ("pocket", overrides)) == LaunchEnd("done")
    passes = with_overrides(load_preset("pocket"), [*overrides, "compute.gradient_accumulation_steps=2"])
    alone, _ = trained(tmp_path / "alone", passes, cache_dir, preset=None)
    assert losses(tmp_path / "0") == losses(alone)
    assert dumps(tmp_path / "0") == dumps(alone)
    for role in ("best", "last"):
        here, there = (
            read_checkpoint(run / "checkpoint" / f"{role}.safetensors").weights
            for run in (tmp_path / "0", alone)
        )
        assert all(torch.equal(here[name], there[name]) for name in {*here, *there})


def test_the_cause_of_another_process_is_the_last_line_of_the_log(tmp_path):
    end = together("fail_in_rank_1", tmp_path, ("pocket", list(SHORT)))
    assert end == LaunchEnd("failed", 0, "rank 1: MemoryError: out of cheese")
    assert log_of(tmp_path)[-1] == "[Crash] rank 1: MemoryError: out of cheese"


def test_an_error_of_a_device_after_a_process_was_lost_is_not_the_cause(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    peers = (Peer(0, platform.node(), os.getpid()), Peer(1, platform.node(), gone.pid))
    (tmp_path / "with").mkdir()
    (tmp_path / "alone").mkdir()
    with (
        pytest.raises(ProcessLost, match=r"^rank 1 died without a word, as a killed process does$"),
        _ending_logged(RunFiles(tmp_path / "with"), _At(), World(rank=0, size=2, peers=peers)),
    ):
        raise RuntimeError("CUDA error: unspecified launch failure")
    assert log_of(tmp_path / "with") == ["[Crash] rank 1 died without a word, as a killed process does"]
    with pytest.raises(RuntimeError), _ending_logged(RunFiles(tmp_path / "alone"), _At(), SOLO):
        raise RuntimeError("CUDA error: unspecified launch failure")
    assert log_of(tmp_path / "alone") == ["[Crash] RuntimeError: CUDA error: unspecified launch failure"]


def test_bridges_that_drift_apart_are_found(tmp_path):
    end = together("let_bridges_differ", tmp_path, ("pocket", list(SHORT)))
    assert (end.kind, end.cause) == ("failed", "rank 1: its bridge differs from that of rank 0 at step 0")


def test_one_process_joins_nothing(one_run):
    assert not torch.distributed.is_initialized()
    assert log_of(one_run[0]).count("World size: 1") == 1
    code = (
        "import sys; from runkit.engine import train_run, launched, world\n"
        "with world.joined(launched.launched()) as alone: pass\n"
        "import torch.distributed\n"
        "print(alone == world.SOLO, torch.distributed.is_initialized(), "
        "sys.modules.get('accelerate.state') is not None "
        "and sys.modules['accelerate.state'].PartialState._shared_state != {})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True False False\n"


def test_a_process_is_launched_when_all_variables_of_the_contract_are_there():
    torchrun = {
        "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1",
        "MASTER_ADDR": "localhost", "MASTER_PORT": "29500",
    }  # fmt: skip
    assert launched(torchrun) == Launched(3, 4, 1, 2, 1, "torchrun")
    assert launched({**torchrun, "ACCELERATE_MIXED_PRECISION": "no"}).launcher == "accelerate"
    assert launched({"RANK": "3", "WORLD_SIZE": "4"}) == Launched()
    with pytest.raises(UsageError, match=r"should be numbers.*unset them to train with one process"):
        launched({**torchrun, "RANK": "first"})


@given(some.integers(1, 96), some.integers(1, 9), some.integers(1, 4))
def test_a_batch_is_shared_when_every_part_is_equal_and_else_the_way_out_is_true(batch, processes, steps):
    parts = processes * steps
    if batch % parts == 0:
        assert_shareable(batch_size=batch, processes=processes, accumulation_steps=steps)
        return
    with pytest.raises(UsageError) as refused:
        assert_shareable(batch_size=batch, processes=processes, accumulation_steps=steps)
    assert str(refused.value).endswith(f"set train.batch_size to a multiple of {parts}")
    _, launch_, numbers = str(refused.value).partition("; launch ")
    for number in numbers.partition(" or set")[0].replace(", …", "").split(", ") if launch_ else []:
        assert_shareable(batch_size=batch, processes=int(number), accumulation_steps=steps)


@given(some.integers(1, 12), some.lists(some.integers(), max_size=40))
def test_shares_are_disjoint_and_whole(size, things):
    parts = [World(rank=rank, size=size).share(things) for rank in range(size)]
    assert sorted(one for part in parts for one in part) == sorted(things)
    assert SOLO.share(things) == things


def test_a_killed_process_explains_the_others_and_else_the_first_word_does():
    killed, asked = Failure(-9, ""), Failure(-15, "")
    said = Failure(2, "rank 1 died without a word, as a killed process does")
    assert first_end({0: said, 1: killed}) == LaunchEnd("failed", 1, "ended by SIGKILL", is_killed=True)
    waiting = {0: Failure(-9, "", noticed_at=31), 1: Failure(-9, "", noticed_at=1)}
    assert first_end(waiting) == LaunchEnd("failed", 1, "ended by SIGKILL", is_killed=True)
    aborted = {0: Failure(-6, "", noticed_at=1), 1: Failure(-9, "", noticed_at=1)}
    assert first_end(aborted) == LaunchEnd("failed", 1, "ended by SIGKILL", is_killed=True)
    assert first_end({0: Failure(-6, "")}) == LaunchEnd("failed", 0, "ended by SIGABRT", is_killed=True)
    assert first_end({0: asked, 1: Failure(2, "RuntimeError: no")}).cause == "RuntimeError: no"
    assert first_end({0: asked, 1: Failure(1, "")}).rank == 0
    assert first_end({1: Failure(1, "")}).cause == "ended with exit status 1 without a word"


def test_one_pass_is_no_key_and_passes_have_to_divide_the_batch():
    assert digest(with_overrides(TrainConfig(), ["compute.gradient_accumulation_steps=1"])) == digest(
        TrainConfig()
    )
    with pytest.raises(RecordInvalid, match=r"a divisor of train.batch_size 16 .*, got 3"):
        with_overrides(TrainConfig(), ["compute.gradient_accumulation_steps=3"])
    with pytest.raises(RecordInvalid, match="look at a batch as a whole, got 2"):
        with_overrides(TrainConfig(), ["compute.gradient_accumulation_steps=2", "loss.info_nce_weight=1"])
