"""Every kernel against plain NumPy, in float64 to 1e-12 and in float32 to a few roundings."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite.binding import get_host_cpu_features

from minisasrec.kernels import adam as ad
from minisasrec.kernels import attention as at
from minisasrec.kernels import elementwise as el
from minisasrec.kernels import embedding as em
from minisasrec.kernels import jit, team
from minisasrec.kernels import layer_norm as ln
from minisasrec.kernels import loss as lo
from minisasrec.kernels import matmul as mm
from minisasrec.kernels import softmax as sm
from minisasrec.kernels.simd import vector
from minisasrec.kernels.simd.tile import View, transpose
from minisasrec.kernels.threads import threads
from minisasrec.nn.optim import adam_step
from minisasrec.random import Key, random_uint32

few = settings(deadline=None, max_examples=15, derandomize=True)
types = st.sampled_from([np.float32, np.float64])
sizes = st.sampled_from([1, 2, 3, 5, 6, 7, 8, 9, 10, 15, 16, 17, 31, 50, 64, 100, 130])


def normal(seed, *shape, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(actual, expected, terms=1):
    """Equal up to the rounding of a sum of `terms` numbers of about the size of the result."""
    assert actual.shape == expected.shape
    step = 1e-13 if actual.dtype == np.float64 else 3e-7
    expected = np.asarray(expected, np.float64)
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(actual, expected, rtol=0, atol=step * scale * max(3, terms**0.5))


def any_thread_count(function):
    """The result, after a check that 1, 2 and 4 threads give the same bits."""
    results = []
    for count in (1, 2, 4):
        with threads(count):
            result = function()
        results.append(result if isinstance(result, tuple) else (result,))
    for one, two, four in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, four)
    return results[0] if len(results[0]) > 1 else results[0][0]


# --- matrix products -------------------------------------------------------------------------


@few
@given(types, sizes, sizes, sizes)
def test_matmul(dtype, M, K, N):
    a, b = normal(1, M, K, dtype=dtype), normal(2, K, N, dtype=dtype)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    close(mm.matmul(a, b), expected, K)
    close(mm.matmul_nt(a, np.ascontiguousarray(b.T)), expected, K)
    close(mm.matmul_tn(np.ascontiguousarray(a.T), b), expected, K)


@few
@given(types, st.integers(1, 4), sizes, sizes, sizes)
def test_matmul_batched(dtype, G, M, K, N):
    a, b = normal(1, G, M, K, dtype=dtype), normal(2, G, K, N, dtype=dtype)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    close(mm.matmul(a, b), expected, K)
    close(mm.matmul_nt(a, np.ascontiguousarray(b.transpose(0, 2, 1))), expected, K)
    close(mm.matmul_tn(np.ascontiguousarray(a.transpose(0, 2, 1)), b), expected, K)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("N", [1, 7, 50, 333])
def test_a_row_of_a_product_does_not_depend_on_the_others(dtype, N):
    """The scores of a user are the same bits, however many users are scored at a time."""
    x, W = normal(1, 300, 50, dtype=dtype), normal(2, N, 50, dtype=dtype)
    all_rows = any_thread_count(lambda: mm.matmul_nt(x, W))
    for rows in (1, 5, mm.ROWS, mm.ROWS + 1):
        some = any_thread_count(lambda rows=rows: mm.matmul_nt(x[:rows], W))
        np.testing.assert_array_equal(some, all_rows[:rows])
        np.testing.assert_array_equal(mm.matmul(x[:rows], W.T.copy()), some)


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0)])
def test_matmul_of_nothing(shape):
    M, K, N = shape
    a, b = np.ones((M, K), np.float32), np.ones((K, N), np.float32)
    for product in (mm.matmul(a, b), mm.matmul_nt(a, b.T.copy()), mm.matmul_tn(a.T.copy(), b)):
        np.testing.assert_array_equal(product, np.zeros((M, N), np.float32))


@pytest.mark.parametrize("d", [1, 7, 10, 50, 64, 128, 256])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("relu", [False, True])
def test_linear(d, dtype, relu):
    for T, m in [(1, d), (777, d), (50, 3 * d + 1)]:
        x, W = normal(1, T, d, dtype=dtype), normal(2, d, m, dtype=dtype)
        b, dy = normal(3, m, dtype=dtype), normal(4, T, m, dtype=dtype)
        x64, W64, b64, dz = (np.asarray(each, np.float64) for each in (x, W, b, dy))
        z = x64 @ W64 + b64
        y = mm.linear_forward(x, W, b, relu)
        close(y, np.maximum(z, 0) if relu else z, d)
        if relu:
            dz = dz * (y > 0)
        dx, dW, db = mm.linear_backward(x, W, dy, y if relu else None)
        close(dx, dz @ W64.T, m)
        close(dW, x64.T @ dz, T)
        close(db, dz.sum(0), T)


def test_linear_threads():
    x, W, b, dy = normal(1, 3001, 50), normal(2, 50, 50), normal(3, 50), normal(4, 3001, 50)
    y = any_thread_count(lambda: mm.linear_forward(x, W, b, True))
    any_thread_count(lambda: mm.linear_backward(x, W, dy, y))
    any_thread_count(lambda: mm.matmul_tn(x, dy))
    any_thread_count(lambda: mm.matmul_nt(x, W))
    any_thread_count(lambda: mm.matmul_nt(W, x))  # few rows, many columns


def test_linear_lets_nan_and_infinity_through():
    x, W, b = normal(1, 20, 10), normal(2, 10, 10), normal(3, 10)
    x[3, 2], x[11, 0] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        expected = np.maximum(x @ W + b, 0)
    y = mm.linear_forward(x, W, b, True)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(y), np.isinf(expected))


# --- element by element ----------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("size", [1, 8192, 20_001])
def test_sums_of_gradients_and_multiples(count, size):
    arrays = [normal(i, size, 2)[:, 0] for i in range(count)]  # not one run of memory
    total = any_thread_count(lambda: el.add_up(arrays))
    np.testing.assert_array_equal(total, sum(arrays[1:], arrays[0]))
    factor = np.float32(1.7)
    np.testing.assert_array_equal(
        any_thread_count(lambda: el.scale(arrays[0], factor)), arrays[0] * factor
    )


# --- layer norm and softmax ------------------------------------------------------------------


@few
@given(types, sizes, st.sampled_from([1, 2, 7, 8, 10, 50, 64, 131]))
def test_layer_norm(dtype, T, d):
    x, dy = 3 * normal(1, T, d, dtype=dtype) + 1, normal(2, T, d, dtype=dtype)
    gamma, beta, eps = normal(3, d, dtype=dtype), normal(4, d, dtype=dtype), 1e-5
    x64, dy64 = x.astype(np.float64), dy.astype(np.float64)
    m, s = x64.mean(1), 1 / np.sqrt(x64.var(1) + eps)
    xhat = (x64 - m[:, None]) * s[:, None]
    y, mean, rstd = any_thread_count(lambda: ln.layer_norm_forward(x, gamma, beta, eps))
    if d > 2 or dtype == np.float64:  # two nearly equal float32 numbers leave a variance no digits
        close(mean, m)
        close(rstd, s, 9)
        close(y, xhat * gamma + beta, 99)
        g = dy64 * gamma
        dx = g - g.mean(1, keepdims=True) - xhat * (g * xhat).mean(1, keepdims=True)
        got = any_thread_count(lambda: ln.layer_norm_backward(dy, x, mean, rstd, gamma))
        close(got[0], dx * s[:, None], 999)
        close(got[1], (dy64 * xhat).sum(0), 99 * T)
        close(got[2], dy64.sum(0), T)


@few
@given(types, sizes, sizes)
def test_softmax(dtype, R, n):
    x, dy = 5 * normal(1, R, n, dtype=dtype), normal(2, R, n, dtype=dtype)
    if n > 2:
        x[::2, 1] = -np.inf
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True).astype(np.float64))
    p = e / e.sum(1, keepdims=True)
    y = any_thread_count(lambda: sm.softmax_forward(x))
    close(y, p, 9)
    assert (y[np.isneginf(x)] == 0).all()
    dx = p * (dy - (p * dy).sum(1, keepdims=True))
    close(any_thread_count(lambda: sm.softmax_backward(y, dy)), dx, 99)


def test_softmax_of_no_number_is_nan():
    x = np.array([[-np.inf] * 9, [np.nan] + [0.0] * 8, [np.inf] + [0.0] * 8, [0.0] * 9], np.float32)
    y = sm.softmax_forward(x)
    assert np.isnan(y[:3]).any(1).all() and np.isnan(y[:2]).all()
    close(y[3], np.full(9, 1 / 9))


# --- attention -------------------------------------------------------------------------------


KEY = Key(0x12345678, 0x9ABCDEF0)


def kept(names, head, heads, rate, key):
    """Which of the n x n weights of the rows `names` are kept (module docstring), bool."""
    query = (names.astype(np.int64) * heads + head) * 0x9E3779B1
    counter = query[:, None] + names.astype(np.int64)  # `random_uint32` takes it modulo 2^32
    return random_uint32(key, counter) >= np.uint32(rate * 2**32)


def attention_by_the_book(dout, q, k, v, offsets, rows, heads, rate, key):
    """Output, tops, shares and gradients from whole n x n matrices in float64."""
    dout, q, k, v = (np.asarray(each, np.float64) for each in (dout, q, k, v))
    out, dq, dk, dv = (np.zeros_like(q) for _ in range(4))
    tops, shares = np.zeros((2, len(q), heads))
    w = q.shape[1] // heads
    for begin, end in zip(offsets[:-1], offsets[1:], strict=True):
        n = end - begin
        for i in range(heads if n else 0):
            at_ = slice(begin, end), slice(i * w, (i + 1) * w)
            score = np.where(np.tri(n) > 0, q[at_] @ k[at_].T, -np.inf)
            top = score.max(1, keepdims=True)
            e = np.exp((score - top) / np.sqrt(w))
            total = e.sum(1, keepdims=True)
            p = e / total
            tops[begin:end, i], shares[begin:end, i] = top[:, 0], 1 / total[:, 0]
            m = np.ones((n, n))
            if rate:
                m = kept(rows[begin:end], i, heads, rate, key) / (1 - rate)
            out[at_] = (p * m) @ v[at_]
            dv[at_] = (p * m).T @ dout[at_]
            dp = (dout[at_] @ v[at_].T) * m
            dscore = p * (dp - (p * dp).sum(1, keepdims=True)) / np.sqrt(w)
            dq[at_], dk[at_] = dscore @ k[at_], dscore.T @ q[at_]
    return out, tops, shares, dq, dk, dv


def check_attention(lengths, d, heads, rate, dtype):
    offsets = np.cumsum([0, *lengths])
    q, k, v, dout = (normal(seed, offsets[-1], d, dtype=dtype) for seed in range(4))
    # names as in a padded batch of 1000 slots: consecutive in a sequence, with gaps between
    names = [1000 * b + np.arange(n) for b, n in enumerate(lengths)]
    rows = np.concatenate([np.zeros(0), *names]).astype(np.uint32)
    setting = (offsets, rows, heads, rate, KEY)
    expected = attention_by_the_book(dout, q, k, v, *setting)
    saved = any_thread_count(lambda: at.attention_forward(q, k, v, *setting))
    grads = any_thread_count(lambda: at.attention_backward(dout, (q, k, v), saved, *setting))
    for actual, wanted in zip((*saved, *grads), expected, strict=True):
        close(actual, wanted, 99)


lengths = st.lists(st.sampled_from([0, 1, 2, 5, 6, 7, 16, 17, 24, 25, 47, 60]), max_size=4)


@few
@given(lengths, st.sampled_from([(1, 1), (7, 1), (10, 2), (50, 1), (48, 3), (64, 2)]), types)
def test_attention(lengths, shape, dtype):
    check_attention(lengths, *shape, 0.0, dtype)


@few
@given(lengths, st.sampled_from([(5, 1), (50, 1), (48, 3)]), types, st.sampled_from([0.1, 0.7]))
def test_attention_with_dropout(lengths, shape, dtype, rate):
    check_attention(lengths, *shape, rate, dtype)


def test_attention_of_a_long_sequence():
    check_attention([3, 650], 50, 1, 0.3, np.float32)


def test_attention_keeps_the_given_share():
    T, rate = 300, 0.3
    offsets, rows = np.array([0, T]), np.arange(T, dtype=np.uint32)
    q = np.zeros((T, 8), np.float32)
    out, *_ = at.attention_forward(q, q, q + 1, offsets, rows, 1, rate, KEY)
    count = np.arange(1, T + 1)
    share = (out[:, 0] * count * (1 - rate)).sum() / count.sum()  # of about 45,000 weights
    assert abs(share - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / count.sum())
    other, *_ = at.attention_forward(q, q, q + 1, offsets, rows, 1, rate, Key(1, 2))
    assert (out != other).any()


@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_attention_never_looks_ahead(rate):
    q, k, v = (normal(seed, 90, 50) for seed in range(3))
    rows = np.arange(90, dtype=np.uint32)
    setting = np.array([0, 20, 90]), rows, 1, rate, KEY
    before, *saved = at.attention_forward(q, k, v, *setting)
    for t in [21, 40, 43, 44, 67, 88]:
        later = [each.copy() for each in (q, k, v)]
        for seed, each in enumerate(later):
            each[t + 1 :] = 100 * normal(9 + seed, 89 - t, 50)
        after, *saved_after = at.attention_forward(*later, *setting)
        np.testing.assert_array_equal(after[: t + 1], before[: t + 1])
        for one, other in zip(saved_after, saved, strict=True):
            np.testing.assert_array_equal(one[: t + 1], other[: t + 1])
        assert (after[t + 1 :] != before[t + 1 :]).any()
        short = [each[: t + 1] for each in (q, k, v)]
        after, *_ = at.attention_forward(*short, np.array([0, 20, t + 1]), *setting[1:])
        np.testing.assert_array_equal(after, before[: t + 1])


# --- loss, embedding and optimiser -----------------------------------------------------------


def bce_by_the_book(h, items, targets, negatives, beta):
    """The loss and its gradients in float64."""
    h, items = h.astype(np.float64), items.astype(np.float64)
    real, count = (targets != 0)[:, None], max(np.count_nonzero(targets), 1)
    ids = np.concatenate([targets[:, None], negatives], axis=1)
    sign, weight = np.ones(ids.shape), real * np.ones(ids.shape)
    sign[:, 0], weight[:, 0] = -1, beta * real[:, 0]
    x = sign * (h[:, None] * items[ids]).sum(-1)
    slopes = weight * sign * np.exp(-np.logaddexp(0, -x)) / count
    ditems = np.zeros_like(items)
    np.add.at(ditems, ids, slopes[..., None] * h[:, None])
    loss = (weight * np.logaddexp(0, x)).sum() / count
    return loss, (slopes[..., None] * items[ids]).sum(1), ditems


@few
@given(types, sizes, st.sampled_from([1, 7, 8, 50, 131]), st.integers(1, 3), st.floats(0.1, 9))
def test_sampled_bce(dtype, T, d, k, spread):
    T = 3 * T  # up to 390 rows: two tasks
    h, items = normal(1, T, d, dtype=dtype), normal(2, 30, d, dtype=dtype)
    h *= dtype(spread)
    random = np.random.default_rng(3)
    targets, negatives = random.integers(0, 30, T), random.integers(1, 30, (T, k))
    targets[::3] = 0

    def both():
        value, count, ids, slopes = lo.sampled_bce_forward(h, items, targets, negatives, 0.7)
        dh, weights = lo.sampled_bce_backward(h, items, ids, slopes, 1 / count)
        return np.asarray(value, dtype), dh, em.scatter_add(h, ids, 30, weights=weights)

    expected = bce_by_the_book(h, items, targets, negatives, 0.7)
    for actual, wanted in zip(any_thread_count(both), expected, strict=True):
        close(actual, np.asarray(wanted), 99 * d)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("T", "V", "d"), [(1, 1, 1), (7, 9, 3), (97, 200, 16), (300, 1001, 50)])
@pytest.mark.parametrize("m", [0, 90])
def test_softmax_loss(dtype, T, V, d, m):
    h, catalogue = normal(1, T, d, dtype=dtype), normal(2, V, d, dtype=dtype)
    rng = np.random.default_rng(3)
    targets = rng.integers(-1, V, T)
    left_out, sequence = np.sort(rng.integers(-1, V, (3, m)), axis=1), rng.integers(0, 3, T)

    def losses_and_gradients():
        losses, dh, saved = lo.softmax_loss_forward(h, catalogue, targets, left_out, sequence)
        return losses, dh, lo.softmax_loss_backward(saved, targets, 0.5, (V, d))

    losses, dh, ditems = any_thread_count(losses_and_gradients)
    real = targets >= 0
    scores = h.astype(np.float64) @ catalogue.T.astype(np.float64)
    candidates = np.ones((T, V), dtype=bool)
    for t in range(T):
        candidates[t, left_out[sequence[t]][left_out[sequence[t]] >= 0]] = False
        candidates[t, targets[t]] = True
    p = np.exp(scores - scores.max(axis=1, keepdims=True)) * candidates
    p /= p.sum(axis=1, keepdims=True)
    wanted = p[np.arange(T), targets]
    p[np.arange(T), targets] -= 1
    p *= real[:, None]
    close(losses, np.where(real, -np.log(wanted), 0), d)
    close(dh, p @ catalogue, V)
    close(ditems, 0.5 * p.T @ h, T)


def test_sampled_bce_far_out_and_nan():
    scores = np.array([1e4, -1e4, 88.0, -88.0, np.nan], np.float32)
    items = np.array([[0], [1], [1]], np.float32)
    for t, score in enumerate(scores):
        h, targets = scores[t : t + 1, None], np.array([1])
        loss, *_, slopes = lo.sampled_bce_forward(h, items, targets, targets[:, None] + 1, 1.0)
        np.testing.assert_allclose(loss, abs(score), rtol=1e-6)  # one term |score|, the other 0
        sigmoid = 0.5 + 0.5 * np.tanh(np.float64(score) / 2)  # exact to 1e-16, not below
        expected = [sigmoid - 1, sigmoid]
        np.testing.assert_allclose(slopes[0], expected, rtol=1e-6, atol=1e-15)


@few
@given(types, sizes, st.sampled_from([1, 8, 50]))
def test_embedding(dtype, T, d):
    table, dy = normal(1, 700, d, dtype=dtype), normal(2, T, d, dtype=dtype)
    ids = np.random.default_rng(3).integers(0, 5, T) * 170  # ids that repeat
    padding = (ids == 340)[:, None]
    np.testing.assert_array_equal(
        em.gather(table, ids, 340), np.where(padding, dtype(0), table[ids])
    )
    expected = np.zeros(table.shape)
    np.add.at(expected, ids, np.where(padding, 0, dy))
    close(any_thread_count(lambda: em.scatter_add(dy, ids, 700, 340)), expected, T)
    twice = any_thread_count(lambda: em.scatter_add(dy, ids, 700, 340, dtable=2 * table))
    close(twice, expected + 2 * table, T)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 50, 16384, 40000])
def test_adam(dtype, size):
    w, g, m = (normal(seed, size, dtype=dtype) for seed in range(3))
    settings = (0.9, 0.98, 1e-2, 1e-8, 0.01, 0.5)

    def step(update):
        arrays = [w.copy(), m.copy(), m * m]
        update(arrays[0], g, *arrays[1:], *settings)
        return tuple(arrays)

    got = any_thread_count(lambda: step(ad.adam_step))
    for actual, expected in zip(got, step(adam_step), strict=True):
        close(actual, expected)


# --- vectors ---------------------------------------------------------------------------------


@jit.kernel
def use_vectors(x, y, out):
    lane = vector.lanes(x)
    a, b = vector.load(x, 1), vector.load(y, 2)
    vector.store(out, 0, vector.fma(a, b, a) - b * vector.fill(x, 0.5))
    vector.store(out, lane, vector.at_least(a, b))
    vector.store(out, 2 * lane, vector.where_above(a, b, a + b, b))
    vector.store(out, 3 * lane, vector.where_before(5, 8, a, b))
    out.reshape(-1)[4 * lane] = vector.total(a)
    out.reshape(-1)[4 * lane + 1] = vector.largest(a)
    vector.copy_row(x, 3, out, 5 * lane, 3)
    vector.copy_row(x, 3, out, 6 * lane, 2 * lane + 1)
    transpose(x, View(2, 20, 1), 3, out, View(9 * lane, lane + 1, 1))
    vector.store_part(out, 28 * lane, 3, vector.load_part(x, 178, 2))
    vector.store_part(out, 29 * lane, lane + 1, vector.load_part(x, 1, lane + 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_do_what_their_numpy_says(dtype):
    x, y = normal(1, 9, 20, dtype=dtype), normal(2, 90, dtype=dtype)
    x[0, 2] = np.nan if dtype == np.float64 else x[0, 2]
    lane = vector.lane_count(x.dtype)
    out, a, b = np.zeros((30, lane), dtype), x.reshape(-1)[1 : 1 + lane], y[2 : 2 + lane]
    use_vectors(x, y, out)
    np.testing.assert_allclose(out[0], a * b + a - b / 2, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(out[1], np.where(a < b, b, a))
    np.testing.assert_array_equal(out[2], np.where(a > b, a + b, b))
    np.testing.assert_array_equal(out[3], np.r_[a[:3], b[3:]])
    np.testing.assert_allclose(out[4, 0], a.sum(), rtol=1e-6)
    np.testing.assert_array_equal(out[4, 1], a.max() if dtype == np.float32 else out[4, 1])
    rows = out.reshape(-1)
    np.testing.assert_array_equal(rows[5 * lane : 6 * lane], np.r_[x.flat[3:6], [0] * (lane - 3)])
    np.testing.assert_array_equal(
        rows[6 * lane : 9 * lane][: 2 * lane + 1], x.flat[3:][: 2 * lane + 1]
    )
    turned = np.array([rows[9 * lane + c * (lane + 1) :][:lane] for c in range(lane)])
    # the last two numbers of x: a whole vector would reach past its end
    np.testing.assert_array_equal(out[28], np.r_[x.flat[178:180], [0] * (lane - 2)])
    np.testing.assert_array_equal(out[29], a)
    square = x[[0, 1] + [2] * (lane - 2), 2 : 2 + lane]
    np.testing.assert_array_equal(turned, square.T)


@jit.kernel
def all_exp(x, y):
    for i in range(0, len(x), vector.lanes(x)):
        vector.store(y, i, vector.exp(vector.load(x, i)))


@pytest.mark.parametrize(
    ("dtype", "low", "step"), [(np.float32, -87, 1e-7), (np.float64, -708, 2e-16)]
)
def test_exp(dtype, low, step):
    x = np.linspace(low, 0, 80_000).astype(dtype)
    x[:8] = [0.0, -0.0, -np.inf, np.nan, -1000, -1e30, low * 1.01, -1]
    y = np.empty_like(x)
    all_exp(x, y)
    np.testing.assert_array_equal(y[:7], [1, 1, 0, np.nan, 0, 0, 0])
    np.testing.assert_allclose(y[7:], np.exp(x[7:].astype(np.longdouble)), rtol=step)


# --- compiling and threads -------------------------------------------------------------------

ON_EVERY_WIDTH = "vectors_do or exp or matmul or linear or attention or softmax or norm"


def test_kernels_called_from_two_threads_at_once():
    x, W, b = normal(1, 2000, 50), normal(2, 50, 50), normal(3, 50)
    expected = mm.linear_forward(x, W, b)
    with ThreadPoolExecutor(4) as pool:
        for y in pool.map(lambda _: mm.linear_forward(x, W, b), range(40)):
            np.testing.assert_array_equal(y, expected)


def test_a_task_that_a_helper_has_counted_is_not_lost(monkeypatch):
    """The caller, with no task left to take, sets END to 0 while the helper is on its way."""

    def count_while_the_caller_ends(counter, index):
        counter[index] += 1
        counter[team.END] = 0
        return counter[index] - 1

    monkeypatch.setattr(team, "count", count_while_the_caller_ends)
    monkeypatch.setattr(team, "look", lambda counter, index: counter[index])
    counter = np.zeros(team.SHARED + 1, np.int64)  # as the first helper sees it
    counter[team.NEXT], counter[team.FRONT], counter[team.END] = 4, 4, 5
    assert team.next_task.py_func(counter) == 4


def test_an_error_in_a_worker_is_raised():
    def worker(counter):
        raise RuntimeError("in a worker")

    for count in (1, 2):
        with threads(count), pytest.raises(RuntimeError, match="in a worker"):
            team.run(worker, 8)


def test_an_error_in_every_thread_is_not_raised_again_by_the_next_kernel():
    together = threading.Barrier(2, timeout=60)

    def worker(counter):
        together.wait()
        raise RuntimeError("in both threads")

    helpers = team._Team()
    try:
        with pytest.raises(RuntimeError, match="in both threads"):
            helpers.run(worker, 8, (), 1)
        done = []
        helpers.run(lambda counter: done.append(1), 1, (), 0)
        assert done
    finally:
        helpers.close()


def test_an_interrupt_while_helpers_are_woken_leaves_none_asleep_for_ever():
    helpers = team._Team()
    helpers.grow(1)
    deadline = time.monotonic() + 60
    while not helpers.asleep[0] and time.monotonic() < deadline:
        time.sleep(0.001)

    class Interrupted:
        """A bell on whose way Ctrl-C arrives."""

        locked = helpers.bells[0].locked

        def release(self):
            raise KeyboardInterrupt

    bells, helpers.bells = helpers.bells, [Interrupted()]
    with pytest.raises(KeyboardInterrupt):
        helpers.run(lambda counter: None, 8, (), 1)
    helpers.bells = bells
    closing = threading.Thread(target=helpers.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_helpers_of_its_own():
    program = """
import os
import numpy as np
from minisasrec.kernels import softmax
x = np.ones((1000, 9))
softmax.softmax_backward(x, x)
child = os.fork()
if child == 0:
    softmax.softmax_backward(x, x)
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


def test_cache_folders_that_nobody_uses_any_more_are_removed(tmp_path):
    for name, days in (("kernels-old", 31), ("kernels-recent", 29), ("other-old", 31)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "code.nbc").touch()
        then = time.time() - days * 24 * 3600
        os.utime(tmp_path / name, (then, then))
    jit._remove_unused(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"kernels-recent", "other-old"}


PROGRAM = """
import sys
from minisasrec import kernels
assert "numba" not in sys.modules
import numpy as np
x = np.ones((2, 3))
kernels.softmax.softmax_backward(x, x)
from numba.core import config
print(config.CACHE_DIR)
"""


def run(**environment):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr


def test_a_first_run_says_that_it_compiles_and_a_second_does_not(tmp_path):
    folder = str(tmp_path)
    assert run(NUMBA_CACHE_DIR=folder)[1].count("compiling kernels (first run only") == 1
    assert run(NUMBA_CACHE_DIR=folder) == (folder + "\n", "")


def test_kernels_run_as_plain_python(tmp_path):
    program = """
import numpy as np
from minisasrec import kernels
from minisasrec.random import Key
x = np.arange(12.0).reshape(4, 3)
assert np.allclose(kernels.matmul.matmul_tn(x, x), x.T @ x)
y = kernels.matmul.linear_forward(x, x.T @ x, x[0], True)
assert np.allclose(y, np.maximum(x @ (x.T @ x) + x[0], 0))
kernels.matmul.linear_backward(x, x.T @ x, y, y)
setting = np.array([0, 3, 4]), np.arange(4, dtype=np.uint32), 1, 0.5, Key(1, 2)
saved = kernels.attention.attention_forward(x, x, x, *setting)
kernels.attention.attention_backward(x, (x, x, x), saved, *setting)
x = x.astype(np.float32)
assert np.allclose(kernels.softmax.softmax_forward(x).sum(1), 1)
kernels.layer_norm.layer_norm_backward(x, x, x[:, 0], x[:, 0], x[0])
"""
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives memory back")
def test_arrays_of_a_later_step_come_from_memory_that_is_there():
    program = """
import resource
import numpy as np
import minisasrec.kernels.embedding
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [np.ones(2**18, np.float32) for _ in range(40)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert int(done.stdout) < 100, done.stderr  # 40 MiB are 10,240 pages of 4 KiB
    left_alone = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "MINISASREC_KEEP_MEMORY": "0"},
        capture_output=True,
        text=True,
    )
    assert int(left_alone.stdout) > 1000, left_alone.stderr


@pytest.mark.skipif(vector.VECTOR_BYTES == 32, reason="this processor has no wider vectors")
def test_kernels_on_a_processor_with_vectors_of_32_bytes():
    features = get_host_cpu_features()
    features.update({name: False for name in features if "avx512" in name})
    environment = {**os.environ, "NUMBA_CPU_FEATURES": features.flatten()}
    program = f"""
import pytest
from minisasrec.kernels.simd.vector import VECTOR_BYTES
assert VECTOR_BYTES == 32
pytest.main(["-qk", {ON_EVERY_WIDTH!r}, {__file__!r}])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert re.search(r"\n\d+ passed", done.stdout), done.stdout + done.stderr
