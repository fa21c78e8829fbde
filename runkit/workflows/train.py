"""``train``: a configuration becomes a run directory, with the surroundings captured beside it."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runkit.archive.capture import captured_command, captured_hardware, captured_software, now
from runkit.archive.heartbeat import heart_beating
from runkit.archive.processes import own_identity
from runkit.archive.running import found_run, only_writer
from runkit.archive.workspace import Workspace, checked_run_id
from runkit.archive.writing import write_atomically
from runkit.engine import config as configuration
from runkit.engine.recorded import assert_same, read_recorded
from runkit.engine.reporter import Reporter
from runkit.errors import AlreadyExists, RunUnreadable, StorageFailed, TrainingStopped, UsageError
from runkit.records.capture import CAPTURE_FILE, Resumption, RunCapture
from runkit.records.manifest import Command

if TYPE_CHECKING:
    from runkit.engine.train_run import TrainResult

DEFAULT_PRESET = "pocket"
BEST_FILE = "checkpoint/best.safetensors"
STATE_FILE = "checkpoint/state.safetensors"
"""What a run that stopped before its end goes on from."""


@dataclass(frozen=True)
class TrainRequest:
    """What the caller wants trained."""

    preset: str | None = None
    """None: :data:`DEFAULT_PRESET`, or what the file builds on."""
    config_file: Path | None = None
    overrides: Sequence[str] = ()
    """``key=value`` settings on top."""
    run_id: str | None = None
    """None: preset and start time."""
    argv: tuple[str, ...] = ()
    """The command as it was typed, for the capture."""


@dataclass(frozen=True)
class ResolvedRun:
    """A request with all names looked up; nothing is written yet."""

    config: configuration.TrainConfig
    preset: str | None
    run_id: str


@dataclass(frozen=True)
class TrainedRun:
    """A finished run and what it measured."""

    run_id: str
    folder: Path
    result: TrainResult


def resolve(request: TrainRequest) -> ResolvedRun:
    """Return the configuration that *request* asks for.

    Raises:
        UnknownName: A preset or a key does not exist; with the nearest name.
        RecordInvalid: A value is of the wrong kind.
        UsageError: Both a preset and a file are given.
    """
    if request.preset is not None and request.config_file is not None:
        raise UsageError(
            "a preset and --config were both given; let the file say preset = "
            f'"{request.preset}" in its first line instead'
        )
    if request.config_file is not None:
        preset = configuration.preset_named_by(request.config_file)
        config = configuration.read_config(request.config_file)
    else:
        preset = request.preset or DEFAULT_PRESET
        config = configuration.load_preset(preset)
    config = configuration.with_overrides(config, request.overrides)
    started = datetime.now().strftime("%Y%m%d_%H%M%S")
    stem = request.config_file.stem if request.config_file is not None else preset
    return ResolvedRun(config, preset, checked_run_id(request.run_id or f"{stem}_{started}"))


def train(workspace: Workspace, request: TrainRequest, *, reporter: Reporter) -> TrainedRun:
    """Train the run that *request* asks for and return what it measured.

    Raises:
        AlreadyExists: There is a run of that id.
        TrainingStopped: Training could not go on, or was interrupted; the run directory says where.
    """
    resolved = resolve(request)
    engine = _engine()
    folder = _new_folder(workspace, resolved.run_id)
    capture = _begun(folder, request.argv)
    try:
        with only_writer(folder), _captured(folder, capture):
            result = engine.train(
                resolved.config,
                folder,
                cache_dir=workspace.cache,
                reporter=reporter,
                run_id=resolved.run_id,
                preset=resolved.preset,
                given=_given(resolved),
            )
    except UsageError:
        # The call asked for what there is not, a model for example: this folder of ours holds no run.
        if not any(folder.glob("eval_samples_*")):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return TrainedRun(resolved.run_id, folder, result)


def resume(workspace: Workspace, run: str, request: TrainRequest, *, reporter: Reporter) -> TrainedRun:
    """Go on with *run*, which stopped before its end, and return what it measured.

    Args:
        run: A run id or a folder under ``runs/``.
        request: A configuration that it names has to be the run's own; it may name none.
    Raises:
        UnknownName: There is no such run.
        UsageError: It came to its end, stopped before its first evaluation, or *request* asks for something
            else.
        RunUnreadable: Its state is damaged.
        AlreadyExists: Another process trains it.
        TrainingStopped: As in :func:`train`.
    """
    folder = found_run(workspace, run, in_archive=False)
    with only_writer(folder):
        _assert_resumable(folder)
        recorded = read_recorded(folder)
        asked = _asked_of(recorded.config, request, run_id=folder.name)
        assert_same(recorded.config, asked, run_id=folder.name)
        engine = _engine()
        capture = _resumed(folder, request.argv)
        with _captured(folder, capture):
            result = engine.resume(
                recorded.config,
                folder,
                cache_dir=workspace.cache,
                reporter=reporter,
                run_id=folder.name,
                recorded=recorded.content,
            )
    return TrainedRun(folder.name, folder, result)


def _assert_resumable(folder: Path) -> None:
    if (folder / STATE_FILE).is_file():
        return
    if (folder / "summary.log").is_file():
        raise UsageError(f"run {folder.name!r} came to its end, there is nothing to resume")
    raise UsageError(
        f"run {folder.name!r} has no {STATE_FILE} to go on from: it stopped before its first evaluation was "
        "saved, or another program wrote it; train it anew"
    )


def _asked_of(
    recorded: configuration.TrainConfig, request: TrainRequest, *, run_id: str
) -> configuration.TrainConfig:
    """Return the configuration that *request* asks for, which is the recorded one where it names none."""
    if request.run_id is not None:
        raise UsageError(f"--run-id names a new run and --resume an old one, {run_id!r}; give one of them")
    if request.preset is None and request.config_file is None:
        return configuration.with_overrides(recorded, request.overrides)
    return resolve(request).config


@contextmanager
def _captured(folder: Path, capture: RunCapture) -> Iterator[None]:
    """Write the capture at the start and at the end, and let each end of training say how to go on."""
    _write_capture(folder, capture)
    try:
        with _sigterm_like_control_c(), heart_beating(folder):
            yield
    except KeyboardInterrupt as interrupt:
        raise TrainingStopped(
            f"interrupted; {folder} keeps what was measured so far and says where it stopped; "
            f"{_way_on(folder)}; `runkit preserve {folder}` archives it as truncated"
        ) from interrupt
    except TrainingStopped as stopped:
        raise TrainingStopped(f"{stopped}{_what_is_kept(folder)}") from stopped
    except StorageFailed as refused:
        raise StorageFailed(f"{refused}; make room for {folder}, then {_way_on(folder)}") from refused
    finally:
        with suppress(StorageFailed):
            _write_capture(folder, capture.model_copy(update={"ended_at": now()}))


def _way_on(folder: Path) -> str:
    if (folder / STATE_FILE).is_file():
        return f"`runkit train --resume {folder.name}` goes on from its last evaluation"
    return "train it anew: it has no evaluation to go on from"


def _what_is_kept(folder: Path) -> str:
    best = folder / BEST_FILE
    if not best.is_file():
        return ""
    return (
        f"; {best} keeps the best weights so far; --resume would stop at the same place, so train a new run "
        "with other settings (after a loss that is not finite: a smaller optim.learning_rate)"
    )


@contextmanager
def _sigterm_like_control_c() -> Iterator[None]:
    """Let SIGTERM, with which Slurm and systemd ask a process to end, stop training as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _given(resolved: ResolvedRun) -> configuration.Flat:
    """Return the settings that differ from the defaults of the schema."""
    defaults = configuration.flatten(configuration.TrainConfig())
    flat = configuration.flatten(resolved.config)
    return {key: value for key, value in flat.items() if defaults[key] != value}


class _Engine(NamedTuple):
    train: Callable[..., TrainResult]
    resume: Callable[..., TrainResult]


def _engine() -> _Engine:
    """Return the engine's entry points; only now is torch imported."""
    try:
        from runkit.engine.train_run import resume, train
    except ModuleNotFoundError as error:
        raise UsageError(
            f"training needs the engine, and {error.name} is not installed; pip install 'runkit[engine]'"
        ) from error
    return _Engine(train, resume)


def _new_folder(workspace: Workspace, run_id: str) -> Path:
    folder = workspace.runs / run_id
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise AlreadyExists(
            f"there is a run {run_id!r} already in {folder}; name the new one with --run-id"
        ) from error
    except OSError as error:
        raise StorageFailed(f"cannot make {folder}: {error.strerror}") from error
    return folder


def _begun(folder: Path, argv: tuple[str, ...]) -> RunCapture:
    return RunCapture(
        format=1,
        run_id=folder.name,
        started_at=now(),
        ended_at=None,
        command=_command(argv),
        hardware=captured_hardware(),
        software=captured_software(Path(configuration.__file__).parent, run_folder=folder),
        process=own_identity(),
    )


def _resumed(folder: Path, argv: tuple[str, ...]) -> RunCapture:
    """Return the run's capture with one more start."""
    path = folder / CAPTURE_FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise RunUnreadable(f"{CAPTURE_FILE} of {folder.name} cannot be read: {error.strerror}") from error
    capture = RunCapture.parse(text, origin=f"{CAPTURE_FILE} of {folder.name}")
    resumption = Resumption(
        resumed_at=now(),
        stopped_at=capture.ended_at,
        command=_command(argv),
        hardware=captured_hardware(),
        software=captured_software(Path(configuration.__file__).parent),
    )
    return capture.model_copy(
        update={
            "ended_at": None,
            "resumptions": (*capture.resumptions, resumption),
            "process": own_identity(),
        }
    )


def _command(argv: tuple[str, ...]) -> Command:
    return captured_command(argv, world_size=1)


def _write_capture(folder: Path, capture: RunCapture) -> None:
    write_atomically(folder / CAPTURE_FILE, capture.to_json())
