"""The GRU over packed sequences: a small matrix product per step, for a block of sequences at once.

A sequence alone would read all of U at every step, for a vector times a matrix. So sequences of
about the same length take their steps together, `BLOCK` at a time, and each part of U that is read
is used for all of them. In a block the longest sequences come first: those that are longer than t
are then the first rows. A block is a task. What is in it depends on the lengths only.
"""

from __future__ import annotations

import numpy as np

from minisasrec.kernels.elementwise import sigmoid
from minisasrec.kernels.jit import kernel
from minisasrec.kernels.matmul import ceil_div, matmul_tn, multiply, padded
from minisasrec.kernels.simd.tile import View
from minisasrec.kernels.softmax import exp
from minisasrec.kernels.team import next_task, run

BLOCK = 24  # sequences that step together: four register tiles


def _whole_vectors(matrix):
    """`matrix` with columns of zeros added, so that its rows are whole vectors."""
    rows, columns = matrix.shape
    wide = np.zeros((rows, padded(columns, matrix.dtype)), matrix.dtype)
    wide[:, :columns] = matrix
    return wide


def _by_length(offsets):
    """First row and length of each sequence, the longest first."""
    lengths = np.diff(offsets)
    order = np.argsort(-lengths, kind="stable")
    return offsets[:-1][order], lengths[order]


@kernel
def _tanh(x, one):
    small = exp(-abs(x + x))
    size = (one - small) / (one + small)
    return size if x >= 0 else -size


@kernel
def _running(lengths, first, t):
    """How many sequences of the block that begins at `first` are longer than t."""
    count = 0
    while count < BLOCK and first + count < len(lengths) and lengths[first + count] > t:
        count += 1
    return count


@kernel
def _forward_block(first, x, U, b, starts, lengths, h, gates):
    d, columns = U.shape
    one = x.dtype.type(1)
    state = np.zeros((BLOCK, d), x.dtype)
    past = np.empty((BLOCK, columns), x.dtype)
    states, whole, bias = View(0, d, 1), View(0, columns, 1), View(0, 0, 1)
    for t in range(lengths[first]):
        count = _running(lengths, first, t)
        multiply((count, d, columns), state, states, U, whole, b, bias, past, whole)
        for i in range(count):
            row = starts[first + i] + t
            inputs, product, before = x[row], past[i], state[i]
            out, saved = h[row], gates[row]
            for j in range(d):
                saved[j] = sigmoid(inputs[j] + product[j], one)
            for j in range(d, 2 * d):
                saved[j] = sigmoid(inputs[j] + product[j], one)
            for j in range(d):
                candidate = product[2 * d + j]
                saved[3 * d + j] = candidate
                saved[2 * d + j] = _tanh(inputs[2 * d + j] + saved[j] * candidate, one)
            for j in range(d):
                out[j] = saved[2 * d + j] + saved[d + j] * (before[j] - saved[2 * d + j])
            for j in range(d):
                before[j] = out[j]


@kernel
def _forward_worker(counter, x, U, b, starts, lengths, h, gates):
    task = next_task(counter)
    while task >= 0:
        _forward_block(task * BLOCK, x, U, b, starts, lengths, h, gates)
        task = next_task(counter)


def gru_forward(x, U, b, offsets):
    """h (T, d) and, for the backward pass, `gates` (T, 4 d): r, z, n and c = h_{t-1} U_n + b_n."""
    T, d = len(x), len(U)
    starts, lengths = _by_length(offsets)
    wide, bias = _whole_vectors(U), _whole_vectors(np.asarray(b)[None])
    h, gates = np.empty((T, d), x.dtype), np.empty((T, 4 * d), x.dtype)
    run(_forward_worker, ceil_div(len(lengths), BLOCK), x, wide, bias[0], starts, lengths, h, gates)
    return h, gates


@kernel
def _backward_block(first, dy, Ut, saved, starts, lengths, gradients):
    h, gates = saved
    dx, dpast, before = gradients
    d, columns = h.shape[1], Ut.shape[1]
    one = dy.dtype.type(1)
    dstate = np.zeros((BLOCK, columns), dy.dtype)
    back = np.empty((BLOCK, 3 * d), dy.dtype)
    zeros = np.zeros(d, dy.dtype)
    slopes, whole = View(0, 3 * d, 1), View(0, columns, 1)
    for t in range(lengths[first] - 1, -1, -1):
        count = _running(lengths, first, t)
        for i in range(count):
            row = starts[first + i] + t
            previous = h[row - 1] if t > 0 else zeros
            saved, out, din, dgates = gates[row], dy[row], dx[row], back[i]
            for j in range(d):
                before[row, j] = previous[j]
            for j in range(d):
                # h = (1 - z) n + z h_{t-1};   n = tanh(x_n + r c);   c = h_{t-1} U_n + b_n
                r, z, n = saved[j], saved[d + j], saved[2 * d + j]
                dh = out[j] + dstate[i, j]
                dn = dh * (one - z) * (one - n * n)
                dgates[j] = dn * saved[3 * d + j] * r * (one - r)
                dgates[d + j] = dh * (previous[j] - n) * z * (one - z)
                dgates[2 * d + j] = dn * r
                din[2 * d + j] = dn
                dstate[i, j] = dh * z
            for j in range(2 * d):
                din[j] = dgates[j]
            for j in range(3 * d):
                dpast[row, j] = dgates[j]
        size = count, 3 * d, columns
        multiply(size, back, slopes, Ut, whole, dstate, whole, dstate, whole)


@kernel
def _backward_worker(counter, dy, Ut, saved, starts, lengths, gradients):
    task = next_task(counter)
    while task >= 0:
        _backward_block(task * BLOCK, dy, Ut, saved, starts, lengths, gradients)
        task = next_task(counter)


def gru_backward(dy, U, h, gates, offsets):
    """Gradients of `gru_forward` from its results: dx (T, 3 d), dU (d, 3 d), db (3 d)."""
    T, d = h.shape
    starts, lengths = _by_length(offsets)
    dx, dpast = np.empty((T, 3 * d), h.dtype), np.empty((T, 3 * d), h.dtype)
    # past = h_{t-1} U + b: with a column of ones beside h_{t-1}, one product gives dU and db
    before = np.ones((T, d + 1), h.dtype)
    Ut = _whole_vectors(np.ascontiguousarray(U.T))
    saved, gradients = (h, gates), (dx, dpast, before)
    tasks = ceil_div(len(lengths), BLOCK)
    run(_backward_worker, tasks, dy, Ut, saved, starts, lengths, gradients)
    dU = matmul_tn(before, dpast)
    return dx, dU[:d], dU[d]
