"""``demo``: the whole line in a scratch workspace, by running the very commands that a user would type."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from runkit.engine.config import preset_notes
from runkit.errors import AlreadyExists, RunkitError, UsageError

CONTROL = "pocket"
ABLATIONS = ("pocket_mean_pool", "pocket_no_slots", "pocket_no_flow")
"""One ablation that loses much, one that loses some, and one that makes no difference."""
TABLE = "ablation"
_POLL_SECONDS = 0.25
_PATIENCE_SECONDS = 10
_STEP = re.compile(r"^Step (\d+)/(\d+) ", re.MULTILINE)
_EVALUATION = re.compile(r"^\[Eval\] Step \d+ .*Bridged acc: ([0-9.]+)", re.MULTILINE)


@dataclass(frozen=True)
class CommandStarts:
    """A command is about to run; its output goes straight to the terminal."""

    text: str


@dataclass(frozen=True)
class RunProgress:
    """How far one training run is."""

    run_id: str
    step: int
    total_steps: int | None
    """None before the first logged step."""
    accuracy_fraction: float | None
    """Bridged accuracy on dev at the latest evaluation."""
    is_running: bool


@dataclass(frozen=True)
class TrainingProgress:
    """How far all training runs are."""

    runs: tuple[RunProgress, ...]


@dataclass(frozen=True)
class DemoEnds:
    """The demo is over."""

    folder: Path
    files: tuple[Path, ...]
    """What a reader would open, relative to the folder."""
    seconds: float


DemoStep = CommandStarts | TrainingProgress | DemoEnds


def walk(folder: Path | None, settings: Sequence[str] = ()) -> Iterator[DemoStep]:
    """Walk the line, telling of each step before or while it is made.

    Args:
        settings: ``key=value`` settings on top of every preset.
        folder: A new folder; None for ``demo`` or the first free ``demo-2``, ``demo-3``, …
    Raises:
        AlreadyExists: *folder* has something in it.
        RunkitError: A command failed; with its own words.
        UsageError: The engine is not installed.
    """
    started = time.monotonic()
    if find_spec("torch") is None:
        raise UsageError("the demo trains, and torch is not installed; pip install 'runkit[engine]'")
    place = _new_folder(folder)
    presets = (CONTROL, *ABLATIONS)
    for preset in presets:
        yield CommandStarts(_typed(_train_arguments(preset, settings)))
    yield from _train_all(place, presets, settings)
    yield from _run(place, ["preserve", f"runs/{CONTROL}"])
    for preset in ABLATIONS:
        yield from _run(place, ["preserve", f"runs/{preset}", "--ablates", CONTROL])
    yield from _run(place, ["validate"])
    yield from _run(place, ["lineage"])
    _write_table_spec(place)
    pdf = ["--pdf"] if shutil.which("pdflatex") else []
    yield from _run(place, ["table", TABLE, *pdf])
    yield from _run(place, ["readme"])
    yield DemoEnds(place, _worth_opening(place), time.monotonic() - started)


def _new_folder(folder: Path | None) -> Path:
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise AlreadyExists(f"{folder} is not empty; name a new folder with --folder")
    number = 1
    place = folder or Path("demo")
    while folder is None and place.exists():
        number += 1
        place = Path(f"demo-{number}")
    (place / "paper_tables").mkdir(parents=True)
    return place


def _typed(arguments: Sequence[str]) -> str:
    return " ".join(["runkit", *arguments])


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "runkit", *arguments]


def _train_arguments(preset: str, settings: Sequence[str]) -> list[str]:
    return ["train", preset, "--run-id", preset, *(word for one in settings for word in ("--set", one))]


def _train_all(place: Path, presets: Sequence[str], settings: Sequence[str]) -> Iterator[TrainingProgress]:
    """Train all *presets*, as many at a time as there are cores; each uses one."""
    waiting, running = list(presets), dict[str, subprocess.Popen[str]]()
    try:
        while waiting or running:
            while waiting and len(running) < (os.cpu_count() or 1):
                preset = waiting.pop(0)
                running[preset] = subprocess.Popen(
                    _command(_train_arguments(preset, settings)),
                    cwd=place,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            time.sleep(_POLL_SECONDS)
            for preset in [name for name, process in running.items() if process.poll() is not None]:
                _check_ended(running.pop(preset))
            yield TrainingProgress(tuple(_progress(place, name, name in running) for name in presets))
    except KeyboardInterrupt:
        # The terminal has told the trainings too; each writes down where it stopped.
        for process in running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE_SECONDS)
        raise
    finally:
        for process in running.values():
            process.send_signal(signal.SIGINT)
            process.wait()


def _check_ended(process: subprocess.Popen[str]) -> None:
    _output, errors = process.communicate()
    if process.returncode:
        raise RunkitError(
            errors.strip().removeprefix("runkit: ") or f"training ended with {process.returncode}"
        )


def _progress(place: Path, run_id: str, is_running: bool) -> RunProgress:
    log = place / "runs" / run_id / "train.log"
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    steps, evaluations = _STEP.findall(text), _EVALUATION.findall(text)
    step, total = steps[-1] if steps else (0, None)
    return RunProgress(
        run_id=run_id,
        step=int(step),
        total_steps=int(total) if total is not None else None,
        accuracy_fraction=float(evaluations[-1]) if evaluations else None,
        is_running=is_running,
    )


def _run(place: Path, arguments: list[str]) -> Iterator[CommandStarts]:
    """Run one verb with its output on the terminal; findings are a result, not a failure."""
    yield CommandStarts(_typed(arguments))
    done = subprocess.run(_command(arguments), cwd=place, check=False)
    if done.returncode not in (0, 1):
        raise RunkitError(
            f"`{_typed(arguments)}` stopped with exit status {done.returncode}; its words are above"
        )


def _write_table_spec(place: Path) -> None:
    ablated = [preset_notes(name).ablates for name in ABLATIONS]
    factors = sorted({factor for found in ablated if found is not None for factor in found.factors})
    lines = [
        "format = 1",
        'caption = "Ablations of the bridge on the pocket pair."',
        'label = "tab:ablation"',
        f'control = "{CONTROL}"',
    ]
    for factor in factors:
        label = factor.rpartition(".")[2].replace("_", " ")
        lines += ["", "[[factors]]", f"key = {json.dumps(factor)}", f"label = {json.dumps(label)}"]
    for preset in (CONTROL, *ABLATIONS):
        lines += [
            "",
            "[[rows]]",
            f"run = {json.dumps(preset)}",
            f"label = {json.dumps(preset_notes(preset).title)}",
        ]
    (place / "paper_tables" / f"{TABLE}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _worth_opening(place: Path) -> tuple[Path, ...]:
    found = [*sorted((place / "paper_tables").iterdir()), place / "preserved_runs" / "README.md"]
    found += sorted((place / "manifests").glob("*.json"))
    return tuple(path for path in found if path.is_file())
