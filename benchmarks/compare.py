"""Ours against PyTorch on this machine: `python -m benchmarks.compare --data-dir DIR`.

Each contender runs in a process of its own, one after another, round after round, so that a slow
minute of the machine hits all of them. Batches, dropout and the number of threads are the same, and
every peer computes our function (`peers.py`). What counts is the fastest peer: the table marks it.
Then ours runs once more against it with one thread each. Close everything else first. Without a
data folder the data are made up, of the same shape.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import machine

# times faster than the fastest peer: (with --threads, with one thread)
TARGETS: dict[tuple[str, str], tuple[float, float | None]] = {
    ("ml-1m", "train"): (4, 3.5),
    ("amazon-games", "train"): (4, 3.5),
    ("ml-1m", "evaluate"): (4, None),
}
MEMORY = 0.5  # at most this share of that peer's peak
CONTENDERS = {
    "train": ("ours", "packed", "packed-compiled", "tuned", "port", "padded-numpy"),
    "evaluate": ("ours", "packed", "port"),
}
QUICK = ("ours", "packed")  # the others take so long that one repeat a round must do
Rows = dict[tuple[str, str], dict[str, dict[str, Any]]]


def worker(
    contender: str, work: str, dataset: str, threads: int, args: argparse.Namespace
) -> dict[str, Any]:
    """Run one contender and read its JSON line."""
    command = ["-m", "benchmarks.worker", contender, work, "--dataset", dataset]
    repeats = args.repeats if contender in QUICK or work == "evaluate" else 1
    command += ["--threads", str(threads), "--repeats", str(repeats)]
    command += ["--steps", str(args.steps), "--scale", str(args.scale)]
    if args.data_dir:
        command += ["--data-dir", args.data_dir]
    result: dict[str, Any] = machine.run_json(command, machine.environment(threads))
    return result


def measure(args: argparse.Namespace, threads: int, only: Sequence[str] = ()) -> Rows:
    """Seconds of every repeat and peak memory, by work and contender."""
    rows: Rows = {}
    once = {"padded-numpy": not args.skip_numpy, "packed-compiled": args.compiled}
    for dataset, work in TARGETS:
        for turn in range(args.rounds):
            for contender in CONTENDERS[work]:
                if only and contender not in only:
                    continue
                if contender in once and (turn or not once[contender]):
                    continue
                result = worker(contender, work, dataset, threads, args)
                row = rows.setdefault((dataset, work), {}).setdefault(
                    contender, {"seconds": [], "drawing": [], "peak_mib": 0.0}
                )
                row["seconds"] += result["seconds"]
                row["drawing"] += result["drawing"]
                row["peak_mib"] = max(row["peak_mib"], result["peak_mib"])
                print(dataset, work, contender, threads, result["seconds"], file=sys.stderr)
    for contenders in rows.values():
        for row in contenders.values():
            times = row["seconds"]
            row |= {"median": statistics.median(times), "min": min(times), "max": max(times)}
    return rows


def fastest(contenders: dict[str, dict[str, Any]]) -> str:
    """The peer that counts; *padded-numpy* is ours."""
    peers = contenders.keys() - {"ours", "padded-numpy"}
    return min(peers, key=lambda name: float(contenders[name]["median"]))


HEAD = ["data, work", "contender", "median s", "min to max s", "of which drawing batches, s"]
HEAD += ["peak MiB", "ours is faster by", "our peak / its peak"]


def lines(rows: Rows, threads: int) -> list[list[Any]]:
    """The table: a line per contender; the fastest peer stands out, with the targets beside it."""
    result: list[list[Any]] = []
    for key, contenders in rows.items():
        ours, best = contenders["ours"], fastest(contenders)
        for contender, row in contenders.items():
            drawing: Any = statistics.median(row["drawing"]) if row["drawing"] else ""
            line = [", ".join(key), contender, row["median"]]
            line += [f"{row['min']:.2f} to {row['max']:.2f}", drawing, row["peak_mib"]]
            if contender == "ours":
                result.append([*line, "", ""])
                continue
            faster = f"{row['median'] / ours['median']:.1f} times"
            memory = f"{ours['peak_mib'] / row['peak_mib']:.2f}"
            if contender == best:
                line[1] = f"**{contender}, the fastest peer**"
                goal = TARGETS[key][threads == 1]
                faster = f"**{faster}**" + (f" (target {goal:g})" if goal else "")
                memory += f" (target {MEMORY:g})"
            result.append([*line, faster, memory])
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--data-dir", help="folder with the data sets' files")
    parser.add_argument(
        "--repeats",
        type=machine.positive,
        default=3,
        help="epochs of ours and packed timed in each round, after one that warms up; 1 of others",
    )
    parser.add_argument("--rounds", type=machine.positive, default=2)
    parser.add_argument("--steps", type=machine.count, default=0, help="steps of an epoch, 0 = all")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the users of made-up data"
    )
    parser.add_argument(
        "--compiled",
        action="store_true",
        help="packed by torch.compile, too (needs a C++ compiler)",
    )
    parser.add_argument("--skip-numpy", action="store_true", help="leave the slow NumPy form out")
    args = parser.parse_args(argv)
    if find_spec("torch") is None:
        raise SystemExit("error: the peers need PyTorch: pip install torch")
    with TemporaryDirectory() as folder:
        if args.data_dir:
            for name in {dataset for dataset, _ in TARGETS}:
                machine.load(name, args.data_dir).dataset.save(Path(folder, name))
        saved = argparse.Namespace(**vars(args) | {"data_dir": args.data_dir and folder})
        rows = measure(saved, args.threads)
        tables = {"compare": machine.table(HEAD, lines(rows, args.threads))}
        facts = _facts(rows, args.threads)
        if args.threads > 1:
            only = {"ours", *map(fastest, rows.values())}
            alone = measure(saved, 1, tuple(only))
            tables["compare-one-thread"] = machine.table(HEAD, lines(alone, 1))
            facts += _facts(alone, 1)
    machine.save("compare", args, facts, tables)
    plot(rows, args)


def _facts(rows: Rows, threads: int) -> list[dict[str, Any]]:
    return [
        {"dataset": d, "work": w, "contender": c, "threads": threads, **row}
        for (d, w), contenders in rows.items()
        for c, row in contenders.items()
    ]


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
