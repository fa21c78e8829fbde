"""``train``: a configuration becomes a run directory, with the surroundings captured beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from runkit.archive.capture import captured_hardware, captured_software, now, relevant_environment
from runkit.archive.workspace import Workspace, checked_run_id
from runkit.archive.writing import write_atomically
from runkit.engine import config as configuration
from runkit.engine.reporter import Reporter
from runkit.errors import AlreadyExists, StorageFailed, TrainingStopped, UsageError
from runkit.records.capture import CAPTURE_FILE, RunCapture
from runkit.records.manifest import Command

if TYPE_CHECKING:
    from runkit.engine.train_run import TrainResult

DEFAULT_PRESET = "pocket"


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
    train_run = _engine()
    folder = _new_folder(workspace, resolved.run_id)
    capture = _begun(resolved.run_id, request.argv)
    _write_capture(folder, capture)
    try:
        result = train_run(
            resolved.config,
            folder,
            cache_dir=workspace.cache,
            reporter=reporter,
            run_id=resolved.run_id,
            preset=resolved.preset,
            given=_given(resolved),
        )
    except KeyboardInterrupt as interrupt:
        raise TrainingStopped(
            f"interrupted; {folder} keeps what was measured so far and says where it stopped; "
            f"`runkit preserve {folder}` archives it as truncated"
        ) from interrupt
    finally:
        _write_capture(folder, capture.model_copy(update={"ended_at": now()}))
    return TrainedRun(resolved.run_id, folder, result)


def _given(resolved: ResolvedRun) -> configuration.Flat:
    """Return the settings that differ from the defaults of the schema."""
    defaults = configuration.flatten(configuration.TrainConfig())
    flat = configuration.flatten(resolved.config)
    return {key: value for key, value in flat.items() if defaults[key] != value}


def _engine() -> Callable[..., TrainResult]:
    """Return the engine's entry point; only now is torch imported."""
    try:
        from runkit.engine.train_run import train as train_run
    except ModuleNotFoundError as error:
        raise UsageError(
            f"training needs the engine, and {error.name} is not installed; pip install 'runkit[engine]'"
        ) from error
    return train_run


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


def _begun(run_id: str, argv: tuple[str, ...]) -> RunCapture:
    command = Command(
        argv=argv, launcher=None, world_size=1, environment=relevant_environment(), missing_because=None
    )
    return RunCapture(
        format=1,
        run_id=run_id,
        started_at=now(),
        ended_at=None,
        command=command,
        hardware=captured_hardware(),
        software=captured_software(Path(configuration.__file__).parent),
    )


def _write_capture(folder: Path, capture: RunCapture) -> None:
    write_atomically(folder / CAPTURE_FILE, capture.to_json())
