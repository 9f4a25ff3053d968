"""Ops that work element by element, with NumPy broadcasting."""

from __future__ import annotations

import math

import numpy as np

from minisasrec import kernels
from minisasrec.autograd.arrays import as_array
from minisasrec.autograd.gradients import sum_to_shape
from minisasrec.autograd.op import Array, Result, check_number, op
from minisasrec.autograd.signature import Draw
from minisasrec.errors import ShapeError


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
    return draw.arguments(scale.signature), {"factor": draw.choice(-1.5, 0, 2, np.float32(0.5))}


def _with_exponent(draw: Draw) -> tuple[list[Array], dict[str, object]]:
    (x,) = draw.arguments(power.signature)
    exponent = draw.choice(0, 1, 2, 3, -1, 0.5)
    x = x + np.copysign(0.5, x)  # away from the pole of 1 / x
    return [np.abs(x) if exponent == 0.5 else x], {"exponent": exponent}


def _with_mask(draw: Draw) -> tuple[list[Array], dict[str, object]]:
    (x,) = draw.arguments(masked_fill.signature)
    mask = np.asarray(draw.normal(*x.shape) > 0)
    part = mask[..., :1] if mask.ndim and mask.size else False  # the mask broadcasts
    return [x], {
        "mask": draw.choice(mask, mask.tolist() if mask.size else mask, part, False),
        "value": draw.choice(-2.0, 3),
    }


@op("a (*), b (*) -> (*)", torch="a + b")
def add(a: Array, b: Array) -> Result:
    """y = a + b."""

    def backward(dy: Array) -> tuple[Array, ...]:
        return sum_to_shape(dy, a.shape), sum_to_shape(dy, b.shape)

    return a + b, backward


@add.fast(above=4096)
def _(a: Array, b: Array) -> Result:
    if a.shape != b.shape:  # one of them broadcasts: NumPy knows how
        return add.definition(a, b)
    return kernels.elementwise.add_up((a, b)), lambda dy: (dy, dy)


@op("a (*), b (*) -> (*)", torch="a - b")
def sub(a: Array, b: Array) -> Result:
    """y = a - b."""

    def backward(dy: Array) -> tuple[Array, ...]:
        return sum_to_shape(dy, a.shape), sum_to_shape(-dy, b.shape)

    return a - b, backward


@op("a (*), b (*) -> (*)", torch="a * b")
def mul(a: Array, b: Array) -> Result:
    """y = a * b."""

    def backward(dy: Array) -> tuple[Array, ...]:
        return sum_to_shape(dy * b, a.shape), sum_to_shape(dy * a, b.shape)

    return a * b, backward


@op("a (*), b (*) -> (*)", torch="a / b", sample=_denominator)
def div(a: Array, b: Array) -> Result:
    """y = a / b."""
    y = a / b

    def backward(dy: Array) -> tuple[Array, ...]:
        da = dy / b
        return sum_to_shape(da, a.shape), sum_to_shape(-da * y, b.shape)  # d(a/b)/db = -(a/b)/b

    return y, backward


@op("x (...) -> (...)", torch="factor * x", sample=_with_factor)
def scale(x: Array, *, factor: float) -> Result:
    """y = factor * x, for a plain number (no gradient for the factor); else `ConfigError`."""
    factor = check_number("scale", "factor", x, factor)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * factor,)

    return x * factor, backward


@scale.fast(above=4096)
def _(x: Array, *, factor: float) -> Result:
    factor = check_number("scale", "factor", x, factor)
    times = kernels.elementwise.scale
    return times(x, factor), lambda dy: (times(dy, factor),)


@op("x (...) -> (...)", torch="x ** float(exponent)", sample=_with_exponent)
def power(x: Array, *, exponent: float) -> Result:
    """y = x^p, for a plain number p (no gradient for the exponent); else `ConfigError`."""
    p = check_number("power", "exponent", x, exponent)

    def backward(dy: Array) -> tuple[Array, ...]:
        if p == 0:  # y is 1 wherever x is, also at 0, where 0 * x^-1 is not a number
            return (np.zeros_like(x),)
        return (dy * p * x ** (p - x.dtype.type(1)),)

    return x**p, backward


@op("x (...) -> (...)", torch="x.exp()")
def exp(x: Array) -> Result:
    """y = e^x."""
    y = np.exp(x)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * y,)

    return y, backward


@op("x (...) -> (...)", torch="x.log()", sample=_positive)
def log(x: Array) -> Result:
    """y = ln x, for x > 0."""

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy / x,)

    return np.log(x), backward


@op("x (...) -> (...)", torch="x.sqrt()", sample=_positive)
def sqrt(x: Array) -> Result:
    """y = square root of x, for x > 0."""
    y = np.sqrt(x)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy / (2 * y),)

    return y, backward


@op("x (...) -> (...)", torch="x.relu()", paper="Sec. III-B", sample=_away_from_zero)
def relu(x: Array) -> Result:
    """y = max(x, 0); the gradient at 0 is taken as 0."""

    def backward(dy: Array) -> tuple[Array, ...]:
        return (np.where(x > 0, dy, 0),)

    return np.maximum(x, 0), backward


def stable_sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x) without overflow: e is only ever raised to a negative power."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, small) / (1 + small)


def stable_log_sigmoid(x: Array) -> Array:
    """ln(1 / (1 + e^-x)) = min(x, 0) - ln(1 + e^-|x|), exact also where the sigmoid is 0 or 1."""
    return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))


@op("x (...) -> (...)", torch="x.sigmoid()", paper="Sec. III-E")
def sigmoid(x: Array) -> Result:
    """y = 1 / (1 + e^-x)."""
    y = stable_sigmoid(x)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * y * (1 - y),)

    return y, backward


@op("x (*), a (*) -> (*)", torch="x * a.sigmoid()", paper="beyond the paper: arXiv 2508.06450")
def gate(x: Array, a: Array) -> Result:
    """y = x sigmoid(a), element by element: a learned share of each number goes on."""
    share = stable_sigmoid(a)

    def backward(dy: Array) -> tuple[Array, ...]:
        dx, da = dy * share, dy * x * share * (1 - share)
        return sum_to_shape(dx, x.shape), sum_to_shape(da, a.shape)

    return x * share, backward


@gate.fast
def _(x: Array, a: Array) -> Result:
    if x.shape != a.shape:
        return gate.definition(x, a)
    return kernels.elementwise.gate(x, a), lambda dy: kernels.elementwise.gate_backward(dy, x, a)


@op("x (...) -> (...)", torch="x.tanh()")
def tanh(x: Array) -> Result:
    """y = tanh x."""
    y = np.tanh(x)

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * (1 - y * y),)

    return y, backward


erf = np.vectorize(math.erf, otypes=[float])  # NumPy has none


@op("x (...) -> (...)", torch="F.gelu(x)")
def gelu(x: Array) -> Result:
    """y = x Phi(x),  Phi(x) = (1 + erf(x / sqrt 2)) / 2, the normal distribution function.

    A smooth relu (Hendrycks and Gimpel, arXiv 1606.08415), exact: not the formula with tanh. Its
    slope is Phi(x) + x phi(x), with the normal density phi(x) = e^(-x^2 / 2) / sqrt(2 pi).
    """
    Phi = ((1 + erf(x / math.sqrt(2))) / 2).astype(x.dtype)
    phi = np.exp(-x * x / 2) / x.dtype.type(math.sqrt(2 * math.pi))

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * (Phi + x * phi),)

    return x * Phi, backward


@gelu.fast
def _(x: Array) -> Result:
    y, slope = kernels.elementwise.gelu(x)
    return y, lambda dy: (dy * slope,)


@op("x (...) -> (...)", torch="F.logsigmoid(x)", paper="Sec. III-E")
def log_sigmoid(x: Array) -> Result:
    """y = ln sigmoid(x), finite for every finite x.

    The authors' code adds 1e-24 inside the logarithm instead; in float32 that floor also stops
    the gradient of a sigmoid that has saturated.
    """

    def backward(dy: Array) -> tuple[Array, ...]:
        return (dy * stable_sigmoid(-x),)

    return stable_log_sigmoid(x), backward


@op(
    "x (...) -> (...)",
    torch="x.masked_fill(torch.as_tensor(mask), value)",
    paper="Sec. III-B",
    sample=_with_mask,
)
def masked_fill(x: Array, *, mask: Array, value: float) -> Result:
    """y = value where `mask` is true, x elsewhere; `mask` broadcasts to x, else `ShapeError`."""
    mask = as_array("masked_fill", mask)
    try:
        mask = np.broadcast_to(mask.astype(bool), x.shape)
    except ValueError:
        raise ShapeError(
            f"masked_fill: mask has shape {np.shape(mask)}, which does not broadcast to that of x, "
            f"{x.shape}"
        ) from None

    def backward(dy: Array) -> tuple[Array, ...]:
        return (np.where(mask, dy.dtype.type(0), dy),)

    return np.where(mask, check_number("masked_fill", "value", x, value), x), backward
