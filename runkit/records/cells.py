"""A table as a value, in no format yet, and where each cell comes from, which the sidecar file says too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from runkit.records.measurement import EvidenceKind
from runkit.records.record import Record, RunId, Scalar, Sha256, TextMap


class RunSource(Record):
    """The run that a number was read from, and the seal that its manifest had."""

    run_id: RunId
    manifest_digest: Sha256
    """The seal of the manifest."""


class ScoreSource(Record):
    """A proportion of one system in one evaluation."""

    kind: Literal["score"] = "score"
    runs: tuple[RunSource, ...]
    """More than one when runs share the measurement, as for a frozen baseline."""
    evaluation: str
    """Label of the evaluation."""
    split: str
    system: str
    outcome: Literal["correct", "invalid"]
    """What was counted."""
    count: NonNegativeInt
    n: PositiveInt
    estimator: Literal["wilson-95"]
    interval_low: float
    """Lower end, a fraction."""
    interval_high: float
    evidence_kind: EvidenceKind
    evidence: str
    """Artifact and line inside the run directory, ``train.log:3498``."""
    noise_draw: NonNegativeInt | None
    items_sha256: Sha256 | None


class PeakSource(Record):
    """The largest of several evaluations on the same items: selected, so no estimate of any one step."""

    kind: Literal["peak"] = "peak"
    runs: tuple[RunSource, ...]
    steps: tuple[NonNegativeInt, ...]
    """All steps that reached it, earliest first."""
    num_candidates: PositiveInt
    """The number of evaluations that it is the maximum of."""
    split: str
    system: str
    count: NonNegativeInt
    n: PositiveInt
    estimator: Literal["maximum"]
    corrected_fraction: float | None = None
    """What a checkpoint chosen in this way has on items that did not choose it (bootstrap bias correction);
    null with one candidate, where nothing was chosen."""
    corrected_low: float | None = None
    """Percentiles, 95 %."""
    corrected_high: float | None = None
    degradation_p: float | None = None
    """How often equally good checkpoints fall at least as far from their best to the last one."""
    evidence_kind: EvidenceKind
    evidence: str


class ComparisonSource(Record):
    """A difference of two runs on the same items: the row minus the control."""

    kind: Literal["comparison"] = "comparison"
    runs: tuple[RunSource, ...]
    """The row first, then the control."""
    evaluation: str
    reference_evaluation: str
    split: str
    system: str
    both: NonNegativeInt
    only_row: NonNegativeInt
    only_control: NonNegativeInt
    neither: NonNegativeInt
    estimator: Literal["newcombe-95"]
    interval_low: float
    interval_high: float
    test: Literal["mcnemar-exact"]
    p_exact: float
    p_midp: float
    p_holm: float | None
    """Null for a replicate, which is no member of the family."""
    family: tuple[str, ...]
    """Run ids of the rows that the adjustment covers."""
    minimum_detectable_fraction: float | None
    """Difference found with 80 % power at the observed discordance; null when no difference is."""
    items_sha256: Sha256 | None
    evidence: str


class SeedScoreSource(Record):
    """The mean over training seeds of a proportion of one system in one evaluation."""

    kind: Literal["seed_score"] = "seed_score"
    runs: tuple[RunSource, ...]
    """One a seed, in the order of *seeds*."""
    seeds: tuple[int, ...]
    evaluation: str
    split: str
    system: str
    outcome: Literal["correct", "invalid"]
    counts: tuple[NonNegativeInt, ...]
    """Of each seed."""
    n: PositiveInt
    """Items, the same for each seed."""
    estimator: Literal["crossed-t-95"]
    """Of the interval of the mean: for other seeds and other items."""
    interval_low: float
    """Lower end, a fraction."""
    interval_high: float
    evidence_kind: EvidenceKind
    evidence: tuple[str, ...]
    """Artifact and line inside each run directory, in the order of *runs*."""
    items_sha256: Sha256 | None


class SeedComparisonSource(Record):
    """A difference of two rows over the same seeds and items: the row minus the control."""

    kind: Literal["seed_comparison"] = "seed_comparison"
    runs: tuple[RunSource, ...]
    """Those of the row, then those of the control, each in the order of *seeds*; a frozen baseline was
    measured by the control's runs, and has none of its own."""
    seeds: tuple[int, ...]
    evaluation: str
    split: str
    systems: tuple[str, str]
    """Of the row and of the control."""
    n: PositiveInt
    only_row: tuple[NonNegativeInt, ...]
    """Of each seed, the items that only the row answered correctly."""
    only_control: tuple[NonNegativeInt, ...]
    estimator: Literal["crossed-t-95"]
    interval_low: float
    interval_high: float
    seed_standard_error: float
    """For other seeds on these items; a fraction, as the next two."""
    item_standard_error: float
    crossed_standard_error: float
    """For other seeds on other items: what interval and test rest on."""
    degrees_of_freedom: float
    test: Literal["crossed-t"]
    p: float
    p_holm: float
    family: tuple[str, ...]
    """Labels of the rows that the adjustment covers."""
    items_sha256: Sha256 | None
    evidence: tuple[str, ...]


class MeasureSource(Record):
    """One measure of a row, of any metric: a value, or the mean over the runs of the row."""

    kind: Literal["measure"] = "measure"
    runs: tuple[RunSource, ...]
    measure: str
    """Selector in full."""
    unit: str | None
    values: tuple[float, ...]
    """Of each run, in the order of *runs*."""
    mean: float
    deviation: float | None
    """Over runs; null for one."""
    interval_low: float | None
    interval_high: float | None
    n: int | None
    """Items."""
    num_dropped: NonNegativeInt
    """Items without a finite value in some run."""
    num_candidates: PositiveInt
    """Steps that it is the best of; 1 where nothing was chosen."""
    method: str
    evidence_kind: EvidenceKind
    """The weakest of the runs."""
    evidence: tuple[str, ...]
    items_sha256: Sha256 | None


class DifferenceSource(Record):
    """A measure of a row minus that of the control."""

    kind: Literal["difference"] = "difference"
    runs: tuple[RunSource, ...]
    """Those of the row, then those of the control."""
    measure: str
    difference: float
    interval_low: float | None
    interval_high: float | None
    n: NonNegativeInt
    """Items that both have; 0 when only the numbers were compared."""
    num_dropped: NonNegativeInt
    p: float | None
    p_holm: float | None
    family: tuple[str, ...]
    method: str
    not_paired_because: str | None


class ChangesSource(Record):
    """In what the effective configurations of a row differ from the control's, apart from the seed."""

    kind: Literal["changes"] = "changes"
    runs: tuple[RunSource, ...]
    """The row's first run, and the control's of the same seed; the others differ alike."""
    changed: TextMap
    """Key to its value in the row, as JSON."""
    evidence: str


class SettingSource(Record):
    """A value of the effective configuration."""

    kind: Literal["setting"] = "setting"
    runs: tuple[RunSource, ...]
    key: str
    is_set: bool
    """False when the effective configuration has no such key."""
    value: Scalar
    evidence: str


class MissingSource(Record):
    """A number that is not there, and why."""

    kind: Literal["missing"] = "missing"
    runs: tuple[RunSource, ...]
    what: str
    reason: str


CellSource = Annotated[
    ScoreSource
    | PeakSource
    | ComparisonSource
    | SeedScoreSource
    | SeedComparisonSource
    | MeasureSource
    | DifferenceSource
    | ChangesSource
    | SettingSource
    | MissingSource,
    Field(discriminator="kind"),
]
"""Where one cell comes from."""


NO_DIGITS = "–"
"""What stands for a missing measurement, and for a factor that is off."""


@dataclass(frozen=True)
class Column:
    """One column."""

    key: str
    """Name for the sidecar and for ``explain``: ``accuracy``, ``difference``, a configuration key."""
    header: tuple[str, ...]
    """Lines of the header."""
    align: Literal["left", "center"]


@dataclass(frozen=True)
class Cell:
    """One cell: plain Unicode text, its marks, and its source."""

    lines: tuple[str, ...] = ()
    """The value and, below it, its interval or its step; empty for a cell that says nothing."""
    source: CellSource | None = None
    marks: tuple[str, ...] = ()
    """Letters of the notes that this cell refers to."""
    is_bold: bool = False

    @property
    def text(self) -> str:
        """The cell in one line."""
        return " ".join(self.lines)


@dataclass(frozen=True)
class Row:
    """One row."""

    label: str
    run_id: str | None
    """None for a baseline, which is no run of its own, and for a row of several runs."""
    cells: tuple[Cell, ...]
    """One for each column."""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Block:
    """Rows between two rules."""

    title: str | None
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Note:
    """One note below the table."""

    mark: str
    """A letter, or an empty string for a note on the whole table."""
    text: str


@dataclass(frozen=True)
class Table:
    """A whole table."""

    caption: str
    label: str
    caption_side: Literal["above", "below"]
    spans_both_columns: bool
    stub_header: str
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    notes: tuple[Note, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows in the order of printing."""
        return tuple(row for block in self.blocks for row in block.rows)


class SidecarCell(Record):
    """One printed cell."""

    column: str
    text: str
    """What is printed, in plain text."""
    source: CellSource | None
    """Null for a cell that prints no fact, such as the dash of the control against itself."""


class SidecarRow(Record):
    """One printed row."""

    label: str
    run_id: RunId | None
    """Null for a baseline that several runs share, and for a row of several runs."""
    cells: tuple[SidecarCell, ...]


class CellSidecar(Record):
    """All cells of one table, what each was computed from, and digests of what was printed."""

    format: Literal[1]
    table: str
    """Name of the specification."""
    spec_sha256: Sha256
    """Of the bytes of ``paper_tables/<table>.toml``."""
    files: TextMap
    """Name of each printed file to its SHA-256."""
    rows: tuple[SidecarRow, ...]
    notes: tuple[str, ...]
