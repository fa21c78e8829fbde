"""What a person asks a table over training seeds to show: ``paper_tables/*.toml`` of kind ``seeds``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from runkit.records.record import Record, RunId
from runkit.records.tablespec import refuse_unknown_keys, spec_mapping

KIND = "seeds"


class SeedRow(Record):
    """One configuration, trained with several seeds, as a row."""

    label: str
    runs: tuple[RunId, ...] = Field(min_length=2)
    """One run a seed; they differ in nothing else, which is checked."""


class SeedTableSpec(Record):
    """A table over seeds: rows of several runs, one of them the control of all others."""

    format: Literal[1]
    kind: Literal["seeds"]
    caption: str
    label: str = Field(pattern=r"^[A-Za-z0-9:_-]+$")
    """For ``\\ref``, for example ``tab:seeds``."""
    control: str
    """Label of the row that every other one is compared with, seed by seed and item by item."""
    rows: tuple[SeedRow, ...] = Field(min_length=1)
    caption_side: Literal["above", "below"] = "above"
    columns: Literal["one", "both"] = "one"

    @classmethod
    def parse_toml(cls, text: str, *, origin: str) -> Self:
        """Return the specification that *text* says.

        Raises:
            RecordInvalid: Not TOML, a misspelled key (with the nearest one), or a bad field.
        """
        mapping = spec_mapping(text, origin=origin)
        refuse_unknown_keys(mapping, cls, {"rows": SeedRow}, origin=origin)
        return cls.from_mapping(mapping, origin=origin)

    @model_validator(mode="after")
    def _rows_are_distinct(self) -> Self:
        labels, runs = [row.label for row in self.rows], [run for row in self.rows for run in row.runs]
        for what, names in (("label", labels), ("run", runs)):
            repeated = next((name for name in names if names.count(name) > 1), None)
            if repeated is not None:
                raise ValueError(f"{what} {repeated!r} is given twice; a table names each of them once")
        if self.control not in labels:
            raise ValueError(f"the control {self.control!r} is the label of no row")
        return self


def is_seed_spec(text: str, *, origin: str) -> bool:
    """Return whether the specification *text* asks for a table over seeds.

    Raises:
        RecordInvalid: Not TOML.
    """
    return spec_mapping(text, origin=origin).get("kind") == KIND
