"""Logs read from disk: `python -m benchmarks.reading`.

Each log is written first, then read in a fresh process. Seconds are those of `load_dataset` without
a filter; the memory is the process's peak above what it held after a log of 1,000 such rows, less
what the result holds.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine

READ = """
import json, sys, time, warnings
from minisasrec import load_dataset
from benchmarks.machine import peak_mib
import pandas
warnings.simplefilter("ignore")
def now():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20
load_dataset(sys.argv[2], min_actions=0, progress=False)  # so that all libraries are loaded
before, start = now(), time.perf_counter()
data = load_dataset(sys.argv[1], min_actions=0, progress=False)
seconds = time.perf_counter() - start
arrays = sum(a.nbytes for a in (data.items, data.offsets, data.times) if a is not None) / 2**20
names = sum(map(sys.getsizeof, [*data.user_ids, *data.item_ids])) / 2**20
names += sum(map(sys.getsizeof, data.titles or [])) / 2**20
print(json.dumps([seconds, peak_mib() - before, arrays + names, data.num_actions]))
"""


def write(path: Path, kind: str, rows: int) -> None:
    """A log of the shape of ML-20M: as whole numbers, or as texts with dates and titles."""
    rng = np.random.default_rng(0)
    done = 0
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            "user,item,rating,time,title\n" if kind == "texts" else "user,item,rating,time\n"
        )
        while done < rows:
            n = min(1_000_000, rows - done)
            first, last = (at * 138_493 // rows for at in (done, done + n))
            users = np.sort(rng.integers(first, last + 1, n))
            items = rng.zipf(1.3, n) % 26_744 + 1
            times = rng.integers(800_000_000, 1_500_000_000, n)
            if kind == "texts":
                dates = np.datetime_as_string(times.astype("datetime64[s]")).tolist()
                columns = zip(users.tolist(), items.tolist(), dates, strict=True)
                file.writelines(f"u{u},i{i},3.5,{t},Title of {i}\n" for u, i, t in columns)
            else:
                columns = zip(users.tolist(), items.tolist(), times.tolist(), strict=True)
                file.writelines(f"{u},{i},3.5,{t}\n" for u, i, t in columns)
            done += n


def main(argv: Sequence[str] | None = None) -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--rows", type=machine.positive, nargs="+", default=[1_000_000, 20_000_000])
    args = parser.parse_args(argv)
    env = machine.environment(args.threads)
    measured: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for rows in args.rows:
            for kind in ("whole numbers", "texts"):
                if kind == "texts" and rows > 5_000_000:
                    continue
                path = Path(folder) / "log.csv"
                write(path, kind, rows)
                small = Path(folder) / "small.csv"
                write(small, kind, 1_000)
                facts = machine.run_json(["-c", READ, str(path), str(small)], env)
                measured[f"{rows:,} rows of {kind}"] = facts
    table: list[list[Any]] = [
        [name, seconds, f"{max(0, peak - result):.0f}", f"{result:.0f}"]
        for name, (seconds, peak, result, _) in measured.items()
    ]
    head = ["log", "s", "MiB above the result", "MiB of the result"]
    machine.save("reading", args, measured, {"reading": machine.table(head, table)})
    plot(measured, args)


def plot(measured: dict[str, list[float]], args: argparse.Namespace) -> None:
    """Bars of the seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(measured), [row[0] for row in measured.values()], color="tab:green")
    axes.bar_label(bars, [f"{row[0]:.1f} s" for row in measured.values()])
    axes.invert_yaxis()
    axes.set(xlabel="seconds")
    figure.savefig(args.out / "reading.png", dpi=120)


if __name__ == "__main__":
    machine.run(main)
