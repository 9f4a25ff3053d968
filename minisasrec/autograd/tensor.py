"""Tensor: an array that remembers how it was computed.

It holds floats (float32 for the model, float64 for gradient checks). Ids and masks stay plain
integer or bool arrays: nothing is differentiated with respect to them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from minisasrec.autograd.arrays import as_array
from minisasrec.autograd.engine import backward_steps, recording
from minisasrec.autograd.registry import OPS
from minisasrec.errors import GradientError, ShapeError

if TYPE_CHECKING:
    from minisasrec.autograd.op import Backward, Op

Axis = int | Sequence[int] | None
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
COMPARED_WHOLE = 16_384  # elements: an array of up to so many is compared whole
COMPARED = 256  # elements of a larger one, evenly spread

# NumPy's name of an operator -> the method of Tensor that computes `array operator tensor`
OF_ARRAYS = {
    **{"add": "__radd__", "subtract": "__rsub__", "multiply": "__rmul__", "divide": "__rtruediv__"},
    **{"matmul": "__rmatmul__", "power": "__rpow__", "equal": "__eq__", "not_equal": "__ne__"},
    **{"less": "__gt__", "less_equal": "__ge__", "greater": "__lt__", "greater_equal": "__le__"},
}

# What NumPy and PyTorch have as a method of an array, and what to write for it here
INSTEAD = {
    "abs": "ops.relu(x) + ops.relu(-x)",
    "argmax": "x.data.argmax()",
    "clone": "x * 1.0",
    "copy": "x * 1.0, or x.data.copy() for the plain array",
    "flatten": "x.reshape(-1)",
    "min": "-(-x).max()",
    "numpy": "x.data",
    "permute": "x.transpose(...)",
    "ravel": "x.reshape(-1)",
    "squeeze": "x.reshape(...)",
    "std": "ops.sqrt(((x - x.mean()) ** 2).mean())",
    "swapaxes": "x.transpose(...)",
    "tolist": "x.data.tolist()",
    "unsqueeze": "x[..., None]",
    "var": "((x - x.mean()) ** 2).mean()",
    "view": "x.reshape(...)",
    "zero_grad": "x.grad = None",
}


class Tensor:
    """An array `data` with its gradient `grad` and its place in the graph.

    `requires_grad=True` makes a leaf that collects a gradient; results of ops require one if any
    of their inputs does. A Tensor is hashed by identity, so it can be a key of a dict.

    Do not change `data` between a forward and a backward pass: what the op kept is then no longer
    what it computed with. A change is found in the backward pass, which raises `GradientError`. Of
    an array of more than 16,384 elements only some are compared; code that writes into a large one
    says `mark_changed()`.
    """

    __slots__ = (
        "_backward",
        "_changes",
        "_data",
        "_given",
        "_seen",
        "_shown",
        "grad",
        "name",
        "op",
        "parents",
        "requires_grad",
    )

    def __init__(self, data: Any, *, requires_grad: bool = False, name: str = "") -> None:
        self._data = as_floats(data)
        self._changes = 0
        self._given = True
        self.grad: np.ndarray | None = None
        self.requires_grad = requires_grad
        self.name = name
        self.parents: Sequence[Tensor] = ()
        self.op: Op | None = None
        self._backward: Backward | None = None
        self._seen: Sequence[tuple[Tensor, Any]] = ()  # arguments and what they looked like
        self._shown: Any = None  # what the result of an op looked like when it was first read

    @property
    def data(self) -> np.ndarray:
        """The array itself, not a copy."""
        if self.op is not None and self._shown is None:
            self._shown = fingerprint(self)  # from here on somebody else can write into it
        return self._data

    @data.setter
    def data(self, data: Any) -> None:
        self.mark_changed()  # `x.data += 1` comes by here, too
        self._data, self._given = as_floats(data), True

    def mark_changed(self) -> None:
        """Tell the engine that elements of `data` were written, as an optimiser does.

        A backward pass over a graph that was recorded before then raises `GradientError`.
        """
        if self.op is not None and self._shown is None:
            self._shown = fingerprint(self)
        self._changes += 1

    def own_data(self) -> np.ndarray:
        """`data` for an optimiser to write into: a copy of it if a caller gave the array."""
        if self._given:
            self.data = self._data.copy()
            self._given = False
        return self._data

    # What it is

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return self._data.shape

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._data.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the elements."""
        return self._data.dtype

    def __len__(self) -> int:
        if not self.ndim:
            raise ShapeError("a Tensor of shape () is one number, it has no length; use .item()")
        return len(self._data)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        made_by = f", op={self.op.name}" if self.op else ""
        named = f", name={self.name!r}" if self.name else ""
        return f"Tensor({np.array2string(self._data, precision=4, threshold=20)}{made_by}{named})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def item(self) -> float:
        """The one number of a scalar."""
        if self.size != 1:
            raise ShapeError(
                f"item: a Tensor of shape {self.shape} is {self.size} numbers, not one; use .data"
            )
        return float(self._data.item())

    __float__ = item

    def detach(self) -> Tensor:
        """The same array without its history."""
        return Tensor(self.data)

    # The way back

    def backward(self, dloss: Any = None, *, retain_graph: bool = False) -> None:
        """Set `.grad` of every leaf this tensor depends on; see `engine.backward_steps`."""
        if isinstance(dloss, Tensor):
            dloss = dloss.data
        for _ in backward_steps(self, dloss, retain_graph=retain_graph):
            pass

    def vjp(self, dy: np.ndarray, retain_graph: bool) -> tuple[Any, ...]:
        """One gradient per parent; then drop the parents and what was kept, or `retain_graph`."""
        if self.op is None or self._backward is None:
            name = self.op.name if self.op else "this tensor"
            raise GradientError(
                f"backward: what {name} saved is gone, a graph is walked once; recompute the "
                "forward pass or pass retain_graph=True"
            )
        self._check_unchanged(self.op)
        input_gradients = self._backward(dy)
        if not retain_graph:
            self.parents, self._backward, self._seen = (), None, ()
        return input_gradients

    def _check_unchanged(self, op: Op) -> None:
        """Raise `GradientError` if an array was changed since this tensor was computed from it.

        That may be an argument that no op made, or the result. (Other arguments are results of ops
        themselves, and the walk comes to them.)
        """
        for tensor, seen in self._seen:
            if fingerprint(tensor) != seen:
                i = [parent is tensor for parent in self.parents].index(True)
                _refuse_change(op, f"argument {op.argument(i)}", tensor)
        if self._shown is not None and fingerprint(self) != self._shown:
            _refuse_change(op, "its result", self)

    @property
    def is_dropped(self) -> bool:
        """True once a backward pass has dropped what this tensor was computed from."""
        return self.op is not None and self._backward is None

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
            return OPS["scale"](self, factor=other)
        return OPS["mul"](self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Tensor:
        if isinstance(other, int | float) and 1e-30 < abs(other) < 1e30:  # to the last bit but one
            return OPS["scale"](self, factor=1 / other)
        return OPS["div"](self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return OPS["div"](other, self)

    def __neg__(self) -> Tensor:
        return OPS["scale"](self, factor=-1.0)

    def __pos__(self) -> Tensor:
        return self

    def __pow__(self, exponent: Any) -> Tensor:
        if isinstance(exponent, Tensor):
            raise GradientError(
                "x ** y has a gradient for numbers y only; write ops.exp(y * ops.log(x))"
            )
        return OPS["power"](self, exponent=exponent)

    def __rpow__(self, base: Any) -> NoReturn:
        raise GradientError("base ** x is not an op; write ops.exp(x * math.log(base))")

    def __abs__(self) -> NoReturn:
        raise GradientError(f"abs(x) is not an op; write {INSTEAD['abs']}")

    def __matmul__(self, other: Any) -> Tensor:
        return OPS["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return OPS["matmul"](other, self)

    def __getitem__(self, index: Any) -> Tensor:
        return OPS["getitem"](self, index=index)

    def sum(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Sum over `axis`, or over everything."""
        return OPS["sum"](self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Mean over `axis`, or over everything."""
        return OPS["mean"](self, axis=axis, keepdims=keepdims)

    def max(self, axis: Axis = None, keepdims: bool = False) -> Tensor:
        """Largest element along `axis`, or of all."""
        return OPS["max"](self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in another shape, (5, 4) or 5, 4; one length may be -1."""
        return OPS["reshape"](self, shape=_one_tuple(shape))

    def transpose(self, *axes: Any) -> Tensor:
        """Axes in another order, (1, 0) or 1, 0; without arguments the last two swap."""
        return OPS["transpose"](self, axes=_one_tuple(axes))

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

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, Tensor | np.ndarray | np.generic | int | float | list | tuple):
            raise GradientError(
                "== does not compare Tensors; write a is b for the same Tensor, "
                "np.array_equal(a.data, b.data) for equal numbers, a.data == b.data element by "
                "element"
            )
        return NotImplemented

    def __getstate__(self) -> Any:
        """What a copy or a pickle takes along: a leaf has all in it, a result has its graph."""
        if self.op is not None:
            raise GradientError(
                f"the result of {self.op.name} cannot be copied or pickled with what it was "
                "computed from; take x.detach(), or x.data for the plain array"
            )
        return getattr(self, "__dict__", None), {
            name: getattr(self, name) for name in Tensor.__slots__
        }

    __hash__ = object.__hash__  # a dict looks for the same object first and needs no ==

    def _no_order(self, other: Any) -> NoReturn:
        raise GradientError(
            "a comparison of Tensors has no gradient; compare the arrays: x.data > 0"
        )

    __lt__ = __le__ = __gt__ = __ge__ = _no_order

    if not TYPE_CHECKING:  # a type checker would take any name for an attribute

        def __getattr__(self, name: str) -> NoReturn:
            instead = INSTEAD.get(name) or (f"ops.{name}(x)" if name in OPS else "")
            raise AttributeError(
                f"a Tensor has no attribute {name!r}" + (f"; write {instead}" if instead else ""),
                name=name,
                obj=self,
            )

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ShapeError(
                f"a Tensor of shape {self.shape} is neither true nor false; compare .data with "
                ".any() or .all()"
            )
        return bool(self._data)

    def __array__(self, *_: Any, **__: Any) -> NoReturn:
        raise GradientError(
            "NumPy functions do not see through a Tensor; use an op of minisasrec.ops (it keeps "
            "the gradient), or .data for the plain array"
        )

    def __array_ufunc__(self, function: np.ufunc, method: str, *args: Any, **more: Any) -> Any:
        operator = OF_ARRAYS.get(function.__name__)  # `array + tensor` is the Tensor's to compute
        if operator and method == "__call__" and not more and not isinstance(args[0], Tensor):
            return getattr(self, operator)(args[0])
        return self.__array_function__(function)

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


def as_floats(data: Any) -> np.ndarray:
    """`data` as an array of floats; one that is float32 or float64 is taken as it is, no copy."""
    array = as_array("Tensor", data)  # not np.matrix, whose * is another one
    if isinstance(data, np.ma.MaskedArray):
        raise ShapeError("a Tensor has no mask; fill the array, data.filled(0), or use masked_fill")
    if array.dtype in FLOATS and isinstance(data, (np.ndarray, np.generic)):  # noqa: UP038
        return array
    if array.dtype in FLOATS or array.dtype.kind in "iub":
        return array.astype(np.float32)  # numbers of Python; arrays of floats keep their precision
    raise ShapeError(
        f"a Tensor holds floats, float32 or float64; got {array.dtype}: {str(data)[:60]}"
    )


def as_tensors(op_name: str, args: Sequence[Any]) -> list[Tensor]:
    """The arguments of an op as Tensors of one float type; plain numbers take the others' type."""
    dtype = None
    for a in args:
        if isinstance(a, Tensor):
            if dtype is not None and a._data.dtype != dtype:
                raise _mixed(op_name)
            dtype = a._data.dtype
    if dtype is None:  # no Tensor among them
        found = {a.dtype for a in args if isinstance(a, np.ndarray) and a.dtype in FLOATS}
        if len(found) > 1:
            raise _mixed(op_name)
        dtype = found.pop() if found else FLOATS[0]
    return [a if isinstance(a, Tensor) else _constant(op_name, a, dtype) for a in args]


def _mixed(op_name: str) -> ShapeError:
    return ShapeError(f"{op_name}: mixes float32, float64; convert the arrays to one type first")


def _constant(op_name: str, value: Any, dtype: np.dtype[Any]) -> Tensor:
    array = as_array(op_name, value)
    if array.dtype.kind not in "fiub":
        raise ShapeError(
            f"{op_name}: takes arrays of numbers, got {array.dtype}: {str(value)[:60]}"
        )
    return Tensor(array.astype(dtype, copy=False))


def is_recording(tensors: Sequence[Tensor]) -> bool:
    """True if a result of these tensors has to remember them."""
    return any([t.requires_grad for t in tensors]) and recording()


def result_of(
    y: np.ndarray,
    parents: Sequence[Tensor] = (),
    backward: Backward | None = None,
    op: Op | None = None,
) -> Tensor:
    """A Tensor for the result of an op, with its place in the graph if it is to have one."""
    result = Tensor(y, requires_grad=op is not None)
    result.parents, result._backward, result.op = parents, backward, op
    if op is not None:
        result._seen = [(t, fingerprint(t)) for t in parents if t.op is None]
    return result


def fingerprint(tensor: Tensor) -> Any:
    """Bytes of the data, which a change would hardly leave as they are.

    They are taken for every parameter in every step, so they must cost next to nothing.
    """
    x = tensor._data
    if x.size <= COMPARED_WHOLE:
        return tensor._changes, x.tobytes()
    apart = x.size // COMPARED
    while np.gcd(apart, x.shape[-1]) > 1:  # without a common factor all columns are met
        apart += 1
    return tensor._changes, x.flat[::apart].tobytes()


def _refuse_change(op: Op, which: str, tensor: Tensor) -> None:
    named = f" ({tensor.name})" if tensor.name else ""
    raise GradientError(
        f"{op.name}: {which}{named} was changed after the forward pass, so its gradient would be "
        "wrong; call backward() before the change, or run the forward pass again"
    )


def _one_tuple(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """((5, 4),) as (5, 4): lengths or axes may be given one by one, or as one tuple or list."""
    if len(values) == 1 and isinstance(values[0], tuple | list):
        return tuple(values[0])
    return values
