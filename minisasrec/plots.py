"""Pictures: learning curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def learning_curve(epochs: list[dict[str, Any]], path: Path | None = None) -> Any:
    """Loss and validation metrics over epochs; returns the figure, or writes a PNG to `path`."""
    from matplotlib.figure import Figure  # not pyplot: no window system is needed or touched

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([e["epoch"] for e in epochs], [e["loss"] for e in epochs], color="tab:blue")
    left.set(xlabel="epoch", ylabel="training loss", title="Loss")
    validated = [e for e in epochs if "NDCG@10" in e]
    for name, color in (("HR@10", "tab:orange"), ("NDCG@10", "tab:green")):
        right.plot(
            [e["epoch"] for e in validated], [e[name] for e in validated], color=color, label=name
        )
    if validated:
        best = max(validated, key=lambda e: e["NDCG@10"])
        right.axvline(
            best["epoch"], color="grey", linestyle=":", label=f"best: epoch {best['epoch']}"
        )
        right.legend()
    right.set(xlabel="epoch", title="Validation, sampled protocol")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    if path is not None:
        figure.savefig(path, dpi=120, format="png")
    return figure
