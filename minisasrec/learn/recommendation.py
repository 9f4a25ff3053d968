"""From scores to recommendations, and the one rule about items that a user has met before."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from minisasrec.data.dataset import Repeats
from minisasrec.data.sequences import Packed, pack, pack_sequences
from minisasrec.errors import ConfigError, DataError
from minisasrec.learn.metrics import refuse_nan
from minisasrec.models.base import NOBODY, Model

Array = np.ndarray
SCORES_AT_ONCE = 8_000_000  # scores that are held at a time: 32 MB of float32
ROWS_AT_ONCE = 16_384  # of histories, about: so many rows stay in the processor's last cache


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
    # Cut the row into 4 k pieces: at least k scores reach the k-th largest maximum of the pieces,
    # the k largest maxima themselves. Only scores that reach it are sorted.
    pieces = np.arange(0, ranked.shape[1], max(1, ranked.shape[1] // (4 * k)))
    least = np.partition(np.maximum.reduceat(ranked, pieces, axis=1), -k, axis=1)[:, -k]
    lists = np.zeros((len(ranked), k), np.int32)
    for row, scores, bound in zip(lists, ranked, least, strict=True):
        best = np.flatnonzero((scores >= bound) & (scores > -np.inf))
        best = best[np.argsort(-scores[best], kind="stable")[:k]]
        row[: len(best)] = best
    return lists


def recommend(
    model: Model,
    users: Array,
    histories: Packed,
    k: int,
    repeats: Literal["allow", "forbid"],
    candidates: Array | None = None,
) -> tuple[Array, Array]:
    """The k best items of B users, best first, int32 (B, k), and their scores (B, k).

    `users` are numbers, `NOBODY` for somebody unknown; `histories` are whole, oldest item first.
    `candidates` are the numbers, ascending, of the items that may be recommended, by default all.
    A list with fewer items ends with 0, whose score is -inf. So many users are scored at a time
    that memory does not grow with their number. Raises `TrainingError` for scores that are NaN,
    `DataError` for a candidate that is no item of the model.
    """
    if candidates is not None:
        candidates = np.asarray(candidates, np.intp)
        odd = candidates[(candidates < 1) | (candidates > model.num_items)]
        if len(odd):
            raise DataError(f"candidate {odd[0]} is no item of the model, 1 to {model.num_items:,}")
    k = min(k, model.num_items)
    lists = np.zeros((len(users), k), np.int32)
    scores = np.full((len(users), k), -np.inf, np.float32)
    starts, ends = histories.offsets[:-1], histories.offsets[1:]
    longest = int((ends - starts).max(initial=1))
    mean = max(1.0, float(np.minimum(ends - starts, model.n).mean())) if len(users) else 1.0
    rows = max(1, min(SCORES_AT_ONCE // (model.num_items + 1), int(ROWS_AT_ONCE / mean)))
    for start in range(0, len(users), rows):
        part = slice(start, start + rows)
        recent = pack(histories.items, starts[part], ends[part], model.n)
        everything = pack(histories.items, starts[part], ends[part], longest)
        found = model.all_scores(users[part], recent)
        refuse_nan(found[:, 1:])
        ranked = rankable(found, everything, repeats)
        if candidates is not None:
            ranked = ranked[:, np.concatenate([[0], candidates])]
        best = top_lists(ranked, k)
        width = best.shape[1]
        scores[part, :width] = np.take_along_axis(ranked, best, axis=1)
        lists[part, :width] = best if candidates is None else np.append(0, candidates)[best]
    return lists, scores


def top_items(
    model: Model,
    history: list[int],
    k: int = 10,
    *,
    user: int = NOBODY,
    repeats: Repeats = "auto",
    candidates: Array | None = None,
) -> list[int]:
    """The k best items after `history`, best first; fewer if the catalogue has no more.

    With `repeats="forbid"` the items of the history are left out, with "allow" they stay in; "auto"
    forbids unless the history itself holds an item twice. `split.repeats` is the rule of a data
    set. `user` is the user's number, for models that keep something about each user. `candidates`
    are the numbers, ascending, of the items that may come, by default all.
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
    if repeats == "auto":
        repeats = "allow" if len(set(everything.items.tolist())) < len(history) else "forbid"
    [best], _ = recommend(model, np.array([user]), everything, k, repeats, candidates)
    return [int(item) for item in best if item]
