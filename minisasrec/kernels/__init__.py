"""Numba kernels: pure functions on arrays, one submodule per family of ops.

Nothing here imports Numba until a submodule is first used, so ``import minisasrec`` stays quick and
the NumPy backend works without Numba::

    from minisasrec import kernels
    kernels.layer_norm.layer_norm_forward(x, gamma, beta, 1e-8)   # Numba is imported here
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = [
    "adam",
    "attention",
    "convolution",
    "dropout",
    "elementwise",
    "embedding",
    "feed_forward",
    "layer_norm",
    "loss",
    "matmul",
    "projections",
    "random",
    "ranking",
    "recurrent",
    "sampling",
    "softmax",
]


def __getattr__(name: str) -> ModuleType:
    """Import the submodule `name` when it is first asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
