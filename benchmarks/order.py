"""Does order matter? `python -m benchmarks.order --dataset bookshop`.

Trains SASRec with the preset of the data set: on the histories as they are, and on histories
whose train part is shuffled, user by user. Both rank the same held-out items among the same
candidates, beside popularity and a counted item-to-item Markov chain. For each ranking, sampled
and full, SASRec is trained anew, since that ranking of the validation items chooses the epoch.
Writes benchmarks/results/order-<dataset>.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from minisasrec.data import leave_one_out, load_dataset
from minisasrec.data.split import Split
from minisasrec.learn.config import make_model, preset
from minisasrec.learn.evaluation import evaluate
from minisasrec.learn.fit import fit

RESULTS = Path(__file__).parent / "results"


def shuffled(split: Split, seed: int) -> Split:
    """The same split with the train part of every user in a random order."""
    rng = np.random.default_rng(seed)
    items = split.dataset.items.copy()
    for start, end in zip(split.dataset.offsets[:-1], split.train_end, strict=True):
        rng.shuffle(items[start:end])
    return dataclasses.replace(split, dataset=dataclasses.replace(split.dataset, items=items))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="bookshop")
    parser.add_argument("--data-dir", help="folder with the data set's files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=machine.positive, help="fewer than the preset's")
    args = parser.parse_args()
    split = leave_one_out(
        load_dataset(args.dataset, data_dir=args.data_dir, download=args.data_dir is None)
    )
    config = dataclasses.replace(preset(args.dataset), seed=args.seed)
    if args.epochs:
        config = dataclasses.replace(config, epochs=args.epochs)
    rows: list[dict[str, Any]] = []
    for name, data, model_name in (
        ("popularity", split, "poprec"),
        ("Markov chain", split, "markov"),
        ("SASRec", split, "sasrec"),
        ("SASRec, shuffled order", shuffled(split, args.seed), "sasrec"),
    ):
        for protocol in ("sampled", "full"):
            chosen = dataclasses.replace(config, model=model_name, select=protocol)
            model = make_model(chosen, data)
            if model_name == "sasrec":
                print(f"training: {name}, epoch chosen by {protocol} ranking", file=sys.stderr)
                fit(model, data, chosen)  # type: ignore[arg-type]
            found = evaluate(model, data, "test", protocol, seed=args.seed).metrics()  # type: ignore[arg-type]
            rows.append({"model": name, "protocol": protocol, **found})
    print(f"| {args.dataset}, seed {args.seed} | protocol | HR@10 | NDCG@10 |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['model']} | {row['protocol']} | {row['HR@10']:.4f} | {row['NDCG@10']:.4f} |")
    RESULTS.mkdir(exist_ok=True)
    facts = {"date": time.strftime("%Y-%m-%d"), "machine": platform.processor(), "rows": rows}
    name = f"order-{Path(args.dataset).stem}.json"
    (RESULTS / name).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    machine.run(main)
