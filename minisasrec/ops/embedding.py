"""Embedding: rows of a table by id."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec import kernels
from minisasrec.op import Array, Backward, check_ids, op
from minisasrec.signature import Draw

Result = tuple[Array, Backward]


def _sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    rows = draw.dim("V", 2, 5)
    padding = [None, 0][draw.integer(0, 1)]
    ids = draw.ids(0, rows - 1, 2, 3)  # six ids, so that some repeat
    return [draw.normal(rows, draw.dim("d"))], {"ids": ids, "padding_id": padding}


@op("table (V d) -> (?)", paper="Sec. III-A", sample=_sample)
def embedding(table: Array, *, ids: Array, padding_id: int | None = None) -> Result:
    """y = table[ids]; `ids` of any shape (...) give y of shape (... d).

    The row of `padding_id` reads as zero and receives no gradient (the paper's constant zero
    vector for the padding item). Raises `ShapeError` for ids outside the table.
    """
    ids = check_ids("embedding", ids, len(table))
    y = table[ids]
    if padding_id is not None:
        y[ids == padding_id] = 0

    def backward(dy: Array) -> tuple[Array, ...]:
        dtable = np.zeros_like(table)
        np.add.at(dtable, ids, dy)  # not dtable[ids] += dy: an id that occurs twice adds twice
        if padding_id is not None:
            dtable[padding_id] = 0
        return (dtable,)

    return y, backward


@embedding.fast
def _(table: Array, *, ids: Array, padding_id: int | None = None) -> Result:
    ids = check_ids("embedding", ids, len(table))
    flat = ids.reshape(-1)
    pad = -1 if padding_id is None else padding_id
    y = kernels.embedding.gather(table, flat, pad)

    def backward(dy: Array) -> tuple[Array, ...]:
        rows = dy.reshape(-1, table.shape[1])
        return (kernels.embedding.scatter_add(rows, flat, len(table), pad),)

    return y.reshape(*ids.shape, table.shape[1]), backward
