"""From scores to recommendations, and the one rule about items that a user has met before."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from minisasrec.data.dataset import Repeats
from minisasrec.data.sequences import Packed, pack_sequences
from minisasrec.errors import ConfigError
from minisasrec.learn.metrics import refuse_nan
from minisasrec.models.base import NOBODY, Model

Array = np.ndarray


def rankable(scores: Array, met: Packed, repeats: Literal["allow", "forbid"]) -> Array:
    """A copy of `scores` (B, |I| + 1) with -inf for what must not be ranked or recommended.

    That is the padding item and, where repeats are forbidden (`Split.repeats`), every item that a
    user has met. `met` holds the whole histories of the B users, not only what a model looks at.
    Evaluation and recommendation both go through here, so that one measures what the other does.
    """
    ranked = np.array(scores, np.result_type(scores, np.float32))  # whole numbers have no -inf
    ranked[:, 0] = -np.inf
    if repeats == "forbid":
        user = np.repeat(np.arange(len(ranked)), np.diff(met.offsets))
        ranked[user, met.items] = -np.inf
    return ranked


def top_lists(ranked: Array, k: int) -> Array:
    """The k best items of each user, best first, int32 (B, k); 0 where there are no more.

    `ranked` (B, |I| + 1) comes from `rankable`. Of equal scores the lower item number comes first.
    """
    k = min(k, ranked.shape[1])
    # at least k scores are as good as the k-th best of the maxima of 4 k pieces of the row (each
    # maximum is one of them), so that only those few need sorting
    pieces = np.arange(0, ranked.shape[1], max(1, ranked.shape[1] // (4 * k)))
    least = np.partition(np.maximum.reduceat(ranked, pieces, axis=1), -k, axis=1)[:, -k]
    lists = np.zeros((len(ranked), k), np.int32)
    for row, scores, bound in zip(lists, ranked, least, strict=True):
        best = np.flatnonzero((scores >= bound) & (scores > -np.inf))
        best = best[np.argsort(-scores[best], kind="stable")[:k]]
        row[: len(best)] = best
    return lists


def top_items(
    model: Model,
    history: list[int],
    k: int = 10,
    *,
    user: int = NOBODY,
    repeats: Repeats = "auto",
) -> list[int]:
    """The k best items after `history`, best first; fewer if the catalogue has no more.

    With `repeats="forbid"` the items of the history are left out, with "allow" they stay in; "auto"
    forbids unless the history itself holds an item twice. `split.repeats` is the rule of a data
    set. `user` is the user's number, for models that keep something about each user.
    Raises `ConfigError` for another rule or k below 1, `DataError` for a history that is empty or
    holds what is no item of the model, `TrainingError` for scores that are NaN.
    """
    if repeats not in get_args(Repeats):
        raise ConfigError(
            f"repeats is {repeats!r}; choose one of {', '.join(get_args(Repeats))} (split.repeats "
            "is the rule of a data set)"
        )
    if k < 1:
        raise ConfigError(f"k is {k}; it must be at least 1")
    everything = pack_sequences([history], max(len(history), 1), model.num_items)
    recent = pack_sequences([history], model.n)
    if repeats == "auto":
        repeats = "allow" if len(set(everything.items.tolist())) < len(history) else "forbid"
    scores = model.all_scores(np.array([user]), recent)
    refuse_nan(scores[:, 1:])
    ranked = rankable(scores.astype(np.float64), everything, repeats)
    return [int(item) for item in top_lists(ranked, k)[0] if item]
