"""Caser: convolutions over the last items as over an image (Tang and Wang, 2018; arXiv 1809.07426).

    E          the last L items, embedded: L rows in time, d columns of features        eq. 2
    o          per height h = 1..L, n_h horizontal filters: ReLU, then maximum in time   eq. 3-6
    o~         n_v vertical filters: weighted sums of the L items                        eq. 7-8
    z = ReLU(W [o~, o] + b)                 the user's short-term interest               eq. 9
    y_i = W'_i [z, P_u] + b'_i              with the user's vector P_u: score of item i  eq. 10

A window's targets are the T items that follow it: the first next one and, so that patterns which
skip an item can be learnt, those after it. Loss: binary cross-entropy of every target against
sampled negatives (eq. 12; --negatives, theirs: 3 per target).

What differs from that paper and its code:

- A window ends at every position of a history and not only where L items are there; missing items
  are zero vectors on the left (the paper pads only histories that are shorter than L). Otherwise
  users with few items would hardly be trained on. Near the end, targets that do not exist are left
  out.
- A step takes the windows of `batch_size` users and not a fixed number of windows.
- Weights start with Glorot's uniform distribution, not with a normal one.
- ReLU comes after the maximum. ReLU never decreases, so the result is the same, from fewer numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minisasrec import ops
from minisasrec.autograd.engine import no_grad
from minisasrec.autograd.tensor import Tensor
from minisasrec.data.batches import Batch
from minisasrec.data.sequences import Packed
from minisasrec.errors import ConfigError
from minisasrec.models.base import UserModel
from minisasrec.models.losses import Loss, check_loss, next_item_loss
from minisasrec.models.ranges import check_least, check_numbers, check_shares
from minisasrec.nn import Embedding, Linear, Module, dropout
from minisasrec.nn.init import constant, glorot_uniform
from minisasrec.nn.module import Parameter
from minisasrec.random import Keys, Seed

Array = np.ndarray


@dataclass(frozen=True)
class CaserConfig:
    """Settings of Caser; the defaults are those of its authors' code for MovieLens."""

    n: int = 200
    """Windows are taken from the last n items of a history."""
    L: int = 5
    """Items in a window. Caser: 5."""
    T: int = 3
    """Targets of a window: the next T items. Caser: 3."""
    d: int = 50
    """Latent dimension. Caser: 50."""
    n_h: int = 16
    """Horizontal filters of each height 1 to L. Caser: 16."""
    n_v: int = 4
    """Vertical filters. Caser: 4."""
    loss: Loss = "bce"
    """bce: that of its paper. The others are SASRec's, to compare networks alone."""
    dropout: float = 0.5
    """Share of the convolutions' results dropped in training. Caser: .5."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a setting outside its range."""
        check_numbers(self)
        check_least(self, n=1, L=1, T=1, d=1, n_h=0, n_v=0)
        check_shares(self, "dropout")
        check_loss(self.loss)
        if not self.n_h + self.n_v:
            raise ConfigError("n-h and n-v are both 0; Caser needs filters of one kind at least")


class HorizontalFilters(Module):
    """n_h filters of one height h: the largest of their results over time, after ReLU (eq. 3-6)."""

    def __init__(self, filters: int, height: int, d: int, seed: Seed) -> None:
        # drawn as one matrix: it multiplies a window that is written as one row
        weights = glorot_uniform((filters, height * d), seed).data
        self.F = Parameter(weights.reshape(filters, height, d))
        self.b = constant(filters, 0)

    def forward(self, windows: Tensor) -> Tensor:
        """(B L d) -> (B n_h)."""
        return ops.relu(ops.max_over_time(ops.horizontal_convolution(windows, self.F, self.b)))


class Caser(UserModel):
    """The model for `num_users` users and items 1 to num_items (0 is padding)."""

    def __init__(
        self,
        num_users: int,
        num_items: int,
        config: CaserConfig | None = None,
        seed: int | Seed = 0,
    ) -> None:
        config = config or CaserConfig()
        self.num_users, self.num_items = num_users, num_items
        self.config, self.n = config, config.n
        seed = Seed.of(seed)
        L, d = config.L, config.d
        self.item_embedding = Embedding(
            num_items + 1, d, seed.spawn("item_embedding"), padding_id=0
        )
        self.user_embedding = Embedding(num_users, d, seed.spawn("user_embedding"))
        heights = range(1, L + 1) if config.n_h else ()
        self.horizontal = [
            HorizontalFilters(config.n_h, h, d, seed.spawn(f"horizontal.{h}")) for h in heights
        ]
        if config.n_v:
            self.vertical = glorot_uniform((config.n_v, L), seed.spawn("vertical"))
        width = config.n_v * d + config.n_h * L
        self.interest = Linear(width, d, seed.spawn("interest"), activation="relu")
        # W' and, as its last column, b'
        output = glorot_uniform((num_items + 1, 2 * d), seed.spawn("output")).data
        self.output = Parameter(np.pad(output, ((0, 0), (0, 1))))
        self.name_parameters()

    def forward(self, windows: Array, users: Array, keys: Keys | None = None) -> Tensor:
        """[z, P_u, 1] for each of B windows (B L) of item ids and its user (B), (B, 2 d + 1)."""
        users = self.check_users(users)
        E = self.item_embedding(windows)
        found = []
        if self.config.n_v:
            found.append(ops.vertical_convolution(E, self.vertical).reshape(len(windows), -1))
        found += [filters(E) for filters in self.horizontal]
        z = self.interest(dropout(ops.concatenate(*found, axis=1), self.config.dropout, keys))
        return ops.concatenate(
            z, self.user_embedding(users), np.ones((len(windows), 1), z.dtype), axis=1
        )

    def loss(self, batch: Batch, keys: Keys | None = None) -> Tensor:
        """Binary cross-entropy over the next T items of every window and their negatives (eq. 12),
        or another loss that the configuration names. The mean over all targets, where the paper has
        their sum.
        """
        inputs = batch.inputs
        if not isinstance(inputs, Packed):
            raise ConfigError("Caser reads packed sequences, these are padded")
        lengths = np.diff(inputs.offsets)
        rows = np.arange(len(inputs.items))
        ends = np.repeat(inputs.offsets[1:], lengths)
        x = self(self.windows(inputs, rows), np.repeat(batch.users, lengths), keys)
        # the target i steps ahead, and its negatives, are those of the row i places below
        later = [np.minimum(rows + i, ends - 1) for i in range(self.config.T)]
        exists = [rows + i < ends for i in range(self.config.T)]
        targets = np.concatenate(
            [np.where(e, batch.targets[at], 0) for at, e in zip(later, exists, strict=True)]
        )
        return next_item_loss(
            self.config.loss,
            ops.concatenate(*[x] * self.config.T, axis=0),
            self.output,
            targets,
            np.concatenate([batch.negatives[at] for at in later]),
        )

    def windows(self, inputs: Packed, rows: Array) -> Array:
        """The L items that end at each of these packed rows, 0 before the first item, (B, L)."""
        starts = np.repeat(inputs.offsets[:-1], np.diff(inputs.offsets))[rows]
        at = rows[:, None] + np.arange(1 - self.config.L, 1)
        return np.where(at >= starts[:, None], inputs.items[np.maximum(at, 0)], 0)

    def encode(self, users: Array, histories: Packed) -> Array:
        """[z, P_u, 1] after the last item of each history, (B, 2 d + 1).

        Raises `DataError` for a user that the model was not trained with.
        """
        with no_grad():
            return self(self.windows(histories, histories.last), users).data

    def item_vectors(self) -> Array:
        """(W', b') as an array, (|I| + 1, 2 d + 1)."""
        return self.output.data
