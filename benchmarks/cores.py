"""What a step would take on more cores: `python -m benchmarks.cores`, a model checked at two.

An op of k equal tasks takes t(1) ceil(k / p) / k on p cores, and h more to hand its work to the
others and to wait for the last. h is fitted to the ops of Amazon Games, which are so short that it
is most of them; the model is then asked what ML-1M takes with two threads, and that is measured.
What Python does between the ops stays on one core.

Left out: the processor's clock, which falls when more cores work, memory that many cores share,
and that h grows with their number. So the figures for more cores than were measured are at best
what such a machine would do.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks import machine
from benchmarks.ops import DATASETS, profile
from minisasrec.kernels.adam import ELEMENTS
from minisasrec.kernels.matmul import ROWS

CORES = (1, 2, 4, 8, 16)
PYTHON = ("batch and negatives", "engine, between ops")


def tasks(label: str, step: dict[str, Any], users: int, numbers: int) -> int:
    """About how many tasks an op is cut into; 1 for what Python does itself."""
    if label in PYTHON:
        return 1
    if "attention" in label:
        return users
    if label == "Adam":
        return max(1, numbers // ELEMENTS)
    return max(1, math.ceil(step["T"] / ROWS))


def predict(ms: float, tasks: int, cores: int, handover: float) -> float:
    """Milliseconds of an op that takes `ms` on one core."""
    if min(cores, tasks) == 1:
        return ms
    return ms * math.ceil(tasks / cores) / tasks + handover


def rows_of(step: dict[str, Any], users: int) -> dict[str, tuple[float, int]]:
    """(ms, tasks) of everything in a step, by label."""
    numbers = int(step["rows"]["Adam"]["mb"] * 1e6 / 4 / 7)  # Adam reads and writes 7 numbers each
    return {
        label: (row["ms"], tasks(label, step, users, numbers))
        for label, row in step["rows"].items()
        if label != "whole step"
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--data-dir", help="folder with the data sets' files")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the users, made up")
    parser.add_argument("--users", type=machine.positive, default=128, help="users of the batch")
    parser.add_argument("--steps", type=machine.positive, default=30)
    args = parser.parse_args(argv)
    common = {"data_dir": args.data_dir, "scale": args.scale, "users": args.users, "n": 0}
    steps = {
        name: [
            machine.in_process(profile, t, dataset=name, steps=args.steps, **common)
            for t in (1, args.threads)
        ]
        for name in DATASETS
    }
    found = {name: [rows_of(step, args.users) for step in pair] for name, pair in steps.items()}
    one, more = found["amazon-games"]
    handover = statistics.median(
        more[label][0] - predict(ms, k, args.threads, 0.0)
        for label, (ms, k) in one.items()
        if k > 1
    )
    table, facts = [], {"handover_ms": handover, "steps": steps}
    for name, (one, _) in found.items():
        alone = sum(ms for ms, _ in one.values())
        for cores in CORES:
            total = sum(predict(ms, k, cores, handover) for ms, k in one.values())
            measured = {1: 0, args.threads: 1}.get(cores)
            whole = "" if measured is None else steps[name][measured]["rows"]["whole step"]["ms"]
            table.append([f"{name}, {cores} core{'s' * (cores > 1)}", total, whole, alone / total])
    head = ["a step", "model, ms", "measured, ms", "model: times one core"]
    machine.save("cores", args, facts, {"cores": machine.table(head, table)})
    print(f"handing an op over: {1000 * handover:.0f} microseconds")
    plot(table, args)


def plot(table: list[list[Any]], args: argparse.Namespace) -> None:
    """Gain over cores, a line a data set."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(CORES, CORES, "k:", label="as many times as cores")
    for i, name in enumerate(DATASETS):
        gains = [row[3] for row in table[i * len(CORES) : (i + 1) * len(CORES)]]
        axes.plot(CORES, gains, "o-", label=name)
    axes.set(xlabel="cores", ylabel="times one core, by the model", title="A training step")
    axes.legend()
    figure.savefig(args.out / "cores.png", dpi=120)


if __name__ == "__main__":
    machine.run(main)
