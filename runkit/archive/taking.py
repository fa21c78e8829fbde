"""A consistent copy of a run directory, also of one that somebody is still writing.

A directory at rest is copied whole. In one that is being written, each file is taken as it was when the
directory was listed: logs that have grown since are cut there, at their last whole line, and when a file
was replaced or rewritten meanwhile the whole is taken again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from runkit.archive.hashing import file_digest
from runkit.archive.store import StagedFile, hash_in_place, stage
from runkit.archive.watching import (
    FileState,
    LeftOut,
    RunListing,
    is_being_trained,
    listing_of,
    open_for_writing,
)
from runkit.errors import RunUnreadable, UsageError

Storage = Literal["copy", "link", "reference"]

_ATTEMPTS = 5
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True)
class CutFile:
    """A file that was being written, and how much of it was taken."""

    path: str
    kept_bytes: int
    seen_bytes: int
    """Its size when the directory was listed; what stands between is half a line."""


@dataclass(frozen=True)
class TakenRun:
    """What was taken of a run directory."""

    files: tuple[StagedFile, ...]
    """Sorted by path."""
    storage: dict[str, Storage]
    """How each of :attr:`files` is kept."""
    left_out: tuple[LeftOut, ...]
    listing: RunListing
    being_written: tuple[CutFile, ...] | None
    """None when the directory was at rest; empty when it was not, although no file had to be cut."""


def take(
    run: Path, staged: Path, *, storage: Storage, reference_over: int | None, snapshot: bool
) -> TakenRun:
    """Bring the files of *run* below *staged*, or only hash those that are kept by reference.

    Args:
        reference_over: Files with more bytes than this that are no logs stay where they are; None: none do.
        snapshot: Take what is there now of a run that is still being written.
    Raises:
        RunUnreadable: The directory is being written, and no snapshot was asked for or none succeeded.
        StorageFailed: The disk refused a copy.
    """
    if snapshot and storage != "copy":
        raise UsageError(f"--snapshot copies what is there now; it cannot go with --artifacts {storage}")
    for attempt in range(_ATTEMPTS if snapshot else 1):
        if attempt:
            _empty(staged)
        listing = listing_of(run)
        _refuse_linked_log(run, listing)
        sign = _sign_of_a_writer(run, listing)
        if sign and not snapshot:
            raise _being_written(run, sign)
        taken = _taken_once(run, listing, staged, storage, reference_over)
        after = listing_of(run)
        if not sign and after == listing:
            return taken
        if not snapshot:
            raise _being_written(run, _changed(listing, after))
        cut = _cut_to_prefix(run, staged, taken, after)
        if cut is not None:
            return cut
    raise RunUnreadable(
        f"{run} is rewritten faster than it can be copied: {_changed(listing, after)}; preserve it when it "
        "is finished"
    )


@contextmanager
def completed_by_links(run: Path, staged: Path, taken: TakenRun) -> Iterator[None]:
    """Let a reader of *staged* also find the files that stay where they are."""
    links = [staged / inside for inside, how in taken.storage.items() if how == "reference"]
    for link in links:
        link.symlink_to((run / link.relative_to(staged)).resolve())
    try:
        yield
    finally:
        for link in links:
            link.unlink(missing_ok=True)


def _taken_once(
    run: Path, listing: RunListing, staged: Path, storage: Storage, reference_over: int | None
) -> TakenRun:
    chosen: dict[str, Storage] = {
        inside: "reference"
        if reference_over is not None and state.size_bytes > reference_over and not listing.is_log(inside)
        else storage
        for inside, state in listing.files.items()
    }
    here = _only(listing, [inside for inside, how in chosen.items() if how != "reference"])
    there = _only(listing, [inside for inside, how in chosen.items() if how == "reference"])
    try:
        files = stage(run, here, staged, how="link" if storage == "link" else "copy") if here.files else ()
        files += hash_in_place(run, there)
    except FileNotFoundError as error:
        raise _being_written(run, f"{error.filename} went away while it was read") from error
    ordered = tuple(sorted(files, key=lambda file: file.path))
    return TakenRun(ordered, chosen, listing.left_out, listing, None)


def _only(listing: RunListing, paths: Sequence[str]) -> RunListing:
    return replace(listing, files={inside: listing.files[inside] for inside in paths})


def _sign_of_a_writer(run: Path, listing: RunListing) -> str | None:
    if is_being_trained(run):
        return "a process is training in it"
    writers = open_for_writing(run, tuple(listing.files))
    if not writers:
        return None
    more = f" and {len(writers) - 1} more" if len(writers) > 1 else ""
    return f"{writers[0]}{more} is open for writing"


def _changed(before: RunListing, after: RunListing) -> str:
    for inside, state in before.files.items():
        now = after.files.get(inside)
        if now is None:
            return f"{inside} went away while it was read"
        if now != state:
            return f"{inside} went from {state.size_bytes} to {now.size_bytes} bytes while it was read"
    new = [inside for inside in after.files if inside not in before.files]
    return f"{new[0]} came while it was read" if new else "its folders changed while it was read"


def _being_written(run: Path, sign: str) -> RunUnreadable:
    return RunUnreadable(
        f"{run} is still being written: {sign}; preserve it when it is finished, or take what is there now "
        "with --snapshot"
    )


def _cut_to_prefix(run: Path, staged: Path, taken: TakenRun, after: RunListing) -> TakenRun | None:
    """Return *taken* with its growing logs cut, or None when it is no state that the run ever had."""
    files = {file.path: file for file in taken.files}
    growing = set(open_for_writing(run, [inside for inside in files if taken.listing.is_log(inside)]))
    cut = []
    for inside, state in taken.listing.files.items():
        if taken.storage[inside] == "reference":
            if after.files.get(inside) != state:
                return None
            continue
        now = after.files.get(inside)
        if now == state and inside not in growing:
            continue
        if not (taken.listing.is_log(inside) and _only_grew(run / inside, state, now, files[inside])):
            return None
        files[inside] = _cut_at_line(staged / inside, inside)
        if files[inside].digest.size_bytes != state.size_bytes or now != state:
            cut.append(CutFile(inside, files[inside].digest.size_bytes, state.size_bytes))
    return replace(taken, files=tuple(files.values()), being_written=tuple(cut))


def _only_grew(path: Path, before: FileState, now: FileState | None, file: StagedFile) -> bool:
    """Return whether what was copied is still the beginning of the file."""
    if now is None or (now.inode, now.device) != (before.inode, before.device):
        return False
    return file_digest(path, num_bytes=before.size_bytes) == file.digest


def _cut_at_line(path: Path, inside: str) -> StagedFile:
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        end = size_bytes
        while end > 0:
            start = max(0, end - _TAIL_BYTES)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
    if end < size_bytes:
        mode = path.stat().st_mode
        path.chmod(mode | 0o200)
        os.truncate(path, end)
        path.chmod(mode)
    return StagedFile(inside, file_digest(path))


def _refuse_linked_log(run: Path, listing: RunListing) -> None:
    for left in listing.left_out:
        if left.path.rpartition("/")[2] == "train.log" and left.path.count("/") <= 1:
            raise RunUnreadable(f"{left.path} in {run} is {left.why}; put the log itself there")


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
