"""A pack is the same bytes for the same runs and gives back what was sealed; a bad one gives nothing."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from runkit.archive.collecting import leftovers
from runkit.archive.workspace import Workspace
from runkit.errors import AlreadyExists, RunkitError, RunUnreadable
from runkit.workflows.pack import pack, unpack, verify_pack
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.verify import verify
from tests.archive.faults import files_below
from tests.archive.test_store_promises import HOSTILE_NAMES, damage

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def packed(workspace: Workspace, cluster_run: Path, tmp_path: Path) -> tuple[Workspace, Path]:
    """A workspace with two runs, one of them with hostile names, and a pack of both."""
    preserve(workspace, PreserveRequest(cluster_run, run_id="plain"))
    for name in HOSTILE_NAMES:
        (cluster_run / "folders" / name).mkdir(parents=True)
        (cluster_run / "folders" / name / name).write_text(name)
    preserve(workspace, PreserveRequest(cluster_run, run_id="hostile"))
    path = tmp_path / "runs.tar.zst"
    pack(workspace, (), to=path)
    return workspace, path


@pytest.fixture
def other(tmp_path: Path) -> Workspace:
    """An empty workspace to unpack into."""
    root = tmp_path / "other"
    root.mkdir()
    return Workspace(root)


def contents(workspace: Workspace) -> dict[str, bytes | None]:
    return {
        name: content
        for name, (_mode, content) in files_below(workspace.root).items()
        if ".objects" not in name and content is not None
    }


def members_of(path: Path) -> Members:
    text = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
    with tarfile.open(fileobj=io.BytesIO(text)) as tar:
        return [(one, file.read() if (file := tar.extractfile(one)) else b"") for one in tar.getmembers()]


def write_members(path: Path, members: Members) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    path.write_bytes(zstandard.ZstdCompressor().compress(buffer.getvalue()))


def test_what_is_unpacked_is_what_was_packed(packed: tuple[Workspace, Path], other: Workspace) -> None:
    workspace, path = packed
    assert verify_pack(path)[0] == 2
    report = unpack(other, path)
    assert (report.taken, report.already_here) == (("hostile", "plain"), ())
    assert contents(other) == contents(workspace)
    assert (verify(other).findings, leftovers(other)) == ((), ())
    assert unpack(other, path).already_here == ("hostile", "plain")


def test_equal_runs_give_equal_bytes_whatever_their_dates_and_modes(
    packed: tuple[Workspace, Path], other: Workspace, tmp_path: Path
) -> None:
    _workspace, path = packed
    unpack(other, path)
    for file in other.root.rglob("*"):
        if file.is_file():
            file.chmod(0o600)
    again = tmp_path / "again.tar.zst"
    pack(other, ("plain", "hostile", "plain"), to=again)
    assert again.read_bytes() == path.read_bytes()


def test_tar_alone_makes_a_workspace_of_a_pack(packed: tuple[Workspace, Path], other: Workspace) -> None:
    if shutil.which("zstd") is None or shutil.which("tar") is None:
        pytest.skip("tar or zstd is not installed")
    subprocess.run(["tar", "--zstd", "-xf", packed[1], "-C", other.root], check=True)
    assert contents(other) == contents(packed[0])
    assert verify(other).findings == ()


def test_an_existing_file_is_never_overwritten(packed: tuple[Workspace, Path]) -> None:
    workspace, path = packed
    before = path.read_bytes()
    assert pack(workspace, (), to=path).size_bytes == len(before)
    with pytest.raises(AlreadyExists, match="exists with other bytes and is never overwritten"):
        pack(workspace, ("plain",), to=path)
    assert (path.read_bytes(), [one.name for one in path.parent.glob("*runs*")]) == (before, [path.name])


def test_a_damaged_run_is_not_packed(packed: tuple[Workspace, Path], tmp_path: Path) -> None:
    workspace, _path = packed
    damage(workspace.preserved_path("plain") / "summary.log", 3)
    with pytest.raises(RunUnreadable, match=r"summary\.log has sha256 .*, the manifest says "):
        pack(workspace, ("plain",), to=tmp_path / "bad.tar.zst")
    (workspace.preserved_path("plain") / "summary.log").unlink()
    with pytest.raises(RunUnreadable, match=r"summary\.log is not there"):
        pack(workspace, ("plain",), to=tmp_path / "bad.tar.zst")
    assert list(tmp_path.glob("*bad*")) == []


def test_another_run_of_the_same_name_is_refused_and_nothing_is_taken(
    packed: tuple[Workspace, Path], other: Workspace, cluster_run: Path
) -> None:
    (cluster_run / "more.txt").write_text("another run")
    preserve(other, PreserveRequest(cluster_run, run_id="plain"))
    before = contents(other)
    with pytest.raises(AlreadyExists, match="run 'plain' is preserved here with another seal"):
        unpack(other, packed[1])
    assert contents(other) == before


def renamed(old: str, new: str) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        for member, _content in members:
            member.name = member.name.replace(old, new)
        return members

    return change


def with_manifest(change: Callable[[dict[str, object]], None]) -> Callable[[Members], Members]:
    def changed(members: Members) -> Members:
        member, content = members[0]
        document = json.loads(content)
        change(document)
        content = json.dumps(document).encode()
        member.size = len(content)
        return [(member, content), *members[1:]]

    return changed


def into_a_link(members: Members) -> Members:
    member, _content = members[-1]
    member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
    return [*members[:-1], (member, b"")]


def one_bit(members: Members) -> Members:
    member, content = members[-1]
    return [*members[:-1], (member, bytes([content[0] ^ 1]) + content[1:])]


def _set_path(document: dict, path: str) -> None:  # type: ignore[type-arg]
    from runkit.records.record import canonical_digest

    document["sealed"]["artifacts"][-1]["path"] = path
    document["seal"]["digest"] = canonical_digest(document["sealed"])


BAD = {
    "a name that climbs out": renamed("preserved_runs/hostile", "../../preserved_runs/hostile"),
    "an absolute name": renamed("preserved_runs/hostile", "/preserved_runs/hostile"),
    "another run's folder": renamed("preserved_runs/hostile", "preserved_runs/plain"),
    "a link": into_a_link,
    "one bit": one_bit,
    "a missing file": lambda members: members[:-1],
    "a file too much": lambda members: [*members, members[-1]],
    "another order": lambda members: [*members[:2], *reversed(members[2:])],
    "an edited seal": with_manifest(lambda document: document["seal"].update(digest="0" * 64)),  # type: ignore[attr-defined]
    "edited facts": with_manifest(lambda document: document["sealed"].update(duration_seconds=1.0)),  # type: ignore[attr-defined]
    "a path that climbs out, sealed": with_manifest(lambda document: _set_path(document, "../../../x")),
    "an absolute path, sealed": with_manifest(lambda document: _set_path(document, "/tmp/x")),
    "a path below a file, sealed": with_manifest(lambda document: _set_path(document, "summary.log/x")),
    "a run id that climbs out": renamed("manifests/hostile", "manifests/../x"),
    "nothing": lambda members: [],
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_pack_gives_nothing(packed: tuple[Workspace, Path], other: Workspace, name: str) -> None:
    _workspace, path = packed
    write_members(path, BAD[name](members_of(path)))
    outside = files_below(other.root.parent)
    with pytest.raises(RunkitError) as caught:
        unpack(other, path)
    assert "\n" not in str(caught.value)
    assert files_below(other.root.parent) == outside


def test_a_torn_pack_and_one_that_is_none_are_told(packed: tuple[Workspace, Path], other: Workspace) -> None:
    path = packed[1]
    whole = path.read_bytes()
    for size_bytes in [0, 1, 20, *range(100, len(whole) - 1, len(whole) // 7)]:
        path.write_bytes(whole[:size_bytes])
        with pytest.raises(RunUnreadable, match=r"is no (whole )?pack"):
            unpack(other, path)
    path.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(RunUnreadable, match="is no pack"):
        unpack(other, path)
    assert contents(other) == {}


@pytest.mark.seed
def test_the_seed_runs_fit_into_half_a_megabyte(
    workspace: Workspace, seed_runs: Path, tmp_path: Path
) -> None:
    for run in sorted(seed_runs.iterdir()):
        preserve(workspace, PreserveRequest(run, artifacts="link"))
    report = pack(workspace, (), to=tmp_path / "seed.tar.zst")
    assert len(report.run_ids) == 5
    assert report.num_bytes > 90_000_000
    assert report.size_bytes < 500_000
