"""Pictures: learning curves, attention maps, and ours beside the paper's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minisasrec.errors import ShapeError

# Okabe and Ito (2008): colours that people with any kind of colour blindness tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
FARTHEST = 10  # a ratio beyond it gets the colour of 10 times, or of a tenth


def learning_curve(
    epochs: list[dict[str, Any]], path: Path | None = None, ranking: str = "sampled"
) -> Any:
    """Loss and validation metrics over epochs; returns the figure, or writes a PNG to `path`."""
    from matplotlib.figure import Figure  # not pyplot: no window system is needed or touched

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([e["epoch"] for e in epochs], [e["loss"] for e in epochs], color=COLOURS[0])
    left.set(xlabel="epoch", ylabel="training loss", title="Loss")
    validated = [e for e in epochs if "NDCG@10" in e]
    for name, color in (("HR@10", COLOURS[1]), ("NDCG@10", COLOURS[2])):
        right.plot(
            [e["epoch"] for e in validated], [e[name] for e in validated], color=color, label=name
        )
    if validated:
        best = max(validated, key=lambda e: e["NDCG@10"])
        right.axvline(best["epoch"], color="grey", linestyle=":", label="best epoch")
        right.legend()
        found = f": best NDCG@10 {best['NDCG@10']:.3f}, epoch {best['epoch']}"
        left.set_title(f"Loss: from {epochs[0]['loss']:.2f} to {epochs[-1]['loss']:.2f}")
    right.set(xlabel="epoch", title=f"Validation, {ranking}{found if validated else ''}")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    if path is not None:
        figure.savefig(path, dpi=120, format="png")
    return figure


def attention_map(
    weights: np.ndarray, labels: Sequence[str] = (), title: str = "", path: Path | None = None
) -> Any:
    """Attention weights (n, n) as a heat map: row t looks at columns s <= t, the future is blank.

    `labels` name the n positions. Returns the figure, or writes a PNG to `path` as well.
    """
    from matplotlib.figure import Figure

    n = len(weights)
    if weights.shape != (n, n) or (labels and len(labels) != n):
        raise ShapeError(
            f"attention_map: weights have shape {weights.shape} with {len(labels)} labels; "
            "needs (n, n) and n labels or none"
        )
    side = min(3 + 0.22 * n, 10)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    future = np.triu(np.ones((n, n), dtype=bool), k=1)
    image = axes.imshow(np.ma.masked_array(weights, future), cmap="viridis", vmin=0)
    axes.set(xlabel="looks at", ylabel="position", title=title)
    if labels:
        axes.set_xticks(range(n), labels, rotation=90, fontsize=8)
        axes.set_yticks(range(n), labels, fontsize=8)
    figure.colorbar(image, shrink=0.7)
    if path is not None:
        figure.savefig(path, dpi=120, format="png")
    return figure


def position_average(maps: Sequence[np.ndarray], size: int = 15) -> np.ndarray:
    """Mean attention of the last `size` positions on one another, (size, size) (Sec. IV-H, Fig. 4).

    Each map (L, L) is that of one sequence; they are aligned at the last item. As in the paper,
    an entry is the mean over the sequences that have both positions, so short sequences count, too.
    Raises `ShapeError` if no sequence has `size` items.
    """
    if max(map(len, maps), default=0) < size:
        raise ShapeError(f"position_average: no sequence has {size} items; choose a smaller size")
    total, count = np.zeros((size, size)), np.zeros((size, size))
    for weights in maps:
        m = min(len(weights), size)
        total[size - m :, size - m :] += weights[len(weights) - m :, len(weights) - m :]
        count[size - m :, size - m :] += 1
    return total / count


def bars(
    labels: Sequence[str],
    series: Mapping[str, Sequence[float]],
    title: str,
    spread: Mapping[str, Sequence[float]] | None = None,
) -> Any:
    """Groups of bars, one group for each label and one colour for each series; NaN is left out.

    `spread` draws a line of so much up and down at the end of each bar.
    """
    from matplotlib.figure import Figure

    series = {name: values for name, values in series.items() if not np.isnan(values).all()}
    figure = Figure(figsize=(max(6, 0.9 * len(labels) + 2), 4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / max(len(series), 1)
    for i, (name, values) in enumerate(series.items()):
        places = np.arange(len(labels)) + (i - (len(series) - 1) / 2) * width
        colour, error = COLOURS[i % len(COLOURS)], spread and spread[name]
        axes.bar(places, values, width, label=name, color=colour, yerr=error, capsize=2)
    axes.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    axes.set(title=title)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside right upper")  # inside it would lie on the bars
    return figure


Line = tuple[Sequence[float], Sequence[float]]


def lines(panels: Mapping[str, Mapping[str, Line]], x: str, title: str) -> Any:
    """Panels side by side, one for each y axis, with named lines (x values, y values)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(panels) + 1, 4), layout="constrained")
    figure.suptitle(title)
    for axes, (y, named) in zip(
        np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True
    ):
        for i, (name, (xs, ys)) in enumerate(named.items()):
            look = {"color": COLOURS[i % 6], "linestyle": ("-", "--", ":")[i // 6 % 3]}
            axes.plot(xs, ys, marker="." if len(xs) < 20 else None, label=name, **look)
        axes.set(xlabel=x, ylabel=y)
        axes.grid(alpha=0.3)
        if named:
            axes.legend()
    return figure


def heat_maps(
    maps: Mapping[str, tuple[np.ndarray, Sequence[str]]],
    columns: int = 4,
    title: str = "",
    ratios: Collection[str] = (),
) -> Any:
    """Square matrices as heat maps under their titles; those with the same labels share a scale.

    A row is an item or position, a column what it looks at. The scale begins at 0. Maps that are
    named in `ratios` have one around 1, on which 2 and 1/2 are equally strong.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    rows = -(-len(maps) // columns)
    figure = Figure(figsize=(4.2 * min(columns, len(maps)), 3.8 * rows), layout="constrained")
    figure.suptitle(title)
    for i, (name, (values, labels)) in enumerate(maps.items()):
        axes = figure.add_subplot(rows, min(columns, len(maps)), i + 1)
        alike = [
            np.asarray(theirs)
            for other, (theirs, named) in maps.items()
            if list(named) == list(labels) and (other in ratios) == (name in ratios)
        ]
        if name in ratios:
            shown = np.concatenate([other[other > 0] for other in alike])
            far = float(np.clip(np.exp(np.abs(np.log(shown)).max(initial=0)), 1.1, FARTHEST))
            look: dict[str, Any] = {"cmap": "PuOr_r", "norm": LogNorm(1 / far, far)}
            values = np.clip(values, 1 / far, far)
        else:
            vmax = max(np.nanmax(other) for other in alike)
            look = {"cmap": "viridis", "vmin": 0, "vmax": vmax}
        image = axes.imshow(values, **look)
        axes.set(title=name, xlabel="looks at", ylabel="" if labels else "position")
        ticks, names = _ticks(len(values), labels)
        axes.set_xticks(ticks, names, rotation=90 if labels else 0, fontsize=8)
        axes.set_yticks(ticks, names, fontsize=8)
        bar = figure.colorbar(image, shrink=0.7, label="ratio" if name in ratios else "weight")
        if name in ratios:
            marks = [1 / far, 1, far]
            bar.ax.set_yticks(marks, [f"{mark:.2g}" for mark in marks])
            bar.ax.set_yticks([], minor=True)
    return figure


def _ticks(n: int, labels: Sequence[str]) -> tuple[list[int], list[str]]:
    """Where the ticks are and what they say: all labels, or some places from the end (-1)."""
    if labels:
        return list(range(n)), list(labels)
    places = [at for at in range(n) if (n - at) % 5 == 0 or at == n - 1]
    return places, [str(at - n) for at in places]


def search_history(trials: list[dict[str, Any]], metric: str, path: Path | None = None) -> Any:
    """A search of settings: `metric` by trial with the best so far, and against each setting.

    `trials` are records with `trial`, `state`, `values` and the metric. Returns the figure, or
    writes a PNG to `path` as well.
    """
    from matplotlib.figure import Figure

    shown = [trial for trial in trials if trial[metric] is not None]
    names = list(dict.fromkeys(name for trial in shown for name in trial["values"]))
    rows, columns = -(-(len(names) + 1) // 4), min(4, len(names) + 1)
    figure = Figure(figsize=(3.2 * columns, 2.8 * rows), layout="constrained")
    first, *panels = figure.subplots(rows, columns, squeeze=False).ravel()
    done = [trial for trial in shown if trial["state"] == "done"]
    best = np.maximum.accumulate([trial[metric] for trial in done])
    first.step([trial["trial"] for trial in done], best, where="post", color=COLOURS[2])
    for panel, name in zip(panels, names, strict=False):
        _against(panel, [trial for trial in shown if name in trial["values"]], name, metric)
    for state, (mark, color) in MARKS.items():
        chosen = [trial for trial in shown if trial["state"] == state]
        numbers = [trial["trial"] for trial in chosen]
        first.plot(numbers, [t[metric] for t in chosen], mark, ms=4, color=color, label=state)
    first.set(xlabel="trial", ylabel=f"validation {metric}", title="trials, and the best so far")
    first.legend()
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    for panel in [first, *panels]:
        panel.grid(alpha=0.3)
    if path is not None:
        figure.savefig(path, dpi=120, format="png")
    return figure


MARKS = {"pruned": ("x", "grey"), "done": ("o", COLOURS[0])}


def _against(panel: Any, trials: list[dict[str, Any]], name: str, metric: str) -> None:
    """One panel: the metric against one setting; few values stand side by side, by name."""
    values = [trial["values"][name] for trial in trials]
    few = sorted(set(values)) if len(set(values)) <= 6 else []
    for state, (mark, color) in MARKS.items():
        chosen = [trial for trial in trials if trial["state"] == state]
        places = [trial["values"][name] for trial in chosen]
        places = [few.index(place) for place in places] if few else places
        panel.plot(places, [trial[metric] for trial in chosen], mark, ms=4, color=color)
    if few:
        texts = [f"{v:g}" if isinstance(v, float) else str(v) for v in few]
        panel.set_xticks(range(len(few)), texts)
    elif min(values) > 0 and max(values) >= 20 * min(values):
        panel.set_xscale("log")
    panel.set(xlabel=name)
