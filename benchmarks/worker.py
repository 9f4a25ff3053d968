"""One contender in a process of its own: `python -m benchmarks.worker CONTENDER WORK ...`.

Prints one JSON object. A process each, so that peak memory is that of one contender alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks import machine
from benchmarks.machine import load, peak_mib
from minisasrec.backends import use_backend
from minisasrec.data.batches import Batch, TrainingBatches
from minisasrec.kernels.chooser import ThreadChooser
from minisasrec.kernels.threads import thread_count, threads
from minisasrec.learn.config import preset
from minisasrec.learn.evaluation import Evaluator
from minisasrec.models.sasrec import SASRec
from minisasrec.nn.optim import Adam
from minisasrec.random import Keys

CONTENDERS = ("ours", "packed", "packed-compiled", "tuned", "port", "padded-numpy")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each epoch (or evaluation) after one that warms up, and peak memory."""
    split = load(args.dataset, args.data_dir, args.scale)
    config = preset(args.dataset).sasrec
    batches = TrainingBatches(split, n=config.n, seed=args.seed)
    contender = _ours if args.contender in ("ours", "padded-numpy") else _torch
    seconds, drawing = contender(args, split, config, batches)
    return {
        "contender": args.contender,
        "dataset": args.dataset,
        "work": args.work,
        "seconds": seconds,
        "drawing": drawing,
        "peak_mib": round(peak_mib(), 1),
    }


def _limited(
    batches: TrainingBatches, epoch: int, steps: int, drawing: list[float]
) -> Iterator[Batch]:
    """The batches of an epoch; the seconds that drawing them takes are added to `drawing[-1]`."""
    users = batches.epoch_users(epoch)
    for i in range(min(steps or len(batches), len(batches))):
        start = time.perf_counter()
        chosen = users[i * batches.batch_size : (i + 1) * batches.batch_size]
        batch = batches.batch(chosen, epoch * len(batches) + i)
        drawing[-1] += time.perf_counter() - start
        yield batch


def _ours(
    args: Any, split: Any, config: Any, batches: TrainingBatches
) -> tuple[list[float], list[float]]:
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
        return [_time(lambda: evaluator(model)) for _ in range(args.repeats + 1)][1:], []
    optimizer = Adam(model.parameters())
    drawing: list[float] = []

    def epoch(number: int) -> None:
        drawing.append(0.0)
        for i, batch in enumerate(paced(_limited(batches, number, args.steps, drawing))):
            batch = batch.padded() if args.contender == "padded-numpy" else batch
            loss = model.loss(batch, Keys(args.seed, number * len(batches) + i))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    seconds = [_time(lambda k=k: epoch(k)) for k in range(args.repeats + 1)]
    return seconds[1:], drawing[1:]


def _torch(
    args: Any, split: Any, config: Any, batches: TrainingBatches
) -> tuple[list[float], list[float]]:
    """The peers get their batches ready-made: only their steps are timed."""
    import torch

    from benchmarks.peers import PEERS
    from minisasrec.kernels.memory import keep_freed_memory

    threads(1)  # drawing a batch leaves no helper awake, which would take a core
    keep_freed_memory()  # as ours: each step finds the memory of the one before
    torch.set_flush_denormal(True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    peer = PEERS[args.contender](split.dataset.num_items, config)
    tried: dict[int, list[float]] = {args.threads: [], 1: []}  # seconds, by number of threads

    def choose_threads() -> None:
        """As ours does: one thread where it is faster than all of them."""
        fastest = args.threads
        if all(tried.values()):  # else there were too few steps to try
            fastest = min(tried, key=lambda n: statistics.median(tried[n]))
        torch.set_num_threads(fastest)

    if args.work == "evaluate":
        peer.eval()
        evaluator = Evaluator(split, "test", "sampled", max_users=0, seed=args.seed)
        histories = evaluator.histories(evaluator.users, peer.n)
        parts = peer.prepare_histories(histories, evaluator.candidates)
        peer.ranks(parts)
        for n in tried:
            torch.set_num_threads(n)
            tried[n].append(_time(lambda: peer.ranks(parts)))
        choose_threads()
        return [_time(lambda: peer.ranks(parts)) for _ in range(args.repeats)], []
    optimizer = peer.optimizer()
    seconds = []
    for number in range(args.repeats + 1):
        total = 0.0
        for i, batch in enumerate(_limited(batches, number, args.steps, [0.0])):
            parts = peer.prepare(batch)
            if number == 0:  # blocks of four steps with all threads, and with one
                torch.set_num_threads(1 if i // 4 % 2 else args.threads)
            start = time.perf_counter()
            optimizer.zero_grad()
            peer.backward(parts)
            optimizer.step()
            took = time.perf_counter() - start
            total += took
            if number == 0 and i % 4:
                tried[torch.get_num_threads()].append(took / len(batch.targets))
        if number == 0:
            choose_threads()
        seconds.append(total)
    return seconds[1:], []


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
