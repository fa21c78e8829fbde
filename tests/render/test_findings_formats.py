"""Findings as GitHub annotations, SARIF and JUnit: whole results, and nothing that can break out of them."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree.ElementTree import fromstring

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from runkit.records.finding import Finding
from runkit.render.findings import Location, Report, RuleText, github_annotations, junit, location, sarif

RULES = (
    RuleText("RK107", "unpreserved-artifact", "warning", "A file is missing.", "It proves.", "Find it."),
    RuleText("RK301", "truncated-run", "error", "The run ends early.", "It has no number.", "Repeat it."),
    RuleText("RK410", "unknown-code-state", "info", "No commit.", "It cannot be repeated.", "Use git."),
)
KEPT = {"r1": frozenset({"in ner/train.log", "summary.log"})}

TRUNCATED = Finding("RK301", "error", "r1", "in ner/train.log:1274", "ends at 520, 26 %", "Repeat it.")
LOST = Finding("RK107", "warning", "r1", "inner/checkpoint.pt", "was not there", "Find it.")
WAIVED = Finding("RK107", "warning", "r2", "x.pt", "was not there", "Find it.", waived_because="it is lost")
NOTE = Finding("RK410", "info", "r2", "sealed.software.code", "no commit", "")


def report(*findings: Finding) -> Report:
    return Report(findings, ("r1", "r2"), RULES, KEPT, "2 runs: 1 error")


SARIF_SHAPE: dict[str, Any] = {
    # The part of the SARIF 2.1.0 schema (OASIS) that these documents use, with its own closed objects.
    "type": "object",
    "required": ["version", "runs"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"type": "string", "format": "uri"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "items": {"$ref": "#/$defs/run"}},
    },
    "$defs": {
        "message": {
            "type": "object",
            "required": ["text"],
            "properties": {"text": {"type": "string", "minLength": 1}},
        },
        "level": {"enum": ["none", "note", "warning", "error"]},
        "run": {
            "type": "object",
            "required": ["tool"],
            "additionalProperties": False,
            "properties": {
                "tool": {
                    "type": "object",
                    "required": ["driver"],
                    "properties": {
                        "driver": {
                            "type": "object",
                            "required": ["name"],
                            "additionalProperties": False,
                            "properties": {
                                "name": {"type": "string"},
                                "semanticVersion": {"type": "string"},
                                "rules": {
                                    "type": "array",
                                    "uniqueItems": True,
                                    "items": {"$ref": "#/$defs/rule"},
                                },
                            },
                        }
                    },
                },
                "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                "results": {"type": "array", "items": {"$ref": "#/$defs/result"}},
            },
        },
        "rule": {
            "type": "object",
            "required": ["id"],
            "additionalProperties": False,
            "properties": {
                "id": {"type": "string"},
                "name": {"type": "string"},
                "shortDescription": {"$ref": "#/$defs/message"},
                "fullDescription": {"$ref": "#/$defs/message"},
                "help": {"$ref": "#/$defs/message"},
                "defaultConfiguration": {"properties": {"level": {"$ref": "#/$defs/level"}}},
            },
        },
        "result": {
            "type": "object",
            "required": ["message"],
            "additionalProperties": False,
            "properties": {
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": 0},
                "level": {"$ref": "#/$defs/level"},
                "message": {"$ref": "#/$defs/message"},
                "locations": {
                    "type": "array",
                    "items": {
                        "additionalProperties": False,
                        "properties": {
                            "physicalLocation": {
                                "required": ["artifactLocation"],
                                "additionalProperties": False,
                                "properties": {
                                    "artifactLocation": {
                                        "properties": {
                                            "uri": {"type": "string", "pattern": "^[A-Za-z0-9._~%/+-]+$"},
                                            "uriBaseId": {"type": "string"},
                                        }
                                    },
                                    "region": {
                                        "properties": {"startLine": {"type": "integer", "minimum": 1}}
                                    },
                                },
                            },
                            "logicalLocations": {"type": "array"},
                        },
                    },
                },
                "partialFingerprints": {"type": "object", "additionalProperties": {"type": "string"}},
                "suppressions": {
                    "type": "array",
                    "items": {
                        "required": ["kind"],
                        "additionalProperties": False,
                        "properties": {
                            "kind": {"enum": ["inSource", "external"]},
                            "status": {"enum": ["accepted", "underReview", "rejected"]},
                            "justification": {"type": "string"},
                        },
                    },
                },
            },
        },
    },
}


def test_a_finding_lies_in_the_preserved_file_or_else_in_the_manifest() -> None:
    assert location(TRUNCATED, KEPT) == Location("preserved_runs/r1/in ner/train.log", 1274)
    assert location(LOST, KEPT) == Location("manifests/r1.json", None)
    by_reference = Finding("RK301", "error", "r2", "in ner/train.log:1274", "m", "")
    assert location(by_reference, KEPT) == Location("manifests/r2.json", None)


def test_annotations_are_what_github_reads() -> None:
    assert github_annotations(report(TRUNCATED, LOST, NOTE, WAIVED)) == (
        "::notice title=runkit::2 runs: 1 error\n"
        "::error file=preserved_runs/r1/in ner/train.log,title=RK301 r1,line=1274::in "
        "ner/train.log:1274: ends at "
        "520, 26 %25%0A-> Repeat it.\n"
        "::warning file=manifests/r1.json,title=RK107 r1::inner/checkpoint.pt: was not there%0A-> Find it.\n"
        "::notice file=manifests/r2.json,title=RK410 r2::sealed.software.code: no commit\n"
        "::notice file=manifests/r2.json,title=RK107 r2 waived::x.pt: was not there%0Awarning, waived "
        "because it is lost\n"
    )


def test_what_github_would_drop_is_printed_as_plain_lines() -> None:
    lines = github_annotations(report(*[TRUNCATED] * 12, *[NOTE] * 12)).splitlines()
    assert sum(line.startswith("::error ") for line in lines) == 10
    assert sum(line.startswith("::notice ") for line in lines) == 10
    assert lines[-1] == "info RK410 r2 sealed.software.code: no commit"
    assert len(lines) == 1 + 24


def test_sarif_has_rules_results_and_suppressions() -> None:
    document = json.loads(sarif(report(TRUNCATED, WAIVED)))
    jsonschema.Draft202012Validator(SARIF_SHAPE).validate(document)
    (run,) = document["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["RK107", "RK301", "RK410"]
    truncated, waived = run["results"]
    assert truncated["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "preserved_runs/r1/in%20ner/train.log", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 1274},
    }
    assert (truncated["ruleIndex"], truncated["level"], "suppressions" in truncated) == (1, "error", False)
    assert waived["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": "it is lost"}
    ]


def test_junit_has_a_suite_a_run_and_a_case_a_rule() -> None:
    document = junit(report(TRUNCATED, WAIVED, NOTE))
    assert (
        document
        == """<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="runkit validate" tests="6" failures="1" skipped="1" errors="0">
  <testsuite name="r1" tests="3" failures="1" skipped="0" errors="0">
    <testcase classname="r1" name="RK107" />
    <testcase classname="r1" name="RK301">
      <failure type="error" message="ends at 520, 26 %">error in ner/train.log:1274: ends at 520, 26 %
-&gt; Repeat it.</failure>
    </testcase>
    <testcase classname="r1" name="RK410" />
  </testsuite>
  <testsuite name="r2" tests="3" failures="0" skipped="1" errors="0">
    <testcase classname="r2" name="RK107">
      <skipped message="1 waived: it is lost" />
      <system-out>waived warning x.pt: was not there
waived because it is lost</system-out>
    </testcase>
    <testcase classname="r2" name="RK301" />
    <testcase classname="r2" name="RK410">
      <system-out>info sealed.software.code: no commit</system-out>
    </testcase>
  </testsuite>
</testsuites>
"""
    )


HOSTILE = st.text(st.characters(codec="utf-8"), max_size=30)


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_no_text_breaks_out_of_any_format(run_id: str, place: str, message: str, way_out: str) -> None:
    found = report(Finding("RK301", "error", run_id, place, message, way_out))
    lines = github_annotations(found).split("\n")
    assert [line[:8] for line in lines] == ["::notice", "::error ", ""]
    assert re.fullmatch(r"::error file=[^:,\r]*,title=[^:,\r]*(,line=\d+)?::[^\r\n]*", lines[1])
    (case,) = [one for one in fromstring(junit(found)).iter("testcase") if len(one)]
    assert case.get("name") == "RK301"
    jsonschema.Draft202012Validator(SARIF_SHAPE).validate(json.loads(sarif(found)))
