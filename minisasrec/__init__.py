"""minisasrec: SASRec (Kang & McAuley, 2018) from scratch, on NumPy and Numba.

    from minisasrec import Tensor, ops          # the engine
    from minisasrec import load_dataset, fit    # the model on data

`python -m minisasrec.train --help` is the command line.
"""

from importlib import import_module
from typing import Any

from minisasrec import _interrupt, ops  # noqa: F401  (first the one, then what takes time)
from minisasrec.engine import backward_steps, no_grad
from minisasrec.errors import MinisasrecError
from minisasrec.gradcheck import gradcheck
from minisasrec.op import OPS, backend, op, use_backend
from minisasrec.tensor import Tensor

__version__ = "0.1.0"

_LAZY = {  # what costs time to import, imported when first asked for
    "load_dataset": "minisasrec.data",
    "SASRec": "minisasrec.models.sasrec",
    "SASRecConfig": "minisasrec.models.sasrec",
    "fit": "minisasrec.training",
    "evaluate": "minisasrec.evaluation",
}

__all__ = [
    "OPS",
    "MinisasrecError",
    "Tensor",
    "backend",
    "backward_steps",
    "gradcheck",
    "no_grad",
    "op",
    "ops",
    "use_backend",
    *_LAZY,
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'minisasrec' has no attribute {name!r}")
