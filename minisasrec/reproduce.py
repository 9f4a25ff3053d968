"""The paper's tables and figures beside ours: `python -m minisasrec.reproduce TARGET`.

A target is a grid of rows. A row and a seed make an experiment: one training run, selected on
validation and measured once on the test part (`experiments.experiment`). What is computed once is
kept. So two targets share an experiment that both have, and the same command, given again, computes
only what is missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from minisasrec.commands.cli import print_json, read_options, run_command
from minisasrec.data import DATASETS
from minisasrec.data.options import ReadingOptions
from minisasrec.data.registry import has_published_counts
from minisasrec.data.split import LEAVE_ONE_OUT, spelled_once
from minisasrec.errors import CheckpointError, ConfigError, DataError, TrainingError
from minisasrec.experiments import paper
from minisasrec.experiments.experiment import (
    Experiment,
    compute,
    load,
    made_by_whom,
    make_experiment,
)
from minisasrec.experiments.final_rows import knows_best, users_drawn
from minisasrec.experiments.grids import Row
from minisasrec.experiments.tables import Report, record, write
from minisasrec.experiments.targets import (
    TARGETS,
    draw_metric,
    protocols_of,
    records,
    validation_records,
)
from minisasrec.learn.config import TrainConfig, is_chosen, unchosen
from minisasrec.learn.machine import MachineOptions, use_machine
from minisasrec.models.ranges import LARGEST
from minisasrec.terminal import show


@dataclass(frozen=True)
class ReproduceConfig:
    """Compute one of the paper's tables or figures and set it beside the published numbers.

    table2: statistics of the data. table3: all methods. table4: SASRec with one thing changed.
    table5: sequence length n. figure2: latent dimension d. figure3: convergence against time.
    figure4: attention maps. tuning: the comparison methods with other settings, by validation
    alone. grid: four networks with four losses each; grid-tuning: one setting of each of them, by
    validation alone. What is computed once is kept: after Ctrl-C, give the command again.
    """

    target: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")] = ""
    """table2, table3, table4, table5, figure2, figure3, figure4, tuning, grid or grid-tuning."""
    dataset: str | None = None
    """A name or file as for train; by default bookshop, and for table2 all that are at hand."""
    data_dir: Path | None = None
    """Folder that holds the data sets' files already; nothing is downloaded then."""
    columns: ReadingOptions = field(default_factory=ReadingOptions)
    """Column names of a table of your own."""
    repeats: Literal["auto", "allow", "forbid"] = "auto"
    """Whether items that a user has met may come again; auto goes by the data, as in train."""
    split: str = LEAVE_ONE_OUT
    """leave-one-out, as in the paper, or by time, such as time:0.9, as for train. The paper's
    figures are of leave-one-out, so they are not shown beside another."""
    select: Literal["sampled", "full"] = "sampled"
    """Which ranking of the validation items chooses each epoch; the table shows that ranking of the
    test items. sampled: against 100 items, as in the paper. full: against all."""
    seeds: tuple[int, ...] = (0,)
    """One run for each; with several, mean and standard deviation are shown."""
    methods: tuple[str, ...] = ()
    """Rows to compute, by name or its first word, such as: sasrec caser. By default all."""
    epochs: int | None = None
    """At most so many epochs, to try things out; the output says so."""
    jobs: int = 1
    """Experiments at a time on this machine, each with its share of the cores (needs joblib)."""
    scheduler: str | None = None
    """Address of a Dask scheduler to compute them; its workers must see the same files."""
    dry_run: bool = False
    """Only list the experiments and say which are done, resumable and to do."""
    finished: bool = False
    """Compute nothing: show the experiments that are done, and name the ones that are missing."""
    out: Path | None = None
    """Folder for table and plot; by default reproduce/TARGET-DATASET, with -full or the split at
    the end where these are not the usual ones."""
    experiments: Path = Path("reproduce/experiments")
    """Folder of the experiments, shared by all targets; each is a run that `evaluate` can read."""
    machine: MachineOptions = field(default_factory=MachineOptions)
    """Threads and backend."""
    json: bool = False
    """Print one JSON object instead of a table; with --dry-run, an array of experiments."""


def report_table2(options: ReproduceConfig) -> Report:
    """Table II: statistics of one data set, or of all that can be had without a download."""
    report = Report("Table II: statistics of the data", [], [])
    how = options.columns, options.repeats, options.split
    for name in [options.dataset] if options.dataset else list(DATASETS):
        try:
            split, notes = load(name, options.data_dir, *how, download=options.dataset is not None)
        except DataError as error:
            if options.dataset:
                raise
            report.notes.append(f"left out: {error}")
            continue
        data = split.dataset
        report.notes += notes
        for group, actions in (("all", data.num_actions), ("train", split.num_train_actions)):
            sizes = (data.num_users, data.num_items)
            ours = (*sizes, *(actions / size for size in sizes), actions / 1e6)
            # the paper's row of ML-1M counts the train part, the others count everything
            is_papers = group == ("train" if name == "ml-1m" else "all")
            is_papers &= group == "all" or split.rule == LEAVE_ONE_OUT
            published = paper.TABLE_II.get(name, {}) if is_papers else {}
            report.records += [
                record(data.name, group, metric, [value], published.get(metric))
                for metric, value in zip(paper.TABLE_II["ml-1m"], ours, strict=True)
            ]
    draw_metric(report, "actions/user")
    return report


def report_grid(options: ReproduceConfig, out: Path) -> Report | None:
    """Any other target; None after a dry run. Folders are made first, so that errors come early."""
    target, dataset = TARGETS[options.target], options.dataset or "bookshop"
    split, notes = load(dataset, options.data_dir, options.columns, options.repeats, options.split)
    rows = target.rows(dataset)
    is_papers = dataset in paper.DATASETS and has_published_counts(split.dataset)
    if split.rule != LEAVE_ONE_OUT or not is_papers:
        rows = [replace(row, paper={}) for row in rows]
    if options.methods:
        rows = [row for row in rows if {row.name, row.name.split()[0]} & {*options.methods}]
    known = {word for row in target.rows(dataset) for word in (row.name, row.name.split()[0])}
    if unknown := [name for name in options.methods if name not in known]:
        rows_text = ", ".join(dict.fromkeys(row.name.split()[0] for row in target.rows(dataset)))
        raise ConfigError(
            f"--methods: {options.target} has no row {unknown[0]!r}; it has {rows_text}"
        )
    fingerprint = split.fingerprint()
    seeds = dict.fromkeys(options.seeds)

    def experiment_of(row: Row, seed: int) -> Experiment:
        return make_experiment(
            _settled(row.config, seed, options),
            fingerprint,
            options.experiments,
            row.name,
            target.test,
            split.repeats,
        )

    grid = [[experiment_of(row, seed) for seed in seeds] for row in rows]
    if options.dry_run:
        planned = [
            {"state": c.state(), "row": row.name, "seed": c.config.seed, "folder": str(c.folder)}
            for row, of_row in zip(rows, grid, strict=True)
            for c in of_row
        ]
        if options.json:
            print_json(planned)
        else:
            lines = ("{state:10} {row}, seed {seed}: {folder}".format(**one) for one in planned)
            show(*lines)
        return None
    _make_folder(out)
    if not options.finished:
        _make_folder(options.experiments)
    missing: list[Experiment] = []
    if options.finished:
        missing = [c for of_row in grid for c in of_row if c.state() != "done"]
        grid = [[c for c in of_row if c.state() == "done"] for of_row in grid]
    done = compute([c for of_row in grid for c in of_row], options.jobs, options.scheduler)
    good = [[c for c in of_row if "error" not in done[c.folder]] for of_row in grid]
    of_rows = [[done[c.folder] for c in of_row] for of_row in good]
    protocols = protocols_of(split, options.select, target.both)
    of_test = target.test
    found = records(rows, of_rows, protocols) if of_test else validation_records(rows, of_rows)
    report = Report(f"{target.title}, on {split.dataset.name}", found, list(notes))
    report.notes.append(f"epochs chosen on the validation part, by {protocols[0]} ranking")
    if whose := users_drawn(split, "test" if of_test else "valid", rows[0].config.max_users):
        report.notes.append(f"ranked: {whose}")
    of_models: dict[str, list[TrainConfig]] = {}
    for row in rows:
        of_models.setdefault(row.config.model, []).append(row.config)
    report.notes += [
        unchosen(*configs) for model, configs in of_models.items() if not is_chosen(dataset, model)
    ]
    if options.epochs is not None and any(options.epochs < row.config.epochs for row in rows):
        report.notes.append(f"shortened, --epochs {options.epochs}: these are no results to quote")
    if target.test and dataset not in paper.DATASETS:
        report.notes.append(f"the paper has no figures for {split.dataset.name}")
    elif target.test and not is_papers:
        report.notes.append(f"this is not the paper's {dataset}, so its figures are not shown")
    elif target.test and split.rule != LEAVE_ONE_OUT:
        report.notes.append(f"the paper has no figures for a split by {split.rule}")
    oracle: Any = split.dataset.oracle
    if target.test and oracle is not None and knows_best(split, protocols[0]):
        best = oracle.best_reachable("test", protocols[0])
        told = ", ".join(f"{metric} {best[metric]:.4f}" for metric in ("HR@10", "NDCG@10"))
        where = f"{split.dataset.name}, {protocols[0]}"
        report.notes.append(f"nobody can do better on {where} than {told}")
    if made := made_by_whom([c for of_row in good for c in of_row]):
        report.notes.append(f"made: {made}")
    if missing:
        by_name: dict[str, list[str]] = {}
        for experiment in missing:
            by_name.setdefault(experiment.name, []).append(str(experiment.config.seed))
        names = ", ".join(f"{name} (seed {', '.join(of_row)})" for name, of_row in by_name.items())
        report.notes.append(f"not computed yet: {names}")
    report.failed = [f"{f.name}: {r['error']}" for f, r in done.items() if "error" in r]
    if found:
        try:
            target.draw(report, split, rows, good, protocols)
        except CheckpointError as error:  # the table counts
            report.failed.append(f"no plot: {error}")
    return report


def _settled(config: TrainConfig, seed: int, options: ReproduceConfig) -> TrainConfig:
    """A row's settings for one seed, with paths that mean the same everywhere."""
    dataset = os.path.abspath(config.dataset) if os.path.exists(config.dataset) else config.dataset
    if config.dataset in DATASETS:
        dataset = config.dataset
    data_dir = options.data_dir and options.data_dir.expanduser().resolve()
    epochs = config.epochs if options.epochs is None else min(options.epochs, config.epochs)
    return replace(
        config,
        dataset=dataset,
        data_dir=data_dir,
        columns=options.columns,
        repeats=options.repeats,
        split=options.split,
        select=options.select,
        machine=options.machine,
        seed=seed,
        epochs=epochs,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Compute what is missing, print the table, write the files."""
    options = read_options(ReproduceConfig, "reproduce", argv)
    use_machine(options.machine)
    options = replace(options, split=spelled_once(options.split))  # it names experiments
    if options.target != "table2" and options.target not in TARGETS:
        known = ", ".join(["table2", *TARGETS])
        wrong = f"there is no target {options.target!r}" if options.target else "name a target"
        raise ConfigError(f"{wrong}; choose one of {known}")
    if options.jobs < 1:
        raise ConfigError(f"--jobs is {options.jobs}; it must be at least 1")
    if not options.seeds:
        raise ConfigError("--seeds is empty; give one seed or more, such as --seeds 0 1 2")
    for seed in options.seeds:
        if not 0 <= seed <= LARGEST["seed"]:
            raise ConfigError(f"--seeds has {seed}; a seed is from 0 to {LARGEST['seed']:,}")
    if options.target == "table2" and options.dry_run:
        if options.json:
            print_json([])
        else:
            print("table2 counts what is in the data; it has no experiments")
        return
    of_what = Path(options.dataset or ("all" if options.target == "table2" else "bookshop")).stem
    out = options.out or Path("reproduce") / "-".join([options.target, of_what, *_unusual(options)])
    if options.target == "table2":
        report: Report | None = report_table2(options)
        metrics: tuple[str, ...] = tuple(paper.TABLE_II["ml-1m"])
        _make_folder(out)
    else:
        report, metrics = report_grid(options, out), TARGETS[options.target].metrics
    if report is None:
        return
    text = write(report, metrics, out) if report.records else ""
    if options.json:
        parts = ("title", "records", "differences", "tables", "notes", "failed")
        print_json({"out": str(out), **{part: getattr(report, part) for part in parts}})
    elif text:
        show(*text.split("\n"))
        show(f"table, CSV and plot: {out}")
    else:
        show(*(f"- {note}" for note in report.notes + report.failed))
        print("no experiment is done, so there is no table")
    if report.failed:
        raise TrainingError(f"experiments that failed: {len(report.failed)}; they are listed above")


def _unusual(options: ReproduceConfig) -> list[str]:
    """What of the rules of measuring is not the default, for the name of a table's folder."""
    select = [options.select] * (options.select != ReproduceConfig.select)
    return select + [options.split.replace(":", "-")] * (options.split != LEAVE_ONE_OUT)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise TrainingError(f"cannot write {folder}: it is a file; name a folder") from None
    except OSError as error:
        raise TrainingError(f"cannot write {folder}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(run_command(main, None))
