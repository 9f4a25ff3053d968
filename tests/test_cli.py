"""The command lines, as a user types them: in a process of their own."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from minisasrec.__main__ import COMMANDS
from minisasrec.commands import cli
from minisasrec.commands.cli import load_run, run_command
from minisasrec.errors import CheckpointError
from minisasrec.learn.config import preset, without_effect
from minisasrec.learn.machine import MachineOptions, use_machine
from minisasrec.learn.runs import Run
from minisasrec.recommender import Recommender
from minisasrec.train import parse

FAST = ("--epochs", "2", "--n", "10", "--d", "8", "--blocks", "1", "--batch-size", "32")


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python -m minisasrec.NAME ...`, with no terminal."""
    name, *rest = arguments
    env = {**os.environ, "COLUMNS": "100"}
    env.pop("MINISASREC_DATA_DIR", None)
    command = [sys.executable, "-m", f"minisasrec.{name}", *rest]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A click log of 60 users on 150 pages, as a CSV with a header of its own."""
    path = tmp_path_factory.mktemp("data") / "clicks.csv"
    rng = np.random.default_rng(0)
    lines = ["visitor,page,at,name"]
    for user in range(60):
        for t, page in enumerate(
            (rng.integers(30) + np.arange(20)) % 30 * 5 + rng.integers(5, size=20)
        ):
            lines.append(f"u{user},p{page},{1000 + t},Page {page}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def trained(clicks: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A finished run on the click log, and what its command said."""
    out = clicks.parent / "run"
    options = ("--min-actions", "1", "--title-column", "name", "--seed", "3", "--out", str(out))
    columns = ("--user-column", "visitor", "--item-column", "page", "--time-column", "at")
    done = run(
        "train", "--dataset", str(clicks), *columns, *options, *FAST, "--json", cwd=clicks.parent
    )
    assert done.returncode == 0, done.stderr
    return out, done


def is_one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The error line, after a check that there is nothing else and no traceback."""
    assert done.returncode == code, done.stderr
    errors = [
        line for line in done.stderr.splitlines() if not line.startswith(("compiling", "note"))
    ]
    assert len(errors) == 1 and errors[0].startswith("error: "), done.stderr
    return errors[0]


def test_training_on_ones_own_table(trained: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, done = trained
    result = json.loads(done.stdout)  # --json: one object and nothing else
    assert result["epochs"] == 2 and result["seed"] == 3
    assert "nobody has chosen settings" not in done.stderr  # --n and --d were given
    assert {row["model"] for row in result["test"]} == {"sasrec", "poprec"}
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in history] == [1, 2]
    assert all(entry["targets_per_second"] > 0 and "NDCG@10" in entry for entry in history)
    assert (out / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    names = {path.name for path in out.iterdir()}
    assert names == {
        ".lock",
        "best.safetensors",
        "config.json",
        "histories.safetensors",
        "history.csv",
        "history.jsonl",
        "items.json",
        "last.safetensors",
        "learning_curve.png",
        "result.json",
        "users.json",
    }


def test_evaluate_repeats_the_final_figures(
    trained: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = trained
    again = run("evaluate", str(out), "--json", cwd=out.parent)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["rows"] == json.loads(done.stdout)["test"]


def test_recommend_by_user_and_by_items(
    trained: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, _ = trained
    by_user = run("recommend", str(out), "--user", "u3", "--k", "4", "--json", cwd=out.parent)
    best = json.loads(by_user.stdout)
    assert len(best) == 4 and all(entry["title"].startswith("Page ") for entry in best)
    by_items = run(
        "recommend", str(out), "--items", best[0]["item"], best[1]["item"], cwd=out.parent
    )
    assert by_items.returncode == 0 and "after:  " + best[0]["title"] in by_items.stdout
    assert "no item 'nope'" in is_one_line(
        run("recommend", str(out), "--items", "nope", cwd=out.parent), 1
    )
    assert "--user" in is_one_line(run("recommend", str(out), cwd=out.parent), 2)


def test_the_rule_about_items_met_before(
    trained: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, done = trained
    rows = {}
    for rule in ("auto", "forbid", "allow"):
        told = run("evaluate", str(out), "--repeats", rule, "--json", cwd=out.parent)
        rows[rule] = json.loads(told.stdout)["rows"]
    assert rows["auto"] == rows["forbid"] == json.loads(done.stdout)["test"] != rows["allow"]
    every = {}
    for rule in ("forbid", "allow"):
        options = ("--user", "u3", "--k", "999", "--repeats", rule, "--json")
        told = run("recommend", str(out), *options, cwd=out.parent)
        every[rule] = {entry["item"] for entry in json.loads(told.stdout)}
    log = (line.split(",") for line in (out.parent / "clicks.csv").read_text().splitlines())
    met = {page for visitor, page, *_ in log if visitor == "u3"}
    assert every["allow"] - every["forbid"] == met
    assert "'--repeats'" in is_one_line(
        run("evaluate", str(out), "--repeats", "no", cwd=out.parent), 2
    )
    assert "--repeats is allow, but the run" in is_one_line(
        run("train", "--resume", "--out", str(out), "--repeats", "allow", cwd=out.parent), 2
    )


def test_titles_that_the_output_cannot_encode(
    trained: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, _ = trained
    recommender = Recommender.load(out)
    titles = [title.replace("Page", "頁") for title in recommender.known.titles]
    known = dataclasses.replace(recommender.known, titles=titles)
    Recommender.of(recommender.config, known, recommender.model_).save(out.parent / "foreign")
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")  # as on Windows, into a pipe
    done = run("recommend", "foreign", "--user", "u3", cwd=out.parent)
    assert done.returncode == 0 and "  1. ? " in done.stdout, done.stderr


def test_a_run_is_not_overwritten_and_resumes_only_with_its_settings(
    trained: tuple[Path, subprocess.CompletedProcess[str]], clicks: Path
) -> None:
    out, _ = trained
    config = ("--config", str(out / "config.json"), "--out", str(out))
    before = (out / "best.safetensors").read_bytes()
    assert "--resume" in is_one_line(run("train", *config, cwd=out.parent), 1)
    other = run("train", *config, "--resume", "--batch-size", "16", cwd=out.parent)
    assert "--batch-size is 16" in is_one_line(other, 2)
    wider = run("train", *config, "--resume", "--d", "48", "--title-column", "page", cwd=out.parent)
    told = is_one_line(wider, 2)
    assert "--title-column is page, but the run in" in told and "was started with name" in told
    wider = run("train", *config, "--resume", "--d", "48", cwd=out.parent)
    assert "--d is 48, but the run in" in is_one_line(wider, 2)
    assert (out / "best.safetensors").read_bytes() == before
    done = run("train", "--resume", "--out", str(out), "--json", cwd=out.parent)
    assert done.returncode == 0 and json.loads(done.stdout)["epochs"] == 2


def test_a_run_and_its_log_may_be_moved_apart(clicks: Path, tmp_path: Path) -> None:
    columns = ("--user-column", "visitor", "--item-column", "page", "--time-column", "at")
    shutil.copy(clicks, tmp_path / "log.csv")
    fast = (*FAST, "--epochs", "1", *columns, "--out", "run")
    run("train", "--dataset", "log.csv", *fast, cwd=tmp_path).check_returncode()
    (tmp_path / "new").mkdir()
    (tmp_path / "run").rename(tmp_path / "new" / "run")
    again = ("train", "--resume", "--out", "run", "--epochs", "2", "--json")
    told = is_one_line(run(*again, cwd=tmp_path / "new"), 1)
    assert "no file or folder log.csv; if the log lies elsewhere by now, give --dataset" in told
    lines = clicks.read_text().splitlines(keepends=True)
    (tmp_path / "other.csv").write_text("".join(lines[:-3]))
    other = run(*again, "--dataset", "../other.csv", cwd=tmp_path / "new")
    assert "was trained on other data than that read now" in is_one_line(other, 1)
    done = run(*again, "--dataset", "../log.csv", cwd=tmp_path / "new")
    assert done.returncode == 0 and json.loads(done.stdout)["epochs"] == 2


def test_a_run_without_its_last_checkpoint_is_left_alone(
    trained: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    shutil.copytree(trained[0], tmp_path / "run")
    (tmp_path / "run" / "last.safetensors").unlink()
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    again = run("train", "--resume", "--out", "run", "--epochs", "5", cwd=tmp_path)
    assert "last.safetensors is missing" in is_one_line(again, 1)
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_run_of_a_bigger_machine_is_read_on_this_one(
    trained: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    out, _ = trained
    shutil.copytree(out, tmp_path / "run")
    config = Run(tmp_path / "run").read_config()
    config["settings"]["machine"]["threads"] = 9999
    Run(tmp_path / "run").write_config(config)
    done = run("recommend", "run", "--user", "u3", "--k", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--nosuch" in is_one_line(run("recommend", "run", "--nosuch", cwd=tmp_path), 2)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--dataset", "ml1m"), 2, "did you mean 'ml-1m'"),
        (("--dataset", "nowhere.csv"), 1, "nowhere.csv"),
        (("--dataset", "cut.zip"), 1, "cut.zip"),
        (("--dataset", "broken.csv", "--min-actions", "1"), 1, "line 3"),
        (
            ("--dataset", "few.csv", "--min-actions", "1", "--repeats", "forbid", "--out", "new"),
            1,
            "met all 4 items",
        ),
        (("--dataset",), 2, "--dataset: expected one argument"),
        (("--model", "nosuch"), 2, "choose one of sasrec, "),
        (("--norm", "nosuch"), 2, "'pre', 'post', 'authors'"),
        (("--nosuch", "3"), 2, "--nosuch"),
        (("--epochs", "many"), 2, "'many'"),
        (("--epochs", "-1"), 2, "--epochs is -1"),
        (("--beta2", "2", "--out", "new"), 2, "beta2 is 2"),
        (("--threads", "0"), 2, "--threads is 0"),
        (("--seed", "-1"), 2, "--seed is -1"),
        (("--seed", str(2**64)), 2, "it must be at most 18,446,744,073,709,551,615"),
        (("--lr", "0"), 2, "--lr is 0"),
        (("--config", "nowhere.json"), 2, "nowhere.json"),
        (("--config", "wrong.json"), 2, "epoks is no setting"),
        (("--out", "file.txt/run"), 1, "file.txt"),
        (("--resume", "--out", "nowhere"), 1, "holds no run"),
    ],
)
def test_wrong_input_is_one_line(
    tmp_path: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    (tmp_path / "broken.csv").write_text("user,item,time\na,b,1\na,b\na,c,3\n")
    rows = [f"{u},{i},{t}\n" for u in range(9) for t, i in enumerate((1, 2, 3, 4, 1, 2))]
    (tmp_path / "few.csv").write_text("user,item,time\n" + "".join(rows))
    (tmp_path / "wrong.json").write_text('{"epoks": 3}')
    (tmp_path / "file.txt").write_text("not a folder")
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "1::1::5::1\n" * 1000)
    (tmp_path / "cut.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:-40])
    before = {path.name for path in tmp_path.iterdir()}
    assert says in is_one_line(run("train", *arguments, cwd=tmp_path), code)
    assert {path.name for path in tmp_path.iterdir()} == before  # nothing half-written


ARGUMENTS = {
    "train": ("--dataset", "nowhere.csv"),
    "tune": ("nowhere.csv",),
    "evaluate": ("nowhere",),
    "recommend": ("nowhere", "--user", "u"),
    "similar": ("nowhere", "--items", "i"),
    "explore": ("nowhere",),
    "reproduce": ("table3", "--dry-run"),
    "explain": ("softmax",),
    "data": ("nowhere.csv",),
    "datasets": ("bookshop",),
    "receipt": ("nowhere",),
}


# class grades in processes of its own, and its doctor looks at what training would choose
@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "class"])
def test_every_command_takes_threads_and_backend(
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    module = import_module("minisasrec." + ("data.__main__" if command == "data" else command))
    assert run_command(module.main, [*ARGUMENTS[command], "--threads", "0"]) == 2
    assert capsys.readouterr().err == "error: --threads is 0; it must be at least 1\n"
    asked: list[MachineOptions] = []
    monkeypatch.setattr(module, "use_machine", asked.append, raising=False)
    run_command(module.main, [*ARGUMENTS[command], "--threads", "3", "--backend", "numpy"])
    told = capsys.readouterr().err
    first_a_run = "evaluate", "recommend", "similar", "receipt", "explore"
    if command in first_a_run:
        assert "nowhere holds no run" in told
    if command == "receipt" or command not in first_a_run:  # it looks for its backend before
        assert asked == [MachineOptions(threads=3, backend="numpy")]


def test_a_data_set_without_settings_of_its_own_says_so(clicks: Path, tmp_path: Path) -> None:
    columns = ("--user-column", "visitor", "--item-column", "page", "--time-column", "at")
    data = ("--dataset", str(clicks), *columns, "--min-actions", "1", "--epochs", "1")
    told = run("train", *data, "--out", "fmc", "--model", "fmc", cwd=tmp_path).stderr
    assert (
        "note: nobody has chosen settings of fmc for clicks.csv: it runs with n 10000, d 50, "
        in told
    )
    told = run("train", *data, "--out", "pop", "--model", "poprec", cwd=tmp_path).stderr
    assert "nobody has chosen" not in told


def test_settings_without_effect_are_told() -> None:
    """A student who types --negatives 5 beside softmax would else compare a run with itself."""
    told = {}
    for words in (
        ("--loss", "softmax", "--negatives", "5"),
        ("--loss", "bce", "--negatives", "5"),
        ("--loss", "bce", "--gbce-t", "0.5", "--no-own-items"),
        ("--loss", "gbce", "--gbce-t", "0.5"),
        ("--model", "gru4rec", "--loss", "softmax", "--negatives", "5"),
        ("--model", "gru4rec", "--loss", "bce", "--negatives", "5"),
        ("--model", "gru4rec", "--loss", "top1", "--negatives", "5", "--in-batch", "64"),
        ("--model", "gru4rec", "--loss", "top1", "--negatives", "5", "--in-batch", "0"),
        ("--model", "poprec", "--negatives", "5"),
    ):
        config = parse(words)
        told[words] = without_effect(config, preset(config.dataset, config.model))
    assert list(told.values()) == [
        ["--negatives has no effect with --loss softmax"],
        [],
        [
            "--gbce-t has no effect with --loss bce",
            "--no-own-items has no effect with --loss bce",
        ],
        [],
        ["--negatives has no effect with --loss softmax"],
        [],
        ["--negatives has no effect with --in-batch 64"],
        [],
        [],
    ]


def test_a_runs_backend_holds_unless_the_command_names_one(
    trained: tuple[Path, subprocess.CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(trained[0], tmp_path / "run")
    (tmp_path / "run" / "best.safetensors").unlink()
    config = Run(tmp_path / "run").read_config()
    config["settings"]["machine"] = {"threads": 5, "backend": "numpy"}
    Run(tmp_path / "run").write_config(config)
    asked: list[MachineOptions] = []
    monkeypatch.setattr(cli, "use_machine", asked.append)
    for given in (MachineOptions(threads=2), MachineOptions(backend="numba")):
        with pytest.raises(CheckpointError, match="best.safetensors is missing"):
            load_run(tmp_path / "run", given)
    assert asked == [MachineOptions(2, "numpy"), MachineOptions(None, "numba")]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "minisasrec.explain", "softmax"]
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True)
    assert "No space left" in is_one_line(done, 1)


def test_help_shows_the_defaults_of_the_data_set(tmp_path: Path) -> None:
    movies = run("train", "--dataset", "ml-1m", "--help", cwd=tmp_path).stdout
    games = run("train", "--dataset", "amazon-games", "--help", cwd=tmp_path).stdout
    assert "--n INT" in movies and "(default: 200)" in movies and "(default: 0.2)" in movies
    assert "(default: 200)" not in games and "(default: 50)" in games and "(default: 0.5)" in games


def interrupt(
    arguments: Sequence[str],
    when: Callable[[], bool],
    cwd: Path,
    number: signal.Signals = signal.SIGINT,
) -> str:
    """What `python -m minisasrec.train` says on stderr when Ctrl-C is pressed as soon as `when`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "minisasrec.train", *arguments],
        cwd=cwd,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background of a shell has Ctrl-C switched off, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 240
    while not when() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (128 + number, -number), errors  # a shell shows both alike
    assert "Traceback" not in errors
    return errors.splitlines()[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_ctrl_c(clicks: Path, tmp_path: Path) -> None:
    options = ("--dataset", str(clicks), "--min-actions", "1", "--n", "10", "--d", "8")
    columns = ("--user-column", "visitor", "--item-column", "page", "--time-column", "at")
    command = (*options, *columns, "--epochs", "100000", "--patience", "0", "--out", "run")
    run = tmp_path / "run"
    # before the first checkpoint nothing is left
    assert interrupt(command, run.exists, tmp_path) == "interrupted"
    assert not run.exists()
    # from then on the run can be gone on with
    begun = (run / "last.safetensors").exists
    said = interrupt(command, begun, tmp_path)
    assert said == "interrupted: whole epochs are kept; go on with --resume --out run"
    assert not [path for path in run.iterdir() if path.name[0] == "." and path.name != ".lock"]
    # so it is when a program or the queue of a cluster ends it
    other = tmp_path / "other"
    command = (*command[:-1], "other")
    said = interrupt(command, (other / "last.safetensors").exists, tmp_path, signal.SIGTERM)
    assert said == "interrupted: whole epochs are kept; go on with --resume --out other"
    assert not [path for path in other.iterdir() if path.name[0] == "." and path.name != ".lock"]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
@pytest.mark.parametrize("module", ["numpy", "tyro"])  # the first that takes time, and a late one
def test_ctrl_c_during_imports(module: str, tmp_path: Path) -> None:
    slow = "import pathlib, time; pathlib.Path('begun').touch(); time.sleep(60)"
    (tmp_path / f"{module}.py").write_text(slow)  # found before the real one
    assert interrupt((), (tmp_path / "begun").exists, tmp_path) == "interrupted"


def test_more_threads_than_cores_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    from minisasrec.kernels.threads import threads

    with threads(1), warnings.catch_warnings(record=True) as told:  # `threads` is undone
        warnings.simplefilter("always")
        use_machine(MachineOptions(threads=200))
    assert "--threads is 200, but this process may use" in str(told[0].message)


def test_a_training_may_start_from_the_weights_of_another(
    trained: tuple[Path, subprocess.CompletedProcess[str]], clicks: Path, tmp_path: Path
) -> None:
    folder, _ = trained
    again = ["train", "--config", str(folder / "config.json"), "--epochs", "1", "--json"]
    weights = str(folder / "best.safetensors")
    losses = {}
    for name, options in {"anew": [], "on": ["--init-from", weights]}.items():
        out = tmp_path / name
        done = run(*again, *options, "--out", str(out), cwd=clicks.parent)
        assert done.returncode == 0, done.stderr
        losses[name] = json.loads((out / "history.jsonl").read_text())["loss"]
    assert losses["on"] < losses["anew"]
    for options, says, code in (
        (["--init-from", weights, "--d", "16"], "was trained with d = 8, the model has 16", 2),
        (["--init-from", "nowhere.npz"], "nowhere.npz", 1),
    ):
        done = run(*again, *options, "--out", str(tmp_path / "no"), cwd=clicks.parent)
        assert says in is_one_line(done, code)
        assert not (tmp_path / "no").exists()


def test_a_file_or_a_mistyped_command_is_told_as_such(clicks: Path) -> None:
    wrong = run("recommend", str(clicks), "--user", "u1", cwd=clicks.parent)
    assert wrong.stderr == f"error: {clicks} is a file; give the folder of a run\n"
    command = [sys.executable, "-m", "minisasrec", "recomend"]
    wrong = subprocess.run(command, capture_output=True, text=True)
    assert wrong.returncode == 2 and "'recomend'; did you mean recommend?" in wrong.stderr
