"""--max-memory: what would take more is refused before it begins, and the estimates are no more
than what is taken."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minisasrec import budget
from minisasrec.commands.cli import run_command
from minisasrec.data import build_dataset, load_dataset
from minisasrec.data.__main__ import main as data_main
from minisasrec.data.split import Split, make_split
from minisasrec.errors import CheckpointError, ConfigError, DataError
from minisasrec.learn.config import from_json, make_model
from minisasrec.learn.fit import fit
from minisasrec.recommender import Recommender
from minisasrec.train import main as train_main


@pytest.fixture(autouse=True)
def _as_before() -> Any:
    yield
    budget.use_budget(None)


def log(users: int, length: int, items: int) -> Split:
    rng = np.random.default_rng(0)
    rows = rng.integers(1, items, users * length)
    return make_split(
        build_dataset(np.repeat(np.arange(users), length), rows, min_actions=0), "leave-one-out"
    )


def test_the_machine_has_memory() -> None:
    assert 1e8 < budget.machine_memory() < 1e14


def test_a_control_group_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("123000000\n")
    monkeypatch.setattr(budget, "control_groups", lambda _: [tmp_path, tmp_path / "none"])
    budget.machine_memory.cache_clear()
    assert budget.machine_memory() == 123e6
    (tmp_path / "memory.max").write_text("max\n")
    budget.machine_memory.cache_clear()
    assert budget.machine_memory() > 123e6
    budget.machine_memory.cache_clear()


def test_each_thread_counts_its_own_weights() -> None:
    budget.use_budget(1e-6)  # 1,000 bytes
    with budget.Weights(2, "two copies", "make it smaller") as counted:
        budget.take(400)
        other = threading.Thread(target=budget.take, args=(800,))
        other.start()
        other.join()
        assert counted.bytes == 800
        with budget.Weights(1, "inside", "make it smaller") as inner:
            budget.take(500)
        assert (counted.bytes, inner.bytes) == (800, 500)
        with pytest.raises(ConfigError, match="two copies"):
            budget.take(200)
    budget.take(10**9)  # outside: nothing is counted


@pytest.mark.parametrize(
    ("model", "settings", "says"),
    [
        ("sasrec", {"sasrec": {"d": 65536}}, "sasrec with d = 65,536, n = 50, blocks = 2 for"),
        ("sasrec", {"sasrec": {"n": 2**20, "d": 4096}}, "lower --d or --n or --blocks, drop rare"),
        ("sasrec", {"sasrec": {"blocks": 2**10, "d": 2**9}}, "blocks = 1,024"),
        ("bpr", {"factors": {"d": 2**16}}, "bpr with d = 65,536"),
        ("gru4rec", {"gru4rec": {"d": 2**16}}, "gru4rec with d = 65,536"),
        ("caser", {"caser": {"d": 2**16}}, "caser with d = 65,536"),
    ],
)
def test_a_model_that_is_too_large_is_not_made(
    model: str, settings: dict[str, Any], says: str
) -> None:
    split = log(20_000, 3, 5_000)
    config = from_json({"model": model, **settings})
    with budget.budget(2), pytest.raises(ConfigError, match="takes at least .* GB") as told:
        make_model(config, split)
    assert says in str(told.value) and "--max-memory (max_memory=) allows 2.0 GB" in str(told.value)


@pytest.mark.parametrize(("model", "name"), [("sasrec", "blocks"), ("caser", "L"), ("caser", "T")])
def test_parts_without_end_are_not_counted_one_by_one(model: str, name: str) -> None:
    """Each is small, so the memory would be full after hours."""
    with pytest.raises(ConfigError, match=f"--{name} is 1,000,000,000; it must be at most 1,024"):
        from_json({"model": model, model: {name: 10**9}})


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("sasrec", {"negatives": 10**6}),
        ("sasrec", {"order": "with-replacement", "batch_size": 10**7}),
        ("bpr", {"negatives": 10**6}),
        ("gru4rec", {"gru4rec": {"samples": 10**7}}),
        ("caser", {"caser": {"L": 1000, "n_h": 0}}),
        ("caser", {"negatives": 10**4, "caser": {"T": 1000}}),
    ],
)
def test_a_step_with_one_digit_too_many_is_not_begun(model: str, settings: dict[str, Any]) -> None:
    split = log(200, 10, 300)
    config = from_json({"model": model, "epochs": 1, **settings})
    made = make_model(config, split)
    with budget.budget(0.2), pytest.raises(ConfigError, match="a step on .* takes at least"):
        fit(made, split, config, progress=False)  # type: ignore[arg-type]


def test_a_batch_that_is_too_large_is_not_begun() -> None:
    split = log(500, 60, 300)
    config = from_json({"batch_size": 500, "sasrec": {"n": 60, "d": 64}, "epochs": 1})
    model = make_model(config, split)
    with budget.budget(0.05), pytest.raises(ConfigError, match=r"lower --batch-size, --n, --d or"):
        fit(model, split, config, progress=False)  # type: ignore[arg-type]


STEP = """
asked = []
fit_module.check = lambda needed, *_: asked.append(needed)
rng = np.random.default_rng(0)
data = build_dataset(np.repeat(np.arange(400), 100), rng.integers(1, 1000, 40_000), min_actions=0)
split = make_split(data, "leave-one-out")
config = from_json({"batch_size": 400, "epochs": 1, "sasrec": {"n": 100}, **SETTINGS})
model = make_model(config, split)
measure(lambda: fit_module.fit(model, split, config, progress=False, validation=False))
"""
READ = """
asked = []
builder.check = lambda needed, *_: asked.append(needed)
measure(lambda: load_dataset(PATH, min_actions=0, progress=False))
"""
CHILD = """
import sys, warnings
from pathlib import Path
import numpy as np
import pandas
from minisasrec.data import build_dataset, builder, load_dataset
from minisasrec.data.split import make_split
from minisasrec.learn import fit as fit_module
from minisasrec.learn.config import from_json, make_model

warnings.simplefilter("ignore")

def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))

def measure(work):
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    work()
    print(max(asked), memory("VmHWM") - before)
"""


def measured(code: str, **names: Any) -> tuple[float, float]:
    """What is asked for, and what is taken, in a process that has freed nothing before."""
    given = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    environment = {**os.environ, "MINISASREC_KEEP_MEMORY": "0", "MINISASREC_BACKEND": "numpy"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD + given + code],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert not done.returncode, done.stderr
    asked, taken = map(float, done.stdout.split())
    return asked, taken


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "settings",
    [
        {"model": "sasrec"},
        {"model": "sasrec", "negatives": 100},
        {"model": "sasrec", "order": "with-replacement"},
        {"model": "bpr", "negatives": 200},
        {"model": "gru4rec", "gru4rec": {"samples": 500}},
        {"model": "caser", "caser": {"L": 10, "T": 3}},
    ],
    ids=str,
)
def test_a_step_takes_what_is_said_or_more(settings: dict[str, Any]) -> None:
    """The estimate may not refuse what would have fitted."""
    asked, taken = measured(STEP, SETTINGS=settings)
    assert 1e7 < asked < taken, f"{asked / 1e6:.0f} MB asked, {taken / 1e6:.0f} MB taken"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reading_takes_about_what_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = rng.integers(0, [200_000, 50_000, 10**9], (1_500_000, 3))
    path = tmp_path / "log.csv"
    np.savetxt(path, rows, "%d", ",", header="user,item,time", comments="")
    asked, taken = measured(READ, PATH=str(path))
    assert 0.5 < asked / taken < 1.2, f"{asked / 1e6:.0f} MB asked, {taken / 1e6:.0f} MB taken"


def test_a_log_that_is_too_long_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,time\n" + "".join(f"{n},{n},{n}\n" for n in range(200_000)))
    assert run_command(data_main, [str(path), "--max-memory", "0.02", "--min-actions", "0"]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "log.csv: reading its first" in told
    assert "--max-memory (max_memory=) allows 20 MB" in told and "--where" in told
    with budget.budget(0.02), pytest.raises(DataError, match="takes at least"):
        load_dataset(path, min_actions=0)


def test_the_option_is_one_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(train_main, ["--d", "60000", "--max-memory", "1"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "sasrec with d = 60,000" in told
    assert run_command(train_main, ["--max-memory", "0"]) == 2
    assert "it must be above 0, in GB" in capsys.readouterr().err


def test_a_folder_with_a_huge_model_is_refused(tmp_path: Path) -> None:
    split = log(50, 6, 20)
    made = Recommender("sasrec", d=4, n=5, epochs=1, backend="numpy")
    made.fit(split, progress=False)
    made.save(tmp_path / "model")
    with budget.budget(1e-6), pytest.raises((ConfigError, CheckpointError), match="takes at least"):
        Recommender.load(tmp_path / "model")


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="asks the machine in another way")
def test_a_machine_that_does_not_know_its_memory_has_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = os.sysconf
    monkeypatch.setattr(os, "sysconf", lambda name: -1 if "PHYS" in name else known(name))
    assert budget._physical() == float("inf")
