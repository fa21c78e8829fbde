"""The training log as facts with line numbers. Unknown lines are counted and never guessed at.

Lines are counted by line feeds. A known form counts at the beginning of a line, after what launchers and
loggers put there (rank, host, time, level, colours), after a carriage return, and after a progress bar that
shares the line with it. A value that touches the end of a text that may have been cut is not claimed: ``acc:
0.6`` may have been ``0.645``. When several processes print the same, the one of the lowest rank is believed,
and what the others say otherwise is told. When a log holds several starts, see :mod:`runkit.ingest.starts`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from runkit.ingest.bars import Speaker, alike, is_decoration, speaker_of
from runkit.ingest.loglines import Log, LogLines, Piece
from runkit.ingest.starts import Fact, Told, last_start

_COUNT = r"[0-9]{1,15}(?![0-9])"
"""Longer ones are no count of steps; they stand in outputs of models."""
_ACCURACY = r"(?:0(?:\.[0-9]{1,17})?|1(?:\.0{1,17})?)(?!\S)"
"""A fraction as Python prints it; what is above 1 is no accuracy."""
_SCORES = (
    rf"Source-alone acc: (?P<source>{_ACCURACY}) \| Target-alone acc: (?P<target>{_ACCURACY})"
    rf"(?: \| Bridged acc: (?P<bridged>{_ACCURACY}))?"
)
_HEADER = "==== Config ===="
_SETTING = re.compile(r"([a-z][a-z0-9_.]*): (.*)$")
_NO_ITEMS = (
    r"\b(?:on|over|of|for|evaluat\w+|shard\w+) 0 (?:samples|items|examples|problems|rows)\b"
    r"|\bn ?[=:] ?0(?![.\d])|\b(?:num_|eval_)?(?:samples|items|examples) ?[=:] ?0(?![.\d])"
)
_SAYS_NO_ITEMS = re.compile(_NO_ITEMS, re.IGNORECASE)
_FIRST_ERROR = (
    r"Traceback \(most recent call last\)|\[Crash\]|slurmstepd: error|srun: error|Killed$|Segmentation fault"
)


@dataclass(frozen=True)
class _Form:
    """A text that says something."""

    kind: str
    pattern: re.Pattern[str]
    needles: tuple[bytes, ...]
    """One of them stands in every such text."""
    is_plain: bool = True
    """Whether nobody else would write it, so that it counts wherever it stands after a bar."""
    counts_anywhere: bool = False


def _form(
    kind: str, pattern: str, *needles: str, is_plain: bool = True, counts_anywhere: bool = False
) -> _Form:
    return _Form(kind, re.compile(pattern), tuple(one.encode() for one in needles), is_plain, counts_anywhere)


_FORMS = (
    _form(
        "step",
        rf"Step (?P<step>{_COUNT})/(?P<planned>{_COUNT}) \| Loss \(avg over last \d+\): (?P<loss>\S+)",
        " | Loss (avg over last ",
    ),
    _form("evaluation", rf"\[Eval\] Step (?P<step>{_COUNT}) \| {_SCORES}", "Source-alone acc: "),
    _form("evaluation", rf"\[Final Eval\] {_SCORES}", "Source-alone acc: "),
    _form("stopped", rf"\[Early Stop\] Stopping early at step (?P<step>{_COUNT})", "[Early Stop] "),
    _form("world", r"World size: (?P<size>[1-9][0-9]{0,6})(?![0-9])", "World size: ", is_plain=False),
    _form(
        "gpu",
        r"(?:\[Rank \d+\]|) *GPU (?P<index>[0-9]{1,4})(?: available)?: (?P<name>\w[^\[]*)",
        "GPU ",
        is_plain=False,
    ),
    _form(
        "checkpoint",
        r"(?:Saved BEST translator \(acc=[0-9.]+\) to |\[Checkpoint\] Saved \w+ \([^)]*\) to )"
        r"(?P<path>\S.*)$",
        "Saved BEST translator (acc=",
        "[Checkpoint] Saved ",
    ),
    _form("dump", r"\[Eval\] Saved sample outputs to (?P<path>\S.*)$", "[Eval] Saved sample outputs to "),
    _form("header", rf"{_HEADER}\s*$", _HEADER),
    _form("no samples", r"(?:\[[^\]]*\] ?)?.{0,40}\bsample_records empty", "sample_records empty"),
    _form("no samples", r"\[[^\]]*Eval[^\]]*\] Sharding 0 samples", "Sharding 0 samples"),
    _form("crash", _FIRST_ERROR, "Traceback (most", "[Crash]", "slurmstepd: error", "srun: error", "Killed",
          "Segmentation fault", is_plain=False),
    _form("crash", r"\bOutOfMemoryError\b|CUDA out of memory|\bNCCL error\b", "OutOfMemoryError",
          "CUDA out of memory", "NCCL error", counts_anywhere=True),
    _form("interrupted", r"\[Interrupted\]", "[Interrupted]", is_plain=False),
    _form("resumed", rf"\[Resumed\] from step (?P<step>{_COUNT})", "[Resumed] from step "),
    _form("patience", r"\[Early Stop\] (New best|No improvement)", "[Early Stop] "),
)  # fmt: skip
_NEEDLES = tuple(dict.fromkeys(needle for form in _FORMS for needle in form.needles))
_IS_CRASH = re.compile(_FIRST_ERROR)
_DUMP_LABEL = re.compile(r"eval_samples_step_(?P<label>[0-9]{1,15}|final)\.jsonl$")
_NUMBER = re.compile(r"[+-]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][+-]?\d{1,4})?", re.ASCII)
_SHORTLY_AFTER_LINES = 2
_LONGEST_REMNANT = 400


@dataclass(frozen=True)
class LoggedEvaluation:
    """The accuracies on one ``[Eval]`` or ``[Final Eval]`` line."""

    label: str
    line: int
    accuracies: dict[str, float]
    """Without those that are cut off or no fraction."""
    has_samples: bool = True
    """False when the log says beside it that there were no sample records, and names no dump of it."""
    other_lines: tuple[int, ...] = ()
    """Lines that give it other accuracies."""


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
    start_lines: tuple[int, ...]
    """Where each start begins, one whose steps go back without a configuration block included."""
    evaluations: tuple[LoggedEvaluation, ...]
    earlier_evaluations: dict[str, int]
    """Label to line of the evaluations that only a start before the last one made."""
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
class _Settings:
    """One configuration block, line by line.

    Other programs' warnings may stand inside the block; it ends at the next ``====`` heading, or at an
    empty line that no further settings follow. A key that is given twice keeps its first value: what
    repeats it later is the output of another program.
    """

    header: int
    before: str
    """What stands before the header: rank, time and the like, and so before each setting too."""
    speaker: Speaker
    values: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    is_open: bool = True
    _ends_after: int | None = None
    """After an empty line: the last line at which a setting shows that the block goes on."""

    def __post_init__(self) -> None:
        self._form = alike(self.before) if self.before else None

    def takes(self, text: str, line: int, *, is_cut: bool) -> bool:
        """Return whether *line* is one of its settings, which it then has."""
        own = self._own(text)
        if own is None or not self.is_open:
            return False
        if self._ends_after is not None and line > self._ends_after:
            self.is_open = False
            return False
        if own.startswith("===="):
            self.is_open = False
            return False
        found = _SETTING.match(own)
        if not found:
            if not own.strip() and self._ends_after is None:
                self._ends_after = line + 3
            return False
        self._ends_after = None
        if is_cut or found[1] in self.values or _IS_CRASH.match(own):
            return False
        self.values[found[1]] = found[2].strip()
        self.lines[found[1]] = line
        return True

    def _own(self, text: str) -> str | None:
        """Return *text* without what stands before it, or None when another process wrote it."""
        if self._form is None:
            return text
        found = self._form.match(text)
        if found:
            return text[found.end() :]
        return None if self.speaker.is_named else text


@dataclass
class _Reading:
    """The facts gathered so far, line by line."""

    num_understood: int = 0
    facts: list[Fact] = field(default_factory=list)
    open: dict[Speaker, _Settings] = field(default_factory=dict)
    blocks: list[_Settings] = field(default_factory=list)

    def read_pieces(self, pieces: tuple[Piece, ...], line: int) -> bool:
        """Take in all pieces of one line; return whether the form of any of them is known."""
        return sum(self.read(piece, line) for piece in pieces) > 0

    def read(self, piece: Piece, line: int) -> bool:
        """Take in one piece of text; return whether its form is known."""
        for form in _FORMS:
            found = _found(form, piece)
            if found is None:
                continue
            before = piece.text[: found.start()]
            speaker = speaker_of(before)
            if form.kind == "header":
                self._begin(_Settings(line, before, speaker))
                return False  # counts with its block
            said = _said(form.kind, piece, found)
            if said is not None:
                self.facts.append(Fact(form.kind, line, speaker, said))
            return True
        return False

    def _begin(self, block: _Settings) -> None:
        self.open[block.speaker] = block
        self.blocks.append(block)
        self.facts.append(Fact("header", block.header, block.speaker, Told(block=block)))

    def take_setting(self, shown: Piece, line: int) -> bool:
        """Return whether *line* is a setting of a block that is open."""
        taken = [
            one.takes(shown.text, line, is_cut=shown.is_cut)
            for one in self.open.values()
            if one.header < line
        ]
        self.open = {speaker: one for speaker, one in self.open.items() if one.is_open}
        return any(taken)


def _found(form: _Form, piece: Piece) -> re.Match[str] | None:
    """Return where *form* stands in *piece*, in a place where it counts."""
    for found in form.pattern.finditer(piece.text):
        before = piece.text[: found.start()]
        if not before or form.counts_anywhere:
            return found
        if is_decoration(before) and (before.strip() or piece.follows_bar or form.is_plain):
            return found
        if piece.follows_bar and form.is_plain and len(before) <= _LONGEST_REMNANT:
            return found
    return None


def _said(kind: str, piece: Piece, found: re.Match[str]) -> Told | None:
    """Return what a text of this *kind* says; None when what matters of it is cut off."""
    if kind == "step":
        loss = _finite(piece.whole(found, "loss"))
        return Told(step=int(found["step"]), planned=int(found["planned"]), loss=loss)
    if kind == "evaluation":
        accuracies = {
            system: float(text)
            for system in ("source", "target", "bridged")
            if (text := piece.whole(found, system)) is not None
        }
        label = str(int(found["step"])) if "step" in found.groupdict() else "final"
        has_none = _SAYS_NO_ITEMS.search(piece.text, found.end()) is not None
        return Told(label=label, accuracies=accuracies, has_none=has_none)
    if kind == "stopped":
        step = piece.whole(found, "step")
        return Told(step=int(step) if step is not None else None)
    if kind in {"checkpoint", "dump"}:
        written = piece.whole(found, "path")
        if written is None or "\0" in written:
            return None
        return Told(path=written.strip(), label=_label_of(written.strip()))
    if kind == "world":
        return Told(step=int(found["size"])) if piece.whole(found, "size") is not None else None
    if kind == "gpu":
        name = piece.whole(found, "name")
        return Told(step=int(found["index"]), path=name.strip()) if name is not None else None
    if kind == "resumed":
        step = piece.whole(found, "step")
        return Told(step=int(step)) if step is not None else None
    return Told()


def read_train_log(log: Log) -> TrainLog:
    """Return the facts in *log*; what cannot be decoded becomes replacement characters."""
    reading = _Reading()
    lines = LogLines(log, _NEEDLES, wants_all=lambda: bool(reading.open))
    for line in lines:
        if line.shown is not None and reading.open and reading.take_setting(line.shown, line.number):
            continue
        reading.num_understood += reading.read_pieces(line.pieces, line.number)
    blocks = _believed(reading.blocks)
    last = last_start(reading.facts, blocks)
    block = blocks[-1] if blocks else None
    steps, stopped, world = last.steps, last.one("stopped"), _first(reading.facts, "world")
    gpus = [fact for fact in reading.facts if fact.kind == "gpu"]
    names: dict[int, str] = {}
    for gpu in gpus:
        names.setdefault(gpu.told.step or 0, gpu.told.path)
    crashes = last.all("crash")
    no_samples = [*last.all("no samples"), *(one for one in last.all("evaluation") if one.told.has_none)]
    interrupted = last.one("interrupted")
    return TrainLog(
        num_lines=lines.num_lines,
        num_lines_understood=reading.num_understood + (len(block.lines) + 1 if block else 0),
        settings=block.values if block else {},
        setting_lines=block.lines if block else {},
        settings_line=block.header if block else None,
        num_starts=len(last.block_lines),
        start_lines=last.start_lines,
        evaluations=tuple(_evaluations(last.all("evaluation"), last.all("dump"), last.all("no samples"))),
        earlier_evaluations=last.earlier,
        stopped_early_line=stopped.line if stopped else None,
        stopped_early_step=stopped.told.step if stopped else None,
        planned_steps=steps[-1].told.planned if steps else None,
        steps=tuple(fact.told.step or 0 for fact in steps),
        losses=tuple(fact.told.loss for fact in steps),
        step_lines=tuple(fact.line for fact in steps),
        last_step_line=steps[-1].line if steps else None,
        world_size=world.told.step if world else None,
        world_size_line=world.line if world else None,
        gpus=dict(sorted(names.items())),
        gpu_line=gpus[0].line if gpus else None,
        checkpoints=tuple(LoggedPath(fact.told.path, fact.line) for fact in last.all("checkpoint")),
        dumps=tuple(LoggedPath(fact.told.path, fact.line) for fact in last.all("dump")),
        no_samples_line=max((fact.line for fact in no_samples), default=None),
        crash_line=crashes[0].line if crashes else None,
        last_crash_line=crashes[-1].line if crashes else None,
        interrupted_line=interrupted.line if interrupted else None,
    )


def _believed(blocks: list[_Settings]) -> list[_Settings]:
    """Return the configuration blocks of the process that is believed; one without any setting is none."""
    filled = [block for block in blocks if block.values] or blocks[:1]
    first = min((block.speaker for block in filled), default=None)
    return [block for block in filled if block.speaker == first]


def _first(facts: list[Fact], kind: str) -> Fact | None:
    return next((fact for fact in facts if fact.kind == kind), None)


def _evaluations(found: list[Fact], dumps: list[Fact], no_samples: list[Fact]) -> Iterator[LoggedEvaluation]:
    """Yield the evaluations, told apart by whether they had samples.

    The line that says that there were none stands shortly after the accuracies, or else before them. An
    evaluation whose dump the log names had samples, whatever stands around it.
    """
    dumped = {fact.told.label for fact in dumps}
    candidates = [fact.line for fact in found if fact.told.label not in dumped]
    without = {_told(candidates, fact.line) for fact in no_samples}
    for fact in found:
        is_without = fact.line in without or (fact.told.has_none and fact.told.label not in dumped)
        yield LoggedEvaluation(
            fact.told.label or "", fact.line, dict(fact.told.accuracies), not is_without, fact.other_lines
        )


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


def _finite(text: str | None) -> float | None:
    if text is None or not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if value - value == 0 else None
