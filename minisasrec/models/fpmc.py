"""FPMC: matrix factorisation plus a factorised Markov chain (Rendle et al., WWW 2010).

    r(u, i, j) = gamma_u . gamma_j + M_i . N_j

What the user likes, and what follows the last item: the sum of BPR without bias, and FMC.
"""

from __future__ import annotations

from minisasrec import ops
from minisasrec.autograd.tensor import Tensor
from minisasrec.models.factors import Array, FactorModel
from minisasrec.nn import Embedding
from minisasrec.random import Seed


class FPMC(FactorModel):
    """q(u, i) = [gamma_u, M_i], w(j) = [gamma_j, N_j]: one dot product is the sum of two."""

    def create(self, d: int, seed: Seed) -> None:
        """One user embedding and three item embeddings."""
        self.user = Embedding(self.num_users, d, seed.spawn("user"))
        self.item = Embedding(self.num_items + 1, d, seed.spawn("item"), padding_id=0)
        self.M = Embedding(self.num_items + 1, d, seed.spawn("M"), padding_id=0)
        self.N = Embedding(self.num_items + 1, d, seed.spawn("N"), padding_id=0)

    def query(self, users: Array, last: Array) -> Tensor:
        """[gamma_u, M_i], (T, 2 d)."""
        return ops.concatenate(self.user(users), self.M(last), axis=1)

    def items(self) -> Tensor:
        """[gamma_j, N_j], (|I| + 1, 2 d)."""
        return ops.concatenate(self.item.table, self.N.table, axis=1)

    def reads(self, users: Array, last: Array, items: Array) -> list[tuple[Tensor, Array]]:
        """gamma_u, M_i, gamma_j and N_j."""
        tables = [(self.user.table, users), (self.M.table, last)]
        return [*tables, (self.item.table, items), (self.N.table, items)]
