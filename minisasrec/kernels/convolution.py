"""Caser's convolutions, forward and backward, and the maximum over time.

In memory, h consecutive rows of x are h * d consecutive numbers. So the windows of a horizontal
filter are the rows of a matrix, which begin d numbers apart and overlap. Nothing has to be copied:
the register tile of `matmul` reads them where they are.

The backward pass skips zeros: after a maximum over time, each filter has a gradient at only one of
its places.
"""

from __future__ import annotations

import numpy as np

from minisasrec.kernels.jit import kernel
from minisasrec.kernels.matmul import ceil_div, multiply, padded
from minisasrec.kernels.simd.tile import View
from minisasrec.kernels.team import next_task, run

ROWS = 64  # sequences a task
TASKS = 32  # the most tasks that hold a partial sum of their own


def _chunk(rows):
    """Sequences in one partial sum: depends on the shape only, never on the threads."""
    return max(ROWS, ceil_div(rows, TASKS))


# --- horizontal filters ----------------------------------------------------------------------


@kernel
def _horizontal_block(task, x, filters, b, size, y):
    B, L, d = x.shape
    p, k = y.shape[1:]
    columns = filters.shape[1]
    result = np.empty((p, columns), x.dtype)
    whole, bias = View(0, columns, 1), View(0, 0, 1)  # of `filters` and `result`; of `b`
    for s in range(task * ROWS, min((task + 1) * ROWS, B)):
        windows = View(s * L * d, d, 1)
        multiply((p, size, columns), x, windows, filters, whole, b, bias, result, whole)
        for i in range(p):
            for f in range(k):
                y[s, i, f] = result[i, f]


@kernel
def _horizontal_worker(counter, x, filters, b, size, y):
    task = next_task(counter)
    while task >= 0:
        _horizontal_block(task, x, filters, b, size, y)
        task = next_task(counter)


def horizontal_forward(x, F, b):
    """y (B, p, k), p = L - h + 1, of x (B, L, d), F (k, h, d) and b (k)."""
    B, L, d = x.shape
    k, h, _ = F.shape
    filters = np.zeros((h * d, padded(k, x.dtype)), x.dtype)  # whole vectors
    filters[:, :k] = F.reshape(k, h * d).T
    bias = np.zeros(filters.shape[1], x.dtype)
    bias[:k] = b
    y = np.empty((B, L - h + 1, k), x.dtype)
    run(_horizontal_worker, ceil_div(B, ROWS), x, filters, bias, h * d, y)
    return y


@kernel
def _horizontal_backward_block(task, chunk, dy, x, filters, dx, dfilters, db):
    B, width = x.shape
    size = filters.shape[1]
    p, k = dy.shape[1:]
    d = (width - size) // (p - 1) if p > 1 else 0
    dfilters[:] = 0
    db[:] = 0
    for s in range(task * chunk, min((task + 1) * chunk, B)):
        out = dx[s]
        out[:] = 0
        for i in range(p):
            window, dwindow = x[s, i * d : i * d + size], out[i * d : i * d + size]
            for f in range(k):
                slope = dy[s, i, f]
                if slope != 0:
                    # y = window . filter + b
                    weights, dweights = filters[f], dfilters[f]
                    for c in range(size):
                        dwindow[c] += slope * weights[c]
                        dweights[c] += slope * window[c]
                    db[f] += slope


@kernel
def _horizontal_backward_worker(counter, chunk, dy, x, filters, dx, dfilters, db):
    task = next_task(counter)
    while task >= 0:
        _horizontal_backward_block(task, chunk, dy, x, filters, dx, dfilters[task], db[task])
        task = next_task(counter)


def horizontal_backward(dy, x, F):
    """Gradients of `horizontal_forward`: dx (B, L, d), dF (k, h, d), db (k)."""
    B, L, d = x.shape
    k, h, _ = F.shape
    chunk = _chunk(B)
    tasks = ceil_div(B, chunk)
    dx = np.empty((B, L * d), x.dtype)
    dfilters, db = np.empty((tasks, k, h * d), x.dtype), np.empty((tasks, k), x.dtype)
    rows, filters = x.reshape(B, L * d), F.reshape(k, h * d)
    run(_horizontal_backward_worker, tasks, chunk, dy, rows, filters, dx, dfilters, db)
    return dx.reshape(x.shape), dfilters.sum(0).reshape(F.shape), db.sum(0)


# --- vertical filters ------------------------------------------------------------------------


@kernel
def _vertical_block(task, x, F, y):
    k, L = F.shape
    for s in range(task * ROWS, min((task + 1) * ROWS, len(x))):
        for f in range(k):
            out = y[s, f]
            out[:] = 0
            for l in range(L):  # noqa: E741
                row, weight = x[s, l], F[f, l]
                for j in range(len(out)):
                    out[j] += weight * row[j]


@kernel
def _vertical_worker(counter, x, F, y):
    task = next_task(counter)
    while task >= 0:
        _vertical_block(task, x, F, y)
        task = next_task(counter)


def vertical_forward(x, F):
    """y (B, k, d) of x (B, L, d) and F (k, L)."""
    y = np.empty((len(x), len(F), x.shape[2]), x.dtype)
    run(_vertical_worker, ceil_div(len(x), ROWS), x, F, y)
    return y


@kernel
def _vertical_backward_block(task, chunk, dy, x, F, dx, dF):
    k, L = F.shape
    d = x.shape[2]
    dF[:] = 0
    for s in range(task * chunk, min((task + 1) * chunk, len(x))):
        dx[s] = 0
        for f in range(k):
            slope = dy[s, f]
            for l in range(L):  # noqa: E741
                row, out, weight = x[s, l], dx[s, l], F[f, l]
                total = weight * 0
                for j in range(d):
                    out[j] += weight * slope[j]
                    total += slope[j] * row[j]
                dF[f, l] += total


@kernel
def _vertical_backward_worker(counter, chunk, dy, x, F, dx, dF):
    task = next_task(counter)
    while task >= 0:
        _vertical_backward_block(task, chunk, dy, x, F, dx, dF[task])
        task = next_task(counter)


def vertical_backward(dy, x, F):
    """Gradients of `vertical_forward`: dx (B, L, d), dF (k, L)."""
    chunk = _chunk(len(x))
    dx = np.empty_like(x)
    dF = np.empty((ceil_div(len(x), chunk), *F.shape), x.dtype)
    run(_vertical_backward_worker, len(dF), chunk, dy, x, F, dx, dF)
    return dx, dF.sum(0)


# --- maximum over time -----------------------------------------------------------------------


@kernel
def _max_block(task, x, y, where):
    p, k = x.shape[1:]
    for s in range(task * ROWS, min((task + 1) * ROWS, len(x))):
        for f in range(k):
            y[s, f], where[s, f] = x[s, 0, f], 0
        for i in range(1, p):
            for f in range(k):
                # the negated test lets a NaN through, as NumPy's maximum does
                if not x[s, i, f] <= y[s, f]:
                    if y[s, f] == y[s, f]:
                        y[s, f], where[s, f] = x[s, i, f], i


@kernel
def _max_worker(counter, x, y, where):
    task = next_task(counter)
    while task >= 0:
        _max_block(task, x, y, where)
        task = next_task(counter)


def max_forward(x):
    """y (B, k), the largest of x (B, p, k) over p, and at which place it was, int32 (B, k)."""
    y = np.empty((x.shape[0], x.shape[2]), x.dtype)
    where = np.empty(y.shape, np.int32)
    run(_max_worker, ceil_div(len(x), ROWS), x, y, where)
    return y, where


@kernel
def _max_backward_block(task, dy, where, dx):
    for s in range(task * ROWS, min((task + 1) * ROWS, len(dy))):
        dx[s] = 0
        for f in range(dy.shape[1]):
            dx[s, where[s, f], f] = dy[s, f]


@kernel
def _max_backward_worker(counter, dy, where, dx):
    task = next_task(counter)
    while task >= 0:
        _max_backward_block(task, dy, where, dx)
        task = next_task(counter)


def max_backward(dy, where, p):
    """Gradient of `max_forward`: dx (B, p, k)."""
    dx = np.empty((dy.shape[0], p, dy.shape[1]), dy.dtype)
    run(_max_backward_worker, ceil_div(len(dy), ROWS), dy, where, dx)
    return dx
