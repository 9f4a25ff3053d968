"""The rows of each table and figure of the paper: which settings, and what the paper found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from minisasrec.experiments import paper
from minisasrec.learn.config import CHOSEN, TrainConfig, preset, read_json
from minisasrec.learn.settings import with_settings
from minisasrec.models import MODELS
from minisasrec.models.losses import SQUARED_SCORES


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

# Sec. IV-B
FACTORS: dict[str, tuple[float, ...]] = {
    "d": (10, 20, 30, 40, 50),
    "row_l2": (0.0001, 0.001, 0.01, 0.1, 1.0),
}
DROPOUT: dict[str, tuple[float, ...]] = {"dropout": (0.0, 0.2, 0.5)}
GRIDS: dict[str, dict[str, tuple[float, ...]]] = {  # the settings that are tried, by method
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
            Row(f"{method} {name}={value:g}", with_settings(config, {name: value}))
            for name, values in grid.items()
            for value in values
            if value != getattr(chosen, name)
        ]
    return rows


NETWORKS = {"sasrec": "sasrec", "gru": "gru4rec+", "caser": "caser", "fmc": "fmc"}
LOSSES: dict[str, dict[str, Any]] = {  # and what goes with each in training
    "bce": {"negatives": 1},
    "gbce": {"negatives": 64},
    "bpr-max": {"negatives": 64},
    "softmax": {"negatives": 1},  # which it does not use
}
KNOBS: dict[str, tuple[str, tuple[float, ...]]] = {  # what is chosen for each cell, of three values
    **dict.fromkeys(("sasrec", "gru", "caser"), ("dropout", (0.2, 0.35, 0.5))),
    "fmc": ("row_l2", (0.0, 0.001, 0.01)),
}


def chosen_values(dataset: str) -> dict[str, float]:
    """By cell of the grid, the value of its knob that `grid_tuning` chose; {} where it did not."""
    file = CHOSEN / dataset / "grid.json"
    return read_json(file) if file.is_file() else {}


def cell(dataset: str, network: str, loss: str, value: float | None = None) -> Row:
    """One network with one loss. `value` of its knob: by default the one that was chosen for it.

    All else is as in the network's own preset but the loss, its negatives (a position's own, for
    every network), the learning rate and the length of a training.
    """
    model, (knob, values) = NETWORKS[network], KNOBS[network]
    name = f"{network} {loss}"
    if value is None:
        value = chosen_values(dataset).get(name, values[1])
    else:
        name += f" {knob}={value:g}"
    settings: dict[str, Any] = {"loss": loss, knob: value}
    if network == "gru":
        settings |= {"samples": 0, "in_batch": 0, "regularization": SQUARED_SCORES}
    settings |= {**LOSSES[loss], "lr": 0.003, "epochs": 201, "eval_every": 2, "patience": 20}
    return Row(name, with_settings(preset(dataset, model), settings))


def grid(dataset: str) -> list[Row]:
    """Every network with every loss: is it the network or the loss that helps? (RQ1)."""
    return [cell(dataset, network, loss) for network in NETWORKS for loss in LOSSES]


def grid_tuning(dataset: str) -> list[Row]:
    """The same budget for every cell of the grid: three values of one setting, by validation."""
    return [
        cell(dataset, network, loss, value)
        for network in NETWORKS
        for loss in LOSSES
        for value in KNOBS[network][1]
    ]


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
        rows.append(Row(name, with_settings(preset(dataset), settings), figures))
    return rows


def table5(dataset: str) -> list[Row]:
    """SASRec with the last n items of each history."""
    rows = []
    for n, (seconds, ndcg) in paper.TABLE_V.items():
        figures = {"NDCG@10": ndcg, "training s": seconds} if dataset == "ml-1m" else {}
        rows.append(Row(f"n={n}", with_settings(preset(dataset), {"n": n}), figures, n))
    return rows


def figure2(dataset: str) -> list[Row]:
    """Every method with d latent dimensions; popularity, which has none, is one experiment."""
    return [
        Row(f"{m} d={d}", with_settings(preset(dataset, m), {"d": d} if MODELS[m][1] else {}), x=d)
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
