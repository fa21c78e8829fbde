"""``push`` and ``pull``: runs to and from an archive behind a URL; the manifest comes last, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runkit.archive.hashing import FileDigest, file_digest
from runkit.archive.opening import OUTCOMES_LIMIT_BYTES, read_regular
from runkit.archive.reading import (
    UnreadableManifest,
    chosen_manifests,
    manifest_text,
    read_manifest,
    run_ids,
)
from runkit.archive.receiving import (
    OpenArtifact,
    SealedRun,
    check_space,
    read_artifacts,
    receive,
    sealed_run,
)
from runkit.archive.remote import RemoteArchive
from runkit.archive.scanning import suspected_secrets
from runkit.archive.workspace import Workspace
from runkit.checks.gather import unaccepted_secrets
from runkit.errors import (
    AlreadyExists,
    RecordInvalid,
    RunUnreadable,
    StorageFailed,
    UnknownName,
    UsageError,
)
from runkit.records.manifest import Artifact, Manifest

PULL_LIMIT_BYTES = 100 * 10**9
"""Of one run, when nobody says how much it may hold."""


@dataclass(frozen=True)
class PushReport:
    """What went to the other side."""

    pushed: tuple[str, ...]
    already_there: tuple[str, ...]
    """Runs that were there with the same seal; files that it lacked were sent."""
    other_notes: tuple[str, ...]
    """Those of :attr:`already_there` whose notes differ and were left as they are."""
    num_files: int
    """Files that were sent."""
    num_bytes: int
    num_not_sent: int
    """Files by reference that were not at hand."""
    unreadable: tuple[UnreadableManifest, ...] = ()
    """Manifests that are no valid records; their runs were not sent."""


@dataclass(frozen=True)
class PullReport:
    """What came from the other side."""

    taken: tuple[str, ...]
    already_here: tuple[str, ...]
    num_bytes: int
    refused: tuple[str, ...] = ()
    """A sentence for each run that was not taken in."""


@dataclass(frozen=True)
class RemoteReport:
    """What was read on the other side."""

    num_runs: int
    num_bytes: int
    damaged: tuple[str, ...]
    """A sentence for each file and manifest that is not what was sealed, or could not be read."""
    num_damaged: int
    """Runs that they belong to."""


def push(
    workspace: Workspace,
    url: str,
    chosen: Sequence[str] = (),
    *,
    references: Path | None = None,
    replace_notes: bool = False,
    despite_secrets: bool = False,
) -> PushReport:
    """Send the runs *chosen*, or all, to the archive at *url*.

    Args:
        references: Folder with the run directories of artifacts kept by reference, which are then sent too.
        replace_notes: Let our notes replace those of a run that is there with the same seal, unless somebody
            changed them meanwhile.
        despite_secrets: Also send runs with kept files that hold what looks like a secret.
    Raises:
        UsageError: A kept file of a run that is not there yet holds what looks like a secret; nothing was
        sent.
        AlreadyExists: A run is there with another seal.
        RunUnreadable: A file of ours is not what was sealed; its run has no manifest there.
        StorageFailed: The other side refused.
    """
    remote = RemoteArchive(url)
    there = frozenset(remote.run_ids())
    folder = chosen_manifests(workspace, chosen)
    manifests = folder.manifests
    texts = {run.run_id: remote.manifest(run.run_id) for run in manifests if run.run_id in there}
    for manifest in manifests:
        if manifest.run_id in texts:
            _check_same_seal(manifest, texts[manifest.run_id], remote)
    if not despite_secrets:
        _refuse_secrets(workspace, [manifest for manifest in manifests if manifest.run_id not in there])
    sent: list[FileDigest] = []
    num_not_sent, other_notes = 0, []
    for manifest in manifests:
        for artifact in manifest.sealed.artifacts:
            path = _place(workspace, manifest.run_id, artifact, references)
            if path is None:
                num_not_sent += not remote.has_object(artifact.sha256, artifact.size_bytes)
            elif not remote.has_object(artifact.sha256, artifact.size_bytes):
                _send(remote, path, artifact)
                sent.append(FileDigest(artifact.sha256, artifact.size_bytes))
        text = manifest_text(workspace, manifest.run_id)
        # There is nothing to lock on the other side, and sending files took a while: look again.
        before, there_now = texts.get(manifest.run_id), remote.manifest_if_any(manifest.run_id)
        if there_now is not None:
            _check_same_seal(manifest, there_now, remote)
        if there_now is None:
            if manifest.sealed.outcomes is not None:
                remote.put_outcomes(manifest.run_id, _outcomes(workspace, manifest))
            remote.put_manifest(manifest.run_id, text)
        elif there_now != text and replace_notes and there_now == before:
            remote.put_manifest(manifest.run_id, text)
        elif there_now != text:
            other_notes.append(manifest.run_id)
    return PushReport(
        pushed=tuple(run.run_id for run in manifests if run.run_id not in there),
        already_there=tuple(texts),
        other_notes=tuple(other_notes),
        num_files=len(sent),
        num_bytes=sum(digest.size_bytes for digest in sent),
        num_not_sent=num_not_sent,
        unreadable=folder.unreadable,
    )


def pull(
    workspace: Workspace, url: str, chosen: Sequence[str] = (), *, max_bytes: int = PULL_LIMIT_BYTES
) -> PullReport:
    """Take the runs *chosen*, or all, from the archive at *url*; files by reference stay there.

    Of several runs, one that cannot be taken in does not keep the others out.

    Args:
        max_bytes: How much one run may hold.
    Raises:
        UnknownName: There is no such run.
        AlreadyExists: The archive here has the one run that is asked for with another seal.
        RunUnreadable: What came of the one run is not what was sealed; it was not taken in.
        StorageFailed: The one run could not be read there, or not written here.
    """
    remote = RemoteArchive(url)
    taken, already, refused, num_bytes = [], [], [], 0
    wanted = _wanted(remote, chosen)
    for run_id in wanted:
        try:
            run = _offered(remote, run_id)
            if run_id in run_ids(workspace):
                _check_same_seal(read_manifest(workspace, run_id), run.text, remote)
                already.append(run_id)
                continue
            run_bytes = sum(one.size_bytes for one in run.manifest.sealed.artifacts if one.is_here)
            if run_bytes > max_bytes:
                raise RunUnreadable(
                    f"{run.origin}: the run has {run_bytes:,} bytes, and {max_bytes:,} may be taken; allow "
                    "more with --max-size; nothing was taken"
                )
            check_space(workspace, run_bytes)
            receive(workspace, run, _opener(remote))
        except (RunUnreadable, RecordInvalid, StorageFailed, AlreadyExists) as error:
            if len(wanted) == 1:
                raise
            refused.append(str(error))
            continue
        taken.append(run_id)
        num_bytes += run_bytes
    return PullReport(tuple(taken), tuple(already), num_bytes, tuple(refused))


def verify_remote(url: str, chosen: Sequence[str] = ()) -> RemoteReport:
    """Read every byte of the runs *chosen*, or of all, at *url*, and compare with what was sealed."""
    remote = RemoteArchive(url)
    wanted = _wanted(remote, chosen)
    damaged: list[str] = []
    num_damaged, num_bytes = 0, 0
    for run_id in wanted:
        num_before = len(damaged)
        try:
            run = _offered(remote, run_id)
        except (RunUnreadable, RecordInvalid, StorageFailed) as error:
            damaged.append(str(error).replace("; nothing was taken", ""))
            num_damaged += 1
            continue
        open_there = _opener(remote)
        num_bytes += read_artifacts(run, open_there, damaged, unopened=(RunUnreadable, StorageFailed))
        num_damaged += len(damaged) > num_before
    return RemoteReport(len(wanted), num_bytes, tuple(damaged), num_damaged)


def _refuse_secrets(workspace: Workspace, manifests: Sequence[Manifest]) -> None:
    found = [
        one
        for manifest in manifests
        for one in unaccepted_secrets(manifest, suspected_secrets(workspace, manifest))
    ]
    if found:
        more = f" (and {len(found) - 1} more places)" if len(found) > 1 else ""
        raise UsageError(
            f"run {found[0].run_id!r} was not sent: {found[0].message}{more}; revoke the secret and "
            f"preserve a copy "
            "without it, waive RK111, or send it all the same with --despite-secrets"
        )


def _wanted(remote: RemoteArchive, chosen: Sequence[str]) -> tuple[str, ...]:
    there = remote.run_ids()
    for run_id in chosen:
        if run_id not in there:
            raise UnknownName.among(f"run at {remote.url}", run_id, there)
    return tuple(sorted(set(chosen))) or there


def _offered(remote: RemoteArchive, run_id: str) -> SealedRun:
    origin = f"{remote.url}/manifests/{run_id}.json"
    run = sealed_run(remote.manifest(run_id), origin=origin, read_outcomes=lambda: remote.outcomes(run_id))
    if run.manifest.run_id != run_id:
        raise RunUnreadable(f"{origin} says that it is run {run.manifest.run_id!r}; nothing was taken")
    return run


def _opener(remote: RemoteArchive) -> OpenArtifact:
    return lambda artifact: remote.opened_object(artifact.sha256)


def _check_same_seal(manifest: Manifest, text: bytes, remote: RemoteArchive) -> None:
    other = Manifest.parse(text, origin=f"{remote.url}/manifests/{manifest.run_id}.json")
    if other.seal != manifest.seal:
        raise AlreadyExists(
            f"run {manifest.run_id!r} is at {remote.url} with another seal; preserved runs never change, so "
            "use another URL or another workspace"
        )


def _place(workspace: Workspace, run_id: str, artifact: Artifact, references: Path | None) -> Path | None:
    if artifact.is_here:
        return workspace.preserved_path(run_id) / artifact.path
    path = references / run_id / artifact.path if references is not None else None
    return path if path is not None and path.is_file() else None


def _send(remote: RemoteArchive, path: Path, artifact: Artifact) -> None:
    try:
        found = file_digest(path)
    except OSError as error:
        raise RunUnreadable(f"{path} cannot be read: {error.strerror}; it was not sent") from error
    if found.sha256 != artifact.sha256:
        raise RunUnreadable(f"{path} is not what was sealed, so it was not sent; see `runkit verify`")
    remote.put_object(path, artifact.sha256, artifact.size_bytes)


def _outcomes(workspace: Workspace, manifest: Manifest) -> bytes:
    path = workspace.outcomes_path(manifest.run_id)
    named = manifest.sealed.outcomes
    try:
        found = file_digest(path)
    except OSError as error:
        raise RunUnreadable(f"{path} cannot be read: {error.strerror}; it was not sent") from error
    if named is None or found.sha256 != named.sha256:
        raise RunUnreadable(f"{path} is not what was sealed, so it was not sent; see `runkit verify`")
    return read_regular(path, limit=OUTCOMES_LIMIT_BYTES)
