"""Experiments: training runs that are computed once, wherever, and kept.

An experiment is a configuration with its seed: trained, selected on validation and measured once on
the test part. Its folder is that of a run (`learn.runs`), named by a hash of the settings and the
data. So an experiment that is done is found again, and one that was killed goes on where it
stopped. `compute` works through a list of experiments: here one by one, in several processes
through joblib, or on a Dask cluster.
"""

from __future__ import annotations

import functools
import hashlib
import json
import signal
import statistics
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from minisasrec.backends import backend
from minisasrec.data import DataWarning, Split, load_dataset, make_split
from minisasrec.data.dataset import Repeats
from minisasrec.data.options import ReadingOptions
from minisasrec.data.split import LEAVE_ONE_OUT
from minisasrec.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MinisasrecError,
    TrainingError,
)
from minisasrec.experiments.cluster import connect, extra
from minisasrec.kernels.cores import available_cores
from minisasrec.kernels.threads import thread_count
from minisasrec.learn.config import NO_NUMBERS, TrainConfig, make_model, read_json
from minisasrec.learn.evaluation import LISTS, Protocol, evaluate, usual_protocols
from minisasrec.learn.fit import History, fit
from minisasrec.learn.machine import use_machine
from minisasrec.learn.receipt import SHOWN, origin
from minisasrec.learn.runs import RANKS, Run, to_plain
from minisasrec.models import MODELS, SequenceModel
from minisasrec.terminal import on_terminal, say

Record = dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """One run: what a worker on this or another machine needs to know about it."""

    config: TrainConfig
    folder: Path
    name: str  # the name of its row in the table
    test: bool = True  # False: settings are still being chosen, so the test part is not read
    fingerprint: str = ""  # the fingerprint of its data, split

    def file(self) -> Path:
        """result.json; validation.json if the test part was not evaluated."""
        result = self.folder / "result.json"
        return result if self.test or result.is_file() else self.folder / "validation.json"

    def state(self) -> str:
        """done, resumable or to do."""
        if self.file().is_file():
            return "done"
        return "resumable" if (self.folder / "last.safetensors").is_file() else "to do"


_one_at_a_time = threading.Lock()  # they share threads, memory and the data set that `load` keeps


@functools.cache
def frozen_defaults() -> Record:
    """The default that each setting had when it was added; these never change.

    An experiment is named by the settings that differ from these. So a new setting does not rename
    the experiments that have its default (add that default to the file). A default that changes
    does rename the experiments whose results it changes.
    """
    return read_json(Path(__file__).with_name("frozen_defaults.json"))


def _differing(settings: Record, frozen: Record, default: Record) -> Record:
    """The settings that differ from the frozen ones, or from the default if not yet frozen."""
    found: Record = {}
    for name, value in settings.items():
        usual = frozen.get(name, default.get(name))
        if isinstance(value, dict):
            value = _differing(value, usual or {}, default.get(name) or {})
            usual = {}
        if value != usual:
            found[name] = value
    return found


def make_experiment(
    config: TrainConfig,
    fingerprint: str,
    base: Path,
    name: str = "",
    test: bool = True,
    repeats: Literal["allow", "forbid"] = "forbid",
) -> Experiment:
    """The experiment of a configuration; its folder is named by all that its result depends on.

    The name holds a hash of the data's fingerprint and of the settings that differ from the frozen
    defaults. `repeats` is the rule that "auto" means for these data. Settings that change no
    number (`NO_NUMBERS`) and those of other models are left out. Delete an experiment's folder to
    have it computed again.
    """
    own = MODELS[config.model][1]
    left_out = (NO_NUMBERS | {section for _, section in MODELS.values()}) - {own}
    settings = {**config.to_json(), "repeats": repeats}
    chosen = _differing(settings, frozen_defaults(), type(config)().to_json())
    chosen = {key: value for key, value in chosen.items() if key not in left_out}
    text = json.dumps([fingerprint, chosen], sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    folder = base.resolve() / f"{Path(config.dataset).stem}-{config.model}-{digest}"
    return Experiment(config, folder, name or config.model, test, fingerprint)


def run_experiment(experiment: Experiment, progress: bool = False) -> Record:
    """Train, select on validation, measure the test part once; or read what was found before.

    Writes the files of a run, the ranks of the test part (ranks.safetensors) and, last,
    result.json. An experiment without `test` has validation.json instead of these two; the same
    experiment with `test` goes on from its weights.
    """
    with _one_at_a_time, Run(experiment.folder).owned(wait=True):
        if experiment.state() == "done":
            return _found(experiment)
        start = time.perf_counter()
        config = experiment.config
        use_machine(config.machine)  # for a worker process, which has no command line
        split = _data_of(experiment)
        model = make_model(config, split)
        if (experiment.folder / "config.json").is_file():
            run = Run.open(experiment.folder)
        else:
            facts = {"data": split.fingerprint(), **origin(config)}
            run = Run.create(experiment.folder, config, facts)
        history = History()
        if isinstance(model, SequenceModel):
            history = fit(model, split, config, run, progress=progress)
        facts = {
            "dataset": split.dataset.name,
            "model": config.model,
            "seed": config.seed,
            **history.summary(),
            "threads": _threads(),
            "date": time.strftime("%Y-%m-%d"),
        }
        if not experiment.test:
            result = to_plain({**facts, "total_seconds": time.perf_counter() - start})
            run.write_json(experiment.file().name, result)
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
        run.save_arrays(RANKS, ranks, {})
        seconds = time.perf_counter() - start
        result = to_plain({**facts, "total_seconds": seconds, "test": test})
        run.write_json(experiment.file().name, result)
        return result


def made_by_whom(experiments: Sequence[Experiment]) -> str:
    """When, by which code and on which processor experiments that are done were made.

    One that was interrupted and went on under other code or elsewhere was made by both.
    """
    found: dict[str, set[str]] = {}
    for experiment in experiments:
        try:
            made = Run(experiment.folder).read_config().get("made_by") or [{}]
        except CheckpointError:  # the result is there all the same
            made = [{}]
        date = {"date": _found(experiment).get("date", "not noted")}
        for facts in made:
            code = {"code": facts["code"][:SHOWN]} if "code" in facts else {}
            told = {**date, **facts, **code}
            for name in ("date", "code", "processor", "numba"):
                found.setdefault(name, set()).add(told.get(name, "not noted"))
    return "; ".join(f"{name}: {', '.join(sorted(values))}" for name, values in found.items())


def _found(experiment: Experiment) -> Record:
    """The result of an experiment that is done, read from its file."""
    with reading_experiment(experiment.folder):
        return Run(experiment.folder).result(experiment.file().name)


@contextmanager
def reading_experiment(folder: Path) -> Iterator[None]:
    """Inside this block files of an experiment are read; a `CheckpointError` says what to do."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{error}; delete {folder} to have it computed again") from None


def _data_of(experiment: Experiment) -> Split:
    """The experiment's data, read again if the file has changed since this process read it."""
    for _ in range(2):
        config = experiment.config
        split, _ = load(
            config.dataset, config.data_dir, config.columns, config.repeats, config.split
        )
        if experiment.fingerprint in ("", split.fingerprint()):
            return split
        load.cache_clear()
    raise DataError(
        f"{experiment.config.dataset} is other data here than where the command was given; is it "
        "another file, or has the file changed since?"
    )


def _attempt(experiment: Experiment, progress: bool = False) -> tuple[Experiment, Record]:
    """`run_experiment`; an error becomes the result, so that the others are computed."""
    try:
        return experiment, run_experiment(experiment, progress)
    except MinisasrecError as error:
        return experiment, {
            "error": str(error),
            "model": experiment.config.model,
            "total_seconds": 0.0,
        }


@functools.lru_cache(maxsize=1)
def load(
    dataset: str,
    data_dir: Path | None,
    columns: ReadingOptions = ReadingOptions(),  # noqa: B008 (it cannot be changed)
    repeats: Repeats = "auto",
    split: str = LEAVE_ONE_OUT,
    download: bool = True,
) -> tuple[Split, list[str]]:
    """A data set, split; and notes for the reader of its results."""
    download = download and data_dir is None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        data = load_dataset(
            dataset, data_dir=data_dir, download=download, repeats=repeats, **columns.given()
        )
        made = make_split(data, split)
    told = (str(w.message).removeprefix(f"{data.name}: ") for w in caught)
    notes = [data.source, *dict.fromkeys([*data.warnings, *told])]
    return made, [f"{data.name}: {note}" for note in notes if note]


def _threads() -> int:
    if backend() == "numpy":
        return 1
    return thread_count()


# --- running a grid ------------------------------------------------------------------------------


def compute(
    experiments: Sequence[Experiment], jobs: int = 1, scheduler: str | None = None
) -> dict[Path, Record]:
    """The results of all experiments by folder; on stderr, progress and the time that is left.

    An experiment that cannot be computed has {"error": what was wrong} for a result. `jobs` is the
    number of processes, `scheduler` the address of a Dask scheduler. Ctrl-C loses no finished
    epoch.
    """
    missing = {
        experiment.folder: experiment for experiment in experiments if experiment.state() != "done"
    }
    done = {c.folder: _attempt(c)[1] for c in experiments if c.folder not in missing}
    total, start, worked = len({c.folder for c in experiments}), time.perf_counter(), 0.0
    say(f"{total} experiment{'s' * (total != 1)}: {len(done)} done, {len(missing)} to compute")
    try:
        for experiment, result in _run(list(missing.values()), jobs, scheduler) if missing else ():
            del missing[experiment.folder]
            done[experiment.folder] = result
            worked += result["total_seconds"]
            said = result.get("error") or f"{result['total_seconds']:.0f} s"
            left = estimate([c.config.model for c in missing.values()], list(done.values()))
            speed = (time.perf_counter() - start) / worked if worked else 1.0
            line = f"[{len(done)}/{total}] {experiment.name}, seed {experiment.config.seed}: {said}"
            say(line + (f"; about {_duration(left * speed)} left" if missing else ""))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "finished experiments and whole epochs are kept; the same command goes on"
        ) from None
    return done


def estimate(models: Sequence[str], finished: Sequence[Record]) -> float:
    """Seconds that experiments of these models will take, by the finished ones of the same model.

    A model of which none is finished counts as the mean of all; one that failed does not count.
    """
    seconds: dict[str, list[float]] = {}
    for result in finished:
        if "error" not in result:
            seconds.setdefault(result["model"], []).append(result["total_seconds"])
    every = statistics.fmean([s for of_model in seconds.values() for s in of_model] or [0.0])
    return sum(statistics.fmean(seconds.get(model, [every])) for model in models)


def _run(
    experiments: list[Experiment], jobs: int, scheduler: str | None
) -> Iterator[tuple[Experiment, Record]]:
    """Experiments with their results, in the order in which they finish."""
    if scheduler:
        yield from _run_on_dask(experiments, scheduler)
    elif jobs > 1:
        yield from _run_on_joblib(experiments, jobs)
    else:
        for experiment in experiments:
            yield _attempt(experiment, on_terminal())


def _run_on_joblib(experiments: list[Experiment], jobs: int) -> Iterator[tuple[Experiment, Record]]:
    from concurrent.futures import BrokenExecutor

    joblib = extra("joblib", "--jobs")
    threads = experiments[0].config.machine.threads or max(1, available_cores() // jobs)
    try:
        with joblib.parallel_config("loky", inner_max_num_threads=threads, initializer=_quiet):
            parallel = joblib.Parallel(jobs, return_as="generator_unordered", batch_size=1)
            yield from parallel(joblib.delayed(_attempt)(experiment) for experiment in experiments)
    except BrokenExecutor:
        raise TrainingError(
            "a worker process died, perhaps for lack of memory; what is finished is kept: give the "
            "command again with fewer --jobs"
        ) from None


def _quiet() -> None:
    """In a worker: Ctrl-C is for the process that has started it, which ends it with one line."""
    from tqdm import tqdm

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tqdm.set_lock(threading.RLock())  # one between processes would be missed when it is ended


def _run_on_dask(
    experiments: list[Experiment], address: str
) -> Iterator[tuple[Experiment, Record]]:
    distributed = extra("distributed", "--scheduler")
    with connect(address) as client:
        futures = client.map(_attempt, experiments, pure=False)
        try:
            for future in distributed.as_completed(futures):
                experiment, result = future.result()
                if "error" not in result and experiment.state() != "done":
                    raise ConfigError(
                        f"a Dask worker wrote {experiment.folder}, not visible from here; "
                        "give --experiments a folder that all machines share"
                    )
                yield experiment, result
        except distributed.scheduler.KilledWorker as error:
            raise TrainingError(f"{error}; what is finished is kept") from None
        finally:
            client.cancel(futures)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
