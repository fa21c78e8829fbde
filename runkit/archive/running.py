"""Run directories that somebody writes: finding one by name, and being its only writer."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runkit.archive.workspace import Workspace, checked_run_id
from runkit.errors import AlreadyExists, StorageFailed, UnknownName


def found_run(workspace: Workspace, run: str, *, in_archive: bool) -> Path:
    """Return the folder of *run*, a run id or a folder in the workspace.

    Args:
        in_archive: Look among preserved runs too, after ``runs/``.
    Raises:
        UnknownName: There is no such run; with the nearest name.
        OutsideWorkspace: The folder lies elsewhere.
    """
    places = [workspace.runs, *([workspace.preserved_runs] if in_archive else [])]
    if "/" in run:
        folder = workspace.contained(Path(run) if Path(run).is_dir() else workspace.root / run)
        for place in places:
            if folder.parent == place.resolve() and folder.is_dir():
                return place / folder.name
        shown = " or ".join(f"{place.name}/" for place in places)
        raise UnknownName(f"there is no run {run!r}; name a folder in {shown} of the workspace, or a run id")
    checked_run_id(run)
    for place in places:
        if (place / run).is_dir():
            return place / run
    raise UnknownName.among("run", run, [name for place in places for name in _run_ids(place)])


@contextmanager
def only_writer(folder: Path) -> Iterator[int]:
    """Hold the run in *folder* for this process; a killed process holds nothing.

    The lock is on the folder itself, so it leaves no file. File systems that cannot lock a folder (some
    network ones) are written without it. Provides the descriptor: a process that inherits it holds the run
    on.

    Raises:
        AlreadyExists: Another process holds it.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StorageFailed(f"cannot open {folder}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyExists(
                f"another process is writing {folder} right now; wait for it or stop it first"
            ) from error
        except OSError:
            pass  # no locks on this file system
        yield descriptor
    finally:
        os.close(descriptor)


def _run_ids(place: Path) -> list[str]:
    with suppress(OSError):
        return [log.parent.name for log in place.glob("*/train.log")]
    return []
