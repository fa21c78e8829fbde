"""Taking a run in that was sealed elsewhere: in a pack or a remote archive. Believes no byte of it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from runkit.archive.hashing import FileDigest, write_hashed
from runkit.archive.store import StagedFile, claimed, finish_staging, publish, staging
from runkit.archive.workspace import Workspace
from runkit.errors import RunkitError, RunUnreadable, StorageFailed
from runkit.records.manifest import Artifact, Manifest

_CHUNK_BYTES = 1 << 20
_READ_ONLY = 0o444


@dataclass(frozen=True)
class SealedRun:
    """A run as another place offers it."""

    manifest: Manifest
    text: bytes
    """The manifest's bytes, which are kept as they are."""
    outcomes: bytes | None
    origin: str
    """Where it comes from, for messages."""


OpenArtifact = Callable[[Artifact], AbstractContextManager[BinaryIO]]
"""Opens one file of a run where it comes from."""


def sealed_run(text: bytes, *, origin: str, read_outcomes: Callable[[], bytes]) -> SealedRun:
    """Return the run that *text*, a manifest, offers.

    Args:
        read_outcomes: Called when the manifest names outcomes.
    Raises:
        RecordInvalid: *text* is no manifest.
        RunUnreadable: Its seal is broken, a path leads out of the run, or outcomes are not what was sealed.
    """
    manifest = Manifest.parse(text, origin=origin)
    if manifest.sealed.content_digest() != manifest.seal.digest:
        raise RunUnreadable(
            f"{origin}: its sealed facts were edited after they were sealed; nothing was taken"
        )
    _check_paths(manifest, origin)
    outcomes = None
    if manifest.sealed.outcomes is not None:
        outcomes = read_outcomes()
        digest = FileDigest(hashlib.sha256(outcomes).hexdigest(), len(outcomes))
        _check_digest("its outcomes", digest, manifest.sealed.outcomes.sha256, origin)
    return SealedRun(manifest, text, outcomes, origin)


def check_artifacts(run: SealedRun, opened: OpenArtifact) -> int:
    """Read every kept file of *run* where it is, and return how many bytes that were.

    Raises:
        RunUnreadable: One is not what was sealed.
    """
    damaged: list[str] = []
    num_bytes = read_artifacts(run, opened, damaged)
    if damaged:
        raise RunUnreadable(f"{damaged[0]}; nothing was taken")
    return num_bytes


def read_artifacts(
    run: SealedRun,
    opened: OpenArtifact,
    damaged: list[str],
    *,
    unopened: tuple[type[RunkitError], ...] = (),
) -> int:
    """Read every kept file of *run* where it is, the damaged ones too, and return how many bytes that were.

    Args:
        damaged: Takes a sentence for each file that is not what was sealed.
        unopened: Errors of *opened* after which the next file can be opened all the same.
    """
    num_bytes = 0
    for artifact in _kept(run.manifest):
        try:
            with opened(artifact) as reader:
                digest = _digest_of(reader, limit=artifact.size_bytes)
        except unopened as error:
            damaged.append(str(error))
            continue
        num_bytes += digest.size_bytes
        if digest.sha256 != artifact.sha256:
            damaged.append(_other_bytes(artifact.path, digest, artifact.sha256, run.origin))
    return num_bytes


def receive(workspace: Workspace, run: SealedRun, opened: OpenArtifact) -> None:
    """Take *run* into the archive, hashed on the way; the manifest last, as in ``preserve``.

    Raises:
        AlreadyExists: The run is preserved already.
        RunUnreadable: A file is not what was sealed; nothing was taken in.
        StorageFailed: The disk refused; nothing was taken in.
    """
    with claimed(workspace, run.manifest.run_id), staging(workspace) as folder:
        kept = _kept(run.manifest)
        files = [_received(artifact, folder, opened, run.origin) for artifact in kept]
        new = finish_staging(workspace, folder, files, may_share=True) if files else {}
        publish(
            workspace,
            run.manifest.run_id,
            folder if files else None,
            outcomes=run.outcomes,
            manifest=run.text,
            new=new,
        )


def check_space(workspace: Workspace, num_bytes: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        StorageFailed: *num_bytes* are more than is free.
    """
    free_bytes = shutil.disk_usage(workspace.root).free
    if num_bytes > free_bytes:
        raise StorageFailed(
            f"{num_bytes:,} bytes would be taken in, and the disk of {workspace.root} has {free_bytes:,} "
            "free; nothing was taken"
        )


def _received(artifact: Artifact, folder: Path, opened: OpenArtifact, origin: str) -> StagedFile:
    target = folder / artifact.path
    with opened(artifact) as reader:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # One byte more than was sealed is enough to see that it is not what was sealed.
            digest = write_hashed(reader, target, num_bytes=artifact.size_bytes + 1)
            target.chmod(_READ_ONLY)
        except OSError as error:
            raise StorageFailed(
                f"cannot write {artifact.path} of {origin} into the archive: {error.strerror or error}; "
                "nothing was left behind"
            ) from error
    _check_digest(artifact.path, digest, artifact.sha256, origin)
    return StagedFile(artifact.path, digest)


def _kept(manifest: Manifest) -> list[Artifact]:
    return [artifact for artifact in manifest.sealed.artifacts if artifact.is_here]


def _check_paths(manifest: Manifest, origin: str) -> None:
    paths = [artifact.path for artifact in manifest.sealed.artifacts]
    for path in paths:
        parts = path.split("/")
        if any(part in {"", ".", ".."} for part in parts) or "\0" in path:
            raise RunUnreadable(f"{origin}: the path {path!r} would lead out of the run; nothing was taken")
    folders = {parent.as_posix() for path in paths for parent in PurePosixPath(path).parents}
    if len(set(paths)) != len(paths) or folders & set(paths):
        raise RunUnreadable(f"{origin}: two files have one path; nothing was taken")


def _check_digest(path: str, found: FileDigest, expected: str, origin: str) -> None:
    if found.sha256 != expected:
        raise RunUnreadable(f"{_other_bytes(path, found, expected, origin)}; nothing was taken")


def _other_bytes(path: str, found: FileDigest, expected: str, origin: str) -> str:
    return f"{origin}: {path} has sha256 {found.sha256[:12]}…, the manifest says {expected[:12]}…"


def _digest_of(reader: BinaryIO, *, limit: int) -> FileDigest:
    digest = hashlib.sha256()
    size_bytes = 0
    while size_bytes <= limit and (chunk := reader.read(_CHUNK_BYTES)):
        digest.update(chunk)
        size_bytes += len(chunk)
    return FileDigest(digest.hexdigest(), size_bytes)
