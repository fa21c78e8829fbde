"""``diff`` of foreign runs: two numbers in two units are never taken from each other."""

from __future__ import annotations

from pathlib import Path

from runkit.archive.workspace import Workspace
from runkit.workflows.diff import diff
from runkit.workflows.preserve import PreserveRequest, preserve


def test_numbers_in_two_units_have_no_difference_and_no_winner(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    for name, accuracy in (("points", "87.5"), ("fraction", "0.9")):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(f'{{"accuracy": {accuracy}, "loss": 2.0}}')
        preserve(workspace, PreserveRequest(folder))
    found = {score.name: score for score in diff(workspace, "points", "fraction").scores}
    accuracy_found = found["accuracy@final"]
    assert (accuracy_found.first, accuracy_found.second) == (87.5, 0.9)
    assert (accuracy_found.difference, accuracy_found.better) == (None, None)
    assert accuracy_found.method == "Not compared: one is in points, the other in fraction."
    assert found["loss@final"].difference == 0.0
