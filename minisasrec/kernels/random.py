"""The hash of `minisasrec.random`, for use inside other kernels: same counters, same words."""

from __future__ import annotations

import numpy as np

from minisasrec.kernels.jit import kernel

# Numba widens uint32 arithmetic to 64 bits; the casts keep it at 32, twice as many to a vector.
_A, _B = np.uint32(0x7FEB352D), np.uint32(0x846CA68B)
_15, _16 = np.uint32(15), np.uint32(16)


@kernel
def lowbias32(x):
    """Scramble one 32-bit word."""
    x = np.uint32(x ^ np.uint32(x >> _16))
    x = np.uint32(x * _A)
    x = np.uint32(x ^ np.uint32(x >> _15))
    x = np.uint32(x * _B)
    return np.uint32(x ^ np.uint32(x >> _16))


@kernel
def random_uint32(counter, k0, k1):
    """The word of one counter: lowbias32(lowbias32(counter ^ k0) + k1)."""
    return lowbias32(np.uint32(lowbias32(np.uint32(counter ^ k0)) + k1))
