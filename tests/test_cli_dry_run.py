"""`--dry-run` of `data` and `train`: what was understood of a file, and nothing is done."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from minisasrec.commands.cli import run_command
from minisasrec.learn.config import TrainConfig


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four users who buy seven things each, last thing first in the file."""
    rows = [
        f"k{u};2024-05-{t + 1:02} 12:00;p{(u + t) % 5};Thing {(u + t) % 5};9.90"
        for u in range(4)
        for t in reversed(range(7))
    ]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["Kunde;Datum;Artikel;Bezeichnung;Preis", *rows]) + "\n")
    monkeypatch.chdir(tmp_path)
    return path


def call(command: str, *arguments: str) -> int:
    return run_command(import_module(f"minisasrec.{command}").main, arguments)


COMMANDS = [("data.__main__", "log.csv"), ("train", "--dataset", "log.csv")]


@pytest.mark.parametrize("command", COMMANDS, ids=["data", "train"])
def test_it_shows_what_was_understood(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call(*command, "--dry-run") == 0
    told = capsys.readouterr().out
    for line in (
        "all           4 users, 5 items, 28 actions",
        "  user        Kunde",
        "  title       Bezeichnung",
        "  not read    Preis",
        "  separator   ;",
        "  encoding    utf-8",
        "  times       dates, ISO8601",
        "user k0: 7 actions",
        "  2024-05-01 12:00:00  p0  Thing 0\n  2024-05-02 12:00:00  p1  Thing 1\n",
        "user k2: 7 actions",
    ):
        assert line in told
    assert "user k3" not in told
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize("command", COMMANDS, ids=["data", "train"])
def test_as_json(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*command, "--dry-run", "--json", "--where", "Artikel!=p0") == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["reading"]["item"] == "Artikel"
    assert told["reading"]["where"] == "Artikel!=p0"
    assert (told["users"], told["items"]) == (4, 4)
    assert any("left out by Artikel!=p0" in note for note in told["notes"])
    first = told["sequences"][0]
    assert (first["user"], first["length"]) == ("k0", 5)
    assert first["actions"][0] == {"item": "p1", "title": "Thing 1", "time": 1714651200.0}


def test_without_it_data_says_only_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("data.__main__", "log.csv") == 0
    assert "Bezeichnung" not in capsys.readouterr().out


def test_a_config_file_does_not_turn_it_on(tmp_path: Path) -> None:
    from minisasrec.train import parse

    (tmp_path / "config.json").write_text(json.dumps(TrainConfig(dry_run=True).to_json()))
    assert not parse(["--config", "config.json"]).dry_run
