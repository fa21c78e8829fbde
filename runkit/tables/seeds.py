"""The table over training seeds: what a change does with any seed, on any items, and not with one of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Literal, NamedTuple

from runkit.errors import TableRefused
from runkit.records.cells import (
    Block,
    Cell,
    ChangesSource,
    Column,
    Note,
    Row,
    ScoreSource,
    SeedComparisonSource,
    SeedScoreSource,
    Table,
)
from runkit.records.finding import Finding
from runkit.records.seedspec import SeedTableSpec
from runkit.stats.multiplicity import holm
from runkit.stats.proportions import Interval
from runkit.stats.rounding import percent, percent_interval, points, points_interval, pvalue, stored
from runkit.stats.seeds import SeedsDifference, difference_over_seeds, seeds_by_items
from runkit.tables import notes
from runkit.tables.baselines import BaselineGroup, baseline_groups
from runkit.tables.guards import WaivedError, check_run
from runkit.tables.measured import BRIDGED, ArchivedRun, Files, spoken_evidence
from runkit.tables.seed_rows import SEED, Change, Changes, MeasuredRow, measured_rows

_EMPTY = Cell()

_CHANGES_WIDTH = 22
"""Characters after which the value of a changed setting stands in a line of its own."""


class _Compared(NamedTuple):
    """A row, or a frozen model (then *row* is the control), against the control's bridge."""

    label: str
    row: MeasuredRow
    system: str
    difference: SeedsDifference


def seed_table(
    spec: SeedTableSpec,
    runs: Mapping[str, ArchivedRun],
    *,
    changes: Changes,
    blocking: Mapping[str, Finding],
    waived: Mapping[str, tuple[WaivedError, ...]] | None = None,
) -> Table:
    """Return the table that *spec* asks for.

    Args:
        runs: The runs of the archive, by id; more than the table needs is fine.
        changes: Compares two runs.
        blocking: Run id to the finding that keeps it out of any table.
        waived: Run id to its errors that a person accepted, each a note of the table.
    Raises:
        UnknownName: A run does not exist.
        TableRefused: The archive does not prove what would be printed: runs of a row that differ in more
            than their seed, rows with other seeds or items than the control, a run that did not finish.
    """
    for row in spec.rows:
        for run_id in row.runs:
            check_run(run_id, runs, blocking)
    measured = measured_rows(spec, runs, changes)
    control = next(row for row in measured if row.label == spec.control)
    baselines = _baselines(measured)
    family = _family(measured, control, baselines)
    changed = {row.label: _changed(row, control, changes) for row in measured if row is not control}
    names = _shortest_names({change.key for found in changed.values() for change in found})
    blocks = (
        Block(None, tuple(_baseline_row(group, family) for group in baselines)),
        Block(
            None,
            tuple(
                _row(row, family, _changes_cell(row, control, changed.get(row.label, ()), names))
                for row in measured
            ),
        ),
    )
    files = [runs[run_id].files for row in spec.rows for run_id in row.runs]
    return Table(
        caption=spec.caption,
        label=spec.label,
        caption_side=spec.caption_side,
        spans_both_columns=spec.columns == "both",
        stub_header="Bridge",
        columns=_COLUMNS,
        blocks=tuple(block for block in blocks if block.rows),
        notes=tuple(
            Note("", text) for text in (*_notes(control, family, files), *_waived_notes(spec, waived or {}))
        ),
    )


_COLUMNS = (
    Column("changes", ("Changed",), "left"),
    Column("accuracy", ("Accuracy", "%, mean"), "center"),
    Column("seeds", ("Seeds", "min, max"), "center"),
    Column("difference", ("Δ", "points"), "center"),
    Column("p", ("p", "Holm"), "center"),
    Column("invalid", ("Invalid", "%"), "center"),
)


def _baselines(measured: Sequence[MeasuredRow]) -> tuple[BaselineGroup, ...]:
    """Return the frozen models alone; where runs disagree about one, it has several entries."""
    return baseline_groups([(run.run_id, run) for row in measured for run in row.runs])


_Family = Mapping[str, SeedComparisonSource]
"""All comparisons of a table, by the label of the row; Holm's family."""


def _family(
    measured: Sequence[MeasuredRow], control: MeasuredRow, baselines: Sequence[BaselineGroup]
) -> _Family:
    compared = [
        *(_baseline_compared(group, control) for group in baselines if _is_of_all(group, measured)),
        *(_compared(row.label, row, BRIDGED, control) for row in measured if row is not control),
    ]
    adjusted = holm([one.difference.crossed_p for one in compared])
    labels = tuple(one.label for one in compared)
    sources = [
        _comparison_source(one, control, p_holm, labels)
        for one, p_holm in zip(compared, adjusted, strict=True)
    ]
    return dict(zip(labels, sources, strict=True))


def _is_of_all(group: BaselineGroup, measured: Sequence[MeasuredRow]) -> bool:
    return len(group.labels) == sum(len(row.runs) for row in measured)


def _baseline_compared(group: BaselineGroup, control: MeasuredRow) -> _Compared:
    return _compared(group.name, control, group.correct.system, control)


def _compared(label: str, row: MeasuredRow, system: str, control: MeasuredRow) -> _Compared:
    difference = difference_over_seeds(row.correct(system), control.correct(BRIDGED), are_seeds_shared=True)
    return _Compared(label, row, system, difference)


def _comparison_source(
    one: _Compared, control: MeasuredRow, p_holm: float, family: tuple[str, ...]
) -> SeedComparisonSource:
    here, there, found = one.row.correct(one.system), control.correct(BRIDGED), one.difference
    evaluation, is_control = control.evaluations[0], one.row is control
    return SeedComparisonSource(
        runs=tuple(run.source for run in (*(() if is_control else one.row.runs), *control.runs)),
        seeds=control.seeds, evaluation=evaluation.label, split=evaluation.split,
        systems=(one.system, BRIDGED), n=found.num_items,
        only_row=tuple(_only(a, b) for a, b in zip(here, there, strict=True)),
        only_control=tuple(_only(b, a) for a, b in zip(here, there, strict=True)),
        estimator="crossed-t-95", interval_low=stored(found.crossed_interval.low),
        interval_high=stored(found.crossed_interval.high),
        seed_standard_error=stored(found.seed_standard_error),
        item_standard_error=stored(found.item_standard_error),
        crossed_standard_error=stored(found.crossed_standard_error),
        degrees_of_freedom=stored(found.crossed_degrees_of_freedom),
        test="crossed-t", p=stored(found.crossed_p), p_holm=stored(p_holm), family=family,
        items_sha256=evaluation.items_sha256, evidence=one.row.evidence,
    )  # fmt: skip


def _only(first: Sequence[bool], second: Sequence[bool]) -> int:
    return sum(here and not there for here, there in zip(first, second, strict=True))


def _score_source(row: MeasuredRow, outcome: Literal["correct", "invalid"]) -> SeedScoreSource:
    hits = [tuple(one == outcome for one in found.outcomes(BRIDGED)) for found in row.outcomes]
    interval, first = seeds_by_items(hits).crossed_interval, row.evaluations[0]
    return SeedScoreSource(
        runs=tuple(run.source for run in row.runs), seeds=row.seeds,
        evaluation=first.label, split=first.split, system=BRIDGED, outcome=outcome,
        counts=tuple(map(sum, hits)), n=len(hits[0]),
        estimator="crossed-t-95", interval_low=stored(interval.low), interval_high=stored(interval.high),
        evidence_kind="recomputed", evidence=row.evidence, items_sha256=first.items_sha256,
    )  # fmt: skip


def _row(row: MeasuredRow, family: _Family, changes_cell: Cell) -> Row:
    correct = _score_source(row, "correct")
    spread = (percent(min(correct.counts), correct.n), percent(max(correct.counts), correct.n))
    return Row(
        row.label,
        None,
        (
            changes_cell,
            Cell((_mean(correct), percent_interval(_interval(correct))), correct),
            Cell((", ".join(spread),), correct),
            *_comparison_cells(family.get(row.label)),
            _invalid_cell(_score_source(row, "invalid")),
        ),
    )


def _baseline_row(group: BaselineGroup, family: _Family) -> Row:
    score = group.correct
    return Row(
        group.name,
        None,
        (
            _EMPTY,
            Cell((percent(score.count, score.n), percent_interval(_interval(score))), score),
            _EMPTY,
            *_comparison_cells(family.get(group.name)),
            Cell((percent(group.invalid.count, group.invalid.n),), group.invalid),
        ),
    )


def _changed(row: MeasuredRow, control: MeasuredRow, changes: Changes) -> Sequence[Change]:
    found = [change for change in changes(row.runs[0], control.runs[0]) if change.key != SEED]
    if not found:
        raise TableRefused(
            f"row {row.label!r} has the control's configuration, so it is no ablation of it; leave it out"
        )
    return found


def _shortest_names(keys: Set[str]) -> dict[str, str]:
    """Return each key without its section, or whole where another section has a key of that name.

    >>> names = _shortest_names({"bridge.kind", "source_align.kind", "loss.kl_weight"})
    >>> sorted(names.values())
    ['bridge.kind', 'kl_weight', 'source_align.kind']
    """
    last = {key: key.rpartition(".")[2] for key in keys}
    times = Counter(last.values())
    return {key: name if times[name] == 1 else key for key, name in last.items()}


def _changes_cell(
    row: MeasuredRow, control: MeasuredRow, found: Sequence[Change], names: Mapping[str, str]
) -> Cell:
    if not found:
        return _EMPTY
    texts = [f"{names[change.key]} = {change.value.strip(chr(34))}" for change in found]
    source = ChangesSource(
        runs=(row.runs[0].source, control.runs[0].source),
        changed={change.key: change.value for change in found},
        evidence=spoken_evidence(row.runs[0].manifest.sealed.configuration.evidence),
    )
    lines = [*(f"{text}," for text in texts[:-1]), texts[-1]]
    return Cell(tuple(part for line in lines for part in _narrow(line)), source)


def _narrow(line: str) -> tuple[str, ...]:
    """Return *line* in one or two lines, the second one with the value.

    >>> _narrow("kl_weight = 0.6"), _narrow("prompt_alignment_weight = 0.5")
    (('kl_weight = 0.6',), ('prompt_alignment_weight', '= 0.5'))
    """
    if len(line) <= _CHANGES_WIDTH:
        return (line,)
    key, _, value = line.partition(" = ")
    return key, f"= {value}"


def _comparison_cells(source: SeedComparisonSource | None) -> tuple[Cell, Cell]:
    if source is None:
        return _EMPTY, _EMPTY
    gained = sum(source.only_row) - sum(source.only_control)
    difference = points(gained, source.n * len(source.seeds))
    return (
        Cell((difference, points_interval(Interval(source.interval_low, source.interval_high))), source),
        Cell((pvalue(source.p_holm),), source),
    )


def _invalid_cell(source: SeedScoreSource) -> Cell:
    return Cell((_mean(source),), source)


def _mean(source: SeedScoreSource) -> str:
    return percent(sum(source.counts), source.n * len(source.counts))


def _interval(source: SeedScoreSource | ScoreSource) -> Interval:
    return Interval(source.interval_low, source.interval_high)


def _waived_notes(spec: SeedTableSpec, waived: Mapping[str, tuple[WaivedError, ...]]) -> Iterator[str]:
    for row in spec.rows:
        for run_id in row.runs:
            yield from notes.waived_sentences(waived.get(run_id, ()), [row.label, run_id])


def _notes(control: MeasuredRow, family: _Family, files: Sequence[Files]) -> tuple[str, ...]:
    evaluation = control.evaluations[0]
    return (
        notes.seeds_sentence(
            control.seeds, n=len(control.outcomes[0].items), split=evaluation.split, files=files
        ),
        notes.seeds_interval_sentence(),
        notes.seeds_comparison_sentence(control.label, tuple(family)),
    )
