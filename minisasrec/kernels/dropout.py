"""Dropout. No mask is stored: whether a number stays is computed where it is needed."""

from __future__ import annotations

import numpy as np

from minisasrec.kernels.jit import kernel
from minisasrec.kernels.random import random_uint32
from minisasrec.kernels.team import next_task, run
from minisasrec.random import Key, drop_threshold

ROWS = 128  # rows a task


def make_drop(rate, key: Key, real):
    """What kernels need for dropout: (threshold, factor, k0, k1), for numbers of type `real`.

    A number stays if its random word is `threshold` or more, and is then multiplied by `factor`,
    1 / (1 - rate). k0 and k1 are the key of the words. It is a plain tuple: for a named one, Numba
    finds out the type anew at every call, for 8 microseconds.
    """
    threshold = np.uint32(drop_threshold(rate))
    return threshold, real(1 / (1 - rate)), np.uint32(key.k0), np.uint32(key.k1)


def row_names(x, rows):
    """The names of the rows of x (... d) as uint32: 0, 1, 2, ... unless given."""
    if rows is None:
        return np.arange(x.size // x.shape[-1], dtype=np.uint32)
    return np.ascontiguousarray(rows, dtype=np.uint32)


def dropout(x, rows, rate, key: Key):
    """y = x * keep / (1 - rate), x (... d), rows (T)."""
    return _run(None, x, rows, rate, key)


def add_dropout(x, g, rows, rate, key: Key):
    """y = x + g * keep / (1 - rate)."""
    return _run(np.ascontiguousarray(x), g, rows, rate, key)


def _run(x, g, rows, rate, key):
    g = np.ascontiguousarray(g)
    y, flat = np.empty_like(g), g.reshape(-1)
    start = flat if x is None else x.reshape(-1)
    tasks, drop = -(-len(rows) // ROWS), make_drop(rate, key, g.dtype.type)
    d = g.shape[-1]
    run(_dropout_worker, tasks, start, flat, y.reshape(-1), d, rows, x is not None, drop)
    return y


@kernel
def _run_end(rows, t, end):
    """The end of the run of consecutive names that begins at row t.

    The elements of such rows have consecutive counters, as if they were one long row. So a loop can
    go over all of them: rows of 50 numbers are not whole vectors, and the rest of each takes time.
    """
    t += 1
    while t < end and rows[t] == np.uint32(rows[t - 1] + np.uint32(1)):
        t += 1
    return t


@kernel
def _drop(x, first, drop, y):
    threshold, factor, k0, k1 = drop
    if threshold == 0:
        y[:] = x
        return
    for j in range(len(x)):  # no branch, so that a whole vector is hashed at a time
        word = random_uint32(np.uint32(first + np.uint32(j)), k0, k1)
        y[j] = x[j] * factor if word >= threshold else x.dtype.type(0)


@kernel
def _add_drop(x, g, first, drop, y):
    threshold, factor, k0, k1 = drop
    if threshold == 0:
        for j in range(len(x)):
            y[j] = x[j] + g[j]
        return
    for j in range(len(x)):
        word = random_uint32(np.uint32(first + np.uint32(j)), k0, k1)
        y[j] = x[j] + (g[j] * factor if word >= threshold else x.dtype.type(0))


@kernel
def drop_rows(g, start, names, first, rows, d, drop, y, to):
    """y = Dropout(g) for the rows named names[first], ...: rows `start` on of g, `to` on of y."""
    t, end = first, first + rows
    while t < end:
        after = _run_end(names, t, end)
        a, b, size = (start + t - first) * d, (to + t - first) * d, (after - t) * d
        _drop(g[a : a + size], np.uint32(names[t] * np.uint32(d)), drop, y[b : b + size])
        t = after


@kernel
def add_drop_rows(x, g, start, names, first, rows, d, drop, y):
    """y = x + Dropout(g) for rows first to first + rows; in g they begin at row `start`."""
    t, end = first, first + rows
    while t < end:
        after = _run_end(names, t, end)
        a, b, from_g = t * d, after * d, (start + t - first) * d
        own = g[from_g : from_g + b - a]
        _add_drop(x[a:b], own, np.uint32(names[t] * np.uint32(d)), drop, y[a:b])
        t = after


@kernel
def _dropout_worker(counter, x, g, y, d, names, add, drop):
    """y = dropout(g), or with `add`, y = x + dropout(g), all of them flat."""
    task = next_task(counter)
    while task >= 0:
        first = task * ROWS
        rows = min(ROWS, len(names) - first)
        if add:
            add_drop_rows(x, g, first, names, first, rows, d, drop, y)
        else:
            drop_rows(g, first, names, first, rows, d, drop, y, first)
        task = next_task(counter)
