"""A training log is read for what it proves, whatever other programs wrote into it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runkit.ingest.trainlog import read_train_log


def test_lines_are_counted_by_line_feeds_and_progress_bars_do_not_hide_a_step() -> None:
    log = read_train_log(
        "loading 0%\rloading 100%\rStep 20/2000 | Loss (avg over last 20): 4.8\nStep 40/2000 |"
    )
    assert (log.steps, log.last_step_line, log.num_lines) == ((20,), 1, 2)


def test_warnings_inside_the_configuration_block_are_no_settings() -> None:
    text = (
        "==== Config ====\nlr: 0.1\n/lib/hub.py:128: FutureWarning: old\n  warnings.warn(\n"
        "[W1116 20:12:23 Alloc.h:28] Warning: no\n\nseed: 7\n\n==== Reproducibility Settings ====\nlate: 1\n"
    )
    log = read_train_log(text)
    assert log.settings == {"lr": "0.1", "seed": "7"}
    assert log.settings_line == 1


def test_a_step_line_may_have_a_suffix() -> None:
    line = (
        "[Eval] Step 250 | Source-alone acc: 0.540 | Target-alone acc: 0.770 | Bridged acc: 0.520 | extra: 1"
    )
    log = read_train_log(line)
    evaluation = log.evaluation("250")
    assert evaluation is not None
    assert evaluation.accuracies == {"source": 0.54, "target": 0.77, "bridged": 0.52}


def test_a_loss_that_is_not_a_number_is_null() -> None:
    log = read_train_log(
        "Step 20/40 | Loss (avg over last 20): nan\nStep 40/40 | Loss (avg over last 20): inf\n"
    )
    assert log.losses == (None, None)


def test_a_model_that_talks_of_errors_in_the_middle_of_a_line_is_no_crash() -> None:
    assert read_train_log("He said: Killed\n the srun: error was mine\n").crash_line is None


def test_an_unknown_line_is_counted_and_not_guessed_at() -> None:
    log = read_train_log("Step twenty\nAccuracy is 0.9\nWorld size: 4 (x)\n")
    assert (log.num_lines, log.num_lines_understood, log.evaluations) == (3, 1, ())


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    log = read_train_log(text)
    assert 0 <= log.num_lines_understood <= log.num_lines


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\n", codec="utf-8")), max_size=8))
def test_lines_of_other_programs_around_it_do_not_change_an_evaluation(noise: list[str]) -> None:
    line = "[Final Eval] Source-alone acc: 0.100 | Target-alone acc: 0.200 | Bridged acc: 0.300"
    harmless = [text for text in noise if "[" not in text and "==== Config" not in text]
    log = read_train_log("\n".join([*harmless, line, *harmless, ""]))
    final = log.evaluation("final")
    assert final is not None
    assert (final.line, final.accuracies["bridged"]) == (len(harmless) + 1, 0.3)


FINAL = "[Final Eval] Source-alone acc: 0.540 | Target-alone acc: 0.770 | Bridged acc: 0.645"


def test_a_number_that_the_end_of_the_log_may_have_cut_is_not_claimed() -> None:
    whole = {"source": 0.54, "target": 0.77, "bridged": 0.645}
    final = read_train_log(FINAL + "\n").evaluation("final")
    assert final is not None
    assert final.accuracies == whole
    for length in range(len(FINAL)):
        final = read_train_log(FINAL[:length]).evaluation("final")
        assert final is None or final.accuracies.items() < whole.items()
    cut = read_train_log(
        "==== Config ====\nlr: 0.1\ntrain_steps: 20\nStep 20/2000 | Loss (avg over last 20): 1.7"
    )
    assert (cut.steps, cut.losses, cut.planned_steps) == ((20,), (None,), 2000)
    assert read_train_log("==== Config ====\nlr: 0.1\ntrain_steps: 20").settings == {"lr": "0.1"}
    stopped = read_train_log("[Early Stop] Stopping early at step 15")
    assert (stopped.stopped_early_line, stopped.stopped_early_step) == (1, None)


def test_what_is_no_fraction_is_no_accuracy() -> None:
    for wrong in ("0.5.5", "1.5", "nan", "64.5", "-0.5", "0,645", ""):
        final = read_train_log(FINAL.replace("0.645", wrong) + "\n").evaluation("final")
        assert final is not None
        assert final.accuracies == {"source": 0.54, "target": 0.77}


def test_a_run_that_was_started_again_into_the_same_log_is_its_last_start() -> None:
    block = "==== Config ====\nlr: {lr}\n\n==== Reproducibility Settings ====\n"
    step = "Step 20/40 | Loss (avg over last 20): {loss}\n"
    log = read_train_log(
        block.format(lr="0.1") + step.format(loss="1.0") + "Traceback (most recent call last):\n"
        + FINAL + "\n" + block.format(lr="0.2") + step.format(loss="2.0")
    )  # fmt: skip
    assert (log.num_starts, log.settings, log.steps, log.losses) == (2, {"lr": "0.2"}, (20,), (2.0,))
    assert (log.settings_line, log.setting_lines) == (8, {"lr": 9})
    assert (log.evaluations, log.crash_line) == ((), None)


def test_a_setting_that_another_rank_repeats_keeps_its_first_value_and_an_error_is_no_setting() -> None:
    log = read_train_log(
        "==== Config ====\nlr: 0.1\nslurmstepd: error: *** JOB 1 CANCELLED\nlr: 9\n50%\rseed: 7\n\n====\n"
    )
    assert log.settings == {"lr": "0.1", "seed": "7"}
    assert log.crash_line == 3


def test_only_the_evaluation_that_had_no_samples_is_told_so() -> None:
    scores = "Source-alone acc: 0.000 | Target-alone acc: 0.000 | Bridged acc: 0.000"
    log = read_train_log(
        f"[Eval] Saved sample outputs to x/eval_samples_step_0.jsonl\n[Eval] Step 0 | {scores}\n"
        f"[Eval] Warning: sample_records empty\n[Eval] Step 250 | {scores}\n"
        f"[Eval] Step 500 | {scores}\n[Eval] sample_records empty, nothing saved\n[Final Eval] {scores}\n"
    )
    assert {one.label: one.has_samples for one in log.evaluations} == {
        "0": True,
        "250": False,
        "500": False,
        "final": True,
    }


def test_windows_line_ends_change_nothing() -> None:
    text = f"==== Config ====\nlr: 0.1\n\n==== End ====\nWorld size: 4 (each)\n{FINAL} | seen: 3\n"
    plain, windows = read_train_log(text), read_train_log(text.replace("\n", "\r\n"))
    assert plain == windows


def test_every_rank_counts_its_own_gpu_once() -> None:
    log = read_train_log(
        "  GPU 0: NVIDIA H100 80GB HBM3\n  GPU 1: NVIDIA H100 80GB HBM3\n[Rank 1] GPU 1 available: "
        "NVIDIA H100 "
        "80GB HBM3\n  GPU 0: NVIDIA H100 80GB HBM3[W1116 20:12:24 Config.h:28] Warning: x\n"
    )
    assert (log.gpus, log.gpu_line) == ({0: "NVIDIA H100 80GB HBM3", 1: "NVIDIA H100 80GB HBM3"}, 1)
