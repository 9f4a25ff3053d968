"""Ops: the units that the engine differentiates, and the registry that lists them all.

An op is one function on plain arrays that returns its result and the function that sends a
gradient back:

    @op("x (... d) -> (... d)", paper="Sec. III-B", torch="x.softmax(-1)")
    def softmax(x):
        y = ...
        def backward(dy):
            return (dx,)
        return y, backward

Positional arguments are differentiable arrays; keyword-only arguments are constants (ids, rates,
axes). So `backward(dy)` returns exactly one gradient per positional argument, of its shape.

The decorated function is the op's definition in NumPy. `@softmax.fast` attaches the function that
calls a Numba kernel and returns the same; tests prove that the two agree. Every op is in `OPS`, and
the tests go over `OPS`: an op that exists is an op that is tested, documented and drawn.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minisasrec.autograd.arrays import as_array, kind_of
from minisasrec.autograd.registry import OPS
from minisasrec.autograd.signature import Draw, Fit, Signature
from minisasrec.autograd.tensor import Tensor, as_tensors, is_recording, result_of
from minisasrec.backends import Dispatch
from minisasrec.errors import ConfigError, GradientError, ShapeError

Array = np.ndarray
ARRAYS = (np.ndarray, np.generic)
Backward = Callable[[Array], tuple[Any, ...]]  # arrays; for a table also a `SparseRows`
Result = tuple[Array, Backward]  # what an op returns: (y, backward)
Implementation = Callable[..., Result]
Sample = Callable[[Draw], tuple[list[Array], dict[str, Any]]]


class Op(Dispatch):
    """A differentiable function: its NumPy definition, its kernel and what is known about it."""

    def __init__(
        self,
        definition: Implementation,
        signature: str,
        paper: str = "",
        torch: str = "",
        sample: Sample | None = None,
    ) -> None:
        super().__init__(definition)
        self.name = definition.__name__
        self.signature = Signature(signature)
        self.paper, self.torch = paper, torch
        self._sample = sample
        self.__name__ = self.name
        self.__doc__ = definition.__doc__
        self.__wrapped__ = definition  # inspect.signature and getsource show the definition

    def __repr__(self) -> str:
        return f"<op {self.name}: {self.signature}>"

    def sample(self, draw: Draw) -> tuple[list[Array], dict[str, Any]]:
        """Example (arguments, constants), small enough for a full Jacobian."""
        return self._sample(draw) if self._sample else (draw.arguments(self.signature), {})

    def argument(self, i: int) -> str:
        """The name of argument `i` in the signature; of many arguments of one name, x[i]."""
        name = self.signature.axes(i + 1)[i][0]
        return f"{name}[{i}]" if self.signature.variadic else name

    @property
    def source(self) -> str:
        """The source of the NumPy definition, and of the kernel's adaptor where there is one."""
        parts = [inspect.getsource(self.definition)]
        if self.adaptor:
            parts.append(inspect.getsource(self.adaptor))
        return "\n\n".join(parts)

    def __call__(self, *args: Any, **constants: Any) -> Tensor:
        """The op's result, with its place in the graph if an argument requires a gradient.

        Raises `ShapeError` for shapes that do not fit the signature, and `GradientError` if the op
        itself does not return what it must.
        """
        tensors = as_tensors(self.name, self._unpacked(args))
        arrays = [t._data for t in tensors]
        fit = self.signature.check(self.name, [a.shape for a in arrays])
        recorded = is_recording(tensors)
        if constants:
            constants = {
                name: _constant(self.name, name, value, recorded)
                for name, value in constants.items()
            }
        returned = self.implementation(fit.smallest)(*arrays, **constants)
        y, backward = self._check_returned(returned, fit, arrays[0].dtype)
        return result_of(y, tensors, backward, self) if recorded else result_of(y)

    def _unpacked(self, args: tuple[Any, ...]) -> Sequence[Any]:
        """The arguments one by one, also if they were given as one list: `concatenate([a, b])`."""
        if self.signature.variadic and len(args) == 1 and isinstance(args[0], list | tuple):
            return args[0]
        count = len(self.signature.args)
        if len(args) > count and not self.signature.variadic:
            kinds = inspect.signature(self.definition).parameters.values()
            constants = [p.name for p in kinds if p.kind is p.KEYWORD_ONLY]
            names = ", ".join(name for name, _ in self.signature.args)
            if constants:
                raise ShapeError(
                    f"{self.name}: takes {count} array{'s' * (count > 1)} ({names}), got "
                    f"{len(args)}; constants are given by name: {self.name}({names}, "
                    f"{constants[0]}=...)"
                )
        return args

    def _check_returned(self, returned: Any, fit: Fit, dtype: np.dtype[Any]) -> Result:
        """(y, backward), if that is what was returned and y is what the signature promises."""
        if type(returned) is tuple and len(returned) == 2 and callable(returned[1]):
            y = returned[0]
            fits = isinstance(y, ARRAYS) and y.dtype == dtype
            if fits and (fit.result is None or y.shape == fit.result):
                return returned
        raise GradientError(f"{self.name}: {self._misfit(returned, fit, dtype)}")

    def _misfit(self, returned: Any, fit: Fit, dtype: np.dtype[Any]) -> str:
        """Why what the op returned cannot be right."""
        if type(returned) is not tuple or len(returned) != 2 or not callable(returned[1]):
            return (
                "must return its result and the function that sends gradients back, return y, "
                f"backward; got {kind_of(returned)}"
            )
        y = returned[0]
        if not isinstance(y, ARRAYS):
            return f"y must be an array, got {kind_of(y)}"
        if fit.result is not None and y.shape != fit.result:
            return f"y has shape {y.shape}, by the signature {self.signature} it is {fit.result}"
        return f"y is {y.dtype}, the arguments are {dtype}; let it compute in their type"


def _constant(op_name: str, name: str, value: Any, keep: bool) -> Any:
    """A constant as an op takes it: the array of a Tensor, and a copy of what an op may keep.

    If the caller changes ids or a mask after the forward pass, the gradient stays right.
    """
    if isinstance(value, Tensor):
        if value.requires_grad:
            raise GradientError(
                f"{op_name}: {name} is a constant and gets no gradient, but this Tensor requires "
                "one; if none is wanted, pass .detach()"
            )
        value = value.data
    if keep and hasattr(value, "__array__") and not isinstance(value, np.generic):
        return np.asarray(value).copy()  # also of a torch tensor or a column of pandas
    if keep and type(value) in (list, tuple):  # an index like x[rows, columns]
        return type(value)(_constant(op_name, name, part, keep) for part in value)
    return value


def op(
    signature: str, *, paper: str = "", torch: str = "", sample: Sample | None = None
) -> Callable[[Implementation], Op]:
    """Register a NumPy definition as an op.

    `signature` is described in `autograd.signature`; `paper` names the section of the SASRec paper;
    `torch` is what one would write in PyTorch, an expression of the arguments and constants, which
    the tests compare with (PyTorch is `torch` there, and torch.nn.functional is `F`); `sample`
    makes example inputs where the signature alone is not enough (ids, constants, inputs that must
    stay away from a kink).

    A cell of a notebook can be run again: its op takes the place of the one before. Elsewhere a
    second op of the same name raises `ConfigError`.
    """
    if not isinstance(signature, str):
        raise ConfigError(
            'op: takes the signature of the function below it, @op("x (...) -> (...)"); got '
            f"{kind_of(signature)}"
        )

    def register(definition: Implementation) -> Op:
        name, here = definition.__name__, definition.__module__
        old = OPS.get(name)
        if old is not None and not here == old.definition.__module__ == "__main__":
            raise ConfigError(
                f"there is an op named {name!r} already, in {old.definition.__module__}; give this "
                f"one another name, or remove the old one first: del OPS[{name!r}]"
            )
        OPS[name] = Op(definition, signature, paper, torch, sample)
        return OPS[name]

    return register


def check_ids(op_name: str, ids: Any, rows: int, what: str = "ids") -> Array:
    """`ids` as an integer array, or a `ShapeError` that names the range seen and allowed."""
    ids = as_array(op_name, ids)
    if not ids.size:
        return ids.astype(np.int64)  # NumPy takes an empty list for floats
    if ids.dtype.kind not in "iu":
        raise ShapeError(f"{op_name}: {what} must be integers, got {ids.dtype}")
    if ids.min() < 0 or ids.max() >= rows:
        allowed = f"rows 0 to {rows - 1}" if rows else "no rows"
        raise ShapeError(
            f"{op_name}: {what} run from {ids.min()} to {ids.max()}, the table has {allowed}"
        )
    return ids.astype(ids.dtype.newbyteorder("="), copy=False)  # kernels know no other byte order


def check_number(op_name: str, constant: str, x: Array, value: Any) -> float:
    """A constant as a number of the type of x. Raises `ConfigError` if it is none."""
    if not isinstance(value, int | float | np.integer | np.floating):
        raise ConfigError(f"{op_name}: {constant} is {value!r}; it must be a plain number")
    try:
        number: float = x.dtype.type(value)
    except OverflowError:
        raise ConfigError(f"{op_name}: {constant} is too large for {x.dtype}") from None
    return number


def check_some(op_name: str, x: Array, axis: str, length: int, what: str) -> None:
    """Raise `ShapeError` if an axis is empty of which at least one element is needed."""
    if not length:
        raise ShapeError(
            f"{op_name}: axis {axis} is 0 in x {x.shape}; there is no {what} of nothing"
        )
