"""The second half of a block as one op: the residual connections, layer norm and the FFN."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.op import Array, Result, check_some, op
from minisasrec.autograd.signature import Draw
from minisasrec.errors import ConfigError
from minisasrec.ops.dropout import add_dropout, check_dropout
from minisasrec.ops.layer_norm import check_norm, layer_norm
from minisasrec.ops.matmul import linear
from minisasrec.random import Key, make_key

Keys2 = tuple[Key, Key]


def _sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    draw.dim("d", 3, 5)  # as for layer_norm
    arrays = draw.arguments(feed_forward.signature)
    arrays[4] *= 0.2
    arrays[5] += np.copysign(8, arrays[5])  # a bias of +-8 stays away from the kink of ReLU
    names = np.arange(len(arrays[0])) + 3
    seed = draw.integer(0, 99)
    return arrays, {
        "eps": draw.choice(0.1, 1),
        "rate": draw.choice(0.5, 0.2, 0),
        "keys": (make_key(seed, 1), make_key(seed, 2)),
        "slot_ids": draw.choice(None, names, 7 * names[::-1], names.tolist()),
    }


@op(
    "x (T d), s (T d), gamma (d), beta (d), W1 (d d), b1 (d), W2 (d d), b2 (d) -> (T d)",
    paper="Sec. III-B, III-C",
    sample=_sample,
)
def feed_forward(
    x: Array,
    s: Array,
    gamma: Array,
    beta: Array,
    W1: Array,
    b1: Array,
    W2: Array,
    b2: Array,
    *,
    rate: float,
    keys: Keys2,
    slot_ids: Array | None = None,
    eps: float = 1e-8,
) -> Result:
    """y = z + Dropout(FFN(LayerNorm(z))) with z = x + Dropout(s), s being what attention returns.

    It is `add_dropout`, `layer_norm`, twice `linear`, and `add_dropout` again; `keys` are those of
    the two dropouts. As one op it takes a few rows at a time through all of them. Raises what
    these ops raise.
    """
    check_some("feed_forward", x, "d", x.shape[-1], "mean")
    _check_keys(keys)
    z, z_backward = add_dropout.definition(x, s, rate=rate, key=keys[0], slot_ids=slot_ids)
    a, a_backward = layer_norm.definition(z, gamma, beta, eps=eps)
    h, h_backward = linear.definition(a, W1, b1, activation="relu")
    f, f_backward = linear.definition(h, W2, b2)
    y, y_backward = add_dropout.definition(z, f, rate=rate, key=keys[1], slot_ids=slot_ids)

    def backward(dy: Array) -> tuple[Array, ...]:
        dz, df = y_backward(dy)
        dh, dW2, db2 = f_backward(df)
        da, dW1, db1 = h_backward(dh)
        dz_too, dgamma, dbeta = a_backward(da)
        dx, ds = z_backward(dz + dz_too)
        return dx, ds, dgamma, dbeta, dW1, db1, dW2, db2

    return y, backward


@feed_forward.fast
def _(
    x: Array,
    s: Array,
    gamma: Array,
    beta: Array,
    *layers: Array,
    rate: float,
    keys: Keys2,
    slot_ids: Array | None = None,
    eps: float = 1e-8,
) -> Result:
    if x.shape[1] < kernels.matmul.lane_count(x.dtype):
        constants = {"rate": rate, "keys": keys, "slot_ids": slot_ids, "eps": eps}
        return feed_forward.definition(x, s, gamma, beta, *layers, **constants)
    check_norm(x, eps)
    _check_keys(keys)
    for key in keys:
        slot_ids = check_dropout("feed_forward", x, rate, key, slot_ids)
    x, s, gamma, beta, *weights = map(np.ascontiguousarray, (x, s, gamma, beta, *layers))
    layers = tuple(weights)
    names = kernels.dropout.row_names(x, slot_ids)
    norm, drops = (gamma, beta, eps), (names, rate, keys)
    y, *saved = kernels.feed_forward.feed_forward(x, s, norm, layers, *drops)

    def backward(dy: Array) -> tuple[Array, ...]:
        dy = np.ascontiguousarray(dy)
        return kernels.feed_forward.feed_forward_backward(dy, norm, layers, tuple(saved), *drops)

    return y, backward


def _check_keys(keys: Any) -> None:
    if not isinstance(keys, tuple | list) or len(keys) != 2:
        raise ConfigError(f"feed_forward: keys are {keys!r}; give two, one for each dropout")
