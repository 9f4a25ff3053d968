"""Exercises of notebook 14: the beta of gBCE, and the backward of softmax cross-entropy."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.autograd.gradcheck import gradcheck
from minisasrec.models.variants import gbce_beta
from minisasrec.teach.exercises import Wrong, equal, exercise


@exercise(
    "gbce_beta",
    notebook="14_beyond",
    hints=(
        "For which beta is beta p / (beta p + alpha (1 - p)) equal to p? Then beta p + alpha "
        "(1 - p) has to be beta.",
        "So beta is 1 at t = 0 and alpha = negatives / (num_items - 1) at t = 1.",
        "1 + t * (alpha - 1)",
    ),
)
def _(answer: Any) -> str:
    for negatives, num_items in ((1, 5), (1, 1500), (64, 1500), (256, 3416)):
        where = f"negatives={negatives}, num_items={num_items}"
        alpha = negatives / (num_items - 1)
        if not np.isclose(float(answer(negatives, num_items, 0.0)), 1):
            raise Wrong(f"at t=0 ({where}) beta is {answer(negatives, num_items, 0.0)}, expected 1")
        beta = float(answer(negatives, num_items, 1.0))
        if np.isclose(beta, negatives / num_items) and not np.isclose(beta, alpha):
            raise Wrong(
                f"at t=1 ({where}) beta is {beta:.6g}: the negatives are drawn from the other "
                f"{num_items - 1} items"
            )
        learnt = beta * 0.01 / (beta * 0.01 + alpha * 0.99)
        equal(learnt, 0.01, f"at t=1 ({where}) what p = 0.01 settles at", rtol=1e-9)
        for t in (0.25, 0.75):
            equal(
                answer(negatives, num_items, t),
                gbce_beta(negatives, num_items, t),
                f"beta at t={t} ({where})",
            )
    return "at t = 1 the sigmoid settles at p, at t = 0 it is BCE, and gbce_beta agrees in between"


@exercise(
    "ce_backward",
    notebook="14_beyond",
    hints=(
        "Forward: scores = h @ items[1:].T, (T, |I|). Find dscores first, then dh = dscores @ ... "
        "and ditems[1:] = dscores.T @ ..., as for any matrix product.",
        "dscores is the softmax of each row, minus 1 at column targets - 1, divided by the number "
        "of targets, and 0 in rows without a target.",
        "dscores[rows, targets[rows] - 1] -= 1 with rows = np.flatnonzero(targets); ditems = "
        "np.zeros_like(items), then ditems[1:] = dscores.T @ h",
    ),
)
def _(answer: Any) -> str:
    rng = np.random.default_rng(0)
    for targets in ([2], [1, 3, 1], [0, 4, 2, 0, 3]):
        ids = np.array(targets)

        def mean_loss(h: np.ndarray, items: np.ndarray, ids: np.ndarray = ids) -> Any:
            scores = h @ items[1:].T
            top = scores.max(axis=1, keepdims=True)
            log_sum = top[:, 0] + np.log(np.exp(scores - top).sum(axis=1))
            rows = np.flatnonzero(ids)
            losses = log_sum[rows] - scores[rows, ids[rows] - 1]

            def backward(dloss: np.ndarray) -> tuple[np.ndarray, ...]:
                dh, ditems = (np.asarray(part) for part in answer(h, items, ids))
                if dh.shape != h.shape or ditems.shape != items.shape:
                    raise Wrong(
                        f"for targets {ids.tolist()} the shapes are {dh.shape} and "
                        f"{ditems.shape}, expected those of h {h.shape} and items {items.shape}"
                    )
                _explain(dh, ditems, ids)
                return dloss * dh, dloss * ditems

            return losses.mean(), backward

        gradcheck(mean_loss, rng.normal(size=(len(ids), 3)), rng.normal(size=(5, 3)))
    return "dh and ditems agree with finite differences, with positions that have no target, too"


def _explain(dh: np.ndarray, ditems: np.ndarray, targets: np.ndarray) -> None:
    if np.any(dh[targets == 0]):
        raise Wrong(f"for targets {targets.tolist()} a position without a target has a gradient")
    if np.any(ditems[0]):
        raise Wrong("ditems[0] is not 0, but the padding item takes no part")
