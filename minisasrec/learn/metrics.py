"""From scores to ranks to HR@k, NDCG@k and MRR (Sec. IV-D)."""

from __future__ import annotations

import numpy as np

from minisasrec.errors import TrainingError

Array = np.ndarray


def refuse_nan(scores: Array) -> None:
    """Raise `TrainingError` if a score is NaN, which would sort like some number or other."""
    if np.isnan(scores).any():
        raise TrainingError("a score is NaN: the model has diverged; lower the learning rate")


def rank_of_first(scores: Array) -> Array:
    """The rank, 1 = best, of column 0 of `scores` (B, c) among all columns.

    Equal scores share the average of their ranks: a model that gives every item the same score
    ranks the target in the middle, not first. Raises `TrainingError` for a NaN.
    """
    refuse_nan(scores)
    target, others = scores[:, :1], scores[:, 1:]
    return 1 + (others > target).sum(axis=1) + (others == target).sum(axis=1) / 2


def hit_rate(ranks: Array, k: int = 10) -> float:
    """HR@k: the share of users whose held-out item is among the first k (Hit@k in the paper)."""
    return float(np.mean(ranks <= k))


def ndcg_by_user(ranks: Array, k: int = 10) -> Array:
    """1 / log2(rank + 1) where rank <= k, else 0: the gain of each user, one item being right."""
    return np.where(ranks <= k, 1 / np.log2(ranks + 1), 0)


def ndcg(ranks: Array, k: int = 10) -> float:
    """NDCG@k: the mean of `ndcg_by_user`."""
    return float(np.mean(ndcg_by_user(ranks, k)))


def mrr(ranks: Array) -> float:
    """Mean of 1 / rank."""
    return float(np.mean(1 / ranks))


def all_metrics(ranks: Array, k: int = 10) -> dict[str, float]:
    """The three, under the names of the tables."""
    return {f"HR@{k}": hit_rate(ranks, k), f"NDCG@{k}": ndcg(ranks, k), "MRR": mrr(ranks)}
