"""The JSON Schemas of the records, made from the records themselves; draft-07, which every validator reads.

What a schema cannot say, the reader checks beside it: that digests are those of what they name, that exactly
one of a value and a reason is there, and that an integer is not written as 1.0.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, get_args

from runkit.errors import UnknownName
from runkit.records.capture import RunCapture
from runkit.records.manifest import Manifest, Notes
from runkit.records.record import Record
from runkit.records.tablespec import TableSpec

_DIALECT = "http://json-schema.org/draft-07/schema#"

RECORDS: dict[str, tuple[type[Record], int]] = {
    "manifest": (Manifest, 2),
    "notes": (Notes, 1),
    "capture": (RunCapture, 1),
    "table": (TableSpec, 1),
}
"""Name of a record to its class and the format that its schema describes."""


def schema_of(name: str) -> dict[str, Any]:
    """Return the JSON Schema of the record called *name*.

    Raises:
        UnknownName: There is no such record; with the nearest name.
    """
    if name not in RECORDS:
        raise UnknownName.among("record", name, RECORDS)
    record, version = RECORDS[name]
    schema = record.model_json_schema(mode="validation", ref_template="#/definitions/{model}")
    definitions = schema.pop("$defs", {})
    texts = {cls.__name__: _field_texts(cls) for cls in _reached(record)}
    for title, definition in {record.__name__: schema, **definitions}.items():
        _describe(definition, texts.get(title, {}))
    head = {"$schema": _DIALECT, "$id": f"urn:runkit:{name}:{version}"}
    return head | schema | ({"definitions": definitions} if definitions else {})


def schema_text(name: str) -> str:
    """Return :func:`schema_of` as the text that is published."""
    return json.dumps(schema_of(name), indent=2, ensure_ascii=False) + "\n"


def _reached(record: type[Record]) -> frozenset[type[Record]]:
    """Return *record* and every class of records below it."""
    found: set[type[Record]] = set()
    waiting = [record]
    while waiting:
        cls = waiting.pop()
        if cls not in found:
            found.add(cls)
            waiting += [one for field in cls.model_fields.values() for one in _named_in(field.annotation)]
    return frozenset(found)


def _named_in(annotation: Any) -> Iterator[type[Record]]:
    if isinstance(annotation, type) and issubclass(annotation, Record):
        yield annotation
    for inner in get_args(annotation):
        yield from _named_in(inner)


def _field_texts(cls: type[Record]) -> dict[str, str]:
    """Return the text below each field of *cls* and its bases, as it stands in the source."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, Record) and base is not Record:
            texts |= _own_texts(base)
    return texts


def _own_texts(cls: type[Record]) -> dict[str, str]:
    body = next(
        one.body
        for one in _parsed(cls.__module__).body
        if isinstance(one, ast.ClassDef) and one.name == cls.__name__
    )
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


@cache
def _parsed(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(sys.modules[module]))


def _describe(definition: dict[str, Any], texts: dict[str, str]) -> None:
    """Add to the properties of *definition* what *texts* says of them, in the order of their keys."""
    for name, schema in definition.get("properties", {}).items():
        if name in texts:
            described = {**schema, "description": texts[name]}
            schema.clear()
            schema.update(sorted(described.items()))
