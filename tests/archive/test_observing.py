"""What lies on the disk is told as it is; links are never followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from runkit.archive.observing import observe_runs
from runkit.archive.workspace import Workspace
from runkit.records.manifest import Manifest
from runkit.records.observation import FileObservation
from runkit.workflows.preserve import PreserveRequest, preserve

LOG = "inner/train.log"


@pytest.fixture
def preserved(workspace: Workspace, cluster_run: Path) -> tuple[Workspace, Manifest, Path]:
    manifest = preserve(workspace, PreserveRequest(cluster_run))
    return workspace, manifest, workspace.preserved_path(manifest.run_id)


def test_an_untouched_run_is_seen_as_its_manifest_says(preserved: tuple[Workspace, Manifest, Path]) -> None:
    workspace, manifest, _folder = preserved
    (seen,) = observe_runs(workspace, [manifest])
    assert dict(seen.artifacts) == {
        file.path: FileObservation("file", file.size_bytes, file.sha256) for file in manifest.sealed.artifacts
    }
    assert (seen.unlisted, seen.num_not_checked) == ((), 0)


def test_without_rehash_sizes_are_seen_and_hashes_are_not(
    preserved: tuple[Workspace, Manifest, Path],
) -> None:
    workspace, manifest, _folder = preserved
    (seen,) = observe_runs(workspace, [manifest], rehash=False)
    assert {found.sha256 for found in seen.artifacts.values()} == {None}
    assert seen.rehashed is False


def test_a_missing_file_an_extra_one_and_a_linked_one_are_told_apart(
    preserved: tuple[Workspace, Manifest, Path],
) -> None:
    workspace, manifest, folder = preserved
    (folder / "summary.log").unlink()
    (folder / LOG).rename(folder / "inner" / "moved.log")
    (folder / LOG).symlink_to(folder / "inner" / "moved.log")
    (seen,) = observe_runs(workspace, [manifest])
    assert seen.artifacts["summary.log"] == FileObservation("missing")
    assert seen.artifacts[LOG] == FileObservation("link")
    assert seen.unlisted == ("inner/moved.log",)


def test_a_linked_folder_is_no_folder_of_the_run(preserved: tuple[Workspace, Manifest, Path]) -> None:
    workspace, manifest, folder = preserved
    elsewhere = (folder / "inner").rename(workspace.root / "elsewhere")
    (folder / "inner").symlink_to(elsewhere)
    (seen,) = observe_runs(workspace, [manifest])
    assert seen.artifacts[LOG] == FileObservation("link")
    assert seen.unlisted == ("inner",)


def test_referenced_files_are_counted_as_not_checked_until_they_are_at_hand(
    workspace: Workspace, cluster_run: Path
) -> None:
    manifest = preserve(workspace, PreserveRequest(cluster_run, artifacts="reference"))
    (seen,) = observe_runs(workspace, [manifest])
    assert (dict(seen.artifacts), seen.num_not_checked) == ({}, len(manifest.sealed.artifacts))
    (seen,) = observe_runs(workspace, [manifest], references=cluster_run.parent)
    assert seen.num_not_checked == 0
    assert seen.artifacts[LOG].kind == "file"
