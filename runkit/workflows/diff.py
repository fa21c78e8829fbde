"""``diff``: two preserved runs side by side; reads manifests and outcomes, writes nothing."""

from __future__ import annotations

from runkit.archive.reading import read_items, read_manifest, read_outcomes
from runkit.archive.workspace import Workspace
from runkit.checks.contrast import RunContrast, contrast
from runkit.errors import UsageError


def diff(workspace: Workspace, first_id: str, second_id: str) -> RunContrast:
    """Return what differs between two preserved runs, and what is equal.

    Raises:
        UsageError: Both names are one run.
        UnknownName: A run is not preserved; with the nearest id.
        RecordInvalid: A manifest is not valid.
        RunUnreadable: An outcomes file is missing or torn.
    """
    if first_id == second_id:
        raise UsageError(f"{first_id} is one run; name two runs to compare, `runkit list` shows them")
    first, second = read_manifest(workspace, first_id), read_manifest(workspace, second_id)
    outcomes = {run.run_id: read_outcomes(workspace, run) for run in (first, second)}
    items = {run.run_id: read_items(workspace, run) for run in (first, second)}
    return contrast(first, second, outcomes, items)
