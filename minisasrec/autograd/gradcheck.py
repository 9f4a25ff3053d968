"""Gradient checking: is an op's backward the derivative of its forward?

The whole Jacobian is compared, in float64, by central differences, under a random cotangent. Both
choices matter. With `loss = y.sum()` the cotangent is all ones, and then a wrong softmax or layer
norm looks right: softmax rows sum to 1 whatever x is, so the true gradient of that loss is 0, and
a backward that returns 0 passes. And one number per check (a random direction) can miss an error
in one entry of a thousand.

When a check fails, `diagnose` tries the usual mistakes in turn and names the one that fits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minisasrec.autograd.op import Backward, Op
from minisasrec.errors import GradientError

Array = np.ndarray


@dataclass(frozen=True)
class Mismatch:
    """One argument whose gradient is wrong: both values of dx, and the likely mistake."""

    op: str
    argument: str
    analytic: Array
    numeric: Array
    diagnosis: str

    def __str__(self) -> str:
        error = np.abs(self.analytic - self.numeric)
        error = np.where(np.isnan(error), np.inf, error)  # nothing is further off than NaN
        at = tuple(int(i) for i in np.unravel_index(np.argmax(error), error.shape))
        return (
            f"{self.op}: gradient of {self.argument} {self.numeric.shape} is wrong at {at}: "
            f"backward says {self.analytic[at]:.6g}, finite differences say "
            f"{self.numeric[at]:.6g}. Likely: {self.diagnosis}"
        )


def gradcheck(
    function: Op | Callable[..., tuple[Array, Backward]],
    *args: Array,
    seed: int = 0,
    step: float = 1e-6,
    rtol: float = 1e-6,
    atol: float = 1e-7,
    **constants: Any,
) -> None:
    """Check every entry of the Jacobian of `function` at `args`.

    `function` is an `Op` (the current backend's implementation is checked) or any function that
    returns `(y, backward)`. Row by row: the cotangent of an output entry is a random number, so
    its sign and scale are checked too, and then all outputs at once under one random cotangent,
    which is how the engine calls `backward`.

    Central differences have an error of order step^2 from the curvature and 1e-16 / step from
    rounding; with step = 1e-6 both are near 1e-10 for numbers of size 1, so the default
    tolerances are a thousand times what is needed.

    Raises `GradientError` with the worst entry and a diagnosis.
    """
    mismatches = find_mismatches(
        function, *args, seed=seed, step=step, rtol=rtol, atol=atol, **constants
    )
    if mismatches:
        raise GradientError("; ".join(str(m) for m in mismatches))


def find_mismatches(
    function: Op | Callable[..., tuple[Array, Backward]],
    *args: Array,
    seed: int = 0,
    step: float = 1e-6,
    rtol: float = 1e-6,
    atol: float = 1e-7,
    **constants: Any,
) -> list[Mismatch]:
    """Like `gradcheck`, but returns what is wrong (an empty list when nothing is)."""
    name, names, call = _unpack(function, len(args))
    arrays = [np.array(a, dtype=np.float64) for a in args]
    y, backward = _forward(name, call, arrays, constants)
    rng = np.random.default_rng(seed)
    cotangent = rng.uniform(0.5, 2.0, y.shape) * rng.choice([-1.0, 1.0], y.shape)

    jacobians = [
        numeric_jacobian(lambda *a: np.asarray(call(*a, **constants)[0]), arrays, i, step)
        for i in range(len(arrays))
    ]
    dy = cotangent.copy()
    whole = _returned(name, backward(dy), arrays, names)
    if not np.array_equal(dy, cotangent):
        raise GradientError(
            f"{name}: backward changes dy in place; the engine may have sent it elsewhere, too"
        )
    twice = _returned(name, backward(2 * cotangent), arrays, names)
    rows = []
    for index in np.ndindex(y.shape):  # one output entry at a time: the full Jacobian
        one = np.zeros_like(cotangent)
        one[index] = cotangent[index]
        rows.append(_returned(name, backward(one), arrays, names))

    mismatches = []
    expected = [  # (outputs, *shape of argument)
        jacobian * cotangent.reshape(-1, *[1] * array.ndim)
        for jacobian, array in zip(jacobians, arrays, strict=True)
    ]
    for i, weighted in enumerate(expected):
        analytic = np.array([row[i] for row in rows]).reshape(weighted.shape)
        checks = [(whole[i], weighted.sum(0)), *zip(analytic, weighted, strict=True)]
        for got, want in checks:
            if not np.allclose(got, want, rtol=rtol, atol=atol):
                # one output at a time, a lost path shows as a 0 that the sum over outputs hides
                diagnosis = (
                    _forgets_dy(whole[i], twice[i], rtol, atol)
                    or _usual_mistake(got, want, rtol, atol)
                    or _usual_mistake(analytic, weighted, rtol, atol)
                    or _of_another(whole[i], expected, names, rtol, atol)
                    or _lost_path(analytic, weighted, atol)
                    or diagnose(got, want, rtol, atol)
                )
                mismatches.append(Mismatch(name, names[i], got, want, diagnosis))
                break
    return mismatches


def numeric_jacobian(
    f: Callable[..., Array], args: Sequence[Array], i: int, step: float = 1e-6
) -> Array:
    """dy/dx for x = args[i] by central differences; shape (outputs, *x.shape)."""
    x = np.asarray(args[i])
    columns = []
    for index in np.ndindex(x.shape):
        moved = [np.array(a) for a in args]
        h = step * max(1.0, abs(float(x[index])))
        moved[i][index] = x[index] + h
        above = np.array(f(*moved), dtype=np.float64)
        up = moved[i][index]
        moved[i][index] = x[index] - h
        below = np.array(f(*moved), dtype=np.float64)
        columns.append((above - below).ravel() / (up - moved[i][index]))
    outputs = columns[0].size if columns else np.asarray(f(*args)).size
    return np.array(columns).reshape(x.size, outputs).T.reshape(outputs, *x.shape)


def diagnose(got: Array, want: Array, rtol: float = 1e-6, atol: float = 1e-7) -> str:
    """The usual mistake that turns `want` into `got`, in words."""
    mistake = _usual_mistake(got, want, rtol, atol)
    if mistake:
        return mistake
    wrong = np.abs(got - want) > atol + rtol * np.abs(want)
    if wrong.mean() < 0.5:
        return f"{int(wrong.sum())} of {got.size} entries are wrong, the others right"
    return "no usual mistake fits; check the formula term by term"


def _usual_mistake(got: Array, want: Array, rtol: float, atol: float) -> str:
    def same(a: Array, b: Array) -> bool:
        return a.shape == b.shape and bool(np.allclose(a, b, rtol=rtol, atol=atol))

    if not np.isfinite(want).all():
        return "the function itself is NaN or infinite here; check it at other arguments"
    if not np.isfinite(got).all():
        return "backward returns NaN or infinity (0/0, log 0 or an overflowing exp?)"
    if same(got, np.zeros_like(got)):
        return "backward returns 0: a path from this argument to the result is missing"
    if same(got, -want):
        return "the sign is wrong"
    if got.ndim >= 2 and same(got.swapaxes(-1, -2), want):
        return "the result is transposed"
    if got.ndim >= 2 and got.shape[-1] == got.shape[-2] and same(got.swapaxes(-1, -2), -want):
        return "the result is transposed and its sign is wrong"
    big = np.abs(want) > 1e-3 * max(float(np.abs(want).max(initial=0)), atol)
    if big.any():
        ratio = got[big] / want[big]
        factor = float(np.median(ratio))
        if same(got, want * factor):
            return (
                f"every entry is {factor:.4g} times what it should be: a constant factor is wrong"
            )
    zero = (np.abs(got) <= atol) & (np.abs(want) > atol)
    if zero.any() and same(got[~zero], want[~zero]):
        return (
            f"{int(zero.sum())} of {got.size} entries are 0 and should not be: a path is missing, "
            "or repeated indices were assigned instead of added"
        )
    leak = (np.abs(got) > atol) & (np.abs(want) <= atol)
    if leak.any() and same(got[~leak], want[~leak]):
        return (
            f"{int(leak.sum())} of {got.size} entries should be 0: the gradient also goes where "
            "forward let nothing through (a mask, ReLU, dropout)"
        )
    error = got - want
    if got.ndim and got.shape[-1] > 1 and same(error, np.broadcast_to(error[..., :1], error.shape)):
        return (
            "right up to a constant per row: a term that subtracts a row's mean (softmax, layer "
            "norm) is missing"
        )
    return ""


def _forgets_dy(once: Array, twice: Array, rtol: float, atol: float) -> str:
    if once.any() and np.allclose(once, twice, rtol=rtol, atol=atol):
        return "backward does not use dy: multiply by it (chain rule)"
    return ""


def _of_another(
    got: Array, expected: Sequence[Array], names: Sequence[str], rtol: float, atol: float
) -> str:
    for name, weighted in zip(names, expected, strict=True):
        want = weighted.sum(0)
        if got.shape == want.shape and np.allclose(got, want, rtol=rtol, atol=atol):
            return f"this is the gradient of {name}: the gradients are in another order"
    return ""


def _lost_path(analytic: Array, weighted: Array, atol: float) -> str:
    lost = (np.abs(analytic) <= atol) & (np.abs(weighted) > atol)
    if not lost.any():
        return ""
    return (
        f"{int(lost.sum())} of the {lost.size} derivatives of an output by an input are 0 and "
        "should not be: a term is missing, or a sum goes over another axis"
    )


def _forward(
    name: str, call: Callable[..., Any], arrays: Sequence[Array], constants: dict[str, Any]
) -> tuple[Array, Backward]:
    """y and backward, if the function is one that finite differences can say something about."""
    before = [array.copy() for array in arrays]
    returned = call(*arrays, **constants)
    if not (isinstance(returned, tuple) and len(returned) == 2 and callable(returned[1])):
        raise GradientError(
            f"{name}: must return its result and a function: return y, backward; got "
            f"{type(returned).__name__}"
        )
    y, backward = np.asarray(returned[0]), returned[1]
    if not all(map(_same_bits, before, arrays)):
        raise GradientError(f"{name}: changes its argument in place; let it make a new array")
    if y.dtype != np.float64:
        raise GradientError(
            f"{name}: computes in {y.dtype}, too coarse for finite differences; stay "
            "with float64, as the arguments are"
        )
    if not _same_bits(y, np.asarray(call(*arrays, **constants)[0])):
        raise GradientError(
            f"{name}: gives another result each time, so differences mean nothing; seed what is "
            "random, inside"
        )
    return y, backward


def _same_bits(a: Array, b: Array) -> bool:
    return np.array_equal(a, b, equal_nan=True)


def _unpack(function: Any, count: int) -> tuple[str, list[str], Callable[..., Any]]:
    if isinstance(function, Op):
        axes = function.signature.axes(count)
        return function.name, [name for name, _ in axes], function.implementation()
    return getattr(function, "__name__", "op"), [f"argument {i}" for i in range(count)], function


def _returned(
    name: str, gradients: Any, arrays: Sequence[Array], names: Sequence[str]
) -> tuple[Array, ...]:
    if not isinstance(gradients, tuple) or len(gradients) != len(arrays):
        count = len(gradients) if isinstance(gradients, tuple) else type(gradients).__name__
        raise GradientError(
            f"{name}: backward must return a tuple of {len(arrays)} gradients, one per positional "
            f"argument; got {count}"
        )
    for gradient, array, argument in zip(gradients, arrays, names, strict=True):
        if gradient is None:
            raise GradientError(
                f"{name}: the gradient of {argument} is None; what has none is a keyword-only "
                "constant, not a positional argument"
            )
        if np.shape(gradient) != array.shape:
            raise GradientError(
                f"{name}: the gradient of {argument} has shape {np.shape(gradient)}, the argument "
                f"{array.shape}; did backward forget sum_to_shape, or the order of the arguments?"
            )
    return tuple(np.asarray(g) for g in gradients)
