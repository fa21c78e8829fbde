"""Several processes change one file at once, and one of them is killed: nothing that was said is lost."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runkit.archive import locking
from runkit.archive.collecting import leftovers
from runkit.archive.locking import changing
from runkit.archive.reading import read_manifest
from runkit.archive.workspace import Workspace
from runkit.errors import StorageFailed
from runkit.workflows.preserve import note
from runkit.workflows.readme import check_readme
from runkit.workflows.table import check_tables
from tests.tables.archiving import SPEC, write_archive
from tests.tables.building import ablation_archive

RUN = "mean"
AT_ONCE = 8


@pytest.fixture
def archive(workspace: Workspace) -> Workspace:
    write_archive(workspace, ablation_archive().values())
    (workspace.paper_tables / "ablation.toml").write_text(SPEC)
    return workspace


def started(archive: Workspace, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "runkit", *arguments, "--workspace", str(archive.root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(processes: list[subprocess.Popen[str]]) -> Iterator[tuple[int, str, str]]:
    for process in processes:
        out, err = process.communicate()
        yield process.returncode, out, err


HOLD = """
import sys, time
from pathlib import Path
from runkit.archive.locking import changing
with changing(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder_of(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_eight_notes_at_once_are_eight_notes(archive: Workspace) -> None:
    """All wait for one lock first, so that they meet."""
    first = holder_of(archive.manifest_path(RUN))
    others = [f"other{index}" for index in range(AT_ONCE)]
    processes = [started(archive, "note", RUN, "--relate", f"follows:{other}") for other in others]
    first.communicate()
    said = list(ended(processes))
    assert [(code, out) for code, out, _err in said] == [
        (0, f"noted in manifests/{RUN}.json; the seal is as it was\n")
    ] * AT_ONCE
    assert sorted(one.run_id for one in read_manifest(archive, RUN).relations("follows")) == others
    assert not list(archive.manifests.glob(".*"))


def test_a_killed_holder_holds_nothing_and_its_lock_is_collected(archive: Workspace) -> None:
    path = archive.manifest_path(RUN)
    killed = holder_of(path)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.communicate()
    assert [one.name for one in archive.manifests.glob(".*")] == [f".@{RUN}.json.lock"]
    assert [(one.path, one.why) for one in leftovers(archive)] == [
        (f"manifests/.@{RUN}.json.lock", "the lock of a process that ended")
    ]
    note(archive, RUN, change=lambda notes: notes.model_copy(update={"title": "after the kill"}))
    assert read_manifest(archive, RUN).notes.title == "after the kill"
    assert leftovers(archive) == ()


def test_who_waits_is_told_for_whom_and_is_not_kept_for_ever(
    archive: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locking, "_TELL_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(locking, "_GIVE_UP_AFTER_SECONDS", 0.2)
    path = archive.manifest_path(RUN)
    holder = holder_of(path)
    before = path.read_bytes()
    told: list[str] = []
    with pytest.raises(StorageFailed, match=rf"is held by process {holder.pid} on .*; nothing was changed"):
        note(archive, RUN, change=lambda notes: notes.model_copy(update={"title": "x"}), tell=told.append)
    assert len(told) == 1
    assert told[0].startswith(f"waiting for process {holder.pid} on ")
    holder.communicate()
    assert path.read_bytes() == before


def test_a_file_system_without_locks_is_told_of(archive: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_descriptor: int, _operation: int) -> None:
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    told: list[str] = []
    note(archive, RUN, change=lambda notes: notes.model_copy(update={"title": "x"}), tell=told.append)
    assert told == [
        f"{archive.manifests} lies on a file system without locks: a change of {RUN}.json that another "
        "process makes at this moment may be lost"
    ]
    assert read_manifest(archive, RUN).notes.title == "x"


def test_tables_and_the_readme_are_printed_by_one_process_after_the_other(archive: Workspace) -> None:
    held = [holder_of(archive.paper_tables / "ablation"), holder_of(archive.preserved_runs / "README.md")]
    processes = [started(archive, verb) for verb in ("table", "readme")]
    note(archive, RUN, change=lambda notes: notes.model_copy(update={"title": "A title of late"}))
    for holder in held:
        holder.communicate()
    assert [code for code, _out, _err in ended(processes)] == [0, 0]
    assert "A title of late" in (archive.preserved_runs / "README.md").read_text()
    assert (check_tables(archive), check_readme(archive)) == ((), ())


def test_reading_takes_no_lock(archive: Workspace) -> None:
    holder = holder_of(archive.manifest_path(RUN))
    verbs = (("validate", RUN), ("show", RUN))
    assert all(code in {0, 1} for code, _out, _err in ended([started(archive, *verb) for verb in verbs]))
    assert holder.poll() is None
    holder.communicate()


def test_a_lock_that_is_given_back_leaves_no_file(tmp_path: Path) -> None:
    with changing(tmp_path / "a" / "b"):
        assert [path.name for path in (tmp_path / "a").iterdir()] == [".@b.lock"]
    assert list((tmp_path / "a").iterdir()) == []
