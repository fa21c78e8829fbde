"""Which facts of a log are those of its last start: one run may have written it, several times over.

A scheduler that starts a job again appends to the same log. How the run ended, how far it came and what it
measured are then told by the last start. What an earlier start did counts only where the last one took it
up: it has the same settings, and the earlier step lies before the first step of the last start. Everything
else of it is kept in the log and not interpreted. Nothing is averaged, and no evaluation is paired with the
samples of another start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from runkit.ingest.bars import Speaker

_WHERE_OR_WHEN = re.compile(
    r"(?:^|[._])(?:dir|path|folder|file|resume\w*|job\w*|run_id|run_name|time\w*|date|port|host\w*|output\w*)"
    r"(?:$|[._])"
)
"""Settings that a job which is started again may have otherwise and still be the same run."""
_ENDS = frozenset({"crash", "interrupted", "stopped", "checkpoint"})
"""What says how one start ended."""


class Block(Protocol):
    """A configuration block."""

    header: int
    values: dict[str, str]


@dataclass(frozen=True)
class Told:
    """What one text says; only what its kind has."""

    step: int | None = None
    planned: int | None = None
    loss: float | None = None
    label: str | None = None
    accuracies: Mapping[str, float] = field(default_factory=dict)
    has_none: bool = False
    path: str = ""
    block: Block | None = None


@dataclass(frozen=True)
class Fact:
    """One known text of a log."""

    kind: str
    line: int
    speaker: Speaker
    told: Told
    other_lines: tuple[int, ...] = ()
    """For an evaluation: lines that give it other accuracies."""


@dataclass
class LastStart:
    """The facts that count."""

    facts: list[Fact] = field(default_factory=list)
    block_lines: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    earlier: dict[str, int] = field(default_factory=dict)
    """Label to line of the evaluations that only earlier starts made."""
    _is_new: bool = False
    """Whether a start has begun and its first step is not known."""

    @property
    def start_lines(self) -> tuple[int, ...]:
        """Lines at which the starts begin."""
        return tuple(self.starts)

    @property
    def steps(self) -> list[Fact]:
        """The training steps, in order."""
        return self.all("step")

    def all(self, kind: str) -> list[Fact]:
        """Return the facts of one *kind*, in order."""
        return [fact for fact in self.facts if fact.kind == kind]

    def one(self, kind: str) -> Fact | None:
        """Return the last fact of one *kind*."""
        return next((fact for fact in reversed(self.facts) if fact.kind == kind), None)


def last_start(facts: Sequence[Fact], blocks: Sequence[Block]) -> LastStart:
    """Return the facts of the last start, and those of earlier ones that it took up.

    Args:
        blocks: The configuration blocks that are believed.
    """
    headers = {block.header: block for block in blocks}
    last = LastStart()
    before: Block | None = None
    walk = _Walk(last)
    for fact in _believed(facts):
        if fact.kind == "header":
            block = headers.get(fact.line)
            if block is not None and (before is None or walk.is_another_start(before, block)):
                walk.begin(
                    fact.line, takes_up=before is None or _is_same_run(before, block), is_first=before is None
                )
            before = block or before
        else:
            walk.take(fact)
    walk.end()
    last.facts = _with_contradictions(last.facts, facts, last.starts[-1] if len(last.starts) > 1 else 0)
    for fact in last.all("evaluation"):
        last.earlier.pop(fact.told.label or "", None)
    if len(last.starts) == 1:
        last.starts = []
    return last


@dataclass
class _Walk:
    """Goes through the facts in order."""

    last: LastStart
    first_step: int | None = None
    newest_step: int | None = None
    has_repeated: bool = False
    """Whether a step stands twice, as when several processes print it without saying who they are."""
    has_begun: bool = False

    def is_another_start(self, before: Block, block: Block) -> bool:
        """Return whether *block* is no mere repetition of *before* by another process."""
        return self.has_begun or dict(before.values) != dict(block.values)

    def begin(self, line: int, *, takes_up: bool, is_first: bool) -> None:
        """A configuration block stands at *line*."""
        self.last.block_lines.append(line)
        self.last.starts.append(line)
        if is_first:
            return
        self._forget_ends()
        if takes_up:
            self.last._is_new = True
        else:
            self._go_back(0)
        self._reset()

    def take(self, fact: Fact) -> None:
        """Add *fact*, after what it shows about an earlier start."""
        step = self._step_of(fact)
        if fact.kind == "resumed" and step is not None:
            self._forget_ends()
            self._go_back(step + 1)
            self.last._is_new = False
            self._reset()
            return
        if step is not None:
            if fact.kind == "step" and step == self.newest_step and not self.last._is_new:
                self.has_repeated = True
                return  # another process that does not say which it is
            self._arrived(fact, step)
        if fact.kind in {"step", "evaluation", *_ENDS}:
            self.has_begun = True
        self.last.facts.append(fact)

    def end(self) -> None:
        """The log ends: a last start that made no step took nothing up."""
        if self.last._is_new:
            self._go_back(0)

    def _arrived(self, fact: Fact, step: int) -> None:
        if self.last._is_new:
            self._go_back(step)
            self.last._is_new = False
        elif fact.kind == "step" and not self.has_repeated and step < (self.newest_step or 0):
            self.last.starts = self.last.starts or [self.last.facts[0].line]
            self.last.starts.append(fact.line)
            self._forget_ends()
            self._go_back(step)
        if fact.kind == "step":
            self.newest_step = step

    def _step_of(self, fact: Fact) -> int | None:
        if fact.kind == "evaluation":
            label = fact.told.label or ""
            return int(label) if label.isdecimal() else None
        return fact.told.step if fact.kind in {"step", "resumed"} else None

    def _reset(self) -> None:
        self.newest_step, self.has_repeated, self.has_begun = None, False, False

    def _forget_ends(self) -> None:
        self.last.facts = [fact for fact in self.last.facts if fact.kind not in _ENDS]

    def _go_back(self, step: int) -> None:
        """Forget what was done from *step* on."""
        kept: list[Fact] = []
        forgotten: list[Fact] = []
        for fact in self.last.facts:
            (forgotten if self._is_from(fact, step) else kept).append(fact)
        measured = [fact.line for fact in kept if fact.kind == "evaluation"]
        until = max(measured, default=0) + 2
        self.last.facts = [fact for fact in kept if fact.kind != "no samples" or fact.line <= until]
        for fact in forgotten:
            if fact.kind == "evaluation":
                self.last.earlier[fact.told.label or ""] = fact.line

    def _is_from(self, fact: Fact, step: int) -> bool:
        if fact.kind in {"step", "evaluation", "dump"}:
            label = fact.told.label
            at = (
                fact.told.step if fact.kind == "step" else int(label) if label and label.isdecimal() else None
            )
            return at is None or at >= step
        return False


def _is_same_run(before: Block, after: Block) -> bool:
    return _what(before) == _what(after)


def _what(block: Block) -> dict[str, str]:
    return {key: value for key, value in block.values.items() if not _WHERE_OR_WHEN.search(key)}


def _believed(facts: Sequence[Fact]) -> list[Fact]:
    """Return *facts* with each told by one process only, of those that tell it the one of the lowest rank."""
    speakers: dict[tuple[str, object], Speaker] = {}
    for fact in facts:
        key = _what_is_told(fact)
        speakers[key] = min(speakers.get(key, fact.speaker), fact.speaker)
    return [fact for fact in facts if fact.speaker == speakers[_what_is_told(fact)] or fact.kind in _FROM_ALL]


_FROM_ALL = frozenset({"crash", "interrupted", "gpu", "header"})


def _what_is_told(fact: Fact) -> tuple[str, object]:
    if fact.kind in {"evaluation", "dump"}:
        return fact.kind, fact.told.label or fact.told.path
    return fact.kind, fact.told.step if fact.kind == "step" else None


def _with_contradictions(last: list[Fact], all_facts: Sequence[Fact], since: int) -> list[Fact]:
    """Return *last* with, at each evaluation, the lines of its own start that give it other accuracies."""
    named: dict[str | None, list[Fact]] = {}
    for fact in all_facts:
        if fact.kind == "evaluation" and fact.line >= since:
            named.setdefault(fact.told.label, []).append(fact)
    return [
        replace(
            fact,
            other_lines=tuple(
                one.line for one in named.get(fact.told.label, ()) if _contradict(fact.told, one.told)
            ),
        )
        if fact.kind == "evaluation" and fact.line >= since
        else fact
        for fact in last
    ]


def _contradict(one: Told, other: Told) -> bool:
    return any(
        one.accuracies[system] != other.accuracies[system]
        for system in one.accuracies.keys() & other.accuracies
    )
