"""Exercises of notebook 01: the order, the walk back, the backward of tanh and of division."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from minisasrec.autograd.gradcheck import gradcheck
from minisasrec.teach.exercises import Wrong, compare, equal, exercise, fresh, pair, untouched

SHAPES = (((3, 2), (3, 2)), ((3, 2), (2,)), ((3, 1), (1, 4)), ((2, 3), ()), ((1,), (2, 3)))


GRAPHS: tuple[tuple[str, dict[str, list[str]]], ...] = (  # the last node, the parents of each
    ("d", {"a": [], "b": ["a"], "c": ["b"], "d": ["b", "c"]}),
    ("d", {"a": [], "b": ["a"], "c": ["b"], "d": ["c", "b"]}),
    ("m", {"m": ["b", "z"], "b": ["z", "x"], "z": ["x"], "x": []}),
    ("y", {"x": [], "y": ["x", "x"]}),
    ("e", {"e": ["d"], "d": ["c"], "c": ["a", "b"], "b": [], "a": [], "f": ["e", "b"]}),
    ("x", {"x": []}),
)


@exercise(
    "topological_order",
    notebook="01_autograd",
    hints=(
        "A helper function visit(node) does all: first visit(parent) for each parent, then "
        "order.append(node).",
        "A node that two others were computed from must come once: visit returns at once for a "
        "node that has been seen.",
        "order, seen = [], set(); def visit(node): if node not in seen: seen.add(node); "
        "[visit(parent) for parent in parents[node]]; order.append(node)",
    ),
)
def _(answer: Any) -> str:
    graphs = (*GRAPHS, *(_drawn_graph(fresh()) for _ in range(2)))
    for last, parents in graphs:
        order = untouched(answer, last=last, parents=parents)
        if not isinstance(order, list | tuple) or not all(isinstance(n, str) for n in order):
            raise Wrong(f"return a list of nodes such as ['a', 'b']; got {order!r:.80}")
        order, story = list(order), f"for last = {last!r}, parents = {parents} you return {order}"
        reached = _reached(last, parents)
        unknown = [node for node in order if node not in parents]
        if unknown:
            raise Wrong(f"{story}: {unknown[0]!r} is no node")
        for node in sorted(reached):
            if order.count(node) != 1:
                raise Wrong(f"{story}: {node!r} is in it {order.count(node)} times, expected once")
        if len(order) > len(reached):
            extra = next(node for node in order if node not in reached)
            raise Wrong(f"{story}: {last!r} was not computed from {extra!r}")
        for i, node in enumerate(order):
            late = [parent for parent in parents[node] if parent not in order[:i]]
            if late and _is_order(order[::-1], parents):
                raise Wrong(f"{story}: that is the order of the walk back; parents come first")
            if late:
                raise Wrong(f"{story}: {node!r} was computed from {late[0]!r}, which comes later")
        again = answer(last, {node: list(its) for node, its in parents.items()})
        if len(again) != len(order):
            raise Wrong(
                f"{story}, and {again} when asked once more: something is kept between the calls, "
                "as the set of a default seen=set() is"
            )
    return f"{len(graphs)} graphs, each node once and after all that it was computed from"


def _drawn_graph(rng: np.random.Generator) -> tuple[str, dict[str, list[str]]]:
    """A node of ten, and the parents of each: most nodes have some."""
    order = [str(name) for name in rng.permutation(list("abcdefghijklmnopqrstuvwxyz"))[:10]]
    parents = {node: _some(order[:i], rng) for i, node in enumerate(order)}
    return order[-1], {node: parents[node] for node in sorted(order)}


def _some(nodes: list[str], rng: np.random.Generator) -> list[str]:
    return [str(node) for node in rng.permutation(nodes)[: rng.integers(1, 4)]]


def _reached(last: str, parents: dict[str, list[str]]) -> set[str]:
    found, waiting = {last}, [last]
    while waiting:
        new = set(parents[waiting.pop()]) - found
        found |= new
        waiting += new
    return found


def _is_order(order: list[str], parents: dict[str, list[str]]) -> bool:
    return all(set(parents[node]) <= set(order[:i]) for i, node in enumerate(order))


@exercise(
    "walk_back",
    notebook="01_autograd",
    hints=(
        "Start with a gradient of 0.0 for every node and 1.0 for the last one of the order.",
        "Take the nodes in reversed(order). Each gives each of its parents slope * (its gradient).",
        "gradient[parent] += slope * gradient[node], and return gradient after the loops",
    ),
)
def _(answer: Any) -> str:
    graphs: tuple[tuple[str, dict[str, list[tuple[str, float]]]], ...] = (
        ("abcd", {"a": [], "b": [("a", 2.0)], "c": [("b", 3.0)], "d": [("b", 1.0), ("c", 1.0)]}),
        ("xy", {"x": [], "y": [("x", 3.0), ("x", 4.0)]}),
        (
            "vwxyz",
            {
                "v": [],
                "w": [],
                "x": [("v", 0.5), ("w", -2.0)],
                "y": [("x", 4.0), ("w", 1.0)],
                "z": [("y", 3.0), ("x", -1.0)],
            },
        ),
        _drawn_slopes(fresh()),
    )
    for nodes, slopes in graphs:
        order = list(nodes)
        got = untouched(answer, order=order, slopes=slopes)
        if not isinstance(got, dict):
            raise Wrong(f"return a dict, node -> gradient; got a {type(got).__name__}")
        want = _gradients(order, slopes)
        for node in reversed(order):
            where = f"for order = {order}, slopes = {slopes}"
            if node not in got:
                raise Wrong(f"{where}: the gradient of {node!r} is missing")
            if not isinstance(got[node], Real):
                raise Wrong(f"{where}: the gradient of {node!r} is {got[node]!r:.60}, no number")
        mistakes = {
            "the walk goes from the last node to the first: reversed(order)": _gradients(
                order, slopes, order
            ),
            "a node that feeds two others gets the sum: +=, not =": _gradients(
                order, slopes, add=False
            ),
            "the last node starts with 1": {node: 0.0 for node in order},
            "times the gradient that the node has itself": {
                node: 1.0 * (node == order[-1])
                + sum(s for its in slopes.values() for parent, s in its if parent == node)
                for node in order
            },
        }
        for why, wrong in mistakes.items():
            if got == wrong != want:
                raise Wrong(f"{where}: {why}")
        for node in reversed(order):
            equal(got[node], want[node], f"{where}: the gradient of {node!r}")
    return "each node has the whole gradient when it sends it on, also where two paths meet"


def _drawn_slopes(rng: np.random.Generator) -> tuple[str, dict[str, list[tuple[str, float]]]]:
    """An order of seven nodes and their slopes; each node reaches the last one by the next."""
    order = [str(name) for name in rng.permutation(list("abcdefghijklmnopqrstuvwxyz"))[:7]]
    parents = {node: [*order[i - 1 : i], *_some(order[:i], rng)] for i, node in enumerate(order)}
    return "".join(order), {
        node: [(parent, round(float(rng.uniform(-2, 2)), 2)) for parent in its]
        for node, its in parents.items()
    }


def _gradients(
    order: list[str], slopes: dict[str, Any], walk: list[str] | None = None, add: bool = True
) -> dict[str, float]:
    gradient = dict.fromkeys(order, 0.0) | {order[-1]: 1.0}
    for node in reversed(order) if walk is None else walk:
        for parent, slope in slopes[node]:
            gradient[parent] = add * gradient[parent] + slope * gradient[node]
    return gradient


@exercise(
    "tanh_backward",
    notebook="01_autograd",
    hints=(
        "Each y_i depends on x_i alone, so each dx_i is dy_i times one slope.",
        "The slope is given in terms of y, not of x; nothing has to be computed again.",
        "dx = dy * (1 - y * y)",
    ),
)
def _(answer: Any) -> str:
    x = np.random.default_rng(1).normal(size=(2, 3))
    y, dy = np.tanh(x), np.random.default_rng(2).normal(size=(2, 3))
    slope = 1 - y**2
    mistakes = {
        "the slope is 1 - y^2, with the square": dy * (1 - y),
        "dy is missing; the slope times dy": slope,
        "y is tanh x already": dy * (1 - np.tanh(y) ** 2),
        "y (1 - y) is the slope of the sigmoid": dy * y * (1 - y),
        "the slope is 1 - y^2, with a minus": dy * (1 + y**2),
        "the sign": -dy * slope,
        "times the slope, not divided by it": dy / slope,
        "dy is in it twice": dy**2 * slope,
    }
    compare(untouched(answer, y=y, dy=dy), dy * slope, "dx for random y and dy (2, 3)", mistakes)

    def tanh(x: np.ndarray) -> Any:
        y = np.tanh(x)
        return y, lambda dy: (np.asarray(answer(y, dy)),)

    gradcheck(tanh, x)
    return "your dx agrees with finite differences"


@exercise(
    "div_backward",
    notebook="01_autograd",
    hints=(
        "First forget broadcasting: the slope of a / b is 1 / b towards a and -a / b^2 towards b.",
        "dy has the shape of y. What shape has dy / b, and what shape must da have?",
        "da = sum_to_shape(dy / b, a.shape); return a tuple of both",
    ),
)
def _(answer: Any) -> str:
    rng = np.random.default_rng(0)
    for shape_a, shape_b in SHAPES:
        a, b = rng.normal(size=shape_a), rng.uniform(0.5, 2, size=shape_b)
        y, backward = pair(untouched(answer, a=a, b=b), "y, backward")
        equal(y, a / b, f"y for shapes {shape_a} and {shape_b}")
        dy = rng.normal(size=y.shape)
        result = untouched(backward, dy=dy)
        result = pair(result, "two gradients from backward, da and db")
        for name, gradient, array in zip("ab", result, (a, b), strict=True):
            if np.shape(gradient) != array.shape:
                raise Wrong(
                    f"a is {shape_a}, b is {shape_b}: d{name} has shape {np.shape(gradient)}, "
                    f"expected that of {name}, {array.shape}"
                )
        if shape_a == shape_b:
            _explain(*result, a, b, dy)
        gradcheck(_division(answer), a, b)
    return (
        f"both gradients agree with finite differences for {len(SHAPES)} pairs of shapes, "
        "broadcast or not"
    )


def _division(answer: Any) -> Any:
    """The answer in the form that `gradcheck` takes."""

    def division(a: np.ndarray, b: np.ndarray) -> Any:
        y, backward = answer(a, b)
        return y, lambda dy: tuple(np.asarray(gradient) for gradient in backward(dy))

    return division


def _explain(da: Any, db: Any, a: np.ndarray, b: np.ndarray, dy: np.ndarray) -> None:
    want_da, want_db = dy / b, -dy * a / b**2
    mistakes = {
        "that is db; return da first": want_db,
        "the slope towards a is 1 / b": dy * b,
        "dy is missing": 1 / b,
    }
    compare(da, want_da, "da", mistakes)
    mistakes = {
        "its sign": -want_db,
        "the slope towards b has b^2 below": -dy * a / b,
        "a is missing: the slope is -a / b^2": -dy / b**2,
        "dy is missing": -a / b**2,
    }
    compare(db, want_db, "db", mistakes)
