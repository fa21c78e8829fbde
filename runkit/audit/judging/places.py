"""Where a fact stands, for people."""

from __future__ import annotations

from runkit.records.manifest import Evidence


def evidence_at(evidence: Evidence | None) -> str:
    """Return path and line of *evidence*."""
    if evidence is None:
        return "nothing in the log"
    return f"{evidence.path}:{evidence.line}" if evidence.line else evidence.path
