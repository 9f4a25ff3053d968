"""Exercises of notebook 01: the backward of tanh, and of division that broadcasts."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.autograd.gradcheck import gradcheck
from minisasrec.teach.exercises import Wrong, compare, equal, exercise, pair, untouched

SHAPES = (((3, 2), (3, 2)), ((3, 2), (2,)), ((3, 1), (1, 4)), ((2, 3), ()), ((1,), (2, 3)))


@exercise(
    "tanh_backward",
    notebook="01_autograd",
    hints=(
        "Each y_i depends on x_i alone, so each dx_i is dy_i times one slope.",
        "The slope is given in terms of y, not of x; nothing has to be computed again.",
        "dx = dy * (1 - y * y)",
    ),
)
def _(answer: Any) -> str:
    x = np.random.default_rng(1).normal(size=(2, 3))
    y, dy = np.tanh(x), np.random.default_rng(2).normal(size=(2, 3))
    slope = 1 - y**2
    mistakes = {
        "the slope is 1 - y^2, with the square": dy * (1 - y),
        "dy is missing; the slope times dy": slope,
        "y is tanh x already": dy * (1 - np.tanh(y) ** 2),
        "y (1 - y) is the slope of the sigmoid": dy * y * (1 - y),
        "the sign": -dy * slope,
        "times the slope, not divided by it": dy / slope,
        "dy is in it twice": dy**2 * slope,
    }
    compare(untouched(answer, y=y, dy=dy), dy * slope, "dx for random y and dy (2, 3)", mistakes)

    def tanh(x: np.ndarray) -> Any:
        y = np.tanh(x)
        return y, lambda dy: (np.asarray(answer(y, dy)),)

    gradcheck(tanh, x)
    return "your dx agrees with finite differences"


@exercise(
    "div_backward",
    notebook="01_autograd",
    hints=(
        "First forget broadcasting: the slope of a / b is 1 / b towards a and -a / b^2 towards b.",
        "dy has the shape of y. What shape has dy / b, and what shape must da have?",
        "da = sum_to_shape(dy / b, a.shape); return a tuple of both",
    ),
)
def _(answer: Any) -> str:
    rng = np.random.default_rng(0)
    for shape_a, shape_b in SHAPES:
        a, b = rng.normal(size=shape_a), rng.uniform(0.5, 2, size=shape_b)
        y, backward = pair(untouched(answer, a=a, b=b), "y, backward")
        equal(y, a / b, f"y for shapes {shape_a} and {shape_b}")
        dy = rng.normal(size=y.shape)
        result = untouched(backward, dy=dy)
        if not isinstance(result, tuple) or len(result) != 2:
            raise Wrong("backward must return two gradients, da and db, as a tuple")
        for name, gradient, array in zip("ab", result, (a, b), strict=True):
            if np.shape(gradient) != array.shape:
                raise Wrong(
                    f"a is {shape_a}, b is {shape_b}: d{name} has shape {np.shape(gradient)}, "
                    f"expected that of {name}, {array.shape}"
                )
        if shape_a == shape_b:
            _explain(*result, a, b, dy)
        gradcheck(answer, a, b)
    return (
        f"both gradients agree with finite differences for {len(SHAPES)} pairs of shapes, "
        "broadcast or not"
    )


def _explain(da: Any, db: Any, a: np.ndarray, b: np.ndarray, dy: np.ndarray) -> None:
    want_da, want_db = dy / b, -dy * a / b**2
    mistakes = {
        "that is db; return da first": want_db,
        "the slope towards a is 1 / b": dy * b,
        "dy is missing": 1 / b,
    }
    compare(da, want_da, "da", mistakes)
    mistakes = {
        "its sign": -want_db,
        "the slope towards b has b^2 below": -dy * a / b,
        "a is missing: the slope is -a / b^2": -dy / b**2,
        "dy is missing": -a / b**2,
    }
    compare(db, want_db, "db", mistakes)
