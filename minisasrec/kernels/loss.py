"""The sampled binary cross-entropy: scores, loss and their slopes in one pass over the rows."""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from minisasrec.kernels._jit import kernel, parallel_kernel
from minisasrec.kernels.embedding import group_rows

ROWS = 256  # rows a task


def sampled_bce_forward(h, items, targets, negatives, beta):
    """The loss, the number N of rows with a target, `ids` (T, 1 + k) and `slopes` (T, 1 + k).

    ids[t] is the target of row t and then its negatives; slopes[t, c] is d(N * loss) / d(score of
    ids[t, c]), 0 in a row without target. The forward pass has the sigmoid at hand, so the slopes
    cost it nothing and spare the backward pass the scores.
    """
    h, items = np.ascontiguousarray(h), np.ascontiguousarray(items)
    ids = np.concatenate([targets[:, None], negatives], axis=1)
    slopes = np.empty(ids.shape, h.dtype)
    partial = np.empty((len(h) + ROWS - 1) // ROWS)
    _forward(h, items, ids, h.dtype.type(beta), slopes, partial)
    count = max(int(np.count_nonzero(targets)), 1)
    return partial.sum() / count, count, ids, slopes


@kernel
def _log_sigmoid(x):
    return min(x, 0.0) - math.log1p(math.exp(-abs(x)))


@kernel
def _sigmoid(x):
    small = math.exp(-abs(x))
    return (1 if x >= 0 else small) / (1 + small)


@parallel_kernel
def _forward(h, items, ids, beta, slopes, partial):
    for task in prange(len(partial)):  # one partial sum a task: the same for any thread count
        loss = 0.0
        for t in range(task * ROWS, min((task + 1) * ROWS, len(h))):
            for c in range(ids.shape[1]):
                score = h.dtype.type(0)
                for j in range(h.shape[1]):
                    score += h[t, j] * items[ids[t, c], j]
                if ids[t, 0] == 0:
                    slopes[t, c] = 0
                elif c == 0:
                    loss -= beta * _log_sigmoid(score)
                    slopes[t, c] = -beta * _sigmoid(-score)
                else:
                    loss -= _log_sigmoid(-score)
                    slopes[t, c] = _sigmoid(score)
        partial[task] = loss


def sampled_bce_backward(h, items, ids, slopes, factor):
    """dh (T, d) and ditems (V, d): factor * slopes times the other side of each dot product."""
    h, items = np.ascontiguousarray(h), np.ascontiguousarray(items)
    dh, ditems = np.empty_like(h), np.empty_like(items)
    order, starts = group_rows(ids.reshape(-1), len(items))
    factor = h.dtype.type(factor)
    _backward_h(items, ids, slopes, factor, dh)
    _backward_items(h, ids.shape[1], slopes.reshape(-1), order, starts, factor, ditems)
    return dh, ditems


@parallel_kernel
def _backward_h(items, ids, slopes, factor, dh):
    for task in prange((len(dh) + ROWS - 1) // ROWS):
        for t in range(task * ROWS, min((task + 1) * ROWS, len(dh))):
            dh[t] = 0
            for c in range(ids.shape[1]):
                slope = slopes[t, c] * factor
                for j in range(dh.shape[1]):
                    dh[t, j] += slope * items[ids[t, c], j]


@parallel_kernel
def _backward_items(h, per_row, slopes, order, starts, factor, ditems):
    # as in `embedding.scatter_add`: every item has one owner, which adds in rising order
    for task in prange((len(ditems) + ROWS - 1) // ROWS):
        for i in range(task * ROWS, min((task + 1) * ROWS, len(ditems))):
            ditems[i] = 0
            for at in range(starts[i], starts[i + 1]):
                slope = slopes[order[at]] * factor
                t = order[at] // per_row
                for j in range(h.shape[1]):
                    ditems[i, j] += slope * h[t, j]
