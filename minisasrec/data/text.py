"""Delimited text -> blocks of rows: lines, quotes and numbers are read by pandas' C parser.

A block of whole lines is parsed at a time, so the memory is bounded and errors have line numbers.
Columns of whole numbers come back as int64 and not as text where that loses nothing (`007` would).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minisasrec.data.builder import Block
from minisasrec.data.columns import Header, suggestion
from minisasrec.data.files import LONGEST_LINE, Source
from minisasrec.data.options import ReadingOptions, is_number, spelled
from minisasrec.data.values import MISSING, SAMPLE, as_objects, looks_like_data, spread, tidy
from minisasrec.errors import DataError

MOST_COLUMNS = 10_000
FIRST_ROWS = 20  # are looked at for the row numbers that R writes without a name above them
ONE_CHARACTER = "\x1f"  # stands for a separator of several while a block is parsed
SEPARATOR_LINE = re.compile(r'"?sep=(.|\\t)"?', re.IGNORECASE)  # what Excel writes first
BLANKS = "blanks"  # the separator that is any white space


class TextTable:
    """A file of lines with a separator between fields.

    ``columns`` are the names where the format has no header line; ``separator`` None is found in
    the first line. ``quoted`` None: as in CSV, but with tabs only if the first lines show it.
    """

    typed = False

    def __init__(
        self,
        source: Source,
        options: ReadingOptions,
        *,
        columns: str | None = None,
        separator: str | None = None,
        quoted: bool | None = None,
    ) -> None:
        """Read the first block, and from it all that is to be known."""
        self.source, self.name = source, str(source)
        self.text = source.text(options.encoding)
        self.bar = source.bar()
        self._blocks = iter(self.text)
        line, first = next(self._blocks, (1, ""))
        line, first = self._skip(line, first, options.skip_lines)
        separator = options.field_separator() or separator
        given = options.names() or (columns.split(",") if columns else [])
        # without a header a line that begins with # may be a row: #art,u1,1000
        rows_of = len(given) if columns or not options.header else 0
        line, first, hint = self._preamble(line, first, separator, rows_of)
        if not first.strip():
            expected = columns.replace(",", " ") if columns else "a header line with column names"
            raise DataError(f"{source} is empty: expected {expected}")
        head = first[:65536]
        separator = separator or hint or _most_frequent(head, rows_of)
        if separator == BLANKS and all(map(_is_whole, head.partition("\n")[0].split())):
            separator = " "  # R puts one between fields in quotes, in which there may be more
        self.separator = separator
        self.quoted = _is_quoted(head, separator) if quoted is None else quoted
        self.escaped = False  # \" for a quote inside quotes, as Spark and MySQL write it
        self._backslash_before = False
        self._escaped_from: int | None = None
        if self.quoted:
            first = self._double_quotes(line, first)
            self._blocks = ((line, self._double_quotes(line, text)) for line, text in self._blocks)
        self.first_line = line
        self._first = first
        records = islice(self._records(first, line, strict=False), FIRST_ROWS)
        first_fields, *below = [fields for _, fields in records] or [[]]
        self.header = options.header and columns is None
        if columns and not options.names() and options.header:  # a format that has none has one
            named = Header(self.name, first_fields).names
            self.header = named == Header(self.name, given).names
        self.header_fields = [tidy(f) for f in first_fields]
        self.headers_again = 0
        self.swallowed: tuple[int, int] | None = None  # from where to where a quote holds rows
        if self.header and _have_row_numbers(below, len(first_fields)):
            first_fields = ["", *first_fields]
        if not self.header and _stands_out(first_fields, below):
            raise DataError(
                f"{self.name} line {line} looks like a header ({', '.join(first_fields)[:80]}): "
                f"all lines below have numbers there; leave it out by --skip-lines {line} "
                f"(skip_lines={line}); if it is a row, move it below another one"
            )
        self.names_line = [tidy(f) for f in first_fields] if self.header else []
        self._name_columns(first_fields, given, options)
        self.width = len(self.names)
        self._plain_header = [*map(_plain, self.header_fields)]
        self._header_again = self._how_a_header_looks() if self.header else None
        self.layout = (
            f"{self.width} fields ({', '.join(self.names)})"
            if self.header
            else " ".join(self.names)
            if separator in (" ", BLANKS)
            else f"{', '.join(self.names)} with tabs between"
            if separator == "\t"
            else separator.join(self.names)
        )

    @property
    def notes(self) -> list[str]:
        """What the text's encoding has to say, and what was passed over."""
        again = self.headers_again
        passed = f"{again:,} line(s) repeat the header and were left out: were files put together?"
        notes = [*self.text.notes, *([passed] if again else [])]
        if self._escaped_from is not None:
            notes.append(
                rf"from line {self._escaped_from} on \" is read as a quote inside quotes; above "
                "it, where nothing said so, the backslash as a letter"
            )
        if self.swallowed:
            first, last = self.swallowed
            notes.append(
                f"a quote opened in line {first} is closed in line {last}, and lines between look "
                "like rows: if that quote is a letter like others, double it, since these rows are "
                "a part of its field now"
            )
        return notes

    @property
    def facts(self) -> dict[str, str]:
        """What was understood of the file itself."""
        names = {"\t": "tab", " ": "a space", BLANKS: "blanks"}
        return {
            "separator": names.get(self.separator, self.separator),
            "encoding": self.text.encoding or "utf-8",
            "header": f"line {self.first_line}" if self.header else "none",
            "quotes": 'yes, \\" inside' if self.escaped else "yes" if self.quoted else "no",
        }

    def _double_quotes(self, line: int, text: str) -> str:
        """Quotes inside quotes as CSV has them: `""` in place of `\\"`, if the file has those.

        Where quotes are doubled, a quote after a backslash either ends its field or is the first
        of two. So one that anything else follows says that the backslash belongs to it.
        """
        if '\\"' not in text:
            return text
        if not self.escaped:
            end, blank = re.escape(self.separator), "" if self.separator == " " else " *"
            inner = rf'\\"(?!{end}){blank}(?!{end})[^"\s]'
            field = rf'(?m)(?:^|{end}){blank}"(?:[^"\\\n]|\\(?!"{blank}(?:{end}|$)).)*{inner}'
            if not (re.search(inner, text) and re.search(field, text)):
                self._backslash_before = True
                return text
            self.escaped = True
            self._escaped_from = line if self._backslash_before else None
        # the second of two backslashes belongs to no quote; no text holds a zero byte
        return text.replace("\\\\", "\0").replace('\\"', '""').replace("\0", "\\\\")

    def _skip(self, line: int, first: str, lines: int) -> tuple[int, str]:
        """Leave out the first lines."""
        at = 0
        for _ in range(lines):
            while (end := first.find("\n", at)) < 0:
                if (more := next(self._blocks, None)) is None:
                    return line + lines, ""
                first, at = first[at:] + more[1], 0
            at = end + 1
        return line + lines, first[at:]

    def _preamble(
        self, line: int, first: str, told: str | None, width: int
    ) -> tuple[int, str, str | None]:
        """Leave out blank lines, comments and Excel's ``sep=;`` before the table.

        `width` is the number of fields of a table without a header, else 0.
        """
        hint, at, comments = None, 0, 0
        row = re.search("(?m)^[^#\\s].*$", first) if width else None  # that is surely one
        while at < len(first):
            end = _end_of_line(first, at)
            now, below = first[at:end], first[end + 1 : _end_of_line(first, end + 1)]
            text = now.strip()
            if not text:
                pass
            elif match := SEPARATOR_LINE.fullmatch(text):
                hint = {"\\t": "\t"}.get(match[1], match[1])
            elif text.startswith("#") and not (
                _is_row(now, row and row[0], told or hint, width)
                if width
                else _is_header_comment(now, below, told or hint, comments < 100)
            ):
                comments += 1
            else:
                break
            line, at = line + 1, end + 1
        return line, first[at:], hint

    def _name_columns(
        self, fields: Sequence[str], given: Sequence[str], options: ReadingOptions
    ) -> None:
        width = len(fields)
        if width > MOST_COLUMNS:
            raise DataError(
                f"{self.name} line {self.first_line} has {width:,} fields, a table has at most "
                f"{MOST_COLUMNS:,}: is {self.separator!r} what stands between them? "
                f"{spelled('separator')}"
            )
        if given:
            looks = Header(self.name, fields)
            same = looks.names == Header(self.name, given).names
            if not self.header and (same or looks.has_user_and_item()):
                raise DataError(
                    f"{self.name} line {self.first_line} looks like a header "
                    f"({', '.join(fields)[:80]}): leave out {spelled('header')}"
                )
            if options.columns and len(given) != width:
                raise DataError(
                    f"{self.name} line {self.first_line} has {width} fields "
                    f"({', '.join(fields)[:100]}), but {spelled('columns')} names {len(given)}"
                )
            if options.columns and self.header and looks_like_data(fields):
                raise DataError(
                    f"{self.name} line {self.first_line} looks like data, not like names "
                    f"({', '.join(fields)[:80]}): give {spelled('header')} beside --columns"
                )
            self.names = list(given)
            return
        if not self.header:
            guess = suggestion(fields)
            raise DataError(
                f"{self.name} has no header, as you say: name its {width} columns by "
                f"--columns, for example {spelled('columns', guess)}; the first line is "
                f"{', '.join(fields)[:80]}"
            )
        self.names = [f.strip().lstrip("#").strip() for f in fields]
        if width == 1 and not options.columns:
            raise DataError(
                f"{self.name} line {self.first_line} has one field ({fields[0][:60]!r}): name what "
                f"stands between fields by {spelled('separator')}, or skip lines before the header "
                f"by {spelled('skip_lines')}"
            )

    def sample(self) -> Sequence[Sequence[Any]]:
        """Values of each column; see `Table`."""
        records = [r for _, r in self._records(self._first, 1, strict=False)]
        rows = [r for r in records if len(r) == self.width and not self._is_header(r)]
        rows = [rows[i] for i in spread(len(rows))]
        return [[value.strip() for value in column] for column in zip(*rows, strict=True)] or [
            [] for _ in self.names
        ]

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """All rows with their lines, each with one field for each column: for small files."""
        text = self._first + "".join(more for _, more in self._blocks)
        for line, fields in self._records(text, self.first_line, strict=True):
            if any(map(str.strip, fields)) and not self._is_header(fields):
                self._check_width(line, fields)
                yield line, fields[: self.width]

    def blocks(self, kinds: Mapping[int, str]) -> Iterator[Block]:
        """All rows; see `Table`."""
        as_text = {p for p, kind in kinds.items() if kind == "text"}
        line, text = self.first_line, self._first
        self._first = ""
        if self.header:
            line, text = self._after_header(line, text)
        for more_line, more in chain([(line, text)], self._blocks):
            line, text = (more_line, more) if not text or more is text else (line, text + more)
            frame = self._parse(text, kinds, as_text)
            if frame is None:  # it ends inside quotes: take the next block with it
                if len(text) > LONGEST_LINE + len(more):
                    self._unclosed(text, line)
                continue
            if text.strip("\n"):
                self.bar.update(len(frame))
                yield self._block(text, line, frame, kinds)
            text = ""
        if text:
            self._unclosed(text, line)
        self.bar.close()

    def _after_header(self, line: int, text: str) -> tuple[int, str]:
        if not self.quoted or '"' not in text.partition("\n")[0]:
            return line + 1, text.partition("\n")[2]
        separator, parted = self._one_character(text)
        reader = csv.reader(parted.splitlines(keepends=True), delimiter=separator)
        next(reader)
        lines = text.splitlines(keepends=True)
        return line + reader.line_num, "".join(lines[reader.line_num :])

    def _parse(self, text: str, kinds: Mapping[int, str], as_text: set[int]) -> Any:
        """A frame of the wanted columns, the last one and one that should not be there."""
        import pandas

        separator, text = self._one_character(text)
        blanks = separator == BLANKS
        between = " " if blanks else separator
        zeros = between.join(["0"] * (self.width + 1)) + "\n"  # a line that tells the width
        wanted = sorted({*kinds, self.width - 1, self.width})
        if len(as_text) < len(kinds) and not _plain_integers(text, separator):
            ids = {p for p, kind in kinds.items() if kind == "id"}
        else:
            ids = set()
        texts = {*as_text, *ids, self.width, *({self.width - 1} - {*kinds})}
        while True:
            try:
                frame = pandas.read_csv(
                    io.StringIO(zeros + text),
                    sep=r"\s+" if blanks else separator,
                    header=None,
                    names=list(range(self.width + 1)),
                    usecols=wanted,
                    dtype=dict.fromkeys(texts, object),
                    na_filter=False,
                    skip_blank_lines=False,
                    skipinitialspace=separator not in (BLANKS, " ", "\t"),
                    quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
                    engine="c",
                    low_memory=False,
                    index_col=False,
                )
            except pandas.errors.ParserError as error:
                if "inside string" in str(error):
                    return None
                raise DataError(f"{self.name} cannot be read as a table: {error}") from error
            fit = {"id": "i", "time": "if"}
            other = {
                p for p in kinds if p not in texts and frame[p].dtype.kind not in fit[kinds[p]]
            }
            if not other:
                return frame.iloc[1:]
            as_text |= other  # from now on: the next block will hardly be otherwise
            texts |= other

    def _one_character(self, text: str) -> tuple[str, str]:
        if self.separator == BLANKS or (len(self.separator) == 1 and self.separator.isascii()):
            return self.separator, text
        return ONE_CHARACTER, text.replace(self.separator, ONE_CHARACTER)

    def _block(self, text: str, line: int, frame: Any, kinds: Mapping[int, str]) -> Block:
        columns = {p: self._put_back(frame[p].to_numpy(), text) for p in kinds}
        several_lines = self.quoted and '"' in text and len(frame) != _count_lines(text)
        last, extra = (frame[p].to_numpy() for p in (self.width - 1, self.width))
        lines, blank = None, None
        short = last.dtype.kind == "O" and bool((last == "").any())
        again = self._header_again is not None and self._repeats_header(text)
        if several_lines or short or again or bool((extra != "").any()):
            lines, blank = self._check(text, line, len(frame))
        place = self._places(line, lines)
        return Block(columns, place, blank)

    def _put_back(self, column: NDArray[Any], text: str) -> NDArray[Any]:
        """The separator inside quotes, which stands for itself there."""
        same = self._one_character("")[0] == self.separator
        if same or column.dtype.kind != "O" or '"' not in text:
            return column
        return as_objects([v.replace(ONE_CHARACTER, self.separator) for v in column.tolist()])

    def _places(self, line: int, lines: list[int] | None) -> Callable[[int], str]:
        return lambda row: f"line {line + row if lines is None else lines[row]}"

    def _check(self, text: str, line: int, rows: int) -> tuple[list[int], NDArray[np.bool_]]:
        """The lines of all records, and which are blank; refuse the first of another width."""
        lines = []
        blank = np.zeros(rows, dtype=bool)
        for row, (number, fields) in enumerate(self._records(text, line, strict=True)):
            lines.append(number)
            if not any(map(str.strip, fields)):
                if row < rows:
                    blank[row] = True
                continue
            if self._is_header(fields):
                blank[row] = True
                self.headers_again += 1
                continue
            self._check_width(number, fields)
        if not self.swallowed and self.quoted and len(lines) < _count_lines(text):
            self._look_inside_quotes(text, line)
        return lines, blank

    def _look_inside_quotes(self, text: str, line: int) -> None:
        """Remember the first record of several lines in which one looks like a row of its own:
        as many fields, and a number wherever the record has one, or the same first field."""
        lines = text.split("\n")
        records = [*self._records(text, line, strict=True), (line + _count_lines(text), [])]
        for (begin, fields), (end, _) in pairwise(records):
            numbers = [p for p, field in enumerate(fields) if is_number(field)]
            for one in lines[begin + 1 - line : end - line]:
                parts = one.split(self.separator)
                if len(parts) != self.width or not all(is_number(parts[p]) for p in numbers):
                    continue
                if numbers or parts[0].strip() == fields[0].strip():  # perhaps the same user
                    self.swallowed = (begin, end - 1)
                    return

    def _how_a_header_looks(self) -> re.Pattern[str]:
        """A line that begins with the first fields of the header, in quotes or not."""
        first = [re.escape(f.strip('"')) for f in self.header_fields[:20]]
        between = r"\s+" if self.separator == BLANKS else re.escape(self.separator)
        fields = rf'[ "]*{between}[ "]*'.join(first)
        return re.compile(rf'(?im)^[ "]*{fields}[ "]*(?:{between}|$)')

    def _repeats_header(self, text: str) -> bool:
        assert self._header_again is not None
        longest = max(self.header_fields, key=len)  # to look for a text is ten times as fast
        spellings = {longest, longest.lower(), longest.upper(), longest.capitalize()}
        some = not longest.isascii() or any(each in text for each in spellings)
        return some and self._header_again.search(text) is not None

    def _is_header(self, fields: Sequence[str]) -> bool:
        header, width = self._plain_header, len(self._plain_header)
        if not self.header or len(fields) < width or _plain(fields[0]) != header[0]:
            return False
        return [*map(_plain, fields[:width])] == header and not any(map(tidy, fields[width:]))

    def _check_width(self, line: int, fields: Sequence[str]) -> None:
        if len(fields) < self.width or any(f.strip() for f in fields[self.width :]):
            short = " ".join(map(repr, fields))
            raise DataError(
                f"{self.name} line {line}: expected {self.layout}, got {len(fields)} field(s): "
                f"{short if len(short) <= 80 else short[:77] + '...'}"
            )

    def _records(self, text: str, line: int, *, strict: bool) -> Iterator[tuple[int, list[str]]]:
        """The records of a text with the line on which each begins, by the csv module."""
        lines = text.split("\n")
        if lines and not lines[-1]:
            lines.pop()
        if not self.quoted or self.separator == BLANKS:
            blanks = self.separator == BLANKS
            for number, record in enumerate(lines, line):
                yield number, record.split() if blanks else record.split(self.separator)
            return
        separator, text = self._one_character(text)
        limit = csv.field_size_limit(2 * LONGEST_LINE)
        try:
            reader = csv.reader(
                (one + "\n" for one in text.split("\n")[: len(lines)]),
                delimiter=separator,
                strict=strict,
                skipinitialspace=separator not in (" ", "\t"),
            )
            begins = line
            while True:
                try:
                    fields = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    raise DataError(
                        f"{self.name} line {begins}: a quote is opened and not closed before the "
                        f"end of its field ({error}); if quotes are letters like others here, "
                        "double them, or save the file with tabs between the fields"
                    ) from None
                yield (
                    begins,
                    fields
                    if separator == self.separator
                    else [f.replace(separator, self.separator) for f in fields],
                )
                begins = line + reader.line_num
        finally:
            csv.field_size_limit(limit)

    def _unclosed(self, text: str, line: int) -> None:
        for _ in self._records(text, line, strict=True):
            pass
        raise DataError(f"{self.name} line {line}: a quote is opened and never closed")


def _plain(name: str) -> str:
    """A column's name without quotes and capital letters."""
    return tidy(name).strip('"').casefold()


def _count_lines(text: str) -> int:
    return text.count("\n") + (not text.endswith("\n"))


def _most_frequent(head: str, width: int = 0) -> str:
    """The separator of the first line: of the usual ones the most frequent outside quotes.

    Without a header, for which `width` tells how many columns are named, one that stands as often
    on all first lines comes before; a header decides itself. Where that leaves several, it is the
    one that makes `width` fields, and a comma in a text has a blank behind it.
    """
    lines = [re.sub(r'"[^"\n]*"', "", line) for line in head.split("\n")[:SAMPLE]]
    first, lines = lines[0], [line for line in lines[:-1] if line.strip()]

    def evidence(mark: str) -> tuple[int, ...]:
        count, same = first.count(mark), len({line.count(mark) for line in lines}) == 1
        blanks = sum(line.count(mark + " ") for line in lines)
        return (same and width > 0, count, count + 1 == width, same, -blanks)

    if marks := [mark for mark in "\t;,|" if mark in first]:
        return max(marks, key=evidence)
    return "::" if "::" in first else ","


def _is_quoted(head: str, separator: str) -> bool:
    """Whether quotes are around fields; with tabs only if no quote is anywhere else."""
    if separator == BLANKS:
        return False
    if separator != "\t":
        return True
    lines = head.split("\n")[: SAMPLE * 5]
    lines = lines[:-1] if len(lines) > 1 else lines
    first = lines[0].split("\t")
    fields = [f for line in lines for f in line.split("\t") if '"' in f]
    return all(map(_is_whole, first)) or (bool(fields) and all(map(_is_whole, fields)))


def _is_whole(field: str) -> bool:
    return len(field) > 1 and field[0] == field[-1] == '"'


def _have_row_numbers(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether each row is one field longer than the header, and begins with 1, 2, 3, ..."""
    return len(rows) > 1 and all(
        len(fields) == width + 1 and fields[0].strip().strip('"') == str(number)
        for number, fields in enumerate(rows, 1)
    )


def _end_of_line(text: str, start: int) -> int:
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _is_header_comment(line: str, below: str, separator: str | None, thorough: bool) -> bool:
    """Whether ``# user,item`` is a header: the line below it has as many fields.

    If that begins with # as well, a comment goes on, unless `line` names a user and an item: then
    ids begin with it. Nobody has so many comments above a header that not to be `thorough` matters.
    """
    if below.startswith("#") and not thorough:
        return False
    separator = separator or _most_frequent(line)
    fields = line.count(separator)
    if not fields or fields != below.count(separator):
        return False
    return below[:1] != "#" or Header("", line.split(separator)).has_user_and_item()


def _is_row(line: str, row: str | None, separator: str | None, width: int) -> bool:
    """Whether ``#art,u1,1000`` is a row: as many fields, and numbers where a sure row has some.

    In a comment there is a blank after the mark, or after a comma.
    """
    separator = separator or _most_frequent(line)

    def fields(text: str) -> list[str]:
        return text.split() if separator == BLANKS else text.split(separator)

    mine, sure = fields(line), fields(row or line)
    if len(mine) != width or mine[0].strip() == "#" or line[1:2].isspace():
        return False
    if len(sure) == width:
        same = all(is_number(a) == is_number(b) for a, b in zip(mine[1:], sure[1:], strict=True))
        blanks = sum(f[:1].isspace() for f in mine[1:]) > sum(f[:1].isspace() for f in sure[1:])
        return same and not blanks
    return True


def _stands_out(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether the first line has words where all lines below have whole numbers: a header."""
    if len(below) < 2 or any(f.strip() in MISSING or re.search(r"\d", f) for f in first):
        return False
    rows = [fields for fields in below if len(fields) == len(first)]
    return len(rows) == len(below) and all(f.strip().isdecimal() for row in rows for f in row[:2])


def _plain_integers(text: str, separator: str) -> bool:
    """False if a field may be a number that pandas would change: 007, +7, -0."""
    data = np.frombuffer(text.encode(), dtype=np.uint8)
    if len(data) < 2:
        return True
    mark = ord(" ") if separator == BLANKS else ord(separator)
    ends = (data == mark) | (data == 10) | (data == 13) | (data == ord('"'))
    blank = data == ord(" ")
    if separator == BLANKS:
        ends |= data == 9
        blank = np.zeros_like(ends)
    start = np.concatenate([[True], ends[:-1]])
    second = np.concatenate([[False], (start & blank)[:-1]])  # after one blank
    start |= second
    digit = (data[1:] >= 48) & (data[1:] <= 57)
    zero, sign, minus = data[:-1] == 48, data[:-1] == ord("+"), data[:-1] == ord("-")
    odd = start[:-1] & ((zero & digit) | sign | (minus & (data[1:] == 48)))
    return not (odd.any() or (second & blank).any())
