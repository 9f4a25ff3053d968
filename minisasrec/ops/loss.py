"""Losses: the paper's binary cross-entropy, its generalised form, and softmax cross-entropy.

The hidden state of a position is h_t, the score of item j there is r_jt = h_t . N_j with N the
item embedding (Sec. III-D). The fused ops below take h and N and never store scores or gathered
embeddings for the whole catalogue.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.arrays import as_array
from minisasrec.autograd.gradients import SparseRows
from minisasrec.autograd.op import Array, Result, check_ids, check_number, op
from minisasrec.autograd.signature import Draw
from minisasrec.errors import ConfigError, ShapeError
from minisasrec.ops.elementwise import stable_log_sigmoid, stable_sigmoid

SCORES_AT_ONCE = 16_000_000  # 64 MB of float32


def _bce_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    (logits,) = draw.arguments(bce_with_logits.signature)
    soft = draw.rng.random(logits.shape)
    hard = soft > 0.5
    return [logits], {"targets": draw.choice(hard.astype(float), hard, hard.tolist(), soft)}


def _sampled_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    T, V = draw.dim("T"), draw.dim("V", 2, 5)
    T = T if V else 0  # without a table there are no ids
    targets = draw.ids(0, V - 1, T)
    targets[:1] = min(1, V - 1)  # at least one position counts
    constants = {
        "targets": draw.choice(targets, targets.astype(np.int32)),
        "negatives": draw.ids(0, V - 1, T, draw.integer(0, 3)),
        "beta": draw.choice(0.7, 1, 0.0),
    }
    return [draw.normal(T, draw.dim("d")), draw.normal(V, draw.dim("d"))], constants


def _softmax_sample(draw: Draw) -> tuple[list[Array], dict[str, Any]]:
    args, constants = _sampled_sample(draw)
    T, V, B = len(args[0]), len(args[1]), draw.integer(1, 2)
    met = draw.ids(0, V - 1, B, draw.integer(0, 3)) if V else None  # 0: nobody
    return args, {
        "targets": constants["targets"],
        "left_out": draw.choice(None, met),
        "sequence": draw.ids(0, B - 1, T) if T else np.zeros(len(args[0]), int),
        "block": draw.choice(None, 1, 2),
    }


@op(
    "logits (...) -> ()",
    paper="Sec. III-E",
    torch="F.binary_cross_entropy_with_logits(logits, torch.as_tensor(targets).to(logits))",
    sample=_bce_sample,
)
def bce_with_logits(logits: Array, *, targets: Array) -> Result:
    """Mean over all elements of -[y log s + (1 - y) log(1 - s)], s = sigmoid(logit), y = target.

    log(1 - sigmoid(x)) is log sigmoid(-x), so no logarithm ever sees a 0. Raises `ShapeError` for
    targets of another shape, and where there is no element.
    """
    targets = as_array("bce_with_logits", targets)
    if targets.dtype.kind not in "fiub":
        raise ShapeError(f"bce_with_logits: targets must be numbers, got {targets.dtype}")
    if targets.shape != logits.shape:
        raise ShapeError(
            f"bce_with_logits: targets have shape {targets.shape}, logits {logits.shape}"
        )
    if not logits.size:
        raise ShapeError(f"bce_with_logits: logits {logits.shape}; there is no mean of nothing")
    y = targets.astype(logits.dtype)
    loss = -(y * stable_log_sigmoid(logits) + (1 - y) * stable_log_sigmoid(-logits)).mean()

    def backward(dloss: Array) -> tuple[Array, ...]:
        return (dloss * (stable_sigmoid(logits) - y) / logits.dtype.type(logits.size),)

    return loss, backward


@op("h (T d), items (V d) -> ()", paper="Sec. III-E", sample=_sampled_sample)
def sampled_bce(
    h: Array, items: Array, *, targets: Array, negatives: Array, beta: float = 1.0
) -> Result:
    """The paper's loss: one target and k sampled negatives per position, target 0 = no target.

    loss = 1/N sum over positions t with a target o_t of
           -[beta log sigmoid(r_{o_t, t}) + sum over its negatives j of log(1 - sigmoid(r_{j, t}))]

    N is the number of such positions: the two terms are added, not averaged (as in the authors'
    code), so an untrained model with one negative starts at 2 ln 2 = 1.386. beta = 1 is the
    paper; beta < 1 is gBCE (arXiv 2308.07192), which corrects for sampling only k negatives.
    `targets` (T), `negatives` (T k). Raises `ShapeError` for ids outside the table.
    """
    targets, negatives = _check_sampled(h, items, targets, negatives)
    real = targets != 0
    count = h.dtype.type(max(int(real.sum()), 1))
    beta = check_number("sampled_bce", "beta", h, beta)
    positive = (h * items[targets]).sum(-1)  # r of the target, (T)
    negative = np.einsum("td,tkd->tk", h, items[negatives])  # r of each negative, (T k)
    per_row = -beta * stable_log_sigmoid(positive) - stable_log_sigmoid(-negative).sum(-1)
    loss = np.where(real, per_row, 0).sum(dtype=np.float64) / count

    def backward(dloss: Array) -> tuple[Array, ...]:
        weight = dloss.astype(h.dtype) * real / count  # (T), 0 where there is no target
        dpositive = -beta * stable_sigmoid(-positive) * weight
        dnegative = stable_sigmoid(negative) * weight[:, None]
        # forward was: positive = h . items[targets], negative = h . items[negatives]
        dh = dpositive[:, None] * items[targets]
        dh += np.einsum("tk,tkd->td", dnegative, items[negatives])
        ditems = np.zeros_like(items)
        np.add.at(ditems, targets, dpositive[:, None] * h)
        np.add.at(ditems, negatives, dnegative[..., None] * h[:, None, :])
        return dh, ditems

    return h.dtype.type(loss), backward


@sampled_bce.fast
def _(h: Array, items: Array, *, targets: Array, negatives: Array, beta: float = 1.0) -> Result:
    targets, negatives = _check_sampled(h, items, targets, negatives)
    check_number("sampled_bce", "beta", h, beta)
    k = kernels.loss
    loss, count, ids, slopes = k.sampled_bce_forward(h, items, targets, negatives, beta)

    def backward(dloss: Array) -> tuple[Any, ...]:
        dh, weights = k.sampled_bce_backward(h, items, ids, slopes, float(dloss) / count)
        return dh, SparseRows(items, h, ids, weights=weights)

    return h.dtype.type(loss), backward


@op(
    "h (T d), items (V d) -> ()",
    paper="beyond the paper: arXiv 2309.07602",
    sample=_softmax_sample,
)
def softmax_cross_entropy(
    h: Array,
    items: Array,
    *,
    targets: Array,
    left_out: Array | None = None,
    sequence: Array | None = None,
    block: int | None = None,
) -> Result:
    """Cross-entropy over the whole catalogue: every other item is a negative.

    loss = 1/N sum over positions t with a target o_t of
           -r_{o_t, t} + log sum over items j >= 1 of e^(r_{j, t})

    With `left_out` (B, m) and `sequence` (T), the items in row sequence[t] of left_out, 0 being
    none, are left out of the sum at t: those that the user has met, which nobody is going to rank.
    The target itself stays.

    Row 0 of `items`, the padding item, is no candidate; without another row there is nothing to
    choose from, a `ShapeError`. Scores are computed for `block` positions at a time, and once more
    in the backward pass, so memory is block * V numbers, not T * V; by default 64 MB of float32.
    (The kernel chooses blocks that stay in the processor's cache.)
    """
    targets, left_out, sequence = _check_softmax(h, items, targets, left_out, sequence, block)
    block = block or max(1, SCORES_AT_ONCE // len(items))
    rows = np.flatnonzero(targets)
    count = h.dtype.type(max(len(rows), 1))
    catalogue = items[1:]
    log_sum = np.empty(len(rows), dtype=h.dtype)
    parts = [slice(i, i + block) for i in range(0, len(rows), block)]
    loss = 0.0

    def scores_of(at: Array) -> Array:  # (block, |I|); minus infinity for what is left out
        scores = h[at] @ items.T
        wanted = scores[np.arange(len(at)), targets[at]]
        np.put_along_axis(scores, left_out[sequence[at]], -np.inf, axis=1)
        scores[np.arange(len(at)), targets[at]] = wanted
        return scores[:, 1:]

    for part in parts:
        at = rows[part]
        scores = scores_of(at)
        top = scores.max(axis=1)
        log_sum[part] = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
        loss += float((log_sum[part] - scores[np.arange(len(at)), targets[at] - 1]).sum())

    def backward(dloss: Array) -> tuple[Array, ...]:
        dh, ditems = np.zeros_like(h), np.zeros_like(items)
        for part in parts:
            at = rows[part]
            # the slope of log sum e^r is the softmax; that of -r at the target is -1
            dscores = np.exp(scores_of(at) - log_sum[part][:, None])
            dscores[np.arange(len(at)), targets[at] - 1] -= 1
            dscores *= dloss.astype(h.dtype) / count
            dh[at] = dscores @ catalogue
            ditems[1:] += dscores.T @ h[at]
        return dh, ditems

    return h.dtype.type(loss / count), backward


@softmax_cross_entropy.fast
def _(
    h: Array,
    items: Array,
    *,
    targets: Array,
    left_out: Array | None = None,
    sequence: Array | None = None,
    block: int | None = None,
) -> Result:
    targets, left_out, sequence = _check_softmax(h, items, targets, left_out, sequence, block)
    h, items = np.ascontiguousarray(h), np.ascontiguousarray(items)
    wanted = targets.astype(np.int64) - 1  # the catalogue begins with item 1
    out = np.sort(left_out.astype(np.int64) - 1, axis=1), sequence
    losses, dh, saved = kernels.loss.softmax_loss_forward(h, items[1:], wanted, *out)
    count = max(int(np.count_nonzero(targets)), 1)

    def backward(dloss: Array) -> tuple[Array, ...]:
        factor = float(dloss) / count
        ditems = np.zeros_like(items)
        ditems[1:] = kernels.loss.softmax_loss_backward(saved, wanted, factor, ditems[1:].shape)
        return dh * h.dtype.type(factor), ditems

    return h.dtype.type(losses.sum(dtype=np.float64) / count), backward


def _check_softmax(
    h: Array, items: Array, targets: Array, left_out: Any, sequence: Any, block: int | None
) -> tuple[Array, Array, Array]:
    """Targets (T), left_out (B, m), which has no columns if nothing is left out, sequence (T)."""
    if len(items) < 2:
        raise ShapeError(
            f"softmax_cross_entropy: items has {len(items)} rows; row 0 is the padding item, so "
            "there is no candidate"
        )
    if block is not None and not (isinstance(block, int | np.integer) and block > 0):
        raise ConfigError(f"softmax_cross_entropy: block is {block}; it must be 1 or more")
    targets = _check_targets("softmax_cross_entropy", h, items, targets)
    if left_out is None:
        return targets, np.zeros((1, 0), np.int64), np.zeros(len(h), np.int64)
    name = "softmax_cross_entropy"
    left_out = check_ids(name, left_out, len(items), "left_out")
    if left_out.ndim != 2 or sequence is None:
        raise ShapeError(
            f"{name}: left_out has shape {left_out.shape}; it is (B, m), and sequence (T) says "
            "which of its rows belongs to each row of h"
        )
    sequence = check_ids(name, sequence, len(left_out), "sequence").astype(np.int64)
    if sequence.shape != h.shape[:1]:
        raise ShapeError(f"{name}: sequence has shape {sequence.shape}, h has {len(h)} rows")
    return targets, left_out, sequence


def _check_targets(name: str, h: Array, items: Array, targets: Array) -> Array:
    targets = check_ids(name, targets, len(items), "targets")
    if targets.shape != h.shape[:1]:
        raise ShapeError(f"{name}: targets have shape {targets.shape}, h has {len(h)} rows")
    return targets


def _check_sampled(h: Array, items: Array, targets: Array, negatives: Array) -> tuple[Array, Array]:
    name = "sampled_bce"
    targets = _check_targets(name, h, items, targets)
    negatives = check_ids(name, negatives, len(items), "negatives")
    if negatives.ndim != 2 or len(negatives) != len(h):
        raise ShapeError(f"{name}: negatives have shape {negatives.shape}, expected ({len(h)}, k)")
    return targets, negatives
