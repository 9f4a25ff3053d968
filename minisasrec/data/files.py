"""Where data files are, and how they are opened.

A `Source` is a file or a member of a zip archive, gzip-compressed or not: readers see lines of
text only. `find` looks for a source in a folder or an archive. (`downloads.py` fetches what is not
there.)
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

from minisasrec.errors import DataError
from minisasrec.terminal import on_terminal

LINES_PER_CHUNK = 250  # they fit in the processor's cache, and do not start the garbage collector
BAR_DELAY = 2  # seconds of reading before a progress bar appears


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
            disable=not (self.progress and on_terminal()),
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
