"""A reader sees the old file or the new one, never a part; of two writers one wins."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

import pytest

from runkit.archive.hashing import copy_hashed, file_digest
from runkit.archive.workspace import Workspace, checked_run_id
from runkit.archive.writing import publish_new, write_atomically
from runkit.errors import AlreadyExists, OutsideWorkspace, StorageFailed, UsageError


def test_a_failed_write_leaves_the_old_text_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table.tex"
    write_atomically(path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        with pytest.raises(StorageFailed, match="nothing was left behind"):
            write_atomically(path, "new" * (1 << 16))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (path.read_text(), [found.name for found in tmp_path.iterdir()]) == ("old", ["table.tex"])


def test_what_exists_is_never_published_over(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    publish_new(path, "first")
    with pytest.raises(AlreadyExists, match="exists already and is never overwritten"):
        publish_new(path, "second")
    assert (path.read_text(), [found.name for found in tmp_path.iterdir()]) == ("first", ["manifest.json"])


def test_of_many_writers_of_one_name_exactly_one_wins(tmp_path: Path) -> None:
    path, lost = tmp_path / "manifest.json", []
    barrier = threading.Barrier(16)

    def write(number: int) -> None:
        barrier.wait()
        try:
            publish_new(path, str(number))
        except AlreadyExists:
            lost.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted([*lost, int(path.read_text())]) == list(range(16))


def test_a_copy_has_the_digest_of_its_source(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(os.urandom(3 * (1 << 20) + 17))
    assert copy_hashed(source, target) == file_digest(source) == file_digest(target)


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "a\\b"])
def test_a_run_id_that_leads_out_is_refused(name: str) -> None:
    with pytest.raises(OutsideWorkspace, match="would lead out of the archive"):
        checked_run_id(name)


@pytest.mark.parametrize("name", ["", "-rf", 'a"b', "a\nb", "é", "a" * 129, ".hidden"])
def test_a_run_id_that_is_no_safe_file_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not a run id"):
        checked_run_id(name)


def test_a_link_that_leads_out_of_the_workspace_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    with pytest.raises(OutsideWorkspace, match="lies outside the workspace"):
        Workspace(root).contained(root / "out" / "x")
