"""Causal self-attention on packed sequences, forward and backward, without any n x n matrix.

Sequences lie one after the other in (T, d) arrays; sequence b has rows offsets[b] to offsets[b+1].
Causality is a loop bound: a query meets no later key.

A (sequence, head) pair is a task; the longest sequences come first, so that no thread is left with
a long one at the end. In a task, queries go in strips of `STRIP` rows. A strip holds its scores
against all earlier keys, STRIP x n numbers, and is used up before the next one. The backward pass
keeps no weights from the forward pass: it makes the scores again and needs only `lse`, the log of
each row's sum of exponentials, because p_ts = exp(score_ts - lse_t).

Dropout: the weight of query t for key s under head i is kept iff random_uint32(c) >= rate * 2^32,
and then scaled by 1 / (1 - rate), with the counter c = (rows[t] * h + i) * 0x9E3779B1 + rows[s] in
32 bits. `rows` names the rows (slot b * n + i of the padded batch; consecutive in a sequence), so
the padded layout, which has other row numbers, drops the same weights.
"""

from __future__ import annotations

import numpy as np

from minisasrec.kernels._jit import kernel
from minisasrec.kernels._threads import next_task, run
from minisasrec.kernels.matmul import multiply
from minisasrec.kernels.random import random_uint32
from minisasrec.kernels.softmax import softmax_row
from minisasrec.kernels.vector import (
    PANEL,
    TILE,
    copy_row,
    exp,
    fill,
    fma,
    lanes,
    load,
    store,
    tile,
    total,
    transpose,
    where_before,
)
from minisasrec.random import Key, drop_threshold

STRIP = 8 * TILE  # queries at a time


@kernel
def padded(count, unit):
    """`count` rounded up to a multiple of `unit`."""
    return (count + unit - 1) // unit * unit


# --- dropout ---------------------------------------------------------------------------------


@kernel
def _counter(query, key, head, heads):
    """The counter of the weight of a query for the key of its sequence named `key`."""
    row = np.uint32(np.uint32(query * np.uint32(heads)) + np.uint32(head))
    return np.uint32(np.uint32(row * np.uint32(0x9E3779B1)) + key)


@kernel
def _make_mask(mask, base, threshold, scale, key0, key1):
    """mask[s] = scale where the weight is kept, 0 where not; `base`: counter of the first key."""
    for s in range(len(mask)):
        word = random_uint32(np.uint32(base + np.uint32(s)), key0, key1)
        mask[s] = scale if word >= threshold else 0


# --- scores ----------------------------------------------------------------------------------


@kernel
def _transpose_head(x, begin, n, at, width, out):
    """Columns at..at+width of x, transposed: panels (n / wide, width, wide), wide PANEL vectors."""
    d, lane = x.shape[1], lanes(x)
    wide = PANEL * lane
    for s in range(0, n, lane):
        panel = s // wide * wide * width + s % wide
        if width < lane:
            for i in range(lane):  # rows past the last repeat it: no query looks at them
                for j in range(width):
                    out[panel + j * wide + i] = x[begin + min(s + i, n - 1), at + j]
        else:
            for j in range(0, width, lane):
                j = min(j, width - lane)
                transpose(x, (begin + s) * d + at + j, d, n - s, out, panel + j * wide, wide)


@kernel
def _scores(x, x0, x_row, first, rows, transposed, width, zeros, strip):
    """strip (rows, keys) = x key^T for queries first..first+rows, up to each tile's last."""
    lane, columns = lanes(strip), strip.shape[1]
    wide = PANEL * lane
    for i in range(0, rows, TILE):
        end = first + min(i + TILE, rows)
        for s in range(0, end, wide):
            tile(
                min(PANEL, (end - s + lane - 1) // lane), 0, x, x0 + i * x_row, x_row, 1, rows - i,
                transposed, s * width, wide, width, zeros, 0, 0, strip, i * columns + s, columns,
            )  # fmt: skip


@kernel
def _longest(offsets):
    longest = 0
    for b in range(len(offsets) - 1):
        longest = max(longest, offsets[b + 1] - offsets[b])
    return longest


# --- forward ---------------------------------------------------------------------------------


@kernel
def _forward_worker(
    counter, order, last_only, q, k, v, offsets, names, heads, scale, threshold, keep_scale, key0,
    key1, out, lse,
):  # fmt: skip
    d = q.shape[1]
    width = d // heads
    lane = lanes(q)
    columns, longest = padded(width, lane), padded(_longest(offsets), PANEL * lane)
    kt = np.empty(longest * width, q.dtype)
    values = np.zeros((longest, columns), q.dtype)
    strip = np.empty((STRIP, longest), q.dtype)
    mask = np.empty(longest, q.dtype)
    sums = np.empty(STRIP, q.dtype)
    result = np.empty((STRIP, columns), q.dtype)
    zeros = np.zeros(max(columns, PANEL * lane), q.dtype)
    task = next_task(counter)
    while task >= 0:
        b, head = order[task // heads], task % heads
        begin, n, at = offsets[b], offsets[b + 1] - offsets[b], head * width
        # row of q and out that belongs to query 0; with last_only they hold query n - 1, in row b
        q0, start = (b - (n - 1), n - 1) if last_only else (begin, 0)
        _transpose_head(k, begin, n, at, width, kt)
        for s in range(n):
            copy_row(v, (begin + s) * d + at, values, s * columns, width)
        for first in range(start, n, STRIP):
            rows = min(STRIP, n - first)
            # score_ts = q_t . k_s / sqrt(width), s <= t
            _scores(q, (q0 + first) * d + at, d, first, rows, kt, width, zeros, strip)
            # p_t = softmax(score_t), up to the division by the row's sum
            for i in range(rows):
                t = first + i
                end = padded(min(first + padded(i + 1, TILE), n), lane)
                part, top = softmax_row(strip, i * longest, t + 1, end, scale)
                sums[i] = 1 / part
                lse[q0 + t, head] = top * scale + np.log(part)
                if threshold > 0:
                    base = _counter(names[begin + t], names[begin], head, heads)
                    _make_mask(mask[:end], base, threshold, keep_scale, key0, key1)
                    for s in range(0, end, lane):
                        store(strip, i * longest + s, load(strip, i * longest + s) * load(mask, s))
            # out_t = sum_s p_ts v_s
            for i in range(0, rows, TILE):
                size = min(TILE, rows - i)
                multiply(
                    strip, i * longest, longest, 1, size, values, first + i + size, columns,
                    zeros, 0, 0, result, i * columns, columns,
                )  # fmt: skip
            for i in range(rows):
                factor = fill(result, sums[i])
                for j in range(0, columns, lane):
                    store(result, i * columns + j, load(result, i * columns + j) * factor)
                copy_row(result, i * columns, out, (q0 + first + i) * d + at, width)
        task = next_task(counter)


def _common(q, offsets, heads, rate, key):
    """Tasks in order of falling length, and the constants of the formulas in the right types."""
    real = q.dtype.type
    lengths = np.diff(offsets)
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    scale, keep_scale = real((q.shape[1] // heads) ** -0.5), real(1 / (1 - rate))
    words = np.uint32(drop_threshold(rate)), keep_scale, np.uint32(key.k0), np.uint32(key.k1)
    return order, (heads, scale, *words)


def attention_forward(q, k, v, offsets, rows, heads, rate, key):
    """out_t = sum over s <= t of p_ts v_s with p_t = softmax_s(q_t . k_s / sqrt(d / h)), per head.

    q, k, v (T, d), offsets (B+1) int64 -> out (T, d), lse (T, h), the log-sum-exp of the scores.
    `rate` > 0 drops weights as the module says; `rows` (T) uint32 names the rows.
    """
    out = np.empty_like(q)
    lse = np.empty((len(q), heads), q.dtype)
    order, constants = _common(q, offsets, heads, rate, key)
    tasks = len(order) * heads
    run(_forward_worker, tasks, order, False, q, k, v, offsets, rows, *constants, out, lse)
    return out, lse


def last_attention_forward(q, k, v, offsets, heads):
    """`attention_forward` for the last query of each sequence: q (B, d), k, v (T, d) -> (B, d)."""
    out = np.empty_like(q)
    lse = np.empty((len(q), heads), q.dtype)
    order, constants = _common(q, offsets, heads, 0.0, Key(0, 0))
    tasks, rows = len(order) * heads, np.empty(0, np.uint32)
    run(_forward_worker, tasks, order, True, q, k, v, offsets, rows, *constants, out, lse)
    return out


# --- backward --------------------------------------------------------------------------------


@kernel
def _weights_and_slopes(strip, slopes, mask, i, count, end, scale, lse, along):
    """From scores and dw in `strip` and `slopes` to weights w and dscore, row at i, `end` long.

    Forward:   p = exp(scale score - lse)       w = p m (m: 0 if dropped, else the scale of kept)
    Backward:  dp = dw m                        dscore = scale p (dp - sum_s p_ts dp_ts),
    where the sum over s, `along`, is also sum_s w_ts dw_ts = dout_t . out_t.
    """
    zero, factor, shift = fill(strip, 0.0), fill(strip, scale), fill(strip, -lse)
    shared = fill(strip, along)
    for s in range(0, end, lanes(strip)):
        p = exp(fma(load(strip, i + s), factor, shift))
        p = where_before(s, count, p, zero)
        m = load(mask, s)
        dscore = (load(slopes, i + s) * m - shared) * p * factor
        store(strip, i + s, p * m)
        store(slopes, i + s, where_before(s, count, dscore, zero))


@kernel
def _backward_worker(
    counter, order, dout, q, k, v, out, lse, offsets, names, heads, scale, threshold, keep_scale,
    key0, key1, dq, dk, dv,
):  # fmt: skip
    d = q.shape[1]
    width = d // heads
    lane = lanes(q)
    columns, longest = padded(width, lane), padded(_longest(offsets), PANEL * lane)
    kt, vt = np.empty(longest * width, q.dtype), np.empty(longest * width, q.dtype)
    keys = np.zeros((longest, columns), q.dtype)
    queries = np.zeros((STRIP, columns), q.dtype)
    douts = np.zeros((STRIP, columns), q.dtype)
    outs = np.zeros((1, columns), q.dtype)
    dkeys, dvalues = np.empty((longest, columns), q.dtype), np.empty((longest, columns), q.dtype)
    strip, slopes = np.empty((STRIP, longest), q.dtype), np.empty((STRIP, longest), q.dtype)
    mask = np.ones(longest, q.dtype)
    result = np.empty((STRIP, columns), q.dtype)
    zeros = np.zeros(max(columns, PANEL * lane), q.dtype)
    task = next_task(counter)
    while task >= 0:
        b, head = order[task // heads], task % heads
        begin, n, at = offsets[b], offsets[b + 1] - offsets[b], head * width
        _transpose_head(k, begin, n, at, width, kt)
        _transpose_head(v, begin, n, at, width, vt)
        for s in range(n):
            copy_row(k, (begin + s) * d + at, keys, s * columns, width)
        dkeys[:n] = 0
        dvalues[:n] = 0
        for first in range(0, n, STRIP):
            rows = min(STRIP, n - first)
            for i in range(rows):
                copy_row(q, (begin + first + i) * d + at, queries, i * columns, width)
                copy_row(dout, (begin + first + i) * d + at, douts, i * columns, width)
            # score_ts = q_t . k_s    out_t = sum_s w_ts v_s, so dw_ts = dout_t . v_s
            _scores(queries, 0, columns, first, rows, kt, width, zeros, strip)
            _scores(douts, 0, columns, first, rows, vt, width, zeros, slopes)
            for i in range(rows):
                t = begin + first + i
                end = padded(min(first + padded(i + 1, TILE), n), lane)
                if threshold > 0:
                    base = _counter(names[t], names[begin], head, heads)
                    _make_mask(mask[:end], base, threshold, keep_scale, key0, key1)
                copy_row(out, t * d + at, outs, 0, width)
                along = fill(outs, 0.0)
                for j in range(0, columns, lane):
                    along = fma(load(outs, j), load(douts, i * columns + j), along)
                _weights_and_slopes(
                    strip, slopes, mask, i * longest, first + i + 1, end, scale, lse[t, head],
                    total(along),
                )  # fmt: skip
            # score_ts = q_t . k_s           dq_t = sum_s dscore_ts k_s
            for i in range(0, rows, TILE):
                size = min(TILE, rows - i)
                multiply(
                    slopes, i * longest, longest, 1, size, keys, first + i + size, columns,
                    zeros, 0, 0, result, i * columns, columns,
                )  # fmt: skip
            for i in range(rows):
                copy_row(result, i * columns, dq, (begin + first + i) * d + at, width)
            # dv_s += sum_t w_ts dout_t,  dk_s += sum_t dscore_ts q_t, over the strip's t >= s
            for s in range(0, first + rows, TILE):
                size = min(TILE, first + rows - s)
                skip = max(0, s - first)  # a tile of keys and a tile of queries start together
                here, there = skip * longest + s, s * columns
                multiply(
                    strip, here, 1, longest, size, douts[skip:], rows - skip, columns,
                    dvalues, there, columns, dvalues, there, columns,
                )  # fmt: skip
                multiply(
                    slopes, here, 1, longest, size, queries[skip:], rows - skip, columns,
                    dkeys, there, columns, dkeys, there, columns,
                )  # fmt: skip
        for s in range(n):
            copy_row(dkeys, s * columns, dk, (begin + s) * d + at, width)
            copy_row(dvalues, s * columns, dv, (begin + s) * d + at, width)
        task = next_task(counter)


def attention_backward(dout, q, k, v, out, lse, offsets, rows, heads, rate, key):
    """Gradients of `attention_forward`, from its results `out` and `lse`: dq, dk, dv (T, d)."""
    dq, dk, dv = np.empty_like(q), np.empty_like(k), np.empty_like(v)
    order, constants = _common(q, offsets, heads, rate, key)
    run(
        _backward_worker, len(order) * heads, order, dout, q, k, v, out, lse, offsets, rows,
        *constants, dq, dk, dv,
    )  # fmt: skip
    return dq, dk, dv
