"""TransRec: users as translations between items (He, Kang & McAuley, RecSys 2017).

    r(u, i, j) = beta_j - |gamma_i + T + t_u - gamma_j|^2

Items are points of one metric space. From the last item a user moves by T, which all users share,
plus t_u, which is the user's own. Items near the point reached are likely to come next. The
distance is the squared Euclidean one (the paper also tries the sum of absolute values). The points
stay in the unit ball, so that no item can move far away from all others.
"""

from __future__ import annotations

import numpy as np

from minisasrec import ops
from minisasrec.autograd.tensor import Tensor
from minisasrec.models.factors import Array, FactorModel
from minisasrec.nn import Embedding
from minisasrec.nn.init import constant, glorot_uniform
from minisasrec.random import Seed


class TransRec(FactorModel):
    """q(u, i) = [2 p, 1, -|p|^2], w(j) = [gamma_j, beta_j - |gamma_j|^2, 1], p = gamma_i + T + t_u.

    Since -|p - gamma_j|^2 = 2 p . gamma_j - |gamma_j|^2 - |p|^2, the score is a dot product.
    A user who is not in the data set moves by T only.
    """

    needs_user = False

    def create(self, d: int, seed: Seed) -> None:
        """Points and T begin as random unit vectors, beta and t_u at 0, as in the paper."""
        self.point = Embedding(self.num_items + 1, d, seed.spawn("point"), padding_id=0)
        self.point.table.data[1:] /= np.linalg.norm(self.point.table.data[1:], axis=1)[:, None]
        self.T = glorot_uniform((1, d), seed.spawn("T"))
        self.T.data /= np.linalg.norm(self.T.data)
        self.user = constant((self.num_users + 1, d), 0)  # the last row, for new users, stays 0
        self.beta = constant((self.num_items + 1, 1), 0)

    def check_users(self, users: Array) -> Array:
        """Any user will do: one without a vector gets the number of the row of zeros."""
        return np.where((users < 0) | (users >= self.num_users), self.num_users, users)

    def query(self, users: Array, last: Array) -> Tensor:
        """[2 p, 1, -|p|^2] with p = gamma_i + T + t_u, (T, d + 2)."""
        t_u = ops.embedding(self.user, ids=users, padding_id=self.num_users)
        p = self.point(last) + self.T + t_u
        size = (p * p).sum(axis=1, keepdims=True)
        return ops.concatenate(p * 2.0, np.ones((len(last), 1)), -size, axis=1)

    def items(self) -> Tensor:
        """[gamma_j, beta_j - |gamma_j|^2, 1], (|I| + 1, d + 2)."""
        gamma = self.point.table
        size = (gamma * gamma).sum(axis=1, keepdims=True)
        return ops.concatenate(gamma, self.beta - size, np.ones((len(gamma), 1)), axis=1)

    def reads(self, users: Array, last: Array, items: Array) -> list[tuple[Tensor, Array]]:
        """gamma_i, t_u, gamma_j and beta_j."""
        points = [(self.point.table, last), (self.point.table, items)]
        return [*points, (self.user, users), (self.beta, items)]

    def after_step(self) -> None:
        """Bring points outside the unit ball back to it: gamma <- gamma / max(1, |gamma|)."""
        gamma = self.point.table.data
        gamma /= np.maximum(1, np.linalg.norm(gamma, axis=1))[:, None]
        self.point.table.mark_changed()
