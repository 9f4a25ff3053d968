"""The sampled binary cross-entropy: scores, loss and their slopes in one pass over the rows."""

from __future__ import annotations

import math

import numpy as np

from minisasrec.kernels._jit import kernel
from minisasrec.kernels._threads import next_task, run
from minisasrec.kernels.embedding import dot, group_rows
from minisasrec.kernels.softmax import exp

ROWS = 128  # rows a task


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
    run(_forward_worker, len(partial), h, items, ids, h.dtype.type(beta), slopes, partial)
    count = max(int(np.count_nonzero(targets)), 1)
    return partial.sum() / count, count, ids, slopes


@kernel
def _column_loss(scores, targets, sign, weight, slopes):
    """Sum over t of -weight log sigmoid(-sign score_t), and its slopes, 0 where targets[t] is 0.

    With x = sign score and e = exp(-|x|), -log sigmoid(-x) = max(x, 0) + log(1 + e) and its slope
    is sigmoid(x). A sum of logarithms is the logarithm of a product: one call for all rows. Each
    1 + e is at most 2, so a product of `ROWS` = 128 of them is far below the largest float64.
    """
    product, total = 1.0, 0.0
    for t in range(len(scores)):
        x = sign * scores[t]
        small = exp(-abs(x))
        real = targets[t] != 0
        product *= 1.0 + small if real else 1.0
        total += max(x, 0) if real else 0.0
        slope = (1 if x >= 0 else small) / (1 + small)
        slopes[t] = sign * weight * slope if real else 0
    return weight * (total + math.log(product))


@kernel
def _forward_rows(h, items, ids, beta, slopes):
    T, columns = ids.shape
    one = h.dtype.type(1)
    targets, scores, slope = ids[:, 0].copy(), np.empty(T, h.dtype), np.empty(T, h.dtype)
    loss = 0.0
    for c in range(columns):
        for t in range(T):
            scores[t] = dot(h[t], items[ids[t, c]])
        sign, weight = (-one, beta) if c == 0 else (one, one)
        loss += _column_loss(scores, targets, sign, weight, slope)
        for t in range(T):
            slopes[t, c] = slope[t]
    return loss


@kernel
def _forward_worker(counter, h, items, ids, beta, slopes, partial):
    task = next_task(counter)
    while task >= 0:  # one partial sum a task: the same for any thread count
        a, b = task * ROWS, min((task + 1) * ROWS, len(h))
        partial[task] = _forward_rows(h[a:b], items, ids[a:b], beta, slopes[a:b])
        task = next_task(counter)


def sampled_bce_backward(h, items, ids, slopes, factor):
    """dh (T, d) and ditems (V, d): factor * slopes times the other side of each dot product."""
    h, items = np.ascontiguousarray(h), np.ascontiguousarray(items)
    dh, ditems = np.empty_like(h), np.empty_like(items)
    order, starts = group_rows(ids.reshape(-1), len(items))
    factor = h.dtype.type(factor)
    run(_backward_h_worker, -(-len(h) // ROWS), items, ids, slopes, factor, dh)
    run(
        _backward_items_worker,
        -(-len(items) // ROWS),
        h,
        ids.shape[1],
        slopes.reshape(-1),
        order,
        starts,
        factor,
        ditems,
    )
    return dh, ditems


@kernel
def _backward_h_worker(counter, items, ids, slopes, factor, dh):
    task = next_task(counter)
    while task >= 0:
        for t in range(task * ROWS, min((task + 1) * ROWS, len(dh))):
            out = dh[t]
            out[:] = 0
            for c in range(ids.shape[1]):
                row, slope = items[ids[t, c]], slopes[t, c] * factor
                for j in range(len(out)):
                    out[j] += slope * row[j]
        task = next_task(counter)


@kernel
def _backward_items_worker(counter, h, per_row, slopes, order, starts, factor, ditems):
    # as in `embedding.scatter_add`: every item has one owner, which adds in rising order
    task = next_task(counter)
    while task >= 0:
        for i in range(task * ROWS, min((task + 1) * ROWS, len(ditems))):
            out = ditems[i]
            out[:] = 0
            for at in range(starts[i], starts[i + 1]):
                row, slope = h[order[at] // per_row], slopes[order[at]] * factor
                for j in range(len(out)):
                    out[j] += slope * row[j]
        task = next_task(counter)
