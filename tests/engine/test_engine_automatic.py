"""What a configuration decides for the person: the prompt's mode, and values that are read as others."""

import json
from pathlib import Path

import pytest

from runkit.archive.workspace import Workspace
from runkit.engine import config
from runkit.engine.reporter import LinesReporter
from runkit.errors import RecordInvalid
from runkit.records.manifest import Configuration
from runkit.workflows.preserve import PreserveRequest, preserve
from runkit.workflows.train import TrainRequest, resolve, train

from .conftest import SHORT

CHOSEN = (
    "soft_only, because loss.teacher asks for the question in the soft tokens and prompt.mode was not set"
)
READ = "loss.teacher prompt is read as question: no worked examples and no instruction are taught"


@pytest.mark.parametrize(("spelling", "explained"), [("prompt", (READ,)), ("question", ())])
def test_whoever_asks_for_the_prompt_as_teacher_gets_soft_only_and_is_told(spelling, explained):
    run = resolve(TrainRequest(overrides=[f"loss.teacher={spelling}"]))
    assert (run.config.prompt.mode, run.config.loss.teacher) == ("soft_only", "question")
    assert run.automatic == {"prompt.mode": CHOSEN}
    assert run.explained == explained
    by_hand = config.with_overrides(config.load_preset("pocket"), ["prompt.mode=soft_only"])
    assert config.digest(run.config) == config.digest(by_hand)


@pytest.mark.parametrize(
    ("overrides", "mode"),
    [
        ([], "soft_plus_text"),
        (["loss.teacher=answer"], "soft_plus_text"),
        (["loss.teacher=prompt", "prompt.mode=soft_plus_text"], "soft_plus_text"),
        (["prompt.mode=soft_only", "loss.teacher=prompt"], "soft_only"),
    ],
)
def test_a_mode_by_hand_and_another_teacher_leave_nothing_to_choose(overrides, mode):
    run = resolve(TrainRequest(overrides=overrides))
    assert (run.config.prompt.mode, dict(run.automatic)) == (mode, {})


def test_an_adapter_reads_the_text_in_any_case():
    run = resolve(TrainRequest(preset="pocket_adapter", overrides=["loss.teacher=prompt"]))
    assert (run.config.prompt.mode, dict(run.automatic)) == ("soft_plus_text", {})


def test_what_a_file_or_the_preset_below_it_wrote_counts_as_by_hand(tmp_path):
    path = tmp_path / "mine.toml"
    for base, mode in (("pocket", "soft_only"), ("phase2_swap_plus_intended", "soft_plus_text")):
        path.write_text(f'preset = "{base}"\n[loss]\nteacher = "prompt"\n')
        assert resolve(TrainRequest(config_file=path)).config.prompt.mode == mode
    path.write_text('[prompt]\nmode = "soft_plus_text"\n')
    mine = resolve(TrainRequest(config_file=path, overrides=["loss.teacher=prompt"]))
    assert mine.config.prompt.mode == "soft_plus_text"


@pytest.mark.parametrize("name", config.preset_names())
def test_a_preset_leaves_nothing_to_choose(name):
    run = resolve(TrainRequest(preset=name))
    assert (run.config, dict(run.automatic)) == (config.load_preset(name), {})


def test_rope_is_explained_and_rerotation_is_refused():
    run = resolve(TrainRequest(overrides=["source_align.kind=rope"]))
    (sentence,) = run.explained
    assert sentence.startswith("source_align.kind rope is read as identity, a linear layer of the states")
    assert run.config.source_align.kind == "identity"
    with pytest.raises(RecordInvalid) as caught:
        resolve(TrainRequest(overrides=["source_align.kind=rope_rerotate"]))
    assert str(caught.value) == (
        "overrides: source_align.kind should be none, identity, ridge or procrustes: rope_rerotate turns "
        "cached keys back and forth, and no prompt.injection here hands over keys, got rope_rerotate"
    )


def test_the_run_and_its_archive_say_what_was_chosen(tmp_path):
    lines, workspace = [], Workspace(tmp_path)
    request = TrainRequest(overrides=[*SHORT, "loss.teacher=prompt"], run_id="one")
    run = train(workspace, request, reporter=LinesReporter(lines.append))
    said = json.loads((run.folder / "config.json").read_text())
    assert said["automatic"] == {"prompt.mode": CHOSEN}
    log = (run.folder / "train.log").read_text()
    assert f"[Config] prompt.mode was chosen automatically: {CHOSEN}\n[Config] {READ}\n" in log
    assert f"[Config] {READ}" in lines
    manifest = preserve(workspace, PreserveRequest(run.folder))
    assert dict(manifest.sealed.configuration.automatic) == {"prompt.mode": CHOSEN}


def test_a_manifest_of_a_run_without_a_choice_says_nothing_about_it():
    text = (Path(__file__).parents[2] / "manifests" / "pocket.json").read_text()
    sealed = json.loads(text)["sealed"]["configuration"]
    record = Configuration.parse(json.dumps(sealed), origin="pocket")
    assert record.model_dump(mode="json") == sealed
    assert "automatic" not in sealed
