"""Uniform sampling of negatives: items that a user has not met, or all but the target."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minisasrec import kernels
from minisasrec.backends import backend
from minisasrec.data.sequences import Packed
from minisasrec.data.split import Split
from minisasrec.errors import DataError
from minisasrec.random import Key, random_uint32

Array = np.ndarray
ATTEMPTS = 64  # draws before the search goes on from the last draw, item by item
BLOCK = 1_000_000  # actions sorted at a time


class SeenItems:
    """The items of each user's train part, sorted: `items` and `offsets` as in the data set.

    `distinct` (U) is the number of different items among them. Only these three arrays stay
    in memory; a block of users is sorted at a time.

    Raises `DataError` if a user has met every item, since then there is no negative: one of
    `users`, by default of all.
    """

    def __init__(self, split: Split, users: Array | None = None) -> None:
        dataset = split.dataset
        self.num_items = dataset.num_items
        lengths = split.train_end - dataset.offsets[:-1]
        self.offsets = np.concatenate([[0], np.cumsum(lengths)])
        self.items = np.empty(self.offsets[-1], np.int32)
        self.distinct = np.empty(dataset.num_users, np.intp)
        first = 0
        while first < dataset.num_users:
            fits = np.searchsorted(self.offsets, self.offsets[first] + BLOCK, side="right") - 1
            last = max(int(fits), first + 1)  # one user at least
            block = np.arange(first, last)
            keys = self._keys(dataset.items, dataset.offsets[block], lengths[block])
            keys.sort()  # (user, item) as one number: this sorts the items inside every user
            self.items[self.offsets[first] : self.offsets[last]] = keys % (self.num_items + 1)
            first_of_its_kind = np.diff(keys, prepend=-1) != 0
            owners = keys[first_of_its_kind] // (self.num_items + 1)
            self.distinct[block] = np.bincount(owners, minlength=len(block))
            first = last
        wanting = np.arange(dataset.num_users) if users is None else users
        if self.distinct[wanting].max(initial=0) >= self.num_items:
            u = int(wanting[self.distinct[wanting].argmax()])
            raise DataError(
                f"{dataset.name}: user {dataset.user_ids[u]} has met all {self.num_items} items, "
                "so no negative can be drawn; allow repeats (--repeats allow), or drop such users"
            )

    def _keys(self, items: Array, starts: Array, lengths: Array) -> Array:
        """i * (I + 1) + item for the items of slice i, for all slices one after the other."""
        before = np.cumsum(lengths) - lengths
        index = np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
        return np.repeat(np.arange(len(lengths)), lengths) * (self.num_items + 1) + items[index]

    def contains(self, users: Array, items: Array) -> Array:
        """Whether each user has met the item beside it; bool, of the common shape."""
        own, number = np.unique(users, return_inverse=True)
        lengths = self.offsets[own + 1] - self.offsets[own]
        keys = self._keys(self.items, self.offsets[own], lengths)
        wanted = number.reshape(users.shape) * (self.num_items + 1) + items
        if not len(keys):
            return np.zeros(wanted.shape, bool)
        found = np.searchsorted(keys, wanted)
        return (found < len(keys)) & (keys[np.minimum(found, len(keys) - 1)] == wanted)


def draw_items(key: Key, counter: Array, attempt: int, num_items: int) -> Array:
    """Uniform item ids in 1..num_items, one per counter.

    Each counter has `ATTEMPTS` = 2^6 of the 2^32 random numbers of a key, so counters are taken
    modulo 2^26. Two places that are 2^26 apart (in evaluation with 100 candidates: 671,089 users)
    draw the same items; each of the two draws is uniform all the same.
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
            seen.items, seen.offsets, users, inputs.offsets, inputs.slot_ids, k, seen.num_items, key
        )
    user = np.repeat(users, np.diff(inputs.offsets))[:, None]
    return _reject(lambda items: seen.contains(user, items), inputs, k, seen.num_items, key)


def sample_other_items(targets: Array, inputs: Packed, k: int, num_items: int, key: Key) -> Array:
    """k uniform items per input row other than its target, int32 (T, k).

    For data where users come back to items (`Split.repeats`): an item that was met is then a
    candidate like all others, so it is a negative like all others, and a user who has met the whole
    catalogue can be trained on. Raises `DataError` for a catalogue of one item.
    """
    if num_items < 2:
        raise DataError("the catalogue has one item, so no negative can be drawn; add items")
    if backend() == "numba":  # each row is a user of its own, who has met the target alone
        rows = np.arange(len(targets) + 1)
        return kernels.sampling.sample_negatives(
            targets, rows, rows[:-1], rows, inputs.slot_ids, k, num_items, key
        )
    return _reject(lambda items: items == targets[:, None], inputs, k, num_items, key)


def _reject(
    refused: Callable[[Array], Array], inputs: Packed, k: int, num_items: int, key: Key
) -> Array:
    counter = inputs.slot_ids[:, None] * np.uint32(k) + np.arange(k, dtype=np.uint32)
    negatives = draw_items(key, counter, 0, num_items)
    for attempt in range(1, ATTEMPTS):
        again = refused(negatives)
        if not again.any():
            return negatives
        negatives = np.where(again, draw_items(key, counter, attempt, num_items), negatives)
    while (again := refused(negatives)).any():
        negatives = np.where(again, negatives % num_items + 1, negatives)
    return negatives
