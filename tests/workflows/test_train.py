"""Training as a verb: the run directory, its capture, and its way into the archive."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from runkit.archive.workspace import Workspace
from runkit.engine.checkpoint import read_checkpoint
from runkit.engine.reporter import LinesReporter
from runkit.errors import AlreadyExists, TrainingStopped, UnknownName, UsageError
from runkit.ingest import own
from runkit.records.capture import CAPTURE_FILE, Resumption, RunCapture
from runkit.records.manifest import Manifest
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.train import TrainedRun, TrainRequest, resolve, resume, train
from tests.conftest import needs_torch

pytestmark = needs_torch

SHORT = (
    "train.steps=40",
    "train.pool_items=64",
    "train.batch_size=8",
    "train.eval_every_steps=20",
    "eval.dev_items=20",
    "eval.test_items=30",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, TrainedRun, Manifest]:
    workspace = Workspace(tmp_path_factory.mktemp("workspace"))
    request = TrainRequest(overrides=SHORT, run_id="short", argv=("runkit", "train"))
    run = train(workspace, request, reporter=LinesReporter(lambda _line: None))
    return workspace, run, preserve(workspace, PreserveRequest(run.folder))


def test_a_run_has_the_files_that_the_archive_expects(
    trained: tuple[Workspace, TrainedRun, Manifest],
) -> None:
    workspace, run, manifest = trained
    assert run.folder == workspace.runs / "short"
    kept = [file for file in manifest.sealed.artifacts if not file.path.startswith("code/")]
    changes = manifest.sealed.software.code.changes
    assert {file.path for file in manifest.sealed.artifacts} - {file.path for file in kept} == set(changes)
    assert {artifact.path: artifact.role for artifact in kept} == {
        "checkpoint/best.safetensors": "checkpoint",
        "checkpoint/last.safetensors": "checkpoint",
        "config.json": "config",
        "eval_samples_step_0.jsonl": "dump",
        "eval_samples_step_20.jsonl": "dump",
        "eval_samples_step_40.jsonl": "dump",
        "eval_samples_step_final.jsonl": "dump",
        "metrics.jsonl": "metrics",
        "run.json": "capture",
        "summary.log": "summary",
        "train.log": "log",
    }
    checkpoints = {file.sha256 for file in manifest.sealed.artifacts if file.role == "checkpoint"}
    assert len(checkpoints) == 2
    assert manifest.sealed.missing_artifacts == ()


def test_the_archive_recomputes_what_training_measured(
    trained: tuple[Workspace, TrainedRun, Manifest],
) -> None:
    _workspace, run, manifest = trained
    final = manifest.sealed.evaluation("final")
    assert final is not None
    recomputed = {score.system: (score.correct, score.wrong, score.invalid) for score in final.systems}
    measured = {system.removesuffix("_alone"): tuple(counts) for system, counts in run.result.final.items()}
    assert recomputed == measured
    assert (final.split, final.checkpoint, final.n, final.noise_draw) == ("test", "best", 30, 0)
    assert final.step == run.result.best_step


def test_steps_are_measured_on_dev_and_so_there_is_no_degradation(
    trained: tuple[Workspace, TrainedRun, Manifest],
) -> None:
    _workspace, _run, manifest = trained
    assert {(found.split, found.n) for found in manifest.sealed.evaluations[:-1]} == {("dev", 20)}
    degradation = manifest.sealed.metric("degradation")
    assert degradation is not None
    assert degradation.missing_because == "the peak is over dev items and the final accuracy over test items"


def test_the_capture_names_command_machine_and_software_and_no_absolute_path(
    trained: tuple[Workspace, TrainedRun, Manifest],
) -> None:
    workspace, run, manifest = trained
    text = (run.folder / "run.json").read_text()
    capture = RunCapture.parse(text, origin="run.json")
    assert capture.ended_at is not None
    assert capture.ended_at >= capture.started_at
    assert manifest.sealed.command.argv == ("runkit", "train")
    assert manifest.sealed.hardware.num_cpus
    assert "torch" in manifest.sealed.software.packages
    everything = "".join(
        path.read_text() for path in run.folder.rglob("*") if path.suffix in {".log", ".json", ".jsonl"}
    )
    assert str(workspace.root) not in everything


def test_the_duration_of_a_resumed_run_is_that_of_its_processes_and_unknown_when_one_was_killed(
    trained: tuple[Workspace, TrainedRun, Manifest], tmp_path: Path
) -> None:
    _workspace, run, _manifest = trained
    folder = shutil.copytree(run.folder, tmp_path / "short")
    text = (folder / CAPTURE_FILE).read_text()
    assert "resumptions" not in text
    capture = RunCapture.parse(text, origin=CAPTURE_FILE).model_copy(
        update={"started_at": "2026-01-01T10:00:00+00:00", "ended_at": "2026-01-03T10:00:07+00:00"}
    )
    for stopped_at, seconds in (("2026-01-01T10:00:05+00:00", 12.0), (None, None)):
        resumption = Resumption(
            resumed_at="2026-01-03T10:00:00+00:00",
            stopped_at=stopped_at,
            command=capture.command,
            hardware=capture.hardware,
            software=capture.software,
        )
        resumed = capture.model_copy(update={"resumptions": (resumption,)})
        (folder / CAPTURE_FILE).write_text(resumed.to_json())
        assert RunCapture.parse(resumed.to_json(), origin=CAPTURE_FILE) == resumed
        facts = own.READER.read(folder, run_id="short", directory_name="short").facts
        assert facts.duration_seconds == seconds


def test_the_configuration_digest_of_the_engine_is_the_archives(
    trained: tuple[Workspace, TrainedRun, Manifest],
) -> None:
    _workspace, run, manifest = trained
    assert manifest.sealed.configuration.effective_digest == run.result.config_digest
    assert json.loads(manifest.sealed.configuration.logged["train.steps"]) == 40


def test_a_loss_that_is_not_finite_keeps_the_best_weights_and_says_how_to_go_on(workspace: Workspace) -> None:
    request = TrainRequest(overrides=(*SHORT, "sampler.noise_std=1e39"), run_id="mine")
    with pytest.raises(TrainingStopped) as caught:
        train(workspace, request, reporter=LinesReporter(lambda _line: None))
    best = workspace.runs / "mine" / "checkpoint" / "best.safetensors"
    stopped, _semicolon, way_out = str(caught.value).partition("; training cannot go on; ")
    assert re.fullmatch(r"the \w+ term is (nan|inf) at step 1", stopped)
    assert way_out == (
        f"{best} keeps the best weights so far; --resume would stop at the same place, so train a new run "
        "with other settings (after a loss that is not finite: a smaller optim.learning_rate)"
    )
    assert read_checkpoint(best).step == 0
    with pytest.raises(TrainingStopped, match=f"^{re.escape(stopped)}; training cannot go on; "):
        resume(workspace, "mine", TrainRequest(), reporter=LinesReporter(lambda _line: None))


def test_an_existing_run_is_never_trained_over(workspace: Workspace) -> None:
    folder = workspace.runs / "mine"
    folder.mkdir(parents=True)
    with pytest.raises(AlreadyExists, match="name the new one with --run-id"):
        train(workspace, TrainRequest(run_id="mine"), reporter=LinesReporter(print))


def test_a_preset_and_a_file_together_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('preset = "pocket"\n')
    with pytest.raises(UsageError, match='let the file say preset = "pocket"'):
        resolve(TrainRequest(preset="pocket", config_file=path))
    with pytest.raises(UnknownName):
        resolve(TrainRequest(preset="nothing"))
    assert resolve(TrainRequest(config_file=path)).preset == "pocket"


def test_a_model_that_does_not_exist_leaves_no_run_behind(workspace: Workspace) -> None:
    missing = workspace.root / "models" / "none"
    request = TrainRequest(overrides=(*SHORT, f"pair.source={missing}"), run_id="mine")
    with pytest.raises(UnknownName, match=f"there is no model '{missing}'"):
        train(workspace, request, reporter=LinesReporter(lambda _line: None))
    assert list(workspace.runs.iterdir()) == []


class _Swallowing:
    """Sends Ctrl-C to this process from a destructor, where Python drops the interrupt, after step 3."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def start(self, total_steps: int) -> None:
        assert total_steps == 40

    def step(self, step: int, loss: float) -> None:
        self.steps.append(step)
        if step == 3:
            _Interrupting()  # gone at once

    def evaluation(self, step: str, split: str, accuracy_fractions: Mapping[str, float]) -> None:
        pass

    def note(self, text: str) -> None:
        pass


class _Interrupting:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_drops_ends_the_run_at_its_next_step(tmp_path: Path) -> None:
    workspace, reporter = Workspace(tmp_path), _Swallowing()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run without Ctrl-C
    try:
        with pytest.raises(TrainingStopped, match=r"^interrupted; "):
            train(workspace, TrainRequest(overrides=SHORT, run_id="mine"), reporter=reporter)
    finally:
        signal.signal(signal.SIGINT, before)
    assert reporter.steps == [1, 2, 3]
    log = (workspace.runs / "mine" / "train.log").read_text().splitlines()
    assert log[-1] == "[Interrupted] at step 4"
