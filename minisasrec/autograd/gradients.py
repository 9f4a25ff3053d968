"""Gradients on their way back: sums of them, and sparse ones of a table."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from minisasrec import kernels
from minisasrec.backends import Dispatch

Array = np.ndarray


def sum_to_shape(dy: Array, shape: tuple[int, ...]) -> Array:
    """Undo broadcasting: sum `dy` over the axes along which an array of `shape` was repeated.

    In the forward pass, `shape` was stretched to `dy.shape`: one element of the input went into
    several elements of the output, so its gradient is the sum of theirs.
    """
    if dy.shape == shape:
        return dy
    dy = dy.sum(axis=tuple(range(dy.ndim - len(shape))))
    stretched = tuple(i for i, length in enumerate(shape) if length == 1 and dy.shape[i] != 1)
    return dy.sum(axis=stretched, keepdims=True) if stretched else dy


class SparseRows:
    """A sparse gradient of a table (V d): only the rows that a batch used, as (ids, rows).

    Row ids[t, c] of the table receives weights[t, c] rows[t] (see `kernels.embedding.scatter_add`).
    The kernel of an op may return one in place of an array. The full table is made only once, when
    the walk gets to it, for all gradients that have reached it. `np.asarray` makes it for this
    gradient alone.
    """

    def __init__(
        self, table: Array, rows: Array, ids: Array, padding_id: int = -1, weights: Any = None
    ) -> None:
        self.shape, self.dtype = table.shape, table.dtype
        self.rows, self.ids, self.padding_id, self.weights = rows, ids, padding_id, weights

    def add_into(self, table: Array | None) -> Array:
        """`table` with this gradient added in place, or a new table where there is none."""
        added: Array = kernels.embedding.scatter_add(
            self.rows, self.ids, self.shape[0], self.padding_id, self.weights, table
        )
        return added

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.add_into(None)


@Dispatch
def total(arrays: Sequence[Array]) -> Array:
    """The sum of arrays of one shape and type, from left to right."""
    return functools.reduce(np.add, arrays)


@total.fast(above=4096)
def _(arrays: Sequence[Array]) -> Array:
    added: Array = kernels.elementwise.add_up(arrays)
    return added


def add_up(gradients: Sequence[Any]) -> Array:
    """The sum of gradients of one shape and type; a single one is returned as it is.

    None of them is changed, because an op may send the same array to two parents (`add` does).
    """
    if len(gradients) == 1 and not isinstance(gradients[0], SparseRows):
        return gradients[0]
    table = None
    for gradient in gradients:
        if isinstance(gradient, SparseRows):
            table = gradient.add_into(table)
    arrays = [gradient for gradient in gradients if not isinstance(gradient, SparseRows)]
    if table is not None:
        arrays.insert(0, table)
    if len(arrays) == 1:
        only: Array = arrays[0]
        return only
    added: Array = total.implementation(arrays[0].size)(arrays)
    return added


class Kept:
    """The arrays that one walk has stored in `.grad`; another leaf of one gets a copy."""

    def __init__(self) -> None:
        self._by_owner: dict[int, list[Array]] = {}

    def own(self, dy: Array) -> Array:
        """`dy`, or a copy of it where another leaf has the same memory."""
        given = self._by_owner.setdefault(id(dy if dy.base is None else dy.base), [])
        if any(np.may_share_memory(dy, other) for other in given):
            return dy.copy()
        given.append(dy)
        return dy
