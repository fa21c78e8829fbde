"""The part of a manifest that relations are judged by says what the whole says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runkit.records.manifest import Manifest
from runkit.records.projection import projection_of

MANIFESTS = sorted((Path(__file__).resolve().parents[2] / "manifests").glob("*.json"))


def same(part: Any, whole: Any) -> bool:
    """Return whether every field of *part* has the value that *whole* has."""
    if isinstance(part, msgspec.Struct):
        return all(same(getattr(part, name), getattr(whole, name)) for name in part.__struct_fields__)
    if isinstance(part, tuple):
        return len(part) == len(whole) and all(map(same, part, whole))
    return bool(part == whole)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_projection_has_the_values_of_the_whole(path: Path) -> None:
    text = path.read_bytes()
    part, whole = projection_of(text), Manifest.parse(text, origin=path.name)
    assert part is not None
    assert same(part, whole)
    assert part.run_id == whole.run_id
    for kind in ("ablates", "follows", "supersedes", "replicates", "swaps"):
        assert same(part.relations(kind), whole.relations(kind))
    for evaluation in whole.sealed.evaluations:
        found = part.sealed.evaluation(evaluation.label)
        assert found is not None
        assert found.n == evaluation.n
        assert same(found.score("bridged"), evaluation.score("bridged"))
    assert same(part.sealed.model("source"), whole.sealed.model("source"))
    assert same(part.sealed.metric("peak.bridged"), whole.sealed.metric("peak.bridged"))
    nobody = (part.sealed.model("x"), part.sealed.metric("x"), part.sealed.evaluation("x"))
    assert nobody == (None, None, None)


@pytest.mark.parametrize(
    "path", ["sealed.run_id", "sealed.configuration.effective_digest", "notes", "seal.digest"]
)
def test_a_manifest_without_a_field_that_is_needed_has_no_projection(path: str) -> None:
    document = json.loads(MANIFESTS[0].read_text())
    *sections, last = path.split(".")
    section = document
    for name in sections:
        section = section[name]
    del section[last]
    assert projection_of(json.dumps(document).encode()) is None


def test_what_is_no_json_has_no_projection() -> None:
    assert projection_of(MANIFESTS[0].read_bytes()[:-30]) is None
    assert projection_of(b"") is None
