"""The JSON Schemas of the records, made from the records themselves; draft-07, which every validator reads.

What a schema cannot say, the reader checks beside it: that digests are those of what they name, that exactly
one of a value and a reason is there, and that an integer is not written as 1.0.
"""

from __future__ import annotations

import json
from typing import Any

from runkit.errors import UnknownName
from runkit.records.capture import RunCapture
from runkit.records.manifest import Manifest, Notes
from runkit.records.record import Record
from runkit.records.tablespec import TableSpec

_DIALECT = "http://json-schema.org/draft-07/schema#"

RECORDS: dict[str, tuple[type[Record], int]] = {
    "manifest": (Manifest, 1),
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
    head = {"$schema": _DIALECT, "$id": f"urn:runkit:{name}:{version}"}
    return head | schema | ({"definitions": definitions} if definitions else {})


def schema_text(name: str) -> str:
    """Return :func:`schema_of` as the text that is published."""
    return json.dumps(schema_of(name), indent=2, ensure_ascii=False) + "\n"
