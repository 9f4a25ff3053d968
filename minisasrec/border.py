"""The border around every reader of files: whatever a file holds, one error comes out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minisasrec.errors import DataError, MinisasrecError


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
    """What a JSON text says. Raises `ValueError`."""
    return whole_letters(text, json.loads(text))


def whole_letters(text: str, value: Any) -> Any:
    """``value``, which was read from ``text``; ValueError if it holds half of a letter.

    JSON can spell half of a pair of UTF-16, `"\\ud800"`. Python reads it, and can write it nowhere.
    """
    if re.search(r"\\u[dD]|\\U0000[dD]", text):
        json.dumps(value, ensure_ascii=False, default=str).encode()
    return value
