"""Layer norm and the projections to queries, keys and values, as one op."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.op import Array, Result, check_some, op
from minisasrec.autograd.signature import Draw
from minisasrec.ops.layer_norm import check_norm, layer_norm
from minisasrec.ops.matmul import linear


def _sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    draw.dim("d", 3, 5)  # as for layer_norm
    return draw.arguments(norm_projections.signature), {"eps": draw.choice(0.1, 1)}


@op(
    "x (T d), gamma (d), beta (d), W_q (d d), b_q (d), W_k (d d), b_k (d), W_v (d d), b_v (d)"
    " -> (?)",
    paper="Sec. III-B, III-C",
    sample=_sample,
)
def norm_projections(
    x: Array,
    gamma: Array,
    beta: Array,
    W_q: Array,
    b_q: Array,
    W_k: Array,
    b_k: Array,
    W_v: Array,
    b_v: Array,
    *,
    eps: float = 1e-8,
) -> Result:
    """y = (a W_q + b_q, a W_k + b_k, a W_v + b_v), (3 T d), with a = LayerNorm(x).

    It is `layer_norm` and three times `linear`. As one op it reads x once, and the three gradients
    of a are summed where they are made. Raises what `layer_norm` raises.
    """
    check_some("norm_projections", x, "d", x.shape[-1], "mean")
    a, norm_backward = layer_norm.definition(x, gamma, beta, eps=eps)
    q, q_backward = linear.definition(a, W_q, b_q)
    k, k_backward = linear.definition(a, W_k, b_k)
    v, v_backward = linear.definition(a, W_v, b_v)

    def backward(dy: Array) -> tuple[Array, ...]:
        da_q, *dq = q_backward(dy[0])
        da_k, *dk = k_backward(dy[1])
        da_v, *dv = v_backward(dy[2])
        return *norm_backward(da_q + da_k + da_v), *dq, *dk, *dv

    return np.stack([q, k, v]), backward


@norm_projections.fast
def _(x: Array, gamma: Array, beta: Array, *layers: Array, eps: float = 1e-8) -> Result:
    d = x.shape[1]
    if d < kernels.matmul.lane_count(x.dtype):
        return norm_projections.definition(x, gamma, beta, *layers, eps=eps)
    check_norm(x, eps)
    x, gamma, beta = map(np.ascontiguousarray, (x, gamma, beta))
    # a stack of transposed matrices would not be contiguous
    W, b = (np.ascontiguousarray(np.stack(layers[i::2])) for i in (0, 1))
    y, mean, rstd = kernels.projections.projections_forward(x, gamma, beta, eps, W, b)

    def backward(dy: Array) -> tuple[Array, ...]:
        dy = np.ascontiguousarray(dy)
        dx, dgamma, dbeta, dW, db = kernels.projections.projections_backward(
            dy, x, mean, rstd, gamma, beta, W
        )
        return dx, dgamma, dbeta, dW[0], db[0], dW[1], db[1], dW[2], db[2]

    return y, backward
