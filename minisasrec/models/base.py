"""What every model offers: a loss to train on, and scores to rank by."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.tensor import Tensor
from minisasrec.backends import backend
from minisasrec.data.batches import Batch
from minisasrec.data.sequences import Packed
from minisasrec.data.split import Split
from minisasrec.nn import Module
from minisasrec.random import Keys

Array = np.ndarray
NOBODY = -1  # the number of a user who is not in the data set


class Model:
    """Something that scores items for users, by their number and their history.

    A user who is not in the data set has the number -1 (`NOBODY`). A model that reads only the
    history takes that; a model that needs a vector of the user raises `DataError`.
    """

    num_items: int
    n: int  # longest history that it looks at

    @classmethod
    def for_split(cls, split: Split, settings: Any = None, seed: int = 0) -> Model:
        """The model for a data set; a model that is trained by gradients is still untrained.

        `settings` is the model's section of the configuration; a model without settings ignores it.
        """
        raise TypeError(f"{cls.__name__} has no for_split")

    def all_scores(self, users: Array, histories: Packed) -> Array:
        """A score for every item, (B, |I| + 1); entry 0 belongs to padding and means nothing."""
        raise TypeError(f"{type(self).__name__} has no all_scores")

    def candidate_scores(self, users: Array, histories: Packed, candidates: Array) -> Array:
        """Scores of `candidates` (B, c) only, (B, c)."""
        return np.take_along_axis(self.all_scores(users, histories), candidates, axis=1)


class SequenceModel(Module, Model):
    """A model with parameters: it makes one vector of a user's history, and one of each item.

    The score of an item is the dot product of the two. Subclasses define `loss`, `encode` and
    `item_vectors`.
    """

    def loss(self, batch: Batch, keys: Keys | None = None) -> Tensor:
        """The training loss of a batch, a scalar; `keys` switch dropout on."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def after_step(self) -> None:
        """Called after each optimiser step, for example to project weights onto a constraint."""

    def encode(self, users: Array, histories: Packed) -> Array:
        """One vector per user, (B, d)."""
        raise TypeError(f"{type(self).__name__} has no encode")

    def item_vectors(self) -> Array:
        """One vector per item, (|I| + 1, d)."""
        raise TypeError(f"{type(self).__name__} has no item_vectors")

    def all_scores(self, users: Array, histories: Packed) -> Array:
        """r_i = encode(history) . item i, for every item (Sec. III-D)."""
        return self.encode(users, histories) @ self.item_vectors().T

    def candidate_scores(self, users: Array, histories: Packed, candidates: Array) -> Array:
        """r_i for the candidates only."""
        vectors, items = self.encode(users, histories), self.item_vectors()
        if backend() == "numba":
            return kernels.embedding.gather_dot(vectors, items, candidates)
        return np.einsum("bd,bcd->bc", vectors, items[candidates])
