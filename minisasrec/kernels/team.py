"""Several threads share the work of one kernel: `run(worker, tasks, ...)`.

A *worker* is a kernel for one thread. It takes task numbers from a shared counter until none is
left::

    @kernel
    def _worker(counter, x, y):
        ...                            # scratch memory of this thread
        task = next_task(counter)
        while task >= 0:
            ...                        # rows 64 * task to 64 * task + 63
            task = next_task(counter)

A task is a *fixed* piece of the work that does not depend on the number of threads. Which thread
computes it cannot change its bits, so the number of threads cannot either.

The threads are plain Python threads. They run side by side because compiled code releases the GIL.
(Numba has threads of its own, `prange`. But it compiles the body of such a loop again at every
level, up to 5 s more for a kernel, and how its threads wait for each other differs from system to
system: with GNU OpenMP and one other busy program, a training step took fifty times as long.)

A training step calls some sixty kernels. Many of them are shorter than the 50 microseconds that it
takes to wake up a thread that sleeps or waits for the GIL. So a helper thread that finds no task
left stays in compiled code: it says that it is free, and looks at the counter again and again
until the caller begins with the tasks of the next kernel. It goes to sleep only after half a
millisecond without work.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from minisasrec.kernels.jit import kernel
from minisasrec.kernels.simd.atomic import count, look, put
from minisasrec.kernels.simd.internals import config
from minisasrec.kernels.threads import MOST_THREADS, thread_count

LOOKS = 300_000  # at the counter before a helper goes to sleep: about half a millisecond

# Places in the counter array. The caller sees the first SHARED of them, helper i sees i + 1 more:
# by the length of its array, `next_task` knows whose it is.
NEXT, END = 0, 1  # tasks that were counted, and tasks in all
FRONT, BACK = 2, 3  # tasks taken from the front (by the caller) and from the back (by helpers)
INVITED = 4  # helpers 0 to INVITED - 1 may work on this kernel
SHARED = 8
BUSY = 64  # helper i is busy while [BUSY + 8 i] is not 0: a cache line for each


# --- what compiled code does with the counter ---------------------------------------------------


@kernel
def _watch_for_work(counter, helper, looks):
    """Note that this helper is free; True as soon as the caller has begun with tasks for it.

    False after so many looks. `counter` may be any helper's: all of them begin at one address.
    """
    put(counter, BUSY + 8 * helper, 0)
    for _ in range(looks):
        taken = look(counter, NEXT)
        if 0 < taken < look(counter, END) and helper < look(counter, INVITED):
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
    end = look(counter, END)
    if count(counter, NEXT) < end:
        if len(counter) == SHARED:
            return count(counter, FRONT)
        return end - 1 - count(counter, BACK)
    if len(counter) > SHARED:
        _watch_for_work(counter, len(counter) - SHARED - 1, LOOKS)
    return -1


@kernel
def _watch_helpers(counter, helpers, looks):
    """True as soon as no helper is busy, False after so many looks."""
    for helper in range(helpers):
        while look(counter, BUSY + 8 * helper) != 0:
            looks -= 1
            if looks < 0:
                return False
    return True


# --- the team -----------------------------------------------------------------------------------


class _Team:
    """The helper threads of this process. One kernel at a time has them.

    Between kernels `job` is None. A helper says that it is busy before it reads `job`; `run` sets
    `job` to None before it asks who is busy. So a helper that comes late finds either no job or one
    that `run` has not yet returned from.
    """

    def __init__(self) -> None:
        self.memory = np.zeros(BUSY + 8 * MOST_THREADS, np.int64)
        self.counter = self.memory[:SHARED]
        self.job: tuple[Callable[..., None], tuple[Any, ...], int] | None = None
        self.error: BaseException | None = None
        self.settled, self.closed = True, False
        self.threads: list[threading.Thread] = []
        self.asleep: list[bool] = []
        self.bells: list[threading.Lock] = []  # held while nobody rings
        _watch_for_work(self.counter, 0, 0)  # compiled here, once
        _watch_helpers(self.counter, 0, 0)

    def grow(self, helpers: int) -> None:
        """Have so many helpers, or more."""
        for i in range(len(self.threads), helpers):
            bell = threading.Lock()
            bell.acquire()
            thread = threading.Thread(
                target=self._help, args=(i, bell), name=f"minisasrec-kernel-{i}", daemon=True
            )
            self.bells.append(bell)
            self.asleep.append(False)
            self.threads.append(thread)
            thread.start()

    def _help(self, i: int, bell: threading.Lock) -> None:
        counter, busy = self.memory[: SHARED + 1 + i], self.memory[BUSY + 8 * i :]
        while True:
            if not _watch_for_work(self.counter, i, LOOKS):
                self.asleep[i] = True
                if self.job is None and not self.closed:  # else `wake` may have come too early
                    bell.acquire()  # until `wake`
                self.asleep[i] = False
            if self.closed:
                return
            busy[0] = 1
            job = self.job
            if job is not None:
                worker, arguments, invited = job
                if i < invited and self.counter[NEXT] < self.counter[END]:
                    try:
                        worker(counter, *arguments)
                    except BaseException as error:  # raised again by `run`
                        self.error = error
                        self.counter[END] = 0  # nobody goes on with it, this helper neither

    def wake(self, helpers: int) -> None:
        for i in range(helpers):
            if self.asleep[i] and self.bells[i].locked():  # not rung already and not yet heard
                self.bells[i].release()

    def run(
        self, worker: Callable[..., None], tasks: int, arguments: tuple[Any, ...], helpers: int
    ) -> None:
        """Call worker(counter, *arguments) here and in so many helpers, until no task is left."""
        if not self.settled:  # Ctrl-C came at a bad moment
            self.settle(len(self.threads))
        self.settled, self.error = False, None  # an earlier job's error has been raised by then
        try:
            self.grow(helpers)
            # NEXT before END, or work would seem to have begun; and the job last, for a helper that
            # comes late and finds it counts tasks at once
            self.counter[NEXT] = self.counter[FRONT] = self.counter[BACK] = 0
            self.counter[INVITED] = helpers
            self.counter[END] = tasks
            self.job = worker, arguments, helpers
            self.wake(min(helpers, tasks - 1))
            worker(self.counter, *arguments)
        finally:
            self.settle(helpers)
        error, self.error = self.error, None
        if error is not None:
            raise error

    def settle(self, helpers: int) -> None:
        """Leave no task and no job, and wait until none of so many helpers is busy with one."""
        self.counter[END] = 0
        self.job = None
        while not _watch_helpers(self.memory, helpers, LOOKS):
            time.sleep(0)  # a helper without a core of its own: let it have this one
        self.settled = True

    def close(self) -> None:
        """End all helpers."""
        self.closed = True
        self.wake(len(self.threads))
        for thread in self.threads:
            thread.join()


_team: _Team | None = None
_team_lock = threading.Lock()


@atexit.register
def _close_team() -> None:
    global _team
    if _team is not None:
        _team.close()
        _team = None


def _forget_team() -> None:
    global _team, _team_lock
    _team, _team_lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_team)  # a forked child has no such threads


def run(worker: Callable[..., None], tasks: int, *arguments: Any) -> None:
    """Call worker(counter, *arguments), in `thread_count()` threads, until no task is left."""
    global _team
    helpers = min(thread_count(), tasks) - 1 if tasks > 1 else 0
    # `next_task` in plain Python, without the compiler, is not safe between threads; and a second
    # thread that runs a kernel at the same time does it alone
    if helpers > 0 and not config.DISABLE_JIT and _team_lock.acquire(blocking=False):
        try:
            if _team is None:
                _team = _Team()
            _team.run(worker, tasks, arguments, helpers)
        finally:
            _team_lock.release()
    else:
        counter = np.zeros(SHARED, np.int64)
        counter[END] = tasks
        worker(counter, *arguments)
