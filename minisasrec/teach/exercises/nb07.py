"""Exercises of notebook 07: the list of recommendations, and an FFN that breaks the symmetry."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.teach.exercises import Wrong, array, equal, exercise, fresh, untouched

SEASONS = ("spring", "summer", "autumn", "winter")


@exercise(
    "top_k",
    notebook="07_prediction",
    hints=(
        "All scores at once: F @ N.T, of shape (B, |I| + 1).",
        "Set the score of column 0 and of what was seen to -np.inf; then they come last.",
        "np.argsort(-scores, axis=1)[:, :k] are the columns of the k largest, the largest first.",
    ),
)
def _(answer: Any) -> str:
    fixed = np.random.default_rng(0)
    for rng, B, items, d, k in (
        (fixed, 1, 5, 2, 2),
        (fixed, 4, 9, 3, 3),
        (fixed, 3, 40, 8, 10),
        (fresh(), 2, 50, 8, 7),
    ):
        F, N = rng.normal(size=(B, d)), rng.normal(size=(items + 1, d))
        N[0] = 0  # beats every negative score
        seen = [1 + rng.permutation(items)[: rng.integers(1, items - k + 1)] for _ in range(B)]
        _lists(answer, F, N, seen, k, f"for B = {B}, |I| = {items}, k = {k}")
    F, N = np.array([[1000.0, 0]]), -np.array([[0.0, 0], [2, 1], [5, 1], [3, 1], [4, 1]])
    _lists(answer, F, N, [np.array([1])], 3, "where all scores are below -1,000: -inf is lower")
    return "the best items first, without padding and without what was seen, in every history"


def _lists(
    answer: Any, F: np.ndarray, N: np.ndarray, seen: list[np.ndarray], k: int, where: str
) -> None:
    B = len(F)
    got = array(untouched(answer, F=F, N=N, seen=seen, k=k), "the result")
    if got.shape != (B, k):
        raise Wrong(f"the result has shape {got.shape}, expected (B, k) = ({B}, {k}), {where}")
    if got.dtype.kind not in "iu":
        raise Wrong(f"item ids are integers, yours are {got.dtype}")
    for b in range(B):
        scores = N @ F[b]
        scores[0] = scores[seen[b]] = -np.inf
        want = np.argsort(-scores)[:k]
        if (got[b] == want - 1).all():
            raise Wrong(f"row {b} is one too small throughout: columns from 0, items from 1")
        if (got[b] == 0).any():
            raise Wrong(f"row {b} recommends item 0, the padding, {where}")
        if np.isin(got[b], seen[b]).any():
            again = int(got[b][np.isin(got[b], seen[b])][0])
            raise Wrong(f"row {b} recommends item {again}, which was seen, {where}")
        lowest = np.argsort(np.where(np.isinf(scores), np.inf, scores))[:k]
        if (got[b] == lowest).all() and (got[b] != want).any():
            raise Wrong(f"row {b} has the lowest scores; the highest are wanted, {where}")
        if set(got[b].tolist()) == set(want.tolist()) and (got[b] != want).any():
            raise Wrong(f"row {b} has the right items in another order; best first, {where}")
        equal(got[b], want, f"row {b} {where}")


@exercise(
    "seasons",
    notebook="07_prediction",
    hints=(
        "The FFN should turn each vector by 90 degrees: (x, y) -> (-y, x). A matrix does that: "
        "np.array([[0, 1], [-1, 0]]), written for x @ W.",
        "With W1 = np.eye(2) and b1 = 1 everything is 0 or more, and the ReLU cuts nothing.",
        "W1 = np.eye(2), b1 = np.ones(2), W2 = the turn, b2 = -b1 @ W2 takes b1 away again.",
    ),
)
def _(answer: Any) -> str:
    names = ("W1", "b1", "W2", "b2")
    W1, b1, W2, b2 = (array(part, name) for name, part in zip(names, answer, strict=True))
    shapes = (2, 2), (2,), (2, 2), (2,)
    for name, weights, shape in zip(names, (W1, b1, W2, b2), shapes, strict=True):
        if weights.shape != shape:
            raise Wrong(f"{name} has shape {weights.shape}, expected {shape}")
    M = np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    scores = (np.maximum(M @ W1 + b1, 0) @ W2 + b2) @ M.T
    for i, season in enumerate(SEASONS):
        wanted = (i + 1) % 4
        others = np.delete(scores[i], wanted)
        if not scores[i, wanted] > others.max() + 1e-9:
            stuck = scores[i, i] == scores[i].max()
            why = "; the season itself scores highest: W2 has to turn the vector" if stuck else ""
            if not np.ptp(scores[i]):
                why = "; all are equal: the ReLU has cut everything away"
            listed = ", ".join(f"{s} {r:.3g}" for s, r in zip(SEASONS, scores[i], strict=True))
            raise Wrong(
                f"after {season}, {SEASONS[wanted]} should score highest; the scores are "
                f"{listed}{why}"
            )
    return "one table, four seasons, and each leads to the next but not back"
