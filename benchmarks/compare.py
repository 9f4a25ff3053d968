"""Ours against PyTorch on this machine: `python -m benchmarks.compare --data-dir DIR`.

Each contender runs in a process of its own, one after another, round after round, so that a slow
minute of the machine hits all of them. Batches are the same, dropout is on, threads are equal.
Close everything else first. Writes benchmarks/results/compare.json and a bar plot.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
TARGETS = {  # (dataset, work) -> times faster than (port, tuned)
    ("ml-1m", "train"): (8, 5),
    ("amazon-games", "train"): (15, 10),
    ("ml-1m", "evaluate"): (20, None),
}
CONTENDERS = {"train": ("ours", "tuned", "port", "padded-numpy"), "evaluate": ("ours", "port")}


def worker(contender: str, work: str, dataset: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run one contender and read its JSON line."""
    # some hosts pin an old OpenBLAS kernel by these two, which slows NumPy alone
    env = {
        k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    }
    env |= {"OMP_NUM_THREADS": str(args.threads), "OPENBLAS_NUM_THREADS": str(args.threads)}
    command = [sys.executable, "-m", "benchmarks.worker", contender, work, "--dataset", dataset]
    repeats = 1 if contender == "padded-numpy" else args.repeats
    command += ["--threads", str(args.threads), "--repeats", str(repeats)]
    if args.data_dir:
        command += ["--data-dir", args.data_dir]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder with the data sets' files")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="epochs timed in each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--skip-numpy", action="store_true", help="leave the slow NumPy form out")
    args = parser.parse_args()
    rows: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for (dataset, work), _ in TARGETS.items():
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
                print(
                    dataset, work, contender, result["seconds"], result["peak_mib"], file=sys.stderr
                )
    report = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{processor()}, {args.threads} threads of {os.cpu_count()}",
        "python": platform.python_version(),
        "rows": [
            {"dataset": d, "work": w, "contender": c, **row}
            for (d, w), contenders in rows.items()
            for c, row in contenders.items()
        ],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "compare.json").write_text(json.dumps(report, indent=1) + "\n")
    print(f"{report['machine']}, {report['date']}\n")
    heads = f"{'work':24}{'contender':14}{'median s':>9}{'spread':>16}{'peak MiB':>10}"
    print(heads + f"{'ours is':>12}  target")
    for (dataset, work), contenders in rows.items():
        ours = statistics.median(contenders["ours"]["seconds"])
        goals = dict(zip(("port", "tuned"), TARGETS[dataset, work], strict=True))
        for contender, row in contenders.items():
            seconds = row["seconds"]
            median = statistics.median(seconds)
            goal = goals.get(contender)
            print(
                f"{dataset + ' ' + work:24}{contender:14}{median:9.2f}"
                f"{f'{min(seconds):.2f} to {max(seconds):.2f}':>16}{row['peak_mib']:10.0f}"
                f"{f'{median / ours:.1f}x faster':>12}  {f'{goal}x' if goal else ''}"
            )
    plot(rows)


def plot(rows: dict[tuple[str, str], dict[str, dict[str, Any]]]) -> None:
    """Bars of the medians, one group per work, logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, ((dataset, work), contenders) in zip(
        figure.subplots(1, len(rows), squeeze=False)[0], rows.items(), strict=True
    ):
        medians = [statistics.median(row["seconds"]) for row in contenders.values()]
        bars = axes.bar(list(contenders), medians, color=["tab:green"] + ["tab:grey"] * 3)
        axes.bar_label(bars, [f"{m:.2f} s" for m in medians])
        axes.set(title=f"{dataset}, {work}", ylabel="seconds", yscale="log")
        axes.tick_params(axis="x", rotation=20)
    figure.savefig(RESULTS / "compare.png", dpi=120)


if __name__ == "__main__":
    main()
