"""What the store promises, each with somebody who tries to break it; for system calls see test_faults.py."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runkit.archive.collecting import leftovers
from runkit.archive.workspace import Workspace
from runkit.errors import AlreadyExists, RunUnreadable, StorageFailed
from runkit.records.manifest import Manifest
from runkit.workflows.gc import collect
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.verify import verify
from tests.archive.faults import files_below, states_below
from tests.processes import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
RUN_ID = "small_20260102_030405"

HOSTILE_NAMES = (
    "a b", "-rf", "--help", "a'b", 'a"b', "a\nb", "a\tb", "$(touch x)", "`x`", "*", "?", "~", "#", "%s",
    "%00", "…", "é", "e\u0301", "\u202egnp.exe", "\U0001f600", ".hidden", "...", " ", "con", "a" * 255,
    ".staging-x", "x.tmp", ".objects",
)  # fmt: skip


def runkit(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runkit", *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip()


def damage(path: Path, offset: int) -> None:
    """Flip one bit of the byte at *offset*, in place."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def kept(workspace: Workspace, inside: str, run_id: str = RUN_ID) -> Path:
    return workspace.preserved_path(run_id) / inside


def rules(workspace: Workspace, *run_ids: str) -> list[tuple[str, str]]:
    return [(one.rule, one.place) for one in verify(workspace, run_ids).findings]


# 1. Nothing of the user's is ever moved, changed or deleted.


@pytest.mark.parametrize("artifacts", ["copy", "link", "reference"])
def test_the_run_itself_is_not_touched(workspace: Workspace, artifacts: str) -> None:
    run = a_run(workspace.runs / "mine")
    for path in run.rglob("*"):
        path.chmod(0o750 if path.is_dir() else 0o640)
    before = files_below(run), states_below(run)
    preserve(workspace, PreserveRequest(run, artifacts=artifacts))  # type: ignore[arg-type]
    assert (files_below(run), states_below(run)) == before


# 3. Thirty-two at once.


def test_thirty_two_processes_with_different_runs_lose_nothing(workspace: Workspace) -> None:
    for number in range(32):
        a_run(
            workspace.runs / f"run{number}", last_line=f"only run {number} says this\n" if number % 2 else ""
        )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PRESERVE, str(workspace.root), f"run{number}", f"run{number}"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(32)
    ]
    assert [end for process in started if (end := process.communicate(timeout=PATIENCE_SECONDS))[1]] == []
    assert [process.returncode for process in started] == [0] * 32
    report = verify(workspace)
    assert (report.num_runs, report.findings, leftovers(workspace)) == (32, (), ())


def test_of_thirty_two_processes_with_one_run_exactly_one_wins_and_the_others_are_told(
    workspace: Workspace,
) -> None:
    a_run(workspace.runs / "mine")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PRESERVE, str(workspace.root), "mine", "mine"],
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(32)
    ]
    said = [process.communicate(timeout=PATIENCE_SECONDS)[1] for process in started]
    assert sorted(process.returncode for process in started) == [0] + [3] * 31
    told = {line.partition(" in ")[0].strip() for line in said if line}
    assert told <= {
        "AlreadyExists: run 'mine' is already preserved",
        "AlreadyExists: run 'mine' is being preserved by another process right now",
    }
    assert (rules(workspace), leftovers(workspace)) == ([], ())


PRESERVE = """
import sys
from pathlib import Path
from runkit.archive.workspace import Workspace
from runkit.errors import AlreadyExists
from runkit.workflows.preserve import PreserveRequest, preserve
root = Path(sys.argv[1])
try:
    preserve(Workspace(root), PreserveRequest(root / "runs" / sys.argv[2], run_id=sys.argv[3]))
except AlreadyExists as error:
    print(f"AlreadyExists: {error}", file=sys.stderr)
    sys.exit(3)
"""


# 4. A full disk, a read-only folder, an unreadable file.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own that holds 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"cannot mount a small tmpfs here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_one_line_and_nothing_half_written(small_disk: Path, tmp_path: Path) -> None:
    workspace = Workspace(small_disk)
    run = a_run(tmp_path / "mine")
    preserve(workspace, PreserveRequest(run, run_id="old"))
    (run / "large.bin").write_bytes(os.urandom(2 << 20))
    before = files_below(small_disk)
    line = one_line(runkit("preserve", str(run), "--workspace", str(small_disk)))
    assert "No space left on device" in line
    assert files_below(small_disk) == before
    (run / "large.bin").unlink()
    assert runkit("preserve", str(run), "--workspace", str(small_disk)).returncode == 0
    assert (rules(workspace), leftovers(workspace)) == ([], ())


def test_every_amount_of_room_ends_whole_or_with_nothing(small_disk: Path, tmp_path: Path) -> None:
    run = a_run(tmp_path / "mine")
    ends = set()
    for room in range(0, 100 << 10, 8 << 10):
        workspace = Workspace(small_disk / f"room{room}")
        workspace.root.mkdir()
        filler = small_disk / "filler"
        free = os.statvfs(small_disk)
        filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - room)))
        try:
            preserve(workspace, PreserveRequest(run))
            ends.add("whole")
            assert rules(workspace) == []
        except StorageFailed:
            ends.add("nothing")
            assert [path for path in workspace.root.rglob("*") if path.is_file()] == []
        filler.unlink()
        shutil.rmtree(workspace.root)
    assert ends == {"whole", "nothing"}


WITHOUT_RIGHTS = """
import ctypes, struct, sys
from runkit.cli.app import app
try:
    app(["preserve", sys.argv[2], "--workspace", sys.argv[1]])  # now all is imported
except SystemExit:
    pass
version, this_process, no_rights = 0x20080522, 0, struct.pack("6I", *[0] * 6)
assert ctypes.CDLL(None).capset(struct.pack("Ii", version, this_process), no_rights) == 0
sys.argv = ["runkit", "preserve", sys.argv[3], "--workspace", sys.argv[4]]
app()
"""


def test_a_folder_that_may_not_be_written_and_a_file_that_may_not_be_read_are_named(tmp_path: Path) -> None:
    """Root keeps its name here and loses what it may do beyond it, so that this may lie anywhere."""
    workspace = Workspace(tmp_path / "workspace")
    workspace.root.mkdir()
    run = a_run(tmp_path / "mine")
    scratch = iter(range(9))

    def refused() -> str:
        own = tmp_path / f"scratch{next(scratch)}"
        other = a_run(own / "run")
        words = [sys.executable, "-c", WITHOUT_RIGHTS, *map(str, (own, other, run, workspace.root))]
        return one_line(subprocess.run(words, capture_output=True, text=True, check=False))

    workspace.root.chmod(0o555)
    assert "cannot write to" in (line := refused())
    assert "Permission denied" in line
    workspace.root.chmod(0o755)
    (run / "summary.log").chmod(0)
    assert "Permission denied" in (line := refused())
    assert "summary.log" in line
    (run / "summary.log").chmod(0o644)
    (run / "deep").mkdir(mode=0)
    assert "deep cannot be listed: Permission denied; check its permissions" in refused()
    (run / "deep").chmod(0o755)
    assert [path for path in workspace.root.rglob("*") if path.is_file()] == []


# 5 and 6. What is called verified was read, and one changed byte is found.


def test_one_changed_byte_anywhere_in_the_archive_is_found(workspace: Workspace, cluster_run: Path) -> None:
    manifest = preserve(workspace, PreserveRequest(cluster_run))
    paths = [kept(workspace, file.path) for file in manifest.sealed.artifacts]
    paths.append(workspace.outcomes_path(RUN_ID))
    num_tried = 0
    for path in paths:
        size_bytes = path.stat().st_size
        for offset in {0, size_bytes // 3, size_bytes // 2, size_bytes - 1}:
            damage(path, offset)
            [(rule, place)] = rules(workspace)
            assert rule == "RK102"
            assert path.name in place
            damage(path, offset)
            num_tried += 1
    assert rules(workspace) == []
    assert num_tried >= 4 * len(paths) - 3


def test_one_changed_character_of_the_sealed_facts_is_found(workspace: Workspace, cluster_run: Path) -> None:
    preserve(workspace, PreserveRequest(cluster_run))
    path = workspace.manifest_path(RUN_ID)
    whole = json.loads(path.read_text())

    def places(value: object, at: tuple[object, ...]) -> Iterator[tuple[object, ...]]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from places(inner, (*at, key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                yield from places(inner, (*at, index))
        else:
            yield at

    num_found = 0
    for place in list(places(whole["sealed"], ())):
        edited = json.loads(path.read_text())
        *above, last = place
        parent = edited["sealed"]
        for step in above:
            parent = parent[step]
        parent[last] = changed(parent[last])
        other = Workspace(workspace.root / "edited")
        other.manifests.mkdir(parents=True, exist_ok=True)
        other.manifest_path(RUN_ID).write_text(json.dumps(edited))
        found = {rule for rule, _place in rules(other)}
        assert found & {"RK104", "RK105"}, place
        num_found += 1
    assert num_found > 200


def changed(value: object) -> object:
    """Return another value of the same kind."""
    if isinstance(value, bool) or value is None:
        return "other" if value is None else not value
    if isinstance(value, int | float):
        return value + 1
    text = str(value)
    return ("0" if text[:1] != "0" else "1") + text[1:]


def test_a_file_that_is_gone_or_too_much_is_found(workspace: Workspace, cluster_run: Path) -> None:
    preserve(workspace, PreserveRequest(cluster_run))
    kept(workspace, "summary.log").rename(kept(workspace, "summary2.log"))
    assert rules(workspace) == [("RK101", "summary.log"), ("RK103", "summary2.log")]


def test_bytes_that_two_runs_share_are_read_once_and_found_damaged_in_both(
    workspace: Workspace, cluster_run: Path
) -> None:
    preserve(workspace, PreserveRequest(cluster_run))
    preserve(workspace, PreserveRequest(cluster_run, run_id="again"))
    damage(kept(workspace, "summary.log"), 3)
    assert rules(workspace) == [("RK102", "summary.log")] * 2


def test_damaged_bytes_are_never_shared_with_a_new_run(workspace: Workspace, cluster_run: Path) -> None:
    preserve(workspace, PreserveRequest(cluster_run))
    damage(kept(workspace, "summary.log"), 3)
    preserve(workspace, PreserveRequest(cluster_run, run_id="again"))
    assert [one.run_id for one in verify(workspace).findings] == [RUN_ID]
    preserve(workspace, PreserveRequest(cluster_run, run_id="third"))
    assert kept(workspace, "summary.log", "again").samefile(kept(workspace, "summary.log", "third"))


# 7. Hostile names.


def test_hostile_names_are_kept_as_they_are(workspace: Workspace) -> None:
    run = a_run(workspace.runs / "mine")
    for number, name in enumerate(HOSTILE_NAMES):
        (run / name).write_text(f"{number}")
        (run / "folders" / name).mkdir(parents=True)
        (run / "folders" / name / name).write_text(f"inside {number}")
    elsewhere = set(files_below(workspace.root))
    manifest = preserve(workspace, PreserveRequest(run))
    assert {one.path for one in manifest.sealed.artifacts} == {
        path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()
    }
    assert Manifest.parse(workspace.manifest_path("mine").read_bytes(), origin="x") == manifest
    assert rules(workspace) == []
    assert {path.parts[0] for path in map(Path, set(files_below(workspace.root)) - elsewhere)} == {
        "preserved_runs", "manifests",
    }  # fmt: skip
    assert collect(workspace, dry_run=False).removable == ()
    assert rules(workspace) == []


def test_a_name_that_means_another_place_on_other_systems_is_left_out_and_said_so(
    workspace: Workspace,
) -> None:
    run = a_run(workspace.runs / "mine")
    (run / "a\\b").touch()
    (run / "C:evil").touch()
    manifest = preserve(workspace, PreserveRequest(run))
    assert [(one.path, one.reason) for one in manifest.sealed.missing_artifacts if one.role == "other"] == [
        ("C:evil", "its name is absolute; rename it to keep it"),
        (
            "a\\b",
            "its name has a backslash, which separates folders on some systems; rename it to keep it",
        ),
    ]
    assert rules(workspace) == []


def test_a_name_that_is_no_text_is_refused_in_one_line(workspace: Workspace) -> None:
    run = a_run(workspace.runs / "mine")
    Path(os.fsdecode(os.fsencode(run) + b"/caf\xe9.txt")).touch()
    line = one_line(runkit("preserve", "runs/mine", cwd=workspace.root))
    assert r"caf\udce9.txt' in runs/mine is not a valid UTF-8 name; rename the file" in line
    assert not workspace.preserved_path("mine").exists()


def test_links_and_special_files_are_left_out_and_said_so(workspace: Workspace) -> None:
    run = a_run(workspace.runs / "mine")
    secret = workspace.root / "secret.txt"
    secret.write_text("not part of the run")
    (run / "out").symlink_to(secret)
    (run / "up").symlink_to("../..")
    (run / "loop").symlink_to("loop")
    os.mkfifo(run / "pipe")
    manifest = preserve(workspace, PreserveRequest(run))
    assert [(one.path, one.reason) for one in manifest.sealed.missing_artifacts if one.role == "other"] == [
        ("loop", "a link to 'loop'; links are neither followed nor kept"),
        ("out", f"a link to '{secret}'; links are neither followed nor kept"),
        ("pipe", "a named pipe, which holds nothing that could be kept"),
        ("up", "a link to '../..'; links are neither followed nor kept"),
    ]
    assert {path.name for path in workspace.preserved_path("mine").iterdir()} == {"inner", "summary.log"}
    assert rules(workspace) == []


def test_a_log_that_is_a_link_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    run = a_run(workspace.runs / "mine")
    log = run / "inner" / "train.log"
    log.rename(tmp_path / "train.log")
    log.symlink_to(tmp_path / "train.log")
    with pytest.raises(
        RunUnreadable, match=r"inner/train\.log in .* is a link to .*put the log itself there"
    ):
        preserve(workspace, PreserveRequest(run))


# 8. The exact layout, equal bytes once.


def test_the_layout_is_kept_and_equal_bytes_are_one_file(workspace: Workspace, cluster_run: Path) -> None:
    (cluster_run / "twice.log").write_bytes((cluster_run / "summary.log").read_bytes())
    (cluster_run / "nothing").mkdir()
    script = cluster_run / "run.sh"
    script.write_bytes((cluster_run / "summary.log").read_bytes())
    script.chmod(0o755)
    preserve(workspace, PreserveRequest(cluster_run))
    preserve(workspace, PreserveRequest(cluster_run, run_id="again"))
    for run_id in (RUN_ID, "again"):
        found = {
            name: content for name, (_mode, content) in files_below(workspace.preserved_path(run_id)).items()
        }
        assert found == {name: content for name, (_mode, content) in files_below(cluster_run).items()}
    assert kept(workspace, "summary.log").stat().st_nlink == 5
    assert stat.S_IMODE(kept(workspace, "summary.log").stat().st_mode) == 0o444
    assert stat.S_IMODE(kept(workspace, "run.sh", "again").stat().st_mode) == 0o555
    digest = hashlib.sha256((cluster_run / "summary.log").read_bytes()).hexdigest()
    shared = workspace.objects / "sha256" / digest[:2] / digest
    assert shared.samefile(kept(workspace, "twice.log", "again"))


def test_a_removed_run_leaves_shared_contents_to_gc(workspace: Workspace, cluster_run: Path) -> None:
    preserve(workspace, PreserveRequest(cluster_run))
    assert collect(workspace, dry_run=False).removable == ()
    shutil.rmtree(workspace.preserved_path(RUN_ID))
    workspace.manifest_path(RUN_ID).unlink()
    listed = collect(workspace, dry_run=True)
    assert {one.why for one in listed.removable} == {
        "contents that no run refers to",
        "outcomes without a manifest",
    }
    before = files_below(workspace.root)
    assert collect(workspace, dry_run=True) == listed
    assert files_below(workspace.root) == before
    assert collect(workspace, dry_run=False) == listed
    assert [path for path in workspace.root.rglob("*") if path.is_file()] == []


def test_gc_tells_of_files_without_a_manifest_and_never_removes_them(
    workspace: Workspace, cluster_run: Path
) -> None:
    preserve(workspace, PreserveRequest(cluster_run))
    workspace.manifest_path(RUN_ID).unlink()
    report = collect(workspace, dry_run=False)
    assert [(one.path, one.is_removable) for one in report.kept] == [(f"preserved_runs/{RUN_ID}", False)]
    assert kept(workspace, "inner/train.log").is_file()
    assert preserve(workspace, PreserveRequest(cluster_run)).run_id == RUN_ID


def test_gc_waits_for_no_one_and_harms_no_one(workspace: Workspace, cluster_run: Path) -> None:
    from runkit.archive.store import claimed, staging

    with claimed(workspace, "x"), staging(workspace) as folder:
        with pytest.raises(AlreadyExists, match="being taken into the archive right now"):
            collect(workspace, dry_run=False)
        assert folder.is_dir()
    assert collect(workspace, dry_run=False).removable == ()


# 9. Files that stay where they are.


def test_large_files_stay_where_they_are_and_are_checked_when_at_hand(
    workspace: Workspace, tmp_path: Path
) -> None:
    run = a_run(tmp_path / "mine")
    (run / "inner" / "checkpoint.pt").write_bytes(os.urandom(50_000))
    request = PreserveRequest(run, reference_over=40_000, artifacts_location="disk 7")
    manifest = preserve(workspace, request)
    by_path = {one.path: one for one in manifest.sealed.artifacts}
    assert {path for path, one in by_path.items() if one.storage == "reference"} == {"inner/checkpoint.pt"}
    assert by_path["inner/checkpoint.pt"].size_bytes == 50_000
    assert manifest.sealed.artifacts_location == "disk 7"
    assert not kept(workspace, "inner/checkpoint.pt", "mine").exists()
    assert (verify(workspace).num_not_checked, rules(workspace)) == (1, [])
    damage(run / "inner" / "checkpoint.pt", 7)
    assert [one.place for one in verify(workspace, references=tmp_path).findings] == ["inner/checkpoint.pt"]


def test_links_share_the_run_s_own_files_and_need_one_file_system(
    workspace: Workspace, small_disk: Path
) -> None:
    run = a_run(workspace.runs / "mine")
    manifest = preserve(workspace, PreserveRequest(run, artifacts="link"))
    assert {one.storage for one in manifest.sealed.artifacts} == {"link"}
    assert kept(workspace, "summary.log", "mine").samefile(run / "summary.log")
    assert not workspace.objects.exists()
    (run / "summary.log").write_text("changed through the run's own name")
    assert rules(workspace) == [("RK102", "summary.log")]
    far = a_run(small_disk / "far")
    with pytest.raises(StorageFailed, match="lies on another file system; use --artifacts copy"):
        preserve(workspace, PreserveRequest(far, artifacts="link"))


def a_run(folder: Path, *, last_line: str = "") -> Path:
    """Make a small whole run at *folder*."""
    inner = folder / "inner"
    inner.mkdir(parents=True)
    settings = "source_model: a\ntarget_model: b\ntrain_steps: 20\ndataset: gsm8k\n"
    row = {
        "eval_step": "final",
        "index": 0,
        "question": "Q?",
        "gold_extracted": "7",
        "source_extracted": "7",
        "target_extracted": "1",
        "bridged_extracted": "7",
    }
    (inner / "eval_samples_step_final.jsonl").write_text(json.dumps(row) + "\n")
    (inner / "train.log").write_text(
        f"==== Config ====\n{settings}\n==== Reproducibility Settings ====\n"
        "Step 20/20 | Loss (avg over last 20): 1.0\n"
        "[Final Eval] Source-alone acc: 1.000 | Target-alone acc: 0.000 | Bridged acc: 1.000\n" + last_line
    )
    (folder / "summary.log").write_text("Run directory: runs/x\n")
    return folder
