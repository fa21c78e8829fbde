"""Taking a run into the archive: staged beside its place, published whole, the manifest last.

A run is in the archive when its manifest is there. Killed at any moment before, ``preserve`` leaves at
most a staging folder or files without a manifest; the same command then succeeds. The order is: bytes,
fsync, links between equal files, fsync of the folders, rename to the final place, outcomes, manifest.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from runkit.archive.hashing import FileDigest, copy_hashed, file_digest
from runkit.archive.locking import Tell, changing, lock_now, say_nothing, waiting_for
from runkit.archive.objects import offer, share_and_sync
from runkit.archive.watching import RunListing, listing_of
from runkit.archive.workspace import Workspace
from runkit.archive.writing import make_folder, publish_new, sync_files, sync_folder, write_atomically
from runkit.errors import AlreadyExists, StorageFailed

STAGING_PREFIX = ".staging-"

_READ_ONLY = 0o444
_EXECUTABLE = 0o111
_WORTH_THREADS_BYTES = 8 << 20
"""Starting threads for less than this takes longer than copying it."""


@dataclass(frozen=True)
class StagedFile:
    """A file of the run, as it was read."""

    path: str
    """Path inside the run directory, forward slashes."""
    digest: FileDigest


@contextmanager
def claimed(workspace: Workspace, run_id: str) -> Iterator[None]:
    """Hold the right to create *run_id*; the system frees it when the process dies.

    Raises:
        AlreadyExists: The run is preserved, or another process is preserving it now.
        StorageFailed: The archive cannot be written.
    """
    manifest = workspace.manifest_path(run_id)
    try:
        make_folder(workspace.manifests)
        make_folder(workspace.preserved_runs)
    except OSError as error:
        raise StorageFailed(f"cannot write to {workspace.manifests}: {error.strerror}") from error
    with (
        _kept_from_collection(workspace, say_nothing),
        _locked(workspace.manifests / f".{run_id}.lock", run_id),
    ):
        if manifest.exists():
            raise AlreadyExists(
                f"run {run_id!r} is already preserved in {manifest}; preserved runs never change, so "
                "preserve the new one under another id with --run-id"
            )
        yield


@contextmanager
def collecting(workspace: Workspace) -> Iterator[None]:
    """Hold the archive so that nothing is being taken into it.

    Raises:
        AlreadyExists: A run is being preserved now.
        StorageFailed: The file system has no locks, so that nobody can tell.
    """
    with _opened_folder(workspace.preserved_runs) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyExists(
                "a run is being taken into the archive right now, or notes are changed; try again later"
            ) from error
        except OSError as error:
            raise StorageFailed(
                f"{workspace.preserved_runs} lies on a file system without locks, so that a run may be "
                "on its way into the archive; remove by hand what `runkit gc --dry-run` lists"
            ) from error
        yield


@contextmanager
def changing_in_archive(workspace: Workspace, what: Path, *, tell: Tell) -> Iterator[None]:
    """Hold the right to change *what*, a file of the archive and of no run; read it again inside the block.

    Raises:
        StorageFailed: The archive cannot be written, or another process holds it for ever.
    """
    with ExitStack() as held:
        if workspace.preserved_runs.is_dir():
            held.enter_context(_kept_from_collection(workspace, tell))
        held.enter_context(changing(what, tell=tell))
        yield


@contextmanager
def staging(workspace: Workspace) -> Iterator[Path]:
    """Provide an empty folder on the archive's filesystem; gone afterwards unless it was published."""
    folder = workspace.preserved_runs / f"{STAGING_PREFIX}{uuid.uuid4().hex}"
    try:
        folder.mkdir()
    except OSError as error:
        raise StorageFailed(f"cannot write to {workspace.preserved_runs}: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stage(
    run: Path, listing: RunListing, staged: Path, *, how: Literal["copy", "link"] = "copy"
) -> tuple[StagedFile, ...]:
    """Bring the files of *listing* from *run* below *staged*, in the same layout, hashed on the way.

    Args:
        how: Copy bytes, or make hard links to the run's own files. A copy never has more bytes than the
            listing says, so that a file that grows is cut where it was.
    Raises:
        FileNotFoundError: A file went away since the directory was listed.
        StorageFailed: The disk refused.
    """

    def staged_file(inside: str) -> StagedFile:
        source, target = run / inside, staged / inside
        if how == "link":
            os.link(source, target, follow_symlinks=False)
            return StagedFile(inside, file_digest(target))
        return StagedFile(inside, _copied(source, target, listing.files[inside].size_bytes))

    num_bytes = sum(state.size_bytes for state in listing.files.values())
    try:
        for folder in listing.folders:
            (staged / folder).mkdir(parents=True, exist_ok=True)
        return tuple(_mapped(staged_file, listing.files, with_threads=num_bytes >= _WORTH_THREADS_BYTES))
    except FileNotFoundError:
        raise  # the run's file, not our disk
    except OSError as error:
        raise _not_copied(run, staged, error) from error


def finish_staging(
    workspace: Workspace, staged: Path, files: Sequence[StagedFile], *, may_share: bool
) -> dict[str, Path]:
    """Make what is *staged* durable, equal bytes stored once.

    Returns:
        For :func:`publish`: the files whose bytes are new, and where later runs will look for them.

    Args:
        may_share: Whether the files are the archive's own; a hard link to a run's file is not, since
            whoever writes that file would change what others share.
    Raises:
        StorageFailed: The disk refused.
    """
    try:
        new: tuple[tuple[Path, Path], ...] = ()
        if may_share:
            new = share_and_sync(workspace, [(staged / file.path, file.digest) for file in files])
        else:
            sync_files(staged / file.path for file in files)
        _sync_folders(staged)
    except OSError as error:
        raise _not_copied(staged, staged, error) from error
    return {path.relative_to(staged).as_posix(): shared for path, shared in new}


def hash_in_place(run: Path, listing: RunListing | None = None) -> tuple[StagedFile, ...]:
    """Hash all files of *run*, or those of *listing*, where they are."""
    paths = (listing or listing_of(run)).files
    return tuple(StagedFile(inside, file_digest(run / inside)) for inside in paths)


def publish(
    workspace: Workspace,
    run_id: str,
    staged: Path | None,
    *,
    outcomes: bytes | None,
    manifest: str | bytes,
    new: Mapping[str, Path],
) -> None:
    """Bring *staged* files to their place, then write the outcomes and, as the last step, the manifest.

    When a step fails, those before it are taken back.

    Args:
        staged: None when the run's files are not kept here.
        new: What :func:`finish_staging` returned; offered to later runs at the end.
    Raises:
        AlreadyExists: The run got a manifest in the meantime, or other files lie in its place.
        StorageFailed: The disk refused; there is no manifest.
    """
    moved = staged is not None and _publish_files(workspace, run_id, staged)
    outcomes_path = workspace.outcomes_path(run_id)
    writes_outcomes = outcomes is not None and not outcomes_path.exists()
    try:
        if outcomes is not None:
            write_atomically(outcomes_path, outcomes)
        publish_new(workspace.manifest_path(run_id), manifest)
    except BaseException:
        if not workspace.manifest_path(run_id).exists():
            if writes_outcomes:
                with suppress(OSError):
                    outcomes_path.unlink(missing_ok=True)
            if moved and staged is not None:
                with suppress(OSError):
                    os.rename(workspace.preserved_path(run_id), staged)
        raise
    for inside, shared in new.items():
        offer(workspace.preserved_path(run_id) / inside, shared)


def _publish_files(workspace: Workspace, run_id: str, staged: Path) -> bool:
    """Move the *staged* folder to its place in one step; False when equal files are there already."""
    place = workspace.preserved_path(run_id)
    try:
        if place.exists():
            if hash_in_place(place) != hash_in_place(staged):
                raise _in_the_way(place)
            sync_files(path for path in place.rglob("*") if path.is_file())
            _sync_folders(place)
            sync_folder(place.parent)
            return False
        os.rename(staged, place)
        sync_folder(place.parent)
    except OSError as error:
        if error.errno in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
            raise _in_the_way(place) from error
        with suppress(OSError):
            os.rename(place, staged)
        raise StorageFailed(
            f"cannot write {place}: {error.strerror or error}; nothing was left behind"
        ) from error
    return True


def _in_the_way(place: Path) -> AlreadyExists:
    return AlreadyExists(
        f"{place} exists, has no manifest and differs from the run; move it away, then preserve again"
    )


def _copied(source: Path, target: Path, num_bytes: int) -> FileDigest:
    digest = copy_hashed(source, target, num_bytes=num_bytes)
    found = source.stat()
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
    # A courtesy to whoever opens an archived file in an editor, and no proof of anything.
    os.chmod(target, _READ_ONLY | (found.st_mode & _EXECUTABLE))  # noqa: PTH101
    return digest


def _mapped(
    function: Callable[[str], StagedFile], paths: Iterable[str], *, with_threads: bool
) -> list[StagedFile]:
    if not with_threads:
        return [function(path) for path in paths]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(function, paths))


def _sync_folders(root: Path) -> None:
    for folder in (*(path for path in root.rglob("*") if path.is_dir()), root):
        sync_folder(folder)


def _not_copied(run: Path, staged: Path, error: OSError) -> StorageFailed:
    named = str(error.filename or run).replace(str(staged), "the archive")
    if error.errno == errno.EXDEV:
        return StorageFailed(
            f"cannot link {named} into the archive, which lies on another file system; use --artifacts copy"
        )
    return StorageFailed(
        f"cannot copy {run.name} into the archive: {error.strerror or error} ({named}); nothing was left "
        "behind, and the run itself was not touched"
    )


@contextmanager
def _locked(path: Path, run_id: str) -> Iterator[None]:
    try:
        # Without locks on this file system, the manifest is still linked by one only.
        lock = lock_now(path)
    except BlockingIOError as error:
        raise AlreadyExists(f"run {run_id!r} is being preserved by another process right now") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _kept_from_collection(workspace: Workspace, tell: Tell) -> Iterator[None]:
    """Hold the archive's folder together with others who write into it, so that nobody collects in it."""
    with _opened_folder(workspace.preserved_runs) as descriptor:

        def take() -> bool:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:
                pass  # no locks on this file system, on which nobody collects either
            return True

        waiting_for(take, who=lambda: "`runkit gc`", what=workspace.preserved_runs, tell=tell)
        yield


@contextmanager
def _opened_folder(folder: Path) -> Iterator[int]:
    """Provide *folder* for locking the folder itself, which leaves no file."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageFailed(f"cannot open {folder}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
