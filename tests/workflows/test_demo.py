"""The main job: one command walks the whole line in a scratch workspace, by commands that one could type."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import needs_torch

pytestmark = needs_torch

# Short, and yet long enough for the factors to show in the outputs; else RK406 rightly refuses the table.
SHORT = (
    "train.steps=100",
    "train.eval_every_steps=50",
    "train.pool_items=512",
    "eval.dev_items=60",
    "eval.test_items=60",
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("demo")
    settings = [word for one in SHORT for word in ("--set", one)]
    done = subprocess.run(
        [sys.executable, "-m", "runkit", "demo", *settings],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    return folder / "demo", done.stdout


def test_it_shows_every_command_in_the_order_of_the_line(demo: tuple[Path, str]) -> None:
    _folder, output = demo
    verbs = [line.split()[2] for line in output.splitlines() if line.startswith("$ runkit ")]
    assert verbs == ["train"] * 4 + ["preserve"] * 4 + ["validate", "lineage", "table", "readme"]


def test_it_leaves_what_it_names_and_nothing_outside_its_folder(demo: tuple[Path, str]) -> None:
    folder, output = demo
    named = [Path(line.strip()) for line in output.splitlines() if line.startswith("  demo/")]
    assert [path for path in named if not (folder.parent / path).is_file()] == []
    printed = {path.suffix for path in named if path.parent.name == "paper_tables"}
    assert printed >= {".toml", ".tex", ".md", ".json"}
    assert (".pdf" in printed) == (shutil.which("pdflatex") is not None)
    assert [path.name for path in folder.parent.iterdir()] == ["demo"]


def test_each_ablation_differs_from_the_control_in_one_factor(demo: tuple[Path, str]) -> None:
    _folder, output = demo
    differences = [line.strip() for line in output.splitlines() if "really differs" in line]
    assert differences == [
        'really differs: bridge.conditioning: "cross" -> "mean"',
        "really differs: loss.flow_weight: 0.1 -> 0",
        "really differs: bridge.slot_positions: true -> false",
    ]


def test_a_second_demo_takes_another_folder_and_a_folder_in_use_is_refused(demo: tuple[Path, str]) -> None:
    folder, _output = demo
    done = subprocess.run(
        [sys.executable, "-m", "runkit", "demo", "--folder", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        2,
        f"runkit: {folder} is not empty; name a new folder with --folder\n",
    )
