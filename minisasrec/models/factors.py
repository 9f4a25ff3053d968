"""What the paper's simple comparison methods share (Sec. IV-B): vectors per user and per item.

User u, whose last item is i, gives item j a score that is a dot product of two vectors:

    r(u, i, j) = q(u, i) . w(j)

The methods differ only in q and w. All are trained by Bayesian personalised ranking (BPR, arXiv
1205.2618; the papers of the other methods use it, too): at each position of a train sequence, the
item that came next should score higher than an item that the user never met.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from minisasrec import ops
from minisasrec.autograd.engine import no_grad
from minisasrec.autograd.tensor import Tensor
from minisasrec.data.batches import Batch
from minisasrec.data.sequences import Packed
from minisasrec.models.base import UserModel
from minisasrec.models.losses import check_loss, next_item_loss
from minisasrec.models.ranges import check_least, check_numbers
from minisasrec.random import Keys, Seed

Array = np.ndarray


@dataclass(frozen=True)
class FactorConfig:
    """Settings of BPR, FMC, FPMC and TransRec."""

    d: int = 50
    """Latent dimension. Paper: the best of 10, 20, 30, 40, 50."""
    row_l2: float = 0.0
    """row_l2/2 * |v|^2 is added to the loss of an example for each vector v it reads. Paper: the
    best of 1e-4 to 1."""
    loss: Literal["bpr", "bce", "gbce", "bpr-max", "softmax"] = "bpr"
    """bpr: that of these methods' papers. The others are SASRec's, to compare networks alone."""
    n: int = 10_000
    """Training uses only the last n items of a user."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a setting outside its range."""
        check_numbers(self)
        check_least(self, d=1, n=1, row_l2=0)
        check_loss(self.loss, own=("bpr",))


class FactorModel(UserModel):
    """A model with r(u, i, j) = q(u, i) . w(j), trained by BPR on (u, i, j, negative).

    Subclasses define its vectors (`create`), q (`query`), w (`items`) and what an example reads
    of them (`reads`).
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        config: FactorConfig | None = None,
        seed: int | Seed = 0,
    ) -> None:
        self.config = config or FactorConfig()
        self.num_users, self.num_items, self.n = num_users, num_items, self.config.n
        self.create(self.config.d, Seed.of(seed))
        self.name_parameters()

    def create(self, d: int, seed: Seed) -> None:
        """Make the vectors, each table with a seed of its own."""
        raise TypeError(f"{type(self).__name__} has no create")

    def query(self, users: Array, last: Array) -> Tensor:
        """q for T pairs of a user and his or her last item, (T, D)."""
        raise TypeError(f"{type(self).__name__} has no query")

    def items(self) -> Tensor:
        """w for every item, (|I| + 1, D); row 0 belongs to padding and means nothing."""
        raise TypeError(f"{type(self).__name__} has no items")

    def reads(self, users: Array, last: Array, items: Array) -> list[tuple[Tensor, Array]]:
        """(table, ids of rows) for all that the examples read; a row read twice is there twice."""
        raise TypeError(f"{type(self).__name__} has no reads")

    def loss(self, batch: Batch, keys: Keys | None = None) -> Tensor:
        """BPR: the mean over positions t with a target o_t, of user u and with input item i, of

            - sum over negatives j of log sigmoid(r(u, i, o_t) - r(u, i, j))
            + row_l2/2 * sum of |v|^2 over the vectors v that the position reads

        or in place of BPR another loss that the configuration names. There is no dropout, so `keys`
        are not used.
        """
        inputs = batch.inputs
        rows = np.flatnonzero(batch.targets)
        users = self.check_users(batch.users)[inputs.slot_ids[rows] // inputs.n]
        last = inputs.items.reshape(-1)[rows]
        negatives = batch.negatives.reshape(batch.targets.size, -1)[rows]
        targets = batch.targets.reshape(-1)[rows]
        items = np.concatenate([targets[:, None], negatives], axis=1)
        query, w = self.query(users, last), self.items()
        if self.config.loss == "bpr":
            scores = ops.gather_dot(query, w, ids=items)
            loss = -ops.log_sigmoid(scores[:, :1] - scores[:, 1:]).sum()
        else:
            loss = next_item_loss(self.config.loss, query, w, targets, negatives) * len(rows)
        if self.config.row_l2:
            for table, ids in self.reads(users, last, items):
                loss = loss + ops.squared_rows(table, ids=ids) * (self.config.row_l2 / 2)
        return loss / len(rows)

    def encode(self, users: Array, histories: Packed) -> Array:
        """q of each user with the last item of his or her history, (B, D)."""
        with no_grad():
            return self.query(self.check_users(users), histories.items[histories.last]).data

    def item_vectors(self) -> Array:
        """W as an array, (|I| + 1, D)."""
        with no_grad():
            return self.items().data
