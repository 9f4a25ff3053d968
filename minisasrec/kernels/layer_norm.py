"""Layer normalisation of rows, forward and backward."""

from __future__ import annotations

import numpy as np

from minisasrec.kernels._jit import kernel
from minisasrec.kernels._threads import next_task, run

ROWS = 128  # rows of one task, and of one partial sum of dgamma and dbeta


@kernel
def _forward_worker(counter, x, gamma, beta, eps, y, mean, rstd):
    T, d = x.shape
    task = next_task(counter)
    while task >= 0:
        for t in range(task * ROWS, min((task + 1) * ROWS, T)):
            total = x[t, 0] * 0  # measured faster than a constant 0
            for j in range(d):
                total += x[t, j]
            mu = total / x.dtype.type(d)
            square = x.dtype.type(0)
            for j in range(d):
                square += (x[t, j] - mu) ** 2
            r = 1 / np.sqrt(square / x.dtype.type(d) + eps)
            for j in range(d):
                y[t, j] = (x[t, j] - mu) * r * gamma[j] + beta[j]
            mean[t] = mu
            rstd[t] = r
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
    c = next_task(counter)
    while c >= 0:
        dgamma[c] = 0
        dbeta[c] = 0
        for t in range(c * ROWS, min((c + 1) * ROWS, T)):
            mu, r = mean[t], rstd[t]
            # xhat = (x - mean) rstd
            # y = gamma xhat + beta   dgamma = sum_t dy xhat,  dbeta = sum_t dy,  g = dy gamma
            # xhat has mean 0, variance 1:  dx = rstd (g - mean(g) - xhat mean(g xhat))
            total = x.dtype.type(0)
            along = x.dtype.type(0)
            for j in range(d):
                xhat = (x[t, j] - mu) * r
                g = dy[t, j] * gamma[j]
                total += g
                along += g * xhat
                dgamma[c, j] += dy[t, j] * xhat
                dbeta[c, j] += dy[t, j]
            total /= x.dtype.type(d)
            along /= x.dtype.type(d)
            for j in range(d):
                xhat = (x[t, j] - mu) * r
                dx[t, j] = r * (dy[t, j] * gamma[j] - total - xhat * along)
        c = next_task(counter)


def layer_norm_backward(dy, x, mean, rstd, gamma):
    """Gradients of `layer_norm_forward`: dx (T, d), dgamma (d), dbeta (d) from dy (T, d)."""
    T, d = x.shape
    dx = np.empty_like(x)
    dgamma, dbeta = np.empty((2, -(-T // ROWS), d), x.dtype)
    run(_backward_worker, len(dgamma), dy, x, mean, rstd, gamma, dx, dgamma, dbeta)
    return dx, dgamma.sum(axis=0), dbeta.sum(axis=0)
