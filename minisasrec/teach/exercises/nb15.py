"""Exercises of notebook 15: who is last among equal times, how often that is chance, its spread."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.teach.exercises import (
    Wrong,
    array,
    compare,
    equal,
    exercise,
    fresh,
    pair,
    untouched,
)

LOGS = (  # users, items and times of the rows of a file, first row first
    ([0, 0, 0, 1, 1], [7, 3, 9, 4, 2], [1, 2, 3, 1, 2]),
    ([0, 1, 0, 1, 0, 1, 0, 1], [9, 2, 5, 6, 7, 1, 8, 3], [4, 4, 4, 4, 1, 2, 3, 3]),
    ([1, 0, 1, 0, 0, 1], [3, 8, 5, 4, 6, 2], [5, 9, 5, 9, 9, 5]),
    ([2, 0, 1, 0], [4, 11, 10, 2], [3, 8, 8, 8]),
)


@exercise(
    "last_items",
    notebook="15_one_second",
    hints=(
        "Walk through the rows in the order of the file, and keep for each user the row that is "
        "the last so far.",
        "A new row takes the place of the old one if its time is not smaller: at equal times the "
        "later row of the file is the later action.",
        "if u not in found or time >= found[u][0]: found[u] = time, item",
    ),
)
def _(answer: Any) -> str:
    rng = np.random.default_rng(0)
    long = rng.permutation(400) % 8, rng.permutation(400), rng.integers(3, size=400)
    _stable(answer, *long)
    for log in (*LOGS, _drawn_log(), long):
        users, items, times = map(np.array, log)
        rows = ", ".join(map(str, zip(*log, strict=True))) if len(items) < 99 else "of a long log"
        what = f"the last items of the rows (user, item, time) {rows}"
        got = array(untouched(answer, users=users, items=items, times=times), what)
        want = _last(users, np.lexsort((np.arange(len(times)), times)), items)
        if got.ndim == 1 and len(got) == len(items) != len(want):
            raise Wrong(f"{what} have one entry for each row, expected one for each user")
        compare(got, want, what, _mistakes(users, items, times))
    return "times decide, and at equal times the order of the file, in six logs"


def _mistakes(users: np.ndarray, items: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
    row = np.arange(len(times))
    orders = {
        "at equal times you take the row that comes first in the file": (-row, times),
        "at equal times you take the largest item number; the order of the file decides": (
            items,
            times,
        ),
        "at equal times you take the smallest item number; the order of the file decides": (
            -items,
            times,
        ),
        "these are the last rows of the file; times come before that": (row,),
        "these are the first items": (-row, -times),
    }
    return {why: _last(users, np.lexsort(keys), items) for why, keys in orders.items()}


def _stable(answer: Any, users: np.ndarray, items: np.ndarray, times: np.ndarray) -> None:
    """Many rows and few times: a sort that does not keep the order of equal times shows."""
    what = "the last items of 8 users with 50 actions each, within three seconds,"
    got = array(untouched(answer, users=users, items=items, times=times), what)
    want = _last(users, np.argsort(times, kind="stable"), items)
    known = (want, *_mistakes(users, items, times).values())
    if got.shape != want.shape or any(np.array_equal(got, each) for each in known):
        return
    last = [items[(users == u) & (times == times[users == u].max())] for u in range(8)]
    if all(item in its for item, its in zip(got, last, strict=True)):
        raise Wrong(
            f"{what} are of the last second, but not the last in the file: a sort may lose the "
            'order of equal times, unless it is stable (kind="stable")'
        )


def _drawn_log() -> tuple[list[int], list[int], list[int]]:
    """Rows of five users, each item once, with many equal times."""
    rng = fresh()
    users = rng.permutation([*range(5), *rng.integers(5, size=15)])
    return users.tolist(), (rng.permutation(99)[:20] + 1).tolist(), rng.integers(1, 5, 20).tolist()


def _last(users: np.ndarray, order: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The item of each user that comes last in this order of the rows."""
    return np.array([items[[r for r in order if users[r] == u][-1]] for u in np.unique(users)])


@exercise(
    "changed_share",
    notebook="15_one_second",
    hints=(
        "Of one user, only the actions of the last second matter. How many are there, m, and with "
        "which probability does a shuffle leave the true one at the end?",
        "That is 1 / m, so the test item changes with probability 1 - 1 / m. Take the mean over "
        "users, not over actions.",
        "For each u: mine = times[users == u]; m = (mine == mine.max()).sum()",
    ),
)
def _(answer: Any) -> str:
    for users, times in (
        ([0, 0, 0], [1, 2, 3]),
        ([0, 0, 0, 1, 1, 1, 2], [1, 5, 5, 7, 7, 7, 4]),
        ([0, 0, 0, 0, 0, 1, 1, 1, 2], [1, 2, 4, 4, 4, 6, 6, 8, 3]),
        ([1, 0, 1, 0, 1, 0, 0], [9, 3, 9, 3, 9, 3, 1]),
        _drawn_log()[::2],
        _drawn_log()[::2],
    ):
        u, t = np.array(users), np.array(times)
        what = f"the share for users {users}, times {times}"
        got = array(untouched(answer, users=u, times=t), what)
        if got.ndim:
            raise Wrong(f"{what} is {got.size} numbers, expected one: their mean")
        last = np.array([np.sum(t[u == v] == t[u == v].max()) for v in np.unique(u)])
        tied = np.array([np.sum((u == v) & (t == s)) > 1 for v, s in zip(u, t, strict=True)])
        mistakes = {
            "that is the probability that nothing changes": np.mean(1 / last),
            "a tie does not change the item for sure: with probability 1 - 1/m": np.mean(last > 1),
            "that is the share of actions with a tie; only the last second of a user matters": (
                tied.mean()
            ),
            "each user counts once, whatever the number of actions": np.average(
                1 - 1 / last, weights=np.bincount(u)
            ),
            "the sum over users; their mean is a share": np.sum(1 - 1 / last),
            "1/m is the probability that the item stays the same": np.mean(
                np.where(last > 1, 1 / last, 0)
            ),
        }
        compare(got, np.mean(1 - 1 / last), what, mistakes)
    return "users with m actions in their last second lose their test item in 1 - 1/m of shuffles"


@exercise(
    "spreads",
    notebook="15_one_second",
    hints=(
        "`scores` has a row for each order of the file and a column for each seed. Which axis has "
        "to be averaged away to see what the order does?",
        "The order: the mean over the seeds (axis=1), then the largest minus the smallest. The "
        "seed: largest minus smallest in each row, then the mean of these.",
        "means = scores.mean(axis=1); np.ptp(means), np.ptp(scores, axis=1).mean()",
    ),
)
def _(answer: Any) -> str:
    fixed = np.random.default_rng(0)
    for rng, shape in ((fixed, (3, 2)), (fixed, (2, 4)), (fixed, (2, 2)), (fresh(), (3, 4))):
        scores = 0.3 + 0.03 * rng.random(shape) + 0.05 * rng.random((shape[0], 1))
        scores = scores.round(3)
        got = pair(untouched(answer, scores=scores), "(of_order, of_seed)")
        of_order, of_seed = np.ptp(scores.mean(axis=1)), np.ptp(scores, axis=1).mean()
        where = f"for scores {scores.tolist()}"
        first, second = (array(x, n) for x, n in zip(got, ("of_order", "of_seed"), strict=True))
        if first.ndim or second.ndim:
            raise Wrong(f"return two numbers; got shapes {first.shape} and {second.shape}")
        exchanged = np.isclose(first, of_seed) and np.isclose(second, of_order)
        if exchanged and not np.isclose(first, of_order):
            raise Wrong(f"{where} the two are exchanged: the order first, then the seed")
        compare(
            first,
            of_order,
            f"of_order {where}",
            {
                "the mean over the orders; average over the seeds, axis 1": np.ptp(
                    scores.mean(axis=0)
                ),
                "largest minus smallest of all; average over the seeds first": np.ptp(scores),
                "a standard deviation; largest minus smallest was asked for": (
                    scores.mean(axis=1).std()
                ),
                "largest minus smallest of each seed, and their mean; average over the seeds "
                "first": np.ptp(scores, axis=0).mean(),
            },
            atol=1e-9,
        )
        compare(
            second,
            of_seed,
            f"of_seed {where}",
            {
                "the range of the means of the seeds; take the range in each row": np.ptp(
                    scores.mean(axis=0)
                ),
                "the largest range; the mean of the rows was asked for": (
                    np.ptp(scores, axis=1).max()
                ),
                "standard deviations; largest minus smallest was asked for": (
                    scores.std(axis=1).mean()
                ),
                "the range over orders; seeds are the columns": np.ptp(scores, axis=0).mean(),
            },
            atol=1e-9,
        )
        equal([first, second], [of_order, of_seed], f"the result {where}", atol=1e-9)
    return "what the order moves, seeds averaged out, beside what a seed moves within an order"
