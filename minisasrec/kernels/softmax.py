"""Softmax over the last axis, forward and backward, and the exponential it is made of."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic, overload

from minisasrec.kernels._jit import exact_kernel, get_threads, kernel, next_task, parallel_kernel

ROWS = 64  # rows of one task


@intrinsic
def _bits_as_float(typingctx, bits):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), codegen


@intrinsic
def _float_as_bits(typingctx, number):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), codegen


LOG2_E = np.float32(1.4426950408889634)
LN2_HIGH = np.float32(0.693359375)  # ln 2 in two parts: n * LN2_HIGH is exact for |n| < 2**15
LN2_LOW = np.float32(-2.12194440e-4)
SMALLEST = np.float32(-87.33)  # exp of less is below the smallest normal float32: taken as 0
ROUND = np.float32(12582912.0)  # 1.5 * 2**23: adding it puts a whole number into the low bits


@exact_kernel
def _exp32(x):
    """exp of a float32 x <= 0, without library call or branch, so that loops over it use vectors.

    exp(x) = 2^n exp(r) with n = round(x / ln 2), |r| <= ln(2) / 2; a polynomial of degree 6 for
    exp(r); 2^n by writing n into the exponent bits.
    """
    one, half = np.float32(1), np.float32(0.5)
    clipped = max(x, SMALLEST)
    n = np.rint(clipped * LOG2_E)
    r = (clipped - n * LN2_HIGH) - n * LN2_LOW
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + half
    p = (p * r) * r + r + one
    power = _bits_as_float((_float_as_bits(n + ROUND) << np.int32(23)) + np.int32(127 << 23))
    return np.float32(0) if x < SMALLEST else p * power


def exp(x):
    """exp(x) for a scalar x <= 0 in a kernel: float32 by `_exp32` (1e-7), float64 by NumPy."""
    return np.exp(x)


@overload(exp)
def _exp_jit(x):
    if x == types.float32:
        return lambda x: _exp32(x)
    return lambda x: np.exp(x)


@kernel
def _forward_worker(counter, x, y):
    R, n = x.shape
    while True:
        first = next_task(counter) * ROWS
        if first >= R:
            break
        for r in range(first, min(first + ROWS, R)):
            top = x[r, 0]
            for j in range(n):
                top = max(top, x[r, j])
            for j in range(n):
                y[r, j] = exp(x[r, j] - top)
            total = y[r, 0]
            for j in range(1, n):
                total += y[r, j]
            scale = 1 / total
            for j in range(n):
                y[r, j] *= scale


@parallel_kernel
def _forward(threads, x, y):
    counter = np.zeros(1, np.int64)
    for _ in prange(threads):
        _forward_worker(counter, x, y)


def softmax_forward(x):
    """y_j = exp(x_j) / sum_i exp(x_i) in each row, by way of x - max(x): x (R, n) -> y (R, n)."""
    y = np.empty_like(x)
    if x.size:
        _forward(get_threads(), x, y)
    return y


@kernel
def _backward_worker(counter, y, dy, dx):
    R, n = y.shape
    while True:
        first = next_task(counter) * ROWS
        if first >= R:
            break
        for r in range(first, min(first + ROWS, R)):
            # y = softmax(x)          dx = y (dy - sum_j y_j dy_j)
            along = y[r, 0] * dy[r, 0]
            for j in range(1, n):
                along += y[r, j] * dy[r, j]
            for j in range(n):
                dx[r, j] = y[r, j] * (dy[r, j] - along)


@parallel_kernel
def _backward(threads, y, dy, dx):
    counter = np.zeros(1, np.int64)
    for _ in prange(threads):
        _backward_worker(counter, y, dy, dx)


def softmax_backward(y, dy):
    """Gradient of `softmax_forward` from its result: y (R, n), dy (R, n) -> dx (R, n)."""
    dx = np.empty_like(y)
    if y.size:
        _backward(get_threads(), y, dy, dx)
    return dx
