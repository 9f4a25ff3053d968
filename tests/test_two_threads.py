"""Two threads at a time: what one of them switches or records leaves the other alone."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import numpy as np
from strategies import random_split

from minisasrec import SASRec, SASRecConfig, Tensor, fit, no_grad, ops, use_backend
from minisasrec.autograd.engine import recording
from minisasrec.backends import backend
from minisasrec.commands.report import top_items
from minisasrec.learn.config import TrainConfig


class Held:
    """A block that another thread is inside of, from `with Held(block):` on."""

    def __init__(self, block: Callable[[], Any]) -> None:
        self.inside, self.leave = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.body, args=(block,))
        self.thread.start()
        assert self.inside.wait(10)

    def body(self, block: Callable[[], Any]) -> None:
        with block():
            self.inside.set()
            self.leave.wait(10)

    def end(self) -> None:
        self.leave.set()
        self.thread.join()


def test_no_grad_in_another_thread_drops_nothing_here() -> None:
    x = Tensor(np.ones(3), requires_grad=True)
    a = x * 3.0
    other = Held(no_grad)
    assert recording()
    b = x * 5.0
    other.end()
    (a + b).sum().backward()
    np.testing.assert_array_equal(x.grad, [8, 8, 8])


def test_blocks_of_two_threads_that_overlap_leave_nothing_behind() -> None:
    before = backend()
    for block in (no_grad, lambda: use_backend("numpy")):
        first, second = Held(block), Held(block)
        first.end()
        second.end()
    assert recording() and backend() == before


def test_a_thread_begins_with_recording_whoever_starts_it() -> None:
    seen = []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append(recording()))
        thread.start()
        thread.join()
        assert not recording()
    assert seen == [True]


def test_graphs_recorded_and_walked_in_two_threads() -> None:
    grads: dict[int, list[float]] = {0: [], 1: []}
    shared = Tensor(np.arange(6.0).reshape(2, 3))
    barrier = threading.Barrier(2)

    def work(number: int) -> None:
        barrier.wait(10)
        for size in range(1, 60):
            x = Tensor(np.full((3, size), float(number + 1)), requires_grad=True)
            h = shared @ x
            with no_grad():
                assert not (x * 2.0).requires_grad
            (h * h).sum().backward()
            assert x.grad is not None and x.grad.shape == (3, size)
            grads[number].append(float(x.grad[0, 0]))

    threads = [threading.Thread(target=work, args=(number,)) for number in grads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # d/dx |A x|^2 = 2 A^T A x, with A = [[0 1 2], [3 4 5]]: 2 * 3 * 12 in the first entry
    assert grads == {0: [72.0] * 59, 1: [144.0] * 59}


@contextmanager
def serving(model: Any) -> Any:
    """Another thread that recommends over and over."""
    stop, served, failed = threading.Event(), [], []

    def serve() -> None:
        try:
            while not stop.is_set():
                served.append(top_items(model, [5, 7, 9], 10))
        except BaseException as error:  # noqa: BLE001  (shown below, in the thread of the test)
            failed.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert served and not failed, failed


def test_training_beside_recommending_gives_the_same_weights() -> None:
    split, config = random_split(num_items=200), SASRecConfig(n=10, d=8, dropout=0.2)
    weights = []
    for beside in (False, True):
        model, served = (SASRec(split.dataset.num_items, config, seed=seed) for seed in (3, 9))
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            settings = TrainConfig(epochs=3, batch_size=8, seed=3)
            if beside:
                with serving(served):
                    fit(model, split, settings, progress=False)
            else:
                fit(model, split, settings, progress=False)
        weights.append(model.item_vectors().copy())
    np.testing.assert_array_equal(*weights)


def test_the_mode_of_an_op_is_read_where_it_is_called() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    results = []
    with no_grad():
        thread = threading.Thread(target=lambda: results.append(ops.exp(x)))
        thread.start()
        thread.join()
    assert results[0].requires_grad


def test_gradients_of_a_leaf_that_two_threads_walk_to_add_up() -> None:
    w = Tensor(np.ones(200_000), requires_grad=True)

    def walk() -> None:
        for _ in range(40):
            (w * 3.0).sum().backward()

    workers = [threading.Thread(target=walk) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert w.grad is not None
    np.testing.assert_array_equal(w.grad, 3 * 40 * 4)
