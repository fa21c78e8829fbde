"""What a person asks a table to show: the TOML files in ``paper_tables/``."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from runkit.errors import RecordInvalid
from runkit.records.record import Record, RunId, TextMap


class FactorColumn(Record):
    """A configuration key as a column."""

    key: str
    """Key of the effective configuration, for example ``bridge.conditioning``."""
    label: str
    names: TextMap = Field(default_factory=dict)
    """Value of the configuration, as text, to what is printed instead of it."""


class TableRow(Record):
    """One run as a row."""

    run: RunId
    label: str


class TableSpec(Record):
    """An ablation table: a control, rows, and the factors that tell them apart."""

    format: Literal[1]
    caption: str
    label: str = Field(pattern=r"^[A-Za-z0-9:_-]+$")
    """For ``\\ref``, for example ``tab:ablation``."""
    control: RunId
    """The run that every other row is compared with."""
    rows: tuple[TableRow, ...] = Field(min_length=1)
    """In the order of printing; the control is among them."""
    factors: tuple[FactorColumn, ...] = ()
    caption_side: Literal["above", "below"] = "above"
    """Above for NeurIPS, ICML and ICLR; below for ACL and COLM."""
    columns: Literal["one", "both"] = "one"
    """In a layout of two columns: whether the table spans ``one`` column or ``both``."""

    @classmethod
    def parse_toml(cls, text: str, *, origin: str) -> Self:
        """Return the specification that *text* says.

        Args:
            origin: Where the text came from, for the message; usually a path.
        Raises:
            RecordInvalid: Not TOML, a misspelled key (with the nearest one), or a bad field.
        """
        mapping = spec_mapping(text, origin=origin)
        refuse_unknown_keys(mapping, cls, {"rows": TableRow, "factors": FactorColumn}, origin=origin)
        return cls.from_mapping(mapping, origin=origin)

    @model_validator(mode="after")
    def _rows_are_distinct(self) -> Self:
        for what, names in (
            ("run", [row.run for row in self.rows]),
            ("label", [row.label for row in self.rows]),
            ("factor", [factor.key for factor in self.factors]),
        ):
            repeated = next((name for name in names if names.count(name) > 1), None)
            if repeated is not None:
                raise ValueError(f"{what} {repeated!r} is given twice; a table names each of them once")
        return self


def spec_mapping(text: str, *, origin: str) -> dict[str, Any]:
    """Return the keys that *text* gives.

    Raises:
        RecordInvalid: Not TOML.
    """
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise RecordInvalid(f"{origin} is not valid TOML: it is nested too deeply") from error
    except ValueError as error:  # a number with thousands of digits is one that says so
        raise RecordInvalid(f"{origin} is not valid TOML: {error}") from error


def refuse_unknown_keys(
    mapping: Mapping[str, Any],
    spec: type[Record],
    parts: Mapping[str, type[Record]],
    *,
    origin: str,
    what: str = "table spec",
) -> None:
    """Refuse keys that neither *spec* nor, inside its lists, one of *parts* has.

    Args:
        what: What *mapping* should be, in the words of the error.
    Raises:
        RecordInvalid: Names all of them, each with the nearest key.
    """
    found = _unknown_in(mapping, spec, "")
    for name, record in parts.items():
        entries = mapping.get(name)
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            if isinstance(entry, dict):
                found += _unknown_in(entry, record, f"{name}.{index}.")
    if found:
        raise RecordInvalid(f"{origin} is not a valid {what}: {'; '.join(found)}")


def _unknown_in(mapping: Mapping[str, Any], record: type[Record], prefix: str) -> list[str]:
    known = list(record.model_fields)
    return [
        f"there is no key {prefix + key!r}; {_nearest(key, known)}" for key in mapping if key not in known
    ]


def _nearest(key: str, known: list[str]) -> str:
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"did you mean {nearest[0]!r}" if nearest else "known: " + ", ".join(known)
