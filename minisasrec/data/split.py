"""Leave-one-out split (Sec. IV-C): last action for test, the one before for validation.

Nothing is copied: the train part of user u is ``dataset.items[offsets[u]:train_end[u]]``.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from minisasrec.data.dataset import Dataset, DataWarning
from minisasrec.errors import DataError

Part = Literal["valid", "test"]
MANY_REPEATS = 0.05  # from this share of validation targets met before, "auto" allows repeats
ACTIONS_AT_ONCE = 1_000_000


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

    def met_before(self, part: Part) -> NDArray[np.bool_]:
        """Whether the held-out item of each user is in the user's history, bool (U,)."""
        offsets, targets = self.dataset.offsets, self.targets(part)
        ends = self.train_end + (self.valid > 0 if part == "test" else 0)
        met = np.zeros(len(targets), dtype=bool)
        blocks = 1 + self.dataset.num_actions // ACTIONS_AT_ONCE
        for users in np.array_split(np.arange(len(targets)), blocks):
            if not len(users):
                continue
            own = offsets[users[0] : users[-1] + 2]
            lengths = np.diff(own)
            same = self.dataset.items[own[0] : own[-1]] == np.repeat(targets[users], lengths)
            same &= np.arange(own[0], own[-1]) < np.repeat(ends[users], lengths)
            met[np.searchsorted(offsets, own[0] + np.flatnonzero(same), side="right") - 1] = True
        return met

    def repeat_share(self, part: Part) -> float:
        """The share of the held-out items that their user had met before; 0 without any."""
        users = self.eval_users(part)
        return float(self.met_before(part)[users].mean()) if len(users) else 0.0

    @cached_property
    def repeats(self) -> Literal["allow", "forbid"]:
        """The rule about items that a user has met, for evaluation and recommendation alike.

            allow    they are candidates like all others, and may be recommended again
            forbid   they are no candidates and are never recommended; a held-out item that its
                     user had met before counts as a miss

        It is the data set's setting. "auto" allows repeats where 5% or more of the validation
        targets were met before; the test part has no say in it.
        """
        if self.dataset.repeats != "auto":
            return self.dataset.repeats
        return "allow" if self.repeat_share("valid") >= MANY_REPEATS else "forbid"

    def repeats_note(self) -> str:
        """The share of targets met before, the rule, and what follows, in one line."""
        valid, test = self.repeat_share("valid"), self.repeat_share("test")
        chosen = " (auto)" if self.dataset.repeats == "auto" else ""
        effect = {
            "allow": "items that a user has met are ranked and recommended like all others",
            "forbid": "such targets count as misses, and what a user has met is not recommended",
        }
        return (
            f"users had met {valid:.1%} of their validation targets and {test:.1%} of their test "
            f"targets before; repeats: {self.repeats}{chosen}, so {effect[self.repeats]}"
        )

    def popularity(self) -> NDArray[np.int64]:
        """Train actions on each item, int64 (I+1,); entry 0, the padding item, is 0."""
        items, offsets = self.dataset.items, self.dataset.offsets
        counts = np.bincount(items, minlength=self.dataset.num_items + 1)
        for held_out in (self.valid, self.test):
            counts -= np.bincount(held_out[held_out > 0], minlength=len(counts))
        assert counts.sum() == self.num_train_actions == self.train_end.sum() - offsets[:-1].sum()
        return counts


def leave_one_out(dataset: Dataset) -> Split:
    """Hold out the last two actions of each user; users with fewer than 3 are train only.

    Emits a DataWarning if users had met held-out items before: see `Split.repeats`.
    """
    ends = dataset.offsets[1:]
    held_out = np.diff(dataset.offsets) >= 3
    valid = np.zeros(dataset.num_users, dtype=np.int32)
    test = np.zeros(dataset.num_users, dtype=np.int32)
    valid[held_out] = dataset.items[ends[held_out] - 2]
    test[held_out] = dataset.items[ends[held_out] - 1]
    split = Split(dataset, np.where(held_out, ends - 2, ends), valid, test)
    if split.repeat_share("valid") or split.repeat_share("test"):
        warnings.warn(f"{dataset.name}: {split.repeats_note()}", DataWarning, stacklevel=2)
    return split


def _check(part: Part) -> Part:
    if part not in ("valid", "test"):
        raise DataError(f'part must be "valid" or "test", got {part!r}')
    return part
