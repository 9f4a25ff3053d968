"""Layer normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.op import Array, Backward, check_number, check_some, op
from minisasrec.autograd.signature import Draw
from minisasrec.errors import ConfigError


def _sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    # rows of d >= 3 distinct numbers and an eps that shows: with d = 2 or equal numbers xhat is
    # nearly constant, and the check would compare rounding errors
    draw.dim("d", 3, 5)
    return draw.arguments(layer_norm.signature), {"eps": draw.choice(0.1, 1)}


@op(
    "x (... d), gamma (d), beta (d) -> (... d)",
    paper="Sec. III-C",
    torch="F.layer_norm(x, gamma.shape, gamma, beta, eps)",
    sample=_sample,
)
def layer_norm(x: Array, gamma: Array, beta: Array, *, eps: float = 1e-8) -> tuple[Array, Backward]:
    """y = gamma * xhat + beta,  xhat = (x - mean) / sqrt(var + eps), over the d features of a row.

    The paper's alpha is gamma here. The variance is that of the row itself (divided by d, not
    d - 1) and eps is inside the root. Raises `ShapeError` for d = 0, `ConfigError` for eps < 0.
    """
    check_norm(x, eps)
    eps = x.dtype.type(eps)
    rstd = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    xhat = (x - x.mean(axis=-1, keepdims=True)) * rstd

    def backward(dy: Array) -> tuple[Array, ...]:
        dxhat = dy * gamma  # forward was: y = gamma * xhat + beta
        # xhat depends on x directly, through the mean and through rstd: one term for each
        dx = rstd * (
            dxhat
            - dxhat.mean(axis=-1, keepdims=True)
            - xhat * (dxhat * xhat).mean(axis=-1, keepdims=True)
        )
        rows = tuple(range(dy.ndim - 1))
        return dx, (dy * xhat).sum(rows), dy.sum(rows)

    return gamma * xhat + beta, backward


@layer_norm.fast
def _(x: Array, gamma: Array, beta: Array, *, eps: float = 1e-8) -> tuple[Array, Backward]:
    check_norm(x, eps)
    rows = np.ascontiguousarray(x).reshape(-1, x.shape[-1])
    gamma, beta = np.ascontiguousarray(gamma), np.ascontiguousarray(beta)
    y, mean, rstd = kernels.layer_norm.layer_norm_forward(rows, gamma, beta, eps)

    def backward(dy: Array) -> tuple[Array, ...]:
        drows = np.ascontiguousarray(dy).reshape(rows.shape)
        dx, dgamma, dbeta = kernels.layer_norm.layer_norm_backward(drows, rows, mean, rstd, gamma)
        return dx.reshape(x.shape), dgamma, dbeta

    return y.reshape(x.shape), backward


def check_norm(x: Array, eps: float) -> None:
    """Raise for rows without an element, and for an eps below 0."""
    check_some("layer_norm", x, "d", x.shape[-1], "mean")
    if not check_number("layer_norm", "eps", x, eps) >= 0:
        raise ConfigError(f"layer_norm: eps is {eps}; it is added to the variance, eps >= 0")
