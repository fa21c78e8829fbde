"""``runkit run`` under attack: names, disks, kills, foreign interpreters. Real processes, really killed."""

from __future__ import annotations

import os
import pty
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runkit.archive.processes import is_alive
from runkit.archive.workspace import Workspace
from runkit.checks.contrast import contrast
from runkit.records.capture import CAPTURE_FILE, HEARTBEAT_FILE, RunCapture
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.run import runs_in
from tests.processes import PATIENCE_SECONDS, until

ROOT = Path(__file__).resolve().parents[2]


def command(workspace: Workspace, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "runkit", "run", "--workspace", str(workspace.root), *arguments]


def surroundings(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return {**kept, "PYTHONPATH": str(ROOT), **variables}


def ran(workspace: Workspace, *arguments: str, **more: object) -> subprocess.CompletedProcess[bytes]:
    options = {"capture_output": True, "check": False, "env": surroundings(), "cwd": workspace.root, **more}
    return subprocess.run(command(workspace, *arguments), **options)  # type: ignore[call-overload,no-any-return]


def started(workspace: Workspace, *arguments: str, **more: object) -> subprocess.Popen[bytes]:
    options = {"env": surroundings(), "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **more}
    return subprocess.Popen(command(workspace, *arguments), **options)  # type: ignore[call-overload,no-any-return]


def python(script: str) -> tuple[str, ...]:
    return ("--", sys.executable, "-c", script)


def capture_of(folder: Path) -> RunCapture:
    return RunCapture.parse((folder / CAPTURE_FILE).read_bytes(), origin=CAPTURE_FILE)


def begun(log: Path) -> bool:
    return log.is_file() and b"begun\n" in log.read_bytes()


def test_four_starts_at_once_are_four_runs(workspace: Workspace) -> None:
    four = [
        started(workspace, "--", "sh", "-c", f"echo {number}; exit {number}", stdout=subprocess.PIPE)
        for number in range(4)
    ]
    assert [(one.communicate()[0], one.returncode) for one in four] == [
        (f"{number}\n".encode(), number) for number in range(4)
    ]
    logs = sorted(path.read_text() for path in workspace.runs.glob("*/train.log"))
    assert logs == ["0\n", "1\n", "2\n", "3\n"]


def test_four_starts_of_one_name_at_once_are_four_runs(workspace: Workspace) -> None:
    wait = "echo begun; read line"
    four = [
        started(
            workspace,
            "--run-id",
            "same",
            "--",
            "sh",
            "-c",
            wait,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _number in range(4)
    ]
    names = {"same", "same_2", "same_3", "same_4"}
    until(lambda: all(begun(workspace.runs / name / "train.log") for name in names))
    told = b"".join(one.communicate(b"\n")[1] for one in four)
    assert [one.returncode for one in four] == [0, 0, 0, 0]
    assert {one.run_id for one in runs_in(workspace)} == names
    assert told.count(b"there is a run 'same' already and it is still going on") == 3


def test_the_same_name_again_is_another_start_of_the_same_run(workspace: Workspace) -> None:
    script = "import sys, os; print('hello'); sys.exit(3 if not os.path.exists('again') else 0)"
    assert ran(workspace, "--run-id", "glue", *python(script)).returncode == 3
    (workspace.root / "again").touch()
    assert ran(workspace, "--run-id", "glue", *python(script)).returncode == 0
    capture = capture_of(workspace.runs / "glue")
    (later,) = capture.resumptions
    assert later.stopped is not None
    assert capture.end is not None
    assert (later.stopped.exit_code, capture.end.exit_code) == (3, 0)
    log = (workspace.runs / "glue" / "train.log").read_text()
    boundary = (
        f"[runkit] start 2 of this run at {later.resumed_at}; before it: the program ended with exit code 3\n"
    )
    assert log == f"hello\n{boundary}hello\n"
    assert later.log_offset == len("hello\n")
    fact = preserve(workspace, PreserveRequest(workspace.runs / "glue")).sealed.status
    assert (fact.value, fact.reason) == (
        "completed",
        "the program ended with exit code 0; this was start 2 of the run",
    )


@pytest.mark.parametrize("name", ["../out", "ä", "x" * 300, ""])
def test_a_name_that_cannot_be_keeps_no_program_from_running(workspace: Workspace, name: str) -> None:
    done = ran(workspace, f"--run-id={name}", "--", "sh", "-c", "echo ran; exit 5")
    assert (done.stdout, done.returncode) == (b"ran\n", 5)
    assert b"is not a run id" in done.stderr
    (seen,) = runs_in(workspace)
    assert seen.state.value == "ended"
    assert [path.name for path in workspace.root.parent.iterdir()] == ["workspace"]


def test_a_place_that_cannot_be_written_keeps_no_program_from_running(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.runs.write_text("a file where the folder should be")
    place = tmp_path / "elsewhere"
    place.mkdir()
    done = ran(workspace, "--", "sh", "-c", "echo ran; exit 5", env=surroundings(TMPDIR=str(place)))
    assert (done.stdout, done.returncode) == (b"ran\n", 5)
    (folder,) = place.glob("runkit-runs-*/*")
    assert f"recorded in {folder} instead; move it to {workspace.runs} to keep it" in done.stderr.decode()
    assert (folder / "train.log").read_text() == "ran\n"
    missing = Workspace(tmp_path / "missing" / "deep")
    done = ran(missing, "--", "sh", "-c", "echo ran; exit 5", cwd=tmp_path)
    assert (done.stdout, done.returncode) == (b"ran\n", 5)


def test_a_folder_that_is_gone_keeps_no_program_from_running(workspace: Workspace, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    inner = " ".join([*command(workspace), "--", "sh", "-c", "'echo ran; exit 5'"])
    done = subprocess.run(
        ["sh", "-c", f"cd {gone}; rmdir {gone}; {inner}"],
        env=surroundings(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 5
    assert done.stdout.endswith(b"ran\n")


@pytest.mark.parametrize("gpus", ["exit 9", pytest.param("exec sleep 3600", marks=pytest.mark.slow)])
def test_git_and_gpus_that_fail_or_hang_keep_no_program_from_running(
    workspace: Workspace, tmp_path: Path, gpus: str
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").write_text("#!/bin/sh\nkill -SEGV $$\n")
    (tools / "nvidia-smi").write_text(f"#!/bin/sh\n{gpus}\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    environment = surroundings(PATH=f"{tools}:{os.environ['PATH']}")
    done = ran(workspace, "--run-id", "x", "--", "sh", "-c", "echo ran; exit 5", env=environment)
    assert (done.stdout, done.returncode) == (b"ran\n", 5)
    capture = capture_of(workspace.runs / "x")
    assert capture.software.code.missing_because is not None
    assert (capture.not_recorded == ()) == (capture.hardware.num_cpus is not None)


def test_what_is_no_program_ends_as_in_a_shell(workspace: Workspace) -> None:
    plain = workspace.root / "plain"
    plain.write_text("echo from a script without a first line; exit 6\n")
    assert [
        (one.returncode, one.stdout, one.stderr.count(b"\n"))
        for one in (ran(workspace, "--", "no-such-program"), ran(workspace, "--", "./plain"))
    ] == [(127, b"", 1), (126, b"", 1)]
    assert not workspace.runs.exists()
    plain.chmod(0o755)
    done = ran(workspace, "--", "./plain")
    assert (done.returncode, done.stdout) == (6, b"from a script without a first line\n")
    plain.write_text("#!/no/such/interpreter\n")
    done = ran(workspace, "--run-id", "x", "--", "./plain")
    assert done.returncode == 126
    assert capture_of(workspace.runs / "x").ending == (
        "the program could not be started: No such file or directory"
    )


def test_a_full_disk_ends_no_program_and_what_was_lost_is_said(workspace: Workspace) -> None:
    """A limit on the size of a file stands for the disk: an ordinary user can set it, and lift it again."""
    limit = 100_000
    script = (
        "import sys\n"
        "for number in range(3):\n"
        "    sys.stdout.write(str(number) * 80_000); print('begun', flush=True); sys.stdin.readline()\n"
        "sys.exit(4)"
    )
    process = started(
        workspace,
        "--run-id",
        "full",
        *python(script),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY)),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    expected = b""
    for number in range(3):
        line = process.stdout.readline()
        assert line == str(number).encode() * 80_000 + b"begun\n"
        expected += line
        if number == 1:  # there is room again; it is tried again after a second
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            time.sleep(1.5)
        process.stdin.write(b"\n")
        process.stdin.flush()
    _out, told = process.communicate()
    assert process.returncode == 4
    log = workspace.runs / "full" / "train.log"
    capture = capture_of(log.parent)
    (lost,) = capture.lost_output
    assert (lost.log_offset, lost.num_bytes, lost.because) == (
        limit,
        60_012 + 80_006 - 80_006,
        "File too large",
    )
    marker = f"\n[runkit] {lost.num_bytes} bytes of output were lost here: File too large\n".encode()
    assert log.read_bytes() == expected[:limit] + marker + expected[-80_006:]
    assert f"NOT KEPT: {log} takes no output after byte {limit}: File too large".encode() in told
    assert b"make room on the disk" in told
    assert capture.end is not None
    assert capture.end.exit_code == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_is_full_to_the_last_byte_keeps_the_end_of_the_record(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        workspace = Workspace(disk)
        script = "import sys; sys.stdout.write('x' * 2_000_000 + '\\n'); sys.exit(4)"
        done = ran(workspace, "--run-id", "full", *python(script), cwd=tmp_path)
        assert (len(done.stdout), done.returncode) == (2_000_001, 4)
        capture = capture_of(workspace.runs / "full")
        assert capture.end is not None
        assert capture.end.exit_code == 4
        size_bytes = (workspace.runs / "full" / "train.log").stat().st_size
        assert sum(lost.num_bytes for lost in capture.lost_output) + size_bytes >= 2_000_001
        assert capture.lost_output[0].because == "No space left on device"
        again = ran(workspace, "--run-id", "other", "--", "sh", "-c", "echo ran; exit 5", cwd=tmp_path)
        assert (again.stdout, again.returncode) == (b"ran\n", 5)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_wrapper_killed_with_9_takes_no_program_and_no_output_with_it(workspace: Workspace) -> None:
    script = (
        "import os, sys, time; print('begun', flush=True)\n"
        "while not os.path.exists('go'): time.sleep(0.02)\n"
        "for number in range(2000): print('line', number, flush=True)\n"
        "open('finished', 'w').close()"
    )
    process = started(workspace, "--run-id", "w", *python(script), cwd=workspace.root, stdout=subprocess.PIPE)
    log = workspace.runs / "w" / "train.log"
    until(lambda: begun(log) and (log.parent / HEARTBEAT_FILE).is_file())
    until(lambda: capture_of(log.parent).process is not None)
    process.kill()
    process.wait()
    (workspace.root / "go").touch()
    assert process.stdout is not None
    with process.stdout as pipe:
        passed_on = pipe.read()  # until the last one that held it has ended
    lines = "".join(f"line {number}\n" for number in range(2000))
    assert passed_on.decode() == f"begun\n{lines}"
    assert (workspace.root / "finished").exists()
    kept = log.read_text()
    assert kept.startswith("begun\n[runkit] runkit was killed at ")
    assert kept.endswith(f"; what it had read last may be missing here\n{lines}")
    (seen,) = runs_in(workspace)
    assert seen.state.value == "killed"
    assert seen.state.because.startswith(
        "runkit itself was killed and the program went on, so that nobody saw how it ended: process "
    )
    assert sorted(path.name for path in log.parent.iterdir()) == [HEARTBEAT_FILE, CAPTURE_FILE, "train.log"]


def test_what_stands_by_may_be_killed_too(workspace: Workspace) -> None:
    process = started(
        workspace,
        "--run-id",
        "w",
        "--",
        "sh",
        "-c",
        "echo begun; read line; echo more; exit 3",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    until(lambda: begun(workspace.runs / "w" / "train.log"))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.is_file():
        process.communicate(b"\n")
        pytest.skip("this kernel does not list children")
    for pid in children.read_text().split():
        if b"runkit.archive.standby" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(int(pid), signal.SIGKILL)
    assert process.communicate(b"\n")[0] == b"begun\nmore\n"
    assert process.returncode == 3


def test_two_sigterms_reach_the_program_and_both_end_nothing_else(workspace: Workspace) -> None:
    script = (
        "import signal, sys, time\n"
        "got = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: (got.append(1), print('term', len(got), flush=True)))\n"
        "print('begun', flush=True)\n"
        "while len(got) < 2: time.sleep(0.02)\n"
        "sys.exit(0)"
    )
    process = started(workspace, "--run-id", "t", *python(script))
    log = workspace.runs / "t" / "train.log"
    for expected in (b"begun\n", b"term 1\n", b"term 2\n"):
        until(lambda expected=expected: log.is_file() and expected in log.read_bytes())  # type: ignore[misc]
        if expected != b"term 2\n":
            process.terminate()
    assert process.wait(PATIENCE_SECONDS) == 0
    ending = "the program ended with exit code 0 after SIGTERM"
    assert capture_of(log.parent).ending == ending
    fact = preserve(workspace, PreserveRequest(log.parent)).sealed.status
    assert (fact.value, fact.reason) == ("truncated", ending)


def test_what_a_program_leaves_behind_keeps_nobody_waiting(workspace: Workspace) -> None:
    script = "echo begun; (sleep 4; echo late; touch late) & exit 3"
    done = ran(
        workspace,
        "--run-id",
        "left",
        "--",
        "sh",
        "-c",
        script,
        stdout=subprocess.DEVNULL,
        capture_output=False,
    )
    assert done.returncode == 3
    assert not (workspace.root / "late").exists()
    log = workspace.runs / "left" / "train.log"
    until(lambda: log.read_bytes() == b"begun\nlate\n")


def test_bytes_order_input_and_size_are_untouched(workspace: Workspace) -> None:
    script = (
        "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data); sys.stdout.flush(); "
        "sys.stderr.write('\\r 50%|####'); sys.stderr.flush(); print('end')"
    )
    sent = bytes(range(256)) * 20_000
    done = ran(workspace, "--run-id", "b", *python(script), input=sent)
    assert done.stdout == sent + b"\r 50%|####end\n"
    assert (workspace.runs / "b" / "train.log").read_bytes() == done.stdout


def test_a_closed_or_broken_output_ends_no_program(workspace: Workspace) -> None:
    program = " ".join(command(workspace, "--run-id"))
    loud = "python3 -c 'for i in range(50000): print(i)'; echo done; exit 3"
    for name, redirect in (("head", "| head -1"), ("closed", ">&-"), ("full", "> /dev/full")):
        subprocess.run(
            ["sh", "-c", f'{program} {name} -- sh -c "$LOUD" {redirect}'],
            env=surroundings(LOUD=loud),
            capture_output=True,
            check=False,
        )
        assert (workspace.runs / name / "train.log").read_text().endswith("49999\ndone\n")
        end = capture_of(workspace.runs / name).end
        assert end is not None
        assert end.exit_code == 3


def test_ctrl_c_reaches_the_program_once(workspace: Workspace) -> None:
    script = (
        "import signal, time\n"
        "got = []\n"
        "signal.signal(signal.SIGINT, lambda *_: got.append(1))\n"
        "print('begun', flush=True)\n"
        "while not got: time.sleep(0.02)\n"
        "time.sleep(0.5); print('interrupts', len(got))"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(sys.executable, command(workspace, "--run-id", "c", *python(script)), surroundings())
    log = workspace.runs / "c" / "train.log"
    until(lambda: begun(log))
    os.write(terminal, b"\x03")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert log.read_text() == "begun\ninterrupts 1\n"


def test_a_start_killed_at_any_moment_is_listed_and_blocks_no_name(workspace: Workspace) -> None:
    for number in range(6):
        process = started(workspace, "--run-id", "x", "--", "sleep", "3600")
        if number >= 3:
            until(lambda: (workspace.runs / "x" / CAPTURE_FILE).is_file())
        else:
            time.sleep(0.1 * number)
        process.kill()
        process.wait()
    (workspace.runs / "ghost").mkdir(parents=True)
    for one in runs_in(workspace):
        assert one.state.value in {"unknown", "killed", "running"}
        if one.state.value == "running":
            process_id = capture_of(workspace.runs / one.run_id).process
            assert process_id is not None
            os.kill(process_id.pid, signal.SIGKILL)
            until(lambda process_id=process_id: not is_alive(process_id))  # type: ignore[misc]
    ghost = next(one.state for one in runs_in(workspace) if one.run_id == "ghost")
    assert (ghost.value, ghost.because) == (
        "unknown",
        "there is no run.json in it, so its start was killed at once, or another program made it; "
        "it holds nothing",
    )
    for name in ("x", "ghost"):
        done = ran(workspace, "--run-id", name, "--", "echo", "ran")
        assert (done.stdout, done.returncode) == (b"ran\n", 0)


@pytest.fixture
def other_python(tmp_path: Path) -> Path:
    """A virtual environment with a torch of its own, and lines that would run if it were asked badly."""
    folder = tmp_path / "v"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name, version in (("torch", "9.9.9"), ("numpy", "0.1")):
        info = packages / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (packages / "loud.pth").write_text(
        "import os; os.environ.get('RUNKIT_RUN_DIRECTORY') or open('ran-code', 'a')\n"
    )
    return folder


@pytest.mark.parametrize(
    "how",
    [
        ("v/bin/python", "-c", "print(1)"),
        ("v/bin/tool",),
        ("env", "X=1", "v/bin/python", "-c", "print(1)"),
        ("sh", "-c", "v/bin/python -c 'import time; time.sleep(2)'; echo"),
        pytest.param(
            ("sh", "-c", "PATH=$PWD/v/bin:$PATH; python -c 'import time; time.sleep(2)'; echo"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_packages_are_those_of_the_interpreter_that_runs(
    workspace: Workspace, other_python: Path, how: tuple[str, ...]
) -> None:
    tool = other_python / "bin" / "tool"
    tool.write_text(f"#!{other_python}/bin/python\nprint(1)\n")
    tool.chmod(0o755)
    (workspace.root / "v").symlink_to(other_python)
    environment = surroundings()
    del environment["PYTHONPATH"]
    start = [sys.executable, "-m", "runkit", "run", "--run-id", "other", "--", *how]
    subprocess.run(start, cwd=workspace.root, env=environment, check=True, capture_output=True)
    software = capture_of(workspace.runs / "other").software
    assert dict(software.packages) == {"numpy": "0.1", "torch": "9.9.9"}
    assert software.python_version == ".".join(map(str, sys.version_info[:3]))
    assert software.packages_missing_because is None
    assert not (workspace.root / "ran-code").exists()


def test_packages_are_unknown_with_the_reason_where_no_python_runs(workspace: Workspace) -> None:
    ran(workspace, "--run-id", "sh", "--", "sh", "-c", "echo hi")
    manifest = preserve(workspace, PreserveRequest(workspace.runs / "sh"))
    software = manifest.sealed.software
    assert (software.python_version, dict(software.packages)) == (None, {})
    assert software.packages_missing_because == "no Python was seen among the processes of the program"
    ran(workspace, "--run-id", "py", *python("print(1)"))
    other = preserve(workspace, PreserveRequest(workspace.runs / "py"))
    facts = [fact for fact in contrast(manifest, other).section("environment").facts if "pack" in fact.name]
    (fact,) = facts  # not one for each package, as if they were known to differ
    assert (fact.first, fact.remark) == (None, software.packages_missing_because)


def test_two_ids_that_cannot_be_are_two_runs_and_each_given_again_is_the_same_run(
    workspace: Workspace,
) -> None:
    wished = ("é", "日本", "a\\b", "a b", "a\nb", '"a"', "a", "é", "日本")
    for run_id in wished:
        done = ran(workspace, "--run-id", run_id, "--", "true")
        assert done.returncode == 0, done.stderr
    starts = {path.name: 1 + len(capture_of(path).resumptions) for path in workspace.runs.iterdir()}
    assert sorted(starts.values()) == [1, 1, 1, 1, 1, 2, 2]
    assert starts["e-4a99557e"] == 2


def test_an_id_of_which_nothing_is_left_never_joins_another_run(workspace: Workspace) -> None:
    for _time in range(2):
        assert ran(workspace, "--run-id", "", "--", "true").returncode == 0
    assert len(list(workspace.runs.iterdir())) == 2
