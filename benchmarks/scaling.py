"""Seconds of a training step as n, d and the catalogue grow: `python -m benchmarks.scaling`.

A step on B full sequences costs a n d^2 (linear layers) + b n^2 d (attention), and c n d for
what goes element by element. One fit over all n and d gives a, b, c; the table shows what was
measured beside what the fit says. The catalogue is grown under the full softmax loss and full
ranking, both in blocks, where the cost should grow with the number of items.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks import machine
from minisasrec import ops
from minisasrec.autograd.tensor import Tensor
from minisasrec.data.batches import Batch
from minisasrec.data.sequences import Packed
from minisasrec.data.split import leave_one_out
from minisasrec.learn.evaluation import Evaluator
from minisasrec.models.sasrec import SASRec
from minisasrec.models.sasrec_config import SASRecConfig
from minisasrec.nn.optim import Adam
from minisasrec.random import Keys

BLOCK = 8192  # items at a time in `products`


def step_seconds(n: int, d: int, users: int, budget: float) -> float:
    """A step of forward, backward and Adam on full sequences of n items; 1,000 items in all."""
    rng = np.random.default_rng(0)
    T = users * n
    items, targets, negatives = (rng.integers(1, 1001, T, dtype=np.int32) for _ in range(3))
    inputs = Packed(items, np.arange(users + 1) * n, n)
    batch = Batch(inputs, targets, negatives[:, None], np.arange(users))
    model = SASRec(1000, SASRecConfig(n=n, d=d))
    optimizer = Adam(model.parameters())

    def step() -> None:
        model.loss(batch, Keys(0, 0)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return machine.seconds(step, budget)


def lengths_and_widths(
    lengths: Sequence[int], widths: Sequence[int], users: int, budget: float
) -> list[dict[str, float]]:
    """Measured steps: each n at d = 50, each d at n = 200 (or the longest, if that is shorter)."""
    pairs = [(n, 50) for n in lengths] + [(min(200, max(lengths)), d) for d in widths]
    return [{"n": n, "d": d, "s": step_seconds(n, d, users, budget)} for n, d in pairs]


def fit(rows: Sequence[dict[str, float]], terms: int) -> np.ndarray:
    """What the first `terms` of (n d^2, n^2 d, n d) predict; relative errors, none < 0."""
    n, d, s = (np.array([row[key] for row in rows], dtype=float) for key in ("n", "d", "s"))
    columns = np.stack([n * d**2, n**2 * d, n * d][:terms], axis=1)
    kept = list(range(terms))
    while True:  # leave out a term that would have to be negative
        factors = np.linalg.lstsq(columns[:, kept] / s[:, None], np.ones(len(s)), rcond=None)[0]
        if (factors >= 0).all():
            return columns[:, kept] @ factors
        kept.pop(int(factors.argmin()))


def products(rows: int, items: int, gradients: bool) -> float:
    """Seconds of NumPy's products alone: scores h E^T, and for `gradients` p E and p^T h, too.

    By blocks of the catalogue, as one block of scores for all of it does not fit into a cache.
    """
    rng = np.random.default_rng(0)
    h, E = (rng.standard_normal((size, 50)).astype(np.float32) for size in (rows, items))

    def multiply() -> None:
        for start in range(0, items, BLOCK):
            block = E[start : start + BLOCK]
            scores = h @ block.T
            if gradients:
                _ = scores @ block, scores.T @ h

    return machine.seconds(multiply)


def catalogues(sizes: Sequence[int], positions: int, users: int) -> list[dict[str, Any]]:
    """Softmax loss with its gradients for some positions, full ranking for some users; d = 50."""
    rows = []
    for items in sizes:
        rng = np.random.default_rng(0)
        model = SASRec(items, SASRecConfig(n=50))
        h = Tensor(rng.standard_normal((positions, 50)).astype(np.float32), requires_grad=True)
        targets = rng.integers(1, items + 1, positions)
        table = model.output_items()

        def loss_and_gradients(h: Any = h, table: Any = table, targets: Any = targets) -> None:
            h.grad = table.grad = None
            ops.softmax_cross_entropy(h, table, targets=targets).backward()

        loss = machine.seconds(loss_and_gradients)
        split = leave_one_out(machine.synthetic("catalogue", users, items, 20 * users, 0.5))
        evaluator = Evaluator(split, "test", "full", max_users=0)
        ranking = machine.seconds(partial(evaluator, model))
        rows.append({"items": items, "loss": loss, "ranking": ranking, "mib": machine.peak_mib()})
        rows[-1]["loss_products"] = products(positions, items, gradients=True)
        rows[-1]["ranking_product"] = products(users, items, gradients=False)
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    parser = machine.parser(__doc__)
    numbers: dict[str, Any] = {"type": machine.positive, "nargs": "+"}
    parser.add_argument("--lengths", **numbers, default=[50, 100, 200, 300, 400, 500, 600])
    parser.add_argument("--widths", **numbers, default=[16, 32, 64, 96, 128, 192, 256])
    parser.add_argument("--items", **numbers, default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--users", type=machine.positive, default=64, help="sequences of a step")
    parser.add_argument("--ranked", type=machine.positive, default=512, help="users to rank")
    parser.add_argument("--budget", type=float, default=1.0, help="seconds a step is measured for")
    args = parser.parse_args(argv)
    shape = {"lengths": args.lengths, "widths": args.widths}
    steps = machine.in_process(
        lengths_and_widths, args.threads, **shape, users=args.users, budget=args.budget
    )
    two, three = fit(steps, 2), fit(steps, 3)
    grown = [
        machine.in_process(catalogues, args.threads, sizes=[i], positions=128, users=args.ranked)[0]
        for i in args.items
    ]
    tables = {
        "scaling": machine.table(
            ["n, d", "ms a step", "a n d^2 + b n^2 d", "measured / that", "with + c n d", "/ that"],
            [
                [f"{row['n']}, {row['d']}", 1000 * row["s"]]
                + [value for p in (a, b) for value in (1000 * p, row["s"] / p)]
                for row, a, b in zip(steps, two, three, strict=True)
            ],
        ),
        "catalogue": machine.table(
            ["items", "softmax loss, ms a position", "ns a position and item",
             "its time / that of its three products", "full ranking, ms a user",
             "ns a user and item", "its time / that of its product", "peak MiB"],
            [
                [r["items"], 1e3 * r["loss"] / 128, 1e9 * r["loss"] / 128 / r["items"]]
                + [r["loss"] / r["loss_products"]]
                + [1e3 * r["ranking"] / args.ranked, 1e9 * r["ranking"] / args.ranked / r["items"]]
                + [r["ranking"] / r["ranking_product"], r["mib"]]
                for r in grown
            ],
        ),
    }  # fmt: skip
    facts = {"steps": steps, "two_terms": two.tolist(), "three_terms": three.tolist()}
    machine.save("scaling", args, {**facts, "catalogues": grown}, tables)
    plot(steps, three, grown, len(args.lengths), args)


def plot(steps: Any, predicted: Any, grown: Any, lengths: int, args: argparse.Namespace) -> None:
    """Measured points on predicted lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    ms = np.array([1000 * row["s"] for row in steps])
    for axes, name, part in (
        (left, "n", slice(lengths)),
        (middle, "d", slice(lengths, None)),
    ):
        x = [row[name] for row in steps[part]]
        axes.plot(x, ms[part], "o", label="measured")
        axes.plot(x, 1000 * predicted[part], "-", label="a n d² + b n² d + c n d")
        axes.set(xlabel=name, ylabel="ms a step", ylim=(0, None))
        axes.legend()
    items = [row["items"] for row in grown]
    right.plot(items, [1000 * r["loss"] / 128 for r in grown], "o-", label="softmax loss, position")
    right.plot(
        items, [1000 * r["ranking"] / args.ranked for r in grown], "s-", label="full ranking, user"
    )
    right.set(xscale="log", yscale="log", xlabel="items", ylabel="ms")
    right.legend()
    figure.savefig(args.out / "scaling.png", dpi=120)


if __name__ == "__main__":
    machine.run(main)
