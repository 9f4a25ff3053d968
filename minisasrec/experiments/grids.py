"""The rows of each table and figure of the paper: which settings, and what the paper found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from minisasrec.experiments import paper
from minisasrec.learn.config import TrainConfig, from_json, preset
from minisasrec.models import MODELS


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
            Row(f"{method} {name}={value:g}", changed(config, {name: value}))
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
        rows.append(Row(name, changed(preset(dataset), settings), figures))
    return rows


def table5(dataset: str) -> list[Row]:
    """SASRec with the last n items of each history."""
    rows = []
    for n, (seconds, ndcg) in paper.TABLE_V.items():
        figures = {"NDCG@10": ndcg, "training s": seconds} if dataset == "ml-1m" else {}
        rows.append(Row(f"n={n}", changed(preset(dataset), {"n": n}), figures, n))
    return rows


def figure2(dataset: str) -> list[Row]:
    """Every method with d latent dimensions; popularity, which has none, is one experiment."""
    return [
        Row(f"{m} d={d}", changed(preset(dataset, m), {"d": d}), x=d)
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


def changed(config: TrainConfig, settings: dict[str, Any]) -> TrainConfig:
    """`config` with other settings of its model."""
    section = MODELS[config.model][1]
    return from_json({section: settings}, config) if section else config
