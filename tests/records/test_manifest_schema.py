"""The manifest as others read it: a published schema, a round trip, errors with paths, older formats."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from runkit.errors import RecordInvalid, UnknownName
from runkit.records.manifest import Configuration, Manifest, Metric, SealedFacts
from runkit.records.measurement import Score
from runkit.records.published import RECORDS, schema_of, schema_text
from runkit.records.record import Record, canonical_digest

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "runkit" / "records" / "manifest.v2.schema.json"

# Any manifest at all: each field by its type, patterns and bounds included.

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
TEXTS = st.text(max_size=8)


def value_of(annotation: Any, constraints: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Return JSON values that a field of type *annotation* takes."""
    if get_origin(annotation) is typing.Annotated:
        inner, *more = get_args(annotation)
        return value_of(inner, (*constraints, *more))
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return st.one_of(*(value_of(one, constraints) for one in get_args(annotation)))
    if get_origin(annotation) is Literal:
        return st.sampled_from(get_args(annotation))
    if get_origin(annotation) is tuple:
        return st.lists(value_of(get_args(annotation)[0]), max_size=2)
    if get_origin(annotation) in (Mapping, dict) or get_origin(annotation) is typing.get_origin(
        Mapping[str, str]
    ):
        return st.dictionaries(TEXTS, value_of(get_args(annotation)[1]), max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return record_of(annotation)
    return {
        str: text_of(constraints),
        int: st.integers(least(constraints), 10**12),
        float: floats_of(constraints),
        bool: st.booleans(),
        type(None): st.none(),
    }[annotation]


def flattened(constraints: tuple[Any, ...]) -> Iterator[Any]:
    for one in constraints:
        if isinstance(one, FieldInfo):
            yield from flattened(tuple(one.metadata))
        else:
            yield one


def text_of(constraints: tuple[Any, ...]) -> st.SearchStrategy[str]:
    for one in flattened(constraints):
        if pattern := getattr(one, "pattern", None):
            return st.from_regex(pattern.replace(r"\d", "[0-9]"), fullmatch=True).filter(
                lambda text: "\n" not in text
            )
        if getattr(one, "min_length", None):
            return st.text(min_size=1, max_size=8)
    return TEXTS


def least(constraints: tuple[Any, ...]) -> int | None:
    for one in flattened(constraints):
        if (bound := getattr(one, "ge", None)) is not None:
            return int(bound)
        if (bound := getattr(one, "gt", None)) is not None:
            return int(bound) + 1
    return -(10**12)


def floats_of(constraints: tuple[Any, ...]) -> st.SearchStrategy[float]:
    bounds = {
        name: float(bound)
        for one in flattened(constraints)
        for name in ("ge", "gt", "le", "lt")
        if (bound := getattr(one, name, None)) is not None
    }
    return st.floats(
        bounds.get("ge", bounds.get("gt", -1e12)),
        bounds.get("le", bounds.get("lt", 1e300)),
        exclude_min="gt" in bounds,
        exclude_max="lt" in bounds,
        allow_nan=False,
    )


def record_of(record: type[Record]) -> st.SearchStrategy[dict[str, Any]]:
    """Return JSON documents of *record*."""
    hints = typing.get_type_hints(record, include_extras=True)
    fields = {
        name: value_of(hints[name], tuple(field.metadata)) for name, field in record.model_fields.items()
    }
    required = {name: one for name, one in fields.items() if record.model_fields[name].is_required()}
    optional = {name: one for name, one in fields.items() if name not in required}
    return st.fixed_dictionaries(required, optional=optional).map(
        lambda document: consistent(record, document)
    )


def consistent(record: type[Record], document: dict[str, Any]) -> dict[str, Any]:
    """Mend what types cannot say."""
    if record is Configuration:
        return document | {"effective_digest": canonical_digest(document["effective"])}
    if record is Metric and (document["value_fraction"] is None) == (document["missing_because"] is None):
        return document | {"value_fraction": 0.5, "missing_because": None}
    if record is Score:
        has_value = document["value"] is not None
        return document | {"evidence": "logged" if has_value else None, "missing_because": "it is"}
    if record is SealedFacts and document.get("scores") is not None:
        return document | {"evaluations": [], "metrics": [], "series": [], "protocol": {}}
    if record is SealedFacts:
        return document | dict.fromkeys(("scores", "series", "protocol", "notices"))
    return document


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    document = draw(record_of(Manifest))
    facts = SealedFacts.from_mapping(document["sealed"], origin="a drawn document")
    notes = Manifest.model_fields["notes"].annotation
    assert notes is not None
    return Manifest.sealing(facts, notes.from_mapping(document["notes"], origin="a drawn document"))


slow_to_draw = settings(
    max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@slow_to_draw
@given(manifests())
def test_every_manifest_survives_the_round_trip_to_the_last_byte(manifest: Manifest) -> None:
    text = manifest.to_json()
    again = Manifest.parse(text, origin="the round trip")
    assert again == manifest
    assert again.to_json() == text
    assert again.sealed.content_digest() == manifest.seal.digest
    # Members in another order and other white space are the same manifest.
    shuffled = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert Manifest.parse(shuffled, origin="the round trip") == manifest


@slow_to_draw
@given(manifests())
def test_the_schema_takes_every_manifest(manifest: Manifest) -> None:
    VALIDATOR.validate(json.loads(manifest.to_json()))


VALIDATOR = jsonschema.Draft7Validator(schema_of("manifest"))


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every member of every record in *value*, maps of free names left out."""
    if isinstance(value, dict) and at[-1:] not in {
        ("logged",),
        ("effective",),
        ("inert",),
        ("packages",),
        ("environment",),
        ("conditions",),
        ("missing_values",),
    }:
        for key, inner in value.items():
            yield (*at, key)
            yield from places(inner, (*at, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*at, index))


def edited(document: dict[str, Any], place: tuple[Any, ...], change: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(document))
    parent = copy
    for step in place[:-1]:
        parent = parent[step]
    change(parent, place[-1])
    return copy


EDITS = {
    "another kind of value": lambda parent, key: parent.__setitem__(key, [{"no": "such thing"}]),
    "a member too much": lambda parent, key: parent.__setitem__("no such member", parent[key]),
}


@slow_to_draw
@given(manifests(), st.data())
def test_each_bad_field_is_named_by_its_path_and_the_schema_agrees(
    manifest: Manifest, data: st.DataObject
) -> None:
    document = json.loads(manifest.to_json())
    place = data.draw(st.sampled_from(sorted(places(document), key=str)))
    name = data.draw(st.sampled_from(sorted(EDITS)))
    bad = edited(document, place, EDITS[name])
    path = ".".join(map(str, place if name == "another kind of value" else (*place[:-1], "no such member")))
    with pytest.raises(RecordInvalid) as caught:
        Manifest.parse(json.dumps(bad), origin="manifests/r.json")
    said = str(caught.value)
    assert said.startswith("manifests/r.json is not a valid manifest: ")
    assert path in said
    assert not VALIDATOR.is_valid(bad)


def test_all_bad_fields_are_told_at_once() -> None:
    document = json.loads(next((ROOT / "manifests").glob("*.json")).read_text())
    document["sealed"]["run_id"] = "../x"
    document["sealed"]["artifacts"][0]["sha256"] = "short"
    del document["sealed"]["training"]["loss_values"]
    document["notes"]["waivers"] = [{"rule": "RK1", "reason": ""}]
    with pytest.raises(RecordInvalid) as caught:
        Manifest.parse(json.dumps(document), origin="manifests/r.json")
    for path in (
        "sealed.run_id: ",
        "sealed.artifacts.0.sha256: ",
        "sealed.training.loss_values: ",
        "notes.waivers.0.rule: ",
        "notes.waivers.0.reason: ",
    ):
        assert path in str(caught.value)
    assert len(list(VALIDATOR.iter_errors(document))) == 5


# The published file.


def test_the_published_schema_is_the_one_of_today() -> None:
    assert PUBLISHED.read_text() == schema_text("manifest"), (
        f"run `runkit schema > {PUBLISHED.relative_to(ROOT)}`"
    )


@pytest.mark.parametrize("name", RECORDS)
def test_every_schema_is_a_schema_and_names_its_version(name: str) -> None:
    schema = schema_of(name)
    jsonschema.Draft7Validator.check_schema(schema)
    assert (schema["$schema"], schema["$id"]) == (
        "http://json-schema.org/draft-07/schema#",
        f"urn:runkit:{name}:{RECORDS[name][1]}",
    )


def test_what_is_archived_is_valid_and_its_text_is_unchanged() -> None:
    paths = sorted((ROOT / "manifests").glob("*.json"))
    assert len(paths) >= 9
    for path in paths:
        VALIDATOR.validate(json.loads(path.read_text()))
        assert Manifest.parse(path.read_bytes(), origin=path.name).to_json() == path.read_text()


def test_a_record_that_does_not_exist_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="there is no record 'manifset'; did you mean 'manifest'"):
        schema_of("manifset")


# From format to format.


def test_a_format_of_the_future_is_told_with_the_way_out() -> None:
    text = next((ROOT / "manifests").glob("*.json")).read_text().replace('"format": 1', '"format": 7', 1)
    told = r"^m has format 7, made by a newer runkit; runkit \S+ reads formats up to 2: update runkit$"
    with pytest.raises(RecordInvalid, match=told):
        Manifest.parse(text, origin="m")
    with pytest.raises(RecordInvalid, match=r"^m has format 0; no runkit ever wrote that format$"):
        Manifest.parse(text.replace('"format": 7', '"format": 0', 1), origin="m")
