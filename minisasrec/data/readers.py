"""One reader per real file format: a source in, raw `Actions` out.

All of them stream: lines are taken a few hundred at a time, ids become int32 codes at once,
and only distinct ids stay Python objects; lines of whole numbers go a faster way (`integers`).
A line that cannot be used is a DataError that names the file and the line. Nothing in a data
file is ever evaluated as code.

All readers take the file of actions first and its companion, a file with titles, second (None if
there is none; a format without companions ignores it).
"""

from __future__ import annotations

import ast
import csv
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minisasrec.data.dataset import Actions, build_actions, id_coder
from minisasrec.data.files import LINES_PER_CHUNK, Source
from minisasrec.data.integers import read_integers
from minisasrec.errors import DataError

Row = Sequence[Any]

ML_100K_GENRES = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
).split()

# names that a column is recognised by, most specific first, compared in lower case
USER_COLUMNS = ("user_id", "userid", "user", "reviewerid", "customer_id", "customerid", "customer",
                "session_id", "sessionid", "username", "uid")  # fmt: skip
ITEM_COLUMNS = ("item_id", "itemid", "item", "movie_id", "movieid", "product_id", "productid",
                "asin", "stockcode", "parent_asin", "product", "movie", "iid")  # fmt: skip
TIME_COLUMNS = ("timestamp", "time", "unixreviewtime", "unix_timestamp", "datetime", "date",
                "invoicedate", "created_at", "ts")  # fmt: skip
TITLE_COLUMNS = ("title", "item_title", "movie_title", "item_name", "product_name", "name",
                 "description")  # fmt: skip


class Collector:
    """Takes rows of text from one source and keeps codes and numbers.

    A row has ``width`` fields, of which ``user``, ``item`` and ``time`` (or None) are positions;
    ``layout`` is how an error describes such a row.
    """

    def __init__(
        self,
        source: Source,
        layout: str,
        *,
        width: int,
        user: int,
        item: int,
        time: int | None,
        missing: frozenset[str] = frozenset({""}),
    ) -> None:
        """No rows yet; ids in ``missing`` will be refused."""
        self.source, self.layout, self.width = source, layout, width
        self.user, self.item, self.time = user, item, time
        self.missing = missing
        self.user_codes, self.item_codes = id_coder(), id_coder()
        self.parse_times: Callable[[Sequence[Any]], NDArray[np.float64]] | None = None
        self.bar = source.bar()
        self.columns: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]] = []

    def add(self, first_line: int, rows: Sequence[Row]) -> None:
        """Add rows, the first of which is line ``first_line``; blank ones are passed over."""
        self.bar.update(len(rows))
        if set(map(len, rows)) != {self.width}:
            self._blame(first_line, rows)
            rows = [row for row in rows if not _blank(row)]
        if not rows:
            return
        n, columns = len(rows), list(zip(*rows, strict=True))
        users = np.fromiter(map(self.user_codes.__getitem__, columns[self.user]), np.int32, n)
        items = np.fromiter(map(self.item_codes.__getitem__, columns[self.item]), np.int32, n)
        times = np.empty(0)
        if self.time is not None:
            stamps = columns[self.time]
            if self.parse_times is None:
                self.parse_times = _times_like(stamps[0])
            try:
                times = self.parse_times(stamps)
            except (ValueError, TypeError, OverflowError):
                self._blame(first_line, rows)
            if not (times.min() >= 0 and times.max() < np.inf):
                self._blame(first_line, rows)
        if any(m in codes for codes in (self.user_codes, self.item_codes) for m in self.missing):
            self._blame(first_line, rows)
        self.columns.append((users, items, times))

    def actions(self) -> Actions:
        """All rows added so far."""
        self.bar.close()
        if not self.columns:
            raise DataError(f"{self.source} is empty: expected lines {self.layout}")
        users, items, times = (np.concatenate(column) for column in zip(*self.columns, strict=True))
        return Actions(
            users,
            items,
            None if self.time is None else times,
            list(self.user_codes),
            list(self.item_codes),
        )

    def _blame(self, first_line: int, rows: Sequence[Row]) -> None:
        """Raise for the first row that cannot be used; return if blank ones are all there is."""
        line = first_line
        for row in rows:
            if not _blank(row) and (problem := self._problem(row)):
                raise DataError(f"{self.source} line {line}: {problem}")
            line += 1 + sum(f.count("\n") for f in row if isinstance(f, str))  # quoted line ends

    def _problem(self, row: Row) -> str | None:
        if len(row) != self.width:
            return f"expected {self.layout}, got {len(row)} field(s): {_short(row)}"
        for what, position in (("user", self.user), ("item", self.item)):
            if row[position] in self.missing:
                return f"the {what} id is missing: {_short(row)}"
        if self.time is None:
            return None
        stamp = row[self.time]
        try:
            time = float((self.parse_times or _times_like(stamp))([stamp])[0])
        except (ValueError, TypeError, OverflowError):
            time = np.nan
        if not 0 <= time < np.inf:
            return (
                f"the time must be a number >= 0, or a date such as 2024-05-31 12:00:00, all "
                f"lines alike, got {stamp!r}"
            )
        return None


def _blank(row: Row) -> bool:
    return len(row) == 0 or (len(row) == 1 and isinstance(row[0], str) and not row[0].strip())


def _short(row: Row) -> str:
    text = " ".join(repr(field) for field in row)
    return text if len(text) <= 80 else text[:77] + "..."


def _times_like(first: Any) -> Callable[[Sequence[Any]], NDArray[np.float64]]:
    """How to read times that look like ``first``: dates if it is one, else numbers."""
    if not isinstance(first, str) or "-" not in first[1:]:
        return _numbers
    try:
        _dates([first])
    except ValueError:
        return _numbers
    return _dates


def _numbers(stamps: Sequence[Any]) -> NDArray[np.float64]:
    return np.fromiter(map(float, stamps), np.float64, len(stamps))


def _dates(stamps: Sequence[Any]) -> NDArray[np.float64]:
    """ISO 8601 dates as seconds since 1970, UTC where no zone is given; NaT becomes negative."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy says that it turns +02:00 into UTC: as we want it
        texts = [str(s).strip().removesuffix("Z") for s in stamps]
        moments = np.array(texts, dtype="datetime64[us]")
    return moments.astype(np.int64) / 1e6


@dataclass(frozen=True)
class Headerless:
    """The reader of a format of lines without a header line and without quotes.

    `columns` names the fields in their order, for example "user time latitude longitude item": one
    is called user, one item, and one perhaps time, numbers or ISO 8601 dates. Without a time, the
    lines of each user must be in time order. `separator` None stands for white space.
    """

    columns: str
    separator: str | None = None
    encoding: str = "utf-8-sig"

    @property
    def layout(self) -> str:
        """How a line looks, in words, for errors and for the docs."""
        names = self.columns.split()
        if self.separator == "\t":
            return f"{', '.join(names)} with tabs between"
        return (self.separator or " ").join(names)

    def __call__(self, source: Source, companion: Source | None = None) -> Actions:
        """The actions of a file; there is no companion."""
        names = self.columns.split()
        user, item = names.index("user"), names.index("item")
        time = names.index("time") if "time" in names else None
        wanted = [user, item] if time is None else [user, item, time]
        if actions := _read_integers(source, self.separator or " ", len(names), wanted):
            return actions
        rows = Collector(source, self.layout, width=len(names), user=user, item=item, time=time)
        for first_line, lines in source.chunks(self.encoding):
            if self.separator is None:
                rows.add(first_line, [line.split() for line in lines])
            else:
                rows.add(first_line, [line.rstrip("\r\n").split(self.separator) for line in lines])
        return rows.actions()


def _read_integers(
    source: Source, separator: str, width: int, wanted: Sequence[int], header: int = 0
) -> Actions | None:
    """Users, items and perhaps times if they are whole numbers on lines of ``width`` fields."""
    with source.open() as stream, source.bar() as bar:
        for _ in range(header):
            stream.readline()
        columns = read_integers(stream, separator, width, wanted, bar)
    return build_actions(*columns) if columns else None


read_pairs = Headerless("user item")  # the authors' text, each user's lines in time order
_ml_1m = Headerless("user item rating time", "::", "latin-1")
_ml_100k = Headerless("user item rating time", "\t", "latin-1")


def read_movielens(ratings: Source, movies: Source | None = None) -> Actions:
    """ML-1M: ``user::item::rating::time`` and, for titles, ``MovieID::Title::Genre|Genre``."""
    actions = _ml_1m(ratings)
    if movies is not None:
        actions.titles, actions.categories = {}, {}
        for line, row in _item_rows(movies, "::", "MovieID::Title::Genres", 3):
            actions.titles[row[0]] = row[1]
            actions.categories[row[0]] = _genres(row[2], movies, line)
    return actions


def read_ml_100k(data: Source, items: Source | None = None) -> Actions:
    """ML-100K: tab-separated ``u.data``; ``u.item`` with ``|`` and 19 genre flags at the end."""
    actions = _ml_100k(data)
    if items is not None:
        actions.titles, actions.categories = {}, {}
        for _, row in _item_rows(items, "|", "id|title|date|video date|URL|19 genre flags", 24):
            actions.titles[row[0]] = row[1]
            actions.categories[row[0]] = tuple(
                genre
                for genre, flag in zip(ML_100K_GENRES, row[5:], strict=True)
                if flag == "1" and genre != "unknown"
            )
    return actions


def _item_rows(
    source: Source, separator: str, layout: str, width: int
) -> Iterator[tuple[int, list[str]]]:
    for first_line, lines in source.chunks("latin-1"):
        for number, text in enumerate(lines, first_line):
            row = text.rstrip("\r\n").split(separator)
            if _blank(row):
                continue
            if len(row) != width:
                raise DataError(
                    f"{source} line {number}: expected {layout}, got {len(row)} field(s): "
                    f"{_short(row)}"
                )
            yield number, row


def _genres(text: str, source: Source, line: int) -> tuple[str, ...]:
    """``Comedy|Drama`` -> its genres; MovieLens writes ``(no genres listed)`` for none."""
    if not text or text.startswith("("):
        return ()
    genres = tuple(text.split("|"))
    if "" in genres:
        raise DataError(f"{source} line {line}: expected Genre|Genre, got {text!r}")
    return genres


class _Header:
    """Column names of a source; RecBole's ``name:type`` counts as ``name``."""

    def __init__(self, source: Source, columns: Sequence[str]) -> None:
        self.source = source
        self.columns = [c.strip() for c in columns]
        self.names = [c.split(":")[0].lower() for c in self.columns]

    def find(self, wanted: str | None, known: Sequence[str], option: str) -> int | None:
        """Position of the column ``wanted``, or of the first one with a ``known`` name."""
        if wanted is None:
            name = next((k for k in known if k in self.names), None)
            return None if name is None else self._position(self.names, name, option)
        if wanted in self.columns:
            return self._position(self.columns, wanted, option)
        if wanted.lower() in self.names:
            return self._position(self.names, wanted.lower(), option)
        raise DataError(
            f"{self.source} has no column {wanted!r} for {option}; it has: "
            f"{', '.join(self.columns)}"
        )

    def _position(self, names: list[str], name: str, option: str) -> int:
        if names.count(name) > 1:
            raise DataError(
                f"{self.source} has {names.count(name)} columns {name!r}, which is the "
                f"{option}? Rename the others; the columns are: {', '.join(self.columns)}"
            )
        return names.index(name)

    def need(self, wanted: str | None, known: Sequence[str], option: str) -> int:
        """As `find`; DataError if there is none."""
        found = self.find(wanted, known, option)
        if found is None:
            raise DataError(
                f"{self.source}: no column has a usual name for {option}: name it by "
                f"--{option.replace('_', '-')} ({option}=), one of: {', '.join(self.columns)} "
                "(these must be names: the first line is a header)"
            )
        return found


class _Table:
    """A delimited text file with a header; of the usual separators, the header's most frequent."""

    def __init__(self, source: Source, text: Iterable[str], separator: str | None) -> None:
        if separator is not None and len(separator) != 1:
            raise DataError(f"separator must be one character, got {separator!r}")
        lines = iter(text)
        header_line = next(lines, "")
        self.separator = separator = separator or max(",\t;|", key=header_line.count)
        # RecBole does not quote: a quote in one of its titles is a character like others
        plain = source.name.endswith((".inter", ".item"))
        self.source = source
        self.rows = csv.reader(
            lines, delimiter=separator, quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
        )
        columns = next(csv.reader([header_line], delimiter=separator), [])
        if not any(c.strip() for c in columns):
            raise DataError(f"{source} is empty: expected a header line with column names")
        self.header = _Header(source, columns)
        self.layout = f"{len(columns)} fields ({', '.join(self.header.columns)})"

    def chunks(self) -> Iterator[tuple[int, list[list[str]]]]:
        """Rows with the line number of the first, the header being line 1."""
        while True:
            first_line = self.rows.line_num + 2
            try:
                rows = list(islice(self.rows, LINES_PER_CHUNK))
            except csv.Error as error:
                raise DataError(f"{self.source} line {self.rows.line_num + 1}: {error}") from error
            if not rows:
                return
            yield first_line, rows


def read_table(
    source: Source,
    items: Source | None = None,
    *,
    user_column: str | None = None,
    item_column: str | None = None,
    time_column: str | None = None,
    title_column: str | None = None,
    separator: str | None = None,
    encoding: str = "utf-8-sig",
) -> Actions:
    """CSV, TSV or RecBole ``.inter`` with a header line -> Actions.

    Columns not named are recognised by the usual names; without a time column the lines of a user
    must be in time order, which a note on the data set says. The separator is that of the header.
    ``items`` is a second file with item, title and perhaps genres (``A|B``).
    """
    with source.text(encoding) as text:
        table = _Table(source, text, separator)
        header = table.header
        user = header.need(user_column, USER_COLUMNS, "user_column")
        item = header.need(item_column, ITEM_COLUMNS, "item_column")
        time = header.find(time_column, TIME_COLUMNS, "time_column")
        title = header.find(title_column, TITLE_COLUMNS, "title_column")
        if user == item:
            raise DataError(
                f"{source}: user_column and item_column are both {header.columns[user]!r}"
            )
        actions = None
        if title is None:
            wanted = [user, item] if time is None else [user, item, time]
            width = len(header.columns)
            actions = _read_integers(source, table.separator, width, wanted, header=1)
        if actions is None:
            actions = _read_rows(source, table, user, item, time, title)
    if time is None:
        actions.notes.append(_NO_TIME.format(source.name))
    if items is not None:
        actions.titles, actions.categories = _read_item_table(items, encoding)
    return actions


def _read_rows(
    source: Source, table: _Table, user: int, item: int, time: int | None, title: int | None
) -> Actions:
    """The rows of a table by the positions of its columns."""
    rows = Collector(
        source,
        table.layout,
        width=len(table.header.columns),
        user=user,
        item=item,
        time=time,
        missing=frozenset({"", "nan", "NaN"}),
    )
    titles: dict[str, str] = {}
    for first_line, chunk in table.chunks():
        rows.add(first_line, chunk)
        if title is not None:
            titles.update((r[item], r[title]) for r in chunk if not _blank(r))
    actions = rows.actions()
    actions.titles = titles or None
    return actions


def _read_item_table(
    source: Source, encoding: str
) -> tuple[dict[str, str] | None, dict[str, tuple[str, ...]] | None]:
    """Titles and, if the file has a ``genres`` column, categories by raw item id."""
    titles: dict[str, str] = {}
    categories: dict[str, tuple[str, ...]] = {}
    with source.text(encoding) as text:
        table = _Table(source, text, None)
        header = table.header
        item = header.need(None, ITEM_COLUMNS, "item_column")
        title = header.find(None, TITLE_COLUMNS, "title_column")
        genres = header.find(None, ("genres",), "genres")
        for first_line, rows in table.chunks():
            for line, row in enumerate(rows, first_line):
                if _blank(row):
                    continue
                if len(row) != len(header.columns):
                    raise DataError(
                        f"{source} line {line}: expected {table.layout}, got {len(row)}: "
                        f"{_short(row)}"
                    )
                if title is not None:
                    titles[row[item]] = row[title]
                if genres is not None:
                    categories[row[item]] = _genres(row[genres], source, line)
    return titles or None, categories or None


def read_parquet(
    source: Source,
    companion: Source | None = None,
    *,
    user_column: str | None = None,
    item_column: str | None = None,
    time_column: str | None = None,
    title_column: str | None = None,
) -> Actions:
    """A Parquet file with columns as in `read_table`; needs pandas and pyarrow."""
    try:
        import pandas
        import pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]
        import pyarrow.parquet as parquet  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError as error:
        raise DataError(
            f"reading {source} needs pandas and pyarrow ({error}): pip install 'minisasrec[data]', "
            "or save the table as CSV"
        ) from error
    with source.open() as stream:
        try:
            header = _Header(source, parquet.read_schema(stream).names)
            user = header.columns[header.need(user_column, USER_COLUMNS, "user_column")]
            item = header.columns[header.need(item_column, ITEM_COLUMNS, "item_column")]
            time = header.find(time_column, TIME_COLUMNS, "time_column")
            title = header.find(title_column, TITLE_COLUMNS, "title_column")
            wanted = [user, item, *(header.columns[c] for c in (time, title) if c is not None)]
            stream.seek(0)
            frame = pandas.read_parquet(stream, columns=wanted)
        except pyarrow.ArrowException as error:
            raise DataError(f"{source} is not a readable Parquet file: {error}") from error
    times = None if time is None else frame[header.columns[time]]
    titles = None
    if title is not None:
        titles = dict(zip(frame[item], frame[header.columns[title]].astype(str), strict=True))
    actions = _named(source, frame[user], frame[item], times, titles)
    if time is None:
        actions.notes.append(_NO_TIME.format(source.name))
    return actions


_NO_TIME = "{} has no time column: the rows of each user are taken to be in time order"


def _named(source: Source, users: Any, items: Any, times: Any, titles: Any) -> Actions:
    """Columns -> Actions; the message of an error begins with the file's name."""
    try:
        return build_actions(users, items, times, titles=titles)
    except DataError as error:
        raise DataError(f"{source}: {error}") from error


def read_json_lines(
    source: Source,
    meta: Source | None = None,
    *,
    user_column: str | None = None,
    item_column: str | None = None,
    time_column: str | None = None,
) -> Actions:
    """One JSON object a line: Amazon's reviews (reviewerID, asin, unixReviewTime) and the like.

    ``meta`` is Amazon's file of products (one Python literal a line) and gives the titles.
    """
    keys: list[str] = []

    def row(line: str) -> Row:
        record = _record(line)
        if not keys:
            header = _Header(source, list(record))
            for wanted, known, option in (
                (user_column, USER_COLUMNS, "user_column"),
                (item_column, ITEM_COLUMNS, "item_column"),
                (time_column, TIME_COLUMNS, "time_column"),
            ):
                keys.append(header.columns[header.need(wanted, known, option)])
        return _pick(record, keys)

    actions = _records(source, row, "a JSON object on each line (JSON Lines)")
    if meta is not None:
        actions.titles = _titles_from_records(meta, "asin", "title")
    return actions


def _record(line: str) -> dict[str, Any]:
    """A JSON object, or the Python literal that some of these files have instead."""
    try:
        record = json.loads(line)
    except ValueError:
        record = ast.literal_eval(line.strip())
    if not isinstance(record, dict):
        raise ValueError("not an object")
    return record


def _pick(record: dict[str, Any], keys: Sequence[str]) -> Row:
    user, item, time = (record[key] for key in keys)
    if user is None or item is None:
        raise ValueError("null id")
    return str(user), str(item), time


_UNREADABLE = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


def _records(source: Source, row: Callable[[str], Row], what: str) -> Actions:
    """Lines that ``row`` turns into user, item and time."""
    rows = Collector(source, what, width=3, user=0, item=1, time=2, missing=frozenset())
    for first_line, lines in source.chunks():
        taken: list[Row] = []
        try:
            for line in lines:
                taken.append(row(line) if line.strip() else ())
        except DataError:
            raise
        except _UNREADABLE as error:
            raise DataError(
                f"{source} line {first_line + len(taken)}: expected {what}, "
                f"got {line.strip()[:60]!r}"
            ) from error
        except KeyError as error:
            raise DataError(
                f"{source} line {first_line + len(taken)}: the record has no {error.args[0]!r}"
            ) from error
        rows.add(first_line, taken)
    return rows.actions()


STEAM_KEYS = ("username", "product_id", "date")
_STEAM_VALUES = [(f"'{key}': ", re.compile(rf"'{key}': u?'([^'\\]*)'")) for key in STEAM_KEYS]


def read_steam(source: Source, games: Source | None = None) -> Actions:
    """Steam reviews: one Python literal a line (username, product_id, date); names in ``games``."""
    actions = _records(source, _steam_row, f"a Python literal with {', '.join(STEAM_KEYS)}")
    if games is not None:
        actions.titles = _titles_from_records(games, "id", "app_name")
    return actions


def _steam_row(line: str) -> Row:
    """The three fields by regular expression: a tenth of the time that parsing the line takes.

    Where a key occurs twice (a review may quote one) or a value has escapes, the line is parsed.
    """
    fields = []
    for key, value in _STEAM_VALUES:
        match = value.search(line)
        if match is None or line.count(key) != 1:
            return _pick(_record(line), STEAM_KEYS)
        fields.append(match[1])
    return fields


def _titles_from_records(source: Source, item_key: str, title_key: str) -> dict[str, str]:
    """Titles from one record a line; records without id or title are passed over."""
    titles = {}
    for first_line, lines in source.chunks():
        for number, line in enumerate(lines, first_line):
            if not line.strip():
                continue
            try:
                record = _record(line)
            except _UNREADABLE as error:
                raise DataError(
                    f"{source} line {number}: expected an object, got {line[:60]!r}"
                ) from error
            if record.get(item_key) and record.get(title_key):
                titles[str(record[item_key])] = str(record[title_key])
    return titles


ONLINE_RETAIL_COLUMNS = "InvoiceNo StockCode Description Quantity InvoiceDate CustomerID".split()


def read_online_retail(source: Source, companion: Source | None = None) -> Actions:
    """UCI's Online Retail sheet (.xlsx), cleaned; needs pandas and openpyxl, and about a minute.

    Left out: rows without a customer, cancelled invoices (number starts with C), quantities that
    are not positive, and stock codes that are no product (postage, fees: a product's code starts
    with five digits). Of a customer's purchases of one product only the first is kept. Times are
    the sheet's, read as UTC.
    """
    try:
        import openpyxl  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: F401
        import pandas
    except ImportError as error:
        raise DataError(
            f"reading {source} needs pandas and openpyxl ({error}): pip install 'minisasrec[data]'"
        ) from error
    text_columns = {"InvoiceNo": str, "StockCode": str, "Description": str}
    with source.open() as stream:
        try:
            sheet = pandas.read_excel(stream, engine="openpyxl", dtype=text_columns)
        except (ValueError, KeyError) as error:
            raise DataError(f"{source} is not a readable .xlsx sheet: {error}") from error
    lacking = [c for c in ONLINE_RETAIL_COLUMNS if c not in sheet.columns]
    if lacking:
        raise DataError(
            f"{source} has no column {', '.join(lacking)}; it has: "
            f"{', '.join(map(str, sheet.columns))}"
        )
    sheet = sheet[
        sheet["CustomerID"].notna()
        & ~sheet["InvoiceNo"].str.startswith("C", na=False)
        & (sheet["Quantity"] > 0)
        & sheet["StockCode"].str.match(r"\d{5}", na=False)
    ]
    sheet = sheet.sort_values(["CustomerID", "InvoiceDate"], kind="stable")
    sheet = sheet.drop_duplicates(["CustomerID", "StockCode"])
    named = sheet.dropna(subset=["Description"]).drop_duplicates("StockCode")
    titles = dict(zip(named["StockCode"], named["Description"].str.strip(), strict=True))
    return _named(source, sheet["CustomerID"], sheet["StockCode"], sheet["InvoiceDate"], titles)
