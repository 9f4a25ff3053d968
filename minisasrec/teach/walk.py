"""What the graph, the steps table and the shape trace have in common: order, names, sizes."""

from __future__ import annotations

from collections import Counter

import numpy as np

from minisasrec.autograd.tensor import Tensor


def forward_order(root: Tensor) -> list[Tensor]:
    """Every tensor that `root` was computed from, constants too, in the order of computation.

    `engine.topological_order` needs no more than parents before children; here the arguments of an
    op also come from left to right, as a reader expects them.
    """
    order: list[Tensor] = []
    seen: set[Tensor] = set()
    stack = [(root, False)]
    while stack:
        node, parents_done = stack.pop()
        if parents_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent in reversed(node.parents))
    return order


def kind(node: Tensor) -> str:
    """op, parameter (a leaf that collects a gradient) or constant."""
    if node.op is not None:
        return "op"
    return "parameter" if node.requires_grad else "constant"


def labels(order: list[Tensor]) -> dict[Tensor, str]:
    """A name for each tensor: its own, or that of its op, numbered where there are several."""
    names = {node: node.name or (node.op.name if node.op else kind(node)) for node in order}
    total, seen = Counter(names.values()), Counter[str]()
    result = {}
    for node, name in names.items():
        seen[name] += 1
        result[node] = f"{name} {seen[name]}" if total[name] > 1 else name
    return result


def shape_text(shape: tuple[int, ...]) -> str:
    """(3, 4) as "3 x 4"; a scalar as "scalar"."""
    return " x ".join(map(str, shape)) if shape else "scalar"


def size_text(array: np.ndarray) -> str:
    """The number of a scalar, the Euclidean norm of anything larger."""
    if array.size == 1:
        return f"{array.item():.4g}"
    return f"|{np.linalg.norm(array.ravel()):.4g}|"


def modules(order: list[Tensor]) -> dict[Tensor, str]:
    """The module that each op belongs to, "" where there is none, told from parameter names.

    An op that reads `blocks.0.attention.query.W` belongs to `blocks.0.attention.query`. An op
    without parameters belongs to what its arguments have in common: attention, fed by `query`,
    `key` and `value`, to `blocks.0.attention`. A parameter that several ops read (the item
    embedding, which also scores) places none of them.
    """
    readers = Counter(parent for node in order for parent in set(node.parents))
    result: dict[Tensor, str] = {}
    for node in order:
        weights = [p for p in node.parents if kind(p) == "parameter"]
        if weights:
            names = [p.name.rpartition(".")[0] for p in weights if readers[p] == 1]
        else:
            names = [result[p] for p in node.parents if p.op is not None]
        result[node] = _common_prefix(names) if node.op is not None else ""
    return result


def _common_prefix(names: list[str]) -> str:
    common = []
    for parts in zip(*(name.split(".") for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common)
