"""The border to files: whatever one holds, a reader gives one error; what is written is whole.

A new file gets its name when it is finished (`unfinished`, then `rename`).
"""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from minisasrec.errors import DataError, MinisasrecError

PATIENCE = (0.01, 0.03, 0.1, 0.3, 1.0)  # seconds between attempts to rename


def at_home(path: Path) -> Path:
    """``~/runs`` in the home folder: not every shell puts it there, as in ``--out=~/runs``."""
    try:
        return path.expanduser()
    except RuntimeError:  # ~nobody
        return path


@contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """An empty file beside `target` to write into; it is removed if it was not renamed.

    Nobody can guess its name, so nobody can have put a link there.
    """
    temporary = target.with_name(f".{secrets.token_hex(8)}.{target.name}")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def rename(temporary: Path, target: Path) -> None:
    """Give a finished file its name, and let the disk remember both over a power cut."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())  # or the name is kept and the content lost
    for seconds in (*PATIENCE, None):
        try:
            os.replace(temporary, target)
            break
        except PermissionError:  # Windows: a virus scanner or an indexer looks at it
            if seconds is None:
                raise
            time.sleep(seconds)
    with suppress(OSError):  # Windows opens no folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def reading(
    path: Path,
    error: type[MinisasrecError] = DataError,
    *,
    wrong: str = "",
    advice: str = "copy it again from where it was saved",
) -> Iterator[None]:
    """Inside this block the file `path` is read: whatever is in it, one `error` comes out.

    What a parser raises about a damaged file is hard to list, and differs from version to version.
    So inside this block every exception that is not of this package becomes one `error` that says
    what is `wrong` with the file, and what to do; the exception is its cause. A pipe or a device,
    which may never end, is refused. A file that is missing is left to the reader.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise error(f"{path} is not a file, but a pipe or a device: save it first")
        yield
    except MinisasrecError:
        raise
    except MemoryError as cause:
        raise error(f"{path} needs more memory than there is: give a part of it") from cause
    except OSError as cause:
        # a parser may give its own name for the file, or none
        place = cause.filename if isinstance(cause.filename, str) else path
        raise error(f"cannot read {place}: {cause.strerror or cause}") from cause
    except Exception as cause:
        told = str(cause) if isinstance(cause, ValueError) else f"{type(cause).__name__}: {cause}"
        wrong = wrong or f"{path} is damaged, or of another format"
        raise error(f"{wrong} ({told[:200]}): {advice}") from cause


def json_value(text: str) -> Any:
    """What a JSON text says. Raises `ValueError`, also if it holds half of a letter.

    JSON can spell half of a pair of UTF-16, `"\\ud800"`. Python reads it, and can write it nowhere.
    """
    value = json.loads(text)
    if re.search(r"\\u[dD]", text):
        json.dumps(value, ensure_ascii=False).encode()
    return value
