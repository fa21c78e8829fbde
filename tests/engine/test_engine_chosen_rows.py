"""Runs whose evaluations are sized for the person: chosen once, said, recorded, and never chosen again."""

import json

import pytest

from runkit.archive.workspace import Workspace
from runkit.engine import config, evaluation_rows, preparation
from runkit.engine.launching import LaunchEnd
from runkit.engine.recorded import read_recorded
from runkit.engine.reporter import LinesReporter
from runkit.engine.resumption import STATE
from runkit.errors import RunUnreadable, TrainingStopped, UsageError
from runkit.workflows.diff import diff
from runkit.workflows.evaluate import EvalRequest, evaluate
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.train import TrainRequest, resolve, resume, train

from .conftest import SHORT, trained
from .test_engine_train_run import Interrupting
from .test_engine_world import dumps, together

AUTO = "eval.batch_size=auto"
KEY = "eval.batch_size"
CHOSEN = (
    "12, the largest equal batches of 12 items with at most 128 rows and 4.0 GiB: estimated to need 0.0 GiB, "
    "whatever the machine has free"
)


@pytest.fixture
def settings(problems, tiny):
    """A short run of a pair of local folders on problems of many lengths."""
    return (*SHORT, *problems, f"pair.source={tiny['mistral']}", f"pair.target={tiny['llama']}")


@pytest.fixture
def forgetful(monkeypatch):
    """Sabotage: from now on whoever chooses again chooses something else."""

    def forget():
        monkeypatch.setattr(evaluation_rows, "CPU_ROWS", 3)

    return forget


def quietly():
    return LinesReporter(lambda _line: None)


def run_with(workspace, run_id, *overrides, reporter=None):
    request = TrainRequest(overrides=overrides, run_id=run_id)
    return train(workspace, request, reporter=reporter or quietly()).folder


def stopped(workspace, run_id, *overrides):
    with pytest.raises(TrainingStopped, match=r"^interrupted; "):
        run_with(workspace, run_id, *overrides, reporter=Interrupting(3))
    return workspace.runs / run_id


def document(run):
    return json.loads((run / "config.json").read_text())


def test_a_run_says_records_and_archives_what_was_chosen(tmp_path, settings):
    lines, workspace = [], Workspace(tmp_path)
    run = run_with(workspace, "one", *settings, AUTO, reporter=LinesReporter(lines.append))
    said = document(run)
    assert (said["given"][KEY], said["effective"][KEY]) == ("auto", 12)
    assert said["automatic"] == {KEY: CHOSEN}
    log = (run / "train.log").read_text().splitlines()
    assert f"{KEY}: 12" in log[: log.index("")]
    assert log[log.index("") + 2] == f"[Config] {KEY} was chosen automatically: {CHOSEN}"
    assert f"[Config] {KEY} was chosen automatically: {CHOSEN}" in lines
    sealed = preserve(workspace, PreserveRequest(run)).sealed.configuration
    assert dict(sealed.automatic) == {KEY: CHOSEN}
    assert (sealed.logged[KEY], sealed.effective[KEY]) == ('"auto"', 12)


def test_a_run_is_that_of_the_number_by_hand(tmp_path, settings):
    workspace = Workspace(tmp_path)
    chosen, by_hand = (
        run_with(workspace, name, *settings, f"{KEY}={value}")
        for name, value in (("chosen", "auto"), ("by_hand", 12))
    )
    assert document(chosen)["digest"] == document(by_hand)["digest"]
    for name in ("checkpoint/best.safetensors", "checkpoint/last.safetensors"):
        assert (chosen / name).read_bytes() == (by_hand / name).read_bytes()
    assert dumps(chosen) == dumps(by_hand)
    assert "automatic" not in document(by_hand)
    assert document(by_hand)["given"][KEY] == 12


def test_what_goes_on_with_a_run_takes_its_number(tmp_path, settings, forgetful):
    workspace = Workspace(tmp_path)
    whole = run_with(workspace, "whole", *settings, AUTO)
    run = stopped(workspace, "one", *settings, AUTO)
    before = (run / "config.json").read_bytes()
    forgetful()
    resume(workspace, "one", TrainRequest(), reporter=quietly())
    assert (run / "config.json").read_bytes() == before
    assert dumps(run) == dumps(whole)
    log = (run / "train.log").read_text()
    assert log.count(" was chosen automatically: ") == 1
    measured = evaluate(workspace, EvalRequest("one"), note=lambda _line: None)
    assert measured.comparison.num_equal_texts == 12
    anew = run_with(workspace, "anew", *settings, AUTO)
    for folder in (run, anew):
        preserve(workspace, PreserveRequest(folder))
    (differing,) = diff(workspace, "one", "anew").section("configuration").differing
    assert (differing.name, differing.first, differing.second) == (KEY, "12", "3")


def test_asking_for_auto_again_goes_on_with_the_recorded_number(tmp_path, settings, forgetful):
    workspace = Workspace(tmp_path)
    stopped(workspace, "one", *settings, AUTO)
    forgetful()
    request = TrainRequest(preset="pocket", overrides=(*settings, AUTO))
    assert resume(workspace, "one", request, reporter=quietly()).result.steps == 6


@pytest.mark.parametrize(
    ("started", "asked", "line"),
    [("12", "auto", "12 in the run, 'auto' asked for"), ("auto", "6", "12 in the run, 6 asked for")],
)
def test_another_number_or_a_choice_where_there_was_none_is_refused(tmp_path, settings, started, asked, line):
    workspace = Workspace(tmp_path)
    stopped(workspace, "one", *settings, f"{KEY}={started}")
    with pytest.raises(UsageError) as refused:
        resume(workspace, "one", TrainRequest(overrides=[f"{KEY}={asked}"]), reporter=quietly())
    assert str(refused.value) == (
        f"run 'one' was started with another configuration: {KEY} ({line}); resume it as it was, or train a "
        "new run"
    )


def test_a_number_that_somebody_changed_in_the_record_is_found(tmp_path, settings):
    """Sabotage: 12 becomes 6 in config.json, and nothing else."""
    workspace = Workspace(tmp_path)
    run = stopped(workspace, "one", *settings, AUTO)
    said = document(run)
    said["effective"][KEY] = 6
    (run / "config.json").write_text(json.dumps(said))
    with pytest.raises(RunUnreadable, match=r"^config\.json of one means something else"):
        resume(workspace, "one", TrainRequest(), reporter=quietly())


def test_where_the_recorded_number_does_not_fit_a_resumption_is_refused(tmp_path, settings, monkeypatch):
    workspace = Workspace(tmp_path)
    many = ("bridge.num_soft_tokens=256",)
    run = stopped(workspace, "one", *settings, *many, AUTO)
    chosen = document(run)["effective"][KEY]
    free = preparation.fit(read_recorded(run).config, cache_dir=tmp_path, note=print)
    load = free.builder.workload()
    needed = evaluation_rows.total_bytes(evaluation_rows.run_bytes(*free.builder.shapes, load))
    monkeypatch.setattr(preparation, "available_bytes", lambda _place: needed - 1)
    with pytest.raises(TrainingStopped) as refused:
        resume(workspace, "one", TrainRequest(), reporter=quietly())
    assert str(refused.value).startswith("the pair needs about 0.0 GiB more and this machine's cpu has 0.0 ")
    assert document(run)["effective"][KEY] == chosen
    assert (run / STATE).is_file()


def test_two_processes_choose_the_number_of_one(tmp_path, cache_dir, settings):
    overrides = [*settings, AUTO]
    assert together("train_all", tmp_path, ("pocket", overrides)) == LaunchEnd("done")
    alone, _ = trained(
        tmp_path / "alone", config.with_overrides(config.load_preset("pocket"), overrides), cache_dir
    )
    assert document(tmp_path / "0")["automatic"] == document(alone)["automatic"]
    assert document(tmp_path / "0")["digest"] == document(alone)["digest"]
    assert dumps(tmp_path / "0") == dumps(alone)


def test_a_run_that_does_not_fit_has_a_log_that_says_what_was_asked(tmp_path, settings, monkeypatch):
    workspace = Workspace(tmp_path)
    monkeypatch.setattr(preparation, "available_bytes", lambda _place: 10_000)
    with pytest.raises(TrainingStopped):
        run_with(workspace, "one", *settings, AUTO)
    log = (workspace.runs / "one" / "train.log").read_text().splitlines()
    assert f'{KEY}: "auto"' in log
    assert log[-1].startswith("[Crash] the pair needs about ")


def test_what_the_presets_for_a_real_pair_ask_for_and_what_others_do():
    asking = {
        name for name in config.preset_names() if config.load_preset(name).eval.batch_size == config.AUTO
    }
    assert asking == {"gsm8k", "gsm8k_soft_only"}
    asked = resolve(TrainRequest(preset="gsm8k"))
    assert asked.automatic == {}, "the engine chooses, once it knows the models and the memory"
