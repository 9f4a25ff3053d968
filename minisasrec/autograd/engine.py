"""Reverse-mode differentiation: a topological order, and one walk back along it.

A `Tensor` that an op made remembers its parents and the op's `backward`. `loss.backward()` runs
`backward_steps(loss)` to its end; a notebook stops at each step of it and looks.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minisasrec.autograd.arrays import as_array, kind_of
from minisasrec.autograd.gradients import Kept, SparseRows, add_up
from minisasrec.errors import GradientError

if TYPE_CHECKING:
    from minisasrec.autograd.op import Op
    from minisasrec.autograd.tensor import Tensor

ARRAYS = (np.ndarray, np.generic, SparseRows)
MOST_WAITING = 4  # gradients of one tensor that wait to be summed: each of them holds memory


class _Mode(threading.local):
    """How many blocks of `no_grad` this thread is inside.

    A count and not a flag: with generators, blocks can end in another order than they began. The
    count is in a list that `no_grad` holds on to: a block can end in another thread than it began.
    """

    def __init__(self) -> None:
        self.blocks = [0]


_mode = _Mode()


def recording() -> bool:
    """True unless this thread is inside `no_grad()`."""
    return not _mode.blocks[0]


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside this block ops record nothing, so results need no memory for a backward pass.

    It holds for this thread alone: another one may train at the same time.
    """
    blocks = _mode.blocks
    blocks[0] += 1
    try:
        yield
    finally:
        blocks[0] -= 1


_keeping = threading.Lock()  # two threads may come to the same leaf at the same time


def _forget_lock() -> None:
    global _keeping
    _keeping = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)  # the thread that held it is not in the child


class Step(NamedTuple):
    """One step of the backward pass: `dy` has arrived at `node`, `input_gradients` were sent on."""

    node: Tensor
    parents: Sequence[Tensor]  # the arguments of the op that made the node; none at a leaf
    dy: np.ndarray
    input_gradients: tuple[Any, ...]  # one per parent; some are `SparseRows`


class Arrived:
    """The gradients that have reached each tensor so far; summed when the walk gets to it."""

    def __init__(self) -> None:
        self._waiting: dict[Tensor, list[Any]] = {}

    def add(self, tensor: Tensor, gradient: Any) -> None:
        """One more gradient has reached `tensor`."""
        waiting = self._waiting.setdefault(tensor, [])
        waiting.append(gradient)
        if len(waiting) == MOST_WAITING:
            waiting[:] = [add_up(waiting)]

    def total(self, tensor: Tensor) -> np.ndarray:
        """The sum of the gradients that have reached `tensor`."""
        return add_up(self._waiting.pop(tensor))


def topological_order(root: Tensor) -> list[Tensor]:
    """Every tensor that `root` was computed from, parents before children, `root` last.

    Why an order at all? Let b = 2a, c = 3b, d = b + c, so d = 8a. `b` feeds both `c` and `d`. A
    walk that goes on from `b` as soon as the first gradient reaches it, 1, sends 2 to `a`, and for
    the other, 3, it walks the same way again or never. In topological order `b` is visited after
    both of its children, once, with the whole gradient 1 + 3 = 4, and sends 8.

    A stack in place of recursion, because a deep graph would reach Python's limit of recursion.
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
            if node.op is None:  # a leaf: it has no parents to wait for
                order.append(node)
                continue
            stack.append((node, True))
            stack += [(parent, False) for parent in node.parents if parent.requires_grad]
    return order


def backward_steps(
    loss: Tensor, dloss: np.ndarray | None = None, *, retain_graph: bool = False
) -> Iterator[Step]:
    """Walk back from `loss` and yield a `Step` per tensor; at the end all leaves have `.grad`.

    `dloss` is the gradient to start with: 1 for a scalar, required for anything else. `arrived`
    holds the gradients that have reached each tensor so far. The walk drops the graph behind it,
    and with it every array that was kept for the backward pass, unless `retain_graph` is set.

    Raises `GradientError` if `loss` depends on no parameter, if it is no scalar and `dloss` is
    missing, if the graph was used before, if an array of it was changed since the forward pass, or
    if an op returns a gradient that does not fit its argument.

    The engine never changes an array in place. When the walk is over, leaves share no memory of
    their `.grad`, so a caller may: `x.grad *= 2`.
    """
    arrived, kept = Arrived(), Kept()
    arrived.add(loss, _check_start(loss, dloss))
    order = topological_order(loss)
    while order:
        node = order.pop()  # `loss` first; each tensor after all that were computed from it
        dy = arrived.total(node)
        if node.op is None:  # a leaf keeps its gradient, added to what earlier walks left there
            with _keeping:
                node.grad = kept.own(dy) if node.grad is None else _added(node, dy)
            yield Step(node, (), dy, ())
            continue
        parents, input_gradients = node.parents, node.vjp(dy, retain_graph)
        _check_count(node.op, len(parents), input_gradients)
        for i, (parent, dx) in enumerate(zip(parents, input_gradients, strict=True)):
            if parent.requires_grad:
                _check_gradient(node.op, i, parent._data, dx)
                arrived.add(parent, dx)
        yield Step(node, parents, dy, input_gradients)


def _added(leaf: Tensor, dy: np.ndarray) -> np.ndarray:
    """The gradient that a leaf had and this one. Raises `GradientError` if it had a wrong one."""
    before: Any = leaf.grad
    if np.shape(before) not in ((), dy.shape):
        raise GradientError(
            f"backward: the .grad of {leaf.name or 'a leaf'} was set to an array of shape "
            f"{np.shape(before)}, the leaf has {dy.shape}; to forget a gradient, set it to None"
        )
    added: np.ndarray = before + dy
    return added


def _check_start(loss: Tensor, dloss: Any) -> np.ndarray:
    """The gradient that the walk starts with."""
    if not loss.requires_grad:
        raise GradientError(
            "backward: this tensor depends on no tensor with requires_grad=True; was it computed "
            "inside no_grad(), or from plain arrays only?"
        )
    if dloss is None:
        if loss.size != 1:
            raise GradientError(
                f"backward: only a scalar has one gradient, this tensor has shape {loss.shape}; "
                "call .sum() or .mean() first, or pass dloss of that shape"
            )
        return np.ones(loss.shape, loss.dtype)
    dloss = as_array("backward", dloss)
    if dloss.dtype.kind not in "fiub":
        raise GradientError(f"backward: dloss holds {dloss.dtype}, expected numbers")
    dloss = dloss.astype(loss.dtype)  # a copy: it may end as the gradient of a leaf
    if dloss.shape != loss.shape:
        raise GradientError(f"backward: dloss has shape {dloss.shape}, the tensor {loss.shape}")
    return dloss


def _check_count(op: Op, count: int, gradients: Any) -> None:
    """Raise `GradientError` unless `gradients` is a tuple of that many."""
    if type(gradients) is not tuple or len(gradients) != count:
        got = len(gradients) if isinstance(gradients, tuple) else kind_of(gradients)
        raise GradientError(
            f"{op.name}: backward must return a tuple of {count} gradients, one per positional "
            f"argument, for one argument (dx,); got {got}"
        )


def _check_gradient(op: Op, i: int, x: np.ndarray, dx: Any) -> None:
    """Raise `GradientError` unless `dx` is an array of the shape and the type of argument `i`."""
    if isinstance(dx, ARRAYS) and dx.shape == x.shape and dx.dtype == x.dtype:
        return
    if not isinstance(dx, ARRAYS):
        wrong = f"is {kind_of(dx)}; backward must return an array of the argument's shape {x.shape}"
    elif dx.shape != x.shape:
        wrong = (
            f"has shape {dx.shape}, the argument {x.shape}; if it was broadcast, did backward "
            "forget sum_to_shape?"
        )
    else:
        wrong = (
            f"is {dx.dtype}, the argument {x.dtype}; let backward compute in the argument's type"
        )
    raise GradientError(f"{op.name}: the gradient of {op.argument(i)} {wrong}")
