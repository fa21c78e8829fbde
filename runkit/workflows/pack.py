"""``pack`` and ``unpack``: whole runs as one file to publish, and back into an archive."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from runkit.archive.hashing import file_digest
from runkit.archive.opening import OUTCOMES_LIMIT_BYTES
from runkit.archive.packing import (
    PackReader,
    add_run,
    artifact_name,
    compressed,
    default_limit,
    manifest_name,
    opened_pack,
    outcomes_name,
)
from runkit.archive.reading import UnreadableManifest, chosen_manifests, read_manifest, run_ids
from runkit.archive.receiving import (
    OpenArtifact,
    SealedRun,
    check_artifacts,
    check_space,
    read_artifacts,
    receive,
    sealed_run,
)
from runkit.archive.scanning import suspected_secrets
from runkit.archive.workspace import Workspace
from runkit.archive.writing import TEMPORARY_SUFFIX, sync_folder
from runkit.checks.gather import unaccepted_secrets
from runkit.errors import AlreadyExists, RunUnreadable, StorageFailed, UsageError
from runkit.records.finding import Finding
from runkit.records.manifest import Manifest


@dataclass(frozen=True)
class PackReport:
    """What is in a pack."""

    path: Path
    sha256: str
    size_bytes: int
    run_ids: tuple[str, ...]
    num_files: int
    """Kept files of the runs, without manifests and outcomes."""
    num_bytes: int
    """Their size before compression."""
    num_references: int
    """Files by reference, which are not in it."""
    secrets: tuple[Finding, ...] = ()
    """What looks secret in the kept files, and nobody accepted."""
    unreadable: tuple[UnreadableManifest, ...] = ()
    """Manifests that are no valid records; their runs are not in it."""


@dataclass(frozen=True)
class UnpackReport:
    """What a pack brought."""

    taken: tuple[str, ...]
    already_here: tuple[str, ...]
    """Runs that the archive has with the same seal."""


def pack(workspace: Workspace, chosen: Sequence[str], *, to: Path) -> PackReport:
    """Write the runs *chosen*, or all, into the new file *to*.

    What was written is read back and compared with the manifests before it gets its name.

    Raises:
        UnknownName: A run is not preserved.
        RunUnreadable: A file of a run is not what was sealed.
        AlreadyExists: *to* exists with other bytes.
        StorageFailed: The disk refused; *to* does not exist.
    """
    folder = chosen_manifests(workspace, chosen)
    manifests = folder.manifests
    if not manifests:
        raise UsageError("there is no preserved run to pack; `runkit preserve RUN` takes one in")
    temporary = to.with_name(f".{to.name}.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}")
    try:
        _write(workspace, manifests, temporary, to)
        num_bytes = sum(run.num_bytes for run in _whole(temporary))
        digest = file_digest(temporary)
        _name(temporary, to)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    artifacts = [artifact for manifest in manifests for artifact in manifest.sealed.artifacts]
    num_files = sum(artifact.is_here for artifact in artifacts)
    return PackReport(
        path=to,
        sha256=digest.sha256,
        size_bytes=digest.size_bytes,
        run_ids=tuple(manifest.run_id for manifest in manifests),
        num_files=num_files,
        num_bytes=num_bytes,
        num_references=len(artifacts) - num_files,
        secrets=tuple(
            one
            for manifest in manifests
            for one in unaccepted_secrets(manifest, suspected_secrets(workspace, manifest))
        ),
        unreadable=folder.unreadable,
    )


def unpack(workspace: Workspace, path: Path, *, max_bytes: int | None = None) -> UnpackReport:
    """Take the runs of the pack at *path* into the archive.

    The pack is read twice: nothing of it is taken in before all of it was found to be whole.

    Args:
        max_bytes: How much it may hold; None: 1 GiB, or 1,000 times the size of the pack.
    Raises:
        RunUnreadable: It is no pack, is torn, or holds a byte that was not sealed.
        AlreadyExists: The archive has a run of that name with another seal.
    """
    limit = _limit(path, max_bytes)
    offered = _whole(path, limit=limit)
    already = [run.manifest.run_id for run in offered if _is_here(workspace, run.manifest)]
    check_space(workspace, sum(run.num_bytes for run in offered if run.manifest.run_id not in already))
    with opened_pack(path, limit=limit) as reader:
        for _run in offered:
            run = _next_run(reader, path)
            if run.manifest.run_id in already:
                check_artifacts(run, _opener(reader, run.manifest))
            else:
                receive(workspace, run, _opener(reader, run.manifest))
    taken = tuple(run.manifest.run_id for run in offered if run.manifest.run_id not in already)
    return UnpackReport(taken, tuple(already))


class PackCheck(NamedTuple):
    """What a pack holds."""

    num_runs: int
    num_files: int
    num_bytes: int
    damaged: tuple[str, ...]
    """A sentence for each file with other bytes than were sealed."""


def verify_pack(path: Path, *, max_bytes: int | None = None) -> PackCheck:
    """Read every byte of the pack at *path* and compare it with what was sealed.

    Raises:
        RunUnreadable: It is no pack, or is torn, so that what follows cannot be found.
    """
    damaged: list[str] = []
    runs = _checked(path, damaged, limit=_limit(path, max_bytes))
    num_files = sum(artifact.is_here for run in runs for artifact in run.manifest.sealed.artifacts)
    return PackCheck(len(runs), num_files, sum(run.num_bytes for run in runs), tuple(damaged))


@dataclass(frozen=True)
class _CheckedRun:
    manifest: Manifest
    num_bytes: int


def _write(workspace: Workspace, manifests: Sequence[Manifest], temporary: Path, to: Path) -> None:
    try:
        with temporary.open("xb") as file:
            with compressed(cast("BinaryIO", file)) as writer:
                for manifest in manifests:
                    add_run(writer, workspace, manifest)
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError as error:
        if error.filename == str(temporary):
            raise StorageFailed(f"cannot write {to}: there is no folder {to.parent}") from error
        raise RunUnreadable(
            f"{error.filename} is not there; `runkit verify` shows what is damaged"
        ) from error
    except OSError as error:
        raise StorageFailed(
            f"cannot write {to}: {error.strerror or error}; nothing was left behind"
        ) from error


def _name(temporary: Path, to: Path) -> None:
    try:
        os.link(temporary, to)
    except FileExistsError as error:
        if not to.is_file() or file_digest(to) != file_digest(temporary):
            raise AlreadyExists(f"{to} exists with other bytes and is never overwritten") from error
    except OSError as error:
        raise StorageFailed(
            f"cannot write {to}: {error.strerror or error}; nothing was left behind"
        ) from error
    sync_folder(to.absolute().parent)


def _limit(path: Path, max_bytes: int | None) -> int:
    try:
        return max_bytes if max_bytes is not None else default_limit(path)
    except OSError as error:
        raise RunUnreadable(f"{path} cannot be read: {error.strerror}") from error


def _whole(path: Path, *, limit: int | None = None) -> list[_CheckedRun]:
    """Return the runs of a pack, every byte of it found to be what was sealed."""
    damaged: list[str] = []
    runs = _checked(path, damaged, limit=limit)
    if damaged:
        raise RunUnreadable(f"{damaged[0]}; nothing was taken")
    return runs


def _checked(path: Path, damaged: list[str], *, limit: int | None = None) -> list[_CheckedRun]:
    """Return the runs of a pack, every byte read; *damaged* takes a sentence for each file that differs."""
    runs = []
    with opened_pack(path, limit=limit) as reader:
        while reader.next_name is not None:
            run = _next_run(reader, path)
            num_bytes = read_artifacts(run, _opener(reader, run.manifest), damaged)
            runs.append(_CheckedRun(run.manifest, num_bytes))
    names = [run.manifest.run_id for run in runs]
    if not names or len(set(names)) != len(names):
        raise RunUnreadable(f"{path} is no whole pack: it holds {'a run twice' if names else 'no run'}")
    return runs


def _next_run(reader: PackReader, path: Path) -> SealedRun:
    name = reader.next_name or ""
    run_id = name.removeprefix("manifests/").removesuffix(".json")
    text = reader.read(manifest_name(run_id))
    run = sealed_run(
        text,
        origin=f"{name} in {path}",
        read_outcomes=lambda: reader.read(outcomes_name(run_id), limit=OUTCOMES_LIMIT_BYTES),
    )
    if run.manifest.run_id != run_id:
        raise RunUnreadable(
            f"{name} in {path} says that it is run {run.manifest.run_id!r}; nothing was taken"
        )
    return run


def _opener(reader: PackReader, manifest: Manifest) -> OpenArtifact:
    # What the whole run holds is known from here on, before the first of its bytes is unpacked.
    reader.expect(sum(one.size_bytes for one in manifest.sealed.artifacts if one.is_here))
    return lambda artifact: reader.opened(
        artifact_name(manifest.run_id, artifact), size_bytes=artifact.size_bytes
    )


def _is_here(workspace: Workspace, manifest: Manifest) -> bool:
    if manifest.run_id not in run_ids(workspace):
        return False
    if read_manifest(workspace, manifest.run_id).seal != manifest.seal:
        raise AlreadyExists(
            f"run {manifest.run_id!r} is preserved here with another seal; unpack into another workspace"
        )
    return True
