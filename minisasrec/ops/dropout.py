"""Dropout, alone and with the residual connection it sits in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.arrays import as_array
from minisasrec.autograd.op import Array, Result, op
from minisasrec.autograd.signature import Draw
from minisasrec.errors import ConfigError, ShapeError
from minisasrec.random import Key, drop_threshold, make_key, random_uint32


def _sample(draw: Draw, inputs: int) -> tuple[list[Array], dict[str, Any]]:
    shape = draw.choice((draw.dim("T"),), (draw.dim("T"),), (2, draw.dim("T")), ())
    rows = math.prod(shape)
    arrays = [draw.normal(*shape, draw.dim("d")) for _ in range(inputs)]
    names = np.arange(rows) + 3
    return arrays, {
        "rate": draw.choice(0.5, 0.5, 0.2, 0),
        "key": make_key(draw.integer(0, 99)),
        "slot_ids": draw.choice(None, names, 7 * names[::-1], names.tolist()),
    }


def keep_mask(shape: tuple[int, ...], rate: float, key: Key, slot_ids: Array | None) -> Array:
    """Which elements of an array of this shape stay: a bool array.

    The element in column j of row r is dropped when the random word of counter
    `slot_ids[r] * d + j` is below rate * 2^32. `slot_ids` names the rows (0, 1, 2, ... by default):
    a packed row has the number of its slot b * n + i in the padded batch, so both layouts drop the
    same elements.
    """
    d = shape[-1]
    names = np.arange(math.prod(shape[:-1])) if slot_ids is None else np.asarray(slot_ids)
    counter = names.astype(np.uint32)[:, None] * np.uint32(d) + np.arange(d, dtype=np.uint32)
    return (random_uint32(key, counter) >= np.uint32(drop_threshold(rate))).reshape(shape)


def check_dropout(
    name: str, x: Array, rate: float, key: Key, slot_ids: Array | None
) -> Array | None:
    """The names of the rows of x (... d) as an integer array, None for 0, 1, 2, ...

    Raises `ConfigError` unless 0 <= rate < 1 and `key` is a `Key`, `ShapeError` unless `slot_ids`
    are integers, one per row.
    """
    if not isinstance(rate, int | float | np.number) or not 0 <= rate < 1:
        raise ConfigError(f"{name}: rate is {rate!r}; it is the share dropped, 0 <= rate < 1")
    if not isinstance(key, Key):
        raise ConfigError(
            f"{name}: key is {key!r}; it must be a Key: minisasrec.random.make_key(seed)"
        )
    if slot_ids is None:
        return None
    slot_ids, count = as_array(name, slot_ids), math.prod(x.shape[:-1])
    if slot_ids.shape != (count,):
        raise ShapeError(
            f"{name}: slot_ids has shape {slot_ids.shape}, x {x.shape} has {count} rows"
        )
    if count and slot_ids.dtype.kind not in "iu":
        raise ShapeError(f"{name}: slot_ids must be integers, got {slot_ids.dtype}")
    return slot_ids


@op("x (... d) -> (... d)", paper="Sec. III-C", sample=lambda draw: _sample(draw, 1))
def dropout(x: Array, *, rate: float, key: Key, slot_ids: Array | None = None) -> Result:
    """y = x * keep / (1 - rate): each element is dropped with probability `rate`.

    The others are enlarged, so that the expected value is still x and prediction needs no change.
    Raises `ConfigError` unless 0 <= rate < 1, `ShapeError` unless there is a slot id for each row.
    """
    slot_ids = check_dropout("dropout", x, rate, key, slot_ids)
    factor = x.dtype.type(1 / (1 - rate))
    y = np.where(keep_mask(x.shape, rate, key, slot_ids), x * factor, x.dtype.type(0))

    def backward(dy: Array) -> tuple[Array, ...]:
        # the mask is made again rather than kept: the key gives the same one
        return (np.where(keep_mask(dy.shape, rate, key, slot_ids), dy * factor, dy.dtype.type(0)),)

    return y, backward


@dropout.fast
def _(x: Array, *, rate: float, key: Key, slot_ids: Array | None = None) -> Result:
    slot_ids = check_dropout("dropout", x, rate, key, slot_ids)

    def drop(x: Array) -> Array:
        return kernels.dropout.dropout(x, kernels.dropout.row_names(x, slot_ids), rate, key)

    return drop(x), lambda dy: (drop(dy),)


@op("x (... d), g (... d) -> (... d)", paper="Sec. III-C", sample=lambda draw: _sample(draw, 2))
def add_dropout(
    x: Array, g: Array, *, rate: float, key: Key, slot_ids: Array | None = None
) -> Result:
    """y = x + dropout(g): the residual connection around a sub-layer whose output is g."""
    slot_ids = check_dropout("add_dropout", g, rate, key, slot_ids)
    dropped, drop_backward = dropout.definition(g, rate=rate, key=key, slot_ids=slot_ids)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy, *drop_backward(dy))

    return x + dropped, backward


@add_dropout.fast
def _(x: Array, g: Array, *, rate: float, key: Key, slot_ids: Array | None = None) -> Result:
    slot_ids = check_dropout("add_dropout", x, rate, key, slot_ids)
    names = kernels.dropout.row_names(x, slot_ids)
    y = kernels.dropout.add_dropout(x, g, names, rate, key)
    return y, lambda dy: (dy, kernels.dropout.dropout(dy, names, rate, key))
