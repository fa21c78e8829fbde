"""Four functions in somebody's training: every line whole, no call ends it, nothing but Python needed."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import runkit
from runkit import recording
from runkit.recording import warning
from tests.processes import until

ROOT = Path(__file__).resolve().parents[1]
NAME = "measurements.jsonl"


@pytest.fixture(autouse=True)
def run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run directory as `runkit run` gives one, outside any launcher."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_ID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RUNKIT_RUN_DIRECTORY", str(folder))
    monkeypatch.setattr(warning, "_told", set())
    return folder


def lines_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()]


def said_in(folder: Path) -> list[dict[str, Any]]:
    """What the lines say, without when and by whom."""
    return [
        {name: value for name, value in line.items() if name not in ("at", "rank", "pid", "call")}
        for line in lines_in(folder)
    ]


def python(script: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Start *script* as a user's program without a run directory, unless *environment* names one."""
    kept = {name: value for name, value in os.environ.items() if name != "RUNKIT_RUN_DIRECTORY"}
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate()
    return process.returncode, out, err


def test_each_function_writes_what_it_was_told_as_one_line(run_directory: Path) -> None:
    runkit.params({"model": {"width": 8, "rates": [0.1, float("inf")]}}, seed=3, path=Path("a/b"))
    runkit.log(step=100, split="train", loss=2.5, **{"eval/acc": True})
    runkit.score(
        "f1", 0.81, task="squad", split="dev", system="model", step=7, weights="best", higher_is_better=True,
        unit="fraction", n=200, conditions={"shots": 5}, primary=True,
    )  # fmt: skip
    runkit.items(
        "exact_match", {"q1": True, 2: 0.5}, task="squad", answers=["a", None], golds={"q1": "a", 2: 3},
        outcomes={"q1": "correct"},
    )  # fmt: skip
    assert said_in(run_directory) == [
        {
            "kind": "params",
            "values": {"model": {"width": 8, "rates": [0.1, "inf"]}, "seed": 3, "path": "a/b"},
        },
        {"kind": "log", "step": 100, "split": "train", "values": {"loss": 2.5, "eval/acc": True}},
        {
            "kind": "score", "metric": "f1", "task": "squad", "split": "dev", "system": "model", "step": 7,
            "weights": "best", "higher_is_better": True, "unit": "fraction", "conditions": {"shots": "5"},
            "value": 0.81, "n": 200, "primary": True,
        },
        {
            "kind": "items", "metric": "exact_match", "task": "squad", "part": [1, 1],
            "columns": ["item", "value", "answer", "gold", "cluster", "outcome"],
            "rows": [["q1", True, "a", "a", None, "correct"], ["2", 0.5, None, "3", None, None]],
        },
    ]  # fmt: skip
    for line in lines_in(run_directory):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", line["at"])
        assert (line["rank"], line["pid"]) == (None, os.getpid())


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        (np.float32("nan"), "nan"),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([0.25]), 0.25),
        (Fraction(1, 4), 0.25),
        (2**70, float(2**70)),
        (True, True),
        (None, None),
    ],
)
def test_a_value_is_kept_as_the_number_that_it_is(run_directory: Path, value: Any, kept: Any) -> None:
    runkit.score("accuracy", value)
    (line,) = lines_in(run_directory)
    assert (line["value"], type(line["value"])) == (kept, type(kept))


@pytest.mark.parametrize(
    ("value", "kept"), [("high", "high"), (np.array([1, 2]), "[1 2]"), ({"acc": 1}, "{'acc': 1}"), (1j, "1j")]
)
def test_what_is_no_number_ends_no_training_and_is_told_once(
    run_directory: Path, capsys: pytest.CaptureFixture[str], value: Any, kept: str
) -> None:
    runkit.score("accuracy", value)
    runkit.score("accuracy", value)
    assert [line["value"] for line in lines_in(run_directory)] == [kept, kept]
    assert capsys.readouterr().err == (
        f"runkit: accuracy is no number but {type(value).__name__}; it is kept as text\n"
    )


class Unspeakable:
    def __str__(self) -> str:
        raise RuntimeError("not in this state")


def test_any_configuration_can_be_written_down(run_directory: Path) -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    runkit.params(SimpleNamespace(lr=0.1), half="\ud800", what=Unspeakable(), layers={3, 1}, size=2**80)
    runkit.params(endless)
    first, second = (line["values"] for line in lines_in(run_directory))
    assert first == {
        "lr": 0.1, "half": "\ud800", "what": "<Unspeakable>", "layers": [1, 3], "size": hex(2**80),
    }  # fmt: skip
    assert list(second) == ["again"]


ONE_EACH = "are one an item, as a mapping or in order, not"
OUTCOME = "an outcome is correct, wrong, invalid or None,"
PAIRS = "items('f1', ...) takes item ids and their values, as a mapping or in pairs, not "
WRONG_CALLS: list[tuple[Callable[..., None], tuple[Any, ...], dict[str, Any], str]] = [
    (runkit.params, (3,), {}, "params takes names and values, not an int; for example params(lr=0.1)"),
    (runkit.log, (), {"step": -1, "loss": 1.0}, "step is a whole number of 0 or more, not -1"),
    (runkit.log, (), {"step": 1.5, "loss": 1.0}, "step is a whole number of 0 or more, not 1.5"),
    (runkit.log, (), {"step": "last", "loss": 1.0}, "step is a whole number of 0 or more, not last"),
    (runkit.score, (0.5, "f1"), {}, "metric is a name, not a float"),
    (runkit.score, (None, 0.5), {}, "a metric has a name, as in score('accuracy', ...)"),
    (runkit.score, ("", 0.5), {}, "metric is a name, not an empty text"),
    (runkit.score, ("f1", 1), {"higher_is_better": "yes"}, "higher_is_better is True or False, not a str"),
    (runkit.score, ("f1", 1), {"n": True}, "n is a whole number of 0 or more, not True"),
    (runkit.score, ("f1", 1), {"conditions": ["a"]}, "conditions are names and values, not a list"),
    (runkit.items, ("f1", 0.5), {}, f"{PAIRS}a float"),
    (runkit.items, ("f1", [0.5]), {}, f"{PAIRS}a float as pair 1; use enumerate() for places"),
    (runkit.items, ("f1", {"q": 1}), {"answers": []}, "there are 0 answers for 1 items"),
    (runkit.items, ("f1", {"q": 1}), {"golds": "a"}, f"golds {ONE_EACH} a str"),
    (runkit.items, ("f1", {"q": 1}), {"outcomes": ["right"]}, f"{OUTCOME} not 'right'"),
]


@pytest.mark.parametrize(("function", "values", "named", "message"), WRONG_CALLS)
def test_a_call_of_a_wrong_form_is_refused_in_one_line_and_writes_nothing(
    run_directory: Path,
    function: Callable[..., None],
    values: tuple[Any, ...],
    named: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        function(*values, **named)
    assert str(caught.value) == message
    assert list(run_directory.iterdir()) == []


def test_many_items_come_in_numbered_parts(run_directory: Path) -> None:
    runkit.items("accuracy", ((index, index % 2) for index in range(2_500)))
    lines = lines_in(run_directory)
    assert [line["part"] for line in lines] == [[1, 3], [2, 3], [3, 3]]
    assert len({line["call"] for line in lines}) == 1
    assert [row[:2] for line in lines for row in line["rows"]] == [[str(i), i % 2] for i in range(2_500)]


def test_no_items_are_a_line_too(run_directory: Path) -> None:
    runkit.items("accuracy", {})
    assert [(line["part"], line["rows"]) for line in lines_in(run_directory)] == [([1, 1], [])]


WRITER = """
import sys, runkit
for index in range(200):
    runkit.log(step=index, **{sys.argv[-1] if len(sys.argv) > 1 else "loss": index, "text": 0.5})
"""


def test_eight_processes_at_once_lose_and_tear_no_line(run_directory: Path) -> None:
    processes = [
        python(WRITER, run_directory, RUNKIT_RUN_DIRECTORY=str(run_directory), RANK=str(rank))
        for rank in range(8)
    ]
    assert [ended(process) for process in processes] == [(0, "", "")] * 8
    assert Counter((line["rank"], line["step"]) for line in lines_in(run_directory)) == dict.fromkeys(
        ((rank, step) for rank in range(8) for step in range(200)), 1
    )


def test_threads_and_forked_children_lose_and_tear_no_line(run_directory: Path) -> None:
    script = """
import os, threading, runkit
runkit.log(step=0, loss=0)
def write():
    for index in range(1, 50):
        runkit.log(step=index, loss=index)
threads = [threading.Thread(target=write) for _ in range(4)]
children = []
for thread in threads:
    thread.start()
    child = os.fork()
    if not child:
        write()
        os._exit(0)
    children.append(child)
for thread in threads:
    thread.join()
for child in children:
    os.waitpid(child, 0)
"""
    code, out, err = ended(
        python(f"import warnings; warnings.simplefilter('ignore')\n{script}", run_directory)
    )
    assert (code, out, err) == (0, "", "")
    (folder,) = (run_directory / "runs").iterdir()
    assert Counter(line["step"] for line in lines_in(folder)) == {0: 1} | dict.fromkeys(range(1, 50), 8)


def test_a_run_has_one_folder_and_its_children_find_it(tmp_path: Path) -> None:
    script = (
        "import runkit, subprocess, sys\n"
        "runkit.params(a=1)\n"
        "subprocess.run([sys.executable, '-c', 'import runkit; runkit.params(b=2)'], check=True, cwd='/')\n"
    )
    for _ in range(2):
        assert ended(python(script, tmp_path)) == (0, "", "")
    folders = sorted((tmp_path / "runs").iterdir())
    assert len(folders) == 2
    assert all(re.fullmatch(r"c_\d{8}_\d{6}(_2)?", folder.name) for folder in folders)
    assert [[line["values"] for line in lines_in(folder)] for folder in folders] == [[{"a": 1}, {"b": 2}]] * 2


def test_ranks_that_a_launcher_started_write_into_one_folder(tmp_path: Path) -> None:
    def launched() -> None:
        script = "import runkit; runkit.score('accuracy', 0.5)"
        processes = [python(script, tmp_path, RANK=str(rank), WORLD_SIZE="3") for rank in range(3)]
        assert [ended(process) for process in processes] == [(0, "", "")] * 3

    launched()
    (folder,) = (tmp_path / "runs").iterdir()
    assert sorted(line["rank"] for line in lines_in(folder)) == [0, 1, 2]


def test_kill_9_in_the_middle_of_items_loses_at_most_the_last_line(run_directory: Path) -> None:
    script = "import runkit\nwhile True:\n    runkit.items('accuracy', ((i, 1) for i in range(20_000)))\n"
    path = run_directory / NAME
    for num_lines in (1, 30):
        process = python(script, run_directory, RUNKIT_RUN_DIRECTORY=str(run_directory))
        before = path.read_bytes().count(b"\n") if path.exists() else 0
        until(
            lambda at=before + num_lines: path.exists() and path.read_bytes().count(b"\n") >= at,  # type: ignore[misc]
            of=process,
        )
        process.send_signal(signal.SIGKILL)
        assert ended(process)[0] == -signal.SIGKILL
        runkit.log(step=1, loss=1.0)
        good = 0
        for line in path.read_bytes().splitlines():
            try:
                good += bool(json.loads(line))
            except ValueError:
                continue
        assert good >= before + num_lines + 1
        assert json.loads(path.read_bytes().splitlines()[-1])["kind"] == "log"


def test_after_a_torn_line_a_new_one_begins(run_directory: Path) -> None:
    (run_directory / NAME).write_bytes(b'{"kind":"sco')
    runkit.log(step=1, loss=1.0)
    torn, whole = (run_directory / NAME).read_text().splitlines()
    assert torn == '{"kind":"sco'
    assert json.loads(whole)["values"] == {"loss": 1.0}


def test_a_file_that_may_grow_no_more_stops_nothing_and_keeps_whole_lines(run_directory: Path) -> None:
    script = (
        "import resource, runkit\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, resource.RLIM_INFINITY))\n"
        "for index in range(100):\n    runkit.log(step=index, loss=index)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "runkit.log(step=100, loss=100)\nprint('trained')\n"
    )
    code, out, err = ended(python(script, run_directory, RUNKIT_RUN_DIRECTORY=str(run_directory)))
    assert (code, out) == (0, "trained\n")
    assert err == f"runkit: NOT RECORDED: {run_directory / NAME}: File too large; the program goes on\n"
    steps = [line["step"] for line in lines_in(run_directory)]
    assert steps == [*range(len(steps) - 1), 100]
    assert len(steps) > 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_stops_nothing_and_keeps_whole_lines(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        script = (
            "import runkit\nfor index in range(2_000):\n    runkit.log(step=index, loss=index)\nprint(1)\n"
        )
        code, out, err = ended(python(script, tmp_path, RUNKIT_RUN_DIRECTORY=str(disk)))
        assert (code, out) == (0, "1\n")
        assert err == f"runkit: NOT RECORDED: {disk / NAME}: No space left on device; the program goes on\n"
        steps = [line["step"] for line in lines_in(disk)]
        assert steps == list(range(len(steps)))
        assert steps
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("place", ["a file", "a pipe", "a folder"])
def test_a_place_that_takes_no_lines_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    folder = tmp_path / "odd"
    because = {"a file": "Not a directory", "a pipe": "it is no regular file", "a folder": "Is a directory"}
    if place == "a file":
        folder.write_text("")
    else:
        folder.mkdir()
        os.mkfifo(folder / NAME) if place == "a pipe" else (folder / NAME).mkdir()
    monkeypatch.setenv("RUNKIT_RUN_DIRECTORY", str(folder))
    runkit.score("accuracy", 0.5)
    runkit.score("accuracy", 0.5)
    assert capsys.readouterr().err == (
        f"runkit: NOT RECORDED: {folder / NAME}: {because[place]}; the program goes on\n"
    )
    assert place == "a file" or not stat.S_ISREG((folder / NAME).stat().st_mode)


def test_a_process_that_was_stopped_with_the_lock_holds_no_other_up_for_good(run_directory: Path) -> None:
    holder = python(
        "import fcntl, sys, time\n"
        f"file = open('{run_directory / NAME}', 'a')\nfcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\ntime.sleep(3600)\n",
        run_directory,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        runkit.log(step=1, loss=1.0)
    finally:
        holder.kill()
        holder.communicate()
    assert [line["values"] for line in lines_in(run_directory)] == [{"loss": 1.0}]


def test_threads_of_one_process_make_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RUNKIT_RUN_DIRECTORY")
    threads = [threading.Thread(target=lambda: runkit.params(a=1)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (folder,) = (tmp_path / "runs").iterdir()
    assert len(lines_in(folder)) == 8


def test_the_functions_load_nothing_but_python() -> None:
    script = (
        "import sys; before = set(sys.modules); import runkit; runkit.log; runkit.items\n"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before}"
        " - set(sys.stdlib_module_names)))"
    )
    assert ended(python(script, ROOT)) == (0, "['runkit']\n", "")


def test_the_public_names_are_these() -> None:
    assert runkit.__all__ == ["__version__", "items", "log", "params", "score"]
    assert [getattr(runkit, name) is getattr(recording, name) for name in runkit.__all__[1:]] == [True] * 4
