"""Runs survive the way to another place and back; there is a real S3 server, a folder, and memory."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from runkit.archive.collecting import leftovers
from runkit.archive.remote import RemoteArchive
from runkit.archive.workspace import Workspace
from runkit.errors import AlreadyExists, RunUnreadable, StorageFailed, UnknownName, UsageError
from runkit.workflows.preserve import PreserveRequest, note, preserve
from runkit.workflows.remote import pull, push, verify_remote
from runkit.workflows.verify import verify
from tests.archive.test_packing import contents
from tests.archive.test_store_promises import HOSTILE_NAMES, damage
from tests.processes import PATIENCE_SECONDS, until


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of an S3 server of our own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: _is_open(port), of=server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(PATIENCE_SECONDS)


def _is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.fixture(params=["s3", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new empty place of each kind."""
    if request.param == "file":
        return f"file://{tmp_path}/far/away"
    if request.param == "memory":
        return f"memory://{uuid.uuid4().hex}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("s3_server"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    bucket = f"runs-{uuid.uuid4().hex}"
    fsspec.filesystem("s3").mkdir(bucket)
    return f"s3://{bucket}/archive"


@pytest.fixture
def other(tmp_path: Path) -> Workspace:
    root = tmp_path / "other"
    root.mkdir()
    return Workspace(root)


def objects_at(url: str) -> dict[str, str]:
    """Return the digest in the name of each object to its path."""
    fs, root = fsspec.core.url_to_fs(url)
    fs.invalidate_cache()
    return {str(path).rpartition("/")[2]: str(path) for path in fs.find(f"{root}/objects")}


def overwrite(url: str, path: str, content: bytes) -> None:
    fs, _root = fsspec.core.url_to_fs(url)
    fs.pipe_file(path, content)
    fs.invalidate_cache()


def test_runs_come_back_as_they_were(
    workspace: Workspace, other: Workspace, cluster_run: Path, url: str
) -> None:
    preserve(workspace, PreserveRequest(cluster_run, run_id="plain"))
    for name in HOSTILE_NAMES:
        (cluster_run / "folders" / name).mkdir(parents=True)
        (cluster_run / "folders" / name / name).write_text("equal bytes")
    preserve(workspace, PreserveRequest(cluster_run, run_id="hostile"))
    report = push(workspace, url)
    assert (report.pushed, report.already_there, report.num_not_sent) == (("hostile", "plain"), (), 0)
    assert len(objects_at(url)) == report.num_files
    again = push(workspace, url)
    assert (again.pushed, again.already_there, again.num_files) == ((), ("hostile", "plain"), 0)
    assert verify_remote(url).damaged == ()
    assert pull(other, url, ("plain",)).taken == ("plain",)
    assert pull(other, url).taken == ("hostile",)
    assert contents(other) == contents(workspace)
    assert (verify(other).findings, leftovers(other)) == ((), ())


def test_one_changed_byte_on_the_other_side_is_found_and_not_taken_in(
    workspace: Workspace, other: Workspace, cluster_run: Path, url: str
) -> None:
    manifest = preserve(workspace, PreserveRequest(cluster_run, run_id="mine"))
    push(workspace, url)
    artifact = manifest.sealed.artifacts[0]
    whole = (cluster_run / artifact.path).read_bytes()
    path = objects_at(url)[artifact.sha256]
    overwrite(url, path, bytes([whole[0] ^ 1]) + whole[1:])
    [sentence] = verify_remote(url).damaged
    assert re.search(rf"mine\.json: {re.escape(artifact.path)} has sha256 .*, the manifest says ", sentence)
    with pytest.raises(RunUnreadable, match="nothing was taken"):
        pull(other, url)
    assert contents(other) == {}
    overwrite(url, path, whole[:-1])
    assert push(workspace, url).num_files == 1
    assert verify_remote(url).damaged == ()


def test_a_damaged_file_of_ours_is_not_sent_and_its_run_gets_no_manifest_there(
    workspace: Workspace, cluster_run: Path, url: str
) -> None:
    preserve(workspace, PreserveRequest(cluster_run, run_id="mine"))
    damage(workspace.preserved_path("mine") / "summary.log", 3)
    with pytest.raises(RunUnreadable, match="is not what was sealed, so it was not sent"):
        push(workspace, url)
    assert RemoteArchive(url).run_ids() == ()


def test_another_seal_is_refused_and_other_notes_are_kept_until_told(
    workspace: Workspace, other: Workspace, cluster_run: Path, url: str
) -> None:
    preserve(workspace, PreserveRequest(cluster_run, run_id="mine"))
    push(workspace, url)
    there = RemoteArchive(url).manifest("mine")
    note(workspace, "mine", change=lambda notes: notes.model_copy(update={"title": "a better title"}))
    assert push(workspace, url).other_notes == ("mine",)
    assert RemoteArchive(url).manifest("mine") == there
    assert push(workspace, url, replace_notes=True).other_notes == ()
    assert b"a better title" in RemoteArchive(url).manifest("mine")
    (cluster_run / "more.txt").write_text("another run")
    preserve(other, PreserveRequest(cluster_run, run_id="mine"))
    with pytest.raises(AlreadyExists, match="with another seal"):
        push(other, url, replace_notes=True)
    with pytest.raises(AlreadyExists, match="with another seal"):
        pull(other, url)


def test_what_another_process_sends_meanwhile_is_not_written_over(
    workspace: Workspace, other: Workspace, cluster_run: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    preserve(workspace, PreserveRequest(cluster_run, run_id="mine"))
    send = RemoteArchive.put_object
    (cluster_run / "more.txt").write_text("another run")
    preserve(other, PreserveRequest(cluster_run, run_id="mine"))

    def while_another_pushes(remote: RemoteArchive, path: Path, sha256: str, size_bytes: int) -> None:
        monkeypatch.setattr(RemoteArchive, "put_object", send)
        push(other, url)
        send(remote, path, sha256, size_bytes)

    monkeypatch.setattr(RemoteArchive, "put_object", while_another_pushes)
    with pytest.raises(AlreadyExists, match="with another seal"):
        push(workspace, url)
    assert RemoteArchive(url).manifest("mine") == other.manifest_path("mine").read_bytes()


def test_large_files_by_reference_can_go_there_without_coming_here(
    workspace: Workspace, other: Workspace, cluster_run: Path, url: str
) -> None:
    checkpoint = cluster_run / "inner" / "checkpoint.pt"
    checkpoint.write_bytes(bytes(50_000))
    manifest = preserve(
        workspace, PreserveRequest(cluster_run, reference_over=40_000, artifacts_location=url)
    )
    digest = next(one.sha256 for one in manifest.sealed.artifacts if one.storage == "reference")
    assert push(workspace, url).num_not_sent == 1
    assert push(workspace, url, references=cluster_run.parent).num_not_sent == 0
    assert digest in objects_at(url)
    pull(other, url)
    assert (verify(other).findings, verify(other).num_not_checked) == ((), 1)


def test_what_cannot_be_reached_is_one_error(workspace: Workspace, cluster_run: Path, tmp_path: Path) -> None:
    preserve(workspace, PreserveRequest(cluster_run, run_id="mine"))
    with pytest.raises(UsageError, match="nosuch://x cannot be opened: Protocol not known: nosuch"):
        push(workspace, "nosuch://x")
    with pytest.raises(UsageError, match="'somewhere' is no URL"):
        push(workspace, "somewhere")
    with pytest.raises(UnknownName, match="there is no run at memory://empty 'mine'"):
        pull(workspace, "memory://empty", ("mine",))
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match=r"file://.*/file"):
        push(workspace, f"file://{tmp_path}/file")
