"""What ``show`` and ``explain`` print of generated texts and of root causes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runkit.cli.output import print_columns, print_json
from runkit.render.escaping import one_line

if TYPE_CHECKING:
    from runkit.archive.workspace import Workspace
    from runkit.checks.generations import OutcomeChange, SteadyItems, SystemGenerations
    from runkit.records.manifest import Evidence
    from runkit.workflows.inspection import GenerationReport

_LONGEST_ANSWER = 16
_MOST_ITEMS = 12


def print_generations(
    workspace: Workspace, run_id: str, systems: Sequence[str], references: Path | None, as_json: bool
) -> None:
    """Print what the systems of one run wrote."""
    from runkit.workflows.inspection import generations

    report = generations(workspace, run_id, systems=systems, references=references)
    if as_json:
        print_json(_document(report))
        return
    if not report.systems:
        print(f"{run_id} has no dumps of generated texts; `runkit show {run_id}` prints its scores")
        return
    header = (
        "evaluation", "system", "n", "correct", "wrong", "invalid", "empty", "no marker", "no number",
        "at limit", "echo", "loop", "leaked", "restated", "distinct", "most common",
    )  # fmt: skip
    print_columns([header, *(_row(one) for one in report.systems)])
    print()
    print("\n".join(_legend(report)))
    for change in report.changes:
        print(one_line(_change_line(change)))
    for steady in report.steady:
        print("\n".join(map(one_line, _steady_lines(steady))))


def print_causes(workspace: Workspace, run_id: str, references: Path | None, as_json: bool) -> None:
    """Print the root causes that the record of one run speaks for."""
    from runkit.archive.reading import read_manifest
    from runkit.workflows.inspection import causes

    proposed = causes(workspace, run_id, references=references)
    noted = read_manifest(workspace, run_id).notes.root_cause
    if as_json:
        document = {
            "noted": noted.model_dump(mode="json") if noted else None,
            "proposed": [
                {
                    "code": one.code,
                    "confidence": one.confidence,
                    "sentence": one.sentence,
                    "evidence": [evidence.model_dump(mode="json") for evidence in one.evidence],
                }
                for one in proposed
            ],
        }
        print_json(document)
        return
    print(f"noted     {one_line(f'{noted.code}: {noted.sentence}')}" if noted else "noted     nothing yet")
    if not proposed:
        print("proposed  nothing: the record speaks for no known cause")
    for one in proposed:
        print(f"proposed  {one.code} ({one.confidence}): {one_line(one.sentence)}")
        for evidence in one.evidence:
            print(f"            {one_line(f'{_place(evidence)}: {evidence.what}')}")
    if proposed:
        print(f"next: runkit note {run_id} --root-cause {proposed[0].code}, or another one --because REASON")


def cause_lines(code: str | None) -> Iterator[str]:
    """Yield the page of one root cause, or one line for each.

    Raises:
        UnknownName: There is no such cause.
    """
    from runkit.checks.taxonomy import CAUSES, cause

    if code is None:
        for one in CAUSES:
            yield f"{one.code}: {one.meaning}"
        return
    one = cause(code)
    yield one.code
    yield f"  {one.meaning}"
    yield f"  Proposed by: {one.told_by}"
    yield f"  Way out: {one.way_out}"


def _row(one: SystemGenerations) -> tuple[str, ...]:
    counts = (one.label, one.system, str(one.n), str(one.correct), str(one.wrong), str(one.invalid))
    signs = one.signs
    shown = ("–",) * 8
    if signs is not None:
        forms = signs.invalid_forms
        shown = (
            str(forms["empty"]),
            str(forms["no marker"]),
            str(forms["not a number"]),
            "–" if signs.num_truncated is None else str(signs.num_truncated),
            str(signs.num_echoed),
            str(signs.num_looped),
            str(signs.num_leaked),
            str(signs.num_restated),
        )
    collapsed = " COLLAPSED" if one.is_collapsed else ""
    answers = ", ".join(
        f"{_shortened(share.answer)} {100 * share.share_fraction:.1f} %" for share in one.most_common[:3]
    )
    return (*counts, *shown, str(one.distinct_answers), answers + collapsed)


def _legend(report: GenerationReport) -> Iterator[str]:
    yield (
        "empty, no marker, no number: forms of invalid answers. echo: holds the asked question. loop: ends "
        "in a repeated piece. leaked, restated: the first answer marker stands behind another question, or "
        "behind the asked one written once more. –: not recorded in the dump, or the dump is not at hand."
    )
    if report.num_without_texts:
        yield (
            f"{report.num_without_texts} dumps are kept by reference and were not read; --references DIR "
            "names the folder that has them."
        )


def _change_line(change: OutcomeChange) -> str:
    won = sum(count for (before, after), count in change.counts.items() if before != after == "correct")
    lost = sum(count for (before, after), count in change.counts.items() if after != before == "correct")
    kept = change.counts["correct", "correct"]
    to_invalid = sum(
        count for (before, after), count in change.counts.items() if before != after == "invalid"
    )
    return (
        f"{change.system} {change.before} -> {change.after}: {won} won, {lost} lost, {kept} stayed correct, "
        f"{to_invalid} became invalid"
    )


def _steady_lines(steady: SteadyItems) -> Iterator[str]:
    head = f"{steady.system}, {len(steady.labels)} evaluations from {steady.labels[0]} to {steady.labels[-1]}"
    never = _items(steady.never_correct, "never correct")
    yield f"{head}: {len(steady.always_correct)} items always correct, {never}"
    if steady.always_invalid:
        yield f"{head}: {_items(steady.always_invalid, 'always invalid')}"


def _items(items: Sequence[str], what: str) -> str:
    shown = ", ".join(items[:_MOST_ITEMS]) + (", …" if len(items) > _MOST_ITEMS else "")
    return f"{len(items)} {what}" + (f" ({shown})" if items else "")


def _document(report: GenerationReport) -> dict[str, object]:
    return {
        "run_id": report.run_id,
        "systems": [
            {
                **one._asdict(),
                "most_common": [share._asdict() for share in one.most_common],
                "signs": one.signs._asdict() if one.signs is not None else None,
            }
            for one in report.systems
        ],
        "changes": [
            {
                **change._asdict(),
                "counts": {f"{before} -> {after}": count for (before, after), count in change.counts.items()},
            }
            for change in report.changes
        ],
        "steady": [one._asdict() for one in report.steady],
        "num_without_texts": report.num_without_texts,
    }


def _place(evidence: Evidence) -> str:
    return evidence.path if evidence.line is None else f"{evidence.path}:{evidence.line}"


def _shortened(answer: str) -> str:
    return answer if len(answer) <= _LONGEST_ANSWER else f"{answer[:_LONGEST_ANSWER]}…"
