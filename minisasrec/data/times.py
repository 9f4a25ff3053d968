"""A column of times -> numbers to sort by: epochs in any unit, counters, dates in usual spellings.

Only the order matters to the model, so numbers are taken as they are, and dates become seconds
since 1970 in UTC. Dates are read by pandas, by a pattern that is made from the first of them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minisasrec.data.options import DAY_ORDERS, TIME_UNITS, spelled
from minisasrec.data.values import MISSING, Unusable, as_objects, shown, texts, whole_up_to

MISSING_TIMES = MISSING | {"0000-00-00", "0000-00-00 00:00:00"}  # MySQL's dates of nothing
# the years 1973 to 2286 in seconds, milliseconds, microseconds and nanoseconds
UNITS = {"seconds": 1e8, "milliseconds": 1e11, "microseconds": 1e14, "nanoseconds": 1e17}
DAY = 86_400  # seconds
# 1900-01-02 and 2100: dates outside, and 1970-01-01 itself, are seldom those of an action
EARLIEST, LATEST = -2_208_902_400, 4_102_444_800
NEVER = (253_402_214, 253_402_300)  # 9999-12-31 in thousands of seconds, its first and its last
SPREAD = 100  # largest over smallest time: above this, epochs are not all of one unit
EXPECTED = "the time must be a number >= 0, or a date such as 2024-05-31 12:00:00, all lines alike"

MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()
LONG_MONTHS = (
    "january february march april may june july august september october november december".split()
)
DAYS = "mon tue wed thu fri sat sun".split()
LONG_DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
TOKEN = re.compile(
    r"(?P<clock>\d{1,2}:\d{2}(?P<second>:\d{2}(?P<fraction>[.,]\d+)?)?)"
    r"|(?P<year>\d{4})(?!\d)|(?P<number>\d{1,2})(?!\d)|(?P<word>[^\W\d_]+)|(?P<other>.)"
)
# what else may stand in a date; what any other word changes, such as the W of a week, nobody knows
FILLERS = frozenset("t z at on of um uhr h st nd rd th 年 月 日 년 월 일".split())
AFTER_CLOCK = frozenset(["uhr", "h"])
DURATION = re.compile(r"-?\d+ days?\b")  # as pandas writes one: 0 days 00:00:03
CLOCK_ALONE = re.compile(r"\d{1,2}(:\d{2})+")
NOT_PLAIN = re.compile(r"(?i)utc|gmt|sept\b|[ap]\. ?m\.|[\[(]")
YEAR_LAST = re.compile(r"\d{1,2}([./])\d{1,2}\1\d{2}(?!\d)")
DATE_NAMES = frozenset("date day datum tag fecha data jour month monat tdat dt".split())
DAY_NUMBER = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(\.0)?")  # 20240531
ZONE = re.compile(r"[+-]\d{2}:?\d{2}(?!\d)")
DECIMAL_COMMA = re.compile(r"\d{4,},\d+")  # no thousands: those would have a comma before, too
LONGEST_DATE = 100  # characters; a field of 70,000 would take seconds to tell from one
CLOCK_IN = re.compile(r":|\dT\d")
# what Access, Excel and others write before a time of day that has no date
NO_DATE = re.compile(r"(1899-12-3[01]|12/3[01]/1899|3[01][./]12[./]1899)[ T](?=\d{1,2}:)")
OF_1970 = re.compile(r"1970-01-01[ T](?=\d{1,2}:)")
# 23:59:59.9, 9:05 p.m., 9h30, 9:00 Uhr, 09:00:00+02:00, 9 AM; pandas' timedelta of a day
CLOCK = re.compile(
    r"(?:0 days )?(\d{1,2})(?:"
    r"[:h](\d{2})(?::(\d{2}(?:[.,]\d+)?))?(?: ?Uhr)?"
    r"\s*([AaPp])?\.? ?[Mm]?\.?\s*(Z|[+-]\d{2}:?\d{2})?"
    r"| ?Uhr| ?([AaPp])\.? ?[Mm]\.?)"
)
MIDNIGHT = re.compile(
    r"(?i)[T ](0?0:00(:00([.,]0+)?)?( ?(Z|UTC|GMT|[+-]\d{2}:?\d{2}))?|12:00(:00)? ?AM)$"
)
# days since 1970 are from 1997 to today, those of Excel count from 1899-12-30
FIRST_DAY, EXCEL_DAYS, EXCEL_1970 = 10_000, (20_000, 80_000), 25_569


def pattern_of(text: str, order: str) -> str | None:
    """The strptime pattern that a date follows, or None; ``order`` decides between 5/6 and 6/5.

    A year of four digits that comes first is followed by the month. With ``order`` "year-first" a
    pattern is made of dates only whose year has two digits.

    >>> pattern_of("Tue Apr 03 18:00:09 +0000 2012", "day-first")
    '%a %b %d %H:%M:%S %z %Y'
    >>> pattern_of("5/31/2024 2:05 PM", "month-first")
    '%m/%d/%Y %I:%M %p'
    """
    if len(text) > LONGEST_DATE:
        return None
    month_as_word = any(_word(word) in ("%b", "%B") for word in re.findall(r"[^\W\d_]+", text))
    if month_as_word:
        numbers = ["%d", "%Y"]
    elif order == "year-first" or re.match(r"\D*\d{4}(?!\d)", CLOCK_ALONE.sub("", text)):
        numbers = ["%Y", "%m", "%d"]
    else:
        numbers = ["%d", "%m", "%Y"] if order == "day-first" else ["%m", "%d", "%Y"]
    half = bool(re.search(r"(?i)\d\s*[ap]\.?m", text))
    left, pattern, place = list(numbers), "", 0
    while place < len(text):
        if "%M" in pattern and (zone := ZONE.match(text, place)):
            pattern += "%z"
            place = zone.end()
            continue
        match = TOKEN.match(text, place)
        assert match is not None
        kind, token, place = match.lastgroup, match[0], match.end()
        if match["clock"]:
            pattern += "%I:%M" if half else "%H:%M"
            if match["second"]:
                pattern += ":%S"
            if match["fraction"]:
                pattern += match["fraction"][0] + "%f"
        elif kind == "year" and "%Y" in left:
            left.remove("%Y")
            pattern += "%Y"
        elif kind == "number" and left:
            number = left.pop(0)
            pattern += "%y" if number == "%Y" else number
        elif kind == "word":
            word, low = _word(token), token.lower()
            if word is None and "%M" in pattern and low not in AFTER_CLOCK:
                return None  # the name of a zone, which may mean several
            if word is None and "%M" not in pattern and low not in FILLERS and not month_as_word:
                return None
            pattern += word or token
        elif kind == "other":
            pattern += token.replace("%", "%%")
        else:
            return None
    if left or (order == "year-first" and ("%y" not in pattern or month_as_word)):
        return None
    return pattern


def _word(token: str) -> str | None:
    low = token.lower()
    for pattern, words in (("%b", MONTHS), ("%B", LONG_MONTHS), ("%a", DAYS), ("%A", LONG_DAYS)):
        if low in words:
            return pattern
    return "%p" if low in ("am", "pm") else None


def plain(text: str) -> str:
    """A date in a spelling that pandas knows: one blank, +0000 for UTC, GMT and Z.

    >>> plain("Fri May 31 2024 12:00:00 GMT+0200 (CEST)"), plain("3 Sept 2024 1:05 p.m.")
    ('Fri May 31 2024 12:00:00 +0200', '3 Sep 2024 1:05 pm')
    """
    text = " ".join(text.split())
    if len(text) > LONGEST_DATE or not NOT_PLAIN.search(text):
        return text
    # Java adds [Europe/Berlin], JavaScript (CEST)
    text = re.sub(r"\[[\w/+-]+\]$|(?<=\d) \([\w ]+\)$", "", text)
    text = re.sub(r"(?i)\b(sep)t\b", r"\1", text)
    text = re.sub(r"(?i)(?<=\d)( ?[ap])\. ?m\.", r"\1m", text)
    text = re.sub(r"\b(UTC|GMT)(?=[+-]\d{2}:?\d{2})", "", text)
    text = re.sub(r"(?<=:\d\d) (UTC|GMT)(?= \d{4}$)", " +0000", text)
    for name in (" UTC", " GMT", "UTC", "GMT"):
        if text.endswith(name):
            return text.removesuffix(name) + (" +0000" if ":" in text else "")
    return text


def digits_of(pattern: str) -> int:
    """How many digits a pattern of digits alone takes, 0 if there is anything else in it.

    >>> digits_of("%y%m%d"), digits_of("%Y%m%d%H%M"), digits_of("%d.%m.%Y")
    (6, 12, 0)
    """
    if not re.fullmatch(r"(%[YymdHMS])+", pattern):
        return 0
    return sum(4 if letter == "Y" else 2 for letter in pattern[1::2])


def is_ambiguous(text: str) -> bool:
    """Whether a date without a month's name does not say which number is the day: 5/6/2024.

    5.6.2024 does: where dates have dots, the day is first.
    """
    return re.search(r"(?<![\d./:-])(\d{1,2})([/_ -])(\d{1,2})\2\d{2}", text) is not None


@dataclass
class _Dates:
    """Reads dates with the day first, or with the month first, and keeps what it has read."""

    order: str
    patterns: list[str] = field(default_factory=lambda: ["ISO8601"])
    used: dict[str, None] = field(default_factory=dict)  # the patterns that read something
    only: bool = False  # no pattern may be added
    parts: list[NDArray[np.float64]] = field(default_factory=list)

    def depends_on_order(self) -> bool:
        """Whether a pattern that read something would be another one in the other order."""
        day_and_month = [p for p in self.used if "%d" in p and "%m" in p]
        return not all(-1 < p.find("%Y") < min(map(p.find, ("%d", "%m"))) for p in day_and_month)

    def read(self, values: Sequence[str]) -> NDArray[np.float64]:
        """Seconds since 1970; NaN from the first that cannot be read."""
        import pandas

        codes, distinct = pandas.factorize(as_objects(values))
        dates = as_objects([*map(plain, distinct.tolist())])
        if self.only and (width := digits_of(self.patterns[0])):
            # a number lost its first zero: 070102, by %y%m%d, is not to be read as of 1970
            dates = as_objects([d.zfill(width) if d.isdecimal() else d for d in dates])
        seconds = np.full(len(dates), np.nan)
        left = np.arange(len(dates))
        tried = 0
        while len(left):
            if tried == len(self.patterns):
                new = None if self.only else pattern_of(dates[left[0]], self.order)
                if new is None or new in self.patterns or tried > 20:
                    break
                self.patterns.append(new)
            pattern = self.patterns[tried]
            tried += 1
            moments = pandas.to_datetime(dates[left], format=pattern, utc=True, errors="coerce")
            micros = moments.tz_convert(None).to_numpy().astype("datetime64[us]")
            good = ~np.isnat(micros)
            if good.any():
                self.used[pattern] = None
            seconds[left[good]] = micros[good].astype(np.int64) / 1e6
            left = left[~good]
        return seconds[codes]


class TimeColumn:
    """Takes blocks of a column of times; `result` are numbers to sort by."""

    def __init__(self, time_format: str | None = None, name: str = "") -> None:
        """``time_format`` as in `ReadingOptions`; ``name`` is the column's, in small letters."""
        self.time_format = time_format
        self.called_a_date = called_a_date(name)
        self.kind = "number" if time_format in TIME_UNITS else None
        self.numbers: list[NDArray[Any]] = []
        self.coarse = 0.0  # how far apart the numbers of a short type are, if they are whole ones
        self.dates: list[_Dates] = []
        self.ambiguous = False  # whether a date was read that may be meant in two ways
        self.year_last = False  # whether it is written as dates with two digits for the year are
        if time_format is not None and self.kind is None:
            self.kind = "date"
            if time_format in DAY_ORDERS:
                self.dates = [_Dates(time_format)]
            else:
                pattern = " ".join(time_format.split())
                self.dates = [_Dates("day-first", [pattern], only=True)]

    @staticmethod
    def missing(values: NDArray[Any]) -> NDArray[np.bool_]:
        """Where there is no time."""
        if values.dtype.kind in "iu":
            return np.zeros(len(values), dtype=bool)
        if values.dtype.kind == "M":
            return np.isnat(values)
        if values.dtype.kind == "f":
            return np.isnan(values)
        return np.fromiter(map(_is_missing_time, values.tolist()), bool, len(values))

    def add(self, values: NDArray[Any]) -> tuple[int, str] | None:
        """Add times, none of them missing; the position of one that cannot be read, and why."""
        if not len(values):
            return None
        if values.dtype.kind == "M":
            return self._add_dates(None, values)
        if isinstance(values[0], timedelta) or DURATION.match(str(values[0])):
            return 0, (
                f"the time is a duration, got {values[0]}: give the moment, or seconds as a "
                "number (.dt.total_seconds())"
            )
        if values.dtype.kind in "iuf" and self.kind != "date":
            return self._add_numbers(values, values)
        strings: list[str] = []
        for row, value in enumerate(values.tolist()):
            try:
                strings.append(_time_text(value))
            except Unusable as error:
                return row, f"the time {error}"
        numbers = _numbers(strings)
        if self.kind is None and not np.isnan(numbers[0]):
            self.kind = "number"
        if self.kind == "number":
            return self._add_numbers(numbers, values)
        return self._add_dates(strings, values)

    def _add_numbers(self, numbers: NDArray[Any], values: NDArray[Any]) -> tuple[int, str] | None:
        if self.kind == "date":
            return 0, f"{EXPECTED}, got {_got(values, 0)}"
        self.kind = "number"
        bad = np.flatnonzero(~((numbers >= 0) & (numbers < np.inf)))
        if len(bad):
            return int(bad[0]), f"{EXPECTED}, got {_got(values, bad[0])}"
        greatest = numbers.max()
        if numbers.dtype.kind == "f" and numbers.itemsize < 8:  # float32, which a frame may have
            if greatest > whole_up_to(numbers.dtype):
                self.coarse = max(self.coarse, float(np.spacing(greatest)))
        fits = numbers.dtype.kind in "iu" and int(greatest) < 2**63
        self.numbers.append(numbers.astype(np.int64 if fits else np.float64))
        return None

    def _add_dates(
        self, strings: Sequence[str] | None, values: NDArray[Any]
    ) -> tuple[int, str] | None:
        if self.kind == "number":
            return 0, f"{EXPECTED}, got {_got(values, 0)}"
        self.kind = "date"
        if strings is None:
            seconds = values.astype("datetime64[us]").astype(np.int64) / 1e6
            self.dates = self.dates or [_Dates("day-first")]
            for reader in self.dates:
                reader.parts.append(seconds)
            return None
        if not self.dates:
            self.dates = [_Dates(order) for order in (*DAY_ORDERS, "year-first")]
        # where both agree, as for ISO dates, the second reader gives the same and is not asked
        worst = -1
        alive = []
        shared: NDArray[np.float64] | None = None
        if len(self.dates) > 1:
            self.ambiguous |= any(map(is_ambiguous, strings))
            self.year_last |= YEAR_LAST.match(strings[0]) is not None
        for reader in self.dates:
            if shared is not None and not self.dates[0].depends_on_order():
                reader.parts.append(shared)
                alive.append(reader)
                continue
            seconds = reader.read(strings)
            failed = np.flatnonzero(np.isnan(seconds))
            if len(failed):
                worst = max(worst, int(failed[0]))
            else:
                reader.parts.append(seconds)
                alive.append(reader)
                shared = seconds
        if not alive:
            got = _got(values, worst)
            if CLOCK.fullmatch(strings[worst]):
                return worst, (
                    f"the time is a time of day without its date, got {got}: name the column with "
                    f"the whole time by {spelled('time_column')}"
                )
            if self.time_format:
                return worst, f"the time must be written as {self.time_format!r}, got {got}"
            return worst, (
                f"{EXPECTED}, got {got}; if it is a date, say how it is written by "
                f"{spelled('time_format', '%d.%m.%Y %H:%M')}"
            )
        self.dates = alive
        return None

    def in_words(self) -> str:
        """How the times are written."""
        if self.kind != "date":
            return "numbers"
        order = f"{self.dates[0].order}, " if len(self.dates) == 1 and not self.time_format else ""
        return f"dates, {order}{' or '.join(self.dates[0].used)}"

    def result(self) -> tuple[NDArray[Any], list[str]]:
        """All times, and notes on what is odd; `Unusable` if day and month cannot be told apart."""
        if self.kind == "date":
            return self._result_of_dates()
        times = np.concatenate(self.numbers) if self.numbers else np.zeros(0)
        if not self.time_format and (pattern := _year_at_the_end(times)):
            raise Unusable(
                f"the times look like dates with the year at the end (such as {times[0]}), which "
                f"are in no order as numbers: {spelled('time_format', pattern)}, or "
                f"{spelled('time_format', 's')} if they are numbers"
            )
        if not self.time_format and (patterns := _not_in_order(times, self.called_a_date)):
            raise Unusable(
                f"the dates are numbers (such as {times[0]}), which are in no order as they are: "
                f"say how they are written by {spelled('time_format', patterns[0])}"
                + "".join(f", or {pattern}" for pattern in patterns[1:])
                + f", or {spelled('time_format', 's')} if they count something"
            )
        times, notes = (times, []) if self.time_format else _as_moments(times)
        if self.coarse:
            notes.append(
                f"the times are floats that hold such numbers to the nearest {self.coarse:.0f} "
                "only: actions nearer than that are in the order of the rows; save them as integers"
            )
        return times, notes

    def _result_of_dates(self) -> tuple[NDArray[np.float64], list[str]]:
        """What the readers that are left say of all dates, if they agree."""
        found = {reader.order: np.concatenate(reader.parts) for reader in self.dates}
        if "year-first" in found and len(found) > 1:
            # 24-06-27: with the day first it would be of 2027. What is written last is the year,
            # as in 24.6.23 and 6/24/23, unless that leads into the future.
            by_now = {order: column.max() <= time.time() + DAY for order, column in found.items()}
            if any(by_now.values()):
                found = {order: column for order, column in found.items() if by_now[order]}
            if len(found) > 1 and self.year_last:
                found.pop("year-first", None)
            self.dates = [reader for reader in self.dates if reader.order in found]
        first, *rest = found.values()
        if self.ambiguous and not all(np.array_equal(first, other) for other in rest):
            how = " or ".join(f"the {order.replace('-', ' ')}" for order in found)
            years = ", or by --time-format %y-%m-%d" if "year-first" in found else ""
            fits = "both" if len(found) == 2 else "all"
            raise Unusable(
                f"the dates may have {how}, and every one fits {fits}: say which by --time-format "
                f"day-first or month-first (time_format='day-first'){years}"
            )
        return first, _of_nothing(first)


def _of_nothing(seconds: NDArray[np.float64]) -> list[str]:
    """A note on dates such as 0001-01-01, 1970-01-01 and 9999-12-31 among others."""
    odd = (seconds < EARLIEST) | (seconds == 0) | (seconds >= LATEST)
    if not odd.any() or odd.all():
        return []
    shown = np.datetime64(int(seconds[np.argmax(odd)]), "s").astype("datetime64[D]")
    return [
        f"{odd.sum():,} row(s) have dates such as {shown}, which may stand for one that is missing "
        f"(before 1900, from 2100 on, or 1970-01-01); {spelled('where')} can leave them out"
    ]


def _year_at_the_end(times: NDArray[Any]) -> str | None:
    """The pattern of dates that are written as numbers, 31012012 or 310120121405; else None."""
    if times.dtype.kind not in "iu" or not len(times) or (times[0] == times).all():
        return None
    for clock, shift in (("", 1), ("%H", 10**2), ("%H%M", 10**4), ("%H%M%S", 10**6)):
        date, rest = np.divmod(times, shift)
        first, second, year = date // 10**6, date // 10**4 % 100, date % 10**4
        minutes = rest * 100 if shift == 10**2 else rest if shift < 10**6 else rest // 100
        dates = (year >= 1900) & (year < 2100) & (minutes % 100 < 60) & (minutes < 2400)
        dates &= (first >= 1) & (second >= 1) & (rest % 100 < 60)
        if not dates.all():
            continue
        if first.max() <= 31 and second.max() <= 12:
            return "%d%m%Y" + clock
        if first.max() <= 12 and second.max() <= 31:
            return "%m%d%Y" + clock
    return None


def _not_in_order(times: NDArray[Any], called_a_date: bool) -> list[str]:
    """The patterns by which 310524, 12.2023 or 2023.12 are dates, if that is not their order.

    Nobody acts in the future: patterns that lead there are not meant. All of five digits are
    rather days that are counted, as spreadsheets do. Where the column's name says nothing, all
    dates are to be of 1990 or later.
    """
    some = times[:: max(1, len(times) // 1000)]  # most columns are settled by these
    if len(times) < 3 or len(np.unique(some)) < 2:
        return []
    if _year_and_month(some) and _year_and_month(times):
        return ["%Y.%m"]
    if not _as_dates(some) or len(np.unique(times)) < 3:
        return []
    now = int(time.strftime("%Y%m%d")) * 10**4 + 2400
    least = 0 if called_a_date else 1990 * 10**8
    found = _as_dates(times).items()
    likely = {p: dates for p, dates in found if dates.max() <= now and dates.min() >= least}
    order = np.argsort(times, kind="stable")
    wrong = any((np.diff(dates[order]) < 0).any() for dates in likely.values())
    return list(likely) if wrong else []


def _year_and_month(times: NDArray[Any]) -> bool:
    """Whether all are as 2024.9, 2024.10 and 2024.11, of which 2024.1 may be the first."""
    if times.dtype.kind != "f" or not 1990 <= times.min() <= times.max() < 2100:
        return False
    month = np.rint(times % 1 * 100)
    if np.abs(times % 1 * 100 - month).max() > 1e-6 or (month <= 12).all():
        return False  # 2024.09 sorts as it is
    written = np.unique(month)
    months = np.isin(written, [*range(10, 91, 10), 11, 12])
    return bool(months.all() & np.isin((11, 12), written).any())  # tenths of a year are no months


def _as_dates(times: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The times as dates, YYYYmmddHHMM, by each pattern with a year of two digits that all fit."""
    if times.dtype.kind == "f":  # 1.2024 was 01.2024
        whole = np.rint(times * 10**4)
        if not np.allclose(whole, times * 10**4, rtol=0, atol=1e-6) or whole.max() >= 10**6:
            return {}
        return _dates_by({"%m.%Y": "m.Y"}, whole.astype(np.int64), 0)
    if _dates_by({"%Y%m%d%H": "Ymd"}, times // 100, times % 100 * 100):
        return {}  # 2024053114 sorts as it is
    if 199_000 < times.min() and times.max() < 209_913 and (times % 100 - 1 < 12).all():
        return {}  # and so does 202405
    orders = {"%d%m%y": "dmy", "%m%d%y": "mdy", "%y%m%d": "ymd"}
    found = _dates_by(orders, times, 0) | _dates_by({"%m%Y": "m.Y"}, times, 0)
    date, clock = np.divmod(times, 10**4)
    if len(np.unique(date)) > 2 and (clock % 100 < 60).all():
        found |= _dates_by({p + "%H%M": order for p, order in orders.items()}, date, clock)
    return found


def _dates_by(ways: dict[str, str], date: NDArray[Any], clock: Any) -> dict[str, NDArray[Any]]:
    """For each pattern by which all numbers of five or six digits are dates: YYYYmmddHHMM."""
    found: dict[str, NDArray[Any]] = {}
    whole_year = "Ymd" in ways.values()
    if not whole_year and not 10**5 <= date.max() < 10**6:
        return found
    pairs = date // 10**4, date // 100 % 100, date % 100
    for pattern, parts in ways.items():
        if parts == "m.Y":
            year, month, day = date % 10**4, date // 10**4, np.ones_like(date)
        elif parts == "Ymd":
            year, month, day = pairs
        else:
            year, month, day = (pairs[parts.index(part)] for part in "ymd")
            year = year + np.where(year < 69, 2000, 1900)  # as strptime reads them
        good = (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31) & (clock < 2400)
        if (good & (year >= 1900) & (year < 2100)).all():
            found[pattern] = ((year * 100 + month) * 100 + day) * 10**4 + clock
    return found


def _as_moments(times: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """Times in one unit; hours that are written as 2024053112 become seconds since 1970."""
    rows = hours(times)
    if not rows.any():
        return one_unit(times)
    day, hour = np.divmod(times[rows].astype(np.int64), 100)
    month = ((day // 10_000 - 1970) * 12 + day // 100 % 100 - 1).astype("datetime64[M]")
    days = month.astype("datetime64[D]").astype(np.int64) + day % 100 - 1
    example = f"{times[rows][0]:.0f}"
    times = times.copy()
    times[rows] = days * DAY + hour * 3600
    times, notes = one_unit(times)
    return times, [f"{rows.sum():,} time(s) such as {example} are read as YYYYMMDDHH", *notes]


def hours(times: NDArray[Any]) -> NDArray[np.bool_]:
    """Which times are dates as YYYYMMDDHH: as seconds since 1970 these would be in the future.

    None of them where another time is in those years, 2032 to 2036, and no such date.
    """
    tomorrow = time.time() + DAY
    found = (times >= max(1_970_010_100, tomorrow)) & (times < 2_100_000_000)
    if found.any():
        day, hour = np.divmod(times[found], 100)
        month, of_month = day // 100 % 100, day % 100
        good = (hour < 24) & (hour % 1 == 0) & (month >= 1) & (month <= 12)
        good &= (of_month >= 1) & (of_month <= 31)
        good &= day <= int(time.strftime("%Y%m%d", time.gmtime(tomorrow)))
        found &= bool(good.all())
    return found


def one_unit(times: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """Epochs in seconds, milliseconds and so on, mixed, are put right; a note says so."""
    if not len(times) or times.max() < max(1e8, SPREAD * float(times.min())):
        return times, []
    bounds = [*UNITS.values(), np.inf]
    spread = (
        f"times are a hundredfold apart, from {times.min():.0f} to {times.max():.0f}: are they of "
        "one unit, and is any of them missing?"
    )
    unit = np.searchsorted(bounds, times, side="right") - 1
    if (unit < 0).any():
        few = int((times < 1e8).sum())
        return times, [f"{spread} {few:,} row(s) are below {1e8:.0f}, that is before 1973"]
    # 9999-12-31 in seconds is a day of 1978 in milliseconds, and so on
    never = np.isin(times // 10.0 ** (3 * unit), NEVER) & (unit > unit.min())
    if never.any():
        rest, notes = one_unit(times[~never])
        right = times.astype(np.float64)
        right[~never] = rest
        right[never] = max(right[never].max(), rest.max())
        return (right if notes else times), [
            *notes,
            f"{never.sum():,} row(s) have the time {times[never][0]:.0f}, that is 9999-12-31, "
            f"which may stand for one that is missing; {spelled('where')} can leave them out",
        ]
    right = np.empty(len(times), dtype=np.float64)
    counts = []
    for number, (name, least) in enumerate(UNITS.items()):
        rows = unit == number
        if rows.any():
            seconds = times[rows] / (least / 1e8)
            if seconds.max() >= 1e10:  # between two units: no epoch of these years
                return times, [spread]
            right[rows] = seconds
            counts.append(f"{rows.sum():,} in {name}")
    return right, [f"times are in more than one unit and were put right: {', '.join(counts)}"]


def clock_seconds(values: NDArray[Any]) -> NDArray[np.float64] | None:
    """Times of day as numbers to sort by: 23:59, 11:59 PM, 235959, an hour; else None."""
    if values.dtype.kind in "iuf":
        return values.astype(np.float64)
    import pandas

    try:
        codes, strings = pandas.factorize(as_objects(texts(values)))
    except Unusable:
        if not isinstance(values[0], timedelta):
            return None
        return clock_seconds(as_objects([*map(str, values.tolist())]))
    seconds = np.empty(len(strings))
    for row, text in enumerate(strings):
        match = CLOCK.fullmatch(OF_1970.sub("", NO_DATE.sub("", text)).strip())
        if match is None:
            seconds[row] = number = float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else np.nan
            if np.isnan(number):
                return None
            continue
        hour, minute, second, half, zone, late = match.groups()
        half = half or late
        at = int(hour) % 12 + 12 * (half in "Pp") if half else int(hour)
        seconds[row] = 3600 * at + 60 * int(minute or 0)
        seconds[row] += float((second or "0").replace(",", "."))
        if zone and zone != "Z":  # as the dates, in UTC
            away = int(zone[1:3]) * 3600 + int(zone[-2:]) * 60
            seconds[row] -= away if zone[0] == "+" else -away
    return np.asarray(seconds[codes])


def within_a_day(clock: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times of day as seconds below 86,400; larger numbers are scaled into one day, in order."""
    most = float(clock.max(initial=0))
    if len(clock) and (clock >= 0).all() and most < 24:
        fraction = most < 1 and bool((clock % 1).any())  # .5 is noon
        return clock * (DAY if fraction else 3600)
    if most < 86_400 or not len(clock):
        return clock
    return clock / (most + 1) * 86_400


def days(values: NDArray[Any]) -> NDArray[Any]:
    """Days that are written as numbers, 20240531, as texts that are read as dates."""
    if values.dtype.kind in "iuf":
        values = as_objects(values.tolist())
    if values.dtype.kind == "O":
        strings = [v.strip() if isinstance(v, str) else str(v) for v in values.tolist()]
        return as_objects(
            [f"{text[:4]}-{text[4:6]}-{text[6:8]}" if DAY_NUMBER.fullmatch(text) else value
             for text, value in zip(strings, values.tolist(), strict=True)]
        )  # fmt: skip
    return values


def whole_days(times: NDArray[Any], are_numbers: bool) -> NDArray[np.float64] | None:
    """The seconds at which days begin, of times that have no time of day; else None.

    Numbers may be days since 1970, or since any day, as Excel counts them, or epochs. Midnights of
    another zone are all of one time of day in UTC, or of two that are an hour apart.
    """
    if are_numbers:
        low, high = times.min(), times.max()
        since_1970 = FIRST_DAY <= low and high <= time.time() / DAY + 1
        if (since_1970 or high < FIRST_DAY) and not (times % 1).any():
            return times.astype(np.float64) * DAY
        if EXCEL_DAYS[0] <= low and high <= EXCEL_DAYS[1] and not (times % 1).any():
            return (times.astype(np.float64) - EXCEL_1970) * DAY
        if low < 1e8:
            return None
        times = times / 1000.0 ** (np.searchsorted([*UNITS.values()], high, side="right") - 1)
    clock = times % DAY
    if not clock.any():
        return np.asarray(times, dtype=np.float64)
    at = np.unique(clock)
    if len(at) > 2 or (at % 900).any() or at[-1] - at[0] not in (0, 3600, DAY - 3600):
        return None
    return np.asarray(np.floor((times + 11 * 3600) / DAY) * DAY)


def hold_days(values: Sequence[Any]) -> bool:
    """Whether the first values of a column are moments or counts that stand for whole days."""
    strings = [_time_text(v) for v in values if not _is_missing_time(v)]
    times = _numbers(strings)
    if are_numbers := not np.isnan(times).any():
        return bool(len(times)) and whole_days(times, are_numbers) is not None
    read = [_Dates(order).read(strings) for order in DAY_ORDERS]
    return any(not np.isnan(t).any() and whole_days(t, are_numbers) is not None for t in read)


def follow(values: Sequence[Any], pattern: str) -> bool:
    """Whether the first values of a column are dates by this pattern of strptime."""
    try:
        strings = [_time_text(v) for v in values if not _is_missing_time(v)]
    except Unusable:
        return False
    reader = _Dates("day-first", [" ".join(pattern.split())], only=True)
    return bool(strings) and not np.isnan(reader.read(strings)).any()


def called_a_date(name: str) -> bool:
    """Whether a column of this name, in small letters, is likely to hold dates."""
    return name in DATE_NAMES or name.endswith(("date", "datum", "dateid", "datekey"))


def are_of_the_days(moments: Sequence[Any], dates: Sequence[Any]) -> bool:
    """Whether nearly all moments are of the day beside them; zones move them by up to a day."""
    pairs = [
        (_time_text(moment), _time_text(day))
        for moment, day in zip(moments, days(as_objects(dates)), strict=True)
        if not _is_missing_time(moment) and not _is_missing_time(day)
    ]
    if not pairs:
        return False
    first, second = zip(*pairs, strict=True)
    seconds = _numbers(first)
    if not np.isnan(seconds).any():
        unit = np.searchsorted([*UNITS.values()], seconds, side="right") - 1
        seconds = seconds / 10.0 ** (3 * np.maximum(unit, 0))
    for order in DAY_ORDERS:
        read = _Dates(order).read
        later = (read(first) if np.isnan(seconds).any() else seconds) - read(second)
        if np.mean((later >= -DAY) & (later < 2 * DAY)) >= 0.9:
            return True
    return False


def whole_number(value: Any) -> int | None:
    """The whole number that a field is; None for anything else."""
    text = str(value).strip().removesuffix(".0")
    return int(text) if text.isdecimal() and len(text) < 10 else None


def joined(parts: Sequence[NDArray[Any]], separator: str) -> NDArray[Any]:
    """Year, month and day, or hour, minute and second, of columns as one text; "" if one lacks."""
    missing = np.logical_or.reduce([TimeColumn.missing(part) for part in parts])
    found = []
    for lacks, *fields in zip(missing.tolist(), *(part.tolist() for part in parts), strict=True):
        numbers = [whole_number(field) for field in fields]
        found.append(
            ""
            if lacks
            else separator.join(
                str(field).strip() if number is None else f"{number:02d}"
                for field, number in zip(fields, numbers, strict=True)
            )
        )
    return as_objects(found)


def kind_of(values: Sequence[Any], most: int = 20) -> str | None:
    """What the first values of a column look like: "moment", "day", "clock", "number", or None."""
    try:
        strings = [_time_text(v) for v in values if not _is_missing_time(v)][:most]
    except Unusable:
        return None
    if not strings:
        return None
    numbers = _numbers(strings)
    if not np.isnan(numbers).any():
        if all(map(DAY_NUMBER.fullmatch, strings)):
            return "day"
        return "moment" if numbers.min() >= 1e8 else "number"
    if all(map(CLOCK.fullmatch, strings)) or all(map(NO_DATE.match, strings)):
        return "clock"
    if all(np.isnan(_Dates(order).read(strings)).any() for order in DAY_ORDERS):
        return None
    return (
        "moment" if any(CLOCK_IN.search(s) and not MIDNIGHT.search(s) for s in strings) else "day"
    )


def are_of_1970(values: Sequence[Any]) -> bool:
    """Whether all times have the date 1970-01-01."""
    given = [str(v) for v in values if not _is_missing_time(v)]
    return bool(given) and all(map(OF_1970.match, given))


def _is_missing_time(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip() in MISSING_TIMES
    if value is None:
        return True
    try:
        return bool(value != value) or str(value) in MISSING
    except (TypeError, ValueError):
        return str(value) in MISSING


def _time_text(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, (bool, np.bool_)):
        raise Unusable(f"is a truth value ({value})")
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, (list, tuple, dict, set, bytes, np.ndarray)):
        raise Unusable(f"is a {type(value).__name__}, not a number or a date")
    return str(value)


def _numbers(strings: Sequence[str]) -> NDArray[Any]:
    """Texts as int64 if all are whole, else float64, NaN where they are no number."""
    import pandas

    column = as_objects(
        [s.replace(",", ".") if "," in s and DECIMAL_COMMA.fullmatch(s) else s for s in strings]
    )
    with np.errstate(all="ignore"):
        numbers = np.asarray(pandas.to_numeric(column, errors="coerce"))
    if numbers.dtype.kind not in "iuf":
        numbers = numbers.astype(np.float64)
    return numbers


def _got(values: NDArray[Any], row: int) -> str:
    return shown(values[row])
