"""Tensor: an array that remembers how it was computed.

It holds floats (float32 for the model, float64 for gradient checks). Ids and masks stay plain
integer or bool arrays: nothing is differentiated with respect to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from minisasrec.autograd.engine import backward_steps, recording
from minisasrec.autograd.registry import OPS
from minisasrec.errors import GradientError, ShapeError

if TYPE_CHECKING:
    from minisasrec.autograd.op import Backward, Op


class Tensor:
    """An array `data` with its gradient `grad` and its place in the graph.

    `requires_grad=True` makes a leaf that collects a gradient; results of ops require one if any
    of their inputs does. Tensors compare and hash by identity, so they can be dict keys.
    """

    __slots__ = ("_backward", "data", "grad", "name", "op", "parents", "requires_grad")
    __array_ufunc__ = None  # NumPy must not take over `array + tensor`

    def __init__(self, data: Any, *, requires_grad: bool = False, name: str = "") -> None:
        array = np.asarray(data)
        if array.dtype.kind in "iub":
            array = array.astype(np.float32)
        elif array.dtype.kind != "f":
            raise ShapeError(f"a Tensor holds floats, got {array.dtype}: {str(data)[:60]}")
        elif not isinstance(data, np.ndarray | np.generic):
            array = array.astype(np.float32)  # Python numbers; arrays keep their precision
        self.data: np.ndarray = array
        self.grad: np.ndarray | None = None
        self.requires_grad = requires_grad
        self.name = name
        self.parents: Sequence[Tensor] = ()
        self.op: Op | None = None
        self._backward: Backward | None = None

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self.data.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self.data.dtype

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        made_by = f", op={self.op.name}" if self.op else ""
        named = f", name={self.name!r}" if self.name else ""
        return f"Tensor({np.array2string(self.data, precision=4, threshold=20)}{made_by}{named})"

    def item(self) -> float:
        """The one number of a scalar."""
        return float(self.data.item())

    def detach(self) -> Tensor:
        """The same array without its history."""
        return Tensor(self.data)

    # The way back

    def backward(self, dloss: np.ndarray | None = None, *, retain_graph: bool = False) -> None:
        """Set `.grad` of every leaf this tensor depends on; see `engine.backward_steps`."""
        for _ in backward_steps(self, dloss, retain_graph=retain_graph):
            pass

    def vjp(self, dy: np.ndarray, retain_graph: bool) -> tuple[Any, ...]:
        """One gradient per parent; then forget what was saved, unless `retain_graph`."""
        if self._backward is None:
            raise GradientError(
                f"backward: what {self.op.name if self.op else 'this tensor'} saved is gone, a "
                "graph is walked once; recompute the forward pass or pass retain_graph=True"
            )
        input_gradients = self._backward(dy)
        if not retain_graph:
            self._backward = None
        return input_gradients

    @property
    def saved(self) -> dict[str, np.ndarray]:
        """The arrays that this tensor keeps for its backward pass, by variable name.

        Those that lists and inner functions keep are there as `sequences.0.p`, unless they are
        parts of an array with a name of its own.
        """
        found = dict(_arrays_in(self._backward, ""))
        whole = {id(_owner(array)) for name, array in found.items() if "." not in name}
        return {n: a for n, a in found.items() if "." not in n or id(_owner(a)) not in whole}

    # Operators: each is an op of minisasrec.ops

    def __add__(self, other: Any) -> Tensor:
        return OPS["add"](self, other)

    def __radd__(self, other: Any) -> Tensor:
        return OPS["add"](other, self)

    def __sub__(self, other: Any) -> Tensor:
        return OPS["sub"](self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return OPS["sub"](other, self)

    def __mul__(self, other: Any) -> Tensor:
        if isinstance(other, int | float):  # no gradient wanted for a plain number
            return OPS["scale"](self, factor=float(other))
        return OPS["mul"](self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tensor:
        if isinstance(other, int | float):
            return OPS["scale"](self, factor=1 / other)
        return OPS["div"](self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return OPS["div"](other, self)

    def __neg__(self) -> Tensor:
        return OPS["scale"](self, factor=-1.0)

    def __matmul__(self, other: Any) -> Tensor:
        return OPS["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return OPS["matmul"](other, self)

    def __getitem__(self, index: Any) -> Tensor:
        return OPS["getitem"](self, index=index)

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Sum over `axis`, or over everything."""
        return OPS["sum"](self, axis=axis, keepdims=keepdims)

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Mean over `axis`, or over everything."""
        return OPS["mean"](self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: int) -> Tensor:
        """The same elements in another shape; one length may be -1."""
        return OPS["reshape"](self, shape=shape)

    def transpose(self, *axes: int) -> Tensor:
        """Axes in another order; without arguments the last two swap."""
        return OPS["transpose"](self, axes=axes)

    @property
    def T(self) -> Tensor:
        """The last two axes swapped."""
        return self.transpose()

    # What does not work, and what to write instead

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise GradientError(
            "a Tensor cannot be assigned into: its old values may be needed for the backward pass; "
            "build the result with ops.masked_fill or ops.concatenate, or work on .data before it "
            "enters the graph"
        )

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ShapeError(
                f"a Tensor of shape {self.shape} is neither true nor false; compare .data with "
                ".any() or .all()"
            )
        return bool(self.data)

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise GradientError(
            "NumPy functions do not see through a Tensor; use an op of minisasrec.ops (it keeps "
            "the gradient), or .data for the plain array"
        )

    def __array_function__(self, function: Callable[..., Any], *_: Any) -> NoReturn:
        raise GradientError(
            f"np.{function.__name__} does not see through a Tensor; use an op of minisasrec.ops "
            "(it keeps the gradient), or .data for the plain array"
        )


def _arrays_in(value: Any, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays in `value`: itself, in a list or a tuple, or kept by a function."""
    inside: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, np.ndarray):
        yield name, value
    elif isinstance(value, list | tuple):
        inside = enumerate(value)
    elif isinstance(value, FunctionType):
        kept = (cell.cell_contents for cell in value.__closure__ or ())
        inside = zip(value.__code__.co_freevars, kept, strict=True)
    for part, entry in inside:
        yield from _arrays_in(entry, f"{name}.{part}" if name else part)


def _owner(array: np.ndarray) -> Any:
    return array if array.base is None else array.base


def as_tensors(op_name: str, args: Sequence[Any]) -> list[Tensor]:
    """The arguments of an op as Tensors of one float type; plain numbers take the others' type."""
    dtypes = {a.data.dtype for a in args if isinstance(a, Tensor)}
    dtypes = dtypes or {a.dtype for a in args if isinstance(a, np.ndarray) and a.dtype.kind == "f"}
    if len(dtypes) > 1:
        seen = ", ".join(sorted(str(d) for d in dtypes))
        raise ShapeError(f"{op_name}: mixes {seen}; convert the arrays to one type first")
    dtype = dtypes.pop() if dtypes else np.dtype(np.float32)
    return [a if isinstance(a, Tensor) else Tensor(np.asarray(a, dtype=dtype)) for a in args]


def is_recording(tensors: Sequence[Tensor]) -> bool:
    """True if a result of these tensors has to remember them."""
    return recording() and any([t.requires_grad for t in tensors])


def result_of(
    y: np.ndarray,
    parents: Sequence[Tensor] = (),
    backward: Backward | None = None,
    op: Op | None = None,
) -> Tensor:
    """A Tensor for the result of an op, with its place in the graph if it is to have one."""
    result = Tensor(y, requires_grad=op is not None)
    result.parents, result._backward, result.op = parents, backward, op
    return result
