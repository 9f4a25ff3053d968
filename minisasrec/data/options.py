"""How to read a log of one's own: the options of `load_dataset`, which every command has, too."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, get_args

from minisasrec.data.values import MISSING, tidy
from minisasrec.errors import ConfigError

Filter = Literal["one-pass", "iterative", "none"]
FILTERS: tuple[Filter, ...] = get_args(Filter)
TIME_UNITS = ("s", "ms", "us", "ns")
DAY_ORDERS = ("day-first", "month-first")
SEPARATORS = {
    "tab": "\t",
    "\\t": "\t",
    "space": "blanks",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
}


@dataclass(frozen=True)
class ReadingOptions:
    """How a log of your own is read. What is not given is told from the file."""

    user_column: str | None = None
    """Column with the user."""
    item_column: str | None = None
    """Column with the item."""
    time_column: str | None = None
    """Column with the time; without one, the order of the rows counts."""
    title_column: str | None = None
    """Column with the item's title."""
    header: bool = True
    """--no-header: the first line holds no names; give them by --columns."""
    columns: str | None = None
    """Names of the columns in their order, "-" for one that is not needed: user,item,time,-,title.
    They take the place of those in the header."""
    separator: str | None = None
    """What stands between fields: a character, some characters, or tab or space."""
    encoding: str | None = None
    """Encoding of the text, such as utf-8, cp1252 or utf-16."""
    skip_lines: int = 0
    """Lines to skip before the header."""
    time_format: str | None = None
    """How times are written: day-first, month-first, or as in "%d.%m.%Y %H:%M"."""
    where: tuple[str, ...] = ()
    """Take only rows of which this is true: event=purchase, rating>=4, type!=ad, lang=en,fr.
    May be given more than once."""
    drop_missing: bool = False
    """Leave out rows without a user, an item or a time, and count them, where they are an error."""
    min_actions: int | None = None
    """Drop users and items with fewer actions. Paper: 5 (Sec. IV-A)."""
    filter: Filter | None = None
    """How often --min-actions is applied: once, until nothing falls below, or not at all."""

    def __post_init__(self) -> None:
        """Raise `ConfigError` for a value that cannot be meant."""
        if isinstance(self.where, str):
            object.__setattr__(self, "where", (self.where,))
        if isinstance(self.where, list):
            object.__setattr__(self, "where", tuple(self.where))
        for name in ("user_column", "item_column", "time_column", "title_column"):
            if type(value := getattr(self, name)) is int:  # columns of a frame without a header
                object.__setattr__(self, name, str(value))
        for name, value in vars(self).items():
            kind = _KINDS.get(name, str)
            if value is None and getattr(type(self), name) is None:
                continue
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise ConfigError(f"{spelled(name)} must be {kind.__name__}, got {value!r}")
        for name in ("skip_lines", "min_actions"):
            if (getattr(self, name) or 0) < 0:
                raise ConfigError(f"{spelled(name)} must be 0 or more, got {getattr(self, name)}")
        if self.filter not in (None, *FILTERS):
            raise ConfigError(
                f"{spelled('filter')} must be one of {', '.join(FILTERS)}, got {self.filter!r}"
            )
        if self.filter == "none" and (self.min_actions or 0) > 1:
            raise ConfigError(
                f"{spelled('filter', 'none')} and a min_actions of {self.min_actions} contradict "
                "each other; leave one out"
            )
        if self.separator == "":
            raise ConfigError(f"{spelled('separator')} must be a character, got nothing")
        unit = self.time_format in TIME_UNITS or self.time_format in DAY_ORDERS
        if self.time_format is not None and not unit and "%" not in self.time_format:
            raise ConfigError(
                f"{spelled('time_format')} must be one of {', '.join(DAY_ORDERS + TIME_UNITS)}, "
                f"or a pattern such as '%d.%m.%Y %H:%M', got {self.time_format!r}"
            )
        if self.time_format is not None and not unit:
            try:
                datetime.strptime("", self.time_format)
            except (ValueError, re.error) as error:  # a good pattern only misses the time
                if "does not match" not in str(error):
                    raise ConfigError(
                        f"{spelled('time_format')} is no pattern of strptime, got "
                        f"{self.time_format!r}: {error}"
                    ) from None
        if self.columns is not None and not {*self.names()} - {"-"}:
            raise ConfigError(f"{spelled('columns')} names no column: user,item,time for example")
        for condition in self.where:
            Condition.parse(condition)

    def names(self) -> list[str]:
        """The names of `columns`, one for each position."""
        return [name.strip() for name in (self.columns or "").split(",")] if self.columns else []

    def field_separator(self) -> str | None:
        """`separator` as it stands in the file."""
        return SEPARATORS.get(self.separator or "", self.separator)

    def given(self) -> dict[str, Any]:
        """The options that differ from the defaults, as arguments of `load_dataset`."""
        default = type(self)()
        return {k: v for k, v in vars(self).items() if v != getattr(default, k)}

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> ReadingOptions:
        """Options by their names; None stands for the default."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in options:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                meant = f": did you mean {close[0]}=?" if close else ""
                raise ConfigError(f"there is no option {name}={meant} There are {', '.join(known)}")
        return cls(**{k: v for k, v in options.items() if v is not None})


_KINDS: dict[str, type] = {
    "header": bool,
    "drop_missing": bool,
    "skip_lines": int,
    "min_actions": int,
    "where": tuple,
}


def spelled(name: str, value: str | None = None) -> str:
    """An option as a message names it, on the command line and in Python.

    >>> spelled("time_column", "when")
    "--time-column when (time_column='when')"
    """
    if name == "header":
        return "--no-header (header=False)"
    flag = f"--{name.replace('_', '-')}"
    if name == "drop_missing":
        return f"{flag} ({name}=True)"
    if value is None:
        return f"{flag} ({name}=)"
    quoted = f'"{value}"' if re.search(r"[^\w.=/-]", value) else value  # a comma, for PowerShell
    return f"{flag} {quoted} ({name}={value!r})"


@dataclass(frozen=True)
class Condition:
    """One ``where``: a column, an operator, and what it is compared with."""

    column: str
    operator: str
    values: tuple[str, ...]
    text: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """``event=view,purchase`` and the like; ConfigError for anything else."""
        match = re.fullmatch(r"(?s)\s*([^=!<>]+?)\s*(!=|>=|<=|==?|>|<)(.*)", str(text))
        if match is None:
            raise ConfigError(
                f"--where (where=) is {text!r}: it must be a column, one of = != >= <= > <, and a "
                "value, for example event=purchase or rating>=4"
            )
        column, operator, value = match.groups()
        operator = "=" if operator == "==" else operator
        one = operator not in ("=", "!=") or BOTH_MARKS.fullmatch(value.strip())
        values = tuple(tidy(v) for v in ([value] if one else value.split(",")))  # as the fields are
        if operator not in ("=", "!=") and number(values[0]) is None:
            raise ConfigError(f"--where (where=) is {text!r}: {operator} needs a number after it")
        return cls(column, operator, values, str(text))

    def holds(self, value: str) -> bool:
        """Whether a field fulfils it: compared as numbers where both are, else as text.

        Nothing, as in ``coupon=``, is all that stands for a missing value.
        """
        if self.operator in ("=", "!="):
            mine = number(value)
            same = (
                value in self.values
                or (value in MISSING and "" in self.values)
                or (
                    any(number(v) == mine for v in self.values if not NAME.fullmatch(v))
                    if mine is not None and not NAME.fullmatch(value)
                    else value in ("True", "False") and value.lower() in map(str.lower, self.values)
                )
            )
            return same == (self.operator == "=")
        mine, other = number(value), number(self.values[0])
        if mine is None or other is None:
            return False
        return {
            ">=": mine >= other,
            "<=": mine <= other,
            ">": mine > other,
            "<": mine < other,
        }[self.operator]


# for = and !=, 007 is a name and not 7, as in the ids, and so is 12E4: programs write 1.2E5
NAME = re.compile(r"-?0[0-9].*|[0-9]+e[0-9]+|[-+]?inf.*", re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"-?([0-9]+|[0-9]{1,3}(\.[0-9]{3})+),[0-9]{1,2}")  # 7,50 and 1.234,50
THOUSANDS = re.compile(r"-?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?")  # 1,234 and 1,234.50
BOTH_MARKS = re.compile(  # one number, where 1,234 may be two
    r"-?[1-9][0-9]{0,2}((,[0-9]{3})+\.[0-9]+|(\.[0-9]{3})+,[0-9]+)"
)
DECIMAL = re.compile(
    r"[-+]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]{1,3})?|inf(inity)?)", re.IGNORECASE
)


def number(text: str) -> Decimal | None:
    """A number, with a point or a comma before the decimals, or between thousands; else None.

    Exact, so that long ids that differ in their last digit are not equal.

    >>> [str(number(text)) for text in ("1,234.50", "1.234,50", "7,5", "about 7")]
    ['1234.50', '1234.50', '7.5', 'None']
    """
    if DECIMAL_COMMA.fullmatch(text):
        text = text.replace(".", "").replace(",", ".")
    elif THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    return Decimal(text) if DECIMAL.fullmatch(text) else None


def is_number(field: str) -> bool:
    """Whether a field of a text, perhaps in quotes, is a number."""
    return number(field.strip().strip('"')) is not None


def conditions(options: ReadingOptions) -> Iterable[Condition]:
    """All of ``where``."""
    return [Condition.parse(text) for text in options.where]
