"""Frames in memory: pandas, polars, others with Arrow's C stream or the interchange protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minisasrec.data.builder import Block
from minisasrec.data.columns import index_name
from minisasrec.data.values import as_objects, spread
from minisasrec.errors import DataError

ROWS = 200_000  # rows that are worked on at a time


def is_frame(data: Any) -> bool:
    """Whether ``data`` is a table in memory, and not the name of one."""
    return (
        hasattr(data, "__arrow_c_stream__")
        or hasattr(data, "__dataframe__")
        or hasattr(data, "collect_schema")  # a polars.LazyFrame
        or isinstance(data, Mapping)
    )


class FrameTable:
    """A frame as a `Table`, a block of rows at a time; nothing is copied whole."""

    typed = True

    def __init__(self, frame: Any, name: str = "the frame") -> None:
        """Any frame that `is_frame`. DataError for one that cannot be used."""
        self.name = name
        self.frame, self.names, self.length = _opened(frame)
        self.facts: dict[str, str] = {}
        self.notes: list[str] = []

    def sample(self) -> Sequence[Sequence[Any]]:
        """Values of each column; see `Table`."""
        rows = spread(self.length)
        columns = (self._column(p, rows).tolist() for p in range(len(self.names)))
        return [[str(v) if hasattr(v, "isoformat") else v for v in c] for c in columns]

    def blocks(self, kinds: Mapping[int, str]) -> Iterator[Block]:
        """All rows; see `Table`."""
        for first in range(0, self.length, ROWS):
            columns = {p: self._column(p, slice(first, first + ROWS)) for p in kinds}
            yield Block(columns, lambda row, first=first: f"row {first + row}")  # type: ignore[misc]

    def _column(self, position: int, rows: slice | list[int]) -> NDArray[Any]:
        if hasattr(self.frame, "iloc"):
            return pandas_column(self.frame.iloc[rows, position])
        if hasattr(self.frame, "get_column"):  # polars without Arrow
            values = self.frame.get_column(self.names[position])[rows].to_list()
            return as_objects([str(v) if hasattr(v, "isoformat") else v for v in values])
        column = self.frame.column(position)
        return arrow_column(column[rows] if isinstance(rows, slice) else arrow_rows(column, rows))


def _opened(frame: Any) -> tuple[Any, list[Any], int]:
    import pandas

    if hasattr(frame, "collect_schema") and hasattr(frame, "collect"):
        if not hasattr(frame, "get_column"):
            raise DataError("a lazy frame holds no rows yet: give its .collect()")
    if isinstance(frame, Mapping):
        try:  # arrays, for columns that are pandas Series would be matched by their index
            frame = pandas.DataFrame({k: getattr(v, "array", v) for k, v in frame.items()})
        except ValueError as error:
            raise DataError(f"the columns make no table: {error}") from error
    if isinstance(frame, pandas.DataFrame):
        frame = _without_index(frame)
        return frame, list(frame.columns), len(frame)
    if hasattr(frame, "to_frame") and not hasattr(frame, "columns"):
        raise DataError("one column is no table: give a frame with a user, an item and a time")
    try:
        import pyarrow

        if hasattr(frame, "__arrow_c_stream__"):
            try:
                table = pyarrow.table(frame)
                return table, table.column_names, table.num_rows
            except (pyarrow.ArrowException, ValueError) as error:  # such as polars' Int128
                if not hasattr(frame, "get_column"):
                    raise DataError(
                        f"a column of the frame has a type that Arrow lacks ({error}): cast it, "
                        "or leave it out"
                    ) from error
    except ImportError:
        pass
    if hasattr(frame, "get_column"):
        return frame, list(frame.columns), len(frame)
    if hasattr(frame, "__dataframe__"):
        frame = pandas.api.interchange.from_dataframe(frame)
        return frame, list(frame.columns), len(frame)
    raise DataError(
        f"cannot read a {type(frame).__name__} without pyarrow: pip install pyarrow, or give a "
        "pandas frame"
    )


def _without_index(frame: Any) -> Any:
    """The levels of the index that have a name, or times, as columns."""
    import pandas

    index = frame.index
    if isinstance(index, pandas.DatetimeIndex) and index.name is None:
        return frame.reset_index(names=index_name(frame.columns))
    names = [] if isinstance(index, pandas.RangeIndex) else list(index.names)
    if not any(name is not None for name in names):
        return frame
    # set_index(..., drop=False) leaves the column where it was
    twice = [level for level, name in enumerate(names) if name in frame.columns]
    frame = frame.reset_index(level=twice, drop=True) if twice else frame
    return frame if len(twice) == len(names) else frame.reset_index()


def pandas_column(series: Any) -> NDArray[Any]:
    """A pandas column of any type as whole numbers, floats, datetime64 in UTC, or objects."""
    import pandas

    if isinstance(series.dtype, pandas.CategoricalDtype):
        # whole numbers have no place for a missing one
        whole = series.cat.categories.dtype.kind in "iu" and series.isna().any()
        series = series.astype(object if whole else series.cat.categories.dtype)
    if isinstance(series.dtype, pandas.DatetimeTZDtype):
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "iufM":
        return np.asarray(series)
    if pandas.api.types.is_integer_dtype(dtype) and not series.isna().any():
        unsigned = pandas.api.types.is_unsigned_integer_dtype(dtype)
        return series.to_numpy(dtype=np.uint64 if unsigned else np.int64)
    if getattr(dtype, "kind", "O") == "M":
        return np.asarray(series.to_numpy(dtype="datetime64[us]"))
    values = series.astype(object).tolist()
    return as_objects([str(v) if hasattr(v, "isoformat") and v == v else v for v in values])


def arrow_rows(column: Any, rows: Sequence[int]) -> Any:
    """Some rows of an Arrow column. Its own `take` lacks types such as polars' text."""
    import pyarrow

    pieces = [column[i : i + 1] for i in rows]
    if isinstance(column, pyarrow.ChunkedArray):
        pieces = [chunk for piece in pieces for chunk in piece.chunks]
    return pyarrow.chunked_array(pieces, column.type)


def arrow_column(column: Any) -> NDArray[Any]:
    """An Arrow column of any type as `pandas_column` gives it."""
    import pyarrow
    from pyarrow import types

    if isinstance(column, pyarrow.ChunkedArray):
        column = column.combine_chunks()
    if types.is_dictionary(column.type):
        values = as_objects([*arrow_column(column.dictionary).tolist(), None])
        codes = column.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False)
        return np.asarray(values[codes])
    if types.is_timestamp(column.type) or types.is_date(column.type):
        micros = column.cast(pyarrow.timestamp("us"), safe=False)
        return np.asarray(micros.to_numpy(zero_copy_only=False)).astype("datetime64[us]")
    if types.is_integer(column.type) and not column.null_count:
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if types.is_floating(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    return as_objects([str(v) if hasattr(v, "isoformat") else v for v in column.to_pylist()])
