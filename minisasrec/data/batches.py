"""Sequences in two layouts, and the batches that training draws.

The paper pads: sequence s becomes exactly n slots, items on the right and padding on the left
(Sec. III-A). Real sequences are shorter than n: on ML-1M half of the slots are padding, on Games
nine tenths. The packed layout keeps the T real rows only, one sequence after another, and
`offsets` says where each begins. Slot i of sequence b has the same name, b * n + i, in both, and
the same learned position i, so the two give the same numbers at every real item.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from minisasrec.data.sampling import SeenItems, sample_negatives
from minisasrec.data.split import Split
from minisasrec.errors import ConfigError, DataError
from minisasrec.random import make_key, random_uint32

Array = np.ndarray
Order = Literal["every-user", "with-replacement"]

SHUFFLE, NEGATIVES = -1, 0  # streams of random numbers; dropout uses 1, 2, 3, ...


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
    def rows(self) -> Array:
        """The name b * n + slot of each row, (T)."""
        sequence = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        return (sequence * self.n + self.slots).astype(np.uint32)

    @property
    def last(self) -> Array:
        """The row of each sequence's last item, (B)."""
        return self.offsets[1:] - 1

    def pad(self, values: Array | None = None) -> Array:
        """`values` (T, ...), by default the items, in the padded layout (B, n, ...), else 0."""
        values = self.items if values is None else values
        padded = np.zeros(((len(self.offsets) - 1) * self.n, *values.shape[1:]), values.dtype)
        padded[self.rows] = values
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
    def rows(self) -> Array:
        """The name b * n + slot of each entry, (B * n)."""
        return np.arange(self.items.size, dtype=np.uint32)


Sequences = Packed | Padded


def pack(items: Array, starts: Array, ends: Array, n: int) -> Packed:
    """The last n items of each slice items[start:end], packed."""
    lengths = np.minimum(ends - starts, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    index = np.repeat(ends - offsets[1:], lengths) + np.arange(offsets[-1])
    return Packed(items[index], offsets, n)


def pack_sequences(sequences: Sequence[Sequence[int] | Array], n: int) -> Packed:
    """Item ids given as lists, the last n of each, packed. Raises `DataError` for an empty one."""
    arrays = [np.asarray(s, dtype=np.int32) for s in sequences]
    if not arrays or any(a.ndim != 1 or len(a) == 0 for a in arrays):
        raise DataError("a sequence needs at least one item; got an empty one")
    ends = np.cumsum([len(a) for a in arrays])
    return pack(np.concatenate(arrays), ends - [len(a) for a in arrays], ends, n)


@dataclass(frozen=True)
class Batch:
    """One training step: inputs, and per input row its target and k sampled negatives.

    In the packed layout `targets` is (T) and `negatives` (T, k); padded they are (B, n) and
    (B, n, k), with target 0 where the input is padding. `users` (B) are the users' numbers.
    """

    inputs: Sequences
    targets: Array
    negatives: Array
    users: Array

    def padded(self) -> Batch:
        """The same batch in the paper's layout."""
        if isinstance(self.inputs, Padded):
            return self
        pad = self.inputs.pad
        return Batch(self.inputs.padded(), pad(self.targets), pad(self.negatives), self.users)


class TrainingBatches:
    """Batches of (input, target, negatives) over the train part of a split.

    A user's row is the last n + 1 train items: all but the last are the input, all but the first
    the target (shifted by one, Sec. III-E). Users with a single train item have no target and are
    left out. Negatives are uniform over the items the user has no train action on.

    `order="every-user"` visits each user once an epoch, in a new order each time.
    `order="with-replacement"` draws users as the authors' sampler does: an epoch is
    U // batch_size batches of users drawn independently.

    Everything follows from (seed, epoch, step), so any epoch can be made again.
    """

    def __init__(
        self,
        split: Split,
        *,
        n: int,
        batch_size: int = 128,
        negatives: int = 1,
        seed: int = 0,
        order: Order = "every-user",
    ) -> None:
        if order not in ("every-user", "with-replacement"):
            raise ConfigError(f"order is {order!r}; choose every-user or with-replacement")
        self.split, self.n, self.batch_size = split, n, batch_size
        self.negatives, self.seed, self.order = negatives, seed, order
        self.items = split.dataset.items
        self.starts, self.ends = split.dataset.offsets[:-1], split.train_end
        self.users = np.flatnonzero(self.ends - self.starts >= 2)
        if not len(self.users):
            raise DataError(
                f"{split.dataset.name}: no user has two train actions, so there is nothing to "
                "learn from; are the actions grouped under the right user column?"
            )
        self.seen = SeenItems(split)

    def __len__(self) -> int:
        """Batches in an epoch."""
        if self.order == "with-replacement":
            return max(self.split.dataset.num_users // self.batch_size, 1)
        return -(-len(self.users) // self.batch_size)

    def epoch_users(self, epoch: int) -> Array:
        """The users of an epoch in the order of their visit."""
        key = make_key(self.seed, epoch, SHUFFLE)
        if self.order == "with-replacement":
            word = random_uint32(key, np.arange(len(self) * self.batch_size)).astype(np.uint64)
            return self.users[(word * np.uint64(len(self.users))) >> np.uint64(32)]
        return self.users[np.argsort(random_uint32(key, self.users), kind="stable")]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of epoch 0, 1, 2, ..."""
        users = self.epoch_users(epoch)
        for i in range(len(self)):
            yield self.batch(
                users[i * self.batch_size : (i + 1) * self.batch_size], epoch * len(self) + i
            )

    def batch(self, users: Array, step: int) -> Batch:
        """The batch of these users at this step."""
        starts, ends = self.starts[users], self.ends[users]
        inputs = pack(self.items, starts, ends - 1, self.n)
        targets = pack(self.items, starts + 1, ends, self.n).items
        key = make_key(self.seed, step, NEGATIVES)
        negatives = sample_negatives(self.seen, users, inputs, self.negatives, key)
        return Batch(inputs, targets, negatives, users)
