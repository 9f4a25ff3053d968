"""One reader per file format: a source in, raw `Actions` out.

Each format is a `Table` (names, a sample, blocks of rows), and `read_actions` makes actions of
each table by the same rules. All formats stream. A row that cannot be used is a DataError, with the
file and the line. Nothing in a data file is ever evaluated as code.

All readers take the file of actions, its companion (a file with titles, or None), and options.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from minisasrec.border import reading
from minisasrec.data.actions import Actions
from minisasrec.data.builder import Block, Table, read_actions
from minisasrec.data.columns import (
    ITEM_COLUMNS,
    TIME_COLUMNS,
    TITLE_COLUMNS,
    USER_COLUMNS,
    Header,
    index_name,
    simple,
    suggestion,
)
from minisasrec.data.files import Source, check_unpacked, find
from minisasrec.data.frames import FrameTable, arrow_column, arrow_rows
from minisasrec.data.options import ReadingOptions, spelled
from minisasrec.data.text import BLANKS, TextTable
from minisasrec.data.values import SAMPLE, as_objects, as_title, spread, tidy
from minisasrec.errors import DataError

ML_100K_GENRES = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
).split()
MOST_SHEET_ROWS = 1_048_576  # of Excel; a file can name others, and all between would be read
LARGEST_ARRAY = 16 << 20  # bytes of JSON that are read at once; JSON Lines may be of any length
RECORDS = 20_000  # rows of JSON, Excel or Parquet that are in memory at a time
DEFAULT = ReadingOptions()


@dataclass(frozen=True)
class Headerless:
    """The reader of a format of lines without a header line and without quotes.

    `columns` names the fields in their order, for example "user time latitude longitude item": one
    is called user, one item, and one perhaps time, numbers or dates. Without a time, the
    lines of each user must be in time order. `separator` None stands for white space.
    """

    columns: str
    separator: str | None = None

    @property
    def layout(self) -> str:
        """How a line looks, in words, for errors and for the docs."""
        names = self.columns.split()
        if self.separator == "\t":
            return f"{', '.join(names)} with tabs between"
        return (self.separator or " ").join(names)

    def __call__(
        self,
        source: Source,
        companion: Source | None = None,
        options: ReadingOptions = DEFAULT,
    ) -> Actions:
        """The actions of a file; there is no companion.

        Options that tell the columns or the separator, a header, or a first line with the marks of
        a table make it a table like any other.
        """
        names = self.columns.split()
        if self.is_table(source, options):
            return _text_table(source, options)
        number, first = _first_line(source, options)
        fields = first.split(self.separator)
        if first and not first.startswith("# ") and len(fields) != len(names):
            help = spelled("columns", suggestion(fields))
            raise DataError(
                f"{source} line {number}: expected {self.layout}, got {len(fields)} field(s): "
                f"{' '.join(map(repr, fields))[:80]}; if it has other columns, name them by "
                f"--no-header {help}; if something else stands between fields, "
                f"{spelled('separator')}"
            )
        table = TextTable(
            source,
            options,
            columns=",".join(names),
            separator=self.separator or BLANKS,
            quoted=False,
        )
        actions = read_actions(table, options)
        if "time" not in names:
            actions.notes = [note for note in actions.notes if "time column" not in note]
        return actions

    def is_table(self, source: Source, options: ReadingOptions) -> bool:
        """Whether a file is a table like any other, and not of this format."""
        if options.given().keys() & {"columns", "separator", "header", "user_column"}:
            return True
        first = _first_line(source, options)[1]
        fields = first.split(self.separator)
        named = [simple(field) for field in fields if simple(field)]
        if named == self.columns.split():  # its own columns, perhaps after a #
            return False
        if {*named} & {*USER_COLUMNS, *ITEM_COLUMNS}:
            return True
        marks = set(",\t;|") - {self.separator}
        other = len(fields) != len(self.columns.split())
        return bool(first) and other and any(mark in first for mark in marks)


def _first_line(source: Source, options: ReadingOptions) -> tuple[int, str]:
    for number, text in source.text(options.encoding):
        for line, one in enumerate(text.split("\n"), number):
            if line > options.skip_lines and one.strip():
                return line, one
    return 1, ""


read_pairs = Headerless("user item")  # the authors' text, each user's lines in time order
_ml_1m = Headerless("user item rating time", "::")
_ml_100k = Headerless("user item rating time", "\t")


def read_movielens(
    ratings: Source, movies: Source | None = None, options: ReadingOptions = DEFAULT
) -> Actions:
    """ML-1M: ``user::item::rating::time`` and, for titles, ``MovieID::Title::Genre|Genre``."""
    actions = _ml_1m(ratings, None, options)
    if movies is not None:
        _add_what_lies_beside(actions, movies, _add_films, _ml_1m.is_table(ratings, options))
    return actions


def _add_what_lies_beside(
    actions: Actions, titles: Source, add: Callable[[Actions, Source], None], table: bool
) -> None:
    """Titles from a file of MovieLens; for a table if it has none itself and is of these films.

    Nobody asked for that file, so beside a table it costs a note, and not the log.
    """
    name = titles.path.name
    if not table:
        add(actions, titles)
    elif actions.titles is not None:
        actions.notes.append(f"{name} lies beside it and was not read")
    else:
        try:
            add(actions, titles)
        except DataError as error:
            actions.notes.append(f"titles were not read: {error}")
            return
        found = sum(map({*(actions.titles or ())}.__contains__, actions.item_ids))
        items = len(actions.item_ids)
        actions.notes.append(
            f"{name} lies beside it and has titles of {found:,} of {items:,} items"
        )
        if found < items / 2:
            actions.notes[-1] += ", so it is of other data and not taken"
            actions.titles = actions.categories = None


def _add_films(actions: Actions, movies: Source) -> None:
    titles, categories = {}, {}
    for line, row in _item_rows(movies, "::", "MovieID::Title::Genres"):
        titles[tidy(row[0])] = tidy(row[1])
        categories[tidy(row[0])] = _genres(tidy(row[2]), movies, line)
    actions.titles, actions.categories = titles, categories


def _add_items(actions: Actions, items: Source) -> None:
    titles, categories = {}, {}
    layout = "|".join(["id", "title", "date", "video date", "URL", *["genre flag"] * 19])
    for _, row in _item_rows(items, "|", layout):
        titles[tidy(row[0])] = tidy(row[1])
        categories[tidy(row[0])] = tuple(
            genre
            for genre, flag in zip(ML_100K_GENRES, row[5:], strict=True)
            if flag == "1" and genre != "unknown"
        )
    actions.titles, actions.categories = titles, categories


def read_authors_ml_1m(
    pairs: Source, mapping: Source | None = None, options: ReadingOptions = DEFAULT
) -> Actions:
    """The authors' ``ml-1m.txt``, ``user item`` with numbers of their own.

    ``mapping`` has the authors' number and MovieLens' a line: then the items have MovieLens' ids,
    and titles and genres if ``movies.dat`` or ``ml-1m.zip`` lies beside it.
    """
    actions = read_pairs(pairs, None, options)
    if mapping is None:
        return actions
    original: dict[str, str] = {}
    taken: set[str] = set()
    for line, (theirs, movie) in _item_rows(mapping, BLANKS, "authors,original"):
        if theirs in original or movie in taken:
            raise DataError(
                f"{mapping} line {line}: one of '{theirs} {movie}' stands in an earlier line, too, "
                "and a film has one number; get the file again, or take it away to keep the "
                "authors' ids"
            )
        original[theirs] = movie
        taken.add(movie)
    lacking = [item for item in actions.item_ids if item not in original]
    if lacking:
        raise DataError(
            f"{mapping} has no line for item {lacking[0]!r}, which is in {pairs}: it belongs to "
            "another file; take it away to keep the file's own ids"
        )
    actions.item_ids = [original[item] for item in actions.item_ids]
    folder = mapping.path.parent
    for place in (folder, folder / "ml-1m.zip"):
        if place.exists() and (movies := find(place, ("movies.dat",))):
            _add_films(actions, movies)
            break
    return actions


def read_ml_100k(
    data: Source, items: Source | None = None, options: ReadingOptions = DEFAULT
) -> Actions:
    """ML-100K: tab-separated ``u.data``; ``u.item`` with ``|`` and 19 genre flags at the end."""
    actions = _ml_100k(data, None, options)
    if items is not None:
        _add_what_lies_beside(actions, items, _add_items, _ml_100k.is_table(data, options))
    return actions


def _item_rows(source: Source, separator: str, layout: str) -> Iterator[tuple[int, list[str]]]:
    table = TextTable(
        source, DEFAULT, columns=layout.replace(separator, ","), separator=separator, quoted=False
    )
    yield from table.rows()


def _genres(text: str, source: Source, line: int) -> tuple[str, ...]:
    """``Comedy|Drama`` -> its genres; MovieLens writes ``(no genres listed)`` for none."""
    if not text or text.startswith("("):
        return ()
    genres = tuple(text.split("|"))
    if "" in genres:
        raise DataError(f"{source} line {line}: expected Genre|Genre, got {text!r}")
    return genres


def read_table(
    source: Source, items: Source | None = None, options: ReadingOptions = DEFAULT
) -> Actions:
    """CSV, TSV or RecBole ``.inter`` with a header line, or without one if ``options`` say so.

    Columns not named are recognised by the usual names; without a time column the lines of a user
    must be in time order, which a note on the data set says. The separator is that of the header.
    ``items`` is a second file with item, title and perhaps genres (``A|B``).
    """
    actions = _text_table(source, options)
    if items is not None:
        actions.titles, actions.categories = _read_item_table(items)
    return actions


def _text_table(source: Source, options: ReadingOptions, separator: str | None = None) -> Actions:
    # RecBole does not quote: a quote in one of its titles is a letter like others
    plain = source.name.endswith((".inter", ".item"))
    if separator is None and source.name.endswith((".txt", ".dat", ".data")):
        told = options.field_separator() or ("::" if source.name.endswith(".dat") else BLANKS)
        first = _first_line(source, options)[1]
        separator = told if told in first or not re.search("[,;|\t]", first) else None
    table = TextTable(source, options, separator=separator, quoted=False if plain else None)
    return read_actions(table, options)


def _read_item_table(
    source: Source,
) -> tuple[dict[str, str] | None, dict[str, tuple[str, ...]] | None]:
    """Titles and, if the file has a ``genres`` column, categories by raw item id."""
    titles: dict[str, str] = {}
    categories: dict[str, tuple[str, ...]] = {}
    plain = source.name.endswith(".item")
    table = TextTable(source, DEFAULT, quoted=False if plain else None)
    header = Header(str(source), table.names)
    item = next(iter(header.usual(ITEM_COLUMNS, "item_column")), None)
    if item is None:
        raise DataError(f"{source}: no column has a usual name for an item: {header.listed()}")
    title = next(iter(header.usual(TITLE_COLUMNS, "title_column")), None)
    genres = next(iter(header.usual(["genres"], "genres")), None)
    for line, row in table.rows():
        if title is not None:
            titles[tidy(row[item])] = row[title]
        if genres is not None:
            categories[tidy(row[item])] = _genres(row[genres], source, line)
    return titles or None, categories or None


class RecordTable:
    """Lines of which each is a record: names and a function that takes the values from a line.

    ``names`` None are those in the first block of lines.
    """

    typed = False

    def __init__(
        self,
        source: Source,
        options: ReadingOptions,
        what: str,
        names: Sequence[str] | None = None,
        pick: Callable[[str, Sequence[str]], Sequence[Any]] | None = None,
    ) -> None:
        """Read the first lines."""
        self.source, self.name, self.what = source, str(source), what
        self.text = source.text(options.encoding)
        self.bar = source.bar()
        self.pick = pick or self._pick
        self._late: dict[str, None] = {}  # keys that no line of the first block has
        self._blocks = iter(self.text)
        self._first = self._skip(options.skip_lines)
        self._records: list[dict[str, Any]] = []  # of the first block
        keys: dict[str, None] = {}  # a key that is seldom given, such as a time, may come late
        for number, line in enumerate(self._first[1].split("\n"), self._first[0]):
            if line.strip():
                record = self._read(_record, line, number)
                keys.update(dict.fromkeys(record))
                self._records.append(record)
                if names is not None and len(self._records) == SAMPLE:
                    break
        if not self._records:
            raise DataError(f"{source} is empty: expected {what}")
        self.names = list(names or keys)
        self._known = {*self.names}
        self.facts: dict[str, str] = {}

    @property
    def notes(self) -> list[str]:
        """What the text's encoding has to say, and a time or a title that was not looked at."""
        usual = {*TIME_COLUMNS, *TITLE_COLUMNS}
        late = sorted(key for key in self._late if simple(key) in usual)
        if not late:
            return self.text.notes
        return [
            *self.text.notes,
            f"{self.source}: keys are looked for in the first MB, and {', '.join(late)} came "
            "later, so it was left out; put a line that has it at the beginning",
        ]

    def _pick(self, line: str, keys: Sequence[str]) -> list[Any]:
        record = _record(line)
        if not record.keys() <= self._known:
            self._late.update(dict.fromkeys(record.keys() - self._known))
        return list(map(record.get, keys))

    def _skip(self, lines: int) -> tuple[int, str]:
        line, text = next(self._blocks, (1, ""))
        return line + lines, text.split("\n", lines)[-1] if lines else text

    def sample(self) -> Sequence[Sequence[Any]]:
        """Values of each column; see `Table`."""
        records = [self._records[i] for i in spread(len(self._records))]
        return [[record.get(name) for record in records] for name in self.names]

    def blocks(self, kinds: Mapping[int, str]) -> Iterator[Block]:
        """All records; see `Table`."""
        keys = [self.names[p] for p in kinds]
        first, self._first = self._first, (0, "")
        blocks = [first]
        while blocks:
            line, text = blocks.pop()
            lines = text.split("\n")
            for start in range(0, len(lines), RECORDS):
                rows, places = [], []
                for number, one in enumerate(lines[start : start + RECORDS], line + start):
                    if one.strip():
                        rows.append(self._read(self.pick, one, number, keys))
                        places.append(number)
                if rows:
                    self.bar.update(len(rows))
                    columns = zip(*rows, strict=True)
                    yield Block(
                        {p: as_objects(c) for p, c in zip(kinds, columns, strict=True)},
                        _lines(places),
                    )
            blocks.extend(more for more in [next(self._blocks, None)] if more)
        self.bar.close()

    def _read(self, read: Callable[..., Any], line: str, number: int, *arguments: Any) -> Any:
        try:
            return read(line, *arguments)
        except _UNREADABLE as error:
            raise DataError(
                f"{self.source} line {number}: expected {self.what}, got {line.strip()[:60]!r}"
            ) from error


def _lines(places: Sequence[int]) -> Callable[[int], str]:
    return lambda row: f"line {places[row]}"


def read_json_lines(
    source: Source, meta: Source | None = None, options: ReadingOptions = DEFAULT
) -> Actions:
    """One JSON object a line: Amazon's reviews (reviewerID, asin, unixReviewTime) and the like.

    ``meta`` is Amazon's file of products (one Python literal a line) and gives the titles.
    """
    with source.open() as stream:
        is_array = stream.read(100).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"[")
        stream.seek(0)
        content = stream.read(LARGEST_ARRAY + 1) if is_array else b""
    if len(content) > LARGEST_ARRAY:
        raise DataError(
            f"{source} is one JSON array of more than {LARGEST_ARRAY >> 20} MB: save it as JSON "
            "Lines; pandas writes them by to_json(orient='records', lines=True)"
        )
    if is_array:
        with _format(source, "a JSON array of objects"):
            table: Table = ArrayTable(source, content.decode(options.encoding or "utf-8-sig"))
    else:
        table = RecordTable(source, options, "a JSON object on each line (JSON Lines)")
    actions = read_actions(table, options)
    if meta is not None:
        actions.titles = _titles_from_records(meta, "asin", "title")
    return actions


class ArrayTable(FrameTable):
    """A JSON array of objects, in memory as a whole."""

    typed = False

    def __init__(self, source: Source, text: str) -> None:
        """Read it. ValueError if it is anything else."""
        import pandas

        records = json.loads(text)
        for number, record in enumerate(records, 1):
            if not isinstance(record, dict):
                raise ValueError(f"entry {number} is {record!r:.60}, no object")
        names = dict.fromkeys(name for record in records for name in record)
        columns = {name: as_objects([r.get(name) for r in records]) for name in names}
        super().__init__(pandas.DataFrame(columns, dtype=object), str(source))


def _record(line: str) -> dict[str, Any]:
    """A JSON object, or the Python literal that some of these files have instead."""
    try:
        record = json.loads(line)
    except ValueError:
        record = ast.literal_eval(line.strip())
    if not isinstance(record, dict):
        raise ValueError("not an object")
    return record


_UNREADABLE = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


STEAM_KEYS = ("username", "product_id", "date")
_STEAM_VALUES = {key: re.compile(rf"'{key}': u?'([^'\\]*)'") for key in STEAM_KEYS}


def read_steam(
    source: Source, games: Source | None = None, options: ReadingOptions = DEFAULT
) -> Actions:
    """Steam reviews: one Python literal a line (username, product_id, date); names in ``games``."""
    what = f"a Python literal with {', '.join(STEAM_KEYS)}"
    table = RecordTable(source, options, what, STEAM_KEYS, _steam_row)
    actions = read_actions(table, options)
    if games is not None:
        actions.titles = _titles_from_records(games, "id", "app_name")
    return actions


def _steam_row(line: str, keys: Sequence[str]) -> list[Any]:
    """The three fields by regular expression: a tenth of the time that parsing the line takes.

    Where a key occurs twice (a review may quote one) or a value has escapes, the line is parsed.
    """
    fields = []
    for key in keys:
        match = _STEAM_VALUES[key].search(line)
        if match is None or line.count(f"'{key}': ") != 1:
            return list(map(_record(line).get, keys))
        fields.append(match[1])
    return fields


def _titles_from_records(source: Source, item_key: str, title_key: str) -> dict[str, str]:
    """Titles from one record a line; records without id or title are passed over."""
    titles = {}
    for first_line, text in source.text():
        for number, line in enumerate(text.split("\n"), first_line):
            if not line.strip():
                continue
            try:
                record = _record(line)
            except _UNREADABLE as error:
                raise DataError(
                    f"{source} line {number}: expected an object, got {line[:60]!r}"
                ) from error
            if record.get(item_key) and record.get(title_key):
                titles[str(record[item_key])] = as_title(str(record[title_key]))
    return titles


@contextmanager
def _needs(source: Source, *modules: str) -> Iterator[None]:
    """Inside this block, a library that is missing is a DataError that says how to get it."""
    try:
        yield
    except ImportError as error:
        raise DataError(
            f"reading {source} needs {' and '.join(modules)} ({error}): pip install "
            f"{' '.join(modules)}, or save the table as CSV"
        ) from error


def _format(source: Source, what: str) -> AbstractContextManager[None]:
    return reading(source.path, wrong=f"{source} is not {what}", advice="save it again, or as CSV")


class ParquetTable:
    """A Parquet file, a batch of rows at a time; needs pyarrow."""

    typed = True
    notes: list[str]

    def __init__(self, source: Source, stream: Any) -> None:
        """Read the schema and the first rows."""
        import pyarrow.parquet as parquet
        from pyarrow import types

        self.source, self.name = source, str(source)
        schema = parquet.read_schema(stream)
        # texts as a dictionary: one that stands in a million rows is in memory once
        texts = [f.name for f in schema if types.is_string(f.type) or types.is_large_string(f.type)]
        self.file = parquet.ParquetFile(stream, read_dictionary=texts)
        source.check_rows(self.file.metadata.num_rows)
        # pandas' row numbers are no column, but an index of times is
        index = "__index_level_0__"
        times = any(f.name == index and types.is_timestamp(f.type) for f in schema)
        self.in_file = [n for n in self.file.schema_arrow.names if n != index or times]
        called = index_name(self.in_file)  # as of a frame in memory
        self.names = [called if name == index else name for name in self.in_file]
        self.facts: dict[str, str] = {}
        self.notes = []

    def sample(self) -> Sequence[Sequence[Any]]:
        """Values of each column; see `Table`."""
        for batch in self.file.iter_batches(batch_size=RECORDS, columns=self.in_file):
            rows = spread(batch.num_rows)
            columns = [
                arrow_column(arrow_rows(batch.column(p), rows)).tolist()
                for p in range(len(self.names))
            ]
            return [[str(v) if hasattr(v, "isoformat") else v for v in c] for c in columns]
        return [[] for _ in self.names]

    def blocks(self, kinds: Mapping[int, str]) -> Iterator[Block]:
        """All rows; see `Table`."""
        first, bar = 0, self.source.bar()
        wanted = [self.in_file[p] for p in kinds]
        for batch in self.file.iter_batches(batch_size=10 * RECORDS, columns=wanted):
            columns = {p: arrow_column(batch.column(self.in_file[p])) for p in kinds}
            yield Block(columns, _numbered("row", first))
            first += batch.num_rows
            bar.update(batch.num_rows)
        bar.close()


def _numbered(what: str, first: int) -> Callable[[int], str]:
    return lambda row: f"{what} {first + row}"


def read_parquet(
    source: Source, companion: Source | None = None, options: ReadingOptions = DEFAULT
) -> Actions:
    """A Parquet file with columns as in `read_table`; needs pyarrow."""
    with _needs(source, "pyarrow"):
        import pyarrow.parquet  # noqa: F401
    with source.open() as stream, _format(source, "a readable Parquet file"):
        return read_actions(ParquetTable(source, stream), options)


class SheetTable:
    """The first sheet of an Excel file, or the one that ``sheet`` names; needs openpyxl."""

    typed = False

    def __init__(
        self, source: Source, stream: Any, sheet: str | None, lines: int, fields: int = 2
    ) -> None:
        """Find the header: below so many `lines` the first row with at least so many `fields`."""
        import openpyxl

        book = openpyxl.load_workbook(stream, read_only=True, data_only=True)
        self.source, self.name = source, str(source)
        names = book.sheetnames
        if sheet is not None and sheet not in names:
            raise DataError(f"{source} has no sheet {sheet!r}; it has: {', '.join(names)}")
        chosen = book[sheet] if sheet is not None else book.worksheets[0]
        if hasattr(chosen, "reset_dimensions"):
            chosen.reset_dimensions()  # some programs write a wrong size of the sheet
        self.notes: list[str] = []
        if sheet is None and len(names) > 1:
            self.notes.append(
                f"{source.name} has the sheets {', '.join(names)}; {names[0]!r} was read, and "
                f"{source.path.name}/{names[1]} would be the next"
            )
        self.facts = {"sheet": chosen.title}
        self._rows = enumerate(chosen.iter_rows(values_only=True), 1)
        self.first, self.names = 0, [""]
        for number, row in self._rows:
            if number > lines and sum(v is not None for v in row) >= fields:
                while row and row[-1] is None:
                    row = row[:-1]
                self.first, self.names = number, ["" if v is None else str(v) for v in row]
                break
            if number > MOST_SHEET_ROWS:
                raise DataError(f"{source}: no row of {MOST_SHEET_ROWS:,} has column names")
        else:
            raise DataError(f"{source} is empty: expected a row with column names")
        self._head = list(islice(self._rows, RECORDS))

    def sample(self) -> Sequence[Sequence[Any]]:
        """Values of each column; see `Table`."""
        rows = [row for _, row in self._head if _says_something(row)]
        rows = [rows[i] for i in spread(len(rows))]
        return [
            [str(row[p]) if p < len(row) and row[p] is not None else None for row in rows]
            for p in range(len(self.names))
        ]

    def blocks(self, kinds: Mapping[int, str]) -> Iterator[Block]:
        """All rows; see `Table`."""
        bar = self.source.bar()
        head: list[Any] = self._head
        while head:
            rows = [(n, row) for n, row in head if _says_something(row)]
            columns = {
                p: as_objects([_cell(row[p]) if p < len(row) else None for _, row in rows])
                for p in kinds
            }
            if rows:
                yield Block(columns, _numbers_of([n for n, _ in rows]))
            bar.update(len(head))
            if head[-1][0] > MOST_SHEET_ROWS:
                raise DataError(
                    f"{self.source} has more than {MOST_SHEET_ROWS:,} rows, as no sheet"
                )
            head = list(islice(self._rows, RECORDS))
        bar.close()


def _says_something(row: tuple[Any, ...]) -> bool:
    """Whether a row has a value; a far row number brings a million rows that have none."""
    return row.count(None) < len(row)


def _cell(value: Any) -> Any:
    return str(value) if hasattr(value, "isoformat") else value


def _numbers_of(numbers: Sequence[int]) -> Callable[[int], str]:
    return lambda row: f"row {numbers[row]}"


def read_excel(
    source: Source, companion: Source | None = None, options: ReadingOptions = DEFAULT
) -> Actions:
    """A sheet of an ``.xlsx`` file with columns as in `read_table`; needs openpyxl."""
    with _needs(source, "openpyxl"):
        import openpyxl  # noqa: F401
    book, sheet = (replace(source, member=None), source.member)
    if source.path.suffix.lower() == ".zip":
        book, sheet = source, None
    with _workbook(book) as stream:
        return read_actions(SheetTable(book, stream, sheet, options.skip_lines), options)


@contextmanager
def _workbook(source: Source) -> Iterator[io.BytesIO]:
    """The bytes of an .xlsx file, which is a zip archive; DataError if they are none."""
    with source.open() as stream, _format(source, "a readable .xlsx sheet"):
        content = io.BytesIO(stream.read())
        with zipfile.ZipFile(content) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
        check_unpacked(source, len(content.getbuffer()), unpacked)
        yield content


ONLINE_RETAIL_COLUMNS = "InvoiceNo StockCode Description Quantity InvoiceDate CustomerID".split()


def read_online_retail(
    source: Source, companion: Source | None = None, options: ReadingOptions = DEFAULT
) -> Actions:
    """UCI's Online Retail sheet (.xlsx), cleaned; needs pandas and openpyxl, and about a minute.

    Left out: rows without a customer, cancelled invoices (number starts with C), quantities that
    are not positive, and stock codes that are no product (postage, fees: a product's code starts
    with five digits). Of a customer's purchases of one product only the first is kept. Times are
    the sheet's, read as UTC.
    """
    with _needs(source, "openpyxl"):
        import openpyxl  # noqa: F401
    import pandas

    text_columns = {"InvoiceNo": str, "StockCode": str, "Description": str}
    with _workbook(source) as stream:
        sheet = pandas.read_excel(stream, engine="openpyxl", dtype=text_columns)
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
    columns = {"user": "CustomerID", "item": "StockCode", "time": "InvoiceDate"}
    frame = sheet[list(columns.values())].set_axis(list(columns), axis=1)
    actions = read_actions(FrameTable(frame, str(source)), options)
    actions.titles = titles
    return actions


NO_SEPARATOR = "\x1f"


def read_column(source: Source, wanted: Sequence[str | None]) -> list[Any]:
    """One column of ids from a table (.parquet, .jsonl, .xlsx, else text with a header line).

    It is the first that is called like one of ``wanted``, or the one that is called as items
    usually are, or the only one. DataError if none is. A text or a sheet of one column needs no
    header: its first line is one only if it is called like an item or a title.
    """
    headers = {*map(simple, filter(None, wanted)), *ITEM_COLUMNS, *TITLE_COLUMNS}
    if source.name.endswith(".parquet"):
        with _needs(source, "pyarrow"), source.open() as stream:
            return _column(ParquetTable(source, stream), wanted)
    if source.name.endswith(".jsonl"):
        return _column(RecordTable(source, DEFAULT, "a JSON object on each line"), wanted)
    if source.name.endswith(".xlsx"):
        with _needs(source, "openpyxl"):
            import openpyxl  # noqa: F401
        with _workbook(source) as stream:
            try:
                sheet = SheetTable(source, stream, None, 0)
            except DataError:  # no row with two fields
                sheet = SheetTable(source, stream, None, 0, fields=1)
            ids = _column(sheet, wanted)
        alone = len(sheet.names) == 1 and simple(sheet.names[0]) not in headers
        return sheet.names + ids if alone else ids
    if not re.search("[,;|\t]", _first_line(source, DEFAULT)[1]):  # one column
        lines = "".join(block for _, block in source.text()).splitlines()
        fields = (row[0].strip() for row in csv.reader(lines, delimiter=NO_SEPARATOR) if row)
        ids = [field for field in fields if field]
        return ids[1:] if ids and simple(ids[0]) in headers else ids
    return _column(TextTable(source, DEFAULT), wanted)


def _column(table: Table, wanted: Sequence[str | None]) -> list[Any]:
    names = [str(name).strip() for name in table.names]
    usual = [names.index(name) for name in wanted if name in names]
    if not usual:
        like_items = [p for p, name in enumerate(names) if simple(name) in ITEM_COLUMNS]
        usual = like_items if len(like_items) == 1 else []
    if not usual and len(names) > 1:
        raise DataError(
            f"{table.name} has the columns {', '.join(names)}; name the one with the ids 'item'"
        )
    at = usual[0] if usual else 0
    blocks = table.blocks({at: "text"})
    ids: list[Any] = []
    for block in blocks:
        values = block.columns[at]
        # a header that is repeated in a file put together of several counts as blank
        ids += (values if block.blank is None else values[~block.blank]).tolist()
    return [v for v in ids if v not in (None, "")]
