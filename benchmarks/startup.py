"""From the command to the first result: `python -m benchmarks.startup`.

Seconds of `import minisasrec`, of a whole process up to the end of the first training step on the
bookshop and up to its first evaluation, with the kernels compiled before and, in an empty cache
folder, for the first time ever.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from benchmarks import machine

IMPORT = """
import json, time
start = time.perf_counter()
import minisasrec
print(json.dumps(time.perf_counter() - start))
"""

FIRST_STEP = """
import json, sys, time
from minisasrec.learn.config import preset
from minisasrec.data import leave_one_out, load_dataset
from minisasrec.data.batches import TrainingBatches
from minisasrec.learn.evaluation import Evaluator
from minisasrec.learn.config import make_model
from minisasrec.nn.optim import Adam
from minisasrec.random import Keys
config = preset("bookshop")
split = leave_one_out(load_dataset("bookshop", progress=False))
batches = TrainingBatches(split, n=config.sasrec.n, negatives=config.negatives)
model = make_model(config, split)
optimizer = Adam(model.parameters())
model.loss(next(batches.epoch(0)), Keys(0, 0)).backward()
optimizer.step()
step = time.time()
Evaluator(split, max_users=200)(model)
print(json.dumps([step, time.time()]))
"""


def first_step(env: dict[str, str]) -> tuple[float, float]:
    """Seconds from the start of the process to the first step and to the first evaluation."""
    start = time.time()
    step, evaluated = machine.run_json(["-c", FIRST_STEP], env)
    return step - start, evaluated - start


def main(argv: Sequence[str] | None = None) -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--repeats", type=machine.positive, default=5)
    parser.add_argument("--warm-only", action="store_true", help="do not compile anew")
    args = parser.parse_args(argv)
    env = machine.environment(args.threads)
    first_step(env)  # fills the cache
    measured: dict[str, list[float]] = {
        "`import minisasrec`": [machine.run_json(["-c", IMPORT], env) for _ in range(args.repeats)]
    }
    pairs = [first_step(env) for _ in range(args.repeats)]
    measured["warm start to the first step"] = [step for step, _ in pairs]
    measured["warm start to the first evaluation"] = [end for _, end in pairs]
    if not args.warm_only:
        with tempfile.TemporaryDirectory() as folder:
            step, end = first_step(env | {"NUMBA_CACHE_DIR": folder})
        measured["first start ever, to the first step"] = [step]
        measured["first start ever, to the first evaluation"] = [end]
        measured["of which compilation"] = [end - statistics.median(p[1] for p in pairs)]
    rows: list[list[Any]] = [
        [name, statistics.median(times), f"{min(times):.2f} to {max(times):.2f}", len(times)]
        for name, times in measured.items()
    ]
    tables = {"startup": machine.table(["what", "median s", "min to max s", "runs"], rows)}
    machine.save("startup", args, measured, tables)
    plot(measured, args)


def plot(measured: dict[str, list[float]], args: argparse.Namespace) -> None:
    """Bars of the medians."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    axes = figure.subplots()
    medians = [statistics.median(times) for times in measured.values()]
    bars = axes.barh([name.replace("`", "") for name in measured], medians, color="tab:green")
    axes.bar_label(bars, [f"{m:.2f} s" for m in medians])
    axes.invert_yaxis()
    axes.set(xlabel="seconds", xscale="log")
    figure.savefig(args.out / "startup.png", dpi=120)


if __name__ == "__main__":
    machine.run(main)
