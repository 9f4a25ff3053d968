"""Recommenders that need no training by gradients: popularity, and a counted Markov chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from minisasrec.data.sequences import Packed, pack
from minisasrec.data.split import Split, times_of, units_per_day
from minisasrec.errors import ConfigError, DataError
from minisasrec.models.base import Model
from minisasrec.models.ranges import check_numbers

Array = np.ndarray


class Popularity(Model):
    """PopRec: an item's score is its number of train actions, the same for everyone (Sec. IV-B)."""

    n = 1
    arrays: ClassVar[tuple[str, ...]] = ("counts",)

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


@dataclass(frozen=True)
class RecentConfig:
    """Settings of recentpop."""

    days: float | None = None
    """Days before the end of the train part that count; by default 1, 7, 30, 90 or 365, whichever
    validates best."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a window that is not above 0."""
        check_numbers(self)
        if self.days is not None and not self.days > 0:
            raise ConfigError(f"--days is {self.days}; it must be above 0")


class RecentPopularity(Popularity):
    """Popularity of the last days: an item's score is its number of train actions in a window.

    score(i) = train actions on i in the last `days` before the latest train action
               + a share below 1 of all train actions, which orders the items without a recent one

    What is popular changes, so this is the baseline of a split by time (Ji et al., A Re-visit of
    the Popularity Baseline in Recommender Systems, SIGIR 2020). Raises `DataError` for data without
    times, or with times that are no dates.
    """

    WINDOWS: ClassVar[tuple[float, ...]] = (1.0, 7.0, 30.0, 90.0, 365.0)
    arrays = ("counts", "window")

    def __init__(self, split: Split, days: float) -> None:
        super().__init__(split)
        self.window = np.array([days], np.float64)
        times, offsets = times_of(split.dataset), split.dataset.offsets
        day = units_per_day(times)
        if day is None:
            raise DataError(
                f"{split.dataset.name}: the times run from {times.min():g} to {times.max():g}: "
                "these are no dates, so nobody knows how long a day is; recentpop needs seconds "
                "since 1970, or dates"
            )
        trained = split.train_end > offsets[:-1]
        latest = times[split.train_end[trained] - 1].max()
        recent = split.popularity(since=latest - days * day)
        self.counts = (recent + self.counts / (1 + self.counts.sum())).astype(np.float64)

    @property
    def days(self) -> float:
        """How many days count."""
        return float(self.window[0])

    @classmethod
    def for_split(
        cls, split: Split, settings: RecentConfig | None = None, seed: int = 0
    ) -> RecentPopularity:
        """Count the window, or the one of `WINDOWS` with the best NDCG@10 on the validation part.

        All users get the same list of the whole catalogue; what a user has met is not taken out.
        """
        if settings is not None and settings.days is not None:
            return cls(split, settings.days)
        return max((cls(split, days) for days in cls.WINDOWS), key=lambda m: m._gain(split))

    def _gain(self, split: Split) -> float:
        """The sum of NDCG@10 over users, on the validation part; equal scores share ranks.

        As in every ranking here, a target that is not in the catalogue is a miss.
        """
        order = np.sort(self.counts[split.catalogue])
        scores = self.counts[split.valid[(split.valid > 0) & split.catalogue[split.valid]]]
        above = len(order) - np.searchsorted(order, scores, side="right")
        equal = np.searchsorted(order, scores, side="right") - np.searchsorted(order, scores) - 1
        ranks = 1 + above + equal / 2
        return float(np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0).sum())


class MarkovChain(Model):
    """A chain from item to item, by counting: what followed the last items, the newest most.

    score(j) = sum over the last L items i, newest first, of
               decay^age * count(i -> j) / count(i ->)

    plus a very small share of popularity, which orders the items that never followed.
    `count(i -> j)` is how often j came right after i in a train sequence.
    """

    arrays = ("next_item", "share", "starts", "trace", "weights")

    def __init__(self, split: Split, length: int = 3, decay: float = 0.5) -> None:
        dataset = split.dataset
        self.num_items, self.weights = dataset.num_items, decay ** np.arange(length)
        train = pack(
            dataset.items,
            dataset.offsets[:-1],
            split.train_end,
            int(np.diff(dataset.offsets).max()),
        )
        inside = np.ones(len(train.items), dtype=bool)
        inside[train.offsets[:-1][np.diff(train.offsets) > 0]] = False  # first items follow nothing
        after = train.items[inside].astype(np.intp)
        before = train.items[np.flatnonzero(inside) - 1].astype(np.intp)
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
        model.starts = np.zeros(len(popularity) + 1, np.intp)
        model.trace = np.zeros(len(popularity))
        return model

    def load_state(self, state: Mapping[str, Any]) -> None:
        """As of every model; chains that were saved before their weights were have L = 3, 1/2."""
        super().load_state({"weights": 0.5 ** np.arange(3), **state})

    @property
    def n(self) -> int:  # type: ignore[override]  # fixed with the weights
        """L, the number of last items that count."""
        return len(self.weights)

    def all_scores(self, users: Array, histories: Packed) -> Array:
        """The formula of the class, (B, |I| + 1)."""
        scores = np.tile(self.trace, (len(users), 1))
        for b, (start, end) in enumerate(
            zip(histories.offsets[:-1], histories.offsets[1:], strict=True)
        ):
            for age, item in enumerate(histories.items[start:end][::-1][: self.n]):
                follow = slice(self.starts[item], self.starts[item + 1])
                scores[b, self.next_item[follow]] += self.weights[age] * self.share[follow]
        return scores
