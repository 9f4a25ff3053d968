"""What every model offers: a loss to train on, and scores to rank by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from minisasrec import kernels, ops
from minisasrec.autograd.engine import no_grad
from minisasrec.autograd.tensor import Tensor
from minisasrec.backends import backend
from minisasrec.data.batches import Batch
from minisasrec.data.sequences import Packed
from minisasrec.data.split import Split
from minisasrec.errors import CheckpointError, DataError
from minisasrec.nn import Module
from minisasrec.nn.module import array_of_numbers
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
    needs_user: ClassVar[bool] = False  # whether it scores only for users that it was trained with
    arrays: ClassVar[tuple[str, ...]] = ()  # attributes that are its state, if it is no Module

    @classmethod
    def of_size(
        cls, num_users: int, popularity: Array, settings: Any = None, seed: int = 0
    ) -> Model:
        """The untrained model for so many users and the items of `popularity`.

        `popularity` (|I| + 1) counts the train actions of each item. `settings` is the model's
        section of the configuration; a model without settings ignores it.
        """
        raise TypeError(f"{cls.__name__} has no of_size")

    @classmethod
    def for_split(cls, split: Split, settings: Any = None, seed: int = 0) -> Model:
        """The model for a data set; one that is trained by gradients is still untrained."""
        return cls.of_size(split.dataset.num_users, split.popularity(), settings, seed)

    def state(self) -> dict[str, Array]:
        """The arrays that make the model what it is, by name."""
        return {name: getattr(self, name) for name in self.arrays}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Set them. Raises `CheckpointError` if these are not the arrays of such a model."""
        if state.keys() != set(self.arrays):
            raise CheckpointError(
                f"{type(self).__name__} is made of {', '.join(self.arrays)}; got "
                f"{', '.join(sorted(state)) or 'nothing'}"
            )
        arrays = {name: array_of_numbers(name, state[name]) for name in self.arrays}
        for name, array in arrays.items():
            wanted = getattr(self, name, array).shape  # a size that the data decides is not known
            if array.shape != wanted:
                raise CheckpointError(
                    f"{name} has shape {array.shape}, the model needs {wanted}: was it made of "
                    "other data?"
                )
        for name, array in arrays.items():
            setattr(self, name, array)

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
        return dot_products(self.encode(users, histories), self.item_vectors())

    def candidate_scores(self, users: Array, histories: Packed, candidates: Array) -> Array:
        """r_i for the candidates (B, c) only. Raises `ShapeError` where one is no item."""
        vectors, items = self.encode(users, histories), self.item_vectors()
        dtype = np.result_type(vectors, items, np.float32)
        h, table = (Tensor(x.astype(dtype, copy=False)) for x in (vectors, items))
        with no_grad():
            return ops.gather_dot(h, table, ids=candidates).data


class UserModel(SequenceModel):
    """A model that has a vector of each user it was trained with, and scores for these only."""

    needs_user: ClassVar[bool] = True
    num_users: int

    @classmethod
    def of_size(
        cls, num_users: int, popularity: Array, settings: Any = None, seed: int = 0
    ) -> UserModel:
        """The untrained model for so many users and the items of `popularity`."""
        make: Any = cls
        model: UserModel = make(num_users, len(popularity) - 1, settings, seed)
        return model

    def check_users(self, users: Array) -> Array:
        """`users` as they are. Raises `DataError` for a user without a vector in the model."""
        unknown = users[(users < 0) | (users >= self.num_users)]
        if len(unknown):
            raise DataError(
                f"{type(self).__name__} keeps a vector per user and has none for user number "
                f"{unknown[0]} (it knows 0 to {self.num_users - 1}); name a user of the data set, "
                "or use a model that goes by the history alone, such as sasrec or fmc"
            )
        return users


def dot_products(x: Array, items: Array) -> Array:
    """x (B, d) with each of the items (N, d): (B, N).

    The kernel gives a row the same bits whatever the other rows and the number of threads are;
    NumPy's BLAS need not, so with it two items that are nearly equal may change places.
    """
    if backend() == "numba":
        return kernels.matmul.matmul_nt(np.ascontiguousarray(x), np.ascontiguousarray(items))
    return x @ items.T
