"""The road of five kernels from a naive loop to the package's: `python -m benchmarks.ladder`.

The same timings as `python -m minisasrec.teach.ladder`, as a table and a plot.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from benchmarks import machine
from minisasrec.teach import ladder


def climb(names: Sequence[str], budget: float) -> dict[str, list[list[Any]]]:
    """[rung, threads, ms] by ladder."""
    return {name: [[t.name, t.threads, t.ms] for t in ladder.climb(name, budget)] for name in names}


def main(argv: Sequence[str] | None = None) -> None:
    parser = machine.parser(__doc__)
    parser.add_argument(
        "--names", nargs="+", choices=list(ladder.LADDERS), default=list(ladder.LADDERS)
    )
    parser.add_argument("--budget", type=float, default=0.3, help="seconds a rung is measured for")
    args = parser.parse_args(argv)
    climbed = machine.in_process(climb, args.threads, names=args.names, budget=args.budget)
    rows = [
        [name if i == 0 else "", rung, threads, ms, rungs[0][2] / ms]
        for name, rungs in climbed.items()
        for i, (rung, threads, ms) in enumerate(rungs)
    ]
    head = ["ladder", "rung", "threads", "ms", "times the first"]
    machine.save("ladder", args, climbed, {"ladder": machine.table(head, rows)})
    plot(climbed, args)


def plot(climbed: dict[str, list[list[Any]]], args: argparse.Namespace) -> None:
    """Milliseconds of each rung, a ladder a panel."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3 * len(climbed), 3.5), layout="constrained")
    for axes, (name, rungs) in zip(
        figure.subplots(1, len(climbed), squeeze=False)[0], climbed.items(), strict=True
    ):
        labels = [f"{rung}, {t} threads" if t > 1 else rung for rung, t, _ in rungs]
        axes.plot([ms for _, _, ms in rungs], "o-", color="tab:green")
        axes.set(title=name, ylabel="ms", yscale="log")
        axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
    figure.savefig(args.out / "ladder.png", dpi=120)


if __name__ == "__main__":
    machine.run(main)
