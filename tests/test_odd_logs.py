"""Logs as colleagues send them: what is odd about a file is read as it is meant, or is told."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import warnings
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from minisasrec import Recommender
from minisasrec.data import Dataset, DataWarning, build_dataset, load_dataset
from minisasrec.errors import ConfigError, DataError, MinisasrecError

HEADER = "user,item,time\n"


def load(data: Any, **options: Any) -> Dataset:
    return load_dataset(data, min_actions=0, progress=False, **options)


def sequences(dataset: Dataset) -> dict[str, list[str]]:
    return {
        user: [dataset.item_ids[i] for i in dataset.sequence(u)]
        for u, user in enumerate(dataset.user_ids)
    }


def read(path: Path, content: str | bytes, **options: Any) -> tuple[dict[str, list[str]], str]:
    """The sequences in a file with this content, and all notes."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        dataset = load(path, **options)
    return sequences(dataset), " ".join(dataset.warnings)


READ = {  # name of what is odd: a file, and what it says
    "a decimal comma in seconds": (
        "user;item;time\na;1;1600000001,5\na;2;1600000000\na;3;1600000001,25\n",
        {"a": ["2", "3", "1"]},
    ),
    "days as German Excel counts them": (
        "user;item;time\na;1;45293,75\na;2;45293,5\na;3;45292\n",
        {"a": ["3", "2", "1"]},
    ),
    "whole numbers of a database": (
        HEADER + "7.00,1.00,1\n7,2,2\n7.0,3.00,3\n",
        {"7": ["1", "2", "3"]},
    ),
    "whole numbers with a decimal comma": (
        "user;item;time\n7,00;1,0;1\n7;2;2\n",
        {"7": ["1", "2"]},
    ),
    "1,000 is no 1": (HEADER + 'a,"1,000",1\na,1,2\n', {"a": ["1,000", "1"]}),
    "an accent as a letter of its own": (
        HEADER + "a,caf\u00e9,1\na,cafe\u0301,2\n",
        {"a": ["caf\u00e9", "caf\u00e9"]},
    ),
    "marks without width": (
        HEADER + "a\u200b,x,1\n\ufeffa,\u200e y\u200f,2\na\u00a0,x,3\n",
        {"a": ["x", "y", "x"]},
    ),
    "line ends of a text file written twice": (
        "user,item,time\r\r\na,1,2\r\r\na,2,1\r\r\n",
        {"a": ["2", "1"]},
    ),
    "line ends of an old Mac and of Unix": (
        "user,item,time\ra,1,2\ra,2,1\rb,1,9\nb,2,8\n",
        {"a": ["2", "1"], "b": ["2", "1"]},
    ),
    "a time that no int64 holds": (
        HEADER + "a,1,18446744073709551615\na,2,5\n",
        {"a": ["2", "1"]},
    ),
}


@pytest.mark.parametrize("what", READ)
def test_what_is_odd_is_read_as_it_is_meant(what: str, tmp_path: Path) -> None:
    content, wanted = READ[what]
    assert read(tmp_path / "log.csv", content)[0] == wanted


@pytest.mark.parametrize("quote", ["", '"'], ids=["plain", "quoted"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "with a mark"])
@pytest.mark.parametrize("time", [True, False], ids=["time", "no time"])
def test_a_header_that_comes_again_is_no_action(
    quote: str, mark: str, time: bool, tmp_path: Path
) -> None:
    def line(*fields: str) -> str:
        return ",".join(f"{quote}{f}{quote}" for f in (fields if time else fields[:2])) + "\n"

    header = mark + line("user", "item", "time")
    files = header + line("a", "1", "1") + header + line("a", "2", "2") + header
    found, notes = read(tmp_path / "log.csv", files)
    assert found == {"a": ["1", "2"]} and "2 line(s) repeat the header" in notes


def test_a_line_that_is_only_like_the_header_is_an_action(tmp_path: Path) -> None:
    found, notes = read(tmp_path / "log.csv", "user,item\na,item\nuser,1\n")
    assert found == {"a": ["item"], "user": ["1"]} and "repeat" not in notes


def test_ids_that_a_spreadsheet_has_shortened_are_told(tmp_path: Path) -> None:
    _, notes = read(tmp_path / "log.csv", HEADER + "a,4.00638E+12,1\na,12,2\n")
    assert "items: ids such as '4.00638E+12'" in notes
    _, notes = read(tmp_path / "log.csv", HEADER + "a,E+12,1\na,E+,2\n")
    assert "spreadsheet" not in notes


def packed(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("log.csv", HEADER)
    else:
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("log.csv"))
    return buffer.getvalue()


FOREIGN = {
    "bzip2": (bz2.compress(HEADER.encode()), "bunzip2"),
    "xz": (lzma.compress(HEADER.encode()), "unxz"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x00", "unzstd"),
    "zip": (packed("zip"), ".zip or .xlsx"),
    "tar": (packed("tar"), "tar -xf"),
    "parquet": (b"PAR1\x15\x04\x15", ".parquet"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ".xlsx"),
    "pickle": (b"\x80\x04\x95\x00", "never read"),
    "html": (b"\n<!DOCTYPE html>\n<html>", "a web page"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
}


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.dat", "log.bin", "log"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_that_is_no_text_is_called_what_it_is(kind: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FOREIGN[kind][0])
    with pytest.raises(DataError, match=name) as told:
        load(tmp_path / name)
    assert FOREIGN[kind][1] in str(told.value) and "--encoding" not in str(told.value)


@pytest.mark.parametrize("date", ["9999-12-31", "1970-01-01 00:00:00", "0001-01-01", "2100-01-01"])
def test_dates_of_nothing_are_told(date: str, tmp_path: Path) -> None:
    content = HEADER + f"a,1,2024-01-02\na,2,{date}\na,3,1970-01-02\na,4,2024-01-01\n"
    notes = read(tmp_path / "log.csv", content)[1]
    assert f"1 row(s) have dates such as {date[:10]}" in notes
    assert "dates such as" not in read(tmp_path / "log.csv", content, where=f"time!={date}")[1]


def test_hours_played_are_no_time_of_day(tmp_path: Path) -> None:
    """Steam: the rows of a day keep their order, and a row may lack its hours."""
    rows = [("10", 5.0), ("20", 0.5), ("30", None)]
    content = "".join(
        f"{{'username': 'a', 'product_id': '{item}', 'hours': {hours}, 'date': '2018-01-02'}}\n"
        for item, hours in rows
    )
    found, notes = read(tmp_path / "reviews.json", content)
    assert found == {"a": ["10", "20", "30"]} and "hours" not in notes
    hour = "user,item,date,hour\na,1,2024-01-02,10\na,2,2024-01-02,9\na,3,2024-01-01,23\n"
    assert read(tmp_path / "hour.csv", hour)[0] == {"a": ["3", "2", "1"]}


def test_an_item_called_padding_is_one_line(tmp_path: Path) -> None:
    content = HEADER + "a,<pad>,1\na,2,2\n"
    with pytest.raises(DataError, match="stands for padding: leave such rows out"):
        read(tmp_path / "log.csv", content)
    assert read(tmp_path / "log.csv", content, where="item!=<pad>")[0] == {"a": ["2"]}


def test_json_lines_may_be_called_ndjson(tmp_path: Path) -> None:
    assert read(tmp_path / "log.ndjson", '{"user": 1, "item": 2}\n')[0] == {"1": ["2"]}


@pytest.mark.parametrize("inside", ["zip", "folder"])
def test_an_error_names_a_few_of_many_files(inside: str, tmp_path: Path) -> None:
    names = [f"part-{i:05}.csv" for i in range(300)]
    place = tmp_path / "parts.zip"
    if inside == "zip":
        with zipfile.ZipFile(place, "w") as archive:
            for name in names:
                archive.writestr(name, HEADER)
    else:
        place = tmp_path / "parts"
        place.mkdir()
        for name in names:
            (place / name).write_text(HEADER, encoding="utf-8")
    with pytest.raises(DataError, match="and 290 more") as told:
        load(place)
    assert len(str(told.value)) < 500 + len(str(place)) * 2


def test_no_name_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log.csv").write_text(HEADER + "a,1,1\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load(".").num_actions == 1
    with pytest.raises(DataError, match="no name"):
        load("")  # such as "$FILE" where it is not set


# --- types of columns -----------------------------------------------------------------------------


@pytest.mark.parametrize("condition", ["bought=true", "bought=True", "bought!=false"])
@pytest.mark.parametrize("form", ["frame", "csv", "jsonl", "parquet", "object"])
def test_where_takes_truth_values(form: str, condition: str, tmp_path: Path) -> None:
    log = pd.DataFrame({"user": "a", "item": [1, 2, 3], "bought": [True, False, True]})
    data: Any = log if form == "frame" else tmp_path / f"log.{form}"
    if form == "csv":
        log.to_csv(data, index=False)
    elif form == "jsonl":
        log.to_json(data, orient="records", lines=True)
    elif form == "parquet":
        pytest.importorskip("pyarrow")
        log.to_parquet(data)
    elif form == "object":
        data = log.astype({"bought": object})
    assert sequences(load(data, where=condition)) == {"a": ["1", "3"]}


def test_where_still_refuses_lists() -> None:
    with pytest.raises(DataError, match=r"row 1.*list.*'kind'"):
        load(pd.DataFrame({"user": "a", "item": [1, 2], "kind": [True, ["x"]]}), where="kind=true")


@pytest.mark.parametrize("form", ["frame", "parquet"])
def test_short_floats_hold_fewer_digits(form: str, tmp_path: Path) -> None:
    """float32 has every whole number up to 2**24, and only every second one from there on."""

    def given(**columns: Any) -> Any:
        log = pd.DataFrame({"user": "a", "item": [1, 2, 3], **columns})
        if form == "frame":
            return log
        pytest.importorskip("pyarrow")
        log.to_parquet(tmp_path / "log.parquet")
        return tmp_path / "log.parquet"

    exact = np.array([2**24 - 1, 5, 2**24 - 1], np.float32)
    assert sequences(load(given(item=exact))) == {"a": ["16777215", "5", "16777215"]}
    lost = np.array([2**24 + 1, 5, 2**24], np.float32)
    with pytest.raises(DataError, match="row 0: the item is 16777216.0.*lose digits"):
        load(given(item=lost))
    times = np.array([1_600_000_050, 1_600_000_000, 1_600_009_999], np.float32)
    with pytest.warns(DataWarning, match="to the nearest 128 only"):
        load(given(time=times))
    prices = np.array([0.1, 0.2, 0.1], np.float32)  # 0.1 is 0.10000000149 as a long one
    found = load(given(price=prices), where="price<=0.1")
    assert sequences(found) == {"a": ["1", "3"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        assert sequences(load(given(time=np.array([3, 1.5, 2], np.float32)))) == {
            "a": ["2", "3", "1"]
        }


def test_decimals_of_a_database_are_whole_numbers() -> None:
    items = [Decimal("3.00"), Decimal("1.00"), 3]
    assert sequences(load({"user": ["a"] * 3, "item": items})) == {"a": ["3", "1", "3"]}


def test_titles_find_their_ids_however_these_are_written() -> None:
    cases = (
        (["1.00", "2", "3"], {1: "A", "2.00": "B", "3": "C"}),
        (["1.00", "caf\u00e9", "x"], {"1.00": "A", "cafe\u0301": "B", " x ": "C"}),
    )
    for ids, titles in cases:
        dataset = build_dataset(["a"] * 3, ids, min_actions=0, titles=titles)
        assert dataset.titles == ["<pad>", "A", "B", "C"]


def test_a_table_of_titles_may_write_numbers_otherwise(tmp_path: Path) -> None:
    for log, titles in (("10 7", "10.0 7.0"), ("10.0 7", "10 7"), ("10.0 7 x", "10 7.00 x")):
        rows = "".join(f"a\t{item}\t{n}\n" for n, item in enumerate(log.split()))
        table = "".join(f"{item}\tFilm {n}\n" for n, item in enumerate(titles.split()))
        (tmp_path / "log.item").write_text("item_id\ttitle\n" + table, encoding="utf-8")
        (tmp_path / "log.inter").write_text(
            "user_id\titem_id\ttimestamp\n" + rows, encoding="utf-8"
        )
        dataset = load(tmp_path / "log.inter")
        assert [dataset.title(i) for i in dataset.sequence(0)] == [
            f"Film {n}" for n in range(len(log.split()))
        ]


def test_whole_categories_may_be_missing() -> None:
    log = pd.DataFrame({"user": pd.Categorical([1, None, 1]), "item": [1, 2, 3]})
    with pytest.raises(DataError, match="row 1: the user id is missing"):
        load(log)
    assert sequences(load(log, drop_missing=True)) == {"1": ["1", "3"]}


def test_times_in_an_index_without_a_name_are_the_times() -> None:
    index = pd.DatetimeIndex(["2024-01-02", "2024-01-01"])
    log = pd.DataFrame({"user": "a", "item": [1, 2]}, index=index)
    assert sequences(load(log)) == {"a": ["2", "1"]}
    assert sequences(load(log.assign(time=[5, 6]), time_column="index")) == {"a": ["2", "1"]}


def test_times_in_an_index_of_a_parquet_file(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    times = pd.to_datetime(["2024-03-01", "2024-01-01", "2024-02-01"])
    log = pd.DataFrame({"user": "a", "item": [3, 1, 2]}, index=times)
    log.to_parquet(tmp_path / "log.parquet")
    assert sequences(load(tmp_path / "log.parquet")) == sequences(load(log)) == IN_ORDER
    for frame in (log.assign(event_time=[1, 2, 3]), log.assign(date=["2024-01-01"] * 3)):
        frame.to_parquet(tmp_path / "two.parquet")  # another column is the time
        assert sequences(load(tmp_path / "two.parquet")) == sequences(load(frame))
        assert sequences(load(frame)) == {"a": ["3", "1", "2"]}
    plain = log.reset_index(drop=True).set_index(np.array([9, 8, 7]))
    plain.to_parquet(tmp_path / "plain.parquet")
    assert sequences(load(tmp_path / "plain.parquet")) == {"a": ["3", "1", "2"]}


def test_the_condition_that_nothing_fulfils_is_named(tmp_path: Path) -> None:
    content = "user,item,rating,event\na,1,5,view\nb,2,4,view\n"
    for where, says in {
        ("rating>=4", "event=buy"): "no row of 2 has event=buy; the column has 'view'",
        ("rating>=5", "item=2"): "no row of 2 has all of rating>=5, item=2",
        ("event~=view",): "there is no operator ~=",
    }.items():
        with pytest.raises(MinisasrecError, match=says):
            read(tmp_path / "log.csv", content, where=where)


@pytest.mark.parametrize("encoding", ["rot13", "base64", "hex"])
def test_a_codec_that_is_none_of_text(encoding: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a text encoding"):
        read(tmp_path / "log.csv", HEADER + "a,1,1\n", encoding=encoding)


def test_histories_of_a_sequential_file_are_told(tmp_path: Path) -> None:
    content = "session_id:token\titem_id_list:token_seq\titem_id:token\ns1\ti1 i2\ti4\n"
    assert "holds lists of items, which are not read" in read(tmp_path / "s.inter", content)[1]


def test_large_numbers_as_floats_are_no_ids() -> None:
    first = 2**53 + 100
    users = [first + u for u in range(6) for _ in range(4)]
    log = pd.DataFrame({"user": users, "item": [1, 2, 3, 4] * 6})
    model = Recommender("poprec").fit(log, min_actions=0)
    with pytest.raises(DataError, match="such large numbers lose digits as floats"):
        model.recommend(users=[float(first + 1)], k=1)
    with pytest.raises(ConfigError, match="holds a set, which has no order"):
        model.recommend(histories=[{1, 2}], k=1)


def test_a_type_that_arrow_lacks_is_read_without_it() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"user": ["a"] * 2, "item": [1, 2], "other": [2, 1], "time": [1, 2]})
    for column in ("item", "other"):
        wide = frame.with_columns(polars.col(column).cast(polars.Int128))
        assert sequences(load(wide)) == {"a": ["1", "2"]}, column


@pytest.mark.parametrize("users", [5, "ab", iter([1, 2]), None])
def test_what_is_no_column_is_one_line(users: Any) -> None:
    with pytest.raises(DataError, match="the column of users is"):
        build_dataset(users, [1, 2])


def test_an_update_knows_whole_numbers_again() -> None:
    log = pd.DataFrame({"user": [1, 1, 1, 2, 2, 2], "item": [1, 2, 3, 1, 2, 4], "time": range(6)})
    more = pd.DataFrame({"user": ["1.0", "x"], "item": ["3.00", "7.0"], "time": [9, 9]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        recommender = Recommender("markov").fit(log, min_actions=0, progress=False)
        recommender.update(more, epochs=1, progress=False)
    assert recommender.user_ids == ["1", "2", "x"] and recommender.item_ids == [1, 2, 3, 4, 7]


def test_an_id_is_found_however_its_letters_are_spelled() -> None:
    rows = [(u, f"caf\u00e9 {i}") for u in "abc" for i in range(5)]
    log = pd.DataFrame(rows, columns=["user", "item"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        recommender = Recommender("poprec").fit(log, min_actions=0, progress=False)
        found = recommender.recommend(histories=[["cafe\u0301 1", "caf\u00e9 2\u200b"]], k=1)
    assert len(found) == 1


# --- dates that may be read in more than one way ------------------------------------------------

IN_ORDER = {"a": ["1", "2", "3"]}


def dated(path: Path, *dates: str, **options: Any) -> dict[str, list[str]]:
    """The sequence of items 3, 2, 1, which have these dates in this order in the file."""
    lines = [f'a;{item};"{date}"\n' for item, date in zip("321", dates, strict=True)]
    return read(path, "user;item;date\n" + "".join(lines), **options)[0]


@pytest.mark.parametrize(
    "dates",
    [
        ("2024. 10. 3.", "2024. 9. 12.", "2024. 9. 2."),  # days and months below 13 alone
        ("2024年10月3日", "2024年9月12日", "2024年9月2日"),
        ("2024년 10월 3일", "2024년 9월 12일", "2024년 9월 2일"),
        ("2024_10_03", "2024_09_12", "2024_09_02"),
        ("2024, 10, 3", "2024, 9, 12", "2024, 9, 2"),
        ("24-06-01", "24-05-31", "23-12-30"),  # with the year last, they would lie in the future
        ("24/06/01", "24/05/31", "23/12/30"),
        ("24.06.01", "24.05.31", "23.12.30"),
        ("1.6.24", "31.5.24", "30.12.23"),
        ("03/07/24", "15/06/24", "14/06/24"),
        ("Sat Jun 01 12:00:00 UTC 2024", "Fri May 31 12:00:00 UTC 2024", "Mon Jan 1 2024"),
        ("Fri May 31 2024 12:00:00 GMT+0200 (CEST)", "Fri May 31 2024 11:00:00 GMT+0200 (CEST)",
         "Fri May 31 2024 11:30:00 GMT+0300 (Moscow Standard Time)"),
        ("3 Sept 2024 1:05 p.m.", "3 Sept 2024 11:05 a.m.", "2 Sep 2024 1:05 p.m."),
        ("31.12.2023 14:05 Uhr", "31.12.2023 09:05 Uhr", "30.12.2023 14:05 Uhr"),
    ],
)  # fmt: skip
def test_dates_are_in_the_order_that_is_meant(dates: tuple[str, ...], tmp_path: Path) -> None:
    assert dated(tmp_path / "log.csv", *dates) == IN_ORDER


@pytest.mark.parametrize(
    ("dates", "says"),
    [
        (("15-06-24", "03-05-24", "01-05-24"), "the day first or the year first, .* fits both"),
        (("01-02-03", "02-03-01", "03-01-02"), "the month first or the year first, .* fits all"),
        (("2024-W22-1", "2024-W21-5", "2024-W20-7"), "if it is a date, say how it is written"),
        (("2024년 9월 2일 오후 1:05", "2024년 9월 2일 오전 9:05", "2024년 9월 1일"), "say how it"),
        (("15012013", "20122012", "31012012"), 'at the end .* "%d%m%Y"'),
        (("1152013", "12202012", "1312012"), 'at the end .* "%m%d%Y"'),
        (("150120131405", "201220120000", "310120122359"), '"%d%m%Y%H%M"'),
        (("310524", "130324", "150124"), 'in no order as they are: .* "%d%m%y"'),
        (("010125", "123124", "021424"), '"%m%d%y"'),  # 011524 as a number is 11524
        (("000215", "000101", "991230"), '"%y%m%d"'),
        (("1503240800", "1402241000", "1501240930"), '"%d%m%y%H%M"'),
        (("022024", "012024", "122023"), "%m%Y"),
        (("02.2024", "01.2024", "12.2023"), '"%m.%Y"'),
    ],
)
def test_dates_that_may_be_read_in_two_ways_are_refused(
    dates: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=says):
        dated(tmp_path / "log.csv", *dates)


@pytest.mark.parametrize(
    ("time_format", "dates"),
    [
        ("%y%m%d", ("120203", "070102", "050102")),
        ("%d%m%Y", ("01032012", "15022012", "01022012")),
        ("%G-W%V-%u", ("2024-W22-1", "2024-W21-5", "2024-W20-7")),
        ("%y-%m-%d", ("15-06-24", "03-05-24", "01-05-24")),
        ("s", ("31012012", "20122012", "15012013")),
        ("%d%m%y", ("310524", "130324", "150124")),
        ("%m%d%y", ("010125", "123124", "021424")),
        ("%y%m%d", ("000215", "000101", "991230")),
        ("%d%m%y%H%M", ("1503240800", "1402241000", "1501240930")),
        ("%m%Y", ("022024", "012024", "122023")),
        ("%m.%Y", ("01.2021", "10.2020", "12.2019")),  # 10.2020 as a number is 10.202
    ],
)
def test_a_time_format_is_obeyed(time_format: str, dates: tuple[str, ...], tmp_path: Path) -> None:
    assert dated(tmp_path / "log.csv", *dates, time_format=time_format) == IN_ORDER
    whole = [int(d) if d.isdecimal() else d for d in dates]  # a frame loses the first zero itself
    log = pd.DataFrame({"user": "a", "item": [3, 2, 1], "date": whole})
    assert sequences(load(log, time_format=time_format)) == IN_ORDER


@pytest.mark.parametrize("numbers", [(3, 2, 1), (1_385_000_000, 1_384_000_000, 1_383_000_000),
                                     (20_130_115, 20_121_220, 20_120_131),
                                     (240_301, 240_228, 231_231), (1.5, 1.25, 1.125),
                                     (150_100, 140_299, 130_000), (40_556, 40_550, 40_544),
                                     (10_134, 10_129, 10_124), (50_318, 50_309, 50_300),
                                     (2_011_010_323, 2_011_010_212, 2_011_010_100)])  # fmt: skip
def test_numbers_that_are_no_dates_stay_numbers(numbers: tuple[int, ...], tmp_path: Path) -> None:
    assert dated(tmp_path / "log.csv", *map(str, numbers)) == IN_ORDER


@pytest.mark.parametrize(
    "zero", ["12/30/1899 9:05:00 AM|12/30/1899 1:05:00 PM|12/30/1899 1:05:00 AM",
             "1970-01-01 09:05:00|1970-01-01 13:05:00|1970-01-01T01:05:00",
             "31.12.1899 09:05|31.12.1899 13:05|31.12.1899 01:05"],
)  # fmt: skip
def test_a_time_of_day_may_have_a_date_of_nothing(zero: str, tmp_path: Path) -> None:
    days = ("2024-05-31", "2024-05-31", "2024-06-01")
    rows = [f"a,{i},{d},{t}\n" for i, d, t in zip("123", days, zero.split("|"), strict=True)]
    log = "user,item,date,time\n" + "".join(rows[::-1])
    found, notes = read(tmp_path / "log.csv", log)
    assert found == IN_ORDER and "with the time of day in 'time'" in notes


CLOCKS = {
    "hhmm": ("1405", "930", "2200"),
    "clock": ("14:05", "9:30", "22:00"),
    "part of a day": ("0.5868", "0.3958", "0.9167"),
    "Uhr": ("14:05 Uhr", "9:30 Uhr", "22:00 Uhr"),
    "half days": ("2 PM", "9 AM", "10 p. m."),
    "French": ("14h05", "9h30", "22h00"),
    "zones": ("16:05:00+02:00", "09:30:00Z", "20:00:00-0200"),
}
KNOWN_DAYS = {
    "as Excel counts": ("45352", "45352", "45351"),
    "since 1970": ("19783", "19783", "19782"),
    "midnight in UTC": ("2024-03-01T00:00:00Z", "2024-03-01T00:00:00Z", "2024-02-29T00:00:00Z"),
    "midnight elsewhere": ("2024-03-01T00:00:00-03:00", "2024-03-01T00:00:00-03:00",
                           "2024-02-29T00:00:00-03:00"),
    "midnight as AM": ("3/1/2024 12:00:00 AM", "3/1/2024 12:00:00 AM", "2/29/2024 12:00:00 AM"),
    "midnight of German Excel": ("01.03.2024 0:00", "01.03.2024 0:00", "29.02.2024 0:00"),
    "midnight in milliseconds": ("1709251200000", "1709251200000", "1709164800000"),
    "floats": ("20240301.0", "20240301.0", "20240229.0"),
}  # fmt: skip


def two_columns(
    path: Path, days: Any, clocks: Any, names: str = "date,time", **options: Any
) -> Any:
    """Items 3 and 2 of a day, then 1 of the day before, which is the last by its time of day."""
    rows = [f'a,{i},{d},"{c}"\n' for i, d, c in zip("321", days, clocks, strict=True)]
    return read(path, f"user,item,{names}\n" + "".join(rows), **options)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("day", KNOWN_DAYS)
def test_a_day_in_any_spelling_goes_with_its_time_of_day(
    day: str, clock: str, tmp_path: Path
) -> None:
    for options in ({}, {"time_column": "date"}):
        found, notes = two_columns(tmp_path / "log.csv", KNOWN_DAYS[day], CLOCKS[clock], **options)
        assert found == IN_ORDER and "the time is 'date' with the time of day in 'time'" in notes


def test_a_day_and_its_time_of_day_are_a_moment() -> None:
    for days in KNOWN_DAYS.values():
        log = pd.DataFrame({"user": "a", "item": [3, 2, 1], "date": days, "time": "14:05"})
        times = load(log).times
        zone = 3 * 3600 if "-03:00" in days[0] else 0
        assert times is not None and times[2] - zone in (1_709_301_900, 1_709_301_900 - zone)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize(
    ("days", "time_format"),
    [
        (("1. Mai 2024", "1. Mai 2024", "30. April 2024"), None),
        (("1 janv. 2024", "1 janv. 2024", "31 d\u00e9c. 2023"), None),
        (("Mar-24", "Mar-24", "Feb-24"), "%b-%y"),
        (("010324", "010324", "290224"), "%d%m%y"),
        (("01032024", "01032024", "29022024"), "%d%m%Y"),
        (("202403", "202403", "202402"), "%Y%m"),
        (("2", "2", "1"), None),
    ],
)
def test_nothing_is_sorted_by_the_time_of_day_alone(
    days: tuple[str, ...], time_format: str | None, clock: str, tmp_path: Path
) -> None:
    says = f"'time' is a time of day .*'date' .such as '{days[0]}'. is not understood.*--time-form"
    with pytest.raises(DataError, match=says) as told:
        two_columns(tmp_path / "log.csv", days, CLOCKS[clock])
    assert "\n" not in str(told.value)
    if time_format:
        options = {"time_format": time_format}
        assert two_columns(tmp_path / "log.csv", days, CLOCKS[clock], **options)[0] == IN_ORDER


def test_a_time_format_counts_as_the_file_is_written(tmp_path: Path) -> None:
    days = ("20240301", "20240301", "20240229")
    options = {"time_format": "%Y%m%d"}
    found, notes = two_columns(tmp_path / "log.csv", days, CLOCKS["clock"], **options)
    assert found == IN_ORDER and "time of day in 'time'" in notes
    with pytest.raises(DataError, match="must be written as '%Y%m%d', got '2024-02-3'"):
        two_columns(tmp_path / "log.csv", (*days[:2], "2024-02-3"), CLOCKS["clock"], **options,
                    time_column="date")  # fmt: skip


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/New_York", "Europe/London", "Asia/Tokyo"]
)
def test_midnights_of_a_zone_are_days(zone: str) -> None:
    days = pd.to_datetime(["2024-04-01", "2024-03-31", "2024-03-31", "2024-03-30"])
    clocks = ["00:10", "23:50", "0:05", "23:00"]  # the clock changes in Europe on the 31st
    frame = {"user": "a", "item": [4, 3, 2, 1], "date": days.tz_localize(zone), "time": clocks}
    assert sequences(load(pd.DataFrame(frame))) == {"a": ["1", "2", "3", "4"]}
    frame["time"] = pd.to_timedelta([f"{clock}:00" for clock in clocks])
    assert sequences(load(pd.DataFrame(frame))) == {"a": ["1", "2", "3", "4"]}
    other = pd.DataFrame({**frame, "watched": frame["time"]}).drop(columns="time")
    assert sequences(load(other))["a"][-1] == "4" and "time of day" not in " ".join(
        load(other).warnings
    )


def test_a_year_a_month_and_a_day_go_with_hours_as_numbers(tmp_path: Path) -> None:
    days = ("2024,3,1", "2024,3,1", "2024,2,29")
    found, notes = two_columns(tmp_path / "log.csv", days, CLOCKS["hhmm"], "year,month,day,time")
    assert found == IN_ORDER and "'year', 'month', 'day' with the time of day in 'time'" in notes


@pytest.mark.parametrize("clock", ["order_hour_of_day", "hr", "hora", "stunde", "event_hour"])
def test_hours_have_many_names(clock: str, tmp_path: Path) -> None:
    days = ("2024-03-01", "2024-03-01", "2024-02-29")
    for options in ({}, {"time_column": "date"}):
        names = f"date,{clock}"
        found, notes = two_columns(tmp_path / "log.csv", days, (14, 9, 22), names, **options)
        assert found == IN_ORDER and f"time of day in '{clock}'" in notes
    names = "date,transaction_time"
    assert two_columns(tmp_path / "log.csv", days, CLOCKS["hhmm"], names)[0] == IN_ORDER


@pytest.mark.parametrize("name", ["size", "duration", "Watch time"])
def test_what_takes_long_is_no_time_of_day(name: str, tmp_path: Path) -> None:
    days = ("2024-03-01", "2024-03-01", "2024-02-29")
    found, notes = two_columns(tmp_path / "log.csv", days, CLOCKS["French"], f"date,{name}")
    assert found == {"a": ["1", "3", "2"]} and "time of day" not in notes
    found, notes = two_columns(tmp_path / "log.csv", days, CLOCKS["clock"], "date,watched_at")
    assert found == IN_ORDER and "time of day in 'watched_at'" in notes


def test_a_moment_needs_no_time_of_day(tmp_path: Path) -> None:
    moments = ("2024-03-01 14:05:09", "2024-03-01 09:30:01", "2024-02-29 22:00:00")
    for clock in ("hhmm", "clock"):
        found, notes = two_columns(tmp_path / "log.csv", moments, CLOCKS[clock])
        assert found == IN_ORDER and "time of day" not in notes
    rows = [f"a,{n},2024-03-01,22:00\n" for n in range(300)]
    rows += ["a,300,2024-03-02 09:30,21:00\n", "a,301,2024-03-02 08:30,23:00\n"]
    found, notes = read(tmp_path / "log.csv", "user,item,date,time\n" + "".join(rows))
    assert found["a"][-2:] == ["301", "300"] and "the time of day in 'time' is not added" in notes


TIME_ALONE = {  # a column called time that is no time of day, beside another
    "counter and tag": ("time,tag", ("1,top10", "2,top10", "3,top5")),
    "counter and month": ("time,month", ("1,M9", "2,M8", "3,M1")),
    "counter and candidate": ("time,candidate", ("1,c17", "2,c3", "3,c5")),
    "counter and last update": (
        "time,last_update",
        ("1,3 days ago", "2,2 days ago", "3,1 day ago"),
    ),
    "share and release": ("time,release_date", (".1,1999-05-03", ".2,1980-01-01", ".9,1990-01-01")),
    "counter and birthday": (
        "time,birthday",
        ("101,1999-05-03", "102,1980-01-01", "103,1990-01-01"),
    ),
    "counter and year": ("time,release_date", ("101,1999", "102,1980", "103,1990")),
    "moment and seconds": ("timestamp,time", ("1600041600,35", "1600041600,12", "1600128000,1")),
}


@pytest.mark.parametrize("what", TIME_ALONE)
def test_a_time_that_is_none_of_day_stays_alone(what: str, tmp_path: Path) -> None:
    columns, values = TIME_ALONE[what]
    rows = "".join(f"a,{n},{value}\n" for n, value in enumerate(values, 1))
    found, notes = read(tmp_path / "log.csv", f"user,item,{columns}\n{rows}")
    assert found == IN_ORDER and "with the time of day" not in notes


def test_a_time_that_is_named_takes_no_length(tmp_path: Path) -> None:
    rows = "user,item,date,{}\na,1,2024-05-01,0:35\na,2,2024-05-01,0:10\na,3,2024-05-02,0:05\n"
    for name in ("listening_time", "playtime", "watched", "time_spent"):
        content = rows.format(name)
        found, notes = read(tmp_path / "log.csv", content, time_column="date")
        assert found == IN_ORDER and "time of day" not in notes


def test_small_numbers_beside_days_may_count(tmp_path: Path) -> None:
    rows = "user,item,day,time\na,2,1,2\na,1,1,1\na,3,2,3\n"
    found, notes = read(tmp_path / "log.csv", rows)
    assert found == IN_ORDER and "'day' looks like a time, too: --time-column day" in notes


@pytest.mark.parametrize(
    "name", ["dt", "bought_on", "order_date_key", "timestamp", "time", "created"]
)
def test_digits_of_dates_are_refused_whatever_their_name(name: str, tmp_path: Path) -> None:
    for dates, says in (
        (("280224", "150324", "010424"), '"%d%m%y"'),
        (("11.2023", "12.2023", "1.2024"), '"%m.%Y"'),
        (("2023.9", "2023.10", "2023.11"), '"%Y.%m"'),
        (("2812202309", "0101202410", "0201202409"), '"%d%m%Y%H"'),
    ):
        rows = [f"a,{item},{date}\n" for item, date in zip("123", dates, strict=True)]
        table = f"user,item,{name}\n" + "".join(rows)
        with pytest.raises(DataError, match=f"in no order .*{says}"):
            read(tmp_path / "log.csv", table, time_column=name)
        options = {"time_column": name, "time_format": says.strip('"')}
        assert read(tmp_path / "log.csv", table, **options)[0] == IN_ORDER


@pytest.mark.parametrize(
    "numbers",
    [
        ("1", "15", "31"),
        ("100524", "110533", "120499"),  # seconds since some start
        ("201112", "201201", "201203"),  # months of a year
        ("280251", "150366", "010485"),  # no dates up to now, or too old ones
        ("2023.1", "2023.4", "2023.9"),
        ("2023.09", "2023.1", "2023.11"),
        ("1951.1", "1962.11", "1962.12"),
        ("1700000101", "1700000202", "1700000303"),
    ],
)
def test_numbers_that_may_count_stay_numbers(numbers: tuple[str, ...], tmp_path: Path) -> None:
    rows = [f"a,{item},{n}\n" for item, n in sorted(zip("123", numbers, strict=True), reverse=True)]
    for name in ("time", "timestamp"):
        in_order = [i for _, i in sorted(zip(map(float, numbers), "123", strict=True))]
        found, _ = read(tmp_path / "log.csv", f"user,item,{name}\n" + "".join(rows))
        assert found == {"a": in_order}


def test_hours_as_digits_are_dates() -> None:
    log = [(f"u{n}", "old", 2024040110 + n) for n in range(10)]
    log += [(f"v{n}", "new", 2024053110 + n) for n in range(4)]
    frame = pd.DataFrame(log, columns=["user", "item", "date"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        recent = Recommender("recentpop", days=7).fit(frame, min_actions=0, progress=False)
        old, new = (recent.recommend(histories=[[i]], k=1)["score"][0] for i in ("new", "old"))
        assert old < 1 and new > 4  # April is no more among the last seven days
        recent.update(pd.DataFrame({"user": ["u0"], "item": ["late"], "date": [1_719_800_000]}))
        dataset = load(frame)
    known = recent.known.split.dataset
    assert sequences(known)["u0"] == ["old", "late"]
    assert dataset.times is not None and dataset.times[0] == 1_711_965_600  # 2024-04-01 10:00
    assert "14 time(s) such as 2024040110 are read as YYYYMMDDHH" in dataset.warnings
    mixed = pd.DataFrame({"user": "a", "item": [2, 1], "time": [2024053112, 1_717_156_000]})
    assert sequences(load(mixed)) == {"a": ["1", "2"]}
    for late in (2_024_053_125, 2_024_130_112, 2_099_010_112):  # no hour, no month, or not yet
        log = pd.DataFrame({"user": "a", "item": [1, 2], "time": [2024053112, late]})
        times = load(log).times
        assert times is not None and times.tolist() == [2024053112, late]


def test_the_last_day_of_all_in_seconds_is_told(tmp_path: Path) -> None:
    for never, unit in ((253_402_300_799, 1), (253_402_214_400_000, 1000)):
        table = f"{HEADER}a,3,{never}\na,2,{1_600_000_001 * unit}\na,1,{1_600_000_000 * unit}\n"
        found, notes = read(tmp_path / "log.csv", table)
        assert found == IN_ORDER and "put right" not in notes
        assert f"1 row(s) have the time {never}, that is 9999-12-31" in notes
    table = f"{HEADER}a,3,253402300799\na,2,1600000001000\na,1,1600000000\n"
    found, notes = read(tmp_path / "log.csv", table)
    assert found == IN_ORDER and "1 in seconds, 1 in milliseconds" in notes


def test_the_last_of_several_titles_is_that_of_the_file(tmp_path: Path) -> None:
    table = "user,item,time,name\na,x,2,New\na,x,1,Old\n"
    _, notes = read(tmp_path / "log.csv", table, title_column="name")
    assert "more than one title in 'name'; the last in the file counts" in notes


# --- which lines are rows -----------------------------------------------------------------------

AS_COLUMNS = {"header": False, "columns": "item,user,time"}


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("log.csv", "#art,u,1\n#art,u,2\n#cat,u,3\nhome,u,4\n", AS_COLUMNS),
        ("log.csv", "# of 2024, by hand\n#art,u,1\n#art,u,2\n#cat,u,3\nhome,u,4\n", AS_COLUMNS),
        ("log.tsv", "#art\tu\t1\n#art\tu\t2\n#cat\tu\t3\nhome\tu\t4\n", AS_COLUMNS),
        ("log.txt", "# user item\nu #art\nu #art\nu #cat\nu home\n", {}),
        ("log.csv", "#item,user,time\n#art,u,1\n#art,u,2\n#cat,u,3\nhome,u,4\n", {}),
    ],
)
def test_an_id_may_begin_with_the_mark_of_a_comment(
    name: str, content: str, options: dict[str, Any], tmp_path: Path
) -> None:
    assert read(tmp_path / name, content, **options)[0] == {"u": ["#art", "#art", "#cat", "home"]}


def test_users_may_begin_with_the_mark_of_a_comment(tmp_path: Path) -> None:
    found = {"#1": ["7", "8"], "#2": ["7"]}
    assert read(tmp_path / "log.txt", "#1 7\n#1 8\n#2 7\n")[0] == found
    rows = "#1::7::5::100\n#1::8::5::101\n#2::7::5::102\n"
    assert read(tmp_path / "log.dat", rows)[0] == found


@pytest.mark.parametrize(
    ("name", "content", "options", "says"),
    [
        ("log.csv", "u1,p1\nu1,p2\nu2,p1\n", {"columns": "user,item"}, "'u1' stands below, too"),
        ("log.csv", "user,item,time\nu,p,1\n", {"header": False, "columns": "user,item,-"},
         "looks like a header .*leave out --no-header"),
        ("log.csv", "customer,product\nu,p\n", {"header": False, "columns": "user,item"},
         "looks like a header"),
        ("log.txt", "u i\n1 10\n1 20\n", {}, "all lines below have numbers there.*skip-lines 1"),
    ],
)  # fmt: skip
def test_a_header_is_no_row_and_a_row_no_header(
    name: str, content: str, options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=says):
        read(tmp_path / name, content, **options)


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("u,i,t\nu,v,1\nw,i,2\n", {"columns": "user,item,time"}),
        (
            "konto,seite,zeit\nu,seite,1\nu,shop,2\n",
            {"user_column": "konto", "item_column": "seite"},
        ),
        ("utente,articolo,data\nu,v,1\nw,i,2\n", {"columns": "user,item,time"}),
    ],
)
def test_words_above_numbers_are_a_header(
    content: str, options: dict[str, Any], tmp_path: Path
) -> None:
    found, notes = read(tmp_path / "log.csv", content, **options)
    assert sum(map(len, found.values())) == 2 and "header" not in notes


COMMENTS = {
    "log.txt": ("#generated 2024-05-31\n1 10\n1 11\n", {"1": ["10", "11"]}),
    "log.csv": ("#Shop, May, 2024\n#exported by x\n\nu,7,1\nu,8,2\n", {"u": ["7", "8"]}),
    "other.csv": ("#user,item,time\n#exported by x\nu,7,1\nu,8,2\n", {"u": ["7", "8"]}),
    "three.txt": ("#my first log\nu a 1\nu b 2\n", {"u": ["a", "b"]}),
}


@pytest.mark.parametrize("name", COMMENTS)
def test_comments_above_rows_are_no_rows(name: str, tmp_path: Path) -> None:
    content, wanted = COMMENTS[name]
    options = {} if name == "log.txt" else {"header": False, "columns": "user,item,time"}
    found, _ = read(tmp_path / name, content, **options)
    assert found == wanted


@pytest.mark.parametrize("below", ["# one row for each purchase", "#"])
def test_a_comment_above_a_header_is_none(below: str, tmp_path: Path) -> None:
    content = f"# user,item,time\n{below}\nuser,item,time\nu,7,1\nu,8,2\n"
    assert read(tmp_path / "log.csv", content)[0] == {"u": ["7", "8"]}


def test_the_advice_to_skip_lines_counts_those_above(tmp_path: Path) -> None:
    content = "# c\n\nkunde,ware,wann\n1,10,100\n1,11,101\n2,10,102\n"
    options: dict[str, Any] = {"header": False, "columns": "user,item,time"}
    with pytest.raises(DataError, match="--skip-lines 3"):
        read(tmp_path / "log.csv", content, **options)
    assert len(read(tmp_path / "log.csv", content, **options, skip_lines=3)[0]) == 2
    content = "NULL,NULL,NULL\n1,10,100\n1,11,101\n2,10,102\n"
    assert len(read(tmp_path / "log.csv", content, **options, drop_missing=True)[0]) == 2


def test_a_header_in_another_language_is_told(tmp_path: Path) -> None:
    found, notes = read(tmp_path / "log.csv", "wer,was\na,x\na,y\n", columns="user,item")
    assert found == {"a": ["x", "y"]} and "line 1 (wer, was) is taken for a header" in notes
    options = {"user_column": "u1", "item_column": "p1"}
    notes = read(tmp_path / "log.csv", "u1,p1\nu1,p2\nu2,p1\n", **options)[1]
    assert "line 1 (u1, p1) is taken for a header and left out" in notes


def test_a_header_that_comes_again_may_be_written_otherwise(tmp_path: Path) -> None:
    again = ('"user","item"', "User,Item", "user, item ", "user,item,", "user,item")
    content = "user,item\n" + "".join(f"a,{i}\n{line}\n" for i, line in enumerate(again))
    found, notes = read(tmp_path / "log.csv", content)
    assert found == {"a": ["0", "1", "2", "3", "4"]} and "5 line(s) repeat the header" in notes


def test_rows_inside_quotes_are_told(tmp_path: Path) -> None:
    """It is legal CSV, so it is read; but nobody writes titles that look like rows."""
    rows = "".join(f"u,i{n},{n},T{n}\n" for n in range(5))
    content = f'user,item,time,title\nu,X,0,"Open\n{rows}u,V,9,Vinyl 12"\nu,last,10,"two\nlines"\n'
    found, notes = read(tmp_path / "log.csv", content)
    assert found == {"u": ["X", "last"]}
    assert "a quote opened in line 2 is closed in line 8" in notes
    for text in ("two\nlines, of text", "Fresh, crisp.\nSweet, ripe, round, long.\nend"):
        fine = f'user,item,time,title\nu,X,0,"{text}"\nu,Y,1,T\n'
        assert "a quote opened" not in read(tmp_path / "log.csv", fine)[1]


@pytest.mark.parametrize(("separator", "given"), [("##", "##"), ("::", None), ("\u00a7", "\u00a7")])
def test_a_long_separator_in_quotes_is_text(
    separator: str, given: str | None, tmp_path: Path
) -> None:
    rows = ("user item time", f'"a{separator}b" 1 1', f'"a{separator}b" 2 2')
    content = "".join(row.replace(" ", separator) + "\n" for row in rows)
    options = {"separator": given} if given else {}
    found = {f"a{separator}b": ["1", "2"]}
    assert read(tmp_path / "log.csv", content, **options)[0] == found


@pytest.mark.parametrize(
    "name", ["log.csv", "log.tsv", "log.txt", "log.dat", "log.data", "log.csv.gz"]
)
@pytest.mark.parametrize("quote", ['"', "'"])
def test_records_in_a_file_that_is_called_a_table(name: str, quote: str, tmp_path: Path) -> None:
    rows = [f'{{"user": "a", "item": "i{n}", "time": {n}}}\n' for n in (2, 1)]
    content = "".join(rows).replace('"', quote).encode()
    content = gzip.compress(content) if name.endswith(".gz") else content
    assert read(tmp_path / name, content)[0] == {"a": ["i1", "i2"]}


def test_a_quote_that_swallows_rows_of_words_is_told(tmp_path: Path) -> None:
    rows = 'user,item,artist\nu1,t1,"Heroes\nu1,t2,Abba\nu2,t1,Queen"\nu2,t2,X\n'
    found, notes = read(tmp_path / "log.csv", rows)
    assert found == {"u1": ["t1"], "u2": ["t2"]}
    assert "a quote opened in line 2 is closed in line 4, and lines between look like rows" in notes
    prose = 'user,item,text\nu1,t1,"Dear all, hello, and\nbye, dear, friends"\nu2,t2,X\n'
    review = 'user,item,text\nA1,B2,"Great, but\nslow,heavy, and loud\n"\nA2,B3,X\n'
    for text in (prose, review):
        assert "look like rows" not in read(tmp_path / "log.csv", text)[1]


SEPARATORS = {  # rows without a header, and the names of their columns: both u1 bought a
    "tab, comma in a text": ("u1\ta\tKing, S\nu1\tb\tTolkien, J\n", "user,item,-"),
    "tab, two commas in a text": ("u1\ta\tA, B, C\nu1\tb\tD\n", "user,item,-"),
    "bar, comma in a text": ("u1|a|K, S, T\nu1|b|X, Y, Z\n", "user,item,-"),
    "semicolon, decimal commas": ("u1;a;48,1;11,5\nu1;b;47,0;12,5\n", "user,item,-,-"),
    "comma, bars in a text": ("u1,a,X|Y|Z\nu1,b,X\n", "user,item,-"),
    "comma, bars in each text": ("u1,a,X|Y|Z,1\nu1,b,X|V|W,2\n", "user,item,-,time"),
    "comma, a semicolon in a text": ("u1,a,X; Y\nu1,b,X; Z\n", "user,item,-"),
}


def test_the_header_says_what_stands_between_fields(tmp_path: Path) -> None:
    odd = "user,item,time,price;eur\na,1,2,1;2\na,2,3,1;2,\n"
    assert read(tmp_path / "log.csv", odd)[0] == {"a": ["1", "2"]}
    (tmp_path / "bare.csv").write_text("1,5,x|y|z,1\n1,6,x|y|w,2\n")
    with pytest.raises(DataError, match="has 4 fields"):
        load(tmp_path / "bare.csv", header=False, columns="user,item,genres")


@pytest.mark.parametrize("ending", ["tsv", "csv"])
@pytest.mark.parametrize("what", SEPARATORS)
def test_the_separator_is_that_of_all_first_lines(what: str, ending: str, tmp_path: Path) -> None:
    content, columns = SEPARATORS[what]
    (tmp_path / f"log.{ending}").write_text(content)
    found = load(tmp_path / f"log.{ending}", header=False, columns=columns)
    assert sequences(found) == {"u1": ["a", "b"]}


FIRST_WITHOUT = pd.DataFrame(  # users who are there, but not in the first 200 rows
    {
        "user_id": [None] * 200 + ["a", "a", "b", "b"] * 100,
        "session_id": [f"s{i}" for i in range(600)],
        "item_id": ["x", "y", "z"] * 200,
        "time": range(600),
    }
)


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl", "json", "xlsx", "pandas", "polars"])
def test_rows_are_looked_at_from_all_over_a_table(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"log.{form}"
    frame = FIRST_WITHOUT
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "parquet":
        frame.to_parquet(path)
    elif form in ("json", "jsonl"):
        frame.to_json(path, orient="records", lines=form == "jsonl")
    elif form == "xlsx":
        frame.to_excel(path, index=False)
    data = path if path.exists() else frame if form == "pandas" else to_polars(frame)
    dataset = load(data, drop_missing=True)
    assert dataset.user_ids == ["a", "b"] and dataset.num_actions == 400
    with pytest.raises(DataError, match="user id is missing"):
        load(data)


def to_polars(frame: pd.DataFrame) -> Any:
    return pytest.importorskip("polars").from_pandas(frame)


def test_users_who_are_missing_at_the_top_only(tmp_path: Path) -> None:
    """As a database sorts them: 250 rows without a user, 1,000 with one."""
    rows = [f",s{n},{n % 9}" for n in range(250)] + [f"u{n % 7},s{n},{n % 9}" for n in range(1000)]
    content = "\n".join(["user_id,session_id,item", *rows, ""])
    found, notes = read(tmp_path / "log.csv", content, drop_missing=True)
    assert len(found) == 7 and "250 of 1,250 rows were left out" in notes


def test_a_text_that_excel_keeps(tmp_path: Path) -> None:
    found = read(tmp_path / "log.csv", 'user,item\n="007",="01"\n="007",2\n')[0]
    assert found == {"007": ["01", "2"]}


# --- titles that lie beside a log ---------------------------------------------------------------


def beside(path: Path, films: str) -> list[str] | None:
    (path.parent / "movies.dat").write_text(films)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        dataset = load(path)
    beside.notes = " ".join(dataset.warnings)  # type: ignore[attr-defined]
    return None if dataset.titles is None else list(dataset.titles)[1:]


FILMS = "1::Toy Story (1995)::Comedy\n2::Heat (1995)::Action\n"


def test_titles_of_another_data_set_are_not_taken(tmp_path: Path) -> None:
    log = tmp_path / "clicks.dat"
    log.write_text("userid|itemid|time|title\nu|1|1|Red shoes\nu|2|2|Blue hat\n")
    assert beside(log, FILMS) == ["Red shoes", "Blue hat"]
    assert "movies.dat lies beside it and was not read" in beside.notes  # type: ignore[attr-defined]
    log.write_text("userid|itemid|time\nu|tea|1\nu|2|2\nu|cup|3\n")
    assert beside(log, FILMS) is None
    assert "titles of 1 of 3 items, so it is of other data" in beside.notes  # type: ignore[attr-defined]
    log.write_text("user_id::item_id::rating::timestamp\nu::1::5::1\nu::2::5::2\n")
    assert beside(log, FILMS) == ["Toy Story (1995)", "Heat (1995)"]
    log.write_text("userid|movieid|time\nu|1|1\nu|2|2\n")
    assert beside(log, FILMS) == ["Toy Story (1995)", "Heat (1995)"]
    assert beside(log, "id\ttitle\n1\tToy Story\n") is None  # HetRec's: a note, and the log is read
    assert "titles were not read" in beside.notes  # type: ignore[attr-defined]
    log.write_text("u::1::5::1\nu::2::5::2\n")
    assert beside(log, "MovieID::Title::Genres\n 1 :: A ::Comedy\n") == ["A", "2"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"titles": ["x"]}, "titles is .*give a dict"),
        ({"titles": {(7,): "x"}}, "titles: the entry .7"),
        ({"titles": {7: {"a": 1}}}, "is no text"),
        ({"categories": {7: [["a"]]}}, "categories: the entry 7"),
        ({"titles": {7: ["a"]}}, "titles: the entry 7.* is no text"),
        ({"titles": {7: b"a"}}, "titles: the entry 7.* is no text"),
    ],
)
def test_titles_that_are_none(given: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        build_dataset([1, 1, 1], [7, 8, 7], min_actions=0, **given)


def test_titles_may_be_numbers_and_may_be_missing(tmp_path: Path) -> None:
    log = [1, 1, 1, 1], [7, 8, 9, 7]
    titles = {7: 1984, 8: np.nan, 9: pd.NA}
    categories: dict[Any, Any] = {7: "Drama", 8: None, 9: ("A", 2, None)}
    dataset = build_dataset(*log, titles=titles, categories=categories, min_actions=0)
    assert list(dataset.titles or ())[1:] == ["1984", "8", "9"]
    assert list(dataset.categories or ())[1:] == [("Drama",), (), ("A", "2")]
    several = {7: np.array(["A", "B"]), 8: pd.Index(["C"]), 9: map(str, [1, 2])}
    dataset = build_dataset(*log, categories=several, titles={7: True, 8: 1e17}, min_actions=0)
    assert list(dataset.categories or ())[1:] == [("A", "B"), ("C",), ("1", "2")]
    assert list(dataset.titles or ())[1:3] == ["True", "1e+17"]
    series = pd.Series(["A"], index=[7])
    assert list(build_dataset(*log, titles=series, min_actions=0).titles or ())[1] == "A"
    model = Recommender("poprec").fit(dataset)
    model.save(tmp_path / "saved")
    assert Recommender.load(tmp_path / "saved").known.items.texts[1:] == ["7", "8", "9"]


# --- which columns ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("date,hourmin,time_ms\n20220408,1405,1649397900300\n20220408,1405,1649397900200\n"
         "20220408,1405,1649397900100\n", "the time is the column 'time_ms'"),
        ("date,created_at\n2024-05-31,2024-05-31 13:00:05\n2024-05-31,2024-05-31 12:00:00\n"
         "2024-05-30,2024-05-30 20:00:00\n", "the time is the column 'created_at'"),
        ("date,created_at\n2024-05-31,2014-05-31 13:00\n2024-05-30,2018-05-30 12:00\n"
         "2024-05-29,2020-01-01 12:00\n", "the time is the column 'date'; 'created_at' looks"),
        ("date,hour,minute\n2024-05-31,14,50\n2024-05-31,14,20\n2024-05-31,14,3\n",
         "the time is 'date' with the time of day in 'hour', 'minute'"),
        ("date,hour,minute,second\n2024-05-31,14,50,1\n2024-05-31,14,50,0\n2024-05-31,9,51,2\n",
         "in 'hour', 'minute', 'second'"),
        ("date_day,date_month,date_year,date_hour\n1,2,2007,3\n29,10,2006,23\n29,10,2006,3\n",
         "the time is 'date_year', 'date_month', 'date_day' with the time of day in 'date_hour'"),
        ("year,date_year,date_month,date_day\n1995,2024,5,10\n1996,2024,4,20\n1994,2023,12,31\n",
         "the time is 'date_year', 'date_month', 'date_day'"),  # the film is of 1995
        ("year,month,day\n2024,5,10\n2024,4,20\n2023,12,31\n",
         "the time is 'year', 'month', 'day'"),
        ("date,seconds\n2024-05-31,30\n2024-05-30,180\n2024-05-29,240\n", ""),
    ],
)  # fmt: skip
def test_the_time_is_as_exact_as_the_table(table: str, told: str, tmp_path: Path) -> None:
    header, *rows = table.splitlines()
    content = [f"user,item,{header}"] + [f"a,{n},{r}" for n, r in zip("321", rows, strict=True)]
    found, notes = read(tmp_path / "log.csv", "\n".join(content))
    assert found == IN_ORDER and told in notes
    found, notes = read(tmp_path / "log.csv", "\n".join(content), drop_missing=True)
    assert found == IN_ORDER and "no time column" not in notes


def test_a_duration_is_no_time_of_day(tmp_path: Path) -> None:
    rows = "a,x,2024-05-31,240\na,y,2024-05-31,180\n"
    found, notes = read(tmp_path / "log.csv", "user,item,date,seconds\n" + rows)
    assert found == {"a": ["x", "y"]} and "time of day" not in notes


def test_a_missing_or_wrong_part_of_a_date_is_named(tmp_path: Path) -> None:
    table = "user,item,year,month,day\na,x,2024,2,{}\na,y,2024,1,1\n"
    with pytest.raises(DataError, match=r"line 2: the time is missing \(column 'day': ''\)"):
        read(tmp_path / "log.csv", table.format(""))
    with pytest.raises(DataError, match="line 2: .* got '2024-02-30'"):
        read(tmp_path / "log.csv", table.format(30))


def test_counted_days_are_told(tmp_path: Path) -> None:
    table = "household_key,PRODUCT_ID,DAY,TRANS_TIME\na,2,2,1405\na,1,1,2300\n"
    found, notes = read(tmp_path / "log.csv", table)
    assert found == {"a": ["2", "1"]} and "'DAY' looks like one: --time-column DAY" in notes
    assert read(tmp_path / "log.csv", table, time_column="DAY")[0] == {"a": ["1", "2"]}
    table += "a,4,3,2300\na,3,3,900\n"
    found, notes = read(tmp_path / "log.csv", table, time_column="DAY")
    assert found == {"a": ["1", "2", "3", "4"]}
    assert "the time is 'DAY' with the time of day in 'TRANS_TIME'" in notes
    table = "user,item,week,time\na,1,1,1100\na,2,2,900\n"
    assert "'week' looks like a time, too: --time-" in read(tmp_path / "log.csv", table)[1]


@pytest.mark.parametrize(
    ("table", "users", "told"),
    [
        ("session_id,cust_id,item,time\ns,u,a,1\nt,u,b,2\n", ["u"], ""),
        ("session,person_id,item,time\ns,u,a,1\nt,u,b,2\n", ["u"], ""),
        ("client,member,item,time\nweb,u,a,1\nios,u,b,2\n", ["u"], "'client' could be the user"),
        ("user_id,user_pseudo_id,item_id,time\n,p,a,1\n,p,b,2\n", ["p"],
         "'user_id' is mostly missing, so each 'user_pseudo_id' is taken as a user"),
    ],
)  # fmt: skip
def test_the_user_is_a_person_who_is_there(
    table: str, users: list[str], told: str, tmp_path: Path
) -> None:
    found, notes = read(tmp_path / "log.csv", table)
    assert [*found] == users and told in notes


def test_a_page_is_rather_the_item_than_a_place(tmp_path: Path) -> None:
    table = "user_id,url,location,timestamp\nu,/a,Berlin,1\nu,/b,Berlin,2\n"
    found, notes = read(tmp_path / "log.csv", table)
    assert found == {"u": ["/a", "/b"]} and "'location' could be the item" in notes


# --- rows, ids, frames --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "condition", "kept"),
    [
        (["1050118621198921728", "1050118621198921729"], "x=1050118621198921728", [0]),
        (["1050118621198921728", "1050118621198921729"], "x>1050118621198921728", [1]),
        (["12E4", "120000", "1.2E+5", "120000.0"], "x=120000", [1, 2, 3]),
        (["0e12", "0e99", "0"], "x=0", [2]),
        (["1_0", "10"], "x=10", [1]),
        (["1.2E7", "5.0", "2.0E7", "1e3"], "x>=6", [0, 2, 3]),
        (["1.0E7", "10000000"], "x=10000000", [0, 1]),
        (["1.2E7", "5"], "x>=1e1", [0]),
        (["1,234.50", "1", "1234.5", "234.50"], "x=1,234.50", [0, 2]),
        (["1", "234", "1,234"], "x=1,234", [0, 1]),
        (["A", "\\N", "NULL", "", "null"], "x!=", [0]),
        (["A", "\\N", "NULL", "", "null"], "x=", [1, 2, 3, 4]),
        (["A", "NULL", ""], "x=NULL", [1]),
    ],
)
def test_conditions_are_exact(
    values: list[str], condition: str, kept: list[int], tmp_path: Path
) -> None:
    lines = "".join(f'a,i{i},"{value}"\n' for i, value in enumerate(values))
    found, _ = read(tmp_path / "log.csv", "user,item,x\n" + lines, where=condition)
    assert found == {"a": [f"i{i}" for i in kept]}
    frame = pd.DataFrame({"user": ["a"] * len(values), "item": range(len(values)), "x": values})
    assert sequences(load(frame, where=condition)) == {"a": [str(i) for i in kept]}


def test_conditions_on_whole_numbers_are_exact() -> None:
    users = [1050118621198921728 + i for i in range(3)]
    frame = pd.DataFrame({"user": users, "item": [1, 2, 3]})
    assert load(frame, where=f"user={users[1]}").user_ids == [str(users[1])]


@pytest.mark.parametrize(
    "nothing", ["(NULL)", "[NULL]", "<null>", "NIL", "-1.#IND", "#NV", "#NUM!"]
)
def test_other_words_for_nothing(nothing: str, tmp_path: Path) -> None:
    content = HEADER + f"a,1,1\n{nothing},2,2\na,{nothing},3\n"
    with pytest.raises(DataError, match="line 3: the user id is missing"):
        read(tmp_path / "log.csv", content)
    assert read(tmp_path / "log.csv", content, drop_missing=True)[0] == {"a": ["1"]}


@pytest.mark.parametrize("mark", "\u202a\u202c\u202e\u2066\u2069\u200c\u200d\xad\u061c\u2063")
def test_marks_without_width_are_no_part_of_an_id(mark: str, tmp_path: Path) -> None:
    content = HEADER + f"a{mark},x,1\na,{mark}y,2\n"
    assert read(tmp_path / "log.csv", content)[0] == {"a": ["x", "y"]}


@pytest.mark.parametrize("items", ["{1,2,3}", "(1, 2)", "{'a', 'b'}", "{'id': 1}"])
def test_lists_in_brackets_are_told(items: str, tmp_path: Path) -> None:
    content = HEADER + "".join(f'u{k},"{items}",{k}\n' for k in range(5))
    assert "list" in read(tmp_path / "log.csv", content)[1]
    guid = "{3F2504E0-4F89-41D3-9A0C-0305E82C3301}"
    assert "list" not in read(tmp_path / "log.csv", HEADER + f"a,{guid},1\nb,{guid},2\n")[1]


def test_minus_nothing_is_nothing() -> None:
    assert sequences(load({"user": ["a", "a"], "item": [-0.0, 0.0]})) == {"a": ["0", "0"]}


def test_half_a_letter_is_no_id_and_does_no_harm_elsewhere(tmp_path: Path) -> None:
    cut = "nice \ud83d"
    frame = pd.DataFrame({"user": ["a", "a"], "item": ["x", cut]}, dtype=object)
    with pytest.raises(DataError, match="row 1.*holds half of a letter"):
        load(frame)
    line = '{"user": "a", "item": "x", "title": "nice \\ud83d", "review": "\\ud83d"}\n'
    for name, content in (("log.jsonl", line), ("log.json", f"[{line}]")):
        (tmp_path / name).write_text(content)
        dataset = load(tmp_path / name)
        assert sequences(dataset) == {"a": ["x"]} and dataset.titles == ["<pad>", "nice \ufffd"]
    with pytest.raises(DataError, match="line 1.*holds half of a letter"):
        read(tmp_path / "log.jsonl", line.replace('"x"', '"x \\ud83d"'))


def test_conditions_know_thousands_and_names_of_digits(tmp_path: Path) -> None:
    table = 'user,item,time,price\nu,a,1,"1,234.50"\nu,b,2,499\nu,c,3,"2.000,00"\nu,d,4,free\n'
    found, notes = read(tmp_path / "log.csv", table, where="price>=500")
    assert found == {"u": ["a", "c"]}
    assert "1 row(s) were left out by price>=500, since their value is no number, such" in notes
    table = "user,item,time,code\nu,a,1,01\nu,b,2,1\nu,c,3,1.0\n"
    assert read(tmp_path / "log.csv", table, where="code=01")[0] == {"u": ["a"]}
    assert read(tmp_path / "log.csv", table, where="code=1")[0] == {"u": ["b", "c"]}


@pytest.mark.parametrize("short", ["1.23E+15", "1,23E+15", "1.23e+15"])
def test_shortened_numbers_are_told(short: str, tmp_path: Path) -> None:
    notes = read(tmp_path / "log.csv", f"user;item;time\n{short};a;1\n{short};b;2\n")[1]
    assert f"users: ids such as '{short}' are numbers that a spreadsheet has shortened" in notes


def test_quotes_that_are_kept_are_told(tmp_path: Path) -> None:
    found, notes = read(tmp_path / "log.csv", HEADER + "'u','a',1\n'v','a',1\n")
    assert found == {"'u'": ["'a'"], "'v'": ["'a'"]} and "ids such as 'u' have quotes" in notes


@pytest.mark.parametrize("separator", [" ", ",", "\t"])
def test_row_numbers_of_r_have_no_name(separator: str, tmp_path: Path) -> None:
    lines = [
        ["user", "item", "time"],
        ["1", "u", "b", "9"],
        ["2", "u", "a", "8"],
        ["3", "v", "a", "7"],
    ]
    table = "\n".join(separator.join(f'"{field}"' for field in line) for line in lines)
    assert read(tmp_path / "log.txt" if separator == " " else tmp_path / "log.csv", table)[0] == {
        "u": ["a", "b"],
        "v": ["a"],
    }


def test_a_log_and_a_file_without_an_ending_are_looked_at(tmp_path: Path) -> None:
    for name in ("clicks.log", "part-00000"):
        assert read(tmp_path / name, HEADER + "u,a,2\nu,b,1\n")[0] == {"u": ["b", "a"]}
        records = '{"user": "u", "item": "a", "time": 2}\n{"user": "u", "item": "b", "time": 1}\n'
        assert read(tmp_path / name, records)[0] == {"u": ["b", "a"]}
    (tmp_path / "clicks.gz").write_bytes(gzip.compress((HEADER + "u,a,2\nu,b,1\n").encode()))
    assert sequences(load(tmp_path / "clicks.gz")) == {"u": ["b", "a"]}


def test_an_index_that_is_a_column_too() -> None:
    log = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [*"aba"], "timestamp": [2, 1, 1]})
    want = {"1": ["b", "a"], "2": ["a"]}
    for index in ("user_id", "timestamp", ["user_id", "timestamp"]):
        for drop in (False, True):
            assert sequences(load(log.set_index(index, drop=drop))) == want
    assert sequences(load(log.assign(x=0).set_index(["user_id", "x"]))) == want


def test_columns_without_names_are_called_by_their_numbers() -> None:
    log = pd.DataFrame([[1, "a", 2], [1, "b", 1]])
    assert sequences(load(log, user_column=0, item_column=1, time_column=2)) == {"1": ["b", "a"]}


def titles(path: Path, lines: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Titles by item, and facts, of rows `user,item,title,time`."""
    path.write_text("\n".join(["user,item,title,time", *lines]) + "\n")
    dataset = load(path, title_column="title")
    assert dataset.titles is not None
    return dict(zip(dataset.item_ids, dataset.titles, strict=True)), dataset.reading


def test_quotes_inside_quotes_as_spark_and_mysql_write_them(tmp_path: Path) -> None:
    found, facts = titles(
        tmp_path / "log.csv",
        [
            r'u,1,"the \"big\" one, and more",1',
            r'u,2,"12\"",2',
            r'u,3,"a path\\",3',
            r'u,4,"\"all\"",4',
            "u,5,plain,5",
        ],
    )
    assert found["1"] == 'the "big" one, and more' and found["2"] == '12"'
    assert found["4"] == '"all"' and found["5"] == "plain"
    assert facts["quotes"] == r"yes, \" inside"


@pytest.mark.parametrize("separator", [",", "\t", ";", " ", "::"])
def test_quotes_are_escaped_or_not_whatever_stands_between_fields(
    tmp_path: Path, separator: str
) -> None:
    def look(title: str) -> list[str]:
        rows = [("user", "item", "time", "title"), ("u", "1", "1", title), ("u", "2", "2", '"b c"')]
        lines = [separator.join(f'"{v}"' if v[0] != '"' else v for v in row) for row in rows]
        (tmp_path / "log.txt").write_text("\n".join(lines) + "\n")
        found = load(tmp_path / "log.txt", title_column="title", separator=separator).titles
        assert found is not None
        return list(found[1:])

    if separator != " ":  # there the field may end before `vinyl`
        assert look(r'"12\" vinyl"') == ['12" vinyl', "b c"]
    assert look(r'"\"a\" b"') == ['"a" b', "b c"]
    assert look(r'"a ""b"" c\"') == ['a "b" c\\', "b c"]


def test_a_backslash_before_the_end_of_a_field_is_a_letter(tmp_path: Path) -> None:
    lines = ["user,item,time,title", "u1,1,1,x", r'u1,"C:\dir\",2,12\"x8', "u2,1,3,x"]
    assert read(tmp_path / "log.csv", "\n".join(lines))[0] == {
        "u1": ["1", "C:\\dir\\"],
        "u2": ["1"],
    }


def test_escaped_quotes_far_down_are_told(tmp_path: Path) -> None:
    many = "".join(f'u{n},{n % 7},{n},"C:\\dir\\"\n' for n in range(50_000))
    plain = "".join(f"u{n},{n % 7},{n},plain title\n" for n in range(90_000))
    log = "user,item,time,title\n" + many + plain + 'u1,1,1,"the \\"big\\" one"\n'
    _, notes = read(tmp_path / "log.csv", log)
    assert r"on \" is read as a quote inside quotes" in notes


def test_backslashes_are_letters_where_quotes_are_doubled(tmp_path: Path) -> None:
    lines = [r'u,1,"C:\dir\",1', r'u,2,"say \""hi\"", twice",2', r"u,3,12\"x8,3", "u,4,d,4"]
    found, facts = titles(tmp_path / "log.csv", lines)
    assert [found[i] for i in "1234"] == ["C:\\dir\\", r"say \"hi\", twice", r"12\"x8", "d"]
    assert facts["quotes"] == "yes"
