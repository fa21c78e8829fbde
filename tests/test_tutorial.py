"""The tutorial holds as it is written: every block is run, in order, in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from runkit.ingest.sources.recorded import SOURCE

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = ROOT / "docs" / "tutorial-your-own-script.md"
_BLOCK = re.compile(r"^```(?P<kind>\w+)(?: (?P<file>\S+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One block of a tutorial."""

    kind: str
    file: str | None
    """Where the text belongs; None for commands."""
    text: str


def blocks(document: str) -> list[Block]:
    """Return the blocks that are files or commands, in order."""
    found = [Block(match["kind"], match["file"], match["text"]) for match in _BLOCK.finditer(document)]
    return [block for block in found if block.file is not None or block.kind == "bash"]


def follow(block: Block, folder: Path) -> str:
    """Do what *block* says in *folder*; return what a command prints."""
    if block.file is not None:
        path = folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        return ""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUNKIT_")}
    done = subprocess.run(
        ["bash", "-euc", block.text],
        cwd=folder,
        env={**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tutorial_runs_as_written(tmp_path: Path) -> None:
    printed = [follow(block, tmp_path) for block in blocks(TUTORIAL.read_text())]
    assert any(text.startswith('{"kind":"params","at":"') for text in printed)
    told = "\n".join(printed)
    assert "9 preserved, 0 refused" in told
    assert "9 runs read again: 0 errors, 0 warnings" in told
    for line in (
        "line_1 ablates cubic_1: degree: 3 -> 1",
        "decayed_1 ablates cubic_1: decay: 0 -> 0.1",
        "cubic_2 replicates cubic_1: only the seed differs (seed: 1 -> 2)",
        "8 relations proposed; nothing was noted",
    ):
        assert line in told
    assert "\\begin{tabular}" in printed[-1]
    runs = sorted((tmp_path / "runs").iterdir())
    assert [run.name for run in runs] == [
        f"{name}_{seed}" for name in ("cubic", "decayed", "line") for seed in (1, 2, 3)
    ]
    errors = {}
    for run in runs:
        found = SOURCE.read(run)
        (score,) = found.scores
        assert (found.notices, found.primary, len(found.items[0].items)) == ([], "test/error@final", 200)
        assert (score.metric.direction, score.evidence, score.n) == ("lower", "per_sample", 200)
        assert score.logged_value == pytest.approx(score.value, abs=1e-12)
        errors[run.name] = score.logged_value
    assert all(
        errors[f"cubic_{seed}"] < errors[f"{name}_{seed}"]
        for seed in (1, 2, 3)
        for name in ("line", "decayed")
    )
    assert len(set(errors.values())) == 9
