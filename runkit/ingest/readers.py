"""Which reader a run directory needs."""

from __future__ import annotations

from pathlib import Path

from runkit.errors import RunUnreadable
from runkit.ingest import cluster, own
from runkit.ingest.folder import open_run_folder
from runkit.ingest.ingested import IngestedRun


def ingest(root: Path, *, run_id: str, directory_name: str) -> IngestedRun:
    """Return the facts of the run directory at *root*.

    Args:
        run_id: The run's name in the archive.
        directory_name: Name of the original directory when *root* is a copy of it.
    Raises:
        RunUnreadable: No reader knows the directory, or what it needs is torn.
    """
    folder = open_run_folder(root)
    if own.can_read(folder):
        return own.read(folder, run_id=run_id, directory_name=directory_name)
    if cluster.can_read(folder):
        return cluster.read(folder, run_id=run_id, directory_name=directory_name)
    raise RunUnreadable(
        f"{directory_name} has a training log, but neither config.json nor a '==== Config ====' block "
        "in the log; its facts cannot be told"
    )
