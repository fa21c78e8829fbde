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
