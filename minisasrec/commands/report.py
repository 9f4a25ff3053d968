"""What a run says at its end: a table of metrics, and a few recommendations to look at."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.data.split import LEAVE_ONE_OUT, Part, Split, units_per_day
from minisasrec.experiments import paper
from minisasrec.learn import metrics
from minisasrec.learn.config import TrainConfig
from minisasrec.learn.evaluation import LISTS, Evaluator, Protocol, usual_protocols
from minisasrec.learn.recommendation import top_items
from minisasrec.models import Model, Popularity, RecentPopularity
from minisasrec.terminal import printable

Row = dict[str, Any]


def final_rows(
    model: Model,
    split: Split,
    config: TrainConfig,
    part: Part = "test",
    protocols: tuple[Protocol, ...] | None = None,
) -> list[Row]:
    """Metrics of the model, of popularity, and what is known of the data set, by protocol.

    Where the times are dates, popularity of the last days stands beside that of all days.
    """
    protocols = protocols or usual_protocols(split)
    contenders: list[tuple[str, Model]] = [(config.model, model)]
    if config.model != "poprec":
        contenders.append(("poprec", Popularity(split)))
    times = split.dataset.times
    if config.model != "recentpop" and times is not None and units_per_day(times):
        contenders.append(("recentpop", RecentPopularity.for_split(split)))
    rows: list[Row] = []
    oracle: Any = split.dataset.oracle
    for protocol in protocols:
        evaluator = Evaluator(
            split, part, protocol, seed=config.seed, max_users=config.max_users, lists=LISTS
        )
        for name, contender in contenders:
            row: Row = {"protocol": protocol, "model": name}
            if isinstance(contender, RecentPopularity):
                row["days"] = contender.days
            rows.append(row | evaluator(contender).metrics())
        if oracle is not None and knows_best(split, protocol):
            best = oracle.best_reachable(part, protocol)
            rows.append({"protocol": protocol, "model": "best reachable", **best})
        figures = paper.TABLE_III.get(split.dataset.name, {}).get(config.model)
        if figures and protocol in ("sampled", "authors") and split.rule == LEAVE_ONE_OUT:
            hit, ndcg = figures
            rows.append(
                {"protocol": protocol, "model": "paper, Table III", "HR@10": hit, "NDCG@10": ndcg}
            )
    return rows


def knows_best(split: Split, protocol: Protocol) -> bool:
    """Whether the oracle's figures hold here: its candidates were never met before."""
    if split.rule != LEAVE_ONE_OUT:
        return False
    return protocol == "full" or (protocol == "sampled" and split.repeats == "forbid")


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

    def title(item: int) -> str:
        return printable(split.dataset.title(item))

    for u in chosen:
        history = split.history(int(u), "test").tolist()
        target = int(split.test[u])
        lines = [f"user {printable(split.dataset.user_ids[u])} ({len(history)} actions)"]
        lines.append("  last:  " + " | ".join(title(i) for i in history[-3:]))
        best = top_items(model, history, 5, user=int(u), repeats=split.repeats)
        for place, item in enumerate(best, start=1):
            mark = "   <- came next" if item == target else ""
            lines.append(f"    {place}. {title(item)}{mark}")
        lines.append(f"  next:  {title(target)}")
        blocks.append("\n".join(lines))
    return "\n".join(blocks)
