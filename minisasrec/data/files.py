"""Where data files are, how they are opened, and how they are downloaded.

A `Source` is a file or a member of a zip archive, gzip-compressed or not: readers see lines of
text only. `find` looks for a source in a folder or an archive; `download` fetches a file into the
per-user cache and goes on where a broken-off download stopped.
"""

from __future__ import annotations

import gzip
import io
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from minisasrec.errors import DataError

LINES_PER_CHUNK = 250  # they fit in the processor's cache, and do not start the garbage collector
BLOCK = 8192  # bytes written at a time: at most so many are lost when a download breaks off
BAR_DELAY = 2  # seconds of reading before a progress bar appears
ATTEMPTS = 3  # a download that breaks off is continued this often before it is given up


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
        """The decompressed bytes; damage found now or while reading is a DataError."""
        try:
            with ExitStack() as stack:
                stream: Any
                if self.member:
                    archive = stack.enter_context(zipfile.ZipFile(self.path))
                    try:
                        stream = stack.enter_context(archive.open(self.member))
                    except RuntimeError as error:  # a password, or an unknown compression
                        raise DataError(f"cannot read {self}: {error}") from error
                else:
                    stream = stack.enter_context(open(self.path, "rb"))
                if (self.member or self.path.name).lower().endswith(".gz"):
                    stream = stack.enter_context(gzip.open(stream))
                yield stream
        except (zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(
                f"{self} is cut off or damaged ({error}): delete it and get it again"
            ) from error
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

    @contextmanager
    def text(self, encoding: str) -> Iterator[IO[str]]:
        """The file as text; line ends are not changed."""
        with self.open() as stream:
            try:
                yield io.TextIOWrapper(stream, encoding=encoding, newline="")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{self} is not {encoding} text (byte 0x{error.object[error.start]:02x}, line "
                    f"{self._line_of_bad_byte(encoding)}): save it as UTF-8 (Excel: 'CSV UTF-8'), "
                    "or pass encoding='cp1252' or the like to load_dataset"
                ) from error
            except LookupError as error:
                raise DataError(
                    f"cannot read {self}: {error}; common encodings are utf-8 and latin-1"
                ) from error

    def _line_of_bad_byte(self, encoding: str) -> int:
        with self.open() as stream:
            for number, line in enumerate(stream, 1):
                try:
                    line.decode(encoding)
                except UnicodeDecodeError:
                    return number
        return number

    def chunks(self, encoding: str = "utf-8") -> Iterator[tuple[int, list[str]]]:
        """Lists of lines, each with the number (from 1) of its first line."""
        with self.text(encoding) as text:
            first = 1
            while lines := list(islice(text, LINES_PER_CHUNK)):
                yield first, lines
                first += len(lines)


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
