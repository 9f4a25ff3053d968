"""Several threads for one kernel: `run(worker, tasks, ...)`.

A *worker* is a serial kernel that takes task numbers from a common counter until none is left::

    @kernel
    def _worker(counter, x, y):
        ...                            # scratch memory of this thread
        task = next_task(counter)
        while task >= 0:
            ...                        # rows 64 * task to 64 * task + 63
            task = next_task(counter)

A task is a *fixed* piece of the work that does not depend on the number of threads. Who computes a
task cannot change its bits, so neither can the thread count.

The threads are plain Python threads, which run side by side because compiled code releases the
GIL. (Numba's own `prange` compiles the body again at every level, up to 5 s more for a kernel, and
its threads wait for each other in ways that differ from system to system: with GNU OpenMP and one
other busy program, a training step was seen to take fifty times as long.)

A training step calls some sixty kernels, many of them shorter than the 50 microseconds that it
takes to wake a thread up, be it from sleep or from waiting for the GIL. So a helper that finds no
task left stays in compiled code, says that it is free, and watches the counter until the caller
has begun on the tasks of the next kernel. That is the moment when nobody holds the GIL. Only after
a good while without work does it go to sleep.
"""

from __future__ import annotations

import atexit
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import types
from numba.core import config

from minisasrec.errors import ConfigError
from minisasrec.kernels.jit import compiled_from, kernel

if TYPE_CHECKING:
    from minisasrec.data.batches import Batch

WATCH = 300_000  # looks at the counter before a helper goes to sleep: about half a millisecond

# Places in the counter array. The caller sees the first SHARED of them, helper i sees i + 1 more:
# by the length of its array, `next_task` knows whose it is.
NEXT, END, FRONT, BACK, SHARED, BUSY = 0, 1, 2, 3, 8, 64  # helper i is busy: [BUSY + 8 i] is not 0


# --- what compiled code does with the counter ---------------------------------------------------


def _place(context, builder, array_type, array, index):
    """The address of array[index]."""
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def _count_python(counter: np.ndarray, index: int) -> int:
    counter[index] += 1
    return counter[index] - 1


@compiled_from(_count_python)
def _count(typingctx, counter, index):
    """counter[index] before 1 is added to it, in one step that no other thread comes between."""

    def codegen(context, builder, signature, args):
        at = _place(context, builder, signature.args[0], *args)
        return builder.atomic_rmw("add", at, context.get_constant(types.int64, 1), "seq_cst")

    return types.int64(counter, types.int64), codegen


@compiled_from(lambda array, index: array[index])
def _look(typingctx, array, index):
    """array[index] as it is now in memory, whatever other threads do with it."""

    def codegen(context, builder, signature, args):
        at = _place(context, builder, signature.args[0], *args)
        return builder.load_atomic(at, "seq_cst", 8)

    return types.int64(array, types.int64), codegen


@compiled_from(lambda array, index, value: array.__setitem__(index, value))
def _put(typingctx, array, index, value):
    """array[index] = value, after everything that this thread wrote before."""

    def codegen(context, builder, signature, args):
        at = _place(context, builder, signature.args[0], *args[:2])
        builder.store_atomic(args[2], at, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), codegen


@kernel
def _watch_for_work(counter, helper, looks):
    """Note that this helper is free; True as soon as the caller has begun on new tasks.

    False after so many looks. `counter` may be any helper's: all of them begin at one address.
    """
    _put(counter, BUSY + 8 * helper, 0)
    for _ in range(looks):
        taken = _look(counter, NEXT)
        if 0 < taken < _look(counter, END):
            return True
    return False


@kernel
def next_task(counter):
    """Take a task number from `counter`, or -1 if none is left.

    The caller takes tasks from the front and the helpers take them from the back, so that from one
    kernel to the next most rows of an array stay in the cache of the same core.

    At -1 the results must be written: the caller may go on to use them before a helper returns.
    """
    # END before the count, and once: a caller that has nothing left to take sets it to 0 while
    # a helper may stand between its count and its task, which would then be nobody's
    end = _look(counter, END)
    if _count(counter, NEXT) < end:
        if len(counter) == SHARED:
            return _count(counter, FRONT)
        return end - 1 - _count(counter, BACK)
    if len(counter) > SHARED:
        _watch_for_work(counter, len(counter) - SHARED - 1, WATCH)
    return -1


@kernel
def _watch_helpers(counter, helpers, looks):
    """True as soon as no helper is busy, False after so many looks."""
    for helper in range(helpers):
        while _look(counter, BUSY + 8 * helper) != 0:
            looks -= 1
            if looks < 0:
                return False
    return True


# --- the team -----------------------------------------------------------------------------------


class _Team:
    """The thread that calls `run` and its helpers; one kernel at a time.

    Between kernels `job` is None. A helper says that it is busy before it reads `job`; `run` sets
    `job` to None before it asks who is busy. So a helper that comes late finds either no job or one
    that `run` has not yet returned from.
    """

    def __init__(self, helpers: int) -> None:
        memory = np.zeros(BUSY + 8 * helpers, np.int64)
        self.counter = memory[:SHARED]
        self.views = [memory[: SHARED + 1 + i] for i in range(helpers)]
        self.busy = memory[BUSY::8]
        self.job: tuple[Callable[..., None], tuple[Any, ...]] | None = None
        self.error: BaseException | None = None
        self.settled, self.closed = True, False
        self.asleep = [False] * helpers
        self.bells = [threading.Lock() for _ in range(helpers)]
        for bell in self.bells:
            bell.acquire()
        _watch_for_work(self.counter, 0, 0)  # compiled here, once
        _watch_helpers(self.counter, helpers, 0)
        self.threads = [
            threading.Thread(
                target=self._help, args=(i,), name=f"minisasrec-kernel-{i}", daemon=True
            )
            for i in range(helpers)
        ]
        for thread in self.threads:
            thread.start()

    def _help(self, i: int) -> None:
        while True:
            if not _watch_for_work(self.counter, i, WATCH):
                self.asleep[i] = True
                if self.job is None and not self.closed:  # else `wake` may have come too early
                    self.bells[i].acquire()  # until `wake`
                self.asleep[i] = False
            if self.closed:
                return
            self.busy[i] = 1
            job = self.job
            if job is not None:
                worker, arguments = job
                try:
                    worker(self.views[i], *arguments)
                except BaseException as error:  # raised again by `run`
                    self.error = error

    def wake(self, helpers: int) -> None:
        for i in range(helpers):
            if self.asleep[i] and self.bells[i].locked():  # not rung already and not yet heard
                self.bells[i].release()

    def run(self, worker: Callable[..., None], tasks: int, arguments: tuple[Any, ...]) -> None:
        if not self.settled:  # Ctrl-C came at a bad moment
            self.settle()
        self.settled, self.error = False, None  # an earlier job's error has been raised by then
        try:
            # NEXT before END, or work would seem to have begun; and the job last, for a helper that
            # comes late and finds it counts tasks at once
            self.counter[NEXT] = self.counter[FRONT] = self.counter[BACK] = 0
            self.counter[END] = tasks
            self.job = worker, arguments
            self.wake(min(_threads, tasks) - 1)
            worker(self.counter, *arguments)
        finally:
            self.settle()
        error, self.error = self.error, None
        if error is not None:
            raise error

    def settle(self) -> None:
        """Leave no task and no job, and wait until no helper is busy with one."""
        self.counter[END] = 0
        self.job = None
        while not _watch_helpers(self.counter, len(self.threads), WATCH):
            time.sleep(0)  # a helper without a core of its own: let it have this one
        self.settled = True

    def close(self) -> None:
        self.closed = True
        self.wake(len(self.threads))
        for thread in self.threads:
            thread.join()


_threads = config.NUMBA_NUM_THREADS
_alone = False  # for now, kernels use the calling thread only: see `ThreadChooser`
_team: _Team | None = None
_team_lock = threading.Lock()


def set_threads(n: int) -> None:
    """Let kernels use `n` threads; results do not depend on it."""
    global _threads
    most = config.NUMBA_NUM_THREADS
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or not 1 <= n <= most:
        raise ConfigError(
            f"threads must be a whole number from 1 to {most} here, got {n!r}; "
            "set NUMBA_NUM_THREADS before the program starts to raise the limit"
        )
    with _team_lock:
        _close_team()  # so that helpers that are no longer wanted do not wake up
        _threads = int(n)


def get_threads() -> int:
    """How many threads kernels use."""
    return _threads


@atexit.register
def _close_team() -> None:
    global _team
    if _team is not None:
        _team.close()
        _team = None


def _forget_team() -> None:
    global _team, _team_lock, _alone
    _team, _team_lock, _alone = None, threading.Lock(), False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_team)  # a forked child has no such threads


def run(worker: Callable[..., None], tasks: int, *arguments: Any) -> None:
    """Call worker(counter, *arguments), in up to `get_threads()` threads, until no task is left."""
    global _team
    # `next_task` in plain Python, without the compiler, is not safe between threads; and a second
    # thread that runs a kernel at the same time does it alone
    many = tasks > 1 and _threads > 1 and not _alone and not config.DISABLE_JIT
    if many and _team_lock.acquire(blocking=False):
        try:
            if _team is None:
                _team = _Team(_threads - 1)
            _team.run(worker, tasks, arguments)
        finally:
            _team_lock.release()
    else:
        counter = np.zeros(SHARED, np.int64)
        counter[END] = tasks
        worker(counter, *arguments)


# --- one thread or all ----------------------------------------------------------------------------


class ThreadChooser:
    """Lets the steps of a training have one thread or all of them, whichever is faster.

    Threads pass rows from cache to cache, and how long that takes depends on which cores the system
    gives them and on what else runs there. Where a kernel takes a few microseconds, one thread
    may be the faster. So some steps are tried either way, and again from time to time::

        for batch in pace.over(batches):
            ...  # forward, backward, update

    Results do not depend on it, as they do not on any number of threads.
    """

    FIRST, BLOCK, BLOCKS, PERIOD = 16, 4, 8, 1024  # counted in steps, but for the BLOCKS of a trial

    def __init__(self) -> None:
        self.steps = 0
        self.alone = False
        self.tried: dict[bool, list[float]] = {False: [], True: []}

    def over(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; a step begins before its batch is drawn and ends before the next."""
        global _alone
        if _threads == 1:  # nothing to choose
            yield from batches
            return
        drawn, before = iter(batches), _alone
        try:
            while True:
                _alone = self.alone = self._next()
                start = time.perf_counter()
                batch = next(drawn, None)
                if batch is None:
                    return
                yield batch
                self._note((time.perf_counter() - start) / batch.targets.size)
        finally:
            _alone = before

    def _next(self) -> bool:
        """Whether the next step has one thread."""
        place = self.steps % self.PERIOD - self.FIRST
        if 0 <= place < self.BLOCK * self.BLOCKS:
            return place // self.BLOCK % 2 == 1
        if all(self.tried.values()):  # a trial is over
            one, many = (statistics.median(self.tried[alone]) for alone in (True, False))
            self.tried = {False: [], True: []}
            return one < many
        return self.alone

    def _note(self, seconds_a_row: float) -> None:
        place = self.steps % self.PERIOD - self.FIRST
        if 0 <= place < self.BLOCK * self.BLOCKS and place % self.BLOCK:
            # not the first of a block, which finds its rows in the cache of another core
            self.tried[self.alone].append(seconds_a_row)
        self.steps += 1
