"""Kills, full disks and two processes on one folder: what comes out is as if nothing had been.

A few of each here; MINISASREC_FAULTS=200 is the number that the nightly run takes.
MINISASREC_FAULTS_PART=3/8 takes the third of eight parts of them, for several machines or evenings.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minisasrec.errors import TrainingError
from minisasrec.learn.runs import LOCK, Run

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a matter of POSIX"),
    pytest.mark.slow,
]
FAULTS = int(os.environ.get("MINISASREC_FAULTS", "4"))  # of each kind
PART, PARTS = map(int, os.environ.get("MINISASREC_FAULTS_PART", "1/1").split("/"))
EPOCHS = 6
CHILD = Path(__file__).with_name("child.py")
SEED = 7


def numbers(count: int = FAULTS) -> range:
    """The numbers of the faults of this part."""
    return range(PART - 1, count, PARTS)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A click log of 60 users."""
    path = tmp_path_factory.mktemp("log") / "tiny.csv"
    rng = np.random.default_rng(3)
    lines = ["user,item,time"]
    for user in range(60):
        for t, item in enumerate(rng.permutation(140)[: rng.integers(4, 9)].tolist()):
            lines.append(f"u{user},i{item},{t}")
    path.write_text("\n".join(lines) + "\n")
    return path


def arguments(log: Path, out: Path, *more: object, epochs: int = EPOCHS) -> list[str]:
    size = ("--min-actions", 1, "--d", 8, "--n", 10, "--threads", 1, "--eval-every", 1)
    rest = ("--epochs", epochs, "--out", out, *more)
    return [str(word) for word in ("--dataset", log, *size, *rest)]


def start(words: list[str], **env: str) -> subprocess.Popen[str]:
    program = [str(CHILD)] if env else ["-m", "minisasrec.train"]
    return subprocess.Popen(
        [sys.executable, *program, *words],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and what was said on stderr, which is never a traceback."""
    _, err = process.communicate(timeout=300)
    assert "Traceback" not in err, err
    return process.returncode, err


def faulty(log: Path, out: Path, at: int, kind: str, *more: object) -> tuple[int, str]:
    return finish(
        start(
            arguments(log, out, *more),
            MINISASREC_FAULT_AT=str(at),
            MINISASREC_FAULT_KIND=kind,
            MINISASREC_FAULT_FOLDER=str(out),
            MINISASREC_FAULT_COUNT=str(out.with_suffix(".count")),
        )
    )


def content(folder: Path) -> dict[str, Any]:
    """What a run computed: weights, optimiser and metrics, without times."""
    run = Run(folder)
    arrays = {name: run.load_arrays(name)[0] for name in ("best.safetensors", "last.safetensors")}
    result = json.loads(run.path("result.json").read_text())
    return {
        **{f"{file}: {k}": v.tobytes() for file, found in arrays.items() for k, v in found.items()},
        "test": result["test"],
        "best": (result["best_epoch"], result["best_validation_NDCG@10"]),
        "history": [(e["epoch"], e["loss"], e.get("NDCG@10")) for e in run.history()],
    }


@pytest.fixture(scope="module")
def whole(log: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert finish(start(arguments(log, folder)))[0] == 0
    return content(folder)


def goes_on(log: Path, folder: Path, whole: dict[str, Any]) -> None:
    """Resuming, or beginning anew where nothing was kept yet, gives the undisturbed run."""
    words = ("--resume",) if (folder / "config.json").is_file() else ()
    status, err = finish(start(arguments(log, folder, *words)))
    assert status == 0, err
    assert content(folder) == whole
    named = {path.name for path in folder.iterdir()}
    assert not [name for name in named if name[0] == "." and name != LOCK], "nothing half written"


def test_kills_at_random_moments(log: Path, whole: dict[str, Any], tmp_path: Path) -> None:
    began = time.monotonic()
    assert finish(start(arguments(log, tmp_path / "timed")))[0] == 0
    length = time.monotonic() - began
    for number in numbers():
        draw = random.Random(f"{SEED} {number}")
        folder = tmp_path / f"run{number}"
        process = start(arguments(log, folder))
        time.sleep(draw.uniform(0, 1.1 * length))
        process.send_signal(signal.SIGKILL)
        finish(process)
        if draw.random() < 0.3 and (folder / "config.json").is_file():  # and once more, resumed
            process = start(arguments(log, folder, "--resume"))
            time.sleep(draw.uniform(0, 1.1 * length))
            process.send_signal(signal.SIGKILL)
            finish(process)
        goes_on(log, folder, whole)


def points(log: Path, folder: Path) -> list[int]:
    """The numbers of all calls that change the disk in a whole run, or a sample; of this part."""
    status, err = faulty(log, folder, 0, "kill")
    assert status == 0, err
    count = int(folder.with_suffix(".count").read_text())
    assert count > 10 * EPOCHS
    drawn = sorted(random.Random(SEED).sample(range(1, count + 1), min(FAULTS, count)))
    print(f"{count} calls change the disk; of {len(drawn)}, part {PART} of {PARTS}")
    return [drawn[number] for number in numbers(len(drawn))]


def test_kills_at_each_write(log: Path, whole: dict[str, Any], tmp_path: Path) -> None:
    for at in points(log, tmp_path / "all"):
        folder = tmp_path / f"run{at}"
        status, _ = faulty(log, folder, at, "kill")
        assert status == -signal.SIGKILL, at
        goes_on(log, folder, whole)


def test_two_kills_at_writes(log: Path, whole: dict[str, Any], tmp_path: Path) -> None:
    """The second one while the first is being mended."""
    for at in points(log, tmp_path / "all")[::2]:
        draw = random.Random(f"{SEED} {at}")
        folder = tmp_path / f"run{at}"
        faulty(log, folder, at, "kill")
        if (folder / "config.json").is_file():
            faulty(log, folder, draw.randint(1, 20), "kill", "--resume")
        goes_on(log, folder, whole)


def test_a_full_disk_at_each_write(log: Path, whole: dict[str, Any], tmp_path: Path) -> None:
    for at in points(log, tmp_path / "all"):
        folder = tmp_path / f"run{at}"
        status, err = faulty(log, folder, at, "full")
        if status:  # a call may also be one that does no harm when it fails
            last = err.strip().splitlines()[-1]
            assert last.startswith("error: ") and "No space left on device" in last, (at, err)
        goes_on(log, folder, whole)


@pytest.mark.parametrize("first", ["new", "resumed"])
def test_two_processes_on_one_folder(
    log: Path, whole: dict[str, Any], tmp_path: Path, first: str
) -> None:
    for number in numbers():
        draw = random.Random(f"{SEED} {number}")
        folder = tmp_path / f"run{number}"
        words = arguments(log, folder)
        if first == "resumed":
            assert finish(start(arguments(log, folder, epochs=1)))[0] == 0
            words = arguments(log, folder, "--resume")
        pair = [start(words)]
        time.sleep(draw.choice([0, 0, draw.uniform(0, 1)]))
        pair.append(start(words))
        ended = [finish(process) for process in pair]
        good = [status for status, _ in ended if status == 0]
        refused = [err for status, err in ended if status == 1]
        assert len(good) + len(refused) == 2 and good, ended
        for err in refused:
            last = err.strip().splitlines()[-1]
            assert last.startswith("error: ") and (
                "is in use by another process" in last or "holds a run already" in last
            ), err
        if len(good) == 2:  # one after the other: the second found nothing left to do
            assert first == "resumed"
        assert content(folder) == whole


def test_two_programs_without_out_get_two_folders(log: Path, tmp_path: Path) -> None:
    words = [w for w in arguments(log, tmp_path) if w not in ("--out", str(tmp_path))]
    command = [sys.executable, "-m", "minisasrec.train", *words]
    started = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in started:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    names = {path.name for path in (tmp_path / "runs").iterdir()}
    assert names == {"tiny-sasrec", "tiny-sasrec-2", "tiny-sasrec-3"}


def test_what_is_outside_the_folder_stays_as_it_is(log: Path, tmp_path: Path) -> None:
    """Links that somebody put into a run's folder lead nowhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    names = ["best.safetensors", "last.safetensors", "history.jsonl", "result.json"]
    for name in names:
        (outside / name).write_text("mine")
    folder = tmp_path / "run"
    assert finish(start(arguments(log, folder, epochs=1)))[0] == 0
    for name in names[2:]:
        (folder / name).unlink()
        (folder / name).symlink_to(outside / name)
    status, err = finish(start(arguments(log, folder, "--resume")))
    assert status == 1 and err.startswith("error: "), err
    assert {path.read_text() for path in outside.iterdir()} == {"mine"}


def test_a_link_in_the_place_of_the_lock_leads_nowhere(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "run"
    outside.write_text("mine")
    folder.mkdir()
    (folder / ".lock").symlink_to(outside)
    with pytest.raises(TrainingError, match=r"cannot write .*\.lock"), Run(folder).owned():
        pass
    assert outside.read_text() == "mine"


COMMANDS = {
    "train": (),
    "train, resumed": ("--resume", "--epochs", "7"),
    "evaluate": (),
    "recommend": ("--user", "u1"),
    "similar": ("--items", "i1"),
    "receipt": (),
}


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caches")


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_is_written_outside_the_folder(
    log: Path, trained: Path, caches: Path, tmp_path: Path, command: str
) -> None:
    """Besides the caches of compiled kernels and of Matplotlib, which have folders of their own."""
    name, more = command.partition(",")[0], COMMANDS[command]
    folder, home = tmp_path / "run", tmp_path / "home"
    home.mkdir()
    words = [*map(str, (folder, *more))]
    if name == "train":
        words = arguments(log, folder, *more)
    if command != "train":
        shutil.copytree(trained, folder)
    outside = tmp_path / "outside"
    data = {path: path.read_bytes() for path in log.parent.iterdir() if path.is_file()}
    process = start(
        words,
        MINISASREC_FAULT_AT="0",
        MINISASREC_FAULT_FOLDER=str(folder),
        MINISASREC_FAULT_COMMAND=name,
        MINISASREC_FAULT_COUNT=str(tmp_path / "count"),
        MINISASREC_FAULT_OUTSIDE=str(outside),
        NUMBA_CACHE_DIR=str(caches),
        MPLCONFIGDIR=str(caches),
        HOME=str(home),
    )
    status, err = finish(process)
    assert status == 0, err
    listed = outside.read_text().splitlines()
    allowed = (str(caches), os.devnull)
    assert not [line for line in listed if not line.partition(" ")[2].startswith(allowed)]
    assert listed or command != "train"  # the watch works: kernels were compiled and kept
    assert not list(home.iterdir())
    assert {path: path.read_bytes() for path in log.parent.iterdir() if path.is_file()} == data
    if name != "train":
        assert (tmp_path / "count").read_text() == "0"


DAMAGE: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("config.json", lambda b: b.replace(b'"settings"', b'"sittings"')),
    ("config.json", lambda b: b'{"format": 1, "settings": [1]}'),
    ("config.json", lambda b: b"[" * 100_000),
    ("history.jsonl", lambda b: b"\xff\xfe" + b),
    ("history.jsonl", lambda b: b.replace(b'"epoch": 1', b'"epoch": 2', 1)),
    ("history.jsonl", lambda b: b.replace(b'"seconds"', b'"sick"', 1)),
    ("history.jsonl", lambda b: b"[]\n" + b),
    ("history.jsonl", lambda b: b"{" * 50_000 + b"\n" + b),
    ("last.safetensors", lambda b: b[: len(b) // 2]),
    ("last.safetensors", lambda b: b.replace(b"epochs", b"epoxes", 1)),
    ("last.safetensors", lambda b: b""),
    ("best.safetensors", lambda b: b[:-7] + bytes([b[-7] ^ 64]) + b[-6:]),
]


@pytest.fixture(scope="module")
def trained(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage") / "run"
    assert finish(start(arguments(log, folder, epochs=2)))[0] == 0
    return folder


@pytest.mark.parametrize(("name", "damage"), DAMAGE)
def test_damaged_files_are_one_line(
    log: Path, trained: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    path = trained / name
    before = path.read_bytes()
    path.write_bytes(damage(before))
    assert path.read_bytes() != before
    try:
        status, err = finish(start(arguments(log, trained, "--resume", epochs=3)))
        assert status in (1, 2) and err.count("\n") == 1 and err.startswith("error: "), err
        assert name in err and len(err) <= 501
    finally:
        path.write_bytes(before)


def test_ctrl_c_at_any_line_before_a_run_has_begun_leaves_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, str(CHILD.with_name("interrupted.py")), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100 and (folder / "config.json").exists()
