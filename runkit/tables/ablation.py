"""The ablation table: baselines, control and ablations, and replicates, each with what the archive proves."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from runkit.records.cells import (
    NO_DIGITS,
    Block,
    Cell,
    Column,
    ComparisonSource,
    MissingSource,
    Note,
    PeakSource,
    Row,
    ScoreSource,
    SettingSource,
    Table,
)
from runkit.records.finding import Finding
from runkit.records.schema import settings_in_effect
from runkit.records.tablespec import FactorColumn, TableRow, TableSpec
from runkit.stats.proportions import Interval
from runkit.stats.rounding import percent, percent_interval, plain_percent, points, points_interval, pvalue
from runkit.tables import notes
from runkit.tables.baselines import (
    FrozenComparison,
    baseline_groups,
    frozen_comparisons,
    model_names,
)
from runkit.tables.comparing import Family, compare_rows, control_final, is_improvement
from runkit.tables.guards import WaivedError, check_factors, check_rows
from runkit.tables.marks import Marks
from runkit.tables.measured import ArchivedRun, Files, final_source, peak_source, spoken_evidence
from runkit.tables.settings import setting, setting_name

_EMPTY = Cell()

_FACTOR_WIDTH = 8
"""Characters after which a value of a factor goes on in the next line, at a space."""


@dataclass(frozen=True)
class _Sources:
    """Everything that is printed of one run."""

    row: TableRow
    accuracy: ScoreSource | MissingSource
    invalid: ScoreSource | MissingSource
    peak: PeakSource | MissingSource
    settings: tuple[SettingSource, ...]
    comparison: ComparisonSource | None


def ablation_table(
    spec: TableSpec,
    runs: Mapping[str, ArchivedRun],
    *,
    replicates: frozenset[str],
    blocking: Mapping[str, Finding],
    warnings: Mapping[str, tuple[str, ...]] | None = None,
    waived: Mapping[str, tuple[WaivedError, ...]] | None = None,
) -> Table:
    """Return the table that *spec* asks for.

    Args:
        runs: The runs of the archive, by id; more than the table needs is fine.
        replicates: Ids of runs whose effective configuration equals the control's.
        blocking: Run id to the finding that keeps it out of any table.
        warnings: Run id to the codes of its open warnings, which are marked in its row.
        waived: Run id to its errors that a person accepted, each a note of its row.
    Raises:
        UnknownName: A run or a factor does not exist.
        TableRefused: The archive does not prove what would be printed.
    """
    check_rows(spec, runs, blocking)
    check_factors(spec, runs)
    others = [runs[row.run] for row in spec.rows if row.run != spec.control]
    control_final(runs[spec.control])
    repeated = replicates - {spec.control}
    family = compare_rows(runs[spec.control], others, repeated)
    sources = [_sources(spec, row, runs[row.run], family) for row in spec.rows]
    marks, names = Marks(), {row.run: row.label for row in spec.rows}
    blocks = _blocks(spec, runs, sources, family, repeated, marks)
    blocks = tuple(_with_warnings(block, warnings or {}, marks) for block in blocks)
    blocks = tuple(_with_waived(block, waived or {}, marks) for block in blocks)
    against = frozen_comparisons([(row.label, runs[row.run]) for row in spec.rows])
    return Table(
        caption=spec.caption,
        label=spec.label,
        caption_side=spec.caption_side,
        spans_both_columns=spec.columns == "both",
        stub_header="Run",
        columns=_columns(spec),
        blocks=blocks,
        notes=(
            *(
                Note("", text)
                for text in _general_notes(
                    names[spec.control],
                    sources,
                    family,
                    blocks,
                    names,
                    against,
                    [runs[row.run].files for row in spec.rows],
                )
            ),
            *(Note(letter, text) for text, letter in marks.letters.items()),
        ),
    )


def _columns(spec: TableSpec) -> tuple[Column, ...]:
    return (
        *(Column(factor.key, _narrow(factor.label), "center") for factor in spec.factors),
        Column("accuracy", ("Accuracy", "%"), "center"),
        Column("difference", ("Δ", "points"), "center"),
        Column("p", ("p", "Holm"), "center"),
        Column("invalid", ("Invalid", "%"), "center"),
        Column("peak", ("Peak→corr.", "@step of K"), "center"),
    )


def _sources(spec: TableSpec, row: TableRow, run: ArchivedRun, family: Family) -> _Sources:
    return _Sources(
        row=row,
        accuracy=final_source(run, "correct"),
        invalid=final_source(run, "invalid"),
        peak=peak_source(run),
        settings=tuple(_setting_source(run, factor) for factor in spec.factors),
        comparison=family.by_run.get(row.run),
    )


def _setting_source(run: ArchivedRun, factor: FactorColumn) -> SettingSource:
    configuration = run.manifest.sealed.configuration
    settings = settings_in_effect(run.manifest.sealed)
    return SettingSource(
        runs=(run.source,),
        key=factor.key,
        is_set=factor.key in settings,
        value=settings.get(factor.key),
        evidence=spoken_evidence(configuration.evidence),
    )


def _blocks(
    spec: TableSpec,
    runs: Mapping[str, ArchivedRun],
    sources: list[_Sources],
    family: Family,
    replicates: frozenset[str],
    marks: Marks,
) -> tuple[Block, ...]:
    control = next(row.label for row in spec.rows if row.run == spec.control)
    baselines = _baseline_rows(spec, runs, marks)
    bold = _bold_runs(sources, family)
    main = tuple(
        replace(_run_row(spec, found, bold, marks), marks=_other_models(spec, runs, found.row.run, marks))
        for found in sources
        if found.row.run not in replicates
    )
    repeats = tuple(
        replace(_run_row(spec, found, bold, marks), marks=(marks.letter(notes.replicate_sentence(control)),))
        for found in sources
        if found.row.run in replicates
    )
    blocks = (Block(None, baselines), Block(None, main), Block(f"Replicates of {control}: noise", repeats))
    return tuple(block for block in blocks if block.rows)


def _baseline_rows(spec: TableSpec, runs: Mapping[str, ArchivedRun], marks: Marks) -> tuple[Row, ...]:
    rows = []
    for group in baseline_groups([(row.label, runs[row.run]) for row in spec.rows]):
        shared = len(group.labels) == len(spec.rows)
        mark = marks.letter(notes.baseline_sentence(group.model, () if shared else group.labels))
        accuracy, invalid = _accuracy_cell(group.correct, False, marks), _invalid_cell(group.invalid, marks)
        cells = (*(_EMPTY for _ in spec.factors), accuracy, _EMPTY, _EMPTY, invalid, _EMPTY)
        rows.append(Row(group.name, None, cells, (mark,)))
    return tuple(rows)


def _other_models(
    spec: TableSpec, runs: Mapping[str, ArchivedRun], run_id: str, marks: Marks
) -> tuple[str, ...]:
    names = model_names(runs[run_id])
    if names == model_names(runs[spec.control]):
        return ()
    return (marks.letter(notes.other_models_sentence(names)),)


def _run_row(spec: TableSpec, found: _Sources, bold: frozenset[str], marks: Marks) -> Row:
    return Row(
        found.row.label,
        found.row.run,
        (
            *(
                _setting_cell(factor, source)
                for factor, source in zip(spec.factors, found.settings, strict=True)
            ),
            _accuracy_cell(found.accuracy, found.row.run in bold, marks),
            _difference_cell(found, marks),
            _pvalue_cell(found.comparison),
            _invalid_cell(found.invalid, marks),
            _peak_cell(found.peak, marks),
        ),
    )


def _setting_cell(factor: FactorColumn, source: SettingSource) -> Cell:
    named = factor.names.get(setting_name(source.value)) if source.is_set else None
    return Cell(_narrow(named if named is not None else setting(source.value)), source)


def _accuracy_cell(source: ScoreSource | MissingSource, is_bold: bool, marks: Marks) -> Cell:
    if isinstance(source, MissingSource):
        return _missing_cell(source, marks)
    interval = Interval(source.interval_low, source.interval_high)
    return Cell((percent(source.count, source.n), percent_interval(interval)), source, is_bold=is_bold)


def _invalid_cell(source: ScoreSource | MissingSource, marks: Marks) -> Cell:
    if isinstance(source, MissingSource):
        return _missing_cell(source, marks)
    return Cell((percent(source.count, source.n),), source)


def _peak_cell(source: PeakSource | MissingSource, marks: Marks) -> Cell:
    if isinstance(source, MissingSource):
        return _missing_cell(source, marks)
    steps, of_k = ", ".join(map(str, source.steps[:2])), f"of {source.num_candidates}"
    value = percent(source.count, source.n)
    if source.corrected_fraction is not None:
        value += f"→{plain_percent(source.corrected_fraction)}"
    if len(source.steps) == 1:
        return Cell((value, f"@{steps} {of_k}"), source)
    more = ", …" if len(source.steps) > 2 else ""
    return Cell((value, f"@{steps}{more}", of_k), source)


def _missing_cell(source: MissingSource, marks: Marks) -> Cell:
    reason = source.reason[:1].upper() + source.reason[1:].rstrip(".") + "."
    return Cell((NO_DIGITS,), source, (marks.letter(reason),))


def _difference_cell(found: _Sources, marks: Marks) -> Cell:
    source = found.comparison
    if source is None:
        return _missing_cell(found.accuracy, marks) if isinstance(found.accuracy, MissingSource) else _EMPTY
    n = source.both + source.only_row + source.only_control + source.neither
    interval = Interval(source.interval_low, source.interval_high)
    return Cell((points(source.only_row - source.only_control, n), points_interval(interval)), source)


def _pvalue_cell(source: ComparisonSource | None) -> Cell:
    if source is None or source.p_holm is None:
        return _EMPTY
    return Cell((pvalue(source.p_holm),), source)


def _bold_runs(sources: list[_Sources], family: Family) -> frozenset[str]:
    scored = [(found, found.accuracy) for found in sources if isinstance(found.accuracy, ScoreSource)]
    best = max((accuracy.count for _, accuracy in scored), default=0)
    return frozenset(
        found.row.run
        for found, accuracy in scored
        if accuracy.count == best
        and found.comparison is not None
        and is_improvement(found.comparison, family.noise)
    )


def _general_notes(
    control: str,
    sources: list[_Sources],
    family: Family,
    blocks: tuple[Block, ...],
    names: Mapping[str, str],
    against: Sequence[FrozenComparison],
    files: Sequence[Files],
) -> list[str]:
    scores = [found.accuracy for found in sources if isinstance(found.accuracy, ScoreSource)]
    peaks = [found.peak for found in sources if isinstance(found.peak, PeakSource)]
    is_any_bold = any(cell.is_bold for block in blocks for row in block.rows for cell in row.cells)
    sentences = [
        notes.accuracy_sentence(scores, files),
        notes.comparison_sentence(family, control, names),
        notes.discordance_sentence(family, names) if family.by_run else None,
        notes.power_sentence(family),
        *(notes.frozen_sentence(found) for found in against),
        notes.floor_sentence(family.noise),
        notes.peak_sentence(peaks),
        notes.noise_sentence(scores, names),
        notes.bold_sentence(is_any_bold, family.noise) if family.tested else None,
        notes.DASH_SENTENCE if _has_dash(blocks) else None,
    ]
    return [sentence for sentence in sentences if sentence is not None]


def _with_warnings(block: Block, warnings: Mapping[str, tuple[str, ...]], marks: Marks) -> Block:
    """Return *block* with a mark at each row whose run has open warnings."""
    rows = tuple(
        replace(row, marks=(*row.marks, marks.letter(notes.warnings_sentence(warnings[row.run_id]))))
        if row.run_id is not None and warnings.get(row.run_id)
        else row
        for row in block.rows
    )
    return replace(block, rows=rows)


def _with_waived(block: Block, waived: Mapping[str, tuple[WaivedError, ...]], marks: Marks) -> Block:
    """Return *block* with a mark at each row for each error of its run that a person accepted."""
    rows = tuple(
        replace(
            row,
            marks=(
                *row.marks,
                *(marks.letter(text) for text in notes.waived_sentences(waived.get(row.run_id or "", ()))),
            ),
        )
        for row in block.rows
    )
    return replace(block, rows=rows)


def _has_dash(blocks: Sequence[Block]) -> bool:
    return any(NO_DIGITS in cell.lines for block in blocks for row in block.rows for cell in row.cells)


def _narrow(text: str) -> tuple[str, ...]:
    return tuple(textwrap.wrap(text, _FACTOR_WIDTH, break_long_words=False, break_on_hyphens=False)) or ("",)
