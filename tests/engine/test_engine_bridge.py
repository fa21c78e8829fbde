import pytest
import torch

from runkit.engine import losses
from runkit.engine.bridge.conditioning import SourceEncoder
from runkit.engine.bridge.dimensions import Dimensions
from runkit.engine.bridge.dit import DiTBridge
from runkit.engine.bridge.flow import point_on_path, sample_euler, velocity_loss
from runkit.engine.bridge.scale import match_rms, median_row_rms, row_rms

B, N, S, K, E = 3, 5, 12, 4, 10


def bridge(*, trained=True, **changes):
    torch.manual_seed(0)
    made = DiTBridge(
        Dimensions(S, E, width=16, depth=2, heads=4, num_soft_tokens=K),
        **{"slot_positions": True, "conditioning": "cross", **changes},
    )
    if trained:  # the zero-initialised layers would hide every effect
        for weight in made.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return made.eval()


def inputs(seed=1):
    torch.manual_seed(seed)
    keep_BN = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4])
    return torch.randn(B, N, S), keep_BN, torch.randn(B, K, E)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
def test_the_true_velocity_lands_on_the_target_in_any_number_of_steps(steps):
    noise, target = torch.randn(2, K, E), torch.randn(2, K, E)
    landed = sample_euler(lambda _point, _time: target - noise, noise, steps=steps)
    torch.testing.assert_close(landed, target)


def test_the_sampler_asks_at_the_time_of_the_point_it_starts_from():
    asked = []

    def velocity(point, time):
        asked.append(time[0].item())
        return torch.zeros_like(point)

    sample_euler(velocity, torch.zeros(1, K, E), steps=4)
    assert asked == [0.0, 0.25, 0.5, 0.75]


def test_a_sampler_without_steps_is_refused():
    with pytest.raises(ValueError, match=r"^a sampler needs at least one step, got 0$"):
        sample_euler(lambda point, _time: point, torch.zeros(1, K, E), steps=0)


def test_the_true_velocity_has_no_loss_and_zero_velocity_has_the_distance():
    noise, target, time = torch.randn(2, K, E), torch.randn(2, K, E), torch.rand(2)
    assert velocity_loss(lambda _p, _t: target - noise, noise, target, time) == 0
    zero = velocity_loss(lambda p, _t: torch.zeros_like(p), noise, target, time)
    torch.testing.assert_close(zero, (target - noise).square().mean())


def test_the_path_starts_at_the_noise_and_ends_at_the_target():
    noise, target = torch.randn(2, K, E), torch.randn(2, K, E)
    torch.testing.assert_close(point_on_path(noise, target, torch.zeros(2)), noise)
    torch.testing.assert_close(point_on_path(noise, target, torch.ones(2)), target)


def test_noise_and_target_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"^noise has shape \(1, 4, 10\), the target \(1, 3, 10\)$"):
        velocity_loss(lambda p, _t: p, torch.zeros(1, K, E), torch.zeros(1, 3, E), torch.zeros(1))


def test_an_untrained_bridge_returns_its_noise():
    states, keep, noise = inputs()
    torch.testing.assert_close(bridge(trained=False)(states, keep, noise, steps=3), noise, rtol=0, atol=0)


@pytest.mark.parametrize("conditioning", ["cross", "attn_pool", "mean"])
def test_padding_of_the_source_does_not_change_soft_tokens(conditioning):
    states, keep, noise = inputs()
    other = torch.where(keep[..., None], states, 1e3)
    made = bridge(conditioning=conditioning)
    torch.testing.assert_close(made(states, keep, noise, steps=2), made(other, keep, noise, steps=2))


@pytest.mark.parametrize("conditioning", ["cross", "attn_pool", "mean"])
def test_soft_tokens_depend_on_the_source(conditioning):
    states, keep, noise = inputs()
    made = bridge(conditioning=conditioning)
    assert (
        made(states, keep, noise, steps=2) - made(states.flip(0), keep, noise, steps=2)
    ).abs().max() > 0.01


def permuted_error(made):
    states, keep, noise = inputs()
    order = [2, 0, 3, 1]
    permuted = made(states, keep, noise[:, order], steps=2)
    return (permuted - made(states, keep, noise, steps=2)[:, order]).abs().max()


@pytest.mark.parametrize("conditioning", ["cross", "attn_pool", "mean"])
def test_without_slot_positions_slots_are_exchangeable(conditioning):
    assert permuted_error(bridge(conditioning=conditioning, slot_positions=False)) < 1e-4


@pytest.mark.parametrize("conditioning", ["cross", "mean"])
def test_with_slot_positions_slots_are_not_exchangeable(conditioning):
    assert permuted_error(bridge(conditioning=conditioning, slot_positions=True)) > 0.01


def names(made):
    return {name for name, _ in made.named_parameters()}


def test_a_factor_that_is_off_has_no_parameters():
    whole = names(bridge())
    assert whole - names(bridge(slot_positions=False)) == {"slots_KD"}
    assert not any(".cross." in name for name in names(bridge(conditioning="mean")))
    assert names(bridge(conditioning="attn_pool")) - names(bridge(conditioning="mean")) == {
        "source.score.weight", "source.score.bias",
    }  # fmt: skip
    modulated = bridge(conditioning="mean").blocks[0].modulate.out_features
    assert (modulated, bridge().blocks[0].modulate.out_features) == (6 * 16, 9 * 16)


@pytest.mark.parametrize("conditioning", ["cross", "attn_pool", "mean"])
def test_every_parameter_of_a_trained_bridge_gets_a_gradient(conditioning):
    states, keep, noise = inputs()
    made = bridge(conditioning=conditioning).train()
    made(states, keep, noise, steps=2).square().sum().backward()
    unmoved = {name for name, weight in made.named_parameters() if not weight.grad.abs().sum() > 0}
    assert unmoved == set()


def test_the_flow_term_reaches_every_parameter():
    states, keep, noise = inputs()
    made = bridge().train()
    condition = made.condition(states, keep)

    def velocity(point, time):
        return made.velocity(point, time, condition)

    losses.flow(velocity, noise, torch.randn(B, K, E), torch.rand(B)).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in made.parameters())


def test_the_mean_is_taken_over_real_tokens_only():
    encoder = SourceEncoder(source_width=S, width=16, conditioning="mean")
    states, keep, _ = inputs()
    alone = encoder(states[1:2, :3], keep[1:2, :3]).pooled_BD
    torch.testing.assert_close(encoder(states, keep).pooled_BD[1:2], alone)


@pytest.mark.parametrize("size", [1e-3, 0.0107, 1.0, 30.0])
@pytest.mark.parametrize("rms", [0.0027, 0.0107, 1.0])
def test_matched_rows_have_the_asked_for_rms(size, rms):
    ratio = row_rms(match_rms(size * torch.randn(8, K, 64), rms=rms)) / rms
    assert 0.999 < ratio.min() <= ratio.max() < 1.001


def test_gradients_flow_through_the_scale():
    soft = torch.randn(1, K, E, requires_grad=True)
    match_rms(soft, rms=0.01)[..., 0].sum().backward()
    # the scale takes the radial part away: what is left is orthogonal to each row
    assert (soft.grad * soft).sum(-1).abs().max() < 1e-6
    assert soft.grad.abs().max() > 1e-4


def test_all_zero_rows_of_the_table_do_not_count():
    table = torch.cat([torch.zeros(7, 4), 2 * torch.ones(1, 4), 3 * torch.ones(3, 4)])
    assert median_row_rms(table) == 3.0
