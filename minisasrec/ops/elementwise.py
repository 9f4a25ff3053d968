"""Ops that work element by element, with NumPy broadcasting."""

from __future__ import annotations

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.gradients import WORTH_A_KERNEL, add_up, sum_to_shape
from minisasrec.autograd.op import Array, Backward, op
from minisasrec.autograd.signature import Draw
from minisasrec.errors import ShapeError

Result = tuple[Array, Backward]


def _away_from_zero(draw: Draw) -> tuple[list[Array], dict[str, object]]:
    """Inputs at least 0.1 from 0: at a kink or a pole there is no derivative to check."""
    (x,) = draw.arguments(relu.signature)
    return [x + np.copysign(0.1, x)], {}


def _positive(draw: Draw) -> tuple[list[Array], dict[str, object]]:
    (x,) = draw.arguments(log.signature)
    return [np.abs(x) + 0.1], {}


def _denominator(draw: Draw) -> tuple[list[Array], dict[str, object]]:
    a, b = draw.arguments(div.signature)
    return [a, b + np.copysign(0.5, b)], {}


def _with_factor(draw: Draw) -> tuple[list[Array], dict[str, object]]:
    return draw.arguments(scale.signature), {"factor": -1.5}


def _with_mask(draw: Draw) -> tuple[list[Array], dict[str, object]]:
    (x,) = draw.arguments(masked_fill.signature)
    return [x], {"mask": draw.normal(*x.shape) > 0, "value": -2.0}


@op("a (*), b (*) -> (*)")
def add(a: Array, b: Array) -> Result:
    """y = a + b."""

    def backward(dy: Array) -> tuple[Array, ...]:
        return sum_to_shape(dy, a.shape), sum_to_shape(dy, b.shape)

    return a + b, backward


@add.fast
def _(a: Array, b: Array) -> Result:
    if a.shape != b.shape:  # one of them broadcasts: NumPy knows how
        return add.definition(a, b)
    return add_up((a, b)), lambda dy: (dy, dy)


@op("a (*), b (*) -> (*)")
def sub(a: Array, b: Array) -> Result:
    """y = a - b."""

    def backward(dy: Array) -> tuple[Array, ...]:
        return sum_to_shape(dy, a.shape), sum_to_shape(-dy, b.shape)

    return a - b, backward


@op("a (*), b (*) -> (*)")
def mul(a: Array, b: Array) -> Result:
    """y = a * b."""

    def backward(dy: Array) -> tuple[Array, ...]:
        return sum_to_shape(dy * b, a.shape), sum_to_shape(dy * a, b.shape)

    return a * b, backward


@op("a (*), b (*) -> (*)", sample=_denominator)
def div(a: Array, b: Array) -> Result:
    """y = a / b."""
    y = a / b

    def backward(dy: Array) -> tuple[Array, ...]:
        da = dy / b
        return sum_to_shape(da, a.shape), sum_to_shape(-da * y, b.shape)  # d(a/b)/db = -(a/b)/b

    return y, backward


@op("x (...) -> (...)", sample=_with_factor)
def scale(x: Array, *, factor: float) -> Result:
    """y = factor * x, for a plain number (no gradient for the factor)."""
    factor = x.dtype.type(factor)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * factor,)

    return x * factor, backward


@scale.fast
def _(x: Array, *, factor: float) -> Result:
    factor = x.dtype.type(factor)
    if x.size < WORTH_A_KERNEL:
        return scale.definition(x, factor=factor)
    times = kernels.elementwise.scale
    return times(x, factor), lambda dy: (times(dy, factor),)


@op("x (...) -> (...)")
def exp(x: Array) -> Result:
    """y = e^x."""
    y = np.exp(x)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * y,)

    return y, backward


@op("x (...) -> (...)", sample=_positive)
def log(x: Array) -> Result:
    """y = ln x, for x > 0."""

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy / x,)

    return np.log(x), backward


@op("x (...) -> (...)", sample=_positive)
def sqrt(x: Array) -> Result:
    """y = square root of x, for x > 0."""
    y = np.sqrt(x)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy / (2 * y),)

    return y, backward


@op("x (...) -> (...)", paper="Sec. III-B", sample=_away_from_zero)
def relu(x: Array) -> Result:
    """y = max(x, 0); the gradient at 0 is taken as 0."""

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * (x > 0),)

    return np.maximum(x, 0), backward


def stable_sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x) without overflow: e is only ever raised to a negative power."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def stable_log_sigmoid(x: Array) -> Array:
    """ln(1 / (1 + e^-x)) = min(x, 0) - ln(1 + e^-|x|), exact also where the sigmoid is 0 or 1."""
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


@op("x (...) -> (...)", paper="Sec. III-E")
def sigmoid(x: Array) -> Result:
    """y = 1 / (1 + e^-x)."""
    y = stable_sigmoid(x)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * y * (1 - y),)

    return y, backward


@op("x (...) -> (...)")
def tanh(x: Array) -> Result:
    """y = tanh x."""
    y = np.tanh(x)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * (1 - y * y),)

    return y, backward


@op("x (...) -> (...)", paper="Sec. III-E")
def log_sigmoid(x: Array) -> Result:
    """y = ln sigmoid(x), finite for every finite x.

    The authors' code adds 1e-24 inside the logarithm instead; in float32 that floor also stops
    the gradient of a sigmoid that has saturated.
    """

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * stable_sigmoid(-x),)

    return stable_log_sigmoid(x), backward


@op("x (...) -> (...)", paper="Sec. III-B", sample=_with_mask)
def masked_fill(x: Array, *, mask: Array, value: float) -> Result:
    """y = value where `mask` is true, x elsewhere; `mask` broadcasts to the shape of x."""
    try:
        mask = np.broadcast_to(mask, x.shape)
    except ValueError:
        raise ShapeError(
            f"masked_fill: mask has shape {np.shape(mask)}, which does not broadcast to that of x, "
            f"{x.shape}"
        ) from None

    def backward(dy: Array) -> tuple[Array, ...]:
        return (np.where(mask, dy.dtype.type(0), dy),)

    return np.where(mask, x.dtype.type(value), x), backward
