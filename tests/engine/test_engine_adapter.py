"""Laws of the adapter: nothing at initialisation, the question and nothing else, and no slots."""

import pytest
import torch

from runkit.engine import config
from runkit.engine.bridge import Adapter, Dimensions
from runkit.engine.config import load_preset, with_overrides
from runkit.engine.evaluate import bridged_generations
from runkit.engine.injection import adapter_says, bridged_input
from runkit.engine.preparation import new_bridge, prepare
from runkit.engine.prompts import build_sequences, embed
from runkit.errors import RecordInvalid

from .conftest import SHORT

B, N, S, Q, E = 3, 5, 12, 4, 10


def adapter(gate=1.0):
    torch.manual_seed(0)
    made = Adapter(Dimensions(S, E, width=16, depth=2, heads=4, num_soft_tokens=1))
    made.gate.data.fill_(gate)
    return made


def inputs():
    torch.manual_seed(1)
    keep_BN = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4])
    question_keep_BQ = torch.tensor([[True] * 4, [True] * 2 + [False] * 2, [True] * 3 + [False]])
    return torch.randn(B, N, S), keep_BN, torch.randn(B, Q, E), question_keep_BQ


@pytest.fixture(scope="module")
def ready(cache_dir):
    wanted = with_overrides(load_preset("pocket_adapter"), SHORT)
    return prepare(wanted, cache_dir=cache_dir, note=lambda _line: None), wanted


def says(ready, bridge, rows):
    prepared, _ = ready
    pool = prepared.trainer.pool
    states = pool.states.padded(rows, device=prepared.target.device)
    texts = [pool.target_texts[row] for row in rows]
    spans = [pool.question_spans[row] for row in rows]
    table = prepared.target.embedding_table
    return adapter_says(bridge, states, texts, spans, table_VE=table, scale=prepared.scale), texts


def test_padding_of_source_and_question_changes_nothing():
    states, keep, question, question_keep = inputs()
    made = adapter()
    other_states = torch.where(keep[..., None], states, 1e3)
    other_question = torch.where(question_keep[..., None], question, 7.0)
    torch.testing.assert_close(
        made(states, keep, question, question_keep)[question_keep],
        made(other_states, keep, other_question, question_keep)[question_keep],
    )


def test_what_is_told_depends_on_source_question_and_place():
    states, keep, question, question_keep = inputs()
    made = adapter()
    told = made(states, keep, question, question_keep)
    assert (told - made(states.flip(0), keep, question, question_keep)).abs().max() > 0.01
    assert (told - made(states, keep, question.flip(0), question_keep)).abs().max() > 0.01
    same = question[:, :1].expand(-1, Q, -1)
    placed = made(states, keep, same, torch.ones_like(question_keep))
    assert (placed[:, 0] - placed[:, 1]).abs().max() > 1e-4


def test_an_untrained_adapter_is_the_target_alone_bit_for_bit(ready):
    prepared, wanted = ready
    bridge = new_bridge(wanted, prepared)
    soft, texts = says(ready, bridge, [0, 1, 2])
    _, embedded = bridged_input(soft, texts, prepared.target)
    plain = build_sequences(texts, num_slots=0, special=prepared.target.special)
    alone = embed(plain, table_VE=prepared.target.embedding_table, soft_BKE=None)
    assert torch.equal(embedded, alone)
    generations = bridged_generations(
        bridge,
        prepared.target,
        prepared.dev.inputs,
        steps=2,
        scale=prepared.scale,
        batch_size=4,
        max_new_tokens=28,
    )
    assert [prepared.target.decode(one.token_ids) for one in generations] == [
        one.text for one in prepared.dev.alone["target_alone"]
    ]


def test_only_the_question_is_changed_and_all_of_it_by_the_rms(ready):
    prepared, wanted = ready
    bridge = new_bridge(wanted, prepared)
    bridge.gate.data.fill_(0.5)
    rows = [0, 1, 2, 3]
    soft, texts = says(ready, bridge, rows)
    sequences, embedded = bridged_input(soft, texts, prepared.target)
    plain = embed(sequences, table_VE=prepared.target.embedding_table, soft_BKE=None)
    size = (embedded - plain).square().mean(-1).sqrt() / prepared.scale.rms
    for row, sizes in zip(rows, size, strict=True):
        question = prepared.task.item(seed=7, split="train", index=row).question
        first, length = prepared.trainer.pool.question_spans[row]
        assert first == 0
        assert prepared.target.decode(texts[row][:length]) == question
        torch.testing.assert_close(sizes[1 : 1 + length], torch.full((length,), 0.5), rtol=1e-3, atol=0)
        assert sizes[0] == 0
        assert (sizes[1 + length :] == 0).all()


def test_the_gate_learns_first_and_then_everything(ready):
    prepared, wanted = ready
    bridge = new_bridge(wanted, prepared)
    state = prepared.trainer.start(bridge, weight_decay=0.0)
    prepared.trainer.advance(state)
    moved = {name for name, weight in bridge.named_parameters() if weight.grad.abs().sum() > 0}
    assert moved == {"gate"}
    prepared.trainer.advance(state)
    assert all(weight.grad.abs().sum() > 0 for weight in bridge.parameters())


def test_an_adapter_has_no_slots_and_the_key_says_so():
    adapted = load_preset("pocket_adapter")
    more = with_overrides(adapted, ["bridge.num_soft_tokens=3"])
    assert config.inert(more)["bridge.num_soft_tokens"] == "the adapter adds to the question's own tokens"
    assert config.digest(more) == config.digest(adapted)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "bridge.kind=dit",
            "a resampler in soft_plus_text for prompt.injection adapter, got dit in soft_plus_text",
        ),
        (
            "prompt.mode=soft_only",
            "a resampler in soft_plus_text for prompt.injection adapter, got resampler in soft_only",
        ),
        (
            "loss.info_nce_weight=1",
            "no alignment and no InfoNCE, which look at slots that an adapter lacks, got one",
        ),
    ],
)
def test_what_an_adapter_cannot_do_is_refused_at_the_door(override, expected):
    with pytest.raises(RecordInvalid) as caught:
        with_overrides(load_preset("pocket_adapter"), [override])
    assert str(caught.value) == f"overrides: the configuration should be {expected}"


def test_an_adapter_trains_with_own_answers_too(short_run):
    overrides = ["loss.decode_weight=0.1", "loss.decode_every_steps=1", "loss.kl_weight=0.1"]
    _, result = short_run("one", *overrides, preset="pocket_adapter")
    assert result.steps == 6
    assert result.final["bridged"].total == 12
