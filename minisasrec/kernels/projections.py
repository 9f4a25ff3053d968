"""Layer norm and the projections to queries, keys and values in one pass over the rows.

A task normalises a few rows, and while they are in the nearest cache it multiplies them with each
of the three matrices. Backward, the gradients that come from the three are summed where they are
made, and go through the layer norm at once. The normalised rows are never written to memory: the
backward pass makes them again from the mean and the deviation of each row.
"""

from __future__ import annotations

import numpy as np

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
    store_sums,
    sum_chunks,
)
from minisasrec.kernels.simd.tile import View
from minisasrec.kernels.simd.vector import lanes
from minisasrec.kernels.team import next_task, run


def projections_forward(x, gamma, beta, eps, W, b):
    """y_g = LayerNorm(x) W_g + b_g: x (T, d), W (G, d, d), b (G, d) -> y (G, T, d), mean, rstd (T).

    d is at least the numbers of a vector.
    """
    T, d = x.shape
    y = np.empty((len(W), T, d), x.dtype)
    mean, rstd = np.empty(T, x.dtype), np.empty(T, x.dtype)
    norm, packed = (gamma, beta, x.dtype.type(eps)), pack_all(W, False, d)
    run(_forward_worker, ceil_div(T, ROWS), x, norm, packed, b, y, mean, rstd)
    return y, mean, rstd


@kernel
def _forward_worker(counter, x, norm, packed, b, y, mean, rstd):
    T, d = x.shape
    a, in_a = np.empty((ROWS, d), x.dtype), View(0, d, 1)
    task = next_task(counter)
    while task >= 0:
        first = task * ROWS
        rows = min(ROWS, T - first)
        normalise_rows(x, first, rows, norm, a, 0, mean, rstd)
        for g in range(len(y)):
            size, start = (rows, d, d), g * packed.shape[1]
            bias, in_y = View(g * d, 0, 1), View((g * T + first) * d, d, 1)
            multiply_packed(size, a, in_a, packed, start, b, bias, y, in_y)
        task = next_task(counter)


def projections_backward(dy, x, mean, rstd, gamma, beta, W):
    """Gradients of `projections_forward`: dx (T, d), dgamma, dbeta (d), dW (G, d, d), db (G, d)."""
    (T, d), G = x.shape, len(W)
    dx = np.empty_like(x)
    chunk = chunk_rows(T)
    # per chunk of rows: dW and db of each projection, then dgamma and dbeta
    partial = np.empty((1, ceil_div(T, chunk), G * (d + 1) + 2, d), x.dtype)
    norm, saved = (gamma, beta, x.dtype.type(0)), (mean, rstd)
    packed = pack_all(W, True, d)
    run(_backward_worker, partial.shape[1], dy, x, norm, saved, packed, chunk, dx, partial)
    sums = sum_chunks(partial)[0]
    dW, db = sums[: G * d].reshape(G, d, d), sums[G * d : G * d + G]
    return dx, sums[-2], sums[-1], dW, db


@kernel
def _backward_worker(counter, dy, x, norm, saved, packed, chunk, dx, partial):
    gamma, beta, _ = norm
    mean, rstd = saved
    (T, d), G = x.shape, len(dy)
    lane = lanes(x)
    a, da, in_a = np.empty((STEP, d), x.dtype), np.empty((STEP, d), x.dtype), View(0, d, 1)
    db, sums = np.empty((G, d + lane), x.dtype), norm_sums(x)
    zeros, turned = np.zeros(d, x.dtype), View(0, 1, d)
    task = next_task(counter)
    while task >= 0:
        partial[0, task] = 0
        db[:] = 0
        sums[:] = 0
        at = task * partial.shape[2] * d
        for row in range(task * chunk, min((task + 1) * chunk, T), STEP):
            rows = min(STEP, T - row)
            normalise_again(x, row, rows, norm, mean, rstd, a)
            # y_g = a W_g + b_g       da = sum_g dy_g W_g^T,  dW_g = a^T dy_g,  db_g = sum dy_g
            for g in range(G):
                in_dy, dW = View((g * T + row) * d, d, 1), View(at + g * d * d, d, 1)
                size, start = (rows, d, d), g * packed.shape[1]
                if g == 0:
                    none = View(0, 0, 1)
                    multiply_packed(size, dy, in_dy, packed, start, zeros, none, da, in_a)
                else:
                    multiply_packed(size, dy, in_dy, packed, start, da, in_a, da, in_a)
                multiply((d, rows, d), a, turned, dy, in_dy, partial, dW, partial, dW)
                add_rows(dy, in_dy.first, rows, d, db[g])
            norm_backward_rows(da, 0, x, row, rows, gamma, mean, rstd, dx, row, sums)
        for g in range(G):
            store_sums(db[g], d, partial, at + (G * d + g) * d)
        partial[0, task, G * (d + 1)] = sums[0, :d]
        partial[0, task, G * (d + 1) + 1] = sums[1, :d]
        task = next_task(counter)
