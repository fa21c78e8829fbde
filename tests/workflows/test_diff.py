"""``diff`` on the repository's own archive: cluster runs by reference, pocket runs with their files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

FULL, KL_ONLY, KL_PROMPT = "phase1_full_20251116_201212", "ablB_20251116_234242", "ablC_20251117_013909"


def runkit(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runkit", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )


def diff(first: str, second: str) -> dict[str, Any]:
    done = runkit("diff", first, second, "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def bridged(document: dict[str, Any], evaluation: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        one for one in document["outcomes"] if (one["evaluation"], one["system"]) == (evaluation, "bridged")
    )
    return found


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        (KL_ONLY, FULL, 0.54),
        (KL_PROMPT, FULL, 0.85),
        (KL_PROMPT, KL_ONLY, 0.33),
    ],
)
def test_the_rows_of_the_cluster_ablation_are_one_configuration_and_one_number(
    first: str, second: str, p: float
) -> None:
    found = diff(first, second)
    assert found["sections"]["configuration"]["differing"] == []
    assert len(found["sections"]["configuration"]["equal"]) == 42
    assert round(bridged(found, "final")["p_exact"], 2) == p
    step_0 = bridged(found, "0")
    assert (step_0["num_changed_answers"], step_0["won_by_first"], step_0["won_by_second"]) == (0, [], [])
    losses = [fact for fact in found["sections"]["course"]["differing"] if fact["name"] == "loss at step 20"]
    assert all(abs(float(fact["first"]) / float(fact["second"]) - 1) < 1e-4 for fact in losses)


def test_the_swapped_runs_differ_in_direction_mode_and_size() -> None:
    found = diff("phase2_swap_20251118_213543", FULL)
    changed = {
        fact["name"]: (fact["first"], fact["second"])
        for fact in found["sections"]["configuration"]["differing"]
    }
    assert changed["eval_prompt_mode"] == ("soft_only", "soft_plus_text")
    assert changed["world_size"] == ("1", "4")
    assert changed["global_batch"] == ("2", "8")
    assert {"source_model", "target_model", "dit_teacher"} < set(changed)
    assert {fact["name"] for fact in found["not_paired"]} >= {"final", "750"}


def test_an_ablation_of_the_pocket_pair_differs_in_its_factor_only() -> None:
    found = diff("pocket_mean_pool", "pocket")
    assert [fact["name"] for fact in found["sections"]["configuration"]["differing"]] == [
        "bridge.conditioning"
    ]
    assert found["sections"]["code"]["differing"] == []
    final = bridged(found, "final")
    assert (len(final["won_by_first"]), len(final["won_by_second"])) == (9, 82)


def test_people_read_the_same_in_words() -> None:
    lines = runkit("diff", "pocket_mean_pool", "pocket").stdout.splitlines()
    assert "configuration: 1 differ, 53 equal" in lines
    assert "  bridge.conditioning  mean | cross" in lines
    assert "  the same answer to every item in every evaluation: source, target" in lines
    assert any(line.split()[:4] == ["final", "bridged", "76.2", "90.8"] for line in lines)


def test_a_run_is_not_compared_with_itself_or_with_nothing() -> None:
    same = runkit("diff", "pocket", "pocket")
    assert (same.returncode, same.stdout) == (2, "")
    assert same.stderr == "runkit: pocket is one run; name two runs to compare, `runkit list` shows them\n"
    unknown = runkit("diff", "pocket", "pockets")
    assert unknown.returncode == 2
    assert "pocket" in unknown.stderr
