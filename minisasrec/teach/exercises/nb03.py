"""Exercises of notebook 03: two kernels to write with Numba."""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec import ops
from minisasrec.teach.exercises import Wrong, equal, exercise


def _compiled(answer: Any) -> None:
    if not hasattr(answer, "py_func"):
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
        equal(answer(x, gamma, beta, 0.1), want, f"y for x ({T}, {d}) and eps = 0.1", rtol=1e-9)
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
    for T, d, size in ((3, 2, 4), (200, 3, 5)):
        dy, ids = rng.normal(size=(T, d)), rng.integers(0, size, T)
        want = np.zeros((size, d))
        np.add.at(want, ids, dy)
        what = f"the table of {size} rows for {T} ids, of which some repeat,"
        equal(answer(dy, ids, size), want, what, rtol=1e-9)
    _compiled(answer)
    return "every row arrives, also where an id occurs many times"
