"""Adam in one pass: each weight and its three companions are read and written once."""

from __future__ import annotations

import math

import numpy as np

from minisasrec.kernels.jit import kernel
from minisasrec.kernels.team import next_task, run

ELEMENTS = 16384  # elements a task


def adam_step(w, g, m, v, beta1, beta2, step_size, eps, l2, factor):
    """Change w, m and v in place; the definition is `minisasrec.nn.optim.adam_step`."""
    numbers = beta1, 1 - beta1, beta2, 1 - beta2, step_size, eps, l2, factor
    settings = tuple(map(w.dtype.type, numbers))
    arrays = w.reshape(-1), np.ascontiguousarray(g).reshape(-1), m.reshape(-1), v.reshape(-1)
    run(_worker, -(-w.size // ELEMENTS), *arrays, settings)


@kernel
def _update(w, g, m, v, settings):
    # A loop over whole arrays from 0 on: an index that might be negative (Python counts it from
    # the end) has to be tested, and the test keeps the compiler from using vectors.
    beta1, rest1, beta2, rest2, step_size, eps, l2, factor = settings
    for i in range(len(w)):
        gradient = factor * g[i] + l2 * w[i]
        mean = beta1 * m[i] + rest1 * gradient
        square = beta2 * v[i] + rest2 * gradient * gradient
        m[i], v[i] = mean, square
        w[i] -= step_size * mean / (math.sqrt(square) + eps)


@kernel
def _worker(counter, w, g, m, v, settings):
    task = next_task(counter)
    while task >= 0:
        a, b = task * ELEMENTS, min((task + 1) * ELEMENTS, len(w))
        _update(w[a:b], g[a:b], m[a:b], v[a:b], settings)
        task = next_task(counter)
