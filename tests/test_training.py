"""Training as a whole: it learns, stops, resumes bit for bit, and survives what goes wrong."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from strategies import random_split

from minisasrec.data.dataset import Dataset, DataWarning
from minisasrec.data.split import Split, leave_one_out
from minisasrec.errors import CheckpointError, TrainingError
from minisasrec.experiments.final_rows import final_rows
from minisasrec.learn import fit as training
from minisasrec.learn.config import TrainConfig, make_model
from minisasrec.learn.evaluation import Evaluation, evaluate
from minisasrec.learn.fit import History, fit
from minisasrec.learn.runs import LOCK, Run, new_folder, newest_folder
from minisasrec.models import SASRec, SASRecConfig

SMALL = TrainConfig(
    sasrec=SASRecConfig(n=12, d=8, dropout=0.2), epochs=3, batch_size=32, seed=7, patience=0
)


def cycle_dataset(users: int = 150, items: int = 120, length: int = 10) -> Dataset:
    """Everybody walks through the catalogue in steps of 1 from a place of his own."""
    starts = np.random.default_rng(0).integers(0, items, users)
    walk = (starts[:, None] + np.arange(length)) % items + 1
    return Dataset(
        name="cycle",
        items=walk.ravel().astype(np.int32),
        offsets=np.arange(users + 1, dtype=np.int64) * length,
        user_ids=[str(u) for u in range(users)],
        item_ids=["<pad>", *(str(i) for i in range(1, items + 1))],
    )


@pytest.fixture(scope="module")
def split() -> Split:
    return leave_one_out(cycle_dataset())


def new_model(split: Split, config: TrainConfig = SMALL) -> SASRec:
    return SASRec(split.dataset.num_items, config.sasrec, seed=config.seed)


def test_it_learns_the_order(split: Split) -> None:
    config = dataclasses.replace(
        SMALL, epochs=150, eval_every=10, lr=0.01, sasrec=SASRecConfig(n=12, d=16, dropout=0.0)
    )
    model = new_model(split, config)
    fit(model, split, config, progress=False)
    assert evaluate(model, split).metrics()["HR@10"] > 0.9  # at chance: 0.1


def test_a_seed_gives_the_same_weights_and_another_does_not(split: Split) -> None:
    weights = []
    for seed in (1, 1, 2):
        config = dataclasses.replace(SMALL, seed=seed)
        model = new_model(split, config)
        fit(model, split, config, progress=False)
        weights.append(model.state()["item_embedding.table"])
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


TRAINED = ("sasrec", "bpr", "fmc", "fpmc", "transrec", "gru4rec", "gru4rec+", "caser")


@pytest.mark.parametrize("name", TRAINED)
def test_held_out_items_leave_no_trace_in_the_weights(split: Split, name: str) -> None:
    """No leak: other held-out items, the same weights; other items to train on, other weights."""
    dataset = split.dataset
    last_two = np.arange(dataset.num_actions) % 10 >= 8
    assert np.array_equal(dataset.items[last_two][::2], split.valid)
    config = dataclasses.replace(SMALL, model=name, epochs=2, eval_every=2)
    states = []
    for changed in (np.zeros_like(last_two), last_two, ~last_two):
        items = np.where(changed, dataset.items % dataset.num_items + 1, dataset.items)
        other = leave_one_out(dataclasses.replace(dataset, items=items.astype(np.int32)))
        model = make_model(config, other)
        fit(model, other, config, progress=False)
        states.append(model.state())
    as_it_is, held_out_changed, train_changed = states
    assert all(np.array_equal(as_it_is[key], held_out_changed[key]) for key in as_it_is)
    assert not all(np.array_equal(as_it_is[key], train_changed[key]) for key in as_it_is)


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_resuming_gives_the_bits_of_an_uninterrupted_run(
    split: Split, tmp_path: Path, average: float
) -> None:
    config = dataclasses.replace(SMALL, epochs=4, weight_average=average)
    whole = new_model(split)
    expected = fit(whole, split, config, Run.create(tmp_path / "whole", config, {}), progress=False)

    run = Run.create(tmp_path / "parts", config, {})
    fit(new_model(split), split, dataclasses.replace(config, epochs=2), run, progress=False)
    resumed = new_model(split)
    history = fit(resumed, split, config, Run.open(run.folder), progress=False)

    for name, value in whole.state().items():
        assert np.array_equal(value, resumed.state()[name]), name

    def without_times(history: History) -> list[dict[str, float]]:
        return [{k: v for k, v in e.items() if "second" not in k} for e in history.epochs]

    assert without_times(history) == without_times(expected)
    assert without_times(History(run.history())) == without_times(expected)


@pytest.mark.parametrize(("stop_in", "average"), [(1, 0.0), (2, 0.0), (2, 0.9), (3, 0.0)])
def test_a_crash_loses_only_the_epoch_it_happened_in(
    split: Split, tmp_path: Path, stop_in: int, average: float
) -> None:
    config = dataclasses.replace(SMALL, epochs=3, weight_average=average)
    whole = new_model(split)
    fit(whole, split, config, progress=False)

    class Crash(Exception):
        pass

    def crash(entry: dict[str, float]) -> None:
        if entry["epoch"] == stop_in:
            raise Crash

    run = Run.create(tmp_path / "run", config, {})
    with pytest.raises(Crash):
        fit(new_model(split), split, config, run, progress=False, on_epoch=crash)
    with run.path("history.jsonl").open("a") as file:  # an epoch whose checkpoint was not written
        file.write(json.dumps({"epoch": stop_in + 1, "loss": 0}) + "\n")
    resumed = new_model(split)
    fit(resumed, split, config, Run.open(run.folder), progress=False)
    for name, value in whole.state().items():
        assert np.array_equal(value, resumed.state()[name]), name


@pytest.mark.parametrize("validation", [True, False])
def test_the_mean_of_the_weights_is_kept_and_training_goes_on_without_it(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validation: bool
) -> None:
    a, seen, validated = 0.8, [], []
    step = training.Adam.step

    def watched(self: training.Adam, lr: float | None = None) -> None:
        step(self, lr)
        seen.append([w.data.copy() for w in self.parameters])

    monkeypatch.setattr(training.Adam, "step", watched)
    plain = fit(new_model(split), split, SMALL, progress=False)
    alone, seen = seen, []
    metrics = Evaluation.metrics

    def better(self: Evaluation) -> dict[str, float]:  # each epoch the best so far
        validated.append(metrics(self)["NDCG@10"])
        return {"NDCG@10": float(len(validated)), "HR@10": 0.0}

    monkeypatch.setattr(Evaluation, "metrics", better)
    config = dataclasses.replace(SMALL, weight_average=a)
    model, run = new_model(split), Run.create(tmp_path / "run", config, {})
    history = fit(model, split, config, run, progress=False, validation=validation)
    losses = [entry["loss"] for entry in history.epochs]
    assert losses == [entry["loss"] for entry in plain.epochs]
    assert all(map(np.array_equal, alone[-1], seen[-1]))
    shares = a ** np.arange(len(seen))[::-1]
    for i, weight in enumerate(model.parameters()):
        expected = np.einsum("t,t...->...", shares / shares.sum(), [ws[i] for ws in seen])
        assert np.allclose(weight.data, expected, rtol=1e-4, atol=1e-6), weight.name
    if validation:
        monkeypatch.setattr(Evaluation, "metrics", metrics)
        kept, _ = run.load_arrays("best.safetensors")
        assert all(np.array_equal(kept[name], w) for name, w in model.state().items())
        assert (
            validated[-1] == evaluate(model, split, "valid", seed=SMALL.seed).metrics()["NDCG@10"]
        )


@pytest.mark.parametrize("improved_at", [1, 3])
@pytest.mark.parametrize("epochs", [3, 5])
def test_a_crash_between_the_two_checkpoints_loses_nothing(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, improved_at: int, epochs: int
) -> None:
    """Whatever the settings it goes on with: here also without a further epoch."""
    better = iter(range(100))
    monkeypatch.setattr(  # every epoch up to `improved_at` is the best so far
        Evaluation, "metrics", lambda _: {"NDCG@10": min(next(better), improved_at - 1), "HR@10": 0}
    )
    config = dataclasses.replace(SMALL, epochs=improved_at)
    run, model = Run.create(tmp_path / "run", config, {}), new_model(split)
    save = Run.save_arrays

    def crash(self: Run, name: str, *rest: object) -> None:
        if name == "best.safetensors" and len(self.history()) == improved_at:
            raise KeyboardInterrupt
        save(self, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Run, "save_arrays", crash)
    with pytest.raises(KeyboardInterrupt):
        fit(model, split, config, run, progress=False)
    monkeypatch.setattr(Run, "save_arrays", save)
    best = {name: value.copy() for name, value in model.state().items()}
    resumed = new_model(split)
    config = dataclasses.replace(config, epochs=epochs)
    history = fit(resumed, split, config, run, progress=False)
    assert (history.best_epoch, len(history.epochs)) == (improved_at, epochs)
    on_disk, _ = run.load_arrays("best.safetensors")
    for name, value in best.items():
        assert np.array_equal(value, resumed.state()[name]) and np.array_equal(value, on_disk[name])


@pytest.mark.parametrize(
    ("kept", "goes_on"),
    [
        ({"config.json"}, True),  # ended before the first checkpoint
        ({"config.json", "best.safetensors"}, False),
        ({"config.json", "history.jsonl"}, False),
        ({"config.json", "best.safetensors", "history.jsonl"}, False),
        ({"config.json", "result.json"}, False),
        ({"config.json", "last.safetensors"}, False),
        ({"config.json", "last.safetensors", "history.jsonl"}, False),
        ({"config.json", "last.safetensors", "best.safetensors", "history.jsonl"}, True),
    ],
)
def test_what_is_left_of_a_run_is_gone_on_with_or_left_alone(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: set[str], goes_on: bool
) -> None:
    first = iter([1.0])
    monkeypatch.setattr(  # the first of three epochs is the best
        Evaluation, "metrics", lambda _: {"NDCG@10": next(first, 0.5), "HR@10": 0}
    )
    run = Run.create(tmp_path / "run", SMALL, {})
    fit(new_model(split), split, SMALL, run, progress=False)
    run.write_json("result.json", {})
    for path in run.folder.iterdir():
        if path.name not in kept:
            path.unlink()
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    assert before.keys() == kept
    config = dataclasses.replace(SMALL, epochs=4)
    if goes_on:
        assert len(fit(new_model(split), split, config, run, progress=False).epochs) == 4
        return
    with pytest.raises(CheckpointError, match="missing|has 0 epochs"):
        fit(new_model(split), split, config, Run.open(run.folder), progress=False)
    run.discard_unless_begun()  # as the command does when it fails
    after = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    assert after.pop(LOCK) == b""
    assert before.keys() == after.keys()
    assert all(after[name] == before[name] for name in before if name != "history.jsonl")
    run.path("config.json").unlink()
    with pytest.raises(TrainingError, match="config.json is missing; they would be overwritten"):
        Run.create(run.folder, SMALL, {})


def test_a_crash_before_the_first_checkpoint_leaves_no_epoch_behind(
    split: Split, tmp_path: Path
) -> None:
    run = Run.create(tmp_path / "run", SMALL, {})
    run.append_history({"epoch": 1, "loss": 0})
    fit(new_model(split), split, dataclasses.replace(SMALL, epochs=2), run, progress=False)
    assert [entry["epoch"] for entry in run.history()] == [1, 2]
    assert run.history()[0]["loss"] > 0


def test_a_run_that_fails_before_its_first_checkpoint_is_removed(tmp_path: Path) -> None:
    for begun, own in ((False, False), (False, True), (True, False)):
        run = Run.create(tmp_path / f"run-{begun}-{own}", SMALL, {})
        run.append_history({"epoch": 1})
        if begun:
            run.save_arrays("last.safetensors", {"x": np.zeros(1)}, {})
        if own:
            run.path("notes.txt").touch()
        run.discard_unless_begun()
        left = {p.name for p in run.folder.iterdir()} if run.folder.exists() else None
        whole = {"config.json", "history.jsonl", "last.safetensors"}
        assert left == (whole if begun else {"notes.txt"} if own else None)


def test_a_run_that_cannot_be_created_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise TrainingError("cannot write: No space left on device")

    monkeypatch.setattr(Run, "write_json", full_disk)
    with pytest.raises(TrainingError):
        Run.create(tmp_path / "run", SMALL, {})
    assert list(tmp_path.iterdir()) == []


def test_names_of_runs(tmp_path: Path) -> None:
    def start(dataset: str, model: str) -> str:
        return Run.create(new_folder(dataset, model, tmp_path), SMALL, {}).folder.name

    names = [start("logs/clicks[1].csv", "gru4rec") for _ in range(2)]
    assert names == ["clicks[1]-gru4rec", "clicks[1]-gru4rec-2"]
    for i, name in enumerate([*names, start("clicks[1].csv", "gru4rec+")]):  # written in this order
        os.utime(tmp_path / name, (i, i))
    assert newest_folder("clicks[1].csv", "gru4rec", tmp_path).name == names[1]
    with pytest.raises(CheckpointError, match="no run of sasrec on clicks.csv"):
        newest_folder("clicks.csv", "sasrec", tmp_path)


def test_a_catalogue_too_small_to_sample_from_is_ranked_whole() -> None:
    small = random_split(users=20, num_items=30, longest=12)
    model = SASRec(30, SASRecConfig(n=6, d=4))
    with pytest.warns(DataWarning, match="too few to sample"):
        history = fit(model, small, SMALL, progress=False)
    assert history.best == max(e["NDCG@10"] for e in history.epochs) > 0
    assert {row["protocol"] for row in final_rows(model, small, SMALL)} == {"full"}


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", SMALL, {})
    run.write_json("result.json", {"old": 1})

    def full_disk(path: Path) -> None:
        path.write_text("half of it")
        raise OSError(28, "No space left on device")

    with pytest.raises(TrainingError, match="No space left on device"):
        run.write("result.json", full_disk)
    assert json.loads(run.path("result.json").read_text()) == {"old": 1}
    assert sorted(p.name for p in run.folder.iterdir()) == ["config.json", "result.json"]


def test_it_ends_with_the_best_weights_and_stops_by_patience(split: Split, tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, epochs=60, patience=2, lr=0.02)
    run = Run.create(tmp_path / "run", config, {})
    model = new_model(split)
    history = fit(model, split, config, run, progress=False)
    scores = [e["NDCG@10"] for e in history.epochs]
    assert history.best == max(scores) == scores[history.best_epoch - 1]
    assert len(scores) == 60 or len(scores) == history.best_epoch + 2
    best, _ = run.load_arrays("best.safetensors")
    for name, value in model.state().items():
        assert np.array_equal(value, best[name])


@pytest.mark.parametrize(
    ("eval_every", "patience", "better", "stops"),
    [
        (30, 20, {30}, 60),  # the validation at 60 comes, and decides
        (30, 20, {30, 60}, 90),
        (30, 30, {30}, 60),
        (30, 31, {30}, 90),
        (1, 20, {7}, 27),
        (7, 20, {7, 14}, 35),
        (30, 20, {30, 60, 90, 100}, 100),  # the last epoch is validated, too
        (30, 0, {30}, 100),
    ],
)
def test_training_stops_only_at_a_validation(
    split: Split, monkeypatch: pytest.MonkeyPatch, eval_every: int, patience: int, better: set[int],
    stops: int,
) -> None:  # fmt: skip
    done = []

    def train_epoch(*arguments: object) -> dict[str, float]:
        done.append(arguments[4])
        return {"epoch": len(done), "loss": 1.0, "seconds": 0.1}

    def metrics(self: Evaluation) -> dict[str, float]:
        return {"NDCG@10": len([e for e in better if e <= len(done)]) / 10, "HR@10": 0.1}

    monkeypatch.setattr(training, "train_epoch", train_epoch)
    monkeypatch.setattr(Evaluation, "metrics", metrics)
    config = dataclasses.replace(SMALL, epochs=100, eval_every=eval_every, patience=patience)
    history = fit(new_model(split), split, config, progress=False)
    assert len(history.epochs) == len(done) == stops
    assert history.best_epoch == max(e for e in better if e <= stops)
    validated = [e["epoch"] for e in history.epochs if "NDCG@10" in e]
    assert set(validated) == {*range(eval_every, stops + 1, eval_every)} | ({100} & {stops})


def test_a_loss_that_is_no_number_says_what_to_do(split: Split) -> None:
    model = new_model(split)
    model.item_embedding.table.data[5] = np.nan
    with pytest.raises(TrainingError, match="lower --lr"):
        fit(model, split, SMALL, progress=False)


@pytest.mark.parametrize("damage", ["cut", "history", "foreign"])
def test_a_damaged_run_is_refused_in_words(split: Split, tmp_path: Path, damage: str) -> None:
    run = Run.create(tmp_path / "run", SMALL, {})
    fit(new_model(split), split, SMALL, run, progress=False)
    last = run.path("last.safetensors")
    model = new_model(split)
    if damage == "cut":
        last.write_bytes(last.read_bytes()[:1000])
    elif damage == "history":
        run.path("history.jsonl").unlink()
    else:
        model = SASRec(split.dataset.num_items, SASRecConfig(n=12, d=4))
    with pytest.raises(CheckpointError):
        fit(model, split, dataclasses.replace(SMALL, epochs=5), run, progress=False)
