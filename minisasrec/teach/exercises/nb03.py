"""Exercises of notebook 03: two kernels to write with Numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec import ops
from minisasrec.teach.attempt import is_compiled
from minisasrec.teach.exercises import Wrong, array, compare, exercise, untouched


def _compiled(answer: Any) -> None:
    if not is_compiled(getattr(answer, "__wrapped__", answer)):  # `attempted` has wrapped it
        raise Wrong("right numbers, but plain Python; put @numba.njit above the function")


@exercise(
    "layer_norm_kernel",
    notebook="03_kernels",
    hints=(
        "Start with y = np.empty_like(x) and a loop over the rows t; return y at the end.",
        "A row takes three loops over j: one for the mean, one for the mean of (x - mean)^2, one "
        "for y.",
        "r = 1 / np.sqrt(square / d + eps); y[t, j] = gamma[j] * (x[t, j] - mean) * r + beta[j]",
    ),
)
def _(answer: Any) -> str:
    rng = np.random.default_rng(0)
    for T, d in ((1, 4), (7, 5), (300, 50)):
        x, gamma, beta = rng.normal(size=(T, d)) + 3, rng.normal(size=d), rng.normal(size=d)
        want, _ = ops.layer_norm.definition(x, gamma, beta, eps=0.1)
        centred = x - x.mean(axis=1, keepdims=True)
        variance = x.var(axis=1, keepdims=True)
        xhat = centred / np.sqrt(variance + 0.1)
        mistakes = {
            "eps is missing under the root": gamma * centred / np.sqrt(variance) + beta,
            "eps belongs under the root": gamma * centred / (np.sqrt(variance) + 0.1) + beta,
            "divide by the root of the variance": gamma * centred / (variance + 0.1) + beta,
            "the mean of squares is divided by d, not by d - 1": gamma
            * centred
            / np.sqrt(variance * d / (d - 1) + 0.1)
            + beta,
            "gamma and beta are missing": xhat,
            "beta is missing": gamma * xhat,
            "gamma and beta are swapped": beta * xhat + gamma,
            "the mean is not taken off": gamma * x / np.sqrt(variance + 0.1) + beta,
        }
        got = untouched(answer, x=x, gamma=gamma, beta=beta, eps=0.1)
        compare(got, want, f"y for x ({T}, {d}) and eps = 0.1", mistakes, rtol=1e-9)
    _compiled(answer)
    return "your compiled kernel gives the numbers of the package's definition, to rounding"


@exercise(
    "scatter_add_kernel",
    notebook="03_kernels",
    hints=(
        "Start with table = np.zeros((size, dy.shape[1]), dy.dtype); return it at the end.",
        "Loop over t, and over j inside: what goes where?",
        "table[ids[t], j] += dy[t, j]",
    ),
)
def _(answer: Any) -> str:
    rng = np.random.default_rng(0)
    # many rows for few ids, and again: threads that add to the same row lose some of them
    for T, d, size in ((6, 2, 5), (200, 3, 9), *[(500_000, 2, 4)] * 4):
        if T > 1000:
            _compiled(answer)  # loops in plain Python would take long
        # the last rows never occur, so that the size cannot be told from the ids
        dy, ids = rng.normal(size=(T, d)), rng.integers(0, size - 2, T)
        want, last = np.zeros((2, size, d))
        np.add.at(want, ids, dy)
        last[ids] = dy
        what = f"the table of {size} rows for {T} ids, of which some repeat,"
        array(answer(dy, ids, size), what)  # leaves its numbers where np.empty finds them
        got = array(untouched(answer, dy=dy, ids=ids, size=size), what)
        if got.shape == (ids.max() + 1, d):
            raise Wrong(
                f"{what} has {len(got)} rows: size says how many, also where the last ids do not "
                "occur"
            )
        mistakes = {
            "where an id repeats only its last row of dy is there; add with +=": last,
            "it is divided by how often an id occurs": want
            / np.maximum(np.bincount(ids, minlength=size), 1)[:, None],
            "it has the wrong sign": -want,
        }
        compare(got, want, what, mistakes, rtol=1e-9)
    return "every row arrives, also where an id occurs many times"
