"""Freed memory stays with the process: a step asks for the same arrays as the one before.

The C library of Linux (glibc) gives memory back to the system when enough of it is free at the end
of the heap, and takes large arrays from the system one by one. Then each step begins with thousands
of page faults, for which two threads also have to wait for each other. Whether it comes to that
depends on what happens to lie at the end of the heap: the same evaluation took .2 or .3 s.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # names of malloc.h
KEPT = 2**30  # bytes that may be free at the end of the heap
LARGEST = 2**25  # bytes of an array that comes from the heap: the most that glibc allows


def keep_freed_memory() -> None:
    """Ask glibc to; elsewhere nothing happens."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            libc = ctypes.CDLL(None)
            libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
            libc.mallopt(M_TRIM_THRESHOLD, KEPT)
