"""Tables of pandas and of polars: columns out of them, and columns into one. Polars is optional."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from minisasrec.errors import DataError

LIBRARIES = "pandas", "polars"


def library(value: Any) -> str:
    """ "pandas" or "polars" for a table or a column of theirs, else ""."""
    name = type(value).__module__.partition(".")[0]
    return name if name in LIBRARIES else ""


def installed(library: str) -> str:
    """A library that is named in a file, or "" where there is none of that name."""
    return library if library in LIBRARIES and find_spec(library) else ""


def is_frame(value: Any) -> bool:
    """Whether it is a table of pandas or polars. Raises `DataError` for a lazy one of polars."""
    if library(value) == "polars" and type(value).__name__ == "LazyFrame":
        raise DataError("a lazy frame holds no rows yet: give its .collect()")
    return bool(library(value)) and hasattr(value, "columns")


def has_column(frame: Any, name: str) -> bool:
    """Whether a table has a column of this name."""
    return _position(frame, name) is not None


def _position(frame: Any, name: str) -> int | None:
    """Where the column is; a name may be a number: the columns of a table without a header."""
    return next((i for i, column in enumerate(frame.columns) if str(column) == name), None)


def column(frame: Any, name: str, what: str) -> list[Any]:
    """A column as a list. Raises `DataError` with the names of those that there are."""
    position = _position(frame, name)
    if position is None:
        there = ", ".join(map(str, frame.columns)) or "none"
        raise DataError(f"{what} has no column {name!r}; its columns are {there}; rename one")
    if (same := sum(str(other) == name for other in frame.columns)) > 1:
        raise DataError(f"{what} has {same} columns called {name!r}; drop or rename all but one")
    return frame[frame.columns[position]].to_list()


def make_frame(columns: Mapping[str, Sequence[Any] | np.ndarray], library: str) -> Any:
    """A table of pandas, or of polars if `library` says so."""
    if library != "polars":
        return import_module("pandas").DataFrame(dict(columns))
    import polars

    made = []
    for name, values in columns.items():
        objects = np.asarray(values)
        if objects.dtype != object:
            made.append(polars.Series(name, objects))
        elif len(objects):  # not as Objects, which cannot be joined or written; mixed ids are text
            made.append(polars.Series(name, objects.tolist(), strict=False))
        else:  # a column of texts without a row says nothing of its type
            made.append(polars.Series(name, [], polars.String))
    return polars.DataFrame(made)
