"""The verbs that judge: validate, lineage, explain. They print what workflows found, and find nothing."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runkit.cli.options import WorkspaceFolder, opened
from runkit.cli.output import console, print_json
from runkit.cli.progress import progress_bar
from runkit.render.escaping import one_line

if TYPE_CHECKING:
    from runkit.archive.workspace import Workspace
    from runkit.checks.catalogue import Rule
    from runkit.checks.suggest import Suggestion
    from runkit.records.finding import Finding
    from runkit.workflows.lineage import LineageCheck, LineageEdge, LineageReport, TreeLine
    from runkit.workflows.validate import ValidationReport

_MAX_DIFFERENCES = 6

_COLOURS = {"error": "red", "warning": "yellow", "info": "cyan"}


class ReportFormat(StrEnum):
    """How findings are printed."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"
    JUNIT = "junit"


class GraphFormat(StrEnum):
    """How relations and findings are printed."""

    TEXT = "text"
    JSON = "json"
    MERMAID = "mermaid"
    DOT = "dot"
    SVG = "svg"
    HTML = "html"


def register(app: typer.Typer) -> None:
    """Add the verbs to *app*."""
    app.command()(validate)
    app.command()(lineage)
    app.command()(explain)


def validate(
    runs: Annotated[
        list[str] | None, typer.Argument(help="Preserved runs; default: all.", metavar="RUN")
    ] = None,
    rehash: Annotated[
        bool,
        typer.Option(
            "--rehash/--no-rehash",
            help="Read every byte, log and dump again and recompute every score, or compare sizes only.",
        ),
    ] = True,
    references: Annotated[
        Path | None,
        typer.Option(help="Folder with the run directories of artifacts kept by reference.", metavar="DIR"),
    ] = None,
    output: Annotated[
        ReportFormat,
        typer.Option(
            "--format", help="For people, for programs, or for CI: annotations, SARIF 2.1.0, JUnit."
        ),
    ] = ReportFormat.TEXT,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Check files, seals, scores and endings.

    Read-only. Exit status 1 when an error or a warning is found that nobody waived.
    """
    from runkit.errors import UsageError
    from runkit.workflows.validate import validate as validate_runs

    if references is not None and not references.is_dir():
        raise UsageError(f"there is no folder {references}; --references names a folder of run directories")
    with progress_bar("reading again") as progress:
        report = validate_runs(
            _archive(workspace), tuple(runs or ()), rehash=rehash, references=references, progress=progress
        )
    if output is ReportFormat.JSON:
        print_json({"findings": _plain(report.findings), "summary": _validation_summary(report)})
    elif output is not ReportFormat.TEXT:
        print(_for_ci(report, output), end="")
    else:
        _print_findings(report.findings)
        print(f"{_what_was_checked(report)}: {_tally(report.findings)}")
    _exit_for(report.findings)


def lineage(
    output: Annotated[
        GraphFormat, typer.Option("--format", help="For people, for programs, or a picture of the relations.")
    ] = GraphFormat.TEXT,
    check: Annotated[
        bool, typer.Option("--check", help="Findings only, fast: no graph, no test of significance.")
    ] = False,
    suggest: Annotated[
        bool, typer.Option("--suggest", help="Propose relations for runs that have none; note nothing.")
    ] = False,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Check what was really ablated.

    Shows how runs are related, what really differs, and whether differences exceed noise. Read-only.
    Exit status 1 when an error or a warning is found that nobody waived.
    """
    from runkit.workflows.lineage import check_lineage, suggested_relations
    from runkit.workflows.lineage import lineage as lineage_of

    if suggest:
        _print_suggestions(suggested_relations(_archive(workspace)), output)
        return
    if check:
        _print_check(check_lineage(_archive(workspace)), output)
        return
    report = lineage_of(_archive(workspace))
    if output is GraphFormat.JSON:
        print_json(
            {
                "nodes": _plain(report.nodes),
                "edges": _plain(report.edges),
                "findings": _plain(report.findings),
                "summary": _lineage_summary(report),
            }
        )
    elif output is GraphFormat.TEXT:
        _print_lineage(report)
    else:
        from runkit.workflows.lineage import picture

        print(picture(report, output.value), end="")
    _exit_for(report.findings)


def _print_suggestions(found: Sequence[Suggestion], output: GraphFormat) -> None:
    if output is GraphFormat.JSON:
        document = [
            {
                "run_id": one.run_id,
                "relation": one.relation.model_dump(mode="json"),
                "because": one.because,
                "command": one.command,
            }
            for one in found
        ]
        print_json({"suggestions": document})
        return
    for one in found:
        print(one_line(f"{one.run_id} {one.relation.kind} {one.relation.run_id}: {one.because}"))
        print(f"  {one_line(one.command)}")
    print(f"{_num(len(found), 'relation')} proposed; nothing was noted")


def _print_check(found: LineageCheck, output: GraphFormat) -> None:
    if output is GraphFormat.JSON:
        summary = {
            "num_runs": found.num_runs,
            "num_relations": found.num_relations,
            **_counts(found.findings),
        }
        print_json({"findings": _plain(found.findings), "summary": summary})
    else:
        _print_findings(found.findings)
        related = _num(found.num_relations, "relation")
        print(f"{_num(found.num_runs, 'run')}, {related}: {_tally(found.findings)}")
    _exit_for(found.findings)


def explain(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            help="A code, a root cause, or a table, row and column.",
            metavar="[RKnnn | causes | CAUSE | TABLE ROW COLUMN]",
        ),
    ] = None,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Explain a code, or a cell of a printed table.

    Without arguments: all codes, one line each.
    """
    from runkit.errors import UsageError

    words = what or []
    if not words:
        print("\n".join(_every_rule()))
    elif len(words) == 1 and re.fullmatch(r"RK\d+", words[0], re.IGNORECASE):
        from runkit.workflows.explain import explain as explain_rule

        print("\n".join(_rule_page(explain_rule(words[0]))))
    elif len(words) == 1 and (words[0] == "causes" or "." in words[0]):
        from runkit.cli.inspecting import cause_lines

        print("\n".join(cause_lines(None if words[0] == "causes" else words[0])))
    elif len(words) == 3:
        from runkit.workflows.table import explain_cell

        print("\n".join(map(one_line, explain_cell(opened(workspace), *words).lines)))
    else:
        raise UsageError(
            f"cannot explain {' '.join(words)!r}; give a code such as RK401, a root cause such as crash.oom, "
            "or a table, a row and a column"
        )


def _for_ci(report: ValidationReport, output: ReportFormat) -> str:
    from runkit.render.findings import Report, RuleText, github_annotations, junit, sarif

    rendered = Report(
        findings=report.findings,
        run_ids=report.run_ids,
        rules=[
            RuleText(rule.code, rule.name, rule.severity, rule.summary, rule.why, rule.way_out)
            for rule in report.rules
        ],
        kept_paths=report.kept_paths,
        summary=f"{_what_was_checked(report)}: {_tally(report.findings)}",
    )
    formats = {
        ReportFormat.GITHUB: github_annotations,
        ReportFormat.SARIF: sarif,
        ReportFormat.JUNIT: junit,
    }
    return formats[output](rendered)


def _archive(folder: Path) -> Workspace:
    from runkit.errors import UsageError

    workspace = opened(folder)
    if not workspace.manifests.is_dir():
        raise UsageError(
            f"there is no archive in {folder}: it has no folder manifests; `runkit preserve RUN` archives a "
            "run here, or choose another with --workspace"
        )
    return workspace


def _exit_for(findings: Sequence[Finding]) -> None:
    from runkit.checks.gather import fails

    if fails(findings):
        raise typer.Exit(1)


def _print_findings(findings: Sequence[Finding]) -> None:
    """Print *findings* by run, the run with the worst finding first."""
    by_run: dict[str, list[Finding]] = {}
    for finding in findings:
        by_run.setdefault(finding.run_id, []).append(finding)
    for run_id, own in by_run.items():
        print(one_line(run_id) or "the archive")
        for finding in own:
            _print_finding(finding)
        print()


def _print_finding(finding: Finding) -> None:
    word = "waived" if finding.waived_because is not None else finding.severity
    print("  ", end="")
    _print_word(word, finding.severity)
    print(f" {finding.rule} {one_line(finding.place)}: {one_line(finding.message)}")
    if finding.waived_because is not None:
        print(f"    waived because {one_line(finding.waived_because)}")
    elif finding.way_out:
        print(f"    -> {one_line(finding.way_out)}")


def _print_word(word: str, severity: str) -> None:
    if sys.stdout.isatty():
        console().print(word, style=_COLOURS[severity], end="", highlight=False)
    else:
        print(word, end="")


def _what_was_checked(report: ValidationReport) -> str:
    parts = [_num(report.num_runs, "run")]
    if report.rehashed:
        parts.append(f"{_num(report.num_artifacts_rehashed, 'file')} re-hashed")
        parts.append(f"{_num(report.num_reread, 'run')} read again")
    else:
        files = _num(report.num_artifacts, "file")
        parts.append(f"{files} compared by size only, no bytes read, nothing read again, no score recomputed")
    if report.num_not_checked:
        parts.append(f"{report.num_not_checked} by reference not checked")
    if report.not_reread:
        reasons = Counter(report.not_reread.values())
        told = "; ".join(f"{_num(count, 'run')} ({reason})" for reason, count in reasons.most_common())
        parts.append(f"not read again, or not in full: {told}")
    return ", ".join(parts)


def _tally(findings: Sequence[Finding]) -> str:
    counts = _counts(findings)
    if not findings:
        return "nothing found"
    words = (("num_errors", "error"), ("num_warnings", "warning"), ("num_notes", "note"))
    return ", ".join([_num(counts[key], word) for key, word in words] + [f"{counts['num_waived']} waived"])


def _counts(findings: Iterable[Finding]) -> dict[str, int]:
    open_ones = [finding.severity for finding in findings if finding.waived_because is None]
    return {
        "num_errors": open_ones.count("error"),
        "num_warnings": open_ones.count("warning"),
        "num_notes": open_ones.count("info"),
        "num_waived": sum(1 for finding in findings if finding.waived_because is not None),
    }


def _validation_summary(report: ValidationReport) -> dict[str, Any]:
    return {
        "num_runs": report.num_runs,
        "num_artifacts": report.num_artifacts,
        "num_artifacts_rehashed": report.num_artifacts_rehashed,
        "num_not_checked": report.num_not_checked,
        "rehashed": report.rehashed,
        "num_reread": report.num_reread,
        "not_reread": dict(report.not_reread),
        **_counts(report.findings),
    }


def _lineage_summary(report: LineageReport) -> dict[str, int]:
    return {"num_runs": report.num_runs, "num_compared": report.num_compared, **_counts(report.findings)}


def _num(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _plain(values: Iterable[Any]) -> list[dict[str, Any]]:
    from dataclasses import asdict

    return [asdict(value) for value in values]


def _print_lineage(report: LineageReport) -> None:
    for line in report.tree():
        print("\n".join(_tree_lines(line)))
    if report.nodes:
        print()
    _print_findings(report.findings)
    compared = f"outcomes of {_num(report.num_compared, 'run')} compared"
    related = _num(len(report.edges), "relation")
    print(f"{_num(report.num_runs, 'run')}, {related}, {compared}: {_tally(report.findings)}")


def _tree_lines(line: TreeLine) -> Iterator[str]:
    indent = "  " * line.depth
    status = line.node.status or "not readable in this archive"
    title = f": {one_line(line.node.title)}" if line.node.title else ""
    yield f"{indent}{one_line(line.node.run_id)} ({status}){title}"
    for edge in ([line.edge] if line.edge else []) + list(line.other_edges):
        yield f"{indent}  {_relation(edge)}"
        if edge.is_noop or edge.differences:
            yield f"{indent}  really differs: {_really(edge)}"


def _relation(edge: LineageEdge) -> str:
    factors = f" by {', '.join(edge.factors)}" if edge.factors else ""
    return one_line(f"{edge.kind} {edge.other_id}{factors}")


def _really(edge: LineageEdge) -> str:
    if edge.is_noop:
        return "nothing"
    shown = [str(one) for one in edge.differences[:_MAX_DIFFERENCES]]
    num_more = len(edge.differences) - len(shown)
    return one_line("; ".join(shown + ([f"{num_more} more"] if num_more else [])))


def _every_rule() -> Iterator[str]:
    from runkit.workflows.explain import every_rule

    for rule in every_rule():
        unchecked = "" if rule.is_checked else " (not checked by this version)"
        yield f"{rule.code} {rule.severity:<7} {rule.name}: {rule.summary}{unchecked}"


def _rule_page(rule: Rule) -> Iterator[str]:
    from runkit.checks.catalogue import waiver_refusal

    yield f"{rule.code} {rule.name} ({rule.family}, {rule.severity})"
    yield f"  {rule.summary}"
    yield f"  Why: {rule.why}"
    yield f"  Example: {rule.example}"
    yield f"  Way out: {rule.way_out}"
    refusal = waiver_refusal(rule.code)
    if refusal is not None:
        yield f"  Waivers: {refusal}."
    elif rule.is_checked:
        yield f"  Waivers: `runkit note RUN --waive {rule.code} --because REASON` accepts one finding."
    yield f"  Checked by `runkit {rule.checked_by}`." if rule.is_checked else "  Not checked by this version."
