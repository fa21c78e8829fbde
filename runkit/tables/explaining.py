"""One printed cell led back to its run, its counts and its log line, as lines of text."""

from __future__ import annotations

from dataclasses import dataclass

from runkit.errors import UnknownName
from runkit.records.cells import (
    Cell,
    CellSource,
    ChangesSource,
    ComparisonSource,
    DifferenceSource,
    MeasureSource,
    MissingSource,
    PeakSource,
    Row,
    RunSource,
    ScoreSource,
    SeedComparisonSource,
    SeedScoreSource,
    SettingSource,
    Table,
)


@dataclass(frozen=True)
class CellExplanation:
    """Where one cell comes from."""

    text: str
    """What the cell prints."""
    lines: tuple[str, ...]
    """From the cell to the counts, the interval, the log line, the run and its manifest."""


def explain(table: Table, row: str, column: str) -> CellExplanation:
    """Return where the cell in *row* (its label or run id) and *column* (its key or header) comes from.

    Raises:
        UnknownName: There is no such row or column; with the nearest name.
    """
    found = _row(table, row)
    key, cell = _cell(table, found, column)
    head = f"{found.label}, {key}: {cell.text or 'empty'}"
    if cell.source is None:
        return CellExplanation(cell.text, (head, "this cell prints no fact of a run"))
    return CellExplanation(
        cell.text, (head, *_what(cell.source), *(_run_line(run) for run in cell.source.runs))
    )


def _row(table: Table, name: str) -> Row:
    for row in table.rows:
        if name in {row.label, row.run_id}:
            return row
    known = [row.label for row in table.rows] + [row.run_id for row in table.rows if row.run_id]
    raise UnknownName.among("row", name, known)


def _cell(table: Table, row: Row, name: str) -> tuple[str, Cell]:
    for column, cell in zip(table.columns, row.cells, strict=True):
        if name in {column.key, column.header[0]}:
            return column.key, cell
    raise UnknownName.among("column", name, [column.key for column in table.columns])


def _run_line(run: RunSource) -> str:
    return f"run {run.run_id}, manifests/{run.run_id}.json, seal sha256 {run.manifest_digest}"


def _what(source: CellSource) -> tuple[str, ...]:
    match source:
        case ScoreSource():
            return _score(source)
        case PeakSource():
            return _peak(source)
        case ComparisonSource():
            return _comparison(source)
        case SeedScoreSource():
            return _seed_score(source)
        case SeedComparisonSource():
            return _seed_comparison(source)
        case MeasureSource():
            return _measure(source)
        case DifferenceSource():
            return _difference(source)
        case ChangesSource():
            said = ", ".join(f"{key} = {value}" for key, value in source.changed.items())
            return (f"effective configuration against the control's: {said}", f"evidence: {source.evidence}")
        case SettingSource():
            said = f"= {source.value!r}" if source.is_set else "is not set"
            return (f"effective configuration: {source.key} {said}", f"evidence: {source.evidence}")
        case MissingSource():
            return (f"{source.what} was not measured: {source.reason}",)


def _score(source: ScoreSource) -> tuple[str, ...]:
    draw = "noise not seeded" if source.noise_draw is None else f"noise draw {source.noise_draw}"
    return (
        f"{source.system} {source.outcome}: {source.count} of {source.n} items, "
        f"evaluation {source.evaluation!r}, {source.split} split, {draw}",
        f"interval {source.estimator}: [{source.interval_low:.6f}, {source.interval_high:.6f}]",
        f"evidence: {source.evidence_kind} from per-sample outcomes; logged at {source.evidence}",
    )


def _peak(source: PeakSource) -> tuple[str, ...]:
    steps = ", ".join(map(str, source.steps))
    corrected: tuple[str, ...] = ()
    if source.corrected_fraction is not None:
        corrected = (
            f"chosen on resampled items and scored on the others: {source.corrected_fraction:.6f} "
            f"[{source.corrected_low:.6f}, {source.corrected_high:.6f}]; the fall to the last evaluation has "
            f"p {source.degradation_p:.6f} among equally good checkpoints",
        )
    return (
        f"{source.system} correct: {source.count} of {source.n} items, {source.split} split",
        f"largest of {source.num_candidates} evaluations during training, reached at step {steps}",
        *corrected,
        f"evidence: {source.evidence_kind} from per-sample outcomes; logged at {source.evidence}",
    )


def _comparison(source: ComparisonSource) -> tuple[str, ...]:
    adjusted = "no member of the family" if source.p_holm is None else f"Holm {source.p_holm:.6f}"
    return (
        f"{source.system}, row minus control on the same items: both {source.both}, "
        f"only row {source.only_row}, only control {source.only_control}, neither {source.neither}",
        f"interval {source.estimator}: [{source.interval_low:.6f}, {source.interval_high:.6f}]",
        f"test {source.test}: p {source.p_exact:.6f}, mid-p {source.p_midp:.6f}, {adjusted}; "
        f"family: {', '.join(source.family) or 'none'}",
        f"evidence: evaluation {source.evaluation!r} against {source.reference_evaluation!r}; logged at "
        f"{source.evidence}",
    )


def _seed_score(source: SeedScoreSource) -> tuple[str, ...]:
    where = f"evaluation {source.evaluation!r}, {source.split} split"
    counts = ", ".join(
        f"{count} with seed {seed}" for seed, count in zip(source.seeds, source.counts, strict=True)
    )
    return (
        f"{source.system} {source.outcome}, of {source.n} items, {where}: {counts}",
        f"interval {source.estimator}: [{source.interval_low:.6f}, {source.interval_high:.6f}]",
        f"evidence: {source.evidence_kind} from per-sample outcomes; logged at {', '.join(source.evidence)}",
    )


def _seed_comparison(source: SeedComparisonSource) -> tuple[str, ...]:
    by_seed = zip(source.seeds, source.only_row, source.only_control, strict=True)
    split = "; ".join(f"seed {seed}: only row {won}, only control {lost}" for seed, won, lost in by_seed)
    return (
        f"{source.systems[0]}, row minus control, seed by seed on the same {source.n} items: {split}",
        f"standard error over seeds {source.seed_standard_error:.6f}, over items "
        f"{source.item_standard_error:.6f}, over both {source.crossed_standard_error:.6f}",
        f"interval {source.estimator}: [{source.interval_low:.6f}, {source.interval_high:.6f}], "
        f"{source.degrees_of_freedom:.1f} degrees of freedom",
        f"test {source.test}: p {source.p:.6f}, Holm {source.p_holm:.6f}; family: {', '.join(source.family)}",
        f"evidence: evaluation {source.evaluation!r}, {source.split} split; logged at "
        f"{', '.join(source.evidence)}",
    )


def _measure(source: MeasureSource) -> tuple[str, ...]:
    values = ", ".join(f"{value:.6g}" for value in source.values)
    over = f" over {source.n:,} items" if source.n else ""
    return (
        f"{source.measure} in {source.unit or 'no unit'}: {values}{over}; {source.method}",
        f"evidence: {source.evidence_kind}, {', '.join(source.evidence)}",
    )


def _difference(source: DifferenceSource) -> tuple[str, ...]:
    interval = "no interval"
    if source.interval_low is not None and source.interval_high is not None:
        interval = f"interval [{source.interval_low:.6g}, {source.interval_high:.6g}]"
    p = "no test" if source.p is None else f"p {source.p:.6g}"
    adjusted = (
        "" if source.p_holm is None else f", Holm {source.p_holm:.6g}; family: {', '.join(source.family)}"
    )
    return (
        f"{source.measure}, row minus control: {source.difference:.6g}, {interval}, {p}{adjusted}",
        source.method,
    )
