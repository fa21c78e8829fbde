"""``seal``: one digest of the archive, or of some of its runs, for a signed tag or a footnote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from runkit.archive.reading import read_manifests
from runkit.archive.reading import run_ids as preserved_ids
from runkit.archive.workspace import Workspace
from runkit.checks.anchor import archive_digest
from runkit.checks.integrity import rightly_named, sealed_findings
from runkit.errors import RecordInvalid, UnknownName, UsageError


class ArchiveSeal(NamedTuple):
    """A digest, and what it is of."""

    digest: str
    run_ids: tuple[str, ...]


def seal(workspace: Workspace, run_ids: Sequence[str] = ()) -> ArchiveSeal:
    """Return the digest of the runs *run_ids*, or of all.

    Raises:
        UnknownName: *run_ids* names a run that has no manifest.
        RecordInvalid: A manifest cannot be read, bears another name, or has a broken seal.
        UsageError: There is no run.
    """
    files = preserved_ids(workspace)
    for run_id in run_ids:
        if run_id not in files:
            way_out = "`runkit list` shows the preserved runs"
            raise UnknownName.among("preserved run", run_id, files, way_out=way_out)
    wanted = frozenset(run_ids or files)
    if not wanted:
        raise UsageError("there is no preserved run to seal; `runkit preserve RUN` takes one in")
    folder = read_manifests(workspace)
    bad = {one.path.removesuffix(".json"): one.message for one in folder.unreadable}
    named = rightly_named(folder.manifests, [name for name in files if name not in bad])
    troubles = [message for run_id, message in bad.items() if run_id in wanted]
    troubles += [one.message for one in named.findings if one.run_id in wanted]
    chosen = [run for run in named.manifests if run.run_id in wanted]
    troubles += [
        f"run {run.run_id}: {one.message}"
        for run in chosen
        for one in sealed_findings(run)
        if one.rule == "RK104"
    ]
    if troubles:
        raise RecordInvalid(f"nothing was sealed: {troubles[0]}; `runkit validate` shows all")
    return ArchiveSeal(archive_digest(chosen), tuple(run.run_id for run in chosen))
