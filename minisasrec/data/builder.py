"""The one way from rows to `Actions`: whatever the format, the same rules for every field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minisasrec.budget import check
from minisasrec.data.actions import Actions
from minisasrec.data.columns import Header, Roles, choose
from minisasrec.data.options import Condition, ReadingOptions, number, spelled
from minisasrec.data.times import (
    TimeColumn,
    clock_seconds,
    days,
    joined,
    whole_days,
    within_a_day,
)
from minisasrec.data.values import (
    MISSING,
    Ids,
    Unusable,
    as_title,
    compared,
    first_unusable,
    look_like_lists,
    shown,
    texts,
)
from minisasrec.errors import DataError

# measured at the highest point, while actions are sorted: see tests/test_budget.py
BYTES_PER_ROW, BYTES_PER_ID = 72, 400


@dataclass
class Block:
    """Some rows: ``columns`` by position, texts, numbers, dates or objects.

    ``place(r)`` is how errors name row r ("line 7"). ``blank`` are rows without any field.
    """

    columns: Mapping[int, NDArray[Any]]
    place: Callable[[int], str]
    blank: NDArray[np.bool_] | None = None


class Table(Protocol):
    """What each format makes of a file: names, a few values to look at, and blocks of rows."""

    name: str  # as errors call it
    typed: bool  # its columns have types: a whole number was one where it was made

    @property
    def names(self) -> Sequence[Any]:
        """The names of the columns."""

    @property
    def facts(self) -> Mapping[str, str]:
        """Encoding, separator and the like: what was understood."""

    @property
    def notes(self) -> Sequence[str]:
        """What a reader of the data should know."""

    def sample(self) -> Sequence[Sequence[Any]]:
        """The first values of each column, and more from further down: see `values.spread`."""

    def blocks(self, kinds: Mapping[int, str]) -> Iterator[Block]:
        """All rows, with the columns of ``kinds``: position -> "id", "time" or "text"."""


def read_actions(table: Table, options: ReadingOptions) -> Actions:
    """The actions of a table, by the rules of docs/your-data.md. DataError names the row."""
    line, at = getattr(table, "names_line", ()), getattr(table, "first_line", 1)
    header = Header(table.name, table.names, line, at)
    roles = choose(header, table.sample(), options, "header" in table.facts)
    builder = ActionsBuilder(header, roles, options)
    kinds = roles.kinds()
    if "%" in (options.time_format or ""):  # 10.2020 as a number would be 10.202
        kinds |= {p: "text" for p in roles.time}
    for block in table.blocks(kinds):
        builder.add(block)
    actions = builder.actions()
    actions.whole = actions.whole if table.typed else ()
    actions.notes[:0] = table.notes
    actions.reading = {**builder.understood(), **table.facts}
    return actions


class ActionsBuilder:
    """Takes blocks of rows and keeps codes and numbers: 16 bytes for each action."""

    def __init__(self, header: Header, roles: Roles, options: ReadingOptions) -> None:
        """No rows yet."""
        self.header, self.roles, self.options = header, roles, options
        self.users, self.items = Ids(), Ids()
        self.times: TimeColumn | None = None
        if roles.time:
            name = header.names[roles.time[0]]
            self.times = TimeColumn(options.time_format, name)
        self.clocks: list[NDArray[np.float64]] = []
        self.titles = None if roles.title is None else _Titles(roles.title_was_named)
        self.codes: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
        self.rows = self.missing = self.left_out = 0
        self.first_missing = ""
        self.seen_values: dict[str, dict[str, None]] = {}
        self.held: dict[str, int] = {}  # how many rows each condition alone leaves
        self.no_numbers: dict[str, tuple[int, str]] = {}

    def add(self, block: Block) -> None:
        """Add some rows."""
        length = len(next(iter(block.columns.values())))
        keep = np.ones(length, dtype=bool) if block.blank is None else ~block.blank
        self.rows += int(keep.sum())
        keep = self._where(block, keep)
        self._check_memory()
        rows = np.flatnonzero(keep)
        whole = len(rows) == length

        def column(position: int) -> NDArray[Any]:
            values = block.columns[position]
            return values if whole else values[rows]

        users = self._encode(self.users, column(self.roles.user), "user", block, rows)
        items = self._encode(self.items, column(self.roles.item), "item", block, rows)
        absent = (users < 0) | (items < 0)
        times = clock = None
        if self.times is not None:
            times = _one(self.roles.time, column, "-")
            if self.roles.clock and "%" not in (self.options.time_format or ""):
                times = days(times)
            no_time = self.times.missing(times)
            if self.roles.clock:
                clock = _one(self.roles.clock, column, ":")
                no_time |= TimeColumn.missing(clock)
            absent |= no_time
        if absent.any():
            self._missing(block, rows, users, items, absent)
            good = ~absent
            rows, users, items = rows[good], users[good], items[good]
            times = None if times is None else times[good]
            clock = None if clock is None else clock[good]
        if self.times is not None and times is not None:
            if problem := self.times.add(times):
                self._refuse(block, rows[problem[0]], self.roles.time[0], problem[1])
            if clock is not None:
                self._add_clock(block, rows, clock)
        if self.titles is not None:
            assert self.roles.title is not None
            self._add_titles(block, rows, users, items)
        self.codes.append((users, items))

    def _check_memory(self) -> None:
        """Raise `DataError` before the actions take more memory than there may be."""
        rows = sum(len(users) for users, _ in self.codes)
        ids = len(self.users.names) + len(self.items.names)
        check(
            BYTES_PER_ROW * rows + BYTES_PER_ID * ids,
            f"{self.header.source}: reading its first {rows:,} actions of {ids:,} users and items",
            f"read a part of it ({spelled('where')}, or a shorter file), or raise --max-memory",
            DataError,
        )

    def _where(self, block: Block, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
        before = int(keep.sum())
        for position, condition in self.roles.where:
            column = block.columns[position]
            try:
                values = texts(column, compared)
            except Unusable:
                row, why = first_unusable(column, compared)
                self._refuse(block, row, position, f"the value {why}")
            answers: dict[str, bool] = {}
            for value in values:
                if value not in answers:
                    answers[value] = condition.holds(value)
            if condition.operator not in ("=", "!="):
                self._note_no_numbers(condition, values)
            shown = self.seen_values.setdefault(condition.text, {})
            if len(shown) < 6:
                shown.update(dict.fromkeys(answers))
            holds = np.fromiter(map(answers.__getitem__, values), bool, len(values))
            self.held[condition.text] = self.held.get(condition.text, 0) + int(holds.sum())
            keep = keep & holds
        self.left_out += before - int(keep.sum())
        return keep

    def _note_no_numbers(self, condition: Condition, values: Sequence[str]) -> None:
        counts = {text: number(text) is None and text not in MISSING for text in set(values)}
        if any(counts.values()):
            count, first = self.no_numbers.get(condition.text, (0, ""))
            odd = [text for text in values if counts[text]]
            self.no_numbers[condition.text] = count + len(odd), first or odd[0]

    def _encode(
        self, ids: Ids, values: NDArray[Any], what: str, block: Block, rows: NDArray[np.int64]
    ) -> NDArray[np.int32]:
        try:
            return ids.encode(values)
        except Unusable:
            row, why = first_unusable(values)
            position = self.roles.user if what == "user" else self.roles.item
            self._refuse(block, rows[row], position, f"the {what} {why}")
            raise AssertionError from None

    def _missing(
        self,
        block: Block,
        rows: NDArray[np.int64],
        users: NDArray[np.int32],
        items: NDArray[np.int32],
        absent: NDArray[np.bool_],
    ) -> None:
        """Count rows that lack a field, or refuse the first of them."""
        self.missing += int(absent.sum())
        first = int(np.flatnonzero(absent)[0])
        what = "user id" if users[first] < 0 else "item id" if items[first] < 0 else "time"
        position = self.roles.user if what == "user id" else self.roles.item
        if what == "time":
            row = slice(rows[first], rows[first] + 1)
            position = next(
                p
                for p in self.roles.time + self.roles.clock
                if TimeColumn.missing(block.columns[p][row])[0]
            )
        value = block.columns[position][rows[first]]
        column = self.header.columns[position]
        problem = f"the {what} is missing (column {column!r}: {shown(value)})"
        if not self.options.drop_missing:
            self._refuse(
                block,
                rows[first],
                None,
                f"{problem}; {spelled('drop_missing')} leaves out such rows",
            )
        self.first_missing = self.first_missing or f"{block.place(int(rows[first]))}: {problem}"

    def _add_clock(self, block: Block, rows: NDArray[np.int64], clock: NDArray[Any]) -> None:
        seconds = clock_seconds(clock)
        if seconds is None:
            row = next(r for r in range(len(clock)) if clock_seconds(clock[r : r + 1]) is None)
            self._refuse(
                block,
                rows[row],
                self.roles.clock[0],
                f"a time of day such as 23:59 was expected, got {shown(clock[row])}",
            )
        assert seconds is not None
        self.clocks.append(seconds)

    def _add_titles(
        self,
        block: Block,
        rows: NDArray[np.int64],
        users: NDArray[np.int32],
        items: NDArray[np.int32],
    ) -> None:
        assert self.titles is not None and self.roles.title is not None
        if self.titles.why_not:
            return
        values = block.columns[self.roles.title]
        try:
            names = texts(values if len(rows) == len(values) else values[rows], as_title)
        except Unusable:
            self.titles.why_not = "holds other values than text"
            return
        self.titles.add(users.tolist(), items.tolist(), names)

    def _refuse(self, block: Block, row: Any, position: int | None, problem: str) -> None:
        column = "" if position is None else f" (column {self.header.columns[position]!r})"
        raise DataError(f"{self.header.source} {block.place(int(row))}: {problem}{column}")

    def actions(self) -> Actions:
        """All rows added so far."""
        users, items = (
            np.concatenate([pair[side] for pair in self.codes])
            if self.codes
            else np.zeros(0, np.int32)
            for side in (0, 1)
        )
        self.codes.clear()
        if not len(users):
            self._nothing()
        notes = list(self.roles.notes)
        if self.left_out:
            notes.append(
                f"{self.left_out:,} of {self.rows:,} rows were left out by "
                f"{', '.join(c.text for _, c in self.roles.where)}"
            )
        notes += [
            f"{count:,} row(s) were left out by {text}, since their value is no number, such as "
            f"{shown(value)}"
            for text, (count, value) in self.no_numbers.items()
        ]
        if self.missing:
            notes.append(
                f"{self.missing:,} of {self.rows:,} rows were left out, since a field is missing; "
                f"the first is {self.first_missing}"
            )
        names, change, told = self.users.finish()
        users = users if change is None else change[users]
        notes += [f"users: {note}" for note in told]
        item_names, change, told = self.items.finish()
        items = items if change is None else change[items]
        notes += [f"items: {note}" for note in told]
        if look_like_lists(item_names):
            notes.append(
                f"the items look like lists (the first is {shown(item_names[0])}): one row for "
                "each action is expected (pandas: frame.explode)"
            )
        titles = self._titles(item_names, change, notes)
        times = self._times(notes)
        ids = {"user": self.users, "item": self.items}
        whole = tuple(what for what, column in ids.items() if column.whole)
        return Actions(users, items, times, names, item_names, titles, notes=notes, whole=whole)

    def _nothing(self) -> None:
        source = self.header.source
        if self.rows and self.left_out == self.rows:
            none = [text for text, rows in self.held.items() if not rows]
            if not none:
                raise DataError(
                    f"{source}: no row of {self.rows:,} has all of {', '.join(self.held)}, though "
                    "some have each"
                )
            text, seen = none[0], self.seen_values[none[0]]
            shown = ", ".join(map(repr, list(seen)[:6]))
            raise DataError(f"{source}: no row of {self.rows:,} has {text}; the column has {shown}")
        if self.missing:
            raise DataError(
                f"{source}: a field is missing in every row; the first is {self.first_missing}"
            )
        raise DataError(f"{source} is empty: expected rows with {self.header.listed()}")

    def _times(self, notes: list[str]) -> NDArray[Any] | None:
        if self.times is None:
            return None
        try:
            times, told = self.times.result()
        except Unusable as error:
            column = self.header.columns[self.roles.time[0]]
            raise DataError(f"{self.header.source}, column {column!r}: {error}") from None
        notes += told
        if self.clocks:
            midnights = whole_days(times, self.times.kind == "number")
            if midnights is None:
                name = self.header.columns
                day, clock = (name[p[0]] for p in (self.roles.time, self.roles.clock))
                notes[:] = [note for note in notes if "with the time of day in" not in note]
                notes.append(
                    f"the time is the column {day!r} alone: not all of its values are whole days, "
                    f"so the time of day in {clock!r} is not added"
                )
                self.roles.clock = ()
            else:
                times = midnights + within_a_day(np.concatenate(self.clocks))
        if len(times) > 1 and times.min() == times.max():
            notes.append("all times are equal: the order of the rows counts")
        return times

    def _titles(
        self, names: Sequence[str], change: NDArray[np.int32] | None, notes: list[str]
    ) -> Mapping[str, str] | None:
        if self.titles is None or self.roles.title is None:
            return None
        column = self.header.columns[self.roles.title]
        by_code, why_not, example = self.titles.finish()
        if why_not:
            code = example if change is None else int(change[example])
            notes.append(
                f"the column {column!r} is not taken as titles: "
                + why_not.format(item=repr(names[code]))
                + (
                    ""
                    if self.roles.title_was_named
                    else f"; if it is, {spelled('title_column', column)}"
                )
            )
            return None
        if self.titles.renamed:
            notes.append(
                f"{self.titles.renamed:,} item(s) have more than one title in {column!r}; the last "
                "in the file counts"
            )
        return {names[c if change is None else change[c]]: t for c, t in by_code.items()}

    def understood(self) -> dict[str, str]:
        """Which column is what, and which are not read."""
        name, roles = self.header.columns, self.roles
        chosen = {"user": (roles.user,), "item": (roles.item,), "time": roles.time}
        chosen["time of day"] = roles.clock
        if roles.title is not None and not (self.titles and self.titles.why_not):
            chosen["title"] = (roles.title,)
        said = {what: ", ".join(name[p] for p in some) for what, some in chosen.items() if some}
        if roles.where:
            said["where"] = ", ".join(c.text for _, c in roles.where)
        used = {p for some in chosen.values() for p in some}
        said["not read"] = ", ".join(n for p, n in enumerate(name) if p not in used) or "none"
        if self.times is not None:
            said["times"] = self.times.in_words()
        return said


def _one(
    positions: Sequence[int], column: Callable[[int], NDArray[Any]], separator: str
) -> NDArray[Any]:
    """A column, or the parts of a date or a time of day as one."""
    parts = [column(p) for p in positions]
    return parts[0] if len(parts) == 1 else joined(parts, separator)


class _Titles:
    """Titles by item; a column that was not named is dropped when it cannot be the item's."""

    def __init__(self, named: bool) -> None:
        self.named, self.why_not, self.example, self.renamed = named, "", 0, 0
        self.by_item: dict[int, str] = {}
        self._by_user: dict[int, str] | None = {}
        self._several: set[int] = set()

    def add(self, users: Sequence[int], items: Sequence[int], names: Sequence[str]) -> None:
        for user, item, name in zip(users, items, names, strict=True):
            if not name or (name in MISSING and name != "None"):  # a film is called None
                continue
            before = self.by_item.get(item)
            if before is None or before == name:
                self.by_item[item] = name
            elif not self.named and before.casefold() != name.casefold():
                self.example = item
                self.why_not = "item {item} has more than one, so it may be of a review or a person"
                self.by_item.clear()
                return
            else:
                if before.casefold() != name.casefold():
                    self._several.add(item)
                self.by_item[item] = name
            if self._by_user is not None and not self.named:
                if self._by_user.setdefault(user, name) != name:
                    self._by_user = None

    def finish(self) -> tuple[dict[int, str], str, int]:
        self.renamed = len(self._several)
        distinct = len(set(self.by_item.values()))
        if (
            not self.why_not
            and not self.named
            and self._by_user is not None
            and len(self.by_item) > max(distinct, 1)
            and len(self._by_user) > 1
        ):
            self.why_not = "each user has one for all items, so it may be the user's name"
        return self.by_item, self.why_not, self.example
