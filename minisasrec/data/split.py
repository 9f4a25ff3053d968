"""Which actions train, which validate and which test: leave-one-out (Sec. IV-A), or by time.

    leave-one-out   each user's last action is for test, the one before for validation
    time:0.9        all that comes before a moment is for training, what users do next is predicted

Both are one thing, a `Split`: each user's train part is the beginning of the user's sequence, and
a held-out action is a place in it, predicted from all that lies before. Nothing is copied: the
train part of user u is ``dataset.items[offsets[u]:train_end[u]]``.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from minisasrec.data.dataset import Dataset, DataWarning
from minisasrec.errors import ConfigError, DataError

Part = Literal["valid", "test"]
LEAVE_ONE_OUT = "leave-one-out"
MANY_REPEATS = 0.05  # from this share of validation targets met before, "auto" allows repeats
ACTIONS_AT_ONCE = 1_000_000
NONE = -1


@dataclass(frozen=True, eq=False)
class Split:
    """Train, validation and test parts as views of one data set.

    ``train_end`` intp (U,) is the index into ``dataset.items`` where user u's train part ends;
    ``valid_at`` and ``test_at`` intp (U,) are the indices of the held-out actions, -1 for a user
    who has none. ``rule`` is how it was made, as `make_split` reads it.
    """

    dataset: Dataset
    train_end: NDArray[np.intp]
    valid_at: NDArray[np.intp]
    test_at: NDArray[np.intp]
    rule: str = LEAVE_ONE_OUT

    @property
    def num_train_actions(self) -> int:
        """Actions in the train parts of all users."""
        return int((self.train_end - self.dataset.offsets[:-1]).sum())

    def train_sequence(self, u: int) -> NDArray[np.int32]:
        """The train items of user u, oldest first: a view."""
        sequence = self.dataset.sequence(u)
        return sequence[: self.train_end[u] - self.dataset.offsets[u]]

    def history_end(self, part: Part) -> NDArray[np.intp]:
        """The index into ``dataset.items`` where each user's history ends, intp (U,).

        That is where the held-out action is; the end of the train part for a user who has none.
        """
        at = self._at(part)
        return np.where(at == NONE, self.train_end, at)

    def history(self, u: int, part: Part) -> NDArray[np.int32]:
        """What the model may see before it predicts the held-out item of user u: a view.

        All that lies before it in the user's sequence: for ``"test"`` the train items and, where
        there are any, those between the train part and the held-out item.
        """
        at = int(self._at(part)[u])
        end = int(self.train_end[u]) if at == NONE else at
        return self.dataset.sequence(u)[: end - self.dataset.offsets[u]]

    @cached_property
    def valid(self) -> NDArray[np.int32]:
        """The validation item of each user, int32 (U,), 0 for none."""
        return self._items_at(self.valid_at)

    @cached_property
    def test(self) -> NDArray[np.int32]:
        """The test item of each user, int32 (U,), 0 for none."""
        return self._items_at(self.test_at)

    def targets(self, part: Part) -> NDArray[np.int32]:
        """The held-out item of each user, int32 (U,), 0 for none."""
        return self.valid if _check(part) == "valid" else self.test

    def eval_users(self, part: Part) -> NDArray[np.intp]:
        """Users that have a held-out item in ``part``, ascending."""
        return np.flatnonzero(self._at(part) != NONE)

    def met_before(self, part: Part) -> NDArray[np.bool_]:
        """Whether the held-out item of each user is in the user's history, bool (U,)."""
        ends, targets = self.history_end(part), self.targets(part)
        met = np.zeros(len(targets), dtype=bool)
        for users, items, places, lengths in self._blocks():
            same = items == np.repeat(targets[users], lengths)
            same &= places < np.repeat(ends[users], lengths)
            hits = places[0] + np.flatnonzero(same)
            met[np.searchsorted(self.dataset.offsets, hits, side="right") - 1] = True
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

    def popularity(self, since: float | None = None) -> NDArray[np.intp]:
        """Train actions on each item, intp (I+1,); entry 0, the padding item, is 0.

        With ``since``, only those at or after that time. Raises DataError if there are no times.
        """
        counts = np.zeros(self.dataset.num_items + 1, dtype=np.intp)
        for users, items, places, lengths in self._blocks():
            counted = places < np.repeat(self.train_end[users], lengths)
            if since is not None:
                counted &= times_of(self.dataset)[places[0] : places[-1] + 1] >= since
            counts += np.bincount(items[counted], minlength=len(counts))
        return counts

    @cached_property
    def catalogue(self) -> NDArray[np.bool_]:
        """Which items are there to be ranked, bool (I+1,); entry 0, the padding item, is False.

        Under leave-one-out all of them, as in the paper. Under a split by time those with a train
        action: the others come up later, and nobody could recommend them at that moment. A
        held-out item that is not in the catalogue counts as a miss.
        """
        there = np.ones(self.dataset.num_items + 1, dtype=bool)
        if self.rule != LEAVE_ONE_OUT:
            there = self.popularity() > 0
        there[0] = False
        return there

    def out_of_reach(self, part: Part) -> int:
        """How many held-out items are not in the catalogue, so that nobody can be right."""
        return int((~self.catalogue[self.targets(part)[self.eval_users(part)]]).sum())

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the data and of what the split holds out.

        Under leave-one-out that of the data alone, from which the rest follows.
        """
        known = self.dataset.fingerprint()
        if self.rule == LEAVE_ONE_OUT:
            return known
        digest = hashlib.sha256(known.encode())
        for array in (self.train_end, self.valid_at, self.test_at):
            digest.update(np.ascontiguousarray(array, dtype="<i8").data)
        return digest.hexdigest()

    def _at(self, part: Part) -> NDArray[np.intp]:
        return self.valid_at if _check(part) == "valid" else self.test_at

    def _items_at(self, at: NDArray[np.intp]) -> NDArray[np.int32]:
        held_out = at != NONE
        items = np.zeros(len(at), dtype=np.int32)
        items[held_out] = self.dataset.items[at[held_out]]
        return items

    def _blocks(
        self,
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.intp], NDArray[np.intp]]]:
        """Users, their actions' items and places, and how many each has, a million at a time."""
        offsets = self.dataset.offsets
        blocks = 1 + self.dataset.num_actions // ACTIONS_AT_ONCE
        for users in np.array_split(np.arange(self.dataset.num_users), blocks):
            if len(users) and offsets[users[0]] < offsets[users[-1] + 1]:
                places = np.arange(offsets[users[0]], offsets[users[-1] + 1])
                lengths = np.diff(offsets[users[0] : users[-1] + 2])
                yield users, self.dataset.items[places[0] : places[-1] + 1], places, lengths


def leave_one_out(dataset: Dataset) -> Split:
    """Hold out the last two actions of each user; users with fewer than 3 are train only.

    Emits a DataWarning if users had met held-out items before: see `Split.repeats`.
    """
    ends = dataset.offsets[1:]
    held_out = np.diff(dataset.offsets) >= 3
    split = Split(
        dataset,
        np.where(held_out, ends - 2, ends),
        np.where(held_out, ends - 2, NONE),
        np.where(held_out, ends - 1, NONE),
    )
    if split.repeat_share("valid") or split.repeat_share("test"):
        warnings.warn(f"{dataset.name}: {split.repeats_note()}", DataWarning, stacklevel=2)
    return split


def time_split(dataset: Dataset, share: float = 0.9) -> Split:
    """Hold out what each user does next after a moment, the same moment for all users.

        t_test    so that at most ``share`` of all actions come before it
        t_valid   so that at most ``share`` of the actions before t_test come before it

        train        actions before t_valid
        validation   each user's first action from t_valid on, if it comes before t_test
        test         each user's first action from t_test on

    Both moments are times of actions, and all actions of one time fall on the same side. A history
    is all that its user did before the moment in question, so nothing in it, and nothing that was
    trained on or counted, is later than the target or than another user's. One target a user, as in
    leave-one-out: every user counts the same. Users without an action before the moment have no
    history, and so no target. Items without a train action are not in the `Split.catalogue`.

    Source: the global temporal split of Gusak et al., Time to Split, RecSys 2025
    (arXiv:2507.16289), with the first action as the target. Emits a DataWarning that says the
    moments and counts what was left out. Raises ConfigError for a share outside 0..1, DataError
    for data without times, or where nobody acts on both sides of a moment.
    """
    if not 0 < share < 1:
        raise ConfigError(f"the share of a time split is {share}; it must lie between 0 and 1")
    times, offsets = times_of(dataset), dataset.offsets
    t_test = _moment(dataset, times, share)
    t_valid = _moment(dataset, times[times < t_test], share)
    train_end, test_at = (_first_from(t, times, offsets) for t in (t_valid, t_test))
    new = int(((test_at == offsets[:-1]) & (test_at < offsets[1:])).sum())  # users without history
    # the held-out action is the first one after the moment, if there is one, and a history before
    valid_at = np.where((train_end > offsets[:-1]) & (train_end < test_at), train_end, NONE)
    test_at = np.where((test_at > offsets[:-1]) & (test_at < offsets[1:]), test_at, NONE)
    split = Split(dataset, train_end, valid_at, test_at, f"time:{share}")
    for part, moment in (("validation", t_valid), ("test", t_test)):
        if not len(split.eval_users("valid" if part == "validation" else "test")):
            raise DataError(
                f"{dataset.name}: no user acts both before and after {show_time(times, moment)}, "
                f"so the {part} part of {split.rule} is empty; use another share, or leave-one-out"
            )
    warnings.warn(
        f"{dataset.name}: {split.rule}: trained on {split.num_train_actions / len(times):.1%} of "
        f"the actions, those before {show_time(times, t_valid)}; validated on what "
        f"{len(split.eval_users('valid')):,} users do next before {show_time(times, t_test)}, "
        f"tested on what {len(split.eval_users('test')):,} users do next from then on",
        DataWarning,
        stacklevel=2,
    )
    lost = [split.out_of_reach(part) for part in ("valid", "test")]
    if new or any(lost):
        of_test = lost[1] / len(split.eval_users("test"))
        warnings.warn(
            f"{dataset.name}: {new:,} users first come in the test period: they have no history "
            f"and are not tested; {lost[0]:,} validation and {lost[1]:,} test targets are items "
            f"without a train action and count as misses: nobody can reach a test HR above "
            f"{1 - of_test:.4f}",
            DataWarning,
            stacklevel=2,
        )
    if split.repeat_share("valid") or split.repeat_share("test"):
        warnings.warn(f"{dataset.name}: {split.repeats_note()}", DataWarning, stacklevel=2)
    return split


def make_split(dataset: Dataset, rule: str = LEAVE_ONE_OUT) -> Split:
    """The split that a setting names: ``leave-one-out``, or ``time:SHARE`` such as ``time:0.9``.

    Raises ConfigError for another text, and what `time_split` raises.
    """
    share = parse_rule(rule)
    return leave_one_out(dataset) if share is None else time_split(dataset, share)


def parse_rule(rule: str) -> float | None:
    """The share of a rule ``time:SHARE``, None for leave-one-out; else a ConfigError."""
    kind, _, share = rule.partition(":")
    if rule == LEAVE_ONE_OUT:
        return None
    try:
        if kind == "time" and 0 < float(share) < 1:
            return float(share)
    except ValueError:
        pass
    raise ConfigError(
        f"the split is {rule!r}; choose {LEAVE_ONE_OUT}, or time:SHARE with the share of the "
        "actions that come before the test period, such as time:0.9"
    )


def spelled_once(rule: str) -> str:
    """A rule in one spelling: time:.9 and time:0.90 are time:0.9. Raises as `parse_rule` does."""
    share = parse_rule(rule)
    return LEAVE_ONE_OUT if share is None else f"time:{share}"


def times_of(dataset: Dataset) -> NDArray[Any]:
    """The times of the actions, (A,); a DataError for data without."""
    if dataset.times is None:
        raise DataError(
            f"{dataset.name} has no times, only the order of each user's actions; a split by time "
            "and recent popularity need them: name the column with --time-column, or use "
            f"--split {LEAVE_ONE_OUT}"
        )
    return dataset.times


def units_per_day(times: NDArray[Any]) -> float | None:
    """How much a time grows in a day, or None where the times seem to be no dates.

    By the size of the latest: seconds, milliseconds, microseconds or nanoseconds since 1970, if
    that makes a year from 1980 to 2100.
    """
    latest = float(times.max())
    for units in (1.0, 1e3, 1e6, 1e9):
        if 10 * 365.25 <= latest / (units * 86_400) < 130 * 365.25:
            return 86_400 * units
    return None


def show_time(times: NDArray[Any], moment: float) -> str:
    """A moment among `times` as a date in UTC, or as it is where the times are no dates."""
    day = units_per_day(times)
    if day is None:
        return f"{moment:.15g}"
    seconds = int(float(moment) / (day / 86_400))  # exact: the divisor is a power of ten
    return str(np.datetime64(seconds, "s")).replace("T", " ")


def _moment(dataset: Dataset, times: NDArray[Any], share: float) -> float:
    """A time of an action so that as many as possible, but at most `share`, come before it."""
    before = int(Fraction(str(float(share))) * len(times))  # 0.7 * 90 is 62.99... as floats
    if not before:
        raise DataError(
            f"{dataset.name}: a share of {share:g} of {len(times):,} actions is less than one "
            "action; choose a greater one, such as time:0.9"
        )
    moment = np.partition(times, before)[before]
    if not (times < moment).any():
        raise DataError(
            f"{dataset.name}: no time splits the actions at {share:g}: "
            f"{np.mean(times == moment):.0%} of these {len(times):,} share the first time, "
            f"{show_time(times, moment)}; use leave-one-out, or a column with finer times"
        )
    return moment


def _first_from(moment: float, times: NDArray[Any], offsets: NDArray[np.intp]) -> NDArray[np.intp]:
    """The index of each user's first action at or after a moment, or where the user ends."""
    before = np.concatenate([[0], np.cumsum(times < moment)])
    return offsets[:-1] + np.diff(before[offsets])


def _check(part: Part) -> Part:
    if part not in ("valid", "test"):
        raise DataError(f'part must be "valid" or "test", got {part!r}')
    return part
