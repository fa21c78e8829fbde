"""Packs and archives of others take no more than they say, and one bad object hides no good run."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from typer.testing import CliRunner

from runkit.archive.outcomes_file import COLUMNS, outcomes_from_parquet
from runkit.archive.packing import add_run, compressed
from runkit.archive.reading import read_manifest
from runkit.archive.remote import RemoteArchive
from runkit.archive.workspace import Workspace
from runkit.cli.app import app
from runkit.errors import RunUnreadable, StorageFailed
from runkit.workflows.pack import pack, unpack, verify_pack
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.remote import pull, push, verify_remote


@pytest.fixture
def other(tmp_path: Path) -> Workspace:
    root = tmp_path / "other"
    root.mkdir()
    return Workspace(root)


def test_a_small_pack_of_zeros_is_not_unpacked_unasked(
    workspace: Workspace, other: Workspace, cluster_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runkit.archive.packing._LEAST_LIMIT_BYTES", 1 << 20)
    (cluster_run / "zeros.bin").write_bytes(bytes(32 << 20))
    preserve(workspace, PreserveRequest(cluster_run, run_id="zeros"))
    path = tmp_path / "zeros.tar.zst"
    pack(workspace, (), to=path)
    for refused in (lambda: unpack(other, path), lambda: verify_pack(path)):
        with pytest.raises(
            RunUnreadable, match="may be unpacked; if you trust it, allow more with --max-size"
        ):
            refused()
    assert not other.preserved_runs.exists()
    command = ["unpack", str(path), "--max-size", "64MiB", "--workspace", str(other.root)]
    assert CliRunner().invoke(app, command).exit_code == 0


@pytest.mark.parametrize(
    "member",
    [(tarfile.XHDTYPE, 8 << 30), (tarfile.XGLTYPE, 512), (tarfile.GNUTYPE_LONGNAME, 8 << 30),
     (tarfile.GNUTYPE_SPARSE, 512), (tarfile.SYMTYPE, 0), (tarfile.DIRTYPE, 0), (tarfile.CHRTYPE, 0)],
)  # fmt: skip
def test_what_is_no_plain_file_is_refused_before_it_is_read(
    tmp_path: Path, member: tuple[bytes, int]
) -> None:
    header = tarfile.TarInfo("manifests/x.json")
    header.type, header.size = member
    path = tmp_path / "bad.tar.zst"
    path.write_bytes(zstandard.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)))
    with pytest.raises(RunUnreadable, match="is no pack"):
        verify_pack(path)


def test_rows_are_counted_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "few.parquet"
    table = pa.table({name: pa.array(["x"]).take(pa.array([0] * 1_000)) for name in COLUMNS})
    pq.write_table(table, path)
    with pytest.raises(RunUnreadable, match=r"has 1,000 rows, the manifest says 3$"):
        outcomes_from_parquet(path, num_rows=3)
    buffer = io.BytesIO()
    pq.write_table(pa.table({name: pa.array([1]) for name in COLUMNS}), buffer)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(RunUnreadable, match="is not a readable Parquet file"):
        outcomes_from_parquet(path)


def test_one_bad_object_hides_neither_the_other_runs_nor_the_other_objects(
    workspace: Workspace, other: Workspace, cluster_run: Path, tmp_path: Path
) -> None:
    first = preserve(workspace, PreserveRequest(cluster_run, run_id="a"))
    (cluster_run / "more.txt").write_text("only here")
    second = preserve(workspace, PreserveRequest(cluster_run, run_id="b"))
    (cluster_run / "more.txt").unlink()
    (cluster_run / "third.txt").write_text("and this")
    preserve(workspace, PreserveRequest(cluster_run, run_id="c"))
    far = tmp_path / "far"
    url = f"file://{far}"
    push(workspace, url)
    [own] = [one for one in second.sealed.artifacts if one.path == "more.txt"]
    (far / "objects" / own.sha256[:2] / own.sha256).unlink()
    (far / "manifests" / "d.json").write_text("[" * 3000)
    (far / "manifests" / "no run id!.json").write_text("")
    report = verify_remote(url)
    assert (report.num_runs, report.num_damaged, len(report.damaged)) == (4, 2, 2)
    pulled = CliRunner().invoke(app, ["pull", url, "--workspace", str(other.root)])
    assert pulled.exit_code == 2
    assert "took in a\ntook in c\n" in pulled.stdout
    assert pulled.stderr.count("runkit: not taken: ") == 2
    with pytest.raises(StorageFailed):
        pull(other, url, ("b",))
    assert first.run_id == "a"


def test_a_push_that_fails_leaves_nothing_and_one_that_was_killed_is_tidied(
    workspace: Workspace, cluster_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preserve(workspace, PreserveRequest(cluster_run, run_id="a"))
    far = tmp_path / "far"
    url = f"file://{far}"
    remote = RemoteArchive(url)
    monkeypatch.setattr(type(remote._fs), "mv", _refuse)
    with pytest.raises(StorageFailed):
        push(workspace, url)
    monkeypatch.undo()
    assert list(far.rglob("*.tmp")) == []
    push(workspace, url)
    assert list(far.rglob("*.tmp")) == []


def _refuse(*_: object, **__: object) -> None:
    raise OSError("no")


def test_every_damaged_file_of_a_pack_is_told_and_none_of_it_is_taken(
    workspace: Workspace, other: Workspace, cluster_run: Path, tmp_path: Path
) -> None:
    preserve(workspace, PreserveRequest(cluster_run, run_id="run"))
    kept = sorted(workspace.preserved_path("run").rglob("*.jsonl"))[:2]
    written = {path: path.read_bytes() for path in kept}
    path = tmp_path / "bad.tar.zst"
    with path.open("xb") as file, compressed(file) as writer:
        for one in kept:
            one.chmod(0o644)
            one.write_bytes(written[one].swapcase())
        add_run(writer, workspace, read_manifest(workspace, "run"))
    done = CliRunner().invoke(app, ["verify", "--at", str(path)])
    assert done.exit_code == 1
    told = done.stdout.splitlines()
    assert [line.split(": ")[1].split()[0] for line in told[:-1]] == [f"inner/{one.name}" for one in kept]
    assert told[-1].endswith(" hashed: 2 files damaged")
    with pytest.raises(RunUnreadable, match="nothing was taken"):
        unpack(other, path)
    assert not other.manifests.exists()
