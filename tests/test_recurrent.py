"""The GRU over packed sequences: against torch.nn.GRU, and what only long sequences show."""

from __future__ import annotations

import numpy as np
import pytest

from minisasrec import ops
from minisasrec.autograd.tensor import Tensor
from minisasrec.errors import ShapeError
from minisasrec.kernels.threads import threads
from minisasrec.ops.recurrent import packed_gru

LENGTHS = [3, 0, 60, 1, 17, 2, 2, 5, 40, 8] * 3  # 30 sequences: more than one block


def inputs(d: int, dtype: type = np.float64) -> tuple[list[np.ndarray], np.ndarray]:
    generator = np.random.default_rng(d)
    offsets = np.cumsum([0, *LENGTHS])
    x, U, b = (generator.standard_normal(s) for s in ((offsets[-1], 3 * d), (d, 3 * d), 3 * d))
    return [each.astype(dtype) for each in (x, U / np.sqrt(d), b / 2)], offsets


@pytest.mark.parametrize("d", [1, 5, 32])
@pytest.mark.parametrize("function", [packed_gru.definition, packed_gru.adaptor])
def test_it_is_torchs_gru_on_a_packed_sequence(d, function):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    (_, U, b), offsets = inputs(d)
    W, bias = np.random.default_rng(1).standard_normal((2 * d + 1, 3 * d)) / 2, b[::-1].copy()
    items = np.random.default_rng(2).standard_normal((offsets[-1], 2 * d + 1))
    y, backward = function(items @ W + bias, U, b, offsets=offsets)
    dy = np.random.default_rng(3).standard_normal(y.shape)
    dx, dU, db = backward(dy)

    gru = torch.nn.GRU(2 * d + 1, d).double()
    with torch.no_grad():
        for parameter, value in (
            (gru.weight_ih_l0, W.T), (gru.weight_hh_l0, U.T),
            (gru.bias_ih_l0, bias), (gru.bias_hh_l0, b),
        ):  # fmt: skip
            parameter.copy_(torch.as_tensor(value.copy()))
    x = torch.tensor(items, requires_grad=True)
    parts = [x[i:j] for i, j in zip(offsets[:-1], offsets[1:], strict=True) if j > i]
    packed = torch.nn.utils.rnn.pack_sequence(parts, enforce_sorted=False)
    padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(gru(packed)[0], batch_first=True)
    want = torch.cat([row[:n] for row, n in zip(padded, lengths, strict=True)])
    want.backward(torch.as_tensor(dy))
    for got, wanted in (
        (y, want.detach()),
        (dx @ W.T, x.grad),
        (items.T @ dx, gru.weight_ih_l0.grad.T),
        (dU, gru.weight_hh_l0.grad.T),
        (dx.sum(0), gru.bias_ih_l0.grad),
        (db, gru.bias_hh_l0.grad),
    ):
        np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-9, atol=1e-10)


def test_the_equations_one_number_at_a_time():
    (x, U, b), offsets = inputs(4)
    h = ops.packed_gru(x, U, b, offsets=offsets).data

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    for start, end in zip(offsets[:-1], offsets[1:], strict=True):
        before = np.zeros(4)
        for t in range(start, end):
            for j in range(4):
                r, z, n = j, 4 + j, 8 + j
                reset = sigmoid(x[t, r] + before @ U[:, r] + b[r])
                keep = sigmoid(x[t, z] + before @ U[:, z] + b[z])
                new = np.tanh(x[t, n] + reset * (before @ U[:, n] + b[n]))
                np.testing.assert_allclose(h[t, j], (1 - keep) * new + keep * before[j], rtol=1e-12)
            before = h[t]


@pytest.mark.parametrize("d", [7, 50])
def test_a_kernel_in_float32_is_close_to_its_definition(d):
    arrays, offsets = inputs(d, np.float32)
    y, backward = packed_gru.adaptor(*arrays, offsets=offsets)
    dy = np.random.default_rng(3).standard_normal(y.shape).astype(np.float32)
    want, want_backward = packed_gru.definition(
        *[a.astype(np.float64) for a in arrays], offsets=offsets
    )
    for got, wanted in zip(
        (y, *backward(dy)), (want, *want_backward(dy.astype(np.float64))), strict=True
    ):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


def test_any_number_of_threads_gives_the_same_bits():
    arrays, offsets = inputs(20, np.float32)
    results = []
    for count in (1, 2, 4):
        with threads(count):
            y, backward = packed_gru.adaptor(*arrays, offsets=offsets)
            results.append((y, *backward(y)))
    for one, two, four in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, four)


def test_a_sequence_does_not_depend_on_the_others():
    (x, U, b), offsets = inputs(9, np.float32)
    together = ops.packed_gru(x, U, b, offsets=offsets).data
    for i, j in zip(offsets[:-1], offsets[1:], strict=True):
        if i < j:
            alone = ops.packed_gru(x[i:j], U, b, offsets=np.array([0, j - i])).data
            np.testing.assert_array_equal(together[i:j], alone)


def test_extreme_inputs_saturate_and_nan_shows():
    x = np.array([[100.0] * 3, [-100.0] * 3, [np.nan] * 3], np.float32)
    U, b = np.zeros((1, 3), np.float32), np.zeros(3, np.float32)
    y = ops.packed_gru(x, U, b, offsets=np.array([0, 1, 2, 3])).data
    # z = 1 keeps the first h = 0; z = 0 takes the candidate tanh(-100)
    np.testing.assert_allclose(y[:2, 0], [0, -1], atol=1e-30)
    assert np.isnan(y[2]).all()


@pytest.mark.parametrize("function", [packed_gru.definition, packed_gru.adaptor])
def test_wrong_arguments_are_named(function):
    x, U, b = np.ones((4, 6)), np.ones((2, 6)), np.ones(6)
    with pytest.raises(ShapeError, match=r"packed_gru: U has shape \(3, 6\); it holds"):
        function(x, np.ones((3, 6)), b, offsets=np.array([0, 4]))
    with pytest.raises(ShapeError, match="packed_gru: offsets run from 0 to the 4 rows"):
        function(x, U, b, offsets=np.array([0, 3]))
    with pytest.raises(ShapeError, match="packed_gru: axis g is 6 in x"):
        ops.packed_gru(Tensor(x), np.ones((2, 5)), b, offsets=np.array([0, 4]))
