"""Leave-one-out split (Sec. IV-C): last action for test, the one before for validation.

Nothing is copied: the train part of user u is ``dataset.items[offsets[u]:train_end[u]]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from minisasrec.data.dataset import Dataset
from minisasrec.errors import DataError

Part = Literal["valid", "test"]


@dataclass(frozen=True, eq=False)
class Split:
    """Train, validation and test parts as views of one data set.

    ``train_end`` int64 (U,) is the index into ``dataset.items`` where user u's train part ends;
    ``valid`` and ``test`` int32 (U,) are the held-out items, 0 for a user who has none.
    """

    dataset: Dataset
    train_end: NDArray[np.int64]
    valid: NDArray[np.int32]
    test: NDArray[np.int32]

    @property
    def num_train_actions(self) -> int:
        """Actions in the train parts of all users."""
        return int((self.train_end - self.dataset.offsets[:-1]).sum())

    def train_sequence(self, u: int) -> NDArray[np.int32]:
        """The train items of user u, oldest first: a view."""
        sequence = self.dataset.sequence(u)
        return sequence[: self.train_end[u] - self.dataset.offsets[u]]

    def history(self, u: int, part: Part) -> NDArray[np.int32]:
        """What the model may see before it predicts the held-out item of user u: a view.

        The train items for ``"valid"``; the train items and the validation item for ``"test"``.
        """
        sequence = self.dataset.sequence(u)
        seen_after_train = 1 if _check(part) == "test" and self.valid[u] else 0
        return sequence[: self.train_end[u] - self.dataset.offsets[u] + seen_after_train]

    def targets(self, part: Part) -> NDArray[np.int32]:
        """The held-out item of each user, int32 (U,), 0 for none."""
        return self.valid if _check(part) == "valid" else self.test

    def eval_users(self, part: Part) -> NDArray[np.int64]:
        """Users that have a held-out item in ``part``, ascending."""
        return np.flatnonzero(self.targets(part))

    def popularity(self) -> NDArray[np.int64]:
        """Train actions on each item, int64 (I+1,); entry 0, the padding item, is 0."""
        items, offsets = self.dataset.items, self.dataset.offsets
        counts = np.bincount(items, minlength=self.dataset.num_items + 1)
        for held_out in (self.valid, self.test):
            counts -= np.bincount(held_out[held_out > 0], minlength=len(counts))
        assert counts.sum() == self.num_train_actions == self.train_end.sum() - offsets[:-1].sum()
        return counts


def leave_one_out(dataset: Dataset) -> Split:
    """Hold out the last two actions of each user; users with fewer than 3 are train only."""
    ends = dataset.offsets[1:]
    held_out = np.diff(dataset.offsets) >= 3
    valid = np.zeros(dataset.num_users, dtype=np.int32)
    test = np.zeros(dataset.num_users, dtype=np.int32)
    valid[held_out] = dataset.items[ends[held_out] - 2]
    test[held_out] = dataset.items[ends[held_out] - 1]
    return Split(dataset, np.where(held_out, ends - 2, ends), valid, test)


def _check(part: Part) -> Part:
    if part not in ("valid", "test"):
        raise DataError(f'part must be "valid" or "test", got {part!r}')
    return part
