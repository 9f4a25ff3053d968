"""Each real format, in tiny files written here: what is read, and what each bad line says."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tqdm import tqdm

from minisasrec.data import Dataset, DataWarning, files, load_dataset, readers, text
from minisasrec.data.actions import Actions
from minisasrec.data.builder import read_actions
from minisasrec.data.files import Source
from minisasrec.data.options import ReadingOptions
from minisasrec.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore::minisasrec.data.DataWarning")

ML_1M = "1::10::4::30\n2::10::5::5\n1::30::4::10\n1::20::1::20\n"
MOVIES = "10::Amélie (2001)::Comedy|Romance\n20::Heat (1995)::Action\n30::A: B, C::Drama\n"


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """Write text, compressed if the name says so."""
    data = text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def load(path: Path, **options: Any) -> Dataset:
    return load_dataset(path, min_actions=options.pop("min_actions", 0), progress=False, **options)


def own_folder(tmp_path: Path, name: str) -> Path:
    """A folder called like a data set: in it, its files are known by their names."""
    (tmp_path / name).mkdir(exist_ok=True)
    return tmp_path / name


def sequences(dataset: Dataset) -> dict[str, list[str]]:
    return {
        user: [dataset.item_ids[i] for i in dataset.sequence(u)]
        for u, user in enumerate(dataset.user_ids)
    }


WANTED = {"1": ["30", "20", "10"], "2": ["10"]}  # what the same actions are in each format
OBJECTS = [
    {"reviewerID": u, "asin": i, "overall": 5.0, "unixReviewTime": t, "reviewText": 'say "asin"'}
    for u, i, t in [("1", "10", 30), ("2", "10", 5), ("1", "30", 10), ("1", "20", 20)]
]
STEAM = [
    {"username": u, "product_id": i, "date": f"2017-01-{t}", "text": "it's 'fun'"}
    for u, i, t in [("1", "10", 30), ("2", "10", 15), ("1", "30", 10), ("1", "20", 20)]
]
FORMATS = {
    "ratings.dat": ML_1M,
    "other.dat": ML_1M.replace("\n", "\r\n"),
    "u.data": ML_1M.replace("::", "\t"),
    "ratings.csv": "userId,movieId,rating,timestamp\n" + ML_1M.replace("::", ","),
    "mine.csv": "\ufeffwhen;item;user\n30;10;1\n5;10;2\n10;30;1\n20;20;1\n",
    "dates.csv": "user,item,date\n1,10,2020-01-03\n2,10,2020-01-09\n1,30,2020-01-01 10:00\n"
    "1,20,2020-01-01T10:00:01Z\n",
    "mine.tsv": "session_id\titem_id\tts\n" + "1\t10\t3e1\n2\t10\t5\n1\t30\t10\n1\t20\t20",
    "toy.inter": "user_id:token\titem_id:token\ttimestamp:float\n1\t10\t30.5\n2\t10\t5.0\n"
    "1\t30\t30.25\n\n1\t20\t30.4\n",
    "pairs.txt": "1 30\n1\t20\n2 10\n1 10\n\n",
    "reviews.json": "\n".join(map(json.dumps, OBJECTS)),
    "loose.jsonl": "\n".join(map(repr, OBJECTS)),
    "steam_reviews.json": "\n".join(map(repr, STEAM)),
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_actions(tmp_path: Path, name: str, packed: bool) -> None:
    path = write(tmp_path / (name + ".gz" * packed), FORMATS[name])
    options = {"time_column": "when"} if name == "mine.csv" else {}
    dataset = load(path, **options)
    assert sequences(dataset) == WANTED
    assert dataset.name == name.rsplit(".", 1)[0]
    assert path.name in dataset.source


@pytest.mark.parametrize("name", FORMATS)
def test_chunks_do_not_show(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "TEXT_BLOCK", 5)
    monkeypatch.setattr(readers, "RECORDS", 1)
    options = {"time_column": "when"} if name == "mine.csv" else {}
    assert sequences(load(write(tmp_path / name, FORMATS[name]), **options)) == WANTED


NUMBERS = ["ratings.dat", "other.dat", "u.data", "ratings.csv", "mine.csv", "pairs.txt"]


@pytest.mark.parametrize("name", NUMBERS)
def test_whole_numbers_give_what_text_does(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / name, FORMATS[name])
    options = {"time_column": "when"} if name == "mine.csv" else {}
    fast = load(path, **options)
    monkeypatch.setattr(text, "_plain_integers", lambda *_: False)
    assert load(path, **options).fingerprint() == fast.fingerprint()


CELL = st.integers(0, 10**18 - 1).map(str) | st.integers(0, 12).map(str)
ODD = st.sampled_from(
    ["007", "-1", "+1", "1.5", "x", " 1", "1 ", "  07", "1_0", "\u0663", '"1"', '"01"', "1e3",
     "9" * 19, "9" * 25, "-0", "-07", "2.0", "True", "inf", "0x1f"]
)  # fmt: skip


@given(
    rows=st.lists(st.tuples(CELL | ODD, CELL, CELL), min_size=1, max_size=12),
    ends=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    block=st.integers(1, 60),
    mark=st.sampled_from([",", "::", "\t", "|"]),
)
@settings(deadline=None)
def test_ids_are_texts_however_they_are_parsed(
    rows: list[tuple[str, ...]], ends: str, last: bool, block: int, mark: str
) -> None:
    lines = ["user" + mark + "item" + mark + "time", *(mark.join(row) for row in rows)]
    source = MemorySource((ends.join(lines) + ends * last).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "TEXT_BLOCK", block)
        options = ReadingOptions(separator=mark)
        table = text.TextTable(source, options, quoted=mark == ",")  # type: ignore[arg-type]
        actions = read_actions(table, options)
    unquoted = [(row[0].strip('"') if mark == "," else row[0]).strip() for row in rows]
    if all(re.fullmatch(r"-?[0-9]+(\.0)?", u) for u in unquoted):
        unquoted = [u.removesuffix(".0") for u in unquoted]
    assert [actions.user_ids[u] for u in actions.users] == unquoted
    assert [actions.item_ids[i] for i in actions.items] == [row[1] for row in rows]
    assert actions.times is not None
    assert [float(t) for t in actions.times] == [float(row[2]) for row in rows]


class MemorySource:
    """A source that is no file."""

    name = "memory.csv"

    def __init__(self, data: bytes) -> None:
        self.data = data

    def open(self) -> Any:
        return nullcontext(io.BytesIO(self.data))

    def bar(self) -> Any:
        return tqdm(disable=True)

    def text(self, encoding: str | None = None) -> Any:
        return files.Text(self, encoding)  # type: ignore[arg-type]


def test_many_lines_with_one_odd_among_them(tmp_path: Path) -> None:
    lines = [f"{u}::{i}::3.5::{1000 - i}\n" for u in range(400) for i in range(1, 90)]
    dataset = load(write(tmp_path / "a.dat", "".join(lines)))
    assert dataset.num_actions == 400 * 89
    assert [dataset.item_ids[i] for i in dataset.sequence(7)] == [str(i) for i in range(89, 0, -1)]
    lines[30_000] = "5::6::7::soon\n"
    with pytest.raises(DataError, match="line 30001: the time must be a number .* got 'soon"):
        load(write(tmp_path / "a.dat", "".join(lines)))


@pytest.mark.parametrize("ids", ["{}", "u{}"], ids=["fast", "slow"])
def test_equal_times_keep_the_order_of_the_file(tmp_path: Path, ids: str) -> None:
    order = [9, 2, 7, 1, 8, 3, 30, 12]
    rows = [f"{ids.format(u)},{ids.format(i)},77" for i in order for u in (1, 2)]
    dataset = load(write(tmp_path / "a.csv", HEAD + "\n".join(rows)))
    want = [ids.format(i) for i in order]
    assert sequences(dataset) == {ids.format(1): want, ids.format(2): want}


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    for nothing in ("", "\n"):
        with pytest.raises(DataError, match=f"{name} is empty: expected") as caught:
            load(write(tmp_path / name, nothing))
        assert "\n" not in str(caught.value)


HEAD = "user,item,timestamp\n"
BAD_LINES = [
    ("a.dat", "1::2::3\n", 1, r"expected user::item::rating::time, got 3 field\(s\)"),
    ("a.dat", ML_1M + "1::2::3::4::5\n", 5, r"got 5 field\(s\): '1' '2' '3' '4' '5"),
    ("a.dat", ML_1M + "\n1::2::3::x\n", 6, "the time must be a number >= 0, .* got 'x"),
    ("a.dat", "1::2::3::-4\n", 1, "got -4"),
    ("a.dat", "1::2::3::nan\n", 1, "the time is missing .column 'time': 'nan'"),
    ("a.dat", "1::2::3::inf\n", 1, "got inf"),
    ("a.dat", "::2::3::4\n", 1, "the user id is missing"),
    ("u.data", "1\t\t3\t4\n", 1, "the item id is missing"),
    ("u.data", "1 2 3 4\n", 1, r"expected user, item, rating, time with tabs between, got 1"),
    ("a.txt", "1 2\n3\n", 2, r"expected user item, got 1 field\(s\): '3'"),
    ("a.txt", "1 2 3\n", 1, "got 3"),
    ("a.csv", HEAD + "1,2,3\n1,2\n", 3, r"expected 3 fields \(user, item, timestamp\), got 2"),
    ("a.csv", HEAD + '1,"two\nlines",3\n1,2,\n', 4, "the time is missing .*: ''"),
    ("a.csv", HEAD + "1,2,3\nnan,2,4\n", 3, "the user id is missing .column 'user': 'nan'"),
    ("a.csv", HEAD + "1,2,3\n1,2,2020-01-01\n", 3, "all lines alike, got '2020-01-01'"),
    ("a.csv", HEAD + "1,2,2020-01-01\n1,2,2020-13-01\n", 3, "got '2020-13-01'"),
    ("a.csv", HEAD + f'1,2,3\n1,"{"x" * 140_000}\n', 3, "a quote is opened and not closed"),
    ("a.csv", HEAD + '1,2,3\n2,"Alien,4\n3,"Heat",5\n', 3, "a quote is opened and not closed"),
    ("a.csv", HEAD + '1,2,3\n2,"Al\x00ien",4\n', 3, "it holds a zero byte"),
    ("a.csv", HEAD + "1,2,3\n1,2,09:30\n", 3, "all lines alike, got '09:30'"),
    ("a.csv", HEAD + "1,2,10:30\n1,2,09:30\n", 2, "a time of day without its date"),
    ("a.csv", HEAD + "1,2,3,4\n", 2, r"got 4 field\(s\): '1' '2' '3' '4'"),
    ("a.json", '{"user": 1, "item": 2, "time": 3}\n{"user": 1}\n', 2, "the item id is missing"),
    ("a.json", '{"user": 1, "item": 2, "time": 3}\n{"user": nul\n', 2, "object on each line"),
    (
        "a.json",
        '{"user": 1, "item": 2, "time": 3}\n[1, 2]\n',
        2,
        r"expected a JSON object on each .* got '\[1, 2\]'",
    ),
    ("a.json", '{"user": null, "item": 2, "time": 3}\n', 1, "the user id is missing .*None"),
    ("a.json", '{"user": 1, "item": 2, "time": null}\n', 1, "the time is missing .*None"),
    ("a.json", '{"user": true, "item": 2, "time": 3}\n', 1, "the user is a truth value .True"),
    ("a.json", '{"user": 1, "item": {"id": 2}, "time": 3}\n', 1, "the item is an object"),
    ("a.json", '{"user": 1, "item": [], "time": 3}\n', 1, "the item is a list of 0 value"),
    ("steam/steam_reviews.json", "{'username': 'u', 'date': '2017-01-01'}\n", 1,
     "the item id is missing .column 'product_id'"),
    ("steam/steam_reviews.json", "__import__('os').getcwd()\n", 1, "expected a Python literal"),
    ("steam/steam_reviews.json", repr({**STEAM[0], "date": "soon"}), 1, "the time .* got 'soon'"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "line", "message"), BAD_LINES)
def test_a_bad_line_is_named(tmp_path: Path, name: str, text: str, line: int, message: str) -> None:
    own_folder(tmp_path, "steam")
    path = write(tmp_path / name, text)
    with pytest.raises(DataError, match=message) as caught:
        load(path.parent if "/" in name else path)
    assert str(caught.value).startswith(f"{path} line {line}: ")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 250 + len(str(path))


def test_a_bad_line_far_into_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", HEAD + "\n" + "1,2,3\n" * 5432 + "1,2\n")
    with pytest.raises(DataError, match="line 5435: expected 3 fields"):
        load(path)


def test_movielens_titles_and_genres_are_latin_1(tmp_path: Path) -> None:
    write(tmp_path / "movies.dat", MOVIES, "latin-1")
    dataset = load(write(tmp_path / "ratings.dat", ML_1M))
    assert dataset.titles == ["<pad>", "Amélie (2001)", "Heat (1995)", "A: B, C"]
    assert dataset.categories == [(), ("Comedy", "Romance"), ("Action",), ("Drama",)]


def test_ml_100k_titles_and_genre_flags(tmp_path: Path) -> None:
    flags = {"10": "0|0|0|0|0|1|0|0|0|0|0|0|0|0|1|0|0|0|0", "20": "1" + "|0" * 18}
    lines = [f"{i}|Film {i}|01-Jan-1995||http://x|{f}\n" for i, f in flags.items()]
    write(tmp_path / "u.item", "".join(lines), "latin-1")
    dataset = load(write(tmp_path / "u.data", FORMATS["u.data"]))
    assert dataset.titles == ["<pad>", "Film 10", "Film 20", "30"]
    assert dataset.categories == [(), ("Comedy", "Romance"), (), ()]


def test_ml_20m_titles_and_genres(tmp_path: Path) -> None:
    text = 'movieId,title,genres\n10,"City, The (é)",Drama|War\n20,None,(no genres listed)\n'
    folder = own_folder(tmp_path, "ml-20m")
    write(folder / "movies.csv", text)
    write(folder / "ratings.csv", FORMATS["ratings.csv"])
    dataset = load(folder)
    assert dataset.titles == ["<pad>", "City, The (é)", "None", "30"]
    assert dataset.categories == [(), ("Drama", "War"), (), ()]


def test_recbole_titles_are_not_quoted(tmp_path: Path) -> None:
    text = 'item_id:token\tmovie_title:token_seq\n10\t"Great" Scott\n20\tIt"s\n'
    write(tmp_path / "toy.item", text)
    dataset = load(write(tmp_path / "toy.inter", FORMATS["toy.inter"]))
    assert dataset.titles == ["<pad>", '"Great" Scott', 'It"s', "30"]
    assert dataset.categories is None


def test_amazon_and_steam_titles(tmp_path: Path) -> None:
    beauty, steam = own_folder(tmp_path, "amazon-beauty"), own_folder(tmp_path, "steam")
    write(beauty / "meta_Beauty.json.gz", "{'asin': '10', 'title': \"Ann's\"}\n{'asin': '20'}\n")
    write(beauty / "reviews_Beauty.json.gz", FORMATS["reviews.json"])
    assert load(beauty).titles == ["<pad>", "Ann's", "20", "30"]
    write(steam / "steam_games.json", "{u'id': u'30', u'app_name': u'Ten \\u20ac'}\n{u'x': 1}\n")
    write(steam / "steam_reviews.json", FORMATS["steam_reviews.json"])
    assert load(steam).titles == ["<pad>", "10", "20", "Ten €"]
    write(steam / "steam_games.json", "{}\noops\n")
    with pytest.raises(DataError, match="steam_games.json line 2: expected an object, got 'oops"):
        load(steam)


@pytest.mark.parametrize(
    "line",
    [
        "{u'username': u'Ann', u'product_id': u'7', u'date': u'2017-12-17'}",
        "{'date': '2017-12-17', 'text': \"a 'username': 'Eve' b\", 'product_id': '7', "
        "'username': 'Ann'}",
        '{"username": "Ann", "product_id": 7, "date": "2017-12-17"}',
        r"{'username': u'\u0041nn', 'product_id': '7', 'date': '2017-12-17'}",
    ],
)
def test_steam_lines(tmp_path: Path, line: str) -> None:
    actions = readers.read_steam(Source(write(tmp_path / "s.json", line)))
    assert (actions.user_ids, actions.item_ids) == (["Ann"], ["7"])
    assert actions.times is not None and actions.times.tolist() == [1513468800.0]


def test_a_bad_companion_line_is_named(tmp_path: Path) -> None:
    ratings = write(tmp_path / "ratings.dat", ML_1M)
    write(tmp_path / "movies.dat", MOVIES + "\n40::No genre\n")
    with pytest.raises(DataError, match=r"movies.dat line 5: expected MovieID::Title::Genres"):
        load(ratings)
    write(tmp_path / "movies.dat", "10::T::A\n20::Short::\n30::U::B\n")  # MovieTweetings has such
    assert load(ratings).categories == [(), ("A",), (), ("B",)]
    write(tmp_path / "movies.dat", "10::T::A||B\n")
    with pytest.raises(DataError, match=r"movies.dat line 1: expected Genre\|Genre"):
        load(ratings)
    folder = own_folder(tmp_path, "ml-20m")
    write(folder / "ratings.csv", FORMATS["ratings.csv"])
    write(folder / "movies.csv", "movieId,title\n10,A\n20\n")
    with pytest.raises(DataError, match=r"movies.csv line 3: expected 2 fields \(movieId, title"):
        load(folder)


def test_named_columns_and_options(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv", "A|B|C|D\n1|x|3|Ex\n1|y|2|Why\n".replace("x|3", "é|3"), "latin-1"
    )
    dataset = load(
        path, user_column="A", item_column="b", time_column="C", title_column="D",
        encoding="latin-1",
    )  # fmt: skip
    assert sequences(dataset) == {"1": ["y", "é"]}
    assert dataset.titles == ["<pad>", "Why", "Ex"]
    assert sequences(load(path, user_column="A", item_column="C", encoding="latin-1")) == {
        "1": ["3", "2"]
    }


def test_column_errors_list_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "who,item,when\n1,2,3\n")
    with pytest.raises(
        DataError, match="for user_column: name it by --user-column .*, one of: who, item, wh"
    ):
        load(path)
    with pytest.raises(
        DataError, match="no column 'User' for user_column; it has: who, item, when"
    ):
        load(path, user_column="User")
    with pytest.raises(DataError, match="user_column and item_column are both 'item'"):
        load(path, user_column="item", item_column="item")
    with pytest.raises(DataError, match="files of this format take no separator, encoding"):
        load(write(tmp_path / "a.parquet", ""), separator=",", encoding="utf-8")


def test_a_column_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "user,item,item,rating,rating\n1,2,3,4,5\n")
    with pytest.raises(DataError, match="has 2 columns 'item', which is the item_column"):
        load(path)
    path = write(tmp_path / "b.csv", "user,item,page,rating,rating\n1,2,3,4,5\n")
    assert load(path).item_ids == ["<pad>", "2"]  # twice, but not asked for


def test_dates_with_a_time_zone_are_ordered_by_what_they_mean(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    early, late = "2024-01-01T10:00:00+05:00", "2024-01-01T08:00:00Z"
    path = write(tmp_path / "a.csv", f"user,item,time\n1,late,{late}\n1,early,{early}\n")
    assert sequences(load(path)) == {"1": ["early", "late"]}
    assert not [w for w in recwarn if not issubclass(w.category, DataWarning)]


def test_no_time_column_is_noted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "user,item\n1,9\n1,8\n1,7\n")
    with pytest.warns(
        DataWarning, match="a.csv has no time column: the rows of each user are taken"
    ):
        assert sequences(load(path)) == {"1": ["9", "8", "7"]}


def test_quotes_separators_and_line_ends_inside_fields(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'user,item,time,title\r\n1,"a,b",1,"two\r\nlines"\r\n')
    dataset = load(path)
    assert dataset.item_ids[1] == "a,b" and dataset.titles == ["<pad>", "two\nlines"]


def test_an_item_with_two_titles_has_none_unless_the_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "user,item,time,title\n1,a,1,old\n2,a,1,new\n2,a,2,NEW\n")
    with pytest.warns(DataWarning, match="'title' is not taken as titles: item 'a' has more than"):
        assert load(path).titles is None
    with pytest.warns(DataWarning, match=r"1 item.s. have more than one title in 'title'"):
        assert load(path, title_column="title").titles == ["<pad>", "NEW"]
    path = write(tmp_path / "b.csv", "user,item,time,title\n1,a,1,Old\n2,a,1, OLD \n3,b,1,-\n")
    assert load(path).titles == ["<pad>", "OLD", "b"]


def test_a_name_of_the_user_is_no_title(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "user,item,name\n1,a,Jo\n1,b,Jo\n2,c,Al\n2,d,Al\n")
    with pytest.warns(DataWarning, match="'name' is not taken as titles: each user has one"):
        assert load(path).titles is None


def test_wrong_encoding_names_byte_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", HEAD + "1,2,3\n" * 2000 + "1,é,3\n", "latin-1")
    with pytest.raises(DataError, match=r"a.csv line 2002: not utf-8 text \(byte 0xe9\): name"):
        load(path, encoding="utf-8")
    with pytest.raises(DataError, match=r"a.csv line 3: not utf-8 text \(byte 0x80\)"):
        (tmp_path / "a.csv").write_bytes(HEAD.encode() + "1,é,3\n1,".encode() + b"\x80,4\n")
        load(tmp_path / "a.csv")  # not latin-1: it is UTF-8 before this byte


def damaged_gzip(path: Path, text: str) -> Path:
    write(path, text)
    path.write_bytes(path.read_bytes()[:-20])
    return path


def damaged_zip(path: Path, text: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ratings.dat", text)
    path.write_bytes(path.read_bytes()[:-30])
    return path


def rotten_zip(path: Path, text: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ratings.dat", text)
    path.write_bytes(path.read_bytes().replace(b"::10::", b"::11::"))
    return path


@pytest.mark.parametrize(
    ("name", "damage"),
    [("a.dat.gz", damaged_gzip), ("a.zip", damaged_zip), ("b.zip", rotten_zip)],
)
def test_cut_off_or_damaged_archives(
    tmp_path: Path, name: str, damage: Callable[[Path, str], Path]
) -> None:
    path = damage(tmp_path / name, ML_1M * 500)
    with pytest.raises(
        DataError, match="is cut off or damaged .*: delete it and get it again"
    ) as e:
        load(path)
    assert "\n" not in str(e.value)


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_text(HEAD + "1,2,3\n")
    (tmp_path / "b.csv").write_bytes(gzip.compress(HEAD.encode() + b"1,2,3\n"))
    assert load(tmp_path / "a.csv.gz").fingerprint() == load(tmp_path / "b.csv").fingerprint()


def test_a_zip_with_a_password(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ratings.dat", ML_1M)
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag in the file's own header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and in the directory at the end
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"cannot read .*a.zip \[ratings.dat\]: .*encrypted"):
        load(path)


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(
        DataError, match="a.csv holds no file whose ending is known .*, but nothing"
    ):
        load(tmp_path / "a.csv")


@pytest.mark.parametrize("where", ["file", "folder"])
def test_permission_denied(tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated, for tests may run as an administrator, whom nothing is denied."""
    path = write(tmp_path / "a.csv", HEAD)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    if where == "file":
        monkeypatch.setattr("builtins.open", refuse)
    else:
        monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(DataError, match="cannot read .*a.csv: Permission denied"):
        load(path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user who can be denied")
def test_permission_denied_by_the_system(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", HEAD)
    path.chmod(0)
    with pytest.raises(DataError, match="cannot read .*a.csv: Permission denied"):
        load(path)


def test_options_that_no_file_can_have(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", HEAD + "1,2,3\n")
    with pytest.raises(DataError, match="a.csv: unknown encoding: klingon; common encodings are"):
        load(path, encoding="klingon")
    with pytest.raises(DataError, match="line 1 has one field .*: name what stands between fields"):
        load(path, separator="::")


@pytest.mark.parametrize("name", ["ratings.dat", "reviews.json"])
def test_nothing_is_printed_when_nobody_watches(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tqdm as module

    monkeypatch.setattr(files, "BAR_DELAY", 0)
    path = write(tmp_path / name, FORMATS[name])
    load_dataset(path, min_actions=0)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(module.tqdm, "monitor_interval", 0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    load_dataset(path, min_actions=0)
    out, err = capfd.readouterr()
    assert out == "" and f"reading {name}" in err


def frame() -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(
        {"user": [1, 2, 1, 1], "item": ["10", "10", "30", "20"], "time": [30, 5, 10, 20],
         "title": ["A", "A", "C", "B"]}
    )  # fmt: skip


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    table = frame()
    table.to_parquet(tmp_path / "a.parquet")
    dataset = load(tmp_path / "a.parquet")
    assert sequences(dataset) == WANTED
    assert dataset.titles == ["<pad>", "A", "B", "C"]
    with pytest.raises(DataError, match="no column 'x' for user_column; it has: user, item, time"):
        load(tmp_path / "a.parquet", user_column="x")
    table["user"] = [1, None, 1, 1]
    table.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(
        DataError, match="a.parquet row 1: the user id is missing .column 'user': nan"
    ):
        load(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="b.parquet is not a readable Parquet file"):
        load(tmp_path / "b.parquet")


@pytest.mark.parametrize("kind", ["UTC", "Europe/Berlin", "ISO 8601", "numbers as text"])
def test_times_in_parquet(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    table = frame()
    times = pandas.to_datetime(table["time"], unit="h", utc=True)
    if "/" in kind:
        times = times.dt.tz_convert(kind)
    table["time"] = {
        "ISO 8601": times.astype(str),
        "numbers as text": table["time"].astype(str).str.zfill(2),
    }.get(kind, times)
    table.to_parquet(tmp_path / "a.parquet")
    assert sequences(load(tmp_path / "a.parquet")) == WANTED
    table["time"] = ["soon"] * 4
    table.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="a.parquet row 0: the time must be a number >= 0, or a"):
        load(tmp_path / "a.parquet")


def retail_sheet() -> Any:
    pandas = pytest.importorskip("pandas")
    rows = [
        # invoice, code, description, quantity, minute, customer
        ("536366", "22633", "HAND WARMER ", 6, 30, 17850),
        ("536365", "85123A", "T-LIGHT HOLDER", 6, 26, 17850),
        ("536365", "71053", None, 6, 26, 17850),
        ("536367", "85123A", "T-LIGHT HOLDER", 1, 40, 17850),  # bought before
        ("C536379", "22632", "CANCELLED", 1, 41, 17850),
        ("536380", "22634", "RETURNED", -1, 42, 17850),
        ("536381", "POST", "POSTAGE", 1, 43, 17850),
        ("536382", "22635", "NO CUSTOMER", 1, 44, None),
        ("536383", "22633", "HAND WARMER", 1, 45, 13047),
    ]
    names = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "CustomerID"]
    table = pandas.DataFrame(rows, columns=names)
    minutes = pandas.to_timedelta(table["InvoiceDate"], unit="min")
    table["InvoiceDate"] = pandas.Timestamp("2010-12-01 08:00") + minutes
    return table


def test_online_retail_sheet(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    sheet = retail_sheet()
    sheet.to_excel(tmp_path / "Online Retail.xlsx", index=False)
    with zipfile.ZipFile(tmp_path / "online+retail.zip", "w") as archive:
        archive.write(tmp_path / "Online Retail.xlsx", "Online Retail.xlsx")
    dataset = load(tmp_path / "online+retail.zip")
    assert sequences(dataset) == {"13047": ["22633"], "17850": ["85123A", "71053", "22633"]}
    titles = dict(zip(dataset.item_ids, dataset.titles or [], strict=True))
    assert titles["22633"] == "HAND WARMER" and titles["71053"] == "71053"
    folder = own_folder(tmp_path, "online-retail")
    sheet.drop(columns="StockCode").to_excel(folder / "Online Retail.xlsx", index=False)
    with pytest.raises(DataError, match="has no column StockCode; it has: InvoiceNo, Description"):
        load(folder)
    (folder / "Online Retail.xlsx").write_bytes(b"no sheet")
    with pytest.raises(
        DataError, match="Online Retail.xlsx is (not a readable|cut off or damaged)"
    ):
        load(folder)


@pytest.mark.parametrize(
    ("module", "name"), [("openpyxl", "online_retail.xlsx"), ("pyarrow", "a.parquet")]
)
def test_an_optional_library_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    folder = own_folder(tmp_path, "online-retail")
    (folder / name).write_bytes(b"")
    with pytest.raises(DataError, match=f"needs {module} .*: pip install {module}, or save"):
        load(folder)


def test_times_are_read_as_they_are(tmp_path: Path) -> None:
    actions: Actions = readers.read_table(
        Source(write(tmp_path / "a.csv", HEAD + "1,2,1600000000123\n1,2,0\n"))
    )
    assert actions.times is not None and actions.times.tolist() == [1600000000123.0, 0.0]
    assert actions.users.dtype == actions.items.dtype == np.int32
