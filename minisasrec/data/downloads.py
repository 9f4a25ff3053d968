"""Downloads: into the per-user cache, checked before they get their name, and continued.

A server may send a web page instead of the file, send half of it, go on at another place than it
was asked for, or send a byte a second. None of this may stay in the cache under the file's name,
where every later run would read it. So a file is first `.part`, and becomes itself when its size,
its content and, if it is known, its MD5 are right. Otherwise the next address is tried.

Where nobody publishes a checksum, the SHA-256 of the first download is kept in `sha256.json` beside
the file, and a later download that differs says so.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import stat
import time
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from minisasrec.data.dataset import DataWarning
from minisasrec.errors import DataError
from minisasrec.terminal import on_terminal

BLOCK = 8192  # bytes asked for at a time
ATTEMPTS = 3  # a download that breaks off is continued this often before it is given up
SILENT = 30.0  # seconds in which a server must send something
WINDOW, SLOWEST = 60.0, 1024  # seconds, in each of which it must send so many bytes per second
WHOLE = 6 * 3600.0  # seconds that one attempt may take
PINS = "sha256.json"


class RefusedError(ValueError):
    """What a server sent is not what was asked for."""


class BrokenOffError(OSError):
    """A connection that ended, or was too slow, before all was there."""


def cache_folder() -> Path:
    """Where downloads are kept, as pooch chooses it for this system and user."""
    import pooch

    return Path(pooch.os_cache("minisasrec"))


def download(urls: Sequence[str], path: Path, md5: str | None, progress: bool = True) -> Path:
    """Fetch ``path`` from the first of ``urls`` that has it, check it and return it.

    What a broken-off download left is continued, now or in a later call, by an HTTP Range request.
    Two programs that ask for the same file at the same time do not disturb each other: the second
    waits. Raises DataError with one line that says where to get the file and where to put it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            return _first_good(urls, path, md5, progress)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Inside this block no other program downloads this file."""
    import filelock

    lock = filelock.FileLock(path.with_name(path.name + ".lock"))
    try:
        lock.acquire()
    except NotImplementedError:  # file systems of some clusters know no locks
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # Windows: another program waits for it
            Path(lock.lock_file).unlink()
        lock.release()


def _first_good(urls: Sequence[str], path: Path, md5: str | None, progress: bool) -> Path:
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
                downloader=Resume(path, verifiable=md5 is not None, progress=progress),
            )
            if md5 is None:
                _compare_with_first(Path(found))
            return Path(found)
        except (requests.RequestException, OSError, ValueError) as error:
            reasons.append(_reason(error))
    raise DataError(
        f"cannot download {path.name} ({'; '.join(dict.fromkeys(reasons))}): get {urls[0]} with a "
        f"browser and put it at {path}, or in a folder that data_dir names"
    )


class Resume:
    """A pooch downloader that keeps what it has in a `.part` file and asks only for the rest.

    The part's name holds a hash of the address, so two mirrors never share one. A later call goes
    on only if the whole can be checked (``verifiable``), or if the server says by its ETag or date
    that the file is still the same.
    """

    def __init__(self, path: Path, *, verifiable: bool, progress: bool = True) -> None:
        """Download for the file ``path``; ``progress`` shows a bar."""
        self.path, self.verifiable, self.progress = path, verifiable, progress

    def __call__(self, url: str, output_file: str, pooch: Any = None) -> None:
        """Download ``url`` to ``output_file``; raises requests' exceptions, OSError, ValueError."""
        part = Part.of(self.path, url)
        for attempt in range(1, ATTEMPTS + 1):
            have = part.size()
            try:
                self._fetch(url, part)
                check_content(part.path, self.path.name)
                os.replace(part.path, output_file)
                part.discard()
                return
            except BrokenOffError:
                if attempt == ATTEMPTS:
                    raise
            except RefusedError:
                part.discard()  # or the next call would go on with it
                if not have or attempt == ATTEMPTS:
                    raise

    def _fetch(self, url: str, part: Part) -> None:
        import requests

        have = part.size()
        if have and not (self.verifiable or part.validator):
            part.discard()
            have = 0
        headers = {"Accept-Encoding": "identity"}  # a compressed body has other byte positions
        if have:
            headers["Range"] = f"bytes={have}-"
            if part.validator:
                headers["If-Range"] = part.validator  # a changed file is sent from its start
        with (
            _broken_off(),
            requests.get(url, headers=headers, stream=True, timeout=SILENT) as answer,
        ):
            if have and answer.status_code == 416:
                # nothing is left to send: it is complete, or it is another file
                if answer.headers.get("Content-Range") == f"bytes */{have}":
                    return
                part.discard()
                return self._fetch(url, part)
            answer.raise_for_status()
            total = _total(answer, have)
            if answer.status_code != 206:  # 200: the whole file again
                part.discard()
            part.remember(answer.headers)
            with part.open() as file:
                _receive(answer, file, total, self._bar(part.size(), total))
                os.fsync(file.fileno())

    def _bar(self, have: int, total: int | None) -> Any:
        from tqdm import tqdm

        return tqdm(
            desc=self.path.name,
            total=total,
            initial=have,
            unit="B",
            unit_scale=True,
            disable=not (self.progress and on_terminal()),
        )


@dataclass
class Part:
    """What has come of a file so far, and the server's mark (ETag or date) of the whole."""

    path: Path
    validator: str = ""
    note: Path = field(init=False)

    def __post_init__(self) -> None:
        self.note = self.path.with_name(self.path.name + ".mark")

    @classmethod
    def of(cls, path: Path, url: str) -> Part:
        """The part of the file ``path`` from this address; it may not exist yet."""
        mark = hashlib.sha256(url.encode()).hexdigest()[:8]
        part = cls(path.with_name(f"{path.name}.{mark}.part"))
        for file in (part.path, part.note):
            with suppress(FileNotFoundError):
                if not stat.S_ISREG(file.lstat().st_mode):  # a link that somebody put there
                    file.unlink()
        with suppress(OSError, UnicodeDecodeError):
            part.validator = part.note.read_text(encoding="latin-1")[:1000]
        return part

    def size(self) -> int:
        """How many bytes have come."""
        try:
            return self.path.lstat().st_size
        except FileNotFoundError:
            return 0

    def open(self) -> IO[bytes]:
        """The file, to be appended to. A symbolic link is an error, not followed."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        return open(os.open(self.path, flags, 0o644), "ab")

    def remember(self, headers: Any) -> None:
        """Keep the server's mark, for a later call."""
        tag = headers.get("ETag", "")
        self.validator = tag if tag.startswith('"') else headers.get("Last-Modified", "")
        self.note.unlink(missing_ok=True)
        if self.validator:
            with open(self.note, "x", encoding="latin-1") as file:  # x: never through a link
                file.write(self.validator)

    def discard(self) -> None:
        """Forget what has come."""
        self.validator = ""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


@contextmanager
def _broken_off() -> Iterator[None]:
    """What says in requests and urllib3 that a connection ended becomes `BrokenOffError`."""
    import requests
    import urllib3

    try:
        yield
    except requests.HTTPError:  # an answer, though not the one hoped for
        raise
    except (requests.Timeout, urllib3.exceptions.ReadTimeoutError, TimeoutError) as error:
        raise BrokenOffError("the server did not answer in time") from error
    except (requests.ConnectionError, urllib3.exceptions.NewConnectionError) as error:
        raise BrokenOffError("no connection to the server") from error
    except (urllib3.exceptions.HTTPError, requests.exceptions.ChunkedEncodingError) as error:
        raise BrokenOffError("the connection broke off; what came is kept, so try again") from error


def _total(answer: Any, have: int) -> int | None:
    """Size of the whole file, by the answer's headers; `RefusedError` if they do not fit."""
    coding = answer.headers.get("Content-Encoding", "identity").lower()
    if coding not in ("identity", "gzip", "x-gzip"):  # the latter: what some say of a .gz file
        raise RefusedError(f"the server sent it in the encoding {coding[:20]!r}, not as it is")
    length = answer.headers.get("Content-Length", "")
    rest = int(length) if length.isdecimal() else None
    if answer.status_code == 200:
        return rest
    span = answer.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", span)
    if answer.status_code != 206 or not match:
        raise RefusedError(f"the server answered {answer.status_code}, Content-Range {span[:40]!r}")
    first, last, whole = int(match[1]), int(match[2]), match[3]
    size = last + 1 if whole == "*" else int(whole)
    if first != have or last >= size or rest not in (None, last + 1 - first):
        raise RefusedError(f"asked for bytes from {have} on, the server sent {span[:40]!r}")
    return size


def _receive(answer: Any, file: IO[bytes], total: int | None, bar: Any) -> None:
    """Write the body as it comes. `BrokenOffError` if it is too slow or ends early."""
    # read1 returns what has come; read would wait for a whole block, byte by byte if need be
    read = getattr(answer.raw, "read1", None)
    size = BLOCK if read else 256
    read = read or answer.raw.read
    start = window = time.monotonic()
    came = 0
    with bar:
        while block := read(size):
            file.write(block)
            bar.update(len(block))
            came += len(block)
            now = time.monotonic()
            if now - window > WINDOW:
                if came < SLOWEST * (now - window):
                    raise BrokenOffError("the server sent too slowly; what came is kept")
                window, came = now, 0
            if now - start > WHOLE:
                raise BrokenOffError("it took too long; what came is kept, so try again")
        file.flush()
        size = os.fstat(file.fileno()).st_size
    if total is not None and size < total:
        raise BrokenOffError("the connection broke off; what came is kept, so try again")
    if total is not None and size > total:
        raise RefusedError(f"the server sent {size} bytes of a file of {total}")


def check_content(path: Path, name: str) -> None:
    """Raise `RefusedError` unless a file is what its name says: zip, gzip, or lines of text."""
    with open(path, "rb") as file:
        start = file.read(1024)
    if not start:
        raise RefusedError("the server sent an empty file")
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype\s+html|html|head|body)\b", start, re.IGNORECASE):
        raise RefusedError("the server sent a web page instead of the file")
    kind = name.lower().rpartition(".")[2]
    try:
        if kind in ("zip", "xlsx"):
            with zipfile.ZipFile(path) as archive:  # its table of contents is at the end
                archive.infolist()
        elif kind == "gz":
            with gzip.open(path) as stream:
                while stream.read(1 << 20):  # its checksum is at the end
                    pass
        elif kind in ("csv", "tsv", "txt", "dat", "json", "jsonl", "inter") and b"\0" in start:
            raise RefusedError("the server sent something that is no text")
    except (zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, NotImplementedError) as bad:
        raise RefusedError(f"the server sent no whole .{kind} file: {bad}") from bad


def _compare_with_first(path: Path) -> None:
    """Keep the SHA-256 of a first download; warn if this is a later one and differs."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    now, pins = digest.hexdigest(), path.with_name(PINS)
    try:
        known = json.loads(pins.read_text(encoding="utf-8"))
        first = known.get(path.name)
    except (OSError, ValueError, AttributeError):  # none yet, or damaged
        known, first = {}, None
    if first == now:
        return
    if first is not None:
        warnings.warn(
            f"{path.name} is another file than the one downloaded first (SHA-256 {now[:12]}, then "
            f"{str(first)[:12]}): results may differ from earlier ones",
            DataWarning,
            stacklevel=4,
        )
        return
    temporary = pins.with_name(f"{PINS}.{os.urandom(8).hex()}")
    with open(temporary, "x", encoding="utf-8") as text:
        json.dump({**known, path.name: now}, text, indent=2)
    os.replace(temporary, pins)


def _reason(error: Exception) -> str:
    """What went wrong with a download, short enough for one line."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    return " ".join(str(error).split())[:200]
