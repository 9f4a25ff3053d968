"""Rejection sampling of items that a user has not met."""

from __future__ import annotations

import numpy as np
from numba import prange

from minisasrec.kernels._jit import kernel, parallel_kernel
from minisasrec.kernels.random import random_uint32
from minisasrec.random import Key

ATTEMPTS = 64  # as in `minisasrec.data.sampling`


def sample_negatives(seen, seen_offsets, users, offsets, rows, k, num_items, key: Key):
    """k items per row that its user has not met, int32 (T, k); seen: sorted items per user."""
    negatives = np.empty((offsets[-1], k), np.int32)
    _sample(
        seen,
        seen_offsets,
        users,
        offsets,
        rows,
        num_items,
        np.uint32(key.k0),
        np.uint32(key.k1),
        negatives,
    )
    return negatives


@kernel
def _contains(seen, start, end, item):
    low, high = start, end
    while low < high:
        middle = (low + high) // 2
        if seen[middle] < item:
            low = middle + 1
        else:
            high = middle
    return low < end and seen[low] == item


@parallel_kernel
def _sample(seen, seen_offsets, users, offsets, rows, num_items, k0, k1, negatives):
    k = negatives.shape[1]
    for b in prange(len(users)):
        start, end = seen_offsets[users[b]], seen_offsets[users[b] + 1]
        for t in range(offsets[b], offsets[b + 1]):
            for c in range(k):
                place = np.uint32(np.uint32(rows[t] * np.uint32(k)) + np.uint32(c))
                place = np.uint32(place * np.uint32(ATTEMPTS))
                item = np.int64(0)
                for attempt in range(ATTEMPTS):
                    word = random_uint32(np.uint32(place + np.uint32(attempt)), k0, k1)
                    item = 1 + np.int64((np.uint64(word) * np.uint64(num_items)) >> np.uint64(32))
                    if not _contains(seen, start, end, item):
                        break
                while _contains(seen, start, end, item):  # ATTEMPTS draws failed: next free item
                    item = item % num_items + 1
                negatives[t, c] = item
