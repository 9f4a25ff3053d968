"""Two recommenders that need no training by gradients: popularity, and a counted Markov chain."""

from __future__ import annotations

import numpy as np

from minisasrec.data.sequences import Packed, pack
from minisasrec.data.split import Split
from minisasrec.models.base import Model

Array = np.ndarray


class Popularity(Model):
    """PopRec: an item's score is its number of train actions, the same for everyone (Sec. IV-B)."""

    n = 1
    arrays = ("counts",)

    def __init__(self, split: Split) -> None:
        self._take(split.popularity())

    def _take(self, popularity: Array) -> None:
        self.counts = popularity.astype(np.float32)
        self.num_items = len(popularity) - 1

    @classmethod
    def of_size(
        cls, num_users: int, popularity: Array, settings: None = None, seed: int = 0
    ) -> Popularity:
        """The counts as they are."""
        model = cls.__new__(cls)
        model._take(popularity)
        return model

    def all_scores(self, users: Array, histories: Packed) -> Array:
        """The counts, once per user."""
        return np.tile(self.counts, (len(users), 1))


class MarkovChain(Model):
    """A chain from item to item, by counting: what followed the last items, the newest most.

    score(j) = sum over the last L items i, newest first, of
               decay^age * count(i -> j) / count(i ->)

    plus a very small share of popularity, which orders the items that never followed.
    `count(i -> j)` is how often j came right after i in a train sequence.
    """

    n, decay = 3, 0.5
    arrays = ("next_item", "share", "starts", "trace")

    def __init__(self, split: Split, length: int = 3, decay: float = 0.5) -> None:
        dataset = split.dataset
        self.num_items, self.n, self.decay = dataset.num_items, length, decay
        train = pack(
            dataset.items,
            dataset.offsets[:-1],
            split.train_end,
            int(np.diff(dataset.offsets).max()),
        )
        inside = np.ones(len(train.items), dtype=bool)
        inside[train.offsets[:-1][np.diff(train.offsets) > 0]] = False  # first items follow nothing
        after = train.items[inside].astype(np.int64)
        before = train.items[np.flatnonzero(inside) - 1].astype(np.int64)
        pairs, counts = np.unique(before * (self.num_items + 1) + after, return_counts=True)
        first = pairs // (self.num_items + 1)
        self.next_item = (pairs % (self.num_items + 1)).astype(np.int32)
        self.share = counts / np.bincount(before, minlength=self.num_items + 1)[first]
        self.starts = np.searchsorted(first, np.arange(self.num_items + 2))
        popularity = split.popularity()
        self.trace = 1e-6 * popularity / popularity.max()

    @classmethod
    def for_split(cls, split: Split, settings: None = None, seed: int = 0) -> MarkovChain:
        """Count the train part."""
        return cls(split)

    @classmethod
    def of_size(
        cls, num_users: int, popularity: Array, settings: None = None, seed: int = 0
    ) -> MarkovChain:
        """A chain that is still empty, for `load_state`."""
        model = cls.__new__(cls)
        model.num_items = len(popularity) - 1
        return model

    def all_scores(self, users: Array, histories: Packed) -> Array:
        """The formula of the class, (B, |I| + 1)."""
        scores = np.tile(self.trace, (len(users), 1))
        for b, (start, end) in enumerate(
            zip(histories.offsets[:-1], histories.offsets[1:], strict=True)
        ):
            for age, item in enumerate(histories.items[start:end][::-1]):
                follow = slice(self.starts[item], self.starts[item + 1])
                scores[b, self.next_item[follow]] += self.decay**age * self.share[follow]
        return scores
