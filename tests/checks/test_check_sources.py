"""Sabotage of a run of any program: each thing that is wrong with its numbers is found, and nothing else."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runkit.archive.items_file import items_from_parquet, items_to_parquet
from runkit.archive.reading import read_manifest
from runkit.archive.workspace import Workspace
from runkit.records.finding import Finding
from runkit.records.items import ItemScores, score_of_items
from runkit.records.manifest import Manifest, SealedFacts
from runkit.records.measurement import ScoreKey
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.validate import validate

VALUES = (1.0, 0.0, 1.0, 1.0)


def write(root: Path, **files: str) -> Path:
    root.mkdir()
    rows = [{"id": f"q{index}", "correct": value} for index, value in enumerate(VALUES)]
    text = {
        "config__json": '{"lr": 0.1}',
        "predictions__jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        "results__json": '{"accuracy": 0.75}',
    } | files
    for name, content in text.items():
        if content:
            (root / name.replace("__", ".")).write_text(content)
    return root


def preserved(workspace: Workspace, tmp_path: Path, **files: str) -> Manifest:
    return preserve(workspace, PreserveRequest(write(tmp_path / "run", **files), run_id="run"))


def told(workspace: Workspace) -> list[tuple[str, str, str, str]]:
    """Return severity, rule, place and message of what is found, but for what nobody recorded."""
    found: tuple[Finding, ...] = validate(workspace).findings
    return [(one.severity, one.rule, one.place, one.message) for one in found if one.rule not in ("RK410",)]


def resealed(workspace: Workspace, **changes: Any) -> None:
    """Write the manifest with *changes* of its sealed facts, under a seal that fits."""
    manifest = read_manifest(workspace, "run")
    facts = SealedFacts.parse(manifest.sealed.model_copy(update=changes).to_json(), origin="the forgery")
    workspace.manifest_path("run").write_text(Manifest.sealing(facts, manifest.notes).to_json())


def forge_items(
    workspace: Workspace, change: Callable[[dict[ScoreKey, ItemScores]], list[ItemScores]]
) -> list[ItemScores]:
    """Put other item scores in the place of those that are kept, and seal anew."""
    path = workspace.outcomes_path("run")
    new = change(dict(items_from_parquet(path, num_rows=None)))
    content, num_rows = items_to_parquet(new)
    path.write_bytes(content)
    reference = read_manifest(workspace, "run").sealed.outcomes
    assert reference is not None
    digest = hashlib.sha256(content).hexdigest()
    resealed(workspace, outcomes=reference.model_copy(update={"sha256": digest, "num_rows": num_rows}))
    return new


def all_right(found: dict[ScoreKey, ItemScores]) -> list[ItemScores]:
    return [replace(items, values=(1.0,) * len(items.items)) for items in found.values()]


def test_a_clean_run_has_no_finding(workspace: Workspace, tmp_path: Path) -> None:
    preserved(workspace, tmp_path)
    assert told(workspace) == []


def test_a_run_of_which_no_number_was_read_is_a_warning(workspace: Workspace, tmp_path: Path) -> None:
    preserved(workspace, tmp_path, predictions__jsonl="", results__json="")
    message = "no number was read of this run: none of its files is one that a source knows"
    assert told(workspace) == [("warning", "RK210", "sealed.scores", message)]


def test_a_run_without_one_finite_number_is_a_warning(workspace: Workspace, tmp_path: Path) -> None:
    preserved(workspace, tmp_path, predictions__jsonl="", results__json='{"accuracy": NaN}')
    message = "none of the 1 scores of this run has a value: results.json says nan"
    assert told(workspace) == [("warning", "RK210", "sealed.scores", message)]


def test_a_file_of_which_nothing_is_known_is_named_with_the_way_out(
    workspace: Workspace, tmp_path: Path
) -> None:
    preserved(workspace, tmp_path, results__json='{"mystery": 3}')
    [(severity, rule, place, message)] = told(workspace)
    assert (severity, rule, place) == ("warning", "RK210", "results.json")
    assert message == (
        "results.json holds 1 numbers and none was read (mystery); say how in runkit.toml, or with --metrics "
        "or --items of preserve"
    )


def test_two_files_that_disagree_are_a_finding(workspace: Workspace, tmp_path: Path) -> None:
    preserved(workspace, tmp_path, results__json='{"accuracy": 0.9}')
    conflict = "accuracy@final is 0.75 by predictions.jsonl, which was taken, and 0.9 by results.json"
    printed = "accuracy@final: the items of predictions.jsonl give 0.75, and 0.9 was printed for it"
    found = {(rule, place): message for _severity, rule, place, message in told(workspace)}
    assert found == {
        ("RK211", "results.json"): conflict,
        ("RK201", "sealed.scores.accuracy@final"): printed,
    }


def test_values_that_are_not_finite_are_a_finding(workspace: Workspace, tmp_path: Path) -> None:
    rows = '{"id": "a", "f1": 0.5}\n{"id": "b", "f1": NaN}\n{"id": "c", "f1": 1}\n'
    preserved(workspace, tmp_path, predictions__jsonl=rows, results__json="")
    [(_severity, rule, place, message)] = told(workspace)
    assert (rule, place) == ("RK212", "predictions.jsonl")
    assert message == "predictions.jsonl: f1 of 1 nan is no finite number"


def test_a_torn_row_is_a_finding(workspace: Workspace, tmp_path: Path) -> None:
    rows = '{"id": "a", "f1": 0.5}\n{"id": "b", "f1": 1}\n{"id": "c", "f'
    preserved(workspace, tmp_path, predictions__jsonl=rows, results__json="")
    [(_severity, rule, place, message)] = told(workspace)
    assert (rule, place, message) == ("RK204", "predictions.jsonl", "predictions.jsonl: 1 rows are torn")


def test_a_value_that_the_items_do_not_give_is_found(workspace: Workspace, tmp_path: Path) -> None:
    [score] = preserved(workspace, tmp_path).sealed.scores or ()
    resealed(workspace, scores=(score.model_copy(update={"value": 1.0, "logged_value": 1.0}),))
    found = {rule: (place, message) for _severity, rule, place, message in told(workspace)}
    assert found["RK201"] == (
        "sealed.scores.accuracy@final",
        "accuracy@final: the manifest says 1.0 over 4 items, the item scores have 0.75 over 4 items",
    )
    assert found["RK110"][0].startswith("sealed.scores.")
    assert found.keys() == {"RK110", "RK201"}


def test_items_that_were_rewritten_with_the_manifest_contradict_the_files(
    workspace: Workspace, tmp_path: Path
) -> None:
    [score] = preserved(workspace, tmp_path).sealed.scores or ()
    [items] = forge_items(workspace, all_right)
    assert score.evidence is not None
    again = score_of_items(items, evidence=score.evidence, path=score.path, logged_value=1.0)
    resealed(workspace, scores=(again,))
    found = told(workspace)
    assert {rule for _severity, rule, _place, _message in found} == {"RK110"}
    assert {severity for severity, *_rest in found} == {"error"}
    assert any(place.startswith("sealed.scores") for _severity, _rule, place, _message in found)
    assert any(place.startswith("sealed.outcomes") for _severity, _rule, place, _message in found)


def test_items_of_no_score_are_found(workspace: Workspace, tmp_path: Path) -> None:
    preserved(workspace, tmp_path)
    forge_items(
        workspace,
        lambda found: [one for items in found.values() for one in (items, replace(items, task="more"))],
    )
    found = [(place, message) for _severity, rule, place, message in told(workspace) if rule == "RK201"]
    message = "there are item scores of model/more//accuracy, and the manifest has no score for them"
    assert found == [("sealed.scores", message)]


@pytest.mark.parametrize("change", ["remove", "rewrite"])
def test_the_file_of_items_alone_is_not_believed(workspace: Workspace, tmp_path: Path, change: str) -> None:
    preserved(workspace, tmp_path)
    path = workspace.outcomes_path("run")
    if change == "remove":
        path.unlink()
    else:
        path.write_bytes(items_to_parquet(all_right(dict(items_from_parquet(path, num_rows=None))))[0])
    assert any(severity == "error" for severity, *_rest in told(workspace))
