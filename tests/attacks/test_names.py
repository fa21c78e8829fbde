"""Names of runs and of files in them: what is kept validates, no two names are one id, holes stay holes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runkit.archive.hashing import copy_hashed, file_digest
from runkit.archive.naming import name_for, repaired_name
from runkit.archive.workspace import Workspace, checked_run_id
from runkit.errors import RunkitError, UsageError
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.validate import validate

LOG = "==== Config ====\nlr: 0.1\n\nStep 20/20 | Loss (avg over last 20): 1.0\n"


def a_run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "train.log").write_text(LOG)
    return folder


def errors(workspace: Workspace) -> list[tuple[str, str]]:
    """Return what is wrong with the archive, apart from how the small run ended."""
    found = validate(workspace).findings
    return [(one.rule, one.place) for one in found if one.severity == "error" and one.rule != "RK301"]


@pytest.mark.parametrize(
    ("name", "run_id"),
    [
        ("实验一", "ShiYanYi-2dac6e5b"),
        ("β=0.1", "v-0.1-0bd00ba5"),
        ("γ=0.1", "g-0.1-1e342438"),
        ("ünï cødé 实验", "uni-code-ShiYan-95adde54"),
        ("con", "run-con-1143da2b"),
        ("nul.txt", "run-nul.txt-7f3cbdd5"),
        ("dot.", "dot-d65b1836"),
        ("-rf", "rf-686c39ac"),
        ("run.json", "run.json"),
        ("run.outcomes", "run.outcomes"),
        ("phase1_20251116_201212", "phase1_20251116_201212"),
        ("a" * 128, "a" * 128),
        ("a" * 200, f"{'a' * 119}-c2a908d9"),
        ("___", "run-bda25155"),
    ],
)
def test_an_id_is_spelled_from_the_name_and_tells_it_from_others(name: str, run_id: str) -> None:
    found = repaired_name(name)
    assert (found.run_id, found.because is None) == (run_id, run_id == name)
    assert checked_run_id(found.run_id) == run_id


@given(st.lists(st.text(min_size=1, max_size=40), min_size=2, max_size=2, unique=True))
def test_different_names_without_quotes_have_different_ids(names: list[str]) -> None:
    ids = []
    for name in names:
        try:
            ids.append(repaired_name(name.translate(dict.fromkeys(map(ord, "\"'`“”‘’«»"), "_")) + "x").run_id)
        except UnicodeEncodeError:
            return  # no name that a file can have
    plain = [name.translate(dict.fromkeys(map(ord, "\"'`“”‘’«»"), "_")) for name in names]
    assert (ids[0] == ids[1]) == (plain[0] == plain[1])


def test_names_that_differ_in_case_or_quotes_only_are_kept_apart_and_the_change_is_said(
    workspace: Workspace,
) -> None:
    for name in ("Foo", "foo", 'a"b', "ab"):
        run = a_run(workspace.runs / name)
        done = subprocess.run(
            [sys.executable, "-m", "runkit", "preserve", str(run), "--workspace", str(workspace.root)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stderr == SAID[name]
    kept = {path.name: path for path in workspace.preserved_runs.iterdir() if path.name[0] != "."}
    assert len({name.casefold() for name in kept}) == 4
    assert errors(workspace) == []
    again = PreserveRequest(workspace.runs / 'a"b')
    with pytest.raises(RunkitError, match=r"already preserved in .* under another id with --run-id"):
        preserve(workspace, again)


SAID = {
    "Foo": "",
    "foo": "kept as foo-2c26b46b, because some systems cannot tell it from the preserved run Foo, which "
    "differs in case only; choose another name with --run-id\n",
    'a"b': "kept as ab, because a run id has no quotes; choose another name with --run-id\n",
    "ab": "kept as ab-fb8e20fc, because a run id has no quotes, and without them ab is another run; "
    "choose another name with --run-id\n",
}


def test_the_directory_s_own_name_is_sealed_when_the_run_has_another_one(workspace: Workspace) -> None:
    sealed = preserve(workspace, PreserveRequest(a_run(workspace.runs / "实验"))).sealed
    assert sealed.directory_name == "实验"
    raw = a_run(Path(os.fsdecode(os.fsencode(workspace.runs) + b"/caf\xe9")))
    assert preserve(workspace, PreserveRequest(raw)).sealed.directory_name == r"caf\xe9"
    assert preserve(workspace, PreserveRequest(a_run(workspace.runs / "plain"))).sealed.directory_name is None
    assert errors(workspace) == []


@pytest.mark.parametrize("run_id", ["con", "x.", "README.md", "FOO"])
def test_an_id_that_not_every_system_can_have_is_refused_with_the_way_out(
    run_id: str, workspace: Workspace
) -> None:
    preserve(workspace, PreserveRequest(a_run(workspace.runs / "foo")))
    with pytest.raises(UsageError, match=r"cannot be a new run id: .*; choose another one with --run-id$"):
        preserve(workspace, PreserveRequest(workspace.runs / "foo", run_id=run_id))


def test_a_name_of_which_nothing_is_left_names_the_option(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match=r"choose one with --run-id$"):
        name_for(workspace, '""')


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=("Cs",))
    | st.sampled_from("\\:.\n\r\t C~$*\x1b\x7f"),
    min_size=1,
    max_size=20,
).filter(lambda name: name not in {".", "..", "train.log"} and len(name.encode()) < 200)


@settings(max_examples=40)
@example(names=["a\\b", "C:evil", "new\nline", "d:", "con", "x.json", "run.json"])
@given(names=st.lists(NAMES, min_size=1, max_size=6, unique=True))
def test_whatever_is_preserved_validates(names: list[str]) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        workspace = Workspace(root)
        run = a_run(root / "runs" / "mine")
        for number, name in enumerate(name for name in names if name not in READ_BY_US):
            if number % 2:
                (run / name).write_text(str(number))
            else:
                (run / name).mkdir()
                (run / name / name).write_text(str(number))
        manifest = preserve(workspace, PreserveRequest(run))
        assert errors(workspace) == []
        kept = {one.path for one in manifest.sealed.artifacts}
        left_out = {one.path for one in manifest.sealed.missing_artifacts if one.role == "other"}
        there = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
        assert {
            path for path in there if not any(path == one or path.startswith(f"{one}/") for one in left_out)
        } == (kept)
    finally:
        shutil.rmtree(root)


READ_BY_US = frozenset({"config.json", "run.json", "summary.log"})


def sparse_file(path: Path, size_bytes: int, *written: tuple[int, bytes]) -> Path:
    with path.open("wb") as file:
        file.truncate(size_bytes)
        for place, content in written:
            file.seek(place)
            file.write(content)
    if path.stat().st_blocks * 512 >= size_bytes:
        pytest.skip("the file system of the temporary folder has no holes")
    return path


def test_holes_stay_holes_in_the_archive(workspace: Workspace) -> None:
    run = a_run(workspace.runs / "mine")
    sparse_file(run / "sparse.bin", 1 << 30, (0, b"head"), (500_000_000, b"middle"))
    sparse_file(run / "empty.bin", 50 << 20)
    preserve(workspace, PreserveRequest(run))
    kept = [workspace.preserved_path("mine") / name for name in ("sparse.bin", "empty.bin")]
    assert [path.stat().st_size for path in kept] == [1 << 30, 50 << 20]
    assert sum(path.stat().st_blocks * 512 for path in kept) < 1 << 20
    assert errors(workspace) == []


@settings(max_examples=25)
@given(
    size_bytes=st.integers(1, 5 << 20),
    places=st.lists(st.tuples(st.integers(0, 5 << 20), st.binary(min_size=1, max_size=9000)), max_size=4),
    num_bytes=st.none() | st.integers(0, 6 << 20),
)
def test_a_file_with_holes_is_hashed_and_copied_as_its_bytes_are(
    size_bytes: int, places: list[tuple[int, bytes]], num_bytes: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        with source.open("wb") as file:
            file.truncate(size_bytes)
            for place, content in places:
                file.seek(place)
                file.write(content)
        content = source.read_bytes()[:num_bytes]
        expected = (hashlib.sha256(content).hexdigest(), len(content))
        assert file_digest(source, num_bytes=num_bytes) == expected
        assert copy_hashed(source, target, num_bytes=num_bytes) == expected
        assert target.read_bytes() == content
