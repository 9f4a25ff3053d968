"""Every op of a training step against the machine's limits: `python -m benchmarks.ops`.

The limits come first: multiply-adds in registers, and memory read and written in a long line. Then
real training steps run with a clock around each op's forward and backward function, so that an
op finds its arrays as warm or as cold as training leaves them. Everything is measured with one
thread and with several, in a process each. FLOPs and bytes follow from formulas (`work`): what
the op must compute, and each array that it must read or write counted once.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks import machine
from minisasrec.autograd.op import Op
from minisasrec.autograd.registry import OPS
from minisasrec.data.batches import TrainingBatches
from minisasrec.kernels import matmul
from minisasrec.kernels.jit import kernel
from minisasrec.kernels.simd.vector import fill, fma, lane_count, lanes, store
from minisasrec.kernels.team import next_task, run
from minisasrec.learn.config import preset
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.nn.optim import Adam
from minisasrec.random import Keys

DATASETS = ("ml-1m", "amazon-games")
BLOCK = 65536  # numbers in one task of the triad

# --- the limits ---------------------------------------------------------------------------------


@kernel
def _fma_worker(counter, rounds, out):
    """Twelve vector sums: more than the two a cycle times the latency that must be in flight."""
    lane, task = lanes(out), next_task(counter)
    while task >= 0:
        a, b = fill(out, 0.999), fill(out, 0.001)
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = s10 = s11 = fill(out, task)
        for _ in range(rounds):
            s0, s1, s2, s3 = fma(s0, a, b), fma(s1, a, b), fma(s2, a, b), fma(s3, a, b)
            s4, s5, s6, s7 = fma(s4, a, b), fma(s5, a, b), fma(s6, a, b), fma(s7, a, b)
            s8, s9, s10, s11 = fma(s8, a, b), fma(s9, a, b), fma(s10, a, b), fma(s11, a, b)
        s0 = s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11
        store(out, task * lane, s0)
        task = next_task(counter)


@kernel
def _triad(a, b, c):
    for i in range(len(a)):
        a[i] = b[i] + np.float32(0.5) * c[i]


@kernel
def _triad_worker(counter, a, b, c):
    task = next_task(counter)
    while task >= 0:
        part = slice(task * BLOCK, (task + 1) * BLOCK)
        _triad(a[part], b[part], c[part])
        task = next_task(counter)


def limits(T: int, budget: float) -> dict[str, float]:
    """GFLOP/s and GB/s of this process's threads."""
    rounds, tasks = int(2e7 * budget), 8
    lane = lane_count(np.dtype(np.float32))
    out = np.zeros(lane * tasks, np.float32)
    fmas = machine.seconds(lambda: run(_fma_worker, tasks, rounds, out), budget)
    n = 768 if budget >= 0.1 else 64
    square = np.ones((n, n), np.float32)
    result = {
        "multiply-adds in registers, GFLOP/s": tasks * rounds * 12 * lane * 2 / fmas / 1e9,
        "matmul of ours, GFLOP/s": 2 * n**3
        / machine.seconds(lambda: matmul.matmul(square, square), budget) / 1e9,
        "matmul of BLAS, GFLOP/s": 2 * n**3
        / machine.seconds(lambda: np.matmul(square, square), budget) / 1e9,
    }  # fmt: skip
    sizes = {"an activation (T x d)": T * 50, "128 MiB": 2**25 if budget >= 0.1 else 2**16}
    for name, size in sizes.items():
        a, b, c = np.zeros(size, np.float32), np.ones(size, np.float32), np.ones(size, np.float32)
        took = machine.seconds(
            lambda a=a, b=b, c=c: run(_triad_worker, -(-len(a) // BLOCK), a, b, c), budget
        )
        result[f"a = b + s c, arrays of {name}, GB/s"] = 12 * size / took / 1e9
        took = machine.seconds(lambda a=a, b=b: np.copyto(a, b), budget)
        result[f"copy (NumPy, one thread), arrays of {name}, GB/s"] = 8 * size / took / 1e9
    return result


# --- what an op has to do -----------------------------------------------------------------------


def work(name: str, args: Sequence[Any], constants: dict[str, Any]) -> list[tuple[float, float]]:
    """(FLOPs, numbers read or written), forward and backward. exp, sqrt and hashes are not counted.

    T rows of d, c = 1 + k candidates a row, P = sum over sequences of L (L + 1) / 2 pairs.
    """
    x = args[0]
    N = x.size
    if name == "linear":
        (k, m), T = args[1].shape, N // args[1].shape[0]
        relu = constants.get("activation") is not None
        product, arrays = 2 * T * k * m, T * k + k * m + T * m
        return [(product, arrays), (2 * product, 2 * T * k + 2 * k * m + (1 + relu) * T * m)]
    if name in ("packed_causal_attention", "packed_self_attention"):
        lengths, N = np.diff(constants["offsets"]), N // (3 if x.ndim == 3 else 1)
        pairs_d = float((lengths * (lengths + 1) / 2).sum()) * x.shape[-1]
        # scores and outputs; backward: scores again, dv, dp, dq, dk
        return [(4 * pairs_d, 4 * N), (10 * pairs_d, 8 * N)]
    if name == "norm_projections":  # rows in, Q, K and V out; backward their gradients, x and dx
        products = 6 * N * x.shape[1]
        return [(products + 8 * N, 4 * N), (2 * products + 13 * N, 5 * N)]
    if name == "feed_forward":  # x, s, z, h, y; backward dy, z, h, dx, ds
        products = 4 * N * x.shape[1]
        return [(products + 12 * N, 5 * N), (2 * products + 16 * N, 5 * N)]
    if name == "embed":
        rows = constants["ids"].size * x.shape[1]
        return [(3 * rows, 3 * rows), (rows, 2 * rows)]
    if name == "layer_norm":
        return [(8 * N, 2 * N), (13 * N, 3 * N)]
    if name == "embedding":
        read = constants["ids"].size * x.shape[1]
        return [(0, 2 * read), (0, 0)]  # rows go back as they came: the engine makes the table
    if name == "sampled_bce":
        c = 1 + constants["negatives"].shape[1]
        return [(2 * c * N, (1 + c) * N), (2 * c * N, (1 + c) * N)]  # backward: dh; as above
    if name in ("dropout", "scale"):
        return [(N, 2 * N), (N, 2 * N)]
    if name == "add_dropout":
        return [(2 * N, 3 * N), (N, 2 * N)]
    if name == "add":
        return [(N, 3 * N), (0, 0)]
    raise KeyError(f"no formula for the work of {name}")


class Clock:
    """Seconds by (op, direction), summed over the calls of one step; if `full`, what was done too.

    What was done, the work and a digest of the results, is found out in a step of its own, for that
    takes time.
    """

    def __init__(self, full: bool = False) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self.work: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(2))
        self.hashes: dict[str, Any] = defaultdict(hashlib.sha256)
        self.full = full

    def note(
        self, label: str, took: float, done: Any = 0, results: Sequence[np.ndarray] = ()
    ) -> None:
        self.seconds[label] += took
        if self.full:
            self.calls[label] += 1
            self.work[label] += done
            for array in results:
                self.hashes[label].update(np.ascontiguousarray(array).data)

    def around(self, op: Op) -> Callable[..., Any]:
        """The op's implementation with a clock at both ends."""
        function = op.adaptor or op.definition

        def forward(*args: Any, **constants: Any) -> Any:
            start = time.perf_counter()
            y, backward = function(*args, **constants)
            took = time.perf_counter() - start
            label = op.name + (", ReLU" if constants.get("activation") else "")
            done = work(op.name, args, constants) if self.full else (0, 0)
            self.note(f"{label}, forward", took, done[0], [y])

            def timed_backward(dy: np.ndarray) -> Any:
                start = time.perf_counter()
                gradients = backward(dy)
                took = time.perf_counter() - start
                self.note(f"{label}, backward", took, done[1], gradients)
                return gradients

            return y, timed_backward

        return forward

    @contextmanager
    def running(self) -> Iterator[None]:
        """Inside this block every op is timed."""
        before = {op: op.adaptor for op in OPS.values()}
        try:
            for op in before:
                op.adaptor = self.around(op)
            yield
        finally:
            for op, function in before.items():
                op.adaptor = function


def profile(
    dataset: str, data_dir: str | None, scale: float, users: int, n: int, steps: int
) -> Any:
    """Each op of one training step, the same batch again and again, and what is around the ops."""
    split = machine.load(dataset, data_dir, scale)
    config = preset(dataset).sasrec
    if n:
        config = SASRecConfig(n=n, d=config.d, blocks=config.blocks, dropout=config.dropout)
    batches = TrainingBatches(split, n=config.n, batch_size=users)
    batch = batches.batch(batches.epoch_users(0)[:users], 0)
    model = SASRec(split.dataset.num_items, config)
    optimizer = Adam(model.parameters())

    def step(clock: Clock) -> None:
        with clock.running():
            start = time.perf_counter()
            batches.batch(batch.users, 0)
            drawn = time.perf_counter()
            loss = model.loss(batch, Keys(0, 0))
            loss.backward()
            walked = time.perf_counter()
            optimizer.step()
            optimizer.zero_grad()
            end = time.perf_counter()
        ops = sum(clock.seconds.values())
        size = sum(p.size for p in model.parameters())
        clock.note("batch and negatives", drawn - start)
        clock.note("engine, between ops", walked - drawn - ops)
        clock.note("Adam", end - walked, (12 * size, 7 * size))
        clock.note("whole step", end - start, sum(clock.work.values()))

    first = Clock(full=True)  # untrained weights: the same at any number of threads
    step(first)
    step(Clock())
    clocks = [Clock() for _ in range(steps)]
    for clock in clocks:
        step(clock)
    rows = {}
    for label in first.seconds:
        flops, numbers = first.work[label]
        rows[label] = {
            "calls": first.calls[label],
            "ms": 1000 * statistics.median(clock.seconds[label] for clock in clocks),
            "mflop": flops / 1e6,
            "mb": 4 * numbers / 1e6,
            "digest": first.hashes[label].hexdigest(),
        }
    return {"T": len(batch.inputs.items), "n": config.n, "d": config.d, "rows": rows}


# --- our matmul against BLAS --------------------------------------------------------------------


def products(T: int, largest: int, budget: float) -> list[dict[str, Any]]:
    """GFLOP/s of C = A B by shape (M, K, N), ours and BLAS's, with this process's threads."""
    shapes = [(T, d, d) for d in (16, 32, 50, 64, 128, 256) if d <= largest]
    shapes += [(n, n, n) for n in (32, 64, 128, 256, 512, 1024) if n <= largest]
    shapes += [(128, 50, items) for items in (3417, 23716) if largest >= 1024]
    rows: list[dict[str, Any]] = [{"shape": shape} for shape in shapes]
    # all of ours first: once BLAS has threads, they go on spinning where ours would run
    for name, multiply in (("ours", matmul.matmul), ("blas", np.matmul)):
        rng = np.random.default_rng(0)
        for row, (M, K, N) in zip(rows, shapes, strict=True):
            a, b = (rng.standard_normal(s).astype(np.float32) for s in ((M, K), (K, N)))
            time = machine.seconds(lambda f=multiply, a=a, b=b: f(a, b), budget)
            row[name] = 2 * M * K * N / time / 1e9
    return rows


# --- the report ---------------------------------------------------------------------------------


def op_rows(one: Any, many: Any, limits: Sequence[dict[str, float]]) -> list[list[Any]]:
    """The table of one step: times, work, the limit and the share of it that is reached."""
    lines: list[list[Any]] = []
    for label, row in one["rows"].items():
        other = many["rows"][label]
        line = [label, row["calls"], row["ms"], other["ms"], row["ms"] / other["ms"]]
        bounds = [_bound_ms(row, limit) for limit in limits]
        if row["mb"]:
            by = "FLOPs" if bounds[1][0] > bounds[1][1] else "bytes"
            line += [row["mflop"], row["mb"], by]
            line += [f"{max(b) / r['ms']:.0%}" for b, r in zip(bounds, (row, other), strict=True)]
        else:
            line += [""] * 5
        same = row["digest"] == other["digest"]
        lines.append([*line, same if "ward" in label else ""])
    return lines


def _bound_ms(row: dict[str, float], limit: dict[str, float]) -> tuple[float, float]:
    """Milliseconds that FLOPs and bytes would take at the measured limits."""
    rates = list(limit.values())
    return row["mflop"] / rates[0], row["mb"] / rates[3]


def main(argv: Sequence[str] | None = None) -> None:
    parser = machine.parser(__doc__)
    parser.add_argument("--data-dir", help="folder with the data sets' files")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the users of made-up data"
    )
    parser.add_argument("--users", type=machine.positive, default=128, help="users of the batch")
    parser.add_argument("--steps", type=machine.positive, default=30)
    parser.add_argument(
        "--largest", type=machine.positive, default=1024, help="largest square product"
    )
    parser.add_argument(
        "--budget", type=float, default=0.3, help="seconds a number is measured for"
    )
    args = parser.parse_args(argv)
    counts = (1, args.threads)
    common = {"data_dir": args.data_dir, "scale": args.scale, "steps": args.steps}
    steps = {
        name: [machine.in_process(profile, t, dataset=name, users=args.users, n=0, **common)
               for t in counts]
        for name in DATASETS
    }  # fmt: skip
    T = steps["ml-1m"][0]["T"]
    peaks = [machine.in_process(limits, t, T=T, budget=args.budget) for t in counts]
    blas = [machine.in_process(products, t, T=T, largest=args.largest, budget=args.budget / 3)
            for t in counts]  # fmt: skip
    tiny = {"dataset": "tiny", "data_dir": None, "scale": 1.0, "users": 1, "n": 1}
    tiny = machine.in_process(profile, 1, **tiny, steps=20 * args.steps)
    threads = [f"{t} thread{'s' * (t > 1)}" for t in counts]
    op_head = ["op", "calls", f"ms, {threads[0]}", f"ms, {threads[1]}", "gain", "MFLOP", "MB"]
    op_head += ["bound by", f"of the limit, {threads[0]}", threads[1], "same bits"]
    tables = {
        "limits": machine.table(
            ["limit", *threads], [[key, *(p[key] for p in peaks)] for key in peaks[0]]
        )
    }
    for name, pair in steps.items():
        tables[f"ops-{name}"] = machine.table(op_head, op_rows(*pair, peaks))
    tables["dispatch"] = machine.table(
        ["T = 1", "calls", "microseconds a step", "microseconds a call"],
        [
            [label, row["calls"], 1000 * row["ms"], 1000 * row["ms"] / row["calls"]]
            for label, row in tiny["rows"].items()
        ],
    )
    heads = [f"{who}, {t}" for t in threads for who in ("ours", "BLAS", "ours / BLAS")]
    tables["matmul"] = machine.table(
        ["GFLOP/s of C = A B, M x K x N", *heads],
        [
            [" x ".join(map(str, a["shape"]))]
            + [value for r in (a, b) for value in (r["ours"], r["blas"], r["ours"] / r["blas"])]
            for a, b in zip(*blas, strict=True)
        ],
    )
    facts = {"threads": counts, "limits": peaks, "steps": steps, "matmul": blas, "dispatch": tiny}
    machine.save("ops", args, facts, tables)
    plot(steps, peaks[1], args)


def plot(steps: Any, limit: dict[str, float], args: argparse.Namespace) -> None:
    """The roofline: FLOPs a second over FLOPs a byte, an op a point."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    rates = list(limit.values())
    x = np.logspace(-2, 3, 100)
    for rate, style, name in ((rates[3], "-", "cache"), (rates[5], ":", "memory")):
        axes.plot(x, np.minimum(rates[0], x * rate), "k" + style, label=f"limit from {name}")
    for (name, pair), marker in zip(steps.items(), "os", strict=True):
        rows = {k: r for k, r in pair[1]["rows"].items() if r["mflop"] and k != "whole step"}
        points = {k: (r["mflop"] / r["mb"], r["mflop"] / r["ms"]) for k, r in rows.items()}
        axes.plot(*zip(*points.values(), strict=True), marker, label=name)
        if name == "ml-1m":
            for label, point in points.items():
                axes.annotate(label, point, fontsize=6, xytext=(4, -2), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlabel="FLOPs a byte", ylabel="GFLOP/s")
    axes.set_title(f"Ops of a training step, {args.threads} threads")
    axes.legend(loc="lower right")
    figure.savefig(args.out / "ops.png", dpi=120)


if __name__ == "__main__":
    machine.run(main)
