"""The object that users take home: a log in, recommendations out, and a folder that is enough."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from minisasrec import MinisasrecError, Recommender, top_items
from minisasrec.data import DataWarning
from minisasrec.errors import CheckpointError, ConfigError, DataError
from minisasrec.models import MODELS, SequenceModel

SMALL: dict[str, Any] = {"epochs": 2, "batch_size": 32}
START = 1_600_000_000  # a date in seconds
SIZE: dict[str, dict[str, Any]] = {"d": {"d": 8}, "n": {"n": 10}}


def log(users: int = 40, items: int = 120, length: int = 12, seed: int = 0) -> pd.DataFrame:
    """Users who walk through the pages in small steps."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        steps = (rng.integers(items) + np.cumsum(rng.integers(1, 4, length))) % items
        rows += [
            (f"u{user}", f"p{page}", START + 86_400 * t, f"Page {page}")
            for t, page in enumerate(steps)
        ]
    return pd.DataFrame(rows, columns=["visitor", "page", "at", "name"])


COLUMNS: dict[str, Any] = {
    "user": "visitor",
    "item": "page",
    "time": "at",
    "title": "name",
    "min_actions": 1,
    "progress": False,
}


def settings_of(model: str) -> dict[str, Any]:
    """A quick training of a small model."""
    if not issubclass(MODELS[model][0], SequenceModel):
        return {}
    return {**SMALL, "d": 8, "n": 10}


_made: dict[str, Recommender] = {}


def fitted(model: str = "sasrec") -> Recommender:
    """A fitted recommender, made once."""
    if model not in _made:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            _made[model] = Recommender(model, **settings_of(model)).fit(log(), **COLUMNS)
    return _made[model]


@pytest.mark.parametrize("model", MODELS)
def test_it_says_what_top_items_says(model: str) -> None:
    recommender = fitted(model)
    known = recommender.known
    assert known.split is not None
    frame = recommender.recommend(k=7, untrained=True)
    assert list(frame.columns) == ["user", "item", "title", "score", "rank"]
    for number in (0, 7, 39):
        history = known.split.dataset.sequence(number).tolist()
        best = top_items(recommender.model_, history, 7, user=number, repeats=known.repeats)
        rows = frame[frame.user == known.user_ids[number]]
        assert rows["item"].tolist() == [known.item_ids[i] for i in best]
        assert rows["rank"].tolist() == [1, 2, 3, 4, 5, 6, 7]
        assert (rows["score"].diff().dropna() <= 0).all()
        assert rows["title"].tolist() == [f"Page {known.item_ids[i][1:]}" for i in best]


@pytest.mark.parametrize("model", MODELS)
def test_what_is_saved_answers_alike_to_the_bit(model: str, tmp_path: Path) -> None:
    recommender = fitted(model)
    recommender.save(tmp_path / "taken" / "home")
    loaded = Recommender.load(tmp_path / "taken" / "home")
    pd.testing.assert_frame_equal(
        loaded.recommend(k=9), recommender.recommend(k=9), check_exact=True
    )
    assert loaded.item_ids == recommender.item_ids and loaded.user_ids == recommender.user_ids
    assert loaded.titles == recommender.titles and loaded.config == recommender.config


@pytest.mark.parametrize(
    "name", ["items.json", "users.json", "histories.safetensors", "best.safetensors", "config.json"]
)
@pytest.mark.parametrize("fault", ["cut", "flipped", "removed", "renamed", "empty"])
def test_a_damaged_folder_is_one_line(name: str, fault: str, tmp_path: Path) -> None:
    path = fitted().save(tmp_path / "home") / name
    content = path.read_bytes()
    if fault == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif fault == "renamed":
        path.rename(path.with_name("other"))
    else:
        path.unlink()
    with pytest.raises(CheckpointError) as caught:
        Recommender.load(path.parent)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    folder = fitted().save(tmp_path / "home")
    rng = np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for at in rng.integers(len(content), size=12):
            flipped = bytes([content[at] ^ (1 << rng.integers(8))])
            path.write_bytes(content[:at] + flipped + content[at + 1 :])
            with pytest.raises(CheckpointError):
                Recommender.load(folder)
        path.write_bytes(content)
    Recommender.load(folder)


def test_a_newer_format_is_told(tmp_path: Path) -> None:
    from minisasrec.learn.runs import Run

    folder = fitted().save(tmp_path / "home")
    Run(folder).write_config({**Run(folder).read_config(), "format": 2})
    with pytest.raises(CheckpointError, match="has format 2, .* reads 1: upgrade minisasrec"):
        Recommender.load(folder)


def test_everything_is_trained_on_when_asked(tmp_path: Path) -> None:
    frame = log()
    held_out = pd.DataFrame(
        [("u0", "only here", START + 999 * 86_400, "Last")], columns=frame.columns
    )
    frame = pd.concat([frame, held_out])
    part = Recommender(**settings_of("sasrec")).fit(frame, **COLUMNS)
    whole = Recommender(**settings_of("sasrec")).fit(frame, **COLUMNS, on="everything")
    everything = {"k": 999, "histories": [["p1"]]}
    with pytest.warns(DataWarning, match="k is 999"):
        assert "only here" not in part.recommend(**everything)["item"].tolist()
    with pytest.warns(DataWarning, match="k is 999"):
        assert "only here" in part.recommend(**everything, untrained=True)["item"].tolist()
    with pytest.warns(DataWarning, match="k is 999"):
        assert "only here" in whole.recommend(**everything)["item"].tolist()
    assert whole.known.on == "everything"
    assert whole.known.popularity.sum() == len(frame) > part.known.popularity.sum()


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"users": ["u99"]}, DataError, "no user 'u99' in frame; did you mean u9"),
        ({"users": "u1"}, ConfigError, r"users is 'u1'; give a list of ids, such as \['u1'\]"),
        ({"users": [None]}, DataError, "a user id is missing"),
        ({"histories": [["p1", "Page 5"]]}, DataError, "that is the title of item 'p5'"),
        ({"histories": ["p1", "p2"]}, ConfigError, r"list of lists of item ids, such as \[\['p1'"),
        ({"histories": [["p1"]], "users": ["a", "b"]}, ConfigError, "2 users and 1 histories"),
        ({"histories": log(3)}, DataError, "no column 'user'; its columns are visitor, page"),
        ({"k": 0}, ConfigError, "k is 0"),
        ({"k": True}, ConfigError, "k is True"),
        ({"candidates": ["x"]}, DataError, "none of the 1 candidates is known: no item 'x'"),
        ({"candidates": []}, DataError, "none of the 0 candidates is known"),
        ({"candidates": ["p1"], "exclude": ["p1"]}, DataError, "no item is left to recommend"),
        ({"repeats": "never"}, ConfigError, "repeats is 'never'"),
        ({"unknown": "guess"}, ConfigError, "unknown is 'guess'; choose error or skip"),
    ],
)
def test_what_cannot_be_answered_is_one_line(
    arguments: dict[str, Any], kind: type[MinisasrecError], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        fitted().recommend(**arguments)
    assert "\n" not in str(caught.value)


def test_before_fit() -> None:
    with pytest.raises(ConfigError, match="not fitted: call fit"):
        Recommender().recommend()
    assert repr(Recommender(d=8)) == "<Recommender('sasrec', d=8) not fitted>"
    with pytest.raises(ConfigError, match="dropuot is no setting of sasrec; did you mean dropout"):
        Recommender(dropuot=0.1)
    with pytest.raises(ConfigError, match="model is 'nope'"):
        Recommender("nope")


def test_defaults_are_those_of_the_command() -> None:
    from minisasrec.train import parse

    recommender = Recommender(epochs=1).fit(log(10), **COLUMNS)
    command = parse(["--dataset", "mine.csv", "--epochs", "1", "--seed", "0"])
    for field in dataclasses.fields(command):
        if field.name not in ("dataset", "columns"):
            assert getattr(recommender.config, field.name) == getattr(command, field.name)
