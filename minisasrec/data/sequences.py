"""Sequences in two layouts: padded, as in the paper, and packed, without the padding.

The paper pads: sequence s becomes exactly n slots, items on the right and padding on the left
(Sec. III-A). Real sequences are shorter than n: on ML-1M half of the slots are padding, on Games
nine tenths. The packed layout keeps the T real rows only, one sequence after another, and
`offsets` says where each begins. Slot i of sequence b has the same name, b * n + i, in both, and
the same learned position i, so the two give the same numbers at every real item.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral

import numpy as np

from minisasrec.errors import DataError

Array = np.ndarray


@dataclass(frozen=True)
class Packed:
    """B sequences as T real rows: `items` (T), `offsets` (B + 1), each at most `n` long."""

    items: Array
    offsets: Array
    n: int

    @cached_property
    def slots(self) -> Array:
        """The padded slot of each row, (T): the last item of every sequence is in slot n - 1."""
        ends = np.repeat(self.offsets[1:], np.diff(self.offsets))
        return self.n - ends + np.arange(len(self.items))

    @cached_property
    def places(self) -> Array:
        """The place of each row in its sequence, counted from its beginning, (T)."""
        return np.arange(len(self.items)) - np.repeat(self.offsets[:-1], np.diff(self.offsets))

    @cached_property
    def slot_ids(self) -> Array:
        """The name b * n + slot of each row, (T)."""
        sequence = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        return (sequence * self.n + self.slots).astype(np.uint32)

    @property
    def last(self) -> Array:
        """The row of each sequence's last item, (B). Raises `DataError` for one without items."""
        empty = np.flatnonzero(np.diff(self.offsets) == 0)
        if len(empty):
            raise DataError(f"sequence {empty[0]} is empty, so it has no last item; leave it out")
        return self.offsets[1:] - 1

    def pad(self, values: Array | None = None) -> Array:
        """`values` (T, ...), by default the items, in the padded layout (B, n, ...), else 0."""
        values = self.items if values is None else values
        padded = np.zeros(((len(self.offsets) - 1) * self.n, *values.shape[1:]), values.dtype)
        padded[self.slot_ids] = values
        return padded.reshape(-1, self.n, *values.shape[1:])

    def padded(self) -> Padded:
        """The same sequences in the paper's layout."""
        return Padded(self.pad())


@dataclass(frozen=True)
class Padded:
    """B sequences of exactly n slots, `items` (B, n), 0 where a slot holds padding."""

    items: Array

    @property
    def n(self) -> int:
        """Slots of a sequence."""
        return self.items.shape[1]

    @property
    def real(self) -> Array:
        """False where a slot holds padding, (B, n)."""
        return self.items != 0

    @property
    def slots(self) -> Array:
        """The slot of each entry, (B, n)."""
        return np.broadcast_to(np.arange(self.n), self.items.shape)

    @property
    def places(self) -> Array:
        """The place of each entry in its sequence, counted from its first item; 0 at padding."""
        return np.maximum(np.cumsum(self.real, axis=1) - 1, 0)

    @property
    def slot_ids(self) -> Array:
        """The name b * n + slot of each entry, (B * n)."""
        return np.arange(self.items.size, dtype=np.uint32)


Sequences = Packed | Padded


def pack(items: Array, starts: Array, ends: Array, n: int) -> Packed:
    """The last n items of each slice items[start:end], packed."""
    lengths = np.minimum(ends - starts, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    index = np.repeat(ends - offsets[1:], lengths) + np.arange(offsets[-1])
    return Packed(items[index], offsets, n)


def pack_sequences(
    sequences: Sequence[Sequence[int] | Array], n: int, num_items: int | None = None
) -> Packed:
    """Item ids given as lists, the last n of each, packed.

    Raises `DataError` for a sequence that is empty or holds what is no item: 0, which is padding, a
    number below 0 or, if `num_items` is given, above it, a fraction, or something else than a
    number. A whole number may be written as 5.0.
    """
    if n < 1:
        raise DataError(f"n is {n}; a sequence keeps its last n items, at least 1")
    arrays = [_item_ids(s, num_items) for s in sequences]
    if not arrays:
        raise DataError("no sequence was given; give at least one")
    ends = np.cumsum([len(a) for a in arrays])
    return pack(np.concatenate(arrays), ends - [len(a) for a in arrays], ends, n)


def _item_ids(sequence: Sequence[int] | Array, num_items: int | None) -> Array:
    """The ids as int32 (length), each of them checked."""
    try:
        values = np.asarray(sequence)
    except ValueError:  # lists of unequal lengths
        values = np.empty((0, 0))
    if values.ndim != 1:
        raise DataError(f"a sequence is a list of item ids, got {_brief(sequence)}")
    if not len(values):
        raise DataError("a sequence needs at least one item; got an empty one")
    # True among numbers would become 1, and 2**70 is no number that NumPy has
    odd = [] if isinstance(sequence, np.ndarray) else [v for v in sequence if _is_no_number(v)]
    if odd or values.dtype.kind not in "iuf":
        shown = odd[0] if odd else values[0]
        raise DataError(f"item ids are whole numbers, got {_brief(shown)} in {_brief(sequence)}")
    highest = np.iinfo(np.int32).max if num_items is None else num_items
    bad = values[~((values >= 1) & (values <= highest) & (values == np.floor(values)))]
    if not len(bad):
        return values.astype(np.int32)
    if bad[0] == 0:
        raise DataError("item 0 is padding; give the real items (lengths may differ)")
    size = "" if num_items is None else ", the size of the catalogue"
    raise DataError(f"item ids are whole numbers from 1 to {highest}{size}; got {bad[0]}")


def _is_no_number(value: object) -> bool:
    return isinstance(value, bool | np.bool_) or not isinstance(
        value, Integral | float | np.floating
    )


def _brief(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."
