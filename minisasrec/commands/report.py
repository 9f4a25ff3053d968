"""What a run says at its end: a table of metrics, and a few recommendations to look at."""

from __future__ import annotations

import numpy as np

from minisasrec.data.split import Split
from minisasrec.experiments.final_rows import Row
from minisasrec.learn import metrics
from minisasrec.learn.recommendation import top_items
from minisasrec.models import Model
from minisasrec.terminal import printable

__all__ = ["example_recommendations", "format_rows"]


def format_rows(rows: list[Row]) -> str:
    """The rows as a text table."""
    names = [name for name in metrics.labels() if any(name in row for row in rows)]
    widths = {name: max(9, len(name) + 2) for name in names}
    lines = [f"{'protocol':10}{'model':18}" + "".join(f"{n:>{w}}" for n, w in widths.items())]
    for row in rows:
        cells = "".join(f"{row[n]:{w}.4f}" if n in row else " " * w for n, w in widths.items())
        days = f" {row['days']:g} days" if "days" in row else ""
        lines.append(f"{row['protocol']:10}{row['model'] + days:18}{cells}")
    return "\n".join(lines)


def example_recommendations(model: Model, split: Split, seed: int, users: int = 5) -> str:
    """For a few users: the last items they met, the five best recommendations, what came next."""
    known = split.eval_users("test")
    chosen = np.random.default_rng(seed).choice(known, min(users, len(known)), replace=False)
    blocks = []
    catalogue = np.flatnonzero(split.catalogue)

    def title(item: int) -> str:
        return printable(split.dataset.title(item))

    for u in chosen:
        history = split.history(int(u), "test").tolist()
        target = int(split.test[u])
        lines = [f"user {printable(split.dataset.user_ids[u])} ({len(history)} actions)"]
        lines.append("  last:  " + " | ".join(title(i) for i in history[-3:]))
        best = top_items(
            model, history, 5, user=int(u), repeats=split.repeats, candidates=catalogue
        )
        for place, item in enumerate(best, start=1):
            mark = "   <- came next" if item == target else ""
            lines.append(f"    {place}. {title(item)}{mark}")
        lines.append(f"  next:  {title(target)}")
        blocks.append("\n".join(lines))
    return "\n".join(blocks)
