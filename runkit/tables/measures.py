"""The table of measures: any metric of any program, over one run a row or over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from runkit.errors import TableRefused
from runkit.records.cells import (
    NO_DIGITS,
    Block,
    Cell,
    Column,
    DifferenceSource,
    MeasureSource,
    MissingSource,
    Note,
    Row,
    RunSource,
    SettingSource,
    Table,
)
from runkit.records.finding import Finding
from runkit.records.items import ItemScores
from runkit.records.measurement import EVIDENCE_KINDS, Direction, Score
from runkit.records.measurespec import MeasureColumn, MeasureRow, MeasureTableSpec
from runkit.records.schema import settings_in_effect
from runkit.records.selector import select, spelled
from runkit.stats.compare import Compared, compare
from runkit.stats.multiplicity import holm
from runkit.stats.pairing import RESAMPLING_SEED, incomparable, limits_of, paired
from runkit.stats.rounding import measured_value, plain_percent, pvalue, stored
from runkit.stats.sides import ItemKind, Items, Scalars, Side
from runkit.stats.summary import Summarised, summarise
from runkit.tables.comparing import SIGNIFICANT_BELOW
from runkit.tables.guards import WaivedError, check_run
from runkit.tables.marks import Marks
from runkit.tables.measured import ArchivedRun, spoken_evidence
from runkit.tables.notes import waived_sentences, warnings_sentence
from runkit.tables.settings import setting, setting_name

_EMPTY = Cell()
_PERCENT_UNIT = "fraction"


@dataclass(frozen=True)
class _Measured:
    """One measure of one row: the score of each run, and their items in one order where all have the same."""

    row: MeasureRow
    runs: tuple[RunSource, ...]
    scores: tuple[Score, ...]
    items: tuple[ItemScores, ...]
    """Empty when the scores are compared as scalars."""
    because: str | None
    """Why there are no common items; None when there are."""
    num_candidates: int

    @property
    def values(self) -> list[float | None]:
        return [score.value for score in self.scores]

    @property
    def side(self) -> Side:
        return Items([one.values for one in self.items]) if self.items else Scalars(self.values)

    @property
    def kind(self) -> ItemKind:
        kind = self.scores[0].metric.kind
        return "real" if kind == "scalar" else kind


@dataclass(frozen=True)
class _Against:
    """One row against the control."""

    found: Compared | None
    refused: str | None
    p_holm: float | None
    family: tuple[str, ...]


def measure_table(
    spec: MeasureTableSpec,
    runs: Mapping[str, ArchivedRun],
    *,
    blocking: Mapping[str, Finding],
    warnings: Mapping[str, tuple[str, ...]],
    waived: Mapping[str, tuple[WaivedError, ...]],
) -> Table:
    """Return the table that *spec* asks for; arguments as of :func:`ablation_table`.

    Raises:
        UnknownName: A run, measure or setting does not exist.
        UsageError: A measure names several scores of a run.
        TableRefused: The archive does not prove what would be printed, or runs of a row measure two things.
    """
    for row in spec.rows:
        for run_id in row.run_ids:
            check_run(run_id, runs, blocking)
    measured = [[_measured(row, column, runs) for row in spec.rows] for column in spec.measures]
    against = [_compared(spec, column, found) for column, found in zip(spec.measures, measured, strict=True)]
    marks = Marks()
    rows = tuple(
        _row(spec, index, measured, against, runs, warnings, waived, marks) for index in range(len(spec.rows))
    )
    return Table(
        caption=spec.caption,
        label=spec.label,
        caption_side=spec.caption_side,
        spans_both_columns=spec.columns == "both",
        stub_header="Run",
        columns=tuple(_columns(spec, measured)),
        blocks=(Block(None, rows),),
        notes=(
            *(Note("", text) for text in _notes(spec, measured, against)),
            *(Note(letter, text) for text, letter in marks.letters.items()),
        ),
    )


def _measured(row: MeasureRow, column: MeasureColumn, runs: Mapping[str, ArchivedRun]) -> _Measured:
    chosen = [select(runs[run_id].manifest.sealed, column.measure) for run_id in row.run_ids]
    scores = tuple(_directed(one.score, column.direction) for one in chosen)
    for run_id, score in zip(row.run_ids, scores, strict=True):
        reason = incomparable(scores[0], score)
        if reason is not None or score.metric.kind != scores[0].metric.kind:
            raise TableRefused(
                f"row {row.label!r}, {column.measure}: the runs {row.run_ids[0]} and {run_id} do not measure "
                f"the same: {reason or 'one has items of another kind'}; put them into rows of their own"
            )
    first = runs[row.run_ids[0]].items.get(scores[0].key)
    together: list[ItemScores] = []
    because = None if first is not None else "no item scores are kept"
    for run_id, score in zip(row.run_ids, scores, strict=True):
        pair = paired(scores[0], score, first, runs[run_id].items.get(score.key))
        if pair.second_items is None:
            because = because or f"its runs cannot be paired by item: {pair.not_paired_because}"
            break
        together.append(pair.second_items)
    return _Measured(
        row=row,
        runs=tuple(runs[run_id].source for run_id in row.run_ids),
        scores=scores,
        items=() if because is not None else tuple(together),
        because=because,
        num_candidates=max(one.num_candidates for one in chosen),
    )


def _directed(score: Score, direction: Direction | None) -> Score:
    if direction is None:
        return score
    return score.model_copy(update={"metric": score.metric.model_copy(update={"direction": direction})})


def _compared(
    spec: MeasureTableSpec, column: MeasureColumn, measured: Sequence[_Measured]
) -> list[_Against | None]:
    """Return each row against the control; None for the control, and where nothing is compared."""
    if spec.control is None or not column.compare:
        return [None] * len(measured)
    control = next(one for one in measured if one.row.label == spec.control)
    found = [None if one is control else _pair(spec, one, control) for one in measured]
    tested = [one for one in found if one is not None and one.found is not None and one.found.p is not None]
    adjusted = iter(holm([one.found.p for one in tested if one.found and one.found.p is not None]))
    family = tuple(
        one.row.label
        for one, other in zip(measured, found, strict=True)
        if other is not None and other in tested
    )
    return [
        replace(one, p_holm=next(adjusted), family=family) if one is not None and one in tested else one
        for one in found
    ]


def _pair(spec: MeasureTableSpec, one: _Measured, control: _Measured) -> _Against:
    reason = incomparable(one.scores[0], control.scores[0])
    if reason is not None:
        return _Against(None, reason, None, ())
    pair = None
    if one.items and control.items:
        pair = paired(one.scores[0], control.scores[0], one.items[0], control.items[0])
    if pair is None or pair.second_items is None:
        sides: tuple[Side, Side] = (Scalars(one.values), Scalars(control.values))
        clusters = None
        because = pair.not_paired_because if pair is not None else one.because or control.because
    else:
        ordered = [
            paired(one.scores[0], control.scores[0], one.items[0], other).second_items
            for other in control.items
        ]
        sides = (one.side, Items([other.values for other in ordered if other is not None]))
        clusters, because = one.items[0].clusters, None
    shares = spec.paired_seeds and len(one.scores) == len(control.scores) > 1
    limits = limits_of(one.scores[0].metric)
    found = compare(
        *sides, kind=one.kind, seed=RESAMPLING_SEED, are_seeds_shared=shares, clusters=clusters, limits=limits
    )
    return _Against(found, because, None, ())


def _columns(spec: MeasureTableSpec, measured: Sequence[Sequence[_Measured]]) -> list[Column]:
    columns = [Column(factor.key, (factor.label,), "center") for factor in spec.factors]
    for asked, found in zip(spec.measures, measured, strict=True):
        metric = found[0].scores[0].metric
        arrow = {"higher": " ↑", "lower": " ↓", None: ""}[metric.direction]
        unit = "%" if metric.unit == _PERCENT_UNIT else metric.unit if metric.unit not in (None, "1") else ""
        name = f"{asked.label or metric.name}{arrow}"
        columns.append(Column(asked.measure, (name, unit) if unit else (name,), "center"))
        if spec.control is not None and asked.compare:
            points = "points" if unit == "%" else unit
            columns.append(
                Column(f"{asked.measure} difference", ("Δ", points) if points else ("Δ",), "center")
            )
            columns.append(Column(f"{asked.measure} p", ("p", "Holm"), "center"))
    return columns


def _row(
    spec: MeasureTableSpec,
    index: int,
    measured: Sequence[Sequence[_Measured]],
    against: Sequence[Sequence[_Against | None]],
    runs: Mapping[str, ArchivedRun],
    warnings: Mapping[str, tuple[str, ...]],
    waived: Mapping[str, tuple[WaivedError, ...]],
    marks: Marks,
) -> Row:
    row = spec.rows[index]
    cells = [_setting_cell(row, factor.key, factor.names, runs) for factor in spec.factors]
    for asked, found, compared in zip(spec.measures, measured, against, strict=True):
        cells.append(_value_cell(found[index], _is_best(index, found, compared), marks))
        if spec.control is not None and asked.compare:
            control = next(one for one in found if one.row.label == spec.control)
            cells += _difference_cells(found[index], control, compared[index], marks)
    texts = [
        sentence
        for run_id in row.run_ids
        for sentence in (
            *([warnings_sentence(warnings[run_id])] if warnings.get(run_id) else []),
            *waived_sentences(waived.get(run_id, ())),
        )
    ]
    return Row(
        row.label,
        row.run_ids[0] if len(row.run_ids) == 1 else None,
        tuple(cells),
        tuple(dict.fromkeys(marks.letter(text) for text in texts)),
    )


def _setting_cell(
    row: MeasureRow, key: str, names: Mapping[str, str], runs: Mapping[str, ArchivedRun]
) -> Cell:
    found = [settings_in_effect(runs[run_id].manifest.sealed) for run_id in row.run_ids]
    values = {setting_name(one.get(key)) if key in one else NO_DIGITS for one in found}
    first = runs[row.run_ids[0]]
    source = SettingSource(
        runs=tuple(runs[run_id].source for run_id in row.run_ids),
        key=key,
        is_set=key in found[0],
        value=found[0].get(key),
        evidence=spoken_evidence(first.manifest.sealed.configuration.evidence),
    )
    if len(values) > 1:
        raise TableRefused(
            f"row {row.label!r}: its runs have {key} = {', '.join(sorted(values))}; runs of a row differ in "
            "their seed only"
        )
    (value,) = values
    return Cell((names.get(value, setting(found[0][key]) if key in found[0] else NO_DIGITS),), source)


def _value_cell(found: _Measured, is_best: bool, marks: Marks) -> Cell:
    score = found.scores[0]
    if any(one.value is None for one in found.scores):
        reason = next(one.missing_because or "not measured" for one in found.scores if one.value is None)
        source = MissingSource(runs=found.runs, what=spelled(score), reason=reason)
        sentence = reason[:1].upper() + reason[1:].rstrip(".") + "."
        return Cell((NO_DIGITS,), source, (marks.letter(sentence),))
    clusters = found.items[0].clusters if found.items else None
    own = summarise(
        found.side, kind=found.kind, seed=RESAMPLING_SEED, clusters=clusters, limits=limits_of(score.metric)
    )
    evidence = max((one.evidence or "reported" for one in found.scores), key=EVIDENCE_KINDS.index)
    source_of = MeasureSource(
        runs=found.runs,
        measure=spelled(score),
        unit=score.metric.unit,
        values=tuple(stored(one.value) for one in found.scores if one.value is not None),
        mean=stored(own.mean if own.mean is not None else score.value or 0.0),
        deviation=None if own.spread.deviation is None else stored(own.spread.deviation),
        interval_low=None if own.low is None else stored(own.low),
        interval_high=None if own.high is None else stored(own.high),
        n=own.n or score.n,
        num_dropped=own.num_dropped,
        num_candidates=found.num_candidates,
        method=own.method,
        evidence_kind=evidence,
        evidence=tuple(_place(one) for one in found.scores),
        items_sha256=score.items_sha256 if found.items else None,
    )
    note: tuple[str, ...] = ()
    if found.num_candidates > 1:
        note = (marks.letter(f"The best of {found.num_candidates} steps, so too good by chance."),)
    return Cell(_value_lines(score, own), source_of, note, is_bold=is_best)


def _place(score: Score) -> str:
    line = f":{score.line}" if score.line is not None else ""
    return f"{score.path or 'no file'}{line}"


def _value_lines(score: Score, own: Summarised) -> tuple[str, ...]:
    unit = score.metric.unit
    mean = own.mean if own.mean is not None else score.value or 0.0
    spoken = _spoken(mean, unit)
    deviation = own.spread.deviation
    if deviation is not None:
        spoken += f" ± {_spoken(deviation, unit)}"
    if own.low is None or own.high is None:
        return (spoken,)
    return (spoken, f"[{_spoken(own.low, unit)}, {_spoken(own.high, unit)}]")


def _spoken(value: float, unit: str | None, *, is_difference: bool = False) -> str:
    text = plain_percent(abs(value)) if unit == _PERCENT_UNIT else measured_value(abs(value))
    if not any(digit in "123456789" for digit in text):
        return text
    return ("−" if value < 0 else "+" if is_difference else "") + text


def _difference_cells(
    found: _Measured, control: _Measured, against: _Against | None, marks: Marks
) -> list[Cell]:
    if against is None or against.found is None or against.found.difference is None:
        if against is None or against.refused is None:
            return [_EMPTY, _EMPTY]
        reason = f"Not compared with the control: {against.refused}."
        source = MissingSource(runs=found.runs, what="difference", reason=against.refused)
        return [Cell((NO_DIGITS,), source, (marks.letter(reason),)), _EMPTY]
    one, unit = against.found, found.scores[0].metric.unit
    difference = one.difference or 0.0
    source_of = DifferenceSource(
        runs=(*found.runs, *control.runs),
        measure=spelled(found.scores[0]),
        difference=stored(difference),
        interval_low=None if one.low is None else stored(one.low),
        interval_high=None if one.high is None else stored(one.high),
        n=one.n,
        num_dropped=one.num_dropped,
        p=one.p,
        p_holm=against.p_holm,
        family=against.family,
        method=one.method,
        not_paired_because=against.refused,
    )
    lines: tuple[str, ...] = (_spoken(difference, unit, is_difference=True),)
    if one.low is not None and one.high is not None:
        ends = (_spoken(end, unit, is_difference=True) for end in (one.low, one.high))
        lines = (*lines, f"[{', '.join(ends)}]")
    p = Cell((pvalue(against.p_holm),), source_of) if against.p_holm is not None else _EMPTY
    return [Cell(lines, source_of), p]


def _is_best(index: int, found: Sequence[_Measured], against: Sequence[_Against | None]) -> bool:
    """Return whether this row is proven better than the control and no other value is better."""
    direction, compared = found[0].scores[0].metric.direction, against[index]
    if direction is None or compared is None or compared.found is None or compared.p_holm is None:
        return False
    sign = 1.0 if direction == "higher" else -1.0
    gain = sign * (compared.found.difference or 0.0)
    means = [_mean(one) for one in found]
    own = means[index]
    known = [sign * mean for mean in means if mean is not None]
    return gain > 0 and compared.p_holm < SIGNIFICANT_BELOW and own is not None and sign * own == max(known)


def _mean(found: _Measured) -> float | None:
    values = [value for value in found.values if value is not None]
    return sum(values) / len(values) if values and len(values) == len(found.values) else None


def _notes(
    spec: MeasureTableSpec,
    measured: Sequence[Sequence[_Measured]],
    against: Sequence[Sequence[_Against | None]],
) -> list[str]:
    sentences = []
    for asked, found, compared in zip(spec.measures, measured, against, strict=True):
        name = asked.label or found[0].scores[0].metric.name
        kinds = {one.evidence for row in found for one in row.scores if one.evidence is not None}
        numbers = sorted({one.n for row in found for one in row.scores if one.n is not None})
        over = f", n = {' and '.join(f'{n:,}' for n in numbers[:3])}" if numbers else ""
        proof = ", ".join(kind.replace("_", " ") for kind in EVIDENCE_KINDS if kind in kinds)
        sentences.append(f"{name}: {spelled(found[0].scores[0])}{over}; {proof}.")
        methods = dict.fromkeys(
            one.found.method for one in compared if one is not None and one.found is not None
        )
        sentences += [f"Δ of {name} against {spec.control}: {method}" for method in methods]
        family = next((one.family for one in compared if one is not None and one.family), ())
        if family:
            sentences.append(
                f"p of {name} is Holm-adjusted over {len(family)} row{'s' if len(family) > 1 else ''}."
            )
    if any(len(row.run_ids) > 1 for row in spec.rows):
        counts = sorted({len(row.run_ids) for row in spec.rows})
        sentences.append(f"Mean ± standard deviation over {' or '.join(map(str, counts))} runs a row.")
    if any(_is_best(index, found, one) for found, one in zip(measured, against, strict=True)
           for index in range(len(found))):  # fmt: skip
        sentences.append(
            f"Bold: best, and proven better than the control (Holm-adjusted p below {SIGNIFICANT_BELOW})."
        )
    return sentences
