"""Exercises of notebook 01: the backward of tanh, and of division that broadcasts."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.autograd.gradcheck import gradcheck
from minisasrec.teach.exercises import Wrong, equal, exercise

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
    equal(answer(y, dy), dy * (1 - y**2), "dx for random y and dy (2, 3)")

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
        y, backward = answer(a, b)
        equal(y, a / b, f"y for shapes {shape_a} and {shape_b}")
        result = backward(rng.normal(size=y.shape))
        if not isinstance(result, tuple) or len(result) != 2:
            raise Wrong("backward must return two gradients, da and db, as a tuple")
        for name, gradient, array in zip("ab", result, (a, b), strict=True):
            if np.shape(gradient) != array.shape:
                raise Wrong(
                    f"a is {shape_a}, b is {shape_b}: d{name} has shape {np.shape(gradient)}, "
                    f"expected that of {name}, {array.shape}"
                )
        gradcheck(answer, a, b)
    return (
        f"both gradients agree with finite differences for {len(SHAPES)} pairs of shapes, "
        "broadcast or not"
    )
