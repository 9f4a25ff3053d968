"""Where NaN or infinity came from: the first op whose result, or whose gradient, is not finite.

The graph of a loss holds every result on the way to it, so nothing has to be watched beforehand: a
look at a graph costs nothing until something is wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minisasrec.autograd.engine import backward_steps, topological_order
from minisasrec.autograd.tensor import Tensor
from minisasrec.errors import TrainingError


def first_anomaly(loss: Tensor) -> str:
    """Words for the first tensor on the way to `loss` with a NaN or an infinity; "" if none has."""
    for node in topological_order(loss):
        if np.isfinite(node._data).all():
            continue
        if node.op is None:
            return f"the weight {node.name or 'without a name'} {_holds(node._data)} before any op"
        what = "the first result that is not finite, that of"
        return f"{what} {node.op.name}, {_holds(node._data)}"
    return ""


def backward_with_checks(loss: Tensor, where: str) -> None:
    """`loss.backward()`, with a look at every result and every gradient on the way.

    Raises `TrainingError` for the first op of which one is not finite; `where` begins its message.
    """
    if wrong := first_anomaly(loss):
        raise TrainingError(f"{where}: {wrong}")
    for step in backward_steps(loss):
        for i, (x, dx) in enumerate(zip(step.parents, step.input_gradients, strict=True)):
            if not x.requires_grad or dx is None:
                continue
            if np.isfinite(gradient := np.asarray(dx)).all():
                continue
            assert step.node.op is not None
            raise TrainingError(
                f"{where}: the first gradient that is not finite is that of {step.node.op.name} "
                f"with respect to {step.node.op.argument(i)}: {_holds(gradient)}"
            )


def _holds(array: Any) -> str:
    """How many entries are not finite, and the first of them."""
    wrong = ~np.isfinite(array)
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    at = f" at {place}" if place else ""
    return f"holds {array[place]}{at}, {wrong.sum()} of {wrong.size} entries"
