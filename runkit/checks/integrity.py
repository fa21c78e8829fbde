"""Whether the archive still holds what was sealed; compares manifests with observations, opens no file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from runkit.checks.catalogue import found
from runkit.checks.view import ArchiveView, Family
from runkit.records.finding import Finding
from runkit.records.manifest import Artifact, Manifest, MissingArtifact
from runkit.records.observation import FileObservation, RunObservation
from runkit.records.paths import trouble_of_path

_HOSTILE = re.compile(r"""[\s"'`\\$*?<>|;&(){}\[\]!#~\x00-\x1f\x7f]""")
"""Characters that a shell splits, expands or quotes."""

_SHOWN_DIGITS = 12

_UNSEEN = {
    "missing": "is not there",
    "other": "is no regular file",
    "unreadable": "cannot be read",
}


def _integrity_findings(archive: ArchiveView) -> Iterator[Finding]:
    for manifest in archive.manifests:
        yield from sealed_findings(manifest)
        observation = archive.observations.get(manifest.run_id)
        if observation is not None:
            yield from disk_findings(manifest, observation)


def sealed_findings(manifest: Manifest) -> Iterator[Finding]:
    """Yield what is wrong with a manifest by itself."""
    yield from _broken_seal(manifest)
    for artifact in manifest.sealed.artifacts:
        if trouble := trouble_of_path(artifact.path):
            message = f"the path {artifact.path!r} {trouble}; expected a path inside the run directory"
            yield found("RK106", manifest.run_id, artifact.path, message)
    for missing in manifest.sealed.missing_artifacts:
        yield from _unpreserved(manifest, missing)
    yield from _repaired_name(manifest)


def disk_findings(manifest: Manifest, observation: RunObservation) -> Iterator[Finding]:
    """Yield where the disk does not hold what *manifest* says."""
    for artifact in manifest.sealed.artifacts:
        seen = observation.artifacts.get(artifact.path)
        if seen is not None and not trouble_of_path(artifact.path):
            yield from _artifact_findings(manifest.run_id, artifact, seen)
    for path in observation.unlisted:
        message = f"{path} lies in the preserved directory and is not among the artifacts of the manifest"
        yield found("RK103", manifest.run_id, path, message)
    yield from _outcomes_findings(manifest, observation)


def unreadable_manifest(file_name: str, message: str) -> Finding:
    """Return the finding for a file in ``manifests/`` that is no manifest."""
    return found("RK105", file_name.removesuffix(".json"), f"manifests/{file_name}", message)


class NamedManifests(NamedTuple):
    """Manifests whose file bears their name, and findings for the others."""

    manifests: tuple[Manifest, ...]
    """Sorted by run id, each once."""
    findings: tuple[Finding, ...]


def rightly_named(manifests: Sequence[Manifest], file_ids: Iterable[str]) -> NamedManifests:
    """Return which of *manifests* lie in a file of their own name.

    Args:
        file_ids: Names, without ``.json``, of the files that *manifests* were read from.
    """
    files = set(file_ids)
    times = Counter(manifest.run_id for manifest in manifests)
    strangers = sorted(run_id for run_id, count in times.items() if run_id not in files or count > 1)
    said = f"run {strangers[0]!r}" if len(strangers) == 1 else f"one of the runs {', '.join(strangers)}"
    findings = [
        found("RK105", name, f"manifests/{name}.json", f"the file says that it is {said}, not run {name!r}")
        for name in sorted(files - set(times))
    ]
    named = {run.run_id: run for run in sorted(manifests, key=lambda run: (run.run_id, run.seal.digest))}
    kept = tuple(manifest for run_id, manifest in named.items() if run_id in files)
    return NamedManifests(kept, tuple(findings))


def _broken_seal(manifest: Manifest) -> Iterator[Finding]:
    digest = manifest.sealed.content_digest()
    if digest != manifest.seal.digest:
        message = (
            f"the sealed facts have digest {_short(digest)}, the seal says {_short(manifest.seal.digest)}: "
            "they were edited after they were sealed"
        )
        yield found("RK104", manifest.run_id, "seal.digest", message)


def _unpreserved(manifest: Manifest, missing: MissingArtifact) -> Iterator[Finding]:
    if missing.role not in {"checkpoint", "dump"} or missing.evidence is None:
        return
    evidence = missing.evidence
    place = evidence.path if evidence.line is None else f"{evidence.path}:{evidence.line}"
    message = f"the {missing.role} {missing.path} was not there to preserve: {missing.reason}"
    yield found("RK107", manifest.run_id, place, message)


def _repaired_name(manifest: Manifest) -> Iterator[Finding]:
    logged = manifest.sealed.provenance.logged_run_directory
    hostile = sorted(set(_HOSTILE.findall(logged or "")))
    if logged is None or not hostile:
        return
    parts = "/".join(part for part in logged.split("/") if _HOSTILE.search(part))
    spelled = " ".join(repr(character) for character in hostile)
    message = f"the log names the directory {parts!r}, which holds {spelled}; preserved as {manifest.run_id}"
    yield found("RK108", manifest.run_id, "sealed.provenance.logged_run_directory", message)


def _artifact_findings(run_id: str, artifact: Artifact, seen: FileObservation) -> Iterator[Finding]:
    if seen.kind == "link":
        message = f"{artifact.path} is a link; expected a regular file of {artifact.size_bytes} bytes"
        yield found("RK106", run_id, artifact.path, message)
    elif seen.kind != "file":
        message = f"{artifact.path} {_UNSEEN[seen.kind]}; expected a file of {artifact.size_bytes} bytes"
        yield found("RK101", run_id, artifact.path, message)
    elif seen.size_bytes is not None and seen.size_bytes != artifact.size_bytes:
        message = f"{artifact.path} has {seen.size_bytes} bytes, the manifest says {artifact.size_bytes}"
        yield found("RK102", run_id, artifact.path, message)
    elif seen.sha256 is not None and seen.sha256 != artifact.sha256:
        yield found("RK102", run_id, artifact.path, _other_bytes(artifact.path, seen.sha256, artifact.sha256))


def _outcomes_findings(manifest: Manifest, observation: RunObservation) -> Iterator[Finding]:
    named, seen = manifest.sealed.outcomes, observation.outcomes
    if named is None:
        num_measured = sum(1 for evaluation in manifest.sealed.evaluations if evaluation.n)
        if num_measured:
            message = (
                f"the manifest has scores of {num_measured} evaluations and names no file with their "
                "per-sample outcomes"
            )
            yield found("RK101", manifest.run_id, "sealed.outcomes", message)
        return
    place = f"manifests/{named.path.rpartition('/')[2]}"
    if seen is None:
        return
    if seen.kind == "link":
        yield found("RK106", manifest.run_id, place, f"{place} is a link; expected a regular file")
    elif seen.kind != "file":
        message = f"{place} {_UNSEEN[seen.kind]}; expected the outcomes of {named.num_rows} answers"
        yield found("RK101", manifest.run_id, place, message)
    elif seen.sha256 is not None and seen.sha256 != named.sha256:
        yield found("RK102", manifest.run_id, place, _other_bytes(place, seen.sha256, named.sha256))


def _other_bytes(path: str, actual: str, expected: str) -> str:
    return f"{path} has sha256 {_short(actual)}, the manifest says {_short(expected)}"


def _short(digest: str) -> str:
    return f"{digest[:_SHOWN_DIGITS]}…"


INTEGRITY = Family(
    "integrity",
    _integrity_findings,
    frozenset({"RK101", "RK102", "RK103", "RK104", "RK105", "RK106", "RK107", "RK108", "RK109", "RK112"}),
)
"""RK105 comes from reading the folder, RK109 and RK112 from applying waivers; none of them can be waived."""
