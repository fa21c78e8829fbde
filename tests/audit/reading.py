"""The archive that the documents were written about, the repository's own, and documents of a few lines."""

from __future__ import annotations

import lzma
from collections import Counter
from collections.abc import Sequence
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
def own_archive() -> tuple[Manifest, ...]:
    """The manifests of the repository, the five cluster runs and the pocket runs of today."""
    return read_manifests(Workspace(ROOT)).manifests


@cache
def archive() -> tuple[Manifest, ...]:
    """The cluster runs, and the pocket runs as they were when the documents here were written.

    Pocket runs are trained again now and then, and documents about them stay.
    """
    cluster = [one for one in own_archive() if one.sealed.provenance.reader != "runkit"]
    lines = lzma.decompress(
        (ROOT / "tests" / "audit" / "pocket_manifests.jsonl.xz").read_bytes()
    ).splitlines()
    pocket = [Manifest.parse(line, origin=f"pocket run {number}") for number, line in enumerate(lines)]
    return (*cluster, *pocket)


def audited_text(
    source: str, *, kind: str = "md", manifests: Sequence[Manifest] | None = None
) -> tuple[Verdict, ...]:
    """The verdicts on a document of *kind*; None means :func:`archive`."""
    read = READERS[kind](source, name=f"doc.{kind}")
    return audited(read, archive() if manifests is None else manifests)


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
