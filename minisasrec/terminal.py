"""What is printed, and where: text of others made safe to show, and streams that may be closed.

A title, an id, a column or a file name comes from outside. Shown as it is, an escape sequence in it
can clear the terminal or set its title, and a change of the writing direction can make a line read
as another one. So everything from outside goes through `printable`.

Standard output and standard error can be closed (cron, pythonw), full, or a pipe whose reader has
gone. None of this may cost the work of a command, so commands run inside `streams`.
"""

from __future__ import annotations

import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import IO, Any

# Unicode's categories: Cc control characters, Cf invisible ones (writing direction, zero width),
# Zl and Zp line and paragraph separators, Cs halves of a pair, Co and Cn without a meaning
HIDDEN = {"Cc", "Cf", "Zl", "Zp", "Cs", "Co", "Cn"}
JOINERS = "\u200c\u200d"  # Cf, but part of words in Persian and Hindi, and of emoji
LONGEST = 500  # characters of a message


def printable(text: object, limit: int | None = None) -> str:
    r"""`text` on one line, characters that a terminal would obey written as escapes (`\x1b`).

    With `limit`, what is longer is cut in the middle: its first part says what it is about, its
    end what to do.

    >>> printable("red \x1b[31m, and a new\nline")
    'red \\x1b[31m, and a new\\nline'
    >>> printable("a" * 30 + "z" * 30, 15)
    'aaaaa ... zzzzz'
    """
    shown = str(text)
    if not shown.isascii() or not shown.isprintable():
        shown = "".join(_escaped(c) for c in shown)
    if limit is None or len(shown) <= limit:
        return shown
    gap = " ... "
    end = max(0, (limit - len(gap)) // 2)
    return (shown[: limit - len(gap) - end] + gap + shown[len(shown) - end :]).strip()[:limit]


def _escaped(character: str) -> str:
    if unicodedata.category(character) in HIDDEN and character not in JOINERS:
        return character.encode("unicode_escape").decode("ascii")
    return character


def show(*lines: object) -> None:
    """Lines on standard output; what came from outside cannot do more than be read."""
    for line in lines:
        print(printable(line))


def say(line: object) -> None:
    """One line on standard error, at most `LONGEST` characters. Without a stream, nothing.

    (`print(..., file=sys.stderr)` writes to standard *output* where standard error is closed.)
    """
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # the reader has gone; the stream was closed
            print(printable(line, LONGEST), file=sys.stderr, flush=True)


def on_terminal() -> bool:
    """Whether somebody sees standard error at once, so that a progress bar is of use."""
    return sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty()


class Patient:
    """A stream for text that goes on when nothing can be written any more, and knows why.

    The first failure is kept in `error`; what is written after it is dropped.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self.error: Exception | None = None

    def write(self, text: str) -> int:
        """Write, unless an earlier write failed."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush, unless an earlier write failed."""
        self._try(self._stream.flush)

    def _try(self, action: Any) -> None:
        if self.error is None:
            try:
                action()
            except (OSError, ValueError) as error:  # ValueError: somebody closed it
                self.error = error
                with suppress(OSError, ValueError):  # Python flushes what is left at its exit
                    nowhere = os.open(os.devnull, os.O_WRONLY)
                    os.dup2(nowhere, self._stream.fileno())
                    os.close(nowhere)

    def __getattr__(self, name: str) -> Any:  # isatty, encoding, fileno and so on
        return getattr(self._stream, name)


@contextmanager
def streams() -> Iterator[Patient]:
    """Inside this block printing always works; yields what stands for standard output.

    A stream that is closed becomes one that leads nowhere. Letters that an encoding lacks are
    replaced. Whether the output was written is in `error` of what this yields, after a flush.
    """
    _occupy()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # titles hold letters that some encodings lack
            stream.reconfigure(errors="replace")
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        out, err = Patient(sys.stdout or nowhere), Patient(sys.stderr or nowhere)
        out_text: Any = out
        err_text: Any = err
        with redirect_stdout(out_text), redirect_stderr(err_text):
            yield out


def ended(out: Patient, status: int) -> int:
    """The exit code of a command that ended with `status`: 1 instead of 0 for lost output."""
    out.flush()  # now: an error that comes at the exit of Python could not be reported
    if out.error is None:
        return status
    if not isinstance(out.error, BrokenPipeError):  # else the reader, such as `head`, has gone
        why = getattr(out.error, "strerror", None) or out.error
        say(f"error: what was to be printed could not be written ({why}); files are complete")
    return status or 1


def _occupy() -> None:
    """Open the numbers 0, 1 and 2 where they are closed.

    The next file that is opened would get such a number, and whatever a library writes to
    standard error would be in that file.
    """
    with suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(number)
