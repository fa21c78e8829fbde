"""Laws of the resampler and of the linear bridge."""

import json
from pathlib import Path

import pytest
import torch

from runkit.engine import config, inert
from runkit.engine.bridge.dimensions import Dimensions
from runkit.engine.bridge.linear import LinearBridge, part_shares
from runkit.engine.bridge.resampler import Resampler
from runkit.engine.checkpoint import read_checkpoint
from runkit.errors import RecordInvalid

B, N, S, K, E = 3, 5, 12, 4, 10
KINDS = ["resampler", "linear"]


def bridge(kind):
    torch.manual_seed(0)
    dimensions = Dimensions(S, E, width=16, depth=2, heads=4, num_soft_tokens=K)
    return LinearBridge(dimensions) if kind == "linear" else Resampler(dimensions)


def inputs(seed=1):
    torch.manual_seed(seed)
    keep_BN = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4])
    return torch.randn(B, N, S), keep_BN


@pytest.mark.parametrize("kind", KINDS)
def test_padding_of_the_source_does_not_change_soft_tokens(kind):
    states, keep = inputs()
    made = bridge(kind)
    torch.testing.assert_close(made(states, keep), made(torch.where(keep[..., None], states, 1e3), keep))


@pytest.mark.parametrize("kind", KINDS)
def test_soft_tokens_depend_on_the_source_from_the_first_step_on(kind):
    states, keep = inputs()
    made = bridge(kind)
    assert (made(states, keep) - made(states.flip(0), keep)).abs().max() > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_gradient_at_initialisation(kind):
    states, keep = inputs()
    made = bridge(kind)
    made(states, keep).square().sum().backward()
    assert {name for name, weight in made.named_parameters() if not weight.grad.abs().sum() > 0} == set()


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_of_the_source_states_does_not_matter(kind):
    states, keep = inputs()
    made = bridge(kind)
    torch.testing.assert_close(made(1000 * states, keep), made(states, keep), rtol=1e-4, atol=1e-4)


def test_the_resampler_tells_source_order_and_slots_apart():
    states, keep = inputs()
    made = bridge("resampler")
    soft = made(states, keep)
    assert (soft[0] - made(states.flip(1), keep)[0]).abs().max() > 1e-3
    assert (soft[:, 0] - soft[:, 1]).abs().max() > 1e-3


def test_the_linear_bridge_is_one_matrix_on_the_means_of_the_questions_parts():
    states, keep = inputs()
    made = bridge("linear")
    normed = made.norm(states)
    # five tokens in four parts: 0 | 1 | 2 | 3, 4
    means = torch.stack([normed[0, 0], normed[0, 1], normed[0, 2], normed[0, 3:].mean(0)])
    torch.testing.assert_close(made(states, keep)[0], made.leave(means))
    # one real token: every slot gets it
    torch.testing.assert_close(made(states, keep)[2], made.leave(normed[2, :1]).expand(K, E))
    assert {name for name, _ in made.named_parameters()} == {"norm.weight", "leave.weight", "leave.bias"}


@pytest.mark.parametrize("num_parts", [1, 2, 3, 8, 20])
def test_parts_are_means_of_real_tokens_and_read_the_whole_question(num_parts):
    _, keep = inputs()
    shares = part_shares(keep, num_parts=num_parts)
    torch.testing.assert_close(shares.sum(-1), torch.ones(B, num_parts))
    assert torch.equal(shares.sum(1) > 0, keep)


@pytest.mark.parametrize("kind", KINDS)
def test_keys_of_the_dit_bridge_are_inert_for_the_others(kind):
    changed = config.with_overrides(config.load_preset(f"pocket_{kind}"), ["sampler.noise_std=3.0"])
    assert config.digest(changed) == config.digest(config.load_preset(f"pocket_{kind}"))
    inert = config.inert(changed)
    assert inert["sampler.noise_std"] == f"the {kind} bridge has no sampler"
    assert inert["loss.flow_weight"] == f"the {kind} bridge has no velocity"
    assert {"bridge.conditioning", "bridge.slot_positions", "sampler.train_steps"} < inert.keys()
    assert ("bridge.heads" in inert) == (kind == "linear")
    assert "bridge.num_soft_tokens" not in inert


def test_a_bridge_without_velocity_is_not_trained_by_flow_alone():
    with pytest.raises(RecordInvalid) as caught:
        config.with_overrides(config.load_preset("pocket_linear"), ["loss.nll_weight=0"])
    assert str(caught.value) == (
        "overrides: the configuration should be a loss with a weight besides flow, "
        "which only the dit bridge has, got none"
    )


@pytest.mark.parametrize("name", ["pocket", "pocket_mean_pool", "pocket_no_flow", "pocket_no_slots"])
def test_an_archived_run_and_a_new_one_of_its_preset_have_one_digest(name):
    manifest = json.loads((Path(__file__).parents[2] / "manifests" / f"{name}.json").read_text())
    sealed = manifest["sealed"]["configuration"]
    assert config.effective(config.load_preset(name)) == sealed["effective"]
    assert config.digest(config.load_preset(name)) == sealed["effective_digest"]


def test_what_absence_means_is_the_default_and_a_key_of_the_configuration():
    plain = config.flatten(config.TrainConfig())
    meant = inert.implied(config.TrainConfig())
    # portable arithmetic is younger than runs that computed with the machine's own
    assert {key: plain[key] for key in meant} == {**meant, "compute.arithmetic": "portable"}
    assert meant == {**inert.IMPLIED, **inert.IMPLIED_FOR_PRICE_LIST}
    problems = config.with_overrides(config.TrainConfig(), ["task.name=gsm8k"])
    assert inert.implied(problems) == inert.IMPLIED
    assert inert.IMPLIED_FOR_PRICE_LIST.keys() <= config.effective(problems).keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_without_sampler_has_no_flow_term_and_moves_its_weights(short_run, kind):
    run_dir, result = short_run("one", preset=f"pocket_{kind}")
    (row, *_) = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert "flow" not in row
    assert row["loss"] == row["nll_nats"]
    weights = read_checkpoint(run_dir / "checkpoint/last.safetensors").weights
    assert sum(weight.numel() for weight in weights.values()) == result.num_parameters
