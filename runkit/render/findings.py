"""Findings in the formats that programs read: GitHub annotations, SARIF 2.1.0, JUnit. Reads no file."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from runkit import __version__
from runkit.records.finding import Finding, Severity
from runkit.render.escaping import github_command, json_text, plain_log_line, sarif_text, xml_text

_MOST_ANNOTATIONS = 10
"""GitHub shows so many errors, warnings and notices of one step, and drops the others without a word."""
_GITHUB_WORDS: Mapping[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}
_SARIF_LEVELS: Mapping[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
_LINE = re.compile(r"(?P<path>.+):(?P<line>[1-9][0-9]{0,8})$", re.DOTALL)


class RuleText(NamedTuple):
    """What a report says of a rule."""

    code: str
    name: str
    severity: Severity
    summary: str
    why: str
    way_out: str


class Location(NamedTuple):
    """A place in the repository."""

    path: str
    """Relative to the workspace, forward slashes."""
    line: int | None


class Report(NamedTuple):
    """What was checked, and what was found."""

    findings: Sequence[Finding]
    """Worst first."""
    run_ids: Sequence[str]
    """All runs that were looked at."""
    rules: Sequence[RuleText]
    """All rules that were checked."""
    kept_paths: Mapping[str, frozenset[str]]
    """Run id to the paths of its artifacts that lie in the archive."""
    summary: str
    """One line: what was checked and how much was found."""


def location(finding: Finding, kept_paths: Mapping[str, frozenset[str]]) -> Location:
    """Return where *finding* lies: in a preserved file when that is in the archive, else in the manifest."""
    line_found = _LINE.match(finding.place)
    path, line = (line_found["path"], int(line_found["line"])) if line_found else (finding.place, None)
    if path in kept_paths.get(finding.run_id, ()):
        return Location(f"preserved_runs/{finding.run_id}/{path}", line)
    if path.startswith(("manifests/", "paper_tables/", "preserved_runs/")):
        return Location(path, line)
    return Location(f"manifests/{finding.run_id}.json", None)


def github_annotations(report: Report) -> str:
    """Return workflow commands, a summary first; what GitHub would drop follows as plain lines.

    Source: docs.github.com, workflow commands; limits as in actions/toolkit, problem matchers.
    """
    left = dict.fromkeys(_GITHUB_WORDS.values(), _MOST_ANNOTATIONS)
    left["notice"] -= 1
    lines = [github_command("notice", {"title": "runkit"}, report.summary)]
    more: list[str] = []
    for finding in _open_ones_first(report.findings):
        is_waived = finding.waived_because is not None
        word = "notice" if is_waived else _GITHUB_WORDS[finding.severity]
        place = location(finding, report.kept_paths)
        if left[word] == 0:
            more.append(plain_log_line(_said(finding)))
            continue
        left[word] -= 1
        properties: dict[str, str | int] = {
            "file": place.path,
            "title": f"{finding.rule} {finding.run_id}{' waived' * is_waived}",
        }
        if place.line is not None:
            properties["line"] = place.line
        said = f"{finding.place}: {finding.message}"
        if is_waived:
            said += f"\n{finding.severity}, waived because {finding.waived_because}"
        elif finding.way_out:
            said += f"\n-> {finding.way_out}"
        lines.append(github_command(word, properties, said))
    return "\n".join([*lines, *more]) + "\n"


def _open_ones_first(findings: Sequence[Finding]) -> list[Finding]:
    """Return *findings* with the waived ones last, so that they take no place from those that fail."""
    return sorted(findings, key=lambda finding: finding.waived_because is not None)


def _said(finding: Finding) -> str:
    waived = "" if finding.waived_because is None else f" (waived because {finding.waived_because})"
    word = finding.severity if finding.waived_because is None else f"waived {finding.severity}"
    return f"{word} {finding.rule} {finding.run_id} {finding.place}: {finding.message}{waived}"


def sarif(report: Report) -> str:
    """Return a SARIF 2.1.0 log with one run of the tool; waived findings are suppressed results."""
    rules = sorted({rule.code: rule for rule in report.rules}.values())
    index = {rule.code: place for place, rule in enumerate(rules)}
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "runkit",
                        "semanticVersion": __version__,
                        "rules": [_sarif_rule(rule) for rule in rules],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_sarif_result(finding, index, report) for finding in report.findings],
            }
        ],
    }
    return json_text(document) + "\n"


def junit(report: Report) -> str:
    """Return a JUnit document: a suite a run, a case a rule; an error or warning fails its case.

    A case of which all findings are waived is skipped; each waived finding stands in its output.
    """
    by_case: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in report.findings:
        by_case[finding.run_id, finding.rule].append(finding)
    root = Element("testsuites", name="runkit validate")
    codes = sorted({rule.code for rule in report.rules} | {finding.rule for finding in report.findings})
    totals = {"tests": 0, "failures": 0, "skipped": 0}
    for run_id in sorted({*report.run_ids, *(finding.run_id for finding in report.findings)}):
        suite = SubElement(root, "testsuite", name=xml_text(run_id or "the archive"))
        counts = {"tests": 0, "failures": 0, "skipped": 0}
        for code in codes:
            case = SubElement(suite, "testcase", classname=xml_text(run_id or "the archive"), name=code)
            kind = _fill_case(case, by_case.get((run_id, code), []))
            counts["tests"] += 1
            if kind is not None:
                counts[kind] += 1
        for name, count in (*counts.items(), ("errors", 0)):
            suite.set(name, str(count))
        totals = {name: totals[name] + counts[name] for name in totals}
    for name, count in (*totals.items(), ("errors", 0)):
        root.set(name, str(count))
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _fill_case(case: Element, findings: Sequence[Finding]) -> str | None:
    """Put *findings* into *case*; return which count they belong to, None for a case that passes."""
    failing = [one for one in findings if one.waived_because is None and one.severity != "info"]
    waived = [one for one in findings if one.waived_because is not None]
    notes = [one for one in findings if one.waived_because is None and one.severity == "info"]
    kind = None
    if failing:
        failure = SubElement(case, "failure", type=failing[0].severity, message=xml_text(failing[0].message))
        failure.text = xml_text("\n".join(_case_lines(failing)))
        kind = "failures"
    elif waived:
        reasons = "; ".join(dict.fromkeys(one.waived_because or "" for one in waived))
        SubElement(case, "skipped", message=xml_text(f"{len(waived)} waived: {reasons}"))
        kind = "skipped"
    if notes or waived:
        SubElement(case, "system-out").text = xml_text("\n".join(_case_lines([*notes, *waived])))
    return kind


def _case_lines(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        if finding.waived_because is not None:
            yield f"waived {finding.severity} {finding.place}: {finding.message}"
            yield f"waived because {finding.waived_because}"
            continue
        yield f"{finding.severity} {finding.place}: {finding.message}"
        if finding.way_out:
            yield f"-> {finding.way_out}"


def _sarif_rule(rule: RuleText) -> dict[str, object]:
    return {
        "id": rule.code,
        "name": "".join(part.capitalize() for part in rule.name.split("-")),
        "shortDescription": {"text": rule.summary},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.way_out},
        "defaultConfiguration": {"level": _SARIF_LEVELS[rule.severity]},
    }


def _sarif_result(finding: Finding, index: Mapping[str, int], report: Report) -> dict[str, object]:
    place = location(finding, report.kept_paths)
    physical: dict[str, object] = {
        "artifactLocation": {
            "uri": quote(place.path, errors="backslashreplace"),
            "uriBaseId": "%SRCROOT%",
        }
    }
    if place.line is not None:
        physical["region"] = {"startLine": place.line}
    named = f"{finding.rule}\0{finding.run_id}\0{finding.place}"
    fingerprint = hashlib.sha256(named.encode(errors="surrogatepass")).hexdigest()
    result: dict[str, object] = {
        "ruleId": finding.rule,
        "level": _SARIF_LEVELS[finding.severity],
        "message": {"text": sarif_text(f"{finding.run_id} {finding.place}: {finding.message}".strip())},
        "locations": [
            {
                "physicalLocation": physical,
                "logicalLocations": [
                    {
                        "name": sarif_text(finding.place),
                        "fullyQualifiedName": sarif_text(f"{finding.run_id}/{finding.place}"),
                    }
                ],
            }
        ],
        "partialFingerprints": {"runkit/v1": fingerprint},
    }
    if finding.rule in index:
        result["ruleIndex"] = index[finding.rule]
    if finding.waived_because is not None:
        result["suppressions"] = [
            {
                "kind": "external",
                "status": "accepted",
                "justification": sarif_text(finding.waived_because),
            }
        ]
    return result
