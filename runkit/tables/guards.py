"""What a table refuses to print: rows whose run is unknown, broken or blocked by a finding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from runkit.errors import TableRefused, UnknownName
from runkit.records.finding import NEVER_WAIVED, Finding
from runkit.records.schema import settings_in_effect
from runkit.records.tablespec import TableSpec
from runkit.tables.measured import ArchivedRun

_SHOWN_INSTEAD = frozenset({"RK301", "RK302", "RK303", "RK401"})
"""Rules whose runs are printed, marked for what they are."""


class WaivedError(NamedTuple):
    """An error of a run that a person accepted; printed below each table that stands on the run."""

    rule: str
    place: str
    message: str
    reason: str


def blocks_a_table(finding: Finding, *, is_replicate: bool) -> bool:
    """Return whether *finding* keeps its run out of a table.

    Errors do, unless a person waived them. Some are shown instead: a no-op ablation (RK401, and RK402,
    which follows from it) becomes a replicate, and a run that did not finish (RK301, RK302; RK303 is
    about what people said of it) gets a dash with the cause that its log gives.
    """
    shown = finding.rule in _SHOWN_INSTEAD or (is_replicate and finding.rule == "RK402")
    return finding.severity == "error" and finding.waived_because is None and not shown


def check_rows(spec: TableSpec, runs: Mapping[str, ArchivedRun], blocking: Mapping[str, Finding]) -> None:
    """Check that every row can be printed.

    Args:
        runs: The runs of the archive, by id.
        blocking: Run id to the finding that keeps it out.
    Raises:
        UnknownName: A run of the specification is not in the archive.
        TableRefused: The control is no row, a seal is broken, or a finding blocks a run.
    """
    if spec.control not in {row.run for row in spec.rows}:
        raise TableRefused(
            f"the control {spec.control} is not among the rows; add a row for it, or name one of the rows as "
            "control"
        )
    for row in spec.rows:
        check_run(row.run, runs, blocking)


def check_run(run_id: str, runs: Mapping[str, ArchivedRun], blocking: Mapping[str, Finding]) -> None:
    """Check that one run can be printed; arguments and errors as in :func:`check_rows`."""
    if run_id not in runs:
        raise UnknownName.among(
            "preserved run", run_id, runs, way_out="`runkit list` shows the preserved runs"
        )
    _check_seal(runs[run_id])
    if run_id in blocking:
        raise TableRefused(_blocked(run_id, blocking[run_id]))


def check_factors(spec: TableSpec, runs: Mapping[str, ArchivedRun]) -> None:
    """Check that each factor is a configuration key of at least one row.

    Raises:
        UnknownName: It is not; with the nearest key.
    """
    manifests = [runs[row.run].manifest for row in spec.rows]
    known = {
        key for run in manifests for key in (*settings_in_effect(run.sealed), *run.sealed.configuration.inert)
    }
    for factor in spec.factors:
        if factor.key not in known:
            raise UnknownName.among("configuration key", factor.key, known)


def _check_seal(run: ArchivedRun) -> None:
    if run.manifest.sealed.content_digest() != run.manifest.seal.digest:
        raise TableRefused(
            f"run {run.run_id} has a broken seal (RK104): its sealed facts were edited; restore its manifest "
            "from version control"
        )


def _blocked(run_id: str, finding: Finding) -> str:
    way_out = finding.way_out or f"`runkit explain {finding.rule}` says what to do"
    waive = "," if finding.rule in NEVER_WAIVED else ", waive it in the notes with a reason,"
    return (
        f"run {run_id} has an error finding, {finding.rule} at {finding.place}: "
        f"{finding.message.rstrip('.')}; {way_out.rstrip('.')}{waive} or leave the row out"
    )
