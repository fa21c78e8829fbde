"""What a document claims about runs, as records; not whether it is true.

A claim is a place, a binding to runs and one of the statements below. Statements know nothing of any archive.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from runkit.audit.amounts import Amount
from runkit.audit.document import Span

Measure = Literal["accuracy", "invalid", "valid"]
Stat = Literal["peak", "final", "first", "last_step", "lowest", "any"]
Polarity = Literal["on", "off", "only"]
EndingWord = Literal["completed", "early_stopped", "truncated", "crashed"]
RoleWord = Literal["source", "target", "generator"]


@dataclass(frozen=True)
class Steps:
    """Training steps that a text names."""

    at: tuple[int, ...] = ()
    low: int | None = None
    """From this step on."""
    high: int | None = None
    """Up to this step."""
    is_throughout: bool = False
    """All of training is meant, in so many words."""
    is_after: bool = False
    """``after 500 steps``, which can mean the step or all that follow."""


@dataclass(frozen=True)
class Where:
    """The evaluations that are meant."""

    stat: Stat = "any"
    steps: Steps | None = None
    is_stated: bool = False
    """Whether the statistic stands beside the number, and was not carried over from further away."""


@dataclass(frozen=True)
class Score:
    """A system has an accuracy, an invalid rate or a count, somewhere."""

    measure: Measure
    systems: tuple[str, ...]
    """``source``, ``target``, ``bridged``, a control, or ``model:NAME``; several when it is open."""
    where: Where
    amount: Amount
    other_reading: Amount | None = None
    """In a column that mixes fractions and per cent: the amount as per cent."""
    is_direct: bool = True
    """Whether the statistic or the step stands beside the number, with nothing in between."""


@dataclass(frozen=True)
class PeakStep:
    """The largest accuracy was reached at these steps."""

    steps: tuple[int, ...]


@dataclass(frozen=True)
class Difference:
    """Two accuracies differ by an amount."""

    kind: Literal["degradation", "gap", "gain", "between_runs", "between_models"]
    amount: Amount
    direction: int
    """1: the run, or its bridge, is said to be higher; -1: lower; 0: not said."""
    where: Where
    other_run: tuple[str, ...] = ()


@dataclass(frozen=True)
class Order:
    """One accuracy is above or below another one."""

    relation: Literal["above", "below", "close"]
    other: str
    """``source``, ``target`` or ``run``."""
    where: Where
    other_run: tuple[str, ...] = ()
    is_denied: bool = False


@dataclass(frozen=True)
class Series:
    """Accuracies one after the other."""

    systems: tuple[str, ...]
    amounts: tuple[Amount, ...]


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    status: EndingWord
    step: int | None
    is_denied: bool


@dataclass(frozen=True)
class Reached:
    """How far training came, or was planned to come."""

    step: int
    kind: Literal["reached", "last", "planned"]


@dataclass(frozen=True)
class NoCrash:
    """The run did not crash or run out of memory."""


@dataclass(frozen=True)
class Setting:
    """A key of the configuration has a value."""

    key: str
    value: str


@dataclass(frozen=True)
class Factor:
    """Components are on, off, or the only ones."""

    factors: tuple[str, ...]
    polarity: Polarity


@dataclass(frozen=True)
class Effect:
    """A comparison is said to show what a component does."""

    factors: tuple[str, ...]
    """Empty when only *an* ablation is spoken of."""
    amount: Amount | None


@dataclass(frozen=True)
class Role:
    """A model is the source or the target."""

    role: RoleWord
    model: str


@dataclass(frozen=True)
class Direction:
    """From which model to which."""

    source: str
    target: str


@dataclass(frozen=True)
class Gpus:
    """Accelerators; a count or a model can be left open."""

    count: int | None
    model: str | None
    memory_gigabytes: int | None


@dataclass(frozen=True)
class WorldSize:
    """The number of processes."""

    count: int


@dataclass(frozen=True)
class Files:
    """Files are there, or are not."""

    path: str
    """As written, with braces and stars."""
    is_denied: bool


@dataclass(frozen=True)
class FileKinds:
    """Kinds of files are there: ``log``, ``dump``, ``checkpoint``, ``summary``."""

    kinds: tuple[str, ...]
    is_denied: bool = False


@dataclass(frozen=True)
class ExactName:
    """The folder has the name that it had when the run wrote it, or had quotes in it then."""

    had_quotes: bool = False
    is_denied: bool = False


@dataclass(frozen=True)
class CommandLine:
    """The command that started the run."""

    text: str


@dataclass(frozen=True)
class Same:
    """Something is the same as in another run."""

    what: tuple[str, ...]
    """``hardware``, ``batch``, ``configuration``, ``outputs``."""
    other_run: tuple[str, ...]


@dataclass(frozen=True)
class CommonOutput:
    """One answer is given in most outputs, or in a stated share of them."""

    answer: str | None
    """Null when the outputs are only said to be alike."""
    amount: Amount | None
    where: Where


@dataclass(frozen=True)
class Recovery:
    """Accuracy is said to have come back after a low point, in training or in the final evaluation."""

    after_step: int | None
    to: Amount | None
    is_final: bool


@dataclass(frozen=True)
class NoCollapse:
    """Accuracy is said not to have fallen far after its maximum."""

    is_denied: bool = False
    """True when a collapse is claimed."""


@dataclass(frozen=True)
class Needs:
    """A value of a setting is said to be necessary."""

    value: str


@dataclass(frozen=True)
class NumItems:
    """Evaluations have this many items."""

    n: int


@dataclass(frozen=True)
class Duration:
    """How long the run took."""

    seconds: Amount
    unit_seconds: int


@dataclass(frozen=True)
class Started:
    """The day or the moment at which the run started or ended."""

    when: str
    """ISO form, as far as it is written."""
    which: Literal["start", "end"]


@dataclass(frozen=True)
class NotArchived:
    """Something of which an archive of runs keeps no trace."""

    why: str


Statement = (
    Score
    | PeakStep
    | Difference
    | Order
    | Series
    | Ending
    | Reached
    | NoCrash
    | Setting
    | Factor
    | Effect
    | Role
    | Direction
    | Gpus
    | WorldSize
    | Files
    | FileKinds
    | ExactName
    | CommandLine
    | Same
    | CommonOutput
    | Recovery
    | NoCollapse
    | Needs
    | NumItems
    | Duration
    | Started
    | NotArchived
)


@dataclass(frozen=True)
class Found:
    """A statement and where it stands, before anybody asked of which run."""

    span: Span
    quantity: str
    """What is claimed, for example ``final.bridged_accuracy``."""
    claimed: str
    """The claim in short, as written."""
    statement: Statement
    is_certain: bool = True
    """Whether the words leave only one reading; if not, the claim can be supported and not contradicted."""
    doubt: str = ""
    """Why not."""

    def moved(self, offset: int) -> Found:
        """Return the same, *offset* characters further on."""
        return replace(self, span=Span(self.span.start + offset, self.span.end + offset))


@dataclass(frozen=True)
class Claim:
    """A statement bound to runs."""

    span: Span
    sentence: Span
    quantity: str
    claimed: str
    statement: Statement
    run_ids: tuple[str, ...]
    """One; none when nothing says which; several when all are meant or when it is open."""
    is_for_all: bool
    bound_by: str
    """What binds it: ``annotation``, ``named``, ``row``, ``heading``, …; empty when nothing does."""
    is_certain: bool
    doubt: str
    rivals: tuple[str, ...] = ()
    """Other runs that the paragraph names, when the sentence itself names none."""
