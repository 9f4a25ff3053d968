"""From results to a report: the records of a table, its plot, and the notes beside it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np

from minisasrec import plots
from minisasrec.data.split import Split
from minisasrec.errors import CheckpointError
from minisasrec.experiments import grids, paper
from minisasrec.experiments.attention_maps import main_categories, mean_attention, membership
from minisasrec.experiments.experiment import Experiment, reading_experiment
from minisasrec.experiments.grids import GRIDS, KNOBS, Row
from minisasrec.experiments.significance import paired_bootstrap, paired_differences
from minisasrec.experiments.tables import Record, Report, record, values_of
from minisasrec.learn import metrics
from minisasrec.learn.config import make_model
from minisasrec.learn.evaluation import Protocol, usual_protocols
from minisasrec.learn.fit import SELECT
from minisasrec.learn.runs import RANKS, WEIGHTS, Run
from minisasrec.models import MODELS, SASRec
from minisasrec.terminal import say

Array = np.ndarray
MOST_MAPS = 20_000  # sequences whose attention is averaged; more take minutes and show the same


def protocols_of(split: Split, select: str, both: bool = False) -> tuple[Protocol, ...]:
    """The rankings of the test items that a table shows: of the kind that chose the epochs.

    The authors' protocol samples, so it goes with sampled; and with full where that takes the place
    of sampled, because a catalogue is too small. With `both`, full and sampled are shown, first the
    one that chose.
    """
    usual = usual_protocols(split)[0]
    if usual == "full":
        return ("full", "authors")
    if both:
        return ("full", "sampled") if select == "full" else ("sampled", "full")
    return ("full",) if select == "full" else ("sampled", "authors")


def records(
    rows: Sequence[Row],
    results: Sequence[Sequence[Record]],
    protocols: Sequence[Protocol],
) -> list[Record]:
    """The records of a grid, by protocol, then row; `results` has one per row and seed."""
    found: list[Record] = []
    for protocol in protocols:
        for row, of_row in zip(rows, results, strict=True):
            if not of_row:
                continue
            tests = [t for r in of_row for t in r["test"] if t["protocol"] == protocol]
            if not tests:  # sampled, of a small catalogue
                continue
            values = {m: [t[m] for t in tests] for m in metrics.labels() if m in tests[0]}
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
    """The records where the test part is not read: the best validation and its epoch."""
    columns = {
        "NDCG@10": f"best_validation_{SELECT}",
        "best epoch": "best_epoch",
        "epochs": "epochs",
        "training s": "training_seconds",
    }
    return [
        record(row.name, "valid", metric, [r[key] for r in of_row], None)
        for row, of_row in zip(rows, results, strict=True)
        if of_row
        for metric, key in columns.items()
    ]


# --- plots and notes of each target --------------------------------------------------------------


def draw_metric(report: Report, metric: str = "NDCG@10") -> None:
    """Paper and ours for one metric, a group of bars for each row, ours with its spread."""
    shown = {
        key: list(values_of(report.records, metric, key).values())
        for key in ("paper", "ours", "spread")
    }
    rows = list(values_of(report.records, metric, "ours"))
    spread = {"paper": [np.nan] * len(rows), "ours": shown.pop("spread")}
    report.figure = plots.bars(rows, shown, _title(report, metric, spread["ours"]), spread=spread)


def _title(report: Report, metric: str, spread: Iterable[float]) -> str:
    """Of a picture of bars; it says what the lines at their ends are, if there are any."""
    title = f"{report.title}: {metric}, {report.records[0]['group']}"
    lines = "\nmean over seeds, lines: +- their standard deviation"
    return title if np.isnan([*spread]).all() else title + lines


def draw_bars(
    report: Report,
    split: Split,
    rows: list[Row],
    experiments: list[list[Experiment]],
    protocols: Sequence[Protocol],
) -> None:
    """Paper and ours, a group of bars for each row."""
    draw_metric(report)


def draw_table3(
    report: Report,
    split: Split,
    rows: list[Row],
    experiments: list[list[Experiment]],
    protocols: Sequence[Protocol],
) -> None:
    """Bars, and whether SASRec differs from the best comparison method by more than chance."""
    draw_metric(report)
    ndcg = values_of(report.records, "NDCG@10", "ours")
    others = [name for name in ndcg if name != "sasrec"]
    if "sasrec" not in ndcg or not others:
        return
    best = max(others, key=lambda name: ndcg[name])
    ranks = Ranks(rows, experiments)
    ranks.compared("sasrec", best, protocols, report)


class Ranks:
    """The ranks of the test items that the experiments of some rows keep."""

    def __init__(self, rows: list[Row], experiments: list[list[Experiment]]) -> None:
        self.folders = {
            (row.name, experiment.config.seed): experiment.folder
            for row, of_row in zip(rows, experiments, strict=True)
            for experiment in of_row
        }

    def compared(
        self,
        one: str,
        other: str,
        protocols: Sequence[Protocol],
        report: Report,
        by: Sequence[metrics.Metric] = (metrics.HitRate(), metrics.NDCG()),
    ) -> None:
        """Add to the differences of `report` how two rows differ, by each metric and protocol."""
        seeds = dict.fromkeys(seed for _, seed in self.folders)
        both = [seed for seed in seeds if {(one, seed), (other, seed)} <= self.folders.keys()]
        try:
            pairs = [(self._load(one, seed), self._load(other, seed)) for seed in both]
        except CheckpointError as error:
            report.notes.append(f"no test of significance: {error}")
            return
        of = {"one": one, "other": other, "seeds": ", ".join(map(str, both))}
        for metric in by:
            gain = partial(_by_user, metric)
            for protocol in protocols if pairs else ():
                differences = paired_differences(pairs, protocol, gain)
                if len(differences) < 2:
                    report.notes.append("no test of significance: both ranked fewer than two users")
                    return
                found = paired_bootstrap(differences)
                what = {"metric": metric.label, "protocol": protocol}
                report.differences.append({**of, **what, **asdict(found)})

    def _load(self, name: str, seed: int) -> dict[str, Array]:
        folder = self.folders[name, seed]
        with reading_experiment(folder):
            return Run(folder).load_arrays(RANKS)[0]


def _by_user(metric: metrics.Metric, ranks: Array) -> Array:
    return metric.by_user(metrics.Ranking(ranks))


def draw_tuning(
    report: Report,
    split: Split,
    rows: list[Row],
    experiments: list[list[Experiment]],
    protocols: Sequence[Protocol],
) -> None:
    """Bars, and which setting of each method validated best."""
    draw_metric(report)
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


def draw_grid(
    report: Report,
    split: Split,
    rows: list[Row],
    experiments: list[list[Experiment]],
    protocols: Sequence[Protocol],
) -> None:
    """A bar for each loss of each network, with the spread over seeds; what differs from SASRec's.

    The notes say how far apart the losses of one network are, and the networks of one loss. The
    differences compare each network with SASRec under the same loss: what networks alone make.
    """
    ndcg = values_of(report.records, "NDCG@10", "ours")
    spread = values_of(report.records, "NDCG@10", "spread")
    networks = list(dict.fromkeys(row.split()[0] for row in ndcg))
    by_loss, error = (
        {loss: [found.get(f"{network} {loss}", np.nan) for network in networks]
         for loss in grids.LOSSES}
        for found in (ndcg, spread)
    )  # fmt: skip
    title = _title(report, "NDCG@10", spread.values())
    report.figure = plots.bars(networks, by_loss, title, spread=error)
    dataset = rows[0].config.dataset
    if left := [row.name for row in rows if row.name not in grids.chosen_values(dataset)]:
        of_cells = "all cells" if len(left) == len(rows) else ", ".join(left)
        report.notes.append(
            f"nobody has chosen the settings of {of_cells} for {split.dataset.name}: each has the "
            "middle one of three values; grid-tuning compares them on the validation part"
        )
    for protocol in protocols:
        shown = [r for r in report.records if (r["group"], r["metric"]) == (protocol, "NDCG@10")]
        found = {r["row"]: r["ours"] for r in shown}
        cells = np.array(
            [[found.get(f"{n} {loss}", np.nan) for loss in grids.LOSSES] for n in grids.NETWORKS]
        )
        if not np.isnan(cells).any():
            report.notes.append(
                f"NDCG@10, {protocol}: from the best loss to the worst of a network "
                f"{np.ptp(cells, axis=1).mean():.4f} (mean over networks), from the best network "
                f"to the worst with a loss {np.ptp(cells, axis=0).mean():.4f} (mean over losses)"
            )
    ranks = Ranks(rows, experiments)
    for loss in grids.LOSSES:
        for network in list(grids.NETWORKS)[1:]:
            pair = f"sasrec {loss}", f"{network} {loss}"
            ranks.compared(*pair, protocols, report, by=[metrics.NDCG()])


def draw_grid_tuning(
    report: Report,
    split: Split,
    rows: list[Row],
    experiments: list[list[Experiment]],
    protocols: Sequence[Protocol],
) -> None:
    """Lines, and the value of each cell that validates best, also as presets/DATASET/grid.json."""
    ndcg = values_of(report.records, "NDCG@10", "ours")
    best: dict[str, tuple[float, float]] = {}
    panels: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for row in rows:
        network, loss, _ = row.name.split()
        value = getattr(getattr(row.config, MODELS[row.config.model][1] or ""), KNOBS[network][0])
        if row.name in ndcg:
            found = (ndcg[row.name], value)
            best[f"{network} {loss}"] = max(best.get(f"{network} {loss}", (-1.0, 0.0)), found)
            line = panels.setdefault(f"{network}: NDCG@10", {}).setdefault(loss, ([], []))
            line[0].append(value)
            line[1].append(ndcg[row.name])
    knobs = "dropout, of fmc row_l2" if len(panels) > 1 else KNOBS[rows[0].name.split()[0]][0]
    report.figure = plots.lines(panels, knobs, report.title)
    report.tables["chosen.csv"] = [
        {"cell": name, "value": value, "validation NDCG@10": top}
        for name, (top, value) in best.items()
    ]
    chosen = {name: value for name, (_, value) in best.items()}
    report.texts["grid.json"] = json.dumps(chosen, indent=2) + "\n"
    for name, value in chosen.items():
        knob = KNOBS[name.split()[0]][0]
        report.notes.append(f"{name}: {knob} {value:g} validates best")


def draw_table5(
    report: Report,
    split: Split,
    rows: list[Row],
    experiments: list[list[Experiment]],
    protocols: Sequence[Protocol],
) -> None:
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


def draw_figure2(
    report: Report,
    split: Split,
    rows: list[Row],
    experiments: list[list[Experiment]],
    protocols: Sequence[Protocol],
) -> None:
    """NDCG@10 over d, a line for each method."""
    ndcg = values_of(report.records, "NDCG@10", "ours")
    named: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        if row.name in ndcg:
            xs, ys = named.setdefault(row.config.model, ([], []))
            xs.append(row.x)
            ys.append(ndcg[row.name])
    report.figure = plots.lines({"NDCG@10": named}, "d", report.title)


def draw_figure3(
    report: Report,
    split: Split,
    rows: list[Row],
    experiments: list[list[Experiment]],
    protocols: Sequence[Protocol],
) -> None:
    """Validation NDCG@10 over the seconds spent in training, first seed."""
    named, points = {}, []
    for row, of_row in zip(rows, experiments, strict=True):
        for experiment in of_row[:1]:
            with reading_experiment(experiment.folder):
                history = Run(experiment.folder).history()
            seconds = np.cumsum([entry["seconds"] for entry in history]).tolist()
            curve = [(s, e["NDCG@10"]) for s, e in zip(seconds, history, strict=True)
                     if "NDCG@10" in e]  # fmt: skip
            named[row.name] = ([s for s, _ in curve], [v for _, v in curve])
            points += [{"row": row.name, "seconds": s, "validation NDCG@10": v} for s, v in curve]
    report.figure = plots.lines({"validation NDCG@10": named}, "training seconds", report.title)
    report.tables["curves.csv"] = points


def draw_figure4(
    report: Report,
    split: Split,
    rows: list[Row],
    experiments: list[list[Experiment]],
    protocols: Sequence[Protocol],
) -> None:
    """Mean attention among the last positions by block, and between items of four categories.

    Over the training sequences, as in the paper, but of the last 3 items or more, so that shares of
    3 items can be told; and some `MOST_MAPS` of them at most.
    """
    data = split.dataset
    lengths = split.train_end - data.offsets[:-1]
    most = min(3, int(lengths.max()))
    users = np.flatnonzero(lengths >= most)
    users = users[:: max(1, math.ceil(len(users) / MOST_MAPS))]
    histories = [split.train_sequence(int(u)) for u in users]
    categories = data.categories or [()] * (data.num_items + 1)
    names = main_categories(categories, paper.FIGURE_5_CATEGORIES)
    pictures: dict[str, tuple[Array, Sequence[str]]] = {}
    positions: list[Record] = []
    pairs: list[Record] = []
    for row, of_row in zip(rows, experiments, strict=True):
        for experiment in of_row[:1]:
            model = make_model(experiment.config, split)
            assert isinstance(model, SASRec)
            with reading_experiment(experiment.folder):
                model.load_state(Run(experiment.folder).load_arrays(WEIGHTS)[0])
            say(f"{row.name}: attention maps of {len(histories):,} training sequences")
            size = min(paper.FIGURE_4_POSITIONS, model.n, max(map(len, histories)))
            maps, between = mean_attention(model, histories, size, membership(categories, names))
            seen = np.minimum(lengths[users], model.n)
            recent = min(most, size)
            report.notes.append(
                f"{row.name}: {len(users):,} training sequences of {most} items or more, "
                f"{(seen >= size).sum():,} of {size} or more; uniform attention would give "
                f"{np.mean(recent / seen):.3f} of the last position's weight to the last {recent}"
            )
            for b, mean in enumerate(maps, start=1):
                past = np.tri(size, dtype=bool)
                pictures[f"{row.name}, block {b}"] = np.where(past, mean, np.nan), ()
                report.notes.append(
                    f"{row.name}, block {b}: the last position gives "
                    f"{mean[-1, -recent:].sum():.3f} of its weight to the last {recent} items"
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
                pictures[f"{row.name}, block 1, times uniform"] = between, names
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
    ratios = [name for name, (_, labels) in pictures.items() if labels]
    report.figure = plots.heat_maps(pictures, columns=3, title=report.title, ratios=ratios)


@dataclass(frozen=True)
class Target:
    """A table or figure: its rows, the metrics that are printed (the CSV has all), its plot."""

    title: str
    rows: Callable[[str], list[Row]]
    metrics: tuple[str, ...]
    draw: Callable[..., None]
    test: bool = True  # False: only the validation part is read
    both: bool = False  # also the ranking that did not choose the epochs is shown


SPEED = ("epochs", "threads")
TRIED = ("NDCG@10", "best epoch", "epochs", "training s")
TARGETS = {
    "table3": Target("Table III: all methods", grids.table3, ("HR@10", "NDCG@10"), draw_table3),
    "table4": Target("Table IV: ablation", grids.table4, ("NDCG@10",), draw_bars),
    "table5": Target(
        "Table V: length n", grids.table5, ("NDCG@10", "training s", *SPEED), draw_table5
    ),
    "figure2": Target("Figure 2: latent dimension d", grids.figure2, ("NDCG@10",), draw_figure2),
    "figure3": Target(
        "Figure 3: speed", grids.figure3, ("NDCG@10", "s/epoch", *SPEED), draw_figure3
    ),
    "figure4": Target("Figure 4: attention maps", grids.figure4, ("NDCG@10",), draw_figure4),
    "grid": Target("Network or loss?", grids.grid, ("HR@10", "NDCG@10"), draw_grid, both=True),
    "grid-tuning": Target(
        "Settings of the grid, on validation",
        grids.grid_tuning,
        TRIED,
        draw_grid_tuning,
        test=False,
    ),
    "tuning": Target("Settings, on validation", grids.tuning, TRIED, draw_tuning, test=False),
}
