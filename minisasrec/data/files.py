"""Where data files are, how they are opened, and how they are downloaded.

A `Source` is a file or a member of a zip archive, gzip-compressed or not: readers see bytes, or
blocks of text with line numbers. `find` looks for a source in a folder or an archive; `download`
fetches a file into the per-user cache and goes on where a broken-off download stopped.
"""

from __future__ import annotations

import codecs
import gzip
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from minisasrec.errors import DataError

TEXT_BLOCK = 1 << 22  # bytes of text that are in memory at a time
LONGEST_LINE = 16 << 20  # characters; a "line" above this is no line, and would fill the memory
BLOCK = 8192  # bytes written at a time: at most so many are lost when a download breaks off
BAR_DELAY = 2  # seconds of reading before a progress bar appears
ATTEMPTS = 3  # a download that breaks off is continued this often before it is given up

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


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
        if self.path.exists() and not self.path.is_file():
            raise DataError(f"{self.path} is not a file, but a pipe or a device: save it first")
        try:
            with ExitStack() as stack:
                stream: Any
                if self.member:
                    archive = stack.enter_context(zipfile.ZipFile(self.path))
                    try:
                        stream = stack.enter_context(archive.open(self.member))
                    except KeyError:
                        raise DataError(
                            f"{self.path} has no member {self.member!r}; it has: "
                            f"{', '.join(members(self.path))}"
                        ) from None
                    except RuntimeError as error:  # a password, or an unknown compression
                        raise DataError(f"cannot read {self}: {error}") from error
                else:
                    stream = stack.enter_context(open(self.path, "rb"))
                if stream.peek(2)[:2] == b"\x1f\x8b":  # whatever its name is
                    stream = stack.enter_context(gzip.open(stream))
                yield stream
        except (zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(
                f"{self} is cut off or damaged ({error}): delete it and get it again"
            ) from error
        except NotImplementedError as error:  # a way of compression that Python lacks
            raise DataError(f"cannot read {self}: {error}") from error
        except OSError as error:
            raise DataError(f"cannot read {self}: {error.strerror or error}") from error

    def bar(self) -> Any:
        """A progress bar that counts lines: on a terminal, if asked for, and after 2 seconds."""
        from tqdm import tqdm

        return tqdm(
            desc=f"reading {self.name}",
            unit=" lines",
            unit_scale=True,
            delay=BAR_DELAY,
            leave=False,
            disable=None if self.progress else True,  # None: unless stderr is a terminal
        )

    def text(self, encoding: str | None = None) -> Text:
        """The file as text, in blocks of whole lines."""
        return Text(self, encoding)


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
        """Blocks that end with the end of a line, except perhaps the last; line ends are kept."""
        line, rest, old_mac = 1, "", None
        with self.source.open() as stream:
            for more in self._decoded(stream):
                text = rest + more
                if old_mac is None:
                    old_mac = "\r" in text and "\n" not in text
                if old_mac:
                    text = text.replace("\r", "\n")
                end = text.rfind("\n") + 1
                if len(text) - end > LONGEST_LINE:
                    raise DataError(
                        f"{self.source} line {line + text.count(chr(10))} : it is longer than "
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
        plain, line = True, 1  # whether all before was ASCII; the line that is being read
        while True:
            kept = decoder.getstate()[0]
            try:
                text = decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
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
        b"".decode(encoding)
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


def members(archive: Path) -> list[str]:
    """The files in a zip archive, without those that macOS adds; DataError if it is damaged."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return [m for m in opened.namelist() if not m.endswith("/") and "__MACOSX" not in m]
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(
            f"{archive} is cut off or damaged ({error}): delete it and get it again"
        ) from error


def cache_folder() -> Path:
    """Where downloads are kept, as pooch chooses it for this system and user."""
    import pooch

    return Path(pooch.os_cache("minisasrec"))


def download(urls: Sequence[str], path: Path, md5: str | None, progress: bool = True) -> Path:
    """Fetch ``path`` from the first of ``urls`` that answers, check it and return it.

    Pooch checks the MD5, if known, before the file appears under its name. What a broken-off
    download left (``path`` + ``.part``) is continued, now or in a later call, by an HTTP Range
    request. Raises DataError with one line that says where to get the file and where to put it.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # the progress bar is enough
    reasons = []
    for url in urls:
        try:
            found = pooch.retrieve(
                url,
                known_hash=md5 and f"md5:{md5}",
                fname=path.name,
                path=path.parent,
                downloader=Resume(path.with_name(path.name + ".part"), progress),
            )
            return Path(found)
        except (requests.RequestException, OSError, ValueError) as error:
            reasons.append(_reason(error))
    raise DataError(
        f"cannot download {path.name} ({'; '.join(dict.fromkeys(reasons))}): get {urls[0]} with a "
        f"browser and put it at {path}, or in a folder that data_dir names"
    )


class Resume:
    """A pooch downloader that keeps what it has in ``part`` and asks only for the rest."""

    def __init__(self, part: Path, progress: bool = True) -> None:
        """Download through ``part``; ``progress`` shows a bar."""
        self.part, self.progress = part, progress

    def __call__(self, url: str, output_file: str, pooch: Any = None) -> None:
        """Download ``url`` to ``output_file``; raises requests' exceptions."""
        from requests import exceptions

        broken_off = (
            exceptions.ConnectionError,
            exceptions.Timeout,
            exceptions.ChunkedEncodingError,  # requests raises this if the body ends early
        )
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._fetch(url)
                break
            except broken_off:
                if attempt == ATTEMPTS or not self.part.exists():
                    raise
        os.replace(self.part, output_file)

    def _fetch(self, url: str) -> None:
        import requests
        from tqdm import tqdm

        have = self.part.stat().st_size if self.part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        headers["Accept-Encoding"] = "identity"  # a compressed body has other byte positions
        with requests.get(url, headers=headers, stream=True, timeout=30) as answer:
            if (
                have and answer.status_code == 416
            ):  # nothing is left to send: it is complete, or it is another file
                if answer.headers.get("Content-Range") == f"bytes */{have}":
                    return
                self.part.unlink()
                return self._fetch(url)
            answer.raise_for_status()
            have = have if answer.status_code == 206 else 0  # 200: the whole file again
            total = have + int(answer.headers.get("Content-Length", 0)) or None
            with (
                open(self.part, "ab" if have else "wb") as part,
                tqdm(
                    desc=self.part.name.removesuffix(".part"),
                    total=total,
                    initial=have,
                    unit="B",
                    unit_scale=True,
                    disable=None if self.progress else True,
                ) as bar,
            ):
                for block in answer.iter_content(BLOCK):
                    part.write(block)
                    bar.update(len(block))
        if total is not None and self.part.stat().st_size < total:  # older urllib3 do not tell
            raise requests.exceptions.ChunkedEncodingError("the body ended early")


def _reason(error: Exception) -> str:
    """What went wrong with a download, short enough for one line."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off; what came is kept, so try again"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return " ".join(str(error).split())[:200]
