"""What a gradient check looks at: an op, a function of arrays or of Tensors, or a module.

Whatever it is, a `Subject` offers it in one form: `forward` gives y and keeps backward, `gradients`
calls that backward, and `value` gives y alone, at other arrays, for finite differences.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from minisasrec.autograd.arrays import kind_of
from minisasrec.autograd.engine import no_grad, topological_order
from minisasrec.autograd.op import Op
from minisasrec.autograd.tensor import Tensor
from minisasrec.errors import GradientError, ShapeError

Array = np.ndarray


class Subject:
    """A function with the arrays at which it is checked, and the names of these arrays."""

    def __init__(self, function: Any, args: Sequence[Any], constants: dict[str, Any]) -> None:
        self.name = getattr(function, "__name__", type(function).__name__)
        if not callable(function):
            raise GradientError(
                f"gradcheck: takes a function first, then its arrays; got {self.name} first"
            )
        self.names = [f"argument {i}" for i in range(len(args))]
        self.run: Callable[..., Any] = function
        self.parameters: list[Any] = []
        self.is_op = isinstance(function, Op)
        if isinstance(function, Op):
            self.run = function.implementation()
            self.names = [name for name, _ in function.signature.axes(len(args))]
            if len(self.names) != len(args):
                function.signature.check(self.name, [np.shape(a) for a in args])
        elif hasattr(function, "named_parameters"):  # a Module
            named = dict(function.named_parameters())
            self.parameters = list(named.values())
            self.names += named
        self.args = args  # of a module, some may be ids
        self.moving = [k for k, a in enumerate(args) if not self.parameters or _is_float(a)]
        self.names = [self.names[k] for k in self.moving] + self.names[len(args) :]
        given = [args[k] for k in self.moving] + [p.data for p in self.parameters]
        self.arrays = [_checked(self.name, *pair) for pair in zip(self.names, given, strict=True)]
        if not self.arrays:
            raise GradientError(
                f"{self.name}: nothing to differentiate; give the arrays after the function: "
                "gradcheck(function, x)"
            )
        if isinstance(function, Op):
            function.signature.check(self.name, [a.shape for a in self.arrays])
        self.constants = constants
        fixed = {k: c for k, c in constants.items() if isinstance(c, np.ndarray)}
        self.watched = [*self.arrays, *fixed.values()]
        self.watched_names = [*self.names, *fixed]
        self.backward: Callable[[Array], Any] = lambda dy: None
        self.kind = "arrays"
        self.result_of_forward = np.zeros(())

    # Forward

    def forward(self) -> Array:
        """y; its backward is kept for `gradients`. Checks that differences will mean something."""
        before = [array.copy() for array in self.watched]
        y, self.backward = self._first_call()
        self._unchanged(before, "changes {} in place; let it make a new array")
        if y.dtype.kind != "f" or y.dtype.itemsize < 4:
            raise GradientError(
                f"{self.name}: returns {y.dtype}, too coarse for finite differences; compute in "
                "float64 or float32"
            )
        again = self.value(*self.arrays)
        if not same_bits(y, again):
            raise GradientError(
                f"{self.name}: gives another result each time, so differences mean nothing; seed "
                "what is random, inside"
            )
        if np.isnan(y).any():
            raise GradientError(
                f"{self.name}: the function itself is NaN here; check it at other arguments"
            )
        return y

    def value(self, *arrays: Array) -> Array:
        """y at other arrays."""
        return np.array(self._pair(*arrays)[0] if self.kind == "arrays" else self._tensor(arrays))

    def at(self, arrays: Sequence[Array]) -> Callable[[Array], tuple[Array, ...]]:
        """The backward at other arrays: a function of dy."""
        call = self._pair if self.kind == "arrays" else self._graph
        backward = call(*arrays)[1]
        return lambda dy: self._gradients(backward(dy))

    def elsewhere(self, dy: Array) -> tuple[Array, ...]:
        """The gradients for dy if it and the arguments are laid out in memory in another way."""
        try:
            return self.at([spread_out(a) for a in self.arrays])(spread_out(dy))
        except Exception:  # it refuses such arrays, as a kernel may: never silently wrong
            return self.gradients(dy)

    def _first_call(self) -> tuple[Array, Callable[[Array], Any]]:
        """Call the function with arrays; if it wants Tensors, with these."""
        error: Exception | None = None
        returned: Any = None
        if not self.parameters:
            try:
                returned = self.run(*self.arrays, **self.constants)
            except Exception as e:  # whatever a function of Tensors does to arrays
                error = e
            if isinstance(returned, tuple) and len(returned) == 2 and callable(returned[1]):
                self.result_of_forward = np.asarray(returned[0])
                return self.result_of_forward.copy(), returned[1]
        if self.is_op:  # no function of Tensors: what it lacks is its backward
            raise error or GradientError(
                f"{self.name}: must return its result and the function that sends gradients back, "
                f"return y, backward; got {kind_of(returned)}"
            )
        self.kind = "tensors"
        try:
            return self._graph(*self.arrays)
        except ShapeError as e:
            if "mixes float32, float64" not in str(e):
                raise
            self.kind = "float32 tensors"  # it holds float32 weights, so it computes in float32
            return self._graph(*self.arrays)
        except GradientError:
            raise
        except Exception:
            if error is None and not self.parameters:
                raise self._neither(returned) from None
            if error is None or "'numpy.ndarray' object has no" in str(error):
                raise  # it was written for Tensors: their error is the one to see
            raise error from None

    def _neither(self, returned: Any) -> GradientError:
        return GradientError(
            f"{self.name}: must return its result and a function, return y, backward, or, given "
            f"Tensors, a Tensor that depends on them; got {type(returned).__name__}"
        )

    def _pair(self, *arrays: Array) -> tuple[Array, Callable[[Array], Any]]:
        y, backward = self.run(*arrays, **self.constants)
        return np.asarray(y), backward

    # Functions of Tensors and modules go through the engine

    def _leaves(self, arrays: Sequence[Array]) -> tuple[Any, list[Any], list[Tensor]]:
        """The function, its arguments, and the leaves that stand for `arrays`.

        A module is copied, so that its own parameters, and those of a graph that is still to be
        walked, stay as they are.
        """
        if self.kind == "float32 tensors":
            arrays = [a.astype(np.float32) for a in arrays]
        count = len(self.moving)
        args = list(self.args)
        for k, a in zip(self.moving, arrays[:count], strict=True):
            args[k] = Tensor(a, requires_grad=True)
        run: Any = self.run
        parameters = list(self.parameters)
        if parameters:
            run = copy.deepcopy(self.run)
            parameters = run.parameters()
        for parameter, a in zip(parameters, arrays[count:], strict=True):
            parameter.data, parameter.grad = a, None
        return run, args, [*(args[k] for k in self.moving), *parameters]

    def _tensor(self, arrays: Sequence[Array]) -> Array:
        run, args, _ = self._leaves(arrays)
        with no_grad():
            return run(*args, **self.constants).data

    def _graph(self, *arrays: Array) -> tuple[Array, Callable[[Array], Any]]:
        run, args, leaves = self._leaves(arrays)
        result = run(*args, **self.constants)
        if not isinstance(result, Tensor):
            raise self._neither(result)
        if not result.requires_grad:
            raise GradientError(
                f"{self.name}: its result depends on no argument; was it made from x.data, from "
                "detach(), or inside no_grad()?"
            )

        found = [node for node in topological_order(result) if node.op is None]
        touched = [*leaves, *found]  # also weights that the function holds

        def backward(dy: Array) -> tuple[Array, ...]:
            own = [leaf.grad for leaf in touched]
            try:
                for leaf in leaves:
                    leaf.grad = None
                result.backward(dy.astype(result.dtype), retain_graph=True)
                return tuple(
                    np.zeros_like(leaf.data) if leaf.grad is None else np.array(leaf.grad)
                    for leaf in leaves
                )
            finally:
                for leaf, grad in zip(touched, own, strict=True):
                    leaf.grad = grad

        self.result_of_forward = result.data
        return result.data.copy(), backward

    # Backward

    def gradients(self, dy: Array) -> tuple[Array, ...]:
        """What backward returns for dy, one array per argument.

        Raises `GradientError` if it is no tuple of arrays of the arguments' shapes.
        """
        return self._gradients(self.backward(dy))

    def check_calls(self, y: Array, cotangent: Array) -> tuple[Array, ...]:
        """backward(cotangent), once it is known that a call of backward leaves no traces."""
        arguments, result = [a.copy() for a in self.watched], self.result_of_forward
        dy = cotangent.copy()
        first = self.gradients(dy)
        once = [g.copy() for g in first]
        if not same_bits(dy, cotangent):
            raise GradientError(
                f"{self.name}: backward changes dy in place; the engine may have sent it "
                "elsewhere, too"
            )
        self._unchanged(arguments, "backward changes {} in place; work on a copy")
        if not same_bits(result, y):
            raise GradientError(
                f"{self.name}: backward changes the result y in place, which other ops have read; "
                "work on a copy"
            )
        self._call_at_other_numbers()
        twice = self.gradients(cotangent.copy())
        if not all(map(same_bits, once, twice)):
            raise GradientError(f"{self.name}: {self._why_not_again(once, cotangent)}")
        self.gradients(np.zeros_like(cotangent))
        if not all(map(same_bits, once, first)):
            raise GradientError(
                f"{self.name}: backward returns the same memory each time, so a second call "
                "overwrites the first gradient; make a new array"
            )
        return tuple(once)

    def _call_at_other_numbers(self) -> None:
        """A layer that is used twice: what backward saved must not be lost."""
        with np.errstate(all="ignore"), suppress(Exception):  # it may not be defined there
            self.value(*[0.5 * np.flip(a) for a in self.arrays])

    def _why_not_again(self, once: Sequence[Array], cotangent: Array) -> str:
        """Why a second call of backward with the same dy gave another gradient."""
        backward = self.at(self.arrays)
        fresh, again = [[g.copy() for g in backward(cotangent.copy())] for _ in range(2)]
        if not all(map(same_bits, once, fresh)):
            return (
                "backward gives another gradient each time; seed what is random, or save what "
                "forward drew"
            )
        if not all(map(same_bits, once, again)):
            return (
                "backward overwrites what it saved: a second call with the same dy gives another "
                "gradient; make a new array instead of changing one in place"
            )
        return (
            "backward uses what the last call of forward saved, not its own: keep it in variables "
            "inside the function, not in an object or a global one"
        )

    def _gradients(self, returned: Any) -> tuple[Array, ...]:
        if not isinstance(returned, tuple) or len(returned) != len(self.arrays):
            count = len(returned) if isinstance(returned, tuple) else type(returned).__name__
            raise GradientError(
                f"{self.name}: backward must return a tuple of {len(self.arrays)} gradients, one "
                f"per positional argument; got {count}"
            )
        for gradient, array, argument in zip(returned, self.arrays, self.names, strict=True):
            if gradient is None:
                raise GradientError(
                    f"{self.name}: the gradient of {argument} is None; what has none is a "
                    "keyword-only constant, not a positional argument"
                )
            if np.shape(gradient) != array.shape:
                raise GradientError(
                    f"{self.name}: the gradient of {argument} has shape {np.shape(gradient)}, the "
                    f"argument {array.shape}; did backward forget sum_to_shape, or the order of "
                    "the arguments?"
                )
        return tuple(np.asarray(g) for g in returned)

    def _unchanged(self, before: Sequence[Array], what: str) -> None:
        for name, old, array in zip(self.watched_names, before, self.watched, strict=True):
            if not same_bits(old, array):
                raise GradientError(f"{self.name}: {what.format(name)}")


def same_bits(a: Array, b: Array) -> bool:
    """The same shape and the same numbers; NaN is the same as NaN."""
    return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")


def spread_out(a: Array) -> Array:
    """The same numbers in another layout in memory: transposed, with gaps."""
    wide = np.zeros((*a.shape[::-1], 2), a.dtype)
    wide[..., 0] = a.T
    return wide[..., 0].T


def _is_float(a: Any) -> bool:
    return np.asarray(getattr(a, "data", a)).dtype.kind == "f"


def _checked(function: str, name: str, given: Any) -> Array:
    """A float64 copy of an argument, or what to do instead."""
    array = np.asarray(given.data if isinstance(given, Tensor) else given)
    if array.dtype.kind in "iub":
        raise GradientError(
            f"{function}: {name} holds {array.dtype} and has no derivative; give numbers as floats "
            "(x.astype(float)), and ids or masks as keyword-only constants"
        )
    if array.dtype.kind != "f":
        raise GradientError(
            f"{function}: {name} is no array of floats; got {type(given).__name__} "
            f"({array.dtype}); constants go by keyword"
        )
    bad = ~np.isfinite(array)
    if bad.any():
        at = tuple(int(k) for k in np.argwhere(bad)[0])
        raise GradientError(
            f"{function}: {name} holds {array[at]} at {at}; check at finite numbers"
        )
    return np.array(array, dtype=np.float64)
