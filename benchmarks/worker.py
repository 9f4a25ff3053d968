"""One contender in a process of its own: `python -m benchmarks.worker CONTENDER WORK ...`.

Prints one JSON object. A process each, so that peak memory is that of one contender alone.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.machine import load, peak_mib
from minisasrec.backends import use_backend
from minisasrec.data.batches import TrainingBatches
from minisasrec.kernels.chooser import ThreadChooser
from minisasrec.kernels.threads import thread_count, threads
from minisasrec.learn.config import preset
from minisasrec.learn.evaluation import Evaluator
from minisasrec.models.sasrec import SASRec
from minisasrec.nn.optim import Adam
from minisasrec.random import Keys

CONTENDERS = ("ours", "padded-numpy", "port", "tuned")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each epoch (or evaluation) after one that warms up, and peak memory."""
    split = load(args.dataset, args.data_dir, args.scale)
    config = preset(args.dataset).sasrec
    batches = TrainingBatches(split, n=config.n, seed=args.seed)
    if args.contender in ("port", "tuned"):
        seconds = _torch(args, split, config, batches)
    else:
        seconds = _ours(args, split, config, batches)
    return {
        "contender": args.contender,
        "dataset": args.dataset,
        "work": args.work,
        "seconds": seconds,
        "peak_mib": round(peak_mib(), 1),
    }


def _limited(batches: TrainingBatches, epoch: int, steps: int) -> Any:
    users = batches.epoch_users(epoch)
    for i in range(min(steps or len(batches), len(batches))):
        chosen = users[i * batches.batch_size : (i + 1) * batches.batch_size]
        yield batches.batch(chosen, epoch * len(batches) + i)


def _ours(args: Any, split: Any, config: Any, batches: TrainingBatches) -> list[float]:
    """Ours pays for drawing its batches and negatives inside the time."""
    paced: Any = iter
    if args.contender == "padded-numpy":
        use_backend("numpy")
    else:
        if args.threads != thread_count():  # not the default, as `machine.environment` sets it
            threads(args.threads)
        # as `train` does
        paced = partial(ThreadChooser().over, size=lambda batch: batch.targets.size)
    model = SASRec(split.dataset.num_items, config, seed=args.seed)
    if args.work == "evaluate":
        evaluator = Evaluator(split, "test", "sampled", max_users=0, seed=args.seed)
        return [_time(lambda: evaluator(model)) for _ in range(args.repeats + 1)][1:]
    optimizer = Adam(model.parameters())

    def epoch(number: int) -> None:
        for i, batch in enumerate(paced(_limited(batches, number, args.steps))):
            batch = batch.padded() if args.contender == "padded-numpy" else batch
            loss = model.loss(batch, Keys(args.seed, number * len(batches) + i))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    return [_time(lambda k=k: epoch(k)) for k in range(args.repeats + 1)][1:]


def _torch(args: Any, split: Any, config: Any, batches: TrainingBatches) -> list[float]:
    """The peers get their batches ready-made: only their steps are timed."""
    import torch

    from benchmarks.peers import TorchSASRec, to_torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = TorchSASRec(split.dataset.num_items, config, tuned=args.contender == "tuned")
    if args.work == "evaluate":
        return _torch_evaluate(args, split, model)
    optimizer = model.optimizer()
    seconds = []
    for number in range(args.repeats + 1):
        total = 0.0
        for batch in _limited(batches, number, args.steps):
            inputs = to_torch(batch)
            start = time.perf_counter()
            loss = model.loss(*inputs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += time.perf_counter() - start
        seconds.append(total)
    return seconds[1:]


def _torch_evaluate(args: Any, split: Any, model: Any) -> list[float]:
    """As public ports do: one user at a time, 101 candidates, candidates ready-made."""
    import torch

    evaluator = Evaluator(split, "test", "sampled", max_users=0, seed=args.seed)
    padded = evaluator.histories(evaluator.users, model.n).pad().astype(np.int64)
    items, candidates = (
        torch.from_numpy(padded),
        torch.from_numpy(evaluator.candidates.astype(np.int64)),
    )
    model.eval()

    def run() -> None:
        with torch.no_grad():
            for u in range(len(items)):
                h = model(items[u : u + 1])[:, -1]
                scores = model.items(candidates[u]) @ h[0]
                (-scores).argsort().argsort()[0].item()

    return [_time(run) for _ in range(max(1, args.repeats // 2))]


def _time(function: Any) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("work", choices=("train", "evaluate"))
    parser.add_argument("--dataset", default="ml-1m")
    parser.add_argument("--data-dir")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="share of the users of made-up data"
    )
    parser.add_argument("--threads", type=machine.positive, default=2)
    parser.add_argument("--repeats", type=machine.positive, default=5)
    parser.add_argument("--steps", type=machine.count, default=0, help="steps of an epoch, 0 = all")
    parser.add_argument("--seed", type=int, default=0)
    print(json.dumps(measure(parser.parse_args())))


if __name__ == "__main__":
    machine.run(main)
