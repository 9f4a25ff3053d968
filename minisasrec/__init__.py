"""minisasrec: SASRec (Kang & McAuley, 2018) from scratch, on NumPy and Numba.

    from minisasrec import Tensor, ops          # the engine
    from minisasrec import load_dataset, fit    # the model on data

`python -m minisasrec.train --help` is the command line.
"""

from importlib import import_module
from typing import Any

# first what deals with Ctrl-C, then what takes time to import
from minisasrec.commands import interrupt as _interrupt  # noqa: F401

# isort: split
from minisasrec import ops
from minisasrec.autograd.engine import backward_steps, no_grad
from minisasrec.autograd.gradcheck import gradcheck
from minisasrec.autograd.op import op
from minisasrec.autograd.registry import OPS
from minisasrec.autograd.tensor import Tensor
from minisasrec.backends import backend, use_backend
from minisasrec.errors import MinisasrecError

__version__ = "0.1.0"

_LAZY = {  # what costs time to import, imported when first asked for
    "Recommender": "minisasrec.recommender",
    "load_dataset": "minisasrec.data",
    "SASRec": "minisasrec.models.sasrec",
    "SASRecConfig": "minisasrec.models.sasrec_config",
    "fit": "minisasrec.learn.fit",
    "evaluate": "minisasrec.learn.evaluation",
    "threads": "minisasrec.kernels.threads",
    "thread_count": "minisasrec.kernels.threads",
    "top_items": "minisasrec.learn.recommendation",
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
