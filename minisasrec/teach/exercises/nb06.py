"""Exercises of notebook 06: inverted dropout, and a sub-layer in its wrapping."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.autograd.gradcheck import gradcheck
from minisasrec.errors import GradientError
from minisasrec.teach.exercises import Wrong, array, compare, equal, exercise, pair, untouched


@exercise(
    "inverted_dropout",
    notebook="06_stacking",
    hints=(
        "What stays is divided by 1 - rate, the share that stays on average; the rest is 0.",
        "y is x times a number for each element, 0 or 1 / (1 - rate). Which slope is that?",
        "factor = keep / (1 - rate); y = x * factor; backward: return dy * factor",
    ),
)
def _(answer: Any) -> str:
    rng = np.random.default_rng(0)
    for shape, rate in (((2, 3), 0.5), ((3, 4), 0.2), ((4,), 0.9), ((2, 2), 0.0)):
        x, dy = rng.normal(size=(2, *shape))
        keep = rng.random(shape) >= rate
        x.flat[0], keep.flat[:2] = 0, True  # a 0 that stays, as after a ReLU
        y, backward = _pair(untouched(answer, x=x, keep=keep, rate=rate))
        got, what = array(y, f"y for rate {rate}"), f"y for rate {rate}"
        wrong = got.shape == shape and not np.allclose(got, x * keep / (1 - rate))
        if wrong and np.allclose(got, x * keep):
            raise Wrong(f"{what} is x with some numbers dropped: what stays must grow")
        if wrong and np.allclose(got, x * keep / keep.mean()):
            raise Wrong(
                f"{what} is divided by {keep.mean():.3g}, the share that happened to stay; divide "
                f"by the one that stays on average, {1 - rate:.3g}"
            )
        mistakes = {
            "what is dropped and what stays are swapped": x * ~keep / (1 - rate),
            "divide by 1 - rate, not by rate": x * keep / (rate or 1),
            "nothing is dropped": x / (1 - rate),
        }
        compare(y, x * keep / (1 - rate), what, mistakes)
        mistakes = {
            "the same factor as in y: 1 / (1 - rate) is missing": dy * keep,
            "what was dropped has no gradient: keep is missing": dy / (1 - rate),
            "dy is handed on as it is": dy,
            "the factor is there, times x; the slope is the factor alone": dy * x * keep,
            "that is the slope without dy": keep / (1 - rate),
            "whether a number stays says keep; it may be 0": dy * keep * (x != 0) / (1 - rate),
        }
        dx = _one(untouched(backward, dy=dy))
        compare(dx, dy * keep / (1 - rate), f"dx for rate {rate}", mistakes)
        _gradcheck(answer, x, keep, rate)  # it calls backward twice, too
    return "y and dx are right for rates of 0, 0.2, 0.5 and 0.9; on average y is x"


@exercise(
    "sublayer",
    notebook="06_stacking",
    hints=(
        "Forward: a, norm_back = norm(x); b, g_back = g(a); c, drop_back = drop(b); y = x + c.",
        "x reaches y in two ways: directly, with slope 1, and through the three. Gradients add.",
        "On the way back the three come in the opposite order: "
        "return dy + norm_back(g_back(drop_back(dy)))",
    ),
)
def _(answer: Any) -> str:
    rng = np.random.default_rng(0)
    for shape in ((1, 3), (4, 3)):
        x, dy = rng.normal(size=(2, *shape))
        norm, g, drop = _parts(rng, shape)

        a, norm_back = norm(x)
        b, g_back = g(a)
        c, drop_back = drop(b)
        drawn: list[np.ndarray] = []

        def draw(x: np.ndarray, drop: Any = drop, drawn: list[np.ndarray] = drawn) -> Any:
            drawn.append(x)
            return drop(x)

        y, backward = _pair(untouched(answer, x=x, norm=norm, g=g, drop=draw))
        if np.shape(y) == shape:
            for other, why in (
                (c, "x itself is not added"),
                (a + c, "what is added back is norm(x), as in the authors' code"),
                (norm(x + drop(g(x)[0])[0])[0], "that is post-norm, with norm around the sum"),
            ):
                if np.allclose(y, other):
                    raise Wrong(f"y is not that of the text: {why}")
        equal(y, x + c, f"y for x of shape {shape}")
        dx = _one(untouched(backward, dy=dy))
        if dx.shape == shape and np.allclose(dx, norm_back(g_back(drop_back(dy)))):
            raise Wrong("dx lacks the direct way: y contains x itself, with slope 1")
        if len(drawn) > 1:
            raise Wrong(
                "you call drop more than once: each call draws a mask of its own, so dx belongs to "
                "another y; keep what the first call returned"
            )
        _gradcheck(answer, x, norm, g, drop)
    return "y is the paper's, and dx agrees with finite differences on both ways"


def _parts(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Any, Any, Any]:
    """Ops in the places of norm, g and drop; any will do, as long as none can be swapped."""
    W, keep = rng.normal(size=(shape[1], shape[1])), rng.random(shape) >= 0.5

    def norm(x: np.ndarray) -> Any:
        y = np.tanh(x)  # not layer norm: of three numbers it leaves little to tell apart
        return y, lambda dy: dy * (1 - y**2)

    return (
        norm,
        lambda x: (x @ W + 1, lambda dy: dy @ W.T),
        lambda x: (2 * x * keep, lambda dy: 2 * dy * keep),
    )


def _gradcheck(answer: Any, x: np.ndarray, *given: Any) -> None:
    """`gradcheck` of an answer, which returns y and backward, at x; `Wrong` speaks of dx."""

    def op(x: np.ndarray) -> Any:
        y, backward = answer(x, *given)
        return np.asarray(y), lambda dy: (_one(backward(dy)),)

    try:
        gradcheck(op, x)
    except GradientError as error:
        text = str(error).replace("op: gradient of argument 0", "dx").removeprefix("op: ")
        raise Wrong(text) from None


def _pair(result: Any) -> tuple[Any, Any]:
    y, backward = pair(result, "y and the function backward")
    if not callable(backward):
        raise Wrong("return y and the function backward")
    return y, backward


def _one(dx: Any) -> np.ndarray:
    return array(dx[0] if isinstance(dx, tuple) and len(dx) == 1 else dx, "dx")
