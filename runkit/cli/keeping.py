"""The verbs that keep runs and look at them: preserve, note, list, show."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runkit.cli.options import References, WorkspaceFolder, opened, size_bytes

if TYPE_CHECKING:
    from runkit.records.manifest import Manifest, Metric, Notes


class ArtifactStorage(StrEnum):
    """How artifacts are kept."""

    COPY = "copy"
    LINK = "link"
    REFERENCE = "reference"


def register(app: typer.Typer) -> None:
    """Add the verbs to *app*."""
    app.command()(preserve)
    app.command()(note)
    app.command("list")(list_runs)
    app.command()(show)


def preserve(
    run: Annotated[Path, typer.Argument(help="Run directory of any layout that a reader knows.")],
    run_id: Annotated[
        str | None, typer.Option("--run-id", help="Name in the archive; default: the directory's name.")
    ] = None,
    artifacts: Annotated[
        ArtifactStorage,
        typer.Option(help="copy: mirror all files; link: hard links to them; reference: hashes only."),
    ] = ArtifactStorage.COPY,
    reference_over: Annotated[
        str | None,
        typer.Option(help="Larger files that are no logs stay where they are.", metavar="SIZE"),
    ] = None,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="Take what is there now of a run that is still being written.")
    ] = False,
    location: Annotated[
        str | None, typer.Option(help="For references: where the files are, for the reader of the manifest.")
    ] = None,
    notes: Annotated[
        Path | None, typer.Option(help="TOML file with title, why, publishability, relations, …")
    ] = None,
    ablates: Annotated[
        str | None, typer.Option(help="Preserved run that is this run's control.", metavar="RUN_ID")
    ] = None,
    factor: Annotated[
        list[str] | None,
        typer.Option(help="Configuration key that the ablation changes; default: what the run declares."),
    ] = None,
    reader: Annotated[
        str | None, typer.Option(help="Reader of the layout; default: the one that knows the directory.")
    ] = None,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Take a run into the archive.

    Exact files, sealed facts, per-sample outcomes. The run directory is only read.
    An id that exists is refused.
    """
    from runkit.workflows.preserve import PreserveRequest, default_name
    from runkit.workflows.preserve import preserve as preserve_run

    name = default_name(opened(workspace), run) if run_id is None and run.is_dir() else None
    request = PreserveRequest(
        run=run,
        run_id=name.run_id if name is not None else run_id,
        artifacts=artifacts.value,
        reference_over=size_bytes(reference_over) if reference_over is not None else None,
        snapshot=snapshot,
        artifacts_location=location,
        notes_file=notes,
        ablates=ablates,
        factors=tuple(factor or ()),
        reader=reader,
    )
    manifest = preserve_run(opened(workspace), request)
    if name is not None and name.because is not None:
        said = f"kept as {name.run_id}, because {name.because}; choose another name with --run-id"
        print(said, file=sys.stderr)
    _print_preserved(manifest)


def note(
    run_id: Annotated[str, typer.Argument(help="Preserved run.", metavar="RUN_ID")],
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
        str | None, typer.Option(help="Accept a finding of this rule; needs --because.", metavar="RKnnn")
    ] = None,
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
    from runkit.workflows import preserve as keeping

    if source is None and ablates is None and relate is None and waive is None and root_cause is None:
        raise UsageError(
            "nothing to note; give --from FILE, --ablates RUN_ID, --relate KIND:RUN_ID, --root-cause CODE "
            "or --waive RKnnn "
            "--because REASON"
        )
    if (waive is not None and because is None) or (because is not None and waive is None is root_cause):
        raise UsageError("--waive and --because go together: a finding is accepted for a stated reason")
    confirmed = None
    if root_cause is not None:
        from runkit.workflows.inspection import confirmed_cause

        confirmed = confirmed_cause(
            opened(workspace), run_id, root_cause, because=because, references=references
        )

    def change(notes: Notes) -> Notes:
        return keeping.changed_notes(
            notes,
            source=source,
            ablates=ablates,
            relate=relate,
            factors=tuple(factor or ()),
            waive=(waive, because) if waive and because else None,
            root_cause=confirmed,
        )

    keeping.note(opened(workspace), run_id, change=change)
    print(f"noted in manifests/{run_id}.json; the seal is as it was")


def list_runs(workspace: WorkspaceFolder = Path()) -> None:
    """List preserved runs, one line each."""
    from runkit.archive.reading import read_manifests

    folder = read_manifests(opened(workspace))
    if not folder.manifests and not folder.unreadable:
        print("no preserved runs yet; `runkit preserve RUN` takes one in")
    rows: list[tuple[str, ...]] = [("run", "status", "final bridged", "peak bridged", "target alone")]
    rows += [_summary_row(manifest) for manifest in folder.manifests]
    if folder.manifests:
        _print_columns(rows)
    for unreadable in folder.unreadable:
        print(f"unreadable: {unreadable.message}")
    if folder.unreadable:
        raise typer.Exit(1)


def show(
    run_id: Annotated[str, typer.Argument(help="Preserved run.", metavar="RUN_ID")],
    generations: Annotated[
        bool, typer.Option("--generations", help="Invalid answers, loops, echoes, collapse, by step.")
    ] = False,
    causes: Annotated[
        bool, typer.Option("--causes", help="Root causes that the record speaks for, with the lines.")
    ] = False,
    system: Annotated[
        list[str] | None, typer.Option(help="With --generations: only this system, for example bridged.")
    ] = None,
    references: References = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Show one run, each number with its evidence."""
    from runkit.archive.reading import read_manifest
    from runkit.cli import inspecting

    if generations:
        inspecting.print_generations(opened(workspace), run_id, tuple(system or ()), references, as_json)
        return
    if causes:
        inspecting.print_causes(opened(workspace), run_id, references, as_json)
        return
    manifest = read_manifest(opened(workspace), run_id)
    sealed = manifest.sealed
    if as_json:
        print(manifest.to_json(), end="")
        return
    proof = sealed.status.evidence
    line = f":{proof.line}" if proof is not None and proof.line is not None else ""
    place = f" ({proof.path}{line})" if proof is not None else ""
    print(f"{sealed.run_id}: {manifest.notes.title or 'no title'}")
    print(f"status    {sealed.status.value}: {sealed.status.reason}{place}")
    print(f"seal      sha256 {manifest.seal.digest}")
    num_keys = len(sealed.configuration.effective)
    print(f"config    {sealed.configuration.effective_digest[:16]}, {num_keys} keys count")
    for key, choice in sealed.configuration.automatic.items():
        print(f"          {key} was chosen automatically: {choice}")
    print(f"files     {len(sealed.artifacts)} kept, {len(sealed.missing_artifacts)} missing")
    print()
    _print_columns(
        [("evaluation", "split", "system", "correct", "wrong", "invalid", "n"), *_score_rows(manifest)]
    )
    print()
    _print_columns([("metric", "value", "k/n", "steps", "evidence"), *map(_metric_row, sealed.metrics)])


def _print_preserved(manifest: Manifest) -> None:
    sealed = manifest.sealed
    line = sealed.status.evidence.line if sealed.status.evidence else None
    print(f"preserved {sealed.run_id}: {sealed.status.value}, {sealed.status.reason}")
    if line is not None and sealed.status.evidence is not None:
        print(f"  evidence    {sealed.status.evidence.path}:{line}")
    print(
        f"  files       {len(sealed.artifacts)} ({sum(file.size_bytes for file in sealed.artifacts):,} bytes)"
    )
    for missing in sealed.missing_artifacts:
        print(
            f"  {'left out' if missing.role == 'other' else 'missing':<11} {missing.path}: {missing.reason}"
        )
    if sealed.snapshot is not None:
        print(f"  snapshot    still being written; taken at {sealed.snapshot.taken_at}")
    for growing in sealed.snapshot.growing if sealed.snapshot is not None else ():
        print(
            f"  cut         {growing.path}: {growing.kept_bytes} of {growing.seen_bytes} bytes, whole lines"
        )
    print(f"  manifest    manifests/{sealed.run_id}.json, seal {manifest.seal.digest[:16]}")
    if sealed.status.value != "completed":
        print(f"next: runkit show {sealed.run_id} --causes")
    print("next: runkit validate")


def _summary_row(manifest: Manifest) -> tuple[str, ...]:
    sealed = manifest.sealed
    shown = [sealed.metric(name) for name in ("final.bridged", "peak.bridged", "final.target")]
    return (sealed.run_id, sealed.status.value, *(_value(metric) for metric in shown))


def _value(metric: Metric | None) -> str:
    if metric is None or metric.value_fraction is None:
        return "–"
    counts = f" ({metric.correct}/{metric.n})" if metric.correct is not None else ""
    at = f" at {', '.join(map(str, metric.steps))}" if metric.num_candidates else ""
    return f"{metric.value_fraction:.3f}{counts}{at}"


def _score_rows(manifest: Manifest) -> list[tuple[str, ...]]:
    return [
        (
            evaluation.label,
            evaluation.split,
            score.system,
            str(score.correct),
            str(score.wrong),
            str(score.invalid),
            str(score.n),
        )
        for evaluation in manifest.sealed.evaluations
        for score in evaluation.systems
    ]


def _metric_row(metric: Metric) -> tuple[str, ...]:
    if metric.value_fraction is None:
        return (metric.name, "–", "", "", metric.missing_because or "")
    counts = f"{metric.correct}/{metric.n}" if metric.correct is not None and metric.n else ""
    steps = ", ".join(map(str, metric.steps))
    return (metric.name, f"{metric.value_fraction:.4f}", counts, steps, metric.evidence or "")


def _print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
