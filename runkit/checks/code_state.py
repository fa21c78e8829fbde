"""Whether it is recorded which code ran; does not look at the code."""

from __future__ import annotations

from collections.abc import Iterator

from runkit.checks.catalogue import found
from runkit.checks.view import ArchiveView, Family
from runkit.records.finding import Finding
from runkit.records.manifest import Manifest


def _code_findings(archive: ArchiveView) -> Iterator[Finding]:
    for manifest in archive.manifests:
        trouble = _trouble(manifest)
        if trouble:
            yield found("RK410", manifest.run_id, "sealed.software.code", trouble)


def _trouble(manifest: Manifest) -> str | None:
    code = manifest.sealed.software.code
    because = f": {code.missing_because}" if code.missing_because else ""
    if code.git_commit is None:
        return f"the run does not record which commit it ran{because}"
    if code.is_dirty is None:
        return f"nobody knows whether the code differed from commit {code.git_commit[:12]}{because}"
    if code.is_dirty and code.left_out:
        return (
            f"the code differed from commit {code.git_commit[:12]}, and not all of it was kept: "
            f"{'; '.join(code.left_out)}"
        )
    if code.is_dirty and code.reapplies is False:
        return f"the diff that was kept does not give the code that ran when put on {code.git_commit[:12]}"
    if code.is_dirty and not (code.changes or _has_capture(manifest)):
        return f"the code differed from commit {code.git_commit[:12]}, and the changes were not kept{because}"
    return None


def _has_capture(manifest: Manifest) -> bool:
    """Return whether the difference to the commit is among the artifacts."""
    return any(
        artifact.role == "capture" and artifact.path.endswith((".patch", ".diff"))
        for artifact in manifest.sealed.artifacts
    )


CODE_STATE = Family("code state", _code_findings, frozenset({"RK410"}))
