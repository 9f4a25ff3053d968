"""Shape signatures: the one line that says which arrays an op takes and what it returns.

    "x (... d), gamma (d), beta (d) -> (... d)"

A name in parentheses is an axis: the same name means the same length everywhere. `...` stands for
any number of leading axes, the same in every argument that has it. `*` stands for axes that
broadcast against each other as in NumPy. `?` stands for any axes: a constant of the op decides
what fits (for an argument) or what comes out (for a result).

The line is written once per op. It is used for the error of a wrong shape, for the check of the
result, for the example inputs of the gradient check and for the documentation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minisasrec.errors import ConfigError, ShapeError

Shape = tuple[int, ...]


class Fit(NamedTuple):
    """What a signature says about arguments of some shapes."""

    result: Shape | None  # the shape of the result; None where a constant decides it
    smallest: int  # the number of elements of the smallest argument


class Signature:
    """A parsed signature. `args` holds (name, axes) pairs; `result` the axes of the result."""

    def __init__(self, text: str) -> None:
        left, _, right = text.partition("->")
        self.text = text
        self.args = [
            (name, tuple(axes.split())) for name, axes in re.findall(r"(\w+)\s*\(([^)]*)\)", left)
        ]
        self.variadic = left.rstrip().endswith("+")  # "a (*)+": one or more of the last argument
        self.result = tuple(right.strip().strip("()").split())
        known = {axis for _, axes in self.args for axis in axes}
        for axis in self.result:
            if axis not in known | {"?"}:
                raise ConfigError(
                    f"signature {text!r}: no argument has the axis {axis} of the result; write "
                    "(?) for a result whose shape the arguments do not tell"
                )
        self._last: tuple[Sequence[Shape], Fit] | None = None

    def __str__(self) -> str:
        return self.text

    def axes(self, count: int) -> list[tuple[str, tuple[str, ...]]]:
        """The (name, axes) pair of each of `count` arguments."""
        if self.variadic and count >= len(self.args):
            return self.args + [self.args[-1]] * (count - len(self.args))
        return self.args

    def check(self, op: str, shapes: Sequence[Shape]) -> Fit:
        """What follows from these shapes of the arguments.

        Raises a `ShapeError` that names the axis, both lengths and the signature if they do not
        fit it.
        """
        last = self._last
        if last is None or last[0] != shapes:  # a model calls an op on the same shapes many times
            last = self._last = (shapes, self._fit(op, shapes))
        return last[1]

    def _fit(self, op: str, shapes: Sequence[Shape]) -> Fit:
        expected = self.axes(len(shapes))
        if len(shapes) != len(expected):
            names = ", ".join(name for name, _ in expected)
            arrays = "array" if len(expected) == 1 else "arrays"
            arrays += " or more" * self.variadic
            raise ShapeError(f"{op}: takes {len(expected)} {arrays} ({names}), got {len(shapes)}")
        lengths: dict[str, tuple[int, str, Shape]] = {}  # axis -> length, where it was first seen
        leading: tuple[Shape, str] | None = None
        broadcast: Shape = ()
        for (name, axes), shape in zip(expected, shapes, strict=True):
            if axes == ("?",):
                continue
            named = axes
            if axes and axes[0] in ("...", "*"):
                named = axes[1:]
                if len(shape) < len(named):
                    self._fail(op, f"{name} has shape {shape}; needs {len(named)} axes or more")
                front = shape[: len(shape) - len(named)]
                if axes[0] == "...":
                    if leading is not None and leading[0] != front:
                        self._fail(
                            op,
                            f"leading axes are {leading[0]} in {leading[1]} but {front} in {name}",
                        )
                    leading = (front, name)
                else:
                    try:
                        broadcast = np.broadcast_shapes(broadcast, front)
                    except ValueError:
                        seen = ", ".join(
                            f"{n} {s}" for (n, _), s in zip(expected, shapes, strict=True)
                        )
                        self._fail(op, f"shapes do not broadcast: {seen}")
            elif len(shape) != len(axes):
                self._fail(
                    op, f"{name} has shape {shape}; needs {len(axes)} axes ({' '.join(axes)})"
                )
            for axis, length in zip(named, shape[len(shape) - len(named) :], strict=True):
                if axis not in lengths:
                    lengths[axis] = (length, name, shape)
                elif lengths[axis][0] != length:
                    first, where, other = lengths[axis]
                    self._fail(
                        op,
                        f"axis {axis} is {first} in {where} {other} but {length} in {name} {shape}",
                    )
        front = leading[0] if leading else broadcast
        result: list[int] = []
        for axis in self.result:
            result += front if axis in ("...", "*") else (lengths[axis][0],) if axis != "?" else ()
        smallest = min(math.prod(shape) for shape in shapes)
        return Fit(None if "?" in self.result else tuple(result), smallest)

    def _fail(self, op: str, what: str) -> None:
        raise ShapeError(f"{op}: {what}. Signature: {self.text}")


class Draw:
    """Random example inputs for an op: axis lengths, arrays, ids and flags from one generator.

    `dims` fixes axis lengths by name; others are drawn from 1 to 4, so that a full Jacobian stays
    small. The tests subclass it to let Hypothesis choose the lengths and flags.
    """

    def __init__(self, seed: int = 0, **dims: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.dims = dims

    def dim(self, name: str, low: int = 1, high: int = 4) -> int:
        """The length of an axis; the same name gives the same length."""
        if name not in self.dims:
            self.dims[name] = self.integer(low, high)
        return self.dims[name]

    def integer(self, low: int, high: int) -> int:
        """One integer in low..high, both included."""
        return int(self.rng.integers(low, high + 1))

    def choice(self, *options: Any) -> Any:
        """One of the options."""
        return options[self.integer(0, len(options) - 1)]

    def normal(self, *shape: int) -> np.ndarray:
        """A float64 array of standard normal numbers."""
        return self.rng.standard_normal(shape)

    def ids(self, low: int, high: int, *shape: int) -> np.ndarray:
        """An int64 array of ids in low..high, both included; it may be empty, or scalar."""
        if 0 in shape:
            return np.empty(shape, np.int64)
        return np.asarray(self.rng.integers(low, high + 1, shape))

    def arguments(self, signature: Signature) -> list[np.ndarray]:
        """One normal array per argument of a signature (`...` and `*` become up to two axes)."""
        leading = [self.dim(f"lead{i}") for i in range(self.integer(0, 2))]
        arrays = []
        for _, axes in signature.args:
            shape: list[int] = []
            for axis in axes:
                if axis == "...":
                    shape += leading
                elif axis == "*":  # any of the axes may be 1, and leading ones may be missing
                    kept = leading[self.integer(0, len(leading)) :]
                    shape += [length if self.integer(0, 3) else 1 for length in kept]
                else:
                    shape.append(self.dim(axis))
            arrays.append(self.normal(*shape))
        return arrays
