"""What training refuses: one line that says what, where and the way out, exit status 2, and nothing lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from runkit.cli.app import app
from runkit.engine import losses
from runkit.engine.checkpoint import read_checkpoint
from runkit.engine.pair import FrozenModel
from tests.conftest import needs_torch
from tests.engine.conftest import SHORT, write_problems
from tests.engine.tiny_models import write_model

pytestmark = needs_torch

MORE_THAN_THERE_IS = 2**50


def call(workspace: Path, verb: str, *arguments: str, settings: tuple[str, ...] = ()) -> Any:
    chosen = [word for setting in settings for word in ("--set", setting)]
    return CliRunner().invoke(app, [verb, *arguments, *chosen, "--workspace", str(workspace)])


def train(workspace: Path, run_id: str, *settings: str) -> Any:
    return call(workspace, "train", "--run-id", run_id, settings=(*SHORT, *settings))


def refused(done: Any) -> str:
    """The one line that *done* ended with, of exit status 2."""
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("runkit: ")
    line: str = done.stderr.removeprefix("runkit: ").removesuffix("\n")
    return line


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with two runs that differ in their conditioning."""
    workspace = tmp_path_factory.mktemp("two")
    assert train(workspace, "one").exit_code == 0
    assert train(workspace, "two", "bridge.conditioning=mean").exit_code == 0
    return workspace


@pytest.mark.parametrize("step", [1, 4, 6])
def test_a_loss_that_is_not_finite_names_term_and_step_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    plain, asked = losses.nll, []

    def spoiled(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        asked.append(1)
        return plain(logits, labels) * (float("nan") if len(asked) == step else 1.0)

    monkeypatch.setattr(losses, "nll", spoiled)
    folder = tmp_path / "runs" / "one"
    assert refused(train(tmp_path, "one")) == (
        f"the nll term is nan at step {step}; training cannot go on; "
        f"{folder / 'checkpoint/best.safetensors'} keeps the best weights so far; --resume would stop at the "
        "same place, so train a new run with other settings (after a loss that is not finite: a smaller "
        "optim.learning_rate)"
    )
    kept = read_checkpoint(folder / "checkpoint/best.safetensors")
    assert kept.step < step
    assert all(weight.isfinite().all() for weight in kept.weights.values())
    assert (folder / "train.log").read_text().splitlines()[-1] == (
        f"[Crash] the nll term is nan at step {step}; training cannot go on"
    )


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (
            "logits",
            "out of memory in training step 1 for 1125899906842624 bytes more; reduce train.batch_size, "
            "bridge.num_soft_tokens or task.few_shot",
        ),
        (
            "generate_greedy",
            "out of memory in generating with pocket/source alone for 1125899906842624 bytes more; reduce "
            "eval.batch_size, eval.max_new_tokens or task.few_shot",
        ),
        (
            "hidden_states",
            "out of memory in reading questions with pocket/source for 1125899906842624 bytes more; reduce "
            "train.pool_items or tap fewer pair.source_layers",
        ),
    ],
)
def test_the_end_of_the_memory_says_what_to_reduce(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, line: str
) -> None:
    monkeypatch.setattr(
        FrozenModel, place, lambda *_given, **_named: torch.empty(MORE_THAN_THERE_IS, dtype=torch.uint8)
    )
    assert refused(train(tmp_path, "one")).startswith(line)
    assert (tmp_path / "runs/one/train.log").read_text().splitlines()[-1] == f"[Crash] {line}"


def test_another_error_is_not_taken_for_the_end_of_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_given: object, **_named: object) -> None:
        raise RuntimeError("expected scalar type Float")

    monkeypatch.setattr(FrozenModel, "logits", broken)
    line = refused(train(tmp_path, "one"))
    assert line.startswith("internal error: RuntimeError in ")
    assert "expected scalar type Float" in line


def test_a_checkpoint_of_another_configuration_names_the_differing_keys(
    two_runs: Path, tmp_path: Path
) -> None:
    workspace = Path(shutil.copytree(two_runs, tmp_path / "copy"))
    best = "checkpoint/best.safetensors"
    shutil.copy(workspace / "runs/two" / best, workspace / "runs/one" / best)
    assert refused(call(workspace, "eval", "one")) == (
        "best.safetensors of one is of another configuration: bridge.conditioning ('cross' in this run, "
        "'mean' in 'two', to which it belongs)"
    )
    shutil.rmtree(workspace / "runs/two")
    line = refused(call(workspace, "eval", "one"))
    ours, theirs = (
        json.loads((two_runs / f"runs/{run}/config.json").read_text())["digest"] for run in ("one", "two")
    )
    assert line == (
        f"best.safetensors of one is of another configuration: its digest is {theirs[:12]}…, this run's is "
        f"{ours[:12]}…, and no run beside it has the first"
    )


def test_a_checkpoint_under_the_name_of_another_is_refused(two_runs: Path, tmp_path: Path) -> None:
    workspace = Path(shutil.copytree(two_runs, tmp_path / "copy"))
    folder = workspace / "runs/one/checkpoint"
    shutil.copy(folder / "last.safetensors", folder / "best.safetensors")
    assert refused(call(workspace, "eval", "one")) == "best.safetensors of one holds the last checkpoint"


def test_damaged_caches_are_made_again_with_a_line_each(two_runs: Path, tmp_path: Path) -> None:
    workspace = Path(shutil.copytree(two_runs, tmp_path / "copy"))
    entries = [path for path in (workspace / "runs/.cache").iterdir() if path.is_file()]
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:-1])
    done = train(workspace, "three")
    assert done.exit_code == 0
    for entry in entries:
        (line,) = [line for line in done.output.splitlines() if entry.name in line]
        assert "is damaged; " in line
        assert line in (workspace / "runs/three/train.log").read_text()
    for name in ("checkpoint/last.safetensors", "eval_samples_step_final.jsonl"):
        assert (workspace / "runs/three" / name).read_bytes() == (workspace / "runs/one" / name).read_bytes()


def gsm8k(folder: Path, train_rows: str | None = None) -> tuple[str, ...]:
    """Settings for local problems, of which the training rows can be given."""
    path = write_problems(folder / "train.jsonl", 530)
    if train_rows is not None:
        path.write_text(train_rows + path.read_text())
    test = write_problems(folder / "test.jsonl", 12, first=2000)
    return (
        "task.name=gsm8k",
        f"task.train_file={path}",
        f"task.test_file={test}",
        "task.few_shot=2",
        "eval.batches=padded",
    )


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            '{"problem": "1 + 1?", "solution": "2"}\n',
            "train.jsonl, row 1: gsm8k needs the text fields question and answer, found problem, solution",
        ),
        (
            '{"question": "1 + 1?", "answer": "2"}\n',
            "train.jsonl, row 1: the answer should end in '#### ' and a number",
        ),
        ("question\n", "train.jsonl, row 1: is not JSON: Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_problems_without_the_needed_fields_are_named(tmp_path: Path, row: str, line: str) -> None:
    assert refused(train(tmp_path, "one", *gsm8k(tmp_path, row))) == line
    assert not (tmp_path / "runs/one").exists()


def test_a_tokenizer_without_an_end_is_refused_and_without_begin_or_pad_it_works(tmp_path: Path) -> None:
    folders = {
        name: str(write_model(tmp_path / name, "llama", **special))
        for name, special in {
            "endless": {"bos_token": "<s>", "pad_token": "<pad>"},
            "bare": {"eos_token": "</s>"},
        }.items()
    }
    data = (*gsm8k(tmp_path), "pair.source_layers=1,2", f"pair.source={folders['bare']}")
    endless = refused(train(tmp_path, "one", *data, f"pair.target={folders['endless']}"))
    assert endless == (
        f"{folders['endless']} cannot be bridged: its tokenizer has no end token, so nothing would end an "
        "answer; set eos_token in its tokenizer_config.json"
    )
    assert train(tmp_path, "two", *data, f"pair.target={folders['bare']}").exit_code == 0


def test_more_soft_tokens_than_the_context_holds_are_refused_with_the_numbers(tmp_path: Path) -> None:
    line = refused(train(tmp_path, "one", "bridge.num_soft_tokens=600"))
    assert line.startswith("pocket/target reads at most ")
    assert " + 600 soft + " in line
    assert line.endswith("reduce bridge.num_soft_tokens, task.few_shot or eval.max_new_tokens")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("automatic", "'automatic'"),
        ("0", "0"),
        ("-1", "-1"),
        ("1.5", "1.5"),
        ("true", "True"),
        ("[1]", "[1]"),
    ],
)
def test_rows_of_an_evaluation_are_a_number_or_auto(tmp_path: Path, given: str, shown: str) -> None:
    line = f"eval.batch_size should be a whole number of at least 1, or 'auto', got {shown}"
    assert refused(train(tmp_path, "one", f"eval.batch_size={given}")) == f"overrides: {line}"
    path = tmp_path / "mine.toml"
    path.write_text(f"[eval]\nbatch_size = {given if given != 'automatic' else json.dumps(given)}\n")
    assert refused(call(tmp_path, "train", "--config", str(path))) == f"mine.toml: {line}"
    assert not (tmp_path / "runs").exists()
