"""The gated recurrent unit (GRU), over packed sequences.

A recurrent network reads a sequence item by item and keeps what it needs in a state h of d numbers.
Step t cannot begin before step t - 1 has ended; that is the cost that self-attention does away with
(Sec. III-F). What does not depend on the state, the product of every input with its weights, is
left to `linear` or `embedding`, over all rows at once; this op is the part that must wait.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.op import Array, Result, op
from minisasrec.autograd.signature import Draw
from minisasrec.errors import ShapeError
from minisasrec.ops.attention import check_offsets, offsets_sample
from minisasrec.ops.elementwise import stable_sigmoid


def _sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    offsets = offsets_sample(draw)
    d = draw.dim("d", 1, 3)
    x, U = draw.normal(int(offsets[-1]), 3 * d), draw.normal(d, 3 * d) / np.sqrt(max(d, 1))
    return [x, U, draw.normal(3 * d)], {"offsets": draw.choice(offsets, offsets.tolist())}


@op("x (T g), U (d g), b (g) -> (T d)", paper="Sec. IV-B, GRU4Rec", sample=_sample)
def packed_gru(x: Array, U: Array, b: Array, *, offsets: Array) -> Result:
    """h_t = (1 - z) n + z h_{t-1}, from h = 0 before the first item of each sequence.

    r = sigmoid(x_r + h_{t-1} U_r + b_r)            how much of the past the candidate sees
    z = sigmoid(x_z + h_{t-1} U_z + b_z)            how much of the past stays
    n = tanh(x_n + r (h_{t-1} U_n + b_n))           the candidate

    `x` holds x_r, x_z and x_n of every row side by side, U and b likewise, so g = 3 d; row t of x
    is its input times the input weights plus their bias. Sequence b owns rows offsets[b] to
    offsets[b + 1]. The reset gate r works on the product h U_n, as in torch.nn.GRU and cuDNN; Cho
    et al. (2014), and with them the GRU4Rec paper, write (r h) U_n. Then one product with U serves
    all three parts. Raises `ShapeError` unless g = 3 d and the offsets lead from 0 to T.
    """
    offsets = _check("packed_gru", x, U, offsets)
    d = len(U)
    starts, lengths = offsets[:-1], np.diff(offsets)
    h, r, z, n, c = (np.zeros((len(x), d), x.dtype) for _ in range(5))
    previous = np.zeros((len(starts), d), x.dtype)  # h_{t-1} of each sequence
    # row numbers of step 0, of step 1, ...: all sequences that are long enough step together
    steps = [starts[lengths > t] + t for t in range(lengths.max(initial=0))]
    for t, rows in enumerate(steps):
        past = previous[lengths > t] @ U + b
        gates = stable_sigmoid(x[rows, : 2 * d] + past[:, : 2 * d])
        r[rows], z[rows], c[rows] = gates[:, :d], gates[:, d:], past[:, 2 * d :]
        n[rows] = np.tanh(x[rows, 2 * d :] + r[rows] * c[rows])
        h[rows] = (1 - z[rows]) * n[rows] + z[rows] * previous[lengths > t]
        previous[lengths > t] = h[rows]

    def backward(dy: Array) -> tuple[Array, ...]:
        dx, dU, db = np.empty_like(x), np.zeros_like(U), np.zeros_like(b)
        dnext = np.zeros_like(previous)  # what step t + 1 sends back to h_t
        for t in range(len(steps) - 1, -1, -1):
            rows, running = steps[t], lengths > t
            before = h[rows - 1] if t else np.zeros((len(rows), d), x.dtype)
            dh = dy[rows] + dnext[running]
            # forward was: h = (1 - z) n + z before;  n = tanh(x_n + r c);  c = before U_n + b_n
            dz = dh * (before - n[rows]) * z[rows] * (1 - z[rows])
            dn = dh * (1 - z[rows]) * (1 - n[rows] ** 2)
            dr = dn * c[rows] * r[rows] * (1 - r[rows])
            dx[rows] = np.concatenate([dr, dz, dn], axis=1)
            dpast = np.concatenate([dr, dz, dn * r[rows]], axis=1)
            dU += before.T @ dpast
            db += dpast.sum(0)
            dnext[running] = dh * z[rows] + dpast @ U.T
        return dx, dU, db

    return h, backward


@packed_gru.fast
def _(x: Array, U: Array, b: Array, *, offsets: Array) -> Result:
    offsets = _check("packed_gru", x, U, offsets)
    x, U = np.ascontiguousarray(x), np.ascontiguousarray(U)
    h, gates = kernels.recurrent.gru_forward(x, U, b, offsets)

    def backward(dy: Array) -> tuple[Array, ...]:
        dy = np.ascontiguousarray(dy)
        return kernels.recurrent.gru_backward(dy, U, h, gates, offsets)

    return h, backward


def _check(name: str, x: Array, U: Array, offsets: Array) -> Array:
    d, g = U.shape
    if g != 3 * d:
        raise ShapeError(
            f"{name}: U has shape {U.shape}; it holds r, z and n side by side: ({d}, {3 * d})"
        )
    return check_offsets(name, offsets, len(x))
