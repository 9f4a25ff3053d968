"""Convolutions over a sequence of embeddings, as Caser uses them (arXiv 1809.07426).

The last L items give a matrix of L rows (time) and d columns (features), an "image". A horizontal
filter is h whole rows high and slides down in time; a vertical filter is one column wide and L
rows high and slides across the features.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.op import Array, Result, check_some, op
from minisasrec.autograd.signature import Draw
from minisasrec.errors import ShapeError


def _horizontal_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    L = draw.dim("L")
    h = draw.integer(1, L) if L else 1
    B, d, k = draw.dim("B", 1, 3), draw.dim("d", 1, 3), draw.dim("k", 1, 3)
    return [draw.normal(B, L, d), draw.normal(k, h, d) / np.sqrt(max(h * d, 1)), draw.normal(k)], {}


def _vertical_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    L = draw.dim("L")
    B, d, k = draw.dim("B", 1, 3), draw.dim("d", 1, 3), draw.dim("k", 1, 3)
    return [draw.normal(B, L, d), draw.normal(k, L)], {}


def _max_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    B, p, k = draw.dim("B"), draw.dim("p"), draw.dim("k")
    x = draw.rng.permutation(B * p * k).reshape(B, p, k) * 0.5  # distinct values: no ties
    return [x], {}


def _windows(x: Array, h: int) -> Array:
    """Every run of h rows, one after another: (B L d) -> (B p h*d), p = L - h + 1."""
    B, L, d = x.shape
    runs = [x[:, i : i + h].reshape(B, h * d) for i in range(L - h + 1)]
    return np.stack(runs, axis=1)


@op(
    "x (B L d), F (k h d), b (k) -> (?)",
    paper="Sec. IV-B, Caser: arXiv 1809.07426, eq. 3",
    torch="torch.conv2d(x[:, None], F[:, None], b)[..., 0].transpose(1, 2)",
    sample=_horizontal_sample,
)
def horizontal_convolution(x: Array, F: Array, b: Array) -> Result:
    """y_if = sum over h rows and d columns of x_{i..i+h-1} F_f, plus b_f; (B p k), p = L - h + 1.

    A filter covers all d features of h items in a row, and finds their pattern wherever it stands:
    F is moved over the p places i where it fits. Raises `ShapeError` if it fits nowhere.
    """
    _check_height(x, F)
    k, h, d = F.shape
    windows, filters = _windows(x, h), F.reshape(k, h * d)

    def backward(dy: Array) -> tuple[Array, ...]:
        dF = np.einsum("bpk,bpc->kc", dy, windows).reshape(F.shape)
        dwindows = (dy @ filters).reshape(*dy.shape[:2], h, d)
        dx = np.zeros_like(x)
        for i in range(dy.shape[1]):  # windows overlap: an item adds up what each of its own sends
            dx[:, i : i + h] += dwindows[:, i]
        return dx, dF, dy.sum((0, 1))

    return windows @ filters.T + b, backward


@horizontal_convolution.fast
def _(x: Array, F: Array, b: Array) -> Result:
    _check_height(x, F)
    x, F = np.ascontiguousarray(x), np.ascontiguousarray(F)
    y = kernels.convolution.horizontal_forward(x, F, b)

    def backward(dy: Array) -> tuple[Array, ...]:
        return kernels.convolution.horizontal_backward(np.ascontiguousarray(dy), x, F)

    return y, backward


@op(
    "x (B L d), F (k L) -> (B k d)",
    paper="Sec. IV-B, Caser: arXiv 1809.07426, eq. 7",
    torch="torch.conv2d(x[:, None], F[:, None, :, None]).squeeze(2)",
    sample=_vertical_sample,
)
def vertical_convolution(x: Array, F: Array) -> Result:
    """y_f = sum over l of F_fl x_l: a weighted sum of the L items, feature by feature.

    As high as the sequence, a vertical filter has only one place in time; it is slid over the d
    features instead, with the same L weights for each.
    """

    def backward(dy: Array) -> tuple[Array, ...]:
        return F.T @ dy, np.einsum("bkd,bld->kl", dy, x)

    return F @ x, backward


@vertical_convolution.fast
def _(x: Array, F: Array) -> Result:
    x, F = np.ascontiguousarray(x), np.ascontiguousarray(F)
    y = kernels.convolution.vertical_forward(x, F)

    def backward(dy: Array) -> tuple[Array, ...]:
        return kernels.convolution.vertical_backward(np.ascontiguousarray(dy), x, F)

    return y, backward


@op(
    "x (B p k) -> (B k)",
    paper="Sec. IV-B, Caser: arXiv 1809.07426, eq. 5",
    torch="x.amax(dim=1)",
    sample=_max_sample,
)
def max_over_time(x: Array) -> Result:
    """y_f = max over the p places of x_if: did filter f find its pattern anywhere?

    The first of equal places receives the gradient. Raises `ShapeError` for p = 0.
    """
    check_some("max_over_time", x, "p", x.shape[1], "max")
    where = x.argmax(axis=1)[:, None]

    def backward(dy: Array) -> tuple[Array, ...]:
        dx = np.zeros_like(x)
        np.put_along_axis(dx, where, dy[:, None], axis=1)
        return (dx,)

    return np.take_along_axis(x, where, axis=1)[:, 0], backward


@max_over_time.fast
def _(x: Array) -> Result:
    y, where = kernels.convolution.max_forward(np.ascontiguousarray(x))

    def backward(dy: Array) -> tuple[Array, ...]:
        return (kernels.convolution.max_backward(np.ascontiguousarray(dy), where, x.shape[1]),)

    return y, backward


def _check_height(x: Array, F: Array) -> None:
    L, h = x.shape[1], F.shape[1]
    if not 1 <= h <= L:
        raise ShapeError(
            f"horizontal_convolution: filters of height {h} do not fit into L = {L} rows of x"
        )
