"""Ops that move, cut, join or add up elements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minisasrec.autograd.op import Array, Backward, op
from minisasrec.autograd.signature import Draw
from minisasrec.errors import ShapeError

Result = tuple[Array, Backward]


def _axis_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    x = draw.normal(draw.dim("a"), draw.dim("b"), draw.dim("c"))
    axis = [None, 0, -1, (0, 2)][draw.integer(0, 3)]
    return [x], {"axis": axis, "keepdims": bool(draw.integer(0, 1))}


def _max_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    a, b = draw.dim("a"), draw.dim("b")
    x = draw.rng.permutation(a * b).reshape(a, b) * 0.5  # distinct values: no ties to argue about
    return [x], {"axis": -1}


def _reshape_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    a, b = draw.dim("a"), draw.dim("b")
    return [draw.normal(a, b)], {"shape": (b, -1)}


def _transpose_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    x = draw.normal(draw.dim("a"), draw.dim("b"), draw.dim("c"))
    return [x], {"axes": [(), (2, 0, 1)][draw.integer(0, 1)]}


def _index_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    a = draw.dim("a")
    index = [slice(0, a, 2), (Ellipsis, -1), draw.ids(0, a - 1, 3)][draw.integer(0, 2)]
    return [draw.normal(a, draw.dim("b"))], {"index": index}


def _concatenate_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    parts = [draw.normal(2, draw.dim(name)) for name in "abc"]
    return parts, {"axis": -1}


@contextmanager
def _teach(name: str, x: Array) -> Iterator[None]:
    """NumPy's complaint about an axis or an index, with the op's name and the shape in front."""
    try:
        yield
    except (IndexError, ValueError) as error:
        raise ShapeError(f"{name}: x has shape {x.shape}: {error}") from None


def _spread(dy: Array, shape: tuple[int, ...], axis: Any, keepdims: bool) -> Array:
    """`dy` of a reduction, stretched back over the axes that were reduced."""
    if not keepdims and axis is not None:
        dy = np.expand_dims(dy, axis)
    return np.broadcast_to(dy, shape).copy()


@op("x (...) -> (?)", sample=_axis_sample)
def sum(x: Array, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Result:
    """y = sum of x over `axis` (over everything by default)."""

    def backward(dy: Array) -> tuple[Array, ...]:
        return (_spread(dy, x.shape, axis, keepdims),)

    with _teach("sum", x):
        y = np.sum(x, axis=axis, keepdims=keepdims)
    return y, backward


@op("x (...) -> (?)", sample=_axis_sample)
def mean(x: Array, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Result:
    """y = mean of x over `axis` (over everything by default)."""
    with _teach("mean", x):
        y = np.mean(x, axis=axis, keepdims=keepdims)
    count = x.dtype.type(x.size / y.size if y.size else 1)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (_spread(dy / count, x.shape, axis, keepdims),)

    return y, backward


@op("x (... n) -> (...)", sample=_max_sample)
def max(x: Array, *, axis: int = -1) -> Result:
    """y = largest element along `axis`; the first of equal ones receives the gradient."""
    with _teach("max", x):
        where = np.expand_dims(x.argmax(axis), axis)

    def backward(dy: Array) -> tuple[Array, ...]:
        dx = np.zeros_like(x)
        np.put_along_axis(dx, where, np.expand_dims(dy, axis), axis)
        return (dx,)

    return np.take_along_axis(x, where, axis).squeeze(axis), backward


@op("x (...) -> (?)", sample=_reshape_sample)
def reshape(x: Array, *, shape: tuple[int, ...]) -> Result:
    """y = the elements of x in the same order, in another shape; one length may be -1."""
    try:
        y = x.reshape(shape)
    except (TypeError, ValueError):
        raise ShapeError(f"reshape: {x.size} elements of {x.shape} do not fill {shape}") from None

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy.reshape(x.shape),)

    return y, backward


@op("x (...) -> (?)", sample=_transpose_sample)
def transpose(x: Array, *, axes: tuple[int, ...] = ()) -> Result:
    """y = x with its axes in the order `axes`; with none given the last two swap."""
    if not axes:
        if x.ndim < 2:
            raise ShapeError(f"transpose: swaps the last two axes, x has shape {x.shape}")
        axes = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy.transpose(np.argsort(axes)),)

    with _teach("transpose", x):
        y = x.transpose(axes)
    return y, backward


@op("x (...) -> (?)", sample=_index_sample)
def getitem(x: Array, *, index: Any) -> Result:
    """y = x[index], for any NumPy index; an element taken twice receives both gradients."""
    with _teach("getitem", x):
        y = x[index]

    def backward(dy: Array) -> tuple[Array, ...]:
        dx = np.zeros_like(x)
        np.add.at(dx, index, dy)  # not dx[index] += dy, which would keep only one of repeats
        return (dx,)

    return y, backward


@op("x (?)+ -> (?)", sample=_concatenate_sample)
def concatenate(*arrays: Array, axis: int = -1) -> Result:
    """y = the arrays one after another along `axis`."""
    try:
        y = np.concatenate(arrays, axis)
    except ValueError as error:
        seen = ", ".join(str(a.shape) for a in arrays)
        raise ShapeError(f"concatenate: shapes {seen} along axis {axis}: {error}") from None
    ends = np.cumsum([a.shape[axis] for a in arrays])[:-1]

    def backward(dy: Array) -> tuple[Array, ...]:
        return tuple(np.split(dy, ends, axis))

    return y, backward
