"""The repository's own archive, and documents made of a few lines."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

from runkit.archive.reading import read_manifests
from runkit.archive.workspace import Workspace
from runkit.audit.auditing import Verdict, audited
from runkit.audit.latex import read_latex
from runkit.audit.markdown import read_markdown
from runkit.audit.plaintext import read_plaintext
from runkit.records.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]
READERS = {"md": read_markdown, "tex": read_latex, "txt": read_plaintext}


@cache
def archive() -> tuple[Manifest, ...]:
    """The manifests of the five cluster runs and of the pocket runs."""
    return read_manifests(Workspace(ROOT)).manifests


def audited_text(source: str, *, kind: str = "md") -> tuple[Verdict, ...]:
    """The verdicts on a document of *kind*."""
    return audited(READERS[kind](source, name=f"doc.{kind}"), archive())


def confusion(pairs: list[tuple[str, str]]) -> str:
    """A table of expected against found verdicts, as it is quoted in the tests."""
    words = ("contradicted", "supported", "unverifiable", "not found")
    counts = Counter(pairs)
    rows = ["expected      " + " ".join(f"{word:>12}" for word in words)]
    rows += [
        f"{expected:<14}" + " ".join(f"{counts[expected, found]:>12}" for found in words)
        for expected in words[:3]
    ]
    return "\n".join(rows)
