"""Padding that real items attend to, without computing it n times.

The public PyTorch port pads on the left and does not hide padding from attention. All padded slots
of a sequence begin as zero vectors and see nothing but padding, so they stay equal in every block.
One row can stand for them: with L real items it counts as n - L equal keys, that is, log(n - L) is
added to its score. (In training this is not exact: dropout drops other elements in each slot.)

The row is an *attention sink*: a query that matches no item can put its weight there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from minisasrec import ops
from minisasrec.autograd.tensor import Tensor
from minisasrec.data.sequences import Packed, Padded, Sequences
from minisasrec.models.layouts import attend
from minisasrec.random import Keys

Array = np.ndarray


@dataclass(frozen=True)
class PaddingShown(Packed):
    """Packed sequences; one that is shorter than n has a first row (item 0) for its padding.

    `count` (T) is n - L for such a row and 1 for the others.
    """

    count: Array


class PaddedShown(Padded):
    """Padded sequences all of whose slots take part in attention."""

    @property
    def real(self) -> Array:
        """True everywhere."""
        return np.ones(self.items.shape, dtype=bool)


def show_padding(inputs: Sequences) -> PaddingShown | PaddedShown:
    """The same sequences, with padding that attention can see."""
    if isinstance(inputs, Padded):
        return PaddedShown(inputs.items)
    lengths = np.diff(inputs.offsets)
    short = lengths < inputs.n
    before = inputs.offsets[:-1][short]  # a row goes in front of these
    items = np.insert(inputs.items, before, 0)
    count = np.insert(np.ones(len(inputs.items)), before, inputs.n - lengths[short])
    offsets = np.concatenate([[0], np.cumsum(lengths + short)])
    return PaddingShown(items, offsets, inputs.n, count)


def attend_with_padding(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: PaddingShown,
    heads: int,
    rate: float = 0.0,
    keys: Keys | None = None,
) -> Tensor:
    """Attention with log(count) added to the score of each key.

    Each head gets one more feature for it. With d' features a head,
    (a q, b) . (k, log count) / sqrt(d' + 1) = q . k / sqrt(d') + log count
    for a = sqrt((d' + 1) / d') and b = sqrt(d' + 1).
    """
    T, d = q.shape
    width = d // heads

    def widen(x: Tensor, column: Array) -> Tensor:
        column = np.broadcast_to(np.asarray(column, x.dtype).reshape(-1, 1, 1), (T, heads, 1))
        wide = ops.concatenate(x.reshape(T, heads, width), column, axis=-1)
        return wide.reshape(T, heads * (width + 1))

    q = widen(q * math.sqrt((width + 1) / width), np.full(T, math.sqrt(width + 1)))
    k, v = widen(k, np.log(inputs.count)), widen(v, np.zeros(T))
    out = attend(q, k, v, inputs, heads, rate, keys)
    return out.reshape(T, heads, width + 1)[:, :, :width].reshape(T, d)
