"""The final figures of a model, in rows: its own, those of popularity, what is known besides."""

from __future__ import annotations

from typing import Any

from minisasrec.data.registry import has_published_counts
from minisasrec.data.split import LEAVE_ONE_OUT, Part, Split, units_per_day
from minisasrec.experiments import paper
from minisasrec.learn.config import TrainConfig
from minisasrec.learn.evaluation import LISTS, Evaluator, Protocol, usual_protocols
from minisasrec.models import Model, Popularity, RecentPopularity

Row = dict[str, Any]


def final_rows(
    model: Model,
    split: Split,
    config: TrainConfig,
    part: Part = "test",
    protocols: tuple[Protocol, ...] | None = None,
) -> list[Row]:
    """Metrics of the model, of popularity, and what is known of the data set, by protocol.

    Where the times are dates, popularity of the last days stands beside that of all days. The
    paper's figures stand there if the data set has the counts of the public one.
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
        theirs = split.rule == LEAVE_ONE_OUT and has_published_counts(split.dataset)
        if figures and protocol in ("sampled", "authors") and theirs:
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


def users_drawn(split: Split, part: Part, max_users: int) -> str:
    """How many users are ranked where not all are, as "10,000 of 31,013 users, drawn at random"."""
    users = len(split.eval_users(part))
    return f"{max_users:,} of {users:,} users, drawn at random" if 0 < max_users < users else ""
