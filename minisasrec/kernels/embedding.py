"""Rows of a table: reading them, adding gradients into them, and dot products with them."""

from __future__ import annotations

import numpy as np

from minisasrec.kernels.dropout import drop_rows, make_drop
from minisasrec.kernels.jit import kernel
from minisasrec.kernels.simd.vector import fill, fma, lanes, load_part, store_part
from minisasrec.kernels.team import next_task, run
from minisasrec.random import Key

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
            i, d = ids[t], y.shape[1]
            for j in range(0, d, lanes(y)):
                number = load_part(table, i * d + j, d - j if i != padding_id else 0)
                store_part(y, t * d + j, d - j, number)
        task = next_task(counter)


def embed(M, P, ids, slots, padding_id, factor, names, rate, key: Key):
    """y[t] = Dropout(factor M[ids[t]] + P[slots[t]]); M[padding_id] reads as 0."""
    y = np.empty((len(ids), M.shape[1]), M.dtype)
    M, P, factor = np.ascontiguousarray(M), np.ascontiguousarray(P), M.dtype.type(factor)
    tables, drop = (M, P, factor), make_drop(rate, key, M.dtype.type)
    run(_embed_worker, -(-len(ids) // ROWS), tables, ids, slots, padding_id, names, drop, y)
    return y


@kernel
def _embed_worker(counter, tables, ids, slots, padding_id, names, drop, y):
    M, P, factor = tables
    (T, d), lane = y.shape, lanes(y)
    rows, times = np.empty((ROWS, d), y.dtype), fill(y, factor)
    flat, flat_y = rows.reshape(-1), y.reshape(-1)
    task = next_task(counter)
    while task >= 0:
        first = task * ROWS
        count = min(ROWS, T - first)
        for t in range(first, first + count):
            i, p, to = ids[t] * d, slots[t] * d, (t - first) * d
            for j in range(0, d, lane):
                item = load_part(M, i + j, d - j if ids[t] != padding_id else 0)
                store_part(rows, to + j, d - j, fma(item, times, load_part(P, p + j, d - j)))
        drop_rows(flat, 0, names, first, count, d, drop, flat_y, first)
        task = next_task(counter)


def scatter_add(rows, ids, size, padding_id=-1, weights=None, dtable=None):
    """dtable[i] = sum of weights[t, c] rows[t] over the places with ids[t, c] = i.

    rows (T, d), ids (T) or (T, c), weights of the same shape (1 by default) -> dtable (size, d),
    0 in the row of `padding_id`. With `dtable` given, the sums are added to it in place.

    Two threads must not add to one row at the same time. So the places are first grouped by id.
    Then each row of the table belongs to one task, which adds in the order of the places. This
    needs no locks.
    """
    if ids.ndim == 1:
        ids = ids[:, None]
    if weights is None:
        weights = np.ones(ids.shape, rows.dtype)
    add = dtable is not None
    if not add:
        dtable = np.empty((size, rows.shape[1]), rows.dtype)
    starts, source = np.zeros(size + 1, np.int64), np.empty(ids.size, np.int64)
    factors = np.empty(ids.size, rows.dtype)
    _group(ids, weights, starts, source, factors)
    rows, places = np.ascontiguousarray(rows), (starts, source, factors)
    run(_scatter_add_worker, -(-size // ROWS), rows, places, padding_id, add, dtable)
    return dtable


@kernel
def _group(ids, weights, starts, source, factors):
    """A counting sort: the places of id i become numbers starts[i] to starts[i + 1]."""
    T, columns = ids.shape
    size = len(starts) - 1
    for t in range(T):
        for c in range(columns):
            starts[ids[t, c] + 1] += 1
    for i in range(size):
        starts[i + 1] += starts[i]
    free = starts[:size].copy()
    for t in range(T):
        for c in range(columns):
            at = free[ids[t, c]]
            source[at], factors[at] = t, weights[t, c]
            free[ids[t, c]] = at + 1


@kernel
def _scatter_add_worker(counter, rows, places, padding_id, add, dtable):
    starts, source, factors = places
    size, d = dtable.shape
    task = next_task(counter)
    while task >= 0:
        for i in range(task * ROWS, min((task + 1) * ROWS, size)):
            first, end = starts[i], starts[i + 1] if i != padding_id else starts[i]
            if first == end:  # most rows of a large table
                if not add:
                    dtable[i] = 0
                continue
            for j in range(0, d, lanes(rows)):
                sums = load_part(dtable, i * d + j, d - j if add else 0)  # they stay in a register
                for at in range(first, end):
                    part = load_part(rows, source[at] * d + j, d - j)
                    sums = fma(part, fill(rows, factors[at]), sums)
                store_part(dtable, i * d + j, d - j, sums)
        task = next_task(counter)


@kernel
def dot(rows, t, table, i):
    """The sum over j of rows[t, j] table[i, j]."""
    row, other, total = rows[t], table[i], rows.dtype.type(0)
    for j in range(len(row)):
        total += row[j] * other[j]
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
                y[b, c] = dot(vectors, b, table, ids[b, c])
        task = next_task(counter)
