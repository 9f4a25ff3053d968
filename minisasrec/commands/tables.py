"""Tables in and out of the commands: lists of ids from a file, recommendations to one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from minisasrec.border import reading, rename, unfinished
from minisasrec.data.files import Source
from minisasrec.data.readers import read_column
from minisasrec.errors import ConfigError, TrainingError

ENDINGS = (".parquet", ".csv", ".jsonl")
TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".xlsx")


def read_ids(file: Path, column: str | None = None) -> list[str]:
    """Item ids from a file: one a line, or a column of a table (csv, tsv, parquet, jsonl, xlsx).

    The column is `column` (that of the log which was trained on), or "item", or called as items
    usually are, or the only one. Raises `DataError`.
    """
    with reading(file, wrong=f"{file} is no list of ids, or damaged", advice="save it again"):
        if Source(file).name.endswith(TABLES):  # or .csv.gz
            return read_column(Source(file), (column, "item"))
        text = "".join(block for _, block in Source(file).text())
        return [line.strip() for line in text.splitlines() if line.strip()]


def require_parquet() -> Any:
    """pyarrow, or a `ConfigError` that says how to get it."""
    try:
        return import_module("pyarrow")
    except ImportError:
        raise ConfigError(
            'parquet needs pyarrow, which is not installed: pip install "minisasrec[data]"; csv '
            "and jsonl need nothing"
        ) from None


def check_ending(file: Path) -> None:
    """Raise `ConfigError` for a file that cannot be written, before anything is computed."""
    if file.suffix.lower() not in ENDINGS:
        raise ConfigError(f"--out is {file}; its ending says the format: {', '.join(ENDINGS)}")
    if file.suffix.lower() == ".parquet":
        require_parquet()
    if file.exists() and not file.is_file():  # the table would take its place
        kind = "a folder" if file.is_dir() else "a pipe or a device"
        raise ConfigError(f"--out is {file}, which is {kind}; give the name of a file")


class Writer:
    """Tables of the same columns, one after the other, into one file."""

    def __init__(self, stream: IO[bytes], ending: str) -> None:
        self.stream, self.ending = stream, ending
        self.rows = 0
        self._parquet: Any = None

    def write(self, table: Any) -> None:
        """Add a table of pandas."""
        if self.ending == ".parquet":
            self._write_parquet(table)
        elif self.ending == ".csv":
            text = table.to_csv(index=False, header=not self.stream.tell(), lineterminator="\n")
            self.stream.write(text.encode())
        elif len(table):
            text = table.to_json(orient="records", lines=True, force_ascii=False)
            self.stream.write((text.rstrip("\n") + "\n").encode())
        self.rows += len(table)

    def _write_parquet(self, table: Any) -> None:
        arrow, parquet = require_parquet(), import_module("pyarrow.parquet")
        if self._parquet is None:  # types that hold for an empty table as for a full one
            kinds = {"title": arrow.string(), "score": arrow.float32(), "rank": arrow.int64()}
            fields = [
                (name, kinds.get(name) or _arrow_type(arrow, table[name])) for name in table.columns
            ]
            self._parquet = parquet.ParquetWriter(self.stream, arrow.schema(fields))
        schema = self._parquet.schema
        self._parquet.write_table(arrow.Table.from_pandas(table, schema, preserve_index=False))

    def close(self) -> None:
        """Write what the format needs at its end."""
        if self._parquet is not None:
            self._parquet.close()


def _arrow_type(arrow: Any, column: Any) -> Any:
    whole = {"i": arrow.int64(), "u": arrow.uint64()}
    return whole.get(column.dtype.kind, arrow.string())


@contextmanager
def writing(file: Path) -> Iterator[Writer]:
    """A writer whose file appears whole, under its name, at the end of this block, or not at all.

    Raises `TrainingError` if it cannot be written; an earlier file of that name is then still
    there.
    """
    try:
        with unfinished(file) as part:
            with part.open("wb") as stream:
                writer = Writer(stream, file.suffix.lower())
                yield writer
                writer.close()
            rename(part, file)
    except OSError as error:
        raise TrainingError(f"cannot write {file}: {error.strerror or error}") from None
