"""``eval``: a saved checkpoint measured again, compared with what training measured, and over noise draws."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, Literal

from runkit.archive.running import found_run, only_writer
from runkit.archive.workspace import Workspace
from runkit.archive.writing import write_atomically
from runkit.engine.arithmetic import settle
from runkit.engine.recorded import read_recorded
from runkit.errors import StorageFailed, UsageError
from runkit.stats.noise import NoiseFloor, noise_floor

if TYPE_CHECKING:
    from runkit.engine.reevaluate import BridgedItem, DrawnEvaluation


@dataclass(frozen=True)
class EvalRequest:
    """What the caller wants measured."""

    run: str
    """A run id or a folder under ``runs/`` or ``preserved_runs/``, which is only read."""
    checkpoint: Literal["best", "last"] = "best"
    split: Literal["dev", "test"] = "test"
    repeats: int = 1
    """Number of noise draws; the first is the one that training evaluated with."""


@dataclass(frozen=True)
class DrawCounts:
    """Three-way outcomes of the bridged system under one draw."""

    draw: int
    correct: int
    wrong: int
    invalid: int

    @property
    def total(self) -> int:
        """The number of items."""
        return self.correct + self.wrong + self.invalid

    @property
    def accuracy_fraction(self) -> float:
        """Correct over all, invalid ones included."""
        return self.correct / self.total


@dataclass(frozen=True)
class Comparison:
    """Draw 0 beside the run's own dump of the same checkpoint and split."""

    dump: str
    num_items: int
    """Items in either of them."""
    num_equal_outcomes: int
    num_equal_texts: int

    @property
    def is_equal(self) -> bool:
        """Whether every outcome is what training measured."""
        return self.num_equal_outcomes == self.num_items


@dataclass(frozen=True)
class Repeats:
    """How far draws differ from each other."""

    mean_accuracy_fraction: float
    sd_accuracy_fraction: float
    floor: NoiseFloor


@dataclass(frozen=True)
class Evaluated:
    """A checkpoint measured again."""

    run_id: str
    request: EvalRequest
    step: int
    draws: tuple[DrawCounts, ...]
    comparison: Comparison | None
    not_compared_because: str | None
    repeats: Repeats | None
    """None for a single draw."""
    folder: Path
    """Where the outcomes were written."""


def evaluate(workspace: Workspace, request: EvalRequest, *, note: Callable[[str], object]) -> Evaluated:
    """Measure the checkpoint that *request* names and write ``runs/<run_id>.eval-<checkpoint>-<split>/``.

    Raises:
        UnknownName: There is no such run.
        UsageError: No draw is asked for, or the engine is not installed.
        RunUnreadable: The checkpoint is missing or damaged, or models or problems have changed.
        AlreadyExists: Another process writes these results right now.
    """
    if request.repeats < 1:
        raise UsageError(f"--repeats is {request.repeats}; expected at least 1")
    run_dir = found_run(workspace, request.run, in_archive=True)
    recorded = read_recorded(run_dir)
    settle(recorded.config.compute.arithmetic)
    try:
        from runkit.engine.reevaluate import evaluate_again
    except ModuleNotFoundError as error:
        raise UsageError(
            f"evaluating needs the engine, and {error.name} is not installed; pip install 'runkit[engine]'"
        ) from error
    evaluations = tuple(
        evaluate_again(
            recorded.config,
            run_dir,
            role=request.checkpoint,
            split=request.split,
            num_draws=request.repeats,
            recorded=recorded.content,
            cache_dir=workspace.cache,
            note=note,
        )
    )
    step = evaluations[0].checkpoint_step
    compared = _compared(run_dir, request, step, evaluations[0].items)
    evaluated = Evaluated(
        run_id=run_dir.name,
        request=request,
        step=step,
        draws=tuple(_counts(one) for one in evaluations),
        comparison=compared if isinstance(compared, Comparison) else None,
        not_compared_because=compared if isinstance(compared, str) else None,
        repeats=_repeats(evaluations),
        folder=workspace.runs / f"{run_dir.name}.eval-{request.checkpoint}-{request.split}",
    )
    _write(evaluated, evaluations, config_digest=str(recorded.content["digest"]))
    return evaluated


def _compared(
    run_dir: Path, request: EvalRequest, step: int, items: Sequence[BridgedItem]
) -> Comparison | str:
    """Return draw 0 beside the run's own measurement, or why there is none."""
    from runkit.engine.reevaluate import dumped_items

    label = "final" if request.split == "test" else str(step)
    path = run_dir / f"eval_samples_step_{label}.jsonl"
    if not path.is_file():
        return f"{path.name} is not in the run"
    dumped = dumped_items(path, checkpoint_step=step)
    if dumped is None:
        return f"training did not measure the {request.checkpoint} checkpoint on {request.split}"
    now, before = ({one.item: one for one in found} for found in (items, dumped))
    both = [(now[item], before[item]) for item in now.keys() & before.keys()]
    return Comparison(
        dump=path.name,
        num_items=len(now.keys() | before.keys()),
        num_equal_outcomes=sum(
            (one.extracted, one.outcome) == (other.extracted, other.outcome) for one, other in both
        ),
        num_equal_texts=sum(one.text == other.text for one, other in both),
    )


def _counts(evaluation: DrawnEvaluation) -> DrawCounts:
    outcomes = [one.outcome for one in evaluation.items]
    counts = {kind: outcomes.count(kind) for kind in ("correct", "wrong", "invalid")}
    return DrawCounts(evaluation.draw, counts["correct"], counts["wrong"], counts["invalid"])


def _repeats(evaluations: Sequence[DrawnEvaluation]) -> Repeats | None:
    if len(evaluations) < 2:
        return None
    accuracies = [_counts(one).accuracy_fraction for one in evaluations]
    correct = [[item.outcome == "correct" for item in one.items] for one in evaluations]
    return Repeats(mean(accuracies), stdev(accuracies), noise_floor(correct))


def _write(evaluated: Evaluated, evaluations: Sequence[DrawnEvaluation], *, config_digest: str) -> None:
    """Write one file a draw and, last, the one that names them; draws of an earlier call go."""
    folder = evaluated.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFailed(f"cannot make {folder}: {error.strerror}") from error
    with only_writer(folder):
        for path in (folder / "evaluation.json", *folder.glob("outcomes_draw_*.jsonl")):
            path.unlink(missing_ok=True)
        for one in evaluations:
            rows = [{**item._asdict(), "noise_draw": one.draw} for item in one.items]
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_atomically(folder / f"outcomes_draw_{one.draw}.jsonl", text)
        text = json.dumps(_record(evaluated, config_digest), indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(folder / "evaluation.json", text + "\n")


def _record(evaluated: Evaluated, config_digest: str) -> dict[str, Any]:
    request, comparison, repeats = evaluated.request, evaluated.comparison, evaluated.repeats
    return {
        "format": 1,
        "run_id": evaluated.run_id,
        "config_digest": config_digest,
        "checkpoint": request.checkpoint,
        "step": evaluated.step,
        "split": request.split,
        "draws": [vars(draw) for draw in evaluated.draws],
        "comparison": vars(comparison) if comparison else None,
        "not_compared_because": evaluated.not_compared_because,
        "mean_accuracy_fraction": repeats.mean_accuracy_fraction if repeats else None,
        "sd_accuracy_fraction": repeats.sd_accuracy_fraction if repeats else None,
        "noise_floor": repeats.floor._asdict() if repeats else None,
    }
