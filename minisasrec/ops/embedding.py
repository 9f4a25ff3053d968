"""Rows of a table by id: reading them, scoring by them, and their size."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.gradients import SparseRows
from minisasrec.autograd.op import Array, Result, check_ids, op
from minisasrec.autograd.signature import Draw
from minisasrec.errors import ShapeError


def _ids_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    rows = draw.dim("V", 2, 5)
    shape = draw.choice((2, 3), (2, 3), (6,), (), (0,), (2, 0), (1, 2, 2))  # so that some repeat
    ids = draw.ids(0, rows - 1, *shape) if rows else np.empty((2, 0), np.int64)
    ids = ids.astype(draw.choice(np.int64, np.int32, np.uint8))
    return [draw.normal(rows, draw.dim("d"))], {"ids": draw.choice(ids, ids, ids.tolist())}


def _embedding_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    args, constants = _ids_sample(draw)
    rows = len(args[0])
    return args, constants | {"padding_id": draw.choice(None, 0, rows - 1) if rows else None}


@op(
    "table (V d) -> (?)",
    paper="Sec. III-A",
    torch="F.embedding(ids, table) * (ids != (-1 if padding_id is None else padding_id))"
    "[..., None]",
    sample=_embedding_sample,
)
def embedding(table: Array, *, ids: Array, padding_id: int | None = None) -> Result:
    """y = table[ids]; `ids` of any shape (...) give y of shape (... d).

    The row of `padding_id` reads as zero and receives no gradient (the paper's constant zero
    vector for the padding item). Raises `ShapeError` for ids outside the table.
    """
    ids = _check_embedding(table, ids, padding_id)
    y = table[ids]
    if padding_id is not None:
        y = np.where((ids == padding_id)[..., None], table.dtype.type(0), y)

    def backward(dy: Array) -> tuple[Array, ...]:
        dtable = np.zeros_like(table)
        np.add.at(dtable, ids, dy)  # not dtable[ids] += dy: an id that occurs twice adds twice
        if padding_id is not None:
            dtable[padding_id] = 0
        return (dtable,)

    return y, backward


@embedding.fast
def _(table: Array, *, ids: Array, padding_id: int | None = None) -> Result:
    ids = _check_embedding(table, ids, padding_id)
    flat = ids.reshape(-1)
    pad = -1 if padding_id is None else padding_id
    y = kernels.embedding.gather(table, flat, pad)

    def backward(dy: Array) -> tuple[Any, ...]:
        rows = dy.reshape(-1, table.shape[1])
        return (SparseRows(table, rows, flat, pad),)

    return y.reshape(*ids.shape, table.shape[1]), backward


def check_padding_id(name: str, padding_id: int | None, rows: int) -> None:
    """Raise `ShapeError` unless `padding_id` is None or one of the rows of a table."""
    if padding_id is not None:
        number = isinstance(padding_id, int | np.integer) and not isinstance(padding_id, bool)
        if not number or not 0 <= padding_id < rows:
            raise ShapeError(
                f"{name}: padding_id is {padding_id!r}; it must be one of the {rows} rows of the "
                "table, counted from 0, or None"
            )


def _check_embedding(table: Array, ids: Array, padding_id: int | None) -> Array:
    check_padding_id("embedding", padding_id, len(table))
    return check_ids("embedding", ids, len(table))


def _scored_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    h, rows = draw.arguments(gather_dot.signature)
    count = draw.integer(0, 3) if len(rows) else 0
    return [h, rows], {"ids": draw.ids(0, len(rows) - 1, len(h), count)}


@op(
    "h (T d), table (V d) -> (?)",
    paper="Sec. III-D",
    torch="(h[:, None] * table[ids]).sum(-1)",
    sample=_scored_sample,
)
def gather_dot(h: Array, table: Array, *, ids: Array) -> Result:
    """y_tc = h_t . table[ids_tc]: scores of a few items per row; `ids` (T c).

    These are entries of `h @ table.T`, computed without the others. Raises `ShapeError` for ids
    outside the table, or if there is not one line of them per row of h.
    """
    ids = _check_lines(h, table, ids)
    rows = table[ids]  # (T c d)

    def backward(dy: Array) -> tuple[Array, ...]:
        dtable = np.zeros_like(table)
        np.add.at(dtable, ids, dy[..., None] * h[:, None, :])
        return np.einsum("tc,tcd->td", dy, rows), dtable

    return np.einsum("td,tcd->tc", h, rows), backward


@gather_dot.fast
def _(h: Array, table: Array, *, ids: Array) -> Result:
    ids = _check_lines(h, table, ids)
    h, table = np.ascontiguousarray(h), np.ascontiguousarray(table)
    y = kernels.embedding.gather_dot(h, table, ids)

    def backward(dy: Array) -> tuple[Any, ...]:
        # the kernel of the loss: given d loss / d score, the rest of the chain rule is the same
        slopes = np.ascontiguousarray(dy)
        dh, weights = kernels.loss.sampled_bce_backward(h, table, ids, slopes, 1.0)
        return dh, SparseRows(table, h, ids, weights=weights)

    return y, backward


def _check_lines(h: Array, table: Array, ids: Array) -> Array:
    ids = check_ids("gather_dot", ids, len(table))
    if ids.ndim != 2 or len(ids) != len(h):
        raise ShapeError(f"gather_dot: ids have shape {ids.shape}, expected ({len(h)}, c)")
    return ids


@op("table (V d) -> ()", torch="(table[ids] ** 2).sum()", sample=_ids_sample)
def squared_rows(table: Array, *, ids: Array) -> Result:
    """y = sum over ids of |table[id]|^2, an id that occurs twice counted twice: an l2 penalty.

    It shrinks the rows that a batch reads, by how often it reads them, and no others.
    Raises `ShapeError` for ids outside the table.
    """
    ids = check_ids("squared_rows", ids, len(table)).reshape(-1).astype(np.intp)
    counts = np.bincount(ids, minlength=len(table)).astype(table.dtype)
    y = counts @ np.einsum("vd,vd->v", table, table)

    def backward(dy: Array) -> tuple[Array, ...]:
        return ((2 * dy * counts)[:, None] * table,)

    return y, backward
