"""How many threads kernels use: the machine's cores, the choice of a thread, and the chooser."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import minisasrec
from minisasrec.errors import ConfigError
from minisasrec.kernels import chooser, cores, team
from minisasrec.kernels.chooser import ThreadChooser
from minisasrec.kernels.threads import thread_count, threads, threads_chosen

# --- cores ----------------------------------------------------------------------------------------


def machine(folder: Path, groups: str, **files: str) -> list[int]:
    """The quotas in a folder that looks like Linux's; `a__cpu.max` is the file a/cpu.max."""
    (folder / "membership").write_text(groups)
    for name, text in files.items():
        file = folder / "root" / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return sorted(cores._quotas(folder / "membership", folder / "root"))


@pytest.mark.parametrize(
    ("text", "quotas"),
    [
        ("200000 100000\n", [2]),
        ("150000 100000\n", [2]),  # one core and a half: rounded up
        ("5000 100000\n", [1]),
        ("max 100000\n", []),
        ("", []),
        ("200000\n", []),
        ("200000 0\n", []),
        ("a lot of time\n", []),
        ("\xff\xfe\n", []),
    ],
)
def test_quota_of_cgroup_2(tmp_path, text, quotas):
    assert machine(tmp_path, "0::/\n", **{"cpu.max": text}) == quotas


@pytest.mark.parametrize(
    ("quota", "period", "quotas"),
    [
        ("400000\n", "100000\n", [4]),
        ("50000\n", "100000\n", [1]),
        ("-1\n", "100000\n", []),
        ("400000\n", "", []),
        ("x\n", "y\n", []),
    ],
)
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_quota_of_cgroup_1(tmp_path, quota, period, quotas, mount):
    names = [f"{mount}__cpu.cfs_quota_us", f"{mount}__cpu.cfs_period_us"]
    files = dict(zip(names, (quota, period), strict=True))
    assert machine(tmp_path, "5:memory:/x\n4:cpu,cpuacct:/\n", **files) == quotas


def test_a_group_has_the_quotas_of_the_groups_around_it(tmp_path):
    files = {"a__b__cpu.max": "800000 100000", "a__cpu.max": "300000 100000", "c__cpu.max": "1 1"}
    assert machine(tmp_path, "0::/a/b\n", **files) == [3, 8]  # and none of c, beside it


def test_a_container_whose_own_group_is_the_root(tmp_path):
    """It reads the host's name of its group, and finds no such folder."""
    files = {"cpu__cpu.cfs_quota_us": "250000", "cpu__cpu.cfs_period_us": "100000"}
    assert machine(tmp_path, "4:cpu,cpuacct:/docker/0123abc\n0::/\n", **files) == [3]


def test_no_control_groups_and_garbage(tmp_path):
    assert list(cores._quotas(tmp_path / "missing", tmp_path)) == []
    assert machine(tmp_path, "nonsense\n\n::::\n7:\n", **{"cpu.max": "100000 100000"}) == []


def test_the_least_of_affinity_quota_and_environment(monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    monkeypatch.setattr(cores, "_affinity", lambda: 8)
    monkeypatch.setattr(cores, "_quotas", lambda *_: iter([6, 4]))
    assert cores.available_cores() == 4
    for text, count in (("3", 3), ("16", 4), ("0", 4), ("-2", 4), ("many", 4), ("", 4)):
        monkeypatch.setenv("NUMBA_NUM_THREADS", text)
        assert cores.available_cores() == count, text


def test_as_many_as_joblib_counts(monkeypatch):
    joblib = pytest.importorskip("joblib", reason="joblib, the oracle, is not installed")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    assert 1 <= cores.available_cores() <= joblib.cpu_count()


def run(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_numba_num_threads_lowers_the_default_and_does_not_raise_it():
    program = "from minisasrec import thread_count; print(thread_count())"
    assert run(program, NUMBA_NUM_THREADS="1") == "1"
    assert int(run(program, NUMBA_NUM_THREADS="255")) <= (os.cpu_count() or 1)


# --- the choice -----------------------------------------------------------------------------------


def test_threads_is_public_and_needs_no_numba():
    assert minisasrec.threads is threads and minisasrec.thread_count is thread_count
    run(
        "import sys, minisasrec\n"
        "with minisasrec.threads(3): assert minisasrec.thread_count() == 3\n"
        "import minisasrec.learn.evaluation\n"
        "assert 'numba' not in sys.modules"
    )


def test_the_choice_takes_effect_at_once_and_a_block_undoes_it():
    default = thread_count()
    assert not threads_chosen()
    with threads(3):
        assert thread_count() == 3 and threads_chosen()
        with threads(np.int64(2)):
            assert thread_count() == 2
        threads(7)
        assert thread_count() == 7
    assert thread_count() == default and not threads_chosen()
    with pytest.raises(ZeroDivisionError), threads(2):
        1 / 0  # noqa: B018
    assert thread_count() == default


@pytest.mark.parametrize("n", [0, -1, 257, 2.0, True, "2", None])
def test_threads_refuses(n):
    before = thread_count()
    with pytest.raises(ConfigError, match="threads must be a whole number from 1 to 256, got"):
        threads(n)
    assert thread_count() == before


def test_the_choice_belongs_to_the_thread_that_makes_it():
    chosen, go_on = threading.Event(), threading.Event()
    counts = []

    def other():
        with threads(5):
            counts.append(thread_count())
            chosen.set()
            go_on.wait(60)
        counts.append(thread_count())

    default = thread_count()
    beside = threading.Thread(target=other)
    beside.start()
    assert chosen.wait(60)
    with threads(3):  # the blocks overlap
        go_on.set()
        beside.join(60)
        assert thread_count() == 3
    assert counts == [5, default] and thread_count() == default


def workers_of(count: int, tasks: int = 50) -> int:
    """How many threads come to one kernel when `count` are chosen."""
    seen: set[int] = set()
    together = threading.Barrier(min(count, tasks), timeout=60)

    def worker(counter: np.ndarray) -> None:
        if threading.get_ident() not in seen:  # a helper that finds the job still there comes again
            seen.add(threading.get_ident())
            together.wait()

    with threads(count):
        team.run(worker, tasks)
    return len(seen)


def test_as_many_threads_come_as_were_chosen():
    """More than the machine has, and then fewer: helpers that stay behind keep out."""
    for count in (3, 1, 2, 8, 2):
        assert workers_of(count) == count
    assert workers_of(8, tasks=2) == 2  # no more than there are tasks


def test_callers_with_numbers_of_their_own_at_once():
    from minisasrec.kernels import layer_norm

    x, dy = np.random.default_rng(0).standard_normal((2, 3000, 50)).astype(np.float32)
    expected = layer_norm.layer_norm_forward(x, x[0], x[1], 1e-5)[0]

    def call(i: int) -> None:
        with threads(1 + i % 5):
            y = layer_norm.layer_norm_forward(x, x[0], x[1], 1e-5)[0]
            np.testing.assert_array_equal(y, expected)
            assert thread_count() == 1 + i % 5

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call, range(200)))


# --- the chooser ----------------------------------------------------------------------------------


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr("minisasrec.kernels.threads._default", lambda: 2)


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(chooser.time, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize("alone_is_faster", [False, True])
def test_steps_go_on_with_the_number_of_threads_that_was_faster(two_cores, clock, alone_is_faster):
    pace = ThreadChooser()
    seen = []
    for part in pace.over([10, 30] * pace.period, size=lambda part: part):
        seen.append(thread_count() == 1)
        clock[0] += part * (1 if seen[-1] == alone_is_faster else 2)
    assert not threads_chosen()
    trial = range(pace.first, pace.first + pace.block * pace.blocks)
    both = [False] * pace.block + [True] * pace.block
    for start in (0, pace.period):  # the second trial begins with what the first one found
        assert seen[start : start + trial.start] == [alone_is_faster and start > 0] * trial.start
        assert seen[start + trial.start : start + trial.stop] == both * (pace.blocks // 2)
    assert set(seen[trial.stop : pace.period]) == {alone_is_faster}


def test_a_loop_of_few_steps_goes_on_where_the_last_one_ended(two_cores, clock):
    pace = ThreadChooser(first=1, block=1, blocks=4, period=100)
    seen = []
    for _ in range(4):
        for _ in pace.over(range(3)):
            seen.append(thread_count())
            clock[0] += thread_count()  # two threads take twice as long as one
    assert seen == [2, 2, 1, 2, 1] + [1] * 7


def test_a_step_that_fails_leaves_the_choice_as_it_was(two_cores):
    pace = ThreadChooser(first=0)
    with pytest.raises(ZeroDivisionError):
        for i, _ in enumerate(pace.over([1] * 100)):
            if i == pace.block:
                assert thread_count() == 1
                1 / 0  # noqa: B018
    assert thread_count() == 2 and not threads_chosen()


def test_a_number_that_was_chosen_is_kept(two_cores):
    pace = ThreadChooser(first=0)
    with threads(2):
        assert {thread_count() for _ in pace.over([1] * 100)} == {2}


def test_evaluation_chooses_too(two_cores):
    from minisasrec.data import leave_one_out, load_dataset
    from minisasrec.learn.evaluation import Evaluator
    from minisasrec.models.simple import Popularity

    split = leave_one_out(load_dataset("bookshop"))
    evaluator = Evaluator(split, "test", "sampled", batch_size=50)
    model = Popularity(split)
    counts = set()
    scores = model.candidate_scores

    def noted(*arguments):
        counts.add(thread_count())
        return scores(*arguments)

    model.candidate_scores = noted
    evaluator(model)
    assert counts == {1, 2} and not threads_chosen()
