"""`minisasrec tune`: the same trials from a seed, the validation part alone, nothing lost."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minisasrec import train, tune
from minisasrec.commands.cli import run_command
from minisasrec.data import build_dataset, leave_one_out, make_split
from minisasrec.experiments import search
from minisasrec.experiments.search import read_space
from minisasrec.learn.config import TrainConfig, preset
from minisasrec.learn.settings import with_settings

pytest.importorskip("optuna", reason="optuna is not installed")

SPACE = {"lr": {"low": 1e-3, "high": 1e-1, "log": True}, "d": [4, 8], "loss": ["bce", "softmax"],
         "dropout": {"low": 0.0, "high": 0.6, "step": 0.2}, "negatives": [1, 2], "n": [8],
         "blocks": {"low": 0, "high": 1}}  # fmt: skip


def write_log(path: Path, last_shift: int = 0) -> Path:
    """40 users who walk a ring of 160 items, 4 to 9 steps; their last actions moved on by a shift.

    The first four steps of the users together reach every item, whatever the shift.
    """
    rng = np.random.default_rng(1)
    lines = ["user,item,time"]
    for user in range(40):
        length = int(rng.integers(6, 10))
        for t in range(length):
            shift = last_shift if t == length - 1 else 0
            lines.append(f"u{user},i{(4 * user + t + shift) % 160},{t}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_log(tmp_path / "log.csv")
    (tmp_path / "space.json").write_text(json.dumps(SPACE), encoding="utf-8")
    return tmp_path


def call(*arguments: str, data: str = "log.csv", code: int = 0) -> None:
    given = ("--space", "space.json", "--epochs", "5", "--min-actions", "1", "--threads", "1")
    assert run_command(tune.main, [data, *given, *arguments]) == code


def trials(folder: str) -> list[dict[str, Any]]:
    """The finished trials, without the time they took."""
    lines = Path(folder, "trials.jsonl").read_text(encoding="utf-8").splitlines()
    return [{**json.loads(line), "seconds": None} for line in lines]


def test_trials_are_judged_by_the_wanted_ranking(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for select in ("sampled", "full"):
        call("--trials", "1", "--out", select, "--select", select)
        assert f"1 trials (1 done), judged by {select} ranking; " in capsys.readouterr().out
        assert json.loads(Path(select, "best.json").read_text("utf-8"))["select"] == select
    (sampled,), (full,) = trials("sampled"), trials("full")
    assert full["NDCG@10"] < sampled["NDCG@10"]  # a harder ranking of the same training
    call("--trials", "2", "--out", "full", "--resume", "--select", "sampled", code=2)
    assert "began with select full, now it is sampled" in capsys.readouterr().err


def test_a_seed_gives_the_same_trials_in_one_go_or_in_three(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call("--trials", "9", "--out", "whole")
    whole = trials("whole")
    assert [trial["trial"] for trial in whole] == list(range(1, 10))
    assert {"done", "pruned"} == {trial["state"] for trial in whole}
    assert len({json.dumps(trial["values"]) for trial in whole}) > 6
    call("--trials", "2", "--out", "parts")
    epochs: list[int] = []

    def ctrl_c(number: int, entry: dict[str, Any]) -> None:
        epochs.append(entry["epoch"])
        if len(epochs) == 9:  # in the middle of the fourth trial at the latest
            raise KeyboardInterrupt

    run = search.Search.run
    monkeypatch.setattr(
        search.Search, "run", lambda self, n, deadline, _: run(self, n, None, ctrl_c)
    )
    capsys.readouterr()
    call("--trials", "9", "--out", "parts", "--resume", code=130)
    kept = len(trials("parts"))
    assert 2 < kept < 9
    assert f"interrupted: {kept} finished trials are kept" in capsys.readouterr().err
    assert Path("parts", "best.json").is_file()
    monkeypatch.undo()
    monkeypatch.chdir(here)
    call("--trials", "9", "--out", "parts", "--resume")
    assert trials("parts") == whole
    for name in ("best.json", "trials.csv"):
        mine, theirs = (Path(f, name).read_text(encoding="utf-8") for f in ("parts", "whole"))
        assert name == "trials.csv" or mine == theirs
    call("--trials", "2", "--out", "other", "--seed", "1")
    call("--trials", "3", "--out", "other", "--resume")  # the seed and all else from the folder
    assert trials("other")[1]["values"] != whole[1]["values"]


def test_the_test_part_is_not_read(here: Path) -> None:
    write_log(here / "moved.csv", last_shift=37)
    first, second = (leave_one_out(build_dataset(*columns(p), min_actions=1)) for p in (
        here / "log.csv", here / "moved.csv"))  # fmt: skip
    assert (first.valid == second.valid).all() and (first.test != second.test).sum() == 40
    call("--trials", "4", "--out", "a")
    call("--trials", "4", "--out", "b", data="moved.csv")
    assert trials("a") == trials("b")


def columns(path: Path) -> tuple[list[str], list[str], list[int]]:
    rows = list(csv.DictReader(path.open(encoding="utf-8")))
    return [r["user"] for r in rows], [r["item"] for r in rows], [int(r["time"]) for r in rows]


def test_a_split_without_its_test_part(here: Path) -> None:
    users = ["a"] * 5 + ["b"] * 2 + ["c"] * 3
    items = ["1", "2", "3", "4", "5", "1", "2", "3", "4", "1"]
    split = leave_one_out(build_dataset(users, items, min_actions=1))
    less = search.without_test(split)
    sequences = [less.dataset.sequence(u).tolist() for u in range(3)]
    assert sequences == [[1, 2, 3, 4], [1, 2], [3, 4]]
    trains = [less.train_sequence(u).tolist() for u in range(3)]
    assert (
        trains == [split.train_sequence(u).tolist() for u in range(3)] == [[1, 2, 3], [1, 2], [3]]
    )
    assert less.valid.tolist() == split.valid.tolist() == [4, 0, 4]
    assert not less.test.any() and less.repeats == split.repeats


def test_a_split_by_time_without_its_test_part() -> None:
    rng = np.random.default_rng(2)
    users, times = rng.integers(9, size=200), rng.integers(1000, size=200)
    data = build_dataset(users, rng.integers(30, size=200), times, min_actions=1, repeats="allow")
    split = make_split(data, "time:0.7")
    less = search.without_test(split)
    assert less.valid.tolist() == split.valid.tolist() and (less.valid > 0).sum() > 4
    for u in range(data.num_users):
        assert less.train_sequence(u).tolist() == split.train_sequence(u).tolist()
    assert (less.catalogue == split.catalogue).all() and not less.test.any()
    assert less.dataset.times is not None and data.times is not None
    moment = data.times[split.test_at[split.test_at >= 0]].min()
    assert less.dataset.times.max() < moment


def test_best_settings_are_a_configuration_of_train(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("--trials", "3", "--out", "found", "--json")
    told = json.loads(capsys.readouterr().out)
    best = max(
        (t for t in trials("found") if t["state"] == "done"), key=lambda trial: trial["NDCG@10"]
    )
    assert told["best"]["trial"] == best["trial"] and told["trials"]["done"] == 3
    rows = list(csv.DictReader(Path("found", "trials.csv").open(encoding="utf-8")))
    assert [int(row["trial"]) for row in rows] == [1, 2, 3] and set(SPACE) <= rows[0].keys()
    assert Path("found", "trials.png").read_bytes().startswith(b"\x89PNG")
    config = train.parse(["--config", "found/best.json", "--out", "run"])
    assert config.epochs == 5 and config.columns.min_actions == 1
    for name, value in best["values"].items():
        place = config if name in ("lr", "negatives") else config.sasrec
        assert getattr(place, name) == value
    assert run_command(train.main, ["--config", "found/best.json", "--out", "run", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["epochs"] == best["epochs"]


def test_the_first_trial_has_the_settings_as_they_are(here: Path) -> None:
    (here / "base.json").write_text('{"lr": 0.02, "sasrec": {"loss": "bce", "d": 4, "n": 8}}')
    call("--trials", "1", "--out", "a", "--config", "base.json")
    values = trials("a")[0]["values"]
    assert (values["lr"], values["loss"], values["d"], values["n"]) == (0.02, "bce", 4, 8)


def test_a_trial_that_cannot_be_is_told_and_the_search_goes_on(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "space.json").write_text('{"d": [5, 8], "heads": [2], "n": [8], "lr": [0.01, 0.02]}')
    call("--trials", "6", "--out", "a")
    states = {trial["values"]["d"]: trial["state"] for trial in trials("a")}
    assert states == {5: "failed", 8: "done"}
    assert "heads is 2, which does not divide d = 5" in capsys.readouterr().err
    (here / "space.json").write_text('{"d": [5], "heads": [2]}')
    call("--trials", "2", "--out", "b", code=1)
    assert "no trial is finished; the last one: heads is 2" in capsys.readouterr().err


def test_time_that_is_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("--trials", "1", "--out", "a")
    capsys.readouterr()
    call("--trials", "500", "--minutes", "0.02", "--out", "a", "--resume", "--json")
    told = capsys.readouterr()
    assert "minutes are over" in told.err
    assert 1 <= sum(json.loads(told.out)["trials"].values()) < 500


def test_a_line_that_a_power_cut_left_is_dropped(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("--trials", "3", "--out", "a")
    whole = trials("a")
    file = Path("a", "trials.jsonl")
    text = file.read_text(encoding="utf-8")
    file.write_text(text[: text.rindex('"values"')], encoding="utf-8")
    call("--trials", "3", "--out", "a", "--resume")
    assert trials("a") == whole
    file.write_text("[1]\n" + text, encoding="utf-8")
    call("--trials", "3", "--out", "a", "--resume", code=1)
    assert "trials.jsonl" in capsys.readouterr().err


def test_whatever_the_folder_holds_it_is_one_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call("--trials", "2", "--out", "a")
    search_file, trials_file = Path("a", "tune.json"), Path("a", "trials.jsonl")
    told, done = json.loads(search_file.read_text("utf-8")), trials_file.read_text("utf-8")
    first = json.loads(done.splitlines()[0])
    damage = [
        *((search_file, json.dumps({**told, name: 5})) for name in ("settings", "space", "data")),
        (search_file, "{}"),
        (search_file, json.dumps({**told, "settings": {"columns": []}})),
        (trials_file, done * 2),
        (trials_file, "{}\n"),
        *(
            (trials_file, json.dumps({**first, **change}) + "\n")
            for change in (
                {"state": "gone"},
                {"NDCG@10": "best"},
                {"NDCG@10": None},
                {"trial": 7},
                {"values": {"d": 999}},
                {"values": {"nothing": 1}},
                {"validations": {"x": 1}},
                {"validations": {"1": "x"}},
            )
        ),
    ]
    for file, content in damage:
        before = file.read_text("utf-8")
        file.write_text(content, encoding="utf-8")
        capsys.readouterr()
        assert run_command(tune.main, ["--out", "a", "--resume", "--trials", "2"]) in (1, 2)
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith("error: ") and file.name in said, (content[:80], said)
        file.write_text(before, encoding="utf-8")
    for settings in ([], 5, {"columns": []}):
        (here / "c.json").write_text(json.dumps({"settings": settings}))
        assert run_command(tune.main, ["log.csv", "--config", "c.json"]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_picture_that_cannot_be_made_costs_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr(tune, "search_history", fail)
    call("--trials", "1", "--out", "a")
    told = capsys.readouterr()
    assert "note: no picture of the trials: no fonts" in told.err and "best, trial 1" in told.out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--trials", "0"), 2, "--trials is 0"),
        (("--minutes", "0"), 2, "--minutes is 0"),
        (("--out", "a"), 1, "holds a search already; add --resume"),
        (("--resume",), 2, "--resume needs the folder"),
        (("--resume", "--out", "nowhere"), 1, "nowhere holds no search"),
        (("--resume", "--out", "a", "--seed", "7"), 2, "began with seed 0, now it is 7"),
        (("--resume", "--out", "a", "--space", "one.json"), 2, "began with another space"),
        (("--model", "poprec"), 2, "has no settings"),
        (("--config", "nowhere.json"), 2, "nowhere.json"),
        (("--space", "nowhere.json"), 2, "nowhere.json"),
    ],
)
def test_wrong_options(
    here: Path,
    arguments: tuple[str, ...],
    code: int,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (here / "one.json").write_text('{"d": [4, 8]}')
    if "a" in arguments:
        call("--trials", "1", "--out", "a")
        capsys.readouterr()
    assert run_command(tune.main, ["log.csv", "--min-actions", "1", *arguments]) == code
    lines = capsys.readouterr().err.splitlines()
    assert says in lines[-1] and lines[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "the space is empty"),
        ({"epoks": [1]}, "epoks is not a setting to search"),
        ({"seed": [1]}, "seed is not a setting to search"),
        ({"lr": {"low": 1}}, "a range has low and high"),
        ({"lr": {"low": 2, "high": 1}}, "low must be lower"),
        ({"lr": {"low": 0, "high": 1}}, "--lr is 0"),
        ({"lr": {"low": "a", "high": 1}}, "low, high and step are numbers"),
        ({"lr": {"low": 0.1, "high": 1, "step": "a"}}, "low, high and step are numbers"),
        ({"dropout": {"low": 0, "high": 0.5, "step": -1}}, "it must be above 0"),
        ({"d": {"low": 4, "high": 8, "step": 0.5}}, "it must be 1, 2, ..."),
        ({"beta2": [2]}, "--beta2 is 2"),
        ({"dropout": {"low": 0, "high": 0.5, "log": True}}, "with log, low must be above 0"),
        ({"dropout": [0.5, 1.5]}, "dropout is 1.5"),
        ({"d": ["many"]}, "d is 'many'; int was expected"),
        ({"loss": {"low": 1, "high": 2}}, "loss is not a number"),
        ({"d": []}, "no value to choose from"),
    ],
)
def test_a_wrong_space_is_one_line(values: dict[str, Any], says: str) -> None:
    with pytest.raises(Exception, match=says.replace("[", r"\[")) as caught:
        read_space(values, TrainConfig())
    assert "\n" not in str(caught.value)


def test_the_default_space_fits_model_and_data() -> None:
    users = np.repeat(np.arange(30), 12)
    data = build_dataset(users, np.arange(360) % 40, min_actions=1)
    split = leave_one_out(data)
    space = search.default_space(preset("log.csv"), split)
    assert space["n"] == [20] and {"lr", "dropout", "d", "blocks", "heads", "l2"} <= space.keys()
    assert {"loss", "negatives"} <= space.keys() and "row_l2" not in space
    assert "row_l2" in search.default_space(preset("log.csv", "bpr"), split)
    for model in ("bpr", "gru4rec", "gru4rec+", "caser"):
        config = preset("log.csv", model)
        for name, values in search.default_space(config, split).items():
            value = values[0] if isinstance(values, list) else values.low
            with_settings(config, {name: value})


def test_without_optuna(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    call(code=2)
    assert capsys.readouterr().err == (
        'error: tune needs optuna, which is not installed: pip install "minisasrec[tune]"\n'
    )
    assert not Path("tune").exists()
