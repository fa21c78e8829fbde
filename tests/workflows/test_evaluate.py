"""A saved checkpoint measured again: equal to what training measured, or said not to be."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from statistics import mean, stdev

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from runkit.archive.workspace import Workspace
from runkit.cli.app import app
from runkit.engine.reporter import LinesReporter
from runkit.errors import RunUnreadable, UnknownName, UsageError
from runkit.stats.noise import noise_floor
from runkit.workflows.evaluate import EvalRequest, evaluate
from runkit.workflows.train import TrainRequest, train
from tests.conftest import needs_torch

pytestmark = needs_torch

SHORT = (
    "train.steps=40",
    "train.pool_items=64",
    "train.batch_size=8",
    "train.eval_every_steps=20",
    "optim.learning_rate=0.003",
    "eval.dev_items=20",
    "eval.test_items=30",
    "sampler.noise_std=1",
)


def quiet(_line: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    train(workspace, TrainRequest(overrides=SHORT, run_id="short"), reporter=LinesReporter(quiet))
    return workspace.root


@pytest.fixture
def space(trained_once: Path, tmp_path: Path) -> Workspace:
    """A workspace with one trained run, one's own copy."""
    return Workspace(shutil.copytree(trained_once, tmp_path / "own"))


def digests(folder: Path) -> Mapping[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(("checkpoint", "split"), [("best", "test"), ("best", "dev"), ("last", "dev")])
def test_draw_0_is_what_training_measured_and_the_run_is_only_read(
    space: Workspace, checkpoint: str, split: str
) -> None:
    before = digests(space.runs / "short")
    evaluated = evaluate(space, EvalRequest("short", checkpoint, split), note=quiet)  # type: ignore[arg-type]
    num_items = {"dev": 20, "test": 30}[split]
    assert evaluated.comparison is not None
    assert evaluated.comparison.is_equal
    assert (evaluated.comparison.num_items, evaluated.comparison.num_equal_texts) == (num_items, num_items)
    assert evaluated.repeats is None
    assert digests(space.runs / "short") == before


def test_a_checkpoint_that_training_did_not_measure_is_not_compared(space: Workspace) -> None:
    dump = space.runs / "short" / "eval_samples_step_final.jsonl"
    dump.write_text(dump.read_text().replace('"checkpoint_step": ', '"checkpoint_step": 7'))
    evaluated = evaluate(space, EvalRequest("short"), note=quiet)
    assert evaluated.comparison is None
    assert evaluated.not_compared_because == "training did not measure the best checkpoint on test"
    dump.unlink()
    evaluated = evaluate(space, EvalRequest("short"), note=quiet)
    assert evaluated.not_compared_because == "eval_samples_step_final.jsonl is not in the run"


def test_repeats_are_the_statistics_of_the_outcomes_that_are_written(space: Workspace) -> None:
    evaluate(space, EvalRequest("short", repeats=4), note=quiet)
    evaluated = evaluate(space, EvalRequest("runs/short", repeats=3), note=quiet)
    folder = space.runs / "short.eval-best-test"
    assert evaluated.folder == folder
    names = [f"outcomes_draw_{draw}.jsonl" for draw in range(3)]
    assert sorted(path.name for path in folder.iterdir()) == ["evaluation.json", *names]
    draws = [[json.loads(line) for line in (folder / name).read_text().splitlines()] for name in names]
    assert len({tuple(row["text"] for row in rows) for rows in draws}) > 1, "the draws differ"
    correct = [[row["extracted"] == row["gold"] for row in rows] for rows in draws]
    accuracies = [sum(rows) / 30 for rows in correct]
    assert evaluated.repeats is not None
    assert evaluated.repeats.mean_accuracy_fraction == mean(accuracies)
    assert evaluated.repeats.sd_accuracy_fraction == stdev(accuracies)
    assert evaluated.repeats.floor == noise_floor(correct)
    record = json.loads((folder / "evaluation.json").read_text())
    assert record["noise_floor"] == noise_floor(correct)._asdict()
    assert [draw["correct"] for draw in record["draws"]] == [sum(rows) for rows in correct]


def test_a_preserved_run_is_measured_where_it_is(space: Workspace) -> None:
    space.preserved_runs.mkdir()
    (space.runs / "short").rename(space.preserved_runs / "short")
    before = digests(space.preserved_runs)
    evaluated = evaluate(space, EvalRequest("preserved_runs/short"), note=quiet)
    assert evaluated.comparison is not None
    assert evaluated.comparison.is_equal
    assert evaluated.folder.parent == space.runs
    assert digests(space.preserved_runs) == before


def test_other_weights_are_found_and_end_with_status_1(space: Workspace) -> None:
    path = space.runs / "short" / "checkpoint" / "best.safetensors"
    from safetensors import safe_open

    with safe_open(path, "pt") as opened:  # type: ignore[no-untyped-call]
        metadata = opened.metadata()
    weights = {
        name: weight + 0.3 * torch.ones_like(weight) if name.startswith("leave") else weight
        for name, weight in load_file(path).items()
    }
    save_file(weights, path, metadata)
    done = CliRunner().invoke(app, ["eval", "short", "--workspace", str(space.root)])
    assert done.exit_code == 1, done.output
    assert "draw 0 differs from the final evaluation: " in done.output
    assert "of 30 outcomes" in done.output


def test_the_command_says_what_was_measured_and_what_it_is_equal_to(space: Workspace) -> None:
    arguments = ["eval", "short", "--repeats", "2", "--workspace", str(space.root)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].startswith("short: best checkpoint, step ")
    assert lines[0].endswith(", bridged on 30 test items")
    assert [line.split()[:2] for line in lines[1:3]] == [["draw", "0"], ["draw", "1"]]
    assert lines[3] == "draw 0 is equal to the final evaluation: 30 of 30 outcomes, 30 of 30 texts"
    assert lines[4].startswith("over 2 draws: mean ")
    assert lines[5] == f"written: {space.runs / 'short.eval-best-test'}"


def test_what_cannot_be_measured_is_one_line(space: Workspace) -> None:
    with pytest.raises(UnknownName, match=r"^there is no run 'shrot'; did you mean 'short'$"):
        evaluate(space, EvalRequest("shrot"), note=quiet)
    with pytest.raises(UsageError, match=r"^--repeats is 0; expected at least 1$"):
        evaluate(space, EvalRequest("short", repeats=0), note=quiet)
    checkpoint = space.runs / "short" / "checkpoint"
    (checkpoint / "best.safetensors").write_bytes((checkpoint / "last.safetensors").read_bytes())
    with pytest.raises(RunUnreadable, match=r"^best\.safetensors of short holds the last checkpoint$"):
        evaluate(space, EvalRequest("short"), note=quiet)
    (checkpoint / "best.safetensors").unlink()
    with pytest.raises(RunUnreadable, match=r"^best\.safetensors cannot be read as a bridge checkpoint: "):
        evaluate(space, EvalRequest("short"), note=quiet)
    (space.runs / "short" / "config.json").unlink()
    with pytest.raises(RunUnreadable, match=r"^config\.json of short cannot be read: No such file"):
        evaluate(space, EvalRequest("short"), note=quiet)


def test_draws_of_a_bridge_without_noise_are_refused_and_its_one_measurement_repeats(
    tmp_path: Path,
) -> None:
    space = Workspace(tmp_path)
    request = TrainRequest(preset="pocket_resampler", overrides=SHORT, run_id="still")
    train(space, request, reporter=LinesReporter(quiet))
    with pytest.raises(UsageError, match="the bridge of still starts from no noise, so all draws are equal"):
        evaluate(space, EvalRequest("still", "best", "test", 2), note=quiet)
    once = evaluate(space, EvalRequest("still", "best", "test", 1), note=quiet)
    assert once.comparison is not None
    assert once.comparison.is_equal
