"""Whether kept files hold what looks like a secret; knows where, never what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from runkit.checks.catalogue import found
from runkit.checks.view import ArchiveView, Family
from runkit.records.finding import Finding
from runkit.records.run_texts import SuspectedSecret


def secret_findings(run_id: str, suspected: Iterable[SuspectedSecret]) -> Iterator[Finding]:
    """Yield a finding for each place of a run that looks secret."""
    for one in suspected:
        message = f"a kept file holds what looks like a secret: {one.path}:{one.line}, {one.kind}"
        yield found("RK111", run_id, one.path, message)


def _secret_findings(archive: ArchiveView) -> Iterator[Finding]:
    for manifest in archive.manifests:
        texts = archive.texts.get(manifest.run_id)
        if texts is not None:
            yield from secret_findings(manifest.run_id, texts.secrets)


SECRECY = Family("secrets in kept files", _secret_findings, frozenset({"RK111"}))
