"""Reverse-mode differentiation: a topological order, and one walk back along it.

A `Tensor` that an op made remembers its parents and the op's `backward`. Calling
`loss.backward()` drains `backward_steps(loss)`; a notebook steps through the same generator.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from minisasrec.autograd.gradients import add_up
from minisasrec.errors import GradientError

if TYPE_CHECKING:
    from minisasrec.autograd.tensor import Tensor

AT_ONCE = 4  # gradients of a tensor that wait at most: each holds memory

_recording = True


def recording() -> bool:
    """True unless inside `no_grad()`."""
    return _recording


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside this block ops record nothing, so results need no memory for a backward pass."""
    global _recording
    previous, _recording = _recording, False
    try:
        yield
    finally:
        _recording = previous


@dataclass(frozen=True)
class Step:
    """One step of the backward pass: at `node`, `dy` arrived and `input_gradients` went on."""

    node: Tensor
    dy: np.ndarray
    input_gradients: tuple[Any, ...]  # one per parent, some as `SparseRows`; empty at a leaf


def topological_order(root: Tensor) -> list[Tensor]:
    """Every tensor that `root` was computed from, parents before children, `root` last.

    Why an order at all? Let b = 2a, c = 3b, d = b + c, so d = 8a. `b` feeds both `c` and `d`. A
    walk that goes on from `b` as soon as the first gradient reaches it sends 1 to `a` and later
    sends the other 3 once more or never, depending on which way it went first. In topological
    order `b` is visited after both of its children, once, with the whole gradient 1 + 3 = 4.

    Iterative, because a recursive walk would hit Python's limit on deep graphs.
    """
    order: list[Tensor] = []
    seen: set[Tensor] = set()
    stack: list[tuple[Tensor, bool]] = [(root, False)]
    while stack:
        node, parents_done = stack.pop()
        if parents_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent in node.parents if parent.requires_grad)
    return order


def backward_steps(
    loss: Tensor, dloss: np.ndarray | None = None, *, retain_graph: bool = False
) -> Iterator[Step]:
    """Walk back from `loss`, yielding a `Step` per tensor; leaves end up with `.grad`.

    `dloss` is the gradient to start with: 1 for a scalar, required for anything else. What its
    children send to a tensor waits in a dict that belongs to this walk, so a second walk is not
    mixed up with the first; a few at a time are added up, the last when the walk arrives there.
    What a tensor saved for its backward is dropped once used (memory), unless `retain_graph` is
    set.

    Raises `GradientError` if `loss` does not depend on a parameter, is no scalar and `dloss` is
    missing, if the graph was already used, or if an op returns a gradient of the wrong shape or
    too few or too many of them.

    The engine never changes an array in place, and neither must a caller: two leaves may hold the
    same array as `.grad` (after `a + b` they do). Replace a gradient, `x.grad = x.grad / 2`.
    """
    if not loss.requires_grad:
        raise GradientError(
            "backward: this tensor depends on no tensor with requires_grad=True; was it computed "
            "inside no_grad(), or from plain arrays only?"
        )
    if dloss is None:
        if loss.data.size != 1:
            raise GradientError(
                f"backward: only a scalar has one gradient, this tensor has shape {loss.shape}; "
                "call .sum() or .mean() first, or pass dloss of that shape"
            )
        dloss = np.ones_like(loss.data)
    dloss = np.asarray(dloss, dtype=loss.data.dtype)
    if dloss.shape != loss.shape:
        raise GradientError(f"backward: dloss has shape {dloss.shape}, the tensor {loss.shape}")

    arrived = {loss: [dloss]}
    for node in reversed(topological_order(loss)):
        dy = add_up(arrived.pop(node))
        if node.op is None:  # a leaf keeps its gradient, added to what earlier passes left there
            node.grad = dy if node.grad is None else node.grad + dy
            yield Step(node, dy, ())
            continue
        input_gradients: Any = node.vjp(dy, retain_graph)
        if not isinstance(input_gradients, tuple) or len(input_gradients) != len(node.parents):
            raise GradientError(
                f"{node.op.name}: backward must return a tuple of {len(node.parents)} gradients, "
                "one per positional argument; for one argument that is (dx,)"
            )
        for i, (parent, dx) in enumerate(zip(node.parents, input_gradients, strict=True)):
            if not parent.requires_grad:
                continue
            if dx.shape != parent.shape:
                raise GradientError(
                    f"{node.op.name}: the gradient of argument {i} has shape {dx.shape}, the "
                    f"argument {parent.shape}; if it was broadcast, did backward forget "
                    "sum_to_shape?"
                )
            waiting = arrived.setdefault(parent, [])
            waiting.append(dx)
            if len(waiting) == AT_ONCE:
                waiting[:] = [add_up(waiting)]
        yield Step(node, dy, input_gradients)
