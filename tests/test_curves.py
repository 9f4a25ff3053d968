"""history.csv and TensorBoard's curves say what the history says, after a kill, too."""

from __future__ import annotations

import csv
import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from strategies import random_split

from minisasrec import train
from minisasrec.commands.cli import run_command
from minisasrec.data.split import Split
from minisasrec.learn.config import TrainConfig, from_json, make_model
from minisasrec.learn.fit import fit
from minisasrec.learn.runs import Run

CONFIG = from_json(
    {
        "epochs": 5,
        "eval_every": 2,
        "warm_up": 4,
        "tensorboard": True,
        "sasrec": {"n": 6, "d": 4, "blocks": 1},
    }
)


@pytest.fixture
def split() -> Split:
    return random_split(repeated=False, seed=2)


def trained(split: Split, run: Run, config: TrainConfig, **options: Any) -> list[dict[str, Any]]:
    return fit(make_model(config, split), split, config, run, progress=False, **options).epochs  # type: ignore[arg-type]


def drawn(folder: Path) -> dict[str, list[tuple[int, float, float]]]:
    """All points that TensorBoard itself reads, by curve: step, time, value."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {
        tag: [(e.step, e.wall_time, e.value) for e in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def check(folder: Path, epochs: list[dict[str, Any]]) -> None:
    curves = drawn(folder)
    names = {name for epoch in epochs for name in epoch} - {"epoch"}
    validation = {"HR@10", "NDCG@10", "MRR"}
    assert validation < names and {"loss", "lr", "seconds"} < names
    assert curves.keys() == {f"{'validation' if n in validation else 'train'}/{n}" for n in names}
    for name in names:
        curve = curves[f"{'validation' if name in validation else 'train'}/{name}"]
        expected = [(e["epoch"], np.float32(e[name])) for e in epochs if name in e]
        assert [(step, value) for step, _, value in curve] == expected
        moments = [moment for _, moment, _ in curve]
        assert moments == sorted(moments)


def test_the_curves_are_the_history(split: Split, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", CONFIG, {})
    epochs = trained(split, run, CONFIG)
    check(run.folder, epochs)
    assert [e["lr"] / CONFIG.lr for e in epochs] == [0.25, 0.5, 0.75, 1, 1]  # one step an epoch


@pytest.mark.parametrize("lost", [False, True], ids=["kept", "lost"])
def test_a_run_that_goes_on_has_each_epoch_once(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """Killed after an epoch, or when its curve was written but the disk lost the checkpoint."""
    run = Run.create(tmp_path / "run", CONFIG, {})

    def kill(entry: dict[str, Any]) -> None:
        if entry["epoch"] == 2 and lost:
            older.update({name: run.path(name).read_bytes() for name in kept})
        if entry["epoch"] == 3:
            raise KeyboardInterrupt

    kept, older = ("last.safetensors", "best.safetensors"), dict[str, bytes]()
    with pytest.raises(KeyboardInterrupt):
        trained(split, run, CONFIG, on_epoch=kill)
    assert [step for step, _, _ in drawn(run.folder)["train/loss"]] == [1, 2, 3]
    for name, content in older.items():
        run.path(name).write_bytes(content)
    before = list(run.path("tensorboard").iterdir())
    before[0].write_bytes(before[0].read_bytes()[:-3])  # and its last point is torn
    check(run.folder, trained(split, run, CONFIG))
    assert len(list(run.path("tensorboard").iterdir())) == 1


def test_curves_can_be_asked_for_later(split: Split, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", CONFIG, {})
    without = dataclasses.replace(CONFIG, tensorboard=False, epochs=3)
    trained(split, run, without)
    assert not run.path("tensorboard").exists()
    check(run.folder, trained(split, run, CONFIG))


def test_the_table_is_the_history(split: Split, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, tensorboard=False)
    run = Run.create(tmp_path / "run", config, {})
    epochs = trained(split, run, config)
    assert epochs == run.history()
    with run.path("history.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(epochs) == 5
    for row, epoch in zip(rows, epochs, strict=True):
        assert {name: float(cell) for name, cell in row.items() if cell} == epoch
    assert [bool(row["NDCG@10"]) for row in rows] == [False, True, False, True, True]


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "tensorboard"] + ["tensorboard"]:
        monkeypatch.setitem(sys.modules, name, None)
    arguments = ["--tensorboard", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert run_command(train.main, arguments) == 2
    err = capsys.readouterr().err.splitlines()
    assert [line for line in err if "error" in line] == [
        'error: --tensorboard needs TensorBoard: pip install "minisasrec[tensorboard]", or train '
        "without it (history.jsonl and history.csv are always written)"
    ]
    assert not (tmp_path / "run").exists()
