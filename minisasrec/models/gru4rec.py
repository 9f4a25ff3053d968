"""GRU4Rec and GRU4Rec+: a recurrent network over the history, trained to rank.

    x_t = W input_t                     the item, embedded or one-hot
    h_t = GRU(x_t, h_{t-1})             see ops.recurrent
    r_{i,t} = h_t . N_i + b_i           score of item i as the next one

GRU4Rec is Hidasi et al., "Session-based recommendations with recurrent neural networks" (arXiv
1511.06939); GRU4Rec+ is Hidasi and Karatzoglou, "Recurrent neural networks with top-k gains for
session-based recommendations" (arXiv 1706.03847). Here a user's whole history is one session, as
in the SASRec paper (Sec. IV-B). Both are this one class, with other settings:

GRU4Rec    the item goes in one-hot (its rows of W are a table of their own), the negatives of a
           row are the targets of the other rows of its mini-batch (Sec. 3.1.2), loss TOP1.
GRU4Rec+   `samples` additional negatives, shared by all rows of a batch and drawn in proportion to
           popularity^alpha (Sec. 2.2 there); BPR-max or TOP1-max; one embedding for input and
           output (the paper's "constrained" embedding).

What differs from those papers and their code:

- Sessions do not run side by side through one state that is carried from step to step; a batch
  holds whole histories, and the gradient goes back through all of their steps.
- The mini-batches that in-batch negatives come from are made afterwards: rows of the same step lie
  together, `in_batch` at a time. A negative that happens to be the row's own target does not count.
- The reset gate works after the product with U, as in torch.nn.GRU.
- Scores are linear: no tanh (GRU4Rec) or ELU (GRU4Rec+) on them. Either would keep the order of
  the scores, but change losses and gradients.
- Adam, where they use Adagrad with momentum; one layer of units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from minisasrec import ops
from minisasrec.autograd.engine import no_grad
from minisasrec.autograd.tensor import Tensor
from minisasrec.data.batches import Batch
from minisasrec.data.sequences import Packed, Sequences
from minisasrec.errors import ConfigError
from minisasrec.models.base import SequenceModel
from minisasrec.models.losses import check_loss, next_item_loss
from minisasrec.models.ranges import check_least, check_numbers, check_shares
from minisasrec.nn import Embedding, Linear, dropout
from minisasrec.nn.init import constant, glorot_uniform
from minisasrec.ops.ranking import RANKING_LOSSES
from minisasrec.random import Key, Keys, Seed, make_key, random_uint32

Array = np.ndarray
GRULoss = Literal["cross-entropy", "bpr", "top1", "top1-max", "bpr-max", "bce", "gbce", "softmax"]


@dataclass(frozen=True)
class GRU4RecConfig:
    """Settings of GRU4Rec; the defaults are those of its paper, as far as it gives them."""

    n: int = 200
    """Longest history; of longer ones the last n items are read."""
    d: int = 100
    """Units of the GRU. GRU4Rec's paper: 100."""
    loss: GRULoss = "top1"
    """top1, bpr or cross-entropy (GRU4Rec); top1-max or bpr-max (GRU4Rec+). bce, gbce and softmax
    are SASRec's, to compare networks alone."""
    in_batch: int = 128
    """Rows in a group; each takes the targets of the others as negatives. 0 = none."""
    samples: int = 0
    """Additional negatives, shared by all rows of a batch. GRU4Rec+: 2048. With in-batch and
    samples 0, and for bce and gbce, each position has --negatives of its own, as in SASRec."""
    alpha: float = 0.0
    """Additional negatives are drawn in proportion to popularity^alpha; 0 = uniformly."""
    regularization: float = 0.0
    """Weight lambda of the squared negative scores in bpr-max."""
    shared_embedding: bool = False
    """One item embedding for input and output, and a linear layer between it and the gates."""
    embedding_dropout: float = 0.0
    """Share of the input's elements dropped in training."""
    dropout: float = 0.2
    """Share of the state's elements dropped in training, before scores are made."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a setting outside its range."""
        check_numbers(self)
        check_least(self, n=1, d=1, in_batch=0, samples=0, alpha=0, regularization=0)
        check_shares(self, "embedding_dropout", "dropout")
        if self.in_batch == 1 and not self.samples:
            raise ConfigError(
                "in-batch is 1, which leaves a row without negatives; take 2 or more, or 0"
            )
        check_loss(self.loss, own=RANKING_LOSSES)


@dataclass(frozen=True)
class GRU4RecPlusConfig(GRU4RecConfig):
    """Settings of GRU4Rec+: the same, with other defaults."""

    loss: GRULoss = "bpr-max"
    """bpr-max or top1-max, as in its paper; those of GRU4Rec work, too, and SASRec's."""
    samples: int = 512
    """Additional negatives, shared by all rows of a batch. GRU4Rec+: 2048."""
    regularization: float = 0.5
    """Weight lambda of the squared negative scores in bpr-max."""
    shared_embedding: bool = True
    """One item embedding for input and output, and a linear layer between it and the gates."""


class GRU4Rec(SequenceModel):
    """The model for a catalogue of `num_items` items (ids 1 to num_items, 0 is padding).

    `popularity` (num_items + 1) counts the train actions of each item; additional negatives are
    drawn by it (uniformly without).
    """

    def __init__(
        self,
        num_items: int,
        config: GRU4RecConfig | None = None,
        seed: int | Seed = 0,
        popularity: Array | None = None,
    ) -> None:
        config = config or GRU4RecConfig()
        self.num_items, self.config, self.n = num_items, config, config.n
        seed = Seed.of(seed)
        d = config.d
        if config.shared_embedding:
            self.item_embedding = Embedding(
                num_items + 1, d, seed.spawn("item_embedding"), padding_id=0
            )
            self.input = Linear(d, 3 * d, seed.spawn("input"))
        else:  # a one-hot input times W is a row of W
            self.item_embedding = Embedding(
                num_items + 1, 3 * d, seed.spawn("item_embedding"), padding_id=0
            )
            self.output_embedding = glorot_uniform(
                (num_items + 1, d), seed.spawn("output_embedding")
            )
        self.U = glorot_uniform((d, 3 * d), seed.spawn("U"))
        self.b = constant(3 * d, 0)
        self.output_bias = constant((num_items + 1, 1), 0)
        counts = np.ones(num_items) if popularity is None else popularity[1:]
        with np.errstate(over="ignore"):  # told below
            self.chances = np.cumsum(counts.astype(np.float64) ** config.alpha)
        if not 0 < self.chances[-1] < np.inf:
            raise ConfigError(
                f"--alpha is {config.alpha}: popularity^alpha sums to {self.chances[-1]}, so no "
                "item can be drawn; give an alpha nearer to 0"
            )
        self.name_parameters()

    @classmethod
    def of_size(
        cls, num_users: int, popularity: Array, settings: Any = None, seed: int = 0
    ) -> GRU4Rec:
        """The untrained model for the items of `popularity`; users are not needed."""
        return cls(len(popularity) - 1, settings, seed, popularity)

    def forward(self, inputs: Sequences, keys: Keys | None = None) -> Tensor:
        """h_t at every packed row, (T, d); without `keys` nothing is dropped."""
        if not isinstance(inputs, Packed):
            raise ConfigError("GRU4Rec reads packed sequences, these are padded")
        x = dropout(
            self.item_embedding(inputs.items), self.config.embedding_dropout, keys, inputs.slot_ids
        )
        if self.config.shared_embedding:
            x = self.input(x)
        h = ops.packed_gru(x, self.U, self.b, offsets=inputs.offsets)
        return dropout(h, self.config.dropout, keys, inputs.slot_ids)

    def loss(self, batch: Batch, keys: Keys | None = None) -> Tensor:
        """The ranking loss that the configuration names, over every position with a target.

        With `in_batch` or `samples`, a ranking loss does not use the batch's own negatives.
        """
        c = self.config
        h = _with_ones(self(batch.inputs, keys))
        if c.loss not in RANKING_LOSSES or not (c.in_batch or c.samples):
            weight, N = c.regularization, self.output_items()
            return next_item_loss(c.loss, h, N, batch.targets, batch.negatives, weight=weight)
        rows, targets = self._mini_batches(batch)  # (G, m)
        count = rows.size
        h = ops.embedding(h, ids=rows)  # (G, m, d + 1)
        items = self.output_items()
        wanted = ops.embedding(items, ids=targets)
        negative, allowed = [], []
        if self.config.in_batch:  # (G, m, m): every row with every target of its mini-batch
            negative.append((h @ wanted.T).reshape(count, -1))
            other = (targets[:, :, None] != targets[:, None, :]) & (targets[:, None, :] != 0)
            allowed.append(other.reshape(count, -1))
        if self.config.samples:
            drawn = self.draw(keys.next() if keys else make_key(0))
            negative.append(h.reshape(count, -1) @ ops.embedding(items, ids=drawn).T)
            allowed.append(targets.reshape(-1, 1) != drawn)
        return ops.ranking_loss(
            (h * wanted).sum(axis=-1).reshape(-1),
            ops.concatenate(*negative, axis=1) if negative[1:] else negative[0],
            allowed=np.concatenate(allowed, axis=1) & (targets.reshape(-1, 1) != 0),
            loss=self.config.loss,
            weight=self.config.regularization,
        )

    def _mini_batches(self, batch: Batch) -> tuple[Array, Array]:
        """Rows (G, m) and their targets, 0 where the last mini-batch is not full.

        All first steps come first, then all second steps, ...: like sessions that run side by side.
        """
        offsets = batch.inputs.offsets  # type: ignore[union-attr]  # forward has refused others
        steps = np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))
        order = np.argsort(steps, kind="stable")
        size = min(self.config.in_batch or len(order), len(order))
        rows = np.zeros(-(-len(order) // size) * size, dtype=np.int64)
        rows[: len(order)] = order
        targets = np.zeros(len(rows), dtype=np.int64)
        targets[: len(order)] = batch.targets[order]
        return rows.reshape(-1, size), targets.reshape(-1, size)

    def draw(self, key: Key) -> Array:
        """`samples` item ids, each with a chance in proportion to popularity^alpha."""
        uniform = random_uint32(key, np.arange(self.config.samples)) / 2**32
        return 1 + np.searchsorted(self.chances, uniform * self.chances[-1], side="right")

    def output_items(self) -> Tensor:
        """N with b as its last column, (|I| + 1, d + 1); states have a 1 there."""
        shared = self.config.shared_embedding
        table = self.item_embedding.table if shared else self.output_embedding
        return ops.concatenate(table, self.output_bias, axis=1)

    def encode(self, users: Array, histories: Packed) -> Array:
        """(h, 1) after the last item of each history, (B, d + 1); `users` are not used."""
        with no_grad():
            return _with_ones(self(histories)[histories.last]).data

    def item_vectors(self) -> Array:
        """(N, b) as an array, (|I| + 1, d + 1)."""
        with no_grad():
            return self.output_items().data


def _with_ones(h: Tensor) -> Tensor:
    """h (T d) with a column of ones, which the bias of an item is multiplied with."""
    return ops.concatenate(h, np.ones((len(h), 1), h.dtype), axis=1)
