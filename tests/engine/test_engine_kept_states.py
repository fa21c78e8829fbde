"""What frozen models say once and is kept: the top of a teacher, states without padding, the cache itself."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from runkit.engine import losses
from runkit.engine.config import load_preset, with_overrides
from runkit.engine.content_cache import cached_tensors
from runkit.engine.evaluate import filled
from runkit.engine.losses import top_log_probs
from runkit.engine.pair import FrozenModel, load_frozen
from runkit.engine.preparation import prepare
from runkit.engine.source_states import SourceStates, source_states
from runkit.engine.supervision import NUM_TOP_TOKENS, WHOLE_VOCABULARY, full_text_teacher
from runkit.errors import StorageFailed

from .conftest import SHORT
from .tiny_models import write_model

M, V = 6, 40
KEY = {"kind": "numbers", "layers": [1, 2]}


def predictions(seed, sharpness):
    torch.manual_seed(seed)
    logits = sharpness * torch.randn(M, V)
    return logits, (sharpness * torch.randn(M, V)).log_softmax(-1)


@given(st.integers(0, 999), st.floats(0.01, 30))
def test_fewer_kept_tokens_never_add_to_kl_and_all_of_them_give_the_exact_one(seed, sharpness):
    logits, teacher = predictions(seed, sharpness)
    exact = losses.kl(logits, teacher).item()
    kept = [losses.kl(logits, top_log_probs(teacher, num_tokens=count)).item() for count in range(1, V + 1)]
    slack = 1e-5 * (1 + exact)
    assert all(0 - slack <= few <= more + slack for few, more in pairwise(kept))
    assert kept[-1] == pytest.approx(exact, abs=slack)
    assert losses.kl(logits, top_log_probs(logits.log_softmax(-1), num_tokens=5)) == pytest.approx(
        0, abs=slack
    )


def test_kept_tokens_and_tail_are_a_distribution_and_more_tokens_than_there_are_are_all():
    _, teacher = predictions(0, 2.0)
    top = top_log_probs(teacher, num_tokens=7)
    torch.testing.assert_close(top.log_probs_MC.exp().sum(-1) + top.tail_M.exp(), torch.ones(M))
    everything = top_log_probs(teacher, num_tokens=64)
    assert everything.token_ids_MC.shape == (M, V)
    assert (everything.tail_M == float("-inf")).all()


def test_the_gradient_of_the_kept_kl_is_that_of_the_exact_one_on_what_is_kept():
    logits, teacher = predictions(3, 2.0)
    top = top_log_probs(teacher, num_tokens=V - 5)
    slopes = []
    for said in (teacher, top):
        free = logits.clone().requires_grad_()
        losses.kl(free, said).backward()
        slopes.append(free.grad)
    kept = torch.zeros(M, V, dtype=torch.bool).scatter(1, top.token_ids_MC, True)
    torch.testing.assert_close(slopes[0][kept], slopes[1][kept], rtol=1e-4, atol=1e-6)
    # a tail that is one token has one slope for all of its members, in proportion to what the bridge gives
    torch.testing.assert_close(slopes[1].sum(), torch.tensor(0.0), rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wide")
    return load_frozen(str(write_model(folder, "llama", vocabulary=WHOLE_VOCABULARY + 100)))


def teacher_of(frozen, cache, *, prefix=None, note=lambda _line: None):
    prompts = [frozen.encode(f"Q: {'Eva has ' * (n % 3 + 1)}{n} pens?\nA:") for n in range(7)]
    answers = [frozen.encode(f" {n} pens{' and more' * n}\n#### {n}") for n in range(7)]
    said = full_text_teacher(
        frozen, prompts, answers, prefix=prefix, batch_size=3, threads=1, cache_dir=cache, note=note
    )
    return said, prompts, answers


@pytest.mark.parametrize("examples", ["", "Q: 1 + 1?\nA: 2\n\n"])
def test_of_a_large_vocabulary_the_most_probable_tokens_are_kept(wide, tmp_path, examples):
    prefix = wide.read_prefix(examples)
    said, prompts, answers = teacher_of(wide, tmp_path, prefix=prefix)
    begin = [wide.special.bos, *wide.encode(examples)]
    for row in (6, 0):
        ids = torch.tensor([[*begin, *prompts[row], *answers[row][:19]]])
        logits = wide.model(input_ids=ids).logits[0, len(begin) + len(prompts[row]) - 1 :]
        top = said.log_probs([row])
        expected = top_log_probs(logits.log_softmax(-1), num_tokens=NUM_TOP_TOKENS)
        assert top.token_ids_MC.shape == (len(answers[row][:19]) + 1, NUM_TOP_TOKENS)
        torch.testing.assert_close(top.log_probs_MC, expected.log_probs_MC, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(top.tail_M, expected.tail_M, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(
            logits.log_softmax(-1).gather(1, top.token_ids_MC), top.log_probs_MC, rtol=1e-4, atol=1e-4
        )


def test_the_teacher_of_one_key_is_asked_once_and_of_other_answers_again(wide, tmp_path, monkeypatch):
    first, _, _ = teacher_of(wide, tmp_path)
    with monkeypatch.context() as without:
        without.setattr(FrozenModel, "logits", None)
        again, _, _ = teacher_of(wide, tmp_path)
    for one, other in zip(first.log_probs([2, 5]), again.log_probs([2, 5]), strict=True):
        assert torch.equal(one, other)
    teacher_of(wide, tmp_path, prefix=wide.read_prefix("Q: 1?\nA: 1\n\n"))
    assert len(list(tmp_path.iterdir())) == 2


def states_of(frozen, texts, cache, *, batch_size=3, prefix=None, note=lambda _line: None):
    return source_states(
        frozen,
        texts,
        layers=[1, 2],
        prefix=prefix,
        batch_size=batch_size,
        threads=1,
        cache_dir=cache,
        note=note,
    )


@pytest.mark.parametrize("family", ["llama", "qwen2"])  # with and without a begin token
@pytest.mark.parametrize("examples", ["", "Q: 1 + 1?\nA: 2\n\n"])
def test_ragged_states_are_padded_to_what_they_were_before(tiny, tmp_path, family, examples):
    frozen = load_frozen(tiny[family])
    texts = [frozen.encode("Tom has " + "many " * n + "pens") for n in (4, 0, 9, 2)]
    prefix = frozen.read_prefix(examples)
    kept = states_of(frozen, texts, tmp_path, prefix=prefix)
    begin = int(not examples and frozen.special.bos is not None)
    assert kept.lengths_I.tolist() == [begin + len(text) for text in texts]
    assert len(kept.tokens_TS) == kept.lengths_I.sum()
    rows = [2, 0, 2]
    padded = kept.padded(rows, device=torch.device("cpu"))
    assert padded.states_BNS.shape == (3, kept.longest, kept.width)
    for row, states_NS, keep_N in zip(rows, *padded, strict=True):
        alone = frozen.hidden_states([texts[row]], layers=[1, 2], prefix=prefix).states_BNS[0]
        assert keep_N.tolist() == [True] * len(alone) + [False] * (kept.longest - len(alone))
        torch.testing.assert_close(states_NS[keep_N], alone, rtol=1e-4, atol=1e-5)
        assert (states_NS[~keep_N] == 0).all()
    picked = kept.picked([3, 1], [1, 0])
    assert torch.equal(picked[0], kept.padded([3], device=torch.device("cpu")).states_BNS[0, 1])
    assert torch.equal(picked[1], kept.padded([1], device=torch.device("cpu")).states_BNS[0, 0])


@given(longest=st.integers(1, 20), multiple=st.sampled_from([1, 8]))
def test_states_may_be_padded_to_a_length_that_suits_a_gpu(longest, multiple):
    lengths = torch.tensor([1, longest])
    states = SourceStates(torch.randn(int(lengths.sum()), 3), lengths)
    plain, suited = (states.padded([1, 0], device=torch.device("cpu"), multiple=one) for one in (1, multiple))
    assert suited.states_BNS.shape[1] % multiple == 0
    assert suited.states_BNS.shape[1] - longest < multiple
    assert torch.equal(suited.states_BNS[:, :longest], plain.states_BNS)
    assert torch.equal(suited.keep_BN[:, :longest], plain.keep_BN)
    assert not suited.keep_BN[:, longest:].any()
    assert not suited.states_BNS[:, longest:].any()


def test_the_last_rows_of_a_recorded_pass_are_filled_with_the_first():
    rows = torch.randn(3, 2)
    assert torch.equal(filled(rows, 5), rows[[0, 1, 2, 0, 0]])
    assert filled(rows, 3) is rows


def test_states_are_read_from_the_disk_and_not_from_the_model(tiny, tmp_path, monkeypatch):
    frozen = load_frozen(tiny["llama"])
    texts = [frozen.encode(f"Tom has {n} pens") for n in range(5)]
    first = states_of(frozen, texts, tmp_path)
    with monkeypatch.context() as without:
        without.setattr(FrozenModel, "hidden_states", None)
        again = states_of(frozen, texts, tmp_path)
    assert torch.equal(first.tokens_TS, again.tokens_TS)
    (entry,) = tmp_path.iterdir()
    assert entry.name in Path("/proc/self/maps").read_text()  # mapped, not read into memory
    states_of(frozen, texts[1:], tmp_path)
    states_of(frozen, texts, tmp_path, batch_size=2)
    assert len(list(tmp_path.iterdir())) == 3


def numbers():
    return {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}


@pytest.mark.parametrize("place", [0, 9, 40, -1], ids=["length", "head", "key", "number"])
def test_one_changed_byte_of_an_entry_is_found_and_it_is_made_again_with_a_line(tmp_path, place):
    lines, made = [], []

    def make():
        made.append(1)
        return numbers()

    def read():
        return cached_tensors("numbers", KEY, make, cache_dir=tmp_path, note=lines.append)

    whole = read()
    (entry,) = tmp_path.iterdir()
    assert read().keys() == whole.keys()
    assert made == [1]
    content = bytearray(entry.read_bytes())
    content[place] ^= 1
    entry.write_bytes(content)
    mended = read()
    assert all(torch.equal(mended[name], tensor) for name, tensor in numbers().items())
    assert made == [1, 1]
    assert lines == [f"[Cache] entry {entry.name} with numbers is damaged; making it again"]
    assert bytearray(entry.read_bytes()) != content


def test_a_torn_entry_and_one_of_another_key_are_made_again(tmp_path):
    lines = []

    def read(key):
        return cached_tensors("numbers", key, numbers, cache_dir=tmp_path, note=lines.append)

    read(KEY)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(entry.read_bytes()[:50])
    read(KEY)
    read({**KEY, "layers": [1]})
    (other,) = set(tmp_path.iterdir()) - {entry}
    entry.write_bytes(other.read_bytes())
    read(KEY)
    assert len(lines) == 2


def test_a_cache_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(StorageFailed, match=r"^cannot write the cache entry [0-9a-f]+\.safetensors: "):
        cached_tensors("numbers", KEY, numbers, cache_dir=tmp_path / "cache", note=lambda _line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_run_says_that_it_makes_a_damaged_cache_again(tmp_path):
    lines = []
    wanted = with_overrides(load_preset("pocket"), [*SHORT, "loss.kl_weight=0.6"])
    prepare(wanted, cache_dir=tmp_path, note=lines.append)
    assert lines == []
    for entry in tmp_path.glob("*.safetensors"):
        entry.write_bytes(b"damaged")
    prepare(wanted, cache_dir=tmp_path, note=lines.append)
    assert sorted(line.split(" with ")[1] for line in lines) == [
        "source states is damaged; making it again",
        "source states is damaged; making it again",
        "source states is damaged; making it again",
        "what the teacher of kl says is damaged; making it again",
    ]
