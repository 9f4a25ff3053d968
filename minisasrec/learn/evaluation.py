"""Evaluation: rank each user's held-out item, among 100 sampled ones or among all (Sec. IV-D).

Three protocols:

sampled   the paper's idea: the target against 100 uniform items that the user has never met.
          Distinct, drawn once per user from the seed, so every model ranks the same candidates.
full      the target against the whole catalogue without what the user met before. Sampled
          metrics can order models differently from this one (Krichene & Rendle, KDD 2020).
authors   what the authors' released code does, flaws included, to compare with published
          numbers: candidates are drawn with replacement and avoid the train items only, so the
          validation item or the target itself may be among them; they are drawn anew at every
          call; ties fall as an unstable sort leaves them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from minisasrec.data.sampling import SeenItems, draw_items
from minisasrec.data.sequences import Packed, pack
from minisasrec.data.split import Part, Split
from minisasrec.errors import ConfigError, DataError
from minisasrec.kernels.chooser import ThreadChooser
from minisasrec.learn import metrics
from minisasrec.models.base import Recommender
from minisasrec.random import make_key, random_uint32

Array = np.ndarray
Protocol = Literal["sampled", "full", "authors"]
PROTOCOLS = ("sampled", "full", "authors")

NEGATIVES = 100  # sampled candidates beside the target (Sec. IV-D)
USERS, CANDIDATES = -2, -3  # streams of random numbers
SCORES_AT_ONCE = 8_000_000  # of the full protocol: 32 MB of float32
ROWS_AT_ONCE = 16_384  # of histories, about: arrays of as many rows stay in the last cache


@dataclass(frozen=True)
class Evaluation:
    """The ranks of the held-out items of `users`, and what they amount to."""

    protocol: Protocol
    part: Part
    users: Array
    ranks: Array
    candidates: int

    def metrics(self, k: int = 10) -> dict[str, float]:
        """HR@k, NDCG@k and MRR."""
        return metrics.all_metrics(self.ranks, k)


class Evaluator:
    """Ranks held-out items; candidates are drawn once and kept for the next model.

    `max_users` users are taken at random where there are more (0 = all; the paper takes 10,000),
    `negatives` is the number of sampled candidates beside the target. At most `batch_size` users
    are ranked at a time, fewer if their histories are long.
    """

    def __init__(
        self,
        split: Split,
        part: Part = "valid",
        protocol: Protocol = "sampled",
        *,
        negatives: int = NEGATIVES,
        max_users: int = 10_000,
        seed: int = 0,
        batch_size: int = 512,
    ) -> None:
        if protocol not in PROTOCOLS:
            raise ConfigError(f"protocol is {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
        self.split, self.part, self.protocol = split, part, protocol
        self.negatives, self.seed, self.batch_size = negatives, seed, batch_size
        self.users = split.eval_users(part)
        if not len(self.users):
            raise DataError(
                f"{split.dataset.name}: no user has three actions, so there is nothing to evaluate"
            )
        if max_users and len(self.users) > max_users:
            order = random_uint32(make_key(seed, USERS), self.users)
            self.users = np.sort(self.users[np.argsort(order, kind="stable")[:max_users]])
        self.calls = 0
        self.chooser = ThreadChooser(first=1, block=1, blocks=6, period=256)  # there are few steps
        if protocol == "sampled":
            self.candidates = self._sample()

    def __call__(self, model: Recommender) -> Evaluation:
        """Rank with `model`."""
        self.calls += 1
        if self.protocol == "authors":
            self.candidates = self._sample_as_the_authors()
        ranks = np.empty(len(self.users))
        for part in self.chooser.over(self._batches(model.n), lambda part: len(self.users[part])):
            users = self.users[part]
            histories = self.histories(users, model.n)
            if self.protocol == "full":
                ranks[part] = self._rank_all(model, users, histories)
                continue
            scores = model.candidate_scores(users, histories, self.candidates[part])
            if self.protocol == "authors":
                metrics.refuse_nan(scores)
                ranks[part] = 1 + (-scores).argsort(axis=1).argsort(axis=1)[:, 0]
            else:
                ranks[part] = metrics.rank_of_first(scores)
        size = self.split.dataset.num_items if self.protocol == "full" else 1 + self.negatives
        return Evaluation(self.protocol, self.part, self.users, ranks, size)

    def histories(self, users: Array, n: int) -> Packed:
        """What the model sees: the train items; for the test part the validation item, too."""
        items, starts, ends = self._history_slices(users)
        return pack(items, starts, ends, n)

    def _history_slices(self, users: Array) -> tuple[Array, Array, Array]:
        ends = self.split.train_end[users] + (self.part == "test")
        return self.split.dataset.items, self.split.dataset.offsets[users], ends

    def _batches(self, n: int) -> Iterator[slice]:
        _, starts, ends = self._history_slices(self.users)
        mean = np.minimum(ends - starts, n).mean()
        size = max(1, min(self.batch_size, int(ROWS_AT_ONCE / mean)))
        if self.protocol == "full":
            size = max(1, min(size, SCORES_AT_ONCE // self.split.dataset.num_items))
        return (slice(i, i + size) for i in range(0, len(self.users), size))

    def _rank_all(self, model: Recommender, users: Array, histories: Packed) -> Array:
        scores = model.all_scores(users, histories)
        items, starts, ends = self._history_slices(users)
        met = pack(items, starts, ends, int((ends - starts).max()))
        row = np.repeat(np.arange(len(users)), np.diff(met.offsets))
        targets = self.split.targets(self.part)[users]
        target_scores = np.take_along_axis(scores, targets[:, None], axis=1)
        # a new array (the model may keep its own), with the target in the column of the padding
        ranked = np.concatenate([target_scores, scores[:, 1:]], axis=1)
        ranked[row, met.items] = -np.inf  # what the user has met is not ranked
        ranked[np.arange(len(users)), targets] = -np.inf  # the target is in column 0 already
        return metrics.rank_of_first(ranked)

    def _sample(self) -> Array:
        """Target and distinct unmet items for each user, int32 (users, 1 + negatives)."""
        dataset, users = self.split.dataset, self.users
        everything = Split(  # "met" covers the held-out items too: the train part is all there is
            dataset,
            dataset.offsets[1:],
            np.zeros_like(self.split.valid),
            np.zeros_like(self.split.test),
        )
        seen = SeenItems(everything)
        unmet = dataset.num_items - int(seen.distinct[users].max())
        if unmet < self.negatives:
            raise ConfigError(
                f"{dataset.name}: {self.negatives} negatives asked for, but a user has met all but "
                f"{unmet} of {dataset.num_items} items; evaluate with the full protocol"
            )
        key = make_key(self.seed, CANDIDATES)
        slots = np.arange(self.negatives)
        counter = users[:, None] * self.negatives + slots
        drawn = draw_items(key, counter, 0, dataset.num_items)
        for attempt in range(1, 2**20):  # every round redraws a small share of what is left
            again = seen.contains(users[:, None], drawn) | _repeats(drawn)
            rows = np.flatnonzero(again.any(axis=1))
            if not len(rows):
                break
            fresh = draw_items(
                make_key(self.seed, CANDIDATES, attempt), counter[rows], 0, dataset.num_items
            )
            drawn[rows] = np.where(again[rows], fresh, drawn[rows])
        return np.concatenate([self.split.targets(self.part)[users][:, None], drawn], axis=1)

    def _sample_as_the_authors(self) -> Array:
        """Target and items without a train action, with replacement, new ones at every call."""
        seen, users = SeenItems(self.split), self.users
        counter = users[:, None] * self.negatives + np.arange(self.negatives)
        key = make_key(self.seed, CANDIDATES, self.calls)
        drawn = draw_items(key, counter, 0, self.split.dataset.num_items)
        for attempt in range(1, 2**20):
            met = seen.contains(users[:, None], drawn)
            if not met.any():
                break
            key = make_key(self.seed, CANDIDATES, self.calls, attempt)
            drawn = np.where(met, draw_items(key, counter, 0, self.split.dataset.num_items), drawn)
        return np.concatenate([self.split.targets(self.part)[users][:, None], drawn], axis=1)


def unmet_items(split: Split) -> int:
    """How many items the user who has met most of them has not met."""
    dataset = split.dataset
    lengths = np.diff(dataset.offsets)
    fewest = dataset.num_items - int(lengths.max())
    if fewest >= NEGATIVES:  # even if nothing was repeated: no need to look
        return fewest
    many = np.flatnonzero(dataset.num_items - lengths < NEGATIVES)
    return dataset.num_items - max(len(np.unique(dataset.sequence(int(u)))) for u in many)


def usual_protocols(split: Split) -> tuple[Protocol, ...]:
    """Both, or only the full one where a user has met too many of the items to sample from."""
    return ("sampled", "full") if unmet_items(split) >= NEGATIVES else ("full",)


def _repeats(rows: Array) -> Array:
    """True where an element occurred further left in its row."""
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    repeated = np.zeros(rows.shape, dtype=bool)
    repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    result = np.empty_like(repeated)
    np.put_along_axis(result, order, repeated, axis=1)
    return result


def evaluate(
    model: Recommender,
    split: Split,
    part: Part = "test",
    protocol: Protocol = "sampled",
    *,
    seed: int = 0,
    max_users: int = 10_000,
) -> Evaluation:
    """Rank the held-out items of `part` once; see `Evaluator` for more than one model."""
    return Evaluator(split, part, protocol, seed=seed, max_users=max_users)(model)
