"""``seal``: one digest of the archive, or of some of its runs, for a signed tag or a footnote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from runkit.archive.reading import read_manifests, wanted_ids
from runkit.archive.reading import run_ids as preserved_ids
from runkit.archive.workspace import Workspace
from runkit.checks.anchor import archive_digest
from runkit.checks.integrity import rightly_named, sealed_findings
from runkit.errors import RecordInvalid, UsageError


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
    wanted = wanted_ids(preserved_ids(workspace), run_ids)
    if not wanted:
        raise UsageError("there is no preserved run to seal; `runkit preserve RUN` takes one in")
    folder = read_manifests(workspace)
    named = rightly_named(folder.manifests, folder.file_ids)
    troubles = [one.message for one in folder.unreadable if one.path.removesuffix(".json") in wanted]
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
