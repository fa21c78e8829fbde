import hashlib
import json
import re

import pytest
import torch

from runkit.engine import config
from runkit.engine.bridge.dimensions import Dimensions
from runkit.engine.bridge.dit import DiTBridge
from runkit.engine.checkpoint import load_into, read_checkpoint
from runkit.engine.pair import load_frozen
from runkit.engine.reporter import LinesReporter
from runkit.engine.train_run import train
from runkit.errors import AlreadyExists, RunUnreadable, TrainingStopped, UnknownName

FILES = [
    "checkpoint/best.safetensors",
    "checkpoint/last.safetensors",
    "config.json",
    "eval_samples_step_0.jsonl",
    "eval_samples_step_2.jsonl",
    "eval_samples_step_4.jsonl",
    "eval_samples_step_6.jsonl",
    "eval_samples_step_final.jsonl",
    "metrics.jsonl",
    "summary.log",
    "train.log",
]


class Interrupting(LinesReporter):
    """A person who presses Ctrl-C after a step."""

    def __init__(self, at_step):
        super().__init__(lambda _line: None)
        self.at_step = at_step

    def step(self, step, loss):
        if step == self.at_step:
            raise KeyboardInterrupt


def files_of(run_dir):
    return sorted(path.relative_to(run_dir).as_posix() for path in run_dir.rglob("*") if path.is_file())


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def log_of(run_dir):
    return (run_dir / "train.log").read_text().splitlines()


def comparable(run_dir):
    """Every file's bytes, without the two things that tell the time."""
    content = {name: (run_dir / name).read_bytes() for name in files_of(run_dir)}
    del content["summary.log"]
    content["metrics.jsonl"] = re.sub(
        rb'"(samples_per_second|peak_memory_bytes)": [0-9.]+', b"", content["metrics.jsonl"]
    )
    return content


def test_a_run_directory_holds_these_files_and_no_more(one_run):
    run_dir, _ = one_run
    assert files_of(run_dir) == FILES


def test_a_rerun_writes_the_same_bytes_whatever_the_caller_did_to_torch(one_run, short_run, tmp_path):
    first, _ = one_run
    threads = torch.get_num_threads()
    torch.manual_seed(99)
    torch.set_num_threads(2)
    try:
        second, _ = short_run("two", cache=tmp_path / "another_cache")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert comparable(first) == comparable(second)


def test_a_run_leaves_the_callers_random_state_and_settings_alone(short_run):
    torch.manual_seed(4)
    before = torch.get_rng_state()
    short_run("one")
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_another_seed_trains_other_weights_on_the_same_problems(one_run, short_run):
    first, _ = one_run
    second, _ = short_run("two", "seed=5")
    assert (first / "checkpoint/last.safetensors").read_bytes() != (
        second / "checkpoint/last.safetensors"
    ).read_bytes()
    data = [json.loads((run_dir / "config.json").read_text())["data"] for run_dir in (first, second)]
    assert data[0] == data[1]


def test_the_log_reads_like_this(one_run):
    run_dir, result = one_run
    log = log_of(run_dir)
    short = config.with_overrides(config.load_preset("pocket"), [])
    assert log[0] == "==== Config ===="
    end = log.index("")
    assert [line.split(": ")[0] for line in log[1:end]] == [
        key for key in config.effective(short) if key != "train.patience_evals"
    ]
    assert "train.steps: 6" in log[1:end]
    assert 'prompt.instruction: "\\nA:"' in log[1:end]
    assert log[end + 1] == "World size: 1"
    assert log[end + 2] == "[Config] arithmetic: the same bits on every x86-64 processor with AVX2"
    assert (
        log[end + 3] == "[Eval Plan] steps: split=dev n=10 | final: split=test n=12 | final checkpoint: best"
    )
    kinds = [re.sub(r"\d+\.\d+", "x", line) for line in log[end + 4 :]]
    alone = "Source-alone acc: x | Target-alone acc: x | Bridged acc: x"
    best = f"step {result.best_step}"
    assert kinds[:3] == [
        f"[Eval] Step 0 | {alone}",
        "[Eval] Saved sample outputs to eval_samples_step_0.jsonl",
        "[Checkpoint] Saved best (step 0, dev bridged acc x) to checkpoint/best.safetensors",
    ]
    assert kinds[3] == "Step 2/6 | Loss (avg over last 2): x"
    assert kinds[-4:] == [
        "[Checkpoint] Saved last (step 6) to checkpoint/last.safetensors",
        "[Eval] Saved sample outputs to eval_samples_step_final.jsonl",
        f"[Final Eval] {alone}",
        "[Control] shuffled_source acc: x",
    ]
    assert any(best in line for line in kinds)


def test_the_dumps_outcomes_are_the_logged_accuracies(one_run):
    run_dir, result = one_run
    log = "\n".join(log_of(run_dir))
    for step, head in [(str(step), f"[Eval] Step {step} |") for step in (0, 2, 4, 6)] + [
        ("final", "[Final Eval]")
    ]:
        rows = rows_of(run_dir / f"eval_samples_step_{step}.jsonl")
        shares = [
            sum(row[f"{system}_extracted"] == row["gold_extracted"] for row in rows) / len(rows)
            for system in ("source", "target", "bridged")
        ]
        spoken = zip(("Source-alone", "Target-alone", "Bridged"), shares, strict=True)
        assert head + " " + " | ".join(f"{name} acc: {share:.3f}" for name, share in spoken) in log
    final = rows_of(run_dir / "eval_samples_step_final.jsonl")
    shuffled = sum(row["shuffled_source_extracted"] == row["gold_extracted"] for row in final)
    assert result.final["shuffled_source"].correct == shuffled
    assert f"[Control] shuffled_source acc: {shuffled / 12:.3f}" in log


def test_a_dump_row_says_which_item_draw_and_checkpoint(one_run):
    run_dir, result = one_run
    dev, final = (
        rows_of(run_dir / "eval_samples_step_2.jsonl"),
        rows_of(run_dir / "eval_samples_step_final.jsonl"),
    )
    assert list(dev[3]) == [
        "eval_step", "index", "item", "split", "question", "gold_extracted",
        "source_extracted", "source_full", "source_finish",
        "target_extracted", "target_full", "target_finish",
        "bridged_extracted", "bridged_full", "bridged_finish", "noise_draw", "checkpoint_step",
    ]  # fmt: skip
    assert (dev[3]["eval_step"], dev[3]["index"], dev[3]["item"], dev[3]["split"]) == ("2", 3, "dev-3", "dev")
    assert (dev[3]["noise_draw"], dev[3]["checkpoint_step"]) == (0, 2)
    assert (final[0]["eval_step"], final[0]["item"], final[0]["split"]) == ("final", "test-0", "test")
    assert {row["checkpoint_step"] for row in final} == {result.best_step}
    assert {"shuffled_source_extracted", "shuffled_source_full", "shuffled_source_finish"} < set(final[0])


def test_in_soft_only_mode_the_text_without_soft_tokens_is_a_control_of_its_own(short_run):
    run_dir, result = short_run("one", preset="pocket_soft_only")
    rows = rows_of(run_dir / "eval_samples_step_final.jsonl")
    assert len({row["no_soft_tokens_full"] for row in rows}) == 1
    correct = sum(row["no_soft_tokens_extracted"] == row["gold_extracted"] for row in rows)
    assert result.final["no_soft_tokens"].correct == correct
    assert log_of(run_dir)[-1] == f"[Control] no_soft_tokens acc: {correct / 12:.3f}"


def test_the_configuration_on_disk_says_what_was_run(short_run):
    run_dir, result = short_run("one", preset="pocket_mean_pool")
    written = json.loads((run_dir / "config.json").read_text())
    assert list(written) == [
        "format", "preset", "given", "effective", "inert", "digest", "models", "data", "arithmetic", "notes",
    ]  # fmt: skip
    assert written["preset"] == "pocket_mean_pool"
    assert written["effective"]["bridge.conditioning"] == "mean"
    assert not set(written["effective"]) & set(written["inert"])
    assert written["digest"] == result.config_digest
    assert written["models"]["target"] == {
        "name": "pocket/target", "sha256": load_frozen("pocket/target").sha256,
    }  # fmt: skip
    assert written["notes"]["ablates"] == {"run": "pocket", "factors": ["bridge.conditioning"]}


def test_metrics_hold_every_logged_step_in_nats(one_run):
    run_dir, _ = one_run
    rows = rows_of(run_dir / "metrics.jsonl")
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert list(rows[0]) == [
        "step", "loss", "nll_nats", "flow", "grad_norm", "learning_rate", "rms_ratio", "samples_per_second",
        "peak_memory_bytes",
    ]  # fmt: skip
    assert all(0.999 < row["rms_ratio"] < 1.001 for row in rows)


def test_terms_of_weight_zero_are_not_computed_and_others_are_reported(short_run):
    run_dir, _ = short_run("off", "loss.flow_weight=0")
    assert not {"flow", "prompt_alignment"} & set(rows_of(run_dir / "metrics.jsonl")[0])
    run_dir, _ = short_run("on", "loss.flow_weight=0.5", "loss.prompt_alignment_weight=0.1")
    (row, *_) = rows_of(run_dir / "metrics.jsonl")
    assert row["loss"] == pytest.approx(row["nll_nats"] + 0.5 * row["flow"] + 0.1 * row["prompt_alignment"])


def test_no_file_names_a_place_on_this_machine(one_run):
    run_dir, _ = one_run
    for name in files_of(run_dir):
        assert str(run_dir.parent).encode() not in (run_dir / name).read_bytes()
        assert b"/home" not in (run_dir / name).read_bytes()


def test_the_summary_is_three_lines(one_run):
    run_dir, _ = one_run
    assert re.fullmatch(
        r"Run directory: one\nEnd time: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d\nLogs: train\.log\n",
        (run_dir / "summary.log").read_text(),
    )


def test_best_and_last_are_two_files_and_best_is_of_the_step_it_says(one_run):
    run_dir, result = one_run
    best, last = (
        read_checkpoint(run_dir / "checkpoint" / f"{role}.safetensors") for role in ("best", "last")
    )
    assert (best.step, best.role, last.step, last.role) == (result.best_step, "best", 6, "last")
    assert best.config_digest == last.config_digest == result.config_digest
    digests = {hashlib.sha256((run_dir / name).read_bytes()).hexdigest() for name in FILES[:2]}
    assert len(digests) == 2


def test_later_steps_cannot_change_the_best_checkpoint(short_run):
    # a hopeless learning rate: step 0 stays the best, while the weights move on
    run_dir, result = short_run("one", "optim.learning_rate=1e-9")
    best, last = (
        read_checkpoint(run_dir / "checkpoint" / f"{role}.safetensors") for role in ("best", "last")
    )
    assert result.best_step == 0
    assert torch.equal(best.weights["leave.weight"], torch.zeros_like(best.weights["leave.weight"]))
    assert not torch.equal(last.weights["leave.weight"], best.weights["leave.weight"])


def test_ties_go_to_the_earliest_candidate_and_patience_ends_the_run(short_run):
    run_dir, result = short_run(
        "one",
        "optim.learning_rate=1e-9",
        "train.patience_evals=1",
        "train.steps=100",
        "train.eval_every_steps=2",
    )
    assert (result.best_step, result.steps, result.stopped_early) == (0, 2, True)
    log = log_of(run_dir)
    accuracy = f"{result.best_dev.accuracy_fraction:.3f}"
    assert "[Early Stop] No improvement, patience: 1/1" in log
    assert f"[Early Stop] Stopping early at step 2. Best bridged acc: {accuracy}" in log


def test_texts_do_not_depend_on_the_evaluation_batch_size(one_run, short_run):
    first, _ = one_run
    second, _ = short_run("two", "eval.batch_size=3")
    for name in FILES[3:8]:
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_loss_that_is_not_finite_stops_the_run_naming_term_and_step(short_run, tmp_path):
    with pytest.raises(TrainingStopped) as caught:
        short_run("one", "sampler.noise_std=1e39")
    assert re.fullmatch(r"the \w+ term is (nan|inf) at step 1; training cannot go on", str(caught.value))
    assert log_of(tmp_path / "one")[-1] == f"[Crash] {caught.value}"
    assert "summary.log" not in files_of(tmp_path / "one")


def test_a_model_that_is_not_there_is_the_logs_last_line(short_run, tmp_path):
    with pytest.raises(UnknownName):
        short_run("one", "pair.target=pocket/tarket")
    assert log_of(tmp_path / "one")[-1].startswith("[Crash] there is no model 'pocket/tarket'; did you mean")


def test_a_folder_that_holds_a_run_is_never_trained_into(one_run, cache_dir):
    run_dir, _ = one_run
    before = comparable(run_dir)
    quiet = LinesReporter(lambda _line: None)
    with pytest.raises(AlreadyExists, match=r"^one holds a run already; train into a new folder$"):
        train(config.load_preset("pocket"), run_dir, cache_dir=cache_dir, reporter=quiet, run_id="one")
    assert comparable(run_dir) == before


def test_a_pool_smaller_than_a_batch_is_refused(short_run):
    with pytest.raises(TrainingStopped, match=r"^train\.pool_items is 3, less than one batch of 4$"):
        short_run("one", "train.pool_items=3")


def test_an_interrupted_run_leaves_an_honest_log_and_keeps_what_was_measured(short_run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        short_run("one", reporter=Interrupting(5))
    run_dir = tmp_path / "one"
    log = log_of(run_dir)
    assert log[-1] == "[Interrupted] at step 5"
    assert not any(line.startswith(("[Final Eval]", "[Crash]")) for line in log)
    assert {"eval_samples_step_4.jsonl", "checkpoint/best.safetensors"} < set(files_of(run_dir))
    assert not {"summary.log", "checkpoint/last.safetensors"} & set(files_of(run_dir))
    assert read_checkpoint(run_dir / "checkpoint/best.safetensors").role == "best"


def test_a_checkpoint_of_another_bridge_is_not_loaded(one_run):
    run_dir, _ = one_run
    dimensions = Dimensions(8, 8, width=8, depth=1, heads=2, num_soft_tokens=2)
    other = DiTBridge(dimensions, slot_positions=True, conditioning="mean")
    with pytest.raises(RunUnreadable):
        load_into(other, read_checkpoint(run_dir / "checkpoint/best.safetensors").weights)


def test_the_reporter_hears_of_steps_evaluations_and_notes(short_run):
    heard = []
    short_run("one", reporter=LinesReporter(heard.append, every_steps=3))
    assert [line.split(" loss")[0] for line in heard if line.startswith("step ")] == ["step 3/6", "step 6/6"]
    evaluations = [line.split(":")[0] for line in heard if line.startswith("evaluation")]
    assert evaluations == [f"evaluation at {step} on dev" for step in (0, 2, 4, 6)] + [
        "evaluation at final on test"
    ]
    assert heard[-1].startswith("[Control] shuffled_source acc: ")


def test_the_engine_prints_nothing(short_run, capfd):
    short_run("one")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name", [name for name in config.preset_names() if name != "pocket" and not name.startswith("gsm8k")]
)
def test_every_preset_trains(short_run, name):
    _, result = short_run("one", preset=name)
    assert result.steps == 6
