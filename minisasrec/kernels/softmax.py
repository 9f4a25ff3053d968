"""Softmax over the last axis, forward and backward."""

from __future__ import annotations

import numpy as np

from minisasrec.kernels.jit import exact_kernel, kernel
from minisasrec.kernels.simd.vector import (
    at_least,
    copy_row,
    fill,
    lanes,
    largest,
    load,
    store,
    total,
    where_before,
)
from minisasrec.kernels.simd.vector import exp as exp  # for other kernels too
from minisasrec.kernels.team import next_task, run

ROWS = 64  # rows of one task


@exact_kernel
def difference(a, b):
    """a - b, before anything else is added.

    In a `kernel` the compiler may turn a - b + c into a - (b - c). With a and b large and near to
    each other, that loses c.
    """
    return a - b


@kernel
def softmax_row(row, i, count, end, scale):
    """row[i : i+end] = exp(scale * (row - max)), 0 from `count` on; returns their sum and the max.

    `end` is a whole number of vectors. The sum adds whole vectors, so that the zeros after the last
    number, however many, do not change its bits.
    """
    lowest, zero, factor = fill(row, -np.inf), fill(row, 0.0), fill(row, scale)
    tops = lowest
    for s in range(0, end, lanes(row)):
        tops = at_least(where_before(s, count, load(row, i + s), lowest), tops)
    top = largest(tops)
    highest, sums = fill(row, top), zero
    for s in range(0, end, lanes(row)):
        # not scale row - scale max: of two large products, rounding leaves no digit right
        e = where_before(s, count, exp((load(row, i + s) - highest) * factor), zero)
        store(row, i + s, e)
        sums = sums + e
    return total(sums), top


@kernel
def _forward_worker(counter, x, y):
    R, n = x.shape
    end = (n + lanes(x) - 1) // lanes(x) * lanes(x)
    row = np.zeros(end, x.dtype)
    task = next_task(counter)
    while task >= 0:
        for r in range(task * ROWS, min((task + 1) * ROWS, R)):
            copy_row(x, r * n, row, 0, n)
            part, _ = softmax_row(row, 0, n, end, 1.0)
            factor = fill(row, 1 / part)
            for j in range(0, end, lanes(row)):
                store(row, j, load(row, j) * factor)
            copy_row(row, 0, y, r * n, n)
        task = next_task(counter)


def softmax_forward(x):
    """y_j = exp(x_j) / sum_i exp(x_i) in each row, by way of x - max(x): x (R, n) -> y (R, n)."""
    y = np.empty_like(x)
    if x.size:
        run(_forward_worker, -(-len(x) // ROWS), x, y)
    return y


@kernel
def _backward_worker(counter, y, dy, dx):
    R, n = y.shape
    task = next_task(counter)
    while task >= 0:
        for r in range(task * ROWS, min((task + 1) * ROWS, R)):
            # y = softmax(x)          dx = y (dy - sum_j y_j dy_j)
            along = y[r, 0] * dy[r, 0]
            for j in range(1, n):
                along += y[r, j] * dy[r, j]
            for j in range(n):
                dx[r, j] = y[r, j] * (dy[r, j] - along)
        task = next_task(counter)


def softmax_backward(y, dy):
    """Gradient of `softmax_forward` from its result: y (R, n), dy (R, n) -> dx (R, n)."""
    dx = np.empty_like(y)
    if y.size:
        run(_backward_worker, -(-len(y) // ROWS), y, dy, dx)
    return dx
