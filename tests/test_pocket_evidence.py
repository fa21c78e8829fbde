"""What the archive proves about the pocket pair, recounted from per-sample outcomes, in numbers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from runkit.archive.reading import read_manifest, read_outcomes
from runkit.archive.workspace import Workspace
from runkit.checks.comparison import effective_difference
from runkit.records.manifest import Manifest
from runkit.records.outcomes import EvaluationOutcomes
from runkit.stats.paired import mcnemar_exact, paired_counts
from runkit.stats.proportions import wilson_interval
from runkit.stats.seeds import difference_over_seeds

ROOT = Path(__file__).resolve().parents[1]
ARCHIVE = Workspace(ROOT)
BARS = {"pocket_seeds": 5, "pocket_injection": 5, "pocket_soft_only": 5}
"""The tables over seeds and how many seeds each has."""


@cache
def manifest_of(run_id: str) -> Manifest:
    return read_manifest(ARCHIVE, run_id)


@cache
def final_of(run_id: str) -> EvaluationOutcomes:
    return read_outcomes(ARCHIVE, manifest_of(run_id))["final"]


def correct(run_id: str, system: str = "bridged") -> tuple[bool, ...]:
    return final_of(run_id).correct(system)


def runs_of(table: str) -> dict[str, tuple[str, ...]]:
    """Label of each row of *table* to its runs, as they were printed."""
    rows = json.loads((ROOT / "paper_tables" / f"{table}.cells.json").read_text())["rows"]
    return {
        row["label"]: tuple(run["run_id"] for run in cell["source"]["runs"])
        for row in rows
        for cell in row["cells"]
        if cell["column"] == "seeds"
    }


def over_seeds(run_id: str, num_seeds: int) -> list[tuple[bool, ...]]:
    return [correct(run_id), *(correct(f"{run_id}_seed{seed}") for seed in range(1, num_seeds))]


def test_soft_tokens_alone_carry_a_whole_question() -> None:
    final = manifest_of("pocket_soft_only_24").sealed.evaluation("final")
    assert final is not None
    assert (final.split, final.checkpoint) == ("test", "best")
    hits = correct("pocket_soft_only_24")
    interval = wilson_interval(sum(hits), len(hits))
    assert (sum(hits), len(hits)) == (490, 500)
    assert interval.low >= 0.96
    assert manifest_of("pocket_soft_only_24").sealed.configuration.effective["prompt.mode"] == "soft_only"
    assert all(sum(seed) >= 0.90 * len(seed) for seed in over_seeds("pocket_soft_only_24", 5))


def test_they_do_so_only_with_the_source_s_states_of_that_question() -> None:
    controls = {
        system: sum(correct("pocket_soft_only_24", system))
        for system in ("shuffled_source", "no_soft_tokens")
    }
    assert controls == {"shuffled_source": 10, "no_soft_tokens": 0}


def test_the_same_recipe_collapses_with_a_mean_pooled_source() -> None:
    pooled, control = correct("pocket_soft_only_24_mean_pool"), correct("pocket_soft_only_24")
    assert sum(pooled) == 107
    counts = paired_counts(pooled, control)
    assert (counts.only_first, counts.only_second) == (2, 385)
    assert mcnemar_exact(counts.only_first, counts.only_second) < 1e-100
    difference = difference_over_seeds(
        over_seeds("pocket_soft_only_24_mean_pool", 5),
        over_seeds("pocket_soft_only_24", 5),
        are_seeds_shared=True,
    )
    assert difference.crossed_interval.high < -0.5


@pytest.mark.parametrize("model", ["source", "target"])
def test_with_text_the_bridge_beats_both_models_with_every_seed(model: str) -> None:
    for run_id in runs_of("pocket_seeds")["The pocket bridge"]:
        counts = paired_counts(correct(run_id), correct(run_id, model))
        assert counts.only_first > 3 * counts.only_second
        assert mcnemar_exact(counts.only_first, counts.only_second) < 1e-6


def test_over_five_seeds_some_changes_cost_accuracy_and_the_spread_hides_others() -> None:
    rows = runs_of("pocket_seeds")
    control = [correct(run_id) for run_id in rows.pop("The pocket bridge")]
    intervals = {
        label: difference_over_seeds(
            [correct(run_id) for run_id in runs], control, are_seeds_shared=True
        ).crossed_interval
        for label, runs in rows.items()
    }
    assert {label for label, interval in intervals.items() if interval.high < 0} == {
        "Mean-pooled source",
        "No slot positions",
        "One soft token",
        "Prompt alignment",
    }
    assert {label for label, interval in intervals.items() if interval.low > 0} == {"Resampler as an adapter"}


@pytest.mark.parametrize("table", sorted(BARS))
def test_every_row_has_all_seeds_and_differs_from_the_control_as_its_notes_declare(table: str) -> None:
    rows = runs_of(table)
    control = next(iter(rows.values()))
    assert {len(runs) for runs in rows.values()} == {BARS[table]}
    assert len(set().union(*rows.values())) == BARS[table] * len(rows)
    for runs in list(rows.values())[1:]:
        for run_id, control_id in zip(runs, control, strict=True):
            (relation,) = manifest_of(run_id).relations("ablates")
            difference = effective_difference(manifest_of(run_id), manifest_of(relation.run_id))
            assert {one.key for one in difference.changed} == set(relation.factors)
            seeds = {
                one.sealed.configuration.effective["seed"] for one in map(manifest_of, (run_id, control_id))
            }
            assert len(seeds) == 1


def test_the_runs_over_seeds_were_committed_code_and_their_command_is_their_notes_way_back() -> None:
    for table in BARS:
        for run_id in {run for runs in runs_of(table).values() for run in runs}:
            facts = manifest_of(run_id).sealed
            assert facts.software.code.is_dirty is False
            assert all(file.storage == "copy" for file in facts.artifacts) == (
                facts.artifacts_location is None
            )
            if facts.artifacts_location is not None:
                assert f"`{' '.join(facts.command.argv)}`" in facts.artifacts_location
