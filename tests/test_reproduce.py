"""The paper's experiments by one command: kept and resumed; tables, significance."""

from __future__ import annotations

import copy
import csv
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minisasrec import Tensor, reproduce
from minisasrec.autograd.engine import no_grad
from minisasrec.commands.cli import INTERRUPTED, run_command
from minisasrec.data import DATASETS, load_dataset
from minisasrec.data.options import ReadingOptions
from minisasrec.data.sequences import pack_sequences
from minisasrec.errors import ConfigError, DataError, ShapeError
from minisasrec.experiments import cluster, grids, paper, targets
from minisasrec.experiments import experiment as kept
from minisasrec.experiments.attention_maps import (
    attention_maps,
    main_categories,
    mean_attention,
    membership,
)
from minisasrec.experiments.experiment import estimate, make_experiment
from minisasrec.experiments.significance import paired_bootstrap, paired_differences
from minisasrec.experiments.tables import format_records, record
from minisasrec.learn import fit as training
from minisasrec.learn.config import TrainConfig, from_json, preset
from minisasrec.learn.runs import Run
from minisasrec.models import SASRec, SASRecConfig

Call = Callable[..., int]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clicks.csv: 60 users, each with 20 of 130 items in order."""
    folder = tmp_path_factory.mktemp("reproduce")
    rows = ["user,item,time"]
    for user in range(60):
        walk = (user * 130 // 60 + np.arange(20)) % 130
        rows += [f"u{user},i{item},{t}" for t, item in enumerate(walk)]
    (folder / "clicks.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run the command on the clicks, one epoch an experiment; returns its exit code."""
    monkeypatch.chdir(folder)

    def run(*arguments: str, epochs: int = 1) -> int:
        options = ("--dataset", "clicks.csv", "--epochs", str(epochs))
        return run_command(reproduce.main, [*arguments, *options])

    return run


def states(call: Call, capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """What --dry-run says of each experiment."""
    capsys.readouterr()
    assert call(*arguments, "--dry-run") == 0
    return [line[:10].strip() for line in capsys.readouterr().out.splitlines()]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_grid_is_computed_once_and_written(call, folder, capsys) -> None:
    rows = ("table3", "--methods", "poprec", "sasrec", "--seeds", "0", "1")
    assert states(call, capsys, *rows) == ["to do"] * 4
    assert call(*rows) == 0
    said = capsys.readouterr()
    assert "4 experiments: 0 done, 4 to compute" in said.err and "[4/4] sasrec, seed 1" in said.err
    assert "shortened, --epochs 1" in said.out and "the paper has no figures" in said.out
    assert re.search(r"\| +sasrec minus poprec \| +NDCG@10 \| +0, 1 \| +60 \| +[+-]", said.out)
    assert "full" not in said.out  # the epochs were not chosen by it
    assert re.search(r"made: date: \d{4}-\d\d-\d\d; code: [0-9a-f]{8}; processor: ", said.out)
    assert states(call, capsys, *rows) == ["done"] * 4

    out = folder / "reproduce" / "table3-clicks"
    assert (out / "table.md").read_text() in said.out
    assert (out / "plot.png").read_bytes().startswith(b"\x89PNG")
    table = {(r["row"], r["group"], r["metric"]): r for r in read_csv(out / "table.csv")}
    found = []
    for seed in (0, 1):
        (path,) = [
            p
            for p in (folder / "reproduce" / "experiments").glob("clicks-sasrec-*/result.json")
            if json.loads(p.read_text())["seed"] == seed
        ]
        test = json.loads(path.read_text())["test"]
        found.append(next(t["NDCG@10"] for t in test if t["protocol"] == "sampled"))
    line = table["sasrec", "sampled", "NDCG@10"]
    assert float(line["ours"]) == pytest.approx(sum(found) / 2)
    assert float(line["spread"]) == pytest.approx(abs(found[0] - found[1]) / 2**0.5)

    # table4's default row is table3's SASRec
    assert states(call, capsys, "table4", "--methods", "default", "1-block") == ["done", "to do"]
    assert call(*rows) == 0
    assert "4 experiments: 4 done, 0 to compute" in capsys.readouterr().err


def test_a_table_of_full_ranking_is_of_runs_chosen_by_it(call, folder, capsys) -> None:
    rows = ("table3", "--methods", "sasrec", "--experiments", "chosen")
    assert call(*rows, epochs=3) == 0
    assert states(call, capsys, *rows, "--select", "full") == ["to do"]  # other runs
    assert call(*rows, "--select", "full", "--out", "full", epochs=3) == 0
    assert {row["group"] for row in read_csv(folder / "full" / "table.csv")} == {"full"}
    by = {}
    for path in (folder / "chosen").glob("*/config.json"):
        config = json.loads(path.read_text())["settings"]
        epochs = (path.parent / "history.jsonl").read_text().splitlines()
        by[config["select"]] = [json.loads(epoch) for epoch in epochs]
    pairs = list(zip(by["sampled"], by["full"], strict=True))
    assert all(a["loss"] == b["loss"] for a, b in pairs)  # the same training,
    assert all(a["MRR"] >= b["MRR"] for a, b in pairs)  # seen by a harder ranking
    assert any(a["MRR"] > b["MRR"] for a, b in pairs)


def test_the_papers_figures_stand_beside_the_papers_data_only(
    folder, tmp_path, capsys, monkeypatch
) -> None:
    """A public data set has variants: another Beauty is not the paper's."""
    monkeypatch.chdir(tmp_path)
    lines = (folder / "clicks.csv").read_text().splitlines()[1:]
    pairs = [" ".join(word[1:] for word in line.split(",")[:2]) for line in lines]
    (tmp_path / "Beauty.txt").write_text("\n".join(pairs) + "\n")
    options = ["table3", "--dataset", "amazon-beauty", "--data-dir", ".", "--methods", "poprec"]
    assert run_command(reproduce.main, options) == 0
    said = capsys.readouterr().out
    assert "this is not the paper's amazon-beauty, so its figures are not shown" in said
    assert "diff." not in said


def test_the_grid_shows_both_rankings_and_compares_networks(call, folder, capsys) -> None:
    rows = ("grid", "--experiments", "cells", "--select", "full")
    assert call(*rows, "--methods", "sasrec", "fmc", "--out", "two") == 0
    said = capsys.readouterr().out
    assert "epochs chosen on the validation part, by full ranking" in said
    assert "from the best loss to the worst" not in said  # two networks of four
    differences = {
        (r["one"], r["other"], r["protocol"]): r
        for r in read_csv(folder / "two" / "differences.csv")
    }
    table = {
        (r["row"], r["group"]): float(r["ours"])
        for r in read_csv(folder / "two" / "table.csv")
        if r["metric"] == "NDCG@10"
    }
    assert len(table) == 2 * 4 * 2 and len(differences) == 4 * 2
    for (one, other, protocol), r in differences.items():  # one seed, the same users
        of_means = table[one, protocol] - table[other, protocol]
        assert float(r["difference"]) == pytest.approx(of_means, abs=1e-9)
        assert float(r["low"]) <= of_means <= float(r["high"]) and r["users"] == "60"
        assert f"{of_means:+.4f} | {float(r['low']):+.4f} to {float(r['high']):+.4f} |" in said
    assert call(*rows, "--out", "four") == 0
    said = capsys.readouterr().out
    found = {
        (r["row"], r["group"]): float(r["ours"])
        for r in read_csv(folder / "four" / "table.csv")
        if r["metric"] == "NDCG@10"
    }
    assert len(found) == 4 * 4 * 2 and found.items() >= table.items()
    for protocol in ("full", "sampled"):
        cells = np.array([[found[f"{n} {loss}", protocol] for loss in grids.LOSSES]
                          for n in grids.NETWORKS])  # fmt: skip
        losses, networks = np.ptp(cells, axis=1).mean(), np.ptp(cells, axis=0).mean()
        assert (
            f"NDCG@10, {protocol}: from the best loss to the worst of a network {losses:.4f}"
            in said
        )
        assert f"to the worst with a loss {networks:.4f} (mean over losses)" in said


def test_notes_say_what_chose_the_epochs_and_who_was_ranked(
    call, folder, capsys, monkeypatch
) -> None:
    rows = ("grid-tuning", "--methods", "fmc", "--experiments", "few")
    monkeypatch.setattr(
        grids, "preset", lambda *args: dataclasses.replace(preset(*args), max_users=50)
    )
    assert call(*rows) == 0
    said = capsys.readouterr().out
    assert "- epochs chosen on the validation part, by sampled ranking\n" in said
    assert "- ranked: 50 of 60 users, drawn at random\n" in said
    chosen = json.loads((folder / "reproduce" / "grid-tuning-clicks" / "grid.json").read_text())
    assert list(chosen) == [f"fmc {loss}" for loss in grids.LOSSES]  # as presets/DATASET has it
    for cell, value in chosen.items():
        assert f"- {cell}: row_l2 {value:g} validates best" in said
    # the settings that all rows have
    assert "it runs with n 10000, d 50; try others" in said
    assert call(*rows, "--select", "full") == 0
    assert "- epochs chosen on the validation part, by full ranking\n" in capsys.readouterr().out
    tables = {path.parent.name for path in folder.glob("reproduce/grid-tuning-*/table.md")}
    assert tables == {"grid-tuning-clicks", "grid-tuning-clicks-full"}  # neither is overwritten


def test_a_grid_says_which_cells_nobody_has_chosen(call, tmp_path, capsys, monkeypatch) -> None:
    rows = ("grid", "--methods", "fmc", "--experiments", "cells")
    assert call(*rows) == 0
    told = "nobody has chosen the settings of {} for clicks: each has the middle one"
    assert told.format("all cells") in capsys.readouterr().out
    monkeypatch.setattr(grids, "CHOSEN", tmp_path)
    (tmp_path / "clicks.csv").mkdir()
    chosen = {"fmc bce": 0.01, "fmc gbce": 0.0, "fmc softmax": 0.0}
    (tmp_path / "clicks.csv" / "grid.json").write_text(json.dumps(chosen))
    assert grids.cell("clicks.csv", "fmc", "bce").config.factors.row_l2 == 0.01
    assert call(*rows) == 0
    assert told.format("fmc bpr-max") in capsys.readouterr().out


def test_a_picture_says_what_its_lines_are_and_has_no_empty_places(call, monkeypatch) -> None:
    drawn: list[Any] = []
    bars = targets.plots.bars
    monkeypatch.setattr(targets.plots, "bars", lambda *a, **k: drawn.append(a) or bars(*a, **k))
    rows = ("--methods", "fmc", "--experiments", "cells")
    assert call("grid", *rows) == 0 and call("grid", *rows, "--seeds", "0", "1") == 0
    (labels, _, one), (_, _, two) = drawn
    assert labels == ["fmc"] and "\n" not in one
    assert two == f"{one}\nmean over seeds, lines: +- their standard deviation"


def test_a_table_names_every_code_that_made_its_experiments(call, folder, capsys) -> None:
    rows = ("table3", "--methods", "poprec", "bpr", "--experiments", "made")
    assert call(*rows) == 0
    (bpr,) = (folder / "made").glob("clicks-bpr-*")
    config = Run(bpr).read_config()
    first = {**config["made_by"][0], "code": "f" * 64, "processor": "an older one"}
    Run(bpr).write_config({**config, "made_by": [first, *config["made_by"]]})  # it was resumed
    capsys.readouterr()
    assert call(*rows) == 0
    said = capsys.readouterr().out
    assert re.search(r"code: [0-9a-f]{8}, ffffffff; processor: an older one, ", said)
    (bpr / "config.json").unlink()  # the result is there, so the table is
    assert call(*rows) == 0
    assert re.search(
        r"made: date: [-\d]{10}; code: [0-9a-f]{8}, not noted", capsys.readouterr().out
    )


def test_what_is_finished_is_shown_without_computing(call, capsys) -> None:
    rows = ("table3", "--experiments", "finished", "--methods", "poprec")
    assert call(*rows) == 0
    capsys.readouterr()
    rows = (*rows, "sasrec")
    assert call(*rows, "--finished") == 0
    said = capsys.readouterr()
    assert "1 experiment: 1 done, 0 to compute" in said.err and "| poprec |" in said.out
    assert "not computed yet: sasrec (seed 0)" in said.out and "| sasrec |" not in said.out
    assert states(call, capsys, *rows) == ["done", "to do"]


def test_tuning_reads_no_test_part_and_a_table_goes_on_from_its_weights(
    call, folder, capsys, monkeypatch
) -> None:
    rows = ("--methods", "fmc", "--experiments", "tuned")
    evaluate = kept.evaluate
    monkeypatch.setattr(kept, "evaluate", lambda *_, **__: pytest.fail("read the test part"))
    assert call("tuning", *rows) == 0
    said = capsys.readouterr().out
    assert "fmc row_l2=0.1" in said and "validates best" in said and "as configured" in said
    tuned = list((folder / "tuned").iterdir())
    assert len(tuned) == 10 and all(
        (experiment / "validation.json").is_file() for experiment in tuned
    )
    assert states(call, capsys, "tuning", *rows) == ["done"] * 10
    assert states(call, capsys, "table3", *rows) == ["resumable"]

    monkeypatch.setattr(kept, "evaluate", evaluate)
    monkeypatch.setattr(training, "train_epoch", lambda *_: pytest.fail("trained it again"))
    assert call("table3", *rows) == 0
    (result,) = (folder / "tuned").glob("*/result.json")
    found = json.loads(result.read_text())
    validated = json.loads(result.with_name("validation.json").read_text())
    assert {key: found[key] for key in validated if key != "total_seconds"} == {
        key: value for key, value in validated.items() if key != "total_seconds"
    }
    assert states(call, capsys, "tuning", *rows) == ["done"] * 10


def write_clicks(path: Path, shift: int) -> None:
    rows = ["user,item,time"]
    for user in range(30):
        rows += [f"u{user},i{(user * 5 + t * shift) % 130},{t}" for t in range(20)]
    path.write_text("\n".join(rows) + "\n")


def test_a_process_that_lives_on_sees_that_the_data_has_changed(tmp_path: Path) -> None:
    path, found = tmp_path / "changing.csv", []
    config = TrainConfig(dataset=str(path), model="poprec", columns=ReadingOptions(min_actions=1))
    for shift in (1, 3):
        write_clicks(path, shift)
        fingerprint = load_dataset(path, min_actions=1).fingerprint()
        experiment = make_experiment(config, fingerprint, tmp_path / "experiments")
        found.append(
            kept.run_experiment(experiment)
        )  # as a worker does, that keeps the data it has read
        assert json.loads((experiment.folder / "config.json").read_text())["data"] == fingerprint
    assert found[0]["test"] != found[1]["test"]
    other = make_experiment(config, "another", tmp_path / "experiments")
    with pytest.raises(DataError, match="is other data here"):
        kept.run_experiment(other)


def test_the_rule_about_items_met_before_is_part_of_a_cell(folder, capsys, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    random = np.random.default_rng(0)
    rows = ["user,item,time"]
    for user in range(40):  # three of 130 items each, again and again
        seen = random.choice(random.choice(130, 3), 12)
        rows += [f"u{user},i{item},{t}" for t, item in enumerate([*seen, *range(user, 130, 40)])]
        rows += [f"u{user},i{item},{t}" for t, item in enumerate(random.choice(seen, 3), 99)]
    Path("visits.csv").write_text("\n".join(rows) + "\n")

    def state(*rule: str) -> str:
        options = ["--dataset", "visits.csv", "--methods", "poprec", "--min-actions", "1"]
        assert run_command(reproduce.main, ["table3", *options, *rule, "--dry-run"]) == 0
        return capsys.readouterr().out.split()[0]

    options = ["--dataset", "visits.csv", "--methods", "poprec", "--min-actions", "1"]
    assert run_command(reproduce.main, ["table3", *options]) == 0
    said = capsys.readouterr().out
    assert "repeats: allow (auto)" in said and "(sampled)" in said
    # auto came to allow: the same experiment; forbid is another one
    assert state() == state("--repeats", "allow") == "done"
    assert state("--repeats", "forbid") == "to"


def test_a_damaged_result_is_named_and_leaves_the_others(call, folder, capsys) -> None:
    rows = (
        "table3",
        "--methods",
        "poprec",
        "fmc",
        "--experiments",
        "damaged",
        "--out",
        "damaged-table",
    )
    assert call(*rows) == 0
    (experiment,) = (folder / "damaged").glob("clicks-fmc-*")
    (experiment / "result.json").write_text("{}")
    capsys.readouterr()
    assert call(*rows) == 1
    said = capsys.readouterr()
    assert "| poprec |" in said.out and f"delete {experiment} to have it computed again" in said.out
    assert said.err.splitlines()[-1] == "error: experiments that failed: 1; they are listed above"


def test_no_table_is_written_where_nothing_is_done(call, folder, capsys) -> None:
    assert call("table3", "--finished", "--experiments", "none", "--out", "no-table") == 0
    assert "no experiment is done, so there is no table" in capsys.readouterr().out
    assert not list((folder / "no-table").iterdir())


def test_own_columns_and_repeated_seeds(call, folder, capsys, monkeypatch) -> None:
    text = (folder / "clicks.csv").read_text().replace("user,item,time", "visitor,page,at")
    (folder / "visits.csv").write_text(text)
    named = ("--user-column", "visitor", "--item-column", "page", "--time-column", "at")
    arguments = ["table3", "--dataset", "visits.csv", "--methods", "poprec", "--seeds", "0", "0"]
    assert run_command(reproduce.main, [*arguments, *named, "--dry-run"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_killed_cell_goes_on_to_the_same_result(call, folder, capsys, monkeypatch) -> None:
    rows = ("table4", "--methods", "no-residual")
    assert call(*rows, "--experiments", "whole", epochs=3) == 0
    save, epochs = training._save, []

    def killed(*arguments):
        save(*arguments)
        epochs.append(1)
        if len(epochs) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_save", killed)
    capsys.readouterr()
    assert call(*rows, "--experiments", "parts", epochs=3) == INTERRUPTED
    assert "the same command goes on" in capsys.readouterr().err.splitlines()[-1]
    (experiment,) = (folder / "parts").iterdir()
    assert not (experiment / "result.json").exists()
    assert call(*rows, "--experiments", "parts", "--dry-run", epochs=3) == 0
    assert capsys.readouterr().out.startswith("resumable ")
    assert call(*rows, "--experiments", "parts", epochs=3) == 0
    assert len(epochs) == 3  # one epoch was left, not three
    whole, parts = (
        json.loads((folder / base / experiment.name / "result.json").read_text())
        for base in ("whole", "parts")
    )
    assert parts["test"] == whole["test"] and parts["epochs"] == 3


def test_a_cell_that_fails_leaves_the_others(call, folder, capsys, monkeypatch) -> None:
    fit = kept.fit

    def fails(model, split, config, *rest, **options):
        if config.sasrec.blocks == 0:
            raise training.TrainingError("the loss is nan")
        return fit(model, split, config, *rest, **options)

    monkeypatch.setattr(kept, "fit", fails)
    assert call("table4", "--methods", "default", "0-blocks", "--experiments", "failing") == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == "error: experiments that failed: 1; they are listed above"
    assert ": the loss is nan" in said.out
    rows = {r["row"] for r in read_csv(folder / "reproduce" / "table4-clicks" / "table.csv")}
    assert rows == {"default"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("table9",), "there is no target 'table9'; choose one of table2, table3, "),
        ((), "name a target; choose one of table2"),
        (("table3", "--seeds", "0", "-1"), "--seeds has -1; a seed is from 0 to 18"),
        (("table3", "--seeds", "9" * 24), "--seeds has 999999999999999999999999; a seed is from 0"),
        (("table3", "--methods", "svd"), "--methods: table3 has no row 'svd'; it has poprec, bpr"),
        (("table3", "--jobs", "0"), "--jobs is 0; it must be at least 1"),
        (("table3", "--seed", "1"), ""),
        (("table3", "--seeds"), "--seeds is empty; give one seed or more"),
    ],
)
def test_what_is_wrong_is_one_line(call, capsys, arguments, said) -> None:
    assert call(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")


@pytest.mark.parametrize(
    ("module", "option"), [("joblib", "--jobs"), ("distributed", "--scheduler")]
)
def test_a_missing_extra_is_one_line(call, capsys, monkeypatch, module, option) -> None:
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(cluster, "import_module", missing)
    value = "2" if option == "--jobs" else "tcp://127.0.0.1:1"
    assert call("table4", "--methods", "3-blocks", option, value, "--experiments", "none") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {option} needs {module}, ") and "[reproduce]" in error


def test_other_processes_compute_the_same(call, folder) -> None:
    pytest.importorskip("joblib")
    compare(call, folder, "jobs", "--jobs", "2")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGINT cannot be sent to a group there")
def test_ctrl_c_with_two_processes_shows_no_traceback(folder: Path) -> None:
    pytest.importorskip("joblib")
    command = [sys.executable, "-m", "minisasrec.reproduce", "table4", "--jobs", "2"]
    process = subprocess.Popen(
        [*command, "--dataset", "clicks.csv", "--epochs", "300", "--experiments", "pressed"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 240
    while not list(folder.glob("pressed/*/last.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the workers get it, too
    first, *said = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 130
    assert first == "9 experiments: 0 done, 9 to compute"
    kept = "finished experiments and whole epochs are kept; the same command goes on"
    assert f"interrupted: {kept}" in said
    assert not any("Traceback" in line for line in said), said


def test_a_dask_cluster_computes_the_same(call, folder) -> None:
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    )
    with cluster:
        compare(call, folder, "dask", "--scheduler", cluster.scheduler_address)


def compare(call: Call, folder: Path, name: str, *options: str) -> None:
    """Two experiments, here and as `options` say, with the same results."""
    rows = ("table4", "--methods", "1-block", "2-heads")
    assert call(*rows, "--experiments", "here") == 0
    assert call(*rows, "--experiments", name, *options) == 0
    for path in (folder / "here").glob("*/result.json"):
        there = folder / name / path.parent.name / "result.json"
        assert json.loads(there.read_text())["test"] == json.loads(path.read_text())["test"]
    assert len(list((folder / name).glob("*/result.json"))) == 2


def test_a_split_has_one_spelling(call, capsys) -> None:
    folders = set()
    for split in ("time:0.9", "time:.9", "time:0.90"):
        assert call("table3", "--methods", "poprec", "--split", split, "--dry-run") == 0
        folders.add(capsys.readouterr().out)
    assert len(folders) == 1


def test_figures(call, folder, capsys) -> None:
    assert call("figure4", "--out", "figure4") == 0
    said = "60 training sequences of 3 items or more, 60 of 15 or more; uniform attention would "
    said += "give 0.167 of the last position's weight to the last 3\n"
    assert capsys.readouterr().out.count(said) == 2
    weights = read_csv(folder / "figure4" / "positions.csv")
    # of the last 15 positions, two blocks, with positions and without
    assert len(weights) == 2 * 2 * 15 * 16 / 2
    assert call("figure3", "--methods", "sasrec", "--out", "figure3", epochs=2) == 0
    curve = read_csv(folder / "figure3" / "curves.csv")
    assert len(curve) == 2 and float(curve[0]["seconds"]) < float(curve[1]["seconds"])
    for file in (folder / "reproduce" / "experiments").glob("*/history.jsonl"):
        if len(file.read_text().splitlines()) == 2:
            file.write_text("{bad\n")
    assert call("figure3", "--methods", "sasrec", "--out", "without", epochs=2) == 1
    said = capsys.readouterr()
    assert re.search(r"no plot: .*history.jsonl .*; delete \S+ to have it computed", said.out)
    assert "experiments that failed: 1" in said.err
    assert "| sasrec |" in (folder / "without" / "table.md").read_text()
    assert call("figure2", "--methods", "poprec", "sasrec d=10", "--out", "figure2") == 0
    rows = {r["row"] for r in read_csv(folder / "figure2" / "table.csv")}
    assert rows == {"poprec d=10", "poprec d=20", "poprec d=30", "poprec d=40", "poprec d=50"} | {
        "sasrec d=10"
    }
    assert call("table5", "--methods", "n=10", "--out", "table5") == 0
    assert (folder / "table5" / "plot.png").stat().st_size > 1000


def test_attention_maps_of_short_histories(folder, capsys, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(targets, "MOST_MAPS", 20)
    walks = [f"u{u},i{(7 * u + t) % 40},{t}" for u in range(80) for t in range(3 + u % 4)]
    (folder / "short.csv").write_text("user,item,time\n" + "\n".join(walks) + "\n")
    options = ["--dataset", "short.csv", "--min-actions", "0", "--methods", "default"]
    arguments = ["figure4", *options, "--epochs", "1", "--out", "short"]
    assert run_command(reproduce.main, arguments) == 0
    said = capsys.readouterr().out
    assert "default: 20 training sequences of 3 items or more" in said
    found = re.findall(r"([0-9.]+) of (?:its|the last position's) weight to the last 3", said)
    assert len(found) == 3 and all(0 < float(share) <= 1 for share in found)


def test_a_small_catalogue_is_ranked_whole(folder, capsys, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    walks = [f"u{u},i{(u + t) % 30},{t}" for u in range(20) for t in range(8)]
    Path("small.csv").write_text("\n".join(["user,item,time", *walks]) + "\n")
    arguments = ["table3", "--dataset", "small.csv", "--methods", "poprec", "sasrec"]
    assert run_command(reproduce.main, [*arguments, "--epochs", "1"]) == 0
    rows = {r["group"] for r in read_csv(Path("reproduce/table3-small/table.csv"))}
    assert rows == {"full", "authors"}
    assert re.search(r"\| +full \| +95% interval \| +p \|", capsys.readouterr().out)


def test_table2_reads_what_is_at_hand(folder, capsys, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(
        reproduce, "DATASETS", {name: DATASETS[name] for name in ("bookshop", "steam")}
    )
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.delenv("MINISASREC_DATA_DIR", raising=False)
    assert run_command(reproduce.main, ["table2"]) == 0
    said = capsys.readouterr().out
    assert "left out: steam is not in " in said
    rows = {
        (r["group"], r["metric"]): r["ours"]
        for r in read_csv(Path("reproduce/table2-all/table.csv"))
    }
    assert float(rows["all", "users"]) == 6000
    assert float(rows["train", "million actions"]) == pytest.approx(0.138665 - 0.012)


def test_table2_obeys_the_options(folder, capsys, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "log.csv").write_text(
        (folder / "clicks.csv").read_text().replace("user,item,time", "who,bought,moment")
    )
    named = ("--user-column", "who", "--item-column", "bought", "--time-column", "moment")
    log = ["table2", "--dataset", "log.csv", *named]
    assert run_command(reproduce.main, [*log, "--dry-run"]) == 0
    assert "it has no experiments" in capsys.readouterr().out
    assert not (folder / "reproduce" / "table2-log").exists()
    trained = []
    for split in ("leave-one-out", "time:0.8"):
        assert run_command(reproduce.main, [*log, "--split", split, "--out", split[:4]]) == 0
        rows = {
            (r["group"], r["metric"]): r["ours"] for r in read_csv(Path(split[:4], "table.csv"))
        }
        assert float(rows["all", "users"]) == 60
        trained.append(float(rows["train", "million actions"]))
    assert trained[0] == pytest.approx(60 * 18 / 1e6) and trained[1] < 0.8 * 60 * 20 / 1e6


def test_the_hash_of_a_cell_covers_what_its_result_depends_on(tmp_path) -> None:
    def name(**settings) -> str:
        return make_experiment(from_json(settings, base), "data", tmp_path).folder.name

    base = TrainConfig(model="caser")
    for machine in ({"machine": {"threads": 3}}, {"data_dir": "x"}, {"json": True}):
        assert name(**machine) == name()
    assert name(sasrec={"d": 8}) == name()  # another model's
    for settings in ({"caser": {"d": 8}}, {"seed": 1}, {"epochs": 3}, {"l2": 0.1}):
        assert name(**settings) != name()
    assert make_experiment(base, "other data", tmp_path).folder.name != name()


def test_a_new_setting_renames_no_experiment(tmp_path, monkeypatch) -> None:
    def name(config: TrainConfig) -> str:
        return make_experiment(config, "data", tmp_path).folder.name

    before = TrainConfig(model="caser", seed=1)
    later = dataclasses.make_dataclass(
        "Later", [("momentum", float, 0.9)], bases=(TrainConfig,), frozen=True
    )
    assert name(later(model="caser", seed=1)) == name(before)
    assert name(later(model="caser", seed=1, momentum=0.5)) != name(before)
    # the same of a setting of a model, and of one whose default changes later
    want = name(before), name(from_json({"caser": {"d": 7}}, before))
    frozen = copy.deepcopy(kept.frozen_defaults())
    del frozen["caser"]["d"], frozen["lr"]
    with monkeypatch.context() as patch:
        patch.setattr(kept, "frozen_defaults", lambda: frozen)
        assert (name(before), name(from_json({"caser": {"d": 7}}, before))) == want
        frozen["lr"] = 0.5
        assert name(before) != want[0] and name(dataclasses.replace(before, lr=0.5)) == want[0]
    # for ever: what is on people's disks
    assert want[0] == "bookshop-caser-badae130a0fb"
    assert name(preset("ml-1m")) == "ml-1m-sasrec-e392c55f10d9"


def test_every_default_is_written_down() -> None:
    """A new setting: add its default to frozen_defaults.json. Never change what is there."""
    settings = {k: v for k, v in TrainConfig().to_json().items() if k not in kept.NO_NUMBERS}
    frozen = kept.frozen_defaults()
    assert frozen.keys() == settings.keys()
    for name, value in settings.items():
        if isinstance(value, dict):
            assert frozen[name].keys() == value.keys(), name


def test_an_estimate_goes_by_the_same_model() -> None:
    finished = [
        {"model": model, "total_seconds": s} for model, s in [("bpr", 2), ("bpr", 4), ("fmc", 9)]
    ]
    assert estimate(["bpr", "bpr", "fmc"], finished) == 3 + 3 + 9
    assert estimate(["caser"], finished) == 5  # the mean of all
    failed = {"model": "bpr", "total_seconds": 0.0, "error": "the loss is NaN"}
    assert estimate(["bpr"], [*finished, failed]) == 3  # a failed one says nothing of time
    assert estimate(["bpr"], [failed]) == 0


def test_the_table_leaves_out_what_nobody_has() -> None:
    found = [
        record("bpr", "sampled", "NDCG@10", [0.3, 0.4], 0.3287),
        record("fmc", "sampled", "NDCG@10", [0.5, 0.5], None),
        record("bpr", "full", "NDCG@10", [0.1], None),
    ]
    text = format_records(found, ("HR@10", "NDCG@10"))
    assert text.splitlines() == [
        "Against 100 sampled items (sampled):",
        "",
        "|     | NDCG@10 |     +- |  paper |   diff. |",
        "|----:|--------:|-------:|-------:|--------:|",
        "| bpr |  0.3500 | 0.0707 | 0.3287 | +0.0213 |",
        "| fmc |  0.5000 | 0.0000 |        |         |",
        "",
        "Against all items (full):",
        "",
        "|     | NDCG@10 |",
        "|----:|--------:|",
        "| bpr |  0.1000 |",
    ]


def test_the_papers_tables_fit_each_other() -> None:
    assert set(grids.METHODS) == set(paper.TABLE_III["ml-1m"])
    assert list(grids.ABLATION) == list(paper.TABLE_IV)
    for name in paper.DATASETS:
        row = paper.TABLE_II[name]
        actions = row["million actions"] * 1e6
        # the published columns follow from each other, but for Beauty's and the others' rounding
        assert row["users"] * row["actions/user"] == pytest.approx(actions, abs=0.06e6)
        assert row["items"] * row["actions/item"] == pytest.approx(actions, abs=0.06e6)
        if name != "amazon-beauty":  # where the paper's two tables differ
            assert paper.TABLE_III[name]["sasrec"][1] == paper.TABLE_IV["default"][name]


# --- significance --------------------------------------------------------------------------------


def test_the_bootstrap_agrees_with_the_binomial_law() -> None:
    # one user in 50 differs, by 1: the number of those drawn is binomial (100, 2/100)
    found = paired_bootstrap(np.repeat([1.0, 0.0], [2, 98]), samples=200_000)
    assert found.difference == pytest.approx(0.02)
    assert found.p == pytest.approx(2 * 0.98**100, abs=0.005)
    law = np.cumsum([comb(100, k) * 0.02**k * 0.98 ** (100 - k) for k in range(20)])
    assert found.low == np.searchsorted(law, 0.025) / 100
    assert found.high == np.searchsorted(law, 0.975) / 100


def test_the_bootstraps_interval_is_the_normal_one_for_many_users() -> None:
    differences = np.random.default_rng(0).integers(-3, 4, 4000) / 4
    found = paired_bootstrap(differences, samples=50_000)
    half = 1.96 * differences.std() / np.sqrt(4000)
    assert found.low == pytest.approx(differences.mean() - half, abs=0.03 * half)
    assert found.high == pytest.approx(differences.mean() + half, abs=0.03 * half)


def test_no_difference_is_no_evidence() -> None:
    assert paired_bootstrap(np.zeros(10)).p == 1
    assert paired_bootstrap(np.tile([0.1, -0.1], 50)).p > 0.9
    with pytest.raises(ShapeError, match="one per user"):
        paired_bootstrap(np.array([]))
    with pytest.raises(ShapeError, match="two users or more"):
        paired_bootstrap(np.array([0.3]))  # no draw differs, which would look significant
    with pytest.raises(DataError, match="hold NaN"):
        paired_bootstrap(np.array([0.3, np.nan]))
    with pytest.raises(ConfigError, match="samples is 0"):
        paired_bootstrap(np.array([0.3, 0.2]), samples=0)


def test_differences_are_of_the_same_user_and_seed() -> None:
    def ranks(users, ranks):
        return {"users": np.array(users), "full": np.array(ranks)}

    first = ranks([1, 2, 4], [1, 2, 3]), ranks([2, 4, 5], [7, 5, 1])
    second = ranks([4], [9]), ranks([4], [1])
    found = paired_differences([first, second], "full", lambda r: -r)
    assert found.tolist() == [5.0, (2 - 8) / 2]  # users 2 and 4


# --- attention maps ------------------------------------------------------------------------------


def small(blocks: int = 2, heads: int = 2) -> SASRec:
    config = SASRecConfig(n=8, d=6, blocks=blocks, heads=heads, dropout=0.5)
    return SASRec(9, config, seed=1)


def test_attention_maps_are_what_the_model_attends_to() -> None:
    model = small(blocks=1, heads=1)
    inputs = pack_sequences([[3, 1, 4], [1, 5, 9, 2, 6]], 8)
    x = model.item_embedding(inputs.items) * 6**0.5 + model.position_embedding(inputs.slots)
    attention, z = model.blocks[0].attention, model.blocks[0].attention_norm(x)
    v, out = attention.value(z).data, attention(z, inputs, None).data
    for (weights,), start, end in zip(attention_maps(model, inputs), (0, 3), (3, 8), strict=True):
        assert np.allclose(weights @ v[start:end], out[start:end], atol=1e-6)
        assert np.array_equal(np.triu(weights, 1), np.zeros_like(weights))


def test_attention_maps_need_a_graph_and_a_block() -> None:
    inputs = pack_sequences([[3, 1, 4]], 8)
    with pytest.raises(ConfigError, match="2 blocks and its graph 0 attentions"), no_grad():
        next(attention_maps(small(), inputs))
    with pytest.raises(ConfigError, match="0 blocks"):
        mean_attention(small(blocks=0), [np.array([3, 1, 4])], 2, np.ones((10, 1)))


@pytest.mark.parametrize("padding", ["visible", "zeroed"])
@pytest.mark.parametrize("heads", [1, 2])
def test_attention_maps_of_a_model_that_sees_padding(padding: Any, heads: int) -> None:
    """Each row against a softmax over all n slots, those of padding included."""
    n, d = 8, 6
    model = SASRec(9, SASRecConfig(n=n, d=d, blocks=1, heads=heads, padding=padding), seed=1)
    histories = [[3, 1, 4], [1, 5, 9, 2, 6, 5, 3, 5], [7]]
    maps = attention_maps(model, pack_sequences(histories, n), by_head=True)
    for history, (found,) in zip(histories, maps, strict=True):
        items = np.array([0] * (n - len(history)) + history)
        x = model.item_embedding(items).data * d**0.5 + model.position_embedding.table.data
        x[items == 0] = 0
        attention, z = model.blocks[0].attention, model.blocks[0].attention_norm(Tensor(x))
        q, k = (
            layer(z).data.reshape(n, heads, -1).swapaxes(0, 1)
            for layer in (attention.query, attention.key)
        )
        scores = q @ k.swapaxes(1, 2) / (d / heads) ** 0.5
        p = np.exp(scores) * np.tri(n)
        p /= p.sum(axis=-1, keepdims=True)
        real = slice(n - len(history), n)
        np.testing.assert_allclose(found, p[:, real, real], atol=1e-6)


def test_attention_by_category_is_one_where_attention_is_uniform() -> None:
    model = small()
    for block in model.blocks:
        for part in (block.attention.query, block.attention.key):
            for parameter in part.parameters():
                parameter.data[:] = 0
    categories = [(), *[("a",), ("b",), ("c", "a")] * 3]
    names = main_categories(categories, ("Horror",))
    assert sorted(names) == ["a", "b", "c"]
    member = membership(categories, ("a", "b"))
    assert member[:4].tolist() == [[0, 0], [1, 0], [0, 1], [1, 0]]
    histories = [np.arange(1, 9), np.arange(9, 4, -1)]
    maps, between = mean_attention(model, histories, 5, member)
    assert np.allclose(between, 1, atol=1e-6)
    means = np.mean([1 / np.arange(4, 9), 1 / np.arange(1, 6)], axis=0)
    assert np.allclose(maps[1], np.tril(np.tile(means[:, None], 5)), atol=1e-6)

    # one history more, of two items: it counts where it has both positions, as in the paper
    maps, _ = mean_attention(model, [*histories, np.array([3, 1])], 5, member)
    assert np.allclose(maps[1][3], [means[3]] * 3 + [(1 / 7 + 1 / 4 + 1) / 3, 0], atol=1e-6)
    assert np.allclose(maps[1][4, 3:], (1 / 8 + 1 / 5 + 1 / 2) / 3, atol=1e-6)
    assert np.allclose(maps[1][4, :3], means[4], atol=1e-6)
