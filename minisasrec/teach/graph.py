"""The computation graph as a picture: an SVG made here, so that nothing has to be installed.

Layers from top to bottom in the order of computation, as in Sugiyama, Tagawa and Toda (1981): a
node lies below all it was computed from; an edge that crosses layers gets an invisible node in each
of them; nodes move to the mean place of their neighbours, down and up, so that few edges cross.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

import numpy as np

from minisasrec.autograd.tensor import Tensor
from minisasrec.errors import GradientError
from minisasrec.teach.walk import forward_order, kind, labels, modules, shape_text, size_text

LETTER, LINE, PAD, GAP, DROP = 6.7, 15.0, 8.0, 18.0, 34.0  # pixels
FILL = {"op": "#dbe9f6", "module": "#dff0d8", "parameter": "#fdebc8", "constant": "#eeeeee"}
SWEEPS = 8


@dataclass(eq=False)
class Node:
    """A box: what it says, what feeds it, and (once laid out) its layer and centre."""

    kind: str
    lines: list[str]
    parents: list[Node] = field(default_factory=list)
    layer: int = 0
    x: float = 0
    y: float = 0

    height: float = 0

    @property
    def width(self) -> float:
        """Width of the box; an invisible node is as wide as a line."""
        return 2 * PAD + LETTER * max(map(len, self.lines)) if self.lines else 2.0


class Graph:
    """The picture of how a tensor was computed; Jupyter shows it, `svg` is its text."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self.svg = _draw(nodes)

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        number = {node: i for i, node in enumerate(self.nodes)}
        return "\n".join(
            f"{i:3}  {', '.join(node.lines)}"
            + (f"   <- {', '.join(str(number[p]) for p in node.parents)}" if node.parents else "")
            for node, i in number.items()
        )

    def save(self, path: str) -> None:
        """Write the picture to an SVG file."""
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.svg)


def draw_graph(tensor: Tensor, collapse: bool = True) -> Graph:
    """Draw how `tensor` was computed: ops, shapes, bytes kept for the backward pass, gradients.

    A number stands for itself, |x| for the norm of an array. With `collapse` the ops of one module
    of the model (`blocks.0.attention`) are one box and its parameters are counted, not drawn;
    without, every tensor has its own box. Parameters without a dotted name, and those that several
    ops read, are always drawn. Bytes kept are those of arrays beside the parameters.

    Raises `GradientError` for a graph that a backward pass has dropped.
    """
    order = forward_order(tensor)
    if any(node.is_dropped for node in order):
        raise GradientError(
            "draw_graph: backward() has dropped this graph; draw it before, or keep it with "
            "backward(retain_graph=True)"
        )
    groups = _groups(order) if collapse else {node: [node] for node in order}
    name, module = labels(order), modules(order)
    parameters = {id(node.data) for node in order if kind(node) == "parameter"}
    boxes: dict[Tensor, Node] = {}
    nodes: list[Node] = []
    for head, members in groups.items():
        several = sum(kind(m) == "op" for m in members) > 1
        title = _cluster(module[head]) if several else len(members) > 1 and module[head]
        box = Node("module" if title else kind(head), [title or name[head]])
        box.lines.append(f"= {head.item():.4g}" if head.size == 1 else shape_text(head.shape))
        weights = [m for m in members if kind(m) == "parameter"]
        if len(members) > 1 and weights:
            box.lines.append(f"{sum(w.size for w in weights):,} weights")
        kept = {id(a): a.nbytes for m in members for a in m.saved.values()}
        size = sum(nbytes for array, nbytes in kept.items() if array not in parameters)
        if size:
            box.lines.append(f"keeps {_bytes(size)}")
        grads = [m.grad.ravel() for m in members if m.grad is not None]
        if grads:
            box.lines.append(f"grad {size_text(np.concatenate(grads))}")
        nodes.append(box)
        boxes.update((member, box) for member in members)
    for node in order:
        for parent in node.parents:
            if boxes[parent] is not boxes[node] and boxes[parent] not in boxes[node].parents:
                boxes[node].parents.append(boxes[parent])
    return Graph(nodes)


def _bytes(size: int) -> str:
    return f"{size} bytes" if size < 1000 else f"{size / 1000:,.1f} kB"


def _cluster(module: str) -> str:
    """`blocks.0.attention.query` -> `blocks.0.attention`: what one box stands for."""
    parts = module.split(".")
    return ".".join(parts[: 3 if len(parts) > 1 and parts[1].isdigit() else 1])


def _groups(order: list[Tensor]) -> dict[Tensor, list[Tensor]]:
    """Last tensor of each box -> all its tensors, in the order of computation.

    Ops of one cluster are merged unless a path leaves the cluster and comes back (merged, they
    would be both before and after what lies on it). Parameters go to the one box that reads them.
    """
    module = modules(order)
    key: dict[Tensor, object] = {}
    for node in order:
        cluster = _cluster(module[node])
        whole = cluster and node.size > 1 and not cluster.rpartition(".")[2].isdigit()
        key[node] = cluster if whole else node
    for cluster in {k for k in key.values() if isinstance(k, str)}:
        left: set[Tensor] = set()  # outside, but computed from something inside
        for node in order:
            above = any(key[p] == cluster or p in left for p in node.parents)
            if key[node] != cluster and above:
                left.add(node)
            if key[node] == cluster and any(p in left for p in node.parents):
                key.update((n, n) for n in order if key[n] == cluster)
                break
    readers: dict[Tensor, set[Tensor]] = {}
    for node in order:
        for parent in node.parents:
            readers.setdefault(parent, set()).add(node)
    for node in order:
        if kind(node) == "parameter" and "." in node.name and len(readers.get(node, ())) == 1:
            (reader,) = readers[node]
            key[node] = key[reader]
    members: dict[object, list[Tensor]] = {}
    for node in order:
        members.setdefault(key[node], []).append(node)
    groups = {group[-1]: group for group in members.values()}
    return {node: groups[node] for node in order if node in groups}


# --- layout ----------------------------------------------------------------------------------


def _layers(nodes: list[Node]) -> tuple[list[list[Node]], list[list[Node]]]:
    """Nodes by layer, invisible ones included, and the path of nodes that each edge takes."""
    for node in nodes:
        node.layer = max((parent.layer + 1 for parent in node.parents), default=0)
    children: dict[Node, list[Node]] = {node: [] for node in nodes}
    for node in nodes:
        for parent in node.parents:
            children[parent].append(node)
    for node in nodes:  # a node without arguments goes right above its first reader
        if not node.parents and children[node]:
            node.layer = min(child.layer for child in children[node]) - 1
    layers: list[list[Node]] = [[] for _ in range(max(node.layer for node in nodes) + 1)]
    paths = []
    for node in nodes:
        for parent in node.parents:
            between = [Node("", [], layer=i) for i in range(parent.layer + 1, node.layer)]
            for hidden in between:
                layers[hidden.layer].append(hidden)
            paths.append([parent, *between, node])
        layers[node.layer].append(node)
    return layers, paths


def _place(layers: list[list[Node]], paths: list[list[Node]]) -> None:
    """Set x and y: sort and move each layer towards its neighbours, down and up again."""
    above: dict[Node, list[Node]] = {}
    below: dict[Node, list[Node]] = {}
    for path in paths:
        for upper, lower in pairwise(path):
            above.setdefault(lower, []).append(upper)
            below.setdefault(upper, []).append(lower)
    for layer in layers:
        _spread(layer, [0.0] * len(layer))
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        neighbours = above if down else below
        for layer in layers if down else layers[::-1]:
            wish = {
                node: float(np.mean([n.x for n in neighbours[node]]))
                if node in neighbours
                else node.x
                for node in layer
            }
            layer.sort(key=lambda node: wish[node])
            _spread(layer, [wish[node] for node in layer])
    y = 0.0
    for layer in layers:
        height = 2 * PAD + LINE * max(len(node.lines) for node in layer)
        for node in layer:  # an edge passes a layer straight, beside the boxes
            node.height = 2 * PAD + LINE * len(node.lines) if node.lines else height
            node.y = y + height / 2
        y += height + DROP


def _spread(layer: list[Node], wish: list[float]) -> None:
    """Put nodes as near to their wish as their widths allow, in the order given."""
    half = [node.width / 2 + GAP / 2 for node in layer]
    right, left = list(wish), list(wish)
    for i in range(1, len(layer)):
        right[i] = max(right[i], right[i - 1] + half[i - 1] + half[i])
    for i in range(len(layer) - 2, -1, -1):
        left[i] = min(left[i], left[i + 1] - half[i + 1] - half[i])
    for node, a, b in zip(layer, left, right, strict=True):
        node.x = (a + b) / 2  # both keep the distances, and so does their mean


def _draw(nodes: list[Node]) -> str:
    layers, paths = _layers(nodes)
    _place(layers, paths)
    every = [node for layer in layers for node in layer]
    x0 = min(node.x - node.width / 2 for node in every) - PAD
    width = max(node.x + node.width / 2 for node in every) + PAD - x0
    height = max(node.y + node.height / 2 for node in every) + 2 * PAD
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{x0:.1f} {-PAD:.1f} {width:.1f} {height:.1f}" style="max-width:100%" '
        'font-family="monospace" font-size="11" text-anchor="middle">'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#777"/></marker></defs>'
    ]
    for path in paths:
        line = f"M{path[0].x:.1f} {path[0].y + path[0].height / 2:.1f}"
        for upper, lower in pairwise(path):
            top, end = upper.y + upper.height / 2, lower.y - lower.height / 2
            middle = (top + end) / 2
            line += f"L{upper.x:.1f} {top:.1f}"
            line += (
                f"C{upper.x:.1f} {middle:.1f} {lower.x:.1f} {middle:.1f} {lower.x:.1f} {end:.1f}"
            )
        parts.append(f'<path d="{line}" fill="none" stroke="#777" marker-end="url(#tip)"/>')
    for node in nodes:
        x, y = node.x - node.width / 2, node.y - node.height / 2
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{node.width:.1f}" height="{node.height:.1f}" '
            f'rx="5" fill="{FILL[node.kind]}" stroke="#777"/>'
        )
        for i, text in enumerate(node.lines):
            weight = ' font-weight="bold"' if i == 0 else ""
            parts.append(
                f'<text x="{node.x:.1f}" y="{y + PAD + LINE * (i + 0.75):.1f}" fill="#222"{weight}>'
                f"{escape(text)}</text>"
            )
    return "".join(parts) + "</svg>"
