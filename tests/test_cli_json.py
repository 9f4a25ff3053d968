"""`--json`: every command prints one JSON document, and nothing else, on stdout."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from minisasrec.__main__ import COMMANDS
from minisasrec.commands.cli import print_json, run_command


def call(command: str, *arguments: str) -> int:
    name = "data.__main__" if command == "data" else command
    return run_command(import_module(f"minisasrec.{name}").main, arguments)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log of eight users and a run that was trained on it."""
    folder = tmp_path_factory.mktemp("json")
    rows = [f"u{u},p{(u + t) % 9},{t}" for u in range(8) for t in range(7)]
    (folder / "log.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    sizes = ("--n", "8", "--d", "8", "--blocks", "1", "--epochs", "1")
    log = str(folder / "log.csv")
    assert call("train", "--dataset", log, *sizes, "--out", str(folder / "run"), "--json") == 0
    return folder


CALLS: dict[str, tuple[tuple[str, ...], Callable[[Any], bool]]] = {
    "train": (
        ("--dataset", "log.csv", "--epochs", "1", "--d", "8", "--out", "again"),
        lambda told: told["epochs"] == 1 and told["test"][0]["model"] == "sasrec",
    ),
    "tune": (
        ("log.csv", "--trials", "1", "--epochs", "1", "--out", "found"),
        lambda told: told["best"]["trial"] == 1,
    ),
    "evaluate": (("run",), lambda told: told["rows"][0]["HR@10"] <= 1),
    "datasets": ((), lambda told: told[0]["name"] == "bookshop"),
    "data": (("log.csv",), lambda told: (told["users"], told["items"]) == (8, 9)),
    "recommend": (("run", "--user", "u1", "--k", "2"), lambda told: len(told) == 2),
    "similar": (("run", "--items", "p1", "--k", "3"), lambda told: told[2]["rank"] == 3),
    "receipt": (("run", "run"), lambda told: told["compared"].endswith("bit for bit")),
    "explore": (("run", "--out", "page.html"), lambda told: told["bytes"] > 50_000),
    "explain": (("softmax",), lambda told: told[0]["name"] == "softmax"),
    "reproduce": (("table2", "--dataset", "log.csv"), lambda told: told["records"][0]["ours"] == 8),
}


def test_every_command_is_here() -> None:
    assert CALLS.keys() == COMMANDS.keys() - {"class"}  # whose three works are in test_class.py


@pytest.mark.parametrize("command", CALLS)
def test_one_document_and_nothing_else(
    command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments, is_right = CALLS[command]
    if command == "tune":
        pytest.importorskip("optuna", reason="optuna is not installed")
    monkeypatch.chdir(place)
    assert call(command, *arguments, "--json") == 0
    told = capfd.readouterr().out
    assert told.isascii() and told.count("\n") == 1
    assert is_right(json.loads(told, parse_constant=pytest.fail))  # JSON has no NaN


@pytest.mark.parametrize("command", CALLS)
def test_an_error_leaves_stdout_empty(
    command: str, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert call(command, *CALLS[command][0], "--threads", "0", "--json") == 2
    told = capfd.readouterr()
    assert not told.out and told.err.startswith("error: --threads is 0")


def test_numbers_that_json_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    print_json({"a": [np.float32("nan"), float("inf"), np.int64(3)], "b": "頁"})
    assert json.loads(capsys.readouterr().out) == {"a": [None, None, 3], "b": "頁"}
