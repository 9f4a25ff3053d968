"""Which column of a table is the user, the item, the time, the title: by name, and by a look."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minisasrec.data.options import TIME_UNITS, Condition, ReadingOptions, conditions, spelled
from minisasrec.data.times import (
    DAY,
    LONGEST_DATE,
    are_of_1970,
    are_of_the_days,
    called_a_date,
    follow,
    hold_days,
    kind_of,
    whole_number,
)
from minisasrec.data.values import MISSING, Unusable, as_text, looks_like_data, shown
from minisasrec.errors import DataError

# Usual names, most specific first, in lower case without blanks and marks between words.
USER_COLUMNS = (
    "userid user reviewerid customerid customer visitorid memberid clientid buyerid "
    "accountid profileid profilename playerid readerid listenerid userkey useridx customerkey "
    "custid custkey customerno customernumber personid person member memid subscriberid guestid "
    "shopperid householdid householdkey panelistid viewerid msno "
    "username usersha1 screenname uid userpseudoid fullvisitorid cookieid deviceid client "
    "sessionid session sessionkey usersession kundennummer kundenid kunde benutzer"
).split()
SESSION_COLUMNS = frozenset("sessionid session sessionkey usersession".split())
ITEM_COLUMNS = (
    "itemid item movieid productid parentasin asin stockcode articleid newsid bookid businessid "
    "trackid traid songid artistid artid videoid videoids gameid animeid recipeid venueid placeid "
    "poiid locationid contentid gmapid listingid hotelid courseid appid aid sku isbn isbn13 "
    "productcode itemcode itemkey itemidx product article movie book track song video game news "
    "docid documentid postid pageid trackuri "
    "venue location iid artikelnummer artikelid artikel produkt"
).split()
PLACES, PAGES = ("venue", "location"), ("url", "uri", "page")
TIME_COLUMNS = (
    "timestamp time unixreviewtime unixtimestamp datetime eventtime eventtimestamp utctime date "
    "invoicedate createdat ts eventdate orderdate purchasedate reviewdate ratingdate visitdate "
    "timedat tdat ratedat reviewtime listenedat playedat unixtime epoch timems timestampms "
    "timestampmicros ratingtimestamp tsms created creationdate dateadded rtimestamp orderedat "
    "tstamp datum zeitpunkt zeit zeitstempel uhrzeit"
).split()
# numbers that may be a time of day, and below what; no "hours" and "seconds", which are played
CLOCK_COLUMNS = {
    **dict.fromkeys(
        (
            "time hrmn hourmin timeofday clock eventtime ordertime transtime transactiontime "
            "uhrzeit zeit"
        ).split(),
        240_000,
    ),
    **dict.fromkeys("hour hr hourofday orderhourofday hora heure stunde".split(), 24),
    **{"minuteofday": 1_440, "secondofday": 86_400},
    "timeframe": np.inf,  # Diginetica: milliseconds of a session
}
# a date, or a time of day, in several columns, and the least and most of each
DATE_PARTS = {"year": (1900, 2100), "month": (1, 12), "day": (1, 31)}
CLOCK_PARTS = {"hour": (0, 23), "minute": (0, 59), "second": (0, 59)}
COUNTED_DAYS = frozenset("day daynumber dayindex week weekno weeknumber".split())
# in names of what takes time, and of what is a time of day though it is written as if it did
LENGTHS = re.compile("durat|duree|dauer|length|elapsed|spent|dwell|(run|play|listening|watch)time")
MOMENTS = re.compile("time|hour|heure|hora|hr|uhr|zeit|clock")
# how their names begin
PARTS_OF = ("", "date", "time", "event", "order", "purchase", "visit")
TITLE_COLUMNS = (
    "title itemtitle movietitle booktitle itemname productname trackname traname articletitle "
    "bezeichnung titel name description"
).split()

NO_TIME = "{} has no time column: the rows of each user are taken to be in time order"


@dataclass
class Roles:
    """Positions of the columns that are read, and what a reader should know about the choice."""

    user: int
    item: int
    time: tuple[int, ...] = ()  # one column, or year, month and day
    clock: tuple[int, ...] = ()  # the time of day beside days: one column, or hour and minute, ...
    title: int | None = None
    title_was_named: bool = False
    where: list[tuple[int, Condition]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def kinds(self) -> dict[int, str]:
        """What is read of each column: "id", "time" or "text"; text where there are two uses."""
        uses: dict[int, list[str]] = {}
        for position, kind in (
            (self.user, "id"), (self.item, "id"), *((p, "time") for p in self.time + self.clock),
            (self.title, "text"), *((p, "text") for p, _ in self.where),
        ):  # fmt: skip
            if position is not None:
                uses.setdefault(position, []).append(kind)
        return {p: kinds[0] if len(kinds) == 1 else "text" for p, kinds in uses.items()}


def simple(name: Any) -> str:
    """A column's name as the lists above have it; RecBole's ``name:type`` counts as ``name``.

    >>> simple("User-ID "), simple("item_id:token"), simple("# t_dat")
    ('userid', 'itemid', 'tdat')
    """
    return re.sub(r"[\W_]+", "", str(name).split(":")[0]).lower()


def index_name(columns: Sequence[Any]) -> str:
    """What an index of times is called that has no name: "time" if no other column is one."""
    return "time" if {*TIME_COLUMNS}.isdisjoint(map(simple, columns)) else "index"


class Header:
    """The names of a table's columns."""

    def __init__(
        self, source: str, names: Sequence[Any], line: Sequence[str] = (), at: int = 1
    ) -> None:
        """``source`` is how errors call the table, ``line`` its header line, number ``at``."""
        self.line, self.at = line, at
        self.source = source
        self.columns = [str(name).strip() for name in names]
        self.names = [simple(name) for name in self.columns]

    def has_user_and_item(self) -> bool:
        """Whether there is a usual name of a user and one of an item."""
        return not {*USER_COLUMNS}.isdisjoint(self.names) and not {*ITEM_COLUMNS}.isdisjoint(
            self.names
        )

    def listed(self) -> str:
        """All names, for an error."""
        shown = self.columns[:30]
        return ", ".join(shown) + (", ..." if len(self.columns) > len(shown) else "")

    def named(self, wanted: str, option: str) -> int:
        """The position of the column that the user names; DataError if there is none."""
        same = [
            [i for i, c in enumerate(self.columns) if c == wanted],
            [i for i, c in enumerate(self.columns) if c.split(":")[0].lower() == wanted.lower()],
            [i for i, n in enumerate(self.names) if n and n == simple(wanted)],
        ]
        found = next(filter(None, same), [])
        if not found:
            close = difflib.get_close_matches(wanted, self.columns, n=1)
            raise DataError(
                f"{self.source} has no column {wanted!r} for {option}"
                + (f": did you mean {close[0]!r}?" if close else "")
                + f"; it has: {self.listed()}"
            )
        return self._only(found, option)

    def usual(self, known: Sequence[str], option: str) -> list[int]:
        """The columns with a usual name, in the order of those names."""
        found: list[int] = []
        for name in known:
            same = [i for i, n in enumerate(self.names) if n == name]
            if same and not found:
                self._only(same, option)
            found += same
        return found

    def _only(self, found: Sequence[int], option: str) -> int:
        if len(found) > 1:
            raise DataError(
                f"{self.source} has {len(found)} columns {self.columns[found[0]]!r}, which is the "
                f"{option}? Name another one, rename the others, or name all columns of a text "
                f"file by {spelled('columns')}, - for one not needed; the columns are: "
                f"{self.listed()}"
            )
        return found[0]


def choose(
    header: Header, sample: Sequence[Sequence[Any]], options: ReadingOptions, lines: bool = False
) -> Roles:
    """The roles of the columns, by the options, the usual names and the values of a few rows.

    ``sample[i]`` are the first values of column i, ``lines`` says whether the names are a header
    line. Raises DataError where no column, or the same
    column twice, would be user and item.
    """
    notes: list[str] = []
    user = _user(header, sample, options, notes)
    item = _item(header, sample, options, user, notes)
    if user is None or item is None:
        _refuse(header, sample, "user" if user is None else "item", lines and not options.columns)
    assert user is not None and item is not None
    if user == item:
        raise DataError(
            f"{header.source}: user_column and item_column are both {header.columns[user]!r}: name "
            f"another by {spelled('user_column')} or {spelled('item_column')}"
        )
    _check_first_line(header, sample, options, (user, item), notes)
    roles = Roles(user, item, notes=notes)
    roles.where = [(header.named(c.column, "--where (where=)"), c) for c in conditions(options)]
    for p, condition in roles.where:  # names are found without their marks, but ~= is no =
        if condition.column[-1] in "~^:*" and condition.column != header.columns[p]:
            sign = condition.column[-1] + condition.operator
            raise DataError(
                f"--where (where=) is {condition.text!r}: there is no operator {sign}, only "
                "= != >= <= > <"
            )
    _time(header, sample, options, roles)
    if options.title_column is not None:
        roles.title = header.named(options.title_column, "title_column")
        roles.title_was_named = True
    else:
        titles = header.usual(TITLE_COLUMNS, "title_column")
        roles.title = next((t for t in titles if t not in (user, item, *roles.time)), None)
    return roles


def _check_first_line(
    header: Header,
    sample: Sequence[Sequence[Any]],
    options: ReadingOptions,
    ids: Sequence[int],
    notes: list[str],
) -> None:
    """Whether the line that is taken for the header is a row: `DataError` if an id comes again."""
    if not header.line or not {*USER_COLUMNS, *ITEM_COLUMNS}.isdisjoint(map(simple, header.line)):
        return
    kinds = [
        (kind_of([name]), kind_of(below)) for name, below in zip(header.line, sample, strict=True)
    ]
    if any(below and not above for above, below in kinds):
        return  # a word stands above numbers or dates
    first = f"{header.source}: line {header.at} ({', '.join(header.line)[:80]})"
    names = [header.line[p] for p in ids if header.line[p] in map(str, sample[p])]
    again = next(filter(None, names), None)
    if again and options.columns:
        raise DataError(
            f"{first} would be the header, but {again!r} stands below, too: if it is a row, "
            f"{spelled('header')}; if not, that and --skip-lines {header.at}"
        )
    if again or options.columns:
        notes.append(f"{first} is taken for a header and left out; if it is a row: --no-header")


def _user(
    header: Header, sample: Sequence[Sequence[Any]], options: ReadingOptions, notes: list[str]
) -> int | None:
    if options.user_column is not None:
        return header.named(options.user_column, "user_column")
    found = header.usual(USER_COLUMNS, "user_column")
    if not found:
        return None
    name = header.columns
    full = [p for p in found if _share_missing(sample[p]) <= 0.5]
    if full and full[0] != found[0]:
        notes.append(
            f"{name[found[0]]!r} is mostly missing, so each {name[full[0]]!r} is taken as a "
            f"user; for the other, {spelled('user_column', name[found[0]])} with --drop-missing"
        )
        return full[0]
    people = [p for p in found if header.names[p] not in SESSION_COLUMNS]
    if len(people) > 1 and _differ(sample[people[0]], sample[people[1]]):
        notes.append(
            f"the user is the column {name[people[0]]!r}; {name[people[1]]!r} could be the user, "
            f"too: {spelled('user_column', name[people[1]])}"
        )
    return found[0]


def _item(
    header: Header,
    sample: Sequence[Sequence[Any]],
    options: ReadingOptions,
    user: int | None,
    notes: list[str],
) -> int | None:
    if options.item_column is not None:
        return header.named(options.item_column, "item_column")
    found = [p for p in header.usual(ITEM_COLUMNS, "item_column") if p != user]
    if found and header.names[found[0]] in PLACES:  # it may be where the user was
        found = [*header.usual(PAGES, "item_column"), *found]
    name = header.columns
    for column in name:
        if re.fullmatch(r"(?i)item.*:token_seq", column):  # RecBole's sequential files
            notes.append(
                f"the column {column!r} holds lists of items, which are not read: one row for each "
                "action is expected"
            )
    if len(found) > 1 and _differ(sample[found[0]], sample[found[1]]):
        notes.append(
            f"the item is the column {name[found[0]]!r}; {name[found[1]]!r} could be the item, "
            f"too: {spelled('item_column', name[found[1]])}"
        )
    return found[0] if found else None


def _share_missing(values: Sequence[Any]) -> float:
    def missing(value: Any) -> bool:
        try:
            return as_text(value) in MISSING
        except Unusable:
            return False

    return sum(map(missing, values)) / max(len(values), 1)


def _differ(left: Sequence[Any], right: Sequence[Any]) -> bool:
    """Whether two columns tell the rows apart in different ways (an id and a name do not)."""
    pairs = {(str(a), str(b)) for a, b in zip(left, right, strict=True)}
    return len(pairs) > max(len({a for a, _ in pairs}), 1) or len(pairs) > max(
        len({b for _, b in pairs}), 1
    )


def _time(
    header: Header, sample: Sequence[Sequence[Any]], options: ReadingOptions, roles: Roles
) -> None:
    """Set the time column of `roles`, or two: one of days and one of the time of day."""
    name = header.columns
    free = [p for p in range(len(name)) if p not in (roles.user, roles.item)]
    named = options.time_column is not None
    if options.time_column is not None:
        usual = [header.named(options.time_column, "time_column")]
        free = [p for p in free if p != usual[0]]
    else:
        usual = [p for p in header.usual(TIME_COLUMNS, "time_column") if p in free]
    kinds = _kinds(header, sample, options, free, usual)
    clocks = [p for p in free if kinds[p] == "clock"]
    numbers = [p for p in free if kinds[p] == "number"]
    numbers = [p for p in numbers if _is_clock(header.names[p], sample[p])]
    if named:  # a time that is named is of no length of another column
        clocks = [p for p in clocks if header.names[p] in CLOCK_COLUMNS]
    certain = clocks or [p for p in numbers if _are_clocks(header.names[p], sample[p])]
    clock = _parts(header, sample, free, CLOCK_PARTS)
    dated = usual if named else [p for p in usual if called_a_date(header.names[p])]
    if certain or clock:
        for p in {*usual} - {*clocks, *numbers, *clock}:
            counted = named and header.names[p] in COUNTED_DAYS and "day" in header.names[p]
            number = kinds[p] == "number" and p in dated
            if kinds[p] == "moment" or (number and (counted or _most(sample[p]) >= 10_000)):
                kinds[p] = "day" if hold_days(sample[p]) else kinds[p]
    days = [p for p in usual if kinds[p] == "day"]
    if not days and clocks and not named:
        days = [p for p in free if kinds[p] == "day"]
    parts = (
        () if named or days or {*usual} - {*certain} else _parts(header, sample, free, DATE_PARTS)
    )
    have_days = bool(days) or len(parts) == len(DATE_PARTS)
    if not clocks and have_days:
        clocks = [*(clock if len(clock) > 1 else ()), *numbers, *clock]
    else:
        clock, clocks = (), certain
    # a time of day orders nothing without its day; alone it is kept, for an error that says so
    dates = have_days or any(kinds[p] == "moment" for p in usual)
    whole = [p for p in usual if p not in clocks or not dates]
    if whole or days:
        chosen = (whole or days)[0]
        if kinds[chosen] == "day":  # a moment of that day says more
            moments = (p for p in usual if kinds[p] == "moment")
            same = (p for p in moments if are_of_the_days(sample[p], sample[chosen]))
            chosen = next(same, chosen)
        roles.time = (chosen,)
    elif len(parts) == len(DATE_PARTS):
        roles.time = parts
    by_unit = options.time_format in TIME_UNITS
    if len(roles.time) > 1 or (roles.time and kinds[roles.time[0]] == "day" and not by_unit):
        roles.clock = clock if len(clock) > 1 else tuple(clocks[:1])
    if named and not roles.clock:
        return
    unknown: list[int] = []
    if roles.time and roles.time[0] in {*certain, *numbers} and not by_unit:
        unknown = [p for p in dated if p not in roles.time and kinds[p] in (None, "number")]
        unknown = [p for p in unknown if _have_digits(sample[p])]
        if roles.time[0] in certain:  # other numbers may count something
            _refuse_time_of_day(header, sample, roles.time[0], unknown)
    others = [
        p
        for p in free
        if kinds[p] == "day"
        or (kinds[p] == "moment" and _is_like_a_time(header.names[p], sample[p]))
        or (
            kinds[p] == "number"
            and header.names[p] in COUNTED_DAYS
            and (not roles.time or roles.time[0] in {*certain, *numbers})
        )
        or p in unknown
    ]
    others = [p for p in others if p not in roles.time + roles.clock]
    option = f": {spelled('time_column', name[others[0]])}" if others else ""
    if not roles.time:
        if others:
            roles.notes.append(
                f"no column of {header.source} is called like a time; {name[others[0]]!r} looks "
                f"like one{option}; without one, the rows of each user are taken to be in time "
                "order"
            )
        else:
            roles.notes.append(NO_TIME.format(header.source))
    elif roles.clock or len(roles.time) > 1:
        said = f"the time is {_listed(name, roles.time)}"
        if roles.clock:
            said += f" with the time of day in {_listed(name, roles.clock)}"
        roles.notes.append(said)
    elif others:
        roles.notes.append(
            f"the time is the column {name[roles.time[0]]!r}; {name[others[0]]!r} looks like a "
            f"time, too{option}"
        )


def _kinds(
    header: Header,
    sample: Sequence[Sequence[Any]],
    options: ReadingOptions,
    free: Sequence[int],
    usual: Sequence[int],
) -> dict[int, str | None]:
    """What each column looks like, see `kind_of`, by its name and `time_format`, too."""
    kinds = {p: kind_of(sample[p]) for p in (*free, *usual)}
    for p, kind in kinds.items():
        name = header.names[p]
        if name in CLOCK_COLUMNS:  # the date of a time that has none, or of a clock that began at 0
            if kind == "moment" and are_of_1970(sample[p]):
                kinds[p] = "clock"
        elif kind == "clock" and (
            LENGTHS.search(name)
            or any(re.match("0 days", str(v)) for v in sample[p])  # as pandas writes a length
            or (not MOMENTS.search(name) and any(re.match(r"\d+h", str(v)) for v in sample[p]))
        ):
            kinds[p] = None
    form = options.time_format or ""
    if re.search("%[YyGmdjcx]", form):
        dates = [p for p in free if called_a_date(header.names[p]) and not options.time_column]
        for p in [p for p in (*dates, *usual) if follow(sample[p], form)][:1]:
            kinds[p] = "moment" if re.search("%[HIcXs]", form) else "day"
    return kinds


def _refuse_time_of_day(
    header: Header, sample: Sequence[Sequence[Any]], clock: int, dates: Sequence[int]
) -> None:
    """`DataError` if there are columns of dates that are not understood beside a time of day."""
    if dates:
        date = header.columns[dates[0]]
        given = [
            next((v for v in sample[p] if str(v).strip() not in MISSING), "")
            for p in (clock, dates[0])
        ]
        raise DataError(
            f"{header.source}: the column {header.columns[clock]!r} is a time of day (such as "
            f"{shown(given[0])}), and its date in {date!r} (such as {shown(given[1])}) is not "
            "understood: write it as 2024-05-31, say how it is written, for example by "
            f"{spelled('time_format', '%d%m%y')}, or name the column with the whole time by "
            f"{spelled('time_column')}"
        )


def _listed(names: Sequence[str], positions: Sequence[int]) -> str:
    return ", ".join(repr(names[p]) for p in positions)


def _parts(
    header: Header,
    sample: Sequence[Sequence[Any]],
    free: Sequence[int],
    parts: dict[str, tuple[int, int]],
) -> tuple[int, ...]:
    """The columns of a date, or of a time of day, from the first part to the last there is."""
    longest: list[int] = []
    for beginning in PARTS_OF:
        found: list[int] = []
        for part, (least, most) in parts.items():
            column = next((p for p in free if header.names[p] == beginning + part), None)
            numbers = [] if column is None else [whole_number(v) for v in sample[column]]
            full = [number for number in numbers if number is not None]
            if column is None or not full or min(full) < least or max(full) > most:
                break
            found.append(column)
        longest = max(longest, found, key=len)
    return tuple(longest)


def _is_clock(name: str, values: Sequence[Any]) -> bool:
    """Whether numbers are times of day: an hour, or hours, minutes and seconds as in 235959."""
    return _most(values) < CLOCK_COLUMNS.get(name, 0)


def _have_digits(values: Sequence[Any]) -> bool:
    """Whether all are short and have a digit, as dates in any spelling do."""
    texts = [str(v) for v in values if str(v).strip() not in MISSING]
    return bool(texts) and all(re.search(r"\d", t) and len(t) <= LONGEST_DATE for t in texts)


def _most(values: Sequence[Any]) -> float:
    return max((float(v) for v in values if str(v).replace(".", "", 1).isdecimal()), default=0)


def _are_clocks(name: str, values: Sequence[Any]) -> bool:
    """Whether numbers can hardly be anything else: 1405, 140559, parts of a day such as .5, or an
    hour that is called one."""
    if CLOCK_COLUMNS.get(name, np.inf) <= DAY:
        return True
    fields = [str(v).strip().replace(",", ".") for v in values if str(v).strip() not in MISSING]
    if not all(re.fullmatch(r"\d*\.?\d+", field) for field in fields):
        return False
    numbers = [*map(float, fields)]
    most = max(numbers, default=0)
    if any(n % 1 for n in numbers):
        return most < 1
    seconds = [n % 100 for n in numbers] if most >= 2_400 else [0]
    minutes = [n // (100 if most >= 2_400 else 1) % 100 for n in numbers]
    return most >= 100 and max(*seconds, *minutes) < 60


def _is_like_a_time(name: str, values: Sequence[Any]) -> bool:
    dates = any(isinstance(v, str) and re.search(r"\d[-/:.]\d", v) for v in values)
    return dates or re.search("time|date|stamp|zeit|datum", name) is not None


def _refuse(header: Header, sample: Sequence[Sequence[Any]], role: str, first_line: bool) -> None:
    """Say why there is no user or item, and what to do; ``first_line``: the names come from it."""
    option = f"{role}_column"
    lists = [
        name
        for name, values in zip(header.columns, sample, strict=True)
        if any(isinstance(v, (list, dict)) for v in values)
    ]
    if first_line and looks_like_data(header.columns):
        guess = suggestion(header.columns)
        raise DataError(
            f"the first line of {header.source} looks like data, not like names "
            f"({', '.join(header.columns)[:80]}): say what its columns are, for example "
            f'--no-header --columns "{guess}" '
            f"(header=False, columns={guess!r})"
        )
    more = f"; {lists[0]!r} holds lists: one row for each action is expected" if lists else ""
    if first_line:
        more += "; if the first line holds no names, give --no-header --columns (header=False)"
    raise DataError(
        f"{header.source}: no column has a usual name for {option}: name it by {spelled(option)}, "
        f"one of: {header.listed() or 'none'}{more}"
    )


LOOKED_AT = 50  # fields of a line in which a time is looked for


def suggestion(fields: Sequence[str]) -> str:
    """A value of ``columns`` for a line of data: user, item, and what looks like a time."""
    names: list[str] = []
    for position, text in enumerate(fields):
        kind = kind_of([text]) if position < LOOKED_AT else None
        if position > 0 and kind in ("moment", "day") and "time" not in names:
            names.append(
                "time" if kind == "day" or not text.isdecimal() or position > 1 else "item"
            )
        else:
            names.append("user" if "user" not in names else "item" if "item" not in names else "-")
    return ",".join(names)
