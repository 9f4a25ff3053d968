"""Ours against PyTorch on this machine: `python -m benchmarks.compare --data-dir DIR`.

Each contender runs in a process of its own, one after another, round after round, so that a slow
minute of the machine hits all of them. Batches are the same, dropout is on, threads are equal.
Close everything else first. Without a data folder the data are made up, of the same shape.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from benchmarks import machine

TARGETS = {  # (dataset, work) -> times faster than (port, tuned)
    ("ml-1m", "train"): (8, 5),
    ("amazon-games", "train"): (15, 10),
    ("ml-1m", "evaluate"): (20, None),
}
CONTENDERS = {"train": ("ours", "tuned", "port", "padded-numpy"), "evaluate": ("ours", "port")}
Rows = dict[tuple[str, str], dict[str, dict[str, Any]]]


def worker(contender: str, work: str, dataset: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run one contender and read its JSON line."""
    command = ["-m", "benchmarks.worker", contender, work, "--dataset", dataset]
    repeats = 1 if contender == "padded-numpy" else args.repeats
    command += ["--threads", str(args.threads), "--repeats", str(repeats)]
    command += ["--steps", str(args.steps), "--scale", str(args.scale)]
    if args.data_dir:
        command += ["--data-dir", args.data_dir]
    result: dict[str, Any] = machine.run_json(command, machine.environment(args.threads))
    return result


def measure(args: argparse.Namespace) -> Rows:
    """Seconds of every repeat and peak memory, by work and contender."""
    rows: Rows = {}
    for dataset, work in TARGETS:
        for _round in range(args.rounds):
            for contender in CONTENDERS[work]:
                if contender == "padded-numpy" and (args.skip_numpy or _round):
                    continue
                result = worker(contender, work, dataset, args)
                row = rows.setdefault((dataset, work), {}).setdefault(
                    contender, {"seconds": [], "peak_mib": 0.0}
                )
                row["seconds"] += result["seconds"]
                row["peak_mib"] = max(row["peak_mib"], result["peak_mib"])
                print(dataset, work, contender, result["seconds"], file=sys.stderr)
    for contenders in rows.values():
        for row in contenders.values():
            times = row["seconds"]
            row |= {"median": statistics.median(times), "min": min(times), "max": max(times)}
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--data-dir", help="folder with the data sets' files")
    parser.add_argument(
        "--repeats", type=machine.positive, default=3, help="epochs timed in each round"
    )
    parser.add_argument("--rounds", type=machine.positive, default=2)
    parser.add_argument("--steps", type=machine.count, default=0, help="steps of an epoch, 0 = all")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the users of made-up data"
    )
    parser.add_argument("--skip-numpy", action="store_true", help="leave the slow NumPy form out")
    args = parser.parse_args(argv)
    if find_spec("torch") is None:
        raise SystemExit("error: the peers need PyTorch: pip install torch")
    rows = measure(args)
    head = ["data, work", "contender", "median s", "min to max s", "peak MiB", "ours is faster by"]
    lines: list[list[Any]] = []
    for (dataset, work), contenders in rows.items():
        ours = contenders["ours"]["median"]
        goals = dict(zip(("port", "tuned"), TARGETS[dataset, work], strict=True))
        for contender, row in contenders.items():
            ratio = "" if contender == "ours" else f"{row['median'] / ours:.1f} times"
            lines.append(
                [f"{dataset}, {work}", contender, row["median"]]
                + [f"{row['min']:.2f} to {row['max']:.2f}", row["peak_mib"], ratio]
                + [f"{goals[contender]} times" if goals.get(contender) else ""]
            )
    facts = [
        {"dataset": d, "work": w, "contender": c, **row}
        for (d, w), contenders in rows.items()
        for c, row in contenders.items()
    ]
    machine.save("compare", args, facts, {"compare": machine.table([*head, "target"], lines)})
    plot(rows, args)


def plot(rows: Rows, args: argparse.Namespace) -> None:
    """Bars of the medians with their spread, one group per work, logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, ((dataset, work), contenders) in zip(
        figure.subplots(1, len(rows), squeeze=False)[0], rows.items(), strict=True
    ):
        medians = [row["median"] for row in contenders.values()]
        spread = [
            [row["median"] - row["min"] for row in contenders.values()],
            [row["max"] - row["median"] for row in contenders.values()],
        ]
        colors = ["tab:green" if name == "ours" else "tab:grey" for name in contenders]
        bars = axes.bar(list(contenders), medians, color=colors, yerr=spread)
        axes.bar_label(bars, [f"{m:.2f} s" for m in medians])
        axes.set(title=f"{dataset}, {work}", ylabel="seconds", yscale="log")
        axes.tick_params(axis="x", rotation=20)
    figure.savefig(args.out / "compare.png", dpi=120)


if __name__ == "__main__":
    machine.run(main)
