"""The embedding layer as one op: rows of both tables, their sum, and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.gradients import SparseRows
from minisasrec.autograd.op import Array, Result, check_ids, check_number, op
from minisasrec.autograd.signature import Draw
from minisasrec.errors import ShapeError
from minisasrec.ops.dropout import check_dropout, dropout
from minisasrec.ops.embedding import embedding
from minisasrec.random import Key, make_key


def _sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    M, P = draw.arguments(embed.signature)
    T = draw.dim("T")
    some = bool(len(M) and len(P))
    T = T if some else 0
    return [M, P], {
        "ids": draw.ids(0, max(len(M) - 1, 0), T),
        "slots": draw.ids(0, max(len(P) - 1, 0), T),
        "factor": draw.choice(1.0, 2.5),
        "rate": draw.choice(0.5, 0.2, 0),
        "key": make_key(draw.integer(0, 99)),
        "slot_ids": draw.choice(None, np.arange(T) + 3),
    }


@op("M (V d), P (n d) -> (?)", paper="Sec. III-A", sample=_sample)
def embed(
    M: Array,
    P: Array,
    *,
    ids: Array,
    slots: Array,
    factor: float,
    rate: float,
    key: Key,
    slot_ids: Array | None = None,
) -> Result:
    """y_t = Dropout(factor M[ids_t] + P[slots_t]), (T d); item 0 is padding and reads as zero.

    It is `embedding` twice, `scale`, `add` and `dropout`. Raises `ShapeError` for ids outside
    their table, or if there is not one slot per id, and what `dropout` raises.
    """
    ids, slots = _check(M, P, ids, slots, factor)
    factor = M.dtype.type(factor)
    item, item_backward = embedding.definition(M, ids=ids, padding_id=0 if len(M) else None)
    position, position_backward = embedding.definition(P, ids=slots)
    y, drop_backward = dropout.definition(
        factor * item + position, rate=rate, key=key, slot_ids=slot_ids
    )

    def backward(dy: Array) -> tuple[Array, ...]:
        (dsum,) = drop_backward(dy)
        return *item_backward(factor * dsum), *position_backward(dsum)

    return y, backward


@embed.fast
def _(
    M: Array,
    P: Array,
    *,
    ids: Array,
    slots: Array,
    factor: float,
    rate: float,
    key: Key,
    slot_ids: Array | None = None,
) -> Result:
    ids, slots = _check(M, P, ids, slots, factor)
    y = np.empty((len(ids), M.shape[1]), M.dtype)
    slot_ids = check_dropout("embed", y, rate, key, slot_ids)
    names = kernels.dropout.row_names(y, slot_ids)
    y = kernels.embedding.embed(M, P, ids, slots, 0, factor, names, rate, key)

    def backward(dy: Array) -> tuple[Any, ...]:
        dsum = kernels.dropout.dropout(dy, names, rate, key)
        factors = np.full((len(ids), 1), factor, M.dtype)
        return (
            SparseRows(M, dsum, ids[:, None], 0, weights=factors),
            SparseRows(P, dsum, slots),
        )

    return y, backward


def _check(M: Array, P: Array, ids: Array, slots: Array, factor: float) -> tuple[Array, Array]:
    check_number("embed", "factor", M, factor)
    ids, slots = check_ids("embed", ids, len(M)), check_ids("embed", slots, len(P), "slots")
    if ids.ndim != 1 or slots.shape != ids.shape:
        raise ShapeError(
            f"embed: ids have shape {ids.shape}, slots {slots.shape}; both need (T), one per row"
        )
    return ids, slots
