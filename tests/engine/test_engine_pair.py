import shutil
from pathlib import Path

import pytest
import torch

from runkit.engine.origin import folder_sha256
from runkit.engine.pair import FrozenModel, States, assert_frozen, load_frozen
from runkit.engine.prompts import build_sequences, embed
from runkit.errors import TrainingStopped, UnknownName

POCKET = Path(__file__).parents[2] / "runkit" / "engine" / "pocket"


@pytest.fixture(scope="module")
def target() -> FrozenModel:
    return load_frozen("pocket/target")


@pytest.fixture(scope="module")
def source() -> FrozenModel:
    return load_frozen("pocket/source")


def prompt(target, texts):
    torch.manual_seed(0)
    soft = torch.randn(len(texts), 3, target.embedding_table.shape[1]) * 0.05
    built = build_sequences(texts, num_slots=3, special=target.special)
    return embed(built, table_VE=target.embedding_table, soft_BKE=soft)


def test_prefill_and_decode_give_the_tokens_of_the_full_forward(target):
    texts = [
        target.encode(f"Tom buys {n} pens at 4 and 2 cups at {n} each. How much does Tom pay?\nA:")
        for n in (3, 5)
    ]
    embedded = prompt(target, texts)
    generated = target.generate_greedy(embedded, max_new_tokens=12)
    for row, one in enumerate(generated):
        tokens = torch.tensor([one.token_ids])
        whole = torch.cat([embedded[row : row + 1], target.embedding_table[tokens]], dim=1)
        positions = torch.arange(whole.shape[1])[None]
        predicting = torch.arange(embedded.shape[1] - 1, whole.shape[1] - 1)
        assert target.logits(whole, positions, predicting).argmax(-1).tolist() == list(one.token_ids)


def test_generation_does_not_depend_on_the_batch_a_row_is_in(target):
    texts = [
        target.encode(f"Tom buys {n} pens and 2 cups at list price. How much does Tom pay?\nA:")
        for n in (2, 3, 4, 5)
    ]
    embedded = prompt(target, texts)
    together = target.generate_greedy(embedded, max_new_tokens=24)
    assert together == [
        target.generate_greedy(embedded[row : row + 1], max_new_tokens=24)[0] for row in range(4)
    ]


def test_a_row_that_ended_leaves_the_others_alone(target):
    long, short = "Tom buys 5 pens at 4 and 5 cups at 9 each.", "Tom buys 2 pens at 2 and 2 cups at 2 each."
    texts = [target.encode(f"{text} How much does Tom pay?\nA:") for text in (short, long)]
    embedded = prompt(target, texts)
    generated = target.generate_greedy(embedded, max_new_tokens=24)
    assert len(generated[0].token_ids) < len(generated[1].token_ids)
    assert generated == [
        target.generate_greedy(embedded[row : row + 1], max_new_tokens=24)[0] for row in (0, 1)
    ]


def test_the_finish_reason_is_honest(target):
    embedded = prompt(
        target, [target.encode("Tom buys 2 pens at 2 and 2 cups at 2 each. How much does Tom pay?\nA:")]
    )
    assert target.generate_greedy(embedded, max_new_tokens=40)[0].finish == "eos"
    cut = target.generate_greedy(embedded, max_new_tokens=5)[0]
    assert (cut.finish, len(cut.token_ids)) == ("length", 5)


def test_gradients_reach_the_embeddings_but_no_weight(target):
    embedded = prompt(target, [(10, 20, 30)]).requires_grad_()
    target.logits(embedded, torch.arange(7)[None], torch.tensor([6])).sum().backward()
    assert embedded.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in target.model.parameters())


def test_source_states_do_not_depend_on_padding(source):
    texts = [source.encode("Tom buys 3 pens and 2 cups at list price."), source.encode("Tom buys 3 pens")]
    together: States = source.hidden_states(texts, layers=[1, 3])
    alone = source.hidden_states(texts[1:], layers=[1, 3])
    length = alone.states_BNS.shape[1]
    assert together.keep_BN[1].sum() == length
    torch.testing.assert_close(together.states_BNS[1:2, :length], alone.states_BNS, rtol=1e-4, atol=1e-5)


def test_a_layer_that_does_not_exist_is_named(source):
    with pytest.raises(TrainingStopped) as caught:
        source.hidden_states([(5, 6)], layers=[1, 9])
    assert str(caught.value) == "pocket/source has hidden states 0..3, pair.source_layers asks for 9"


def test_the_models_are_frozen_and_a_thawed_one_is_noticed(target):
    thawed = load_frozen("pocket/target")
    thawed.model.train()
    with pytest.raises(AssertionError, match=r"^pocket/target is in training mode$"):
        assert_frozen(thawed)
    thawed.model.eval().requires_grad_(True)
    with pytest.raises(AssertionError, match=r"^pocket/target is not frozen$"):
        assert_frozen(thawed)
    assert_frozen(target)


def test_the_two_models_are_of_two_families_with_two_widths_and_two_tokenizers(source, target):
    assert (source.model.config.model_type, target.model.config.model_type) == ("mistral", "llama")
    assert source.embedding_table.shape != target.embedding_table.shape
    assert source.encode("lamps") != target.encode("lamps")


@pytest.mark.parametrize("name", ["source", "target"])
def test_tokenizers_round_trip_and_split_digits(name):
    frozen = load_frozen(f"pocket/{name}")
    text = "Tom  buys 345 pens.\nA: {x} #### 12"
    assert frozen.decode(frozen.encode(text)) == text
    assert len(frozen.encode("345")) == 3


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UnknownName, match=r"^there is no model 'pocket/sauce'; did you mean 'pocket/source'"):
        load_frozen("pocket/sauce")


def test_a_folder_that_holds_no_model_says_why(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(TrainingStopped, match=r"cannot be loaded as a causal language model: "):
        load_frozen(str(tmp_path))


def test_one_changed_byte_changes_the_models_digest(tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(POCKET / "source", folder)
    before = folder_sha256(folder)
    assert before == folder_sha256(POCKET / "source") == load_frozen(str(folder)).sha256
    content = bytearray((folder / "tokenizer.json").read_bytes())
    content[-5] ^= 1
    (folder / "tokenizer.json").write_bytes(bytes(content))
    assert folder_sha256(folder) != before
