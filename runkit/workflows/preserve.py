"""``preserve``: take a run directory into the archive, and ``note``: change what people say about it."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from runkit.archive.capture import now
from runkit.archive.code import CODE_FOLDER
from runkit.archive.naming import RunName, as_text, name_for, refuse_unsafe
from runkit.archive.outcomes_file import outcomes_to_parquet
from runkit.archive.reading import read_manifest, run_ids
from runkit.archive.store import StagedFile, claimed, finish_staging, publish, staging
from runkit.archive.taking import Storage, TakenRun, completed_by_links, take
from runkit.archive.watching import listing_of
from runkit.archive.workspace import Workspace
from runkit.archive.writing import write_atomically
from runkit.errors import RecordInvalid, RunUnreadable, UnknownName, UsageError
from runkit.ingest.ingested import IngestedRun
from runkit.ingest.readers import ingest, reader_for
from runkit.records.capture import HEARTBEAT_FILE
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
    StatusFact,
    Waiver,
)


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
    with claimed(workspace, run_id), staging(workspace) as folder:
        reader_for(request.run, directory_name=original_name, name=request.reader)
        taken = take(
            request.run,
            folder,
            storage=request.artifacts,
            reference_over=request.reference_over,
            snapshot=request.snapshot,
        )
        run = _ingested(request, taken, folder, run_id, original_name)
        parquet, num_rows = outcomes_to_parquet(run.outcomes) if run.outcomes else (None, 0)
        facts = _sealed(
            request, run.facts, taken, _outcomes_reference(run_id, parquet, num_rows), original_name
        )
        manifest = Manifest.sealing(facts, _with_relation(notes or run.notes, request, run, workspace))
        files = [file for file in taken.files if taken.storage[file.path] != "reference"]
        may_share = request.artifacts == "copy"
        new = finish_staging(workspace, folder, files, may_share=may_share) if files else {}
        text = manifest.to_json()
        publish(workspace, run_id, folder if files else None, outcomes=parquet, manifest=text, new=new)
    return manifest


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


def note(workspace: Workspace, run_id: str, *, change: Callable[[Notes], Notes]) -> Manifest:
    """Replace the notes of a preserved run by what *change* makes of them; sealed facts stay as they are."""
    manifest = read_manifest(workspace, run_id)
    changed = manifest.model_copy(update={"notes": change(manifest.notes)})
    write_atomically(workspace.manifest_path(run_id), changed.to_json())
    return changed


def changed_notes(
    notes: Notes,
    *,
    source: Path | None,
    ablates: str | None,
    factors: Sequence[str],
    waive: tuple[str, str] | None,
    relate: str | None = None,
    root_cause: RootCause | None = None,
) -> Notes:
    """Return *notes* with the keys of a TOML file replaced, a relation or cause named, a finding waived.

    Args:
        ablates: The run's control; the same as *relate* with ``ablates:``.
        relate: ``KIND:RUN_ID``.
    """
    if source is not None:
        given = _notes_from(source)
        notes = notes.model_copy(update={key: getattr(given, key) for key in given.model_fields_set})
    if ablates is not None:
        notes = _related(notes, Relation(kind="ablates", run_id=ablates, factors=tuple(factors)))
    if relate is not None:
        notes = _related(notes, _relation(relate, factors))
    if waive is not None:
        waiver = Waiver.from_mapping({"rule": waive[0], "reason": waive[1]}, origin="--waive")
        notes = notes.model_copy(update={"waivers": (*notes.waivers, waiver)})
    if root_cause is not None:
        notes = notes.model_copy(update={"root_cause": root_cause})
    return notes


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


def _outcomes_reference(run_id: str, parquet: bytes | None, num_rows: int) -> OutcomesReference | None:
    if parquet is None:
        return None
    digest = hashlib.sha256(parquet).hexdigest()
    return OutcomesReference(path=f"{run_id}.outcomes.parquet", sha256=digest, num_rows=num_rows)


def _sealed(
    request: PreserveRequest,
    facts: RunFacts,
    taken: TakenRun,
    outcomes: OutcomesReference | None,
    original_name: str,
) -> SealedFacts:
    has_references = "reference" in taken.storage.values()
    left_out = tuple(
        MissingArtifact(path=left.path, role="other", evidence=None, reason=left.why)
        for left in taken.left_out
    )
    said = dict(facts) | {"missing_artifacts": facts.missing_artifacts + left_out}
    snapshot = _snapshot(taken)
    if snapshot is not None:
        said["status"] = _still_going(facts.status)
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


def _still_going(status: StatusFact) -> StatusFact:
    """Return *status* with the reason that its log ends where it does: nobody cut it off but us."""
    if status.value != "truncated":
        return status
    return status.model_copy(update={"reason": "a snapshot of a run that was still being written"})


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
        mapping: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecordInvalid(f"{path} is not valid TOML: {error}") from error
    for key in mapping:
        if key not in Notes.model_fields:
            raise UnknownName.among(f"note in {path} called", key, Notes.model_fields)
    return Notes.from_mapping(mapping, origin=str(path))


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
