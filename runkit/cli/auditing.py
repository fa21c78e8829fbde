"""The verb that reads prose: audit. It prints what the workflow found, and finds nothing."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runkit.cli.options import WorkspaceFolder, opened
from runkit.cli.output import print_json, tell_unread
from runkit.render.escaping import github_command, one_line, sarif_text

if TYPE_CHECKING:
    from runkit.workflows.audit import AuditReport


class AuditFormat(StrEnum):
    """How verdicts are printed."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


class VerdictWord(StrEnum):
    """What the archive says of a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNVERIFIABLE = "unverifiable"


def register(app: typer.Typer) -> None:
    """Add the verb to *app*."""
    app.command()(audit)


def audit(
    documents: Annotated[
        list[Path],
        typer.Argument(help="Markdown, LaTeX or text files.", metavar="DOC...", show_default=False),
    ],
    output: Annotated[
        AuditFormat, typer.Option("--format", help="For people, programs, or annotations in a pull request.")
    ] = AuditFormat.TEXT,
    only: Annotated[
        list[VerdictWord] | None, typer.Option("--only", help="Print these verdicts; can be repeated.")
    ] = None,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Check the claims of a document against the archive.

    Each claim about a run is supported, contradicted or unverifiable. Read-only. Exit status 1 when a claim
    is contradicted.
    """
    from runkit.errors import UsageError
    from runkit.workflows.audit import audit as audit_documents

    archive = opened(workspace)
    if not archive.manifests.is_dir():
        raise UsageError(
            f"there is no archive in {workspace}: it has no folder manifests; `runkit preserve RUN` archives "
            "a run here, or choose another with --workspace"
        )
    report = audit_documents(archive, documents)
    wanted = frozenset(word.value for word in only or VerdictWord)
    _print(report, output, wanted)
    tell_unread(report.unreadable)
    if report.count("contradicted"):
        raise typer.Exit(1)


def _print(report: AuditReport, output: AuditFormat, wanted: frozenset[str]) -> None:
    from runkit.audit.reports import annotation, code_of, sarif

    verdicts = [one for one in report.verdicts if one.verdict in wanted]
    if output is AuditFormat.JSON:
        summary = _summary(report)
        claims = [{**asdict(one), "code": code_of(one)} for one in verdicts]
        findings = [asdict(finding) for finding in report.findings]
        print_json({"claims": claims, "findings": findings, "summary": summary})
    elif output is AuditFormat.GITHUB:
        for one in verdicts:
            if one.verdict != "supported":
                print(github_command(*annotation(one)))
    elif output is AuditFormat.SARIF:
        from runkit import __version__
        from runkit.workflows.explain import explain

        rules = [(rule.code, rule.name, rule.summary) for rule in map(explain, ("RK601", "RK602", "RK604"))]
        print_json(sarif(verdicts, version=__version__, rules=rules, shown=sarif_text))
    else:
        _print_text(report, wanted)


def _print_text(report: AuditReport, wanted: frozenset[str]) -> None:
    from runkit.audit.reports import text_lines

    by_name = {document.name: document for document in report.documents}
    for one in report.verdicts:
        if one.verdict in wanted:
            print("\n".join(map(one_line, text_lines(one, by_name[one.document]))), end="\n\n")
    counts = ", ".join(
        f"{report.count(word)} {word}" for word in ("contradicted", "supported", "unverifiable")
    )
    print(f"{len(report.verdicts)} claims, {report.num_runs} runs: {counts}")


def _summary(report: AuditReport) -> dict[str, int]:
    counts = {f"num_{word}": report.count(word) for word in ("supported", "contradicted", "unverifiable")}
    return {
        "num_documents": len(report.documents),
        "num_runs": report.num_runs,
        "num_claims": len(report.verdicts),
        **counts,
    }
