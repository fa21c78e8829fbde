"""The kernels of attention in Triton's language, which is compiled for a GPU; nothing here runs on the host.

Each kernel adds in one order whatever the machine does beside: nothing is added up by atomics, so that two
equal calls give equal bits, forward and backward. Numbers of rows and columns are not specialised: a
batch whose length 16 divides compiles nothing anew.

Names end in what they count: ``key_row``, ``key_head`` and ``key_at`` are strides from one batch row, head
and column to the next. A block of queries has numbers *row*, a block of keys numbers *index*; *column* counts
along a head's width. *own* columns belong to the row, *before* to the prefix; queries are those of the last
*length* columns, so that they stand *behind* the first ``own - length``. Sums are logarithms to base 2.

Source:
    Dao (2023), FlashAttention-2, arXiv:2307.08691, algorithms 1 and 2.
    Juravsky et al. (2024), Hydragen, arXiv:2402.05099 (parts are joined by their log-sum-exps).
"""

import triton
import triton.language as tl


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
def forward(
    queries, keys, values, prefix_keys, prefix_values, mixed, sums,
    query_row, query_head, query_at, key_row, key_head, key_at, value_row, value_head, value_at,
    prefix_key_head, prefix_key_at, prefix_value_head, prefix_value_at, mixed_row, mixed_head, mixed_at,
    log2_scale, heads, group, length, own, before,
    width: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    CAUSAL: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Write what a block of queries takes from prefix and row, and its log-sum-exps."""
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
        keys_before = prefix_keys + of_keys * prefix_key_head
        values_before = prefix_values + of_keys * prefix_value_head
        whole = before // COLUMNS * COLUMNS
        acc, top, total = _attend_to(
            acc, top, total, query, keys_before, values_before, prefix_key_at, prefix_value_at,
            0, whole, before, row, column, log2_scale, width, COLUMNS, False, False, PADDED, PRECISION)
        acc, top, total = _attend_to(
            acc, top, total, query, keys_before, values_before, prefix_key_at, prefix_value_at,
            whole, before, before, row, column, log2_scale, width, COLUMNS, True, False, PADDED, PRECISION)
    keys_here = keys + batch * key_row + of_keys * key_head
    values_here = values + batch * value_row + of_keys * value_head
    behind = own - length
    whole = (first + behind if CAUSAL else own) // COLUMNS * COLUMNS
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
def products(
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
def backward(
    queries, keys, values, prefix_keys, prefix_values, gradients, sums, products,
    query_gradients, key_gradients, value_gradients,
    query_row, query_head, query_at, key_row, key_head, key_at, value_row, value_head, value_at,
    prefix_key_head, prefix_key_at, prefix_value_head, prefix_value_at,
    gradient_row, gradient_head, gradient_at,
    query_gradient_row, query_gradient_head, query_gradient_at,
    key_gradient_row, key_gradient_head, key_gradient_at,
    value_gradient_row, value_gradient_head, value_gradient_at,
    log2_scale, scale, heads, group, length, own, before, for_keys,
    width: tl.constexpr, WIDTH: tl.constexpr, KEY_ROWS: tl.constexpr, KEY_COLUMNS: tl.constexpr,
    QUERY_ROWS: tl.constexpr, QUERY_COLUMNS: tl.constexpr, PRECISION: tl.constexpr,
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
        key = _read(
            keys + batch * key_row + of_keys * key_head, index, key_at, column, own, width, True, PADDED)
        value = _read(
            values + batch * value_row + of_keys * value_head, index, value_at, column, own, width,
            True, PADDED)
        of_key = tl.zeros([KEY_COLUMNS, WIDTH], dtype=tl.float32)
        of_value = tl.zeros([KEY_COLUMNS, WIDTH], dtype=tl.float32)
        whole = length // KEY_ROWS * KEY_ROWS
        begin = tl.minimum(tl.maximum(start - behind, 0) // KEY_ROWS * KEY_ROWS, whole)
        crossing = tl.maximum(start + KEY_COLUMNS - 1 - behind, 0)
        crossing = tl.minimum(tl.cdiv(crossing, KEY_ROWS) * KEY_ROWS, whole)
        for number in range(group):
            head = of_keys * group + number
            query = queries + batch * query_row + head * query_head
            gradient = gradients + batch * gradient_row + head * gradient_head
            line = (batch * heads + head) * length
            of_key, of_value = _from_rows(
                of_key, of_value, key, value, query, gradient, sums + line, products + line,
                query_at, gradient_at, begin, crossing, length, index - behind, column, log2_scale,
                width, KEY_ROWS, False, True, PADDED, PRECISION)
            of_key, of_value = _from_rows(
                of_key, of_value, key, value, query, gradient, sums + line, products + line,
                query_at, gradient_at, crossing, whole, length, index - behind, column, log2_scale,
                width, KEY_ROWS, False, False, PADDED, PRECISION)
            of_key, of_value = _from_rows(
                of_key, of_value, key, value, query, gradient, sums + line, products + line,
                query_at, gradient_at, whole, length, length, index - behind, column, log2_scale,
                width, KEY_ROWS, True, True, PADDED, PRECISION)
        kept = (index[:, None] < own) & (column[None, :] < width)
        where = key_gradients + batch * key_gradient_row + of_keys * key_gradient_head
        where += index[:, None].to(tl.int64) * key_gradient_at + column[None, :]
        tl.store(where, of_key * scale, mask=kept)
        where = value_gradients + batch * value_gradient_row + of_keys * value_gradient_head
        where += index[:, None].to(tl.int64) * value_gradient_at + column[None, :]
        tl.store(where, of_value, mask=kept)
    else:
        blocks = tl.cdiv(length, QUERY_ROWS)
        program -= for_keys
        head, block = program // blocks, blocks - 1 - program % blocks
        batch, head = (head // heads).to(tl.int64), (head % heads).to(tl.int64)
        of_keys = head // group
        first = block * QUERY_ROWS
        row = first + tl.arange(0, QUERY_ROWS)
        query = _read(
            queries + batch * query_row + head * query_head, row, query_at, column, length, width,
            True, PADDED)
        gradient = _read(
            gradients + batch * gradient_row + head * gradient_head, row, gradient_at, column, length, width,
            True, PADDED)
        line = (batch * heads + head) * length
        sum_of_row = tl.load(sums + line + row, mask=row < length, other=float("inf"))
        product = tl.load(products + line + row, mask=row < length, other=0.0)
        of_query = tl.zeros([QUERY_ROWS, WIDTH], dtype=tl.float32)
        if before > 0:
            keys_before = prefix_keys + of_keys * prefix_key_head
            values_before = prefix_values + of_keys * prefix_value_head
            whole = before // QUERY_COLUMNS * QUERY_COLUMNS
            of_query = _from_columns(
                of_query, query, gradient, sum_of_row, product, keys_before, values_before,
                prefix_key_at, prefix_value_at, 0, whole, before, row, column, log2_scale,
                width, QUERY_COLUMNS, False, False, PADDED, PRECISION)
            of_query = _from_columns(
                of_query, query, gradient, sum_of_row, product, keys_before, values_before,
                prefix_key_at, prefix_value_at, whole, before, before, row, column, log2_scale,
                width, QUERY_COLUMNS, True, False, PADDED, PRECISION)
        keys_here = keys + batch * key_row + of_keys * key_head
        values_here = values + batch * value_row + of_keys * value_head
        whole = (first + behind) // QUERY_COLUMNS * QUERY_COLUMNS
        after = tl.minimum(first + QUERY_ROWS + behind, own)
        of_query = _from_columns(
            of_query, query, gradient, sum_of_row, product, keys_here, values_here, key_at, value_at,
            0, whole, own, row + behind, column, log2_scale,
            width, QUERY_COLUMNS, False, False, PADDED, PRECISION)
        of_query = _from_columns(
            of_query, query, gradient, sum_of_row, product, keys_here, values_here, key_at, value_at,
            whole, after, own, row + behind, column, log2_scale,
            width, QUERY_COLUMNS, True, True, PADDED, PRECISION)
        where = query_gradients + batch * query_gradient_row + head * query_gradient_head
        kept = (row[:, None] < length) & (column[None, :] < width)
        where += row[:, None].to(tl.int64) * query_gradient_at + column[None, :]
        tl.store(where, of_query * scale, mask=kept)
    # fmt: on


@triton.jit(do_not_specialize=["part"])
def newest(
    queries, keys, values, last, mixed, sums,
    query_row, query_head, key_row, key_head, key_at, value_row, value_head, value_at,
    log2_scale, heads, group, part,
    width: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
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
    keys_here = keys + batch * key_row + of_keys * key_head
    values_here = values + batch * value_row + of_keys * value_head
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
def joined(
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
