"""Dropout whose mask is computed where it is used: no mask array is made or kept."""

from __future__ import annotations

import numpy as np

from minisasrec.kernels._jit import kernel
from minisasrec.kernels._threads import next_task, run
from minisasrec.kernels.random import random_uint32
from minisasrec.random import Key, drop_threshold

ROWS = 128  # rows a task


def row_names(x, rows):
    """The names of the rows of x (... d) as uint32: 0, 1, 2, ... unless given."""
    if rows is None:
        return np.arange(x.size // x.shape[-1], dtype=np.uint32)
    return np.ascontiguousarray(rows, dtype=np.uint32)


def dropout(x, rows, rate, key: Key):
    """y = x * keep / (1 - rate), x (... d), rows (T)."""
    x = np.ascontiguousarray(x)
    y = np.empty_like(x)
    d = x.shape[-1]
    run(
        _dropout_worker,
        -(-len(rows) // ROWS),
        x.reshape(-1, d),
        y.reshape(-1, d),
        rows,
        x.dtype.type(1 / (1 - rate)),
        *_words(rate, key),
    )
    return y


def add_dropout(x, g, rows, rate, key: Key):
    """y = x + g * keep / (1 - rate)."""
    x, g = np.ascontiguousarray(x), np.ascontiguousarray(g)
    y = np.empty_like(x)
    d = x.shape[-1]
    run(
        _add_dropout_worker,
        -(-len(rows) // ROWS),
        x.reshape(-1, d),
        g.reshape(-1, d),
        y.reshape(-1, d),
        rows,
        x.dtype.type(1 / (1 - rate)),
        *_words(rate, key),
    )
    return y


def _words(rate, key):
    return np.uint32(drop_threshold(rate)), np.uint32(key.k0), np.uint32(key.k1)


@kernel
def _drop_row(x, row, factor, threshold, k0, k1, y):
    d = len(x)
    first = np.uint32(row * np.uint32(d))
    for j in range(d):  # no branch, so that eight elements are hashed at a time
        word = random_uint32(np.uint32(first + np.uint32(j)), k0, k1)
        y[j] = x[j] * factor if word >= threshold else x.dtype.type(0)


@kernel
def _dropout_worker(counter, x, y, rows, factor, threshold, k0, k1):
    task = next_task(counter)
    while task >= 0:
        for t in range(task * ROWS, min((task + 1) * ROWS, len(x))):
            _drop_row(x[t], rows[t], factor, threshold, k0, k1, y[t])
        task = next_task(counter)


@kernel
def _add_dropout_worker(counter, x, g, y, rows, factor, threshold, k0, k1):
    task = next_task(counter)
    while task >= 0:
        for t in range(task * ROWS, min((task + 1) * ROWS, len(x))):
            _drop_row(g[t], rows[t], factor, threshold, k0, k1, y[t])
            for j in range(x.shape[1]):
                y[t, j] += x[t, j]
        task = next_task(counter)
