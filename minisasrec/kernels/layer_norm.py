"""Layer normalisation of rows, forward and backward.

A row is a few vectors and a part of one. Sums are kept in the lanes of a vector until the row ends,
so a row costs two additions across lanes forward, and two backward.
"""

from __future__ import annotations

import math

import numpy as np

from minisasrec.kernels.jit import exact_kernel, kernel
from minisasrec.kernels.simd.vector import (
    fill,
    fma,
    lanes,
    load,
    load_part,
    store,
    store_part,
    total,
    where_before,
)
from minisasrec.kernels.team import next_task, run

ROWS = 128  # rows of one task, and of one partial sum of dgamma and dbeta


@exact_kernel
def _of_large(row, eps):
    """Mean and rstd of a row so large that squares overflow: by way of row / max |row|."""
    size = abs(row[0])
    for x in row:
        size = max(size, abs(x))
    mean, variance = size * 0, size * 0
    for x in row:
        mean += x / size / len(row)
    for x in row:
        variance += (x / size - mean) ** 2 / len(row)
    return mean * size, 1 / math.sqrt(variance + eps / size / size) / size


@kernel
def normalise_rows(x, first, rows, norm, y, to, mean, rstd):
    """y = gamma (x - mean) rstd + beta for rows first to first + rows of x; they go to `to` in y.

    `norm` is (gamma, beta, eps). `mean` and `rstd` of each row are kept for the backward pass.
    """
    gamma, beta, eps = norm
    d = x.shape[1]
    lane, zero, one = lanes(x), fill(x, 0.0), x.dtype.type(1)
    for t in range(first, first + rows):
        row, out = t * d, (to + t - first) * d
        sums = zero
        for j in range(0, d, lane):
            sums = sums + load_part(x, row + j, d - j)
        mu = total(sums) / x.dtype.type(d)
        middle, squares = fill(x, mu), zero
        for j in range(0, d, lane):
            away = load_part(x, row + j, d - j) - middle
            away = where_before(j, d, away, zero)
            squares = fma(away, away, squares)
        square = total(squares)
        r = one / np.sqrt(square / x.dtype.type(d) + eps)
        if not square < np.inf:  # rare: overflow, or a number that is infinite or NaN
            mu, r = _of_large(x[t], eps)
        mean[t], rstd[t] = mu, r
        _apply_row(x, row, d, mu, r, gamma, beta, y, out)


@kernel
def _apply_row(x, row, d, mu, r, gamma, beta, y, out):
    middle, scale = fill(x, mu), fill(x, r)
    for j in range(0, d, lanes(x)):
        xhat = (load_part(x, row + j, d - j) - middle) * scale
        result = fma(xhat, load_part(gamma, j, d - j), load_part(beta, j, d - j))
        store_part(y, out + j, d - j, result)


@kernel
def normalise_again(x, first, rows, norm, mean, rstd, y):
    """What `normalise_rows` gave, into the first rows of y, from the `mean` and `rstd` it kept."""
    gamma, beta, eps = norm
    d = x.shape[1]
    for t in range(first, first + rows):
        _apply_row(x, t * d, d, mean[t], rstd[t], gamma, beta, y, (t - first) * d)


@kernel
def _forward_worker(counter, x, norm, y, mean, rstd):
    T = len(x)
    task = next_task(counter)
    while task >= 0:
        first = task * ROWS
        normalise_rows(x, first, min(ROWS, T - first), norm, y, first, mean, rstd)
        task = next_task(counter)


def layer_norm_forward(x, gamma, beta, eps):
    """y = gamma (x - mean) rstd + beta, row by row, with rstd = 1 / sqrt(var + eps).

    x (T, d), gamma (d), beta (d) -> y (T, d), mean (T), rstd (T); var is the mean of squares.
    """
    y = np.empty_like(x)
    mean, rstd = np.empty(len(x), x.dtype), np.empty(len(x), x.dtype)
    norm = gamma, beta, x.dtype.type(eps)
    run(_forward_worker, -(-len(x) // ROWS), x, norm, y, mean, rstd)
    return y, mean, rstd


@kernel
def norm_sums(x):
    """Room for the sums of dgamma and dbeta (2, width) that one thread adds up.

    Whole vectors: reading back a part just written waits until it has reached the cache.
    """
    lane = lanes(x)
    return np.empty((2, (x.shape[1] + lane - 1) // lane * lane), x.dtype)


@kernel
def norm_backward_rows(dy, start, x, first, rows, gamma, mean, rstd, dx, to, sums):
    """dx of rows first to first + rows of x, into rows `to` on of dx; sums += dgamma, dbeta.

    Their dy are the rows of `dy` from `start` on.
    """
    d, width = x.shape[1], sums.shape[1]
    lane, zero, size = lanes(x), fill(x, 0.0), x.dtype.type(d)
    for t in range(first, first + rows):
        row, given, out = t * d, (start + t - first) * d, (to + t - first) * d
        middle, scale = fill(x, mean[t]), fill(x, rstd[t])
        # xhat = (x - mean) rstd
        # y = gamma xhat + beta   dgamma = sum_t dy xhat,  dbeta = sum_t dy,  g = dy gamma
        # xhat has mean 0, variance 1:  dx = rstd (g - mean(g) - xhat mean(g xhat))
        straight = along = zero
        for j in range(0, d, lane):
            left = d - j
            xhat = (load_part(x, row + j, left) - middle) * scale
            slope = load_part(dy, given + j, left)  # 0 past the row's end, where xhat is not
            g = slope * load_part(gamma, j, left)
            straight, along = straight + g, fma(g, xhat, along)
            store(sums, j, fma(slope, xhat, load(sums, j)))
            store(sums, width + j, slope + load(sums, width + j))
        shift, turn = fill(x, total(straight) / size), fill(x, total(along) / size)
        for j in range(0, d, lane):
            left = d - j
            xhat = (load_part(x, row + j, left) - middle) * scale
            g = load_part(dy, given + j, left) * load_part(gamma, j, left)
            store_part(dx, out + j, left, scale * (g - shift - xhat * turn))


@kernel
def _backward_worker(counter, dy, x, mean, rstd, gamma, dx, dgamma, dbeta):
    """dx itself, and partial sums dgamma (C, d), dbeta (C, d) over each chunk of rows."""
    T, d = x.shape
    # a thread adds up here: rows of dgamma and dbeta share cache lines with those of other threads
    sums = norm_sums(x)
    c = next_task(counter)
    while c >= 0:
        sums[:] = 0
        first = c * ROWS
        rows = min(ROWS, T - first)
        norm_backward_rows(dy, first, x, first, rows, gamma, mean, rstd, dx, first, sums)
        dgamma[c], dbeta[c] = sums[0, :d], sums[1, :d]
        c = next_task(counter)


def layer_norm_backward(dy, x, mean, rstd, gamma):
    """Gradients of `layer_norm_forward`: dx (T, d), dgamma (d), dbeta (d) from dy (T, d)."""
    T, d = x.shape
    dx = np.empty_like(x)
    dgamma, dbeta = np.empty((2, -(-T // ROWS), d), x.dtype)
    run(_backward_worker, len(dgamma), dy, x, mean, rstd, gamma, dx, dgamma, dbeta)
    return dx, dgamma.sum(axis=0), dbeta.sum(axis=0)
