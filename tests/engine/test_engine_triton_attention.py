"""Attention by kernels of our own is attention, in fp32: on a GPU, and elsewhere by Triton's interpreter."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from runkit.engine.kernels import causal, newest_attends

ours = pytest.importorskip(
    "runkit.engine.triton_attention", reason="triton is not installed; it comes with torch for CUDA"
)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
_CLOSE = {"rtol": 1e-5, "atol": 2e-6}


def drawn(seed, *shape, transposed=False):
    """Return random numbers, in memory in the order of *shape*, or with heads after columns."""
    made = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)
    return (made.transpose(1, 2).contiguous().transpose(1, 2) if transposed else made).requires_grad_()


def prefix_of(length, groups, width):
    return tuple(torch.randn(2, 1, groups, length, width, device=DEVICE)) if length else None


@settings(max_examples=20)
@given(
    rows=st.integers(1, 2),
    groups=st.integers(1, 2),
    group=st.sampled_from([1, 2, 4]),
    length=st.integers(1, 150),
    before=st.sampled_from([0, 1, 31, 32, 40]),
    asked=st.integers(1, 150),
    width=st.sampled_from([8, 16, 24, 64]),
    transposed=st.booleans(),
)
def test_values_and_gradients_are_those_of_torch(
    rows, groups, group, length, before, asked, width, transposed
):
    heads, asked = groups * group, min(asked, length)
    query = drawn(1, rows, heads, length, width, transposed=transposed)
    key = drawn(2, rows, groups, length, width)
    value = drawn(3, rows, groups, length, width, transposed=not transposed)
    prefix = prefix_of(before, groups, width)
    said = [
        attend(query[:, :, length - asked :], key, value, prefix, None) for attend in (causal, ours.attend)
    ]
    assert said[1].shape == (rows, asked, heads, width)
    torch.testing.assert_close(said[1], said[0], **_CLOSE)
    pull = torch.randn_like(said[0])
    wanted, found = (torch.autograd.grad(one, (query, key, value), pull) for one in said)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("is_roomy", [True, False])
@pytest.mark.parametrize("width", [64, 128])
def test_the_blocks_of_half_precision_give_the_same(monkeypatch, width, is_roomy):
    half = ours.sizes(width, torch.bfloat16, is_roomy=is_roomy)
    if DEVICE == "cuda" and is_roomy:
        pytest.skip("numbers of fp32 in blocks of bf16 do not fit a GPU")
    query, key, value = (drawn(seed, 1, 2, 150, width) for seed in (1, 2, 3))
    prefix = prefix_of(37, 2, width)
    wanted = ours.attend(query[:, :, 40:], key, value, prefix, None)
    monkeypatch.setattr(ours, "sizes", lambda *_, **__: half)
    said = ours.attend(query[:, :, 40:], key, value, prefix, None)
    torch.testing.assert_close(said, wanted, **_CLOSE)
    pull = torch.randn_like(said)
    found, also = (
        torch.autograd.grad(one, (query, key, value), pull, retain_graph=True) for one in (said, wanted)
    )
    torch.testing.assert_close(found, also, rtol=1e-4, atol=1e-5)


@settings(max_examples=20)
@given(
    last=st.lists(st.integers(0, 199), min_size=1, max_size=4),
    groups=st.integers(1, 2),
    group=st.sampled_from([1, 3, 4]),
    before=st.sampled_from([0, 1, 40]),
    width=st.sampled_from([16, 24]),
)
def test_the_newest_token_takes_what_torch_gives_it(last, groups, group, before, width):
    rows, columns = len(last), 200
    query = drawn(1, rows, groups * group, 1, width).detach()
    keys, values = (drawn(seed, rows, groups, columns, width).detach() for seed in (2, 3))
    given_to_both = (
        query,
        keys,
        values,
        torch.tensor(last, device=DEVICE),
        prefix_of(before, groups, width),
        None,
    )
    torch.testing.assert_close(ours.newest_attends(*given_to_both), newest_attends(*given_to_both), **_CLOSE)


def test_what_stands_after_a_row_is_not_read():
    query, keys, values = (drawn(seed, 1, 1, 64, 16).detach() for seed in (1, 2, 3))
    last = torch.tensor([40], device=DEVICE)
    before = ours.newest_attends(query[:, :, :1], keys, values, last, None, None)
    keys[:, :, 41:] = values[:, :, 41:] = float("nan")
    assert torch.equal(before, ours.newest_attends(query[:, :, :1], keys, values, last, None, None))


def test_no_gradient_is_computed_for_a_prefix():
    query, key, value = (drawn(seed, 1, 2, 20, 16) for seed in (1, 2, 3))
    prefix = tuple(one.requires_grad_() for one in prefix_of(9, 2, 16))
    ours.attend(query, key, value, prefix, None).sum().backward()
    assert query.grad is not None
    assert [one.grad for one in prefix] == [None, None]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_wrong_gradient_would_be_seen(number):
    """Sabotage: the same comparison fails when one of the three gradients is off by a thousandth."""
    inputs = tuple(drawn(seed, 1, 2, 40, 16) for seed in (1, 2, 3))
    said = [attend(*inputs, None, None) for attend in (causal, ours.attend)]
    wanted, found = (list(torch.autograd.grad(one.sum(), inputs)) for one in said)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    found[number] = found[number] * 1.001 + 1e-3
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_parts_depend_on_shapes_alone_and_cover_every_column():
    for programs in (1, 8, 64, 1600):
        for columns in (64, 200, 2560):
            parts = ours._parts(programs, columns, 32)
            assert 1 <= parts <= 32
            assert parts == 32 or programs * parts >= min(528, programs * (columns // 64))


@pytest.mark.parametrize(
    ("capability", "kind", "available_kib"), [(90, "roomy", 227), (80, "other", 163), (89, "other", 99)]
)
def test_the_kernels_compile_for_their_cards_and_fit_their_shared_memory(capability, kind, available_kib):
    """The card need not be there; the limits are those of H100, A100 and the cards of workstations."""
    settings_here = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    program = [sys.executable, "-m", "tests.engine.kernels_for_cards", str(capability), kind]
    root = Path(__file__).parents[2]
    ended = subprocess.run(program, env=settings_here, cwd=root, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = json.loads(ended.stdout)
    assert set(found) == {"forward", "backward", "newest"}
    assert all(0 < size <= available_kib * 1024 for size in found.values())
    # sabotage: the blocks of the large cards do not fit the others
    assert kind != "roomy" or max(found.values()) > 99 * 1024


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [16, 64, 80, 128, 256])
@pytest.mark.parametrize("is_roomy", [True, False])
def test_blocks_are_powers_of_two_that_a_matrix_product_takes(is_roomy, width, dtype):
    for blocks in ours.sizes(width, dtype, is_roomy=is_roomy):
        sides = blocks[:-2]
        assert all(side >= 16 and side & (side - 1) == 0 for side in sides)
