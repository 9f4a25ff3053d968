"""Exercises of notebook 02: the backward of softmax, and the third term of layer norm's."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.autograd.gradcheck import gradcheck
from minisasrec.teach.exercises import Wrong, array, compare, exercise, untouched

EPS = 1e-8


@exercise(
    "softmax_backward",
    notebook="02_gradient_checking",
    hints=(
        "sum_i dy_i y_i 1[i=j] is just dy_j y_j. What is left is -y_j times sum_i dy_i y_i.",
        "The number that a row shares is (dy * y).sum(axis=-1, keepdims=True).",
        "dx = y * (dy - (dy * y).sum(axis=-1, keepdims=True))",
    ),
)
def _(answer: Any) -> str:
    def softmax(x: np.ndarray) -> Any:
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        y = e / e.sum(axis=-1, keepdims=True)
        return y, lambda dy: (_of_shape(answer(y, dy), y.shape),)

    rng = np.random.default_rng(0)
    y, _ = softmax(rng.normal(size=(3, 4)))
    dy = rng.normal(size=y.shape)
    along = (dy * y).sum(axis=-1, keepdims=True)
    mistakes = {
        "only the slope of each output in its own input is there": dy * y * (1 - y),
        "y outside the bracket is missing": dy - along,
        "its sign": -y * (dy - along),
        "the number that a row shares is taken away, not added": y * (dy + along),
        "the sum belongs to a row, axis=-1": y * (dy - (dy * y).sum()),
        "the sum belongs to a row, axis=-1 and not 0": y * (dy - (dy * y).sum(axis=0)),
        "the number that a row shares is a sum, not a mean": y * (dy - along / 4),
        "the sum is over dy times y": y * (dy - dy.sum(axis=-1, keepdims=True)),
        "dy is missing": y * (1 - y),
    }
    got = _of_shape(untouched(answer, y=y, dy=dy), y.shape)
    compare(got, y * (dy - along), "dx for random rows of 4", mistakes)
    shapes = [(4,), (2, 3), (2, 2, 3)]
    for shape in shapes:
        gradcheck(softmax, rng.normal(size=shape))
    return (
        "every entry of the Jacobian agrees with finite differences under a random cotangent, "
        f"for shapes {', '.join(map(str, shapes))}"
    )


@exercise(
    "third_term",
    notebook="02_gradient_checking",
    hints=(
        "Sum over i: dxhat_i times (slope of xhat_i towards r) times (slope of r towards x_j).",
        "That is sum_i dxhat_i (xhat_i / r) (-r^2 xhat_j / d); what depends on i makes a mean.",
        "-rstd * xhat * (dxhat * xhat).mean(axis=-1, keepdims=True)",
    ),
)
def _(answer: Any) -> str:
    def normalise(x: np.ndarray) -> Any:
        rstd = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + EPS)
        xhat = (x - x.mean(axis=-1, keepdims=True)) * rstd

        def backward(dy: np.ndarray) -> tuple[np.ndarray]:
            first_two = rstd * (dy - dy.mean(axis=-1, keepdims=True))
            return (first_two + _of_shape(answer(xhat, rstd, dy), x.shape),)

        return xhat, backward

    rng = np.random.default_rng(0)
    x, dxhat = rng.normal(size=(2, 3, 4)) * 2
    xhat, rstd = normalise(x)[0], 1 / np.sqrt(x.var(axis=-1, keepdims=True) + EPS)
    mean = (dxhat * xhat).mean(axis=-1, keepdims=True)
    want = -rstd * xhat * mean
    first_two = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True))
    mistakes = {
        "it is 0: the path through the variance is missing": 0 * want,
        "its sign": -want,
        "the sum over i is divided by d, which makes a mean": 4 * want,
        "r is in it once: r^2 from the slope of r, 1 / r from that of xhat": rstd * want,
        "r is missing": want / rstd,
        "it is twice what it should be": 2 * want,
        "it is half of what it should be": want / 2,
        "it lacks the sum over i": -rstd * xhat * dxhat * xhat,
        "these are all three terms; the check adds the first two": first_two + want,
        "a row has a mean of its own, axis=-1": -rstd * xhat * (dxhat * xhat).mean(),
        "the mean is of dxhat times xhat": -rstd * xhat * dxhat.mean(axis=-1, keepdims=True),
    }
    got = _of_shape(untouched(answer, xhat=xhat, rstd=rstd, dxhat=dxhat), x.shape)
    compare(got, want, "the third term for random rows of 4", mistakes)
    for shape in [(5,), (2, 4), (2, 2, 3)]:
        gradcheck(normalise, rng.normal(size=shape))
    return "with your third term every entry of the Jacobian agrees with finite differences"


def _of_shape(dx: Any, shape: tuple[int, ...]) -> np.ndarray:
    dx = array(dx, "your result")
    if dx.shape != shape:
        raise Wrong(f"your result has shape {dx.shape}, expected that of x, {shape}")
    return dx
