"""What a person asks a table of measures to show: ``paper_tables/*.toml`` of kind ``measures``.

Columns are measures of any program, rows are runs, or several runs that differ in their seed.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from runkit.records.measurement import Direction
from runkit.records.record import Record, RunId
from runkit.records.tablespec import FactorColumn, refuse_unknown_keys, spec_mapping

KIND = "measures"


class MeasureColumn(Record):
    """One measure as a column."""

    measure: str
    """Selector, for example ``gsm8k/exact_match`` or ``loss@final``."""
    label: str | None = None
    """Header; null: the metric's name."""
    direction: Direction | None = None
    """Which way is better, where the runs do not say it."""
    compare: bool = True
    """Whether differences from the control stand beside it."""


class MeasureRow(Record):
    """One configuration as a row: one run, or several that differ in their seed."""

    label: str
    run: RunId | None = None
    runs: tuple[RunId, ...] = ()

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs of the row."""
        return self.runs if self.run is None else (self.run,)

    @model_validator(mode="after")
    def _has_runs(self) -> Self:
        if (self.run is None) == (not self.runs):
            raise ValueError("a row has either run or runs")
        return self


class MeasureTableSpec(Record):
    """A table of measures."""

    format: Literal[1]
    kind: Literal["measures"]
    caption: str
    label: str = Field(pattern=r"^[A-Za-z0-9:_-]+$")
    """For ``\\ref``, for example ``tab:results``."""
    measures: tuple[MeasureColumn, ...] = Field(min_length=1)
    rows: tuple[MeasureRow, ...] = Field(min_length=1)
    control: str | None = None
    """Label of the row that every other one is compared with; null: nothing is compared."""
    factors: tuple[FactorColumn, ...] = ()
    paired_seeds: bool = False
    """Whether run *i* of a row and of the control share a seed that does something to both alike."""
    caption_side: Literal["above", "below"] = "above"
    columns: Literal["one", "both"] = "one"

    @classmethod
    def parse_toml(cls, text: str, *, origin: str) -> Self:
        """Return the specification that *text* says.

        Raises:
            RecordInvalid: Not TOML, a misspelled key (with the nearest one), or a bad field.
        """
        mapping = spec_mapping(text, origin=origin)
        parts: dict[str, type[Record]] = {
            "rows": MeasureRow,
            "factors": FactorColumn,
            "measures": MeasureColumn,
        }
        refuse_unknown_keys(mapping, cls, parts, origin=origin)
        return cls.from_mapping(mapping, origin=origin)

    @model_validator(mode="after")
    def _rows_are_distinct(self) -> Self:
        labels = [row.label for row in self.rows]
        runs = [run for row in self.rows for run in row.run_ids]
        measures = [one.measure for one in self.measures]
        for what, names in (("label", labels), ("run", runs), ("measure", measures)):
            repeated = next((name for name in names if names.count(name) > 1), None)
            if repeated is not None:
                raise ValueError(f"{what} {repeated!r} is given twice; a table names each of them once")
        if self.control is not None and self.control not in labels:
            raise ValueError(f"the control {self.control!r} is the label of no row")
        return self


def is_measure_spec(text: str, *, origin: str) -> bool:
    """Return whether the specification *text* asks for a table of measures.

    Raises:
        RecordInvalid: Not TOML.
    """
    return spec_mapping(text, origin=origin).get("kind") == KIND
