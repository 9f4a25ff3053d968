"""FMC: a first-order Markov chain, factorised (as in Rendle et al., WWW 2010).

    r(i, j) = M_i . N_j

What follows item i, for all users alike. A table of all |I|^2 transitions is mostly empty. As a
product of two item embeddings it lets items with similar successors learn from each other. With
M = N it would be symmetric and could not tell "i then j" from "j then i" (Sec. III-D).
"""

from __future__ import annotations

from minisasrec.autograd.tensor import Tensor
from minisasrec.models.factors import Array, FactorModel
from minisasrec.nn import Embedding
from minisasrec.random import Seed


class FMC(FactorModel):
    """q(u, i) = M_i and w(j) = N_j: SASRec without attention, positions and users (Sec. III-G)."""

    needs_user = False

    def create(self, d: int, seed: Seed) -> None:
        """Two item embeddings."""
        self.M = Embedding(self.num_items + 1, d, seed.spawn("M"), padding_id=0)
        self.N = Embedding(self.num_items + 1, d, seed.spawn("N"), padding_id=0)

    def check_users(self, users: Array) -> Array:
        """Any user will do: the model reads only the last item."""
        return users

    def query(self, users: Array, last: Array) -> Tensor:
        """M_i, (T, d)."""
        return self.M(last)

    def items(self) -> Tensor:
        """N_j, (|I| + 1, d)."""
        return self.N.table

    def reads(self, users: Array, last: Array, items: Array) -> list[tuple[Tensor, Array]]:
        """M_i and N_j."""
        return [(self.M.table, last), (self.N.table, items)]
