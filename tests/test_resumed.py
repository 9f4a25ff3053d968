"""A finished run that is resumed, and what may fail at the end without the result being lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shop import log

import minisasrec.learn.fit
from minisasrec import train
from minisasrec.commands.cli import run_command
from minisasrec.errors import TrainingError
from minisasrec.learn.runs import Run

CHILD = Path(__file__).parent / "faults" / "child.py"
SIZE = ("--min-actions", 1, "--d", 8, "--n", 8, "--blocks", 1, "--epochs", 2)
COLUMNS = ("--user-column", "visitor", "--item-column", "page", "--time-column", "at")


def words(data: Path, out: Path, *more: object) -> list[str]:
    return [str(word) for word in ("--dataset", data, *COLUMNS, *SIZE, "--out", out, *more)]


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("resumed") / "log.csv"
    log(users=30).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module", params=["sasrec", "poprec"])
def finished(clicks: Path, request: pytest.FixtureRequest) -> Path:
    out = clicks.parent / request.param
    more = ("--model", request.param)
    size = words(clicks, out, *more)
    if request.param == "poprec":
        size = [str(w) for w in ("--dataset", clicks, *COLUMNS, "--min-actions", 1)]
        size += ["--out", str(out), *more]
    assert run_command(train.main, size) == 0
    return out


def test_resumed_it_prints_its_result_and_writes_nothing(finished: Path, tmp_path: Path) -> None:
    """As on a disk that can only be read: every call that would change the folder is counted."""
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / ".lock").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    watched = {"FOLDER": tmp_path / "run", "COUNT": tmp_path / "count", "AT": 1, "KIND": "full"}
    done = subprocess.run(
        [sys.executable, str(CHILD), "--resume", "--out", str(tmp_path / "run"), "--json"],
        env={**os.environ, **{f"MINISASREC_FAULT_{k}": str(v) for k, v in watched.items()}},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "count").read_text() == "0"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == before
    result = json.loads((finished / "result.json").read_text())
    assert json.loads(done.stdout) == {**result, "out": str(tmp_path / "run")}


def test_resumed_it_says_what_it_said_before(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table, the examples and what to do next are those of the end of the training."""
    before = json.loads((finished / "result.json").read_text())
    assert run_command(train.main, ["--resume", "--out", str(finished)]) == 0
    told = capsys.readouterr().out
    assert f"{before['test'][0]['HR@10']:.4f}" in told and "to go on: " in told
    assert "receipt: " in told


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda r: "not JSON", "is not JSON"),
        (lambda r: [r], "a JSON object was expected"),
        (lambda r: {k: v for k, v in r.items() if k != "test"}, "has no 'test'"),
        (lambda r: {**r, "epochs": "two"}, "'epochs' is 'two'"),
        (lambda r: {**r, "best_epoch": None}, "'best_epoch' is None"),
        (lambda r: {**r, "seed": True}, "'seed' is True"),
        (lambda r: {**r, "total_seconds": [1]}, "'total_seconds' is [1]"),
        (lambda r: {**r, "test": 3}, "'test' is 3"),
        (lambda r: {**r, "test": [3]}, "row 1 of test holds 3"),
        (lambda r: {**r, "test": [{"protocol": "full"}]}, "row 1 of test has no 'model'"),
        (lambda r: {**r, "test": [{**r["test"][0], "HR@10": "1"}]}, "'HR@10' is '1'"),
    ],
)
def test_a_damaged_result_is_one_line(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Any, told: str
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    run = Run(tmp_path / "run")
    damaged = damage(run.result())
    text = damaged if isinstance(damaged, str) else json.dumps(damaged)
    run.write_bytes("result.json", text.encode())  # its checksum in config.json fits
    capsys.readouterr()
    assert run_command(train.main, ["--resume", "--out", str(tmp_path / "run")]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1 and "result.json" in errors[0] and told in errors[0], errors


def test_more_epochs_go_on_and_give_a_new_result(clicks: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run_command(train.main, words(clicks, out)) == 0
    assert run_command(train.main, words(clicks, out, "--resume", "--epochs", 3)) == 0
    assert Run(out).result()["epochs"] == 3
    assert run_command(train.main, ["--resume", "--out", str(out)]) == 0
    assert Run(out).result()["epochs"] == 3


@pytest.mark.parametrize("wrong", ["backend", "disk", "folder"])
def test_a_learning_curve_that_cannot_be_made_costs_nothing(
    clicks: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    wrong: str,
) -> None:
    def cannot(*_: object) -> None:
        raise {"backend": ImportError("no module tkinter"), "disk": OSError("no space")}[wrong]

    out = tmp_path / "run"
    if wrong == "folder":
        (out / "learning_curve.png").mkdir(parents=True)
        (out / "history.csv").mkdir()
    else:
        monkeypatch.setattr(train, "learning_curve", cannot)
    assert run_command(train.main, words(clicks, out, "--json")) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["epochs"] == 2 == Run(out).result()["epochs"]
    assert "note: no learning curve: " in told.err
    assert ("history.csv" in told.err) == (wrong == "folder")


def test_the_result_is_the_last_file(
    clicks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before it, a run is not taken for finished: what is missing is made."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "learning_curve", killed)
    assert run_command(train.main, words(clicks, tmp_path / "run")) == 130
    assert not (tmp_path / "run" / "result.json").exists()
    monkeypatch.undo()
    assert run_command(train.main, ["--resume", "--out", str(tmp_path / "run")]) == 0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"result.json", "learning_curve.png", "history.csv"} <= names


def test_a_table_of_epochs_that_is_open_elsewhere_costs_nothing(
    clicks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def held(*_: object) -> None:
        raise TrainingError("cannot write history.csv: it is open in another program")

    monkeypatch.setattr(minisasrec.learn.fit, "write_csv", held)
    assert run_command(train.main, words(clicks, tmp_path / "run")) == 0
    assert "note: cannot write history.csv" in capsys.readouterr().err
    assert Run(tmp_path / "run").result()["epochs"] == 2
