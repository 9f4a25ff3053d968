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

These rules hold where the data set forbids repeats (`Split.repeats`). A target that its user had
met before is then a miss in the first two, of rank infinity, since it would not be recommended; the
third keeps it, as the authors' code does. Where repeats are allowed, items met before are
candidates like all others: sampled draws from all items but the target, full ranks the whole
catalogue, authors draws from all items and lets ties share a rank. To leave met items out there
would give the target away: of all that the user has met, it would be the only candidate.

The catalogue is that of the split (`Split.catalogue`): under a split by time, items that come up
after the train part are no candidates in the first two protocols, and a target among them is a
miss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from minisasrec.data.sampling import SeenItems, draw_items
from minisasrec.data.sequences import Packed, pack
from minisasrec.data.split import Part, Split
from minisasrec.errors import ConfigError, DataError
from minisasrec.kernels.chooser import ThreadChooser
from minisasrec.learn import metrics
from minisasrec.learn.recommendation import ROWS_AT_ONCE, SCORES_AT_ONCE, rankable, top_lists
from minisasrec.models.base import Model
from minisasrec.random import make_key, random_uint32

Array = np.ndarray
Protocol = Literal["sampled", "full", "authors"]
PROTOCOLS = ("sampled", "full", "authors")

NEGATIVES = 100  # sampled candidates beside the target (Sec. IV-D)
LISTS = 10  # items of each user that final figures look at


@dataclass(frozen=True)
class Evaluation:
    """The ranks of the held-out items of `users`, and the metrics that follow.

    `items` are the best items of each user, where the evaluator was asked to keep lists.
    """

    protocol: Protocol
    part: Part
    users: Array
    ranks: Array
    candidates: int
    items: Array | None = None
    num_items: int = 0
    popularity: Array | None = None

    def metrics(self, k: int = 10) -> dict[str, float]:
        """HR@k, NDCG@k, MRR and, where lists of k items were kept, coverage@k and novelty@k.

        Raises `ConfigError` for k below 1.
        """
        if k < 1:
            raise ConfigError(f"k is {k}; it must be at least 1")
        ranking = metrics.Ranking(self.ranks, self.items, self.num_items, self.popularity)
        return metrics.all_metrics(ranking, k)


class Evaluator:
    """Ranks held-out items; candidates are drawn once and kept for the next model.

    `max_users` users are taken at random where there are more (0 = all; the authors' code takes
    10,000), `negatives` is the number of sampled candidates beside the target. With `lists` the
    full protocol keeps so many of each user's best items, for metrics that look at items. At most
    `batch_size` users are ranked at a time, fewer if their histories are long. Raises `ConfigError`
    for a number or a protocol that cannot be, `DataError` if there is nobody to evaluate or too
    few items to draw from.
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
        lists: int = 0,
    ) -> None:
        if protocol not in PROTOCOLS:
            raise ConfigError(f"protocol is {protocol!r}; choose one of {', '.join(PROTOCOLS)}")
        counts = {"negatives": negatives, "max_users": max_users, "batch_size": batch_size}
        for name, value in {**counts, "lists": lists}.items():
            least = 0 if name in ("max_users", "lists") else 1
            if value < least:
                raise ConfigError(f"{name} is {value}; it must be at least {least}")
        self.split, self.part, self.protocol = split, part, protocol
        self.negatives, self.seed, self.batch_size = negatives, seed, batch_size
        self.catalogue = split.catalogue
        self.num_items = int(self.catalogue.sum())
        self.lists = min(lists, self.num_items) if protocol == "full" else 0
        self.popularity = split.popularity() if self.lists else None
        self.users = split.eval_users(part)
        if not len(self.users):
            raise DataError(
                f"{split.dataset.name}: no user has three actions, so there is nothing to evaluate"
            )
        if max_users and len(self.users) > max_users:
            order = random_uint32(make_key(seed, "users"), self.users)
            self.users = np.sort(self.users[np.argsort(order, kind="stable")[:max_users]])
        self.missed = np.zeros(len(self.users), dtype=bool)
        if protocol != "authors":
            self.missed |= ~self.catalogue[split.targets(part)[self.users]]
            if split.repeats == "forbid":
                self.missed |= split.met_before(part)[self.users]
        self.calls = 0
        self.chooser = ThreadChooser(first=1, block=1, blocks=6, period=256)  # there are few steps
        if protocol == "sampled":
            self.candidates = self._sample()

    def __call__(self, model: Model) -> Evaluation:
        """Rank with `model`."""
        self.calls += 1
        if self.protocol == "authors":
            self.candidates = self._sample_as_the_authors()
        ranks = np.empty(len(self.users))
        items = np.zeros((len(self.users), self.lists), np.int32)
        for part in self.chooser.over(self._batches(model.n), lambda part: len(self.users[part])):
            users = self.users[part]
            histories = self.histories(users, model.n)
            if self.protocol == "full":
                ranks[part], items[part] = self._rank_all(model, users, histories)
                continue
            scores = model.candidate_scores(users, histories, self.candidates[part])
            if self.protocol == "authors" and self.split.repeats == "forbid":
                metrics.refuse_nan(scores)
                order = np.negative(scores, dtype=np.float64).argsort(axis=1)
                ranks[part] = 1 + order.argsort(axis=1)[:, 0]
            else:
                ranks[part] = metrics.rank_of_first(scores)
        ranks[self.missed] = np.inf
        size = self.num_items if self.protocol == "full" else 1 + self.negatives
        return Evaluation(
            self.protocol,
            self.part,
            self.users,
            ranks,
            size,
            items if self.lists else None,
            self.num_items,
            self.popularity,
        )

    def histories(self, users: Array, n: int) -> Packed:
        """What the model sees: all that its user did before the held-out action."""
        items, starts, ends = self._history_slices(users)
        return pack(items, starts, ends, n)

    def _history_slices(self, users: Array) -> tuple[Array, Array, Array]:
        ends = self.split.history_end(self.part)[users]
        return self.split.dataset.items, self.split.dataset.offsets[users], ends

    def _batches(self, n: int) -> Iterator[slice]:
        _, starts, ends = self._history_slices(self.users)
        mean = np.minimum(ends - starts, n).mean()
        size = max(1, min(self.batch_size, int(ROWS_AT_ONCE / mean)))
        if self.protocol == "full":
            size = max(1, min(size, SCORES_AT_ONCE // self.split.dataset.num_items))
        return (slice(i, i + size) for i in range(0, len(self.users), size))

    def _rank_all(self, model: Model, users: Array, histories: Packed) -> tuple[Array, Array]:
        """Ranks (B) and lists (B, lists)."""
        scores = model.all_scores(users, histories)
        items, starts, ends = self._history_slices(users)
        met = pack(items, starts, ends, int((ends - starts).max()))

        def left_out_at_bottom(scores: Array) -> Array:
            ranked = rankable(scores, met, self.split.repeats)
            ranked[:, ~self.catalogue] = -np.inf
            return ranked

        ranked = left_out_at_bottom(scores)
        lists = np.zeros((len(users), 0), np.int32)
        if self.lists:
            lists = top_lists(ranked, self.lists)
        user, targets = np.arange(len(users)), self.split.targets(self.part)[users]
        if np.isneginf(scores[user, targets]).any():  # a tie with candidates, not with the others
            ranked = left_out_at_bottom(np.maximum(scores, np.finfo(scores.dtype).min))
        ranked[:, 0] = ranked[user, targets]  # the target goes to the column of the padding
        ranked[user, targets] = -np.inf
        return metrics.rank_of_first(ranked), lists

    def _sample(self) -> Array:
        """Target and distinct negatives for each user, int32 (users, 1 + negatives)."""
        dataset, users = self.split.dataset, self.users
        targets = self.split.targets(self.part)[users][:, None]
        met: Callable[[Array], Array] = lambda items: items == targets  # noqa: E731
        left = negatives_left(self.split, users, self.negatives)
        if left < self.negatives:
            raise ConfigError(
                f"{dataset.name}: {self.negatives} negatives asked for, but "
                f"{too_few_negatives(self.split, left)}; evaluate with the full protocol"
            )
        if self.split.repeats == "forbid":
            # the held-out items are met too: all actions are the train part
            seen = SeenItems(replace(self.split, train_end=dataset.offsets[1:]), users)
            met = lambda items: seen.contains(users[:, None], items)  # noqa: E731
        key = make_key(self.seed, "candidates")
        slots = np.arange(self.negatives)
        counter = users[:, None] * self.negatives + slots
        drawn = draw_items(key, counter, 0, dataset.num_items)
        for attempt in range(1, 2**20):  # a round draws again what the round before must not keep
            again = met(drawn) | ~self.catalogue[drawn] | _repeats(drawn)
            rows = np.flatnonzero(again.any(axis=1))
            if not len(rows):
                break
            fresh = draw_items(
                make_key(self.seed, "candidates", attempt), counter[rows], 0, dataset.num_items
            )
            drawn[rows] = np.where(again[rows], fresh, drawn[rows])
        return np.concatenate([targets, drawn], axis=1)

    def _sample_as_the_authors(self) -> Array:
        """Target and items without a train action, with replacement, new ones at every call."""
        users = self.users
        counter = users[:, None] * self.negatives + np.arange(self.negatives)
        key = make_key(self.seed, "candidates", self.calls)
        drawn = draw_items(key, counter, 0, self.split.dataset.num_items)
        seen = SeenItems(self.split, users) if self.split.repeats == "forbid" else None
        for attempt in range(1, 2**20):
            if seen is None or not (met := seen.contains(users[:, None], drawn)).any():
                break
            key = make_key(self.seed, "candidates", self.calls, attempt)
            drawn = np.where(met, draw_items(key, counter, 0, self.split.dataset.num_items), drawn)
        return np.concatenate([self.split.targets(self.part)[users][:, None], drawn], axis=1)


def negatives_left(split: Split, users: Array | None = None, wanted: int = NEGATIVES) -> int:
    """How many different items can be drawn as negatives for every user, or for each of `users`.

    Where repeats are allowed, all of the catalogue but the target; else what the user who has met
    most has not met. If a quick lower bound is `wanted` or more, that bound is returned.
    """
    offsets, catalogue = split.dataset.offsets, split.catalogue
    size = int(catalogue.sum())
    if split.repeats == "allow":
        return size - 1
    users = np.arange(split.dataset.num_users) if users is None else users
    lengths = (offsets[1:] - offsets[:-1])[users]
    fewest = size - int(lengths.max())
    if fewest >= wanted:  # already enough if every action of every user is on another item
        return fewest
    many = users[size - lengths < wanted]
    met = [np.unique(split.dataset.sequence(int(u))) for u in many]
    return size - max(int(catalogue[items].sum()) for items in met)


def too_few_negatives(split: Split, left: int) -> str:
    """Why no more than `left` negatives can be drawn, for a message."""
    size = int(split.catalogue.sum())
    if split.repeats == "allow":
        return f"the catalogue has {size} items, so {left} beside the target"
    return f"a user has met all but {left} of {size} items"


def usual_protocols(split: Split) -> tuple[Protocol, ...]:
    """Both, or only the full one where there are too few items to sample negatives from."""
    return ("sampled", "full") if negatives_left(split) >= NEGATIVES else ("full",)


def _repeats(rows: Array) -> Array:
    """True where an element equals one further left in its row."""
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    repeated = np.zeros(rows.shape, dtype=bool)
    repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    result = np.empty_like(repeated)
    np.put_along_axis(result, order, repeated, axis=1)
    return result


def evaluate(
    model: Model,
    split: Split,
    part: Part = "test",
    protocol: Protocol = "sampled",
    *,
    seed: int = 0,
    max_users: int = 10_000,
    lists: int = 0,
) -> Evaluation:
    """Rank the held-out items of `part` once; see `Evaluator` for more than one model."""
    return Evaluator(split, part, protocol, seed=seed, max_users=max_users, lists=lists)(model)
