"""The data set that all parts read: one long array of item ids, and where each user starts in it.

Users are 0..U-1, items 1..I, and item 0 is the padding item. All actions lie in one ``items``
array, user after user and in time order inside a user; ``offsets[u]:offsets[u + 1]`` is user u's
slice. Nothing is a Python object per action, so 20 million actions take 80 MB, and their times,
where the source has them, 160 MB.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from minisasrec.border import json_value, reading, rename, unfinished
from minisasrec.data.actions import Actions
from minisasrec.data.builder import read_actions
from minisasrec.data.columns import NO_TIME
from minisasrec.data.frames import FrameTable
from minisasrec.data.options import FILTERS, Filter, ReadingOptions, spelled
from minisasrec.data.values import Unusable, as_text, meant
from minisasrec.errors import DataError

PAD = "<pad>"
MANY_DUPLICATES = 0.01  # so if more than this share of rows repeat another one
GIANT_USER = 0.1  # a user with this share of all actions
MANY_USERS = 20  # ... among so many users
MANY_TIES = 0.2  # from this share of actions with equal times on, a note says so

Repeats = Literal["auto", "allow", "forbid"]
REPEATS: tuple[Repeats, ...] = ("auto", "allow", "forbid")


class DataWarning(UserWarning):
    """Data that can be used but that a reader of the results should know about."""


@dataclass(frozen=True)
class Statistics:
    """The columns of the paper's Table II, with the shortest and the longest sequence."""

    users: int
    items: int
    actions: int
    actions_per_user: float
    actions_per_item: float
    min_length: int
    max_length: int

    def __str__(self) -> str:
        """One line, as the command line prints it."""
        return (
            f"{self.users:,} users, {self.items:,} items, {self.actions:,} actions; "
            f"{self.actions_per_user:.1f} actions/user ({self.min_length:,} to "
            f"{self.max_length:,}), {self.actions_per_item:.1f} actions/item"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Actions of U users on I items in time order (Sec. IV-A), checked on construction.

    ``items`` int32 (A,), ``offsets`` intp (U+1,). ``user_ids`` and ``item_ids`` are the ids of the
    source as text, ``item_ids[0]``, ``titles[0]`` being ``"<pad>"`` and ``categories[0]`` ``()``.
    ``source`` says in one line which file, filter and licence; ``warnings`` lists what a reader of
    the results should know; ``oracle`` is the simulator of a made-up data set. ``repeats`` says
    whether an item that a user has met may be recommended to that user again: "allow", "forbid",
    or "auto", which decides by the data (`Split.repeats`). ``times`` int64 or float64 (A,) are the
    times of the actions, in the source's unit (dates: seconds since 1970), None where it has none;
    they never fall inside a user's slice. ``reading`` says in words what was understood of the
    source. ``dropped`` holds a 64-bit hash of the name of each user whom the filter dropped,
    uint64, rising: `find_user` can say so of one, at 8 bytes each. ``whole`` names "user" and
    "item" where their ids are whole numbers in a frame or a Parquet file: `Recommender` gives them
    back as such, and those of files without types of columns as text. The arrays are made
    read-only.
    Raises DataError if the parts do not fit together.
    """

    name: str
    items: NDArray[np.int32]
    offsets: NDArray[np.intp]
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    titles: Sequence[str] | None = None
    source: str = ""
    categories: Sequence[tuple[str, ...]] | None = None
    warnings: tuple[str, ...] = ()
    oracle: object | None = None
    repeats: Repeats = "auto"
    times: NDArray[Any] | None = None
    reading: Mapping[str, str] = field(default_factory=dict)
    dropped: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    whole: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the parts against each other and lock the arrays."""
        for name, dtype in (("items", np.int32), ("offsets", np.intp)):
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
                seen = (
                    f"{array.dtype} {array.shape}"
                    if isinstance(array, np.ndarray)
                    else type(array).__name__
                )
                raise DataError(
                    f"Dataset.{name} must be a one-dimensional {np.dtype(dtype)} array, got {seen}"
                )
            self._lock(name, array)
        if self.repeats not in REPEATS:
            raise DataError(f"repeats is {self.repeats!r}; choose one of {', '.join(REPEATS)}")
        self._check_offsets()
        self._check_ids()
        if self.times is not None:
            self._check_times(self.times)
            self._lock("times", self.times)

    def _lock(self, name: str, array: NDArray[Any]) -> None:
        locked = array.view()
        locked.flags.writeable = False
        object.__setattr__(self, name, locked)

    def _check_offsets(self) -> None:
        if len(self.offsets) < 2 or not len(self.items):
            raise DataError(f"data set {self.name!r} holds no actions")
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.items):
            raise DataError(
                f"offsets must run from 0 to the number of actions {len(self.items)}, "
                f"got {self.offsets[0]} to {self.offsets[-1]}"
            )
        falls = np.flatnonzero(np.diff(self.offsets) < 0)
        if len(falls):
            u = int(falls[0])
            raise DataError(
                f"offsets must not fall: user {u} would run from {self.offsets[u]} "
                f"to {self.offsets[u + 1]}"
            )
        if len(self.user_ids) != self.num_users:
            raise DataError(
                f"{len(self.user_ids)} user_ids for the {self.num_users} users of offsets "
                f"(U+1 = {len(self.offsets)} entries)"
            )

    def _check_ids(self) -> None:
        if not self.item_ids or self.item_ids[0] != PAD:
            raise DataError(f"item_ids[0] must be {PAD!r}, the padding item; item i is item_ids[i]")
        low, high = int(self.items.min()), int(self.items.max())
        if low < 1 or high > self.num_items:
            raise DataError(
                f"item ids must lie in 1..{self.num_items} (0 is padding, item_ids has "
                f"{len(self.item_ids)} entries), got {low}..{high}"
            )
        for what, by_item in (("titles", self.titles), ("categories", self.categories)):
            if by_item is not None and len(by_item) != len(self.item_ids):
                raise DataError(
                    f"{what} must have one entry for each of the {len(self.item_ids)} item_ids "
                    f"(padding first), got {len(by_item)}"
                )
        for what, ids in (("user_ids", self.user_ids), ("item_ids", self.item_ids)):
            if len(set(ids)) != len(ids):
                raise DataError(f"{what} must be distinct, got {len(ids) - len(set(ids))} repeats")

    def _check_times(self, times: NDArray[Any]) -> None:
        if not isinstance(times, np.ndarray) or times.dtype not in (np.int64, np.float64):
            raise DataError(
                "Dataset.times must be an int64 or float64 array, got "
                f"{getattr(times, 'dtype', type(times).__name__)}"
            )
        if times.shape != self.items.shape:
            raise DataError(
                f"times must have one entry for each of the {self.num_actions} actions, got shape "
                f"{times.shape}"
            )
        odd = np.flatnonzero(~np.isfinite(times))
        if len(odd):
            raise DataError(f"times must be numbers, got {times[odd[0]]} for action {odd[0]}")
        falls = np.diff(times) < 0
        starts = self.offsets[1:-1]
        falls[starts[(starts > 0) & (starts < len(times))] - 1] = False  # another user begins
        if falls.any():
            at = int(falls.argmax())
            u = int(np.searchsorted(self.offsets, at, side="right")) - 1
            raise DataError(
                f"the actions of user {self.user_ids[u]} are not in time order: {times[at + 1]} "
                f"comes after {times[at]}"
            )

    @property
    def num_users(self) -> int:
        """U."""
        return len(self.offsets) - 1

    @property
    def num_items(self) -> int:
        """I, the padding item not counted."""
        return len(self.item_ids) - 1

    @property
    def num_actions(self) -> int:
        """A, duplicates counted."""
        return len(self.items)

    def sequence(self, u: int) -> NDArray[np.int32]:
        """All items of user u, oldest first: a view, int32 (length,)."""
        if not 0 <= u < self.num_users:
            raise DataError(f"user {u} is outside 0..{self.num_users - 1}")
        return self.items[self.offsets[u] : self.offsets[u + 1]]

    def find_user(self, name: str) -> int:
        """The number of a user by the id in the source.

        DataError if there is none, or if the filter dropped this user.
        """
        try:
            return self._user_numbers[name]
        except KeyError:
            pass
        if _hashes([name])[0] in self.dropped:
            raise DataError(
                f"user {name!r} is in the source of {self.name}, but was dropped by the filter "
                "(too few actions): lower min_actions (--min-actions), or give the items"
            )
        close = difflib.get_close_matches(name, self.user_ids[:100_000], n=1)
        meant = f", did you mean {close[0]!r}?" if close else f"; the first is {self.user_ids[0]!r}"
        raise DataError(f"no user {name!r} in {self.name}{meant}")

    @cached_property
    def _user_numbers(self) -> dict[str, int]:
        return {name: u for u, name in enumerate(self.user_ids)}

    def title(self, item: int) -> str:
        """The title of item number `item`, or its id where the source has no titles."""
        if not 1 <= item <= self.num_items:
            raise DataError(f"item {item} is outside 1..{self.num_items}")
        return self.titles[item] if self.titles else f"item {self.item_ids[item]}"

    def statistics(self) -> Statistics:
        """Table II's columns over all actions (the paper's ML-1M row counts the train part)."""
        lengths = np.diff(self.offsets)
        return Statistics(
            users=self.num_users,
            items=self.num_items,
            actions=self.num_actions,
            actions_per_user=self.num_actions / self.num_users,
            actions_per_item=self.num_actions / self.num_items,
            min_length=int(lengths.min()),
            max_length=int(lengths.max()),
        )

    def fingerprint(self) -> str:
        """SHA-256 (hex) of actions and raw ids: equal on every platform, unequal for other data."""
        digest = hashlib.sha256()
        digest.update(np.ascontiguousarray(self.items, dtype="<i4").data)
        digest.update(np.ascontiguousarray(self.offsets, dtype="<i8").data)
        digest.update(json.dumps([list(self.user_ids), list(self.item_ids)]).encode())
        return digest.hexdigest()

    def __repr__(self) -> str:
        """The name and one line of statistics."""
        return f"<Dataset {self.name}: {self.statistics()}>"

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``dataset.json`` and the arrays, each to a ``.npy`` (the oracle is not written).

        All files are written before the first of an earlier data set there is touched, and the JSON
        file gets its name last, so that a folder with a ``dataset.json`` can be loaded. Raises
        DataError if the folder cannot be written.
        """
        folder = Path(folder)
        arrays: dict[str, NDArray[Any]] = {"items": self.items, "offsets": self.offsets}
        if self.times is not None:
            arrays["times"] = self.times
        meta = {
            "format": SAVED_FORMAT,
            "name": self.name,
            "source": self.source,
            "warnings": list(self.warnings),
            "repeats": self.repeats,
            "reading": dict(self.reading),
            "dropped": [f"{h:x}" for h in self.dropped.tolist()],
            "whole": list(self.whole),
            "actions": self.num_actions,
            "times": self.times is not None,
            "user_ids": list(self.user_ids),
            "item_ids": list(self.item_ids),
            "titles": None if self.titles is None else list(self.titles),
            "categories": None if self.categories is None else [list(c) for c in self.categories],
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with ExitStack() as stack:
                parts = {
                    folder / name: stack.enter_context(unfinished(folder / name))
                    for name in (*(f"{name}.npy" for name in arrays), SAVED_META)
                }
                for name, array in arrays.items():
                    with parts[folder / f"{name}.npy"].open("wb") as part:
                        np.save(part, array, allow_pickle=False)
                parts[folder / SAVED_META].write_text(json.dumps(meta), encoding="utf-8")
                (folder / SAVED_META).unlink(missing_ok=True)
                for target, finished in parts.items():
                    rename(finished, target)
        except OSError as error:
            raise DataError(f"cannot save data set {self.name!r} to {folder}: {error}") from error

    @classmethod
    def load(cls, folder: str | os.PathLike[str], mmap: bool = True) -> Dataset:
        """Read what `save` wrote; with ``mmap`` the actions stay on disk until they are touched."""
        folder = Path(folder)
        if not (folder / SAVED_META).is_file():
            raise DataError(f"{folder} holds no {SAVED_META}: it was not written by Dataset.save")
        with reading(folder, wrong=f"{folder} is damaged", advice="save the data set again"):
            meta = json_value((folder / SAVED_META).read_text(encoding="utf-8"))
            if meta["format"] != SAVED_FORMAT:
                raise DataError(
                    f"{folder / SAVED_META} has format {meta['format']}, this version reads "
                    f"{SAVED_FORMAT}: save the data set again"
                )
            saved = ["items", "offsets"]
            if meta.get("times"):  # folders saved before times were kept have none
                saved.append("times")
            arrays = {
                name: np.load(
                    folder / f"{name}.npy", mmap_mode="r" if mmap else None, allow_pickle=False
                )
                for name in saved
            }
            return cls(
                name=meta["name"],
                **arrays,
                user_ids=meta["user_ids"],
                item_ids=meta["item_ids"],
                titles=meta["titles"],
                source=meta["source"],
                categories=meta["categories"] and [tuple(c) for c in meta["categories"]],
                warnings=tuple(meta["warnings"]),
                repeats=meta.get("repeats", "auto"),  # folders saved before the setting existed
                reading=meta.get("reading", {}),
                dropped=np.array([int(h, 16) for h in meta.get("dropped", [])], dtype=np.uint64),
                whole=tuple(meta.get("whole", ())),
            )


SAVED_META = "dataset.json"
SAVED_FORMAT = 1


def build_dataset(
    users: Any,
    items: Any,
    timestamps: Any | None = None,
    *,
    min_actions: int = 5,
    filter: Filter = "one-pass",
    name: str = "custom",
    source: str = "built from columns",
    titles: Mapping[Any, str] | None = None,
    categories: Mapping[Any, Iterable[str]] | None = None,
    repeats: Repeats = "auto",
) -> Dataset:
    """Columns of raw actions -> Dataset (Sec. IV-A; the filter is that of the authors' script).

    ``users``, ``items``, ``timestamps`` are equally long columns (array, list or pandas Series);
    without timestamps the rows of a user must already be in time order. Rules:

    * ``"one-pass"`` counts the raw actions of each user and item once, then drops rows of users
      and items with fewer than ``min_actions``; users and items may end up below it, as in the
      paper's Table II. ``"iterative"`` repeats until none is below (a true k-core).
      ``"none"`` or ``min_actions`` <= 1 keeps every row.
    * Repeated actions are all kept. Whether the model may recommend an item again is ``repeats``.
    * Rows of a user with equal timestamps keep the order of the columns.
    * Users and items are numbered in the order of their raw ids: as numbers if all are decimal
      numbers, else as text. So the numbering does not depend on the order of the rows.

    ``titles`` and ``categories`` are by raw item id. Emits a DataWarning for many tied times or
    for users too short to evaluate; raises DataError for unequal lengths, missing ids, times that
    are not numbers or dates, or when no action is left.
    """
    actions = build_actions(users, items, timestamps, titles=titles, categories=categories)
    dataset = assemble(actions, name=name, source=source, min_actions=min_actions, filter=filter)
    dataset = replace(dataset, repeats=repeats)
    emit_warnings(dataset)
    return dataset


def build_actions(
    users: Any,
    items: Any,
    timestamps: Any | None = None,
    *,
    titles: Mapping[Any, str] | None = None,
    categories: Mapping[Any, Iterable[str]] | None = None,
) -> Actions:
    """Columns of raw actions, read by the rules for all tables, not yet filtered or sorted."""
    columns = {"user": users, "item": items}
    if timestamps is not None:
        columns["time"] = timestamps
    for name, column in columns.items():
        no_order = (str, bytes, set, frozenset, Mapping)
        if isinstance(column, no_order) or not hasattr(column, "__len__"):
            raise DataError(
                f"the column of {name}s is {column!r:.60}; give a list, an array or a Series with "
                "one value for each action"
            )
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1:
        got = ", ".join(f"{length} {name}s" for name, length in lengths.items())
        raise DataError(f"columns must be equally long, got {got}")
    actions = read_actions(FrameTable(columns, "columns"), ReadingOptions())
    actions.notes = [note for note in actions.notes if note != NO_TIME.format("columns")]
    if titles is not None:
        actions.titles = dict(_by_raw_id("titles", titles, _title))
    if categories is not None:
        actions.categories = dict(_by_raw_id("categories", categories, _categories))
    return actions


def _by_raw_id(what: str, given: Any, read: Callable[[Any], Any]) -> Iterator[tuple[str, Any]]:
    """The entries of a dict, or of a Series with items for its index; raises `DataError`."""
    if not hasattr(given, "items") or not hasattr(given, "keys"):
        raise DataError(f"{what} is {given!r:.60}; give a dict, item id -> its {what}")
    for key, value in given.items():
        try:
            if (found := read(value)) != "":
                yield as_text(key), found
        except Unusable as error:
            raise DataError(f"{what}: the entry {key!r}: {value!r:.60} {error}") from None


def _title(value: Any) -> str:
    """A title as text; "" if it is missing."""
    if isinstance(value, (bytes, Mapping, Iterable)) and not isinstance(value, str):
        raise Unusable("is no text")
    try:
        return as_text(value)
    except Unusable:  # True, or a number that would be no id
        return str(value)


def _categories(value: Any) -> tuple[str, ...]:
    """One category, or all that are in a list or another iterable; none if it is missing."""
    many = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
    return tuple(name for name in map(_title, value if many else [value]) if name)


def emit_warnings(dataset: Dataset, stacklevel: int = 3) -> None:
    """Issue each of ``dataset.warnings`` as a DataWarning, at the line of the user's call."""
    for text in dataset.warnings:
        warnings.warn(f"{dataset.name}: {text}", DataWarning, stacklevel=stacklevel)


def assemble(
    actions: Actions, *, name: str, source: str, min_actions: int, filter: Filter
) -> Dataset:
    """Filter, sort and number raw actions; the rules are those of `build_dataset`."""
    users, items, times = actions.users, actions.items, actions.times
    num_rows = len(users)
    keep = _filter_rows(users, items, min_actions, filter)
    if keep is not None:
        users, items = users[keep], items[keep]
        times = None if times is None else times[keep]
    if not len(users):
        raise DataError(
            f"{name}: no action is left of {num_rows:,} after the {filter!r} filter with "
            f"min_actions={min_actions}: give --min-actions 0 (min_actions=0), or more data"
        )
    if PAD in actions.item_ids:
        raise DataError(
            f"{name}: an item has the id {PAD!r}, which stands for padding: leave such rows out "
            f"({spelled('where', f'COLUMN!={PAD}')}), or call it otherwise"
        )
    kept = np.bincount(users, minlength=len(actions.user_ids)) > 0
    dropped = [actions.user_ids[c] for c in np.flatnonzero(~kept).tolist()]
    users, user_ids = _renumber(users, actions.user_ids)
    items, item_ids = _renumber(items, actions.item_ids)
    items += 1
    # both sorts are stable: rows of a user with equal times stay in file order
    order = np.argsort(users, kind="stable") if times is None else np.lexsort((times, users))
    users, items = users[order], items[order]
    counts = np.bincount(users, minlength=len(user_ids))
    offsets = np.zeros(len(user_ids) + 1, dtype=np.intp)
    np.cumsum(counts, out=offsets[1:])

    notes = list(actions.notes)
    if times is not None:
        times = times[order]
        tied_with_previous = (np.diff(users) == 0) & (np.diff(times) == 0)
        tied = np.zeros(len(users), dtype=bool)
        tied[1:] |= tied_with_previous
        tied[:-1] |= tied_with_previous
        if tied.mean() > MANY_TIES:
            notes.append(
                f"{tied.mean():.0%} of the actions share their time with another one of the same "
                "user; among those the order is the file's"
            )
        twice = _repeated_rows(users, items, times)
        if twice > MANY_DUPLICATES * len(users):
            notes.append(
                f"{twice / len(users):.0%} of the rows ({twice:,}) are the same as another one in "
                "user, item and time: was a file added twice?"
            )
    greatest = int(counts.max())
    if greatest >= GIANT_USER * len(users) and len(counts) >= MANY_USERS:
        notes.append(
            f"user {user_ids[int(counts.argmax())]!r} has {greatest / len(users):.0%} of all "
            "actions: is it a user, or what is written where there is none?"
        )
    short = int((counts < 3).sum())
    if short:
        notes.append(
            f"{short:,} of {len(counts):,} users have fewer than 3 actions: under leave-one-out "
            "they are trained on and never evaluated"
        )
    titles = _by_item(actions.titles, item_ids)
    categories = _by_item(actions.categories, item_ids)
    return Dataset(
        name=name,
        items=items,
        offsets=offsets,
        user_ids=user_ids,
        item_ids=[PAD, *item_ids],
        titles=None
        if titles is None
        else [PAD, *(t or i for t, i in zip(titles, item_ids, strict=True))],
        source=source,
        categories=None if categories is None else [(), *(c or () for c in categories)],
        warnings=tuple(notes),
        times=times,
        reading=actions.reading,
        dropped=np.sort(_hashes(dropped)),
        whole=actions.whole,
    )


def _by_item(given: Mapping[str, Any] | None, item_ids: Sequence[str]) -> list[Any] | None:
    """What is given for each item, None where nothing is; one table may say 7.0 and one 7."""
    if given is None:
        return None
    known = set(item_ids)
    given = {meant(name, known): value for name, value in given.items()}
    return [given.get(meant(name, given)) for name in item_ids]


def _hashes(names: Iterable[str]) -> NDArray[np.uint64]:
    """64 bits of each name, by which it is recognised."""
    digests = b"".join(
        hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for name in names
    )
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def _repeated_rows(users: NDArray[np.int32], items: NDArray[np.int32], times: NDArray[Any]) -> int:
    """How many rows are the same as another one: user, item and time; rows sorted by user, time."""
    same = (np.diff(users) == 0) & (np.diff(times) == 0)
    group = np.concatenate([[0], np.cumsum(~same)])
    tied = np.concatenate([same, [False]]) | np.concatenate([[False], same])
    group, tied_items = group[tied], items[tied]
    order = np.lexsort((tied_items, group))
    return int(((np.diff(group[order]) == 0) & (np.diff(tied_items[order]) == 0)).sum())


def _filter_rows(
    users: NDArray[np.int32], items: NDArray[np.int32], min_actions: int, filter: Filter
) -> NDArray[np.bool_] | None:
    """Which rows to keep, or None for all."""
    if filter not in FILTERS:
        raise DataError(f"filter must be one of {', '.join(FILTERS)}, got {filter!r}")
    if filter == "none" or min_actions <= 1 or not len(users):
        return None
    keep = np.ones(len(users), dtype=bool)
    kept = len(users)
    while True:
        few_by_user = np.bincount(users[keep], minlength=int(users.max()) + 1) < min_actions
        few_by_item = np.bincount(items[keep], minlength=int(items.max()) + 1) < min_actions
        keep &= ~(few_by_user[users] | few_by_item[items])
        left = int(keep.sum())
        if filter == "one-pass" or left == kept:
            return keep
        kept = left


def _renumber(codes: NDArray[np.int32], ids: Sequence[str]) -> tuple[NDArray[np.int32], list[str]]:
    """New codes 0, 1, ... for the ids that still occur, in the order of the ids; a new array."""
    present = np.flatnonzero(np.bincount(codes, minlength=len(ids))).tolist()
    names = [ids[c] for c in present]
    if all(n.isdecimal() and n.isascii() for n in names):
        present.sort(key=lambda c: (int(ids[c]), ids[c]))
    else:
        present.sort(key=lambda c: ids[c])
    new = np.full(len(ids), -1, dtype=np.int32)
    new[present] = np.arange(len(present), dtype=np.int32)
    return new[codes], [ids[c] for c in present]
