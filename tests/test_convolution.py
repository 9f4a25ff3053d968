"""Caser's convolutions: against torch.nn.Conv2d, as its authors build them, and in numbers."""

from __future__ import annotations

import numpy as np
import pytest

from minisasrec import ops
from minisasrec.errors import ShapeError
from minisasrec.kernels.threads import threads
from minisasrec.ops.convolution import (
    horizontal_convolution,
    max_over_time,
    vertical_convolution,
)

OPS = [horizontal_convolution, vertical_convolution, max_over_time]


def normal(seed, *shape, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("h", [1, 2, 5])
@pytest.mark.parametrize(("B", "d", "k"), [(1, 1, 1), (7, 50, 16), (300, 10, 3)])
def test_horizontal_filters_are_torchs(B, d, k, h):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    x, F, b = normal(1, B, 5, d), normal(2, k, h, d), normal(3, k)
    conv = torch.nn.Conv2d(1, k, (h, d)).double()
    with torch.no_grad():
        conv.weight.copy_(torch.as_tensor(F[:, None]))
        conv.bias.copy_(torch.as_tensor(b))
    image = torch.tensor(x, requires_grad=True)
    best = torch.nn.functional.max_pool1d(conv(image[:, None]).squeeze(3).relu(), 5 - h + 1)
    dy = normal(4, B, k)
    best.squeeze(2).backward(torch.as_tensor(dy))

    for kind in ("definition", "adaptor"):
        conved, conv_back = getattr(horizontal_convolution, kind)(x, F, b)
        y, pool_back = getattr(max_over_time, kind)(conved)
        np.testing.assert_allclose(np.maximum(y, 0), best.squeeze(2).detach(), atol=1e-12)
        (dconved,) = pool_back(dy * (y > 0))
        want = (image.grad, conv.weight.grad[:, 0], conv.bias.grad)
        for got, wanted in zip(conv_back(dconved), want, strict=True):
            np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("B", "d", "k"), [(1, 1, 1), (7, 50, 4), (300, 10, 3)])
def test_vertical_filters_are_torchs(B, d, k):
    torch = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    x, F, dy = normal(1, B, 5, d), normal(2, k, 5), normal(4, B, k, d)
    conv = torch.nn.Conv2d(1, k, (5, 1), bias=False).double()
    with torch.no_grad():
        conv.weight.copy_(torch.as_tensor(F[:, None, :, None]))
    image = torch.tensor(x, requires_grad=True)
    want = conv(image[:, None]).squeeze(2)
    want.backward(torch.as_tensor(dy))
    for function in (vertical_convolution.definition, vertical_convolution.adaptor):
        y, backward = function(x, F)
        np.testing.assert_allclose(y, want.detach(), atol=1e-12)
        dx, dF = backward(dy)
        np.testing.assert_allclose(dx, image.grad, atol=1e-12)
        np.testing.assert_allclose(dF, conv.weight.grad[:, 0, :, 0], rtol=1e-10, atol=1e-11)


def test_what_the_filters_see():
    x = np.arange(6, dtype=np.float32).reshape(1, 3, 2)  # rows (0 1) (2 3) (4 5)
    F = np.array([[[1, 0], [0, 10]], [[0, 0], [1, 1]]], np.float32)  # two filters of height 2
    y = ops.horizontal_convolution(x, F, np.array([0.5, 0], np.float32)).data
    np.testing.assert_array_equal(y, [[[30.5, 5], [52.5, 9]]])
    np.testing.assert_array_equal(ops.max_over_time(y).data, [[52.5, 9]])
    z = ops.vertical_convolution(x, np.array([[1, 0, -1]], np.float32)).data
    np.testing.assert_array_equal(z, [[[-4, -4]]])


@pytest.mark.parametrize("function", [max_over_time.definition, max_over_time.adaptor])
def test_maximum_ties_and_nan(function):
    x = np.zeros((1, 3, 3))
    x[0, 1, 1], x[0, 2, 2] = np.nan, 7
    y, backward = function(x)
    np.testing.assert_array_equal(y, [[0, np.nan, 7]])
    (dx,) = backward(np.array([[1.0, 2.0, 3.0]]))
    np.testing.assert_array_equal(dx[0], [[1, 0, 0], [0, 2, 0], [0, 0, 3]])


def test_any_number_of_threads_gives_the_same_bits():
    x, F, b = (
        normal(i, *s, dtype=np.float32) for i, s in enumerate([(999, 5, 9), (8, 2, 9), (8,)])
    )
    V = normal(5, 3, 5, dtype=np.float32)
    results = []
    for count in (1, 2, 4):
        found = []
        with threads(count):
            for op, args in zip(OPS, ([x, F, b], [x, V], [x]), strict=True):
                y, backward = op.adaptor(*args)
                found += [y, *backward(y)]
        results.append(found)
    for one, two, four in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, four)


def test_a_filter_higher_than_the_image_is_refused():
    for function in (horizontal_convolution.definition, horizontal_convolution.adaptor):
        with pytest.raises(ShapeError, match="filters of height 4 do not fit into L = 3"):
            function(np.ones((2, 3, 5)), np.ones((1, 4, 5)), np.ones(1))
