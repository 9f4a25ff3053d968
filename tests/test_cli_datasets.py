"""`minisasrec datasets`: list, describe, download, verify, clear; with a server on this machine."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from minisasrec import datasets
from minisasrec.commands.cli import run_command
from minisasrec.data import DATASETS, downloads, load_dataset, readers
from minisasrec.data.registry import DatasetSpec, FileFormat

ROWS = "".join(f"u{u},i{(u + t) % 7},{t}\n" for u in range(5) for t in range(4))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and no folder of data sets."""
    monkeypatch.setattr(downloads, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(datasets, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv("MINISASREC_DATA_DIR", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[DatasetSpec]:
    """A data set named toy, which a server on this machine offers."""
    site = tmp_path / "site"
    site.mkdir()
    with zipfile.ZipFile(site / "toy.zip", "w") as archive:
        archive.writestr("toy/toy.csv", "user,item,time\n" + ROWS)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    spec = DatasetSpec(
        name="toy",
        title="Toy actions",
        licence="free for tests",
        file="toy.zip",
        urls=(f"http://127.0.0.1:{server.server_port}/toy.zip",),
        md5=hashlib.md5((site / "toy.zip").read_bytes()).hexdigest(),
        page="https://toy.example",
        forms=(FileFormat(("toy.csv",), readers.read_table, filter="none", counts=(5, 7, 20)),),
    )
    monkeypatch.setitem(DATASETS, "toy", spec)
    yield spec
    server.shutdown()
    server.server_close()


def say(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert run_command(datasets.main, arguments) == code
    told = capsys.readouterr()
    if not code:
        assert not told.err
        return told.out
    lines = told.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), told.err
    return told.out + told.err


def test_all_are_listed_with_licence_and_place(
    toy: DatasetSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = say(capsys)
    for spec in DATASETS.values():
        [row] = re.findall(rf"^{re.escape(spec.name)} .*$", told, flags=re.MULTILINE)
        assert row.endswith(spec.title) and spec.licence in told
    assert re.search(r"^toy +5 +7 +20 +Toy actions$", told, flags=re.MULTILINE)
    assert told.count("not here") == len(DATASETS) - 1  # the bookshop needs no file
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "toy.csv").write_text("user,item,time\n" + ROWS)
    records = json.loads(say(capsys, "--json", "--data-dir", str(tmp_path / "mine")))
    [record] = [record for record in records if record["name"] == "toy"]
    assert record["present"] and record["place"] == str(tmp_path / "mine" / "toy.csv")
    assert [r["name"] for r in records if r["present"]] == ["bookshop", "toy"]


def test_download_describe_verify_clear(
    toy: DatasetSpec, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = say(capsys, "toy")
    assert "here          no; add --download" in told and "5 users, 7 items, 20 actions" in told
    assert "not on this machine" in say(capsys, "toy", "--verify", code=1)
    [record] = json.loads(say(capsys, "--download", "toy", "--json"))
    assert record["verified"] and set(record["checks"].values()) == {"as published"}
    assert record["place"] == f"{cache / 'toy' / 'toy.zip'} [toy/toy.csv]"
    assert record["fingerprint"] == load_dataset("toy").fingerprint()
    told = say(capsys, "toy")
    for fact in (toy.licence, toy.page, toy.urls[0], "4.0 actions/user", record["fingerprint"]):
        assert fact in told
    (cache / "other").mkdir()
    (cache / "other" / "kept").write_text("x")
    told = say(capsys, "toy", "--clear")
    assert f"removed  {cache / 'toy' / 'toy.zip'}" in told
    assert not (cache / "toy").exists() and (cache / "other" / "kept").exists()
    assert "nothing of it is in the cache" in say(capsys, "toy", "--clear")


def test_what_is_not_as_published_is_named(
    toy: DatasetSpec,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    form = replace(toy.forms[0], counts=(5, 8, None))
    monkeypatch.setitem(DATASETS, "toy", replace(toy, forms=(form,)))
    say(capsys, "toy", "--download", code=1)
    with zipfile.ZipFile(cache / "toy" / "toy.zip", "a") as archive:
        archive.writestr("more", "x")
    told = say(capsys, "toy", "--verify", code=1)
    assert "error: not as published: toy" in told
    assert re.search(r"^MD5 +differs: \w{32}, published \w{32}$", told, flags=re.MULTILINE)
    assert re.search(r"^users +as published$", told, flags=re.MULTILINE)
    assert re.search(r"^items +differs: 7, published 8$", told, flags=re.MULTILINE)
    assert re.search(r"^actions +20; no published number", told, flags=re.MULTILINE)


@pytest.mark.parametrize("place", ["cache", "cache/toy", "cache/toy/deep"])
def test_a_folder_that_the_user_named_is_never_cleared(
    toy: DatasetSpec,
    tmp_path: Path,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "cache" / "toy" / "deep").mkdir(parents=True)
    (tmp_path / "cache" / "toy" / "toy.csv").write_text("mine")
    monkeypatch.setenv("MINISASREC_DATA_DIR", str(tmp_path / place))
    assert "is your data folder" in say(capsys, "toy", "--clear", code=1)
    assert (tmp_path / "cache" / "toy" / "toy.csv").read_text() == "mine"


def test_files_elsewhere_survive_clearing(
    toy: DatasetSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "toy.csv").write_text("user,item,time\n" + ROWS)
    say(capsys, "toy", "--clear", "--data-dir", str(mine))
    assert (mine / "toy.csv").exists()
    (tmp_path / "cache").mkdir()
    try:
        (tmp_path / "cache" / "toy").symlink_to(mine, target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    assert "is a link" in say(capsys, "toy", "--clear", code=1)
    assert (mine / "toy.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ml1m",), "no data set 'ml1m'; the names are bookshop, "),
        (("--clear",), "--clear needs a name"),
        (("toy", "--clear", "--verify"), "one of --verify and --clear"),
    ],
)
def test_wrong_options(
    toy: DatasetSpec, arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in say(capsys, *arguments, code=2)


def test_the_bookshop_is_always_here(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = say(capsys, "bookshop", "--download")
    assert "made by this package" in told and "differs" not in told


def test_the_real_ones_are_as_published(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not (data_dir / "ml-100k").is_dir():
        pytest.skip("MINISASREC_DATA_DIR has no ml-100k")
    told = say(capsys, "ml-100k", "--verify", "--data-dir", str(data_dir))
    assert told.count("as published") >= 3
