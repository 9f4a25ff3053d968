"""Ops that move, cut, join or add up elements."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from minisasrec.autograd.op import Array, Result, op
from minisasrec.autograd.signature import Draw
from minisasrec.errors import ShapeError

Axis = int | Sequence[int] | None


def _some_shape(draw: Draw, least: int = 0) -> tuple[int, ...]:
    return tuple(draw.dim(name) for name in "abc"[: draw.integer(least, 3)])


def _some_axis(draw: Draw, ndim: int) -> Axis:
    """No axis, one of them or several, counted from the front or from the back."""
    axes = [axis - ndim * draw.integer(0, 1) for axis in range(ndim)]
    one = axes[draw.integer(0, ndim - 1)] if ndim else None
    return draw.choice(None, one, one, tuple(axes[::2]), axes[1:])


def _axis_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    x = draw.normal(*_some_shape(draw))
    return [x], {"axis": _some_axis(draw, x.ndim), "keepdims": bool(draw.integer(0, 1))}


def _max_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    (x,), constants = _axis_sample(draw)
    # distinct values: with ties there is more than one right gradient
    return [draw.rng.permutation(x.size).reshape(x.shape) * 0.5], constants


def _reshape_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    a, b = draw.dim("a"), draw.dim("b")
    x = draw.normal(*draw.choice((a, b), (a * b,), (b, 1, a)))
    return [x], {
        "shape": draw.choice((b, a), (a * b,), [1, b, a], a * b, *[(b, -1), -1] * (x.size > 0))
    }


def _transpose_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    x = draw.normal(*_some_shape(draw, least=1))
    axes = tuple(int(axis) for axis in draw.rng.permutation(x.ndim))
    axes = tuple(axis - x.ndim * draw.integer(0, 1) for axis in axes)
    return [x], {"axes": draw.choice(axes, list(axes), () if x.ndim > 1 else axes)}


def _index_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    a, b, c = draw.dim("a"), draw.dim("b"), draw.dim("c")
    x = draw.normal(a, b, c)
    flags = np.arange(a) % 2 == 0
    anything = [
        (), None, slice(0, a, 2), slice(None, None, -1), slice(-1, None, -2), slice(1, 1),
        (Ellipsis, slice(1, None)), (slice(None), None, slice(None, 1)), flags, (Ellipsis, x > 0),
        x > 0, (flags, slice(None, None, 2)), flags.tolist(), [], (None, Ellipsis, None),
    ]  # fmt: skip
    if x.size:
        rows, columns = draw.ids(-a, a - 1, 3), draw.ids(0, b - 1, 2, 1)
        anything += [
            -1, np.int64(0), (0, -1, 0), (Ellipsis, -1), rows, rows[:2].tolist(), rows[:1],
            (rows[:2], columns), (slice(None), columns), (rows, slice(None), draw.ids(0, c - 1, 3)),
            (0, slice(None), [0, 0, -1]), (None, rows), (np.ones(a, bool), 0), rows.reshape(1, 3),
        ]  # fmt: skip
    return [x], {"index": draw.choice(*anything)}


def _concatenate_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    shape = _some_shape(draw, least=1)
    axis = draw.integer(0, len(shape) - 1)
    lengths = [draw.dim(name) for name in "pqr"[: draw.integer(1, 3)]]
    parts = [draw.normal(*shape[:axis], length, *shape[axis + 1 :]) for length in lengths]
    return parts, {"axis": axis - len(shape) * draw.integer(0, 1)}


@contextmanager
def _as_shape_error(name: str, x: Array) -> Iterator[None]:
    """NumPy's complaint about an axis or an index, with the op's name and the shape before it."""
    try:
        yield
    except (IndexError, TypeError, ValueError) as error:
        raise ShapeError(f"{name}: x has shape {x.shape}: {error}") from None


def _axes(name: str, x: Array, axis: Axis) -> tuple[int, ...]:
    """The axes that `axis` names, each counted from 0 on; None names all of them."""
    if axis is None:
        return tuple(range(x.ndim))
    with _as_shape_error(name, x):
        named: Any = [axis] if np.ndim(axis) == 0 else axis  # a list, a tuple or an array
        axes = [operator.index(a) for a in named]
        for a in axes:
            if not -x.ndim <= a < x.ndim:
                raise IndexError(f"axis {a} is out of bounds for array of dimension {x.ndim}")
        axes = [a % x.ndim for a in axes]
        if len(set(axes)) < len(axes):
            raise ValueError(f"axis {axis} names an axis twice")
        return tuple(axes)


def _spread(dy: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """`dy` of a reduction, stretched back over the axes that were reduced."""
    kept = [1 if axis in axes else length for axis, length in enumerate(shape)]
    return np.broadcast_to(dy.reshape(kept), shape).copy()


@op("x (...) -> (?)", sample=_axis_sample)
def sum(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Result:
    """y = sum of x over `axis` (over everything by default), which y lacks or has with length 1.

    Raises `ShapeError` for an axis that x does not have.
    """
    axes = _axes("sum", x, axis)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (_spread(dy, x.shape, axes),)

    return x.sum(axis=axes, keepdims=keepdims), backward


@op("x (...) -> (?)", sample=_axis_sample)
def mean(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Result:
    """y = mean of x over `axis` (over everything by default), shaped as by `sum`.

    Raises `ShapeError` for an axis that x does not have, and where there is nothing to average.
    """
    axes = _axes("mean", x, axis)
    count = x.dtype.type(math.prod(x.shape[i] for i in axes))
    if not count:
        raise ShapeError(f"mean: x has shape {x.shape}, there is no mean of nothing")

    def backward(dy: Array) -> tuple[Array, ...]:
        return (_spread(dy / count, x.shape, axes),)

    return x.mean(axis=axes, keepdims=keepdims), backward


@op("x (...) -> (?)", sample=_max_sample)
def max(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Result:
    """y = largest element of x along `axis` (of all by default).

    The first of equal ones receives the gradient. y has the shape that `sum` gives. Raises
    `ShapeError` for an axis that x does not have, and where there is no element.
    """
    axes = _axes("max", x, axis)
    others = [i for i in range(x.ndim) if i not in axes]
    front = [x.shape[i] for i in others]
    # the elements that compete with each other, side by side on the last axis
    rows = x.transpose([*others, *axes]).reshape([*front, math.prod(x.shape[i] for i in axes)])
    if not rows.shape[-1]:
        raise ShapeError(f"max: x has shape {x.shape}, there is no max of nothing")
    where = rows.argmax(axis=-1)[..., None]
    y = np.take_along_axis(rows, where, axis=-1)
    shape = [1 if i in axes else x.shape[i] for i in range(x.ndim)] if keepdims else front

    def backward(dy: Array) -> tuple[Array, ...]:
        drows = np.zeros_like(rows)
        np.put_along_axis(drows, where, dy.reshape(where.shape), axis=-1)
        dx = drows.reshape([*front, *(x.shape[i] for i in axes)])
        return (dx.transpose(np.argsort([*others, *axes])),)

    return y.reshape(shape), backward


@op("x (...) -> (?)", torch="x.reshape(shape)", sample=_reshape_sample)
def reshape(x: Array, *, shape: int | Sequence[int]) -> Result:
    """y = the elements of x in the same order, in another shape; one length may be -1.

    Raises `ShapeError` if they do not fill that shape.
    """
    try:
        y = x.reshape(shape)
        if np.min(shape, initial=0) < -1:  # NumPy takes any number below 0 for -1
            raise ValueError
    except (TypeError, ValueError):
        raise ShapeError(f"reshape: {x.size} elements of {x.shape} do not fill {shape}") from None

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy.reshape(x.shape),)

    return y, backward


@op(
    "x (...) -> (?)",
    torch="x.permute(tuple(axes)) if axes else x.transpose(-1, -2)",
    sample=_transpose_sample,
)
def transpose(x: Array, *, axes: Sequence[int] = ()) -> Result:
    """y = x with its axes in the order `axes`; with none given the last two swap.

    Raises `ShapeError` for axes that are not those of x, each once.
    """
    if axes is None or np.size(axes) == 0:
        if x.ndim < 2:
            raise ShapeError(f"transpose: swaps the last two axes, x has shape {x.shape}")
        axes = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)
    axes = _axes("transpose", x, axes)  # argsort below would put -1 before 0
    with _as_shape_error("transpose", x):
        y = x.transpose(axes)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy.transpose(np.argsort(axes)),)

    return y, backward


@op("x (...) -> (?)", sample=_index_sample)
def getitem(x: Array, *, index: Any) -> Result:
    """y = x[index], for any NumPy index; an element taken twice receives both gradients.

    Raises `ShapeError` for an index that does not fit x.
    """
    with _as_shape_error("getitem", x):
        y = x[index]

    def backward(dy: Array) -> tuple[Array, ...]:
        dx = np.zeros_like(x)
        np.add.at(dx, index, dy)  # not dx[index] += dy, which would keep only one of repeats
        return (dx,)

    return y, backward


@op("x (?)+ -> (?)", torch="torch.cat(x, dim=axis)", sample=_concatenate_sample)
def concatenate(*arrays: Array, axis: int = 0) -> Result:
    """y = the arrays one after another along `axis`; they may be given as one list, too.

    Raises `ShapeError` unless they agree on all other axes.
    """
    seen = ", ".join(str(a.shape) for a in arrays)
    try:
        y = np.concatenate(arrays, axis)
        ends = np.cumsum([a.shape[axis] for a in arrays])[:-1]
    except (TypeError, ValueError) as error:
        raise ShapeError(f"concatenate: shapes {seen} along axis {axis}: {error}") from None

    def backward(dy: Array) -> tuple[Array, ...]:
        return tuple(np.split(dy, ends, axis))

    return y, backward
