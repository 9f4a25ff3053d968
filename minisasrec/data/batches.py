"""The batches that training draws (Sec. III-E)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from minisasrec.data.sampling import SeenItems, sample_negatives, sample_other_items
from minisasrec.data.sequences import Padded, Sequences, pack
from minisasrec.data.split import Split
from minisasrec.errors import ConfigError, DataError
from minisasrec.random import make_key, random_uint32

Array = np.ndarray
Order = Literal["every-user", "with-replacement"]


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
    left out. Negatives are uniform over the items the user has no train action on (Sec. III-E, j
    not in S^u) or, where repeats are allowed (`Split.repeats`), over all items but the target.

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
        self.seen = SeenItems(split) if split.repeats == "forbid" else None

    def __len__(self) -> int:
        """Batches in an epoch."""
        if self.order == "with-replacement":
            return max(self.split.dataset.num_users // self.batch_size, 1)
        return -(-len(self.users) // self.batch_size)

    def epoch_users(self, epoch: int) -> Array:
        """The users of an epoch in the order of their visit."""
        key = make_key(self.seed, "order", epoch)
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
        key = make_key(self.seed, "negatives", step)
        k, num_items = self.negatives, self.split.dataset.num_items
        if self.seen is None:
            negatives = sample_other_items(targets, inputs, k, num_items, key)
        else:
            negatives = sample_negatives(self.seen, users, inputs, k, key)
        return Batch(inputs, targets, negatives, users)
