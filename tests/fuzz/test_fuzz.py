"""Hostile files: random ones by the driver, and those that were thought out, the bombs.

2,000 inputs here; MINISASREC_FUZZ=100000 is the number that the nightly run takes, and
MINISASREC_FUZZ_SEED other ones.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import corpus
import numpy as np
import pytest
from driver import MOST_MEMORY, MOST_SECONDS, Peak, run

from minisasrec.backends import use_backend
from minisasrec.commands.tables import read_ids
from minisasrec.data import load_dataset
from minisasrec.errors import DataError, MinisasrecError
from minisasrec.exchange.arrays import read_arrays
from minisasrec.learn.config import read_json
from minisasrec.learn.runs import Run

COUNT = int(os.environ.get("MINISASREC_FUZZ", "2000"))
SEED = int(os.environ.get("MINISASREC_FUZZ_SEED", "0"))


def test_every_file_is_data_or_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with use_backend("numpy"):
        report = run(COUNT, SEED, tmp_path)
    with capsys.disabled():
        print(f"\n{report}")
    assert report.inputs == COUNT
    assert not report.kinds, report
    assert report.read > COUNT / 20  # not everything is refused at the first byte


def test_the_driver_notices_each_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it would count if a reader were as bad as that."""

    def bad(folder: Path, choose: Any) -> None:
        what = choose.randrange(4)
        if what == 0:
            raise KeyError("x")
        if what == 1:
            error = DataError("x")
            error.args = ("two\nlines",)
            raise error
        if what == 2:
            time.sleep(0.05)
        elif sys.platform == "linux":
            np.ones(80 << 20, np.uint8)

    monkeypatch.setattr("driver.targets", lambda _: [corpus.Target("bad", {"a": b"abc"}, bad)])
    monkeypatch.setattr("driver.MOST_SECONDS", 0.04)
    monkeypatch.setattr("driver.MOST_MEMORY", 40 << 20)
    found = run(40, 1, tmp_path).kinds
    wanted = {"foreign exceptions", "bad messages", "over 5 s"}
    assert found.keys() == wanted | ({"over 500 MB"} if sys.platform == "linux" else set())


# --- bombs: small files that would fill the memory -----------------------------------------------


def repeated(piece: bytes, times: int, head: bytes = b"") -> bytes:
    """A gzip file that unpacks to `head`, and a piece again and again."""
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(head), *(packer.compress(piece) for _ in range(times))]
    return b"".join([*parts, packer.flush()])


def in_zip(name: str, content: bytes, times: int, head: bytes = b"") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open(name, "w", force_zip64=True) as file:
            file.write(head)
            for _ in range(times):
                file.write(content)
    return stream.getvalue()


def parquet(columns: dict[str, Any], times: int) -> bytes:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as module

    table = arrow.table(columns)
    stream = io.BytesIO()
    with module.ParquetWriter(stream, table.schema, compression="zstd") as writer:
        for _ in range(times):
            writer.write_table(table)
    return stream.getvalue()


def equal_rows() -> bytes:
    million = np.ones(1_000_000, np.int64)
    return parquet({"user": million, "item": million, "time": million}, 60)


def one_long_text() -> bytes:
    arrow = pytest.importorskip("pyarrow")
    rows = np.arange(400_000) % 7
    long = arrow.DictionaryArray.from_arrays(
        np.zeros(len(rows), np.int32), arrow.array(["x" * 300_000])
    )
    return parquet({"user": rows, "item": rows, "time": rows, "title": long}, 1)


def sheet(rows: str) -> bytes:
    openpyxl = pytest.importorskip("openpyxl")
    stream, out = io.BytesIO(), io.BytesIO()
    book = openpyxl.Workbook()
    book.active.append(["user", "item", "time"])
    book.active.append([1, 2, 3])
    book.save(stream)
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            part = old.read(name)
            if name.endswith("sheet1.xml"):
                part = part.replace(b"</sheetData>", rows.encode() + b"</sheetData>")
            new.writestr(name, part)
    return out.getvalue()


def npz() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, a=np.zeros(150 << 20, np.uint8))
    return stream.getvalue()


MB = b"a" * (1 << 20)
HEAD = b"user,item,time\n"
Reader = Callable[[Path], Any]


def load(path: Path) -> Any:
    return load_dataset(path, min_actions=0, progress=False)


def open_run(path: Path) -> Any:
    return Run.open(path.parent).settings()


def history(path: Path) -> Any:
    return Run(path.parent).history()


BOMBS: list[tuple[str, Callable[[], bytes], Reader]] = [
    ("line.csv.gz", lambda: repeated(MB, 600, HEAD), load),
    ("line.jsonl.gz", lambda: repeated(MB, 600, b'{"user": "'), load),
    ("line.zip", lambda: in_zip("log.csv", MB, 300, HEAD), load),
    ("rows.csv.gz", lambda: repeated(b"1,2,3\n" * 170_000, 300, HEAD), load),
    ("rows.jsonl.gz", lambda: repeated(b'{"user":1,"item":2}\n' * 50_000, 300), load),
    ("rows.zip", lambda: in_zip("log.csv", b"1,2,3\n" * 170_000, 300, HEAD), load),
    ("blank.csv.gz", lambda: repeated(b"\n" * (1 << 20), 600, HEAD), load),
    ("quote.csv.gz", lambda: repeated(b"a\n" * (1 << 19), 600, HEAD + b'"'), load),
    ("pairs.txt.gz", lambda: repeated(b"1 2\n" * (1 << 18), 300), load),
    ("sheet.xlsx.gz", lambda: repeated(MB, 600), load),
    ("table.parquet.gz", lambda: repeated(MB, 600), load),
    ("columns.csv", lambda: b"user,item" + b",x" * 3_000_000, load),
    ("columns.tsv", lambda: b"user\titem" + b"\tx" * 300_000 + b"\n", load),
    ("fields.csv", lambda: HEAD + b"," * 5_000_000, load),
    ("field.csv", lambda: HEAD + b'1,2,"' + b"x" * 50_000_000, load),
    ("newlines.csv", lambda: b"\n" * (1 << 20), load),
    ("comments.csv", lambda: b"#\n" * (1 << 19), load),
    ("colons.txt", lambda: b"::" * (1 << 19), load),
    ("words.txt", lambda: b"ab " * 300_000, load),
    ("lists.jsonl", lambda: b'{"user": ' + b"[" * 50_000_000, load),
    ("literal.jsonl", lambda: b"{'user': (" + b"0," * 8_000_000 + b")}", load),
    ("objects.jsonl", lambda: b'{"user": [' + b"{}," * 5_000_000 + b"1]}", load),
    ("array.json", lambda: b"[" + b"{}," * 5_000_000 + b"1]", load),
    ("rows.parquet", equal_rows, load),
    ("far.xlsx", lambda: sheet('<row r="1000000000"><c r="A1000000000"><v>1</v></c></row>'), load),
    ("wide.xlsx", lambda: sheet('<row r="3"><c r="ZZZZZZZ3"><v>1</v></c></row>'), load),
    ("many.xlsx", lambda: sheet("<row/>" * 30_000_000), load),
    ("a.npz", npz, read_arrays),
    ("ids.csv", lambda: b"item\n" + MB * 40, read_ids),
    ("ids.txt", lambda: MB * 40, read_ids),
    ("settings.json", lambda: b"[" * 3_000_000, read_json),
    ("config.json", lambda: b'{"a":' * 3_000_000, open_run),
    ("history.jsonl", lambda: b"[" * 3_000_000, history),
]


@pytest.mark.parametrize(("name", "make", "read"), BOMBS, ids=[b[0] for b in BOMBS])
def test_a_bomb_is_one_line(
    name: str, make: Callable[[], bytes], read: Reader, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(make())
    assert path.stat().st_size < 100 << 20
    peak, start = Peak(), time.process_time()
    with pytest.raises(MinisasrecError) as told:
        read(path)
    within_limits(peak, start)
    text = str(told.value)
    assert len(text) <= 500 and len(text.splitlines()) == 1 and name.split(".")[0] in text, text


def within_limits(peak: Peak, start: float) -> None:
    seconds, grown = time.process_time() - start, peak.growth()
    assert seconds < MOST_SECONDS, f"{seconds:.1f} s"
    assert grown < MOST_MEMORY, f"{grown >> 20} MB"


def test_a_long_text_in_every_row_is_in_memory_once(tmp_path: Path) -> None:
    path = tmp_path / "text.parquet"
    path.write_bytes(one_long_text())
    assert path.stat().st_size < 1 << 20
    peak, start = Peak(), time.process_time()
    assert load(path).num_actions == 400_000
    within_limits(peak, start)


def listed(path: Path) -> None:
    """Read a file that config.json lists with its SHA-256."""
    run = Run(path.parent)
    run.write_config({"files": {path.name: ["0" * 64]}})
    run.load_json(path.name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no FIFOs")
@pytest.mark.parametrize(
    ("name", "read"),
    [("log.csv", load), ("log.parquet", load), ("log.xlsx", load), ("log.jsonl", load),
     ("log.zip", load), ("ids.txt", read_ids), ("ids.parquet", read_ids), ("s.json", read_json),
     ("w.npz", read_arrays), ("w.safetensors", read_arrays), ("config.json", open_run),
     ("history.jsonl", history), ("items.json", listed)],
)  # fmt: skip
def test_a_pipe_or_a_device_is_refused(name: str, read: Reader, tmp_path: Path) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(MinisasrecError) as told:
        read(path)
    assert name in str(told.value)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(MinisasrecError):
        read(path)


def test_honest_files_that_pack_well_are_read(tmp_path: Path) -> None:
    """A log in which little happens, packed: far from the limit."""
    rows = "".join(f"{n // 50},{n % 50},{n}\n" for n in range(200_000)).encode()
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(HEAD + rows))
    assert load(tmp_path / "log.csv.gz").num_actions == 200_000
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet as module

    count = 2_000_000
    users = np.arange(count) // 1000
    items = np.random.default_rng(0).integers(0, 1000, count)
    module.write_table(arrow.table({"user": users, "item": items}), tmp_path / "log.parquet")
    assert load(tmp_path / "log.parquet").num_actions == count


def test_half_of_a_pair_is_no_letter(tmp_path: Path) -> None:
    """JSON can spell what no file can hold: it would end the writing of recommendations."""
    row = json.dumps({"user": "u", "item": "i\ud800", "time": 1})
    (tmp_path / "log.jsonl").write_text(row + "\n")
    with pytest.raises(DataError, match=r"log.jsonl line 1"):
        load(tmp_path / "log.jsonl")
