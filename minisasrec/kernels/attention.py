"""Causal self-attention on packed sequences, forward and backward, without any n x n matrix.

Sequences lie one after the other in (T, d) arrays; sequence b has rows offsets[b] to offsets[b+1].
Causality is a loop bound: a query meets no later key.

Work is cut into (sequence, head) tasks. In a task, queries go in strips of `STRIP` rows. A strip
holds its scores against all earlier keys, STRIP x n numbers, and is used up before the next one.
The backward pass keeps no weights from the forward pass: it makes the scores again and needs only
`lse`, the log of each row's sum of exponentials, because p_ts = exp(score_ts - lse_t).

Dropout: the weight of query t for key s under head i is kept iff random_uint32(c) >= rate * 2^32,
and then scaled by 1 / (1 - rate), with the counter c = (rows[t] * h + i) * 0x9E3779B1 + rows[s] in
32 bits. `rows` names the rows (slot b * n + i of the padded batch; consecutive in a sequence), so
the padded layout, which has other row numbers, drops the same weights.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from minisasrec.kernels._jit import get_threads, kernel, next_task, parallel_kernel
from minisasrec.kernels.matmul import TILE, lanes, multiply, padded, tile2
from minisasrec.kernels.random import random_uint32
from minisasrec.kernels.softmax import exp
from minisasrec.random import drop_threshold

STRIP = 4 * TILE  # queries at a time


# --- dropout ---------------------------------------------------------------------------------


@kernel
def _counter(query, key, head, heads):
    """The counter of the weight of a query for the key of its sequence named `key`."""
    row = np.uint32(np.uint32(query * np.uint32(heads)) + np.uint32(head))
    return np.uint32(np.uint32(row * np.uint32(0x9E3779B1)) + key)


@kernel
def _drop(weights, base, threshold, scale, key0, key1):
    """weights[s] *= scale where kept, 0 where dropped; `base` is the counter of the first key."""
    for s in range(len(weights)):
        word = random_uint32(np.uint32(base + np.uint32(s)), key0, key1)
        weights[s] *= scale if word >= threshold else 0


# --- scratch copies --------------------------------------------------------------------------


@kernel
def _copy_padded(x, first, rows, head, width, out):
    """out (rows, padded width) = the head's columns of rows first.. of x; padding stays 0."""
    for t in range(rows):
        for j in range(width):
            out[t, j] = x[first + t, head * width + j]


@kernel
def _copy_transposed(x, first, rows, head, width, out):
    """out: panels of 2 vectors of rows, (panel, width, 2 lanes), transposed; missing rows are 0."""
    wide = 2 * lanes(x)
    for p in range((rows + wide - 1) // wide):
        base = p * wide * width
        for i in range(wide):
            if p * wide + i < rows:
                for j in range(width):
                    out[base + j * wide + i] = x[first + p * wide + i, head * width + j]
            else:
                for j in range(width):
                    out[base + j * wide + i] = 0


@kernel
def _scores(x, x0, x_row, first, rows, transposed, width, zeros, out):
    """out (strip rows, keys) = x key^T for queries first..first+rows, up to each tile's last."""
    wide = 2 * lanes(out)
    columns = out.shape[1]
    for i in range(0, rows, TILE):
        for s in range(0, first + min(i + TILE, rows), wide):
            tile2(
                x, x0 + i * x_row, x_row, 1, rows - i, transposed, s * width, wide, width,
                zeros, 0, 0, out, i * columns + s, columns,
            )  # fmt: skip


@kernel
def _longest(offsets):
    longest = 0
    for b in range(len(offsets) - 1):
        longest = max(longest, offsets[b + 1] - offsets[b])
    return longest


# --- forward ---------------------------------------------------------------------------------


@kernel
def _softmax_row(row, last, end, scale):
    """row[:last] = exp(scale (row - max)), row[last:end] = 0; returns the sum and the lse."""
    top = row[0]
    for s in range(1, last):
        top = max(top, row[s])
    for s in range(last):
        row[s] = exp((row[s] - top) * scale)
    for s in range(last, end):
        row[s] = 0
    total = row[0] * 0
    for s in range(end):
        total += row[s]
    return total, top * scale + np.log(total)


@kernel
def _forward_worker(
    counter, q, k, v, offsets, names, heads, scale, threshold, keep_scale, key0, key1, out, lse
):
    d = q.shape[1]
    width = d // heads
    lane = lanes(q)
    columns, longest = padded(width, lane), padded(_longest(offsets), 2 * lane)
    kt = np.empty(longest * width, q.dtype)
    values = np.zeros((longest, columns), q.dtype)
    strip = np.empty((STRIP, longest), q.dtype)
    sums = np.empty(STRIP, q.dtype)
    result = np.empty((STRIP, columns), q.dtype)
    zeros = np.zeros(max(columns, 2 * lane), q.dtype)
    while True:
        task = next_task(counter)
        if task >= (len(offsets) - 1) * heads:
            break
        b, head = task // heads, task % heads
        begin, n = offsets[b], offsets[b + 1] - offsets[b]
        _copy_transposed(k, begin, n, head, width, kt)
        _copy_padded(v, begin, n, head, width, values)
        for first in range(0, n, STRIP):
            rows = min(STRIP, n - first)
            # score_ts = q_t . k_s / sqrt(width), s <= t
            q0 = (begin + first) * d + head * width
            _scores(q, q0, d, first, rows, kt, width, zeros, strip)
            # p_t = softmax(score_t), up to the division by the row's sum
            for i in range(rows):
                t = first + i
                end = padded(min(first + padded(i + 1, TILE), first + rows), 2 * lane)
                total, lse[begin + t, head] = _softmax_row(strip[i], t + 1, end, scale)
                sums[i] = 1 / total
                if threshold > 0:
                    base = _counter(names[begin + t], names[begin], head, heads)
                    _drop(strip[i, : t + 1], base, threshold, keep_scale, key0, key1)
            # out_t = sum_s p_ts v_s
            for i in range(0, rows, TILE):
                size = min(TILE, rows - i)
                multiply(
                    strip, i * longest, longest, 1, size, values, first + i + size, columns,
                    zeros, 0, 0, result, i * columns, columns,
                )  # fmt: skip
            for i in range(rows):
                for j in range(width):
                    out[begin + first + i, head * width + j] = result[i, j] * sums[i]


@parallel_kernel
def _forward(
    threads, q, k, v, offsets, names, heads, scale, threshold, keep_scale, key0, key1, out, lse
):
    counter = np.zeros(1, np.int64)
    for _ in prange(threads):
        _forward_worker(
            counter,
            q,
            k,
            v,
            offsets,
            names,
            heads,
            scale,
            threshold,
            keep_scale,
            key0,
            key1,
            out,
            lse,
        )


def _constants(dtype, width, rate):
    return dtype.type(width**-0.5), np.uint32(drop_threshold(rate)), dtype.type(1 / (1 - rate))


def attention_forward(q, k, v, offsets, rows, heads, rate, key):
    """out_t = sum over s <= t of p_ts v_s with p_t = softmax_s(q_t . k_s / sqrt(d / h)), per head.

    q, k, v (T, d), offsets (B+1) int64 -> out (T, d), lse (T, h), the log-sum-exp of the scores.
    `rate` > 0 drops weights as the module says; `rows` (T) uint32 names the rows.
    """
    out = np.empty_like(q)
    lse = np.empty((len(q), heads), q.dtype)
    scale, threshold, keep_scale = _constants(q.dtype, q.shape[1] // heads, rate)
    _forward(
        get_threads(), q, k, v, offsets, rows, heads, scale, threshold, keep_scale,
        np.uint32(key.k0), np.uint32(key.k1), out, lse,
    )  # fmt: skip
    return out, lse


# --- backward --------------------------------------------------------------------------------


@kernel
def _backward_worker(
    counter, dout, q, k, v, out, lse, offsets, names, heads, scale, threshold, keep_scale,
    key0, key1, dq, dk, dv,
):  # fmt: skip
    d = q.shape[1]
    width = d // heads
    lane = lanes(q)
    columns, longest = padded(width, lane), padded(_longest(offsets), 2 * lane)
    kt, vt = np.empty(longest * width, q.dtype), np.empty(longest * width, q.dtype)
    keys = np.zeros((longest, columns), q.dtype)
    queries = np.zeros((STRIP, columns), q.dtype)
    douts = np.zeros((STRIP, columns), q.dtype)
    dkeys, dvalues = np.empty((longest, columns), q.dtype), np.empty((longest, columns), q.dtype)
    strip, dstrip = np.empty((STRIP, longest), q.dtype), np.empty((STRIP, longest), q.dtype)
    dropped = np.empty(longest, q.dtype)
    result = np.empty((STRIP, columns), q.dtype)
    zeros = np.zeros(max(columns, 2 * lane), q.dtype)
    while True:
        task = next_task(counter)
        if task >= (len(offsets) - 1) * heads:
            break
        b, head = task // heads, task % heads
        begin, n = offsets[b], offsets[b + 1] - offsets[b]
        _copy_transposed(k, begin, n, head, width, kt)
        _copy_transposed(v, begin, n, head, width, vt)
        _copy_padded(k, begin, n, head, width, keys)
        dkeys[:n] = 0
        dvalues[:n] = 0
        for first in range(0, n, STRIP):
            rows = min(STRIP, n - first)
            _copy_padded(q, begin + first, rows, head, width, queries)
            _copy_padded(dout, begin + first, rows, head, width, douts)
            # out_t = sum_s w_ts v_s         dw_ts = dout_t . v_s
            _scores(queries, 0, columns, first, rows, kt, width, zeros, strip)
            _scores(douts, 0, columns, first, rows, vt, width, zeros, dstrip)
            for i in range(rows):
                t = begin + first + i
                last = first + i + 1
                end = padded(min(first + padded(i + 1, TILE), first + rows), 2 * lane)
                along = strip[i, 0] * 0
                for j in range(width):
                    along += dout[t, head * width + j] * out[t, head * width + j]
                # w = p m (m: kept and scaled)   dp = dw m,  dscore = p (dp - sum_s p_ts dp_ts),
                # where sum_s p_ts dp_ts = sum_s w_ts dw_ts = dout_t . out_t
                row, drow = strip[i], dstrip[i]
                for s in range(last):
                    row[s] = exp(row[s] * scale - lse[t, head])
                for s in range(last):
                    dropped[s] = 1
                if threshold > 0:
                    base = _counter(names[t], names[begin], head, heads)
                    _drop(dropped[:last], base, threshold, keep_scale, key0, key1)
                for s in range(last):
                    drow[s] = row[s] * (drow[s] * dropped[s] - along) * scale
                for s in range(last):
                    row[s] *= dropped[s]
                row[last:end] = 0
                drow[last:end] = 0
            # score_ts = q_t . k_s scale     dq_t = sum_s dscore_ts scale k_s
            for i in range(0, rows, TILE):
                size = min(TILE, rows - i)
                multiply(
                    dstrip, i * longest, longest, 1, size, keys, first + i + size, columns,
                    zeros, 0, 0, result, i * columns, columns,
                )  # fmt: skip
            for i in range(rows):
                for j in range(width):
                    dq[begin + first + i, head * width + j] = result[i, j]
            # dv_s += sum_t w_ts dout_t,  dk_s += sum_t dscore_ts scale q_t, over the strip's t >= s
            for s in range(0, first + rows, TILE):
                size = min(TILE, first + rows - s)
                skip = max(0, s - first)  # a tile of keys and a tile of queries start together
                at, to = skip * longest + s, s * columns
                multiply(
                    strip, at, 1, longest, size, douts[skip:], rows - skip, columns,
                    dvalues, to, columns, dvalues, to, columns,
                )  # fmt: skip
                multiply(
                    dstrip, at, 1, longest, size, queries[skip:], rows - skip, columns,
                    dkeys, to, columns, dkeys, to, columns,
                )  # fmt: skip
        for s in range(n):
            for j in range(width):
                dk[begin + s, head * width + j] = dkeys[s, j]
                dv[begin + s, head * width + j] = dvalues[s, j]


@parallel_kernel
def _backward(
    threads, dout, q, k, v, out, lse, offsets, names, heads, scale, threshold, keep_scale,
    key0, key1, dq, dk, dv,
):  # fmt: skip
    counter = np.zeros(1, np.int64)
    for _ in prange(threads):
        _backward_worker(
            counter, dout, q, k, v, out, lse, offsets, names, heads, scale, threshold, keep_scale,
            key0, key1, dq, dk, dv,
        )  # fmt: skip


def attention_backward(dout, q, k, v, out, lse, offsets, rows, heads, rate, key):
    """Gradients of `attention_forward`, from its results `out` and `lse`: dq, dk, dv (T, d)."""
    dq, dk, dv = np.empty_like(q), np.empty_like(k), np.empty_like(v)
    scale, threshold, keep_scale = _constants(q.dtype, q.shape[1] // heads, rate)
    _backward(
        get_threads(), dout, q, k, v, out, lse, offsets, rows, heads, scale, threshold, keep_scale,
        np.uint32(key.k0), np.uint32(key.k1), dq, dk, dv,
    )  # fmt: skip
    return dq, dk, dv
