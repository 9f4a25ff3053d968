"""One pass over the scores of a row: the losses of `ops.ranking`, and the rank of a target."""

from __future__ import annotations

import math

import numpy as np

from minisasrec.kernels.elementwise import sigmoid
from minisasrec.kernels.jit import kernel
from minisasrec.kernels.matmul import ceil_div
from minisasrec.kernels.softmax import difference, exp
from minisasrec.kernels.team import next_task, run

CROSS_ENTROPY, BPR, TOP1, TOP1_MAX, BPR_MAX = range(5)  # as in ops.ranking.RANKING_LOSSES
ROWS = 16  # rows a task


@kernel
def _shares(r, top, s):
    """s_j = e^(r_j - top); returns their sum."""
    for j in range(len(r)):
        s[j] = exp(r[j] - top)
    total = s[0]
    for j in range(1, len(r)):
        total += s[j]
    return total


@kernel
def _row(p, r, kind, weight, s, w, dr):
    """The loss of one row and its slope by p; s and w are scratch, dr (k) the slopes by r."""
    k = len(r)
    top = r[0]
    for j in range(k):
        top = max(top, r[j])
    zero, one, share = r.dtype.type(0), r.dtype.type(1), r.dtype.type(1 / k)
    loss, dp = zero, zero
    if kind == CROSS_ENTROPY:
        most = max(top, p)
        own = exp(p - most)
        scale = one / (own + _shares(r, most, s))
        for j in range(k):
            dr[j] = s[j] * scale
            dp -= dr[j]
        return difference(most, p) - math.log(scale), dp
    if kind == BPR:
        for j in range(k):
            x = r[j] - p
            small = exp(-abs(x))
            s[j] = one + small
            dr[j] = share * (one if x >= 0 else small) / s[j]
            dp -= dr[j]
            loss += max(x, zero)
        for j in range(k):
            loss += math.log(s[j])
        return loss * share, dp
    if kind == BPR_MAX:
        scale = one / _shares(r, top, s)
        # e^(r_j) sigmoid(p - r_j) = e^(min(r_j, p)) / (1 + e^(-|r_j - p|))
        most, total, size = min(top, p), zero, zero
        for j in range(k):
            s[j] *= scale
            size += s[j] * r[j] * r[j]
            w[j] = exp(min(r[j], p) - most) / (one + exp(-abs(r[j] - p)))
            total += w[j]
        for j in range(k):
            # d log(e^r sigmoid(p - r)) / dr = sigmoid(p - r) = 1 - q
            q = sigmoid(r[j] - p, one)
            strength = w[j] / total
            dp -= strength * q
            slope = r[j] * r[j] - size + r[j] + r[j]
            dr[j] = s[j] - strength * (one - q) + weight * s[j] * slope
        return difference(top, most) - math.log(scale) - math.log(total) + weight * size, dp
    scale = one / _shares(r, top, s) if kind == TOP1_MAX else zero
    for j in range(k):
        s[j] = s[j] * scale if kind == TOP1_MAX else share
        q, square = sigmoid(r[j] - p, one), sigmoid(r[j] * r[j], one)
        dq = q * (one - q)
        w[j] = q + square
        loss += s[j] * w[j]
        dp -= s[j] * dq
        dr[j] = s[j] * (dq + (r[j] + r[j]) * square * (one - square))
    if kind == TOP1_MAX:
        for j in range(k):
            dr[j] += s[j] * (w[j] - loss)
    return loss, dp


@kernel
def _block(task, positive, negative, allowed, kind, weight, losses, dp, dr):
    T, k = negative.shape
    r, s = np.empty(k, negative.dtype), np.empty(k, negative.dtype)
    w, slopes = np.empty(k, negative.dtype), np.empty(k, negative.dtype)
    for t in range(task * ROWS, min((task + 1) * ROWS, T)):
        count = 0
        for j in range(k):  # the ones that count, side by side
            r[count] = negative[t, j]
            count += allowed[t, j]
        losses[t], dp[t] = 0, 0
        if count > 0:
            losses[t], dp[t] = _row(
                positive[t], r[:count], kind, weight, s[:count], w[:count], slopes[:count]
            )
        at = 0
        for j in range(k):
            dr[t, j] = slopes[min(at, k - 1)] if allowed[t, j] else 0
            at += allowed[t, j]


@kernel
def _worker(counter, positive, negative, allowed, kind, weight, losses, dp, dr):
    task = next_task(counter)
    while task >= 0:
        _block(task, positive, negative, allowed, kind, weight, losses, dp, dr)
        task = next_task(counter)


def ranking_loss(positive, negative, allowed, kind, weight):
    """The mean loss, the number of rows in it, and rows * its slopes by positive and negative."""
    losses, dp, dr = np.empty(len(positive)), np.empty_like(positive), np.empty_like(negative)
    allowed = np.ascontiguousarray(allowed)
    weight = negative.dtype.type(weight)
    tasks = ceil_div(len(positive), ROWS)
    run(_worker, tasks, positive, negative, allowed, kind, weight, losses, dp, dr)
    rows = max(int(allowed.any(axis=1).sum()), 1)
    return losses.sum() / rows, rows, dp, dr


RANKED_AT_ONCE = 1 << 16  # scores a task


def rank_of_first(scores):
    """`metrics.rank_of_first`: the rank of column 0 of `scores` (B, c), NaN in a row with NaN."""
    ranks = np.empty(len(scores))
    rows = max(1, RANKED_AT_ONCE // scores.shape[1])
    run(_rank_worker, ceil_div(len(scores), rows), scores, ranks, rows)
    return ranks


@kernel
def _rank_worker(counter, scores, ranks, rows):
    task = next_task(counter)
    while task >= 0:
        for b in range(task * rows, min((task + 1) * rows, len(scores))):
            target = scores[b, 0]
            above = equal = numbers = 0
            for j in range(1, scores.shape[1]):
                r = scores[b, j]
                above += r > target
                equal += r == target
                numbers += r == r
            ranks[b] = 1 + above + equal / 2
            if numbers < scores.shape[1] - 1 or target != target:
                ranks[b] = np.nan
        task = next_task(counter)
