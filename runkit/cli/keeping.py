"""The verbs that keep runs and look at them: preserve, list, show; note has a module of its own."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runkit.cli.noting import bind_waivers, note
from runkit.cli.options import References, WorkspaceFolder, opened, size_bytes
from runkit.cli.output import print_columns, print_json_text
from runkit.errors import UsageError
from runkit.render.escaping import one_line

if TYPE_CHECKING:
    from runkit.archive.workspace import Workspace
    from runkit.records.layout import Layout
    from runkit.records.manifest import Manifest, Metric
    from runkit.workflows.preserve import PreserveRequest


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
    run: Annotated[Path, typer.Argument(help="Run directory, or with --each the folder of many.")],
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
    each: Annotated[
        bool, typer.Option("--each", help="Take every run directory below RUN, such as those of a sweep.")
    ] = False,
    config: Annotated[
        list[str] | None,
        typer.Option(help="File in the run directory with its settings: JSON, YAML, TOML.", metavar="FILE"),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(help="File with numbers: JSON, or CSV and JSON Lines over steps.", metavar="FILE"),
    ] = None,
    items: Annotated[
        list[str] | None,
        typer.Option(help="File with a row an item: CSV, JSON Lines, Parquet.", metavar="FILE"),
    ] = None,
    command: Annotated[
        str | None, typer.Option(help="Command of a finished run that did not record it.", metavar="TEXT")
    ] = None,
    call: Annotated[
        str | None,
        typer.Option(help="Call of lm-evaluation-harness, in a folder with several.", metavar="TIME"),
    ] = None,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Take a run into the archive.

    Exact files, sealed facts, per-sample outcomes. The run directory is only read.
    An id that exists is refused.
    """
    from runkit.workflows.preserve import PreserveRequest, default_name, kept_secrets
    from runkit.workflows.preserve import preserve as preserve_run

    layout = _layout(tuple(config or ()), tuple(metrics or ()), tuple(items or ()), command, call)
    if each and run_id is not None:
        raise UsageError("--run-id names one run; with --each the ids are made from the folders' names")
    is_named = run_id is not None or each or not run.is_dir()
    name = None if is_named else default_name(opened(workspace), run)
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
        layout=layout,
    )
    if each:
        _preserve_each(opened(workspace), run, request)
        return
    manifest = preserve_run(opened(workspace), request)
    if name is not None and name.because is not None:
        said = f"kept as {name.run_id}, because {name.because}; choose another name with --run-id"
        print(said, file=sys.stderr)
    _print_preserved(manifest)
    if layout is not None and layout.paths:
        from runkit.records.layout import layout_toml

        print("the files were read as this says; in runkit.toml it holds for every such run:")
        lines = ["[[layouts]]", *layout_toml(layout, prefix="layouts.").rstrip("\n").split("\n")]
        print("\n".join(f"  {line}".rstrip() for line in lines))
    if notes is not None:
        bind_waivers(opened(workspace), manifest.run_id)
    for finding in kept_secrets(opened(workspace), manifest):
        print(f"  warning     RK111 {one_line(finding.message)}")
        print(f"              {finding.way_out}")


def _layout(
    config: tuple[str, ...],
    metrics: tuple[str, ...],
    items: tuple[str, ...],
    command: str | None,
    call: str | None,
) -> Layout | None:
    from runkit.records.layout import ItemsFile, Layout, ScoresFile

    if not (config or metrics or items or command or call):
        return None
    return Layout(
        config=config,
        metrics=tuple(ScoresFile(path=path) for path in metrics),
        items=tuple(ItemsFile(path=path) for path in items),
        command=command,
        call=call,
    )


def _preserve_each(workspace: Workspace, parent: Path, request: PreserveRequest) -> None:
    from runkit.workflows.preserve import Refused, preserve_each

    num_kept, num_before, refused = 0, 0, []
    for became in preserve_each(workspace, parent, request):
        if isinstance(became, Refused) and became.is_preserved:
            num_before += 1
            continue
        if isinstance(became, Refused):
            refused.append(became)
            print(f"refused   {one_line(str(became.path))}: {one_line(became.reason)}", file=sys.stderr)
            continue
        num_kept += 1
        status = became.sealed.status.value
        num_scores = len(became.sealed.scores or became.sealed.evaluations)
        print(f"preserved {became.run_id}: {status}, {num_scores} score{'s' if num_scores != 1 else ''}")
    before = f", {num_before} preserved before" if num_before else ""
    print(f"{num_kept} preserved{before}, {len(refused)} refused")
    print("next: runkit validate; runkit lineage --suggest")
    if refused:
        raise typer.Exit(2)


def list_runs(
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--columns",
            metavar="MEASURE",
            help="Measure to show, such as gsm8k/exact_match or loss@max; again for more. Without: what each "
            "run is judged by.",
        ),
    ] = None,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """List preserved runs, one line each."""
    from runkit.archive.reading import read_manifests
    from runkit.cli.scoring import list_rows

    folder = read_manifests(opened(workspace))
    if not folder.manifests and not folder.unreadable:
        print("no preserved runs yet; `runkit preserve RUN` takes one in")
    if folder.manifests:
        print_columns(list_rows(folder.manifests, tuple(columns or ())))
    for unreadable in folder.unreadable:
        print(f"unreadable: {one_line(unreadable.message)}")
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
    from runkit.cli.scoring import score_rows

    if generations:
        inspecting.print_generations(opened(workspace), run_id, tuple(system or ()), references, as_json)
        return
    if causes:
        inspecting.print_causes(opened(workspace), run_id, references, as_json)
        return
    manifest = read_manifest(opened(workspace), run_id)
    sealed = manifest.sealed
    if as_json:
        print_json_text(manifest.to_json())
        return
    proof = sealed.status.evidence
    line = f":{proof.line}" if proof is not None and proof.line is not None else ""
    place = f" ({proof.path}{line})" if proof is not None else ""
    print(f"{sealed.run_id}: {one_line(manifest.notes.title or 'no title')}")
    print(f"status    {sealed.status.value}: {one_line(f'{sealed.status.reason}{place}')}")
    print(f"seal      sha256 {manifest.seal.digest}")
    num_keys = len(sealed.configuration.effective)
    print(f"config    {sealed.configuration.effective_digest[:16]}, {num_keys} keys count")
    for key, choice in sealed.configuration.automatic.items():
        print(f"          {one_line(f'{key} was chosen automatically: {choice}')}")
    print(f"files     {len(sealed.artifacts)} kept, {len(sealed.missing_artifacts)} missing")
    print()
    print_columns(score_rows(manifest))
    if sealed.metrics:
        print()
        print_columns([("derived", "value", "k/n", "steps", "evidence"), *map(_metric_row, sealed.metrics)])


def _print_preserved(manifest: Manifest) -> None:
    sealed = manifest.sealed
    line = sealed.status.evidence.line if sealed.status.evidence else None
    print(f"preserved {sealed.run_id}: {sealed.status.value}, {one_line(sealed.status.reason)}")
    if line is not None and sealed.status.evidence is not None:
        print(f"  evidence    {one_line(sealed.status.evidence.path)}:{line}")
    print(
        f"  files       {len(sealed.artifacts)} ({sum(file.size_bytes for file in sealed.artifacts):,} bytes)"
    )
    for missing in sealed.missing_artifacts:
        word = "left out" if missing.role == "other" else "missing"
        print(f"  {word:<11} {one_line(f'{missing.path}: {missing.reason}')}")
    if sealed.scores is not None:
        num_items = sealed.outcomes.num_rows if sealed.outcomes is not None else 0
        print(f"  scores      {len(sealed.scores)}, from {num_items:,} item scores where there are any")
    for notice in sealed.notices or ():
        print(f"  {notice.kind.replace('_', ' '):<11} {one_line(notice.message)}")
    if sealed.snapshot is not None:
        print(f"  snapshot    still being written; taken at {sealed.snapshot.taken_at}")
    for growing in sealed.snapshot.growing if sealed.snapshot is not None else ():
        path = one_line(growing.path)
        print(f"  cut         {path}: {growing.kept_bytes} of {growing.seen_bytes} bytes, whole lines")
    print(f"  manifest    manifests/{sealed.run_id}.json, seal {manifest.seal.digest[:16]}")
    if sealed.status.value not in ("completed", "unknown"):
        print(f"next: runkit show {sealed.run_id} --causes")
    print("next: runkit validate")


def _metric_row(metric: Metric) -> tuple[str, ...]:
    if metric.value_fraction is None:
        return (metric.name, "–", "", "", metric.missing_because or "")
    counts = f"{metric.correct}/{metric.n}" if metric.correct is not None and metric.n else ""
    steps = ", ".join(map(str, metric.steps))
    return (metric.name, f"{metric.value_fraction:.4f}", counts, steps, metric.evidence or "")
