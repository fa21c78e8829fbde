"""Verdicts as people and programs read them: underlined sentences, annotations, SARIF. Escapes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from runkit.audit.auditing import Verdict
from runkit.audit.document import Document

_CODES = {"contradicted": "RK601", "unverifiable": "RK602"}
_WIDTH = 100


def code_of(verdict: Verdict) -> str:
    """Return the code of the finding that *verdict* is, or an empty string when it is supported.

    A claim that is bound to no run has its own code.
    """
    if verdict.verdict == "unverifiable" and not verdict.run_id:
        return "RK604"
    return _CODES.get(verdict.verdict, "")


def text_lines(verdict: Verdict, document: Document) -> Iterator[str]:
    """Yield the lines that show *verdict*: place, the claim underlined, the truth, the evidence."""
    code = code_of(verdict)
    run = "all runs" if verdict.run_id == "*" else verdict.run_id or "no run"
    word = f"{verdict.verdict} {code}" if code else verdict.verdict
    yield f"{verdict.document}:{verdict.line}:{verdict.column}: {word} {verdict.quantity} of {run}"
    line = document.line_text(verdict.line)
    end = verdict.end_column - 1 if verdict.end_line == verdict.line else len(line)
    shown, start, stop = _window(line, verdict.column - 1, end)
    number = str(verdict.line)
    yield f"  {number} | {shown}"
    yield f"  {' ' * len(number)} | {' ' * start}{'^' * max(1, stop - start)}"
    if verdict.actual:
        yield f"  archive: {verdict.actual}"
    if verdict.evidence:
        yield f"  {'because' if verdict.verdict == 'unverifiable' else 'evidence'}: {verdict.evidence}"
    if verdict.because:
        yield f"  see also: runkit explain {verdict.because}"


def _window(line: str, start: int, end: int) -> tuple[str, int, int]:
    """Return a part of *line* around the claim, and where the claim stands in it."""
    printable = "".join(character if character.isprintable() else " " for character in line)
    if len(printable) <= _WIDTH:
        return printable, start, end
    left = max(0, min(start - _WIDTH // 3, len(printable) - _WIDTH))
    right = max(end, left + _WIDTH)
    prefix = "…" if left else ""
    suffix = "…" if right < len(printable) else ""
    return (
        f"{prefix}{printable[left:right]}{suffix}",
        start - left + len(prefix),
        min(end, right) - left + len(prefix),
    )


class Annotation(NamedTuple):
    """What a pull request shows beside a line."""

    level: str
    properties: Mapping[str, str | int]
    message: str


def annotation(verdict: Verdict) -> Annotation:
    """Return what annotates the line of *verdict* in a pull request."""
    return Annotation(
        level="error" if verdict.verdict == "contradicted" else "notice",
        properties={
            "file": verdict.document,
            "line": verdict.line,
            "col": verdict.column,
            "endLine": verdict.end_line,
            "endColumn": verdict.end_column,
            "title": f"{code_of(verdict)} {verdict.quantity}",
        },
        message=f"{verdict.claim}: {_told(verdict)}",
    )


def sarif(
    verdicts: Sequence[Verdict],
    *,
    version: str,
    rules: Sequence[tuple[str, str, str]],
    shown: Callable[[str], str],
) -> dict[str, Any]:
    """Return a SARIF 2.1.0 log of what is not supported.

    Args:
        shown: Makes a text of a document or an archive safe for a message.
        version: Of runkit.
        rules: Code, name and summary of each rule that can occur.
    """
    results = [_result(verdict, shown) for verdict in verdicts if code_of(verdict)]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "runkit",
                        "version": version,
                        "rules": [
                            {"id": code, "name": name, "shortDescription": {"text": summary}}
                            for code, name, summary in rules
                        ],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": results,
            }
        ],
    }


def _result(verdict: Verdict, shown: Callable[[str], str]) -> dict[str, Any]:
    return {
        "ruleId": code_of(verdict),
        "level": "error" if verdict.verdict == "contradicted" else "note",
        "message": {"text": shown(f"{verdict.claim}: {_told(verdict)}")},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": verdict.document},
                    "region": {
                        "startLine": verdict.line,
                        "startColumn": verdict.column,
                        "endLine": verdict.end_line,
                        "endColumn": verdict.end_column,
                    },
                }
            }
        ],
        "properties": {
            "run": verdict.run_id,
            "quantity": verdict.quantity,
            "claimed": verdict.claimed,
            "actual": verdict.actual,
            "because": verdict.because,
        },
    }


def _told(verdict: Verdict) -> str:
    word = "the archive says" if verdict.verdict == "contradicted" else "cannot be checked"
    parts = [part for part in (verdict.actual, verdict.evidence) if part]
    return f"{word}: {'; '.join(parts)}" if parts else word
