"""The fused ops against the composition: `python -m benchmarks.fused`, step by step in turns.

Both compute the same (tests/test_fused.py). A step of the one follows a step of the other, so that
what else the machine does meets both. The half vectors of `simd/tile.py` are in both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import machine
from minisasrec.data.batches import TrainingBatches
from minisasrec.learn.config import preset
from minisasrec.models.sasrec import Block, SASRec
from minisasrec.nn.optim import Adam
from minisasrec.random import Keys

DATASETS = ("ml-1m", "amazon-games")


def steps_in_turns(
    dataset: str, data_dir: str | None, scale: float, steps: int
) -> dict[str, list[float]]:
    """Seconds of each step, fused and composed."""
    split, config = machine.load(dataset, data_dir, scale), preset(dataset).sasrec
    batches = TrainingBatches(split, n=config.n, batch_size=128)
    batch = batches.batch(batches.epoch_users(0)[:128], 0)
    methods = [Block.__dict__["forward"], SASRec.__dict__["embed"]]
    fused = [method.adaptor for method in methods]
    taken: dict[str, list[float]] = {"fused": [], "composed": []}
    model = SASRec(split.dataset.num_items, config)
    optimizer = Adam(model.parameters())
    for i in range(steps + 1):
        for name, seconds in taken.items():
            for method, adaptor in zip(methods, fused, strict=True):
                method.adaptor = adaptor if name == "fused" else None
            start = time.perf_counter()
            model.loss(batch, Keys(0, i)).backward()
            optimizer.step()
            optimizer.zero_grad()
            if i:  # the first one compiles
                seconds.append(time.perf_counter() - start)
    for method, adaptor in zip(methods, fused, strict=True):
        method.adaptor = adaptor
    return taken


def main(argv: Sequence[str] | None = None) -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--data-dir", help="folder with the data sets' files")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the users, made up")
    parser.add_argument("--steps", type=machine.positive, default=40)
    args = parser.parse_args(argv)
    given = {"data_dir": args.data_dir, "scale": args.scale, "steps": args.steps}
    facts, rows = {}, []
    for dataset in DATASETS:
        for threads in (1, args.threads):
            taken = machine.in_process(steps_in_turns, threads, dataset=dataset, **given)
            facts[f"{dataset}, {threads}"] = taken
            row = []
            for of in (statistics.median, min):
                fused, composed = (1000 * of(taken[name]) for name in ("fused", "composed"))
                row += [composed, fused, composed / fused]
            rows.append([f"{dataset}, {threads} thread{'s' * (threads > 1)}", *row])
    head = ["a step", "composed, median ms", "fused", "gain", "composed, best ms", "fused", "gain"]
    machine.save("fused", args, facts, {"fused": machine.table(head, rows)})
    plot(facts, args)


def plot(facts: dict[str, Any], args: argparse.Namespace) -> None:
    """Every step, fused and composed beside each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    panels = figure.subplots(1, len(facts))
    for panel, (name, taken) in zip(panels, facts.items(), strict=True):
        for place, (kind, seconds) in enumerate(taken.items()):
            panel.plot([place] * len(seconds), [1000 * s for s in seconds], "o", alpha=0.4)
            panel.text(place, 0, kind, ha="center", va="bottom", fontsize=8)
        panel.set(title=f"{name} threads", xticks=[], xlim=(-0.5, 1.5), ylim=(0, None))
    panels[0].set_ylabel("ms, a point a step")
    figure.savefig(args.out / "fused.png", dpi=120)


if __name__ == "__main__":
    machine.run(main)
