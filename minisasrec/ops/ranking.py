"""Losses on the order of scores: the target against many negatives at once.

p is the score of a row's target, r_j that of its negative j, N the number of its negatives, and s
the softmax over the negatives, s_j = e^(r_j) / sum over i of e^(r_i).

    cross-entropy   -log( e^p / (e^p + sum_j e^(r_j)) )
    bpr             1/N sum_j -log sigmoid(p - r_j)
    top1            1/N sum_j [sigmoid(r_j - p) + sigmoid(r_j^2)]
    top1-max        sum_j s_j [sigmoid(r_j - p) + sigmoid(r_j^2)]
    bpr-max         -log sum_j s_j sigmoid(p - r_j) + lambda sum_j s_j r_j^2

The first three are those of GRU4Rec (arXiv 1511.06939, Sec. 3.1.2), the last two those of GRU4Rec+
(arXiv 1706.03847, Sec. 3). With many negatives most are easy, and a mean over all of them hardly
moves: its gradient vanishes. The two "-max" losses weigh each negative by s_j, the softmax share of
its score, so that the strongest ones count.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.arrays import as_array
from minisasrec.autograd.op import Array, Result, check_number, op
from minisasrec.autograd.signature import Draw
from minisasrec.errors import ConfigError, ShapeError
from minisasrec.ops.elementwise import stable_log_sigmoid, stable_sigmoid

RankingLoss = Literal["cross-entropy", "bpr", "top1", "top1-max", "bpr-max"]
RANKING_LOSSES: tuple[RankingLoss, ...] = ("cross-entropy", "bpr", "top1", "top1-max", "bpr-max")


def _sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    T, k = draw.dim("T"), draw.dim("k")
    allowed = draw.ids(0, 3, T, k) > 0
    allowed[:1, :1] = True  # at least one row counts
    constants = {"allowed": draw.choice(allowed, allowed.tolist() if allowed.size else allowed)}
    constants |= {"loss": draw.choice(*RANKING_LOSSES), "weight": draw.choice(0.3, 0)}
    return [draw.normal(T), draw.normal(T, k)], constants


@op(
    "positive (T), negative (T k) -> ()",
    paper="Sec. IV-B, GRU4Rec and GRU4Rec+",
    sample=_sample,
)
def ranking_loss(
    positive: Array,
    negative: Array,
    *,
    allowed: Array,
    loss: RankingLoss = "bpr-max",
    weight: float = 0.0,
) -> Result:
    """loss = mean over the rows with a negative of the loss named; see the head of the file.

    `allowed` (T k) is False where a negative does not count; a row without any is left out.
    `weight` is the lambda of bpr-max and nothing to the others. Raises `ConfigError` for a loss of
    another name, `ShapeError` for `allowed` of another shape.
    """
    allowed = _check(negative, allowed, loss, weight)
    N = allowed.sum(axis=1, keepdims=True)
    real = N[:, 0] > 0
    rows = max(int(real.sum()), 1)
    p = positive[:, None]
    r = np.where(allowed, negative, 0)
    N = np.maximum(N, 1)
    s, _ = _masked_softmax(r, allowed)
    q = stable_sigmoid(r - p)  # the share of a mistake: 1 where the negative is far ahead
    dq, square = q * (1 - q), stable_sigmoid(r * r)
    dsquare = 2 * r * square * (1 - square)
    if loss == "cross-entropy":
        everything = np.concatenate([p, r], axis=1)
        counts = np.concatenate([real[:, None], allowed], axis=1)
        share, log_sum = _masked_softmax(everything, counts)
        value, dr = log_sum - positive, share[:, 1:]
    elif loss == "bpr":
        value, dr = (-stable_log_sigmoid(p - r) * allowed / N).sum(1), q * allowed / N
    elif loss in ("top1", "top1-max"):
        w = s if loss == "top1-max" else allowed / N
        value = (w * (q + square)).sum(1)
        dr = w * (dq + dsquare)
        dp = -(w * dq).sum(1)
        if loss == "top1-max":  # s depends on r, too
            dr = dr + w * (q + square - value[:, None])
    else:
        # e^(r_j) sigmoid(p - r_j) through its logarithm, which neither overflows nor vanishes
        strength, log_strength = _masked_softmax(r + stable_log_sigmoid(p - r), allowed)
        _, log_sum = _masked_softmax(r, allowed)
        size = (s * r * r).sum(1)
        value = log_sum - log_strength + weight * size
        dr = s - strength * (1 - q) + weight * s * (r * r - size[:, None] + 2 * r)
        dp = -(strength * q).sum(1)
    if loss in ("cross-entropy", "bpr"):  # functions of the differences r_j - p alone
        dp = -dr.sum(1)
    total = np.where(real, value, 0).sum(dtype=np.float64) / rows

    def backward(dloss: Array) -> tuple[Array, ...]:
        factor = dloss.astype(r.dtype) / r.dtype.type(rows)
        return (
            np.where(real, dp * factor, 0).astype(r.dtype),
            np.where(allowed, dr * factor, 0).astype(r.dtype),
        )

    return r.dtype.type(total), backward


@ranking_loss.fast
def _(
    positive: Array,
    negative: Array,
    *,
    allowed: Array,
    loss: RankingLoss = "bpr-max",
    weight: float = 0.0,
) -> Result:
    allowed = _check(negative, allowed, loss, weight)
    kind = RANKING_LOSSES.index(loss)
    positive, negative = np.ascontiguousarray(positive), np.ascontiguousarray(negative)
    total, rows, dp, dr = kernels.ranking.ranking_loss(positive, negative, allowed, kind, weight)

    def backward(dloss: Array) -> tuple[Array, ...]:
        factor = negative.dtype.type(float(dloss) / rows)
        return dp * factor, dr * factor

    return negative.dtype.type(total), backward


def _masked_softmax(x: Array, mask: Array) -> tuple[Array, Array]:
    """Softmax over the entries of each row that `mask` names, and the log of the sum of e^x."""
    top = np.where(mask, x, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    top = np.where(np.isneginf(top), 0, top).astype(x.dtype)  # a row of which nothing counts
    e = np.where(mask, np.exp(np.where(mask, x - top, 0)), 0).astype(x.dtype)
    total = e.sum(axis=1, keepdims=True)
    total = np.where(total == 0, 1, total).astype(x.dtype)
    return e / total, (top + np.log(total))[:, 0]


def _check(negative: Array, allowed: Array, loss: str, weight: float) -> Array:
    check_number("ranking_loss", "weight", negative, weight)
    if loss not in RANKING_LOSSES:
        raise ConfigError(
            f"ranking_loss: unknown loss {loss!r}; choose one of {', '.join(RANKING_LOSSES)}"
        )
    allowed = as_array("ranking_loss", allowed).astype(bool)
    if allowed.shape != negative.shape:
        raise ShapeError(
            f"ranking_loss: allowed has shape {allowed.shape}, negative {negative.shape}"
        )
    return allowed
