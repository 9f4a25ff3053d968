"""Whom to recommend to, and what: ids and tables in, a table out.

A query is a user whom the model knows, a history, or both. `Queries` reads them, `allowed_items`
the items that may be recommended, and `answer` makes the table.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from minisasrec.data.dataset import DataWarning, Repeats
from minisasrec.data.sequences import pack
from minisasrec.data.times import TimeColumn
from minisasrec.data.values import Unusable, as_objects
from minisasrec.errors import ConfigError, DataError
from minisasrec.learn import frames
from minisasrec.learn.known import Known
from minisasrec.learn.recommendation import recommend
from minisasrec.models.base import NOBODY, Model, SequenceModel

Array = np.ndarray
Unknown = Literal["error", "skip"]


def check_count(name: str, value: Any) -> None:
    """Raise `ConfigError` unless an argument is a whole number, at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ConfigError(f"{name} is {value!r}; it must be a whole number, at least 1")


def check_choice(name: str, value: Any, choices: Sequence[str | None]) -> None:
    """Raise `ConfigError` unless an argument is one of the choices."""
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}; choose one of {', '.join(filter(None, choices))}")


def values_of(given: Any, what: str, column: str) -> list[Any]:
    """The ids in a list, a column, or the column `column` of a table."""
    if frames.is_frame(given):
        return frames.column(given, column, what)
    if isinstance(given, str | bytes) or not hasattr(given, "__iter__"):
        raise ConfigError(f"{what} is {given!r}; give a list of ids, such as [{given!r}]")
    values = given.tolist() if hasattr(given, "tolist") else list(given)
    return values if isinstance(values, list) else [values]


def item_numbers(known: Known, given: Sequence[Any], unknown: Unknown) -> Array:
    """The numbers of item ids; unknown ones are an error or left out."""
    numbers = known.items.find(given)
    if unknown == "error" and (numbers < 0).any():
        value = given[int(np.argmin(numbers))]
        raise DataError(known.items.unknown(value, known.name, known.titles))
    return numbers[numbers > 0]


def allowed_items(known: Known, candidates: Any, exclude: Any, untrained: bool) -> Array:
    """The numbers, ascending, of the items that may be recommended."""
    allowed = np.ones(len(known.item_ids), bool)
    if candidates is not None:
        given = values_of(candidates, "candidates", "item")
        numbers = known.items.find(given)
        if not (numbers > 0).any():
            some = known.items.unknown(given[0], known.name) if given else "the list is empty"
            raise DataError(f"none of the {len(given):,} candidates is known: {some}")
        if (numbers < 0).any():
            note(f"{(numbers < 0).sum():,} of {len(given):,} candidates are not known: left out")
        allowed[:] = False
        allowed[numbers[numbers > 0]] = True
    if exclude is not None:
        given = values_of(exclude, "exclude", "item")
        numbers = known.items.find(given)
        if (numbers < 0).any():
            note(f"{(numbers < 0).sum():,} of {len(given):,} items to exclude are not known")
        allowed[numbers[numbers > 0]] = False
    allowed[0] = False
    if not untrained:
        left_out = int((allowed & (known.popularity == 0)).sum())
        allowed &= known.popularity > 0
        if candidates is not None and left_out:
            note(f"{left_out:,} candidates have no train action: left out (see untrained=)")
    if not allowed.any():
        raise DataError(
            "no item is left to recommend: every candidate is excluded or was never trained"
        )
    return np.flatnonzero(allowed)


class Queries:
    """Whom to recommend to: B labels, user numbers (`NOBODY` for strangers) and histories.

    Histories are slices `starts` to `ends` of `items`, so that those of known users are not copied.
    """

    def __init__(
        self, model: Model, known: Known, users: Any, histories: Any, unknown: Unknown = "error"
    ) -> None:
        self.known, self.unknown = known, unknown
        self.column = "user"
        if histories is None:
            self._of_users(users)
        else:
            self._of_histories(users, histories)
            self._say_what_is_cut(model)
        if model.needs_user:
            self._leave_out_strangers(type(model).__name__)

    def _of_users(self, users: Any) -> None:
        known = self.known
        if known.split is None:
            raise DataError(
                f"{known.name} was saved without users; give histories=[[item, ...], ...]"
            )
        data = known.split.dataset
        if users is None:
            self.numbers, self.labels = np.arange(known.num_users), known.users.values
        else:
            given = values_of(users, "users", "user")
            numbers = known.users.find(given)
            if self.unknown == "error" and (numbers < 0).any():
                value = given[int(np.argmin(numbers))]
                rule = f", or left out by the {known.filter}," if known.filter else ""
                raise DataError(
                    f"{known.users.unknown(value, known.name)}; for somebody new{rule} give "
                    "histories="
                )
            if (numbers < 0).any():
                note(f"{(numbers < 0).sum():,} of {len(given):,} users are not known: left out")
            self.numbers, self.labels = numbers[numbers >= 0], _array(given)[numbers >= 0]
            if not len(self.labels):  # nobody: of the type that users have
                self.labels = known.users.values[:0]
        self.items = data.items
        self.starts, self.ends = data.offsets[self.numbers], data.offsets[self.numbers + 1]

    def _of_histories(self, users: Any, histories: Any) -> None:
        known = self.known
        labels, lists = _histories(users, histories)
        self.column = "row" if labels is None else "user"
        if frames.is_frame(histories) and not frames.has_column(histories, "user"):
            self.column = "row"
        self.labels = np.arange(len(lists)) if labels is None else _array(labels)
        self.numbers = np.full(len(lists), NOBODY)
        if self.column == "user" and known.split is not None:
            self.numbers = known.users.find(self.labels)
        every = [value for history in lists for value in history]
        numbers = known.items.find(every)
        if self.unknown == "error":
            item_numbers(known, every, "error")
        elif (numbers < 0).any():
            note(f"{(numbers < 0).sum():,} of {len(every):,} items are not known: left out")
        row = np.repeat(np.arange(len(lists)), [len(history) for history in lists])
        lengths = np.bincount(row[numbers > 0], minlength=len(lists))
        self.items = numbers[numbers > 0].astype(np.int32)
        self.ends = np.cumsum(lengths)
        self.starts = self.ends - lengths
        if empty := int((lengths == 0).sum()):
            note(
                f"{empty:,} of {len(lists):,} histories are empty: recommended by popularity "
                "(the score is the number of train actions)"
            )

    def _say_what_is_cut(self, model: Model) -> None:
        longer = int((self.ends - self.starts > model.n).sum())
        if longer and isinstance(model, SequenceModel):
            note(
                f"{longer:,} of {len(self.ends):,} histories are longer than n = {model.n}: their "
                f"last {model.n} items count"
            )

    def _leave_out_strangers(self, name: str) -> None:
        strange = self.numbers < 0
        if not strange.any():
            return
        if self.unknown == "error":
            first = self.labels[strange].tolist()[0]
            raise DataError(
                f"{name} keeps a vector per user and has none for {self.column} {first!r}; name "
                "users that it knows, or use a model that goes by the history, such as sasrec"
            )
        note(f"{name} knows nothing of {strange.sum():,} of {len(strange):,} users: left out")
        for part in ("numbers", "labels", "starts", "ends"):
            setattr(self, part, getattr(self, part)[~strange])


def _histories(users: Any, histories: Any) -> tuple[list[Any] | None, list[list[Any]]]:
    """Labels, None for places, and lists of item ids."""
    if not frames.is_frame(histories):
        if isinstance(histories, str | bytes) or not hasattr(histories, "__iter__"):
            raise ConfigError(f"histories is {histories!r}; give lists of item ids: [[...], ...]")
        lists = []
        for history in histories:
            if isinstance(history, str | bytes | Mapping) or not hasattr(history, "__iter__"):
                raise ConfigError(
                    f"histories holds {history!r}; it is a list of lists of item ids, such as "
                    f"[[{history!r}]]"
                )
            if isinstance(history, set | frozenset):
                raise ConfigError("histories holds a set, which has no order; give lists")
            lists.append(history.tolist() if hasattr(history, "tolist") else list(history))
        if users is None:
            return None, lists
        labels = values_of(users, "users", "user")
        if len(labels) != len(lists):
            raise ConfigError(
                f"{len(labels):,} users and {len(lists):,} histories; give one history for each"
            )
        return labels, lists
    if users is not None:
        raise ConfigError("users and a table of histories; name the users in the table's column")
    by_row = frames.has_column(histories, "row") and not frames.has_column(histories, "user")
    who = "row" if by_row else "user"
    names = frames.column(histories, who, "the table of histories")
    items = frames.column(histories, "item", "the table of histories")
    order = list(range(len(items)))
    if frames.has_column(histories, "time"):
        times = _times(frames.column(histories, "time", "the table of histories"))
        order = np.argsort(times, kind="stable").tolist()
    if odd := [name for name in names if not isinstance(name, Hashable)]:
        raise DataError(
            f"the table of histories has {odd[0]!r} in the column {who!r}; each row has one id"
        )
    found: dict[Any, list[Any]] = {name: [] for name in names}
    for i in order:
        found[names[i]].append(items[i])
    return list(found), list(found.values())


def _times(values: list[Any]) -> Array:
    """Times to sort by, read as those of a log are: text, such as "9" and "10", is no order."""
    column = TimeColumn()
    array = _array([str(v) if hasattr(v, "isoformat") and v == v else v for v in values])
    if (missing := TimeColumn.missing(array)).any():
        raise DataError(
            f"the table of histories has no time in row {np.argmax(missing)}; leave the row or the "
            "column out"
        )
    if wrong := column.add(array):
        raise DataError(f"the table of histories, row {wrong[0]}: {wrong[1]}")
    try:
        times, notes = column.result()
    except Unusable as error:
        raise DataError(f"the table of histories: {error}") from None
    for text in notes:
        note(f"the table of histories: {text}", stacklevel=6)
    return times


def _array(values: Sequence[Any]) -> Array:
    """Ids as an array: whole numbers as such, all else as objects."""
    array = np.asarray(values)
    return array if array.dtype.kind in "iu" else as_objects(values)


def answer(
    model: Model, queries: Queries, part: slice, k: int, rule: Repeats, allowed: Array
) -> dict[str, Any]:
    """The columns of the recommendations for a part of the queries."""
    known, k = queries.known, min(k, len(allowed))
    numbers, starts, ends = queries.numbers[part], queries.starts[part], queries.ends[part]
    lists = np.zeros((len(numbers), k), np.int32)
    scores = np.zeros((len(numbers), k), np.float32)
    everything = None if len(allowed) == len(known.item_ids) - 1 else allowed

    def fill(members: Array, rule: Literal["allow", "forbid"]) -> None:
        rows = np.flatnonzero(members)
        if not len(rows):
            return
        longest = int((ends - starts)[rows].max())
        histories = pack(queries.items, starts[rows], ends[rows], longest)
        found = recommend(model, numbers[rows], histories, k, rule, everything)
        lists[rows], scores[rows] = found

    some = ends > starts
    if rule == "auto":
        slices = zip(starts, ends, strict=True)
        items = [queries.items[start:end] for start, end in slices]
        twice = np.array([len(np.unique(history)) < len(history) for history in items], bool)
        fill(some & twice, "allow")
        fill(some & ~twice, "forbid")
    else:
        fill(some, rule)
    if not some.all():
        order = allowed[np.argsort(-known.popularity[allowed], kind="stable")[:k]]
        lists[~some], scores[~some] = order, known.popularity[order]
    row, place = np.nonzero(lists)
    found = lists[row, place]
    return {
        queries.column: queries.labels[part][row],
        "item": known.items.values[found],
        "title": known.shown_titles[found],
        "score": scores[row, place],
        "rank": place + 1,
    }


def note(text: str, stacklevel: int = 3) -> None:
    """Say something that does not stop the answer: a `DataWarning`."""
    warnings.warn(text, DataWarning, stacklevel=stacklevel + 1)
