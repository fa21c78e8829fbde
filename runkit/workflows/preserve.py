"""``preserve``: take a run directory into the archive, and ``note``: change what people say about it."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from runkit.archive.clock import now
from runkit.archive.code import CODE_FOLDER
from runkit.archive.hashing import file_digest
from runkit.archive.items_file import items_to_parquet
from runkit.archive.locking import Tell, say_nothing
from runkit.archive.naming import RunName, as_text, name_for, refuse_unsafe
from runkit.archive.opening import SPECIFICATION_LIMIT_BYTES, read_regular
from runkit.archive.outcomes_file import outcomes_to_parquet
from runkit.archive.reading import read_manifest, read_manifests, run_ids
from runkit.archive.scanning import suspected_secrets
from runkit.archive.store import (
    StagedFile,
    changing_in_archive,
    claimed,
    finish_staging,
    publish,
    staging,
)
from runkit.archive.taking import Storage, TakenRun, completed_by_links, take
from runkit.archive.watching import listing_of
from runkit.archive.workspace import Workspace
from runkit.archive.writing import write_atomically
from runkit.checks.gather import unaccepted_secrets
from runkit.checks.waivers import (
    Binding,
    WaiverChoice,
    assert_can_be_waived,
    bound,
    is_bound,
    with_waived,
    without,
)
from runkit.errors import RecordInvalid, RunkitError, RunUnreadable, UnknownName, UsageError
from runkit.ingest.ingested import IngestedRun
from runkit.ingest.readers import ingest, reader_for
from runkit.records.capture import HEARTBEAT_FILE
from runkit.records.finding import Finding
from runkit.records.layout import LAYOUT_FILE, WORKSPACE_FILE, Layout
from runkit.records.manifest import (
    Artifact,
    GrowingFile,
    Manifest,
    MissingArtifact,
    Notes,
    OutcomesReference,
    Relation,
    RelationKind,
    RootCause,
    RunFacts,
    SealedFacts,
    Snapshot,
    Waiver,
    status_of_snapshot,
)
from runkit.records.tablespec import spec_mapping
from runkit.render.escaping import one_line, unwanted_in_notes
from runkit.secrets.text import secrets_in


@dataclass(frozen=True)
class PreserveRequest:
    """What the caller wants kept, and how."""

    run: Path
    """The run directory."""
    run_id: str | None = None
    """None: made from the directory's name."""
    artifacts: Storage = "copy"
    reference_over: int | None = None
    """Files with more bytes than this stay where they are; logs and dumps never do. None: all are kept."""
    snapshot: bool = False
    """Take what is there now of a run that is still being written."""
    artifacts_location: str | None = None
    """For references: where the files are, in words that another reader can follow."""
    notes_file: Path | None = None
    ablates: str | None = None
    factors: Sequence[str] = ()
    reader: str | None = None
    """Name of the reader; None: the one that knows the directory."""
    layout: Layout | None = None
    """What the files of the run are, in a person's words; None: as ``runkit.toml`` says, if it does."""


def preserve(workspace: Workspace, request: PreserveRequest) -> Manifest:
    """Take the run into the archive and return its manifest.

    Facts are read from the very bytes that are kept. The run directory is only read.

    Raises:
        RunUnreadable: The directory has no readable run, or is still being written.
        AlreadyExists: The id is taken.
        StorageFailed: The disk refused; nothing half-written is left.
    """
    if not request.run.is_dir():
        raise _no_such_run(workspace, request.run)
    original_name = request.run.resolve().name
    run_id = request.run_id
    if run_id is None:
        run_id = name_for(workspace, original_name).run_id
    refuse_unsafe(workspace, run_id)
    notes = _notes_from(request.notes_file) if request.notes_file else None
    if notes is not None:
        _refuse_secrets(Notes(), notes)
    with claimed(workspace, run_id), staging(workspace) as folder:
        layout = request.layout or layout_for(workspace, request.run)
        if layout is None:
            reader_for(request.run, directory_name=original_name, name=request.reader)
        taken = take(
            request.run,
            folder,
            storage=request.artifacts,
            reference_over=request.reference_over,
            snapshot=request.snapshot,
        )
        if layout is not None:
            taken = _described(request, layout, taken, folder)
        run = _ingested(request, taken, folder, run_id, original_name)
        parquet, num_rows = _parquet(run)
        facts = _sealed(
            request, run.facts, taken, original_name, _outcomes_reference(run_id, parquet, num_rows)
        )
        manifest = Manifest.sealing(facts, _with_relation(notes or run.notes, request, run, workspace))
        files = [file for file in taken.files if taken.storage[file.path] != "reference"]
        may_share = request.artifacts == "copy"
        new = finish_staging(workspace, folder, files, may_share=may_share) if files else {}
        text = manifest.to_json()
        publish(workspace, run_id, folder if files else None, outcomes=parquet, manifest=text, new=new)
    return manifest


def layout_for(workspace: Workspace, run: Path) -> Layout | None:
    """Return the layout of ``runkit.toml`` that the run directory *run* has, or None.

    Raises:
        RecordInvalid: ``runkit.toml`` is not valid.
    """
    path = workspace.root / WORKSPACE_FILE
    if not path.is_file() or (run / LAYOUT_FILE).is_file():
        return None
    document = spec_mapping(path.read_text(encoding="utf-8", errors="replace"), origin=WORKSPACE_FILE)
    entries = document.get("layouts", [])
    origin = f"{WORKSPACE_FILE}, [[layouts]]"
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise RecordInvalid(f"{origin} should be a list of tables, each below a line [[layouts]]")
    for entry in entries:
        layout = Layout.of_mapping(entry, origin=origin)
        if layout.matches is not None and not any(True for _path in run.glob(layout.matches)):
            continue
        if layout.matches is not None or (
            layout.paths and all((run / one).is_file() for one in layout.paths)
        ):
            return layout
    return None


def _described(request: PreserveRequest, layout: Layout, taken: TakenRun, folder: Path) -> TakenRun:
    """Return *taken* with the description of its files as one file more, which is evidence as they are."""
    if request.artifacts == "reference":
        raise UsageError(
            f"the description of the files is kept with the run; write it into the run directory as "
            f"{LAYOUT_FILE} to preserve it by reference"
        )
    path = folder / LAYOUT_FILE
    if path.exists():
        raise UsageError(f"the run has a {LAYOUT_FILE} already; leave out --config, --metrics and --items")
    path.write_text(layout.to_toml(), encoding="utf-8")
    path.chmod(0o644)
    file = StagedFile(LAYOUT_FILE, file_digest(path))
    return replace(
        taken,
        files=tuple(sorted((*taken.files, file), key=lambda one: one.path)),
        storage={**taken.storage, LAYOUT_FILE: "copy"},
    )


@dataclass(frozen=True)
class Refused:
    """One directory of several that was not preserved."""

    path: Path
    reason: str
    is_preserved: bool = False
    """Whether it was taken before, so that nothing is amiss."""


def preserve_each(
    workspace: Workspace, parent: Path, request: PreserveRequest
) -> Iterator[Manifest | Refused]:
    """Take every run directory below *parent* into the archive, and yield what became of each.

    Args:
        request: How, for each of them; ``run`` and ``run_id`` are those of the directory.
    Raises:
        RunUnreadable: There is no run directory below *parent*.
    """
    if not parent.is_dir():
        raise _no_such_run(workspace, parent)
    found = list(_run_directories(workspace, parent, request))
    if not found:
        known = ", ".join(sorted(path.name for path in parent.iterdir())[:8]) or "nothing"
        raise RunUnreadable(f"no folder below {parent} holds a run that a reader knows; it holds {known}")
    for run in found:
        run_id = _id_below(workspace, parent, run)
        if workspace.manifest_path(run_id).exists():
            yield Refused(run, f"{run_id} is preserved already", is_preserved=True)
            continue
        try:
            yield preserve(workspace, replace(request, run=run, run_id=run_id))
        except RunkitError as error:
            yield Refused(run, str(error))


_DEEPEST = 6


def _run_directories(workspace: Workspace, folder: Path, request: PreserveRequest) -> Iterator[Path]:
    """Yield the folders below *folder* that are runs; what lies in a run is no run of its own."""
    waiting = [(one, 1) for one in sorted(folder.iterdir(), reverse=True) if _may_be_run(one)]
    while waiting:
        path, depth = waiting.pop()
        if _is_run(workspace, path, request):
            yield path
        elif depth < _DEEPEST:
            waiting += [(one, depth + 1) for one in sorted(path.iterdir(), reverse=True) if _may_be_run(one)]


def _may_be_run(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not path.name.startswith(".")


def _is_run(workspace: Workspace, path: Path, request: PreserveRequest) -> bool:
    if request.layout is not None and request.layout.paths:
        return all((path / one).is_file() for one in request.layout.paths)
    if layout_for(workspace, path) is not None:
        return True
    try:
        reader_for(path, directory_name=path.name, name=request.reader)
    except RunUnreadable:
        return False
    except UsageError:
        return True
    return True


def _id_below(workspace: Workspace, parent: Path, run: Path) -> str:
    """Return the run's id: its own name where that says something, else with the names above it."""
    inside = run.relative_to(parent).parts
    name = "-".join(inside)
    if len(name) < _SHORT_NAME or name.isdigit():
        name = f"{parent.resolve().name}-{name}"
    return name_for(workspace, name).run_id


_SHORT_NAME = 3


def kept_secrets(workspace: Workspace, manifest: Manifest) -> tuple[Finding, ...]:
    """Return what looks secret in the files that were kept of a run, and nobody accepted."""
    return unaccepted_secrets(manifest, suspected_secrets(workspace, manifest))


def _ingested(
    request: PreserveRequest, taken: TakenRun, folder: Path, run_id: str, original_name: str
) -> IngestedRun:
    if request.artifacts == "reference":
        run = ingest(request.run, run_id=run_id, directory_name=original_name, reader=request.reader)
    else:
        with completed_by_links(request.run, folder, taken):
            run = ingest(folder, run_id=run_id, directory_name=original_name, reader=request.reader)
    if "reference" in taken.storage.values() and listing_of(request.run) != taken.listing:
        raise RunUnreadable(f"{request.run} changed while it was read; preserve it when it is finished")
    return run


def note(
    workspace: Workspace, run_id: str, *, change: Callable[[Notes], Notes], tell: Tell = say_nothing
) -> Manifest:
    """Replace the notes of a preserved run by what *change* makes of them; sealed facts stay as they are.

    Of several that note at once, each changes what the one before it left.

    Args:
        tell: Is told who is waited for, once that takes long, and what is not protected.
    """
    read_manifest(workspace, run_id)  # a name that is no run's makes no lock
    path = workspace.manifest_path(run_id)
    with changing_in_archive(workspace, path, tell=tell):
        manifest = read_manifest(workspace, run_id)
        changed = manifest.model_copy(update={"notes": change(manifest.notes)})
        _refuse_secrets(manifest.notes, changed.notes)
        if changed != manifest:
            write_atomically(path, changed.to_json())
    return changed


def _refuse_secrets(before: Notes, after: Notes) -> None:
    found = secrets_in(after.to_json(), is_code=True)
    if found and after != before:
        raise UsageError(
            f"the notes hold what looks like a secret ({found[0].kind}), and notes are published; nothing "
            f"was "
            "noted, say it without"
        )


def changed_notes(
    notes: Notes,
    *,
    source: Path | None,
    ablates: str | None,
    factors: Sequence[str],
    relate: str | None = None,
    root_cause: RootCause | None = None,
) -> Notes:
    """Return *notes* with the keys of a TOML file replaced, a relation or a cause named.

    Args:
        ablates: The run's control; the same as *relate* with ``ablates:``.
        relate: ``KIND:RUN_ID``.
    """
    before = notes
    if source is not None:
        given = _notes_from(source)
        notes = notes.model_copy(update={key: getattr(given, key) for key in given.model_fields_set})
    if ablates is not None:
        notes = _related(notes, Relation(kind="ablates", run_id=ablates, factors=tuple(factors)))
    if relate is not None:
        notes = _related(notes, _relation(relate, factors))
    if root_cause is not None:
        notes = notes.model_copy(update={"root_cause": root_cause})
    return plainly_written(notes, before)


def plainly_written(notes: Notes, before: Notes) -> Notes:
    """Return *notes*, in which nothing that *before* lacks moves a cursor, colours or turns letters round.

    Raises:
        UsageError: A text of them does.
    """
    known = set(_texts_of(before.model_dump(mode="json")))
    for text in _texts_of(notes.model_dump(mode="json")):
        if text not in known and (found := unwanted_in_notes(text)) is not None:
            raise UsageError(
                f"the note {one_line(text[:60])!r} holds the control character {found}; write it without"
            )
    return notes


def waive(
    workspace: Workspace,
    run_id: str,
    choice: WaiverChoice,
    findings: Sequence[Finding],
    *,
    tell: Tell = say_nothing,
) -> tuple[Waiver, ...]:
    """Note that a person accepts what *choice* means of *findings*, and return the waivers that are new.

    Args:
        findings: All that is found in the run now, waivers applied.
    Raises:
        UsageError: It means none of them, or not one, or what cannot be waived.
    """
    return _rebound(
        workspace, run_id, lambda waivers: with_waived(waivers, findings, choice, run_id=run_id), tell
    ).new


def unwaive(
    workspace: Workspace,
    run_id: str,
    rule: str,
    *,
    at: str | None,
    is_every: bool = False,
    tell: Tell = say_nothing,
) -> None:
    """Remove waivers of *rule* from the notes of a run; arguments and errors as of ``checks.waivers``."""

    def change(waivers: tuple[Waiver, ...]) -> Binding:
        return Binding(without(waivers, rule, at, is_every=is_every, run_id=run_id), ())

    _rebound(workspace, run_id, change, tell)


def migrate_waivers(
    workspace: Workspace, run_id: str, findings: Sequence[Finding], *, tell: Tell = say_nothing
) -> Binding:
    """Bind the waivers of a run that name no finding, each to the one that fits; tell of the others.

    Args:
        findings: All that is found in the run now, waivers applied.
    """
    return _rebound(workspace, run_id, lambda waivers: bound(waivers, findings, run_id=run_id), tell)


def runs_to_migrate(workspace: Workspace, run_id: str | None = None) -> tuple[str, ...]:
    """Return which of all runs, or whether the one named, have a waiver that names no finding."""
    manifests = read_manifests(workspace).manifests if run_id is None else (read_manifest(workspace, run_id),)
    return tuple(
        manifest.run_id
        for manifest in manifests
        if not all(is_bound(waiver) for waiver in manifest.notes.waivers)
    )


def _rebound(
    workspace: Workspace, run_id: str, change: Callable[[tuple[Waiver, ...]], Binding], tell: Tell
) -> Binding:
    made: list[Binding] = []

    def changed(notes: Notes) -> Notes:
        made.append(change(notes.waivers))
        return notes.model_copy(update={"waivers": made[-1].waivers})

    note(workspace, run_id, change=changed, tell=tell)
    return made[-1]


def _texts_of(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        for value in document.values():
            yield from _texts_of(value)
    elif isinstance(document, (list, tuple)):
        for value in document:
            yield from _texts_of(value)


def _relation(text: str, factors: Sequence[str]) -> Relation:
    kind, colon, run_id = text.partition(":")
    if not colon or kind not in get_args(RelationKind) or (factors and kind != "ablates"):
        kinds = ", ".join(get_args(RelationKind))
        raise UsageError(
            f"--relate {text} should read KIND:RUN_ID with KIND one of {kinds}; --factor goes with ablates"
        )
    document = {"kind": kind, "run_id": run_id, "factors": list(factors)}
    return Relation.from_mapping(document, origin=f"--relate {text}")


def _related(notes: Notes, relation: Relation) -> Notes:
    """Return *notes* with *relation*, in the place of one of its kind to the same run."""
    key = (relation.kind, relation.run_id)
    others = tuple(found for found in notes.relations if (found.kind, found.run_id) != key)
    return notes.model_copy(update={"relations": (*others, relation)})


def default_name(workspace: Workspace, run: Path) -> RunName:
    """Return under which name *run* is preserved when nobody gives one, and why it is not its own.

    Raises:
        UsageError: Nothing of the directory's name can be one.
    """
    return name_for(workspace, run.resolve().name)


def _no_such_run(workspace: Workspace, run: Path) -> Exception:
    if run.exists():
        return RunUnreadable(f"{run} is a file; name the folder of the run")
    candidates = {path.name for path in workspace.runs.glob("*") if path.is_dir() and path.name[0] != "."}
    return UnknownName.among(
        "run directory", str(run), {f"{workspace.runs.name}/{name}" for name in candidates}
    )


def _parquet(run: IngestedRun) -> tuple[bytes | None, int]:
    if run.items:
        return items_to_parquet(run.items.values())
    return outcomes_to_parquet(run.outcomes) if run.outcomes else (None, 0)


def _outcomes_reference(run_id: str, parquet: bytes | None, num_rows: int) -> OutcomesReference | None:
    if parquet is None:
        return None
    digest = hashlib.sha256(parquet).hexdigest()
    return OutcomesReference(path=f"{run_id}.outcomes.parquet", sha256=digest, num_rows=num_rows)


def _sealed(
    request: PreserveRequest,
    facts: RunFacts,
    taken: TakenRun,
    original_name: str,
    outcomes: OutcomesReference | None,
) -> SealedFacts:
    has_references = "reference" in taken.storage.values()
    left_out = tuple(
        MissingArtifact(path=left.path, role="other", evidence=None, reason=left.why)
        for left in taken.left_out
    )
    said = dict(facts) | {"missing_artifacts": facts.missing_artifacts + left_out}
    snapshot = _snapshot(taken)
    if snapshot is not None:
        said["status"] = status_of_snapshot(facts.status)
    return SealedFacts(
        **said,
        artifacts=tuple(_artifact(file, taken.storage[file.path]) for file in taken.files),
        artifacts_location=request.artifacts_location if has_references else None,
        outcomes=outcomes,
        snapshot=snapshot,
        directory_name=as_text(original_name) if original_name != facts.run_id else None,
    )


def _snapshot(taken: TakenRun) -> Snapshot | None:
    if taken.being_written is None:
        return None
    growing = tuple(
        GrowingFile(path=cut.path, kept_bytes=cut.kept_bytes, seen_bytes=cut.seen_bytes)
        for cut in taken.being_written
    )
    return Snapshot(taken_at=now(), growing=growing)


def _artifact(file: StagedFile, storage: Storage) -> Artifact:
    return Artifact.model_validate(
        {
            "path": file.path,
            "role": role_of(file.path),
            "size_bytes": file.digest.size_bytes,
            "sha256": file.digest.sha256,
            "storage": storage,
        }
    )


def role_of(path: str) -> str:
    """Return what the file at *path* is in a run, told by its name."""
    name = PurePosixPath(path).name
    by_name = {
        "train.log": "log",
        "summary.log": "summary",
        "config.json": "config",
        "run.json": "capture",
        "metrics.jsonl": "metrics",
    }
    if name in by_name:
        return by_name[name]
    if name.startswith(("eval_samples_step_", "samples_")) and name.endswith(".jsonl"):
        return "dump"
    if path.startswith(f"{CODE_FOLDER}/") or name == HEARTBEAT_FILE:
        return "capture"
    if name.startswith("results_") and name.endswith(".json"):
        return "metrics"
    if PurePosixPath(path).suffix in {".safetensors", ".pt", ".ckpt", ".bin"}:
        return "checkpoint"
    return "other"


def _notes_from(path: Path) -> Notes:
    try:
        text = read_regular(path, limit=SPECIFICATION_LIMIT_BYTES).decode("utf-8")
        mapping: dict[str, Any] = tomllib.loads(text)
    except RecursionError as error:
        raise RecordInvalid(f"{path} is not valid TOML: it is nested too deeply") from error
    except ValueError as error:  # no TOML, no UTF-8, or a number with thousands of digits
        raise RecordInvalid(f"{path} is not valid TOML: {error}") from error
    for key in mapping:
        if key not in Notes.model_fields:
            raise UnknownName.among(f"note in {path} called", key, Notes.model_fields)
    notes = plainly_written(Notes.from_mapping(mapping, origin=str(path)), Notes())
    assert_can_be_waived(notes.waivers, origin=str(path))
    return notes


def _with_relation(notes: Notes, request: PreserveRequest, run: IngestedRun, workspace: Workspace) -> Notes:
    if request.ablates is None:
        if request.factors:
            raise UsageError("--factor says what an ablation changes; name its control with --ablates")
        return notes
    known = run_ids(workspace)
    if request.ablates not in known:
        raise UnknownName.among("preserved run", request.ablates, known, way_out="preserve the control first")
    relation = Relation(
        kind="ablates",
        run_id=request.ablates,
        factors=tuple(request.factors) or run.declared_factors,
    )
    return notes.model_copy(update={"relations": (*notes.relations, relation)})
