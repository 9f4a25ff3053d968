"""BPR: biased matrix factorisation, trained to rank (Rendle et al., UAI 2009, arXiv 1205.2618).

    r(u, j) = beta_j + gamma_u . gamma_j

What a user likes; the order does not count. The examples are those of all models here: an item and
the one that came next. So the model does not learn from a user's first item.
"""

from __future__ import annotations

import numpy as np

from minisasrec import ops
from minisasrec.autograd.tensor import Tensor
from minisasrec.models.factors import Array, FactorModel
from minisasrec.nn import Embedding
from minisasrec.nn.init import constant
from minisasrec.random import Seed


class BPR(FactorModel):
    """q(u, i) = [gamma_u, 1] and w(j) = [gamma_j, beta_j]."""

    def create(self, d: int, seed: Seed) -> None:
        """User and item vectors, and one bias per item that begins at 0."""
        self.user = Embedding(self.num_users, d, seed.spawn("user"))
        self.item = Embedding(self.num_items + 1, d, seed.spawn("item"), padding_id=0)
        self.beta = constant((self.num_items + 1, 1), 0)

    def query(self, users: Array, last: Array) -> Tensor:
        """[gamma_u, 1], (T, d + 1)."""
        return ops.concatenate(self.user(users), np.ones((len(users), 1)), axis=1)

    def items(self) -> Tensor:
        """[gamma_j, beta_j], (|I| + 1, d + 1)."""
        return ops.concatenate(self.item.table, self.beta, axis=1)

    def reads(self, users: Array, last: Array, items: Array) -> list[tuple[Tensor, Array]]:
        """gamma_u, gamma_j and beta_j."""
        return [(self.user.table, users), (self.item.table, items), (self.beta, items)]
