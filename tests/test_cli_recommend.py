"""`minisasrec recommend` and `similar`: whom one asks for, what is read and written, and errors."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest

from minisasrec import recommend, similar, train
from minisasrec.commands import tables
from minisasrec.commands.cli import run_command
from minisasrec.commands.loading import check_out
from minisasrec.commands.titles import Titles, plain
from minisasrec.data import build_dataset, leave_one_out
from minisasrec.errors import ConfigError, DataError, TrainingError
from minisasrec.learn.known import Known
from minisasrec.recommender import Recommender

FILMS = {
    "-f1": "Toy Story (1995)",
    "f2": "Alien (1979)",
    "--f3": "Good, the Bad and the Ugly, The (1966)",
    "f4": "Hamlet (1948)",
    "f5": "Hamlet (1990)",
    "f6": "Misérables, Les (1995)",
    "f7": "Star Wars: Episode IV - A New Hope (1977)",
    "f8": "Alien Nation (1988)",
    "f9": "Red \x1b[31mAl\u202eert",
    "007": "Toy Soldiers (1991)",
}
IDS = list(FILMS)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log of 25 users of ten films, and a run; `rare` has two actions."""
    folder = tmp_path_factory.mktemp("films")
    lines = [["who", "film", "at", "title"]]
    for u in range(25):
        for t in range(6):
            film = IDS[(u + t) % 10]
            lines.append([f"u{u}", film, str(t), FILMS[film]])
    lines += [["rare", "f2", "1", FILMS["f2"]], ["rare", "f4", "2", FILMS["f4"]]]
    with (folder / "films.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(lines)
    columns = ("--user-column", "who", "--item-column", "film", "--time-column", "at")
    sizes = ("--n", "4", "--d", "8", "--blocks", "1", "--epochs", "2", "--title-column", "title")
    data = ("--dataset", str(folder / "films.csv"), *columns, *sizes)
    assert run_command(train.main, [*data, "--out", str(folder / "run"), "--json"]) == 0
    return folder


@pytest.fixture
def ask(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Any:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, code: int = 0, command: Any = recommend) -> str:
        capfd.readouterr()
        assert run_command(command.main, [str(films / "run"), *arguments]) == code
        told = capfd.readouterr()
        if code:
            lines = [line for line in told.err.splitlines() if not line.startswith("note: ")]
            assert not told.out and len(lines) == 1 and lines[0].startswith("error: "), told
            return lines[0]
        return told.out

    return call


def rows(text: str) -> list[dict[str, Any]]:
    return json.loads(text)


# --- whom ------------------------------------------------------------------------------------


def test_the_command_says_what_the_object_says(ask: Any, films: Path) -> None:
    object_ = Recommender.load(films / "run")
    for arguments, asked in (
        (("--user", "u3", "u11"), {"users": ["u3", "u11"]}),
        (("--items", "f2", "f4"), {"histories": [["f2", "f4"]]}),
        (("--user", "u3", "--keep-seen"), {"users": ["u3"], "repeats": "allow"}),
        (("--user", "u3", "--repeats", "auto"), {"users": ["u3"], "repeats": "auto"}),
    ):
        told = rows(ask(*arguments, "--k", "3", "--json"))
        wanted = object_.recommend(k=3, **asked).to_dict("records")
        assert [(r["item"], r["rank"], r.get("user")) for r in told] == [
            (r["item"], r["rank"], r.get("user")) for r in wanted
        ]
        np.testing.assert_array_equal(
            np.float32([r["score"] for r in told]), [r["score"] for r in wanted]
        )


def test_several_users_in_lines(ask: Any) -> None:
    told = ask("--user", "u1", "u2", "u1", "--k", "2", "--scores")
    assert [line for line in told.splitlines() if line.startswith("user")] == ["user u1", "user u2"]
    lines = [line for line in told.splitlines() if line.lstrip().startswith(("1.", "2."))]
    assert len(lines) == 4 and all("[" in line for line in lines)
    assert "user" not in ask("--user", "u1")


@pytest.mark.parametrize(
    "given",
    [("--items", "-f1", "--f3"), ("--items=-f1", "--items=--f3"), ("--items", "--", "-f1", "--f3")],
)
def test_ids_that_begin_with_a_dash(ask: Any, given: tuple[str, ...]) -> None:
    told = ask("--k", "2", *given)
    assert told.splitlines()[0] == (
        "after:  Toy Story (1995) | Good, the Bad and the Ugly, The (1966)"
    )


def test_titles_are_shown_harmless(ask: Any) -> None:
    told = ask("--items", "f9") + ask("--items", "f9", command=similar)
    assert "Red \\x1b[31mAl\\u202eert" in told and "\x1b" not in told and "\u202e" not in told


def test_a_user_whom_the_filter_left_out_is_told_so(ask: Any) -> None:
    error = ask("--user", "rare", code=1)
    assert "user 'rare' was left out of the training by the one-pass filter, min_actions=5" in error
    assert "(2 actions in" in error and "--items or --history" in error
    assert "no user 'u111' in films; did you mean" in ask("--user", "u1", "u111", code=1)


def test_the_run_needs_no_data_file(ask: Any, films: Path, tmp_path: Path) -> None:
    hidden = films / "films.csv"
    hidden.rename(films / "elsewhere.csv")
    try:
        assert len(rows(ask("--user", "u3", "--json"))) == 4
        assert "no user 'rare'" in ask("--user", "rare", code=1)
    finally:
        (films / "elsewhere.csv").rename(hidden)


# --- titles ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "ids"),
    [
        (["Toy Story, Alien"], ["-f1", "f2"]),
        (["toy story; ALIEN"], ["-f1", "f2"]),
        (["Toy Story (1995)", "Alien"], ["-f1", "f2"]),
        (["Alien, The Good, the Bad and the Ugly, Toy Story"], ["f2", "--f3", "-f1"]),
        (["Good, the Bad and the Ugly, The (1966); Alien"], ["--f3", "f2"]),
        (["Hamlet (1990)"], ["f5"]),
        (["les miserables"], ["f6"]),
        (["a new hope"], ["f7"]),
        (["Toy Stroy"], ["-f1"]),
        ([" Alien , ,"], ["f2"]),
    ],
)
def test_titles_as_one_types_them(ask: Any, films: Path, texts: list[str], ids: list[str]) -> None:
    known = Recommender.load(films / "run").known
    assert Titles(known).history(texts) == ids
    last = ask("--history", *texts).splitlines()[0]
    assert last == "after:  " + " | ".join(FILMS[i] for i in ids)


@pytest.mark.parametrize(
    ("texts", "titles"),
    [
        (["Steins;Gate"], ["Steins;Gate"]),
        (["Gate; Steins;Gate; Death Note"], ["Gate", "Steins;Gate", "Death Note"]),
        (["steins gate; gate"], ["Steins;Gate", "Gate"]),
        (["C"], ["C"]),
        (["C++, C#; C"], ["C++", "C#", "C"]),
        (["がん", "かん"], ["がん", "かん"]),
        (["Heat", "Heat (1995)"], ["Heat", "Heat (1995)"]),
    ],
)
def test_a_title_that_is_typed_exactly_is_that_one(texts: list[str], titles: list[str]) -> None:
    every = [
        "Steins;Gate",
        "Gate",
        "Death Note",
        "C++",
        "C",
        "C#",
        "がん",
        "かん",
        "Heat (1995)",
        "Heat",
    ]
    titled = {str(item): title for item, title in enumerate(every)}
    data = build_dataset(["u"] * len(every), list(titled), titles=titled, min_actions=1)
    known = Known.of(leave_one_out(data))
    assert [titled[item] for item in Titles(known).history(texts)] == titles


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Hamlet", r"'Hamlet' may be 2 items: Hamlet (1948) [f4]; Hamlet (1990) [f5]; write the"),
        ("Toy", "'Toy' may be 2 items: Toy Story (1995) [-f1]; Toy Soldiers (1991) [007]"),
        ("Hamlet (2000)", "may be 2 items"),
        ("Zzyzx", "no title like 'Zzyzx' in films"),
        ("Toy Factory", "no title like 'Toy Factory' in films; the nearest are Toy Story (1995)"),
        (";", "the history is empty"),
    ],
)
def test_titles_that_name_no_single_item(ask: Any, text: str, says: str) -> None:
    assert says in ask("--history", text, code=1)


def test_plain_titles() -> None:
    assert plain("Matrix, The (1999)") == plain("the MATRIX") == "the matrix"
    assert plain("!!!") == "!!!" and plain("七人の侍 (1954)") == "七人の侍"


def test_a_model_without_titles_says_so() -> None:
    data = build_dataset([1, 1, 1], [1, 2, 3], min_actions=1)
    with pytest.raises(DataError, match="without titles; name the items by their ids: --items"):
        Titles(Known.of(leave_one_out(data)))


# --- which items -----------------------------------------------------------------------------


def test_candidates_and_exclude(ask: Any, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\ufefff4\n\n  f5 \r\n007\n", encoding="utf-8")
    (tmp_path / "table.csv").write_text("price,film\n3,f5\n4,007\n")
    (tmp_path / "one.tsv").write_text("name\nf4\n007\n")
    pandas.DataFrame({"item": ["f4", "f5"], "x": [1, 2]}).to_json(
        tmp_path / "t.jsonl", orient="records", lines=True
    )

    def items(*arguments: str) -> set[str]:
        return {row["item"] for row in rows(ask("--items", "f2", "--json", *arguments))}

    assert items("--candidates", "list.txt") == {"f4", "f5", "007"}
    assert items("--candidates", "table.csv") == {"f5", "007"}  # the column of the log
    assert items("--candidates", "one.tsv") == {"f4", "007"}
    assert items("--candidates", "t.jsonl") == {"f4", "f5"}
    assert items("--candidates", "list.txt", "--exclude", "table.csv") == {"f4"}
    assert items("--exclude", "list.txt") == set(IDS) - {"f2", "f4", "f5", "007"}
    assert items("--keep-seen") == set(IDS)

    for name, table, header in (
        ("stock.xlsx", {"price": [3, 4], "film": ["f5", "007"]}, True),
        ("only.xlsx", {"film": ["f5", "007"]}, True),
        ("ids.xlsx", {"-": ["f5", "007"]}, False),
    ):
        pandas.DataFrame(table).to_excel(tmp_path / name, index=False, header=header)
        assert items("--candidates", name) == {"f5", "007"}
    titled = pandas.DataFrame([["for May", None], [None, None], ["x", "film"], [1, "f5"]])
    titled.to_excel(tmp_path / "titled.xlsx", index=False, header=False)
    assert items("--candidates", "titled.xlsx") == {"f5"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize(
    ("name", "head"), [("c.txt", ""), ("c.csv", "item\n"), ("c.tsv", "item\tx\n")]
)
def test_candidates_in_any_encoding(tmp_path: Path, encoding: str, name: str, head: str) -> None:
    rest = "\t1" if name == "c.tsv" else ""
    text = head + "".join(f"{item}{rest}\n" for item in ("f1", "007", "Amélie"))
    (tmp_path / name).write_text(text, encoding=encoding)
    assert tables.read_ids(tmp_path / name) == ["f1", "007", "Amélie"]


@pytest.mark.parametrize(
    ("name", "text", "ids"),
    [
        ("a.csv", "5\n6\n7\n", ["5", "6", "7"]),  # no header, and nothing is lost
        ("a.csv", "product_id\n5\n6\n", ["5", "6"]),
        ("a.csv", 'item\n"a ""b"""\n"c"\n', ['a "b"', "c"]),
        ("a.csv", "product_id,stock\n5,0\n6,3\n", ["5", "6"]),
        ("a.csv.gz", "item\n5\n6\n", ["5", "6"]),
        ("a.csv", "item,n\n5,0\nitem,n\n6,3\n", ["5", "6"]),  # two lists put together
    ],
)
def test_lists_of_ids(tmp_path: Path, name: str, text: str, ids: list[str]) -> None:
    raw = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    assert tables.read_ids(tmp_path / name) == ids


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("none.txt", "x1\nx2\n", "none of the 2 candidates is known"),
        ("empty.txt", "\n", "the list is empty"),
        ("two.csv", "a,b\n1,2\n", "two.csv has the columns a, b; name the one with the ids 'item'"),
        ("bad.jsonl", "{", "bad.jsonl line 1: expected a JSON object on each line, got '{'"),
        ("bad.txt", None, "cannot read bad.txt: "),
        ("nothing.csv", "", "the list is empty"),
    ],
)
def test_candidates_that_are_none(
    ask: Any, tmp_path: Path, name: str, text: str | None, says: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    assert says in ask("--items", "f2", "--candidates", name, code=1)


# --- into a file -----------------------------------------------------------------------------


@pytest.mark.parametrize("ending", tables.ENDINGS)
def test_everybody_into_a_file(ask: Any, films: Path, tmp_path: Path, ending: str) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    out = tmp_path / f"recs{ending}"
    told = json.loads(ask("--all-users", "--out", str(out), "--k", "3", "--json"))
    assert told == {"out": str(out), "users": 25, "rows": 75}
    wanted = Recommender.load(films / "run").recommend(k=3)
    if ending == ".csv":
        found = pandas.read_csv(out, dtype={"item": str, "user": str}, keep_default_na=False)
    elif ending == ".parquet":
        found = pandas.read_parquet(out)
    else:
        found = pandas.read_json(out, lines=True, dtype={"item": str, "user": str})
    assert list(found.columns) == list(wanted.columns)
    for name in ("user", "item", "title", "rank"):
        assert found[name].tolist() == wanted[name].tolist()
    np.testing.assert_allclose(found["score"], wanted["score"], rtol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]  # nothing half-written


@pytest.mark.parametrize("ending", tables.ENDINGS)
def test_blocks_make_the_same_file(
    ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    ask("--all-users", "--out", f"one{ending}")
    monkeypatch.setattr(recommend, "BLOCK", 7)
    ask("--all-users", "--out", f"many{ending}")
    read = pandas.read_parquet if ending == ".parquet" else Path.read_text
    one, many = (read(tmp_path / f"{name}{ending}") for name in ("one", "many"))
    assert one.equals(many) if ending == ".parquet" else one == many


def test_an_interrupted_write_leaves_the_old_file(
    ask: Any, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recs.csv").write_text("old")
    whole = Recommender.recommend_in_blocks

    def broken(self: Recommender, *args: Any, **options: Any) -> Iterator[Any]:
        yield next(iter(whole(self, *args, **options)))
        raise KeyboardInterrupt

    monkeypatch.setattr(Recommender, "recommend_in_blocks", broken)
    arguments = [str(films / "run"), "--all-users", "--out", "recs.csv"]
    assert run_command(recommend.main, arguments) == 130
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("recs.csv", "old")]


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot write .*recs.csv: "):
        with tables.writing(tmp_path / "nowhere" / "recs.csv"):
            pass


def test_ids_of_whole_numbers_keep_their_type(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    with tables.writing(tmp_path / "t.parquet") as writer:
        empty = pandas.DataFrame({"user": np.array([], int), "item": np.array([], object)})
        writer.write(empty)
        writer.write(pandas.DataFrame({"user": [7], "item": ["007"]}))
    table = pandas.read_parquet(tmp_path / "t.parquet")
    assert table["user"].tolist() == [7] and table["user"].dtype == np.int64
    assert table["item"].tolist() == ["007"]


# --- wrong options, and similar --------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--user ID ..., --items ID ..., --history TITLES or --all-users; got none of them"),
        (("--user", "u1", "--items", "f2"), "got --user and --items"),
        (("--user", "u1", "--k", "0"), "--k is 0; it must be at least 1"),
        (("--all-users",), "--all-users needs --out FILE"),
        (("--all-users", "--out", "recs.xlsx"), "its ending says the format: .parquet, .csv"),
        (("--all-users", "--out", "recs"), "its ending says the format"),
        (("--items", "f2", "--scheduler", "tcp://x:1"), "--scheduler is for many users"),
        (("--all-users", "--out", "{films}/run/history.jsonl"), "a file of the run itself; give"),
        (("--all-users", "--out", "{films}/films.csv"), "films.csv, the log of this run; give"),
        (
            ("--user", "u1", "--candidates", "{films}/some.csv", "--out", "{films}/some.csv"),
            "some.csv, which is read here, too; give another name",
        ),
        (("--user", "u1", "--keep-seen", "--repeats", "forbid"), "contradict each other"),
        (("--user", "u1", "--explain", "--out", "r.csv"), "--explain goes without --out"),
    ],
)
def test_wrong_options(ask: Any, films: Path, arguments: tuple[str, ...], says: str) -> None:
    (films / "some.csv").write_text("item\nf2\n")
    assert says in ask(*(word.format(films=films) for word in arguments), code=2)


def test_the_log_is_told_by_its_name_from_another_folder(films: Path, tmp_path: Path) -> None:
    """A run says where its log was for the folder in which it was started."""
    (tmp_path / "films.csv").write_text("user,item\n")
    for dataset, refused in (("films.csv", True), (str(films / "films.csv"), False)):
        of = SimpleNamespace(config=SimpleNamespace(dataset=dataset))
        with pytest.raises(ConfigError, match="the log of this run") if refused else nullcontext():
            check_out(tmp_path / "films.csv", films / "run", of)  # type: ignore[arg-type]


def test_unknown_items_have_near_names(ask: Any) -> None:
    assert "no item 'f22' in films; did you mean f2" in ask("--items", "f22", code=1)
    error = ask("--items", "Alien (1979)", code=1)
    assert "that is the title of item 'f2', whose id is asked for" in error


def test_similar_items(ask: Any, films: Path) -> None:
    told = rows(ask("--items", "f2", "-f1", "--k", "3", "--json", command=similar))
    wanted = Recommender.load(films / "run").similar_items(["f2", "-f1"], 3)
    assert [r["similar"] for r in told] == wanted["similar"].tolist() and len(told) == 6
    lines = ask("--history", "Alien", "--k", "2", command=similar).splitlines()
    assert lines[0] == "like:  Alien (1979)" and len(lines) == 3
    assert "give either --items" in ask(code=2, command=similar)
    assert "--k is 0" in ask("--items", "f2", "--k", "0", code=2, command=similar)


def test_reasons(ask: Any, films: Path) -> None:
    told = rows(ask("--items", "f2", "f4", "-f1", "--k", "3", "--explain", "--json"))
    table = Recommender.load(films / "run").explain(["f2", "f4", "-f1"], k=3).table
    for row in told:
        wanted = table[table["rank"] == row["rank"]].set_index("past")["adds"].to_dict()
        assert {why["item"]: why["adds"] for why in row["because"]} == pytest.approx(wanted)
        assert row["because"][0]["adds"] == max(wanted.values())
    assert [row["item"] for row in told] == [
        row["item"] for row in rows(ask("--items", "f2", "f4", "-f1", "--k", "3", "--json"))
    ]
    lines = ask("--user", "u1", "u2", "--k", "2", "--explain").splitlines()
    because = [line.strip() for line in lines if "because of" in line]
    assert because and all(line.startswith("because of +") for line in because)
    assert any(f" {title}" in because[0] for title in FILMS.values())


# --- a cluster -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        yield cluster


def test_a_cluster_gives_the_same_file(
    ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Any
) -> None:
    monkeypatch.setattr(recommend, "BLOCK", 4)
    address = cluster.scheduler_address
    ask("--all-users", "--out", "here.csv", "--k", "3")
    ask("--all-users", "--out", "there.csv", "--k", "3", "--scheduler", address)
    assert (tmp_path / "here.csv").read_bytes() == (tmp_path / "there.csv").read_bytes()
    (tmp_path / "list.txt").write_text("f4\nf5\n007\n")
    chosen = ("--user", "u1", "u2", "u3", "u4", "u5", "--candidates", "list.txt", "--json")
    assert ask(*chosen) == ask(*chosen, "--scheduler", address)


def test_without_dask_it_is_one_line(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    error = ask("--user", "u1", "--scheduler", "tcp://127.0.0.1:9", code=2)
    assert "--scheduler needs distributed, which is not installed: pip install" in error


def test_no_scheduler_is_one_line(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    client = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda address, timeout: client(address, timeout=1))
    error = ask("--all-users", "--out", "r.csv", "--scheduler", "tcp://127.0.0.1:9", code=2)
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in error
    assert not Path("r.csv").exists()


def test_a_worker_that_dies_is_one_line(
    films: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    import dask

    from minisasrec.commands import cluster as module

    def dies(*_: Any) -> None:
        import os

        os._exit(1)  # as a worker that the system ends for lack of memory

    monkeypatch.setattr(module, "_recommend", dies)
    monkeypatch.chdir(tmp_path)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=1, dashboard_address=None) as mortal,
    ):
        address = mortal.scheduler_address
        command = [str(films / "run"), "--all-users", "--out", "r.csv", "--scheduler", address]
        assert run_command(recommend.main, command) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "the cluster lost several workers at one block" in errors[0]
    assert not list(tmp_path.iterdir())


def test_a_scheduler_that_goes_away_is_one_line(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recommend, "BLOCK", 1)
    fleeting = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    )
    write = tables.Writer.write

    def closing(self: tables.Writer, table: Any) -> None:
        write(self, table)
        fleeting.close()

    monkeypatch.setattr(tables.Writer, "write", closing)
    command = [str(films / "run"), "--all-users", "--out", "r.csv", "--scheduler"]
    assert run_command(recommend.main, [*command, fleeting.scheduler_address]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "the connection to the scheduler at" in errors[0]
    assert not list(tmp_path.iterdir())


def test_a_cluster_without_workers_is_one_line(ask: Any) -> None:
    distributed = pytest.importorskip("distributed", reason="distributed is not installed")
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as empty:
        address = empty.scheduler_address
        error = ask("--all-users", "--out", "r.csv", "--scheduler", address, code=1)
    assert "has no workers; start one: dask worker" in error
