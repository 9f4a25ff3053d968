"""Cells: training runs that are computed once, wherever, and kept.

A cell is a configuration with its seed, trained, selected on validation and measured once on the
test part. Its folder is that of a run (`learn.runs`), named by a hash of the settings and the data,
so a cell that is done is found again, and one that was killed goes on where it stopped.
`compute` works through a list of cells: here one by one, in several processes through joblib, or on
a Dask cluster.
"""

from __future__ import annotations

import functools
import hashlib
import json
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from minisasrec import __version__
from minisasrec.backends import backend
from minisasrec.data import DataWarning, Split, leave_one_out, load_dataset
from minisasrec.data.dataset import Repeats
from minisasrec.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MinisasrecError,
    TrainingError,
)
from minisasrec.kernels.cores import available_cores
from minisasrec.kernels.threads import thread_count
from minisasrec.learn.config import DataColumns, TrainConfig, make_model, read_json
from minisasrec.learn.evaluation import LISTS, Protocol, evaluate, usual_protocols
from minisasrec.learn.fit import History, fit
from minisasrec.learn.machine import use_machine
from minisasrec.learn.runs import Run, to_plain
from minisasrec.models import MODELS, SequenceModel

Record = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One run: all that a worker, here or elsewhere, has to know."""

    config: TrainConfig
    folder: Path
    name: str  # of the row that it was made for
    test: bool = True  # False: its test part is not read, for settings that are yet to be chosen
    fingerprint: str = ""  # of the data that it is meant for

    def file(self) -> Path:
        """What is found of it: result.json, or for want of it and a `test`, validation.json."""
        result = self.folder / "result.json"
        return result if self.test or result.is_file() else self.folder / "validation.json"

    def state(self) -> str:
        """done, resumable or to do."""
        if self.file().is_file():
            return "done"
        return "resumable" if (self.folder / "last.safetensors").is_file() else "to do"


MACHINE = {"dataset", "data_dir", "columns", "machine", "out", "resume", "json"}
_one_at_a_time = threading.Lock()  # the engine records one graph at a time in a process


def make_cell(
    config: TrainConfig,
    fingerprint: str,
    base: Path,
    name: str = "",
    test: bool = True,
    repeats: Literal["allow", "forbid"] = "forbid",
) -> Cell:
    """The cell of a configuration; its folder's name has a hash of all that its result depends on.

    That is the data's fingerprint and the settings, without those of the machine (`MACHINE`) and
    those of other models, and with the rule `repeats` that "auto" comes to for the data. Delete a
    cell's folder to have it computed again.
    """
    own = MODELS[config.model][1]
    left_out = (MACHINE | {section for _, section in MODELS.values()}) - {own}
    settings = {key: value for key, value in config.to_json().items() if key not in left_out}
    settings["repeats"] = repeats
    text = json.dumps([fingerprint, settings], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    folder = base.resolve() / f"{Path(config.dataset).stem}-{config.model}-{digest}"
    return Cell(config, folder, name or config.model, test, fingerprint)


def run_cell(cell: Cell, progress: bool = False) -> Record:
    """Train, select on validation, measure the test part once; or read what was found before.

    Writes the files of a run, the ranks of the test part (ranks.safetensors) and, last,
    result.json. Of a cell without `test`, validation.json is all that there is beside the run; the
    same cell with `test` goes on from its weights.
    """
    with _one_at_a_time, _alone(cell.folder):
        if cell.state() == "done":
            return _found(cell)
        start = time.perf_counter()
        config = cell.config
        use_machine(config.machine)  # a worker is told so by nobody else
        split = _data_of(cell)
        model = make_model(config, split)
        if (cell.folder / "config.json").is_file():
            run = Run.open(cell.folder)
        else:
            origin = {"data": split.dataset.fingerprint(), "version": __version__}
            run = Run.create(cell.folder, config, origin)
        history = History()
        if isinstance(model, SequenceModel):
            history = fit(model, split, config, run, progress=progress)
        facts = {
            "dataset": split.dataset.name,
            "model": config.model,
            "seed": config.seed,
            **history.summary(),
            "threads": _threads(),
        }
        if not cell.test:
            result = to_plain({**facts, "total_seconds": time.perf_counter() - start})
            run.write_json(cell.file().name, result)
            return result
        test: list[Record] = []
        ranks: dict[str, np.ndarray] = {}
        for protocol in get_args(Protocol):
            if protocol == "sampled" and protocol not in usual_protocols(split):
                continue  # too few items to sample from
            found = evaluate(
                model,
                split,
                "test",
                protocol,
                seed=config.seed,
                max_users=config.max_users,
                lists=LISTS,
            )
            test.append({"protocol": protocol, "model": config.model, **found.metrics()})
            ranks |= {protocol: found.ranks, "users": found.users}
        run.save_arrays("ranks.safetensors", ranks, {})
        seconds = time.perf_counter() - start
        result = to_plain({**facts, "total_seconds": seconds, "test": test})
        run.write_json(cell.file().name, result)
        return result


def _found(cell: Cell) -> Record:
    """What is on disk of a cell that is done."""
    result = read_json(cell.file())
    wanted = {"model", "seed", "epochs", "total_seconds", *(["test"] if cell.test else [])}
    if missing := wanted - result.keys():
        raise CheckpointError(
            f"{cell.file()} has no {', '.join(sorted(missing))}; delete {cell.folder} to have it "
            "computed again"
        )
    return result


def _data_of(cell: Cell) -> Split:
    """The cell's data, read again if the file has changed since this process first read it."""
    for _ in range(2):
        config = cell.config
        split, _ = load(config.dataset, config.data_dir, config.columns, config.repeats)
        if cell.fingerprint in ("", split.dataset.fingerprint()):
            return split
        load.cache_clear()
    raise DataError(
        f"{cell.config.dataset} is other data here than where the command was given; is it another "
        "file, or did it change meanwhile?"
    )


def _attempt(cell: Cell, progress: bool = False) -> tuple[Cell, Record]:
    """`run_cell`; one that cannot be computed does not keep the others from being so."""
    try:
        return cell, run_cell(cell, progress)
    except MinisasrecError as error:
        return cell, {"error": str(error), "model": cell.config.model, "total_seconds": 0.0}


@functools.lru_cache(maxsize=1)
def load(
    dataset: str,
    data_dir: Path | None,
    columns: DataColumns = DataColumns(),  # noqa: B008 (it cannot be changed)
    repeats: Repeats = "auto",
    download: bool = True,
) -> tuple[Split, list[str]]:
    """A data set, split, and what a reader of its results should know."""
    download = download and data_dir is None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        data = load_dataset(
            dataset, data_dir=data_dir, download=download, repeats=repeats, **columns.given()
        )
        split = leave_one_out(data)
    told = (str(w.message).removeprefix(f"{data.name}: ") for w in caught)
    notes = [data.source, *dict.fromkeys([*data.warnings, *told])]
    return split, [f"{data.name}: {note}" for note in notes if note]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process works on this folder; the lock goes when its process does."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
    except OSError as error:
        raise TrainingError(f"cannot write {folder}: {error.strerror}") from None
    with file:
        if sys.platform != "win32":  # where two commands with a common cell must not overlap
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _threads() -> int:
    if backend() == "numpy":
        return 1
    return thread_count()


# --- running a grid ------------------------------------------------------------------------------


def compute(
    cells: Sequence[Cell], jobs: int = 1, scheduler: str | None = None
) -> dict[Path, Record]:
    """The results of all cells by folder; progress and an estimate of the time left on stderr.

    A cell that cannot be computed has {"error": what was wrong} for a result. `jobs` is the number
    of processes, `scheduler` the address of a Dask scheduler. Ctrl-C loses no finished epoch.
    """
    missing = {cell.folder: cell for cell in cells if cell.state() != "done"}
    done = {c.folder: _attempt(c)[1] for c in cells if c.folder not in missing}
    total, start, worked = len({c.folder for c in cells}), time.perf_counter(), 0.0
    say = functools.partial(print, file=sys.stderr, flush=True)
    say(f"{total} cells: {len(done)} done, {len(missing)} to compute")
    try:
        for cell, result in _run(list(missing.values()), jobs, scheduler) if missing else ():
            del missing[cell.folder]
            done[cell.folder] = result
            worked += result["total_seconds"]
            said = result.get("error") or f"{result['total_seconds']:.0f} s"
            left = estimate([c.config.model for c in missing.values()], list(done.values()))
            speed = (time.perf_counter() - start) / worked if worked else 1.0
            line = f"[{len(done)}/{total}] {cell.name}, seed {cell.config.seed}: {said}"
            say(line + (f"; about {_duration(left * speed)} left" if missing else ""))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "finished cells and whole epochs are kept; the same command goes on"
        ) from None
    return done


def estimate(models: Sequence[str], finished: Sequence[Record]) -> float:
    """Seconds that cells of these models will take, from those finished: same models, else all."""
    seconds: dict[str, list[float]] = {}
    for result in finished:
        seconds.setdefault(result["model"], []).append(result["total_seconds"])
    every = statistics.fmean(s for of_model in seconds.values() for s in of_model)
    return sum(statistics.fmean(seconds.get(model, [every])) for model in models)


def _run(cells: list[Cell], jobs: int, scheduler: str | None) -> Iterator[tuple[Cell, Record]]:
    """Cells with their results, in the order in which they finish."""
    if scheduler:
        yield from _run_on_dask(cells, scheduler)
    elif jobs > 1:
        yield from _run_on_joblib(cells, jobs)
    else:
        for cell in cells:
            yield _attempt(cell, sys.stderr.isatty())


def _run_on_joblib(cells: list[Cell], jobs: int) -> Iterator[tuple[Cell, Record]]:
    from concurrent.futures import BrokenExecutor

    joblib = _extra("joblib", "--jobs")
    threads = cells[0].config.machine.threads or max(1, available_cores() // jobs)
    try:
        with joblib.parallel_config("loky", inner_max_num_threads=threads):
            parallel = joblib.Parallel(jobs, return_as="generator_unordered", batch_size=1)
            yield from parallel(joblib.delayed(_attempt)(cell) for cell in cells)
    except BrokenExecutor:
        raise TrainingError(
            "a worker process died, perhaps for lack of memory; what is finished is kept: give the "
            "command again with fewer --jobs"
        ) from None


def _run_on_dask(cells: list[Cell], address: str) -> Iterator[tuple[Cell, Record]]:
    distributed = _extra("distributed", "--scheduler")
    try:
        client = distributed.Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no Dask scheduler answers at {address}: {error}") from None
    with client:
        futures = client.map(_attempt, cells, pure=False)
        try:
            for future in distributed.as_completed(futures):
                cell, result = future.result()
                if "error" not in result and cell.state() != "done":
                    raise ConfigError(
                        f"a Dask worker wrote {cell.folder}, which is not to be seen from here; "
                        "give --cells a folder that all machines share"
                    )
                yield cell, result
        except distributed.scheduler.KilledWorker as error:
            raise TrainingError(f"{error}; what is finished is kept") from None
        finally:
            client.cancel(futures)


def _extra(module: str, option: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise ConfigError(
            f'{option} needs {module}, which is not installed: pip install "minisasrec[reproduce]"'
        ) from None


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
