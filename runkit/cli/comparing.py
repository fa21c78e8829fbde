"""The verb that compares: diff. It prints what the workflow found, and judges nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runkit.cli.options import WorkspaceFolder, opened
from runkit.cli.output import print_json
from runkit.render.escaping import one_line

if TYPE_CHECKING:
    from runkit.checks.contrast import Fact, RunContrast, Section, SystemContrast

_MAX_VALUE = 60
_MAX_ITEMS = 12


class DiffFormat(StrEnum):
    """How a comparison is printed."""

    TEXT = "text"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the verb to *app*."""
    app.command()(diff)


def diff(
    first: Annotated[str, typer.Argument(help="Preserved run.", metavar="RUN_A")],
    second: Annotated[str, typer.Argument(help="Preserved run to compare it with.", metavar="RUN_B")],
    output: Annotated[
        DiffFormat, typer.Option("--format", help="For people, or for programs with every equal fact.")
    ] = DiffFormat.TEXT,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Compare two preserved runs.

    Configuration, code, environment, hardware, data, course, and who wins which items; and what is equal.
    Differences are A minus B. Read-only.
    """
    from runkit.workflows.diff import diff as contrast_of

    found = contrast_of(opened(workspace), first, second)
    if output is DiffFormat.JSON:
        print_json(_document(found))
    else:
        print("\n".join(map(one_line, _lines(found))))


def _document(found: RunContrast) -> dict[str, Any]:
    return {
        "first": found.first_id,
        "second": found.second_id,
        "sections": {section.name: _section_document(section) for section in found.sections},
        "outcomes": [_outcome_document(one) for one in found.outcomes],
        "not_paired": [asdict(fact) for fact in found.not_paired],
        "scores": [asdict(one) for one in found.scores],
    }


def _section_document(section: Section) -> dict[str, Any]:
    return {
        "differing": [asdict(fact) for fact in section.differing],
        "equal": {fact.name: fact.first for fact in section.equal},
        "recorded_by_neither": [fact.name for fact in section.unknown],
    }


def _outcome_document(one: SystemContrast) -> dict[str, Any]:
    counts = one.counts
    return {
        **asdict(one),
        "counts": counts._asdict(),
        "interval": one.interval._asdict(),
        "n": counts.n,
        "difference_fraction": counts.difference_fraction if counts.n else None,
    }


def _lines(found: RunContrast) -> Iterator[str]:
    yield f"A {found.first_id}"
    yield f"B {found.second_id}"
    for section in found.sections:
        yield ""
        yield from _section_lines(section)
    yield ""
    yield from _outcome_lines(found) if not found.scores else _score_lines(found)


def _section_lines(section: Section) -> Iterator[str]:
    differing, num_equal = section.differing, len(section.equal)
    if not section.facts:
        yield f"{section.name}: nothing recorded"
        return
    parts = [f"{len(differing)} differ" if differing else "nothing differs", f"{num_equal} equal"]
    parts += [f"{len(section.unknown)} recorded by neither"] if section.unknown else []
    yield f"{section.name}: {', '.join(parts)}"
    width = max((len(fact.name) for fact in differing), default=0)
    for fact in differing:
        remark = f"   ({fact.remark})" if fact.remark else ""
        yield f"  {fact.name.ljust(width)}  {_value(fact.first)} | {_value(fact.second)}{remark}"
    if section.name != "environment" and 0 < num_equal <= _MAX_ITEMS:
        yield f"  equal: {', '.join(fact.name for fact in section.equal)}"


def _value(value: str | None) -> str:
    if value is None:
        return "–"
    return value if len(value) <= _MAX_VALUE else f"{value[: _MAX_VALUE - 1]}…"


def _outcome_lines(found: RunContrast) -> Iterator[str]:
    from runkit.stats.rounding import percent, points, points_interval, pvalue

    compared = [one for one in found.outcomes if one.counts.n]
    unchanged = _unchanged_systems(compared)
    shown = [one for one in compared if one.system not in unchanged]
    yield "outcomes: A minus B on the same items" if compared else "outcomes: nothing can be compared"
    if unchanged:
        yield f"  the same answer to every item in every evaluation: {', '.join(unchanged)}"
    rows = [("evaluation", "system", "A %", "B %", "Δ points", "only A:B", "exact p", "other answers")]
    for one in shown:
        counts = one.counts
        difference = points(counts.only_first - counts.only_second, counts.n)
        rows.append(
            (
                one.evaluation,
                one.system,
                percent(counts.both + counts.only_first, counts.n),
                percent(counts.both + counts.only_second, counts.n),
                f"{difference} {points_interval(one.interval)}",
                f"{counts.only_first}:{counts.only_second}",
                pvalue(one.p_exact),
                f"{one.num_changed_answers} of {counts.n}",
            )
        )
    if shown:
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            yield (
                "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            )
    yield from (_not_paired_line(fact) for fact in found.not_paired)
    last = next((one for one in reversed(shown) if one.system == "bridged"), None)
    if last is not None:
        for letter, items in (("A", last.won_by_first), ("B", last.won_by_second)):
            yield f"  won by {letter} alone ({last.evaluation}, {last.system}): {_listed(items)}"


def _score_lines(found: RunContrast) -> Iterator[str]:
    from runkit.stats.rounding import measured_value, pvalue

    yield "scores: A minus B"
    rows: list[tuple[str, ...]] = [("score", "A", "B", "A − B", "95 %", "p", "n", "better")]
    for one in found.scores:
        values = (one.first, one.second, one.difference)
        interval = "–"
        if one.low is not None and one.high is not None:
            interval = f"[{measured_value(one.low)}, {measured_value(one.high)}]"
        rows.append(
            (
                one.name,
                *("–" if value is None else measured_value(value) for value in values),
                interval,
                "–" if one.p is None else pvalue(one.p),
                str(one.n) if one.n else "–",
                one.better or "–",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for method in dict.fromkeys(one.method for one in found.scores):
        names = [one.name for one in found.scores if one.method == method]
        yield f"  {', '.join(names)}: {method}"


def _unchanged_systems(compared: Sequence[SystemContrast]) -> tuple[str, ...]:
    """Return the systems that gave the same answers in both runs, always."""
    systems = dict.fromkeys(one.system for one in compared)
    changed = {one.system for one in compared if one.num_changed_answers}
    return tuple(system for system in systems if system not in changed)


def _not_paired_line(fact: Fact) -> str:
    return f"  {fact.name} is not compared: {fact.remark} ({_value(fact.first)} | {_value(fact.second)})"


def _listed(items: Sequence[str]) -> str:
    if not items:
        return "no item"
    more = f" and {len(items) - _MAX_ITEMS} more" if len(items) > _MAX_ITEMS else ""
    return f"items {', '.join(items[:_MAX_ITEMS])}{more}"
