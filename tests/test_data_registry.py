"""Finding, downloading and checking data sets by name, with servers on this machine only."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hosts import Host, hosts

from minisasrec import datasets
from minisasrec.commands.cli import run_command
from minisasrec.data import (
    DATASETS,
    Dataset,
    DataWarning,
    build_dataset,
    downloads,
    leave_one_out,
    load_dataset,
)
from minisasrec.data.__main__ import main
from minisasrec.data.files import Source
from minisasrec.data.readers import Headerless
from minisasrec.data.registry import recognised, table
from minisasrec.errors import DataError
from minisasrec.learn.config import from_json, preset, unchosen
from minisasrec.train import parse

RATINGS = "".join(f"{u}::{i}::4::{10 * u + i}\n" for u in range(1, 6) for i in range(1, 6))
MOVIES = "".join(f"{i}::Film {i}::Drama\n" for i in range(1, 6))


@pytest.fixture(autouse=True)
def no_outside_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache, no data folder, and no host but this one."""
    monkeypatch.setattr(downloads, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv("MINISASREC_DATA_DIR", raising=False)
    for name, spec in list(DATASETS.items()):
        monkeypatch.setitem(DATASETS, name, replace(spec, urls=("http://127.0.0.1:9/x",)))


@pytest.fixture
def toy_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ml-1m's forms expect the toy file."""
    spec = DATASETS["ml-1m"]
    forms = tuple(replace(form, counts=(5, 5, 25)) for form in spec.forms)
    monkeypatch.setitem(DATASETS, "ml-1m", replace(spec, forms=forms, md5=None))


def archive(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("ml-1m/ratings.dat", RATINGS)
        opened.writestr("ml-1m/movies.dat", MOVIES)
    return path


def loose(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ratings.dat").write_text(RATINGS)
    (folder / "movies.dat").write_text(MOVIES)
    return folder


PLACES: dict[str, Callable[[Path], Path]] = {
    "zip": lambda folder: archive(folder / "ml-1m.zip"),
    "zip in subfolder": lambda folder: archive(folder / "ml-1m" / "ml-1m.zip"),
    "loose": loose,
    "loose in subfolder": lambda folder: loose(folder / "ml-1m"),
    "unpacked in subfolder": lambda folder: loose(folder / "ml-1m" / "ml-1m"),
}


@pytest.mark.usefixtures("toy_counts")
@pytest.mark.parametrize("by_variable", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_data_dir(
    tmp_path: Path, place: str, by_variable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    PLACES[place](tmp_path / "data")
    if by_variable:
        monkeypatch.setenv("MINISASREC_DATA_DIR", str(tmp_path / "data"))
        dataset = load_dataset("ml-1m", progress=False)
    else:
        dataset = load_dataset("ml-1m", data_dir=tmp_path / "data", progress=False)
    assert dataset.num_actions == 25 and dataset.titles is not None
    assert dataset.titles[1] == "Film 1" and dataset.name == "ml-1m"
    assert dataset.source.startswith("MovieLens 1M: ")
    assert "one-pass filter, min_actions=5; GroupLens: research use" in dataset.source


@pytest.mark.usefixtures("toy_counts")
def test_min_actions_and_filter_override_the_papers(tmp_path: Path) -> None:
    loose(tmp_path)
    assert load_dataset("ml-1m", data_dir=tmp_path, min_actions=0).source.count("no filter") == 1
    with pytest.raises(DataError, match="no action is left of 25 .*min_actions=6"):
        load_dataset("ml-1m", data_dir=tmp_path, min_actions=6)
    assert "iterative filter" in load_dataset("ml-1m", data_dir=tmp_path, filter="iterative").source


def test_a_fixed_release_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    loose(tmp_path)
    with pytest.raises(
        DataError, match="not the whole MovieLens 1M: 5 users, 5 items, 25 act"
    ) as e:
        load_dataset("ml-1m", data_dir=tmp_path)
    assert "instead of 6,040 users, 3,416 items, 999,611 actions" in str(e.value)
    assert load_dataset("ml-1m", data_dir=tmp_path, min_actions=5).num_actions == 25


def test_the_source_says_which_order_the_actions_have(tmp_path: Path, toy_counts: None) -> None:
    loose(tmp_path / "ml-1m")
    first = load_dataset("ml-1m", data_dir=tmp_path)
    assert "not the actions and the order of the paper's authors" in first.source
    spec = DATASETS["ml-1m"]
    DATASETS["ml-1m"] = replace(spec, orders={**spec.orders, first.fingerprint(): "the known one"})
    assert load_dataset("ml-1m", data_dir=tmp_path).source.endswith("; the known one")
    other = load_dataset("ml-1m", data_dir=tmp_path, min_actions=0, filter="none")
    assert other.fingerprint() == first.fingerprint()  # nothing to filter: the same data
    swapped = RATINGS.replace("1::1::4::11", "1::1::4::13")  # behind 1::2
    (tmp_path / "ml-1m" / "ratings.dat").write_text(swapped)
    assert "not the actions" in load_dataset("ml-1m", data_dir=tmp_path).source


def test_a_known_order_is_recognised_under_any_name(
    tmp_path: Path, toy_counts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = "".join(f"{u} {i}\n" for u in range(1, 6) for i in (2, 1, 3, 5, 4))
    (tmp_path / "renamed.txt").write_text(theirs)
    (tmp_path / "Beauty.txt").write_text(theirs)
    (tmp_path / "Video.txt").write_text(theirs)
    plain = load_dataset(tmp_path / "renamed.txt")
    assert plain.source == "renamed.txt; no filter"
    with pytest.warns(DataWarning, match="a variant"):
        other = load_dataset("amazon-games", data_dir=tmp_path).source
    assert "not the actions and the order of the paper's authors" in other
    spec = DATASETS["amazon-games"]
    known = replace(spec, orders={plain.fingerprint(): "the known one"})
    monkeypatch.setitem(DATASETS, "amazon-games", known)
    told = "Amazon Video Games (reviews of 2014): the known one"
    assert load_dataset(tmp_path / "renamed.txt").source.endswith(f"no filter; {told}")
    with pytest.warns(DataWarning, match="a variant"):
        wrong = load_dataset("amazon-beauty", data_dir=tmp_path).source
    assert wrong.endswith(f"; {told}")
    own = preset(str(tmp_path / "renamed.txt"))
    told = unchosen(own, known=recognised(load_dataset(tmp_path / "renamed.txt"))[0])
    assert told.endswith("come with --dataset amazon-games --data-dir FOLDER")
    assert unchosen(own, known=DATASETS["gowalla"]) == unchosen(own)  # none were chosen
    zipped = archive(tmp_path / "ml-1m.zip")
    assert "not the actions and the order" in load_dataset(zipped).source
    assert recognised(load_dataset(zipped)) == (None, "")


@pytest.mark.parametrize("name", ["ml-1m", "amazon-games"])
def test_the_authors_own_order_is_recognised(name: str, data_dir: Path) -> None:
    dataset = load_dataset(name, data_dir=data_dir / name)
    assert dataset.source.endswith(
        "the order of the paper's authors, on which published figures stand"
    )


def test_the_authors_text_of_ml_1m_gets_titles_by_the_public_mapping(
    tmp_path: Path, toy_counts: None
) -> None:
    theirs = "".join(f"{u} {i}\n" for u in range(1, 6) for i in range(1, 6))
    (tmp_path / "ml-1m.txt").write_text(theirs)
    plain = load_dataset("ml-1m", data_dir=tmp_path)
    assert plain.titles is None and plain.item_ids[1:] == ["1", "2", "3", "4", "5"]
    mapping = tmp_path / "sas_to_original_items.txt"
    mapping.write_text("1 30\n2 10\n3 50\n4 20\n5 40\n")
    mapped = load_dataset("ml-1m", data_dir=tmp_path)
    read = [mapped.item_ids[i] for i in mapped.sequence(0)]
    assert mapped.titles is None and read == ["30", "10", "50", "20", "40"]
    films = "".join(f"{i}::Film {i}::Drama|War\n" for i in range(10, 60, 10))
    (tmp_path / "movies.dat").write_text(films)
    told = load_dataset("ml-1m", data_dir=tmp_path)
    assert [told.title(int(i)) for i in told.sequence(0)[:2]] == ["Film 30", "Film 10"]
    assert told.categories is not None and told.categories[5] == ("Drama", "War")
    mapping.write_text("1 30\n2 10\n")
    with pytest.raises(DataError, match=r"has no line for item '3', which is in .*ml-1m.txt"):
        load_dataset("ml-1m", data_dir=tmp_path)
    for twice in ("4 30", "1 20"):
        mapping.write_text(f"1 30\n2 10\n3 50\n{twice}\n4 60\n5 40\n")
        with pytest.raises(DataError, match=rf"items.txt line 4: one of '{twice}' stands in an"):
            load_dataset("ml-1m", data_dir=tmp_path)


def test_a_variant_is_used_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "Video.txt").write_text("1 1\n1 2\n1 3\n2 2\n")
    with pytest.warns(
        DataWarning, match="has 2 users, 3 items, 4 actions; the published"
    ) as caught:
        dataset = load_dataset("amazon-games", data_dir=tmp_path)
    assert "31,013 users, 23,715 items, 287,107 actions" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert "no filter" in dataset.source and dataset.num_actions == 4
    with pytest.raises(DataError, match="no action is left of 4 after the 'one-pass' filter"):
        load_dataset("amazon-games", data_dir=tmp_path, min_actions=4)


def test_no_network_is_one_line_with_address_and_place(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset("ml-1m", progress=False)
    place = tmp_path / "cache" / "ml-1m" / "ml-1m.zip"
    assert str(caught.value) == (
        "cannot download ml-1m.zip (no connection to the server): get http://127.0.0.1:9/x with a "
        f"browser and put it at {place}, or in a folder that data_dir names"
    )
    with pytest.raises(DataError, match=r"ml-1m is not in .*: get http://127.0.0.1:9/x and put it"):
        load_dataset("ml-1m", data_dir=tmp_path, download=False)


def test_names_and_paths_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="no data set 'ml1m', did you mean 'ml-1m'. the names are bo"
    ):
        load_dataset("ml1m")
    with pytest.raises(DataError, match="no data set 'qqq'; the names are bookshop, ml-1m, "):
        load_dataset("qqq")
    with pytest.raises(DataError, match=f"no file or folder {tmp_path}/gone.csv"):
        load_dataset(tmp_path / "gone.csv")
    with pytest.raises(DataError, match="no file or folder gone.csv"):
        load_dataset("gone.csv")
    with pytest.raises(DataError, match="data_dir .*gone is not a folder"):
        load_dataset("ml-1m", data_dir=tmp_path / "gone")
    (tmp_path / "a.doc").write_text("")
    with pytest.raises(DataError, match=r"cannot tell the format of .*a.doc by its name"):
        load_dataset(tmp_path / "a.doc")
    with pytest.raises(DataError, match="holds no file whose ending is known"):
        load_dataset(tmp_path)
    with pytest.raises(DataError, match="user_column is for files of one's own, not for 'ml-1m'"):
        load_dataset("ml-1m", user_column="u")


def test_a_data_dir_variable_that_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINISASREC_DATA_DIR", str(tmp_path / "gone"))
    with pytest.raises(DataError, match="MINISASREC_DATA_DIR .*gone is not a folder"):
        load_dataset("ml-1m")


@pytest.mark.parametrize("place", ["zip", "loose", "loose in subfolder"])
def test_an_archive_or_folder_by_its_path(tmp_path: Path, place: str) -> None:
    PLACES[place](tmp_path / "ml-1m")
    dataset = load_dataset(
        tmp_path / "ml-1m" / "ml-1m.zip" if place == "zip" else tmp_path / "ml-1m"
    )
    assert dataset.num_actions == 25 and dataset.titles is not None
    assert dataset.name == "ml-1m" and dataset.titles[1] == "Film 1"
    dataset = load_dataset(loose(tmp_path / "some.thing"))  # the only table, with its titles
    assert dataset.name == "some.thing" and dataset.titles is not None


OWN = "user,item,time\n" + "".join(f"{u},{i},{10 * u + i}\n" for u in range(6) for i in range(5))


@pytest.mark.parametrize("where", ["file", "folder", "zip"])
def test_the_name_of_a_file_of_ones_own_does_not_change_how_it_is_read(
    tmp_path: Path, where: str
) -> None:
    text = OWN + "7,once,1\n"  # a user and an item that the filter drops
    said = {}
    for name in ("other.csv", "interactions.csv", "ratings.csv", "RATINGS.CSV"):
        folder = tmp_path / name.removesuffix(".csv")
        folder.mkdir()
        path = folder / name
        if where == "zip":
            path = folder / "mine.zip"
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr(name, text)
        else:
            path.write_text(text)
        dataset = load_dataset(folder if where == "folder" else path)
        assert dataset.num_users == 6 and dataset.num_items == 5
        said[name] = dataset.source.split("; ")[1:]
    assert set(map(tuple, said.values())) == {("one-pass filter, min_actions=5",)}
    # in the folder of the data set it is the data set's file
    own = tmp_path / "online-retail"
    own.mkdir()
    (own / "interactions.csv").write_text(text)
    assert load_dataset(own).num_users == 7 and "no filter" in load_dataset(own).source
    with pytest.warns(DataWarning, match="a variant"):
        assert load_dataset("online-retail", data_dir=tmp_path).num_users == 7
    assert load_dataset(own / "interactions.csv").num_users == 6  # a path to a file: its ending


def test_a_folder_of_two_tables_names_what_to_do(tmp_path: Path) -> None:
    for name in ("interactions.csv", "items.csv"):
        (tmp_path / name).write_text(OWN)
    with pytest.raises(
        DataError,
        match="more than one table .interactions.csv, items.csv.: give a file's path, such as",
    ):
        load_dataset(tmp_path)
    (tmp_path / "Online Retail.xlsx").write_bytes(b"")
    (tmp_path / "log.doc").write_bytes(b"")
    with pytest.raises(DataError, match="give the data set's name and --data-dir"):
        load_dataset(tmp_path / "log.doc")


def test_ones_own_file_in_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "mine.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("log/clicks.csv", "user,item\n" + "1,2\n" * 5)
        archive.writestr("__MACOSX/log/._clicks.csv", "a shadow that macOS makes")
        archive.writestr("log/README.md", "words")
    with pytest.warns(DataWarning, match="no time column"):
        dataset = load_dataset(path)
    assert (dataset.name, dataset.num_actions) == ("mine", 5)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("log/other.tsv", "")
    with pytest.raises(DataError, match="more than one table .log/clicks.csv, log/other.tsv.: gi"):
        load_dataset(path)
    with pytest.warns(DataWarning, match="no time column"):
        assert load_dataset(path / "log" / "clicks.csv").name == "clicks"
    with pytest.raises(DataError, match="mine.zip has no member 'log/x.csv'; it has: log/clicks"):
        load_dataset(path / "log" / "x.csv")


def test_a_saved_folder_by_its_path(tmp_path: Path) -> None:
    dataset = build_dataset([1] * 3, [1, 2, 3], [1, 2, 3], min_actions=0, name="mine")
    dataset.save(tmp_path / "saved")
    back = load_dataset(tmp_path / "saved")
    assert (back.name, back.fingerprint()) == ("mine", dataset.fingerprint())
    with pytest.raises(DataError, match="saved is already prepared"):
        load_dataset(tmp_path / "saved", min_actions=5)


@pytest.mark.usefixtures("toy_counts")
def test_the_command_prints_what_the_data_set_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loose(tmp_path)
    assert run_command(main, ["ml-1m", "--data-dir", str(tmp_path)]) == 0
    dataset = load_dataset("ml-1m", data_dir=tmp_path)
    assert capsys.readouterr().out.splitlines() == [
        "name          ml-1m",
        "all           5 users, 5 items, 25 actions; 5.0 actions/user (5 to 5), 5.0 actions/item",
        "train part    15 actions; 3.0 actions/user, 3.0 actions/item",
        "evaluated     5 users",
        "repeats       forbid (auto); 0.00% of the validation targets and 0.00% of the test "
        "targets were met before",
        f"source        {dataset.source}",
        f"fingerprint   {dataset.fingerprint()}",
    ]


def test_the_command_prints_notes_once_and_errors_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("user,item\n1,2\n1,3\n1,2\n2,3\n")
    assert run_command(main, [str(path), "--min-actions", "2", "--filter", "one-pass"]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note")]
    assert len(notes) == 1 and "mine.csv has no time column" in notes[0]
    (tmp_path / "Video.txt").write_text("1 1\n1 2\n1 3\n")
    assert run_command(main, ["amazon-games", "--data-dir", str(tmp_path)]) == 0
    assert "a variant, not comparable" in capsys.readouterr().out
    assert run_command(main, [str(tmp_path / "gone.csv")]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err == f"error: no file or folder {tmp_path / 'gone.csv'}\n"


def test_bookshop_needs_no_file() -> None:
    dataset = load_dataset("bookshop")
    assert dataset.name == "bookshop" and dataset.oracle is not None
    with pytest.raises(DataError, match="bookshop is already prepared"):
        load_dataset("bookshop", min_actions=5)


@pytest.mark.parametrize("name", DATASETS)
def test_every_entry_is_complete(name: str) -> None:
    spec = DATASETS[name]
    assert name == spec.name and spec.title and spec.licence
    if spec.preset is not None:  # settings that there are
        assert from_json(dict(spec.preset)).sasrec.n > 0
    if spec.make is not None:
        assert not spec.forms and not spec.file
        return
    assert spec.urls and spec.page.startswith("https://")
    inside = {f.lower() for form in spec.forms for f in form.files}
    assert spec.file.endswith(".zip") or spec.file.lower().removesuffix(".gz") in inside
    assert all(form.in_words() for form in spec.forms)


@pytest.mark.parametrize("name", DATASETS)
def test_help_and_docs_follow_from_the_entry(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rows = [line for line in table().splitlines() if line.startswith(f"| `{name}` | ")]
    assert len(rows) == 1 and rows[0].count(" | ") == 3 and DATASETS[name].licence in rows[0]
    assert run_command(datasets.main, []) == 0
    assert DATASETS[name].title in capsys.readouterr().out
    with pytest.raises(SystemExit):
        parse(["--help"])
    assert f"{name}, " in " ".join(capsys.readouterr().out.split())


CHECK_INS = """\
0\t2010-10-19T23:55:27Z\t30.23\t-97.79\t22847
0\t2010-10-18T22:17:43Z\t30.26\t-97.74\t420315
0\t2010-10-17T23:42:03Z\t30.25\t-97.76\t22847
7\t2009-02-03T04:05:06Z\t0.0\t0.0\t316637
"""


def test_a_log_without_a_header_is_one_entry(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "loc-gowalla_totalCheckins.txt.gz", "wt") as file:
        file.write(CHECK_INS)
    dataset = load_dataset("gowalla", data_dir=tmp_path, min_actions=0)
    users = [[dataset.item_ids[i] for i in dataset.sequence(u)] for u in range(2)]
    assert users == [["22847", "420315", "22847"], ["316637"]]  # newest first in the file
    assert dataset.user_ids == ["0", "7"]
    assert "Gowalla check-ins (SNAP): loc-gowalla_totalCheckins.txt.gz" in dataset.source
    bad = tmp_path / "gowalla"
    bad.mkdir()
    for line, problem in (
        ("0\t2010-10-19T23:55:27Z\t30.23\t22847\n", "expected user, time, latitude, longitude, "
         "item with tabs between, got 4 field"),
        ("0\tyesterday\t30.23\t-97.79\t22847\n", "line 5: the time must be"),
        ("0\t2010-10-19T23:55:27Z\t30.23\t-97.79\t\n", "line 5: the item id is missing"),
    ):  # fmt: skip
        (bad / "Gowalla_totalCheckins.txt").write_text(CHECK_INS + line)
        with pytest.raises(DataError, match=problem):
            load_dataset("gowalla", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("columns", "separator", "line"),
    [
        ("user item", None, "1 \t 30"),
        ("item user", None, "30 1"),
        ("rating time item user", ",", "4.5,2020-01-01,30,1"),
        ("time user item", "|", "17|1|30"),
        ("item time user", "::", "30::17.5::1"),
    ],
)
def test_columns_of_a_headerless_file_stand_where_the_entry_says(
    tmp_path: Path, columns: str, separator: str | None, line: str
) -> None:
    (tmp_path / "log").write_text(f"{line}\n\n{line}\n")
    actions = Headerless(columns, separator)(Source(tmp_path / "log"))
    assert (actions.user_ids, actions.item_ids) == (["1"], ["30"])
    assert (actions.times is not None) == ("time" in columns)
    assert len(actions.users) == 2


@pytest.fixture
def serve() -> Iterator[Callable[..., Host]]:
    with hosts() as start:
        yield start


@pytest.mark.usefixtures("toy_counts")
def test_a_named_data_set_is_downloaded_once(
    tmp_path: Path, serve: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    host = serve(archive(tmp_path / "made.zip").read_bytes())
    spec = DATASETS["ml-1m"]
    monkeypatch.setitem(DATASETS, "ml-1m", replace(spec, urls=(host.url,)))
    first = load_dataset("ml-1m", progress=False)
    again = load_dataset("ml-1m", progress=False)
    assert first.fingerprint() == again.fingerprint() and len(host.asked) == 1
    host.body = b"<html>an error page</html>"
    (tmp_path / "cache" / "ml-1m" / "ml-1m.zip").unlink()
    with pytest.raises(DataError, match=r"cannot download ml-1m.zip \(the server sent a web page"):
        load_dataset("ml-1m", progress=False)
    (tmp_path / "cache" / "ml-1m" / "ml-1m.zip").write_bytes(b"damaged later")
    with pytest.raises(DataError, match="ml-1m.zip is cut off or damaged .*: delete it and get it"):
        load_dataset("ml-1m", progress=False)


REAL = [
    ("ml-1m", (6_040, 3_416, 999_611), (18, 2_277), 987_531),
    ("ml-100k", (943, 1_349, 99_287), (19, 648), 97_401),
    ("amazon-games", (31_013, 23_715, 287_107), (1, 860), 225_305),
    ("amazon-beauty", (40_226, 54_542, 353_962), (5, 293), 273_510),
    ("online-retail", (4_074, 3_145, 264_514), (5, 1_741), 256_366),
]


def real(name: str, folder: Path) -> Dataset:
    try:
        return load_dataset(name, data_dir=folder, download=False, progress=False)
    except DataError as error:
        if f"{name} is not in" in str(error):
            pytest.skip(f"MINISASREC_DATA_DIR has no {name}")
        raise


@pytest.mark.filterwarnings("ignore::minisasrec.data.DataWarning")
@pytest.mark.parametrize(("name", "counts", "lengths", "train"), REAL, ids=[r[0] for r in REAL])
def test_real_data(
    data_dir: Path, name: str, counts: tuple[int, ...], lengths: tuple[int, int], train: int
) -> None:
    dataset = real(name, data_dir)
    stats = dataset.statistics()
    assert (stats.users, stats.items, stats.actions) == counts
    assert (stats.min_length, stats.max_length) == lengths
    split = leave_one_out(dataset)
    assert split.num_train_actions == train
    if name == "ml-1m":  # Table II counts the train part: 163.5 and 289.1
        assert f"{stats.actions_per_user:.1f} {train / stats.users:.1f}" == "165.5 163.5"
        assert f"{train / stats.items:.1f}" == "289.1"
        titles = dict(zip(dataset.item_ids, dataset.titles or [], strict=True))
        assert titles["2858"] == "American Beauty (1999)"
        assert dataset.categories is not None and all(dataset.categories[1:])
    if name == "amazon-games":  # filtered in one pass, so that small users and items are left
        per_user = [len(dataset.sequence(u)) for u in range(stats.users)]
        assert [sum(n < k for n in per_user) for k in (3, 4, 5)] == [112, 384, 1_672]
        assert len(split.eval_users("test")) == 31_013 - 112
        assert dataset.item_ids[6393] == "6393"  # the authors' numbering is kept
    if name == "amazon-beauty":
        with pytest.warns(
            DataWarning, match="40,226 users, 54,542 items, 353,962 actions; the pub"
        ):
            real(name, data_dir)
