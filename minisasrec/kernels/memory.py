"""Keep freed memory in the process, because the next training step needs as much again.

The C library of Linux (glibc) returns memory to the system when enough of it is free at the end of
the heap, and asks the system for every large array anew. Each step then begins with thousands of
page faults, and two threads wait for each other in them. Whether this happens depends on what lies
at the end of the heap by chance: the same evaluation took .2 or .3 s.

The setting is one of the whole process: a program that uses this package beside others keeps their
freed memory, too. `MINISASREC_KEEP_MEMORY=0` in the environment leaves the C library as it is.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of malloc.h
KEPT = 2**30  # bytes that may be free at the end of the heap
LARGEST = 2**25  # bytes of an array that comes from the heap: the most that glibc allows


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory. With another C library, or if not wanted, do nothing."""
    if sys.platform == "linux" and os.environ.get("MINISASREC_KEEP_MEMORY") != "0":
        with suppress(AttributeError, OSError):  # another C library
            libc = ctypes.CDLL(None)
            libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
            libc.mallopt(M_TRIM_THRESHOLD, KEPT)
