"""Attention on a GPU by kernels of our own: what stands before a row is read where it lies, gradients repeat.

A shared prefix is never copied to the rows, and no gradient is computed for it, since it comes from a frozen
model. Blocks are functions of shape, dtype and kind of card, never of a clock: equal runs give equal bits.

Legend: B rows, T columns of a row, P positions of a shared prefix, H heads of queries, G heads of keys and
values, d width of a head.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from runkit.engine import triton_kernels
from runkit.engine.kernels import KeysValues

_LOG2_E = math.log2(math.e)
_MULTIPROCESSORS = 132
"""Of the GPU that the sizes below were chosen on; a constant, so that results do not depend on the card."""


_MOST_PARTS = 32
_ROOMY = (9, 10)
"""Generations of cards of data centres with 227 KiB of shared memory, of which 160 are used: H100 to B200."""


class Blocks(NamedTuple):
    """Rows and columns that a program computes at once, its warps and how far it loads ahead."""

    rows: int
    columns: int
    warps: int
    stages: int


class BackwardBlocks(NamedTuple):
    """The same for the two kinds of programs of a backward pass, which run side by side."""

    rows_for_keys: int
    columns_for_keys: int
    rows_for_queries: int
    columns_for_queries: int
    warps: int
    stages: int


class NewestBlocks(NamedTuple):
    """The same where a row has one query: its columns that a program computes at once, warps and stages."""

    columns: int
    warps: int
    stages: int


class Sizes(NamedTuple):
    """The blocks of each kernel."""

    forward: Blocks
    backward: BackwardBlocks
    newest: NewestBlocks


def sizes(width: int, dtype: torch.dtype, *, is_roomy: bool) -> Sizes:
    """Return the blocks for heads of *width*, found by measurement on an H200 for bf16 and 64 or 128.

    Args:
        is_roomy: Whether a program may have over 200 KiB of shared memory. Cards that have less take blocks
            that fit 99 KiB; those were not timed.
    """
    if dtype == torch.float32 or width > 128:
        return Sizes(Blocks(32, 32, 4, 1), BackwardBlocks(32, 32, 32, 32, 4, 1), NewestBlocks(32, 4, 1))
    if not is_roomy:
        return Sizes(Blocks(64, 32, 4, 2), BackwardBlocks(32, 32, 32, 32, 4, 1), NewestBlocks(32, 2, 2))
    newest = NewestBlocks(32, 2, 4)
    if width <= 64:
        return Sizes(Blocks(128, 128, 4, 2), BackwardBlocks(64, 128, 128, 64, 8, 2), newest)
    return Sizes(Blocks(128, 128, 8, 2), BackwardBlocks(32, 64, 64, 64, 4, 2), newest)


def _sizes(like: Tensor) -> Sizes:
    return sizes(like.shape[-1], like.dtype, is_roomy=_is_roomy(like.device))


@lru_cache
def _is_roomy(device: torch.device) -> bool:
    return device.type != "cuda" or torch.cuda.get_device_capability(device)[0] in _ROOMY


def attend(
    query_BHTd: Tensor,
    key_BGTd: Tensor,
    value_BGTd: Tensor,
    prefix: KeysValues | None,
    scale: float | None,
) -> Tensor:
    """Return what each query takes from the prefix and from its row up to itself, shape ``[B, T, H, d]``.

    Where there are fewer queries than keys, they are those of the last columns. Gradients reach queries,
    keys and values; none reaches the prefix.

    Args:
        prefix: Keys and values that all rows begin with, shape ``[1, G, P, d]`` each.
        scale: Of the scores; None for one over the root of d.
    """
    scale = query_BHTd.shape[-1] ** -0.5 if scale is None else scale
    before = (None, None) if prefix is None else prefix
    mixed_BTHd: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        query_BHTd, key_BGTd, value_BGTd, *before, scale
    )
    return mixed_BTHd


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        query_BHTd, key_BGTd, value_BGTd, prefix_key, prefix_value, scale = given
        mixed_BTHd, sums_BHT = _mixed(
            query_BHTd, key_BGTd, value_BGTd, prefix_key, prefix_value, scale=scale, is_causal=True
        )
        ctx.save_for_backward(
            query_BHTd, key_BGTd, value_BGTd, prefix_key, prefix_value, mixed_BTHd, sums_BHT
        )
        ctx.scale = scale
        return mixed_BTHd

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query_BHTd, key_BGTd, value_BGTd, prefix_key, prefix_value, mixed_BTHd, sums_BHT = ctx.saved_tensors
        gradient_BTHd = gradients[0] if gradients[0].stride(-1) == 1 else gradients[0].contiguous()
        batch, heads, length, width = query_BHTd.shape
        block = _sizes(query_BHTd).backward
        products_BHT = torch.empty_like(sums_BHT)
        triton_kernels.products[(triton.cdiv(length, 64), batch * heads)](
            mixed_BTHd, gradient_BTHd, products_BHT, *_by_head(mixed_BTHd), *_by_head(gradient_BTHd),
            heads, length, width, _whole(width), 64,
        )  # fmt: skip
        found = [one.new_empty(one.shape) for one in (query_BHTd, key_BGTd, value_BGTd)]
        own, groups = key_BGTd.shape[2], key_BGTd.shape[1]
        for_keys = triton.cdiv(own, block.columns_for_keys) * batch * groups
        for_queries = triton.cdiv(length, block.rows_for_queries) * batch * heads
        triton_kernels.backward[(for_keys + for_queries,)](
            query_BHTd, key_BGTd, value_BGTd, *_or(key_BGTd, prefix_key, prefix_value), gradient_BTHd,
            sums_BHT, products_BHT, *found,
            *query_BHTd.stride()[:3], *key_BGTd.stride()[:3], *value_BGTd.stride()[:3],
            *_of_prefix(prefix_key), *_of_prefix(prefix_value), *_by_head(gradient_BTHd),
            *(stride for one in found for stride in one.stride()[:3]),
            ctx.scale * _LOG2_E, ctx.scale, heads, heads // groups, length, own, _positions(prefix_key),
            for_keys, width, _whole(width), *block[:4], _precision(query_BHTd),
            num_warps=block.warps, num_stages=block.stages,
        )  # fmt: skip
        return (*found, None, None, None)


def _mixed(
    query_BHTd: Tensor,
    key_BGTd: Tensor,
    value_BGTd: Tensor,
    prefix_key: Tensor | None,
    prefix_value: Tensor | None,
    *,
    scale: float,
    is_causal: bool,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """Return what came out, ``[B, T, H, d]``, and the log-sum-exps to base 2, ``[B, H, T]``.

    Args:
        is_causal: False lets every query see its whole row.
        dtype: Of what comes out; None for that of the queries.
    """
    batch, heads, length, width = query_BHTd.shape
    groups, own = key_BGTd.shape[1], key_BGTd.shape[2]
    block = _sizes(query_BHTd).forward
    mixed_BTHd = query_BHTd.new_empty(batch, length, heads, width, dtype=dtype)
    sums_BHT = query_BHTd.new_empty(batch, heads, length, dtype=torch.float32)
    triton_kernels.forward[(triton.cdiv(length, block.rows), batch * heads)](
        query_BHTd, key_BGTd, value_BGTd, *_or(key_BGTd, prefix_key, prefix_value), mixed_BTHd, sums_BHT,
        *query_BHTd.stride()[:3], *key_BGTd.stride()[:3], *value_BGTd.stride()[:3],
        *_of_prefix(prefix_key), *_of_prefix(prefix_value), *_by_head(mixed_BTHd),
        scale * _LOG2_E, heads, heads // groups, length, own, _positions(prefix_key),
        width, _whole(width), block.rows, block.columns, is_causal, _precision(query_BHTd),
        num_warps=block.warps, num_stages=block.stages,
    )  # fmt: skip
    return mixed_BTHd, sums_BHT


def newest_attends(
    query_BH1d: Tensor,
    keys_BGTd: Tensor,
    values_BGTd: Tensor,
    last_B: Tensor,
    prefix: KeysValues | None,
    scale: float | None,
) -> Tensor:
    """Return what the newest token of each row takes from its row and from the prefix, ``[B, 1, H, d]``.

    A row is read up to column *last_B*; no gradient is kept.
    """
    batch, heads, _, width = query_BH1d.shape
    groups, columns = keys_BGTd.shape[1], keys_BGTd.shape[2]
    group = heads // groups
    scale = width**-0.5 if scale is None else scale
    block = _sizes(query_BH1d).newest
    parts = _parts(batch * groups, columns, block.columns)
    part = triton.cdiv(triton.cdiv(columns, parts), block.columns) * block.columns
    mixed = query_BH1d.new_empty(batch, heads, parts, width, dtype=torch.float32)
    sums = query_BH1d.new_empty(batch, heads, parts, dtype=torch.float32)
    whole = _whole(width)
    triton_kernels.newest[(batch, groups, parts)](
        query_BH1d, keys_BGTd, values_BGTd, last_B, mixed, sums,
        *query_BH1d.stride()[:2], *keys_BGTd.stride()[:3], *values_BGTd.stride()[:3],
        scale * _LOG2_E, heads, group, part, width, whole, _whole(group), block.columns,
        _precision(query_BH1d), num_warps=block.warps, num_stages=block.stages,
    )  # fmt: skip
    of_prefix = (mixed, sums)
    if prefix is not None:
        by_group = query_BH1d.view(batch, groups, group, width).transpose(0, 1)
        asking = by_group.reshape(1, groups, batch * group, width)
        nothing = keys_BGTd[:1, :, :0]
        said, logs = _mixed(
            asking, nothing, nothing, *prefix, scale=scale, is_causal=False, dtype=torch.float32
        )
        of_prefix = (said.transpose(1, 2).contiguous(), logs)
    joined_B1Hd = query_BH1d.new_empty(batch, 1, heads, width)
    triton_kernels.joined[(batch, heads)](
        mixed, sums, *of_prefix, joined_B1Hd, heads, group, parts, batch, 0 if prefix is None else 1,
        width, whole, num_warps=1,
    )  # fmt: skip
    return joined_B1Hd


def _whole(count: int) -> int:
    """Return the next power of two, at least what a matrix product needs."""
    return max(16, int(triton.next_power_of_2(count)))


def _parts(programs: int, columns: int, block: int) -> int:
    """Return in how many parts rows are read, so that a GPU has enough to do; a function of shapes alone."""
    wanted = int(triton.cdiv(4 * _MULTIPROCESSORS, programs))
    return max(1, min(wanted, int(triton.cdiv(columns, 2 * block)), _MOST_PARTS))


def _by_head(tensor_BTHd: Tensor) -> tuple[int, int, int]:
    """Return the strides of rows, heads and columns."""
    return tensor_BTHd.stride(0), tensor_BTHd.stride(2), tensor_BTHd.stride(1)


def _or(like: Tensor, *tensors: Tensor | None) -> tuple[Tensor, ...]:
    return tuple(like if one is None else one for one in tensors)


def _of_prefix(tensor_1GPd: Tensor | None) -> tuple[int, int]:
    return (0, 0) if tensor_1GPd is None else (tensor_1GPd.stride(1), tensor_1GPd.stride(2))


def _positions(tensor_1GPd: Tensor | None) -> int:
    return 0 if tensor_1GPd is None else tensor_1GPd.shape[2]


def _precision(like: Tensor) -> str:
    return "ieee" if like.dtype == torch.float32 else "tf32"
