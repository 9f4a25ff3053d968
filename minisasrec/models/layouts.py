"""What differs between the two layouts of a batch: attention, and the rows that have a target.

Everything else in SASRec works row by row, on packed rows (T, d) as on padded ones (B, n, d).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec import ops
from minisasrec.autograd.tensor import Tensor
from minisasrec.data.batches import Batch
from minisasrec.data.sequences import Padded, Sequences
from minisasrec.random import Keys


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    inputs: Sequences,
    heads: int,
    rate: float = 0.0,
    keys: Keys | None = None,
) -> Tensor:
    """Causal attention inside each sequence; with `keys`, a share `rate` of weights is dropped."""
    drop: dict[str, Any] = {"rate": rate, "key": keys.next()} if keys and rate else {}
    if isinstance(inputs, Padded):
        return ops.causal_attention(q, k, v, real=inputs.real, heads=heads, **drop)
    return ops.packed_causal_attention(
        q, k, v, offsets=inputs.offsets, slot_ids=inputs.slot_ids, heads=heads, **drop
    )


def rows_with_targets(h: Tensor, batch: Batch) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Hidden states (rows, d), their targets (rows) and negatives (rows, k), padded rows included.

    The target of a padded row is 0, which the losses leave out.
    """
    targets, negatives = batch.targets, batch.negatives
    if isinstance(batch.inputs, Padded):
        h = h.reshape(-1, h.shape[-1])
        targets, negatives = targets.reshape(-1), negatives.reshape(len(h), -1)
    return h, targets, negatives


def own_items(batch: Batch) -> dict[str, np.ndarray]:
    """For `ops.softmax_cross_entropy`: the items of each sequence, the last target included.

    left_out (B, n + 1), 0 where a sequence has fewer, and sequence (rows): which of them a row
    belongs to.
    """
    inputs, targets = batch.inputs, batch.targets
    if isinstance(inputs, Padded):
        items, last, lengths = inputs.items, targets[:, -1], np.full(len(targets), inputs.n)
    else:
        items, last, lengths = inputs.pad(), targets[inputs.last], np.diff(inputs.offsets)
    return {
        "left_out": np.concatenate([items, last[:, None]], axis=1),
        "sequence": np.repeat(np.arange(len(items)), lengths),
    }
