"""``train``: a configuration becomes a run directory, with the surroundings captured beside it.

A run has one process, or several that a launcher started and that all come here; rank 0 alone writes.
:func:`launch` starts them on one machine, trains nothing itself, and completes what a killed rank 0 left.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runkit.archive.capture import captured_command, captured_hardware, captured_software
from runkit.archive.clock import now
from runkit.archive.heartbeat import heart_beating
from runkit.archive.processes import own_identity
from runkit.archive.running import found_run, only_writer
from runkit.archive.workspace import Workspace, checked_run_id
from runkit.archive.writing import write_atomically
from runkit.engine import config as configuration
from runkit.engine.arithmetic import settle
from runkit.engine.launched import Launched, assert_shareable, launched
from runkit.engine.recorded import RecordedConfig, assert_same, read_recorded, with_what_was_chosen
from runkit.engine.reporter import Reporter, SilentReporter
from runkit.errors import (
    AlreadyExists,
    ProcessLost,
    RunkitError,
    RunUnreadable,
    StorageFailed,
    TrainingStopped,
    UsageError,
)
from runkit.records.capture import CAPTURE_FILE, Resumption, RunCapture
from runkit.records.manifest import Command, Hardware, RankDevice

if TYPE_CHECKING:
    from runkit.engine.launching import LaunchEnd
    from runkit.engine.train_run import TrainResult
    from runkit.engine.world import World

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
    launch: int | None = None
    """How many processes were asked for; None leaves it to the launcher that started this one, if any."""


@dataclass(frozen=True)
class ResolvedRun:
    """A request with all names looked up; nothing is written yet."""

    config: configuration.TrainConfig
    preset: str | None
    run_id: str
    automatic: Mapping[str, str]
    """Keys that were chosen for the caller, each with the value and the reason."""
    explained: tuple[str, ...]
    """A sentence for each value that is read as another."""


@dataclass(frozen=True)
class TrainedRun:
    """A finished run and what it measured."""

    run_id: str
    folder: Path
    result: TrainResult
    is_main: bool = True
    """Whether this process speaks for the run."""


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
    written = configuration.written_by(preset, request.config_file, request.overrides)
    decided = configuration.resolved(config, written)
    started = datetime.now().strftime("%Y%m%d_%H%M%S")
    stem = request.config_file.stem if request.config_file is not None else preset
    run_id = checked_run_id(request.run_id or f"{stem}_{started}")
    return ResolvedRun(decided.config, preset, run_id, decided.automatic, decided.explained)


def train(workspace: Workspace, request: TrainRequest, *, reporter: Reporter) -> TrainedRun:
    """Train the run that *request* asks for and return what it measured.

    Raises:
        AlreadyExists: There is a run of that id.
        TrainingStopped: Training could not go on, or was interrupted; the run directory says where.
        ProcessLost: Another process of the run ended.
    """
    resolved = resolve(request)
    config, place = resolved.config, _place(request)
    assert_can_share(config, processes=place.size)
    engine = _engine(config)
    with engine.joined(place) as world:
        folder = world.from_main(lambda: _new_folder(workspace, resolved.run_id))
        try:
            ranks = _ranks(engine, config, place, world)
            capture = _begun(folder, request.argv, place, ranks) if world.is_main else None
            with only_writer(folder) if world.is_main else nullcontext(), _captured(folder, capture) as asked:
                result = engine.train(
                    config,
                    folder,
                    cache_dir=workspace.cache,
                    reporter=_Heeding(reporter if world.is_main else SilentReporter(), asked),
                    run_id=folder.name,
                    preset=resolved.preset,
                    given=_given(resolved),
                    automatic=resolved.automatic,
                    explained=resolved.explained,
                    world=world,
                )
        except UsageError:
            # The call asked for what there is not, a model for example: this folder of ours holds no run.
            if world.is_main and not any(folder.glob("eval_samples_*")):
                shutil.rmtree(folder, ignore_errors=True)
            raise
    return TrainedRun(folder.name, folder, result, world.is_main)


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
        ProcessLost: As in :func:`train`.
    """
    place = _place(request)
    with ExitStack() as held:
        mine = _taken_up(workspace, run, request, held) if place.rank == 0 else None
        engine = _engine(read_recorded(found_run(workspace, run, in_archive=False)).config)
        world = held.enter_context(engine.joined(place))
        taken_up = world.from_main(lambda: mine)
        assert taken_up is not None, "rank 0 took it up"
        folder, recorded = taken_up
        config = recorded.config
        assert_can_share(config, processes=place.size)
        ranks = _ranks(engine, config, place, world)
        capture = _resumed(folder, request.argv, place, ranks) if world.is_main else None
        with _captured(folder, capture) as asked:
            result = engine.resume(
                config,
                folder,
                cache_dir=workspace.cache,
                reporter=_Heeding(reporter if world.is_main else SilentReporter(), asked),
                run_id=folder.name,
                recorded=recorded.content,
                world=world,
            )
    return TrainedRun(folder.name, folder, result, world.is_main)


def launch(workspace: Workspace, request: TrainRequest, *, resume_run: str | None) -> Path:
    """Train what *request* asks for with ``request.launch`` processes and return the run's folder.

    Args:
        resume_run: Go on with this run, as :func:`resume` does; None trains a new one.
    Raises:
        UsageError: The processes cannot share a batch; nothing was started.
        ProcessLost: One of them ended; the run says which and why.
        TrainingStopped: As in :func:`train`.
    """
    num_processes = request.launch
    assert num_processes is not None, "the number of processes is what launching is about"
    if resume_run is None:
        resolved = resolve(request)
        folder, config = workspace.runs / resolved.run_id, resolved.config
        if folder.exists():
            raise _exists(folder)
        request = replace(request, run_id=resolved.run_id)
    else:
        folder = found_run(workspace, resume_run, in_archive=False)
        assert_resumable(folder)
        config = read_recorded(folder).config
    assert_can_share(config, processes=num_processes)
    arguments = _arguments(workspace, request, resume_run)
    end = _launcher()(arguments, num_processes=num_processes)
    if end.kind == "interrupted":
        _complete(folder, "[Interrupted] rank 0 did not come to say at which step")
        raise TrainingStopped(interrupted(folder))
    if end.kind == "failed":
        lost = end.cause if end.cause.startswith("rank ") else f"rank {end.rank}: {end.cause}"
        _complete(folder, f"[Crash] {lost}")
        if end.rank == 0 and not end.is_killed:  # it said all there is to say
            raise TrainingStopped(end.cause)
        raise ProcessLost(f"{lost}; {way_on(folder)}" if folder.exists() else lost)
    return folder


def _arguments(workspace: Workspace, request: TrainRequest, resume_run: str | None) -> list[str]:
    """Return the command line of each process."""
    named = {
        "--config": request.config_file,
        "--run-id": request.run_id,
        "--resume": resume_run,
        "--launch": request.launch,
        "--workspace": workspace.root,
    }
    arguments = ["-m", "runkit", "train", *([request.preset] if request.preset else [])]
    arguments += [word for name, value in named.items() if value is not None for word in (name, str(value))]
    return [*arguments, *(word for setting in request.overrides for word in ("--set", setting))]


def _complete(folder: Path, line: str) -> None:
    """Let *line* end the log and the capture of a run whose rank 0 could not write its end itself."""
    with suppress(RunkitError), only_writer(folder):
        capture = read_capture(folder)
        if capture.ended_at is None:
            if (folder / "train.log").is_file():
                with (folder / "train.log").open("a", encoding="utf-8") as log, suppress(OSError):
                    log.write(line + "\n")
            write_capture(folder, capture.model_copy(update={"ended_at": now()}))


class _TakenUp(NamedTuple):
    folder: Path
    recorded: RecordedConfig


def _taken_up(workspace: Workspace, run: str, request: TrainRequest, held: ExitStack) -> _TakenUp:
    """Return the run that *request* goes on with, locked for as long as *held* is."""
    folder = found_run(workspace, run, in_archive=False)
    held.enter_context(only_writer(folder))
    assert_resumable(folder)
    recorded = read_recorded(folder)
    asked = _asked_of(recorded.config, request, run_id=folder.name)
    assert_same(recorded.config, with_what_was_chosen(asked, recorded), run_id=folder.name)
    return _TakenUp(folder, recorded)


def _place(request: TrainRequest) -> Launched:
    """Return this process's place among those of the run.

    Raises:
        UsageError: *request* names another number of processes than the launcher started.
    """
    place = launched()
    if request.launch not in (None, place.size):
        raise UsageError(
            f"--launch {request.launch} is asked of a process that is one of {place.size}; leave it out "
            "under torchrun or accelerate launch, or call `runkit train --launch` without them"
        )
    return place


def assert_can_share(config: configuration.TrainConfig, *, processes: int) -> None:
    """Do nothing if *processes* can share each batch of *config*.

    Raises:
        UsageError: They cannot.
    """
    steps = config.compute.gradient_accumulation_steps
    assert_shareable(batch_size=config.train.batch_size, processes=processes, accumulation_steps=steps)


def _ranks(
    engine: _Engine, config: configuration.TrainConfig, place: Launched, world: World
) -> tuple[RankDevice, ...]:
    """Return where each process computes; nothing for a process alone."""
    if world.size == 1:
        return ()
    here = RankDevice(
        rank=place.rank,
        local_rank=place.local_rank,
        host=socket.gethostname(),
        visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        gpu=engine.gpu_of(config, place),
    )
    return tuple(world.gathered(here))


def assert_resumable(folder: Path) -> None:
    """Do nothing if the run in *folder* stopped before its end and kept a state.

    Raises:
        UsageError: It did not.
    """
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
def _captured(folder: Path, capture: RunCapture | None) -> Iterator[threading.Event]:
    """Write the capture at the start and at the end, and let each end of training say how to go on.

    Gives what is set when somebody asks the run to end.

    Args:
        capture: None in a process that does not speak for the run.
    """
    if capture is None:
        with _asked_to_end() as asked:
            yield asked
        return
    write_capture(folder, capture)
    try:
        with _asked_to_end() as asked, heart_beating(folder):
            yield asked
    except KeyboardInterrupt as interrupt:
        raise TrainingStopped(interrupted(folder)) from interrupt
    except ProcessLost as lost:
        raise ProcessLost(f"{lost}; {way_on(folder)}") from lost
    except TrainingStopped as stopped:
        raise TrainingStopped(f"{stopped}{_what_is_kept(folder)}") from stopped
    except StorageFailed as refused:
        raise StorageFailed(f"{refused}; make room for {folder}, then {way_on(folder)}") from refused
    finally:
        with suppress(StorageFailed):
            write_capture(folder, capture.model_copy(update={"ended_at": now()}))


def interrupted(folder: Path) -> str:
    """Return what a person who interrupted the run in *folder* wants to know."""
    return (
        f"interrupted; {folder} keeps what was measured so far and says where it stopped; "
        f"{way_on(folder)}; `runkit preserve {folder}` archives it as truncated"
    )


def way_on(folder: Path) -> str:
    """Return how the run in *folder* can go on."""
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
def _asked_to_end() -> Iterator[threading.Event]:
    """Let Ctrl-C stop training, and SIGTERM, with which Slurm and systemd ask a process to end, like it.

    Python drops an interrupt that falls into a destructor or a callback, so it is also written down.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def stop(_number: int, _frame: object) -> None:
        asked.set()
        raise KeyboardInterrupt

    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, stop)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody chose to ignore it
        before[signal.SIGINT] = signal.signal(signal.SIGINT, stop)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class _Heeding:
    """A reporter at whose next step a run ends that was asked to."""

    reporter: Reporter
    asked: threading.Event

    def start(self, total_steps: int) -> None:
        self.reporter.start(total_steps)

    def step(self, step: int, loss: float) -> None:
        if self.asked.is_set():
            raise KeyboardInterrupt
        self.reporter.step(step, loss)

    def evaluation(self, step: str, split: str, accuracy_fractions: Mapping[str, float]) -> None:
        self.reporter.evaluation(step, split, accuracy_fractions)

    def note(self, text: str) -> None:
        self.reporter.note(text)


def _given(resolved: ResolvedRun) -> configuration.Flat:
    """Return the settings that differ from the defaults of the schema."""
    defaults = configuration.flatten(configuration.TrainConfig())
    flat = configuration.flatten(resolved.config)
    return {key: value for key, value in flat.items() if defaults[key] != value}


class _Engine(NamedTuple):
    train: Callable[..., TrainResult]
    resume: Callable[..., TrainResult]
    joined: Callable[[Launched], AbstractContextManager[World]]
    gpu_of: Callable[[configuration.TrainConfig, Launched], str | None]


def _engine(config: configuration.TrainConfig) -> _Engine:
    """Return the engine's entry points; only now is torch imported, to compute as *config* says."""
    settle(config.compute.arithmetic)
    try:
        from runkit.engine.preparation import gpu_of
        from runkit.engine.train_run import resume, train
        from runkit.engine.world import joined
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    return _Engine(train, resume, joined, gpu_of)


def _launcher() -> Callable[..., LaunchEnd]:
    try:
        from runkit.engine.launching import launch
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    return launch


def _not_installed(error: ModuleNotFoundError) -> UsageError:
    return UsageError(
        f"training needs the engine, and {error.name} is not installed; pip install 'runkit[engine]'"
    )


def _exists(folder: Path) -> AlreadyExists:
    return AlreadyExists(
        f"there is a run {folder.name!r} already in {folder}; name the new one with --run-id"
    )


def _new_folder(workspace: Workspace, run_id: str) -> Path:
    folder = workspace.runs / run_id
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise _exists(folder) from error
    except OSError as error:
        raise StorageFailed(f"cannot make {folder}: {error.strerror}") from error
    return folder


def _begun(folder: Path, argv: tuple[str, ...], place: Launched, ranks: tuple[RankDevice, ...]) -> RunCapture:
    return RunCapture(
        format=1,
        run_id=folder.name,
        started_at=now(),
        ended_at=None,
        command=_command(argv, place),
        hardware=_hardware(ranks),
        software=captured_software(Path(configuration.__file__).parent, run_folder=folder),
        process=own_identity(),
    )


def _resumed(
    folder: Path, argv: tuple[str, ...], place: Launched, ranks: tuple[RankDevice, ...]
) -> RunCapture:
    """Return the run's capture with one more start."""
    capture = read_capture(folder)
    resumption = Resumption(
        resumed_at=now(),
        stopped_at=capture.ended_at,
        command=_command(argv, place),
        hardware=_hardware(ranks),
        software=captured_software(Path(configuration.__file__).parent),
    )
    return capture.model_copy(
        update={
            "ended_at": None,
            "resumptions": (*capture.resumptions, resumption),
            "process": own_identity(),
        }
    )


def read_capture(folder: Path) -> RunCapture:
    """Return what the run in *folder* says of its surroundings.

    Raises:
        RunUnreadable: It cannot be read.
        RecordInvalid: It is damaged.
    """
    path = folder / CAPTURE_FILE
    try:
        text = path.read_bytes()
    except OSError as error:
        raise RunUnreadable(f"{CAPTURE_FILE} of {folder.name} cannot be read: {error.strerror}") from error
    return RunCapture.parse(text, origin=f"{CAPTURE_FILE} of {folder.name}")


def _hardware(ranks: tuple[RankDevice, ...]) -> Hardware:
    return captured_hardware().model_copy(update={"ranks": ranks})


def _command(argv: tuple[str, ...], place: Launched) -> Command:
    return captured_command(argv, world_size=place.size)


def write_capture(folder: Path, capture: RunCapture) -> None:
    """Write the run's capture, replacing the one before."""
    write_atomically(folder / CAPTURE_FILE, capture.to_json())
