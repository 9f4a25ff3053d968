"""From scores to ranks, and from ranks and lists to metrics (Sec. IV-D).

A metric is one class: its label, and its value by user or over all users. A new one is written here
and named in `METRICS`; results, tables and their columns follow.
"""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from minisasrec import kernels
from minisasrec.backends import backend
from minisasrec.errors import TrainingError

Array = np.ndarray
DIVERGED = "a score is NaN: the model has diverged; lower the learning rate"


def refuse_nan(scores: Array) -> None:
    """Raise `TrainingError` if a score is NaN, since a NaN sorts as if it were some number."""
    if np.isnan(scores).any():
        raise TrainingError(DIVERGED)


def rank_of_first(scores: Array) -> Array:
    """The rank, 1 = best, of column 0 of `scores` (B, c) among all columns.

    Equal scores share the average of their ranks: a model that gives every item the same score
    ranks the target in the middle, not first. Raises `TrainingError` for a NaN.
    """
    if backend() == "numba" and scores.dtype in (np.float32, np.float64):
        ranks = kernels.ranking.rank_of_first(scores)  # one pass, where NumPy takes five
        if np.isnan(ranks).any():
            raise TrainingError(DIVERGED)
        return ranks
    refuse_nan(scores)
    target, others = scores[:, :1], scores[:, 1:]
    return 1 + (others > target).sum(axis=1) + (others == target).sum(axis=1) / 2


@dataclass(frozen=True)
class Ranking:
    """What a metric may look at.

    `ranks` (U) are those of the users' held-out items, 1 = best, infinity for an item that cannot
    be recommended. `items` (U, K), where they were kept, are the K best items of each user, best
    first, 0 where there are no more; `num_items` is the size of the catalogue. `popularity`
    (|I| + 1) is the number of train actions on each item.
    """

    ranks: Array
    items: Array | None = None
    num_items: int = 0
    popularity: Array | None = None


class Metric(ABC):
    """A number that sums a ranking up. Subclasses define `by_user`, or `over_all` itself."""

    name: ClassVar[str]
    cut_off: ClassVar[bool] = True  # whether it looks at the first k only
    needs_items: ClassVar[bool] = False

    def __init__(self, k: int = 10) -> None:
        self.k = k

    @property
    def label(self) -> str:
        """Its name in results and tables, such as HR@10."""
        return f"{self.name}@{self.k}" if self.cut_off else self.name

    def applies(self, ranking: Ranking) -> bool:
        """Whether the ranking holds what this metric looks at."""
        kept = 0 if ranking.items is None else ranking.items.shape[1]
        return not self.needs_items or kept >= min(self.k, max(ranking.num_items, 1))

    def by_user(self, ranking: Ranking) -> Array:
        """One value per user, (U)."""
        raise TypeError(f"{self.label} has one value over all users, and none per user")

    def over_all(self, ranking: Ranking) -> float:
        """The mean of `by_user`, unless a subclass says otherwise."""
        return float(np.mean(self.by_user(ranking)))


class HitRate(Metric):
    """HR@k: the share of users whose held-out item is among the first k (Hit@k in the paper)."""

    name = "HR"

    def by_user(self, ranking: Ranking) -> Array:
        """1 where rank <= k, else 0."""
        return (ranking.ranks <= self.k).astype(np.float64)


class NDCG(Metric):
    """NDCG@k: the lower a hit stands, the less it counts; one item is right, so the best is 1."""

    name = "NDCG"

    def by_user(self, ranking: Ranking) -> Array:
        """1 / log2(rank + 1) where rank <= k, else 0."""
        return np.where(ranking.ranks <= self.k, 1 / np.log2(ranking.ranks + 1), 0)


class MRR(Metric):
    """MRR: the mean reciprocal rank."""

    name = "MRR"
    cut_off = False

    def by_user(self, ranking: Ranking) -> Array:
        """1 / rank."""
        return 1 / ranking.ranks


class Coverage(Metric):
    """coverage@k: the share of the catalogue that is among the first k of at least one user.

    High HR with low coverage is a model that recommends the same few items to everybody.
    """

    name = "coverage"
    needs_items = True

    def over_all(self, ranking: Ranking) -> float:
        """Different items in the lists / items of the catalogue."""
        assert ranking.items is not None
        shown = np.unique(ranking.items[:, : self.k])
        return float((shown > 0).sum() / ranking.num_items)


class Novelty(Metric):
    """novelty@k: how rare the recommended items are, the mean of -log2 p(i) in bits.

    p(i) is the share of the train actions that are on item i, so an item is worth one bit more than
    one that is twice as popular. Source: the self-information of Zhou et al., PNAS 107(10), 2010,
    with the probability of Castells et al., Novelty and Diversity Metrics, DDR 2011. An item
    without a train action counts as if it had one, since else it would be worth infinitely much.
    """

    name = "novelty"
    needs_items = True

    def applies(self, ranking: Ranking) -> bool:
        """Whether the ranking holds lists and popularity."""
        return super().applies(ranking) and ranking.popularity is not None

    def over_all(self, ranking: Ranking) -> float:
        """The mean over all places of all lists; 0 if nothing is recommended to anybody."""
        assert ranking.items is not None and ranking.popularity is not None
        share = np.maximum(ranking.popularity, 1) / ranking.popularity.sum()
        shown = ranking.items[:, : self.k]
        shown = shown[shown > 0]
        return float(-np.log2(share[shown]).mean()) if len(shown) else 0.0


METRICS: tuple[type[Metric], ...] = (HitRate, NDCG, MRR, Coverage, Novelty)


def labels(k: int = 10) -> list[str]:
    """The names of all metrics, in the order of the tables."""
    return [metric(k).label for metric in METRICS]


def all_metrics(ranking: Ranking, k: int = 10) -> dict[str, float]:
    """Every metric that applies to the ranking, by label."""
    made = [metric(k) for metric in METRICS]
    return {metric.label: metric.over_all(ranking) for metric in made if metric.applies(ranking)}
