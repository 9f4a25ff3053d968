"""Causal self-attention, padded by the book and packed.

Both compute, per sequence and head, with d' = d / h features a head,

    out_t = sum over s <= t of p_ts v_s,   p_t = softmax over s <= t of (q_t . k_s / sqrt(d'))

`causal_attention` works on the padded batch (B, n, d) of the paper, with masks.
`packed_causal_attention` works on the T real rows of all sequences one after another, where
sequence b owns rows offsets[b] to offsets[b + 1]: no padding and no masks, causality is the end
of a loop. `packed_last_attention` is its last row of each sequence, all that a prediction needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.arrays import as_array
from minisasrec.autograd.op import Array, Result, op
from minisasrec.autograd.signature import Draw
from minisasrec.errors import ConfigError, ShapeError
from minisasrec.ops.dropout import check_dropout
from minisasrec.random import Key, drop_threshold, make_key, random_uint32

NO_KEY = Key(0, 0)


def _padded_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    B, n, heads = draw.dim("B", 1, 2), draw.dim("n", 1, 4), draw.integer(1, 2)
    d = heads * draw.dim("d_head", 1, 2)
    real = np.arange(n) >= n - draw.ids(0, n, B)[:, None]  # left padding: real items at the end
    real = draw.choice(real, real, draw.ids(0, 1, B, n) > 0)  # or anywhere
    constants = {
        "real": draw.choice(real, real.tolist(), real.astype(float)) if real.size else real,
        "heads": heads,
        "rate": draw.choice(0.0, 0.5),
        "key": make_key(draw.integer(0, 99)),
    }
    return [draw.normal(B, n, d) for _ in range(3)], constants


def offsets_sample(draw: Draw) -> Array:
    """The offsets of one to three sequences, some of them empty, with one row at least."""
    lengths = draw.ids(0, draw.dim("n", 1, 3), draw.dim("B", 1, 3))
    if draw.dims["n"]:
        lengths[-1:] += 1
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.intp)


def _packed_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    offsets, heads = offsets_sample(draw), draw.integer(1, 3)
    T = int(offsets[-1])
    constants = {
        "offsets": draw.choice(offsets, offsets.astype(np.int32), offsets.tolist()),
        "heads": heads,
        "rate": draw.choice(0.0, 0.5),
        "key": make_key(draw.integer(0, 99)),
        "slot_ids": draw.choice(None, np.arange(T) + 5 * np.repeat(offsets[1:], np.diff(offsets))),
    }
    return [draw.normal(T, heads * draw.dim("d_head", 1, 2)) for _ in range(3)], constants


def _check_heads(name: str, d: int, heads: int) -> None:
    whole = isinstance(heads, int | np.integer) and not isinstance(heads, bool)
    if not whole or not 1 <= heads <= d or d % heads:
        raise ConfigError(f"{name}: {heads} heads do not divide d = {d}")


def attention_weights(q: Array, k: Array, allowed: Array) -> Array:
    """softmax(q k^T / sqrt(d')) over the keys that `allowed` names; q, k (... n d')."""
    scores = q @ k.swapaxes(-1, -2) / q.dtype.type(np.sqrt(q.shape[-1]))
    scores = np.where(allowed, scores, -np.inf)  # e^-inf = 0: a link that is cut has no weight
    e = np.exp(scores - scores.max(axis=-1, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=-1, keepdims=True)


def attention_keep(row_q: Array, row_k: Array, heads: int, rate: float, key: Key) -> Array:
    """Which attention weights stay under dropout: bool (... h, queries, keys).

    `row_q` (... queries) and `row_k` (... keys) are row names as in `dropout.keep_mask`. The
    counter of a weight is (row_q * h + head) * 0x9E3779B1 + row_k, modulo 2^32.
    """
    head = np.arange(heads, dtype=np.uint32)[:, None]
    query = row_q.astype(np.uint32)[..., None, :] * np.uint32(heads) + head  # (... h, queries)
    counter = query[..., None] * np.uint32(0x9E3779B1) + row_k.astype(np.uint32)[..., None, None, :]
    return random_uint32(key, counter) >= np.uint32(drop_threshold(rate))


def _attend(
    q: Array, k: Array, v: Array, allowed: Array, heads: int, keep: Array | None, rate: float
) -> Result:
    """Multi-head attention over the pairs that `allowed` (... 1, n, n) names; q, k, v (... n d).

    There may be fewer queries than keys.
    """

    def split(x: Array) -> Array:  # (... n, d) -> (... h, n, d / h)
        return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads).swapaxes(-2, -3)

    def join(x: Array) -> Array:  # (... h, n, d / h) -> (... n, d)
        return x.swapaxes(-2, -3).reshape(*x.shape[:-3], x.shape[-2], q.shape[-1])

    Q, K, V = split(q), split(k), split(v)
    p = attention_weights(Q, K, allowed)  # (... h, n, n)
    # dropout works on the weights: w is p with some weights set to 0 and the others enlarged
    factor = 1 if keep is None else keep * p.dtype.type(1 / (1 - rate))
    w = p * factor
    scale = q.dtype.type(1 / np.sqrt(Q.shape[-1]))

    def backward(dy: Array) -> tuple[Array, ...]:
        dout = split(dy)
        dV = w.swapaxes(-1, -2) @ dout  # forward was: out = w V
        dp = dout @ V.swapaxes(-1, -2) * factor
        # softmax, as in softmax.py
        dscores = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) * scale
        return join(dscores @ K), join(dscores.swapaxes(-1, -2) @ Q), join(dV)

    return join(w @ V), backward


@op("q (B n d), k (B n d), v (B n d) -> (B n d)", paper="Sec. III-B", sample=_padded_sample)
def causal_attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    real: Array,
    heads: int = 1,
    rate: float = 0.0,
    key: Key = NO_KEY,
) -> Result:
    """out_t = sum over real s <= t of p_ts v_s; `real` (B n) is False where a slot holds padding.

    A query may see the real items up to its own slot. A padded slot, which nothing reads, sees
    itself, so that its softmax is defined. `rate` drops attention weights (the authors' code
    does, the paper's text does not). Raises `ShapeError` for `real` of another shape,
    `ConfigError` for heads that do not divide d and for a rate that is no share.
    """
    _check_heads("causal_attention", q.shape[-1], heads)
    check_dropout("causal_attention", q, rate, key, None)
    real = as_array("causal_attention", real).astype(bool)
    if real.shape != q.shape[:2]:
        raise ShapeError(
            f"causal_attention: real has shape {real.shape}, q has (B, n) = {q.shape[:2]}"
        )
    n = q.shape[1]
    allowed = np.tril(np.ones((n, n), dtype=bool)) & (real[:, None, :] | np.eye(n, dtype=bool))
    keep = None
    if rate:
        rows = np.arange(real.size).reshape(real.shape)
        keep = attention_keep(rows, rows, heads, rate, key)
    return _attend(q, k, v, allowed[:, None], heads, keep, rate)


@op("q (T d), k (T d), v (T d) -> (T d)", paper="Sec. III-B", sample=_packed_sample)
def packed_causal_attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    offsets: Array,
    heads: int = 1,
    rate: float = 0.0,
    key: Key = NO_KEY,
    slot_ids: Array | None = None,
) -> Result:
    """out_t = sum over s <= t of p_ts v_s; sequence b owns rows offsets[b] to offsets[b + 1].

    The definition is `causal_attention` once per sequence, nothing padded. `slot_ids` names the
    rows for dropout (0, 1, 2, ... by default), see `dropout.keep_mask`. They are consecutive within
    a sequence, as the slots of its items in the padded batch are; where rate > 0, others are a
    `ShapeError`, as are offsets that do not lead from 0 to T. Raises `ConfigError` for heads that
    do not divide d and for a rate that is no share.
    """
    offsets, slot_ids = _check_packed(q, offsets, heads, rate, key, slot_ids)
    names = np.arange(len(q)) if slot_ids is None else slot_ids
    y = np.empty_like(q)
    sequences = []
    for start, end in zip(offsets[:-1], offsets[1:], strict=True):
        if start == end:
            continue
        own = slice(start, end)
        n = end - start
        keep = attention_keep(names[own], names[own], heads, rate, key) if rate else None
        allowed = np.tril(np.ones((n, n), dtype=bool))
        y[own], one_backward = _attend(q[own], k[own], v[own], allowed, heads, keep, rate)
        sequences.append((own, one_backward))

    def backward(dy: Array) -> tuple[Array, ...]:
        dq, dk, dv = np.empty_like(q), np.empty_like(k), np.empty_like(v)
        for own, one_backward in sequences:
            dq[own], dk[own], dv[own] = one_backward(dy[own])
        return dq, dk, dv

    return y, backward


@packed_causal_attention.fast
def _(
    q: Array,
    k: Array,
    v: Array,
    *,
    offsets: Array,
    heads: int = 1,
    rate: float = 0.0,
    key: Key = NO_KEY,
    slot_ids: Array | None = None,
) -> Result:
    offsets, slot_ids = _check_packed(q, offsets, heads, rate, key, slot_ids)
    y, backward = _packed_fast((q, k, v), offsets, heads, rate, key, slot_ids)
    return y, lambda dy: tuple(backward(dy))


def _packed_fast(
    qkv: Sequence[Array], offsets: Array, heads: int, rate: float, key: Key, slot_ids: Array | None
) -> tuple[Array, Callable[[Array], Array]]:
    """y, and the function from dy to dq, dk, dv in one array (3 T d)."""
    q, k, v = map(np.ascontiguousarray, qkv)
    names = kernels.dropout.row_names(q, slot_ids)
    fixed = (offsets, names, heads, rate, key)
    y, *saved = kernels.attention.attention_forward(q, k, v, *fixed)

    def backward(dy: Array) -> Array:
        dy = np.ascontiguousarray(dy)
        return kernels.attention.attention_backward(dy, (q, k, v), (y, *saved), *fixed)

    return y, backward


def _stacked_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    qkv, constants = _packed_sample(draw)
    return [np.stack(qkv)], constants


@op("qkv (three T d) -> (T d)", paper="Sec. III-B", sample=_stacked_sample)
def packed_self_attention(
    qkv: Array,
    *,
    offsets: Array,
    heads: int = 1,
    rate: float = 0.0,
    key: Key = NO_KEY,
    slot_ids: Array | None = None,
) -> Result:
    """out = `packed_causal_attention` of the three parts of qkv, which are q, k and v.

    `norm_projections` returns them so, and takes their gradients so.
    """
    _check_stacked(qkv, offsets, heads, rate, key, slot_ids)
    constants = {"offsets": offsets, "heads": heads, "rate": rate, "key": key}
    y, backward = packed_causal_attention.definition(*qkv, slot_ids=slot_ids, **constants)
    return y, lambda dy: (np.stack(backward(dy)),)


@packed_self_attention.fast
def _(
    qkv: Array,
    *,
    offsets: Array,
    heads: int = 1,
    rate: float = 0.0,
    key: Key = NO_KEY,
    slot_ids: Array | None = None,
) -> Result:
    offsets, slot_ids = _check_stacked(qkv, offsets, heads, rate, key, slot_ids)
    y, backward = _packed_fast(tuple(qkv), offsets, heads, rate, key, slot_ids)
    return y, lambda dy: (backward(dy),)


def _check_stacked(
    qkv: Array, offsets: Array, heads: int, rate: float, key: Key, slot_ids: Array | None
) -> tuple[Array, Array | None]:
    if len(qkv) != 3:
        raise ShapeError(f"packed_self_attention: qkv has {len(qkv)} parts; needs q, k and v")
    name = "packed_self_attention"
    return _check_packed(qkv[0], offsets, heads, rate, key, slot_ids, name)


def _check_packed(
    q: Array,
    offsets: Array,
    heads: int,
    rate: float,
    key: Key,
    slot_ids: Array | None,
    name: str = "packed_causal_attention",
) -> tuple[Array, Array | None]:
    _check_heads(name, q.shape[-1], heads)
    offsets = check_offsets(name, offsets, len(q))
    slot_ids = check_dropout(name, q, rate, key, slot_ids)
    if rate and slot_ids is not None:
        consecutive = np.diff(slot_ids.astype(np.int64)) == 1
        starts = offsets[1:-1]
        consecutive[starts[(starts > 0) & (starts < len(q))] - 1] = True  # of another sequence
        if not consecutive.all():
            row = int(np.argmin(consecutive)) + 1
            raise ShapeError(
                f"{name}: slot_ids must rise by 1 within a sequence; row {row} has "
                f"{slot_ids[row]} after {slot_ids[row - 1]}"
            )
    return offsets, slot_ids


def _last_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    (_, k, v), constants = _packed_sample(draw)
    offsets = np.unique(constants["offsets"])  # no sequence is empty
    q = draw.normal(len(offsets) - 1, k.shape[1])
    return [q, k, v], {"offsets": offsets, "heads": constants["heads"]}


@op("q (B d), k (T d), v (T d) -> (B d)", paper="Sec. III-B", sample=_last_sample)
def packed_last_attention(
    q: Array, k: Array, v: Array, *, offsets: Array, heads: int = 1
) -> Result:
    """out_b = sum over s of p_bs v_s, s over the rows of sequence b, whose last query is q_b.

    What `packed_causal_attention` gives for the last row of each sequence, without the others.
    """
    offsets = _check_last(q, k, offsets, heads)
    y = np.empty_like(q)
    sequences = []
    for b, (start, end) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
        one, own = slice(b, b + 1), slice(start, end)
        allowed = np.ones((1, end - start), dtype=bool)
        y[one], one_backward = _attend(q[one], k[own], v[own], allowed, heads, None, 0.0)
        sequences.append((one, own, one_backward))

    def backward(dy: Array) -> tuple[Array, ...]:
        dq, dk, dv = np.empty_like(q), np.empty_like(k), np.empty_like(v)
        for one, own, one_backward in sequences:
            dq[one], dk[own], dv[own] = one_backward(dy[one])
        return dq, dk, dv

    return y, backward


@packed_last_attention.fast
def _(q: Array, k: Array, v: Array, *, offsets: Array, heads: int = 1) -> Result:
    offsets = _check_last(q, k, offsets, heads)
    q, k, v = map(np.ascontiguousarray, (q, k, v))
    y = kernels.attention.last_attention_forward(q, k, v, offsets, heads)

    def backward(dy: Array) -> tuple[Array, ...]:
        # this op serves predictions; nothing trains through it, so the definition is fast enough
        return packed_last_attention.definition(q, k, v, offsets=offsets, heads=heads)[1](dy)

    return y, backward


def _check_last(q: Array, k: Array, offsets: Array, heads: int) -> Array:
    _check_heads("packed_last_attention", q.shape[-1], heads)
    offsets = check_offsets("packed_last_attention", offsets, len(k))
    if len(offsets) - 1 != len(q) or (np.diff(offsets) == 0).any():
        raise ShapeError(
            f"packed_last_attention: {len(q)} queries need as many sequences, none of them empty; "
            f"the lengths are {np.diff(offsets)}"
        )
    return offsets


def check_offsets(name: str, offsets: Array, rows: int) -> Array:
    """`offsets` as places (intp), or a `ShapeError` unless they rise from 0 to `rows`."""
    offsets = as_array(name, offsets)
    if offsets.size and offsets.dtype.kind not in "iu":
        raise ShapeError(f"{name}: offsets must be integers, got {offsets.dtype}")
    offsets = offsets.astype(np.intp, copy=False)
    if offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or offsets[-1] != rows:
        ends = f"{offsets.flat[0]} to {offsets.flat[-1]}" if offsets.size else "empty"
        raise ShapeError(f"{name}: offsets run from 0 to the {rows} rows; these are {ends}")
    if (np.diff(offsets) < 0).any():
        raise ShapeError(f"{name}: offsets must not fall")
    return offsets
