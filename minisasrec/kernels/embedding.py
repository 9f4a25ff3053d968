"""Rows of a table: reading them, adding gradients into them, and dot products with them."""

from __future__ import annotations

import numpy as np

from minisasrec.kernels._jit import kernel
from minisasrec.kernels._threads import next_task, run

ROWS = 128  # rows a task
USERS = 16  # rows of candidates a task


def gather(table, ids, padding_id):
    """y[t] = table[ids[t]], or 0 where ids[t] is `padding_id` (-1: no padding)."""
    y = np.empty((len(ids), table.shape[1]), table.dtype)
    run(_gather_worker, -(-len(ids) // ROWS), np.ascontiguousarray(table), ids, padding_id, y)
    return y


@kernel
def _gather_worker(counter, table, ids, padding_id, y):
    task = next_task(counter)
    while task >= 0:
        for t in range(task * ROWS, min((task + 1) * ROWS, len(ids))):
            row, out = table[ids[t]], y[t]
            if ids[t] == padding_id:
                out[:] = 0
            else:
                for j in range(len(out)):
                    out[j] = row[j]
        task = next_task(counter)


def group_rows(ids, size):
    """Rows sorted by id: `order` (T) and `starts` (size + 1).

    The rows of id i are order[starts[i]:starts[i + 1]], in rising order (a counting sort).
    """
    starts = np.zeros(size + 1, np.int64)
    order = np.empty(len(ids), np.int64)
    _group_rows(ids, starts, order)
    return order, starts


@kernel
def _group_rows(ids, starts, order):
    size = len(starts) - 1
    for t in range(len(ids)):
        starts[ids[t] + 1] += 1
    for i in range(size):
        starts[i + 1] += starts[i]
    free = starts[:size].copy()
    for t in range(len(ids)):
        order[free[ids[t]]] = t
        free[ids[t]] += 1


def scatter_add(dy, ids, size, padding_id):
    """dtable[i] = sum of dy[t] over the rows t with ids[t] = i; dy (T, d), dtable (size, d).

    Two threads must not add into one row at a time. Instead of locks, rows are first grouped by
    id; then every row of the table has one owner, which adds in rising order of t.
    """
    dtable = np.empty((size, dy.shape[1]), dy.dtype)
    order, starts = group_rows(ids, size)
    dy = np.ascontiguousarray(dy)
    run(_scatter_add_worker, -(-size // ROWS), dy, order, starts, padding_id, dtable)
    return dtable


@kernel
def _scatter_add_worker(counter, dy, order, starts, padding_id, dtable):
    size = len(dtable)
    task = next_task(counter)
    while task >= 0:
        for i in range(task * ROWS, min((task + 1) * ROWS, size)):
            out = dtable[i]
            out[:] = 0
            if i != padding_id:
                for at in range(starts[i], starts[i + 1]):
                    row = dy[order[at]]
                    for j in range(len(out)):
                        out[j] += row[j]
        task = next_task(counter)


@kernel
def dot(x, y):
    """The sum of x[j] * y[j]."""
    total = x.dtype.type(0)
    for j in range(len(x)):
        total += x[j] * y[j]
    return total


def gather_dot(vectors, table, ids):
    """y[b, c] = vectors[b] . table[ids[b, c]]; vectors (B, d), ids (B, c)."""
    y = np.empty(ids.shape, vectors.dtype)
    vectors, table = np.ascontiguousarray(vectors), np.ascontiguousarray(table)
    run(_gather_dot_worker, -(-len(ids) // USERS), vectors, table, ids, y)
    return y


@kernel
def _gather_dot_worker(counter, vectors, table, ids, y):
    task = next_task(counter)
    while task >= 0:
        for b in range(task * USERS, min((task + 1) * USERS, len(ids))):
            for c in range(ids.shape[1]):
                y[b, c] = dot(vectors[b], table[ids[b, c]])
        task = next_task(counter)
