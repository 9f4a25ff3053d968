"""Which implementation of an op runs: "numpy", by the book, or "numba", the fast kernels.

The choice belongs to the thread that makes it, as that of `no_grad` does: a thread that serves
predictions can switch, and another one that trains does not notice.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from importlib.util import find_spec
from typing import Any, TypeVar, overload

from minisasrec.errors import ConfigError

BACKENDS = ("numpy", "numba")
Function = TypeVar("Function", bound=Callable[..., Any])


class _Choice(threading.local):
    name = ""  # not chosen yet in this thread


_choice = _Choice()


def backend() -> str:
    """The backend of this thread: "numba", or "numpy" where Numba is missing or not wanted."""
    if not _choice.name:
        wanted = os.environ.get("MINISASREC_BACKEND")
        _choice.name = _usable(wanted or ("numba" if find_spec("numba") else "numpy"))
    return _choice.name


def use_backend(name: str) -> AbstractContextManager[object]:
    """Choose "numba" (fast, the default) or "numpy" (by the book: walk an op with a debugger).

    Takes effect at once, in this thread; as `with use_backend("numpy"):` it is undone at the end
    of the block. Raises `ConfigError` for another name, or where Numba is not installed. The
    environment variable MINISASREC_BACKEND sets the choice that every thread starts with.
    """
    previous, _choice.name = backend(), _usable(name)
    block = ExitStack()  # not a decorator as well: the choice is made now, not at every call
    block.callback(setattr, _choice, "name", previous)
    return block


class Dispatch:
    """A NumPy definition and, where there is one, the kernel that takes its place.

    Which of the two runs is decided here and nowhere else: the kernel, if the backend is "numba"
    and every array has more than `above` numbers. With `above` = 0, as usual, that leaves the
    empty arrays to the definition, so both backends give the same for them.
    """

    def __init__(self, definition: Callable[..., Any]) -> None:
        self.definition = definition
        self.adaptor: Callable[..., Any] | None = None
        self.above = 0

    @overload
    def fast(self, adaptor: Function) -> Function: ...
    @overload
    def fast(self, *, above: int) -> Callable[[Function], Function]: ...
    def fast(self, adaptor: Any = None, *, above: int = 0) -> Any:
        """Attach the function that calls the kernel: `@name.fast` or `@name.fast(above=4096)`.

        It takes the same arguments as the definition and returns the same. `above` is the number
        of elements up to which NumPy is faster, because the call of a kernel costs time, too.
        """

        def attach(adaptor: Any) -> Any:
            # an error about its arguments then has the op's name in it
            adaptor.__name__ = adaptor.__qualname__ = self.definition.__name__
            self.adaptor, self.above = adaptor, above
            return adaptor

        return attach if adaptor is None else attach(adaptor)

    def implementation(self, size: int | None = None) -> Callable[..., Any]:
        """The function that runs on this backend if the smallest array has `size` elements.

        Without a size: the kernel if there is one, as the tests and gradient checks want it.
        """
        if (
            self.adaptor is None
            or backend() == "numpy"
            or (size is not None and size <= self.above)
        ):
            return self.definition
        return self.adaptor


def _usable(name: str) -> str:
    if name not in BACKENDS:
        raise ConfigError(f"unknown backend {name!r}; choose one of {', '.join(BACKENDS)}")
    if name == "numba" and not find_spec("numba"):
        raise ConfigError("the numba backend needs Numba: pip install numba, or choose numpy")
    return name
