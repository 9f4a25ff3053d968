"""Initial weights."""

from __future__ import annotations

import math

import numpy as np

from minisasrec.budget import take
from minisasrec.nn.module import Parameter
from minisasrec.random import Seed, random_uint32

DRAWN_AT_ONCE = 1 << 20  # weights drawn at a time, so that a large table needs little more memory


def glorot_uniform(shape: tuple[int, int], seed: int | Seed) -> Parameter:
    """Uniform in +-sqrt(6 / (rows + columns)): keeps the size of signals through a layer.

    The authors' code leaves every table and dense layer to this TensorFlow default. Drawn from
    the package's own hash, so that a seed gives the same weights with every NumPy version.
    """
    limit = np.sqrt(6 / sum(shape))
    take(4 * shape[0] * shape[1])
    weights = np.empty(shape[0] * shape[1], dtype=np.float32)
    key = Seed.of(seed).key
    for start in range(0, len(weights), DRAWN_AT_ONCE):
        part = weights[start : start + DRAWN_AT_ONCE]
        word = random_uint32(key, np.arange(start, start + len(part)))
        part[:] = (word / 2**31 - 1) * limit
    return Parameter(weights.reshape(shape))


def constant(shape: int | tuple[int, ...], value: float) -> Parameter:
    """An array of one value (biases 0; layer norm gamma 1, beta 0)."""
    take(4 * math.prod((shape,) if isinstance(shape, int) else shape))
    return Parameter(np.full(shape, value, dtype=np.float32))
