"""What a field may be: an id, a missing value, text. One rule for all formats.

The rules stand in docs/your-data.md, in a table.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What stands for "nothing" in exports of pandas, R, SQL, Excel, Google Analytics and others.
MISSING = frozenset(
    "|NA|N/A|n/a|na|N.A.|n.a.|NaN|nan|NAN|-nan|-NaN|NaT|1.#IND|-1.#IND|1.#QNAN|-1.#QNAN"
    "|null|NULL|Null|(null)|(NULL)|[NULL]|<null>|<NULL>|None|NONE|none|<NA>|<na>|nil|Nil|NIL|\\N"
    "|undefined|UNDEFINED|(not set)|(none)|(blank)|-|--|?|#N/A|#N/A N/A|#NA|#NULL!|#VALUE!|#REF!"
    "|#DIV/0!|#NAME?|#NUM!|#NV|#WERT!|#BEZUG!|#ZAHL!".split("|")
)
ZEROS = re.compile(r"(\.0*|,0{1,2})$")  # 7.0 and 7.00, and 7,0 where the decimal mark is a comma
WHOLE = re.compile(r"-?[0-9]+(\.0*|,0{1,2})?")
# what a spreadsheet makes of a long number
SHORTENED = re.compile(r"-?[0-9]([.,][0-9]+)?[eE]\+[0-9]+")
LIST = re.compile(
    r"\[.*\]|\{.*[,:].*\}|\(.*,.*\)|[A-Za-z]{0,3}[0-9]+([ ,;|]+[A-Za-z]{0,3}[0-9]+)+", re.DOTALL
)
# around a field as blanks are: marks without width, which come with text that was copied
AROUND = " \t\n\r\x0b\x0c\xa0\xad\u061c\ufeff" + "".join(
    map(chr, [*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x206A)])
)
SAMPLE = 200  # rows that are looked at to choose columns, and four times as many further down
HALF = re.compile("[\ud800-\udfff]")  # of a pair of UTF-16, such as an emoji; no file can hold it


class Unusable(Exception):
    """A value that cannot be an id; its text says why."""


def tidy(text: str) -> str:
    """A text without blanks around it, its letters in the one spelling of Unicode's NFC.

    An accented letter may be one character, or a letter and an accent: both look the same.

    >>> tidy(" cafe\u0301\ufeff ") == "caf\u00e9"
    True
    """
    text = text.strip()
    if text[:2] == '="' and text[-1] == '"' and len(text) > 3:  # for Excel, to keep 007 a text
        text = text[2:-1]
    return text if text.isascii() else unicodedata.normalize("NFC", text.strip(AROUND))


def as_text(value: Any) -> str:
    """A value of any kind as the text that an id is made from; "" if it is missing."""
    if isinstance(value, str):
        text = tidy(value)
        if not text.isascii() and HALF.search(text):
            raise Unusable(f"holds half of a letter ({shown(text)}): a text was cut inside it")
        return text
    if value is None:
        return ""
    if isinstance(value, (bool, np.bool_)):
        raise Unusable(f"is a truth value ({value}), not an id")
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (bytes, bytearray, memoryview)):
        raise Unusable(f"is bytes ({shown(bytes(value))}): decode it to text first")
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        raise Unusable(
            f"is a list of {len(value)} value(s) ({shown(list(value))}): one row for each action "
            "is expected (pandas: frame.explode)"
        )
    if isinstance(value, dict):
        raise Unusable(f"is an object ({shown(value)}): one value is expected")
    if str(value) in MISSING or value != value:  # pandas.NA, which is not even unequal; NaN, NaT
        return ""
    if isinstance(value, (float, np.floating)):
        if abs(float(value)) >= whole_up_to(getattr(value, "dtype", np.dtype(np.float64))):
            raise Unusable(
                f"is {float(value)!r}: such large numbers lose digits as floats; read as text"
            )
        short = isinstance(value, np.floating) and value.itemsize < 8 and not value.is_integer()
        # 0.1, and not 0.10000000149; 0.0 and not -0.0
        return str(value) if short else repr(float(value) + 0.0)
    return tidy(str(value))


def as_title(value: Any) -> str:
    """As `as_text`; a half of a letter is shown as U+FFFD, for no id is made from a title."""
    whole = not isinstance(value, str) or value.isascii()
    return as_text(value if whole else HALF.sub("\ufffd", value))


def whole_up_to(dtype: np.dtype[Any]) -> int:
    """Up to where a type of floats holds every whole number: 2**53 for float64."""
    return int(2 ** (np.finfo(dtype).nmant + 1))


def shown(value: Any) -> str:
    """A value as an error quotes it."""
    if isinstance(value, np.generic):
        value = str(value) if isinstance(value, np.datetime64) else value.item()
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def compared(value: Any) -> str:
    """A value as a condition sees it: as `as_text`, and True or False."""
    return str(value) if isinstance(value, (bool, np.bool_)) else as_text(value)


def texts(values: NDArray[Any], read: Callable[[Any], str] = as_text) -> list[str]:
    """A column of any type as texts without blanks around them, "" where missing."""
    if values.dtype.kind == "M":
        return ["" if v is None else str(v) for v in values.astype("datetime64[us]").tolist()]
    return [read(v) for v in _entries(values)]


def _entries(values: NDArray[Any]) -> list[Any]:
    """The values as Python has them; short floats as they are, for they hold fewer digits."""
    return list(values) if values.dtype.kind == "f" and values.itemsize < 8 else values.tolist()


def as_objects(values: Sequence[Any]) -> NDArray[Any]:
    """A one-dimensional array of Python objects, whatever these are."""
    return np.fromiter(values, dtype=object, count=len(values))


def spread(rows: int) -> list[int]:
    """The first of so many rows, and more from all over them.

    A database may sort the rows without a user to the top.
    """
    return [*range(rows)[:SAMPLE], *range(rows)[SAMPLE :: max(1, (rows - SAMPLE) // (4 * SAMPLE))]]


def meant(name: str, known: Container[str]) -> str:
    """The known id that an id means: ``7`` for ``7.0``, if that is not known itself."""
    whole = ZEROS.sub("", name)
    return whole if name not in known and whole in known and WHOLE.fullmatch(name) else name


class Ids:
    """Codes of the ids of one column: 0, 1, 2, ... in order of appearance; -1 where missing."""

    def __init__(self) -> None:
        """No id yet."""
        self.codes: dict[Any, int] = {}  # by text as it stands in the file, or by whole number
        self.names: list[str] = []
        self.whole = True  # every value was a whole number, and none a text or a float

    def encode(self, values: NDArray[Any]) -> NDArray[np.int32]:
        """The codes of a column: texts, numbers, dates or Python objects.

        Raises `Unusable` for a value that cannot be an id.
        """
        import pandas

        kind = values.dtype.kind
        if kind not in "iu":
            found = "float" if kind in "fM" else pandas.api.types.infer_dtype(values, skipna=False)
            if found != "string":
                whole = pandas.api.types.infer_dtype(values, skipna=True) == "integer"
                self.whole = self.whole and whole
                values = as_objects(texts(values))
            else:
                self.whole = False
        codes, distinct = pandas.factorize(values, use_na_sentinel=False)
        known = np.fromiter(map(self._code, distinct.tolist()), np.int32, len(distinct))
        return known[codes]

    def _code(self, raw: Any) -> int:
        code = self.codes.get(raw)
        if code is None:
            name = as_text(raw)
            if name in MISSING:
                code = -1
            else:
                code = self.codes.setdefault(name, len(self.names))
                if code == len(self.names):
                    self.names.append(name)
            self.codes[raw] = code
        return code

    def finish(self) -> tuple[list[str], NDArray[np.int32] | None, list[str]]:
        """The ids, how codes change (None: not), and notes.

        Where every id is a whole number, ``7.0`` is ``7``: a column of numbers that had a gap in it
        somewhere becomes floats, and a database writes ``7.00``. In a column with other text it
        stays ``7.0``.
        """
        notes = []
        if short := next((n for n in self.names if "+" in n and SHORTENED.fullmatch(n)), None):
            notes.append(
                f"ids such as {short!r} are numbers that a spreadsheet has shortened, so several "
                "ids may have become one: export that column as text"
            )
        if self.names and all(n[0] == n[-1] == "'" and len(n) > 2 for n in self.names):
            notes.append(f"ids such as {self.names[0]} have quotes around them, which are kept")
        with_zeros = [n for n in self.names if n[-1] in "0." and ZEROS.search(n)]
        if not with_zeros:
            return self.names, None, notes
        if not all(map(WHOLE.fullmatch, self.names)):
            pairs = ((ZEROS.sub("", n), n) for n in with_zeros if WHOLE.fullmatch(n))
            if both := next((pair for pair in pairs if pair[0] in self.codes), None):
                other = next(name for name in self.names if not WHOLE.fullmatch(name))
                notes.append(
                    f"{both[0]!r} and {both[1]!r} are two ids, since others, such as {other!r}, "
                    "are no whole numbers"
                )
            return self.names, None, notes
        whole: dict[str, int] = {}
        change = np.empty(len(self.names), dtype=np.int32)
        for code, name in enumerate(self.names):
            change[code] = whole.setdefault(ZEROS.sub("", name), len(whole))
        return list(whole), change, notes


def first_unusable(values: NDArray[Any], check: Callable[[Any], Any] = as_text) -> tuple[int, str]:
    """The position of the first value that `check` refuses, and why."""
    for row, value in enumerate(_entries(values)):
        try:
            check(value)
        except Unusable as error:
            return row, str(error)
    raise AssertionError("every value can be used")


def look_like_lists(ids: Sequence[str]) -> bool:
    """Whether most ids are written like lists of ids; the first thousand are looked at.

    >>> look_like_lists(["N5 N7", "N7", "N5 N7 N4"]), look_like_lists(["Toy Story 2", "A 1"])
    (True, False)
    """
    seen = ids[:1000]
    return sum(LIST.fullmatch(name) is not None for name in seen) > len(seen) / 2


def looks_like_data(fields: Sequence[str]) -> bool:
    """Whether the fields of a first line are values rather than names."""
    full = [f.strip() for f in fields if f.strip()]
    return any(re.fullmatch(r"[-+]?[0-9][0-9.,:/ TZ+-]*", f) for f in full)
