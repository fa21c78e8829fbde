"""The verbs of the store: verify, seal, gc, pack, unpack, push, pull, schema. They print reports."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runkit.cli.options import WorkspaceFolder, opened, size_bytes
from runkit.cli.output import tell_unread
from runkit.render.escaping import one_line

if TYPE_CHECKING:
    from runkit.records.finding import Finding

Runs = Annotated[list[str] | None, typer.Argument(help="Preserved runs; default: all.", metavar="[RUN]...")]
Url = Annotated[str, typer.Argument(help="For example s3://bucket/runs, or file:///folder.")]
MaxSize = Annotated[
    str | None,
    typer.Option(
        "--max-size",
        help="Most that may come: of a pack, 1 GiB or 1,000 times its size; of a run behind a URL, 100 GB.",
        metavar="SIZE",
    ),
]
References = Annotated[
    Path | None,
    typer.Option(help="Folder with the run directories of artifacts kept by reference.", metavar="DIR"),
]


def register(app: typer.Typer) -> None:
    """Add the verbs to *app*."""
    for verb in (verify, seal, gc, pack, unpack, push, pull, schema):
        app.command()(verb)


def verify(
    runs: Runs = None,
    at: Annotated[
        str | None, typer.Option(help="A pack, or an archive behind a URL, instead of this one.")
    ] = None,
    references: References = None,
    expect: Annotated[
        str | None,
        typer.Option(help="What `runkit seal` printed for these runs.", metavar="DIGEST"),
    ] = None,
    max_size: MaxSize = None,
    jobs: Annotated[int | None, typer.Option(help="Files at once; default: one a core.", min=1)] = None,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Hash every preserved byte again.

    Compares with what was sealed, and judges nothing else; `runkit validate` does.
    Exit status 1 when a byte differs or a file is missing.
    """
    if at is not None:
        if expect is not None:
            from runkit.errors import UsageError

            raise UsageError("--expect compares this archive; it cannot go with --at")
        _verify_elsewhere(at, tuple(runs or ()), max_size)
        return
    from runkit.workflows.verify import verify as verify_runs

    report = verify_runs(
        opened(workspace), tuple(runs or ()), references=references, expected=expect, jobs=jobs
    )
    _print_findings(report.findings)
    checked = (
        f"{_num(report.num_runs, 'run')}, {_num(report.num_files, 'file')}, {_size(report.num_bytes)} hashed"
    )
    if report.num_not_checked:
        checked += f", {report.num_not_checked} by reference not checked"
    if expect is not None and not any(one.place == "manifests" for one in report.findings):
        checked += ", digest as expected"
    print(f"{checked}: {_num(len(report.findings), 'finding') if report.findings else 'all as sealed'}")
    if report.findings:
        raise typer.Exit(1)


def seal(runs: Runs = None, workspace: WorkspaceFolder = Path()) -> None:
    """Print one digest of the archive.

    Of the sealed facts of all runs, or of those named, and so of every kept byte; not of notes. For a signed
    tag or a footnote: `runkit verify --expect DIGEST` compares.
    """
    from runkit.workflows.seal import seal as seal_runs

    print(seal_runs(opened(workspace), tuple(runs or ())).digest)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Remove what killed processes left in the archive.

    Staging folders, temporary files, locks, and shared contents that no run refers to.
    Never a file of a run; files without a manifest are only told of.
    """
    from runkit.workflows.gc import collect

    report = collect(opened(workspace), dry_run=dry_run)
    for one in report.removable:
        verb = "would remove" if dry_run else "removed"
        print(f"{verb} {one_line(repr(one.path))} ({_size(one.size_bytes)}): {one_line(one.why)}")
    for one in report.kept:
        print(f"left alone {one_line(repr(one.path))} ({_size(one.size_bytes)}): {one_line(one.why)}")
    verb = "would be removed" if dry_run else "removed"
    print(f"{_num(len(report.removable), 'leftover')}, {_size(report.size_bytes)} {verb}")


def pack(
    to: Annotated[Path, typer.Argument(help="File to write, by convention NAME.tar.zst.", metavar="FILE")],
    runs: Runs = None,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Write runs into one file, to publish them.

    A tar under zstd with a long window; equal runs give equal bytes. It is read back and compared before it
    gets its name. `tar --zstd -xf` makes a workspace of it.
    """
    from runkit.workflows.pack import pack as pack_runs

    report = pack_runs(opened(workspace), tuple(runs or ()), to=to)
    _print_findings(report.secrets)
    if report.secrets:
        print(f"do not publish {report.path} before these are revoked; `runkit explain RK111` says more")
    print(
        f"packed {_num(len(report.run_ids), 'run')}, {_num(report.num_files, 'file')}, "
        f"{_size(report.num_bytes)} into {one_line(str(report.path))}: {_size(report.size_bytes)}, "
        f"sha256 {report.sha256}"
    )
    if report.num_references:
        print(f"{_num(report.num_references, 'file')} by reference not in it")
    tell_unread(report.unreadable)


def unpack(
    path: Annotated[Path, typer.Argument(help="What `runkit pack` wrote.", metavar="FILE")],
    max_size: MaxSize = None,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Take the runs of a pack into the archive.

    Nothing is taken in before every byte was compared with what was sealed.
    """
    from runkit.workflows.pack import unpack as unpack_runs

    report = unpack_runs(opened(workspace), path, max_bytes=_max_bytes(max_size))
    _print_taken(report.taken, report.already_here)


def push(
    url: Url,
    runs: Runs = None,
    references: References = None,
    replace_notes: Annotated[
        bool, typer.Option("--replace-notes", help="Let our notes replace those of runs that are there.")
    ] = False,
    despite_secrets: Annotated[
        bool, typer.Option("--despite-secrets", help="Send runs too whose files seem to hold a secret.")
    ] = False,
    workspace: WorkspaceFolder = Path(),
) -> None:
    """Send runs to an archive behind a URL.

    Contents by digest, each once; the manifest last. Refused while a kept file seems to hold a secret
    (RK111). `runkit verify --at URL` reads them back.
    """
    from runkit.workflows.remote import push as push_runs

    report = push_runs(
        opened(workspace),
        url,
        tuple(runs or ()),
        references=references,
        replace_notes=replace_notes,
        despite_secrets=despite_secrets,
    )
    for run_id in report.pushed:
        print(f"pushed {run_id}")
    for run_id in report.already_there:
        notes = "; its notes differ, --replace-notes sends ours" if run_id in report.other_notes else ""
        print(f"already there: {run_id}{notes}")
    print(f"{_num(report.num_files, 'file')}, {_size(report.num_bytes)} sent")
    if report.num_not_sent:
        print(f"{_num(report.num_not_sent, 'file')} by reference not sent; --references says where they are")
    tell_unread(report.unreadable)


def pull(url: Url, runs: Runs = None, max_size: MaxSize = None, workspace: WorkspaceFolder = Path()) -> None:
    """Take runs from an archive behind a URL.

    A run is taken in whole, each byte compared with what was sealed, or not at all. One that is not whole
    there does not keep the others out; exit status 2 tells of it.
    """
    from runkit.workflows.remote import PULL_LIMIT_BYTES
    from runkit.workflows.remote import pull as pull_runs

    limit = _max_bytes(max_size)
    report = pull_runs(
        opened(workspace), url, tuple(runs or ()), max_bytes=PULL_LIMIT_BYTES if limit is None else limit
    )
    _print_taken(report.taken, report.already_here)
    for sentence in report.refused:
        print(f"runkit: not taken: {one_line(sentence)}", file=sys.stderr)
    if report.refused:
        raise typer.Exit(2)


def schema(
    record: Annotated[
        str, typer.Argument(help="manifest, notes, capture (run.json) or table (paper_tables/NAME.toml).")
    ] = "manifest",
) -> None:
    """Print the JSON Schema of a record."""
    from runkit.records.published import schema_text

    print(schema_text(record), end="")


def _max_bytes(text: str | None) -> int | None:
    return size_bytes(text) if text is not None else None


def _verify_elsewhere(place: str, runs: tuple[str, ...], max_size: str | None) -> None:
    from runkit.archive.remote import is_remote
    from runkit.errors import UsageError

    if not is_remote(place):
        from runkit.workflows.pack import verify_pack

        if runs:
            raise UsageError("a pack is verified whole; name no runs with --at FILE")
        found = verify_pack(Path(place), max_bytes=_max_bytes(max_size))
        for sentence in found.damaged:
            print(f"  error {one_line(sentence)}")
        result = f"{_num(len(found.damaged), 'file')} damaged" if found.damaged else "all as sealed"
        held = f"{_num(found.num_runs, 'run')}, {_num(found.num_files, 'file')}, {_size(found.num_bytes)}"
        print(f"{held} hashed: {result}")
        if found.damaged:
            raise typer.Exit(1)
        return
    from runkit.workflows.remote import verify_remote

    report = verify_remote(place, runs)
    for sentence in report.damaged:
        print(f"  error {one_line(sentence)}")
    result = f"{_num(report.num_damaged, 'run')} damaged" if report.damaged else "all as sealed"
    print(f"{_num(report.num_runs, 'run')}, {_size(report.num_bytes)} hashed: {result}")
    if report.damaged:
        raise typer.Exit(1)


def _print_findings(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(f"  {finding.severity} {finding.run_id!r} {finding.rule} {one_line(finding.message)}")


def _print_taken(taken: Sequence[str], already: Sequence[str]) -> None:
    for run_id in taken:
        print(f"took in {run_id}")
    for run_id in already:
        print(f"already here: {run_id}")
    print("next: runkit validate")


def _num(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _size(num_bytes: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes} bytes"
