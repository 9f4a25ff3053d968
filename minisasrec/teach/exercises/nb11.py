"""Exercises of notebook 11: NDCG when scores tie, and the sampled hit rate of a full rank."""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from minisasrec.teach.exercises import Wrong, array, compare, equal, exercise, fresh


@exercise(
    "expected_ndcg",
    notebook="11_experiments",
    hints=(
        "For which ranks is the gain not 0? What is it there? Average the gains, not the ranks.",
        "There are equal + 1 possible ranks, and those beyond k count too, with gain 0.",
        "sum(1 / log2(r + 1) for r in range(better + 1, better + equal + 2) if r <= k) "
        "divided by (equal + 1)",
    ),
)
def _(answer: Any) -> str:
    for better, ties, k in [(0, 0, 10), (4, 0, 10), (9, 0, 10), (10, 0, 10)]:
        _compare(answer, better, ties, k)
    for better, ties, k in [(3, 2, 10), (8, 5, 10), (0, 100, 10), (20, 7, 10), (1, 3, 2)]:
        _compare(answer, better, ties, k)
    rng = fresh()
    for _ in range(3):
        k = int(rng.integers(20, 100))
        _compare(answer, int(rng.integers(k)), int(rng.integers(1, 100)), k)
    return "without ties it is NDCG@k, with them the mean over every order of the equals"


def _compare(answer: Any, better: int, ties: int, k: int) -> None:
    ranks = np.arange(better + 1, better + ties + 2)
    gains = np.where(ranks <= k, 1 / np.log2(ranks + 1), 0)
    want, what = gains.mean(), f"better={better}, equal={ties}, k={k}"
    got = array(answer(better, ties, k), f"the result for {what}")
    if got.ndim:
        raise Wrong(f"for {what} you give {got.size} numbers, expected one: their mean")
    middle = ranks.mean()
    mistakes = {
        "the gain of the average rank; the average of the gains was asked for": (
            1 / np.log2(middle + 1) if middle <= k else 0
        ),
        "the gain of the best rank, as if the target came first among its equals": gains[0],
        "the mean over the ranks up to k only; later ones count as 0": (
            gains[ranks <= k].mean() if better < k else 0
        ),
        "the sum of the gains, not their mean": gains.sum(),
        "the gain of the worst rank, as if the target came last among its equals": gains[-1],
        "the hit rate; the gain of rank r is 1 / log2(r + 1)": (ranks <= k).mean(),
        "with the natural logarithm; the gain has log2": gains.mean() / np.log(2),
        "divided by the number of equals; the target is one more": (
            gains.sum() / ties if ties else want
        ),
    }
    for mistake, value in mistakes.items():
        if np.isclose(got, value) and not np.isclose(got, want):
            raise Wrong(f"for {what} you give {got:.4f}, {mistake}; expected {want:.4f}")
    equal(got, want, f"the result for {what}")


@exercise(
    "sampled_hit",
    notebook="11_experiments",
    hints=(
        "Let m = rank - 1 items be better. For j of them to be drawn, j of m and negatives - j of "
        "the remaining others - m are chosen.",
        "There are comb(m, j) * comb(others - m, negatives - j) ways for that, of "
        "comb(others, negatives) in all.",
        "Add up j = 0, ..., k - 1: with k better ones drawn the target is at rank k + 1.",
    ),
)
def _(answer: Any) -> str:
    for rank, others, negatives, k in [(3, 8, 3, 1), (4, 7, 3, 2), (7, 6, 3, 2), (1, 5, 2, 1)]:
        draws = list(combinations(range(others), negatives))  # items 0 .. rank - 2 are better
        hits = [sum(item < rank - 1 for item in draw) < k for draw in draws]
        what = f"rank={rank}, others={others}, negatives={negatives}, k={k}"
        got = array(answer(rank, others, negatives, k), f"the result for {what}")
        one_more = np.mean([sum(item < rank - 1 for item in draw) <= k for draw in draws])
        if np.isclose(got, one_more) and not np.isclose(got, np.mean(hits)):
            raise Wrong(f"for {what} you count draws of k better items as hits; that is rank k + 1")
        with_again = 1 - (rank - 1) / others  # one draw is better or not
        mistakes = {
            "there are rank - 1 better items, not rank": _drawn(rank, others, negatives, k),
            "exactly j = k - 1 better ones; add up j = 0 to k - 1": np.mean(
                [sum(item < rank - 1 for item in draw) == k - 1 for draw in draws]
            ),
            "add up j = 0 to k - 1, not 1 to k": np.mean(
                [1 <= sum(item < rank - 1 for item in draw) <= k for draw in draws]
            ),
            "that is a miss; a hit has fewer than k better ones drawn": 1 - np.mean(hits),
            "the ways are counted; divide by comb(others, negatives)": np.sum(hits),
            "negatives are drawn without putting back": sum(
                comb(negatives, j) * with_again ** (negatives - j) * (1 - with_again) ** j
                for j in range(k)
            ),
        }
        compare(got, np.mean(hits), f"the result for {what}", mistakes)
        equal(got, np.mean(hits), f"the result for {what} (all {len(draws)} draws listed)")
    rng = fresh()
    for _ in range(3):  # too many draws to be listed
        others, negatives, k = (int(rng.integers(n, 2 * n)) for n in (700, 50, 5))
        rank = int(rng.integers(k + 1, others // 5))
        want = _drawn(rank - 1, others, negatives, k)
        what = f"rank={rank}, others={others}, negatives={negatives}, k={k}"
        equal(answer(rank, others, negatives, k), want, f"the result for {what}")
    for full_rank, want in [(1, 1.0), (10, 1.0)]:
        equal(answer(full_rank, 1475, 100, 10), want, f"the result for rank={full_rank} of 1,475")
    chance = sum(answer(r, 1475, 100, 10) for r in range(1, 1477)) / 1476
    equal(chance, 10 / 101, "the mean over all full ranks, a random ranker's HR@10,")
    return "it agrees with every draw listed one by one, and a random ranker gets 10 of 101"


def _drawn(better: int, others: int, negatives: int, k: int) -> float:
    """The chance that fewer than k of the `better` items are drawn."""
    if better > others:
        return float("nan")
    ways = sum(comb(better, j) * comb(others - better, negatives - j) for j in range(k))
    return ways / comb(others, negatives)
