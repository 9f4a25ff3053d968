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

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from minisasrec.autograd.registry import OPS
from minisasrec.autograd.signature import Draw, Signature
from minisasrec.autograd.tensor import Tensor, as_tensors, is_recording, result_of
from minisasrec.backends import backend
from minisasrec.errors import ConfigError, ShapeError

Array = np.ndarray
Backward = Callable[[Array], tuple[Any, ...]]  # arrays, or a `SparseRows`
Implementation = Callable[..., tuple[Array, Backward]]
Sample = Callable[[Draw], tuple[list[Array], dict[str, Any]]]


class Op:
    """A differentiable function: its NumPy definition, its kernel and what is known about it."""

    def __init__(
        self, reference: Implementation, signature: str, paper: str, sample: Sample | None
    ) -> None:
        self.definition = reference
        self.adaptor: Implementation | None = None
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
        self.adaptor = kernel
        return kernel

    def implementation(self) -> Implementation:
        """The function that the current backend runs."""
        return self.adaptor if self.adaptor and backend() == "numba" else self.definition

    def sample(self, draw: Draw) -> tuple[list[Array], dict[str, Any]]:
        """Example (arguments, constants), small enough for a full Jacobian."""
        return self._sample(draw) if self._sample else (draw.arguments(self.signature), {})

    @property
    def source(self) -> str:
        """The source of the NumPy definition, and of the kernel's adaptor where there is one."""
        parts = [inspect.getsource(self.definition)]
        if self.adaptor:
            parts.append(inspect.getsource(self.adaptor))
        return "\n\n".join(parts)

    def __call__(self, *args: Any, **constants: Any) -> Tensor:
        """The op's result, with its place in the graph if an argument requires a gradient.

        Raises `ShapeError` for shapes that do not fit the signature.
        """
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

    `signature` is described in `autograd.signature`; `paper` names the section of the SASRec paper;
    `sample` makes example inputs where the signature alone is not enough (ids, constants, inputs
    that must keep away from a kink).
    """

    def register(reference: Implementation) -> Op:
        name = reference.__name__
        if name in OPS:
            raise ConfigError(f"there is an op named {name!r} already; one op, one place")
        OPS[name] = Op(reference, signature, paper, sample)
        return OPS[name]

    return register


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
