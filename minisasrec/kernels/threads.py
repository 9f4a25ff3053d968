"""How many threads kernels use. (`team.py`: how several threads share the work of one kernel.)

The choice belongs to the thread that makes it, as `use_backend` and `no_grad` do: a thread that
serves predictions can take one core without touching one that trains. Results do not depend on
the number of threads.
"""

from __future__ import annotations

import operator
import threading
from contextlib import AbstractContextManager, ExitStack
from functools import lru_cache
from typing import SupportsIndex

from minisasrec.errors import ConfigError
from minisasrec.kernels.cores import available_cores

MOST_THREADS = 256


class _Choice(threading.local):
    count = 0  # no choice made in this thread


_choice = _Choice()


def threads(n: int) -> AbstractContextManager[object]:
    """Let the kernels that this thread calls use `n` threads, from 1 to 256.

    Takes effect at once; as `with threads(n):` it is undone at the end of the block. `n` may be
    more than the machine has, though this is slower. Raises `ConfigError` for any other `n`.
    """
    before, _choice.count = _choice.count, _checked(n)
    block = ExitStack()  # not a decorator as well: the choice is made now, not at every call
    block.callback(setattr, _choice, "count", before)
    return block


def thread_count() -> int:
    """How many threads the kernels that this thread calls use.

    What `threads` chose. Without a choice it is the number of cores that this process may use:
    its affinity, its CPU quota (of a container) or NUMBA_NUM_THREADS, whichever is the least.
    """
    return _choice.count or _default()


def threads_chosen() -> bool:
    """Whether this thread has chosen a number of threads."""
    return _choice.count > 0


def _checked(n: SupportsIndex) -> int:
    try:
        count = 0 if isinstance(n, bool) else operator.index(n)  # 2.0 and "2" are refused
    except TypeError:
        count = 0
    if not 1 <= count <= MOST_THREADS:
        raise ConfigError(f"threads must be a whole number from 1 to {MOST_THREADS}, got {n!r}")
    return count


@lru_cache(maxsize=1)
def _default() -> int:
    return min(available_cores(), MOST_THREADS)
