"""A run that stopped anywhere goes on to the same bytes, or says in one line why it cannot."""

import json
import re
import resource
import shutil

import pytest
import torch

from runkit.engine import checkpoint, config, resumption, run_files
from runkit.engine.bridge.dimensions import Dimensions
from runkit.engine.bridge.dit import DiTBridge
from runkit.engine.recorded import assert_same, read_recorded
from runkit.engine.reporter import LinesReporter
from runkit.engine.resumption import STATE, read_state, write_state
from runkit.engine.train_run import resume
from runkit.errors import RunUnreadable, StorageFailed, UsageError
from runkit.ingest.trainlog import read_train_log
from tests.engine.conftest import SHORT, trained
from tests.engine.test_engine_train_run import Interrupting, comparable, files_of, log_of


class Killed(BaseException):
    """The process is gone: nothing that handles errors or interruptions sees this."""


def resumed(run_dir, cache_dir, *, reporter=None):
    recorded = read_recorded(run_dir)
    return resume(
        recorded.config,
        run_dir,
        cache_dir=cache_dir,
        reporter=reporter or LinesReporter(lambda _line: None),
        run_id=run_dir.name,
        recorded=recorded.content,
    )


def without_resumptions(content):
    log = re.sub(rb"\[Resumed\] from step \d+\n", b"", content["train.log"])
    return {**content, "train.log": log}


@pytest.fixture
def dying_at(monkeypatch):
    """Return a function after which the n-th write to a run directory kills the process, half done."""

    def arm(number):
        count = 0

        def one_less():
            nonlocal count
            count += 1
            if count == number:
                raise Killed

        whole, append = checkpoint.write_whole, run_files.RunFiles._append

        def dying_whole(path, content):
            try:
                one_less()
            except Killed:
                path.with_name(f".{path.name}.1.tmp").write_bytes(content[: len(content) // 2])
                raise
            whole(path, content)

        def dying_append(self, name, text):
            try:
                one_less()
            except Killed:
                append(self, name, text[: len(text) // 2])
                raise
            append(self, name, text)

        for module in (checkpoint, run_files, resumption):
            monkeypatch.setattr(module, "write_whole", dying_whole)
        monkeypatch.setattr(run_files.RunFiles, "_append", dying_append)

    yield arm
    monkeypatch.undo()


@pytest.mark.parametrize("write", [12, 19, 20, 37])
def test_a_run_killed_in_the_middle_of_a_write_ends_with_the_same_bytes(
    one_run, short_run, tmp_path, cache_dir, monkeypatch, dying_at, write
):
    whole, result = one_run
    dying_at(write)
    with pytest.raises(Killed):
        short_run("one")
    monkeypatch.undo()
    run_dir = tmp_path / "one"
    assert resumed(run_dir, cache_dir) == result
    assert without_resumptions(comparable(run_dir)) == comparable(whole)
    assert (run_dir / "train.log").read_text().count("[Resumed] from step ") == 1


def test_a_run_interrupted_at_every_evaluation_ends_with_the_same_bytes(
    one_run, short_run, tmp_path, cache_dir
):
    whole, result = one_run
    with pytest.raises(KeyboardInterrupt):
        short_run("one", reporter=Interrupting(1))
    run_dir = tmp_path / "one"
    for step in (3, 5):
        with pytest.raises(KeyboardInterrupt):
            resumed(run_dir, cache_dir, reporter=Interrupting(step))
    assert resumed(run_dir, cache_dir) == result
    assert without_resumptions(comparable(run_dir)) == comparable(whole)
    assert [line for line in log_of(run_dir) if line.startswith(("[Resumed]", "[Interrupted]"))] == [
        "[Resumed] from step 0",
        "[Resumed] from step 2",
        "[Resumed] from step 4",
    ]
    log = read_train_log((run_dir / "train.log").read_text())
    assert log.steps == (2, 4, 6)
    of_whole = read_train_log((whole / "train.log").read_text())
    assert log.num_lines - log.num_lines_understood == of_whole.num_lines - of_whole.num_lines_understood


def test_evaluations_between_two_logged_steps_lose_no_loss(short_run, tmp_path, cache_dir):
    overrides = ("train.log_every_steps=3",)
    whole, result = short_run("whole", *overrides)
    with pytest.raises(KeyboardInterrupt):
        short_run("one", *overrides, reporter=Interrupting(5))
    assert read_state(tmp_path / "one" / STATE).losses != ()
    assert resumed(tmp_path / "one", cache_dir) == result
    assert without_resumptions(comparable(tmp_path / "one")) == comparable(whole)


def test_patience_is_remembered(short_run, tmp_path, cache_dir):
    overrides = ("optim.learning_rate=1e-9", "train.patience_evals=2", "train.steps=100")
    whole, result = short_run("whole", *overrides)
    assert result.stopped_early
    with pytest.raises(KeyboardInterrupt):
        short_run("one", *overrides, reporter=Interrupting(3))
    assert resumed(tmp_path / "one", cache_dir) == result
    assert without_resumptions(comparable(tmp_path / "one")) == comparable(whole)


def test_a_run_killed_after_its_last_write_ends_with_the_same_bytes(one_run, short_run, tmp_path, cache_dir):
    whole, result = one_run
    with pytest.raises(KeyboardInterrupt):
        short_run("one", reporter=Interrupting(5))
    run_dir = tmp_path / "one"
    state = (run_dir / STATE).read_bytes()
    resumed(run_dir, cache_dir)
    (run_dir / STATE).write_bytes(state)
    assert resumed(run_dir, cache_dir) == result
    assert without_resumptions(comparable(run_dir)) == comparable(whole)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory, cache_dir):
    folder = tmp_path_factory.mktemp("stopped") / "one"
    short = config.with_overrides(config.load_preset("pocket"), SHORT)
    with pytest.raises(KeyboardInterrupt):
        trained(folder, short, cache_dir, reporter=Interrupting(3))
    return folder


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """A run that stopped in step 3, one's own copy."""
    return shutil.copytree(stopped_once, tmp_path / "one")


def all_bytes(run_dir):
    return {name: (run_dir / name).read_bytes() for name in files_of(run_dir)}


def test_the_state_is_one_more_file_and_goes_when_the_run_ends(stopped, one_run):
    assert STATE.as_posix() in files_of(stopped)
    assert STATE.as_posix() not in files_of(one_run[0])
    assert read_state(stopped / STATE).step == 2


def test_a_state_is_read_back_as_it_was_written(stopped, tmp_path):
    saved = read_state(stopped / STATE)
    write_state(tmp_path / "again.safetensors", saved)
    assert (tmp_path / "again.safetensors").read_bytes() == (stopped / STATE).read_bytes()
    assert sorted({name.partition(".")[2] for name in saved.optimizer}) == ["exp_avg", "exp_avg_sq", "step"]


@pytest.mark.parametrize("place", [0.0, 0.01, 0.3, 0.6, 0.999])
def test_one_changed_byte_of_the_state_is_found_and_nothing_is_touched(stopped, cache_dir, place):
    content = bytearray((stopped / STATE).read_bytes())
    content[int(place * len(content))] ^= 0x10
    (stopped / STATE).write_bytes(content)
    before = all_bytes(stopped)
    with pytest.raises(RunUnreadable, match=r"^state\.safetensors "):
        resumed(stopped, cache_dir)
    assert all_bytes(stopped) == before


@pytest.mark.parametrize("length", [0, 5, 3000, -1])
def test_a_torn_state_is_found(stopped, cache_dir, length):
    (stopped / STATE).write_bytes((stopped / STATE).read_bytes()[:length])
    with pytest.raises(RunUnreadable, match=r"^state\.safetensors cannot be read as the state of a run: "):
        resumed(stopped, cache_dir)


def test_a_shortened_log_is_found_and_nothing_is_touched(stopped, cache_dir):
    text = (stopped / "train.log").read_text()
    (stopped / "train.log").write_text(text[:100])
    before = all_bytes(stopped)
    with pytest.raises(RunUnreadable, match=r"^train\.log of one has 100 bytes, and its saved state is of "):
        resumed(stopped, cache_dir)
    assert all_bytes(stopped) == before


def test_other_models_or_problems_are_refused(stopped, cache_dir):
    path = stopped / "config.json"
    path.write_text(path.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(RunUnreadable, match=r"^the data of one are not those that it was started with"):
        resumed(stopped, cache_dir)


def test_the_recorded_configuration_is_read_back_whole(short_run):
    run_dir, result = short_run("one", "seed=3", "loss.prompt_alignment_weight=0.25", "optim.decay=none")
    recorded = read_recorded(run_dir)
    assert config.digest(recorded.config) == result.config_digest
    assert config.effective(recorded.config) == recorded.content["effective"]
    content = json.loads((run_dir / "config.json").read_text())
    (run_dir / "config.json").write_text(json.dumps({**content, "digest": "0" * 64}))
    with pytest.raises(RunUnreadable, match=r"means something else in this version of runkit"):
        read_recorded(run_dir)
    (run_dir / "config.json").write_text("{")
    with pytest.raises(RunUnreadable, match=r"^config\.json of one is not a configuration"):
        read_recorded(run_dir)


def test_another_configuration_is_refused_naming_each_key_with_both_values():
    ours = config.load_preset("pocket")
    theirs = config.with_overrides(ours, ["seed=2", "bridge.conditioning=mean"])
    assert_same(ours, ours, run_id="mine")
    with pytest.raises(UsageError) as caught:
        assert_same(ours, theirs, run_id="mine")
    assert str(caught.value) == (
        "run 'mine' was started with another configuration: seed (1234 in the run, 2 asked for), "
        "bridge.conditioning ('cross' in the run, 'mean' asked for); resume it as it was, or train a new run"
    )


def test_a_disk_that_takes_no_more_leaves_no_half_line(tmp_path):
    files = run_files.RunFiles(tmp_path)
    files.log("whole")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9, limits[1]))
    try:
        with pytest.raises(StorageFailed, match=r"^cannot write train\.log: File too large$"):
            files.log("another")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert log_of(tmp_path) == ["whole"]


def test_the_state_of_another_bridge_is_not_loaded(stopped):
    dimensions = Dimensions(8, 8, width=8, depth=1, heads=2, num_soft_tokens=2)
    other = DiTBridge(dimensions, slot_positions=True, conditioning="mean")
    optimizer = torch.optim.AdamW(other.parameters())
    with pytest.raises(RunUnreadable):
        resumption.restore(resumption.TrainState(other, optimizer), read_state(stopped / STATE))
