"""Uniform sampling of items that a user has not met."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from minisasrec import kernels
from minisasrec.data.split import Split
from minisasrec.errors import DataError
from minisasrec.op import backend
from minisasrec.random import Key, random_uint32

if TYPE_CHECKING:
    from minisasrec.data.batches import Packed

Array = np.ndarray
ATTEMPTS = 64  # draws before the search goes on from the last draw, item by item


class SeenItems:
    """The items of each user's train part, sorted: `items` and `offsets` as in the data set.

    `distinct` (U) is the number of different items among them.

    Raises `DataError` if a user has met every item, since then there is no negative.
    """

    def __init__(self, split: Split) -> None:
        dataset = split.dataset
        self.num_items = dataset.num_items
        lengths = split.train_end - dataset.offsets[:-1]
        self.offsets = np.concatenate([[0], np.cumsum(lengths)])
        index = np.arange(self.offsets[-1]) + np.repeat(
            dataset.offsets[:-1] - self.offsets[:-1], lengths
        )
        user = np.repeat(np.arange(dataset.num_users), lengths)
        # (user, item) as one number: sorting it sorts the items inside every user
        keys = user * (self.num_items + 1) + dataset.items[index]
        keys.sort()
        self.items = (keys % (self.num_items + 1)).astype(np.int32)
        first = np.concatenate([[True], keys[1:] != keys[:-1]]) if len(keys) else keys.astype(bool)
        self.distinct = np.bincount(user[first], minlength=dataset.num_users)
        if self.distinct.max(initial=0) >= self.num_items:
            u = int(self.distinct.argmax())
            raise DataError(
                f"{dataset.name}: user {dataset.user_ids[u]} has met all {self.num_items} items, "
                "so no negative can be drawn; drop such users or add items"
            )

    def contains(self, users: Array, items: Array) -> Array:
        """Whether each user has met the item beside it; bool, of the common shape."""
        owner = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        keys = owner * (self.num_items + 1) + self.items
        wanted = users.astype(np.int64) * (self.num_items + 1) + items
        found = np.searchsorted(keys, wanted)
        return (found < len(keys)) & (keys[np.minimum(found, len(keys) - 1)] == wanted)


def draw_items(key: Key, counter: Array, attempt: int, num_items: int) -> Array:
    """Uniform item ids in 1..num_items, one per counter.

    Counters are taken modulo 2^26, since each has `ATTEMPTS` numbers of its own among 2^32. Two
    places that far apart (in evaluation with 100 candidates: 671,089 users) draw the same items;
    each by itself is as uniform as any.
    """
    place = counter.astype(np.uint32) * np.uint32(ATTEMPTS) + np.uint32(attempt)
    word = random_uint32(key, place).astype(np.uint64)
    return 1 + ((word * np.uint64(num_items)) >> np.uint64(32)).astype(np.int32)


def sample_negatives(seen: SeenItems, users: Array, inputs: Packed, k: int, key: Key) -> Array:
    """k uniform items per input row that its user has no train action on, int32 (T, k).

    By rejection: draw, and draw again while the user has met the item (Sec. III-E, j not in S^u).
    After `ATTEMPTS` draws the next higher item not met is taken.
    """
    if backend() == "numba":
        return kernels.sampling.sample_negatives(
            seen.items, seen.offsets, users, inputs.offsets, inputs.rows, k, seen.num_items, key
        )
    user = np.repeat(users, np.diff(inputs.offsets))[:, None]
    counter = inputs.rows[:, None] * np.uint32(k) + np.arange(k, dtype=np.uint32)
    negatives = draw_items(key, counter, 0, seen.num_items)
    for attempt in range(1, ATTEMPTS):
        met = seen.contains(user, negatives)
        if not met.any():
            return negatives
        negatives = np.where(met, draw_items(key, counter, attempt, seen.num_items), negatives)
    while (met := seen.contains(user, negatives)).any():
        negatives = np.where(met, negatives % seen.num_items + 1, negatives)
    return negatives
