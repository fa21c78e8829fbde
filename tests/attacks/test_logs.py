"""Logs as bars, launchers, loggers and schedulers leave them: nothing known is lost, nothing is mixed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runkit.archive.workspace import Workspace
from runkit.ingest.readers import ingest
from runkit.ingest.signals import read_signals
from runkit.ingest.trainlog import TrainLog, read_train_log
from runkit.records.manifest import ALL_ZERO, EARLIER_START, NO_SAMPLES, RunFacts
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.validate import validate
from tests.conftest import SHARED, dump_text

BLOCK = "==== Config ====\nlr: 0.1\ntrain_steps: 40\n\n"
ZERO = "Source-alone acc: 0.000 | Target-alone acc: 0.000 | Bridged acc: 0.000"


def scores(bridged: str = "0.500") -> str:
    return f"Source-alone acc: 0.500 | Target-alone acc: 0.750 | Bridged acc: {bridged}"


def step(number: int, loss: str = "0.5") -> str:
    return f"Step {number}/40 | Loss (avg over last 20): {loss}\n"


BODY = (
    "World size: 4\n"
    + step(20)
    + f"[Eval] Step 20 | {scores()}\n[Checkpoint] Saved best (step 20) to checkpoint/best.pt\n"
    + step(40, "0.4")
    + f"[Final Eval] {scores('1.000')}\n"
)
WHOLE = BLOCK + BODY
PLAIN = read_train_log(WHOLE)


def facts(log: TrainLog) -> TrainLog:
    """Return what a log says, without how many lines it took to say it."""
    return replace(log, num_lines=0, num_lines_understood=0)


def each_line(text: str, change: Callable[[str], str]) -> str:
    return "".join(change(line) + "\n" for line in text.removesuffix("\n").split("\n"))


BARS = (
    "\rEvaluating: 100%|##########| 10/10 [00:01<00:00,  9.9it/s]",
    " 45%|####  | 9/20 [00:01<00:02]",
    "\r 45%|####  | 9/20 [00:01<00:02]\r 50%|#####  | 10/20 [00:01<00:02]",
    "Epoch 0:  45%|████▌     | 9/20 [00:01<00:02,  9.9it/s, v_num=0, loss=[0.1]]",
    "9.00kit [00:01, 8.9kit/s]",
    "Working... ━━━━━━━━━━╸━━━━━━━ 45% 0:00:01",
    "Epoch 0/9 ━━━━━━━━━━━━━━ 9/20 0:00:01 • 0:00:02 9.90it/s v_num: 0 train_loss: 0.3",
    " 9/20 [=====>......] - ETA: 1s - loss: 0.3 - accuracy: 0.9",
    "20/20 ━━━━━━━━━━━━━━━━━━━━ 1s 50ms/step - accuracy: 0.9 - loss: 0.3",
    "\x08\x08\x08\x08 9/20 [=====>......] - loss: 0.3",
    "\x1b[2K\x1b[1G\x1b[32m⠙\x1b[0m Training",
    "|████████████| 20/20 [100%] in 1.2s (16.67/s)",
    " 45% (9 of 20) |####   | Elapsed Time: 0:00:01 ETA:  0:00:02",
)


@pytest.mark.parametrize("bar", BARS)
def test_a_bar_before_a_line_hides_nothing_of_it(bar: str) -> None:
    log = read_train_log(BLOCK + each_line(BODY.partition("\n")[2], lambda line: bar + line))
    whole = read_train_log(BLOCK + BODY.partition("\n")[2])
    assert facts(log) == facts(whole)
    assert log.num_lines_understood == whole.num_lines_understood


@pytest.mark.parametrize("bar", [bar for bar in BARS if bar.startswith("\r")])
def test_what_is_redrawn_after_a_line_hides_nothing_of_it(bar: str) -> None:
    assert facts(read_train_log(BLOCK + each_line(BODY, lambda line: line + bar))) == facts(PLAIN)


def test_a_number_that_a_bar_cut_in_two_is_not_claimed() -> None:
    bar = "\r 45%|####  | 9/20 [00:01<00:02]"
    log = read_train_log(f"[Eval] Step 20 | {scores('0.6')}{bar}{bar}45\n")
    assert [one.accuracies for one in log.evaluations] == [{"source": 0.5, "target": 0.75}]


def test_a_program_that_is_killed_under_a_bar_was_killed() -> None:
    text = "\r 45%|####  | 9/20 [00:01<00:02, 3it/s]Killed\n"
    assert read_train_log(text).crash_line == 1
    assert [(one.kind, one.line) for one in read_signals(text)] == [("killed", 1)]


BEFORE = (
    "[rank0]: ", "[rank0]:", "[default0]:", "0: ", " 0: ", "[1,0]<stdout>:", "[1,0]<stdout>: ", "[0] ",
    "(worker pid=123) ", "(RayTrainWorker pid=123, ip=10.0.0.1) ", "node01: ", "gpu-a100-3.cluster: ",
    "trainer-1  | ", "node01: [rank0]: ", "gpu01  | ", "rank 0 | ", "10.0.0.1: ", "10.0.0.1: [rank0]: ",
    "2024-01-02T03:04:05.678901234Z stdout F ", "2024-01-02T03:04:05+00:00 ", "[03:04:05] ",
    "2024-01-02 03:04:05,678 - INFO - my.trainer - ", "2024-01-02 03:04:05,678 - root - INFO - ",
    "[2024-01-02 03:04:05,678][__main__][INFO] - ", "INFO:root:", "INFO     ",
    "2024-01-02 03:04:05.678 | INFO     | mod:fn:12 - ", "[INFO|trainer.py:1234] 2024-01-02 03:04:05,678 >> ",
    "I0102 03:04:05.678901 12345 train.py:123] ", "Jan  2 03:04:05 node01 python[12]: ",
    "20240102 03:04:05 | ", "I 01-02 03:04:05 [train.py:12] ", "1704164645: ",
    "\x1b[32m2024-01-02 03:04:05\x1b[0m \x1b[1mINFO\x1b[0m ",
    "\x1b]8;;file:///train.py\x1b\\12\x1b]8;;\x1b\\: ",
)  # fmt: skip


@pytest.mark.parametrize("before", BEFORE)
def test_what_stands_before_every_line_changes_no_fact(before: str) -> None:
    log = read_train_log(each_line(WHOLE, lambda line: before + line))
    assert facts(log) == facts(PLAIN)
    assert log.num_lines_understood == PLAIN.num_lines_understood


def test_colours_inside_a_line_change_no_fact() -> None:
    coloured = WHOLE.replace("[Eval]", "\x1b[1m\x1b[K[Eval]\x1b[0m").replace(
        "0.500", "\x1b[31m0.500\x1b[m\x1b[K"
    )
    assert read_train_log(coloured) == PLAIN


@pytest.mark.parametrize(
    "before", ["He said: ", "Answer: ", "Answer: 1234567890 ", "The log of 2024 was ", "Q - A - "]
)
def test_what_a_model_writes_before_a_form_makes_it_no_fact(before: str) -> None:
    log = read_train_log(each_line(BODY + "Killed\n", lambda line: before + line))
    assert (log.evaluations, log.steps, log.crash_line, log.num_lines_understood) == ((), (), None, 0)


def test_processes_that_print_the_same_are_counted_once_and_rank_0_is_believed() -> None:
    log = read_train_log(
        "".join(each_line(line, lambda one: f"1: {one}\n0: {one}") for line in WHOLE.splitlines())
    )
    assert (log.steps, log.num_starts, log.start_lines) == ((20, 40), 1, ())
    assert [(one.label, one.line, one.other_lines) for one in log.evaluations] == [
        ("20", 14, ()),
        ("final", 20, ()),
    ]
    assert (log.settings_line, log.setting_lines) == (2, {"lr": 4, "train_steps": 6})


def test_processes_that_disagree_are_not_merged_and_validate_says_so(
    workspace: Workspace, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    text = each_line(WHOLE, lambda line: f"[rank0]: {line}")
    other = f"[rank1]: [Eval] Step 20 | {scores('0.625')}\n"
    (run / "train.log").write_text(other + text)
    facts = preserve(workspace, PreserveRequest(run)).sealed
    evaluation = facts.evaluation("20")
    assert evaluation is not None
    assert (evaluation.logged_accuracy("bridged"), evaluation.contradicting_log_lines) == (0.5, (1,))
    assert [(one.rule, one.message) for one in validate(workspace).findings if one.rule == "RK201"] == [
        (
            "RK201",
            "step 20: the log gives other accuracies at 1 than at line 8, which was read",
        )
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_every_encoding_that_a_shell_writes_is_read(encoding: str, line_end: str) -> None:
    assert read_train_log(WHOLE.replace("\n", line_end).encode(encoding)) == PLAIN


def test_big_endian_with_its_mark_zeros_and_bytes_of_another_alphabet_are_read() -> None:
    assert read_train_log(b"\xfe\xff" + WHOLE.encode("utf-16-be")) == PLAIN
    assert read_train_log(b"\0" * 100_000 + WHOLE.encode()) == PLAIN
    assert facts(read_train_log(WHOLE.encode() + "café\n".encode("latin-1"))) == facts(PLAIN)
    broken = f"[Eval] Step 20 | {scores('0.6')}".encode() + b"\0" * 4096 + WHOLE.encode()
    assert [one.accuracies.get("bridged") for one in read_train_log(broken).evaluations] == [None, 0.5, 1.0]
    zero = read_train_log(WHOLE.replace("0.500\n", "0.5\x0000\n").encode()).evaluation("20")
    assert zero is not None
    assert "bridged" not in zero.accuracies
    appended = WHOLE.encode() + f"[Eval] Step 30 | {scores()}\r\n".encode("utf-16-le")
    assert [one.label for one in read_train_log(appended).evaluations] == ["20", "final", "30"]


@pytest.mark.parametrize(("mark", "encoding"), [(b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le")])
def test_the_mark_of_a_second_file_in_one_log_hides_no_start(mark: bytes, encoding: str) -> None:
    first, second = BLOCK + step(20), BLOCK.replace("0.1", "0.2") + step(20, "0.9")
    log = read_train_log(mark + first.encode(encoding) + mark + second.encode(encoding))
    assert (log.start_lines, log.settings["lr"], log.losses) == ((1, 6), "0.2", (0.9,))


@pytest.mark.parametrize("num_bars", [2, 7])
def test_several_bars_and_several_lines_that_share_one_line_are_all_found(num_bars: int) -> None:
    bars = " 45%|####  | 9/20 [00:01<00:02, 3.1it/s]" * num_bars
    log = read_train_log(BLOCK + "".join(bars + line for line in BODY.splitlines()) + "\n")
    assert (log.steps, log.losses, log.step_lines) == ((20, 40), (0.5, 0.4), (5, 5))
    assert [(one.label, one.accuracies["bridged"], one.line) for one in log.evaluations] == [
        ("20", 0.5, 5),
        ("final", 1.0, 5),
    ]


def test_a_job_that_starts_again_and_takes_up_a_checkpoint_is_one_run_from_there() -> None:
    log = read_train_log(
        BLOCK + step(20) + f"[Eval] Step 20 | {scores('0.250')}\n"
        + step(40) + f"[Eval] Step 40 | {scores()}\n"
        + "slurmstepd: error: *** JOB 1 CANCELLED DUE TO PREEMPTION ***\n" + BLOCK + step(40, "0.9")
    )  # fmt: skip
    assert (log.steps, log.losses, log.crash_line) == ((20, 40), (0.5, 0.9), None)
    assert ([one.label for one in log.evaluations], log.earlier_evaluations) == (["20"], {"40": 8})
    assert (log.start_lines, log.settings_line) == ((1, 10), 10)


def test_a_log_without_settings_whose_steps_go_back_holds_two_starts() -> None:
    log = read_train_log(step(20) + step(40) + f"[Final Eval] {scores()}\n" + step(20, "0.9"))
    assert (log.steps, log.losses, log.start_lines) == ((20,), (0.9,), (1, 4))
    assert (log.evaluations, log.earlier_evaluations) == ((), {"final": 3})


def test_no_sample_of_an_earlier_start_is_taken_for_one_of_the_last(
    cluster_run: Path, tmp_path: Path
) -> None:
    log = cluster_run / "inner" / "train.log"
    text = log.read_text()
    again = text[text.index("==== Config") :].replace("lr: 0.0001", "lr: 0.0002")
    log.write_text(text + again[: again.index("[Eval] Saved sample outputs to runs/x/eval_samples_step_20")])
    run = read(cluster_run)
    assert {one.label: (one.n, one.missing_because) for one in run.evaluations} == {
        "0": (4, None),
        "20": (0, EARLIER_START),
        "40": (0, EARLIER_START),
        "final": (0, EARLIER_START),
    }
    assert (run.status.value, run.training.last_step) == ("truncated", 20)
    first, second = run.provenance.log_starts
    assert run.status.reason.endswith(
        f"; the log holds 2 starts, at lines {first}, {second}, and this is the last"
    )


def read(run: Path) -> RunFacts:
    return ingest(run, run_id="x", directory_name=run.name).facts


def test_a_whole_final_dump_speaks_against_truncated_and_a_torn_one_does_not(cluster_run: Path) -> None:
    log = cluster_run / "inner" / "train.log"
    log.write_text(
        log.read_text().partition("[Eval] Saved sample outputs to runs/x/eval_samples_step_final")[0]
    )
    assert (read(cluster_run).status.value, read(cluster_run).status.reason) == (
        "completed", "the samples of the final evaluation are all there, though the log does not show it",
    )  # fmt: skip
    dump = cluster_run / "inner" / "eval_samples_step_final.jsonl"
    dump.write_text(dump.read_text()[:-9])
    assert read(cluster_run).status.value == "truncated"


NOTHING_MEASURED = {
    "all zero": lambda line: line,
    "no items": lambda line: f"{line} | n: 0",
    "nan": lambda line: line.replace("0.000", "nan"),
    "says so": lambda line: f"{line}\n[Eval] Warning: sample_records empty",
    "an empty block": lambda line: (
        f"{'=' * 9}\nSAMPLE OUTPUTS (first 3 examples):\n{'=' * 9}\n\n{'=' * 9}\n{line}"
    ),
}


def without_samples(run: Path, change: Callable[[str], str]) -> None:
    """Rewrite a run so that its evaluations measured nothing."""
    for dump in run.glob("inner/*.jsonl"):
        dump.unlink()
    text = (run / "inner" / "train.log").read_text().partition("[Eval]")[0]
    lines = [f"[Eval] Step {label} | {ZERO}" for label in (0, 20)] + [f"[Final Eval] {ZERO}"]
    (run / "inner" / "train.log").write_text(text + "".join(change(line) + "\n" for line in lines))


@pytest.mark.parametrize("how", NOTHING_MEASURED)
def test_an_evaluation_that_measured_nothing_is_never_a_zero(
    how: str, cluster_run: Path, workspace: Workspace
) -> None:
    without_samples(cluster_run, NOTHING_MEASURED[how])
    manifest = preserve(workspace, PreserveRequest(cluster_run))
    assert all(metric.value_fraction is None for metric in manifest.sealed.metrics)
    if how != "nan":
        assert manifest.sealed.status.value == "no_eval_samples"
        assert {one.missing_because for one in manifest.sealed.evaluations} <= {ALL_ZERO, NO_SAMPLES}
        assert "RK202" in {one.rule for one in validate(workspace).findings}


def test_a_zero_that_samples_prove_is_measured_and_so_is_one_beside_others_above_zero(
    cluster_run: Path,
) -> None:
    log = cluster_run / "inner" / "train.log"
    dump = cluster_run / "inner" / "eval_samples_step_final.jsonl"
    dump.write_text(dump_text("final", ("0", "0", "0", "0")))
    log.write_text(log.read_text().partition("[Final Eval]")[0] + f"[Final Eval] {scores('0.000')}\n")
    measured = read(cluster_run).metric("final.bridged")
    assert measured is not None
    assert (measured.value_fraction, measured.n, measured.evidence) == (0.0, 4, "recomputed")
    dump.unlink()
    logged = read(cluster_run).metric("final.bridged")
    assert logged is not None
    assert (logged.value_fraction, logged.evidence) == (0.0, "logged")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the reported cases are not beside the checkout")
def test_the_reported_run_with_a_glued_bar_is_complete(workspace: Workspace) -> None:
    facts = preserve(workspace, PreserveRequest(SHARED / "cases" / "log-progress-bar-glued" / "run")).sealed
    assert (facts.status.value, [one.label for one in facts.evaluations]) == ("completed", ["20", "final"])


NOISE = {
    "lines of a logger": b"2026-01-02 03:04:05,678 - INFO - a.b - ".ljust(99, b"x") + b"\n",
    "short bars": b"".join(b"\r%3d%%|####   | %4d/2000" % (part // 20, part) for part in range(2000)) + b"\n",
    "one line of bars without end": b"\r 45%|####      | 9/20 [00:01<00:02,  9.9it/s]" * 2000,
    "zeros": b"\0" * 100_000,
}

MEASURE = """
import resource, sys
from pathlib import Path
from runkit.ingest.trainlog import read_train_log
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
log = read_train_log(Path(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, log.steps, len(log.evaluations))
"""


@pytest.mark.parametrize("kind", NOISE)
def test_a_long_log_is_read_in_little_memory_and_nothing_around_the_noise_is_lost(
    kind: str, tmp_path: Path
) -> None:
    noise = NOISE[kind]
    path = tmp_path / "train.log"
    path.write_bytes(BLOCK.encode() + noise * ((24 << 20) // len(noise)) + b"\n" + BODY.encode())
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    grown, _, said = done.stdout.strip().partition(" ")
    assert said == "(20, 40) 2"
    assert int(grown) < 16 << 10  # kilobytes, on Linux
