"""Softmax."""

from __future__ import annotations

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.op import Array, Backward, check_some, op


@op("x (... n) -> (... n)", paper="Sec. III-B", torch="x.softmax(-1)")
def softmax(x: Array) -> tuple[Array, Backward]:
    """y_i = e^(x_i) / sum_j e^(x_j) over the last axis.

    The largest x of a row is subtracted first: it cancels in the fraction and keeps e^x finite.
    Raises `ShapeError` for n = 0.
    """
    check_some("softmax", x, "n", x.shape[-1], "softmax")
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy: Array) -> tuple[Array, ...]:
        # dy_i/dx_j = y_i (1[i=j] - y_j), so a row's dx is y * (dy - <dy, y>)
        return (y * (dy - (dy * y).sum(axis=-1, keepdims=True)),)

    return y, backward


@softmax.fast
def _(x: Array) -> tuple[Array, Backward]:
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    y = kernels.softmax.softmax_forward(rows)

    def backward(dy: Array) -> tuple[Array, ...]:
        drows = np.ascontiguousarray(dy).reshape(rows.shape)
        return (kernels.softmax.softmax_backward(y, drows).reshape(x.shape),)

    return y.reshape(x.shape), backward
