"""Exercises of notebook 14: the beta of gBCE, and the backward of softmax cross-entropy."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.autograd.gradcheck import gradcheck
from minisasrec.models.losses import gbce_beta
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
    rng = fresh()
    drawn = [(int(rng.integers(2, 500)), int(rng.integers(1000, 9000))) for _ in range(2)]
    for negatives, num_items in ((1, 5), (1, 1500), (64, 1500), (256, 3416), *drawn):
        where = f"negatives={negatives}, num_items={num_items}"
        alpha = negatives / (num_items - 1)
        at_0, at_1 = (
            array(answer(negatives, num_items, t), f"beta at t={t:g} ({where})") for t in (0.0, 1.0)
        )
        if at_0.ndim or at_1.ndim:
            raise Wrong(f"beta is one number, yours has shape {at_0.shape}")
        if np.isclose(at_0, alpha) and np.isclose(at_1, 1) and not np.isclose(alpha, 1):
            raise Wrong(f"t runs the wrong way ({where}): beta is 1 at t=0 and {alpha:.6g} at t=1")
        if not np.isclose(at_0, 1):
            raise Wrong(f"at t=0 ({where}) beta is {at_0:.6g}, expected 1: no correction")
        beta = float(at_1)
        if np.isclose(beta, 1 / (num_items - 1)) and negatives > 1:
            raise Wrong(f"at t=1 ({where}) beta is {beta:.6g}: {negatives} negatives are drawn")
        if np.isclose(beta, negatives / num_items) and not np.isclose(beta, alpha):
            raise Wrong(
                f"at t=1 ({where}) beta is {beta:.6g}: the negatives are drawn from the other "
                f"{num_items - 1} items"
            )
        learnt = beta * 0.01 / (beta * 0.01 + alpha * 0.99)
        equal(learnt, 0.01, f"at t=1 ({where}) what p = 0.01 settles at", rtol=1e-9)
        for t in (0.25, 0.75):
            mistakes = {
                "between the ends beta goes in a straight line, not as a power": alpha**t,
                "between the ends it is beta that goes in a straight line, not 1 / beta": 1
                / (1 - t + t / alpha),
            }
            want = gbce_beta(negatives, num_items, t)
            compare(answer(negatives, num_items, t), want, f"beta at t={t} ({where})", mistakes)
    return "at t = 1 the sigmoid settles at p, at t = 0 it is BCE, and gbce_beta agrees in between"


@exercise(
    "ce_backward",
    notebook="14_beyond",
    hints=(
        "Forward: scores = h @ items[1:].T, (T, |I|). Find dscores first, then dh = dscores @ ... "
        "and ditems[1:] = dscores.T @ ..., as for any matrix product.",
        "dscores is the softmax of each row (its largest number taken away first), minus 1 at "
        "column targets - 1, divided by the number of targets, and 0 in rows without a target.",
        "dscores[rows, targets[rows] - 1] -= 1 with rows = np.flatnonzero(targets); ditems = "
        "np.zeros_like(items), then ditems[1:] = dscores.T @ h",
    ),
)
def _(answer: Any) -> str:
    rng = np.random.default_rng(0)
    cases = [2], [1, 3, 1], [0, 4, 2, 0, 3]
    for targets, size in (*((case, 1) for case in cases), *((case, 1000) for case in cases)):
        ids = np.array(targets)

        def mean_loss(h: np.ndarray, items: np.ndarray, ids: np.ndarray = ids) -> Any:
            scores = h @ items[1:].T
            top = scores.max(axis=1, keepdims=True)
            log_sum = top[:, 0] + np.log(np.exp(scores - top).sum(axis=1))
            rows = np.flatnonzero(ids)
            losses = log_sum[rows] - scores[rows, ids[rows] - 1]

            def backward(dloss: np.ndarray) -> tuple[np.ndarray, ...]:
                got = untouched(answer, h=h, items=items, targets=ids)
                dh, ditems = pair(got, "two gradients, dh and ditems")
                dh, ditems = array(dh, "dh"), array(ditems, "ditems")
                if dh.shape != h.shape or ditems.shape != items.shape:
                    raise Wrong(
                        f"for targets {ids.tolist()} the shapes are {dh.shape} and "
                        f"{ditems.shape}, expected those of h {h.shape} and items {items.shape}"
                    )
                if scores.max() > 700 and not np.isfinite(np.vstack([dh, ditems])).all():
                    raise Wrong(
                        "with scores of about 1,000 you return NaN: e^1000 is too much for a "
                        "computer; take the largest number of the row away first"
                    )
                _explain(dh, ditems, ids, h, items)
                return dloss * dh, dloss * ditems

            return losses.mean(), backward

        h, items = rng.normal(size=(len(ids), 3)), rng.normal(size=(5, 3))
        if size == 1:
            gradcheck(mean_loss, h, items)
        else:  # scores of about 1,000
            h[:, 0], items[:, 0] = size, 1
            with np.errstate(all="ignore"):
                mean_loss(h, items)[1](np.ones(()))
    return "dh and ditems agree with finite differences, with positions that have no target, too"


def _explain(
    dh: np.ndarray, ditems: np.ndarray, targets: np.ndarray, h: np.ndarray, items: np.ndarray
) -> None:
    if np.any(dh[targets == 0]):
        raise Wrong(f"for targets {targets.tolist()} a position without a target has a gradient")
    if np.any(ditems[0]):
        raise Wrong("ditems[0] is not 0, but the padding item takes no part")
    scores = h @ items[1:].T
    q = np.exp(scores - scores.max(axis=1, keepdims=True))
    q /= q.sum(axis=1, keepdims=True)
    columns = np.exp(scores - scores.max(axis=0))
    hot = np.eye(len(items))[targets][:, 1:]
    real = (targets != 0)[:, None].astype(float)
    count, T = real.sum(), len(targets)
    right = real * (q - hot) / count

    def gradients(dscores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return dscores @ items[1:], np.vstack([0 * items[:1], dscores.T @ h])

    wrong = {
        "the 1 at the target is missing: softmax minus 1 there": real * q / count,
        "the loss is a mean over the targets; here is the sum": right * count,
        "divide by the number of targets, not of positions": right * count / T,
        "its sign": -right,
        "the softmax is missing: only the target's part is there": -real * hot / count,
        "of the target's column take 1 off, once a row": real * (q - 2 * hot) / count,
        "item i is in column i - 1 of the scores": real
        * (q - np.eye(len(items))[targets % (len(items) - 1)][:, :-1])
        / count,
        "the softmax is over a row's items, axis=1": real
        * (columns / columns.sum(axis=0) - hot)
        / count,
    }
    told = {why: gradients(dscores) for why, dscores in wrong.items()}
    want = gradients(right)
    compare(dh, want[0], "dh", {why: value[0] for why, value in told.items()})
    compare(ditems, want[1], "ditems", {why: value[1] for why, value in told.items()})
