"""Where data files are, and how they are opened.

A `Source` is a file or a member of a zip archive, gzip-compressed or not: readers see bytes, or
blocks of text with line numbers. `find` looks for a source in a folder or an archive.
(`downloads.py` fetches what is not there.)
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from minisasrec.border import reading
from minisasrec.errors import DataError
from minisasrec.terminal import on_terminal

TEXT_BLOCK = 1 << 20  # bytes of text that are in memory at a time
LONGEST_LINE = 1 << 20  # characters; a "line" above this is no line, and would fill the memory
MOST_PACKED = 200  # bytes out of one byte of a compressed file: logs have 3 to 50
SMALL = 8 << 20  # bytes that may come out of any file
LOOKED_THROUGH = 4 << 20  # bytes of a gzip file that is unpacked once before it is read
ROWS_PER_BYTE = 8  # of a table: with more, nearly all rows are the same
FEW_ROWS = 1 << 20  # rows that any file may have
BAR_DELAY = 2  # seconds of reading before a progress bar appears

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


# how files begin that are no text, whatever their names say; and what to do
FOREIGN = (
    (rb"PAR1[\x00-\x1f]", "a Parquet file: give it the ending .parquet"),
    (rb"PK\x03\x04", "a zip archive, or an Excel sheet: give it the ending .zip or .xlsx"),
    (rb"\xd0\xcf\x11\xe0", "an Excel sheet of before 2007: save it as .xlsx or as CSV"),
    (rb"BZh[1-9]1AY&SY", "compressed by bzip2: unpack it first (bunzip2), or use gzip"),
    (rb"\xfd7zXZ", "compressed by xz: unpack it first (unxz), or use gzip"),
    (rb"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it first (unzstd), or use gzip"),
    (rb"7z\xbc\xaf|Rar!\x1a", "a 7z or rar archive: unpack it first"),
    (rb"(?s).{257}ustar", "a tar archive: unpack it first (tar -xf)"),
    (rb"SQLite format 3", "an SQLite database: save the table as CSV"),
    (rb"ARROW1\x00|\x89HDF|Obj\x01", "an Arrow, HDF5 or Avro file: save the table as Parquet"),
    (rb"\x80[\x02-\x05].", "a pickle, which may run code and is never read: save it as Parquet"),
    (rb"%PDF-", "a PDF document: get the table as CSV"),
    (rb"(?i)\s*<(!doctype|html)\b", "a web page, perhaps of an error: get the file again"),
    (rb"version https://git-lfs", "what stands for a file in git: get it by git lfs pull"),
)


def foreign(head: bytes) -> str | None:
    """What a file is that begins so and is no text, and what to do with it; else None."""
    return next((what for begin, what in FOREIGN if re.match(begin, head)), None)


def some(names: Iterable[str], most: int = 10) -> str:
    """Names for an error, which is to stay one line: the first few, and how many more."""
    every = list(names)
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


@dataclass(frozen=True)
class Source:
    """One readable file: ``path``, or its ``member`` if the path is a zip archive.

    ``progress`` asks the reader for a progress bar if reading takes long.
    """

    path: Path
    member: str | None = None
    progress: bool = False

    def __str__(self) -> str:
        """The name that errors use: the path, and the member in brackets."""
        return f"{self.path} [{self.member}]" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """File name in lower case, without folders and without ``.gz``."""
        name = Path(self.member or self.path).name.lower()
        return name.removesuffix(".gz")

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The bytes, decompressed if they are gzip; damage found while reading is a DataError."""
        with _whole(self.path, str(self)), ExitStack() as stack:
            yield self._opened(stack)

    def _opened(self, stack: ExitStack) -> Any:
        stream: Any
        if self.member is None:
            stream = stack.enter_context(open(self.path, "rb"))
        else:
            archive = stack.enter_context(zipfile.ZipFile(self.path))
            try:
                info = archive.getinfo(self.member)
            except KeyError:
                raise DataError(
                    f"{self.path} has no member {self.member!r}; it has: {some(members(self.path))}"
                ) from None
            check_unpacked(self, info.compress_size, info.file_size)
            try:
                stream = stack.enter_context(archive.open(self.member))
            except (RuntimeError, NotImplementedError) as error:  # a password, or a way of packing
                raise DataError(f"cannot read {self}: {error}") from error
        if stream.peek(2)[:2] == b"\x1f\x8b":  # whatever its name is
            if self.size() <= LOOKED_THROUGH and stream.seekable():
                for _ in _pieces(_Gzip(fileobj=stream, source=self)):
                    pass  # a bomb is found now, and not after a minute of reading rows
                stream.seek(0)
            stream = stack.enter_context(_Gzip(fileobj=stream, source=self))
        return stream

    def size(self) -> int:
        """Bytes on disk, compressed."""
        if self.member is None:
            return self.path.stat().st_size
        with zipfile.ZipFile(self.path) as archive:
            return archive.getinfo(self.member).compress_size

    def check_rows(self, rows: int) -> None:
        """Raise `DataError` for a compressed table with more rows than its bytes can tell apart."""
        if rows > max(FEW_ROWS, ROWS_PER_BYTE * self.size()):
            raise DataError(
                f"{self} has {rows:,} rows in {self.size():,} bytes, so nearly all of them are the "
                "same: this is no log of actions"
            )

    def bar(self) -> Any:
        """A progress bar that counts lines: on a terminal, if asked for, and after 2 seconds."""
        from tqdm import tqdm

        return tqdm(
            desc=f"reading {self.name}",
            unit=" lines",
            unit_scale=True,
            delay=BAR_DELAY,
            leave=False,
            disable=not (self.progress and on_terminal()),
        )

    def text(self, encoding: str | None = None) -> Text:
        """The file as text, in blocks of whole lines."""
        return Text(self, encoding)


class _Gzip(gzip.GzipFile):
    """A gzip stream that ends with a DataError where far too much comes out."""

    def __init__(self, fileobj: Any, source: Source) -> None:
        super().__init__(fileobj=fileobj, mode="rb")
        self.source, self.packed = source, source.size()

    def read(self, size: int | None = -1) -> bytes:
        """As `GzipFile.read`; all that is left a piece at a time, so that it can be stopped."""
        if size is not None and size >= 0:
            data = super().read(size)
            check_unpacked(self.source, self.packed, self.tell())
            return data
        return b"".join(_pieces(self))


def _pieces(stream: _Gzip) -> Iterator[bytes]:
    return iter(lambda: stream.read(TEXT_BLOCK), b"")


def check_unpacked(source: object, packed: int, unpacked: int) -> None:
    """Raise `DataError` for a file made to fill memory or disk: a zip bomb."""
    if unpacked > max(SMALL, MOST_PACKED * packed):
        raise DataError(
            f"{source} has {packed:,} bytes, and more than {unpacked - 1:,} come out of it: no log "
            f"is compressed more than {MOST_PACKED} times; if it is one, unpack it first"
        )


@dataclass
class Text:
    """A source as text: iterate over it once for (number of the first line, whole lines).

    Without a name of an ``encoding`` it is told by a byte order mark, by zero bytes (UTF-16), or it
    is UTF-8; if a byte does not fit and all before was ASCII, it is cp1252 (nearly latin-1), as a
    note says. After the first block ``encoding`` is the one in use. A line that is longer than
    `LONGEST_LINE`, a zero byte and a byte that does not fit are DataErrors that name the line.
    """

    source: Source
    encoding: str | None = None
    notes: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Blocks that end with the end of a line, except perhaps the last; each line end is \\n."""
        line, rest = 1, ""
        with self.source.open() as stream:
            for more in self._decoded(stream):
                text = rest + more
                if "\ufeff" in more:  # the mark of a file that was put behind another one
                    text = re.sub("(?m)^\ufeff+", "", text)
                end = text.rfind("\n") + 1
                if len(text) - end > LONGEST_LINE:
                    raise DataError(
                        f"{self.source} line {line + text.count(chr(10))}: it is longer than "
                        f"{LONGEST_LINE >> 20} MB: this is no text in lines"
                    )
                block, rest = text[:end], text[end:]
                if block:
                    yield line, self._checked(line, block)
                    line += block.count("\n")
            if rest:
                yield line, self._checked(line, rest)

    def _checked(self, line: int, block: str) -> str:
        if "\0" in block:
            number = line + block[: block.index("\0")].count("\n")
            raise DataError(
                f"{self.source} line {number}: it holds a zero byte, so it is no text, or its "
                "encoding is another one: --encoding utf-16 (encoding='utf-16')"
            )
        return block

    def _decoded(self, stream: IO[bytes]) -> Iterator[str]:
        data = stream.read(TEXT_BLOCK)
        if what := foreign(data):
            raise DataError(f"{self.source} is {what}")
        told = self.encoding
        if told is None or codecs_name(told, self.source) in ("utf-8", "utf-16", "utf-32"):
            for mark, name in BYTE_ORDER_MARKS:
                if data.startswith(mark):
                    self.encoding, data = name, data[len(mark) :]
                    break
            else:
                self.encoding = told or _by_zero_bytes(data)
        assert self.encoding is not None
        decoder = codecs.getincrementaldecoder(self.encoding)()
        line_ends = io.IncrementalNewlineDecoder(None, translate=True)
        plain, line = True, 1  # whether all before was ASCII; the line that is being read
        while True:
            kept = decoder.getstate()[0]
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeError as error:
                if not isinstance(error, UnicodeDecodeError):  # as "there is no byte order mark"
                    raise DataError(
                        f"{self.source} line {line}: not {self.encoding} text ({error}): name its "
                        "encoding by --encoding (encoding=), for example utf-8, cp1252 or latin-1"
                    ) from None
                start = kept + data
                before = start[: error.start].decode(self.encoding, errors="replace")
                if not (plain and told is None and self.encoding == "utf-8" and before.isascii()):
                    raise DataError(
                        f"{self.source} line {line + before.count(chr(10))}: not "
                        f"{self.encoding} text (byte 0x{start[error.start]:02x}): name its "
                        "encoding by --encoding (encoding=), for example utf-8, cp1252 or latin-1"
                    ) from None
                self.encoding = "cp1252"
                self.notes.append(
                    f"{self.source.name} is not UTF-8 and was read as {self.encoding}; if letters "
                    "are wrong, name its encoding by --encoding (encoding=)"
                )
                decoder = codecs.getincrementaldecoder(self.encoding)("minisasrec.latin-1")
                text = decoder.decode(start, final=not data)
            text = line_ends.decode(text, final=not data)
            plain = plain and text.isascii()
            line += text.count("\n")
            if text:
                yield text
            if not data:
                return
            data = stream.read(TEXT_BLOCK)


def codecs_name(encoding: str, source: Source) -> str:
    """The usual name of an encoding; DataError if there is none of this name."""
    try:
        name = codecs.lookup(encoding).name
        codecs.getincrementaldecoder(encoding)
        b"text".decode(encoding, "ignore")  # rot13 and base64 are codecs, but not of text
    except LookupError as error:
        raise DataError(
            f"cannot read {source}: {error}; common encodings are utf-8, cp1252 and latin-1"
        ) from None
    return {"utf-8-sig": "utf-8"}.get(name, name)


def _by_zero_bytes(data: bytes) -> str:
    """UTF-16 without a mark has zeros at every second place of common text."""
    start = data[:4096]
    for name, zeros, letters in (
        ("utf-16-le", start[1::2], start[::2]),
        ("utf-16-be", start[::2], start[1::2]),
    ):
        if zeros.count(0) > 0.4 * max(len(zeros), 1) and not letters.count(0):
            return name
    return "utf-8"


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    """Five bytes have no meaning in cp1252: they are kept as latin-1 has them, so none is lost."""
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("minisasrec.latin-1", _as_latin_1)


def find(place: Path, names: Iterable[str]) -> Source | None:
    """The first of ``names`` (or ``name.gz``) in a folder or, at any depth, in a zip archive."""
    if place.is_dir():
        present = {p.name.lower(): p for p in sorted(place.iterdir()) if p.is_file()}
        sources = {name: Source(path) for name, path in present.items()}
    else:
        sources = {Path(member).name.lower(): Source(place, member) for member in members(place)}
    for name in names:
        for wanted in (name.lower(), f"{name.lower()}.gz"):
            if wanted in sources:
                return sources[wanted]
    return None


def _whole(path: Path, name: str) -> AbstractContextManager[None]:
    return reading(path, wrong=f"{name} is cut off or damaged", advice="delete it and get it again")


def members(archive: Path) -> list[str]:
    """The files in a zip archive, without those that macOS adds; DataError if it is damaged."""
    with _whole(archive, str(archive)):
        with zipfile.ZipFile(archive) as opened:
            return [m for m in opened.namelist() if not m.endswith("/") and "__MACOSX" not in m]
