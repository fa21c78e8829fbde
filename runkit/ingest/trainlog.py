"""The training log as facts with line numbers. Unknown lines are counted and never guessed at.

Lines are counted by line feeds. Progress bars put carriage returns inside a line; each piece between
them is read on its own. A last line without a line feed may have been cut anywhere, so a value that
touches the end of the text is not claimed: ``acc: 0.6`` may have been ``0.645``.

When a log has more than one configuration block, the run was started again into the same file; settings,
steps and evaluations are those of the last start, and the lines before it are kept and not interpreted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

_CONFIG_HEADER = re.compile(r"==== Config ====\s*$")
_SETTING = re.compile(r"([a-z][a-z0-9_.]*): (.*)$")
_COUNT = r"[0-9]{1,15}(?![0-9])"
"""Longer ones are no count of steps; they stand in outputs of models."""
_ACCURACY = r"(?:0(?:\.[0-9]{1,17})?|1(?:\.0{1,17})?)(?!\S)"
"""A fraction as Python prints it; what is above 1 is no accuracy."""
_SCORES = (
    rf"Source-alone acc: (?P<source>{_ACCURACY}) \| Target-alone acc: (?P<target>{_ACCURACY})"
    rf"(?: \| Bridged acc: (?P<bridged>{_ACCURACY}))?"
)
_STEP_EVALUATION = re.compile(rf"\[Eval\] Step (?P<step>{_COUNT}) \| {_SCORES}")
_FINAL_EVALUATION = re.compile(rf"\[Final Eval\] {_SCORES}")
_STOPPED_EARLY = re.compile(rf"\[Early Stop\] Stopping early at step (?P<step>{_COUNT})")
_PATIENCE = re.compile(r"\[Early Stop\] (New best|No improvement)")
_TRAINING_STEP = re.compile(
    rf"Step (?P<step>{_COUNT})/(?P<planned>{_COUNT}) \| Loss \(avg over last \d+\): (?P<loss>\S+)"
)
_WORLD_SIZE = re.compile(r"World size: (?P<size>[1-9][0-9]{0,6})(?![0-9])")
_GPU = re.compile(r"(?:\[Rank \d+\]|) *GPU (?P<index>[0-9]{1,4})(?: available)?: (?P<name>\w[^\[]*)")
_SAVED = re.compile(
    r"(?:Saved BEST translator \(acc=[0-9.]+\) to |\[Checkpoint\] Saved \w+ \([^)]*\) to )(?P<path>\S.*)$"
)
_DUMPED = re.compile(r"\[Eval\] Saved sample outputs to (?P<path>\S.*)$")
_NO_SAMPLES = re.compile(r"(?:\[[^\]]*\] ?)?.{0,40}\bsample_records empty")
_CRASH = re.compile(
    r"(?:\[(?:rank|Rank )\d+\]: ?)?(?:Traceback \(most recent call last\)|.*\bOutOfMemoryError\b"
    r"|.*CUDA out of memory|\[Crash\]|slurmstepd: error|srun: error|.*\bNCCL error\b|Killed$"
    r"|Segmentation fault)"
)
_DUMP_LABEL = re.compile(r"eval_samples_step_(?P<label>[0-9]{1,15}|final)\.jsonl$")
_NUMBER = re.compile(r"[+-]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][+-]?\d{1,4})?", re.ASCII)
_INTERRUPTED = re.compile(r"\[Interrupted\]")
_SHORTLY_AFTER_LINES = 2
_RESUMED = re.compile(r"\[Resumed\] from step \d+")


@dataclass(frozen=True)
class LoggedEvaluation:
    """The accuracies on one ``[Eval]`` or ``[Final Eval]`` line."""

    label: str
    line: int
    accuracies: dict[str, float]
    """Without those that are cut off or no fraction."""
    has_samples: bool = True
    """False when the log says beside it that there were no sample records, and names no dump of it."""


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
    setting_lines: dict[str, int]
    """Line of each setting."""
    settings_line: int | None
    num_starts: int
    """Configuration blocks; more than one when the run was started again into the same file."""
    evaluations: tuple[LoggedEvaluation, ...]
    stopped_early_line: int | None
    stopped_early_step: int | None
    planned_steps: int | None
    steps: tuple[int, ...]
    losses: tuple[float | None, ...]
    """Logged loss at each of :attr:`steps`; None where it is no finite number."""
    step_lines: tuple[int, ...]
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
    """First line of the first error."""
    last_crash_line: int | None
    interrupted_line: int | None

    def evaluation(self, label: str) -> LoggedEvaluation | None:
        """Return what the log says of the evaluation *label*; the last word when it is there twice."""
        return next((found for found in reversed(self.evaluations) if found.label == label), None)


@dataclass
class _Reading:
    """The facts gathered so far, line by line."""

    understood: set[int] = field(default_factory=set)
    evaluations: list[LoggedEvaluation] = field(default_factory=list)
    steps: list[tuple[int, float | None, int]] = field(default_factory=list)
    planned_steps: int | None = None
    stopped_early: tuple[int, int | None] | None = None
    world_size: tuple[int, int] | None = None
    gpus: dict[int, str] = field(default_factory=dict)
    gpu_line: int | None = None
    checkpoints: list[LoggedPath] = field(default_factory=list)
    dumps: list[LoggedPath] = field(default_factory=list)
    no_samples_lines: list[int] = field(default_factory=list)
    crash_lines: list[int] = field(default_factory=list)
    interrupted_line: int | None = None

    def read_all(self, pieces: Iterator[_Piece], line: int) -> bool:
        """Take in all pieces of one line; return whether the form of any of them is known."""
        return sum(self.read(piece, line) for piece in pieces) > 0

    def read(self, piece: _Piece, line: int) -> bool:
        """Take in one piece of text; return whether its form is known."""
        text = piece.text
        if found := _TRAINING_STEP.match(text):
            self.steps.append((int(found["step"]), _finite(piece.whole(found, "loss")), line))
            self.planned_steps = int(found["planned"])
        elif found := _STEP_EVALUATION.match(text):
            self._evaluated(str(int(found["step"])), piece, found, line)
        elif found := _FINAL_EVALUATION.match(text):
            self._evaluated("final", piece, found, line)
        elif found := _STOPPED_EARLY.match(text):
            step = piece.whole(found, "step")
            self.stopped_early = (line, int(step) if step is not None else None)
        elif found := _WORLD_SIZE.match(text):
            if piece.whole(found, "size") is not None:
                self.world_size = self.world_size or (int(found["size"]), line)
        elif found := _GPU.match(text):
            if piece.whole(found, "name") is not None:
                self.gpus.setdefault(int(found["index"]), found["name"].strip())
                self.gpu_line = self.gpu_line or line
        elif found := _SAVED.match(text):
            self._wrote(self.checkpoints, piece, found, line)
        elif found := _DUMPED.match(text):
            self._wrote(self.dumps, piece, found, line)
        elif _NO_SAMPLES.match(text):
            self.no_samples_lines.append(line)
        elif _CRASH.match(text):
            self.crash_lines.append(line)
        elif _INTERRUPTED.match(text):
            self.interrupted_line = line
        else:
            return bool(_PATIENCE.match(text) or _RESUMED.match(text))
        return True

    def _evaluated(self, label: str, piece: _Piece, found: re.Match[str], line: int) -> None:
        accuracies = {
            system: float(text)
            for system in ("source", "target", "bridged")
            if (text := piece.whole(found, system)) is not None
        }
        self.evaluations.append(LoggedEvaluation(label, line, accuracies))

    def _wrote(self, paths: list[LoggedPath], piece: _Piece, found: re.Match[str], line: int) -> None:
        if (path := piece.whole(found, "path")) is not None:
            paths.append(LoggedPath(path.strip(), line))

    def started_again(self) -> None:
        """Forget how far an earlier start came; the machine is still the same."""
        self.evaluations.clear()
        self.steps.clear()
        self.checkpoints.clear()
        self.dumps.clear()
        self.no_samples_lines.clear()
        self.crash_lines.clear()
        self.planned_steps = self.stopped_early = self.interrupted_line = None


@dataclass(frozen=True)
class _Piece:
    """Text between two carriage returns, and whether it may have been cut at its end."""

    text: str
    is_cut: bool

    def whole(self, found: re.Match[str], group: str) -> str | None:
        """Return what *group* matched, or None when the end of the log may have cut it."""
        if self.is_cut and found.end(group) == len(self.text):
            return None
        return found[group]


def read_train_log(text: str) -> TrainLog:
    """Return the facts in *text*, the whole log decoded with replacement characters where it is torn."""
    lines = text.removeprefix("\ufeff").split("\n")
    is_cut = lines[-1] != ""
    if not is_cut:
        lines.pop()
    blocks = _blocks(lines, is_cut=is_cut)
    block = blocks[-1] if blocks else _Settings({}, {}, None, set())
    reading = _Reading(understood=set(block.taken))
    starts = {found.header for found in blocks}
    for number, line in enumerate(lines, start=1):
        if number in starts and number != blocks[0].header:
            reading.started_again()
        if number not in block.taken and reading.read_all(
            _pieces(line, is_cut=is_cut and number == len(lines)), number
        ):
            reading.understood.add(number)
    stopped_line, stopped_step = reading.stopped_early or (None, None)
    world_size, world_size_line = reading.world_size or (None, None)
    return TrainLog(
        num_lines=len(lines),
        num_lines_understood=len(reading.understood),
        settings=block.values,
        setting_lines=block.lines,
        settings_line=block.header,
        num_starts=len(blocks),
        evaluations=tuple(_evaluations(reading)),
        stopped_early_line=stopped_line,
        stopped_early_step=stopped_step,
        planned_steps=reading.planned_steps,
        steps=tuple(step for step, _loss, _line in reading.steps),
        losses=tuple(loss for _step, loss, _line in reading.steps),
        step_lines=tuple(line for _step, _loss, line in reading.steps),
        last_step_line=reading.steps[-1][2] if reading.steps else None,
        world_size=world_size,
        world_size_line=world_size_line,
        gpus=dict(sorted(reading.gpus.items())),
        gpu_line=reading.gpu_line,
        checkpoints=tuple(reading.checkpoints),
        dumps=tuple(reading.dumps),
        no_samples_line=reading.no_samples_lines[-1] if reading.no_samples_lines else None,
        crash_line=reading.crash_lines[0] if reading.crash_lines else None,
        last_crash_line=reading.crash_lines[-1] if reading.crash_lines else None,
        interrupted_line=reading.interrupted_line,
    )


def _evaluations(reading: _Reading) -> Iterator[LoggedEvaluation]:
    """Yield the evaluations, told apart by whether they had samples.

    The line that says that there were none stands shortly after the accuracies, or else before them. An
    evaluation whose dump the log names had samples, whatever stands around it.
    """
    dumped = {_label_of(logged.path) for logged in reading.dumps}
    candidates = [evaluation.line for evaluation in reading.evaluations if evaluation.label not in dumped]
    without = {_told(candidates, line) for line in reading.no_samples_lines}
    for evaluation in reading.evaluations:
        yield replace(evaluation, has_samples=evaluation.line not in without)


def _told(candidates: list[int], line: int) -> int | None:
    """Return which of the lines with accuracies a *line* about missing samples belongs to."""
    before = max((one for one in candidates if one <= line), default=None)
    after = min((one for one in candidates if one > line), default=None)
    if before is not None and (after is None or line - before <= _SHORTLY_AFTER_LINES):
        return before
    return after


def _label_of(path: str) -> str | None:
    found = _DUMP_LABEL.search(path)
    return found["label"] if found else None


def _pieces(line: str, *, is_cut: bool) -> Iterator[_Piece]:
    texts = line.split("\r")
    return (_Piece(text, is_cut and place == len(texts) - 1) for place, text in enumerate(texts) if text)


@dataclass(frozen=True)
class _Settings:
    """One configuration block."""

    values: dict[str, str]
    lines: dict[str, int]
    header: int | None
    taken: set[int]
    """All lines that belong to it."""


def _blocks(lines: list[str], *, is_cut: bool) -> list[_Settings]:
    headers = [
        index
        for index, line in enumerate(lines)
        if "==== Config ====" in line and any(_CONFIG_HEADER.match(piece) for piece in line.split("\r"))
    ]
    last = len(lines) - 1 if is_cut else None
    blocks = [
        _settings(lines, header, end, cut=last)
        for header, end in zip(headers, [*headers[1:], len(lines)], strict=False)
    ]
    return [block for block in blocks if block.values] or blocks[:1]


def _settings(lines: list[str], header: int, end: int, *, cut: int | None) -> _Settings:
    """Return the configuration block at *header*: its settings and all lines that belong to it.

    Other programs' warnings may stand inside the block; it ends at the next ``====`` heading, or at an
    empty line that no further settings follow. A key that is given twice keeps its first value: what
    repeats it later is the output of another program.
    """
    values: dict[str, str] = {}
    numbers: dict[str, int] = {}
    taken = {header + 1}
    for index in range(header + 1, end):
        line = _last_piece(lines[index])
        if line.startswith("====") or (not line.strip() and not _settings_follow(lines, index)):
            break
        found = _SETTING.match(line)
        if found and index != cut and found[1] not in values and not _CRASH.match(line):
            values[found[1]] = found[2].strip()
            numbers[found[1]] = index + 1
            taken.add(index + 1)
    return _Settings(values, numbers, header + 1, taken)


def _last_piece(line: str) -> str:
    """Return what a terminal would show of *line*: what stands after the last carriage return inside it."""
    return line.rstrip("\r").rpartition("\r")[2]


def _settings_follow(lines: list[str], index: int) -> bool:
    for line in lines[index + 1 : index + 4]:
        if line.startswith("===="):
            return False
        if _SETTING.match(_last_piece(line)):
            return True
    return False


def _finite(text: str | None) -> float | None:
    if text is None or not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if value - value == 0 else None
