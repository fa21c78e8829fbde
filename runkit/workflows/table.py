"""The verb ``table``: a specification and the archive become files in ``paper_tables/``; cells explained."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from runkit.archive.hashing import file_digest
from runkit.archive.kept_files import ONLY_LOOKED_FOR, kept_run
from runkit.archive.locking import Tell, changing, say_nothing
from runkit.archive.observing import observe_runs
from runkit.archive.opening import DOCUMENT_LIMIT_BYTES, SPECIFICATION_LIMIT_BYTES, read_regular
from runkit.archive.reading import ManifestFolder, read_items, read_manifests, read_outcomes
from runkit.archive.rereading_cache import RereadingCache
from runkit.archive.workspace import Workspace
from runkit.archive.writing import write_atomically
from runkit.checks.catalogue import found, rule
from runkit.checks.comparison import effective_difference, is_noop
from runkit.checks.gather import gather
from runkit.checks.view import ArchiveView
from runkit.checks.waivers import is_in_effect
from runkit.errors import OutsideWorkspace, RecordInvalid, TableRefused, UnknownName, UsageError
from runkit.ingest.rereading import read_again
from runkit.records.cells import CellSidecar, Table
from runkit.records.finding import Finding
from runkit.records.manifest import Manifest
from runkit.records.measurespec import MeasureTableSpec, is_measure_spec
from runkit.records.rereading import Rereading
from runkit.records.seedspec import SeedTableSpec, is_seed_spec
from runkit.records.tablespec import TableSpec
from runkit.render.latex import latex_table, standalone_document
from runkit.render.markdown import markdown_table
from runkit.tables.ablation import ablation_table
from runkit.tables.explaining import CellExplanation, explain
from runkit.tables.guards import WaivedError, blocks_a_table
from runkit.tables.measured import ArchivedRun, Files
from runkit.tables.sidecar import sidecar

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_PDF_SECONDS = 120.0


@dataclass(frozen=True)
class RenderedTable:
    """A table and the files that it is printed to."""

    table: Table
    files: Mapping[str, str]
    """Name of each file in ``paper_tables/`` to its text."""


def table_names(workspace: Workspace) -> tuple[str, ...]:
    """Return the names of all specifications, sorted."""
    return tuple(sorted(path.stem for path in workspace.paper_tables.glob("*.toml")))


def render_table(workspace: Workspace, name: str) -> RenderedTable:
    """Return the table called *name* as the archive proves it now; nothing is written.

    Of the runs that it prints, the kept files and the outcomes are hashed, and the kept logs and dumps are
    read again: a row whose files say something else is refused.

    Raises:
        OutsideWorkspace: *name* would lead out of ``paper_tables/``.
        UnknownName: There is no such specification, run or factor; with the nearest name.
        RecordInvalid: The specification is not valid.
        TableRefused: The archive does not prove what would be printed.
    """
    spec_text = _read(_spec_path(workspace, name), SPECIFICATION_LIMIT_BYTES)
    text, origin = _decoded(spec_text, name), f"paper_tables/{name}.toml"
    if is_measure_spec(text, origin=origin):
        table = _measure_table(workspace, MeasureTableSpec.parse_toml(text, origin=origin))
    elif is_seed_spec(text, origin=origin):
        table = _seed_table(workspace, SeedTableSpec.parse_toml(text, origin=origin))
    else:
        table = _ablation_table(workspace, TableSpec.parse_toml(text, origin=origin))
    printed = {f"{name}.tex": latex_table(table, name=name), f"{name}.md": markdown_table(table, name=name)}
    cells = sidecar(table, name=name, spec_text=spec_text, files=printed)
    return RenderedTable(table, {**printed, f"{name}.cells.json": cells.to_json()})


def write_table(workspace: Workspace, name: str) -> tuple[Path, ...]:
    """Print the table called *name* and return the paths of its files; errors as in :func:`render_table`."""
    return print_table(workspace, name)[1]


def print_table(
    workspace: Workspace, name: str, *, tell: Tell = say_nothing
) -> tuple[RenderedTable, tuple[Path, ...]]:
    """Print the table called *name*; return it with the paths of its files, of which the sidecar is the last.

    Of two processes that print it at once, the second one reads the archive when the first one is done, so
    that its files belong together. Errors as in :func:`render_table`.
    """
    _spec_path(workspace, name)
    with changing(workspace.paper_tables / name, tell=tell):
        rendered = render_table(workspace, name)
        paths = tuple(workspace.paper_tables / file for file in rendered.files)
        for path in paths:
            write_atomically(path, rendered.files[path.name])
    return rendered, paths


def check_tables(workspace: Workspace, names: tuple[str, ...] = ()) -> tuple[Finding, ...]:
    """Return a finding (RK603) for each printed file that is not what the archive would print now.

    Args:
        names: Tables to look at; none means all, and then files without a specification are found too.
    """
    chosen = names or table_names(workspace)
    stale = [finding for name in chosen for finding in _stale_or_unreadable(workspace, name)]
    return tuple(stale) if names else (*stale, *_orphans(workspace))


def explain_cell(workspace: Workspace, table: str, row: str, column: str) -> CellExplanation:
    """Return where one cell of the table called *table* comes from.

    Args:
        row: Label of the row, or its run id.
        column: Key of the column (``accuracy``, ``difference``, ``p``, ``invalid``, ``peak``, or a
            configuration key) or its header.
    Raises:
        UnknownName: There is no such table, row or column; with the nearest name.
    """
    return explain(render_table(workspace, table).table, row, column)


def compile_pdf(workspace: Workspace, name: str, output_folder: Path) -> Path | None:
    """Return the path of a PDF of one page with the table, or None when there is no ``pdflatex``.

    Raises:
        TableRefused: ``pdflatex`` could not compile it; with its first complaint.
    """
    program = shutil.which("pdflatex")
    if program is None:
        return None
    latex = standalone_document(render_table(workspace, name).files[f"{name}.tex"])
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, f"{name}.tex")
        source.write_text(latex, encoding="utf-8")
        _run_pdflatex(program, source)
        write_atomically(output_folder / f"{name}.pdf", source.with_suffix(".pdf").read_bytes())
    return output_folder / f"{name}.pdf"


def _spec_path(workspace: Workspace, name: str) -> Path:
    if "/" in name or "\\" in name or name.startswith("."):
        raise OutsideWorkspace(
            f"{name!r} is not a table name: it would lead out of paper_tables/; use the name of a spec"
        )
    known = table_names(workspace)
    if name not in known:
        raise UnknownName.among("table", name, known, way_out=f"write paper_tables/{name}.toml to make one")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a table name: expected letters, digits, _ or -; rename the specification"
        )
    return workspace.contained(workspace.paper_tables / f"{name}.toml")


def _read(path: Path, limit: int) -> bytes:
    try:
        return read_regular(path, limit=limit)
    except OSError as error:
        raise RecordInvalid(f"paper_tables/{path.name} cannot be read: {error.strerror}") from error


def _decoded(spec_text: bytes, name: str) -> str:
    try:
        return spec_text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordInvalid(
            f"paper_tables/{name}.toml is not UTF-8: byte {error.start} cannot be decoded"
        ) from error


def _ablation_table(workspace: Workspace, spec: TableSpec) -> Table:
    folder = read_manifests(workspace)
    runs = _rows_of(workspace, [spec.control, *(row.run for row in spec.rows)], folder)
    replicates = _replicates(spec, runs)
    runs, findings = _judged(workspace, runs, folder)
    blocking = _blocking(findings, runs, replicates)
    warnings = _open_warnings(findings, runs, folder)
    return ablation_table(
        spec, runs, replicates=replicates, blocking=blocking, warnings=warnings,
        waived=_waived_errors(findings, runs),
    )  # fmt: skip


def _seed_table(workspace: Workspace, spec: SeedTableSpec) -> Table:
    from runkit.tables.seed_rows import Change
    from runkit.tables.seeds import seed_table  # numpy and scipy, which no other table needs

    def changes(run: ArchivedRun, other: ArchivedRun) -> list[Change]:
        difference = effective_difference(run.manifest, other.manifest)
        return [Change(one.key, one.value) for one in difference.changed]

    folder = read_manifests(workspace)
    runs = _rows_of(workspace, [run for row in spec.rows for run in row.runs], folder)
    runs, findings = _judged(workspace, runs, folder)
    blocking, waived = _blocking(findings, runs, frozenset()), _waived_errors(findings, runs)
    return seed_table(spec, runs, changes=changes, blocking=blocking, waived=waived)


def _measure_table(workspace: Workspace, spec: MeasureTableSpec) -> Table:
    from runkit.tables.measures import measure_table  # numpy and scipy

    folder = read_manifests(workspace)
    runs = _rows_of(workspace, [run for row in spec.rows for run in row.run_ids], folder)
    runs = {run_id: replace(run, items=read_items(workspace, run.manifest)) for run_id, run in runs.items()}
    runs, findings = _judged(workspace, runs, folder)
    return measure_table(
        spec,
        runs,
        blocking=_blocking(findings, runs, frozenset(runs)),
        warnings=_open_warnings(findings, runs, folder),
        waived=_waived_errors(findings, runs),
    )


def _rows_of(workspace: Workspace, asked: Sequence[str], folder: ManifestFolder) -> dict[str, ArchivedRun]:
    by_id = {manifest.run_id: manifest for manifest in folder.manifests}
    unreadable = {Path(found.path).stem: found.message for found in folder.unreadable}
    runs = {}
    for run_id in dict.fromkeys(asked):
        if run_id in unreadable:
            raise RecordInvalid(unreadable[run_id])
        if run_id not in by_id:
            raise UnknownName.among(
                "preserved run", run_id, by_id, way_out="`runkit list` shows the preserved runs"
            )
        runs[run_id] = _archived(workspace, by_id[run_id])
    return runs


def _archived(workspace: Workspace, manifest: Manifest) -> ArchivedRun:
    reference = manifest.sealed.outcomes
    path = workspace.outcomes_path(manifest.run_id)
    if reference is not None and path.is_file() and file_digest(path).sha256 != reference.sha256:
        raise TableRefused(
            f"run {manifest.run_id}: manifests/{path.name} does not have the digest that the manifest gives; "
            "restore it from version control"
        )
    return ArchivedRun(manifest, read_outcomes(workspace, manifest))


def _replicates(spec: TableSpec, runs: Mapping[str, ArchivedRun]) -> frozenset[str]:
    control = runs[spec.control].manifest
    return frozenset(
        run_id for run_id, run in runs.items() if run_id != spec.control and is_noop(run.manifest, control)
    )


def _judged(
    workspace: Workspace, runs: Mapping[str, ArchivedRun], folder: ManifestFolder
) -> tuple[dict[str, ArchivedRun], tuple[Finding, ...]]:
    """Return *runs* with what became of their files, and what is found in them."""
    manifests = [run.manifest for run in runs.values()]
    seen = observe_runs(workspace, manifests)
    kept = [kept_run(workspace, run, one) for run, one in zip(manifests, seen, strict=True)]
    said = list(read_again(kept, cache=RereadingCache.of_user(workspace)))
    view = ArchiveView(
        manifests=folder.manifests,
        observations=dict(zip(runs, seen, strict=True)),
        rereadings=dict(zip(runs, said, strict=True)),
        outcomes={run_id: run.outcomes for run_id, run in runs.items() if run.outcomes},
        items={run_id: run.items for run_id, run in runs.items() if run.manifest.sealed.scores is not None},
        unreadable_ids=frozenset(Path(found.path).stem for found in folder.unreadable),
    )
    judged = {
        run_id: replace(run, files=_files(run, found, one.is_readable))
        for (run_id, run), found, one in zip(runs.items(), said, kept, strict=True)
    }
    return judged, gather(view)


def _files(run: ArchivedRun, found: Rereading, is_readable: bool) -> Files:
    if found.facts is None and found.trouble is None and is_readable:
        raise TableRefused(
            f"run {run.run_id}: its kept files cannot be read again, because {found.not_read_because}; "
            "install what is missing, or leave the row out"
        )
    needed = [one for one in run.manifest.sealed.artifacts if one.role not in ONLY_LOOKED_FOR]
    if not needed or not all(one.is_here for one in needed):
        return "reference"
    return "reread" if found.not_read_because is None else "lost"


def _open_warnings(
    findings: Sequence[Finding], runs: Mapping[str, ArchivedRun], folder: ManifestFolder
) -> dict[str, tuple[str, ...]]:
    """Return the codes of each row's open warnings; a row that another run supersedes has one too (RK408)."""
    codes: dict[str, set[str]] = {run_id: set() for run_id in runs}
    for finding in findings:
        if finding.run_id in codes and finding.severity == "warning" and finding.waived_because is None:
            codes[finding.run_id].add(finding.rule)
    for manifest in folder.manifests:
        for relation in manifest.relations("supersedes"):
            if relation.run_id in codes and relation.run_id != manifest.run_id:
                codes[relation.run_id].add("RK408")
    return {run_id: tuple(sorted(found)) for run_id, found in codes.items()}


def _waived_errors(
    findings: Sequence[Finding], runs: Mapping[str, ArchivedRun]
) -> dict[str, tuple[WaivedError, ...]]:
    """Return the errors of each run that a person accepted, with those that are not looked for here."""
    errors: dict[str, list[WaivedError]] = {run_id: [] for run_id in runs}
    seen = {(one.run_id, one.rule, one.place, one.message) for one in findings}
    stale = [one for one in findings if one.rule == "RK109"]
    for one in findings:
        if one.run_id in errors and one.severity == "error" and one.waived_because is not None:
            errors[one.run_id].append(WaivedError(one.rule, one.place, one.message, one.waived_because))
    for run_id, run in runs.items():
        for waiver in run.manifest.notes.waivers:
            if not is_in_effect(waiver) or rule(waiver.rule).severity != "error":
                continue
            place, message = waiver.place or "", waiver.message or ""
            is_stale = any(one.run_id == run_id and f" at {place} and " in one.message for one in stale)
            if (run_id, waiver.rule, place, message) not in seen and not is_stale:
                errors[run_id].append(WaivedError(waiver.rule, place, message, waiver.reason))
    return {run_id: tuple(found) for run_id, found in errors.items()}


def _blocking(
    findings: Sequence[Finding], runs: Mapping[str, ArchivedRun], replicates: frozenset[str]
) -> dict[str, Finding]:
    blocking: dict[str, Finding] = {}
    for finding in findings:
        if finding.run_id in runs and blocks_a_table(finding, is_replicate=finding.run_id in replicates):
            blocking.setdefault(finding.run_id, finding)
    return blocking


def _stale_or_unreadable(workspace: Workspace, name: str) -> list[Finding]:
    """Return the findings of one table; a file that cannot be read does not hide the other tables."""
    try:
        return list(_stale_files(workspace, name))
    except RecordInvalid as error:
        return [found("RK603", "", f"paper_tables/{name}.toml", f"table {name} cannot be printed: {error}")]


def _stale_files(workspace: Workspace, name: str) -> Iterator[Finding]:
    rendered = render_table(workspace, name)
    recorded = _recorded_digests(workspace.paper_tables / f"{name}.cells.json")
    for file, expected in rendered.files.items():
        path = workspace.paper_tables / file
        place = f"paper_tables/{file}"
        if not path.is_file():
            yield found("RK603", "", place, f"{place} was never printed, or was removed")
            continue
        content = _read(path, DOCUMENT_LIMIT_BYTES)
        if content != expected.encode():
            was_printed = hashlib.sha256(content).hexdigest() == recorded.get(file)
            cause = "is stale" if was_printed else "is stale or was edited by hand"
            line, difference = first_difference(content.decode("utf-8", "replace"), expected)
            yield found("RK603", "", f"{place}:{line}", f"{place} {cause}: {difference}")


def first_difference(actual: str, expected: str) -> tuple[int, str]:
    """Return the first line that differs, from 1, and what is there against what is expected."""
    here, there = actual.split("\n"), expected.split("\n")
    for number, (ours, theirs) in enumerate(zip(here, there, strict=False), start=1):
        if ours != theirs:
            return (
                number,
                f"line {number} is {_around(ours, theirs)!r}, the archive gives {_around(theirs, ours)!r}",
            )
    number = min(len(here), len(there)) + 1
    return number, f"it has {len(here)} lines, the archive gives {len(there)}"


def _around(line: str, other: str) -> str:
    differs = (index for index, (ours, theirs) in enumerate(zip(line, other, strict=False)) if ours != theirs)
    same = next(differs, min(len(line), len(other)))
    start = max(0, same - 20)
    return ("…" if start else "") + line[start : same + 30] + ("…" if len(line) > same + 30 else "")


def _recorded_digests(path: Path) -> Mapping[str, str]:
    try:
        return CellSidecar.parse(_read(path, DOCUMENT_LIMIT_BYTES), origin=path.name).files
    except (OSError, RecordInvalid):
        return {}


def _orphans(workspace: Workspace) -> Iterator[Finding]:
    known = table_names(workspace)
    for path in sorted(workspace.paper_tables.glob("*.cells.json")):
        name = path.name.removesuffix(".cells.json")
        if name not in known:
            yield found(
                "RK603", "", f"paper_tables/{path.name}",
                f"table {name} was printed and has no specification",
                way_out=f"restore paper_tables/{name}.toml, or remove the files printed from it",
            )  # fmt: skip


def _run_pdflatex(program: str, source: Path) -> None:
    options = ("-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape")
    try:
        done = subprocess.run(
            [program, *options, source.name], cwd=source.parent, env={**os.environ, "SOURCE_DATE_EPOCH": "0"},
            capture_output=True, check=False, timeout=_PDF_SECONDS, text=True, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise TableRefused(
            f"pdflatex did not finish {source.stem} within {_PDF_SECONDS:.0f} seconds"
        ) from error
    if done.returncode != 0:
        complaint = next(
            (line for line in done.stdout.splitlines() if line.startswith("!")), "no reason given"
        )
        raise TableRefused(f"pdflatex cannot compile the table {source.stem}: {complaint}")
