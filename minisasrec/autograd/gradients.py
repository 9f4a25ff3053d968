"""Gradients on their way back: sums of them, and those of a table of which few rows were used."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from minisasrec import kernels
from minisasrec.backends import backend

Array = np.ndarray
WORTH_A_KERNEL = 4096  # numbers; NumPy adds fewer of them sooner than a kernel is called


def sum_to_shape(dy: Array, shape: tuple[int, ...]) -> Array:
    """Undo broadcasting: add up `dy` over the axes along which an array of `shape` was repeated.

    Forward, `shape` was stretched to `dy.shape`; one input element fed several outputs, so its
    gradient is the sum of theirs.
    """
    if dy.shape == shape:
        return dy
    dy = dy.sum(axis=tuple(range(dy.ndim - len(shape))))
    stretched = tuple(i for i, length in enumerate(shape) if length == 1 and dy.shape[i] != 1)
    return dy.sum(axis=stretched, keepdims=True) if stretched else dy


class SparseRows:
    """The gradient of a large table of which a batch reads a few rows; a kernel may return it.

    Row ids[t, c] of the table receives weights[t, c] rows[t] (see `kernels.embedding.scatter_add`).
    The table itself is made once the walk arrives there, and once only, whoever else has read from
    it. `np.asarray` makes it for this gradient alone.
    """

    def __init__(
        self, table: Array, rows: Array, ids: Array, padding_id: int = -1, weights: Any = None
    ) -> None:
        self.shape, self.dtype = table.shape, table.dtype
        self.places = rows, ids, len(table), padding_id, weights

    def add_into(self, table: Array | None) -> Array:
        """`table`, changed in place, or a new one where there is none."""
        added: Array = kernels.embedding.scatter_add(*self.places, table)
        return added

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.add_into(None)


def add_up(gradients: Sequence[Any]) -> Array:
    """The sum of gradients of one shape, from left to right; a single one is handed on as it is.

    None of them is changed: an op may hand the same array to two parents (`add` does). Only the
    table of each `SparseRows`, which come first, is this function's own.
    """
    table = None
    for each in gradients:
        if isinstance(each, SparseRows):
            table = each.add_into(table)
    arrays = [each for each in gradients if not isinstance(each, SparseRows)]
    if table is not None:
        arrays.insert(0, table)
    if len(arrays) == 1:
        only: Array = arrays[0]
        return only
    first: Array = arrays[0]
    same_type = all(each.dtype == first.dtype for each in arrays)
    if first.size >= WORTH_A_KERNEL and same_type and backend() == "numba":
        return kernels.elementwise.add_up(arrays)
    return functools.reduce(np.add, arrays)
