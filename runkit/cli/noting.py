"""The verb that changes what people say of a run: note. What it waives is bound to what is found now."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runkit.cli.options import References, WorkspaceFolder, opened, tell
from runkit.render.escaping import one_line

if TYPE_CHECKING:
    from runkit.archive.workspace import Workspace
    from runkit.records.finding import Finding
    from runkit.records.manifest import Notes, Waiver


def note(
    run_id: Annotated[str | None, typer.Argument(help="Preserved run.", metavar="RUN_ID")] = None,
    source: Annotated[
        Path | None, typer.Option("--from", help="TOML file whose keys replace those of the notes.")
    ] = None,
    ablates: Annotated[str | None, typer.Option(help="Name the run's control.", metavar="RUN_ID")] = None,
    relate: Annotated[
        str | None,
        typer.Option(
            help="Relate the run to another one: ablates, follows, supersedes, replicates or swaps.",
            metavar="KIND:RUN_ID",
        ),
    ] = None,
    factor: Annotated[
        list[str] | None, typer.Option(help="With --ablates or --relate ablates:…: what it changes.")
    ] = None,
    waive: Annotated[
        str | None,
        typer.Option(
            help="Accept one finding of this rule, as it is found now; needs --because.", metavar="RKnnn"
        ),
    ] = None,
    unwaive: Annotated[
        str | None, typer.Option(help="Remove a waiver of this rule.", metavar="RKnnn")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="With --waive or --unwaive: which one, by its place or the first digits of its message's "
            "SHA-256.",
            metavar="PLACE",
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--every", help="With --waive or --unwaive: all that fit, each by itself.")
    ] = False,
    migrate_waivers: Annotated[
        bool,
        typer.Option(
            "--migrate-waivers",
            help="Bind waivers of older notes, of the run or of all runs, where exactly one finding fits.",
        ),
    ] = False,
    root_cause: Annotated[
        str | None,
        typer.Option(help="Confirm or replace the proposed root cause; see `runkit show RUN --causes`."),
    ] = None,
    because: Annotated[
        str | None, typer.Option(help="The reason, for --waive and for another --root-cause than proposed.")
    ] = None,
    references: References = None,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Change the notes of a run, never its sealed facts."""
    from runkit.errors import UsageError

    archive = opened(workspace)
    says_more = source is not None or ablates is not None or relate is not None or root_cause is not None
    _check_waiving(waive, unwaive, because, root_cause, narrows=at is not None or every)
    if migrate_waivers:
        if says_more or waive is not None or unwaive is not None:
            raise UsageError("--migrate-waivers stands alone; give the other options in a second call")
        if bind_waivers(archive, run_id, references=references):
            raise typer.Exit(1)
        return
    if run_id is None:
        raise UsageError("name the run to note; `runkit list` shows the preserved runs")
    if not says_more and waive is None and unwaive is None:
        raise UsageError(
            "nothing to note; give --from FILE, --ablates RUN_ID, --relate KIND:RUN_ID, --root-cause CODE, "
            "--unwaive RKnnn or --waive RKnnn --because REASON"
        )
    if says_more:
        _note(archive, run_id, source, ablates, relate, factor, root_cause, because, references)
    if waive is not None:
        _waive(archive, run_id, waive, because, at=at, is_every=every, references=references)
    if unwaive is not None:
        from runkit.workflows.preserve import unwaive as remove_waivers

        remove_waivers(archive, run_id, unwaive, at=at, is_every=every, tell=tell)
    print(f"noted in manifests/{run_id}.json; the seal is as it was")
    if source is not None:
        bind_waivers(archive, run_id, references=references)


def bind_waivers(archive: Workspace, run_id: str | None, *, references: Path | None = None) -> int:
    """Bind the waivers that name no finding, and print what became of them.

    Args:
        run_id: None: of all runs.
    Returns:
        How many a person has to look at.
    """
    from runkit.workflows.preserve import migrate_waivers, runs_to_migrate

    chosen = runs_to_migrate(archive, run_id)
    findings = _found_now(archive, chosen, references) if chosen else []
    num_bound, num_left = 0, 0
    for one in chosen:
        binding = migrate_waivers(archive, one, [each for each in findings if each.run_id == one], tell=tell)
        _print_waivers(one, binding.new)
        for sentence in binding.left:
            print(one_line(f"{one}: {sentence}"))
        num_bound, num_left = num_bound + len(binding.new), num_left + len(binding.left)
    if chosen or run_id is None:
        print(f"{num_bound} waivers bound to their findings, {num_left} left; the seals are as they were")
    return num_left


def _check_waiving(
    waive: str | None, unwaive: str | None, because: str | None, root_cause: str | None, *, narrows: bool
) -> None:
    from runkit.errors import UsageError

    if because is not None and waive is None is root_cause:
        raise UsageError("--waive and --because go together: a finding is accepted for a stated reason")
    if waive is not None and unwaive is not None:
        raise UsageError("--waive and --unwaive are two changes; give them one after the other")
    if narrows and waive is None is unwaive:
        raise UsageError("--at and --every say which finding --waive or --unwaive means; give one of them")


def _note(
    archive: Workspace,
    run_id: str,
    source: Path | None,
    ablates: str | None,
    relate: str | None,
    factor: list[str] | None,
    root_cause: str | None,
    because: str | None,
    references: Path | None,
) -> None:
    from runkit.workflows import preserve as keeping

    confirmed = None
    if root_cause is not None:
        from runkit.workflows.inspection import confirmed_cause

        confirmed = confirmed_cause(archive, run_id, root_cause, because=because, references=references)

    def change(notes: Notes) -> Notes:
        return keeping.changed_notes(
            notes,
            source=source,
            ablates=ablates,
            relate=relate,
            factors=tuple(factor or ()),
            root_cause=confirmed,
        )

    keeping.note(archive, run_id, change=change, tell=tell)


def _waive(
    archive: Workspace,
    run_id: str,
    rule: str,
    because: str | None,
    *,
    at: str | None,
    is_every: bool,
    references: Path | None,
) -> None:
    from runkit.checks.catalogue import rule as rule_called
    from runkit.checks.waivers import WaiverChoice, assert_can_be_waived
    from runkit.records.manifest import Waiver
    from runkit.workflows.preserve import waive

    code = rule_called(rule).code
    assert_can_be_waived([Waiver(rule=code, reason="not said yet")], origin="--waive")
    choice = WaiverChoice(code, because, at=at, is_every=is_every)
    findings = _found_now(archive, (run_id,), references)
    _print_waivers(run_id, waive(archive, run_id, choice, findings, tell=tell))


def _found_now(archive: Workspace, run_ids: tuple[str, ...], references: Path | None) -> list[Finding]:
    """Return all that both judging verbs find in the runs, since a waiver can be of a rule of either."""
    from runkit.workflows.lineage import lineage
    from runkit.workflows.validate import validate

    found = [
        *validate(archive, run_ids, references=references).findings,
        *lineage(archive).findings,
    ]
    return [finding for finding in found if finding.run_id in run_ids]


def _print_waivers(run_id: str, waivers: Iterable[Waiver]) -> None:
    for waiver in waivers:
        print(one_line(f"{run_id}: waived {waiver.rule} {waiver.place}: {waiver.message} ({waiver.reason})"))
