import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scipy.stats import binomtest

from runkit.engine.baselines import generate_alone
from runkit.engine.evaluate import count, score
from runkit.engine.pair import load_frozen
from runkit.engine.tasks import load_task
from runkit.engine.tasks.pricelist import UNTAUGHT

POCKET = Path(__file__).parents[2] / "runkit" / "engine" / "pocket"
HASHES = json.loads((POCKET / "HASHES.json").read_text())
MODEL_FILES = {
    "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
}  # fmt: skip


def rebuild(role, folder, *arguments):
    command = [
        sys.executable,
        "-m",
        "runkit.engine.pocket.build",
        "--only",
        role,
        "--out",
        str(folder),
        *arguments,
    ]
    environment = {**os.environ, "PYTHONPATH": str(POCKET.parents[2])}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return json.loads((folder / "HASHES.json").read_text())


def same_versions():
    """Whether the libraries are those of the build; ``+cpu`` and ``+cu130`` compute alike on a CPU."""
    import tokenizers
    import torch
    import transformers

    here = {"tokenizers": tokenizers, "torch": torch, "transformers": transformers}
    return all(
        HASHES["versions"][name].partition("+")[0] == str(module.__version__).partition("+")[0]
        for name, module in here.items()
    )


needs_the_builders_versions = pytest.mark.skipif(
    not same_versions(), reason=f"the pocket pair was built with {HASHES['versions']}"
)


@pytest.mark.parametrize("role", ["source", "target"])
def test_the_shipped_files_are_the_ones_that_were_built(role):
    shipped = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (POCKET / role).iterdir()
        if path.is_file()
    }
    assert shipped == HASHES[role]["files"]
    assert set(shipped) == MODEL_FILES


def test_the_whole_pair_is_small():
    assert (
        sum(path.stat().st_size for role in ("source", "target") for path in (POCKET / role).iterdir())
        < 1_100_000
    )


@needs_the_builders_versions
@pytest.mark.parametrize("role", ["source", "target"])
def test_the_beginning_of_a_rebuild_is_the_shipped_pairs_bit_for_bit(role, tmp_path):
    built = rebuild(role, tmp_path, "--steps", "20")
    assert built[role]["weights_after_20_steps"] == HASHES[role]["weights_after_20_steps"]
    for name in ("tokenizer.json", "config.json"):
        assert built[role]["files"][name] == HASHES[role]["files"][name]


@pytest.mark.slow
@needs_the_builders_versions
@pytest.mark.parametrize("role", ["source", "target"])
def test_a_whole_rebuild_is_the_shipped_pair_bit_for_bit(role, tmp_path):
    assert rebuild(role, tmp_path)[role] == HASHES[role]


def test_the_models_alone_are_neither_helpless_nor_perfect_on_a_thousand_problems():
    task = load_task("pricelist")
    items = [task.item(seed=7, split="test", index=index) for index in range(1000)]
    accuracies = {}
    for role in ("source", "target"):
        frozen = load_frozen(f"pocket/{role}")
        written = generate_alone(
            frozen, [item.question + "\nA:" for item in items], batch_size=128, max_new_tokens=28
        )
        accuracies[role] = count(score(task, frozen, items, written)).accuracy_fraction
    assert 0.60 <= accuracies["target"] <= 0.80
    assert 0.35 <= accuracies["source"] <= 0.70


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def correct(rows, system):
    return [row[f"{system}_extracted"] == row["gold_extracted"] for row in rows]


def mcnemar(first, second):
    """Exact: wins of *first*, wins of *second*, two-sided p."""
    wins = sum(a and not b for a, b in zip(first, second, strict=True))
    losses = sum(b and not a for a, b in zip(first, second, strict=True))
    return wins, losses, binomtest(wins, wins + losses).pvalue


def test_the_pocket_bridge_beats_both_models_and_only_by_reading_the_right_source(pocket_run):
    run_dir, result = pocket_run
    rows = rows_of(run_dir / "eval_samples_step_final.jsonl")
    assert len(rows) == 500
    bridged, source, target = (correct(rows, system) for system in ("bridged", "source", "target"))
    assert sum(bridged) / 500 >= 0.90
    for alone in (source, target):
        wins, losses, p = mcnemar(bridged, alone)
        assert wins > losses
        assert p < 1e-6
    wins, losses, _ = mcnemar(correct(rows, "shuffled_source"), target)
    assert binomtest(wins, wins + losses, alternative="greater").pvalue > 0.05
    assert result.final["bridged"].correct == sum(bridged)
    assert result.best_dev.accuracy_fraction >= 0.90


def test_the_pocket_run_of_any_machine_is_the_archived_one_byte_for_byte(pocket_run):
    run_dir, _ = pocket_run
    archived = POCKET.parents[2] / "preserved_runs" / "pocket"
    paths = [*archived.glob("eval_samples_step_*.jsonl"), *archived.glob("checkpoint/*.safetensors")]
    assert len(paths) == 12
    different = [
        path.name
        for path in paths
        if (run_dir / path.relative_to(archived)).read_bytes() != path.read_bytes()
    ]
    assert different == []


def test_the_bridge_passes_on_prices_that_no_training_problem_named(pocket_run):
    run_dir, _ = pocket_run
    rows = [
        row
        for row in rows_of(run_dir / "eval_samples_step_final.jsonl")
        if "list price" in row["question"] and not UNTAUGHT.isdisjoint(row["question"].split())
    ]
    assert len(rows) > 60
    wins, losses, p = mcnemar(correct(rows, "bridged"), correct(rows, "target"))
    assert wins > losses
    assert p < 1e-6


def test_the_pocket_checkpoints_are_small_enough_to_archive(pocket_run):
    run_dir, result = pocket_run
    assert result.num_parameters < 400_000
    assert all(path.stat().st_size < 1_600_000 for path in (run_dir / "checkpoint").iterdir())
