"""One thread or all of them, whichever is faster here and now."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from minisasrec.kernels.threads import thread_count, threads, threads_chosen

Part = TypeVar("Part")


class ThreadChooser:
    """Lets each step of a loop have one thread or all of them, whichever is faster.

    Threads pass rows from cache to cache, and how long that takes depends on which cores the system
    gives them and on what else runs there. Where a kernel takes a few microseconds, one thread may
    be faster than two. So some steps are timed either way, and again from time to time::

        for batch in chooser.over(batches, size=lambda batch: batch.targets.size):
            ...  # forward, backward, update

    A trial begins `first` steps after the start and again every `period` steps. It has `blocks`
    blocks of `block` steps, in turn with all threads and with one. The chooser may be kept for the
    next loop of the same kind, and goes on counting there.

    A thread that has chosen a number itself, with `threads(n)`, keeps it. Results do not depend on
    the choice, as they do not on any number of threads.
    """

    def __init__(
        self, *, first: int = 16, block: int = 4, blocks: int = 8, period: int = 1024
    ) -> None:
        self.first, self.block, self.blocks, self.period = first, block, blocks, period
        self.steps = 0
        self.alone = False  # whether the step has one thread
        self.timed: dict[bool, list[float]] = {False: [], True: []}  # seconds by `alone`

    def over(
        self, parts: Iterable[Part], size: Callable[[Part], float] = lambda part: 1
    ) -> Iterator[Part]:
        """The same parts; a step begins before its part is drawn and ends before the next.

        `size` says how much work a part is, so that steps of different sizes can be compared.
        """
        count = thread_count()
        if count == 1 or threads_chosen():  # nothing to choose
            yield from parts
            return
        drawn = iter(parts)
        while True:
            self.alone = self._next()
            with threads(1 if self.alone else count):
                start = time.perf_counter()
                for part in drawn:
                    yield part
                    self._note((time.perf_counter() - start) / max(size(part), 1))
                    break
                else:
                    return

    def _place(self) -> int | None:
        """The place of this step in a trial, or None outside of one."""
        place = self.steps % self.period - self.first
        return place if 0 <= place < self.block * self.blocks else None

    def _next(self) -> bool:
        """Whether the next step has one thread."""
        place = self._place()
        if place is not None:
            return place // self.block % 2 == 1
        if all(self.timed.values()):  # a trial is over
            one, many = (statistics.median(self.timed[alone]) for alone in (True, False))
            self.timed = {False: [], True: []}
            return one < many
        return self.alone

    def _note(self, seconds: float) -> None:
        place = self._place()
        # the first step of a block finds its rows in the cache of another core
        if place is not None and (place % self.block or self.block == 1):
            self.timed[self.alone].append(seconds)
        self.steps += 1
