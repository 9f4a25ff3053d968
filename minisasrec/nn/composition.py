"""A method that is written as a composition of ops, and fused ops that take its place."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from types import MethodType
from typing import Any

from minisasrec.backends import Dispatch, backend


class Composition(Dispatch):
    """A method of a module: its definition, to be read, and a faster one of the same result.

        class Block(Module):
            @composition
            def forward(self, x): ...        # the paper's lines

        Block.forward.fast(fused_block)      # in another file: a function of block and x

    The faster one runs on the numba backend. It returns `NotImplemented` where it does not apply,
    and then the definition runs.
    """

    def __init__(self, definition: Callable[..., Any]) -> None:
        super().__init__(definition)
        update_wrapper(self, definition)

    def __get__(self, module: Any, owner: type | None = None) -> Any:
        return self if module is None else MethodType(self, module)

    def __call__(self, module: Any, *args: Any, **kwargs: Any) -> Any:
        """The faster one if it applies, else the definition."""
        if self.adaptor is not None and backend() == "numba":
            result = self.adaptor(module, *args, **kwargs)
            if result is not NotImplemented:
                return result
        return self.definition(module, *args, **kwargs)


def composition(definition: Callable[..., Any]) -> Any:
    """Mark a method as a composition; see `Composition`. (Any: it is still called as a method.)"""
    return Composition(definition)
