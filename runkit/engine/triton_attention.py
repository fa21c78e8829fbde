"""Attention on a GPU as kernels of our own: what stands before a row is read where it lies, gradients repeat.

Each kernel adds in one order whatever the machine does beside: nothing is added up by atomics, so that two equal
calls give equal bits, forward and backward. A shared prefix is never copied to the rows, and no gradient is
computed for it, since it comes from a frozen model.

Legend: B rows, T columns of a row, P positions of a shared prefix, H heads of queries, G heads of keys and
values, R = H / G heads of queries a head of keys, d width of a head, S parts of a row.

Source:
    Dao (2023), FlashAttention-2, arXiv:2307.08691 (blocks, log-sum-exps, the backward pass).
    Juravsky et al. (2024), Hydragen, arXiv:2402.05099 (a prefix is read once for all rows).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

KeysValues = tuple[Tensor, Tensor]
_LOG2_E = math.log2(math.e)
_MULTIPROCESSORS = 132
"""Of the GPU that the sizes below were chosen on; a constant, so that results do not depend on the card."""


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


class Sizes(NamedTuple):
    """The blocks of each kernel."""

    forward: Blocks
    backward: BackwardBlocks
    newest: Blocks


def sizes(width: int, dtype: torch.dtype) -> Sizes:
    """Return the blocks for heads of *width*, found by measurement on an H200 for bf16 and 64 or 128."""
    if dtype == torch.float32 or width > 128:
        return Sizes(Blocks(32, 32, 4, 1), BackwardBlocks(32, 32, 32, 32, 4, 1), Blocks(16, 32, 4, 1))
    newest = Blocks(16, 32, 2, 4)
    if width <= 64:
        return Sizes(Blocks(128, 128, 4, 2), BackwardBlocks(64, 128, 128, 64, 8, 2), newest)
    return Sizes(Blocks(128, 128, 8, 2), BackwardBlocks(32, 64, 64, 64, 4, 2), newest)


@triton.jit
def _read(at, index, stride, column, limit, width: tl.constexpr, MASKED: tl.constexpr, PADDED: tl.constexpr):
    """Return rows *index* of a matrix, zero from *limit* on where MASKED and beyond *width* where PADDED."""
    where = at + index[:, None] * stride + column[None, :]
    if MASKED and PADDED:
        return tl.load(where, mask=(index[:, None] < limit) & (column[None, :] < width), other=0.0)
    if MASKED:
        return tl.load(where, mask=index[:, None] < limit, other=0.0)
    if PADDED:
        return tl.load(where, mask=column[None, :] < width, other=0.0)
    return tl.load(where)


@triton.jit
def _attend_to(
    mixed, top, total, query, keys, values, key_stride, value_stride, first, after, limit, row, column,
    log2_scale, width: tl.constexpr, COLUMNS: tl.constexpr, MASKED: tl.constexpr, CAUSAL: tl.constexpr,
    PADDED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Take the columns from *first* to *after* into the running softmax of a block of rows."""
    for start in tl.range(first, after, COLUMNS):
        index = start + tl.arange(0, COLUMNS)
        key = _read(keys, index, key_stride, column, limit, width, MASKED, PADDED)
        score = tl.dot(query, tl.trans(key), input_precision=PRECISION)
        if MASKED:
            score = tl.where(index[None, :] < limit, score, float("-inf"))
        if CAUSAL:
            score = tl.where(index[None, :] <= row[:, None], score, float("-inf"))
        higher = tl.maximum(top, tl.max(score, 1) * log2_scale)
        weight = tl.exp2(score * log2_scale - higher[:, None])
        shrink = tl.exp2(top - higher)
        total = total * shrink + tl.sum(weight, 1)
        value = _read(values, index, value_stride, column, limit, width, MASKED, PADDED)
        mixed = tl.dot(weight.to(value.dtype), value, mixed * shrink[:, None], input_precision=PRECISION)
        top = higher
    return mixed, top, total


@triton.jit(do_not_specialize=["length", "own", "before"])
def _forward(
    queries, keys, values, prefix_keys, prefix_values, mixed, sums,
    query_row, query_head, query_at, key_row, key_head, key_at, value_row, value_head, value_at,
    prefix_key_head, prefix_key_at, prefix_value_head, prefix_value_at, mixed_row, mixed_head, mixed_at,
    log2_scale, heads, group, length, own, before,
    width: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    PADDED: tl.constexpr = width != WIDTH
    block = tl.num_programs(0) - 1 - tl.program_id(0)  # the longest first
    head = tl.program_id(1)
    batch, head = (head // heads).to(tl.int64), (head % heads).to(tl.int64)
    of_keys = head // group
    first = block * ROWS
    row = first + tl.arange(0, ROWS)
    column = tl.arange(0, WIDTH)
    query = _read(
        queries + batch * query_row + head * query_head, row, query_at, column, length, width, True, PADDED
    )
    acc = tl.zeros([ROWS, WIDTH], dtype=tl.float32)
    top = tl.full([ROWS], float("-inf"), dtype=tl.float32)
    total = tl.zeros([ROWS], dtype=tl.float32)
    # fmt: off
    if before > 0:
        keys_before, values_before = prefix_keys + of_keys * prefix_key_head, prefix_values + of_keys * prefix_value_head
        whole = before // COLUMNS * COLUMNS
        acc, top, total = _attend_to(
            acc, top, total, query, keys_before, values_before, prefix_key_at, prefix_value_at, 0, whole, before,
            row, column, log2_scale, width, COLUMNS, False, False, PADDED, PRECISION)
        acc, top, total = _attend_to(
            acc, top, total, query, keys_before, values_before, prefix_key_at, prefix_value_at, whole, before, before,
            row, column, log2_scale, width, COLUMNS, True, False, PADDED, PRECISION)
    keys_here, values_here = keys + batch * key_row + of_keys * key_head, values + batch * value_row + of_keys * value_head
    behind = own - length
    whole = (first + behind) // COLUMNS * COLUMNS if CAUSAL else own // COLUMNS * COLUMNS
    after = tl.minimum(first + ROWS + behind, own) if CAUSAL else own
    acc, top, total = _attend_to(
        acc, top, total, query, keys_here, values_here, key_at, value_at, 0, whole, own,
        row + behind, column, log2_scale, width, COLUMNS, False, False, PADDED, PRECISION)
    acc, top, total = _attend_to(
        acc, top, total, query, keys_here, values_here, key_at, value_at, whole, after, own,
        row + behind, column, log2_scale, width, COLUMNS, True, CAUSAL, PADDED, PRECISION)
    # fmt: on
    acc = acc / total[:, None]
    where = (
        mixed + batch * mixed_row + head * mixed_head + row[:, None].to(tl.int64) * mixed_at + column[None, :]
    )
    tl.store(where, acc, mask=(row[:, None] < length) & (column[None, :] < width))
    tl.store(sums + (batch * heads + head) * length + row, top + tl.log2(total), mask=row < length)


@triton.jit(do_not_specialize=["length"])
def _products(
    mixed, gradients, products, mixed_row, mixed_head, mixed_at, gradient_row, gradient_head, gradient_at,
    heads, length, width: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Write for each row and head the sum of what came out times its gradient."""
    head = tl.program_id(1)
    batch, head = (head // heads).to(tl.int64), (head % heads).to(tl.int64)
    row, column = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    came = _read(
        mixed + batch * mixed_row + head * mixed_head, row, mixed_at, column, length, width, True, True
    )
    gradient = _read(
        gradients + batch * gradient_row + head * gradient_head,
        row,
        gradient_at,
        column,
        length,
        width,
        True,
        True,
    )
    product = tl.sum(came.to(tl.float32) * gradient.to(tl.float32), 1)
    tl.store(products + (batch * heads + head) * length + row, product, mask=row < length)


@triton.jit
def _from_rows(
    key_gradient, value_gradient, key, value, queries, gradients, sums, products, query_at, gradient_at,
    first, after, length, index, column, log2_scale,
    width: tl.constexpr, ROWS: tl.constexpr, MASKED: tl.constexpr, CAUSAL: tl.constexpr, PADDED: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Add what the rows from *first* to *after* give to the gradients of a block of keys and values."""
    for start in tl.range(first, after, ROWS):
        row = start + tl.arange(0, ROWS)
        query = _read(queries, row, query_at, column, length, width, MASKED, PADDED)
        gradient = _read(gradients, row, gradient_at, column, length, width, MASKED, PADDED)
        if MASKED:  # a row that is not there weighs nothing: two to the power of minus infinity
            sum_of_row = tl.load(sums + row, mask=row < length, other=float("inf"))
            product = tl.load(products + row, mask=row < length, other=0.0)
        else:
            sum_of_row, product = tl.load(sums + row), tl.load(products + row)
        score = tl.dot(key, tl.trans(query), input_precision=PRECISION)
        weight = tl.exp2(score * log2_scale - sum_of_row[None, :])
        if CAUSAL:
            weight = tl.where(index[:, None] <= row[None, :], weight, 0.0)
        value_gradient = tl.dot(
            weight.to(gradient.dtype), gradient, value_gradient, input_precision=PRECISION
        )
        pull = tl.dot(value, tl.trans(gradient), input_precision=PRECISION)
        pull = (weight * (pull - product[None, :])).to(query.dtype)
        key_gradient = tl.dot(pull, query, key_gradient, input_precision=PRECISION)
    return key_gradient, value_gradient


@triton.jit
def _from_columns(
    query_gradient, query, gradient, sum_of_row, product, keys, values, key_at, value_at, first, after, limit,
    row, column, log2_scale,
    width: tl.constexpr, COLUMNS: tl.constexpr, MASKED: tl.constexpr, CAUSAL: tl.constexpr,
    PADDED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Add what the columns from *first* to *after* give to the gradient of a block of queries."""
    for start in tl.range(first, after, COLUMNS):
        index = start + tl.arange(0, COLUMNS)
        key = _read(keys, index, key_at, column, limit, width, MASKED, PADDED)
        value = _read(values, index, value_at, column, limit, width, MASKED, PADDED)
        score = tl.dot(query, tl.trans(key), input_precision=PRECISION)
        weight = tl.exp2(score * log2_scale - sum_of_row[:, None])
        if MASKED:
            weight = tl.where(index[None, :] < limit, weight, 0.0)
        if CAUSAL:
            weight = tl.where(index[None, :] <= row[:, None], weight, 0.0)
        pull = tl.dot(gradient, tl.trans(value), input_precision=PRECISION)
        pull = (weight * (pull - product[:, None])).to(key.dtype)
        query_gradient = tl.dot(pull, key, query_gradient, input_precision=PRECISION)
    return query_gradient


@triton.jit(do_not_specialize=["length", "own", "before", "for_keys"])
def _backward(
    queries, keys, values, prefix_keys, prefix_values, gradients, sums, products,
    query_gradients, key_gradients, value_gradients,
    query_row, query_head, query_at, key_row, key_head, key_at, value_row, value_head, value_at,
    prefix_key_head, prefix_key_at, prefix_value_head, prefix_value_at, gradient_row, gradient_head, gradient_at,
    query_gradient_row, query_gradient_head, query_gradient_at,
    key_gradient_row, key_gradient_head, key_gradient_at,
    value_gradient_row, value_gradient_head, value_gradient_at,
    log2_scale, scale, heads, group, length, own, before, for_keys,
    width: tl.constexpr, WIDTH: tl.constexpr, KEY_ROWS: tl.constexpr, KEY_COLUMNS: tl.constexpr,
    QUERY_ROWS: tl.constexpr, QUERY_COLUMNS: tl.constexpr, CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The first *for_keys* programs compute gradients of keys and values, the others those of queries."""
    PADDED: tl.constexpr = width != WIDTH
    program = tl.program_id(0)
    column = tl.arange(0, WIDTH)
    behind = own - length
    # fmt: off
    if program < for_keys:
        groups = heads // group
        lines = for_keys // tl.cdiv(own, KEY_COLUMNS)
        block, of_keys = program // lines, program % lines  # the longest first
        batch, of_keys = (of_keys // groups).to(tl.int64), (of_keys % groups).to(tl.int64)
        start = block * KEY_COLUMNS
        index = start + tl.arange(0, KEY_COLUMNS)
        key = _read(keys + batch * key_row + of_keys * key_head, index, key_at, column, own, width, True, PADDED)
        value = _read(values + batch * value_row + of_keys * value_head, index, value_at, column, own, width, True, PADDED)
        of_key = tl.zeros([KEY_COLUMNS, WIDTH], dtype=tl.float32)
        of_value = tl.zeros([KEY_COLUMNS, WIDTH], dtype=tl.float32)
        whole = length // KEY_ROWS * KEY_ROWS
        begin = tl.minimum(tl.maximum(start - behind, 0) // KEY_ROWS * KEY_ROWS, whole) if CAUSAL else 0
        crossing = tl.maximum(start + KEY_COLUMNS - 1 - behind, 0)
        crossing = tl.minimum(tl.cdiv(crossing, KEY_ROWS) * KEY_ROWS, whole) if CAUSAL else 0
        for number in range(group):
            head = of_keys * group + number
            query = queries + batch * query_row + head * query_head
            gradient = gradients + batch * gradient_row + head * gradient_head
            line = (batch * heads + head) * length
            if CAUSAL:
                of_key, of_value = _from_rows(
                    of_key, of_value, key, value, query, gradient, sums + line, products + line, query_at, gradient_at,
                    begin, crossing, length, index - behind, column, log2_scale, width, KEY_ROWS, False, True, PADDED, PRECISION)
            of_key, of_value = _from_rows(
                of_key, of_value, key, value, query, gradient, sums + line, products + line, query_at, gradient_at,
                crossing, whole, length, index - behind, column, log2_scale, width, KEY_ROWS, False, False, PADDED, PRECISION)
            of_key, of_value = _from_rows(
                of_key, of_value, key, value, query, gradient, sums + line, products + line, query_at, gradient_at,
                whole, length, length, index - behind, column, log2_scale, width, KEY_ROWS, True, CAUSAL, PADDED, PRECISION)
        kept = (index[:, None] < own) & (column[None, :] < width)
        where = key_gradients + batch * key_gradient_row + of_keys * key_gradient_head
        tl.store(where + index[:, None].to(tl.int64) * key_gradient_at + column[None, :], of_key * scale, mask=kept)
        where = value_gradients + batch * value_gradient_row + of_keys * value_gradient_head
        tl.store(where + index[:, None].to(tl.int64) * value_gradient_at + column[None, :], of_value, mask=kept)
    else:
        blocks = tl.cdiv(length, QUERY_ROWS)
        program -= for_keys
        head, block = program // blocks, blocks - 1 - program % blocks
        batch, head = (head // heads).to(tl.int64), (head % heads).to(tl.int64)
        of_keys = head // group
        first = block * QUERY_ROWS
        row = first + tl.arange(0, QUERY_ROWS)
        query = _read(queries + batch * query_row + head * query_head, row, query_at, column, length, width, True, PADDED)
        gradient = _read(gradients + batch * gradient_row + head * gradient_head, row, gradient_at, column, length, width, True, PADDED)
        line = (batch * heads + head) * length
        sum_of_row = tl.load(sums + line + row, mask=row < length, other=float("inf"))
        product = tl.load(products + line + row, mask=row < length, other=0.0)
        of_query = tl.zeros([QUERY_ROWS, WIDTH], dtype=tl.float32)
        if before > 0:
            keys_before, values_before = prefix_keys + of_keys * prefix_key_head, prefix_values + of_keys * prefix_value_head
            whole = before // QUERY_COLUMNS * QUERY_COLUMNS
            of_query = _from_columns(
                of_query, query, gradient, sum_of_row, product, keys_before, values_before, prefix_key_at, prefix_value_at,
                0, whole, before, row, column, log2_scale, width, QUERY_COLUMNS, False, False, PADDED, PRECISION)
            of_query = _from_columns(
                of_query, query, gradient, sum_of_row, product, keys_before, values_before, prefix_key_at, prefix_value_at,
                whole, before, before, row, column, log2_scale, width, QUERY_COLUMNS, True, False, PADDED, PRECISION)
        keys_here, values_here = keys + batch * key_row + of_keys * key_head, values + batch * value_row + of_keys * value_head
        whole = (first + behind) // QUERY_COLUMNS * QUERY_COLUMNS if CAUSAL else own // QUERY_COLUMNS * QUERY_COLUMNS
        after = tl.minimum(first + QUERY_ROWS + behind, own) if CAUSAL else own
        of_query = _from_columns(
            of_query, query, gradient, sum_of_row, product, keys_here, values_here, key_at, value_at,
            0, whole, own, row + behind, column, log2_scale, width, QUERY_COLUMNS, False, False, PADDED, PRECISION)
        of_query = _from_columns(
            of_query, query, gradient, sum_of_row, product, keys_here, values_here, key_at, value_at,
            whole, after, own, row + behind, column, log2_scale, width, QUERY_COLUMNS, True, CAUSAL, PADDED, PRECISION)
        where = query_gradients + batch * query_gradient_row + head * query_gradient_head
        kept = (row[:, None] < length) & (column[None, :] < width)
        tl.store(where + row[:, None].to(tl.int64) * query_gradient_at + column[None, :], of_query * scale, mask=kept)
    # fmt: on


@triton.jit(do_not_specialize=["part"])
def _newest(
    queries, keys, values, last, mixed, sums,
    query_row, query_head, key_row, key_head, key_at, value_row, value_head, value_at,
    log2_scale, heads, group, part,
    width: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write what one part of a row gives to its newest token, and the part's log-sum-exp."""
    PADDED: tl.constexpr = width != WIDTH
    batch, of_keys, number = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64), tl.program_id(2)
    parts = tl.num_programs(2)
    own = tl.load(last + batch).to(tl.int32) + 1
    row, column = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    head = of_keys * group + row
    query = _read(
        queries + batch * query_row, head, query_head, column, (of_keys + 1) * group, width, True, PADDED
    )
    acc = tl.zeros([ROWS, WIDTH], dtype=tl.float32)
    top = tl.full([ROWS], float("-inf"), dtype=tl.float32)
    total = tl.zeros([ROWS], dtype=tl.float32)
    keys_here, values_here = (
        keys + batch * key_row + of_keys * key_head,
        values + batch * value_row + of_keys * value_head,
    )
    first = number * part
    after = tl.minimum(first + part, own)
    whole = first + tl.maximum(after - first, 0) // COLUMNS * COLUMNS
    # fmt: off
    acc, top, total = _attend_to(
        acc, top, total, query, keys_here, values_here, key_at, value_at, first, whole, own,
        row, column, log2_scale, width, COLUMNS, False, False, PADDED, PRECISION)
    acc, top, total = _attend_to(
        acc, top, total, query, keys_here, values_here, key_at, value_at, whole, after, own,
        row, column, log2_scale, width, COLUMNS, True, False, PADDED, PRECISION)
    # fmt: on
    is_empty = after <= first
    kept = row < group
    line = (batch * heads + head) * parts + number
    acc = acc / tl.where(is_empty, 1.0, total)[:, None]
    tl.store(
        mixed + line[:, None] * width + column[None, :], acc, mask=kept[:, None] & (column[None, :] < width)
    )
    tl.store(
        sums + line, tl.where(is_empty, float("-inf"), top + tl.log2(tl.maximum(total, 1e-37))), mask=kept
    )


@triton.jit(do_not_specialize=["before", "parts", "batches"])
def _joined(
    mixed, sums, prefix_mixed, prefix_sums, joined, heads, group, parts, batches, before,
    width: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Join the parts of one row and head, and what the prefix gave, by their log-sum-exps."""
    batch, head = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    column = tl.arange(0, WIDTH)
    line = (batch * heads + head) * parts
    of_prefix = ((head // group) * batches + batch) * group + head % group
    top = tl.load(sums + line)  # the first part is never empty
    for number in range(1, parts):
        top = tl.maximum(top, tl.load(sums + line + number))
    if before > 0:
        top = tl.maximum(top, tl.load(prefix_sums + of_prefix))
    acc = tl.zeros([WIDTH], dtype=tl.float32)
    total = 0.0
    for number in range(parts):
        weight = tl.exp2(tl.load(sums + line + number) - top)
        acc += weight * tl.load(mixed + (line + number) * width + column, mask=column < width, other=0.0)
        total += weight
    if before > 0:
        weight = tl.exp2(tl.load(prefix_sums + of_prefix) - top)
        acc += weight * tl.load(prefix_mixed + of_prefix * width + column, mask=column < width, other=0.0)
        total += weight
    tl.store(joined + (batch * heads + head) * width + column, acc / total, mask=column < width)


def attend(
    query_BHTd: Tensor,
    key_BGTd: Tensor,
    value_BGTd: Tensor,
    prefix: KeysValues | None,
    scale: float | None,
    *,
    is_causal: bool = True,
) -> Tensor:
    """Return what each query takes from the prefix and from its row up to itself, shape ``[B, T, H, d]``.

    Where there are fewer queries than keys, they are those of the last columns. Gradients reach queries,
    keys and values; none reaches the prefix.

    Args:
        prefix: Keys and values that all rows begin with, shape ``[1, G, P, d]`` each.
        scale: Of the scores; None for one over the root of d.
        is_causal: False lets every query see its whole row.
    """
    scale = query_BHTd.shape[-1] ** -0.5 if scale is None else scale
    before = (None, None) if prefix is None else prefix
    mixed_BTHd: Tensor = _Attention.apply(query_BHTd, key_BGTd, value_BGTd, *before, scale, is_causal)
    return mixed_BTHd


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        query_BHTd, key_BGTd, value_BGTd, prefix_key, prefix_value, scale, is_causal = given
        mixed_BTHd, sums_BHT = _mixed(
            query_BHTd, key_BGTd, value_BGTd, prefix_key, prefix_value, scale=scale, is_causal=is_causal
        )
        ctx.save_for_backward(
            query_BHTd, key_BGTd, value_BGTd, prefix_key, prefix_value, mixed_BTHd, sums_BHT
        )
        ctx.scale, ctx.is_causal = scale, is_causal
        return mixed_BTHd

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query_BHTd, key_BGTd, value_BGTd, prefix_key, prefix_value, mixed_BTHd, sums_BHT = ctx.saved_tensors
        gradient_BTHd = gradients[0] if gradients[0].stride(-1) == 1 else gradients[0].contiguous()
        batch, heads, length, width = query_BHTd.shape
        block = sizes(width, query_BHTd.dtype).backward
        products_BHT = torch.empty_like(sums_BHT)
        _products[(triton.cdiv(length, 64), batch * heads)](
            mixed_BTHd, gradient_BTHd, products_BHT, *_by_head(mixed_BTHd), *_by_head(gradient_BTHd),
            heads, length, width, _whole(width), 64,
        )  # fmt: skip
        found = [one.new_empty(one.shape) for one in (query_BHTd, key_BGTd, value_BGTd)]
        own, groups = key_BGTd.shape[2], key_BGTd.shape[1]
        for_keys = triton.cdiv(own, block.columns_for_keys) * batch * groups
        for_queries = triton.cdiv(length, block.rows_for_queries) * batch * heads
        _backward[(for_keys + for_queries,)](
            query_BHTd, key_BGTd, value_BGTd, *_or(key_BGTd, prefix_key, prefix_value), gradient_BTHd, sums_BHT,
            products_BHT, *found,
            *query_BHTd.stride()[:3], *key_BGTd.stride()[:3], *value_BGTd.stride()[:3],
            *_of_prefix(prefix_key), *_of_prefix(prefix_value), *_by_head(gradient_BTHd),
            *(stride for one in found for stride in one.stride()[:3]),
            ctx.scale * _LOG2_E, ctx.scale, heads, heads // groups, length, own, _positions(prefix_key), for_keys,
            width, _whole(width), *block[:4], ctx.is_causal, _precision(query_BHTd),
            num_warps=block.warps, num_stages=block.stages,
        )  # fmt: skip
        return (*found, None, None, None, None)


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
    """Return what came out, ``[B, T, H, d]``, and the log-sum-exps to base 2, ``[B, H, T]``."""
    batch, heads, length, width = query_BHTd.shape
    groups, own = key_BGTd.shape[1], key_BGTd.shape[2]
    block = sizes(width, query_BHTd.dtype).forward
    mixed_BTHd = query_BHTd.new_empty(batch, length, heads, width, dtype=dtype)
    sums_BHT = query_BHTd.new_empty(batch, heads, length, dtype=torch.float32)
    _forward[(triton.cdiv(length, block.rows), batch * heads)](
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
    block = sizes(width, query_BH1d.dtype).newest
    parts = _parts(batch * groups, columns, block.columns)
    part = triton.cdiv(triton.cdiv(columns, parts), block.columns) * block.columns
    mixed = query_BH1d.new_empty(batch, heads, parts, width, dtype=torch.float32)
    sums = query_BH1d.new_empty(batch, heads, parts, dtype=torch.float32)
    whole = _whole(width)
    _newest[(batch, groups, parts)](
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
    _joined[(batch, heads)](
        mixed, sums, *of_prefix, joined_B1Hd, heads, group, parts, batch, 0 if prefix is None else 1, width, whole,
        num_warps=1,
    )  # fmt: skip
    return joined_B1Hd


def _whole(count: int) -> int:
    """Return the next power of two, at least what a matrix product needs."""
    return max(16, triton.next_power_of_2(count))


def _parts(programs: int, columns: int, block: int) -> int:
    """Return in how many parts rows are read, so that a GPU has enough to do; a function of shapes alone."""
    wanted = triton.cdiv(4 * _MULTIPROCESSORS, programs)
    return max(1, min(wanted, triton.cdiv(columns, 2 * block), 32))


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
