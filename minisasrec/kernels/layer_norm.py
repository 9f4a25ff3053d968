"""Layer normalisation of rows, forward and backward.

A row goes through a scratch row padded to whole vectors: a loop over 50 numbers that ends in the
middle of a vector costs more than the copy.
"""

from __future__ import annotations

import numpy as np

from minisasrec.kernels._jit import kernel, next_task, run
from minisasrec.kernels.matmul import ceil_div, padded, sum_worker
from minisasrec.kernels.vector import copy_row, fill, fma, lanes, load, store, total, where_before

ROWS = 256  # rows of one task, and of one partial sum of dgamma and dbeta


@kernel
def _forward_worker(counter, x, weights, eps, y, mean, rstd):
    T, d = x.shape
    columns, lane = weights.shape[1], lanes(x)
    row = np.zeros(columns, x.dtype)
    zero = fill(x, 0.0)
    task = next_task(counter)
    while task >= 0:
        for t in range(task * ROWS, min((task + 1) * ROWS, T)):
            copy_row(x, t * d, row, 0, d)
            sums = zero
            for j in range(0, columns, lane):
                sums = sums + load(row, j)
            mean[t] = total(sums) / x.dtype.type(d)
            mu, squares = fill(x, mean[t]), zero
            for j in range(0, columns, lane):
                centred = where_before(j, d, load(row, j) - mu, zero)
                squares = fma(centred, centred, squares)
            rstd[t] = 1 / np.sqrt(total(squares) / x.dtype.type(d) + eps)
            r = fill(x, rstd[t])
            for j in range(0, columns, lane):
                # y = gamma xhat + beta with xhat = (x - mean) rstd
                xhat = (load(row, j) - mu) * r
                store(row, j, fma(load(weights, j), xhat, load(weights, columns + j)))
            copy_row(row, 0, y, t * d, d)
            for j in range(d, columns):
                row[j] = 0
        task = next_task(counter)


def _padded_rows(*rows):
    out = np.zeros((len(rows), padded(rows[0].size, rows[0].dtype)), rows[0].dtype)
    for i, row in enumerate(rows):
        out[i, : row.size] = row
    return out


def layer_norm_forward(x, gamma, beta, eps):
    """y = gamma (x - mean) rstd + beta, row by row, with rstd = 1 / sqrt(var + eps).

    x (T, d), gamma (d), beta (d) -> y (T, d), mean (T), rstd (T); var is the mean of squares.
    """
    y = np.empty_like(x)
    mean, rstd = np.empty(len(x), x.dtype), np.empty(len(x), x.dtype)
    weights, eps = _padded_rows(gamma, beta), x.dtype.type(eps)
    run(_forward_worker, ceil_div(len(x), ROWS), x, weights, eps, y, mean, rstd)
    return y, mean, rstd


@kernel
def _backward_worker(counter, dy, x, mean, rstd, gamma, dx, partial):
    """dx itself, and per chunk of rows a partial (1, C, 2, padded d) of dgamma and dbeta."""
    T, d = x.shape
    columns, lane = partial.shape[3], lanes(x)
    xhats, slopes = np.zeros(columns, x.dtype), np.zeros(columns, x.dtype)
    zero = fill(x, 0.0)
    task = next_task(counter)
    while task >= 0:
        partial[0, task] = 0
        dgamma, dbeta = partial[0, task, 0], partial[0, task, 1]
        for t in range(task * ROWS, min((task + 1) * ROWS, T)):
            copy_row(x, t * d, xhats, 0, d)
            copy_row(dy, t * d, slopes, 0, d)
            mu, r = fill(x, mean[t]), fill(x, rstd[t])
            sums, products = zero, zero
            for j in range(0, columns, lane):
                xhat, slope = (load(xhats, j) - mu) * r, load(slopes, j)
                # y = gamma xhat + beta     dgamma = sum_t dy xhat,  dbeta = sum_t dy
                store(dgamma, j, fma(slope, xhat, load(dgamma, j)))
                store(dbeta, j, load(dbeta, j) + slope)
                g = slope * load(gamma, j)
                sums, products = sums + g, fma(g, xhat, products)
                store(xhats, j, xhat)
                store(slopes, j, g)
            # xhat has mean 0 and variance 1, so with g = dy gamma:
            # dx = rstd (g - mean(g) - xhat mean(g xhat))
            g_mean = fill(x, total(sums) / x.dtype.type(d))
            along = fill(x, -total(products) / x.dtype.type(d))
            for j in range(0, columns, lane):
                store(slopes, j, fma(load(xhats, j), along, load(slopes, j) - g_mean) * r)
            copy_row(slopes, 0, dx, t * d, d)
            for j in range(d, columns):
                xhats[j], slopes[j] = 0, 0
        task = next_task(counter)


def layer_norm_backward(dy, x, mean, rstd, gamma):
    """Gradients of `layer_norm_forward`: dx (T, d), dgamma (d), dbeta (d) from dy (T, d)."""
    T, d = x.shape
    dx = np.empty_like(x)
    if T == 0:
        return dx, np.zeros_like(gamma), np.zeros_like(gamma)
    partial = np.empty((1, ceil_div(T, ROWS), 2, padded(d, x.dtype)), x.dtype)
    sums = np.empty((1, 2, d), x.dtype)
    weights = _padded_rows(gamma)
    run(_backward_worker, partial.shape[1], dy, x, mean, rstd, weights, dx, partial)
    run(sum_worker, 2, partial, sums)
    return dx, sums[0, 0], sums[0, 1]
