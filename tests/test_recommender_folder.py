"""The folder of a recommender: written whole or not at all, and enough on any machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shop import COLUMNS, fitted, log, settings_of

import minisasrec
from minisasrec import Recommender
from minisasrec.commands.cli import read_options
from minisasrec.data import DataWarning
from minisasrec.data.dataset import PAD
from minisasrec.errors import CheckpointError, ConfigError, TrainingError
from minisasrec.exchange import start_from
from minisasrec.learn.runs import Run, to_safetensors
from minisasrec.models import MODELS, SASRec, SASRecConfig
from minisasrec.recommend import RecommendConfig
from minisasrec.train import parse

MODEL_NAMES = tuple(MODELS)
FILES = {"config.json", "items.json", "users.json", "histories.safetensors", "best.safetensors"}


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python -m minisasrec.NAME ...`."""
    name, *rest = arguments
    env = {**os.environ, "COLUMNS": "100"}
    line = [sys.executable, "-m", f"minisasrec.{name}", *rest]
    return subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_holds_text_and_arrays_and_nothing_else(tmp_path: Path) -> None:
    folder = fitted().save(tmp_path / "home")
    assert contents(folder).keys() == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["format"] == 1 and config["settings"]["model"] == "sasrec"
    assert config["made_by"][0]["minisasrec"] == minisasrec.__version__
    assert config["files"].keys() == FILES - {"config.json"}
    assert all(len(digest) == 64 for digests in config["files"].values() for digest in digests)


def test_saving_again_replaces_the_whole(tmp_path: Path) -> None:
    fitted("fmc").save(tmp_path / "home")
    fitted("markov").save(tmp_path / "home", keep_histories=False)
    assert contents(tmp_path / "home").keys() == FILES - {"users.json", "histories.safetensors"}
    assert Recommender.load(tmp_path / "home").model == "markov"


def test_the_working_folder_is_not_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = fitted("fmc").save(tmp_path / "home")
    inside = home / "inside"
    inside.mkdir()
    for folder in (home, inside):
        monkeypatch.chdir(folder)
        with pytest.raises(ConfigError, match="home is the working folder or holds it"):
            Recommender.load(home).save("." if folder == home else "..")
        assert Path.cwd() == folder.resolve()
    monkeypatch.chdir(tmp_path)
    assert Recommender.load(home).save("home").is_dir()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(9))
def test_an_interrupted_save_leaves_one_of_the_two(
    at: int, after: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C just before each renaming, or just after it."""
    fitted("fmc").save(tmp_path / "home")
    before, calls = contents(tmp_path / "home"), iter(range(99))
    replace = os.replace

    def interrupted(*arguments: Any) -> None:
        now = next(calls) == at
        if not now or after:
            replace(*arguments)
        if now:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    try:
        fitted("markov").save(tmp_path / "home")
    except KeyboardInterrupt:
        assert contents(tmp_path / "home") == before or (
            after and Recommender.load(tmp_path / "home").model == "markov"
        )
    else:
        assert next(calls) <= at  # there were not so many steps
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    Recommender.load(tmp_path / "home")


def test_a_save_that_was_killed_between_its_renamings_is_told(tmp_path: Path) -> None:
    """Nobody can put it back then; it is there, and the error says where."""
    home = fitted("fmc").save(tmp_path / "home")
    old = tmp_path / ".home.abc" / "old"
    old.parent.mkdir()
    home.rename(old)
    with pytest.raises(CheckpointError, match=r"the earlier one is .*\.home\.abc.old: move it"):
        Recommender.load(home)
    old.rename(home)
    Recommender.load(home)


def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TrainingError, match="No space left on device"):
        fitted().save(tmp_path / "home")
    assert list(tmp_path.iterdir()) == []


def test_what_else_a_folder_may_hold(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    (tmp_path / "file").touch()
    (tmp_path / "run").mkdir()
    for name in ("config.json", "last.safetensors"):
        (tmp_path / "run" / name).touch()
    for name, says in (("photos", "other files"), ("file", "is a file"), ("run", "a run of train")):
        with pytest.raises(ConfigError, match=says):
            fitted().save(tmp_path / name)
    for name in ("photos", "file", "nowhere"):
        with pytest.raises(CheckpointError, match="holds no recommender"):
            Recommender.load(tmp_path / name)
    (tmp_path / "empty").mkdir()
    fitted().save(tmp_path / "empty")


def test_what_somebody_put_beside_a_recommender_stays(tmp_path: Path) -> None:
    home = fitted("fmc").save(tmp_path / "home")
    (home / "README.md").write_text("sold in May", encoding="utf-8")
    (home / "plots").mkdir()
    (home / "plots" / "a.png").write_bytes(b"png")
    fitted("markov").save(home, keep_histories=False)
    assert (home / "README.md").read_text(encoding="utf-8") == "sold in May"
    assert (home / "plots" / "a.png").read_bytes() == b"png"
    others = {"README.md", "plots"}
    assert {path.name for path in home.iterdir()} == FILES - {
        "users.json",
        "histories.safetensors",
    } | others
    assert Recommender.load(home).model == "markov"


def test_the_config_of_another_program_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"other files \(config.json\)"):
        fitted().save(tmp_path / "theirs")
    assert (tmp_path / "theirs" / "config.json").read_text(encoding="utf-8") == "{}"


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    fitted("fmc").save(tmp_path / "version-1")
    try:
        (tmp_path / "current").symlink_to("version-1")
    except OSError:
        pytest.skip("no links here")
    assert fitted("markov").save(tmp_path / "current") == tmp_path / "current"
    assert (tmp_path / "current").is_symlink()
    assert Recommender.load(tmp_path / "version-1").model == "markov"


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    fitted().save("~/shop")
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]
    assert Recommender.load("~/shop").model == "sasrec"
    options = read_options(RecommendConfig, "recommend", ["~/shop", "--out=~/a.csv", "--items=~/x"])
    assert (options.run, options.out) == (tmp_path / "shop", tmp_path / "a.csv")
    assert options.items == ("~/x",)
    assert parse(["--out=~/runs/shop"]).out == tmp_path / "runs" / "shop"
    assert Run(Path("~/shop")).folder == tmp_path / "shop"


def test_a_load_beside_a_save_has_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    """Files of both would not fit each other, and for a moment there is no folder."""
    models = fitted("fmc"), fitted("markov")
    home = models[0].save(tmp_path / "home")
    stop, seen = threading.Event(), set[str]()

    def loads() -> None:
        while not stop.is_set():
            seen.add(Recommender.load(home).model)

    with ThreadPoolExecutor(2) as pool:
        loading = [pool.submit(loads) for _ in range(2)]
        try:
            for turn in range(30):
                models[turn % 2].save(home)
                time.sleep(0.02)
        finally:
            stop.set()
    for one in loading:
        one.result()
    assert seen == {"fmc", "markov"}


def test_a_run_of_an_earlier_version_is_told(tmp_path: Path) -> None:
    folder = fitted().save(tmp_path / "home")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    old = {"settings": config["settings"], "data": config["data"], "version": "0.0.9"}
    (folder / "config.json").write_text(json.dumps(old), encoding="utf-8")
    with pytest.raises(CheckpointError, match="holds no items and titles: .* train it anew"):
        Recommender.load(folder)


def test_without_histories_nothing_is_left_of_users(tmp_path: Path) -> None:
    folder = fitted().save(tmp_path / "private", keep_histories=False)
    told = b"".join(contents(folder).values())
    assert b'"u1"' not in told and b'"p1"' in told
    loaded = Recommender.load(folder)
    assert loaded.user_ids == []
    pd.testing.assert_frame_equal(
        loaded.recommend(histories=[["p3"]]), fitted().recommend(histories=[["p3"]])
    )
    with pytest.raises(Exception, match="saved without users; give histories="):
        loaded.recommend(["u1"])
    with pytest.raises(Exception, match="saved without histories, so there is nothing to go on"):
        loaded.update(log(2), user="visitor", item="page")
    by_setting = Recommender("markov", keep_histories=False).fit(log(), **COLUMNS)
    assert "users.json" not in contents(by_setting.save(tmp_path / "setting"))
    with pytest.raises(ConfigError, match="BPR answers for known users only"):
        fitted("bpr").save(tmp_path / "bpr", keep_histories=False)
    assert not (tmp_path / "bpr").exists()


# --- weights carry their settings ------------------------------------------------------------


@pytest.mark.parametrize(("name", "value"), [("norm", "post"), ("heads", 2), ("residual", False)])
def test_weights_of_other_settings_are_refused(name: str, value: Any, tmp_path: Path) -> None:
    folder = fitted().save(tmp_path / "home")
    run = Run(folder)
    config = run.read_config()
    config["settings"]["sasrec"][name] = value  # as if two folders had been mixed
    run.write_config(config)
    with pytest.raises(CheckpointError, match=f"has weights of {name} = .* not of one model"):
        Recommender.load(folder)
    known = fitted().known
    settings = {**vars(fitted().model_.config), name: value}
    other = SASRec(len(known.item_ids) - 1, SASRecConfig(**settings))
    before = {key: array.copy() for key, array in other.state().items()}
    option = name.replace("_", "-")
    with pytest.raises(ConfigError, match=f"was trained with {name} = .*; give --{option} "):
        start_from(other, folder / "best.safetensors")
    assert all(np.array_equal(before[key], array) for key, array in other.state().items())
    same = SASRec(len(known.item_ids) - 1, dataclasses.replace(fitted().model_.config, dropout=0.9))
    start_from(same, folder / "best.safetensors")


def test_weights_from_before_a_setting_was_added_have_its_default(tmp_path: Path) -> None:
    folder = fitted().save(tmp_path / "home")
    want = fitted().recommend(["u1"])
    run = Run(folder)
    weights, facts = run.load_arrays("best.safetensors")
    for added in ("positions_from", "own_items"):
        del facts["settings"][added]
    run.save_arrays("best.safetensors", weights, facts)
    config = run.read_config()
    for added in ("positions_from", "own_items"):
        del config["settings"]["sasrec"][added]
    run.write_config(config)
    pd.testing.assert_frame_equal(Recommender.load(folder).recommend(["u1"]), want)
    items = len(fitted().known.item_ids) - 1
    moved = dataclasses.replace(fitted().model_.config, positions_from="beginning")
    with pytest.raises(ConfigError, match="was trained with positions_from = 'end'"):
        start_from(SASRec(items, moved), folder / "best.safetensors")
    config["settings"]["sasrec"]["positions_from"] = "beginning"  # which these weights never had
    run.write_config(config)
    with pytest.raises(CheckpointError, match="has weights of positions_from = 'end', .* not of"):
        Recommender.load(folder)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    one, other = fitted("bpr").save(tmp_path / "one"), fitted("fmc").save(tmp_path / "other")
    shutil.copy(other / "best.safetensors", one / "best.safetensors")
    with pytest.raises(CheckpointError, match="best.safetensors was damaged or changed"):
        Recommender.load(one)


def test_new_recommenders_may_start_from_weights(tmp_path: Path) -> None:
    folder = fitted().save(tmp_path / "home")
    settings = {**settings_of("sasrec"), "epochs": 1, "lr": 1e-9}
    again = Recommender(**settings, init_from=folder / "best.safetensors").fit(log(), **COLUMNS)
    for name, array in fitted().model_.state().items():
        np.testing.assert_allclose(again.model_.state()[name], array, atol=1e-6)


def vectors(recommender: Recommender) -> dict[str, np.ndarray]:
    table = recommender.model_.state()["item_embedding.table"]
    return dict(zip(recommender.known.item_ids[1:], table[1:], strict=True))


def test_an_item_starts_from_the_vector_of_its_own_id(tmp_path: Path) -> None:
    """Other numbers, some items gone, some new: still no item takes the vector of another."""
    folder = fitted().save(tmp_path / "home")
    settings = {**settings_of("sasrec"), "epochs": 1, "lr": 1e-9}
    pages = sorted(log()["page"].unique())
    gone = {page: f"new {page}" for page in pages[:3]}
    later = log()[::-1].replace({"page": gone})
    starting = Recommender(**settings, init_from=folder / "best.safetensors")
    with pytest.warns(DataWarning, match=rf"{len(pages) - 3} of {len(pages)} items .* other 3 "):
        starting.fit(later, **COLUMNS)
    before, after = vectors(fitted()), vectors(starting)
    kept = before.keys() & after.keys()
    assert len(kept) == len(pages) - 3
    assert starting.known.item_ids != fitted().known.item_ids
    for name in kept:
        np.testing.assert_allclose(after[name], before[name], atol=1e-6)
    for name in after.keys() - kept:
        assert all(np.abs(after[name] - vector).max() > 1e-3 for vector in before.values())


def test_weights_without_ids_beside_them_are_told(tmp_path: Path) -> None:
    folder = fitted().save(tmp_path / "home")
    shutil.copy(folder / "best.safetensors", tmp_path)
    model = SASRec(len(fitted().known.item_ids) - 1, fitted().model_.config)
    with pytest.warns(DataWarning, match=r"row i of the item table is taken as item i here"):
        start_from(model, tmp_path / "best.safetensors", item_ids=fitted().known.item_ids)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start_from(model, folder / "best.safetensors", item_ids=fitted().known.item_ids)


def test_weights_of_another_catalogue_are_refused(tmp_path: Path) -> None:
    folder = fitted().save(tmp_path / "home")
    other = log().assign(page="other " + log()["page"].astype(str))
    starting = Recommender(**settings_of("sasrec"), init_from=folder / "best.safetensors")
    with pytest.raises(ConfigError, match="none of them is among the .* here, such as 'other "):
        starting.fit(other, **COLUMNS)
    items = json.loads((folder / "items.json").read_text(encoding="utf-8"))
    ids = [PAD, *items["ids"]][::-1]
    model = SASRec(len(ids) - 1, fitted().model_.config)
    (folder / "items.json").write_text(json.dumps({**items, "ids": items["ids"][:-1]}))
    with pytest.raises(CheckpointError, match=r"items\.json was damaged or changed"):
        start_from(model, folder / "best.safetensors", item_ids=ids)
    lone = shutil.copytree(folder, tmp_path / "lone")
    (lone / "config.json").unlink()
    with pytest.raises(CheckpointError, match="not of one run"):
        start_from(model, lone / "best.safetensors", item_ids=ids)


# --- a run of `train` is such a folder -------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run on a log, and what the command said."""
    shop = tmp_path_factory.mktemp("shop")
    log().to_csv(shop / "log.csv", index=False)
    columns = ("--user-column", "visitor", "--item-column", "page", "--time-column", "at")
    small = ("--title-column", "name", "--min-actions", "1", "--epochs", "2", "--d", "8")
    options = (*columns, *small, "--n", "10", "--batch-size", "32", "--out", "run")
    done = command("train", "--dataset", "log.csv", *options, cwd=shop)
    assert done.returncode == 0, done.stderr
    return shop, done.stdout


def test_a_run_answers_elsewhere_and_after_the_log_has_grown(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    shop, said = trained
    why = "to see why, in a browser: python -m minisasrec.explore run --open"
    assert why in said.splitlines()
    assert said.splitlines()[-1] == "to go on: python -m minisasrec.recommend run --user u0"
    asked = ("--user", "u3", "--k", "4", "--json")
    want = json.loads(command("recommend", "run", *asked, cwd=shop).stdout)
    rows = json.loads(command("evaluate", "run", "--json", cwd=shop).stdout)["rows"]
    with (shop / "log.csv").open("a") as file:
        file.write("u3,p1,9999999999,Page 1\n")
    shutil.move(shop / "run", tmp_path / "moved")
    (shop / "log.csv").rename(shop / "other.csv")
    try:
        elsewhere = command("recommend", "moved", *asked, cwd=tmp_path)
        assert json.loads(elsewhere.stdout) == want, elsewhere.stderr
        again = command("evaluate", "moved", "--json", cwd=tmp_path)
        assert json.loads(again.stdout)["rows"] == rows, again.stderr
        loaded = Recommender.load(tmp_path / "moved")
        assert loaded.recommend(["u3"], k=4)["item"].tolist() == [entry["item"] for entry in want]
        assert loaded.titles is not None and loaded.titles["p1"] == "Page 1"
    finally:
        shutil.move(tmp_path / "moved", shop / "run")
        (shop / "other.csv").rename(shop / "log.csv")


def test_a_recommender_of_the_same_settings_is_the_same(trained: tuple[Path, str]) -> None:
    shop, _ = trained
    run = Recommender.load(shop / "run")
    log().to_csv(shop / "first.csv", index=False)
    same = Recommender("sasrec", epochs=2, d=8, n=10, batch_size=32).fit(
        shop / "first.csv", **COLUMNS
    )
    pd.testing.assert_frame_equal(same.recommend(k=3), run.recommend(k=3), check_exact=True)
    assert run.get_params() == same.get_params()


def test_a_run_that_may_not_name_users(trained: tuple[Path, str], tmp_path: Path) -> None:
    log().to_csv(tmp_path / "log.csv", index=False)
    options = ("--dataset", "log.csv", "--user-column", "visitor", "--item-column", "page")
    options += ("--min-actions", "1", "--no-keep-histories", "--out", "run")
    done = command("train", *options, "--model", "markov", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "users.json" not in contents(tmp_path / "run")
    assert done.stdout.splitlines()[-1].startswith("to go on: ")
    assert " run --items p" in done.stdout.splitlines()[-1]
    assert len(Recommender.load(tmp_path / "run").recommend(histories=[["p3"]], k=2)) == 2
    refused = command("train", *options[:-1], "other", "--model", "bpr", cwd=tmp_path)
    assert refused.returncode == 2 and "BPR answers for known users only" in refused.stderr
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("folder", [None, "", 7, b"home", ["home"]])
def test_a_folder_that_is_no_path(folder: Any) -> None:
    for method in (fitted().save, Recommender.load):
        with pytest.raises(ConfigError, match=f"{method.__name__} takes the path of a folder, "):
            method(folder)


@pytest.mark.parametrize("folder", ["a\0b", "x" * 5000])
def test_a_path_that_no_system_takes(folder: str) -> None:
    for method in (fitted().save, Recommender.load):
        with pytest.raises(ConfigError, match="cannot be a folder: "):
            method(folder)


def signed(folder: Path, name: str, content: bytes) -> None:
    """Write a file of a folder as the package would: config.json knows it."""
    run = Run(folder)
    run.write_bytes(name, content)
    values = run.read_config()
    values["files"][name] = [hashlib.sha256(content).hexdigest()]
    run.write_config(values)


def changed(name: str, **values: Any) -> Any:
    """A change of the JSON in a file."""

    def change(folder: Path) -> None:
        found = json.loads((folder / name).read_bytes())
        signed(folder, name, json.dumps({**found, **values}).encode())

    return change


def known(**values: Any) -> Any:
    """A change of what config.json says about the data."""

    def change(folder: Path) -> None:
        config = Run(folder).read_config()
        Run(folder).write_config({**config, "known": {**config["known"], **values}})

    return change


def arrays(**values: Any) -> Any:
    """A change of the histories; None leaves an array out."""

    def change(folder: Path) -> None:
        found, _ = Run(folder).load_arrays("histories.safetensors")
        changed = {name: values.get(name, lambda a: a)(array) for name, array in found.items()}
        kept = {name: array for name, array in changed.items() if array is not None}
        signed(folder, "histories.safetensors", to_safetensors(kept, {}))

    return change


DAMAGE: dict[str, Any] = {
    "no name": known(name=None),
    "notes are no list": known(notes=3),
    "whole is no list": known(whole="user"),
    "another rule": known(repeats="maybe"),
    "trained on what": known(on=[]),
    "less than no users": known(num_users=-1),
    "users that are a text": known(num_users="40"),
    "an id that is a number": changed("items.json", ids=[1] * 120),
    "ids that are no list": changed("items.json", ids={"a": 1}),
    "ids twice": changed("items.json", ids=["p"] * 120),
    "titles that are numbers": changed("items.json", titles=[1.5] * 120),
    "one title": changed("items.json", titles=["a"]),
    "no counts": changed("items.json", trained=[]),
    "counts that are texts": changed("items.json", trained=["x"] * 120),
    "counts in counts": changed("items.json", trained=[[1]] * 120),
    "counts too large": changed("items.json", trained=[10**30] * 120),
    "no users": changed("users.json", ids=[]),
    "a user who is null": changed("users.json", ids=[None] * 40),
    "users are no JSON": lambda folder: signed(folder, "users.json", b"\xff{"),
    "items too deep": lambda folder: signed(folder, "items.json", b"[" * 100_000),
    "no offsets": arrays(offsets=lambda a: None),
    "items of another type": arrays(items=lambda a: a.astype(np.float32)),
    "items out of range": arrays(items=lambda a: a + 1000),
    "offsets that fall": arrays(offsets=lambda a: a[::-1].copy()),
    "a split of other users": arrays(train_end=lambda a: a[:-1].copy()),
    "a split outside": arrays(valid_at=lambda a: a + 10_000),
    "a split before": arrays(test_at=lambda a: a - 9),
    "a split of another shape": arrays(train_end=lambda a: a[None]),
    "a split of another type": arrays(train_end=lambda a: a.astype(np.float64)),
    "times of another shape": arrays(times=lambda a: a[:-1].copy()),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_whatever_the_files_hold_it_is_one_line(damage: str, tmp_path: Path) -> None:
    """Also where somebody made the checksums fit."""
    folder = fitted().save(tmp_path / "home")
    DAMAGE[damage](folder)
    with pytest.raises(CheckpointError) as told:
        Recommender.load(folder)
    assert str(folder) in str(told.value) and "\n" not in str(told.value)
