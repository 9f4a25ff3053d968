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
def _forward_worker(counter, x, gamma, beta, eps, y, mean, rstd):
    T, d = x.shape
    lane, zero, one = lanes(x), fill(x, 0.0), x.dtype.type(1)
    task = next_task(counter)
    while task >= 0:
        for t in range(task * ROWS, min((task + 1) * ROWS, T)):
            row = t * d
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
                middle = fill(x, mu)
            scale = fill(x, r)
            for j in range(0, d, lane):
                xhat = (load_part(x, row + j, d - j) - middle) * scale
                out = fma(xhat, load_part(gamma, j, d - j), load_part(beta, j, d - j))
                store_part(y, row + j, d - j, out)
            mean[t], rstd[t] = mu, r
        task = next_task(counter)


def layer_norm_forward(x, gamma, beta, eps):
    """y = gamma (x - mean) rstd + beta, row by row, with rstd = 1 / sqrt(var + eps).

    x (T, d), gamma (d), beta (d) -> y (T, d), mean (T), rstd (T); var is the mean of squares.
    """
    y = np.empty_like(x)
    mean, rstd = np.empty(len(x), x.dtype), np.empty(len(x), x.dtype)
    eps = x.dtype.type(eps)
    run(_forward_worker, -(-len(x) // ROWS), x, gamma, beta, eps, y, mean, rstd)
    return y, mean, rstd


@kernel
def _backward_worker(counter, dy, x, mean, rstd, gamma, dx, dgamma, dbeta):
    """dx itself, and partial sums dgamma (C, d), dbeta (C, d) over each chunk of rows."""
    T, d = x.shape
    lane, zero, size = lanes(x), fill(x, 0.0), x.dtype.type(d)
    # a thread adds up here: rows of dgamma and dbeta share cache lines with those of other threads
    # (whole vectors: reading back a part just written waits until it has reached the cache)
    width = (d + lane - 1) // lane * lane
    sums = np.empty((2, width), x.dtype)
    c = next_task(counter)
    while c >= 0:
        sums[:] = 0
        for t in range(c * ROWS, min((c + 1) * ROWS, T)):
            row = t * d
            middle, scale = fill(x, mean[t]), fill(x, rstd[t])
            # xhat = (x - mean) rstd
            # y = gamma xhat + beta   dgamma = sum_t dy xhat,  dbeta = sum_t dy,  g = dy gamma
            # xhat has mean 0, variance 1:  dx = rstd (g - mean(g) - xhat mean(g xhat))
            straight = along = zero
            for j in range(0, d, lane):
                left = d - j
                xhat = (load_part(x, row + j, left) - middle) * scale
                slope = load_part(dy, row + j, left)  # 0 past the row's end, where xhat is not
                g = slope * load_part(gamma, j, left)
                straight, along = straight + g, fma(g, xhat, along)
                store(sums, j, fma(slope, xhat, load(sums, j)))
                store(sums, width + j, slope + load(sums, width + j))
            shift, turn = fill(x, total(straight) / size), fill(x, total(along) / size)
            for j in range(0, d, lane):
                left = d - j
                xhat = (load_part(x, row + j, left) - middle) * scale
                g = load_part(dy, row + j, left) * load_part(gamma, j, left)
                store_part(dx, row + j, left, scale * (g - shift - xhat * turn))
        dgamma[c], dbeta[c] = sums[0, :d], sums[1, :d]
        c = next_task(counter)


def layer_norm_backward(dy, x, mean, rstd, gamma):
    """Gradients of `layer_norm_forward`: dx (T, d), dgamma (d), dbeta (d) from dy (T, d)."""
    T, d = x.shape
    dx = np.empty_like(x)
    dgamma, dbeta = np.empty((2, -(-T // ROWS), d), x.dtype)
    run(_backward_worker, len(dgamma), dy, x, mean, rstd, gamma, dx, dgamma, dbeta)
    return dx, dgamma.sum(axis=0), dbeta.sum(axis=0)
