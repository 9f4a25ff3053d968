"""Tables: the backward pass step by step, and the shapes of a forward pass."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from minisasrec.autograd.engine import backward_steps
from minisasrec.autograd.op import Op
from minisasrec.autograd.tensor import Tensor
from minisasrec.data.batches import Batch
from minisasrec.data.sequences import Packed, Sequences
from minisasrec.nn import Module
from minisasrec.teach.walk import forward_order, kind, labels, modules, shape_text, size_text


class Table:
    """Rows of text under a header: HTML in Jupyter, aligned columns elsewhere."""

    def __init__(self, header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        self.header, self.rows = header, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def _repr_html_(self) -> str:
        def row(cells: tuple[str, ...], tag: str) -> str:
            style = ' style="text-align:left"'
            return "".join(f"<{tag}{style}>{escape(cell)}</{tag}>" for cell in cells)

        body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in self.rows)
        return (
            f"<table><thead><tr>{row(self.header, 'th')}</tr></thead><tbody>{body}</tbody></table>"
        )


def formula(op: Op) -> str:
    """What an op computes: the beginning of its docstring."""
    first_line = (op.__doc__ or "").partition("\n")[0].rstrip(".")
    return re.split(r"[,;:] (?![^(]*\))", first_line)[0]


def steps_table(
    loss: Tensor, dloss: np.ndarray | None = None, *, retain_graph: bool = True
) -> Table:
    """Run the backward pass of `loss` and list its steps: leaves end up with `.grad` as always.

    Each row is one visit: the tensor, what its op computes, the gradient `dy` that arrived and what
    the op sent on to each argument. A number stands for itself, |x| for the norm of an array.

    The graph stays, so that `draw_graph` can show the gradients in it.
    """
    name = labels(forward_order(loss))
    rows = []
    for number, step in enumerate(backward_steps(loss, dloss, retain_graph=retain_graph), start=1):
        node = step.node
        sent = [
            f"{size_text(np.asarray(dx))} to {name[parent]}"
            for parent, dx in zip(step.parents, step.input_gradients, strict=True)
            if parent.requires_grad
        ]
        rows.append(
            (
                str(number),
                name[node],
                formula(node.op) if node.op else "",
                shape_text(step.dy.shape),
                size_text(step.dy),
                ", ".join(sent) or "stays here: .grad",
            )
        )
    return Table(("step", "tensor", "op", "shape", "dy", "sends on"), rows)


def shape_trace(model: Module, batch: Batch | Sequences) -> Table:
    """The forward pass of `model` op by op: arguments, result and the paper's letters for its axes.

    A `Batch` goes as far as the loss, sequences alone as far as the last layer. An axis is named by
    its length, so choose sizes that differ; one that fits two letters shows both.
    """
    inputs = batch.inputs if isinstance(batch, Batch) else batch
    result = model.loss(batch) if isinstance(batch, Batch) else model(batch)  # type: ignore[attr-defined]
    letters = _letters(model, inputs)

    def axes(shape: tuple[int, ...]) -> str:
        return "(" + " ".join(letters.get(length, str(length)) for length in shape) + ")"

    order = forward_order(result)
    name, module = labels(order), modules(order)
    rows = []
    for node in order:
        if node.op is None:
            continue
        weights = {p for p in node.parents if kind(p) == "parameter" and p.name}
        arguments = [
            f"{p.name.rpartition('.')[2]} {axes(p.shape)}" if p in weights else axes(p.shape)
            for p in node.parents
        ]
        rows.append(
            (
                module[node],
                name[node],
                ", ".join(arguments),
                axes(node.shape),
                shape_text(node.shape),
            )
        )
    return Table(("module", "op", "arguments", "result", "here"), rows)


def _letters(model: Any, inputs: Sequences) -> dict[int, str]:
    """Axis length -> letter."""
    config = getattr(model, "config", model)
    sequences = len(inputs.offsets) - 1 if isinstance(inputs, Packed) else len(inputs.items)
    known = {
        "B": sequences,
        "n": inputs.n,
        "d": getattr(config, "d", None),
        "|I|+1": model.num_items + 1,
    }
    if isinstance(inputs, Packed):
        known["T"] = len(inputs.items)
    else:
        known["B*n"] = inputs.items.size
    letters: dict[int, str] = {}
    for letter, length in known.items():
        if length is not None and length != 1:
            letters[length] = f"{letters[length]} or {letter}" if length in letters else letter
    return letters
