"""Which implementation of an op runs: "numpy", by the book, or "numba", the fast kernels.

The choice belongs to the thread that makes it, as `no_grad` does: a thread that serves
predictions can switch without touching one that trains.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from minisasrec.errors import ConfigError

BACKENDS = ("numpy", "numba")


class _Choice(threading.local):
    name = ""  # not chosen yet in this thread


_choice = _Choice()


def backend() -> str:
    """The backend of this thread: "numba", or "numpy" where Numba is missing or not wanted."""
    if not _choice.name:
        wanted = os.environ.get("MINISASREC_BACKEND")
        _choice.name = _usable(wanted or ("numba" if find_spec("numba") else "numpy"))
    return _choice.name


def use_backend(name: str) -> Any:
    """Choose "numba" (fast, the default) or "numpy" (by the book: walk an op with a debugger).

    Takes effect at once, in this thread; as `with use_backend("numpy"):` it is undone at the end
    of the block. Raises `ConfigError` for another name, or where Numba is not installed. The
    environment variable MINISASREC_BACKEND sets the choice that every thread starts with.
    """
    previous, _choice.name = backend(), _usable(name)
    return _restore(previous)


@contextmanager
def _restore(previous: str) -> Iterator[None]:
    try:
        yield
    finally:
        _choice.name = previous


def _usable(name: str) -> str:
    if name not in BACKENDS:
        raise ConfigError(f"unknown backend {name!r}; choose one of {', '.join(BACKENDS)}")
    if name == "numba" and not find_spec("numba"):
        raise ConfigError("the numba backend needs Numba: pip install numba, or choose numpy")
    return name
