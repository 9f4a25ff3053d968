"""Larger than a class: `python -m benchmarks.large` trains on made-up data of the size of ML-20M.

138,493 users, 26,744 items and about 20 million actions are written as .npy files, mapped into
memory, and trained on for some steps; then users are ranked against a million items. Peak memory
counts the pages of the mapped files, which the system can take back. Seconds of an epoch are those
of the measured steps times their number: extrapolated.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from minisasrec.data.batches import TrainingBatches
from minisasrec.data.dataset import Dataset
from minisasrec.data.split import leave_one_out
from minisasrec.learn.config import preset
from minisasrec.learn.evaluation import Evaluator
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.nn.optim import Adam
from minisasrec.random import Keys


def make(folder: str, shape: Sequence[float]) -> dict[str, float]:
    """Write the data set; in a process of its own, so that its memory is not counted."""
    users, items, actions, sigma = shape
    dataset = machine.synthetic("large", int(users), int(items), int(actions), sigma)
    dataset.save(folder)
    return {"users": dataset.num_users, "actions": dataset.num_actions}


def train(folder: str, steps: int) -> dict[str, float]:
    """Seconds and peak memory of loading, of getting ready, and of some steps."""
    result = {"peak before": machine.peak_mib()}
    start = time.perf_counter()
    split = leave_one_out(Dataset.load(folder))
    loaded = time.perf_counter()
    result |= {"load": loaded - start, "peak loaded": machine.peak_mib()}
    config = preset("ml-20m").sasrec
    batches = TrainingBatches(split, n=config.n)
    users = batches.epoch_users(0)
    model = SASRec(split.dataset.num_items, config)
    optimizer = Adam(model.parameters())
    result |= {"ready": time.perf_counter() - loaded, "peak ready": machine.peak_mib()}
    rows = 0
    for i in range(steps + 1):
        if i == 1:  # the first one compiles
            start, rows = time.perf_counter(), 0
        size = batches.batch_size
        batch = batches.batch(users[i * size % len(users) :][:size], i)
        rows += len(batch.inputs.items)
        model.loss(batch, Keys(0, i)).backward()
        optimizer.step()
        optimizer.zero_grad()
    result |= {"step": (time.perf_counter() - start) / steps, "rows": rows / steps}
    Evaluator(split, "valid", "sampled", max_users=10)(model)  # loads what it needs
    start = time.perf_counter()
    Evaluator(split, "valid", "sampled")(model)
    result |= {"steps of an epoch": len(batches), "sampled": time.perf_counter() - start}
    return result | {"peak": machine.peak_mib()}


def rank(items: int, users: int) -> dict[str, float]:
    """Full ranking against many items, in blocks of scores."""
    split = leave_one_out(machine.synthetic("catalogue", users, items, 50 * users, 0.5))
    model = SASRec(items, SASRecConfig(n=50))
    before = machine.peak_mib()
    Evaluator(split, "test", "full", max_users=4)(model)  # loads what it needs
    start = time.perf_counter()
    Evaluator(split, "test", "full", max_users=0)(model)
    return {
        "seconds": time.perf_counter() - start,
        "peak before": before,
        "peak": machine.peak_mib(),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the users and actions")
    parser.add_argument("--steps", type=machine.positive, default=40)
    parser.add_argument(
        "--items", type=machine.positive, default=1_000_000, help="items of the full ranking"
    )
    parser.add_argument(
        "--users", type=machine.positive, default=256, help="users of the full ranking"
    )
    args = parser.parse_args(argv)
    users, items, actions, sigma = machine.SHAPES["ml-20m"]
    shape = (max(200, round(users * args.scale)), items, round(actions * args.scale), sigma)
    with tempfile.TemporaryDirectory() as folder:
        made = machine.in_process(make, args.threads, folder=folder, shape=shape)
        size = sum(path.stat().st_size for path in Path(folder).glob("*.npy")) / 2**20
        run = machine.in_process(train, args.threads, folder=folder, steps=args.steps)
    ranked = machine.in_process(rank, args.threads, items=args.items, users=args.users)
    epoch = run["step"] * run["steps of an epoch"]
    rows: list[list[Any]] = [
        [f"the files: {made['users']:,} users, {made['actions']:,} actions", "", size],
        ["Python and the package", "", run["peak before"]],
        ["load (mapped, checked, split)", run["load"], run["peak loaded"]],
        ["items met by each user, model, Adam", run["ready"], run["peak ready"]],
        [f"a step of 128 users, {run['rows']:,.0f} rows; mean of {args.steps}", run["step"], ""],
        [f"an epoch, extrapolated: {run['steps of an epoch']:,} such steps", epoch, ""],
        ["sampled evaluation, at most 10,000 users", run["sampled"], run["peak"]],
        [f"{args.items:,} items: model and data", "", ranked["peak before"]],
        [f"full ranking of {args.users} users", ranked["seconds"], ranked["peak"]],
    ]
    tables = {"large": machine.table(["what", "seconds", "MiB (peak so far)"], rows)}
    machine.save("large", args, {"made": made, "train": run, "rank": ranked}, tables)
    plot(size, run, args)


def plot(size: float, run: dict[str, float], args: argparse.Namespace) -> None:
    """Peak memory along the way, beside the size of the files."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots()
    names = ["the files", "package", "loaded", "ready", "trained, evaluated"]
    peaks = [size, *(run[k] for k in ("peak before", "peak loaded", "peak ready", "peak"))]
    axes.bar_label(axes.bar(names, peaks, color=["tab:grey"] + ["tab:green"] * 4), fmt="%.0f")
    axes.set(ylabel="MiB", title="Peak memory on the way through data of the size of ML-20M")
    figure.savefig(args.out / "large.png", dpi=120)


if __name__ == "__main__":
    machine.run(main)
