"""The verbs that train and measure: train, eval, and demo, which walks the whole line in a scratch folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

import typer

from runkit.cli.options import WorkspaceFolder, opened
from runkit.cli.output import console
from runkit.errors import RunkitError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from runkit.archive.workspace import Workspace
    from runkit.engine.reporter import Reporter
    from runkit.workflows.demo import DemoEnds, RunProgress, TrainingProgress
    from runkit.workflows.evaluate import Evaluated
    from runkit.workflows.train import TrainedRun, TrainRequest


def register(app: typer.Typer) -> None:
    """Add the verbs to *app*."""
    app.command()(train)
    app.command("eval")(evaluate)
    app.command()(demo)


def train(
    preset: Annotated[
        str | None, typer.Argument(help="Preset; default: pocket. --presets lists them.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help='TOML file; may build on a preset with preset = "pocket".')
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override one setting.", metavar="KEY=VALUE")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="Name of the run; default: preset and start time.")
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option("--resume", help="Go on with this run, which stopped before its end.", metavar="RUN"),
    ] = None,
    launch: Annotated[
        int | None,
        typer.Option("--launch", help="Train with this many processes of this machine.", metavar="N", min=1),
    ] = None,
    presets: Annotated[bool, typer.Option("--presets", help="List the presets and stop.")] = False,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Train a bridge and write runs/RUN_ID/.

    Without arguments: the pocket pair, about a minute on two cores. Batches do not depend on the number of
    processes; --launch, torchrun and accelerate launch all start them.
    """
    from runkit.engine.launched import launched
    from runkit.workflows.train import TrainRequest

    if presets:
        _print_presets()
        return
    request = TrainRequest(
        preset=preset,
        config_file=config,
        overrides=tuple(settings or ()),
        run_id=run_id,
        argv=("runkit", *sys.argv[1:]),
        launch=launch,
    )
    place, space = launched(), opened(workspace)
    if place.launcher is not None:
        with _heard_by_the_launcher(is_quiet=place.rank > 0 or launch is not None):
            _train_and_print(space, request, resume, is_main=place.rank == 0)
    elif launch is not None:
        from runkit.workflows.train import launch as launch_processes

        launch_processes(space, request, resume_run=resume)
    else:
        _train_and_print(space, request, resume, is_main=True)


@contextmanager
def _heard_by_the_launcher(*, is_quiet: bool) -> Iterator[None]:
    """Tell the launcher why this process ends, and nobody else where another process speaks for the run."""
    from runkit.engine.launched import tell_launcher

    try:
        yield
    except Exception as error:
        tell_launcher(error)
        if is_quiet and isinstance(error, RunkitError):
            raise typer.Exit(2) from error
        raise
    except KeyboardInterrupt:
        if is_quiet:
            raise typer.Exit(2) from None
        raise


def _train_and_print(space: Workspace, request: TrainRequest, resume: str | None, *, is_main: bool) -> None:
    if is_main and sys.stdout.isatty():
        with BarReporter() as bar:
            trained = _train(space, request, resume, bar)
    else:
        trained = _train(space, request, resume, _lines())
    if trained.is_main:
        _print_trained(trained)


def _train(space: Workspace, request: TrainRequest, resume: str | None, reporter: Reporter) -> TrainedRun:
    from runkit.workflows import train as workflow

    if resume is None:
        return workflow.train(space, request, reporter=reporter)
    return workflow.resume(space, resume, request, reporter=reporter)


def evaluate(
    run: Annotated[str, typer.Argument(help="Run id, or a folder under runs/ or preserved_runs/.")],
    checkpoint: Annotated[
        Literal["best", "last"],
        typer.Option(help="The checkpoint selected on dev, or that of the last step."),
    ] = "best",
    split: Annotated[Literal["dev", "test"], typer.Option(help="The problems.")] = "test",
    repeats: Annotated[int, typer.Option(help="Noise draws; draw 0 is the one of training.", min=1)] = 1,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Measure a saved checkpoint again.

    The run is only read; outcomes go to runs/RUN.eval-CHECKPOINT-SPLIT/. Exit status 1 when draw 0 differs
    from what training measured.
    """
    from runkit.workflows.evaluate import EvalRequest
    from runkit.workflows.evaluate import evaluate as evaluate_run

    request = EvalRequest(run, checkpoint, split, repeats)
    evaluated = evaluate_run(opened(workspace), request, note=lambda line: print(line, flush=True))
    _print_evaluated(evaluated)
    if evaluated.comparison is not None and not evaluated.comparison.is_equal:
        raise typer.Exit(1)


def demo(
    folder: Annotated[
        Path | None, typer.Option(help="New folder for the scratch workspace; default: demo.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override one setting of every run.", metavar="KEY=VALUE"),
    ] = None,
) -> None:
    """Walk the whole line in a scratch workspace.

    Trains a control and ablations on the embedded models, preserves and checks them, prints table and
    README. A few minutes on two cores.
    """
    from runkit.workflows.demo import CommandStarts, DemoEnds, TrainingProgress, walk

    with DemoProgress() as shown:
        for step in walk(folder, tuple(settings or ())):
            if isinstance(step, TrainingProgress):
                shown.update(step)
                continue
            shown.close()
            if isinstance(step, CommandStarts):
                print(f"\n$ {step.text}", flush=True)
            elif isinstance(step, DemoEnds):
                _print_demo_end(step)


class BarReporter:
    """Progress as a bar on a terminal, with evaluations above it."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress: Progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console(),
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def start(self, total_steps: int) -> None:
        """Show the bar."""
        self._task = self._progress.add_task("training", total=total_steps)

    def step(self, step: int, loss: float) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=step, description=f"loss {loss:.3f}")

    def evaluation(self, step: str, split: str, accuracy_fractions: Mapping[str, float]) -> None:
        """Print the accuracies above the bar."""
        shown = "  ".join(f"{system} {accuracy:.3f}" for system, accuracy in accuracy_fractions.items())
        self._progress.console.print(f"step {step:>5}  {split:<4}  {shown}", markup=False, highlight=False)

    def note(self, text: str) -> None:
        """Leave it to the log."""


def _lines() -> Reporter:
    from runkit.engine.reporter import LinesReporter

    return LinesReporter(lambda line: print(line, flush=True))


def _print_presets() -> None:
    from runkit.engine.config import preset_names, preset_notes

    for name in preset_names():
        notes = preset_notes(name)
        factors = f"  [{', '.join(notes.ablates.factors)}]" if notes.ablates else ""
        print(f"{name:<20} {notes.title}{factors}")


def _print_trained(trained: TrainedRun) -> None:
    from runkit.stats.proportions import wilson_interval

    result = trained.result
    early = ", stopped early" if result.stopped_early else ""
    print(
        f"trained {trained.run_id}: {result.steps} steps{early}, {result.num_parameters:,} parameters; "
        f"best on dev at step {result.best_step} ({result.best_dev.correct}/{result.best_dev.total})"
    )
    for system, counts in result.final.items():
        interval = wilson_interval(counts.correct, counts.total)
        print(
            f"  {system:<16} {counts.correct / counts.total:.3f}  {counts.correct}/{counts.total}  "
            f"95% [{interval.low:.3f}, {interval.high:.3f}]  invalid {counts.invalid}"
        )
    print(f"next: runkit preserve {trained.folder}")


def _print_evaluated(evaluated: Evaluated) -> None:
    from runkit.stats.proportions import wilson_interval

    request, comparison, repeats = evaluated.request, evaluated.comparison, evaluated.repeats
    print(
        f"{evaluated.run_id}: {request.checkpoint} checkpoint, step {evaluated.step}, "
        f"bridged on {evaluated.draws[0].total} {request.split} items"
    )
    for draw in evaluated.draws:
        interval = wilson_interval(draw.correct, draw.total)
        print(
            f"  draw {draw.draw}  {draw.accuracy_fraction:.3f}  {draw.correct}/{draw.total}  "
            f"95% [{interval.low:.3f}, {interval.high:.3f}]  invalid {draw.invalid}"
        )
    if comparison is None:
        print(f"draw 0 is not compared: {evaluated.not_compared_because}")
    else:
        verdict = "is equal to" if comparison.is_equal else "differs from"
        of = "the final evaluation" if request.split == "test" else f"the evaluation at step {evaluated.step}"
        print(
            f"draw 0 {verdict} {of}: {comparison.num_equal_outcomes} of {comparison.num_items} outcomes, "
            f"{comparison.num_equal_texts} of {comparison.num_items} texts"
        )
    if repeats is not None:
        print(
            f"over {repeats.floor.num_runs} draws: mean {repeats.mean_accuracy_fraction:.4f}, "
            f"sd {repeats.sd_accuracy_fraction:.4f}; an outcome flips between two draws at a rate of "
            f"{repeats.floor.flip_rate:.4f}; noise floor {100 * repeats.floor.floor_fraction:.1f} points "
            "(95% of pairs of draws differ by less)"
        )
    print(f"written: {evaluated.folder}")


class DemoProgress:
    """A bar a training run on a terminal; a line an evaluation elsewhere."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._told: dict[str, RunProgress] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def update(self, progress: TrainingProgress) -> None:
        """Show where all runs are."""
        for run in progress.runs:
            if sys.stdout.isatty():
                self._move_bar(run)
            elif run != self._told.get(run.run_id) and run.total_steps is not None:
                self._tell(run)
            self._told[run.run_id] = run

    def close(self) -> None:
        """Leave the bars as they are and go on below them."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _move_bar(self, run: RunProgress) -> None:
        if self._progress is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            self._progress = Progress(
                TextColumn("{task.description:<44}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                console=console(),
            )
            self._progress.start()
        if run.run_id not in self._tasks:
            self._tasks[run.run_id] = self._progress.add_task(run.run_id, total=None)
        self._progress.update(
            self._tasks[run.run_id], description=_described(run), completed=run.step, total=run.total_steps
        )

    def _tell(self, run: RunProgress) -> None:
        before = self._told.get(run.run_id)
        if before is None or before.accuracy_fraction != run.accuracy_fraction:
            print(f"  step {run.step}/{run.total_steps}  {_described(run)}", flush=True)


def _described(run: RunProgress) -> str:
    accuracy = "" if run.accuracy_fraction is None else f"  dev accuracy {run.accuracy_fraction:.3f}"
    return f"{run.run_id}{accuracy}"


def _print_demo_end(end: DemoEnds) -> None:
    print(f"\nThe whole line took {end.seconds:.0f} s. Worth opening:")
    for path in end.files:
        print(f"  {path}")
    print(f"Try next: {sys.argv[0]} lineage --workspace {end.folder}")
