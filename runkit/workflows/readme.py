"""The verb ``readme``: the generated part of ``preserved_runs/README.md``, between two markers.

It is a function of the archive: of manifests, outcomes, and the kept files, which are read again. A run whose
files say something else than its manifest is not printed. What was not looked at is said on the page.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from runkit.archive.kept_files import kept_run
from runkit.archive.locking import Tell, say_nothing
from runkit.archive.observing import observe_runs
from runkit.archive.reading import read_items, read_manifests, read_outcomes
from runkit.archive.rereading_cache import RereadingCache
from runkit.archive.store import changing_in_archive
from runkit.archive.workspace import Workspace
from runkit.archive.writing import write_atomically
from runkit.checks.catalogue import found
from runkit.checks.gather import gather
from runkit.checks.replication import replicate_groups
from runkit.checks.view import ArchiveView
from runkit.errors import RecordInvalid, RunUnreadable
from runkit.ingest.rereading import read_again
from runkit.records.finding import Finding
from runkit.records.items import RunItems
from runkit.records.manifest import Manifest
from runkit.records.outcomes import RunOutcomes
from runkit.records.rereading import Rereading
from runkit.render.readme import LookedAt, readme_block

_BEGIN = re.compile(r"^<!-- runkit:begin runs(?: sha256:(?P<digest>[0-9a-f]{64}))? -->$", re.MULTILINE)
_END = re.compile(r"^<!-- runkit:end -->$", re.MULTILINE)
_HEADING = "# Preserved runs\n"


def readme_path(workspace: Workspace) -> Path:
    """Return the path of the README."""
    return workspace.preserved_runs / "README.md"


def render_readme(workspace: Workspace) -> str:
    """Return the whole README: what people wrote, and between the markers what the archive gives now.

    Raises:
        RecordInvalid: A manifest cannot be read, or the markers are not one begin followed by one end.
        RunUnreadable: The kept files of a run contradict its manifest.
    """
    block = _block(workspace)
    digest = hashlib.sha256(block.encode()).hexdigest()
    marked = f"<!-- runkit:begin runs sha256:{digest} -->\n{block}<!-- runkit:end -->"
    before, after = _around(_text(workspace))
    return f"{before}{marked}{after}"


def write_readme(workspace: Workspace, *, tell: Tell = say_nothing) -> Path:
    """Write the README and return its path.

    Of two processes that write it at once, the second one reads what people wrote and what the archive gives
    when the first one is done.

    Raises:
        OutsideWorkspace: ``preserved_runs`` is a link that leads out.
        RecordInvalid, RunUnreadable: As in :func:`render_readme`.
    """
    path = readme_path(workspace)
    workspace.contained(path.parent).mkdir(exist_ok=True)
    with changing_in_archive(workspace, path, tell=tell):
        write_atomically(path, render_readme(workspace))
    return path


def check_readme(workspace: Workspace) -> tuple[Finding, ...]:
    """Return a finding (RK603) if the generated block is missing, stale or was edited by hand."""
    place, text = "preserved_runs/README.md", _text(workspace)
    if text is None:
        return (found("RK603", "", place, f"{place} was never printed, or was removed"),)
    begin = _BEGIN.search(text)
    if begin is None:
        return (found("RK603", "", place, f"{place} has no generated block"),)
    expected = render_readme(workspace)
    if text == expected:
        return ()
    block = text[begin.end() + 1 : _end(text)]
    is_edited = hashlib.sha256(block.encode()).hexdigest() != begin["digest"]
    cause = "was edited by hand" if is_edited else "is stale"
    line = _first_difference(text, expected)
    return (
        found(
            "RK603", "", f"{place}:{line}", f"the generated block of {place} {cause}, first at line {line}"
        ),
    )


def _block(workspace: Workspace) -> str:
    folder = read_manifests(workspace)
    if folder.unreadable:
        raise RecordInvalid(folder.unreadable[0].message)
    outcomes = {run.run_id: _outcomes(workspace, run) for run in folder.manifests}
    seen = observe_runs(workspace, folder.manifests)
    kept = [kept_run(workspace, run, one) for run, one in zip(folder.manifests, seen, strict=True)]
    read = read_again(kept, cache=RereadingCache.of_user(workspace))
    said = {run.run_id: found for run, found in zip(folder.manifests, read, strict=True)}
    view = ArchiveView(
        manifests=folder.manifests,
        observations={one.run_id: one for one in seen},
        outcomes=outcomes,
        rereadings=said,
        items={
            run.run_id: _items(workspace, run) for run in folder.manifests if run.sealed.scores is not None
        },
    )
    findings: dict[str, list[Finding]] = {}
    for finding in gather(view):
        if finding.rule == "RK110" and finding.severity == "error":
            raise RunUnreadable(
                f"run {finding.run_id} is not printed, because its kept files contradict it (RK110): "
                f"{finding.message}; {finding.way_out}"
            )
        findings.setdefault(finding.run_id, []).append(finding)
    looked_at = _looked_at(folder.manifests, said)
    # Runs of other programs stand alone: what replicates share is told in the words of evaluations.
    groups = replicate_groups([run for run in folder.manifests if run.sealed.scores is None])
    return readme_block(folder.manifests, findings, groups, looked_at=looked_at)


def _looked_at(manifests: Sequence[Manifest], said: Mapping[str, Rereading]) -> LookedAt:
    is_kept = {run.run_id: all(one.is_here for one in run.sealed.artifacts) for run in manifests}
    whole = {run_id for run_id, found in said.items() if found.facts and found.not_read_because is None}
    reread = [run_id for run_id in said if is_kept[run_id] and run_id in whole]
    return LookedAt(
        num_reread=len(reread),
        num_by_reference=sum(not kept for kept in is_kept.values()),
        not_reread={
            run_id: found.not_read_because or "nothing was read"
            for run_id, found in said.items()
            if is_kept[run_id] and run_id not in whole
        },
    )


def _outcomes(workspace: Workspace, manifest: Manifest) -> RunOutcomes:
    try:
        return read_outcomes(workspace, manifest)
    except RunUnreadable:
        return {}


def _items(workspace: Workspace, manifest: Manifest) -> RunItems:
    try:
        return read_items(workspace, manifest)
    except RunUnreadable:
        return {}


def _text(workspace: Workspace) -> str | None:
    path = readme_path(workspace)
    if not path.is_file():
        return None
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordInvalid(
            f"preserved_runs/README.md is not UTF-8: byte {error.start} cannot be decoded; save it as UTF-8"
        ) from error


def _around(text: str | None) -> tuple[str, str]:
    if text is None:
        return f"{_HEADING}\n", "\n"
    begin = _BEGIN.search(text)
    if begin is None and _END.search(text) is None:
        return (f"{text.rstrip()}\n\n" if text.strip() else ""), "\n"
    end = _end(text)
    if begin is None or end < begin.end() or len(_BEGIN.findall(text)) > 1:
        raise _bad_markers()
    return text[: begin.start()], text[end + len("<!-- runkit:end -->") :]


def _end(text: str) -> int:
    ends = list(_END.finditer(text))
    if len(ends) != 1:
        raise _bad_markers()
    return ends[0].start()


def _bad_markers() -> RecordInvalid:
    return RecordInvalid(
        "preserved_runs/README.md must hold one line '<!-- runkit:begin runs … -->' and, below it, one line "
        "'<!-- runkit:end -->'; repair or remove the markers and print it again"
    )


def _first_difference(actual: str, expected: str) -> int:
    here, there = actual.split("\n"), expected.split("\n")
    marker = re.compile(r"^<!-- runkit:begin runs")
    for number, (ours, theirs) in enumerate(zip(here, there, strict=False), start=1):
        if ours != theirs and not (marker.match(ours) and marker.match(theirs)):
            return number
    return min(len(here), len(there))
