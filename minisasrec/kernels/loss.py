"""The sampled BCE, and softmax cross-entropy over all items; no table of all scores is kept."""

from __future__ import annotations

import math

import numpy as np

from minisasrec.kernels.embedding import dot
from minisasrec.kernels.jit import kernel
from minisasrec.kernels.matmul import multiply, multiply_packed, pack_all, padded
from minisasrec.kernels.simd.tile import TILE, View
from minisasrec.kernels.simd.vector import exp, fill, fma, lanes, load, load_part, store, store_part
from minisasrec.kernels.softmax import difference, softmax_row
from minisasrec.kernels.team import next_task, run

ROWS = 128  # rows a task


def sampled_bce_forward(h, items, targets, negatives, beta):
    """The loss, the number N of rows with a target, `ids` (T, 1 + k) and `slopes` (T, 1 + k).

    ids[t] is the target of row t and then its negatives; slopes[t, c] is d(N * loss) / d(score of
    ids[t, c]), 0 in a row without target. The forward pass computes the sigmoid anyway. With the
    slopes kept, the backward pass needs no scores.
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
            scores[t] = dot(h, t, items, ids[t, c])
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
    """dh (T, d), factor * slopes times the items; and those slopes, by which ditems adds up h."""
    h, items = np.ascontiguousarray(h), np.ascontiguousarray(items)
    dh, slopes = np.empty_like(h), slopes * h.dtype.type(factor)
    run(_backward_h_worker, -(-len(h) // ROWS), items, ids, slopes, dh)
    return dh, slopes


@kernel
def _backward_h_worker(counter, items, ids, slopes, dh):
    T, d = dh.shape
    task = next_task(counter)
    while task >= 0:
        for t in range(task * ROWS, min((task + 1) * ROWS, T)):
            for j in range(0, d, lanes(dh)):
                sums = fill(dh, 0.0)
                for c in range(ids.shape[1]):
                    part = load_part(items, ids[t, c] * d + j, d - j)
                    sums = fma(part, fill(dh, slopes[t, c]), sums)
                store_part(dh, t * d + j, d - j, sums)
        task = next_task(counter)


# --- softmax over the whole catalogue ----------------------------------------------------------

SCORES = 81_920  # scores a thread holds at a time: they stay in its cache
STRIP = 192  # rows, and items (whole panels), of a block of the gradient of the items


def softmax_loss_forward(h, catalogue, targets, left_out, sequence):
    """Per row: the loss, and dh, its slope by h; and what `softmax_loss_backward` reads.

    h (T, d), catalogue (V, d), targets (T) from 0, below 0 in a row that does not count ->
    losses (T), dh (T, d), saved. left_out (B, m) has in row sequence[t] the items that are no
    candidates at t, rising, below 0 where there are fewer; a target stays a candidate. The
    forward pass has the weights p. To compute dh there costs one product more, and saves the
    backward pass two.
    """
    T, d = h.shape
    V = len(catalogue)
    columns, width = padded(V, h.dtype), padded(d, h.dtype)
    packed = pack_all(catalogue[None], True, columns)
    items, rows = np.zeros((V, width), h.dtype), np.zeros((T, width), h.dtype)
    items[:, :d], rows[:, :d] = catalogue, h
    losses, dh, (tops, sums) = np.zeros(T, h.dtype), np.zeros_like(h), np.empty((2, T), h.dtype)
    strip = min(8, max(1, SCORES // (TILE * columns))) * TILE
    results, out = (losses, dh, tops, sums), (left_out, sequence)
    run(_softmax_forward_worker, -(-T // strip), h, items, packed, targets, out, strip, results)
    return losses, dh, (rows, packed, tops, sums, out)


@kernel
def _leave_out(scores, i, first, size, left_out, target, value):
    """scores[i + j - first] = value for the items j of `left_out` from `first` to first + size."""
    flat = scores.reshape(-1)
    for c in range(np.searchsorted(left_out, first), len(left_out)):
        j = left_out[c]
        if j >= first + size:
            break
        if j != target:
            flat[i + j - first] = value


@kernel
def _softmax_forward_worker(counter, h, items, packed, targets, out, strip, results):
    (losses, dh, tops, sums), (left_out, sequence) = results, out
    T, d = h.shape
    V, width = items.shape
    columns = packed.shape[1] // d
    scores = np.empty((strip, columns), h.dtype)
    mean = np.empty((strip, width), h.dtype)
    zeros, nothing = np.zeros(max(columns, width), h.dtype), View(0, 0, 1)
    task = next_task(counter)
    while task >= 0:
        first = task * strip
        rows = min(strip, T - first)
        in_h, whole = View(first * d, d, 1), View(0, columns, 1)
        multiply_packed((rows, d, columns), h, in_h, packed, 0, zeros, nothing, scores, whole)
        for i in range(rows):
            wanted = scores[i, max(targets[first + i], 0)]
            if left_out.shape[1] and targets[first + i] >= 0:
                met, target = left_out[sequence[first + i]], targets[first + i]
                _leave_out(scores, i * columns, 0, V, met, target, -np.inf)
            # r_j becomes e^(r_j - top), up to the division by the sum of the row
            part, top = softmax_row(scores, i * columns, V, columns, 1.0)
            tops[first + i], sums[first + i] = top, part
            if targets[first + i] >= 0:
                losses[first + i] = difference(top, wanted) + math.log(part)
        # loss = top + log sum_j e^(r_j - top) - r_target        dh = sum_j p_j N_j - N_target
        size, all_items = (rows, V, width), View(0, width, 1)
        multiply(size, scores, whole, items, all_items, zeros, nothing, mean, all_items)
        for i in range(rows):
            target, share = targets[first + i], 1 / sums[first + i]
            if target >= 0:
                for j in range(d):
                    dh[first + i, j] = share * mean[i, j] - items[target, j]
        task = next_task(counter)


def softmax_loss_backward(saved, targets, factor, shape):
    """dcatalogue (V, d): the sum over rows of factor * (p_j - [j is the target]) h.

    The scores are computed again, for a block of items at a time. Each item belongs to one task,
    which adds row after row. `shape` is (V, d).
    """
    rows, packed, tops, sums, out = saved
    ditems = np.empty(shape, rows.dtype)
    factor = rows.dtype.type(factor)
    per_row = targets, tops, factor / sums
    tasks = -(-len(ditems) // STRIP)
    run(_softmax_backward_worker, tasks, rows, packed[0], *per_row, out, factor, ditems)
    return ditems


@kernel
def _softmax_backward_worker(counter, h, packed, targets, tops, shares, out, factor, ditems):
    left_out, sequence = out
    T, width = h.shape
    V, d = ditems.shape
    columns = len(packed) // d
    scores = np.empty((STRIP, STRIP), h.dtype)
    total = np.empty((STRIP, width), h.dtype)
    zeros, nothing, sums = np.zeros(STRIP, h.dtype), View(0, 0, 1), View(0, width, 1)
    task = next_task(counter)
    while task >= 0:
        first = task * STRIP
        size, wide = min(STRIP, V - first), min(STRIP, columns - first)
        total[:] = 0
        for t in range(0, T, STRIP):
            rows = min(STRIP, T - t)
            own, whole, turned = View(t * width, width, 1), View(0, wide, 1), View(0, 1, wide)
            size_r = rows, d, wide
            multiply_packed(size_r, h, own, packed, first * d, zeros, nothing, scores, whole)
            for i in range(rows):
                # dr_j = factor (p_j - [j is the target]), 0 in a row without target
                target = targets[t + i]
                highest = fill(scores, tops[t + i])
                weight = fill(scores, shares[t + i] if target >= 0 else h.dtype.type(0))
                for j in range(0, wide, lanes(scores)):
                    e = exp(load(scores, i * wide + j) - highest)
                    store(scores, i * wide + j, e * weight)
                if left_out.shape[1] and target >= 0:
                    met = left_out[sequence[t + i]]
                    _leave_out(scores, i * wide, first, size, met, target, 0.0)
                if first <= target < first + size:
                    scores.reshape(-1)[i * wide + target - first] -= factor
            multiply((size, rows, width), scores, turned, h, own, total, sums, total, sums)
        for i in range(size):
            for j in range(d):
                ditems[first + i, j] = total[i, j]
        task = next_task(counter)
