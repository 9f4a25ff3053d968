"""How much memory reading and training may take: `--max-memory`, or else all of this machine.

A compressed file of one megabyte can hold gigabytes, and one digit too many in `--d` asks for more
memory than anybody has. Linux then ends some program without a word. So what is going to be needed
is estimated before it is taken, and `check` refuses what is over the budget, in one line.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache

from minisasrec.errors import ConfigError, MinisasrecError
from minisasrec.kernels.cores import control_groups

GB = 10**9
_given: float | None = None  # of this process, in GB


def use_budget(gigabytes: float | None) -> None:
    """From now on, reading and training may take so much; None: all memory of the machine."""
    global _given
    _given = gigabytes


@contextmanager
def budget(gigabytes: float | None) -> Iterator[None]:
    """Inside this block, so much; None: as outside."""
    before = _given
    try:
        use_budget(before if gigabytes is None else gigabytes)
        yield
    finally:
        use_budget(before)


def check(
    needed: float, what: str, advice: str, error: type[MinisasrecError] = ConfigError
) -> None:
    """Raise `error` if `needed` bytes, for `what`, are more than the budget."""
    most = machine_memory() if _given is None else _given * GB
    if needed > most:
        limit = "this machine has" if _given is None else "--max-memory (max_memory=) allows"
        raise error(
            f"{what} takes at least {_shown(needed)} of memory; {limit} {_shown(most)}: {advice}"
        )


class Weights:
    """Inside such a block, the weights that its thread makes are added up, each ``copies`` times.

    `take` refuses the first that is over the budget, before it is made.
    """

    def __init__(self, copies: int, what: str, advice: str) -> None:
        self.copies, self.what, self.advice, self.bytes = copies, what, advice, 0

    def __enter__(self) -> Weights:
        self.before = _innermost.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _innermost.reset(self.before)


_innermost: ContextVar[Weights | None] = ContextVar("innermost", default=None)


def take(count: int) -> None:
    """Add `count` bytes of weights to those of the innermost `Weights`, if there is one."""
    if (block := _innermost.get()) is not None:
        block.bytes += block.copies * count
        check(block.bytes, block.what, block.advice)


def _shown(count: float) -> str:
    """Bytes as a person says it.

    >>> _shown(3_456_000_000), _shown(12_300_000)
    ('3.5 GB', '12 MB')
    """
    for unit, size in ("GB", GB), ("MB", 1e6), ("kB", 1e3):
        if count >= size:
            return f"{count / size:,.{int(unit == 'GB')}f} {unit}"
    return f"{count:.0f} bytes"


@cache
def machine_memory() -> float:
    """Bytes of memory that this process may use: the machine's, or its control group's limit."""
    limits = [_physical()]
    for group in control_groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):  # version 2 and 1
            with suppress(OSError, ValueError):  # no such file, or "max": no limit
                limits.append(float(int((group / name).read_text(encoding="ascii"))))
    return min(limits)


def _physical() -> float:
    """The machine's memory; infinite where nobody says."""
    with suppress(AttributeError, OSError, ValueError):  # Linux, macOS
        pages = os.sysconf("SC_PHYS_PAGES")
        if pages > 0:  # -1 is "not known", as in a browser
            return float(os.sysconf("SC_PAGE_SIZE") * pages)
    if sys.platform == "win32":
        with suppress(AttributeError, OSError):
            kilobytes = ctypes.c_ulonglong()
            if ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes)):
                return kilobytes.value * 1024.0
    return float("inf")
