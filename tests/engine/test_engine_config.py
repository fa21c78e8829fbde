import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.engine import config
from runkit.errors import RecordInvalid, StorageFailed, UnknownName, UsageError

ABLATIONS = [name for name in config.preset_names() if config.preset_notes(name).ablates is not None]


def written(folder: Path, text: str) -> Path:
    path = folder / "my.toml"
    path.write_text(text)
    return path


def test_the_configuration_is_read_without_torch_and_without_transformers():
    code = "import sys, runkit.engine, runkit.engine.config as c; c.load_preset('pocket'); "
    code += "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_a_file_on_top_of_a_preset_changes_only_what_it_says(tmp_path):
    path = written(tmp_path, 'preset = "pocket"\n[bridge]\nconditioning = "mean"\n')
    before, after = config.flatten(config.load_preset("pocket")), config.flatten(config.read_config(path))
    assert {key: after[key] for key in after if after[key] != before[key]} == {"bridge.conditioning": "mean"}
    assert config.preset_named_by(path) == "pocket"
    assert config.given(path) == {"bridge.conditioning": "mean"}


def test_an_unknown_key_names_the_nearest(tmp_path):
    path = written(tmp_path, "[bridge]\nnum_soft_token = 4\n")
    with pytest.raises(UnknownName) as caught:
        config.read_config(path)
    assert str(caught.value) == (
        "my.toml: there is no configuration key 'bridge.num_soft_token'; "
        "did you mean 'bridge.num_soft_tokens'"
    )


def test_a_value_where_a_table_should_be_is_an_unknown_key(tmp_path):
    with pytest.raises(UnknownName) as caught:
        config.read_config(written(tmp_path, "bridge = 3\n"))
    assert str(caught.value).startswith("my.toml: there is no configuration key 'bridge'")


def test_all_wrong_values_are_named_in_one_line(tmp_path):
    text = '[bridge]\nnum_soft_tokens = "eight"\nconditioning = "max"\n[loss]\nflow_weight = -1\n'
    with pytest.raises(RecordInvalid) as caught:
        config.read_config(written(tmp_path, text))
    assert str(caught.value) == (
        "my.toml: bridge.conditioning should be 'cross', 'attn_pool' or 'mean', got 'max'; "
        "bridge.num_soft_tokens should be a whole number, got 'eight'; "
        "loss.flow_weight should be at least 0.0, got -1"
    )


def test_heads_that_do_not_divide_the_width_are_refused_at_the_door(tmp_path):
    with pytest.raises(RecordInvalid) as caught:
        config.read_config(written(tmp_path, "[bridge]\nwidth = 30\nheads = 4\n"))
    assert (
        str(caught.value)
        == "my.toml: bridge should be a width that is even and a multiple of heads, got 30 and 4"
    )


def test_a_run_without_any_loss_is_refused_at_the_door(tmp_path):
    with pytest.raises(RecordInvalid) as caught:
        config.read_config(written(tmp_path, "[loss]\nnll_weight = 0\nflow_weight = 0\n"))
    assert (
        str(caught.value)
        == "my.toml: loss should be terms of which at least one has a weight, got all weights 0"
    )


def test_an_unknown_preset_names_the_nearest(tmp_path):
    with pytest.raises(UnknownName, match=r"^there is no preset 'poket'; did you mean 'pocket'$"):
        config.load_preset("poket")
    with pytest.raises(UnknownName, match=r"^there is no preset 'poket'; did you mean 'pocket'$"):
        config.read_config(written(tmp_path, 'preset = "poket"\n'))


def test_a_preset_that_is_no_name_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"^my\.toml: preset should be a name in quotes, got 3$"):
        config.read_config(written(tmp_path, "preset = 3\n"))


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path):
    with pytest.raises(StorageFailed, match=r"^cannot read the configuration none\.toml: No such file"):
        config.read_config(tmp_path / "none.toml")
    with pytest.raises(UsageError, match=r"^my\.toml is not TOML: "):
        config.read_config(written(tmp_path, "bridge ="))


def test_overrides_are_read_as_toml_or_else_as_text():
    pocket = config.load_preset("pocket")
    changed = config.with_overrides(
        pocket,
        ["bridge.conditioning=mean", "train.steps = 7", "bridge.slot_positions=false", "loss.flow_weight=1"],
    )
    assert changed.bridge.conditioning == "mean"
    assert changed.train.steps == 7
    assert changed.bridge.slot_positions is False
    assert changed.loss.flow_weight == 1.0


def test_bad_overrides_say_what_was_expected():
    pocket = config.load_preset("pocket")
    with pytest.raises(UsageError) as no_equals:
        config.with_overrides(pocket, ["train.steps"])
    assert str(no_equals.value) == "override 'train.steps' should read key=value, for example train.steps=100"
    with pytest.raises(UnknownName) as unknown:
        config.with_overrides(pocket, ["train.step=100"])
    assert str(unknown.value) == (
        "overrides: there is no configuration key 'train.step'; did you mean 'train.steps'"
    )
    with pytest.raises(RecordInvalid) as wrong:
        config.with_overrides(pocket, ["train.steps=many"])
    assert str(wrong.value) == "overrides: train.steps should be a whole number, got 'many'"


def test_a_key_that_cannot_matter_is_inert_with_a_reason_and_does_not_change_the_digest():
    pocket = config.load_preset("pocket")
    assert config.inert(pocket) == {}
    short = ["train.steps=40", "optim.warmup_steps=40"]
    first = config.with_overrides(pocket, [*short, "train.patience_evals=3", "optim.decay=none"])
    second = config.with_overrides(pocket, [*short, "train.patience_evals=9", "optim.decay=cosine"])
    assert config.inert(first) == {
        "train.patience_evals": "train.steps end before patience could run out",
        "optim.decay": "train.steps end within optim.warmup_steps",
    }
    assert "optim.decay" not in config.effective(first)
    assert first != second
    assert config.digest(first) == config.digest(second)


@given(st.integers(0, 2**31))
def test_the_seed_is_part_of_what_was_run(seed):
    pocket = config.load_preset("pocket")
    same = config.digest(config.with_overrides(pocket, [f"seed={seed}"])) == config.digest(pocket)
    assert same == (seed == pocket.seed)


def test_the_digest_does_not_care_about_the_order_in_which_keys_were_given():
    one = config.with_overrides(config.load_preset("pocket"), ["train.steps=7", "seed=3"])
    other = config.with_overrides(config.load_preset("pocket"), ["seed=3", "train.steps=7"])
    assert config.digest(one) == config.digest(other)


def test_there_are_at_least_three_ablations_of_the_pocket():
    assert "pocket" in config.preset_names()
    assert len(ABLATIONS) >= 3


def differing(control_name, name):
    """The keys that differ, without those that have no effect in one of the two because another differs."""
    control, ablated = config.load_preset(control_name), config.load_preset(name)
    one, other = config.effective(control), config.effective(ablated)
    keys = {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}
    return keys - config.inert(control).keys() - config.inert(ablated).keys()


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_preset_differs_in_exactly_the_factors_it_declares(name):
    claim = config.preset_notes(name).ablates
    assert differing(claim.run, name) == set(claim.factors)


def test_every_effective_configuration_of_the_presets_is_another_but_for_two():
    # two that say in their notes that they are a third one
    names = set(config.preset_names()) - {"ablB_kl_only_as_run", "ablC_kl_prompt_as_run"}
    assert len({config.digest(config.load_preset(name)) for name in names}) == len(names)
