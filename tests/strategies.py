"""Example inputs of ops, for the tests that go over the registry, and small data sets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minisasrec.autograd.op import Op
from minisasrec.autograd.registry import OPS
from minisasrec.autograd.signature import Draw
from minisasrec.data.dataset import PAD, Dataset, DataWarning, Repeats
from minisasrec.data.split import Split, leave_one_out

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
        yield f"{op.name}-numpy", op, "numpy", op.definition
        if op.adaptor:
            yield f"{op.name}-numba", op, "numba", op.adaptor


def normal_like(y: Array, seed: int = 1) -> Array:
    """A random gradient for the result y."""
    dy = np.random.default_rng(seed).standard_normal(np.shape(y))
    return np.asarray(dy, dtype=np.asarray(y).dtype)


def run(function: Function, args: list[Array], constants: dict[str, Any], seed: int = 1) -> Any:
    """The result and the gradients under a random cotangent, one tuple of arrays."""
    y, backward = function(*args, **constants)
    return (y, *backward(normal_like(y, seed)))


def make_split(sequences: list[list[int]], num_items: int, repeats: Repeats = "forbid") -> Split:
    """The leave-one-out split of a small data set given as one list of items per user.

    There is an action an hour, user after user, from September 2020 on.
    """
    items = np.array([item for sequence in sequences for item in sequence], dtype=np.int32)
    offsets = np.concatenate([[0], np.cumsum([len(s) for s in sequences])]).astype(np.int64)
    users = [f"u{i}" for i in range(len(sequences))]
    names = [PAD, *(f"i{i}" for i in range(1, num_items + 1))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        times = 1_600_000_000 + 3600 * np.arange(len(items))
        return leave_one_out(
            Dataset("tiny", items, offsets, users, names, repeats=repeats, times=times)
        )


def random_split(
    users: int = 40,
    num_items: int = 30,
    longest: int = 15,
    seed: int = 0,
    repeated: bool = True,
    repeats: Repeats = "forbid",
) -> Split:
    """Users with 3 to `longest` uniform actions each, repeated ones among them or not."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(3, longest + 1, users)
    if repeated:
        sequences = [list(generator.integers(1, num_items + 1, n)) for n in lengths]
    else:
        sequences = [list(1 + generator.permutation(num_items)[:n]) for n in lengths]
    return make_split(sequences, num_items, repeats)
