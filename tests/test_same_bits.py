"""The same command gives the same bits: other threads, processes, caches, hash seeds, and resumed.

Each training is a process of its own. What it computed is compared by the receipt of the run, by
the last checkpoint, which the optimiser's state is part of, and by the history and the result.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shop import log

from minisasrec.learn.receipt import Receipt
from minisasrec.learn.runs import Run

TIMES = {"seconds", "targets_per_second", "training_seconds", "total_seconds", "out"}
SIZE = ("--min-actions", 1, "--d", 24, "--n", 12, "--epochs", 3, "--eval-every", 1)
COLUMNS = ("--user-column", "visitor", "--item-column", "page", "--time-column", "at")


@pytest.fixture(scope="module")
def clicks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bits") / "log.csv"
    log(users=300, items=150, length=10).to_csv(path, index=False)
    return path


def train(clicks: Path, out: Path, *more: object, **environment: str) -> Path:
    words = ("--dataset", clicks, *COLUMNS, *SIZE, "--out", out, *more)
    done = subprocess.run(
        [sys.executable, "-m", "minisasrec.train", *map(str, words)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return out


def computed(folder: Path) -> dict[str, Any]:
    """What a run computed, without the times that it took."""
    run = Run(folder)
    arrays, facts = run.load_arrays("last.safetensors")
    epochs = [{k: v for k, v in entry.items() if k not in TIMES} for entry in run.history()]
    result = {k: v for k, v in run.result().items() if k not in TIMES}
    last = {name: array.tobytes() for name, array in arrays.items()}
    return {**last, "facts": facts, "epochs": epochs, "result": result}


@pytest.fixture(scope="module", params=["numba", "numpy"])
def whole(clicks: Path, request: pytest.FixtureRequest) -> Path:
    """One training on one thread."""
    backend = ("--backend", request.param)
    return train(clicks, clicks.parent / request.param, "--threads", 1, *backend)


def check(other: Path, whole: Path) -> None:
    assert computed(other) == computed(whole)
    assert Receipt.read(other) == Receipt.read(whole)


ELSEWHERE = {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "Asia/Tokyo"}
WAYS: dict[str, tuple[tuple[object, ...], dict[str, str]]] = {
    "another hash seed, locale and time": (("--threads", 1), ELSEWHERE),
    "two threads": (("--threads", 2), {}),
    "four threads": (("--threads", 4), {}),
    "threads by choice": ((), {}),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_same_in_another_process(clicks: Path, whole: Path, tmp_path: Path, way: str) -> None:
    options, environment = WAYS[way]
    if whole.name == "numpy" and not environment:
        pytest.skip("it leaves threads to BLAS: tests/test_golden.py")
    backend = ("--backend", whole.name)
    check(train(clicks, tmp_path / "run", *options, *backend, **environment), whole)


def test_the_same_after_an_interruption(clicks: Path, whole: Path, tmp_path: Path) -> None:
    backend = ("--backend", whole.name)
    out = train(clicks, tmp_path / "run", "--epochs", 1, "--threads", 2, *backend)
    out = train(clicks, out, "--resume", "--epochs", 2, *backend, PYTHONHASHSEED="3")
    check(train(clicks, out, "--resume", "--threads", 4, *backend), whole)


@pytest.mark.slow
def test_the_same_with_kernels_that_are_compiled_now(
    clicks: Path, whole: Path, tmp_path: Path
) -> None:
    if whole.name == "numpy":
        pytest.skip("it compiles nothing")
    out = train(clicks, tmp_path / "cold", NUMBA_CACHE_DIR=str(tmp_path / "caches"))
    assert list((tmp_path / "caches").rglob("*.kernel"))
    check(out, whole)


def test_the_comparison_can_fail(clicks: Path, whole: Path, tmp_path: Path) -> None:
    if whole.name == "numpy":
        pytest.skip("one backend is enough")
    other = train(clicks, tmp_path / "run", "--seed", 1, "--backend", whole.name)
    assert computed(other) != computed(whole)
    assert json.loads((other / "config.json").read_text())["settings"]["seed"] == 1
    told = Receipt.read(whole).compare(Receipt.read(other))
    assert told.startswith("the same data, other settings (seed 0, there 1)")
