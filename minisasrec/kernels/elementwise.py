"""Threaded element-wise kernels."""

from __future__ import annotations

import math

import numpy as np

from minisasrec.kernels.jit import exact_kernel, kernel
from minisasrec.kernels.softmax import exp
from minisasrec.kernels.team import next_task, run

NUMBERS = 8192  # numbers a task: a block of the result stays in the nearest cache


@exact_kernel
def _add(a, b, y):
    for i in range(len(y)):
        y[i] = a[i] + b[i]


@kernel
def _add_up_worker(counter, arrays, y):
    task = next_task(counter)
    while task >= 0:
        block = slice(task * NUMBERS, min((task + 1) * NUMBERS, len(y)))
        _add(arrays[0][block], arrays[1][block], y[block])
        for k in range(2, len(arrays)):
            _add(y[block], arrays[k][block], y[block])
        task = next_task(counter)


def add_up(arrays):
    """The sum of two arrays or more of one shape and type, from left to right."""
    y = np.empty(arrays[0].shape, arrays[0].dtype)
    # read-only or not aligned, an array would be of another Numba type than the rest
    flat = tuple(np.require(each, None, ["C", "A", "W"]).reshape(-1) for each in arrays)
    run(_add_up_worker, -(-y.size // NUMBERS), flat, y.reshape(-1))
    return y


@kernel
def _scale_worker(counter, x, factor, y):
    task = next_task(counter)
    while task >= 0:
        a, b = task * NUMBERS, min((task + 1) * NUMBERS, len(y))
        part, out = x[a:b], y[a:b]
        for i in range(len(out)):
            out[i] = part[i] * factor
        task = next_task(counter)


def scale(x, factor):
    """y = factor * x; `factor` is of the type of x."""
    y = np.empty(x.shape, x.dtype)
    flat = np.ascontiguousarray(x).reshape(-1)
    run(_scale_worker, -(-y.size // NUMBERS), flat, factor, y.reshape(-1))
    return y


@kernel
def _gelu_worker(counter, x, y, slope):
    root, density = math.sqrt(0.5), 1 / math.sqrt(2 * math.pi)
    task = next_task(counter)
    while task >= 0:
        for i in range(task * NUMBERS, min((task + 1) * NUMBERS, len(y))):
            v = float(x[i])
            below = (1 + math.erf(v * root)) / 2  # the share of a normal distribution below v
            y[i] = v * below
            slope[i] = below + v * density * math.exp(-v * v / 2)
        task = next_task(counter)


def gelu(x):
    """y = x Phi(x) and its slope, the derivative dy/dx, both of the shape of x."""
    y, slope = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype)
    flat = np.ascontiguousarray(x).reshape(-1)
    run(_gelu_worker, -(-y.size // NUMBERS), flat, y.reshape(-1), slope.reshape(-1))
    return y, slope


@kernel
def sigmoid(x, one):
    """`one` is 1 of the type of x; a plain 1 would make float64 of float32, at half the speed."""
    small = exp(-abs(x))  # of a number at most 0, which cannot overflow
    return (one if x >= 0 else small) / (one + small)


@kernel
def _gate_worker(counter, x, a, y):
    one = y.dtype.type(1)  # a plain 1 would make float64 of float32, at half the speed
    task = next_task(counter)
    while task >= 0:
        first, end = task * NUMBERS, min((task + 1) * NUMBERS, len(y))
        part, of, out = x[first:end], a[first:end], y[first:end]
        for i in range(len(out)):
            e = exp(-abs(of[i]))  # of a number at most 0, which cannot overflow
            out[i] = part[i] * (one if of[i] >= 0 else e) / (one + e)
        task = next_task(counter)


def gate(x, a):
    """y = x sigmoid(a), both of one shape."""
    y = np.empty(x.shape, x.dtype)
    flat = [np.ascontiguousarray(each).reshape(-1) for each in (x, a)]
    run(_gate_worker, -(-y.size // NUMBERS), *flat, y.reshape(-1))
    return y


@kernel
def _gate_backward_worker(counter, dy, x, a, dx, da):
    one = dx.dtype.type(1)
    task = next_task(counter)
    while task >= 0:
        first, end = task * NUMBERS, min((task + 1) * NUMBERS, len(dy))
        slopes, part, of = dy[first:end], x[first:end], a[first:end]
        to_x, to_a = dx[first:end], da[first:end]
        for i in range(len(slopes)):
            e = exp(-abs(of[i]))
            to_x[i] = slopes[i] * (one if of[i] >= 0 else e) / (one + e)
            to_a[i] = slopes[i] * part[i] * e / ((one + e) * (one + e))  # sigmoid(a) sigmoid(-a)
        task = next_task(counter)


def gate_backward(dy, x, a):
    """Gradients of `gate`: dx and da."""
    dx, da = np.empty(x.shape, x.dtype), np.empty(x.shape, x.dtype)
    flat = [np.ascontiguousarray(each).reshape(-1) for each in (dy, x, a)]
    run(_gate_backward_worker, -(-x.size // NUMBERS), *flat, dx.reshape(-1), da.reshape(-1))
    return dx, da
