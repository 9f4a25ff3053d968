"""Matrix product and the linear layer."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.gradients import sum_to_shape
from minisasrec.autograd.op import Array, Result, op
from minisasrec.autograd.signature import Draw
from minisasrec.errors import ConfigError

Activation = Literal["relu"] | None


def _linear_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    x, W, b = draw.arguments(linear.signature)
    # a bias of +-4 keeps every x W + b away from the kink of relu
    return [x * 0.2, W, b + np.copysign(4, b)], {"activation": [None, "relu"][draw.integer(0, 1)]}


def _swap(x: Array) -> Array:
    return x.swapaxes(-1, -2)


@op("a (* n k), b (* k m) -> (* n m)", paper="Sec. III-B", torch="a @ b")
def matmul(a: Array, b: Array) -> Result:
    """y = a b over the last two axes; the leading axes broadcast.

    y_ij = sum_k a_ik b_kj, so dy_ij reaches a_ik through b_kj: da = dy b^T, and db = a^T dy.
    """

    def backward(dy: Array) -> tuple[Array, ...]:
        return sum_to_shape(dy @ _swap(b), a.shape), sum_to_shape(_swap(a) @ dy, b.shape)

    return a @ b, backward


@matmul.fast
def _(a: Array, b: Array) -> Result:
    if a.shape[:-2] != b.shape[:-2]:  # leading axes that broadcast: NumPy knows how
        return matmul.definition(a, b)
    lead = a.shape[:-2]
    a3, b3 = _as_batch(a), _as_batch(b)
    y = kernels.matmul.matmul(a3, b3)

    def backward(dy: Array) -> tuple[Array, ...]:
        dy3 = _as_batch(dy)
        da, db = kernels.matmul.matmul_nt(dy3, b3), kernels.matmul.matmul_tn(a3, dy3)
        return da.reshape(a.shape), db.reshape(b.shape)

    return y.reshape(*lead, *y.shape[-2:]), backward


def _as_batch(x: Array) -> Array:
    return np.ascontiguousarray(x).reshape(-1, *x.shape[-2:])


@op(
    "x (... k), W (k m), b (m) -> (... m)",
    paper="Sec. III-B",
    torch="F.relu(F.linear(x, W.T, b)) if activation else F.linear(x, W.T, b)",
    sample=_linear_sample,
)
def linear(x: Array, W: Array, b: Array, *, activation: Activation = None) -> Result:
    """y = x W + b, or y = max(x W + b, 0) with activation="relu".

    The activation is part of this op because its backward needs only the sign of y: nothing more
    is kept, and memory is not read once more. Raises `ConfigError` for another activation.
    """
    if activation not in (None, "relu"):
        raise ConfigError(f"linear: activation {activation!r}; choose None or 'relu'")
    y = x @ W + b
    if activation == "relu":
        y = np.maximum(y, 0)

    def backward(dy: Array) -> tuple[Array, ...]:
        if activation == "relu":
            dy = np.where(y > 0, dy, 0)
        count = math.prod(x.shape[:-1])  # not -1, which means nothing where k or m is 0
        rows, drows = x.reshape(count, x.shape[-1]), dy.reshape(count, dy.shape[-1])
        return dy @ W.T, rows.T @ drows, drows.sum(0)

    return y, backward


@linear.fast
def _(x: Array, W: Array, b: Array, *, activation: Activation = None) -> Result:
    if activation not in (None, "relu"):
        return linear.definition(x, W, b, activation=activation)  # which says what is wrong
    k, m = W.shape
    relu = activation == "relu"
    rows, W = np.ascontiguousarray(x).reshape(-1, k), np.ascontiguousarray(W)
    y = kernels.matmul.linear_forward(rows, W, b, relu)

    def backward(dy: Array) -> tuple[Array, ...]:
        drows = np.ascontiguousarray(dy).reshape(-1, m)
        dx, dW, db = kernels.matmul.linear_backward(rows, W, drows, y if relu else None)
        return dx.reshape(x.shape), dW, db

    return y.reshape(*x.shape[:-1], m), backward
