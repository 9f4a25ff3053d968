"""Ops: the units that the engine differentiates, and the registry that lists them all.

An op is one function on plain arrays that returns its result and the function that sends a
gradient back:

    @op("x (... d) -> (... d)", paper="Sec. III-B")
    def softmax(x):
        y = ...
        def backward(dy):
            return (dx,)
        return y, backward

Positional arguments are differentiable arrays; keyword-only arguments are constants (ids, rates,
axes). So `backward(dy)` returns exactly one gradient per positional argument, of its shape.

The decorated function is the op's definition in NumPy. `@softmax.fast` attaches a Numba kernel
with the same contract; tests prove that the two agree. Because every op is in `OPS`, an op that
exists is an op that is tested, documented and drawn.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from minisasrec import kernels
from minisasrec.errors import ConfigError, ShapeError
from minisasrec.signature import Draw, Signature

if TYPE_CHECKING:
    from minisasrec.tensor import Tensor

Array = np.ndarray
Backward = Callable[[Array], tuple[Any, ...]]  # arrays, or a `RowGradient`
Implementation = Callable[..., tuple[Array, Backward]]
Sample = Callable[[Draw], tuple[list[Array], dict[str, Any]]]

OPS: dict[str, Op] = {}

WORTH_A_KERNEL = 4096  # numbers; NumPy adds fewer of them sooner than a kernel is called

BACKENDS = ("numpy", "numba")
_backend = ""  # not chosen yet


def backend() -> str:
    """The backend in use: "numba", or "numpy" where Numba is not installed or not wanted."""
    global _backend
    if not _backend:
        wanted = os.environ.get("MINISASREC_BACKEND")
        _backend = _usable(wanted or ("numba" if find_spec("numba") else "numpy"))
    return _backend


def _usable(name: str) -> str:
    if name not in BACKENDS:
        raise ConfigError(f"unknown backend {name!r}; choose one of {', '.join(BACKENDS)}")
    if name == "numba" and not find_spec("numba"):
        raise ConfigError("the numba backend needs Numba: pip install numba, or choose numpy")
    return name


@contextmanager
def _restore(previous: str) -> Iterator[None]:
    try:
        yield
    finally:
        use_backend(previous)


def use_backend(name: str) -> Any:
    """Choose "numba" (fast, the default) or "numpy" (by the book: walk an op with a debugger).

    Takes effect at once; as `with use_backend("numpy"):` it is undone at the end of the block.
    Raises `ConfigError` for another name, or where Numba is not installed. The environment
    variable MINISASREC_BACKEND sets the choice a program starts with.
    """
    global _backend
    previous, _backend = backend(), _usable(name)
    return _restore(previous)


class Op:
    """A differentiable function: its NumPy definition, its kernel and what is known about it."""

    def __init__(
        self, reference: Implementation, signature: str, paper: str, sample: Sample | None
    ) -> None:
        self.reference = reference
        self.kernel: Implementation | None = None
        self.name = reference.__name__
        self.signature = Signature(signature)
        self.paper = paper
        self._sample = sample
        self.__name__ = self.name
        self.__doc__ = reference.__doc__
        self.__wrapped__ = reference  # inspect.signature and getsource show the definition

    def __repr__(self) -> str:
        return f"<op {self.name}: {self.signature}>"

    def fast(self, kernel: Implementation) -> Implementation:
        """Attach the implementation that the "numba" backend runs (same contract)."""
        self.kernel = kernel
        return kernel

    def implementation(self) -> Implementation:
        """The function that the current backend runs."""
        return self.kernel if self.kernel and backend() == "numba" else self.reference

    def sample(self, draw: Draw) -> tuple[list[Array], dict[str, Any]]:
        """Example (arguments, constants), small enough for a full Jacobian."""
        return self._sample(draw) if self._sample else (draw.arguments(self.signature), {})

    @property
    def source(self) -> str:
        """The source of the NumPy definition, and of the kernel's adaptor where there is one."""
        parts = [inspect.getsource(self.reference)]
        if self.kernel:
            parts.append(inspect.getsource(self.kernel))
        return "\n\n".join(parts)

    def __call__(self, *args: Any, **constants: Any) -> Tensor:
        """The op's result, with its place in the graph if an argument requires a gradient.

        Raises `ShapeError` for shapes that do not fit the signature.
        """
        from minisasrec.tensor import as_tensors, is_recording, result_of

        tensors = as_tensors(self.name, args)
        self.signature.check(self.name, [t.data.shape for t in tensors])
        y, backward = self.implementation()(*[t.data for t in tensors], **constants)
        if is_recording(tensors):
            return result_of(y, tensors, backward, self)
        return result_of(y)


def op(
    signature: str, *, paper: str = "", sample: Sample | None = None
) -> Callable[[Implementation], Op]:
    """Register a NumPy definition as an op.

    `signature` is described in `minisasrec.signature`; `paper` names the section of the SASRec
    paper; `sample` makes example inputs where the signature alone is not enough (ids, constants,
    inputs that must keep away from a kink).
    """

    def register(reference: Implementation) -> Op:
        name = reference.__name__
        if name in OPS:
            raise ConfigError(f"there is an op named {name!r} already; one op, one place")
        OPS[name] = Op(reference, signature, paper, sample)
        return OPS[name]

    return register


def sum_to_shape(dy: Array, shape: tuple[int, ...]) -> Array:
    """Undo broadcasting: add up `dy` over the axes along which an array of `shape` was repeated.

    Forward, `shape` was stretched to `dy.shape`; one input element fed several outputs, so its
    gradient is the sum of theirs.
    """
    if dy.shape == shape:
        return dy
    dy = dy.sum(axis=tuple(range(dy.ndim - len(shape))))
    stretched = tuple(i for i, length in enumerate(shape) if length == 1 and dy.shape[i] != 1)
    return dy.sum(axis=stretched, keepdims=True) if stretched else dy


class RowGradient:
    """The gradient of a large table of which a batch reads a few rows; a kernel may return it.

    Row ids[t, c] of the table receives weights[t, c] rows[t] (see `kernels.embedding.scatter_add`).
    The table itself is made once the walk arrives there, and once only, whoever else has read from
    it. `np.asarray` makes it for this gradient alone.
    """

    def __init__(
        self, table: Array, rows: Array, ids: Array, padding_id: int = -1, weights: Any = None
    ) -> None:
        self.shape, self.dtype = table.shape, table.dtype
        self.places = rows, ids, len(table), padding_id, weights

    def added_to(self, table: Array | None) -> Array:
        """`table`, changed in place, or a new one where there is none."""
        added: Array = kernels.embedding.scatter_add(*self.places, table)
        return added

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.added_to(None)


def add_up(gradients: Sequence[Any]) -> Array:
    """The sum of gradients of one shape, from left to right; a single one is handed on as it is.

    None of them is changed: an op may hand the same array to two parents (`add` does). Only the
    table of each `RowGradient`, which come first, is this function's own.
    """
    table = None
    for each in gradients:
        if isinstance(each, RowGradient):
            table = each.added_to(table)
    arrays = [each for each in gradients if not isinstance(each, RowGradient)]
    if table is not None:
        arrays.insert(0, table)
    if len(arrays) == 1:
        only: Array = arrays[0]
        return only
    first: Array = arrays[0]
    same_type = all(each.dtype == first.dtype for each in arrays)
    if first.size >= WORTH_A_KERNEL and same_type and backend() == "numba":
        return kernels.elementwise.add_up(arrays)
    return functools.reduce(np.add, arrays)


def check_ids(op_name: str, ids: Array, rows: int, what: str = "ids") -> Array:
    """`ids` as an integer array, or a `ShapeError` that names the range seen and allowed."""
    ids = np.asarray(ids)
    if ids.dtype.kind not in "iu":
        raise ShapeError(f"{op_name}: {what} must be integers, got {ids.dtype}")
    if ids.size and (ids.min() < 0 or ids.max() >= rows):
        raise ShapeError(
            f"{op_name}: {what} run from {ids.min()} to {ids.max()}, the table has rows 0 to "
            f"{rows - 1}"
        )
    return ids
