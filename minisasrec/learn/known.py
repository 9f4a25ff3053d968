"""What a recommender knows beside its weights: items and titles, users and their histories.

It goes to items.json, users.json and histories.safetensors of a folder (`runs.py`), so that the
model answers without the file that it was trained on.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np

from minisasrec.data.dataset import PAD, Dataset, Repeats
from minisasrec.data.registry import DATASETS
from minisasrec.data.split import LEAVE_ONE_OUT, NONE, Split, units_per_day
from minisasrec.data.times import one_unit
from minisasrec.data.values import as_text, meant, tidy, whole_up_to
from minisasrec.errors import CheckpointError, ConfigError, DataError, MinisasrecError
from minisasrec.learn.runs import CONFIG, HISTORIES, ITEMS, USERS, Run, check_form, to_safetensors
from minisasrec.models.base import Model

Array = np.ndarray
ARRAYS = ("items", "offsets", "train_end", "valid_at", "test_at")
WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")  # the text of a whole number
KNOWN_FORM = {
    "name": str,
    "source": str,
    "notes": list,
    "repeats": str,
    "on": str,
    "whole": list,
    "num_users": int,
    "num_items": int,
    "rule": str,
}
ITEMS_FORM = {"ids": list, "titles": (list, type(None)), "trained": list}
NOTHING_HELD_OUT = (
    "it was trained on everything, so nothing is left to measure on; fit(on='train') holds out a "
    "test part"
)
NEAR_AMONG = 100_000  # ids that are looked at for one that is meant


def id_text(value: Any, what: str = "id") -> str:
    """An id as text: 7, 7.0 and "7" are the same one, and 7.5 is "7.5".

    Raises `DataError` for what is no id.
    """
    if isinstance(value, str):
        return str(value)
    if value is None or str(value) in ("<NA>", "NaT", "nan"):
        raise DataError(f"{what} is missing ({value!r}); leave it out")
    if isinstance(value, bool | np.bool_ | bytes | dict | list | tuple | set | np.ndarray):
        raise DataError(f"{what} is {value!r}; ids are text or whole numbers")
    if isinstance(value, Integral):
        return str(int(value))
    if not isinstance(value, Real):
        return str(value)  # a UUID, a date
    if np.isinf(float(value)):
        raise DataError(f"{what} is {value!r}; ids are text or finite numbers")
    if not float(value).is_integer():
        return as_text(value)  # as a log with such ids is read
    if abs(float(value)) >= whole_up_to(getattr(value, "dtype", np.dtype(np.float64))):
        raise DataError(
            f"{what} is {value!r}: such large numbers lose digits as floats; give text or whole "
            "numbers"
        )
    return str(int(float(value)))


class Ids:
    """Ids as given, and the number of each. `what` is "user" or "item"; `first` the number of the
    first real one, 1 for items and 0 for users; `whole` if they go out as whole numbers, as they
    came in."""

    def __init__(self, ids: Sequence[str], what: str, first: int, whole: bool) -> None:
        self.texts = [str(text) for text in ids]  # NumPy has a text type of its own
        self.what, self.first, self.whole = what, first, whole

    @cached_property
    def number(self) -> dict[str, int]:
        """The number of each id; the padding has none."""
        return {text: i for i, text in enumerate(self.texts) if i >= self.first}

    @cached_property
    def values(self) -> Array:
        """The ids as they go out, by number."""
        if self.whole:
            numbers = [0] * self.first + [int(text) for text in self.texts[self.first :]]
            # NumPy's own choice for hashes of 64 bits beside a 0 are floats, which round them
            for kind in (np.int64, np.uint64):
                limits = np.iinfo(kind)
                if all(limits.min <= number <= limits.max for number in numbers):
                    return np.array(numbers, kind)
            return np.array(numbers, object)
        return np.array(self.texts, dtype=object)

    def find(self, values: Iterable[Any]) -> Array:
        """The number of each id, -1 for an unknown one."""
        number = self.number
        texts = [id_text(value, f"the {self.what} id") for value in values]
        found = (number[text] if text in number else self._as_read(text) for text in texts)
        return np.fromiter(found, np.int64, len(texts))

    def _as_read(self, text: str) -> int:
        """The number of an id that is spelled differently in the data, -1 for an unknown one.

        Files and tables may have blanks around an id, two spellings of a letter, and 7.0 for 7
        where 7.5 is an id as well.
        """
        text = tidy(text)
        ways = (text, meant(text, self.number), f"{text}.0" if WHOLE.fullmatch(text) else text)
        return next((self.number[way] for way in ways if way in self.number), -1)

    def unknown(self, value: Any, name: str, titles: Sequence[str] | None = None) -> str:
        """What to say of an id that is not known: ids that look like it, or some as examples."""
        text = id_text(value)
        known = self.texts[self.first :]
        if titles is not None and text in titles:
            return (
                f"no {self.what} {text!r} in {name}; that is the title of {self.what} "
                f"{self.texts[titles.index(text)]!r}, whose id is asked for"
            )
        near = difflib.get_close_matches(text, known[:NEAR_AMONG], n=3)
        if near:
            return f"no {self.what} {text!r} in {name}; did you mean {', '.join(near)}?"
        return (
            f"no {self.what} {text!r} in {name}; {self.what} ids look like {', '.join(known[:5])}"
        )


@dataclass(frozen=True, eq=False)
class Known:
    """Items 1..I and users 0..U-1 of a model, and facts about its data.

    `popularity` int64 (I+1) counts what the model was trained on. `split` has the users'
    histories, None where they were left out; then there are no user ids either. `repeats` is the
    rule about items met before, `on` what was trained on: the train part, or everything.
    """

    name: str
    item_ids: Sequence[str]
    titles: Sequence[str] | None
    popularity: Array
    user_ids: Sequence[str]
    num_users: int
    split: Split | None
    repeats: Literal["allow", "forbid"]
    fingerprint: str
    rule: str = LEAVE_ONE_OUT  # how the split was made
    source: str = ""
    notes: tuple[str, ...] = ()
    on: Literal["train", "everything"] = "train"
    whole: tuple[str, ...] = ()  # "user", "item": whose ids were whole numbers

    @classmethod
    def of(
        cls,
        split: Split,
        on: Literal["train", "everything"] = "train",
        whole: tuple[str, ...] | None = None,
    ) -> Known:
        """What a model that is trained on this split knows."""
        data = split.dataset
        return cls(
            name=data.name,
            item_ids=data.item_ids,
            titles=data.titles,
            popularity=split.popularity(),
            user_ids=data.user_ids,
            num_users=data.num_users,
            split=split,
            repeats=split.repeats,
            fingerprint=split.fingerprint(),
            rule=split.rule,
            source=data.source,
            notes=data.warnings,
            on=on,
            whole=data.whole if whole is None else whole,
        )

    def without_histories(self, model: Model) -> Known:
        """The same without users: neither ids nor histories.

        Raises `ConfigError` for a model that could not answer then.
        """
        if model.needs_user:
            raise ConfigError(
                f"{type(model).__name__} answers for known users only, so their ids and histories "
                "cannot be left out; use a model that goes by the history, such as sasrec"
            )
        return replace(self, split=None, user_ids=())

    def still_whole(self, data: Dataset) -> tuple[str, ...]:
        """Which of `whole` are so in `data`, too: an update may bring the first id of text."""
        ids = {"user": data.user_ids, "item": data.item_ids[1:]}
        return tuple(what for what in self.whole if all(map(WHOLE.fullmatch, ids[what])))

    @property
    def filter(self) -> str:
        """What left out users and items: "one-pass filter, min_actions=5", or "" if nothing did."""
        found = re.search(r"(one-pass|iterative) filter, min_actions=\d+", self.source)
        return found[0] if found else ""

    @cached_property
    def users(self) -> Ids:
        """The users by their ids."""
        return Ids(self.user_ids, "user", 0, "user" in self.whole)

    @cached_property
    def items(self) -> Ids:
        """The items by their ids; number 0 is the padding."""
        return Ids(self.item_ids, "item", 1, "item" in self.whole)

    @cached_property
    def shown_titles(self) -> Array:
        """The title of each item, or its id where the source has no titles."""
        titles = self.titles or [f"item {text}" for text in self.item_ids]
        return np.array(titles, dtype=object)

    def measured(self, repeats: Repeats) -> Split | None:
        """The split under a rule about items met before, to measure a model on.

        With the simulator of a made-up data set, which is made again: no folder holds it.
        """
        if self.split is None:
            return None
        oracle, spec = self.split.dataset.oracle, DATASETS.get(self.name)
        if oracle is None and spec is not None and spec.make is not None:
            made = spec.make()
            if made.fingerprint() == self.split.dataset.fingerprint():
                oracle = made.oracle
        data = replace(self.split.dataset, repeats=repeats, oracle=oracle)
        return replace(self.split, dataset=data)

    # --- on disk -------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What config.json says about the data."""
        names = ("name", "source", "notes", "repeats", "on", "whole", "num_users", "rule")
        facts = {name: getattr(self, name) for name in names}
        return {"data": self.fingerprint, "known": {**facts, "num_items": len(self.item_ids) - 1}}

    def files(self) -> dict[str, bytes]:
        """The files by name."""
        titles = None if self.titles is None else list(self.titles)[1:]
        items = {
            "ids": list(self.item_ids)[1:],
            "titles": titles,
            "trained": self.popularity[1:].tolist(),
        }
        files = {ITEMS: json.dumps(items).encode()}
        if self.split is not None:
            files[USERS] = json.dumps({"ids": list(self.user_ids)}).encode()
            data, split = self.split.dataset, self.split
            parts = (data.items, data.offsets, split.train_end, split.valid_at, split.test_at)
            arrays: dict[str, Array] = dict(zip(ARRAYS, parts, strict=True))
            if data.times is not None:
                arrays["times"] = data.times
            files[HISTORIES] = to_safetensors(arrays, {})
        return files

    @classmethod
    def read(cls, run: Run, facts: dict[str, Any]) -> Known:
        """What a folder holds; `facts` come from `Run.settings`. Raises `CheckpointError`."""
        told = facts.get("known")
        if told is None:
            raise CheckpointError(
                f"{run.folder} holds no items and titles: it is a run of an earlier version or of "
                f"an experiment; evaluate and recommend read its data file, or train it anew: "
                f"python -m minisasrec.train --config {run.path('config.json')} --out NEW"
            )
        try:
            return cls._read(run, facts, told)
        except CheckpointError:  # it names the file already
            raise
        except Exception as error:  # whatever the files hold, it is one line
            raise CheckpointError(f"{run.folder} cannot be used: {_line(error)}") from None

    @classmethod
    def _read(cls, run: Run, facts: dict[str, Any], told: dict[str, Any]) -> Known:
        check_form(told, KNOWN_FORM, f"{run.path(CONFIG)}, known")
        check_form(facts, {"data": str, "files": dict}, run.path(CONFIG))
        items = run.load_json(ITEMS)
        check_form(items, ITEMS_FORM, run.path(ITEMS))
        _check_texts(items["ids"], told["num_items"], run.path(ITEMS))
        if items["titles"] is not None:
            _check_texts(items["titles"], told["num_items"], run.path(ITEMS))
        known = cls(
            name=told["name"],
            item_ids=[PAD, *items["ids"]],
            titles=None if items["titles"] is None else [PAD, *items["titles"]],
            popularity=np.array([0, *items["trained"]], dtype=np.int64),
            user_ids=(),
            num_users=told["num_users"],
            split=None,
            repeats=told["repeats"],
            fingerprint=facts["data"],
            rule=told["rule"],
            source=told["source"],
            notes=tuple(told["notes"]),
            on=told["on"],
            whole=tuple(told["whole"]),
        )
        if known.repeats not in ("allow", "forbid") or known.on not in ("train", "everything"):
            raise DataError(f"repeats is {known.repeats!r:.50}, trained on {known.on!r:.50}")
        if known.popularity.shape != (len(known.item_ids),):
            raise DataError(
                f"{ITEMS} has {len(items['trained'])} counts for {len(items['ids'])} ids"
            )
        if HISTORIES not in facts["files"]:
            return known
        users = run.load_json(USERS)
        check_form(users, {"ids": list}, run.path(USERS))
        _check_texts(users["ids"], known.num_users, run.path(USERS))
        arrays, _ = run.load_arrays(HISTORIES)
        items_of_all, offsets, train_end, valid_at, test_at = (arrays[n] for n in ARRAYS)
        data = Dataset(
            known.name,
            items_of_all,
            offsets,
            users["ids"],
            known.item_ids,
            known.titles,
            known.source,
            warnings=known.notes,
            repeats=known.repeats,
            times=arrays.get("times"),
        )
        for place in (train_end, valid_at, test_at):
            first = offsets[:-1] if place is train_end else train_end
            inside = (place >= first) & (place <= offsets[1:]) | (place == NONE)
            if place.dtype != np.int64 or place.shape != (known.num_users,) or not inside.all():
                raise DataError(f"{HISTORIES} says of some user what no split can say")
        split = Split(data, train_end, valid_at, test_at, known.rule)
        return replace(known, user_ids=users["ids"], split=split)


def extended(known: Dataset, new: Dataset) -> tuple[Dataset, list[str]]:
    """`known` with the actions of `new`, and new users and items behind the known ones.

    So numbers of users and items stay. The titles of known items stay, too. Where both have times,
    these say where an action goes; else the new actions of a user come after the known ones.
    The second result are notes: times in two units, such as seconds and milliseconds, are put right
    as they are within one file. Raises `DataError` where one side has dates and the other has not.
    """
    users, user_ids = _renumbered(known.user_ids, new.user_ids)
    items, item_ids = _renumbered(known.item_ids, new.item_ids)
    titles = None
    if known.titles is not None or new.titles is not None:
        titles = list(known.titles or known.item_ids)
        theirs = new.titles or new.item_ids
        titles += [theirs[i] for i in np.flatnonzero(items >= len(titles)).tolist()]
    who = np.concatenate(
        [
            np.repeat(np.arange(known.num_users), np.diff(known.offsets)),
            np.repeat(users, np.diff(new.offsets)),
        ]
    )
    items_of_all = np.concatenate([known.items, items[new.items].astype(np.int32)])
    times, notes = None, list[str]()
    if known.times is not None and new.times is not None:
        _check_both_are_dates(known.times, new.times)
        times, notes = one_unit(np.concatenate([known.times, new.times]))
        if again := _known_before(who, items_of_all, times, known.num_actions):
            notes.append(
                f"{again:,} of the {new.num_actions:,} new actions are known already (same user, "
                "item and time) and count twice now; give update only what came after the last log"
            )
    order = np.argsort(who, kind="stable") if times is None else np.lexsort((times, who))
    offsets = np.zeros(len(user_ids) + 1, np.intp)
    np.cumsum(np.bincount(who, minlength=len(user_ids)), out=offsets[1:])
    dataset = Dataset(
        known.name,
        items_of_all[order],
        offsets,
        user_ids,
        item_ids,
        titles,
        known.source,
        warnings=known.warnings,
        repeats=known.repeats,
        times=None if times is None else times[order],
    )
    return dataset, notes


def _known_before(users: Array, items: Array, times: Array, num_known: int) -> int:
    """How many of the actions behind the first `num_known` equal one of these."""
    new = np.arange(len(users)) >= num_known
    order = np.lexsort((new, times, items, users))  # among equal ones the known come first
    other = np.ones(len(order), bool)  # another action than the one before
    other[1:] = np.any([np.diff(column[order]) != 0 for column in (users, items, times)], axis=0)
    group = np.cumsum(other) - 1
    group_is_known = ~new[order][other]
    return int((new[order] & group_is_known[group]).sum())


def _check_both_are_dates(known: Array, new: Array) -> None:
    """Days such as 20240531 as numbers would all come before times in seconds, without a word."""
    if len(known) and len(new) and (units_per_day(known) is None) != (units_per_day(new) is None):
        raise DataError(
            f"the times of the known actions, up to {known.max():.0f}, and of the new ones, up to "
            f"{new.max():.0f}, are not of one kind: only the "
            f"{'new' if units_per_day(known) is None else 'known'} ones are seconds since 1970 (or "
            "milliseconds and so on); write both in one way, or say how the new ones are written: "
            "time_format='%Y%m%d', for example"
        )


def _renumbered(known: Sequence[str], new: Sequence[str]) -> tuple[Array, list[str]]:
    """The number of each new id, and all ids: the known ones, then those that are new."""
    number = {text: i for i, text in enumerate(known)}
    texts = [meant(text, number) for text in new]
    numbers = np.array([number.setdefault(text, len(number)) for text in texts], np.int64)
    return numbers, list(number)


def _check_texts(values: list[Any], count: int, where: object) -> None:
    """Raise `CheckpointError` unless `values` are `count` texts."""
    if len(values) != count or not all(isinstance(value, str) for value in values):
        raise CheckpointError(
            f"{where} should hold {count} texts, and holds {len(values)} entries; it is damaged or "
            "was changed by hand"
        )


def _line(error: Exception) -> str:
    told = str(error) if isinstance(error, MinisasrecError) else f"{type(error).__name__}: {error}"
    return " ".join(told.split())
