"""Laws of the linear maps that bring source states to the target's embeddings, and of the old clamp."""

import pytest
import torch
from torch.nn import functional

from runkit.engine import config
from runkit.engine.alignment_pairs import char_ends, paired_tokens
from runkit.engine.bridge.align import SourceAlign, fit_procrustes, fit_ridge, identity_map
from runkit.engine.bridge.scale import Scale, row_rms
from runkit.engine.checkpoint import read_checkpoint
from runkit.engine.config import load_preset, with_overrides
from runkit.engine.preparation import _Builder, new_bridge, prepare
from runkit.engine.tasks import load_task

from .conftest import SHORT


def clouds(num_tokens=600, width=12):
    """Two clouds that are one but for a rotation, an offset and 1 % of noise."""
    torch.manual_seed(0)
    states = torch.randn(num_tokens, width) + 3
    rotation = torch.linalg.qr(torch.randn(width, width)).Q
    return states, rotation, states @ rotation - 1 + 0.01 * torch.randn(num_tokens, width)


@pytest.mark.parametrize("fit", [fit_procrustes, fit_ridge])
def test_a_rotation_is_recovered_from_noisy_pairs(fit):
    states, rotation, embeddings = clouds()
    fitted = fit(states, embeddings)
    assert (fitted.weight_SA - rotation).abs().max() < 1e-2
    torch.testing.assert_close(states @ fitted.weight_SA + fitted.bias_A, embeddings, rtol=0, atol=0.1)


@pytest.mark.parametrize("width", [8, 20])
def test_between_unequal_widths_procrustes_is_semi_orthogonal(width):
    states, _, _ = clouds()
    weight = fit_procrustes(states, torch.randn(600, width)).weight_SA
    square = weight.T @ weight if width < 12 else weight @ weight.T
    torch.testing.assert_close(square, torch.eye(min(width, 12)), rtol=0, atol=1e-5)


def test_tokens_are_paired_where_they_end():
    source, target = ["Tom", " bu", "ys", " 3"], ["T", "om", " buys", " ", "3"]

    def spelled(words):
        return lambda ids: "".join(words[index] for index in ids)

    assert char_ends(range(4), spelled(source)) == [3, 6, 8, 10]
    # "T" and " " end inside a source token
    assert paired_tokens(range(4), spelled(source), range(5), spelled(target)) == [(0, 1), (2, 2), (3, 4)]


def prepared(cache_dir, *overrides):
    wanted = with_overrides(load_preset("pocket"), [*SHORT, "train.pool_items=100", *overrides])
    return prepare(wanted, cache_dir=cache_dir, note=lambda _line: None), wanted


def top1(mapped, target, ids):
    unit = functional.normalize(target.embedding_table, dim=-1)
    return ((functional.normalize(mapped, dim=-1) @ unit.T).argmax(-1) == ids).float().mean().item()


@pytest.mark.parametrize("kind", ["ridge", "procrustes"])
def test_fitted_maps_find_the_token_of_held_out_questions_and_controls_do_not(cache_dir, kind):
    ready, wanted = prepared(cache_dir, f"source_align.kind={kind}")
    builder = _Builder(
        wanted, load_task("pricelist"), ready.source, ready.target, cache_dir, lambda _line: None
    )
    states, embeddings = builder.aligned_pairs("dev", ready.dev.inputs.states, ready.scale)
    near = torch.cdist(embeddings * ready.scale.rms, ready.target.embedding_table)
    ids = near.argmin(-1)
    found = top1(states @ ready.source_map.weight_SA + ready.source_map.bias_A, ready.target, ids)
    seen, shown = builder.aligned_pairs("train", ready.trainer.pool.states, ready.scale)
    torch.manual_seed(0)
    shuffled = (fit_ridge if kind == "ridge" else fit_procrustes)(seen, shown[torch.randperm(len(shown))])
    width = embeddings.shape[1]
    controls = {
        "shuffled pairs": top1(states @ shuffled.weight_SA + shuffled.bias_A, ready.target, ids),
        "random rotation": top1(
            states @ torch.linalg.qr(torch.randn(states.shape[1], width)).Q, ready.target, ids
        ),
        "identity": top1(states[:, :width], ready.target, ids),
    }
    assert found > {"ridge": 0.7, "procrustes": 0.4}[kind]
    assert max(controls.values()) < 0.25, controls


def test_without_a_map_there_is_no_layer_and_with_one_the_bridge_reads_its_width(cache_dir):
    ready, wanted = prepared(cache_dir)
    plain = new_bridge(wanted, ready)
    assert ready.source_map is None
    assert not any("align" in name for name, _ in plain.named_parameters())
    widths = {"identity": 128, "ridge": ready.target.embedding_table.shape[1]}
    for kind, width in widths.items():
        ready, wanted = prepared(cache_dir, f"source_align.kind={kind}")
        aligned = new_bridge(wanted, ready)
        extra = {name for name, _ in aligned.named_parameters()} - {
            name for name, _ in plain.named_parameters()
        }
        assert extra == {"source.align.weight_SA", "source.align.bias_A"}
        assert aligned.source.project.in_features == width


@pytest.mark.parametrize("kind", ["dit", "resampler", "linear"])
@pytest.mark.parametrize("trainable", [True, False])
def test_a_trainable_map_moves_and_a_fixed_one_does_not(cache_dir, kind, trainable):
    overrides = [f"bridge.kind={kind}", "source_align.kind=identity", "optim.learning_rate=1e-4"]
    ready, wanted = prepared(cache_dir, *overrides, f"source_align.trainable={str(trainable).lower()}")
    bridge = new_bridge(wanted, ready)
    state = ready.trainer.start(bridge, weight_decay=0.0)
    for _ in range(10):
        ready.trainer.advance(state)
    align = next(module for module in bridge.modules() if isinstance(module, SourceAlign))
    moved = (align.weight_SA - torch.eye(128)).abs().max().item()
    assert (moved > 1e-5) == trainable
    assert align.weight_SA.dtype == torch.float32


def test_the_identity_changes_no_normalised_state():
    states = functional.rms_norm(torch.randn(2, 3, 8), (8,), eps=1e-6)
    mapped = SourceAlign(identity_map(8), trainable=False)(states)
    torch.testing.assert_close(mapped, states)


def test_rope_is_read_as_the_linear_map_that_it_was():
    pocket = load_preset("pocket")
    rope = with_overrides(pocket, ["source_align.kind=rope"])
    assert rope.source_align.kind == "identity"
    assert config.digest(rope) == config.digest(with_overrides(pocket, ["source_align.kind=identity"]))
    fixed = with_overrides(pocket, ["source_align.trainable=false"])
    assert config.inert(fixed) == {"source_align.trainable": "source_align.kind is none, so there is no map"}


def test_a_fixed_map_is_in_the_checkpoint(short_run):
    run_dir, _ = short_run("one", "source_align.kind=procrustes", "source_align.trainable=false")
    weights = read_checkpoint(run_dir / "checkpoint/last.safetensors").weights
    assert weights["source.align.weight_SA"].shape[0] == 128


def test_the_old_clamp_leaves_soft_tokens_many_times_too_large():
    raw = 0.857 * functional.normalize(torch.randn(4, 64), dim=-1) * 8
    ratio = row_rms(Scale(0.0107, "legacy_clamped")(raw)) / 0.0107
    torch.testing.assert_close(ratio, torch.full((4,), 0.857 * 0.25 / 0.0107))
    torch.testing.assert_close(row_rms(Scale(0.5, "legacy_clamped")(raw)), torch.full((4,), 0.5))
