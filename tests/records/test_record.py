"""Records are frozen, strict and closed; every bad field is reported with its path."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.errors import RecordInvalid
from runkit.records.manifest import Configuration, Evidence, Metric, Notes, Relation
from runkit.records.record import canonical_digest, canonical_json

EVIDENCE = Evidence(path="train.log", line=3, what="a line")


def test_every_bad_field_is_named_at_once() -> None:
    text = '{"path": 3, "line": 0, "whta": "x"}'
    with pytest.raises(RecordInvalid) as caught:
        Evidence.parse(text, origin="manifests/r.json")
    assert str(caught.value) == (
        "manifests/r.json is not a valid evidence: path: input should be a valid string; "
        "line: input should be greater than 0; what: field required; whta: extra inputs are not permitted"
    )


def test_torn_json_is_reported_as_such() -> None:
    with pytest.raises(
        RecordInvalid, match=r"^manifests/r\.json is not a valid evidence: the whole file: invalid JSON"
    ):
        Evidence.parse('{"path": "tr', origin="manifests/r.json")


@pytest.mark.parametrize("number", ["NaN", "Infinity"])
def test_not_a_number_is_refused(number: str) -> None:
    with pytest.raises(RecordInvalid):
        Metric.parse(f'{{"name": "x", "value_fraction": {number}}}', origin="x")


def test_a_metric_has_a_value_or_a_reason_and_not_both() -> None:
    fields = {"name": "x", "correct": None, "n": None, "steps": [], "split": None, "num_candidates": None}
    fields |= {"evidence": None, "value_fraction": None, "missing_because": None}
    with pytest.raises(RecordInvalid, match="exactly one of value_fraction and missing_because"):
        Metric.from_mapping(fields, origin="x")


def test_a_mapping_cannot_be_changed_after_parsing() -> None:
    configuration = Configuration(
        logged={"a": "1"},
        effective={"a": 1},
        effective_digest=canonical_digest({"a": 1}),
        inert={},
        evidence=EVIDENCE,
    )
    with pytest.raises(TypeError):
        configuration.effective["a"] = 2  # type: ignore[index]


def test_a_digest_that_is_not_of_the_configuration_is_refused() -> None:
    with pytest.raises(ValueError, match="effective_digest is not the digest of effective"):
        Configuration(
            logged={},
            effective={"a": 1},
            effective_digest=canonical_digest({"a": 2}),
            inert={},
            evidence=EVIDENCE,
        )


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)


@given(st.dictionaries(st.text(), scalars))
def test_a_configuration_survives_the_round_trip_through_json(effective: dict[str, object]) -> None:
    configuration = Configuration.model_validate(
        {
            "logged": {},
            "effective": effective,
            "effective_digest": canonical_digest(effective),
            "inert": {},
            "evidence": EVIDENCE,
        }
    )
    parsed = Configuration.parse(configuration.to_json(), origin="memory")
    assert parsed == configuration
    assert parsed.content_digest() == configuration.content_digest()


@given(st.dictionaries(st.text(), scalars))
def test_canonical_json_does_not_depend_on_order(mapping: dict[str, object]) -> None:
    assert canonical_json(dict(reversed(mapping.items()))) == canonical_json(mapping)
    assert json.loads(canonical_json(mapping)) == mapping


def test_notes_survive_the_round_trip() -> None:
    notes = Notes(title="a “title”", relations=(Relation(kind="ablates", run_id="r", factors=("k",)),))
    assert Notes.parse(notes.to_json(), origin="memory") == notes
