"""Rejection sampling of items that a user has not met."""

from __future__ import annotations

import numpy as np

from minisasrec.kernels.jit import kernel
from minisasrec.kernels.random import random_uint32
from minisasrec.kernels.team import next_task, run
from minisasrec.random import Key

USERS = 4  # sequences a task
ATTEMPTS = 64  # as in `minisasrec.data.sampling`


def sample_negatives(seen, seen_offsets, users, offsets, rows, k, num_items, key: Key):
    """k items per row that its user has not met, int32 (T, k); seen: the items of each user."""
    negatives = np.empty((offsets[-1], k), np.int32)
    words = np.uint32(key.k0), np.uint32(key.k1)
    items, batch = (seen, seen_offsets), (users, offsets, rows)
    run(_worker, -(-len(users) // USERS), items, batch, num_items, words, negatives)
    return negatives


@kernel
def _sample_rows(met, rows, first, last, num_items, words, negatives):
    """Items that are not `met`, for the rows from `first` to before `last`."""
    k, (k0, k1) = negatives.shape[1], words
    for t in range(first, last):
        for c in range(k):
            place = np.uint32(np.uint32(rows[t] * np.uint32(k)) + np.uint32(c))
            place = np.uint32(place * np.uint32(ATTEMPTS))
            item = np.int64(0)
            for attempt in range(ATTEMPTS):
                word = random_uint32(np.uint32(place + np.uint32(attempt)), k0, k1)
                item = 1 + np.int64((np.uint64(word) * np.uint64(num_items)) >> np.uint64(32))
                if not met[item]:
                    break
            while met[item]:  # ATTEMPTS draws failed: next free item
                item = item % num_items + 1
            negatives[t, c] = item


@kernel
def _worker(counter, items, batch, num_items, words, negatives):
    (seen, seen_offsets), (users, offsets, rows) = items, batch
    # the items of a user are marked while negatives for this user are drawn: to look for an item in
    # a list took ten times as long as to draw it
    met = np.zeros(num_items + 1, np.bool_)
    task = next_task(counter)
    while task >= 0:
        for b in range(task * USERS, min((task + 1) * USERS, len(users))):
            own = seen[seen_offsets[users[b]] : seen_offsets[users[b] + 1]]
            for item in own:
                met[item] = True
            _sample_rows(met, rows, offsets[b], offsets[b + 1], num_items, words, negatives)
            for item in own:
                met[item] = False
        task = next_task(counter)
