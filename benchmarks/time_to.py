"""From nothing to a validation NDCG@10 among all items.

`python -m benchmarks.time_to --data-dir DIR` runs one training after another, each with one option
more than the one before, as `train` has them. The clock runs from the start of the command:
reading, training and a validation of all users after every epoch count. A training ends when it has
reached the goal.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from minisasrec.plots import lines

# as SASRec+ with softmax (arXiv 2309.07602): the authors' wiring, positions from the beginning
BASE = (
    "--loss softmax --norm authors --output-projection --d 64 --dropout 0.1 "
    "--positions-from beginning --select full --eval-every 1 --max-users 0 --seed 0"
)
STEPS = {  # what each line of the board adds to the lines above it
    "softmax, d = 64": "",
    "a user's own items are no negatives": "--no-own-items",
    "a learning rate of .002": "--lr 0.002",
    "a learning rate of .003": "--lr 0.003",
}


def reach(options: Sequence[str], goal: float, threads: int) -> list[dict[str, float]]:
    """Seconds since the command began and validation NDCG@10, epoch by epoch up to the goal."""
    curve: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        command = ["-m", "minisasrec.train", *options, "--out", f"{folder}/run"]
        with subprocess.Popen(
            [sys.executable, *command],
            env=machine.environment(threads),
            cwd=machine.ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            history = Path(folder, "run", "history.jsonl")
            for value in validations(process, history):
                seconds = time.perf_counter() - start
                curve.append({"seconds": seconds, "NDCG@10": value})
                if value >= goal:
                    break
            ended = process.poll()
            process.kill()
            assert process.stderr is not None
            *_, said = ["it said nothing", *process.stderr.read().splitlines()]
    if not curve or (ended and curve[-1]["NDCG@10"] < goal):  # it failed, at once or on its way
        raise SystemExit(f"error: a training ended with {ended}: {said.removeprefix('error: ')}")
    return curve


def validations(process: subprocess.Popen[str], history: Path) -> Iterator[float]:
    """NDCG@10 of each epoch, as soon as a training that goes on has written it."""
    seen = 0
    while True:
        goes_on = process.poll() is None
        text = history.read_text() if history.is_file() else ""
        found = text[: text.rfind("\n") + 1].splitlines()  # whole lines
        for line in found[seen:]:
            yield json.loads(line)["NDCG@10"]
        seen = len(found)
        if not goes_on:
            return
        time.sleep(0.05)


def main(argv: Sequence[str] | None = None) -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--data-dir", help="folder with the data set's files")
    parser.add_argument("--goal", type=float, default=0.18)
    parser.add_argument("--epochs", type=machine.positive, default=60, help="at most so many")
    parser.add_argument("--steps", type=machine.positive, nargs="+", help="these lines alone")
    args = parser.parse_args(argv)
    if args.steps and max(args.steps) > len(STEPS):
        parser.error(f"--steps has {max(args.steps)}; the board has {len(STEPS)} lines")
    data = ["--dataset", args.dataset, "--epochs", str(args.epochs), *BASE.split()]
    data += ["--data-dir", args.data_dir] if args.data_dir else []
    curves: dict[str, list[dict[str, float]]] = {}
    rows: list[list[Any]] = []
    options: list[str] = []
    for number, (name, more) in enumerate(STEPS.items(), 1):
        options += more.split()
        if args.steps and number not in args.steps:
            continue
        curve = reach([*data, *options, "--threads", str(args.threads)], args.goal, args.threads)
        reached, best = curve[-1], max(point["NDCG@10"] for point in curve)
        there = reached["NDCG@10"] >= args.goal
        seconds = f"{reached['seconds']:.0f}" if there else f"not in {reached['seconds']:.0f}"
        rows.append([name, f"`{more}`" if more else "", seconds, len(curve), f"{best:.4f}"])
        curves[name] = curve
        print(f"{name}: {seconds} s, {len(curve)} epochs", file=sys.stderr)
    head = ["each line adds", "option", f"seconds to {args.goal:g}", "epochs", "NDCG@10 there"]
    machine.save("time_to", args, {"curves": curves}, {"time-to": machine.table(head, rows)})
    panel = {
        name: ([p["seconds"] for p in curve], [p["NDCG@10"] for p in curve])
        for name, curve in curves.items()
    }
    title = f"{args.dataset}, {args.threads} threads, up to {args.goal:g}"
    figure = lines({"validation NDCG@10": panel}, "seconds since the command", title)
    figure.savefig(args.out / "time_to.png", dpi=120)


if __name__ == "__main__":
    machine.run(main)
