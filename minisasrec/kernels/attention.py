"""Causal self-attention on packed sequences, forward and backward, without any n x n matrix.

Sequences lie one after another in (T, d) arrays; sequence b has rows offsets[b] to offsets[b+1].
Causality is the end of a loop: a query meets no later key.

A (sequence, head) pair is a task. The longest sequences come first, so that no thread is left with
a long one at the end. In a task, queries are taken `STRIP` rows at a time. Their scores against
all earlier keys, STRIP x n numbers, are used up before the next strip is made. The backward pass
makes the scores again. Of the forward pass it needs two numbers a row, `tops` and `shares`:

    score_ts = q_t . k_s              scale = 1 / sqrt(d / h)
    top_t = max_s score_ts            share_t = 1 / sum_s exp(scale (score_ts - top_t))
    p_ts = exp(scale (score_ts - top_t)) share_t

The largest score is subtracted from a score before anything else: both may be so large that
rounding them once is an error of more than 1, but their difference is exact where it matters.

Dropout: the weight of query t for key s under head i is kept if random_uint32(c) >= rate * 2^32,
and then multiplied by 1 / (1 - rate). The counter is c = (names[t] * h + i) * 0x9E3779B1 + names[s]
in 32 bits. `names` are the names of the rows (slot b * n + i of the padded batch; consecutive in a
sequence), so the padded layout, which has other row numbers, drops the same weights.
"""

from __future__ import annotations

import numpy as np

from minisasrec.kernels.dropout import make_drop
from minisasrec.kernels.jit import kernel
from minisasrec.kernels.matmul import multiply
from minisasrec.kernels.random import random_uint32
from minisasrec.kernels.simd.tile import PANEL, TILE, View, moved, tile, transpose
from minisasrec.kernels.simd.vector import (
    exp,
    fill,
    lane_count,
    lanes,
    load,
    store,
    total,
    where_before,
)
from minisasrec.kernels.softmax import softmax_row
from minisasrec.kernels.team import next_task, run
from minisasrec.random import Key

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
def _make_mask(mask, base, drop):
    """mask[s] = 1 / (1 - rate) if the weight is kept, else 0; `base` is the first key's counter."""
    threshold, factor, key0, key1 = drop
    for s in range(len(mask)):
        word = random_uint32(np.uint32(base + np.uint32(s)), key0, key1)
        mask[s] = factor if word >= threshold else 0


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
            source = View((begin + s) * d + at + j, d, 1)
            transpose(x, source, n - s, out, View(panel + j * wide, wide, 1))


@kernel
def _scores(x, in_x, first, rows, transposed, width, zeros, strip):
    """strip (rows, keys) = x key^T for queries first..first+rows, each tile up to its last key.

    The view `in_x` shows these queries, `transposed` comes from `_transpose_head`.
    """
    lane, scores, nothing = lanes(strip), View(0, strip.shape[1], 1), View(0, 0, 1)
    wide, queries = PANEL * lane, View(in_x.first, in_x.row, 1)
    for s in range(0, first + rows, wide):  # a panel of keys stays in the nearest cache
        for i in range(max(0, s - first) // TILE * TILE, rows, TILE):
            end = first + min(i + TILE, rows)
            size = rows - i, width, padded(min(end - s, wide), lane)
            block, panel, to = moved(queries, i, 0), View(s * width, wide, 1), moved(scores, i, s)
            tile(size, x, block, transposed, panel, zeros, nothing, strip, to)


@kernel
def _longest(offsets):
    longest = 0
    for b in range(len(offsets) - 1):
        longest = max(longest, offsets[b + 1] - offsets[b])
    return longest


# --- forward ---------------------------------------------------------------------------------


@kernel
def _forward_worker(counter, sequences, heads, drop, last_only, qkv, out, tops, shares):
    (order, offsets, names), (h, scale), (q, k, v) = sequences, heads, qkv
    d = q.shape[1]
    width = d // h
    lane = lanes(q)
    longest = padded(_longest(offsets), PANEL * lane)
    stride = longest + lane  # no power of 2, for which the rows would meet in the same cache lines
    kt = np.empty(longest * width, q.dtype)
    strip = np.empty((STRIP, stride), q.dtype)
    mask = np.empty(longest, q.dtype)
    result = np.empty((STRIP, width), q.dtype)
    zeros = np.zeros(max(width, PANEL * lane), q.dtype)
    nothing = View(0, 0, 1)
    task = next_task(counter)
    while task >= 0:
        b, head = order[task // h], task % h
        begin, n, at = offsets[b], offsets[b + 1] - offsets[b], head * width
        # row of q and out that belongs to query 0; with last_only they hold query n - 1, in row b
        q0, start = (b - (n - 1), n - 1) if last_only else (begin, 0)
        values = View(begin * d + at, d, 1)
        _transpose_head(k, begin, n, at, width, kt)
        for first in range(start, n, STRIP):
            rows = min(STRIP, n - first)
            # score_ts = q_t . k_s, s <= t
            queries = View((q0 + first) * d + at, d, 1)
            _scores(q, queries, first, rows, kt, width, zeros, strip)
            # p_t = softmax(scale score_t), up to the division by the row's sum
            for i in range(rows):
                t = first + i
                end = padded(min(first + padded(i + 1, TILE), n), lane)
                part, top = softmax_row(strip, i * stride, t + 1, end, scale)
                tops[q0 + t, head], shares[q0 + t, head] = top, 1 / part
                if drop[0] > 0:
                    base = _counter(names[begin + t], names[begin], head, h)
                    _make_mask(mask[:end], base, drop)
                    for s in range(0, end, lane):
                        store(strip, i * stride + s, load(strip, i * stride + s) * load(mask, s))
            # out_t = sum_s p_ts v_s
            for i in range(0, rows, TILE):
                here = min(TILE, rows - i)
                size = here, first + i + here, width
                weights, to = View(i * stride, stride, 1), View(i * width, width, 1)
                multiply(size, strip, weights, v, values, zeros, nothing, result, to)
            for i in range(rows):
                factor = fill(result, shares[q0 + first + i, head])
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


def _common(q, offsets, names, heads, rate, key):
    """The number of tasks, and what both workers get: `sequences`, `heads` and `drop`.

    They are plain tuples: for a named one, Numba finds out the type anew at every call, for 8
    microseconds.
    """
    real = q.dtype.type
    lengths = np.diff(offsets)
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    scale = real((q.shape[1] // heads) ** -0.5)
    shared = (order, offsets, names), (heads, scale), make_drop(rate, key, real)
    return len(order) * heads, shared


def _forward(last_only, q, k, v, offsets, names, heads, rate, key):
    tasks, shared = _common(q, offsets, names, heads, rate, key)
    d = q.shape[1]
    q, k, v = (_whole_heads(x, heads) for x in (q, k, v))
    out = np.empty_like(q)
    tops, shares = np.empty((2, len(q), heads), q.dtype)
    run(_forward_worker, tasks, *shared, last_only, (q, k, v), out, tops, shares)
    return _own_columns(out, heads, d), tops, shares


def attention_forward(q, k, v, offsets, names, heads, rate, key):
    """out_t = sum over s <= t of p_ts v_s with p_t = softmax_s(q_t . k_s / sqrt(d / h)), per head.

    q, k, v (T, d), offsets (B+1) int64 -> out (T, d) and, for the backward pass, tops and shares
    (T, h): the largest q_t . k_s, and share_t as in the module's docstring.
    `rate` > 0 drops weights as it says there; `names` (T) uint32 are the names of the rows.
    """
    return _forward(False, q, k, v, offsets, names, heads, rate, key)


def last_attention_forward(q, k, v, offsets, heads):
    """`attention_forward` for the last query of each sequence: q (B, d), k, v (T, d) -> (B, d)."""
    return _forward(True, q, k, v, offsets, np.empty(0, np.uint32), heads, 0.0, Key(0, 0))[0]


# --- backward --------------------------------------------------------------------------------


@kernel
def _weights_and_slopes(scores, slopes, mask, i, count, end, scale, row):
    """From scores and dw to weights w and dscore, in place, `end` numbers from position i on.

    Forward:   p = exp(scale (score - top)) share    w = p m (m: 0 if dropped, else 1 / (1 - rate))
    Backward:  dp = dw m                             dscore = scale p (dp - sum_s p_ts dp_ts),
    where the sum over s, `along`, is also sum_s w_ts dw_ts = dout_t . out_t. Only the first
    `count` keys are not later than the query. `row` is (top, share, along).
    """
    top, share, along = row
    zero, factor, highest = fill(scores, 0.0), fill(scores, scale), fill(scores, top)
    portion, shared = fill(scores, share), fill(scores, along)
    for s in range(0, end, lanes(scores)):
        p = exp((load(scores, i + s) - highest) * factor) * portion
        p = where_before(s, count, p, zero)
        m = load(mask, s)
        dscore = (load(slopes, i + s) * m - shared) * p * factor
        store(scores, i + s, p * m)
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
def _backward_worker(counter, sequences, heads, drop, qkv, saved, dout, gradients):
    (order, offsets, names), (h, scale), (q, k, v) = sequences, heads, qkv
    out, tops, shares = saved
    dq, dk, dv = gradients
    d = q.shape[1]
    width = d // h
    lane = lanes(q)
    longest = padded(_longest(offsets), PANEL * lane)
    stride = longest + lane
    kt, vt = np.empty(longest * width, q.dtype), np.empty(longest * width, q.dtype)
    strip, slopes = np.empty((STRIP, stride), q.dtype), np.empty((STRIP, stride), q.dtype)
    mask = np.ones(longest, q.dtype)
    zeros = np.zeros(max(width, PANEL * lane), q.dtype)
    nothing = View(0, 0, 1)
    task = next_task(counter)
    while task >= 0:
        b, head = order[task // h], task % h
        begin, n, at = offsets[b], offsets[b + 1] - offsets[b], head * width
        head0 = begin * d + at  # position of the head's first row
        _transpose_head(k, begin, n, at, width, kt)
        _transpose_head(v, begin, n, at, width, vt)
        dk[begin : begin + n, at : at + width] = 0
        dv[begin : begin + n, at : at + width] = 0
        for first in range(0, n, STRIP):
            rows = min(STRIP, n - first)
            strip0 = head0 + first * d
            own = View(strip0, d, 1)  # the strip's rows in q, dout and dq
            # score_ts = q_t . k_s    out_t = sum_s w_ts v_s, so dw_ts = dout_t . v_s
            _scores(q, own, first, rows, kt, width, zeros, strip)
            _scores(dout, own, first, rows, vt, width, zeros, slopes)
            for i in range(rows):
                t = begin + first + i
                end = padded(min(first + padded(i + 1, TILE), n), lane)
                if drop[0] > 0:
                    base = _counter(names[t], names[begin], head, h)
                    _make_mask(mask[:end], base, drop)
                row = tops[t, head], shares[t, head], _dot(out, dout, t * d + at, width)
                here, count = i * stride, first + i + 1
                _weights_and_slopes(strip, slopes, mask, here, count, end, scale, row)
            # score_ts = q_t . k_s           dq_t = sum_s dscore_ts k_s
            for i in range(0, rows, TILE):
                here = min(TILE, rows - i)
                size = here, first + i + here, width
                dscores, keys, to = View(i * stride, stride, 1), View(head0, d, 1), moved(own, i, 0)
                multiply(size, slopes, dscores, k, keys, zeros, nothing, dq, to)
            # dv_s += sum_t w_ts dout_t,  dk_s += sum_t dscore_ts q_t, over the strip's t >= s
            for s in range(0, first + rows, TILE):
                skip = max(0, s - first)  # a tile of keys and a tile of queries start together
                size = min(TILE, first + rows - s), rows - skip, width
                turned, left = View(skip * stride + s, 1, stride), moved(own, skip, 0)
                to = View(head0 + s * d, d, 1)
                multiply(size, strip, turned, dout, left, dv, to, dv, to)
                multiply(size, slopes, turned, q, left, dk, to, dk, to)
        task = next_task(counter)


def attention_backward(dout, qkv, saved, offsets, names, heads, rate, key):
    """Gradients of `attention_forward`: dq, dk, dv one after another in one array, (3, T, d).

    `qkv` are its first three arguments, `saved` its results (out, tops, shares).
    """
    q, k, v = qkv
    out, tops, shares = saved
    tasks, shared = _common(q, offsets, names, heads, rate, key)
    d = q.shape[1]
    dout, q, k, v, out = (_whole_heads(x, heads) for x in (dout, q, k, v, out))
    gradients = np.empty((3, *q.shape), q.dtype)
    each = gradients[0], gradients[1], gradients[2]
    run(_backward_worker, tasks, *shared, (q, k, v), (out, tops, shares), dout, each)
    return _own_columns(gradients.reshape(-1, q.shape[1]), heads, d).reshape(3, -1, d)
