"""The verb ``audit``: reads documents and manifests, and hands back what the archive says of each claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runkit.archive.opening import DOCUMENT_LIMIT_BYTES, read_regular
from runkit.archive.reading import UnreadableManifest, read_manifests
from runkit.archive.workspace import Workspace
from runkit.audit.auditing import Verdict, audited
from runkit.audit.document import Document
from runkit.audit.latex import read_latex
from runkit.audit.markdown import read_markdown
from runkit.audit.plaintext import read_plaintext
from runkit.checks.catalogue import found
from runkit.errors import RecordInvalid, UsageError
from runkit.records.finding import Finding

_MARKDOWN = frozenset({".md", ".markdown", ".mkd", ".qmd", ".rmd"})
_LATEX = frozenset({".tex", ".ltx", ".latex"})


@dataclass(frozen=True)
class AuditReport:
    """What was found in some documents."""

    verdicts: tuple[Verdict, ...]
    """By document in the order of the call, then in the order of the text."""
    documents: tuple[Document, ...]
    num_runs: int
    unreadable: tuple[UnreadableManifest, ...] = ()
    """Manifests that nothing was compared with."""

    def count(self, verdict: str) -> int:
        """Return how many claims have *verdict*."""
        return sum(1 for one in self.verdicts if one.verdict == verdict)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """RK601 for what is contradicted, RK602 and RK604 as notes for what nobody can check."""
        return tuple(finding for one in self.verdicts if (finding := _finding(one)) is not None)


def audit(workspace: Workspace, paths: Sequence[Path]) -> AuditReport:
    """Return what the archive of *workspace* says of the claims in the documents at *paths*.

    Raises:
        UsageError: There is no such document.
        RecordInvalid: A document is not UTF-8.
    """
    folder = read_manifests(workspace)
    documents = tuple(read_document(path) for path in paths)
    verdicts = tuple(verdict for document in documents for verdict in audited(document, folder.manifests))
    return AuditReport(verdicts, documents, len(folder.manifests), folder.unreadable)


def read_document(path: Path) -> Document:
    """Return the document at *path*, read as its suffix says; an unknown suffix is plain text.

    Raises:
        UsageError: It does not exist or is a folder.
        RecordInvalid: It is not UTF-8.
    """
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no file"
        raise UsageError(f"{path} is {kind}; name the Markdown, LaTeX or text files to audit")
    try:
        source = read_regular(path, limit=DOCUMENT_LIMIT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecordInvalid(
            f"{path} is not UTF-8: byte {error.start} cannot be decoded; save it as UTF-8"
        ) from error
    suffix = path.suffix.lower()
    reader = read_markdown if suffix in _MARKDOWN else read_latex if suffix in _LATEX else read_plaintext
    return reader(source, name=path.as_posix())


def _finding(verdict: Verdict) -> Finding | None:
    place = f"{verdict.document}:{verdict.line}"
    run_id = "" if verdict.run_id == "*" else verdict.run_id
    said = f"“{verdict.claim}” ({verdict.quantity})"
    if verdict.verdict == "contradicted":
        cause = f" ({verdict.because})" if verdict.because else ""
        message = f"{said} is contradicted: {verdict.actual}, by {verdict.evidence}{cause}"
        return found("RK601", run_id, place, message)
    if verdict.verdict == "unverifiable":
        rule = "RK604" if not verdict.run_id else "RK602"
        return found(rule, run_id, place, f"{said} cannot be checked: {verdict.evidence}", severity="info")
    return None
