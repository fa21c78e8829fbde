"""Laws of the samplers and of classifier-free guidance."""

import itertools
import json
import math

import pytest
import torch

from runkit.engine import config, noise
from runkit.engine.bridge.dimensions import Dimensions
from runkit.engine.bridge.dit import DiTBridge
from runkit.engine.bridge.flow import SAMPLERS, guided, sample_heun
from runkit.engine.checkpoint import read_checkpoint

B, N, S, K, E = 3, 5, 12, 4, 10


def bridge(**changes):
    torch.manual_seed(0)
    made = DiTBridge(
        Dimensions(S, E, width=16, depth=2, heads=4, num_soft_tokens=K),
        **{"slot_positions": True, "conditioning": "cross", **changes},
    )
    for number, (_, weight) in enumerate(sorted(made.named_parameters())):
        torch.manual_seed(number if weight is not getattr(made.null, "token_D", None) else 99)
        torch.nn.init.normal_(weight, std=0.3)
    return made.eval()


def inputs():
    torch.manual_seed(1)
    keep_BN = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4])
    return torch.randn(B, N, S), keep_BN, torch.randn(B, K, E)


@pytest.mark.parametrize("method", ["euler", "heun"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_true_velocity_lands_on_the_target_with_every_sampler(method, steps):
    start, target = torch.randn(2, K, E), torch.randn(2, K, E)
    landed = SAMPLERS[method](lambda _point, _time: target - start, start, steps=steps)
    torch.testing.assert_close(landed, target)


def error_on_a_curved_field(method, steps):
    """Of dx/dt = x (1 + t) from 1, whose end is exp(3/2)."""
    start = torch.ones(1, 1, 1, dtype=torch.float64)
    landed = SAMPLERS[method](lambda x, t: x * (1 + t[:, None, None]), start, steps=steps)
    return abs(landed.item() - math.exp(1.5))


@pytest.mark.parametrize(("method", "ratio"), [("euler", 2), ("heun", 4)])
def test_twice_the_steps_halve_the_error_of_euler_and_quarter_that_of_heun(method, ratio):
    errors = [error_on_a_curved_field(method, steps) for steps in (64, 128, 256)]
    for coarse, fine in itertools.pairwise(errors):
        assert coarse / fine == pytest.approx(ratio, rel=0.05)


def test_heun_asks_at_both_ends_of_each_step_and_refuses_none():
    asked = []

    def velocity(point, time):
        asked.append(time[0].item())
        return torch.zeros_like(point)

    sample_heun(velocity, torch.zeros(1, K, E), steps=2)
    assert asked == [0.0, 0.5, 0.5, 1.0]
    with pytest.raises(ValueError, match=r"^a sampler needs at least one step, got 0$"):
        sample_heun(velocity, torch.zeros(1, K, E), steps=0)


def test_guidance_is_a_line_through_both_velocities():
    conditional, unconditional = torch.randn(K, E), torch.randn(K, E)
    torch.testing.assert_close(guided(conditional, unconditional, guidance=1.0), conditional)
    assert torch.equal(guided(conditional, unconditional, guidance=0.0), unconditional)
    twice = guided(conditional, unconditional, guidance=2.0)
    torch.testing.assert_close(twice, 2 * conditional - unconditional)


def test_guidance_one_has_no_null_token_and_one_velocity_a_step(monkeypatch):
    asked = []
    velocity = DiTBridge.velocity
    monkeypatch.setattr(DiTBridge, "velocity", lambda *given: asked.append(1) or velocity(*given))
    plain, guiding = bridge(), bridge(guidance=1.5)
    plain(*inputs(), steps=2)
    assert (plain.null, len(asked)) == (None, 2)
    guiding(*inputs(), steps=2)
    assert len(asked) == 2 + 4
    names = {name for name, _ in guiding.named_parameters()} - {name for name, _ in plain.named_parameters()}
    assert names == {"null.token_D"}


@pytest.mark.parametrize("conditioning", ["cross", "mean"])
def test_without_guidance_weight_nothing_of_the_source_is_left(conditioning):
    states, keep, start = inputs()
    made = bridge(guidance=0.0, conditioning=conditioning)
    other = made(states.flip(0), keep.flip(0), start, steps=2)
    torch.testing.assert_close(made(states, keep, start, steps=2), other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("conditioning", ["cross", "mean"])
def test_only_dropped_rows_lose_their_source(conditioning):
    states, keep, start = inputs()
    made = bridge(guidance=2.0, conditioning=conditioning)
    whole = made.condition(states, keep)
    dropped = made.null(whole, torch.tensor([False, True, False]))
    time = torch.full((B,), 0.3)
    differs = (made.velocity(start, time, whole) - made.velocity(start, time, dropped)).abs().amax((1, 2))
    assert (differs > 1e-4).tolist() == [False, True, False]


def test_the_null_token_learns_from_the_guided_sampler():
    made = bridge(guidance=2.0).train()
    made(*inputs(), steps=2).square().sum().backward()
    assert made.null.token_D.grad.abs().sum() > 0


def test_drops_are_a_function_of_the_item_and_come_as_often_as_asked():
    ids = [f"train-{index}" for index in range(2000)]
    drops = noise.batch_drops(run_seed=1, split="train", item_ids=ids, draw=1, probability=0.1)
    again = noise.batch_drops(run_seed=1, split="train", item_ids=ids[::-1], draw=1, probability=0.1)
    assert torch.equal(drops, again.flip(0))
    assert 0.08 < drops.float().mean() < 0.12


def test_the_share_of_drops_is_inert_without_a_null_token_or_without_flow():
    pocket = config.load_preset("pocket")
    unused = config.with_overrides(pocket, ["sampler.condition_drop=0.5"])
    assert config.inert(unused) == {
        "sampler.condition_drop": "sampler.guidance is 1, so there is no null token"
    }
    assert config.digest(unused) == config.digest(pocket)
    used = config.with_overrides(unused, ["sampler.guidance=2"])
    assert config.inert(used) == {}
    assert {"sampler.guidance": 2.0, "sampler.condition_drop": 0.5}.items() <= config.effective(used).items()
    no_flow = config.with_overrides(used, ["loss.flow_weight=0"])
    assert config.inert(no_flow) == {"sampler.condition_drop": "loss.flow_weight is 0"}


def test_a_guided_run_with_heun_steps_trains_its_null_token(short_run):
    run_dir, _ = short_run("one", "sampler.guidance=2", "sampler.method=heun", "sampler.condition_drop=0.5")
    weights = read_checkpoint(run_dir / "checkpoint/last.safetensors").weights
    assert weights["null.token_D"].shape == (64,)
    effective = json.loads((run_dir / "config.json").read_text())["effective"]
    assert (effective["sampler.method"], effective["sampler.guidance"]) == ("heun", 2.0)
