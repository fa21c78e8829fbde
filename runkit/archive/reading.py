"""Reading the archive: manifests and outcomes as records. Takes no lock and writes nothing."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self, cast

from runkit.archive.items_file import items_from_parquet
from runkit.archive.opening import MANIFEST_LIMIT_BYTES, check_size, open_regular, read_regular
from runkit.archive.outcomes_file import outcomes_from_parquet
from runkit.archive.workspace import Workspace
from runkit.errors import RecordInvalid, UnknownName
from runkit.records.format1 import items_of
from runkit.records.items import RunItems
from runkit.records.manifest import Manifest
from runkit.records.outcomes import RunOutcomes


@dataclass(frozen=True)
class UnreadableManifest:
    """A manifest file that is not a valid record."""

    path: str
    """File name inside ``manifests/``."""
    message: str


@dataclass(frozen=True)
class ManifestFolder:
    """All of ``manifests/``: what could be read, and what could not."""

    manifests: tuple[Manifest, ...]
    """Sorted by run id."""
    unreadable: tuple[UnreadableManifest, ...]
    file_ids: tuple[str, ...]
    """Names, without ``.json``, of the files that :attr:`manifests` were read from, sorted. A manifest may
    name another run."""


def run_ids(workspace: Workspace) -> tuple[str, ...]:
    """Return the ids of all runs that have a manifest, sorted."""
    return tuple(sorted(name.removesuffix(".json") for name in _manifest_names(workspace)))


def wanted_ids(present: Sequence[str], chosen: Sequence[str]) -> frozenset[str]:
    """Return the runs *chosen*, or all that are *present* when none is named.

    Raises:
        UnknownName: No such run is preserved; with the nearest id.
    """
    for run_id in chosen:
        if run_id not in present:
            way_out = "`runkit list` shows the preserved runs"
            raise UnknownName.among("preserved run", run_id, present, way_out=way_out)
    return frozenset(chosen or present)


def read_manifest(workspace: Workspace, run_id: str) -> Manifest:
    """Return the manifest of one run.

    Raises:
        UnknownName: No such run is preserved; with the nearest id.
        RecordInvalid: The file is not a valid manifest.
    """
    wanted_ids(run_ids(workspace), [run_id])
    try:
        text = manifest_text(workspace, run_id)
    except OSError as error:
        raise RecordInvalid(_not_read(f"{run_id}.json", error)) from error
    return Manifest.parse(text, origin=f"manifests/{run_id}.json")


def chosen_manifests(workspace: Workspace, chosen: Sequence[str]) -> ManifestFolder:
    """Return the manifests of the runs *chosen*, or of all; among all, a bad one does not hide the others.

    Raises:
        UnknownName: A run of *chosen* is not preserved.
        RecordInvalid: The manifest of a run of *chosen* is not valid.
    """
    if not chosen:
        return read_manifests(workspace)
    names = tuple(sorted(set(chosen)))
    return ManifestFolder(tuple(read_manifest(workspace, run_id) for run_id in names), (), names)


def manifest_text(workspace: Workspace, run_id: str) -> bytes:
    """Return the bytes of a run's manifest.

    Raises:
        OSError: It cannot be read, or is no regular file of a manifest's size.
    """
    return read_regular(workspace.manifest_path(run_id), limit=MANIFEST_LIMIT_BYTES)


def read_manifests(workspace: Workspace) -> ManifestFolder:
    """Return all manifests; a bad one is reported as such and does not hide the others."""
    with _without_collecting_cycles():
        return _read_each(workspace, lambda text, origin: Manifest.parse(bytes(text), origin=origin))


def _read_each(workspace: Workspace, parsed: Callable[[memoryview, str], Manifest]) -> ManifestFolder:
    manifests: list[Manifest] = []
    unreadable: list[UnreadableManifest] = []
    names = sorted(_manifest_names(workspace))
    if not names:
        return ManifestFolder((), (), ())
    with _ManyFiles(str(workspace.manifests)) as files:
        for name in names:
            try:
                manifests.append(parsed(files.read(name), f"manifests/{name}"))
            except RecordInvalid as error:
                unreadable.append(UnreadableManifest(name, str(error)))
            except OSError as error:
                unreadable.append(UnreadableManifest(name, _not_read(name, error)))
    bad = {one.path for one in unreadable}
    return ManifestFolder(
        tuple(sorted(manifests, key=lambda one: one.run_id)),
        tuple(unreadable),
        tuple(name.removesuffix(".json") for name in names if name not in bad),
    )


def _not_read(name: str, error: OSError) -> str:
    return f"manifests/{name} cannot be read: {error.strerror}"


@contextmanager
def _without_collecting_cycles() -> Iterator[None]:
    """Let Python not look for cycles meanwhile: records have none, and looking takes longer than reading."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_projections(workspace: Workspace) -> ManifestFolder:
    """Return what relations are judged by of all manifests, much faster than :func:`read_manifests`.

    What stands in the place of a manifest has its names and fewer fields. A manifest that lacks one of them
    is read in full, for the reason; one that is wrong in another field is not noticed.
    """
    # Only this reader needs msgspec, and it is loaded in a hundredth of a second.
    from runkit.records.projection import projection_of

    def parsed(text: memoryview, origin: str) -> Manifest:
        # A projection answers to every name that the checks of relations ask a manifest for.
        projection = cast("Manifest | None", projection_of(text))
        return projection or Manifest.parse(bytes(text), origin=origin)

    return _read_each(workspace, parsed)


class _ManyFiles:
    """Reads the files of one folder, each into the memory of the one before.

    No path is walked twice, no object of Python stands for a file, and no memory is asked for: of ten
    thousand files that is a tenth of the whole reading.
    """

    def __init__(self, folder: str) -> None:
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._memory = bytearray(1 << 20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._folder)

    def read(self, name: str) -> memoryview:
        """Return the bytes of the file *name*, which hold until the next call.

        Raises:
            OSError: It cannot be read, or is no regular file of a manifest's size.
        """
        file = open_regular(name, folder=self._folder)
        try:
            check_size(os.fstat(file).st_size, MANIFEST_LIMIT_BYTES, name)
            size = 0
            while num := os.readv(file, [memoryview(self._memory)[size:]]):
                size += num
                check_size(size, MANIFEST_LIMIT_BYTES, name)
                if size == len(self._memory):
                    self._memory = self._memory + bytearray(size)
        finally:
            os.close(file)
        return memoryview(self._memory)[:size]


def _manifest_names(workspace: Workspace) -> list[str]:
    try:
        with os.scandir(workspace.manifests) as entries:
            return [entry.name for entry in entries if entry.name.endswith(".json")]
    except FileNotFoundError:
        return []


def read_outcomes(workspace: Workspace, manifest: Manifest) -> RunOutcomes:
    """Return the per-sample outcomes of a run of format 1; empty when its manifest names none.

    Raises:
        RunUnreadable: The outcomes file is missing or torn, or has other rows than the manifest says.
    """
    named = manifest.sealed.outcomes
    if named is None or manifest.sealed.scores is not None:
        return {}
    # A projection of a manifest, which relations are judged by, has no number of rows.
    num_rows = getattr(named, "num_rows", None)
    return outcomes_from_parquet(workspace.outcomes_path(manifest.run_id), num_rows=num_rows)


def read_items(workspace: Workspace, manifest: Manifest) -> RunItems:
    """Return the item scores of a run of either format; errors as in :func:`read_outcomes`."""
    if manifest.sealed.scores is None:
        return items_of(manifest.sealed, read_outcomes(workspace, manifest))
    named = manifest.sealed.outcomes
    if named is None:
        return {}
    return items_from_parquet(
        workspace.outcomes_path(manifest.run_id), num_rows=getattr(named, "num_rows", None)
    )
