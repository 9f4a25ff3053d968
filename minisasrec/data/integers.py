"""A fast reader of whole numbers in delimited text, a block at a time.

Most public files of actions are lines of decimal numbers. A block of such lines is parsed here by
array operations, one digit of all lines at once, several times faster than line by line. Anything
else in a wanted column (a name, a sign, a blank line, a missing field) makes `read_integers` give
up; the readers then go line by line, and it is they who say what is wrong, and where.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

BLOCK = (
    1 << 18
)  # bytes at a time: so few that the arrays made of them stay in the processor's cache
MOST_DIGITS = 18  # more might not fit an int64
NEW_LINE, ZERO = ord("\n"), ord("0")

Integers = NDArray[np.int64]


def read_integers(
    stream: IO[bytes], separator: str, width: int, wanted: Sequence[int], bar: Any
) -> list[Integers] | None:
    """The columns ``wanted`` of lines of ``width`` fields, int64 (lines,) each, or None.

    None says that the lines are not so simple. Columns that are not wanted may hold any text
    without the separator and without quotes. ``bar`` is a progress bar that counts lines.
    """
    blocks: list[list[Integers]] = []
    rest, more = b"", True
    while more:
        read = stream.read(BLOCK)
        more = bool(read)
        text, end, rest = (rest + read).rpartition(b"\n")
        if len(rest) > BLOCK:  # this is no text in lines
            return None
        text += end
        if not more and rest:  # the last line need not have an end
            text, rest = rest + b"\n", b""
        if not text:
            continue
        text, mark = text.replace(b"\r\n", b"\n"), separator
        if len(separator) > 1:
            if b"\t" in text:
                return None
            text, mark = text.replace(separator.encode(), b"\t"), "\t"
        columns = None if b'"' in text else _parse(text, ord(mark), width, wanted)
        if columns is None:
            return None
        bar.update(len(columns[0]))
        blocks.append(columns)
    return [np.concatenate(column) for column in zip(*blocks, strict=True)] or None


def _parse(text: bytes, mark: int, width: int, wanted: Sequence[int]) -> list[Integers] | None:
    """The wanted columns of whole lines whose fields end with the byte ``mark``."""
    characters = np.frombuffer(text, dtype=np.uint8)
    all_ends = np.flatnonzero((characters == mark) | (characters == NEW_LINE))
    if len(all_ends) % width:
        return None
    starts = np.concatenate([[0], all_ends[:-1] + 1]).reshape(-1, width)
    ends = all_ends.reshape(-1, width)
    line_ends = characters[ends] == NEW_LINE
    if not line_ends[:, -1].all() or line_ends[:, :-1].any():
        return None
    digits = characters - np.uint8(ZERO)  # other characters than digits become 10 or more
    columns = []
    for column in wanted:
        column_ends = ends[:, column]
        lengths = column_ends - starts[:, column]
        longest = int(lengths.max())
        if lengths.min() < 1 or longest > MOST_DIGITS:
            return None
        if (lengths > 1).any() and (digits[starts[:, column]][lengths > 1] == 0).any():
            return None  # 07 is another id than 7
        values = np.zeros(len(lengths), dtype=np.int64)
        for place in range(longest):
            digit = digits[column_ends - 1 - place]
            digit[place >= lengths] = 0
            if digit.max() > 9:
                return None
            values += digit * np.int64(10**place)
        columns.append(values)
    return columns
