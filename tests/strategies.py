"""Example inputs of ops, for the tests that go over the registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minisasrec.op import OPS, Op
from minisasrec.signature import Draw

Array = np.ndarray
Function = Callable[..., tuple[Array, Callable[[Array], tuple[Array, ...]]]]


class HypothesisDraw(Draw):
    """Lengths, ids and flags chosen by Hypothesis, which shrinks them; numbers by a seed of its.

    Numbers are not drawn one by one: that is slow, and it shrinks to zeros, which hide errors.
    """

    def __init__(self, draw: st.DrawFn) -> None:
        super().__init__(seed=draw(st.integers(0, 9999)))
        self.choose = draw

    def integer(self, low: int, high: int) -> int:
        return self.choose(st.integers(low, high))

    def ids(self, low: int, high: int, *shape: int) -> Array:
        flat = [self.integer(low, high) for _ in range(int(np.prod(shape)))]
        return np.array(flat, dtype=np.int64).reshape(shape)


class WideDraw(Draw):
    """Lengths about the sizes of vectors, tiles and strips of a kernel, where its loops end."""

    def dim(self, name: str, low: int = 1, high: int = 4) -> int:
        if name not in self.dims:
            lengths = [2, 5] if name.startswith("lead") else [1, 5, 8, 16, 17, 33, 50, 64, 70]
            self.dims[name] = max(low, int(self.rng.choice(lengths)))
        return self.dims[name]


@st.composite
def examples(draw: st.DrawFn, op: Op) -> tuple[list[Array], dict[str, Any]]:
    """(arguments, constants) of an op, float64, small enough for a full Jacobian."""
    return op.sample(HypothesisDraw(draw))


def implementations() -> Iterator[tuple[str, Op, str, Function]]:
    """(id of the test, op, backend, function) of every function behind every op."""
    for op in OPS.values():
        yield f"{op.name}-numpy", op, "numpy", op.reference
        if op.kernel:
            yield f"{op.name}-numba", op, "numba", op.kernel


def normal_like(y: Array, seed: int = 1) -> Array:
    """A random gradient for the result y."""
    dy = np.random.default_rng(seed).standard_normal(np.shape(y))
    return np.asarray(dy, dtype=np.asarray(y).dtype)


def run(function: Function, args: list[Array], constants: dict[str, Any], seed: int = 1) -> Any:
    """The result and the gradients under a random cotangent, one tuple of arrays."""
    y, backward = function(*args, **constants)
    return (y, *backward(normal_like(y, seed)))
