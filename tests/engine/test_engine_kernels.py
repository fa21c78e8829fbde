"""Memory allocated once, a prefix read where it lies: the same numbers as the plain way, here on the CPU."""

import dataclasses
import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from runkit.engine import decoding as decoding_module
from runkit.engine.baselines import generate_alone
from runkit.engine.kernels import Reading, causal, install, newest_attends
from runkit.engine.pair import load_frozen
from runkit.engine.tasks import load_task

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
}


@pytest.fixture(scope="module")
def plain():
    return load_frozen("pocket/target")


@pytest.fixture(scope="module")
def in_place():
    frozen = load_frozen("pocket/target")
    return dataclasses.replace(frozen, kernels=install(frozen.model, compiled=False))


@pytest.fixture(scope="module")
def prompts():
    task = load_task("pricelist")
    return [
        " a" * (index % 5) + task.item(seed=7, split="test", index=index).question + "\nA:"
        for index in range(12)
    ]


EXAMPLES = "Tom buys 2 pens at 3 each.\nA: 2 x 3 = 6\n#### 6\n"


@pytest.mark.parametrize("examples", ["", EXAMPLES])
@pytest.mark.parametrize("batch_size", [12, 5])
def test_generations_are_those_of_growing_caches(plain, in_place, prompts, examples, batch_size):
    written = [
        generate_alone(
            frozen,
            prompts,
            batch_size=batch_size,
            max_new_tokens=12,
            padded=True,
            prefix=frozen.read_prefix(examples),
            stops=("4",),
        )
        for frozen in (plain, in_place)
    ]
    assert written[0] == written[1]
    assert {one.finish for one in written[0]} >= {"stop"}


def test_rows_at_their_end_are_dropped_when_half_are_and_the_others_go_on_unchanged(
    plain, in_place, prompts, monkeypatch
):
    dropped = []
    plainly = decoding_module.Decoding.drop_all_but

    def drop_all_but(self, rows):
        before = len(self.token_B)
        if going := plainly(self, rows):
            assert set(rows) <= set(going)
            dropped.append((before, len(going)))
        return going

    monkeypatch.setattr(decoding_module.Decoding, "drop_all_but", drop_all_but)
    monkeypatch.setattr(decoding_module, "_FEWEST_ROWS", 2)
    written = [
        generate_alone(frozen, prompts, batch_size=12, max_new_tokens=16, padded=True, stops=("4", "2"))
        for frozen in (plain, in_place)
    ]
    assert written[0] == written[1]
    assert len(dropped) >= 2
    assert all(after == before // 2 for before, after in dropped)


def test_a_prefix_is_kept_as_a_growing_cache_would_keep_it(plain, in_place):
    grown, kept = (frozen.read_prefix(EXAMPLES) for frozen in (plain, in_place))
    assert grown.token_ids == kept.token_ids
    for ours, theirs in zip(kept.layers, grown.layers, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("examples", ["", EXAMPLES])
def test_hidden_states_and_gradients_are_those_of_the_plain_way(plain, in_place, examples):
    texts = [plain.encode(text) for text in ("Ann buys 3 pens.", "Bo buys 4 cups and 2 mugs.")]
    found = []
    for frozen in (plain, in_place):
        prefix = frozen.read_prefix(examples)
        states = frozen.hidden_states(texts, layers=[1, 3], prefix=prefix)
        start = 0 if prefix is None else len(prefix.token_ids)
        torch.manual_seed(0)
        embedded = torch.randn(2, 9, frozen.embedding_table.shape[1]).requires_grad_()
        positions = torch.arange(start, start + 9).expand(2, -1)
        logits = frozen.logits(embedded, positions, torch.tensor([4, 8, 15]), prefix=prefix)
        logits.logsumexp(-1).sum().backward()
        real = states.states_BNS[states.keep_BN]
        found.append((real, logits.detach(), embedded.grad))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-4)
    assert found[0][2].abs().sum() > 0


@pytest.mark.parametrize("with_prefix", [False, True])
def test_the_newest_token_takes_what_full_attention_would_give_it(with_prefix):
    torch.manual_seed(0)
    rows, heads, groups, width, columns = 3, 4, 2, 8, 11
    query = torch.randn(rows, heads, 1, width)
    keys, values = torch.randn(2, rows, groups, columns, width)
    last = torch.tensor([2, 10, 0])
    prefix = tuple(torch.randn(2, 1, groups, 5, width)) if with_prefix else None
    taken = newest_attends(query, keys, values, last, prefix, None)
    for row in range(rows):
        seen = [part[row, :, : last[row] + 1] for part in (keys, values)]
        if prefix is not None:
            seen = [torch.cat([before[0], own], dim=1) for before, own in zip(prefix, seen, strict=True)]
        for head in range(heads):
            key, value = (part[head // (heads // groups)] for part in seen)
            weight = (key @ query[row, head, 0] / math.sqrt(width)).softmax(0)
            torch.testing.assert_close(taken[row, 0, head], weight @ value)


def test_what_stands_after_a_row_is_not_seen_even_if_it_is_not_finite_by_score():
    query, keys, values = torch.randn(1, 1, 1, 4), torch.randn(1, 1, 6, 4), torch.randn(1, 1, 6, 4)
    last = torch.tensor([3])
    before = newest_attends(query, keys, values, last, None, None)
    keys[:, :, 4:] = 1e30
    assert torch.equal(before, newest_attends(query, keys, values, last, None, None))


def test_causal_attention_with_more_keys_than_queries_stands_at_the_end():
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 2, 7, 8)
    whole = causal(query, key, value, None, None)
    torch.testing.assert_close(causal(query[:, :, 4:], key, value, None, None), whole[:, 4:])
    split = causal(query[:, :, 4:], key[:, :, 4:], value[:, :, 4:], (key[:, :, :4], value[:, :, :4]), None)
    torch.testing.assert_close(split, whole[:, 4:])


def test_attention_of_another_kind_keeps_the_plain_way():
    slides = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=8))
    assert install(slides, compiled=False) is None
    assert slides.config._attn_implementation == "sdpa"
    whole = MistralForCausalLM(MistralConfig(**SIZES, sliding_window=None))
    assert install(whole, compiled=False) is not None


def test_nothing_is_remembered_after_a_pass(in_place):
    in_place.hidden_states([(5, 6)], layers=[1], prefix=in_place.read_prefix(EXAMPLES))
    assert {one.__dict__["runkit"] for one in in_place.kernels.attentions} == {Reading()}


def widths_of_last_layer(frozen, positions):
    """Return the columns that parts of the last layer compute of 9, and the logits at *positions*."""
    layer, seen = frozen.model.base_model.layers[-1], {}
    parts = {"q": layer.self_attn.q_proj, "k": layer.self_attn.k_proj, "o": layer.self_attn.o_proj}
    parts["mlp"] = layer.mlp.down_proj
    torch.manual_seed(0)
    embedded = torch.randn(2, 9, frozen.embedding_table.shape[1])
    plainly = torch.nn.functional.linear

    def linear(rows, weight, bias=None):
        for name, part in parts.items():
            if part.weight is weight:
                seen[name] = rows.shape[1]
        return plainly(rows, weight, bias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", linear)
        logits = frozen.logits(embedded, torch.arange(9).expand(2, -1), torch.tensor(positions))
    return seen, logits


def test_the_last_layer_computes_only_what_is_asked_for(plain, in_place):
    columns, logits = widths_of_last_layer(in_place, [6, 8, 9 + 5])
    assert columns == {"q": 4, "k": 9, "o": 4, "mlp": 4}  # from column 5 on; keys are those of all columns
    everything, wanted = widths_of_last_layer(plain, [6, 8, 9 + 5])
    assert set(everything.values()) == {9}
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)


def test_everything_is_computed_where_the_first_column_is_asked_for(in_place):
    assert set(widths_of_last_layer(in_place, [0, 8])[0].values()) == {9}


def test_hidden_states_of_the_last_layer_are_those_of_all_columns(plain, in_place):
    last = plain.model.config.num_hidden_layers
    texts = [plain.encode("Ann buys 3 pens."), plain.encode("Bo buys 4 cups and 2 mugs.")]
    in_place.logits(
        torch.randn(1, 3, in_place.embedding_table.shape[1]), torch.arange(3)[None], torch.tensor([2])
    )
    wanted, found = (frozen.hidden_states(texts, layers=[last]) for frozen in (plain, in_place))
    torch.testing.assert_close(
        found.states_BNS[found.keep_BN], wanted.states_BNS[wanted.keep_BN], rtol=1e-4, atol=1e-4
    )


def test_a_part_that_routes_tokens_is_left_as_it_is():
    class Router(torch.nn.Module):
        def forward(self, hidden):
            return hidden, None

    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    model.model.layers[-1].mlp = router = Router()
    kernels = install(model, compiled=False)
    attention = model.model.layers[-1].self_attn
    assert kernels.last == (attention, attention.q_proj, attention.o_proj)
    assert router.forward(1) == (1, None)


def test_layers_are_told_apart_by_their_number():
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    kernels = install(model, compiled=False)
    assert [one.layer_idx for one in kernels.attentions] == [0, 1]
