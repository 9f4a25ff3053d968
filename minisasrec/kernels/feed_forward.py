"""The second half of a block in one pass: two residual connections, layer norm and the FFN.

    z = x + Dropout(s)        a = LayerNorm(z)
    y = z + Dropout(f),       f = h W2 + b2,  h = ReLU(a W1 + b1)

A task takes a few rows through all of it while they are in the nearest cache. z, h and two numbers
a row are kept for the backward pass, which makes a and the dropout masks again.
"""

from __future__ import annotations

import numpy as np

from minisasrec.kernels.dropout import add_drop_rows, drop_rows, make_drop
from minisasrec.kernels.jit import kernel
from minisasrec.kernels.layer_norm import (
    norm_backward_rows,
    norm_sums,
    normalise_again,
    normalise_rows,
)
from minisasrec.kernels.matmul import (
    ROWS,
    STEP,
    add_rows,
    ceil_div,
    chunk_rows,
    multiply,
    multiply_packed,
    pack_all,
    relu_backward,
    relu_rows,
    store_sums,
    sum_chunks,
)
from minisasrec.kernels.simd.tile import View
from minisasrec.kernels.simd.vector import lanes
from minisasrec.kernels.team import next_task, run


def _drops(rate, keys, real):
    """Dropout's numbers for the two places."""
    return make_drop(rate, keys[0], real), make_drop(rate, keys[1], real)


def feed_forward(x, s, norm, layers, names, rate, keys):
    """y (T, d) from x, s (T, d); with it z, h (T, d) and mean, rstd (T).

    `norm` is (gamma, beta, eps), `layers` (W1, b1, W2, b2), `keys` those of the two dropouts.
    d is at least the numbers of a vector.
    """
    T, d = x.shape
    gamma, beta, eps = norm
    W1, b1, W2, b2 = layers
    z, h, y = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    mean, rstd = np.empty(T, x.dtype), np.empty(T, x.dtype)
    norm = gamma, beta, x.dtype.type(eps)
    packed = pack_all(W1[None], False, d), pack_all(W2[None], False, d)
    drops = _drops(rate, keys, x.dtype.type)
    flat = x.reshape(-1), s.reshape(-1)
    layers, saved = (*packed, b1, b2), (z, h, mean, rstd)
    run(_forward_worker, ceil_div(T, ROWS), flat, names, drops, norm, layers, saved, y)
    return y, z, h, mean, rstd


@kernel
def _forward_worker(counter, xs, names, drops, norm, layers, saved, y):
    x, s = xs
    (W1, W2, b1, b2), (z, h, mean, rstd) = layers, saved
    T, d = y.shape
    a, f = np.empty((ROWS, d), y.dtype), np.empty((ROWS, d), y.dtype)
    flat_z, flat_f, flat_y = z.reshape(-1), f.reshape(-1), y.reshape(-1)
    here, bias = View(0, d, 1), View(0, 0, 1)
    task = next_task(counter)
    while task >= 0:
        first = task * ROWS
        rows = min(ROWS, T - first)
        size, own = (rows, d, d), View(first * d, d, 1)
        add_drop_rows(x, s, first, names, first, rows, d, drops[0], flat_z)
        normalise_rows(z, first, rows, norm, a, 0, mean, rstd)
        multiply_packed(size, a, here, W1, 0, b1, bias, h, own)
        relu_rows(h, first * d, rows * d)
        multiply_packed(size, h, own, W2, 0, b2, bias, f, here)
        add_drop_rows(flat_z, flat_f, 0, names, first, rows, d, drops[1], flat_y)
        task = next_task(counter)


def feed_forward_backward(dy, norm, layers, saved, names, rate, keys):
    """Gradients: dx, ds (T, d), dgamma, dbeta (d), dW1 (d, d), db1 (d), dW2 (d, d), db2 (d).

    `saved` is (z, h, mean, rstd) of `feed_forward`.
    """
    T, d = dy.shape
    gamma, beta, _ = norm
    W1, _, W2, _ = layers
    dx, ds = np.empty_like(dy), np.empty_like(dy)
    chunk = chunk_rows(T)
    # per chunk of rows: dW1, dW2, db1, db2, dgamma and dbeta
    partial = np.empty((1, ceil_div(T, chunk), 2 * d + 4, d), dy.dtype)
    packed = pack_all(W1[None], True, d), pack_all(W2[None], True, d)
    norm, drops = (gamma, beta, dy.dtype.type(0)), _drops(rate, keys, dy.dtype.type)
    tasks, results = partial.shape[1], (dx, ds, partial)
    run(_backward_worker, tasks, dy, names, drops, norm, packed, saved, chunk, results)
    sums = sum_chunks(partial)[0]
    dW1, dW2 = sums[:d], sums[d : 2 * d]
    return dx, ds, sums[2 * d + 2], sums[2 * d + 3], dW1, sums[2 * d], dW2, sums[2 * d + 1]


@kernel
def _backward_worker(counter, dy, names, drops, norm, packed, saved, chunk, results):
    (z, h, mean, rstd), (dx, ds, partial) = saved, results
    gamma, (W1, W2) = norm[0], packed
    T, d = dy.shape
    lane = lanes(dy)
    a, df, dh = (
        np.empty((STEP, d), dy.dtype),
        np.empty((STEP, d), dy.dtype),
        np.empty(STEP * d, dy.dtype),
    )
    flat_dy, flat_df, flat_dx, flat_ds = (
        dy.reshape(-1),
        df.reshape(-1),
        dx.reshape(-1),
        ds.reshape(-1),
    )
    db1, db2, sums = np.empty(d + lane, dy.dtype), np.empty(d + lane, dy.dtype), norm_sums(dy)
    zeros, none, here, turned = np.zeros(d, dy.dtype), View(0, 0, 1), View(0, d, 1), View(0, 1, d)
    task = next_task(counter)
    while task >= 0:
        partial[0, task] = 0
        db1[:] = 0
        db2[:] = 0
        sums[:] = 0
        at = task * partial.shape[2] * d
        dW1, dW2 = View(at, d, 1), View(at + d * d, d, 1)
        for row in range(task * chunk, min((task + 1) * chunk, T), STEP):
            rows = min(STEP, T - row)
            size, in_sum = (rows, d, d), (d, rows, d)
            normalise_again(z, row, rows, norm, mean, rstd, a)
            # y = z + Dropout(f)      df = dy where it was kept
            drop_rows(flat_dy, row, names, row, rows, d, drops[1], flat_df, 0)
            # f = h W2 + b2           dh = df W2^T,  dW2 = h^T df,  db2 = sum df
            multiply(in_sum, h, View(row * d, 1, d), df, here, partial, dW2, partial, dW2)
            add_rows(df, 0, rows, d, db2)
            multiply_packed(size, df, here, W2, 0, zeros, none, dh, here)
            # h = max(a W1 + b1, 0)   da = dh W1^T where h > 0, and so on
            relu_backward(dh, 0, h, row * d, rows * d, dh)
            multiply(in_sum, a, turned, dh, here, partial, dW1, partial, dW1)
            add_rows(dh, 0, rows, d, db1)
            multiply_packed(size, dh, here, W1, 0, zeros, none, df, here)
            # a = LayerNorm(z)        z reaches y by itself, too: dz = dy + the gradient of a
            norm_backward_rows(df, 0, z, row, rows, gamma, mean, rstd, dx, row, sums)
            first, end = row * d, (row + rows) * d
            for i in range(first, end):
                flat_dx[i] += flat_dy[i]
            # z = x + Dropout(s)      dx = dz,  ds = dz where it was kept
            drop_rows(flat_dx, row, names, row, rows, d, drops[0], flat_ds, row)
        store_sums(db1, d, partial, at + 2 * d * d)
        store_sums(db2, d, partial, at + (2 * d + 1) * d)
        partial[0, task, 2 * d + 2] = sums[0, :d]
        partial[0, task, 2 * d + 3] = sums[1, :d]
        task = next_task(counter)
