"""Search settings on the validation part: `python -m minisasrec.tune clicks.csv --trials 30`."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from minisasrec import __version__
from minisasrec.commands.cli import load_split, print_json, read_options, run_command
from minisasrec.data.options import ReadingOptions
from minisasrec.data.split import Split
from minisasrec.errors import CheckpointError, ConfigError, TrainingError
from minisasrec.experiments import search
from minisasrec.experiments.search import OutOfTime, Record, Search
from minisasrec.learn.config import (
    ModelName,
    TrainConfig,
    from_json,
    preset,
    read_json,
)
from minisasrec.learn.fit import SELECT, selection
from minisasrec.learn.machine import MachineOptions, use_machine
from minisasrec.learn.runs import Run, check_form, new_folder
from minisasrec.learn.settings import with_settings
from minisasrec.models import MODELS, SequenceModel
from minisasrec.plots import search_history
from minisasrec.terminal import say, show

BASE = Path("tune")
TUNE_FORM = {"settings": dict, "space": dict, "data": str}
FREE = {"machine", "out", "resume", "json", "data_dir"}  # what may differ when a search goes on


@dataclass(frozen=True)
class TuneConfig:
    """Try settings of a model and keep those that validate best. The test part is never read.

    Writes trials.jsonl and trials.csv (all trials), best.json (for train --config) and trials.png
    to a folder. Ctrl-C keeps what is finished; --resume goes on.
    """

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[DATA]")] = ""
    """A name in `minisasrec.data.DATASETS`, or the path of a file of your own."""
    model: ModelName | None = None
    """The model, by default sasrec; see train --help."""
    trials: int = 30
    """How many trials in all, those of an interrupted search included."""
    minutes: float | None = None
    """Stop after so many minutes; the trial at work is dropped."""
    space: Path | None = None
    """JSON file with the settings to search, such as {"lr": {"low": 1e-4, "high": 1e-2, "log":
    true}, "d": [32, 64]}. By default lr, dropout, d, n, blocks, heads, l2, loss and negatives."""
    config: Path | None = None
    """JSON file with the other settings, as for train; by default those of the data set."""
    epochs: int | None = None
    """Most epochs of a trial; by default as train."""
    seed: int | None = None
    """The trials, and all in them, follow from this number; by default 0."""
    select: Literal["sampled", "full"] | None = None
    """Which ranking of the validation items judges the trials: against 100 sampled items or against
    all, as in train; by default sampled."""
    prune: bool = True
    """Give up a trial that is worse than the median of the others at the same epoch."""
    columns: ReadingOptions = field(default_factory=ReadingOptions)
    """How a log of your own is read."""
    data_dir: Path | None = None
    """Folder that holds the data set's files already; nothing is downloaded then."""
    repeats: Literal["auto", "allow", "forbid"] | None = None
    """Whether items that a user has met may come again, as in train."""
    split: str | None = None
    """What is trained on and what is held out: leave-one-out, or time:0.9, as in train."""
    out: Path | None = None
    """Folder for the results; by default a new one in tune/."""
    resume: bool = False
    """Go on with the search in --out."""
    machine: MachineOptions = field(default_factory=MachineOptions)
    """Threads and backend."""
    json: bool = False
    """Print one JSON object instead of lines."""


def main(argv: Sequence[str] | None = None) -> None:
    """Compute trials until there are enough, and say what was found."""
    options = read_options(TuneConfig, "tune", argv)
    if options.trials < 1:
        raise ConfigError(f"--trials is {options.trials}; it must be at least 1")
    if options.minutes is not None and not options.minutes > 0:
        raise ConfigError(f"--minutes is {options.minutes}; it must be above 0")
    use_machine(options.machine)
    search.optuna()  # now, not after the data was read
    before = _before(options)
    config = _base(options, before)
    split = load_split(config)
    space = _space(options, before, config, split)
    facts = {
        "settings": config.to_json(),
        "space": search.space_to_json(space),
        "data": split.fingerprint(),
        "version": __version__,
    }
    folder = options.out or (new_folder(config.dataset, config.model, BASE))
    run = Run(folder)
    with run.owned():
        if before is None:
            _create(run, facts)
        else:
            _check_same(run, before, facts)
        _search(run, config, split, space, options)


def _search(run: Run, config: TrainConfig, split: Split, space: Any, options: TuneConfig) -> None:
    found = Search(
        config, search.without_test(split), space, run.path("trials.jsonl"), options.prune
    )
    try:
        _work(found, options, run)
    except OutOfTime:
        say(f"{options.minutes:g} minutes are over; the trial at work was dropped")
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"{len(found.trials)} finished trials are kept; go on with --resume --out {run.folder}"
        ) from None
    finally:
        if found.best is not None:
            write_results(found, run)
            try:
                run.write("trials.png", lambda path: search_history(found.trials, SELECT, path))
            except Exception as error:  # whatever is wrong with a picture, the result counts
                say(f"note: no picture of the trials: {error}")
    _report(found, run, options)


def _before(options: TuneConfig) -> Record | None:
    """What tune.json of the search to go on with holds."""
    if not options.resume:
        return None
    if options.out is None:
        raise ConfigError("--resume needs the folder of the search: add --out FOLDER")
    if not (options.out / "tune.json").is_file():
        raise CheckpointError(f"{options.out} holds no search (no tune.json); leave out --resume")
    path = options.out / "tune.json"
    before = read_json(path)
    check_form(before, TUNE_FORM, path)
    try:
        from_json(before["settings"])
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}; it was changed by hand") from None
    return before


def _base(options: TuneConfig, before: Record | None) -> TrainConfig:
    """The settings that all trials share."""
    given: Record = read_json(options.config) if options.config else {}
    given = given.get("settings", given)
    from_json(given)  # before a part of it is used
    if before is not None:
        given = {**before["settings"], **given}
    dataset = options.data or given.get("dataset", "")
    if not dataset:
        raise ConfigError("give the data: a name such as bookshop, or the path of a file")
    model = options.model or given.get("model", "sasrec")
    trained = [name for name, (kind, _) in MODELS.items() if issubclass(kind, SequenceModel)]
    if model not in trained:
        raise ConfigError(
            f"--model is {model!r}, which has no settings to search; choose one of "
            f"{', '.join(trained)}"
        )
    asked = {
        "epochs": options.epochs,
        "seed": options.seed,
        "data_dir": options.data_dir and str(options.data_dir),
        "repeats": options.repeats,
        "split": options.split,
        "select": options.select,
    }
    columns = {**given.get("columns", {}), **options.columns.given()}
    config = from_json(
        {
            **given,
            **{name: value for name, value in asked.items() if value is not None},
            "columns": columns,
            "dataset": dataset,
            "model": model,
            "out": None,
            "resume": False,
            "json": False,
        },
        preset(dataset, model),
    )
    return replace(config, machine=options.machine)


def _space(
    options: TuneConfig, before: Record | None, config: TrainConfig, split: Any
) -> search.Space:
    if options.space is not None:
        return search.read_space(read_json(options.space), config)
    if before is not None:
        return search.read_space(before["space"], config)
    return search.default_space(config, split)


def _create(run: Run, facts: Record) -> None:
    if run.path("tune.json").exists():
        raise TrainingError(
            f"{run.folder} holds a search already; add --resume to go on with it, or choose "
            "another --out"
        )
    run.write_json("tune.json", facts)


def _check_same(run: Run, before: Record, facts: Record) -> None:
    """A search goes on with the same data, space and settings, or its trials do not compare."""
    if before["data"] != facts["data"]:
        raise CheckpointError(
            f"{run.folder} searched on other data than that read now; give the file it began with"
        )
    if before["space"] != facts["space"]:
        raise ConfigError(f"{run.folder} began with another space; search anew with another --out")
    for name, value in facts["settings"].items():
        if name not in FREE and before["settings"].get(name, value) != value:
            raise ConfigError(
                f"{run.folder} began with {name} {before['settings'][name]}, now it is {value}; "
                "search anew with another --out"
            )


def _work(found: Search, options: TuneConfig, run: Run) -> None:
    from tqdm import tqdm

    deadline = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    bar = tqdm(total=found.config.epochs, unit="epoch", leave=False, disable=None)

    def on_epoch(number: int, entry: Record) -> None:
        if entry["epoch"] == 1:
            bar.reset()
            bar.set_description(f"trial {number + 1}/{options.trials}")
        if SELECT in entry:
            bar.set_postfix_str(f"NDCG@10 {entry[SELECT]:.4f}", refresh=False)
        bar.update()

    with bar:
        for record in found.run(options.trials, deadline, on_epoch):
            bar.clear()
            say(_line(record, found))
            write_results(found, run)


def write_results(found: Search, run: Run) -> None:
    """best.json and trials.csv, from the finished trials."""
    if found.best is not None:
        best = with_settings(found.config, found.best["values"])
        run.write_json("best.json", best.to_json())
    fixed = ("trial", "state", SELECT, "best_epoch", "epochs", "seconds")
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*fixed, *found.space])
    for trial in found.trials:
        values = [trial["values"].get(name) for name in found.space]
        writer.writerow([*(trial[name] for name in fixed), *values])
    run.write("trials.csv", lambda path: path.write_text(buffer.getvalue(), encoding="utf-8"))


def _line(record: Record, found: Search) -> str:
    values = ", ".join(f"{name} {_short(value)}" for name, value in record["values"].items())
    result = "no validation" if record[SELECT] is None else f"NDCG@10 {record[SELECT]:.4f}"
    if record["state"] != "done":
        result += f", {record['state']}"
    best = found.best
    mark = " *" if best is not None and best["trial"] == record["trial"] else ""
    why = f": {record['error']}" if record["error"] else ""
    return (
        f"trial {record['trial']}: {result}{mark}{why}  ({values}; {record['epochs']} epochs, "
        f"{record['seconds']:.0f} s)"
    )


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _report(found: Search, run: Run, options: TuneConfig) -> None:
    best = found.best
    if best is None:
        failed = [trial["error"] for trial in found.trials if trial["error"]]
        why = f"; the last one: {failed[-1]}" if failed else ""
        raise TrainingError(
            f"no trial is finished{why}; {run.folder} can be gone on with (--resume)"
        )
    states = [trial["state"] for trial in found.trials]
    counts = {state: states.count(state) for state in ("done", "pruned", "failed")}
    if options.json:
        print_json({"out": str(run.folder), "trials": counts, "best": best})
        return
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    print(
        f"{len(states)} trials ({told}), judged by {selection(found.split, found.config)} ranking; "
        "the test part was not read\n"
    )
    first = found.trials[0]
    if first["state"] == "done" and first is not best:
        print(f"validation NDCG@10 {first[SELECT]:.4f}  with the settings as they were")
    print(f"validation NDCG@10 {best[SELECT]:.4f}  best, trial {best['trial']}:\n")
    for name, value in best["values"].items():
        print(f"  {name:12} {_short(value)}")
    show("", f"train with them: minisasrec train --config {run.path('best.json')}")


if __name__ == "__main__":
    sys.exit(run_command(main, None))
