"""The paper's tables and figures beside ours: `python -m minisasrec.reproduce TARGET`.

A target is a grid of rows; a row and a seed make a cell: one training run, selected on validation
and measured once on the test part (`minisasrec.cells`). What is computed once is kept, so two
targets share a cell that both have, and the same command given again only computes what is missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from minisasrec import paper, plots
from minisasrec.attention_maps import main_categories, mean_attention, membership
from minisasrec.cells import Cell, compute, load, make_cell
from minisasrec.cli import read_options, run_command
from minisasrec.config import DataColumns, TrainConfig, from_json, preset
from minisasrec.data import DATASETS, Split
from minisasrec.errors import CheckpointError, ConfigError, DataError, TrainingError
from minisasrec.evaluation import PROTOCOLS, usual_protocols
from minisasrec.metrics import ndcg_by_user
from minisasrec.models import MODELS, SASRec, make_model
from minisasrec.runs import Run
from minisasrec.significance import paired_bootstrap, paired_differences
from minisasrec.tables import Record, Report, record, values_of, write
from minisasrec.training import SELECT

Array = np.ndarray


@dataclass(frozen=True)
class ReproduceConfig:
    """Compute one of the paper's tables or figures and set it beside the published numbers.

    table2: statistics of the data. table3: all methods. table4: SASRec with one thing changed.
    table5: sequence length n. figure2: latent dimension d. figure3: convergence against time.
    figure4: attention maps. tuning: the comparison methods with other settings, by validation
    alone. What is computed once is kept: after Ctrl-C, give the command again.
    """

    target: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TARGET")] = ""
    """table2, table3, table4, table5, figure2, figure3, figure4 or tuning."""
    dataset: str | None = None
    """A name or file as for train; by default bookshop, and for table2 all that are at hand."""
    data_dir: Path | None = None
    """Folder that holds the data sets' files already; nothing is downloaded then."""
    columns: DataColumns = field(default_factory=DataColumns)
    """Column names of a table of your own."""
    seeds: tuple[int, ...] = (0,)
    """A run for each; with several, mean and standard deviation are shown."""
    methods: tuple[str, ...] = ()
    """Rows to compute, by name or first word, such as: sasrec caser; all by default."""
    epochs: int | None = None
    """Fewer epochs at the most, to try it out; the output says so."""
    jobs: int = 1
    """Cells at a time on this machine, each with its share of the cores (needs joblib)."""
    scheduler: str | None = None
    """Address of a Dask scheduler to send the cells to; its workers must see the same files."""
    dry_run: bool = False
    """Only list the cells and say which are done, resumable and to do."""
    finished: bool = False
    """Compute nothing: show the cells that are done, and name the ones that are missing."""
    out: Path | None = None
    """Folder for table and plot; by default reproduce/TARGET-DATASET."""
    cells: Path = Path("reproduce/cells")
    """Folder of the cells, shared by all targets; each is a run that `evaluate` can read."""


# --- the grids -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A row of a target: its settings, the paper's figures for it, its place on the x axis."""

    name: str
    config: TrainConfig
    paper: dict[str, float] = field(default_factory=dict)
    x: int = 0


METHODS = ("poprec", "bpr", "fmc", "fpmc", "transrec", "gru4rec", "gru4rec+", "caser", "sasrec")
ABLATION: dict[str, dict[str, Any]] = {  # the rows of Table IV as settings of SASRec
    "default": {},
    "no-positions": {"positions": False},
    "unshared": {"shared_embedding": False},
    "no-residual": {"residual": False},
    "no-dropout": {"dropout": 0.0},
    "0-blocks": {"blocks": 0},
    "1-block": {"blocks": 1},
    "3-blocks": {"blocks": 3},
    "2-heads": {"heads": 2},
}


FACTORS: dict[str, tuple[float, ...]] = {
    "d": (10, 20, 30, 40, 50),
    "row_l2": (0.0001, 0.001, 0.01, 0.1, 1.0),
}  # Sec. IV-C
DROPOUT: dict[str, tuple[float, ...]] = {"dropout": (0.0, 0.2, 0.5)}
GRIDS: dict[str, dict[str, tuple[float, ...]]] = {  # what is tried of each method
    **dict.fromkeys(("bpr", "fmc", "fpmc", "transrec"), FACTORS),
    **dict.fromkeys(("gru4rec", "gru4rec+", "caser"), DROPOUT),
}


def tuning(dataset: str) -> list[Row]:
    """The comparison methods as configured, and with one setting changed."""
    rows = []
    for method, grid in GRIDS.items():
        config = preset(dataset, method)
        chosen = getattr(config, MODELS[method][1] or "")
        rows.append(Row(method, config))
        rows += [
            Row(f"{method} {name}={value:g}", _changed(config, {name: value}))
            for name, values in grid.items()
            for value in values
            if value != getattr(chosen, name)
        ]
    return rows


def table3(dataset: str) -> list[Row]:
    """Every method with its chosen settings."""
    published = paper.TABLE_III.get(dataset, {})
    return [
        Row(
            m,
            preset(dataset, m),
            dict(zip(("HR@10", "NDCG@10"), published.get(m, ()), strict=False)),
        )
        for m in METHODS
    ]


def table4(dataset: str) -> list[Row]:
    """SASRec with one thing changed."""
    rows = []
    for name, settings in ABLATION.items():
        published = paper.TABLE_IV[name].get(dataset)
        figures = {} if published is None else {"NDCG@10": published}
        rows.append(Row(name, _changed(preset(dataset), settings), figures))
    return rows


def table5(dataset: str) -> list[Row]:
    """SASRec with the last n items of each history."""
    rows = []
    for n, (seconds, ndcg) in paper.TABLE_V.items():
        figures = {"NDCG@10": ndcg, "training s": seconds} if dataset == "ml-1m" else {}
        rows.append(Row(f"n={n}", _changed(preset(dataset), {"n": n}), figures, n))
    return rows


def figure2(dataset: str) -> list[Row]:
    """Every method with d latent dimensions; popularity, which has none, is one cell."""
    return [
        Row(f"{m} d={d}", _changed(preset(dataset, m), {"d": d}), x=d)
        for m in METHODS
        for d in paper.FIGURE_2
    ]


def figure3(dataset: str) -> list[Row]:
    """The methods whose speed the paper compares."""
    rows = []
    for method, (seconds, ndcg) in paper.FIGURE_3.items():
        figures = {"s/epoch": seconds, "NDCG@10": ndcg} if dataset == "ml-1m" else {}
        rows.append(Row(method, preset(dataset, method), figures))
    return rows


def figure4(dataset: str) -> list[Row]:
    """SASRec with and without positions."""
    return table4(dataset)[:2]


def _changed(config: TrainConfig, settings: dict[str, Any]) -> TrainConfig:
    section = MODELS[config.model][1]
    return from_json({section: settings}, config) if section else config


# --- from results to a report --------------------------------------------------------------------


def records(rows: Sequence[Row], results: Sequence[Sequence[Record]]) -> list[Record]:
    """The records of a grid, by protocol, then row; `results` has one per row and seed."""
    found: list[Record] = []
    for protocol in PROTOCOLS:
        for row, of_row in zip(rows, results, strict=True):
            if not of_row:
                continue
            tests = [t for r in of_row for t in r["test"] if t["protocol"] == protocol]
            if not tests:  # sampled, of a small catalogue
                continue
            values = {m: [t[m] for t in tests] for m in ("HR@10", "NDCG@10", "MRR")}
            first = not found or found[0]["group"] == protocol
            if first and of_row[0]["epochs"]:  # speed does not depend on the protocol
                values |= {key: [r[key] for r in of_row] for key in ("epochs", "threads")}
                values["training s"] = [r["training_seconds"] for r in of_row]
                values["s/epoch"] = [r["training_seconds"] / r["epochs"] for r in of_row]
            for metric, ours in values.items():
                published = row.paper.get(metric) if protocol != "full" else None
                found.append(record(row.name, protocol, metric, ours, published))
    return found


def validation_records(rows: Sequence[Row], results: Sequence[Sequence[Record]]) -> list[Record]:
    """The same of cells whose test part is not read: the best validation and its epoch."""
    metrics = {
        "NDCG@10": f"best_validation_{SELECT}",
        "best epoch": "best_epoch",
        "epochs": "epochs",
        "training s": "training_seconds",
    }
    return [
        record(row.name, "valid", metric, [r[key] for r in of_row], None)
        for row, of_row in zip(rows, results, strict=True)
        if of_row
        for metric, key in metrics.items()
    ]


# --- what is drawn, and what a target has to say beside its table ---------------------------------


def _bars(report: Report, metric: str = "NDCG@10") -> None:
    ours = values_of(report.records, metric, "ours")
    papers = values_of(report.records, metric, "paper")
    series = {"paper": list(papers.values()), "ours": list(ours.values())}
    title = f"{report.title}: {metric}, {report.records[0]['group']}"
    report.figure = plots.bars(list(ours), series, title)


def draw_bars(report: Report, split: Split, rows: list[Row], cells: list[list[Cell]]) -> None:
    """Paper and ours, a group of bars for each row."""
    _bars(report)


def draw_table3(report: Report, split: Split, rows: list[Row], cells: list[list[Cell]]) -> None:
    """Bars, and whether SASRec differs from the best comparison method by more than chance."""
    _bars(report)
    ndcg = values_of(report.records, "NDCG@10", "ours")
    others = [name for name in ndcg if name != "sasrec"]
    if "sasrec" not in ndcg or not others:
        return
    best = max(others, key=lambda name: ndcg[name])
    folders = {
        (row.name, cell.config.seed): cell.folder
        for row, of_row in zip(rows, cells, strict=True)
        for cell in of_row
    }
    seeds = dict.fromkeys(seed for _, seed in folders)
    both = [seed for seed in seeds if {("sasrec", seed), (best, seed)} <= folders.keys()]

    def ranks(name: str, seed: int) -> dict[str, Array]:
        return Run(folders[name, seed]).load_arrays("ranks.safetensors")[0]

    try:
        pairs = [(ranks("sasrec", seed), ranks(best, seed)) for seed in both]
    except CheckpointError as error:
        report.notes.append(f"no test of significance: {error}")
        return
    of_seeds = f"seed{'s' * (len(both) > 1)} {', '.join(map(str, both))}"
    hit: Callable[[Array], Array] = lambda found: found <= 10  # noqa: E731
    for metric, gain in (("HR@10", hit), ("NDCG@10", ndcg_by_user)):
        for protocol in usual_protocols(split) if pairs else ():
            said = paired_bootstrap(paired_differences(pairs, protocol, gain))
            report.notes.append(
                f"sasrec minus {best}, the best other, {of_seeds}: {metric}, {protocol}: {said}"
            )


def draw_tuning(report: Report, split: Split, rows: list[Row], cells: list[list[Cell]]) -> None:
    """Bars, and which setting of each method validated best."""
    _bars(report)
    ndcg = values_of(report.records, "NDCG@10", "ours")
    for method in dict.fromkeys(row.config.model for row in rows):
        tried = [row for row in rows if row.config.model == method and row.name in ndcg]
        if method not in ndcg:
            continue
        best = max(tried, key=lambda row: ndcg[row.name])
        section = getattr(best.config, MODELS[method][1] or "")
        has = ", ".join(f"{name} {getattr(section, name):g}" for name in GRIDS[method])
        said = "as configured" if best.name == method else f"{method} as configured"
        said += f" {ndcg[method]:.4f}" if best.name != method else ""
        report.notes.append(f"{method}: {has} validates best, {ndcg[best.name]:.4f}; {said}")


def draw_table5(report: Report, split: Split, rows: list[Row], cells: list[list[Cell]]) -> None:
    """NDCG@10 and training time over n."""
    x = {row.name: row.x for row in rows}
    panels = {}
    for metric in ("NDCG@10", "training s"):
        panels[metric] = {
            key: ([x[name] for name in values], list(values.values()))
            for key in ("paper", "ours")
            if (values := values_of(report.records, metric, key))
        }
    report.figure = plots.lines(panels, "n", report.title)


def draw_figure2(report: Report, split: Split, rows: list[Row], cells: list[list[Cell]]) -> None:
    """NDCG@10 over d, a line for each method."""
    ndcg = values_of(report.records, "NDCG@10", "ours")
    named: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        if row.name in ndcg:
            xs, ys = named.setdefault(row.config.model, ([], []))
            xs.append(row.x)
            ys.append(ndcg[row.name])
    report.figure = plots.lines({"NDCG@10": named}, "d", report.title)


def draw_figure3(report: Report, split: Split, rows: list[Row], cells: list[list[Cell]]) -> None:
    """Validation NDCG@10 over the seconds spent in training, first seed."""
    named, points = {}, []
    for row, of_row in zip(rows, cells, strict=True):
        for cell in of_row[:1]:
            history = Run(cell.folder).history()
            seconds = np.cumsum([entry["seconds"] for entry in history]).tolist()
            curve = [(s, e["NDCG@10"]) for s, e in zip(seconds, history, strict=True)
                     if "NDCG@10" in e]  # fmt: skip
            named[row.name] = ([s for s, _ in curve], [v for _, v in curve])
            points += [{"row": row.name, "seconds": s, "validation NDCG@10": v} for s, v in curve]
    report.figure = plots.lines({"validation NDCG@10": named}, "training seconds", report.title)
    report.tables["curves.csv"] = points


def draw_figure4(report: Report, split: Split, rows: list[Row], cells: list[list[Cell]]) -> None:
    """Mean attention among the last positions by block, and between items of four categories."""
    users = split.eval_users("test")
    histories = [split.history(int(u), "test") for u in users[:: max(1, len(users) // 2000)]]
    categories = split.dataset.categories or [()] * (split.dataset.num_items + 1)
    names = main_categories(categories, paper.FIGURE_4_CATEGORIES)
    pictures: dict[str, tuple[Array, Sequence[str]]] = {}
    positions: list[Record] = []
    pairs: list[Record] = []
    for row, of_row in zip(rows, cells, strict=True):
        for cell in of_row[:1]:
            model = make_model(cell.config, split)
            assert isinstance(model, SASRec)
            model.load_state(Run(cell.folder).load_arrays("best.safetensors")[0])
            size = min(paper.FIGURE_4_POSITIONS, model.n, max(map(len, histories)))
            maps, between = mean_attention(model, histories, size, membership(categories, names))
            long = sum(len(items) >= size for items in histories)
            report.notes.append(
                f"{row.name}: {len(histories):,} users, {long:,} with the {size} items that "
                "a map of positions needs"
            )
            for b, mean in enumerate(maps, start=1):
                past = np.tri(size, dtype=bool)
                pictures[f"{row.name}, block {b}"] = np.where(past, mean, np.nan), ()
                report.notes.append(
                    f"{row.name}, block {b}: the last position gives {mean[-1, -3:].sum():.3f} of "
                    "its weight to the last 3 items"
                )
                at = [(q, k) for q in range(size) for k in range(q + 1)]
                positions += [
                    {
                        "row": row.name,
                        "block": b,
                        "position": q,
                        "looks at": k,
                        "weight": mean[q, k],
                    }
                    for q, k in at
                ]
            if names:
                pictures[f"{row.name}, block 1, categories"] = between, names
                same = np.eye(len(names), dtype=bool)
                report.notes.append(
                    f"{row.name}, block 1: items look at earlier ones of their own category "
                    f"{np.nanmean(between[same]):.2f} times as much as if attention were uniform, "
                    f"at those of the others {np.nanmean(between[~same]):.2f} times"
                )
                pairs += [
                    {"row": row.name, "item": a, "looks at": b, "times uniform": between[i, j]}
                    for i, a in enumerate(names)
                    for j, b in enumerate(names)
                ]
    report.tables |= {"positions.csv": positions, "categories.csv": pairs}
    report.figure = plots.heat_maps(pictures, columns=3, title=report.title)


@dataclass(frozen=True)
class Target:
    """A table or figure: its rows, the metrics that are printed (the CSV has all), its plot."""

    title: str
    rows: Callable[[str], list[Row]]
    metrics: tuple[str, ...]
    draw: Callable[[Report, Split, list[Row], list[list[Cell]]], None]
    test: bool = True  # False: nothing but the validation part is read


SPEED = ("epochs", "threads")
TRIED = ("NDCG@10", "best epoch", "epochs", "training s")
TARGETS = {
    "table3": Target("Table III: all methods", table3, ("HR@10", "NDCG@10"), draw_table3),
    "table4": Target("Table IV: ablation", table4, ("NDCG@10",), draw_bars),
    "table5": Target("Table V: length n", table5, ("NDCG@10", "training s", *SPEED), draw_table5),
    "figure2": Target("Figure 2: latent dimension d", figure2, ("NDCG@10",), draw_figure2),
    "figure3": Target("Figure 3: speed", figure3, ("NDCG@10", "s/epoch", *SPEED), draw_figure3),
    "figure4": Target("Figure 4: attention maps", figure4, ("NDCG@10",), draw_figure4),
    "tuning": Target("Settings, on validation", tuning, TRIED, draw_tuning, test=False),
}


# --- the command ---------------------------------------------------------------------------------


def report_table2(dataset: str | None, data_dir: Path | None) -> Report:
    """Table II: statistics of one data set, or of all that can be had without a download."""
    report = Report("Table II: statistics of the data", [], [])
    for name in [dataset] if dataset else list(DATASETS):
        try:
            split, notes = load(name, data_dir, download=dataset is not None)
        except DataError as error:
            if dataset:
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
            published = paper.TABLE_II.get(name, {}) if is_papers else {}
            report.records += [
                record(data.name, group, metric, [value], published.get(metric))
                for metric, value in zip(paper.TABLE_II["ml-1m"], ours, strict=True)
            ]
    _bars(report, "actions/user")
    return report


def report_grid(options: ReproduceConfig, out: Path) -> Report | None:
    """Any other target; None after a dry run. What cannot be written is found before the work."""
    target, dataset = TARGETS[options.target], options.dataset or "bookshop"
    split, notes = load(dataset, options.data_dir, options.columns)
    rows = target.rows(dataset)
    if options.methods:
        rows = [row for row in rows if {row.name, row.name.split()[0]} & {*options.methods}]
    known = {word for row in target.rows(dataset) for word in (row.name, row.name.split()[0])}
    if unknown := [name for name in options.methods if name not in known]:
        rows_text = ", ".join(dict.fromkeys(row.name.split()[0] for row in target.rows(dataset)))
        raise ConfigError(
            f"--methods: {options.target} has no row {unknown[0]!r}; it has {rows_text}"
        )
    fingerprint = split.dataset.fingerprint()
    seeds = dict.fromkeys(options.seeds)
    grid = [[make_cell(_settled(row.config, seed, options), fingerprint, options.cells, row.name,
                       target.test) for seed in seeds] for row in rows]  # fmt: skip
    if options.dry_run:
        for row, of_row in zip(rows, grid, strict=True):
            for cell in of_row:
                print(f"{cell.state():10} {row.name}, seed {cell.config.seed}: {cell.folder}")
        return None
    _make_folder(out)
    _make_folder(options.cells)
    missing: list[Cell] = []
    if options.finished:
        missing = [c for of_row in grid for c in of_row if c.state() != "done"]
        grid = [[c for c in of_row if c.state() == "done"] for of_row in grid]
    done = compute([c for of_row in grid for c in of_row], options.jobs, options.scheduler)
    good = [[c for c in of_row if "error" not in done[c.folder]] for of_row in grid]
    of_rows = [[done[c.folder] for c in of_row] for of_row in good]
    found = records(rows, of_rows) if target.test else validation_records(rows, of_rows)
    report = Report(f"{target.title}, on {split.dataset.name}", found, list(notes))
    if options.epochs is not None and any(options.epochs < row.config.epochs for row in rows):
        report.notes.append(f"shortened, --epochs {options.epochs}: these are no results to quote")
    if target.test and dataset not in paper.DATASETS:
        report.notes.append(f"the paper has no figures for {split.dataset.name}")
    oracle: Any = split.dataset.oracle
    if target.test and oracle is not None:
        best = oracle.best_reachable("test", "sampled")
        told = ", ".join(f"{metric} {best[metric]:.4f}" for metric in ("HR@10", "NDCG@10"))
        report.notes.append(f"nobody can do better on {split.dataset.name}, sampled, than {told}")
    if missing:
        by_name: dict[str, list[str]] = {}
        for cell in missing:
            by_name.setdefault(cell.name, []).append(str(cell.config.seed))
        names = ", ".join(f"{name} (seed {', '.join(of_row)})" for name, of_row in by_name.items())
        report.notes.append(f"not computed yet: {names}")
    report.failed = [f"{f.name}: {r['error']}" for f, r in done.items() if "error" in r]
    if found:
        target.draw(report, split, rows, good)
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
        seed=seed,
        epochs=epochs,
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Compute what is missing, print the table, write the files."""
    options = read_options(ReproduceConfig, "reproduce", argv)
    if options.target != "table2" and options.target not in TARGETS:
        known = ", ".join(["table2", *TARGETS])
        raise ConfigError(f"there is no target {options.target!r}; choose one of {known}")
    if options.jobs < 1 or not options.seeds:
        raise ConfigError("--jobs must be at least 1, and --seeds name one seed or more")
    of_what = Path(options.dataset or ("all" if options.target == "table2" else "bookshop")).stem
    out = options.out or Path("reproduce") / f"{options.target}-{of_what}"
    if options.target == "table2":
        report: Report | None = report_table2(options.dataset, options.data_dir)
        metrics: tuple[str, ...] = tuple(paper.TABLE_II["ml-1m"])
        _make_folder(out)
    else:
        report, metrics = report_grid(options, out), TARGETS[options.target].metrics
    if report is None:
        return
    if report.records:
        print(write(report, metrics, out))
        print(f"table, CSV and plot: {out}")
    else:
        print("\n".join(f"- {note}" for note in report.notes + report.failed))
        print("no cell is done, so there is no table")
    if report.failed:
        raise TrainingError(f"cells that failed: {len(report.failed)}; they are listed above")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"cannot write {folder}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(run_command(main, None))
