"""The losses that every network here can be trained with: `--loss` chooses one of them.

h_t is the state of a position, o_t its target, r_j = h_t . N_j the score of item j.

    bce        -[log sigmoid(r_o) + sum over k negatives log(1 - sigmoid(r_j))]      the paper's
    gbce       the same with beta in front of the first term: fewer negatives, less confidence
    bpr-max, top1, ...   the order of the target and its k negatives: `ops.ranking`
    softmax    -r_o + log sum over the whole catalogue of e^(r_j)

So "which network?" and "which loss?" are two questions, and `reproduce grid` asks both. The k
negatives of a position are its own (`--negatives`), drawn among the items its user never met.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from minisasrec import ops
from minisasrec.autograd.tensor import Tensor
from minisasrec.errors import ConfigError
from minisasrec.ops.ranking import RANKING_LOSSES

Array = np.ndarray
Loss = Literal["bce", "gbce", "bpr-max", "softmax"]
GBCE_T = 0.75  # the calibration that gSASRec's authors advise (arXiv 2308.07192)
SQUARED_SCORES = 0.05  # lambda of bpr-max: what validation chose for GRU4Rec+ on most data sets


def next_item_loss(
    loss: str,
    h: Tensor,
    items: Tensor,
    targets: Array,
    negatives: Array,
    *,
    gbce_t: float = GBCE_T,
    weight: float = SQUARED_SCORES,
    own: dict[str, Any] | None = None,
) -> Tensor:
    """The loss of that name over states h (T D) and the item vectors (|I| + 1, D), a scalar.

    `targets` (T), 0 where there is none; `negatives` (T k), which softmax does not use. `weight` is
    the lambda of bpr-max. `own` are the constants of `ops.softmax_cross_entropy` that leave out a
    sequence's own items.
    """
    if loss == "softmax":
        return ops.softmax_cross_entropy(h, items, targets=targets, **(own or {}))
    if loss in RANKING_LOSSES:
        scores = ops.gather_dot(h, items, ids=np.concatenate([targets[:, None], negatives], axis=1))
        return ops.ranking_loss(
            scores[:, 0],
            scores[:, 1:],
            allowed=np.broadcast_to(targets[:, None] != 0, negatives.shape),
            loss=loss,
            weight=weight,
        )
    beta = gbce_beta(negatives.shape[-1], len(items) - 1, gbce_t) if loss == "gbce" else 1.0
    return ops.sampled_bce(h, items, targets=targets, negatives=negatives, beta=beta)


def gbce_beta(negatives: int, num_items: int, t: float) -> float:
    """The power of gBCE: alpha (t (1 - 1/alpha) + 1/alpha), alpha = k / (|I| - 1).

    alpha is the share of negatives that is sampled; t = 0 gives 1, plain BCE. Raises `ConfigError`
    for k below 1.
    """
    if negatives < 1:
        raise ConfigError(f"gbce needs negatives; negatives is {negatives}, give 1 or more")
    alpha = min(negatives / max(num_items - 1, 1), 1.0)
    return alpha * (t * (1 - 1 / alpha) + 1 / alpha)


def check_loss(loss: str, own: tuple[str, ...] = ()) -> None:
    """Raise `ConfigError` for a loss of another name; `own` are the model's further ones."""
    choices = tuple(dict.fromkeys((*own, *get_args(Loss))))  # a tuple takes values of any type
    if loss not in choices:
        raise ConfigError(f"loss is {loss!r}; choose one of {', '.join(choices)}")
