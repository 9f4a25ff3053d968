"""What a run says at its end: a table of metrics, and a few recommendations to look at."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.data.sequences import pack_sequences
from minisasrec.data.split import Part, Split
from minisasrec.experiments import paper
from minisasrec.learn.config import TrainConfig
from minisasrec.learn.evaluation import Evaluator, Protocol, usual_protocols
from minisasrec.models import Popularity, Recommender
from minisasrec.models.base import NOBODY

Row = dict[str, Any]
METRICS = ("HR@10", "NDCG@10", "MRR")


def final_rows(
    model: Recommender,
    split: Split,
    config: TrainConfig,
    part: Part = "test",
    protocols: tuple[Protocol, ...] | None = None,
) -> list[Row]:
    """Metrics of the model, of popularity, and what is known of the data set, by protocol."""
    protocols = protocols or usual_protocols(split)
    rows: list[Row] = []
    oracle: Any = split.dataset.oracle
    for protocol in protocols:
        evaluator = Evaluator(split, part, protocol, seed=config.seed, max_users=config.max_users)
        contenders: list[tuple[str, Recommender]] = [(config.model, model)]
        if config.model != "poprec":
            contenders.append(("poprec", Popularity(split)))
        for name, contender in contenders:
            metrics = evaluator(contender).metrics()
            rows.append({"protocol": protocol, "model": name, **metrics})
        if oracle is not None and protocol in ("sampled", "full"):
            best = oracle.best_reachable(part, protocol)
            rows.append({"protocol": protocol, "model": "best reachable", **best})
        figures = paper.TABLE_III.get(split.dataset.name, {}).get(config.model)
        if figures and protocol in ("sampled", "authors"):
            hit, ndcg = figures
            rows.append(
                {"protocol": protocol, "model": "paper, Table III", "HR@10": hit, "NDCG@10": ndcg}
            )
    return rows


def format_rows(rows: list[Row]) -> str:
    """The rows as a text table."""
    lines = [f"{'protocol':10}{'model':18}" + "".join(f"{name:>9}" for name in METRICS)]
    for row in rows:
        cells = "".join(f"{row[n]:9.4f}" if n in row else f"{'':9}" for n in METRICS)
        lines.append(f"{row['protocol']:10}{row['model']:18}{cells}")
    return "\n".join(lines)


def top_items(model: Recommender, history: list[int], k: int, user: int = NOBODY) -> list[int]:
    """The k best items after `history` that are not in it."""
    packed = pack_sequences([history], model.n)
    scores = model.all_scores(np.array([user]), packed)[0].astype(np.float64)
    scores[0] = -np.inf
    scores[np.asarray(history)] = -np.inf
    best = np.argsort(-scores, kind="stable")[:k]
    return [int(item) for item in best if np.isfinite(scores[item])]


def title(split: Split, item: int) -> str:
    """An item's title, or its id where the source has none."""
    titles = split.dataset.titles
    return titles[item] if titles else f"item {split.dataset.item_ids[item]}"


def example_recommendations(model: Recommender, split: Split, seed: int, users: int = 5) -> str:
    """For a few users: the last items they met, the five best recommendations, what came next."""
    known = split.eval_users("test")
    chosen = np.random.default_rng(seed).choice(known, min(users, len(known)), replace=False)
    blocks = []
    for u in chosen:
        history = split.history(int(u), "test").tolist()
        target = int(split.test[u])
        lines = [f"user {split.dataset.user_ids[u]} ({len(history)} actions)"]
        lines.append("  last:  " + " | ".join(title(split, i) for i in history[-3:]))
        for place, item in enumerate(top_items(model, history, 5, int(u)), start=1):
            mark = "   <- came next" if item == target else ""
            lines.append(f"    {place}. {title(split, item)}{mark}")
        lines.append(f"  next:  {title(split, target)}")
        blocks.append("\n".join(lines))
    return "\n".join(blocks)
