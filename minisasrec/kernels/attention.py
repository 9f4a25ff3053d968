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

from minisasrec.kernels.jit import kernel
from minisasrec.kernels.matmul import multiply
from minisasrec.kernels.random import random_uint32
from minisasrec.kernels.softmax import softmax_row
from minisasrec.kernels.team import next_task, run
from minisasrec.kernels.vector import (
    PANEL,
    TILE,
    exp,
    fill,
    fma,
    lane_count,
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
                padded(min(end - s, wide), lane), x, x0 + i * x_row, x_row, 1, rows - i,
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
    longest = padded(_longest(offsets), PANEL * lane)
    stride = longest + lane  # no power of 2, for which the rows would meet in the same cache lines
    kt = np.empty(longest * width, q.dtype)
    strip = np.empty((STRIP, stride), q.dtype)
    mask = np.empty(longest, q.dtype)
    sums = np.empty(STRIP, q.dtype)
    result = np.empty((STRIP, width), q.dtype)
    zeros = np.zeros(max(width, PANEL * lane), q.dtype)
    task = next_task(counter)
    while task >= 0:
        b, head = order[task // heads], task % heads
        begin, n, at = offsets[b], offsets[b + 1] - offsets[b], head * width
        # row of q and out that belongs to query 0; with last_only they hold query n - 1, in row b
        q0, start = (b - (n - 1), n - 1) if last_only else (begin, 0)
        _transpose_head(k, begin, n, at, width, kt)
        for first in range(start, n, STRIP):
            rows = min(STRIP, n - first)
            # score_ts = q_t . k_s / sqrt(width), s <= t
            _scores(q, (q0 + first) * d + at, d, first, rows, kt, width, zeros, strip)
            # p_t = softmax(score_t), up to the division by the row's sum
            for i in range(rows):
                t = first + i
                end = padded(min(first + padded(i + 1, TILE), n), lane)
                part, top = softmax_row(strip, i * stride, t + 1, end, scale)
                sums[i] = 1 / part
                lse[q0 + t, head] = top * scale + np.log(part)
                if threshold > 0:
                    base = _counter(names[begin + t], names[begin], head, heads)
                    _make_mask(mask[:end], base, threshold, keep_scale, key0, key1)
                    for s in range(0, end, lane):
                        store(strip, i * stride + s, load(strip, i * stride + s) * load(mask, s))
            # out_t = sum_s p_ts v_s
            for i in range(0, rows, TILE):
                size = min(TILE, rows - i)
                multiply(
                    strip, i * stride, stride, 1, size, v, begin * d + at, d, first + i + size,
                    width, zeros, 0, 0, result, i * width, width,
                )  # fmt: skip
            for i in range(rows):
                factor = fill(result, sums[i])
                for j in range(0, width, lane):
                    j = min(j, width - lane)
                    to = (q0 + first + i) * d + at + j
                    store(out, to, load(result, i * width + j) * factor)
        task = next_task(counter)


def _whole_heads(x, heads):
    """x (T, h d') with columns of zeros added to each head, up to one vector, if it is narrower."""
    width, lane = x.shape[1] // heads, lane_count(x.dtype)
    if width >= lane:
        return x
    wide = np.zeros((len(x), heads, lane), x.dtype)
    wide[..., :width] = x.reshape(len(x), heads, width)
    return wide.reshape(len(x), heads * lane)


def _own_columns(x, heads, d):
    """What `_whole_heads` was made from: x (T, d)."""
    if x.shape[1] == d:
        return x
    wide = x.reshape(len(x), heads, x.shape[1] // heads)
    return wide[..., : d // heads].reshape(len(x), d)


def _common(q, offsets, heads, rate, key):
    """Tasks in order of falling length, and the constants of the formulas in the right types."""
    real = q.dtype.type
    lengths = np.diff(offsets)
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    scale, keep_scale = real((q.shape[1] // heads) ** -0.5), real(1 / (1 - rate))
    words = np.uint32(drop_threshold(rate)), keep_scale, np.uint32(key.k0), np.uint32(key.k1)
    return order, (heads, scale, *words)


def _forward(last_only, q, k, v, offsets, rows, heads, rate, key):
    order, constants = _common(q, offsets, heads, rate, key)
    d = q.shape[1]
    q, k, v = (_whole_heads(x, heads) for x in (q, k, v))
    out = np.empty_like(q)
    lse = np.empty((len(q), heads), q.dtype)
    tasks = len(order) * heads
    run(_forward_worker, tasks, order, last_only, q, k, v, offsets, rows, *constants, out, lse)
    return _own_columns(out, heads, d), lse


def attention_forward(q, k, v, offsets, rows, heads, rate, key):
    """out_t = sum over s <= t of p_ts v_s with p_t = softmax_s(q_t . k_s / sqrt(d / h)), per head.

    q, k, v (T, d), offsets (B+1) int64 -> out (T, d), lse (T, h), the log-sum-exp of the scores.
    `rate` > 0 drops weights as the module says; `rows` (T) uint32 names the rows.
    """
    return _forward(False, q, k, v, offsets, rows, heads, rate, key)


def last_attention_forward(q, k, v, offsets, heads):
    """`attention_forward` for the last query of each sequence: q (B, d), k, v (T, d) -> (B, d)."""
    return _forward(True, q, k, v, offsets, np.empty(0, np.uint32), heads, 0.0, Key(0, 0))[0]


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
def _dot(x, y, i, width):
    """x . y of the `width` numbers from flat position i on."""
    zero = fill(x, 0.0)
    sums = zero
    for j in range(0, width, lanes(x)):
        start = min(j, width - lanes(x))  # the last vector ends with the row: a part has been added
        product = load(x, i + start) * load(y, i + start)
        sums = sums + where_before(start, j, zero, product)
    return total(sums)


@kernel
def _backward_worker(
    counter, order, dout, q, k, v, out, lse, offsets, names, heads, scale, threshold, keep_scale,
    key0, key1, dq, dk, dv,
):  # fmt: skip
    d = q.shape[1]
    width = d // heads
    lane = lanes(q)
    longest = padded(_longest(offsets), PANEL * lane)
    stride = longest + lane
    kt, vt = np.empty(longest * width, q.dtype), np.empty(longest * width, q.dtype)
    strip, slopes = np.empty((STRIP, stride), q.dtype), np.empty((STRIP, stride), q.dtype)
    mask = np.ones(longest, q.dtype)
    zeros = np.zeros(max(width, PANEL * lane), q.dtype)
    task = next_task(counter)
    while task >= 0:
        b, head = order[task // heads], task % heads
        begin, n, at = offsets[b], offsets[b + 1] - offsets[b], head * width
        head0 = begin * d + at  # position of the head's first row
        _transpose_head(k, begin, n, at, width, kt)
        _transpose_head(v, begin, n, at, width, vt)
        dk[begin : begin + n, at : at + width] = 0
        dv[begin : begin + n, at : at + width] = 0
        for first in range(0, n, STRIP):
            rows = min(STRIP, n - first)
            strip0 = head0 + first * d
            # score_ts = q_t . k_s    out_t = sum_s w_ts v_s, so dw_ts = dout_t . v_s
            _scores(q, strip0, d, first, rows, kt, width, zeros, strip)
            _scores(dout, strip0, d, first, rows, vt, width, zeros, slopes)
            for i in range(rows):
                t = begin + first + i
                end = padded(min(first + padded(i + 1, TILE), n), lane)
                if threshold > 0:
                    base = _counter(names[t], names[begin], head, heads)
                    _make_mask(mask[:end], base, threshold, keep_scale, key0, key1)
                _weights_and_slopes(
                    strip, slopes, mask, i * stride, first + i + 1, end, scale, lse[t, head],
                    _dot(out, dout, t * d + at, width),
                )  # fmt: skip
            # score_ts = q_t . k_s           dq_t = sum_s dscore_ts k_s
            for i in range(0, rows, TILE):
                size = min(TILE, rows - i)
                multiply(
                    slopes, i * stride, stride, 1, size, k, head0, d, first + i + size, width,
                    zeros, 0, 0, dq, strip0 + i * d, d,
                )  # fmt: skip
            # dv_s += sum_t w_ts dout_t,  dk_s += sum_t dscore_ts q_t, over the strip's t >= s
            for s in range(0, first + rows, TILE):
                size = min(TILE, first + rows - s)
                skip = max(0, s - first)  # a tile of keys and a tile of queries start together
                here, there, row = skip * stride + s, head0 + s * d, strip0 + skip * d
                multiply(
                    strip, here, 1, stride, size, dout, row, d, rows - skip, width,
                    dv, there, d, dv, there, d,
                )  # fmt: skip
                multiply(
                    slopes, here, 1, stride, size, q, row, d, rows - skip, width,
                    dk, there, d, dk, there, d,
                )  # fmt: skip
        task = next_task(counter)


def attention_backward(dout, q, k, v, out, lse, offsets, rows, heads, rate, key):
    """Gradients of `attention_forward`, from its results `out` and `lse`: dq, dk, dv (T, d)."""
    order, constants = _common(q, offsets, heads, rate, key)
    d = q.shape[1]
    dout, q, k, v, out = (_whole_heads(x, heads) for x in (dout, q, k, v, out))
    gradients = np.empty_like(q), np.empty_like(q), np.empty_like(q)
    run(
        _backward_worker, len(order) * heads, order, dout, q, k, v, out, lse, offsets, rows,
        *constants, *gradients,
    )  # fmt: skip
    return tuple(_own_columns(x, heads, d) for x in gradients)
