"""Kernels in float32 over forty orders of magnitude: against NumPy in float64, and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

from minisasrec import Tensor, ops
from minisasrec.backends import use_backend
from minisasrec.kernels import adam
from minisasrec.nn import optim

torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
F = torch.nn.functional

SIZES = [10.0**power for power in range(-20, 21, 4)] + [3e9, 1e19, 1.5e19, 2e19]


def normal(seed: int, *shape: int, size: float = 1.0) -> np.ndarray:
    return (size * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def both(op, arrays, dy, **constants):
    """Result and gradients: by the kernel in float32, and by the definition in float64."""
    found = []
    for function, dtype in ((op.adaptor, np.float32), (op.definition, np.float64)):
        y, backward = function(*(each.astype(dtype) for each in arrays), **constants)
        found.append([np.asarray(y), *backward(np.asarray(dy, dtype))])
    return found


def near(found, wanted, tolerance=1e-5):
    """Every array is near the other, as seen from its largest number."""
    for got, want in zip(found, wanted, strict=True):
        assert np.isfinite(got).all()
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max())


def torchs(function, arrays, dy):
    """Result and gradients of PyTorch in float32."""
    tensors = [torch.tensor(each, requires_grad=True) for each in arrays]
    y = function(*tensors)
    y.backward(torch.tensor(np.asarray(dy, np.float32)))
    return [y.detach().numpy(), *(each.grad.numpy() for each in tensors)]


def whole(*shape: int, seed: int = 0, size: float = 1.0) -> np.ndarray:
    """Random multiples of `size` from -4 to 4, so that products and sums of them are exact."""
    return (np.random.default_rng(seed).integers(-4, 5, shape) * size).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_attention(size):
    """Scores of about `size`; exact in float32, so that only the softmax is put to the test."""
    q, k = whole(57, 18, size=2.0 ** round(np.log2(size))), whole(57, 18, seed=1)
    check_attention(q, k, size)


@pytest.mark.parametrize("power", [0, 10, 16, 20, 23])
def test_attention_of_large_scores_that_differ_little(power):
    """Scores of 2^power and, exactly, some whole numbers more or less."""
    q, k = whole(57, 18), whole(57, 18, seed=1)
    q[:, 0], k[:, 0] = 2.0**power, 1
    check_attention(q, k, 2.0**power)


def check_attention(q, k, size):
    offsets = np.array([0, 1, 8, 38, 57])
    v, dy = normal(2, *q.shape), normal(3, *q.shape)
    kernel, definition = both(ops.packed_causal_attention, [q, k, v], dy, offsets=offsets)

    def sdpa(*tensors):
        parts = [
            F.scaled_dot_product_attention(*(each[None, i:j] for each in tensors), is_causal=True)
            for i, j in zip(offsets[:-1], offsets[1:], strict=True)
        ]
        return torch.cat(parts, dim=1)[0]

    # where one weight is all but 1, the slope by a score is the difference of two equal numbers, 0
    # up to rounding; it is multiplied by k in dq, and by q, which is large, in dk
    sizes = [np.abs(each).max() for each in (v, k, q, dy)]
    # PyTorch rounds q / sqrt(d), so its own scores are off by 1 where they are large
    by_torch = [torchs(sdpa, [q, k, v], dy)] if size < 1e3 else []
    for wanted in [definition, *by_torch]:
        for got, want, of in zip(kernel, wanted, sizes, strict=True):
            assert np.isfinite(got).all()
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * of)


@pytest.mark.parametrize("size", SIZES)
def test_attention_of_the_last_query(size):
    offsets = np.array([0, 1, 8, 38])
    q, k = whole(3, 18, size=2.0 ** round(np.log2(size))), whole(38, 18, seed=1)
    arrays = [q, k, normal(2, 38, 18)]
    kernel, definition = both(ops.packed_last_attention, arrays, normal(3, 3, 18), offsets=offsets)
    near(kernel[:1], definition[:1])  # its backward is the definition's


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("n", [5, 50])
def test_softmax(size, n):
    x, dy = normal(0, 40, n, size=size), normal(1, 40, n)
    kernel, definition = both(ops.softmax, [x], dy)
    near(kernel[:1], definition[:1])
    # the slope of a row that is all but one 0 is 0 up to rounding, as it is for PyTorch
    np.testing.assert_allclose(kernel[1], definition[1], rtol=0, atol=1e-5)
    np.testing.assert_allclose(kernel[1], torchs(lambda t: t.softmax(-1), [x], dy)[1], atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("d", [5, 50])
def test_layer_norm(size, d):
    x, gamma, beta, dy = normal(0, 40, d, size=size), normal(1, d), normal(2, d), normal(3, 40, d)
    kernel, definition = both(ops.layer_norm, [x, gamma, beta], dy, eps=1e-8)
    near(kernel, definition, 3e-5)
    if size < 1e16:  # PyTorch's own overflows beyond
        by_torch = torchs(lambda *a: F.layer_norm(a[0], (d,), *a[1:], 1e-8), [x, gamma, beta], dy)
        near(kernel, by_torch, 3e-5)


@pytest.mark.parametrize("middle", [0.0, 3e18, -2e19, 1e25])
def test_layer_norm_of_rows_far_from_zero(middle):
    x, one = normal(0, 9, 50, size=1e19 + abs(middle)) + np.float32(middle), np.ones(50)
    near(*both(ops.layer_norm, [x, one, one], normal(1, 9, 50), eps=1e-8), 3e-5)


@pytest.mark.parametrize("wrong", [np.inf, -np.inf, np.nan])
def test_layer_norm_shows_what_is_no_number(wrong):
    x = normal(0, 3, 50)
    x[1, 7] = wrong
    y, _ = ops.layer_norm.adaptor(x, np.ones(50, np.float32), np.zeros(50, np.float32))
    assert np.isnan(y[1]).any() and np.isfinite(y[[0, 2]]).all()


@pytest.mark.parametrize("size", SIZES)
def test_softmax_cross_entropy(size):
    h, items = whole(30, 8, size=2.0 ** round(np.log2(size))), whole(200, 8, seed=1)
    targets = np.random.default_rng(2).integers(0, 200, 30)
    kernel, definition = both(ops.softmax_cross_entropy, [h, items], 1.0, targets=targets)
    near(kernel, definition)


def test_a_small_loss_of_large_scores():
    """Both scores are 2^24 or near, where float32 has only whole numbers; the loss is .127."""
    h, items = np.array([[2.0**24]], np.float32), np.array([[0], [1], [1 - 2.0**-23]], np.float32)
    loss, _ = ops.softmax_cross_entropy.adaptor(h, items, targets=np.array([1]))
    assert loss == pytest.approx(np.log1p(np.exp(-2)), rel=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_sampled_bce(size):
    h, items = whole(30, 8, size=2.0 ** round(np.log2(size))), whole(200, 8, seed=1)
    random = np.random.default_rng(2)
    ids = {"targets": random.integers(0, 200, 30), "negatives": random.integers(1, 200, (30, 2))}
    near(*both(ops.sampled_bce, [h, items], 1.0, **ids))


@pytest.mark.parametrize("size", [s for s in SIZES if s < 1e19])  # size^2 is a part of two losses
@pytest.mark.parametrize("loss", ["cross-entropy", "bpr", "top1", "top1-max", "bpr-max"])
def test_ranking_losses(size, loss):
    arrays, mask = [normal(0, 40, size=size), normal(1, 40, 20, size=size)], np.ones((40, 20), bool)
    for got, want in zip(
        *both(ops.ranking_loss, arrays, 1.0, allowed=mask, loss=loss), strict=True
    ):
        assert np.isfinite(got).all()
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7 * max(1, np.abs(want).max()))


@pytest.mark.parametrize("size", [s for s in SIZES if s <= 1e16])
def test_adam(size):
    """Beyond 1e19 the square of a gradient overflows, in PyTorch as well: the weight stays."""
    w, g = normal(0, 5000), normal(1, 5000, size=size)
    results = []
    for update in (adam.adam_step, optim.adam_step):
        arrays = [w.copy(), np.zeros_like(w), np.zeros_like(w)]
        update(arrays[0], g, *arrays[1:], 0.9, 0.98, 1e-3, 1e-8, 0.0, 1.0)
        results.append(arrays)
    for got, wanted in zip(*results, strict=True):
        assert np.isfinite(got).all()
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-43)  # the square of 1e-20 is 0


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_relu_sends_nothing_back_where_it_is_zero(backend):
    dy = np.array([[np.inf, 1.0]], np.float32)
    x = np.array([[-1.0, 2.0]], np.float32)
    for relu in (ops.relu, lambda t: ops.linear(t, np.eye(2), np.zeros(2), activation="relu")):
        leaf = Tensor(x, requires_grad=True)
        with use_backend(backend):
            relu(leaf).backward(dy)
        np.testing.assert_array_equal(leaf.grad, [[0, 1]])
