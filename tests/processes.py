"""Real processes of a test: started as a user starts them, waited for, found by the rank a launcher gave."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from runkit.archive.workspace import Workspace

PATIENCE_SECONDS = 1800
"""When a test gives a process up: no machine that is merely slow or busy takes so long, only a hang does."""


def until(
    what: Callable[[], bool], *, of: subprocess.Popen[str] | subprocess.Popen[bytes] | None = None
) -> None:
    """Return once *what* is true, which the process *of* has to bring about before it ends."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not what():
        assert of is None or of.poll() is None or what(), f"it ended with {of.wait()}: {of.communicate()}"
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def started(workspace: Workspace, *arguments: str, file_size: int | None = None) -> subprocess.Popen[str]:
    """Start ``runkit`` in *workspace*; *file_size* is the most bytes that it may write to one file."""

    def limit() -> None:
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    return subprocess.Popen(
        [sys.executable, "-m", "runkit", *arguments],
        cwd=workspace.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit,
    )


def wait_for(process: subprocess.Popen[str], log: Path, text: str) -> None:
    """Return once *log* holds *text*, which *process* has to write before it ends."""
    until(lambda: log.is_file() and text in log.read_text(), of=process)


def pid_of(rank: int, run_id: str) -> int:
    """The process of *rank*, found by what the launcher told it."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            told = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if run_id.encode() in words and f"RANK={rank}".encode() in told:
            return int(folder.name)
    raise AssertionError(f"there is no process of rank {rank}")
