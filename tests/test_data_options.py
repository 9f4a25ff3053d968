"""The rules for fields, and the options that say how a log is read, the same for all formats."""

from __future__ import annotations

import dataclasses
import gzip
import inspect
import json
import os
import re
import time
import warnings
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pandas
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from minisasrec.commands.cli import run_command
from minisasrec.data import Dataset, DataWarning, files, load_dataset
from minisasrec.data.__main__ import main as data_command
from minisasrec.data.options import Condition, ReadingOptions
from minisasrec.data.times import TimeColumn, kind_of, one_unit
from minisasrec.data.values import MISSING, Unusable
from minisasrec.errors import ConfigError, DataError
from minisasrec.learn.config import from_json
from minisasrec.train import main as train_command
from minisasrec.train import parse


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def load(data: Any, **options: Any) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return load_dataset(data, progress=False, **{"min_actions": 0, **options})


def sequences(dataset: Dataset) -> dict[str, list[str]]:
    return {
        user: [dataset.item_ids[i] for i in dataset.sequence(u)]
        for u, user in enumerate(dataset.user_ids)
    }


# --- one log in every form -----------------------------------------------------------------------

LETTERS = st.characters(codec="utf-8", exclude_categories=("C", "Z"), include_characters=" ")
# an accent is read as one letter or as two: test_what_is_odd_is_read_as_it_is_meant
TEXT = st.text(LETTERS, min_size=1, max_size=8).map(lambda t: normalize("NFC", t.strip()))
# 7.0 is 7 where all ids are whole numbers: test_whole_floats_zeros_and_blanks
ID = st.integers(0, 10**9).map(str) | TEXT.filter(
    lambda text: (
        text not in MISSING
        and not re.fullmatch(r"-?[0-9]+(\.0*|,0{1,2})", text)
        and not re.fullmatch('".*"', text)
    )  # with tabs between, it may be a quoted field
)
ROWS = st.lists(st.tuples(ID, ID, TEXT), min_size=1, max_size=12)
HARD = [("#1", "=1+2", "#x"), ("-1", '"', 'c"d'), ("'", "a,b", "e;f"), ("007", "\\", "NULL 1")]


@given(ROWS, st.data())
@example(HARD, None)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_log_is_the_same_in_every_form(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, str]],
    data: st.DataObject | None,
) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pytest.importorskip("openpyxl")
    polars = pytest.importorskip("polars")
    folder = tmp_path_factory.mktemp("log")
    count = len(rows)
    when = data.draw(st.permutations(range(count))) if data else [*reversed(range(count))]
    titles = {i: f"{title} no. {n}".strip() for n, (_, i, title) in enumerate(rows)}
    frame = pandas.DataFrame(
        [(u, i, 1_600_000_000 + t, titles[i]) for (u, i, _), t in zip(rows, when, strict=True)],
        columns=["user", "item", "time", "title"],
    )
    want: dict[str, list[str]] = {}
    for _, (u, i, _) in sorted(zip(when, rows, strict=True)):
        want.setdefault(u, []).append(i)
    frame.to_csv(folder / "a.csv", index=False)
    frame.to_csv(folder / "b.csv", sep=";", index=False, quoting=1, lineterminator="\r\n")
    frame.to_csv(folder / "c.csv.gz", index=False, encoding="utf-16")
    plain = [frame.columns, *frame.to_numpy().tolist()]  # quotes are letters where tabs separate
    write(folder / "a.tsv", "\n".join("\t".join(map(str, row)) for row in plain))
    frame.to_json(folder / "a.jsonl", orient="records", lines=True)
    frame.to_parquet(folder / "a.parquet")
    write_sheet(folder / "a.xlsx", frame)
    for form in [*sorted(folder.iterdir()), frame, polars.from_pandas(frame),
                 polars.from_pandas(frame).to_arrow(), frame.to_dict("list")]:  # fmt: skip
        dataset = load(form)
        assert sequences(dataset) == want, form
        assert dataset.titles is not None, form
        assert dict(zip(dataset.item_ids[1:], dataset.titles[1:], strict=True)) == titles, form


def write_sheet(path: Path, frame: Any) -> None:
    """As `to_excel`, but a text that begins with = stays a text and is no formula."""
    import openpyxl

    book = openpyxl.Workbook()
    for number, row in enumerate([[*frame.columns], *frame.to_numpy().tolist()], 1):
        for column, value in enumerate(row, 1):
            cell = book.active.cell(number, column, value)
            if isinstance(value, str):
                cell.data_type = "s"
    book.save(path)


# --- fields --------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", sorted(MISSING - {""}))
@pytest.mark.parametrize("form", ["csv", "jsonl", "frame"])
def test_what_stands_for_nothing_is_no_id(tmp_path: Path, word: str, form: str) -> None:
    rows = [("1", "a", 1), (f" {word}", "b", 2), ("1", word, 3)]
    if form == "frame":
        data: Any = dict(
            zip(("user", "item", "time"), map(list, zip(*rows, strict=True)), strict=True)
        )
    elif form == "csv":
        text = "user,item,time\n" + "".join(f"{u},{i},{t}\n" for u, i, t in rows)
        data = write(tmp_path / "a.csv", text)
    else:
        lines = (json.dumps(dict(user=u, item=i, time=t)) for u, i, t in rows)
        data = write(tmp_path / "a.jsonl", "\n".join(lines))
    with pytest.raises(DataError, match="the user id is missing .column 'user': .*--drop-missing"):
        load(data)
    dataset = load(data, drop_missing=True)
    assert sequences(dataset) == {"1": ["a"]}
    assert any(note.startswith("2 of 3 rows were left out, since") for note in dataset.warnings)


def test_a_row_of_nothing_is_passed_over_and_a_file_of_such_rows_is_not(tmp_path: Path) -> None:
    text = "user,item,time\n1,a,1\n,,\n\n1,b,2\n , ,\n"
    assert sequences(load(write(tmp_path / "a.csv", text))) == {"1": ["a", "b"]}
    path = write(tmp_path / "a.csv", "user,item,time\nNA,a,1\n")
    with pytest.raises(DataError, match="a field is missing in every row; the first is line 2"):
        load(path, drop_missing=True)


@pytest.mark.parametrize(
    ("ids", "read", "note"),
    [
        (["7.0", "7", "8.0"], ["7", "8"], None),
        (["7.0", "7", "v"], ["7", "7.0", "v"], "'7' and '7.0' are two ids, since others, such as"),
        (["007", "7.0", "7"], ["7", "007"], None),
        (["1.5", "2.0"], ["1.5", "2.0"], None),
        (["a ", " a", "A", "\u00a0a"], ["A", "a"], None),
        (["007", "07", "7"], ["7", "07", "007"], None),
    ],
)
def test_whole_floats_zeros_and_blanks(
    tmp_path: Path, ids: list[str], read: list[str], note: str | None
) -> None:
    path = write(tmp_path / "a.csv", "user,item\n" + "".join(f"{i},1\n" for i in ids))
    dataset = load(path)
    assert sorted(dataset.user_ids) == sorted(read)
    assert (note is not None) == any(note in text for text in dataset.warnings if note)


def test_a_float_that_lost_digits_is_refused() -> None:
    frame = {"user": [541312140123456789.0, 1.0], "item": [1, 2]}
    with pytest.raises(DataError, match="such large numbers lose digits as floats; read as text"):
        load(frame)


# --- times ---------------------------------------------------------------------------------------


def seconds(*texts: str, time_format: str | None = None) -> list[float]:
    column = TimeColumn(time_format)
    for text in texts:  # each in a block of its own
        problem = column.add(np.array([text], dtype=object))
        assert problem is None, problem
    return list(column.result()[0])


NOON = 1_717_156_800  # 2024-05-31 12:00 UTC


@pytest.mark.parametrize(
    "text",
    ["2024-05-31 12:00:00", "2024-05-31T12:00Z", "2024-05-31 12:00:00 UTC", "20240531T120000Z",
     "2024-05-31T14:00:00+02:00", "2024-05-31 14:00 +0200", "2024/05/31 12:00", "31.05.2024 12:00",
     "31.5.24 12:00", "5/31/2024 12:00", "05/31/2024 12:00:00 PM", "31/05/2024 12:00:00.000",
     "31-05-2024 12:00", "Fri, 31 May 2024 12:00:00 GMT", "Fri May 31 12:00:00 +0000 2024",
     "Fri May 31 12:00:00 2024", "31-May-2024 12:00", "May 31, 2024 12:00 PM", "1717156800",
     "31 May 2024, 12:00", "2024-05-31T14:00:00+02:00[Europe/Berlin]", "2024-05-31 12:00:00,000"],
)  # fmt: skip
def test_spellings_of_a_time(text: str) -> None:
    assert seconds(text) == [NOON]
    assert kind_of([text]) == "moment"


def test_day_and_month_are_told_by_the_whole_column() -> None:
    assert seconds("05/06/2024", "13/06/2024") == seconds("2024-06-05", "2024-06-13")
    assert seconds("05/06/2024", "06/13/2024") == seconds("2024-05-06", "2024-06-13")
    assert seconds("06/06/2024") == seconds("2024-06-06")  # either way
    assert seconds("1/2/2024", time_format="month-first") == seconds("2024-01-02")
    assert seconds("1/2/2024", time_format="day-first") == seconds("2024-02-01")
    assert seconds("01|02|24", time_format="%d|%m|%y") == seconds("2024-02-01")
    with pytest.raises(Exception, match="every one fits both: say which by --time-format day-fir"):
        seconds("05/06/2024", "06/05/2024")


@pytest.mark.parametrize("text", ["13/13/2024", "31 Mai 2024", "soon", "Fri May 31 12:00 CEST 2024",
                                  "2024-W22", "-1", "inf", "2024-02-30", "True"])  # fmt: skip
def test_what_is_no_time(text: str) -> None:
    problem = TimeColumn().add(np.array([text], dtype=object))
    assert problem is not None and problem[1].startswith(
        "the time must be a number >= 0, or a date"
    )


def test_units_are_put_right_or_told() -> None:
    times = np.array([1.5e9, 1.6e12, 1.7e15, 1.8e18])
    right, notes = one_unit(times)
    assert right.tolist() == pytest.approx([1.5e9, 1.6e9, 1.7e9, 1.8e9])
    assert notes == ["times are in more than one unit and were put right: 1 in seconds, 1 in "
                     "milliseconds, 1 in microseconds, 1 in nanoseconds"]  # fmt: skip
    for odd in ([0, 1_600_000_000], [1.6e9, 1.6e12, 5e10]):
        same, notes = one_unit(np.array(odd))
        assert same.tolist() == odd and notes[0].startswith("times are a hundredfold apart")
    for usual in ([1.0, 2, 900], [1.5e9, 1.6e9], [1.5e12, 1.6e12], [20_240_101, 20_241_231], []):
        assert one_unit(np.array(usual))[1] == []


def test_a_time_of_day_goes_with_its_day(tmp_path: Path) -> None:
    rows = [("2024-05-02", "09:30"), ("2024-05-01", "23:59"), ("2024-05-02", "10:15")]
    for day, clock in (("date", "time"), ("visit_date", "hour"), ("eventdate", "clock")):
        text = f"user,item,{day},{clock}\n" + "".join(
            f"a,{n},{d},{c}\n" for n, (d, c) in enumerate(rows)
        )
        dataset = load(write(tmp_path / "a.csv", text))
        assert sequences(dataset) == {"a": ["1", "0", "2"]}
        assert any("with the time of day in" in note for note in dataset.warnings)
        assert dataset.times is not None and dataset.times[0] == 1_714_607_940  # 23:59 that day


# --- columns -------------------------------------------------------------------------------------


def test_another_time_and_another_user_are_named(tmp_path: Path) -> None:
    text = "user_id,customer_id,item,time,delivered_at\n1,9,a,1600000000,2020-05-01\n2,9,b,7,NA\n"
    notes = load(write(tmp_path / "a.csv", text)).warnings
    assert any("the user is the column 'user_id'; 'customer_id' could be" in n for n in notes)
    assert any(
        "the time is the column 'time'; 'delivered_at' looks like a time" in n for n in notes
    )
    text = "user,item,when\n1,a,2020-05-01 10:00\n"
    notes = load(write(tmp_path / "a.csv", text)).warnings
    assert any("'when' looks like one: --time-column when (time_column='when')" in n for n in notes)


def test_advice_is_that_of_the_form(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "alice,apple\nbob,pear\n")
    with pytest.raises(
        DataError, match="one of: alice, apple; if the first line holds no names, g"
    ):
        load(path)
    with pytest.raises(DataError, match="one of: 0, 1$"):
        load({0: [1], 1: [2]})
    path = write(tmp_path / "a.json", '[{"user": 1, "item": 2}, 3]' + " " * (16 << 20))
    with pytest.raises(DataError, match=r"to_json\(orient='records', lines=True\)$"):
        load(path)
    path = write(tmp_path / "a.tsv", '"user"\t"item"\n"1"\t"a\tb"\n')
    assert load(path).item_ids == ["<pad>", "a\tb"]


def test_a_missing_column_is_guessed_at(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "client,item\n1,2\n")
    with pytest.raises(DataError, match="no column 'clint' for user_column: did you mean 'client'"):
        load(path, user_column="clint")


WAYS = ["%m.%d.%Y %H:%M", "%H:%M:%S %m/%d/%Y", "%m/%d/%Y", "%m-%d-%y %H:%M", "%m_%d_%Y", "%m %d %Y"]


@pytest.mark.parametrize("way", WAYS)
def test_a_late_date_says_how_the_early_ones_are_meant(way: str) -> None:
    """Times come in blocks, and only the second has a day above 12."""
    blocks = (
        pandas.date_range("2024-01-01", "2024-01-10"),
        pandas.date_range("2024-01-11", "2024-01-31"),
    )
    column = TimeColumn()
    for block in blocks:
        assert column.add(block.strftime(way).to_numpy(object)) is None
    times, _ = column.result()
    want = pandas.date_range("2024-01-01", "2024-01-31").astype("datetime64[s]").astype("int64")
    assert times.tolist() == want.tolist() and "month-first" in column.in_words()


@pytest.mark.parametrize("way", WAYS)
def test_dates_that_fit_both_orders(way: str) -> None:
    column, days = TimeColumn(), pandas.date_range("2024-01-01", "2024-01-10")
    assert column.add(days.strftime(way).to_numpy(object)) is None
    if "." in way:  # with dots the day is first
        assert column.result()[0][1] == pandas.Timestamp("2024-02-01").timestamp()
    else:
        with pytest.raises(Unusable, match="the day first or the month first"):
            column.result()


def test_after_the_year_comes_the_month() -> None:
    column = TimeColumn()
    assert column.add(np.array(["10:00 2024-05-06", "11:00 2024-05-07"], object)) is None
    assert column.result()[0][0] == pandas.Timestamp("2024-05-06 10:00").timestamp()


# --- options -------------------------------------------------------------------------------------

EVENTS = 'user,item,event,rating\n1,a,view,5\n1,b,buy,4.0\n2,a,buy,\n2,c,BUY,3\n2,d,cart,"4,5"\n'


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ("event=buy", {"1": ["b"], "2": ["a"]}),
        ("event=buy,cart", {"1": ["b"], "2": ["a", "d"]}),
        ("event != view", {"1": ["b"], "2": ["a", "c", "d"]}),
        (("event!=view", "rating>=4"), {"1": ["b"], "2": ["d"]}),
        (["rating=4"], {"1": ["b"]}),
        ("rating<4", {"2": ["c"]}),
        ("rating>4.2", {"1": ["a"], "2": ["d"]}),
    ],
)
def test_where(tmp_path: Path, where: Any, left: dict[str, list[str]]) -> None:
    dataset = load(write(tmp_path / "a.csv", EVENTS), where=where)
    assert sequences(dataset) == left
    assert any("rows were left out by" in note for note in dataset.warnings)


def test_a_quoted_header_between_separators_of_two_letters(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '"user"##"item"##"time"\n"u1"##"a"##3\n"u1"##"b"##2\n')
    assert sequences(load(path, separator="##")) == {"u1": ["b", "a"]}


def test_where_with_a_letter_in_its_other_spelling(tmp_path: Path) -> None:
    rows = [(f"u{k % 3}", f"i{k % 4}", ("K\u00f6ln", "Bonn")[k % 2]) for k in range(24)]
    text = "user,item,city\n" + "".join(f"{u},{i},{c}\n" for u, i, c in rows)
    path = write(tmp_path / "a.csv", text)
    for name in ("K\u00f6ln", "Ko\u0308ln"):  # one character, or a letter and two dots
        assert load(path, where=f"city={name}").num_actions == 12
        assert load(path, where=f"city!={name}").num_actions == 12


def test_where_nothing_is_left(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", EVENTS)
    with pytest.raises(
        DataError, match="no row of 5 has event=sell; the column has 'view', 'buy', "
    ):
        load(path, where="event=sell")
    with pytest.raises(DataError, match="no column 'evnt' for --where .where=.: did you mean"):
        load(path, where="evnt=buy")
    for wrong in ("event", "=x", "rating>high"):
        with pytest.raises(ConfigError, match="--where .where=. is"):
            load(path, where=wrong)
    assert Condition.parse("a=b=c").values == ("b=c",)


def test_no_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "7,1600000000,x\n7,1500000000,y\n")
    with pytest.raises(DataError, match="looks like data, not like names .*--no-header --columns"):
        load(path)
    with pytest.raises(DataError, match="name its 3 columns by --columns, for example"):
        load(path, header=False)
    with pytest.raises(DataError, match="looks like data, .*give --no-header .header=False."):
        load(path, columns="user,time,item")
    with pytest.raises(DataError, match="line 1 has 3 fields .*names 2"):
        load(path, header=False, columns="user,item")
    assert sequences(load(path, header=False, columns="user,time,item")) == {"7": ["y", "x"]}
    path = write(tmp_path / "b.csv", "user,item,time\n7,x,1\n")
    with pytest.raises(DataError, match="looks like a header .*leave out --no-header"):
        load(path, header=False, columns="user,item,time")
    assert sequences(load(path, columns="item,user,-")) == {"x": ["7"]}


def test_options_that_cannot_be_meant() -> None:
    for wrong, said in (
        ({"user_colum": "a"}, "did you mean user_column="),
        ({"filter": "twice"}, "must be one of one-pass, iterative, none, got 'twice'"),
        ({"skip_lines": -1}, "must be 0 or more, got -1"),
        ({"min_actions": "5"}, "--min-actions .min_actions=. must be int, got '5'"),
        ({"time_format": "dd.mm"}, "must be one of day-first, month-first, s, ms"),
        ({"time_format": "%Q"}, "--time-format .* is no pattern of strptime, got '%Q': 'Q' is"),
        ({"time_format": "%d %"}, "--time-format .* is no pattern of strptime, got '%d %'"),
        ({"time_format": "%d.%d"}, "--time-format .* is no pattern of strptime, got '%d.%d'"),
        ({"filter": "none", "min_actions": 5}, "--filter none .* contradict each other"),
        ({"columns": "-,-"}, "names no column"),
        ({"separator": ""}, "must be a character, got nothing"),
        ({"drop_missing": 1}, "must be bool, got 1"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            load({"user": [1], "item": [1]}, **wrong)
    with pytest.raises(DataError, match="a frame takes no separator, encoding"):
        load({"user": [1], "item": [1]}, separator=",", encoding="utf-8")
    shown = inspect.signature(load_dataset).parameters
    assert {"user_column", "where", "drop_missing", "repeats"} <= shown.keys()


@pytest.mark.parametrize("field", dataclasses.fields(ReadingOptions), ids=lambda field: field.name)
def test_a_stored_null_is_an_option_or_one_line(field: dataclasses.Field[Any]) -> None:
    """A config.json may hold null anywhere; it stands for what is not given, where that exists."""
    if field.default is None:
        assert from_json({"columns": {field.name: None}}).columns == ReadingOptions()
    else:
        with pytest.raises(ConfigError, match=f"{field.name}.*None"):
            from_json({"columns": {field.name: None}})


def test_options_of_commands_are_those_of_python(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.csv", "no\nuser;item;event\n" + "".join(
        f"{u};{i};{'buy' if i % 2 else 'view'}\n" for u in range(4) for i in range(8)) + ";1;buy\n"
    )  # fmt: skip
    told = ["--skip-lines", "1", "--separator", ";", "--where", "event=buy", "--where", "item>1",
            "--drop-missing", "--min-actions", "0", "--encoding", "utf-8"]  # fmt: skip
    assert run_command(data_command, [str(path), *told, "--dry-run"]) == 0
    out = capsys.readouterr().out
    for line in ("user user", "where event=buy, item>1", "separator ;", "encoding utf-8",
                 "user 0: 3 actions 3 5 7"):  # fmt: skip
        assert line in " ".join(out.split())
    assert run_command(train_command, ["--dataset", str(path), *told, "--dry-run"]) == 0
    assert "user 0: 3 actions 3 5 7" in " ".join(capsys.readouterr().out.split())
    assert not list(tmp_path.glob("runs*")) and not Path("runs").joinpath("a").exists()
    config = parse(["--dataset", str(path), *told])
    assert config.columns == ReadingOptions(
        skip_lines=1, separator=";", where=("event=buy", "item>1"), drop_missing=True,
        min_actions=0, encoding="utf-8",
    )  # fmt: skip
    assert run_command(data_command, [str(path), "--where", "event"]) == 2
    assert "a column, one of = != >=" in capsys.readouterr().err


# --- what is odd ---------------------------------------------------------------------------------


def test_notes_on_what_is_odd() -> None:
    users = [*range(30), *["guest"] * 10]
    frame = {"user": list(map(str, users)), "item": [n % 7 for n in range(40)], "time": [5] * 40}
    notes = load(frame).warnings
    assert any(note.startswith("user 'guest' has 25% of all actions") for note in notes)
    assert any(note.startswith("all times are equal") for note in notes)
    doubled = {k: v * 2 for k, v in {**frame, "time": list(range(40))}.items()}
    notes = load(doubled).warnings
    assert any(note.startswith("50% of the rows (40) are the same as another") for note in notes)


def test_a_user_whom_the_filter_dropped_is_told_so(tmp_path: Path) -> None:
    frame = {"user": ["a"] * 5 + ["b"] * 2, "item": ["x"] * 7}
    dataset = load(frame, min_actions=3)
    dataset.save(tmp_path)
    for data in (dataset, Dataset.load(tmp_path)):
        assert data.find_user("a") == 0
        with pytest.raises(DataError, match="user 'b' is in the source of frame, but was dropped"):
            data.find_user("b")
        with pytest.raises(DataError, match="no user 'A' in frame"):
            data.find_user("A")


# --- files ---------------------------------------------------------------------------------------


def test_encodings(tmp_path: Path) -> None:
    text = "user,item\nJosé,Œuvre\nJosé,2\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "cp1252"):
        dataset = load(write(tmp_path / "a.csv", text, encoding))
        assert sequences(dataset) == {"José": ["Œuvre", "2"]}, encoding
        assert any("was read as cp1252" in n for n in dataset.warnings) == (encoding == "cp1252")
    text = "user,item\nŁódź,1\n"
    assert load(write(tmp_path / "a.csv", text, "cp1250"), encoding="cp1250").user_ids == ["Łódź"]


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LONGEST_LINE", 1 << 20)
    line = np.random.default_rng(0).bytes(1 << 22).hex().encode()  # of a usual compression
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"user,item\n" + line, 1))
    with pytest.raises(DataError, match="line 2: it is longer than 1 MB"):
        load(tmp_path / "a.csv.gz")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(DataError, match="a.csv is not a file, but a pipe or a device"):
        load(tmp_path / "a.csv")


def test_a_sheet_is_chosen_by_its_name(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("openpyxl")
    with pandas.ExcelWriter(tmp_path / "a.xlsx") as book:
        for name, user in (("Log", "1"), ("Old", "2")):
            frame = pandas.DataFrame({"user": [user], "item": ["x"]})
            frame.to_excel(book, sheet_name=name, index=False)
    dataset = load(tmp_path / "a.xlsx")
    assert dataset.user_ids == ["1"] and any(
        "has the sheets Log, Old" in n for n in dataset.warnings
    )
    assert load(tmp_path / "a.xlsx" / "Old").user_ids == ["2"]
    with pytest.raises(DataError, match="no sheet 'New'; it has: Log, Old"):
        load(tmp_path / "a.xlsx" / "New")


def test_quoted_line_ends_do_not_shift_the_lines_of_errors(tmp_path: Path) -> None:
    text = 'user,item,note\n1,a,"two\nlines"\n1,b,"three\n\nlines"\n1,NA,x\n'
    with pytest.raises(DataError, match="a.csv line 7: the item id is missing"):
        load(write(tmp_path / "a.csv", text))


# --- small questions -----------------------------------------------------------------------------


def test_a_key_that_comes_late_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are looked for in the first block; a time that only later lines have is not read."""
    monkeypatch.setattr(files, "TEXT_BLOCK", 200)
    lines = [{"user": f"u{n % 3}", "item": f"i{n % 5}", "page": n} for n in range(40)]
    for line in lines[30:]:
        line |= {"timestamp": 5, "title": "T", "other": 1}
    path = tmp_path / "late.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.warns(DataWarning, match="first MB, and timestamp, title came later, so it was"):
        late = load_dataset(path, min_actions=0, progress=False)
    assert late.times is None and late.num_actions == 40
    path.write_text("\n".join(map(json.dumps, lines[::-1])))
    with pytest.raises(DataError, match="line 11"):  # now it is seen that some have no time
        load_dataset(path, min_actions=0, progress=False)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_read_as_its_lines_would_be(tmp_path: Path, indent: int | None) -> None:
    rows = [{"user": f"u{n % 3}", "item": n % 4, "time": 9 - n} for n in range(8)]
    lines = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    array = write(tmp_path / "a.json", json.dumps(rows, indent=indent))
    assert sequences(load(array)) == sequences(load(lines))


@pytest.mark.parametrize("text", ["[1, 2]", '[{"user": 1}, 2]', '[{"user": 1', "[]"])
def test_another_json_array_is_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(DataError, match=r"a.json.*(array of objects|no column)"):
        load(write(tmp_path / "a.json", text))


def test_a_key_that_comes_late_is_a_column(tmp_path: Path) -> None:
    rows = [{"user": n % 7, "item": n} for n in range(300)]
    rows.append({"user": 1, "item": 5, "time": 3})
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)) + "\n")
    with pytest.raises(DataError, match="line 1: the time is missing"):
        load(path)
    assert load(path, drop_missing=True).num_actions == 1


def test_a_folder_of_data_that_is_not_there_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "user,item\n1,2\n")
    with pytest.raises(DataError, match=r"data_dir \(--data-dir\) .*none is not a folder"):
        load(path, data_dir=tmp_path / "none")


def test_two_columns_that_could_be_the_item_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "user_id,asin,parent_asin\n1,a,p\n1,b,p\n2,a,p\n")
    with pytest.warns(
        DataWarning, match="item is the column 'parent_asin'; 'asin' could be the it"
    ):
        load_dataset(path, min_actions=0)
    path = write(tmp_path / "b.csv", "user_id,movie_id,movie\n1,7,Alien\n1,8,Heat\n2,7,Alien\n")
    assert not any("could be the item" in text for text in load(path).warnings)


def test_a_long_field_is_soon_told_from_a_date(tmp_path: Path) -> None:
    for text in ("2024-05-31 12:00" + ";" * 60_000, "31/5/24 " * 9_000, "May " * 20_000):
        path = write(tmp_path / "a.csv", f"user,item,time\n1,2,2024-05-31\n1,3,{text}\n")
        start = time.process_time()
        with pytest.raises(DataError, match=r"a.csv line 3: the time must be"):
            load(path)
        assert time.process_time() - start < 2


def test_whole_numbers_are_told_from_text(tmp_path: Path) -> None:
    """A frame and a Parquet file say what an id was; text, JSON and sheets do not."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pytest.importorskip("openpyxl")
    frame = pandas.DataFrame({"user": [1, 1, 2], "item": ["7", "8", "7"]})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    frame.to_excel(tmp_path / "a.xlsx", index=False)
    assert load(frame).whole == load(tmp_path / "a.parquet").whole == ("user",)
    for name in ("a.csv", "a.jsonl", "a.xlsx"):
        assert load(tmp_path / name).whole == ()
    gap = pandas.DataFrame({"user": pandas.array([1, None, 2], "Int64"), "item": [7, 8, 9]})
    assert load(gap, drop_missing=True).whole == ("user", "item")
    saved = load(frame)
    saved.save(tmp_path / "saved")
    assert Dataset.load(tmp_path / "saved").whole == ("user",)
