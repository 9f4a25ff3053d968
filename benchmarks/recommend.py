"""Recommendations for everybody: `python -m benchmarks.recommend`, seconds and peak memory.

Made-up data: 10,000 and 100,000 users with 20 actions each on 20,000 items; a SASRec of n = 50 and
d = 50 with its first weights, since the values of the weights do not change the work. Measured is
the command `minisasrec recommend RUN --all-users --out FILE`, from loading the folder to the file
under its name; the kernels are compiled before, and Python's own start is not counted. Memory
should not grow with the number of users, beyond their histories.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from minisasrec.data.dataset import DataWarning
from minisasrec.data.split import leave_one_out
from minisasrec.learn.config import make_model, preset
from minisasrec.learn.known import Known
from minisasrec.recommender import Recommender

ACTIONS = 20  # of a user, on average


def make(folder: str, users: int, items: int) -> int:
    """Write a recommender; in a process of its own, so that its memory is not counted."""
    warnings.simplefilter("ignore", DataWarning)
    data = machine.synthetic("made-up", users, items, users * ACTIONS, 0.6)
    split, config = leave_one_out(data), preset("made-up")
    Recommender.of(config, Known.of(split), make_model(config, split)).save(folder)
    return data.num_actions


def recommend(folder: str, out: str) -> dict[str, float]:
    """The command, in this process: seconds since its start, and peak memory in MiB."""
    start = time.perf_counter()
    from minisasrec.recommend import main as command

    command([folder, "--all-users", "--out", out, "--json"])
    return {"seconds": time.perf_counter() - start, "peak": machine.peak_mib()}


def main(argv: Sequence[str] | None = None) -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--users", type=machine.positive, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--items", type=machine.positive, default=20_000)
    parser.add_argument("--repeats", type=machine.positive, default=3)
    parser.add_argument("--ending", choices=["csv", "jsonl", "parquet"], default="csv")
    args = parser.parse_args(argv)
    facts: dict[str, Any] = {}
    rows: list[list[Any]] = []
    for users in args.users:
        with tempfile.TemporaryDirectory() as place:
            folder, out = str(Path(place) / "model"), str(Path(place) / f"recs.{args.ending}")
            machine.in_process(make, args.threads, folder=folder, users=users, items=args.items)
            machine.in_process(recommend, args.threads, folder=folder, out=out)  # compiles
            runs = [
                machine.in_process(recommend, args.threads, folder=folder, out=out)
                for _ in range(args.repeats)
            ]
            size = Path(out).stat().st_size / 2**20
        facts[str(users)] = runs
        times, peaks = ([run[name] for run in runs] for name in ("seconds", "peak"))
        median = statistics.median(times)
        spread = f"{min(times):.1f} to {max(times):.1f}"
        rows.append([f"{users:,} users", median, spread, users / median, max(peaks), size])
    head = ["", "median s", "min to max s", "users/s", "peak MiB", "file MiB"]
    machine.save("recommend", args, facts, {"recommend": machine.table(head, rows)})
    plot(facts, args)


def plot(facts: dict[str, list[dict[str, float]]], args: argparse.Namespace) -> None:
    """Seconds and memory against the number of users."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, name, unit in zip(
        figure.subplots(1, 2), ("seconds", "peak"), ("seconds", "peak MiB"), strict=True
    ):
        users = [int(number) for number in facts]
        heights = [statistics.median(run[name] for run in runs) for runs in facts.values()]
        axes.plot(users, heights, "o-", color="tab:green")
        axes.set(xlabel="users", ylabel=unit, ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.suptitle(f"recommendations for all users, {args.items:,} items")
    figure.savefig(args.out / "recommend.png", dpi=120)


if __name__ == "__main__":
    machine.run(main)
