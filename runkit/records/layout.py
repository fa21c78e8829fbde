"""Where in a run directory a program's configuration and numbers are, in a person's words.

Stands in ``runkit.toml`` under ``[[layouts]]``, or beside the files as ``runkit.layout.toml``, which is kept
with the run: the mapping is evidence as the files are.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from runkit.records.measurement import TASK, Direction
from runkit.records.record import EMPTY, Record, TextMap
from runkit.records.tablespec import refuse_unknown_keys, spec_mapping

LAYOUT_FILE = "runkit.layout.toml"
WORKSPACE_FILE = "runkit.toml"


class ScoresFile(Record):
    """A JSON, YAML or TOML file with numbers, or a table with one row a step."""

    path: str
    scores: TextMap = Field(default_factory=lambda: EMPTY)
    """Key (dots go into nested ones) or column to the metric that it is; empty: those of a usual name."""
    task: str = TASK
    split: str | None = None
    direction: Direction | None = None
    unit: str | None = None


class ItemsFile(Record):
    """A CSV, JSON Lines or Parquet file with one row an item."""

    path: str
    item: str | None = None
    """Column with the id of the item; null: told by its usual name, as the others."""
    value: str | None = None
    """Column with the score."""
    answer: str | None = None
    gold: str | None = None
    cluster: str | None = None
    metric: str | None = None
    """What the score is; null: the name of its column, or exact_match of answer and gold."""
    task: str = TASK
    split: str | None = None
    direction: Direction | None = None


class Layout(Record):
    """One kind of run directory."""

    name: str = "declared"
    matches: str | None = None
    """Pattern of a path that a directory of this kind holds, such as ``*/scores.tsv``; null: any directory
    that holds all files of the layout."""
    config: tuple[str, ...] = ()
    """JSON, YAML or TOML files with the program's settings."""
    metrics: tuple[ScoresFile, ...] = ()
    items: tuple[ItemsFile, ...] = ()
    primary: str | None = None
    """Selector of the measure that runs of this kind are judged by."""
    command: str | None = None
    """The command of a finished run that did not record it."""
    call: str | None = None
    """Time of the one call of lm-evaluation-harness that is meant, in a folder with several."""

    @property
    def paths(self) -> tuple[str, ...]:
        """All files that are named."""
        return (*self.config, *(one.path for one in self.metrics), *(one.path for one in self.items))

    @model_validator(mode="after")
    def _names_a_file(self) -> Self:
        if not self.paths and self.command is None and self.call is None:
            raise ValueError("a layout names at least one file, in config, metrics or items")
        return self

    @classmethod
    def parse_toml(cls, text: str, *, origin: str) -> Self:
        """Return the layout that *text* says.

        Raises:
            RecordInvalid: Not TOML, a misspelled key (with the nearest one), or a bad field.
        """
        return cls.of_mapping(spec_mapping(text, origin=origin), origin=origin)

    @classmethod
    def of_mapping(cls, mapping: dict[str, Any], *, origin: str) -> Self:
        """Return the layout that *mapping* says; errors as of :meth:`parse_toml`."""
        parts: dict[str, type[Record]] = {"metrics": ScoresFile, "items": ItemsFile}
        refuse_unknown_keys(mapping, cls, parts, origin=origin, what="layout")
        return cls.from_mapping(mapping, origin=origin)

    def to_toml(self) -> str:
        """Return the text that :meth:`parse_toml` reads back."""
        return layout_toml(self)


def layout_toml(layout: Layout, *, prefix: str = "") -> str:
    """Return *layout* as TOML; with *prefix* ``layouts.`` as it stands below ``[[layouts]]``."""
    document = layout.model_dump(mode="json")
    lines = [
        f"{key} = {_toml(document[key])}"
        for key in ("name", "matches", "primary", "command", "call")
        if document[key]
    ]
    if layout.config:
        lines.append(f"config = {_toml(document['config'])}")
    for kind in ("metrics", "items"):
        for entry in document[kind]:
            lines += ["", f"[[{prefix}{kind}]]"]
            said = {key: value for key, value in entry.items() if value and (key, value) != ("task", TASK)}
            lines += [f"{key} = {_toml(value)}" for key, value in said.items()]
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml(str(key))} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # A basic string of TOML has the escapes of JSON.
    import json

    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
