"""The training log as facts with line numbers. Unknown lines are counted and never guessed at.

Lines are counted by line feeds. Progress bars put carriage returns inside a line; each piece between
them is read on its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_CONFIG_HEADER = re.compile(r"==== Config ====$")
_SETTING = re.compile(r"([a-z][a-z0-9_.]*): (.*)$")
_SCORES = (
    r"Source-alone acc: (?P<source>[0-9.]+) \| Target-alone acc: (?P<target>[0-9.]+) "
    r"\| Bridged acc: (?P<bridged>[0-9.]+)"
)
_STEP_EVALUATION = re.compile(rf"\[Eval\] Step (?P<step>\d+) \| {_SCORES}")
_FINAL_EVALUATION = re.compile(rf"\[Final Eval\] {_SCORES}")
_STOPPED_EARLY = re.compile(r"\[Early Stop\] Stopping early at step (?P<step>\d+)")
_PATIENCE = re.compile(r"\[Early Stop\] (New best|No improvement)")
_TRAINING_STEP = re.compile(
    r"Step (?P<step>\d+)/(?P<planned>\d+) \| Loss \(avg over last \d+\): (?P<loss>\S+)"
)
_WORLD_SIZE = re.compile(r"World size: (?P<size>\d+)")
_GPU = re.compile(r"(?:\[Rank \d+\]|) *GPU (?P<index>\d+)(?: available)?: (?P<name>[^\[]+)")
_SAVED = re.compile(
    r"(?:Saved BEST translator \(acc=[0-9.]+\) to |\[Checkpoint\] Saved \w+ \([^)]*\) to )(?P<path>\S.*)$"
)
_DUMPED = re.compile(r"\[Eval\] Saved sample outputs to (?P<path>\S.*)$")
_NO_SAMPLES = re.compile(r".*sample_records empty")
_CRASH = re.compile(
    r"Traceback \(most recent call last\)|.*\bOutOfMemoryError\b|.*CUDA out of memory|\[Crash\]"
    r"|slurmstepd: error|srun: error|.*\bNCCL error\b|Killed$|Segmentation fault"
)
_INTERRUPTED = re.compile(r"\[Interrupted\]")
_RESUMED = re.compile(r"\[Resumed\] from step \d+")


@dataclass(frozen=True)
class LoggedEvaluation:
    """The accuracies on one ``[Eval]`` or ``[Final Eval]`` line."""

    label: str
    line: int
    accuracies: dict[str, float]


@dataclass(frozen=True)
class LoggedPath:
    """A file that the log says was written."""

    path: str
    line: int


@dataclass(frozen=True)
class TrainLog:
    """What a training log says, every fact with its line."""

    num_lines: int
    num_lines_understood: int
    settings: dict[str, str]
    """The configuration block, as text."""
    settings_line: int | None
    evaluations: tuple[LoggedEvaluation, ...]
    stopped_early_line: int | None
    stopped_early_step: int | None
    planned_steps: int | None
    steps: tuple[int, ...]
    losses: tuple[float | None, ...]
    """Logged loss at each of :attr:`steps`; None where it is no finite number."""
    last_step_line: int | None
    world_size: int | None
    world_size_line: int | None
    gpus: dict[int, str]
    """Index to name, over all ranks."""
    gpu_line: int | None
    checkpoints: tuple[LoggedPath, ...]
    dumps: tuple[LoggedPath, ...]
    no_samples_line: int | None
    crash_line: int | None
    interrupted_line: int | None

    def evaluation(self, label: str) -> LoggedEvaluation | None:
        """Return what the log says of the evaluation *label*; the last word when it is there twice."""
        return next((found for found in reversed(self.evaluations) if found.label == label), None)


@dataclass
class _Reading:
    """The facts gathered so far, line by line."""

    understood: set[int] = field(default_factory=set)
    evaluations: list[LoggedEvaluation] = field(default_factory=list)
    steps: list[tuple[int, str, int]] = field(default_factory=list)
    planned_steps: int | None = None
    stopped_early: tuple[int, int] | None = None
    world_size: tuple[int, int] | None = None
    gpus: dict[int, str] = field(default_factory=dict)
    gpu_line: int | None = None
    checkpoints: list[LoggedPath] = field(default_factory=list)
    dumps: list[LoggedPath] = field(default_factory=list)
    no_samples_line: int | None = None
    crash_line: int | None = None
    interrupted_line: int | None = None

    def read_all(self, pieces: Iterator[str], line: int) -> bool:
        """Take in all pieces of one line; return whether the form of any of them is known."""
        return sum(self.read(piece, line) for piece in pieces) > 0

    def read(self, piece: str, line: int) -> bool:
        """Take in one piece of text; return whether its form is known."""
        if found := _TRAINING_STEP.match(piece):
            self.steps.append((int(found["step"]), found["loss"], line))
            self.planned_steps = int(found["planned"])
        elif found := _STEP_EVALUATION.match(piece):
            self.evaluations.append(LoggedEvaluation(found["step"], line, _accuracies(found)))
        elif found := _FINAL_EVALUATION.match(piece):
            self.evaluations.append(LoggedEvaluation("final", line, _accuracies(found)))
        elif found := _STOPPED_EARLY.match(piece):
            self.stopped_early = (line, int(found["step"]))
        elif found := _WORLD_SIZE.match(piece):
            self.world_size = self.world_size or (int(found["size"]), line)
        elif found := _GPU.match(piece):
            self.gpus.setdefault(int(found["index"]), found["name"].strip())
            self.gpu_line = self.gpu_line or line
        elif found := _SAVED.match(piece):
            self.checkpoints.append(LoggedPath(found["path"].strip(), line))
        elif found := _DUMPED.match(piece):
            self.dumps.append(LoggedPath(found["path"].strip(), line))
        elif _NO_SAMPLES.match(piece):
            self.no_samples_line = line
        elif _CRASH.match(piece):
            self.crash_line = self.crash_line or line
        elif _INTERRUPTED.match(piece):
            self.interrupted_line = line
        else:
            return bool(_PATIENCE.match(piece) or _RESUMED.match(piece))
        return True


def read_train_log(text: str) -> TrainLog:
    """Return the facts in *text*, the whole log decoded with replacement characters where it is torn."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    settings, settings_line, settings_lines = _settings(lines)
    reading = _Reading()
    reading.understood |= settings_lines
    for number, line in enumerate(lines, start=1):
        if number not in settings_lines and reading.read_all(_pieces(line), number):
            reading.understood.add(number)
    stopped_line, stopped_step = reading.stopped_early or (None, None)
    world_size, world_size_line = reading.world_size or (None, None)
    return TrainLog(
        num_lines=len(lines),
        num_lines_understood=len(reading.understood),
        settings=settings,
        settings_line=settings_line,
        evaluations=tuple(reading.evaluations),
        stopped_early_line=stopped_line,
        stopped_early_step=stopped_step,
        planned_steps=reading.planned_steps,
        steps=tuple(step for step, _loss, _line in reading.steps),
        losses=tuple(_finite(loss) for _step, loss, _line in reading.steps),
        last_step_line=reading.steps[-1][2] if reading.steps else None,
        world_size=world_size,
        world_size_line=world_size_line,
        gpus=dict(sorted(reading.gpus.items())),
        gpu_line=reading.gpu_line,
        checkpoints=tuple(reading.checkpoints),
        dumps=tuple(reading.dumps),
        no_samples_line=reading.no_samples_line,
        crash_line=reading.crash_line,
        interrupted_line=reading.interrupted_line,
    )


def _pieces(line: str) -> Iterator[str]:
    return (piece for piece in line.split("\r") if piece)


def _settings(lines: list[str]) -> tuple[dict[str, str], int | None, set[int]]:
    """Return the configuration block: settings, the header's line, and all lines that belong to it.

    Other programs' warnings may stand inside the block; it ends at the next ``====`` heading, or at an
    empty line that no further settings follow.
    """
    header = next((index for index, line in enumerate(lines) if _CONFIG_HEADER.match(line)), None)
    if header is None:
        return {}, None, set()
    settings: dict[str, str] = {}
    taken = {header + 1}
    for index in range(header + 1, len(lines)):
        line = lines[index]
        if line.startswith("====") or (not line.strip() and not _settings_follow(lines, index)):
            break
        if found := _SETTING.match(line):
            settings[found[1]] = found[2].strip()
            taken.add(index + 1)
    return settings, header + 1, taken


def _settings_follow(lines: list[str], index: int) -> bool:
    for line in lines[index + 1 : index + 4]:
        if line.startswith("===="):
            return False
        if _SETTING.match(line):
            return True
    return False


def _accuracies(found: re.Match[str]) -> dict[str, float]:
    return {system: float(found[system]) for system in ("source", "target", "bridged")}


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value - value == 0 else None
