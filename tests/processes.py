"""Real processes of a test: started as a user starts them, waited for, found by the rank a launcher gave."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

from runkit.archive.workspace import Workspace


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
    while text not in (log.read_text() if log.is_file() else ""):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


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
