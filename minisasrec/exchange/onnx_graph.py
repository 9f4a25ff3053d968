"""SASRec as an ONNX graph, for programs without Python.

    items (B, L) int64, padded with 0 on the left      ->  scores (B, I + 1) float32
    the same and candidates (B, c) int64               ->  scores (B, c)

B, L and c are free. The graph takes the last n items. L may be less than n: histories are padded
only to the longest of their batch. Column 0 of the scores is the padding's and means nothing.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from minisasrec.errors import ConfigError
from minisasrec.learn.runs import Run
from minisasrec.models.sasrec import SASRec
from minisasrec.models.variants import NoResidual
from minisasrec.nn import LayerNorm, Residual

OPSET, IR_VERSION = 17, 8  # 17: the first with LayerNormalization; read by onnxruntime from 1.12 on
INT64 = 7  # onnx.TensorProto.INT64, for a cast
END = np.array([np.iinfo(np.int64).max])  # the end of a slice


def to_onnx(model: SASRec, path: str | Path, *, candidates: bool = False) -> Path:
    """Write `model` to an .onnx file; with `candidates` it scores those and not all items.

    Raises `ConfigError` for a model that is no SASRec, another suffix, or if onnx is not installed.
    """
    path = Path(path)
    if not isinstance(model, SASRec):
        raise ConfigError(
            f"only a SASRec can be written as ONNX, not {type(model).__name__}; that of a "
            "Recommender is its model_"
        )
    if path.suffix != ".onnx":
        raise ConfigError(f"an ONNX model goes to a .onnx file, got {path}")
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise ConfigError('to_onnx needs onnx: pip install "minisasrec[exchange]"') from None

    g = Graph(helper.make_node)
    ids, width = TensorProto.INT64, "candidates" if candidates else model.num_items + 1
    inputs = [helper.make_tensor_value_info("items", ids, ["batch", "length"])]
    h = last_states(g, model)
    N = "item_embedding.table" if model.config.shared_embedding else "output_embedding"
    if candidates:
        inputs.append(helper.make_tensor_value_info("candidates", ids, ["batch", "candidates"]))
        vectors = g("Gather", N, known(g, model, "candidates"))  # (B, c, d)
        scores = g("Squeeze", g("MatMul", vectors, g("Unsqueeze", h, [2])), [2])
    else:
        scores = g("Gemm", h, N, transB=1)
    g("Identity", scores, output="scores")
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", width])]
    weights = {**model.state(), **g.constants}
    used = {name for node in g.nodes for name in node.input}
    initializers = [numpy_helper.from_array(v, k) for k, v in weights.items() if k in used]
    proto = helper.make_model(
        helper.make_graph(g.nodes, "SASRec", inputs, outputs, initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="minisasrec",
    )
    settings = {"n": model.n, "num_items": model.num_items, "padding": model.config.padding}
    helper.set_model_props(proto, {name: str(value) for name, value in settings.items()})
    onnx.checker.check_model(proto, full_check=True)
    content = proto.SerializeToString()
    Run(path.parent).write(path.name, lambda temporary: temporary.write_bytes(content))
    return path


class Graph:
    """A list of nodes; calling it adds one and returns the name of what the node computes."""

    def __init__(self, make_node: Any) -> None:
        self.make_node = make_node
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}

    def __call__(self, op: str, *inputs: Any, output: str = "", **attributes: Any) -> str:
        """Add a node. Inputs are names, or numbers and arrays, which become constants."""
        names = [x if isinstance(x, str) else self.constant(np.asarray(x)) for x in inputs]
        output = output or f"{op}_{len(self.nodes)}"
        self.nodes.append(self.make_node(op, names, [output], **attributes))
        return output

    def constant(self, value: np.ndarray) -> str:
        """The name of a constant: whole numbers are int64, others float32."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = value.astype(np.float32 if value.dtype.kind == "f" else np.int64)
        return name


def known(g: Graph, model: SASRec, items: str) -> str:
    """`items`, with a row that the tables lack for a number below 0, so that it is an error.

    To Gather -1 is the last item, and to many a lookup an unknown one.
    """
    return g("Where", g("Less", items, 0), model.num_items + 1, items)


def last_states(g: Graph, model: SASRec) -> str:
    """F of the last item of each history (B, d), by the forward pass of `models/variants.py`."""
    c = model.config
    items = "items"
    shown = c.padding != "hidden"
    if shown:  # each slot of padding counts: put n of them in front, and keep the last n slots
        zeros = g("Concat", g("Shape", items, start=0, end=1), [model.n], axis=0)
        items = g("Concat", g("Expand", 0, zeros), items, axis=1)
    items = g("Slice", items, [-model.n], END, [1])
    length = g("Shape", items, start=1, end=2)
    items = known(g, model, items)
    real = g("Not", g("Equal", items, 0))  # (B, L)

    slots = g("Range", 0, g("Squeeze", length, [0]), 1)
    queries, keys = g("Unsqueeze", slots, [1]), g("Unsqueeze", slots, [0])
    allowed = g("LessOrEqual", keys, queries)  # (L, L): nothing sees what comes later
    if not shown:  # nor padding; but padding sees itself, as a softmax of nothing is no number
        allowed = g("And", allowed, g("Unsqueeze", real, [1, 2]))  # (B, 1, L, L)
        allowed = g("Or", allowed, g("Equal", keys, queries))

    def hide(x: str) -> str:
        return g("Where", g("Unsqueeze", real, [2]), x, 0.0)

    x = g("Gather", "item_embedding.table", items)  # (B, L, d)
    if c.scale_embedding or c.norm == "authors":
        x = g("Mul", x, math.sqrt(c.d))
    if c.positions:
        P = "position_embedding.table"
        if c.positions_from == "end":
            rows = g("Slice", P, g("Neg", length), END, [0])  # (L, d)
        else:  # the oldest item has row 0
            places = g("Sub", g("CumSum", g("Cast", real, to=INT64), 1), 1)
            rows = g("Gather", P, g("Max", places, 0))  # (B, L, d)
        x = g("Add", x, rows)
    x = hide(x) if shown else x
    for i, block in enumerate(model.blocks):
        x = hide(x) if c.padding == "zeroed" else x
        x = block_output(g, model, block, f"blocks.{i}", x, allowed)
    return layer_norm(g, model.final_norm, "final_norm", g("Gather", x, -1, axis=1))


def block_output(g: Graph, model: SASRec, block: Any, name: str, x: str, allowed: str) -> str:
    """One block in the wiring that the configuration names (B, L, d)."""
    c = model.config

    def norm(x: str, of: str) -> str:
        return layer_norm(g, getattr(block, of), f"{name}.{of}", x)

    def attend(x_q: str, x: str) -> str:
        return attention(g, model, f"{name}.attention", x_q, x, allowed)

    def ffn(s: str) -> str:
        return linear(g, f"{name}.ffn.layer2", g("Relu", linear(g, f"{name}.ffn.layer1", s)))

    def residual(x: str, of: str) -> str:
        return g("Add", x, of) if c.residual else of

    for connection in (block.attention_residual, block.ffn_residual):
        if type(connection) not in (Residual, NoResidual):
            kind = type(connection).__name__
            raise ConfigError(f"a residual connection of the kind {kind} has no ONNX form here")

    if c.norm == "post":
        x = norm(residual(x, attend(x, x)), "attention_norm")
        return norm(residual(x, ffn(x)), "ffn_norm")
    q = norm(x, "attention_norm")
    if c.norm == "ligr":
        x = g("Add", x, gate(g, attend(q, q), linear(g, f"{name}.attention_gate", x)))
        f = swiglu(g, f"{name}.ffn", norm(x, "ffn_norm"))
        return g("Add", x, gate(g, f, linear(g, f"{name}.ffn_gate", x)))
    if c.norm == "authors":
        z = norm(residual(q, attend(q, x)), "ffn_norm")
        return residual(z, ffn(z))
    x = residual(x, attend(q, q))
    return residual(x, ffn(norm(x, "ffn_norm")))


def attention(g: Graph, model: SASRec, name: str, x_q: str, x: str, allowed: str) -> str:
    """softmax(Q K^T / sqrt(d / h)) V over the allowed keys, for h heads, and W_O (B, L, d)."""
    c = model.config
    width = c.d // c.heads

    def heads_apart(x: str, axes: list[int]) -> str:
        return g("Transpose", g("Reshape", x, [0, 0, c.heads, width]), perm=axes)  # 0: as it is

    q = heads_apart(linear(g, f"{name}.query", x_q), [0, 2, 1, 3])  # (B, h, L, d / h)
    k = heads_apart(linear(g, f"{name}.key", x), [0, 2, 3, 1])  # (B, h, d / h, L)
    v = heads_apart(linear(g, f"{name}.value", x), [0, 2, 1, 3])
    scores = g("Mul", g("MatMul", q, k), 1 / math.sqrt(width))
    weights = g("Softmax", g("Where", allowed, scores, -math.inf), axis=-1)
    out = g("Transpose", g("MatMul", weights, v), perm=[0, 2, 1, 3])
    out = g("Reshape", out, [0, 0, c.d])
    return linear(g, f"{name}.output", out) if c.output_projection else out


def swiglu(g: Graph, name: str, s: str) -> str:
    """(silu(s W1) * (s W3)) W2, silu(a) = a sigmoid(a)."""
    a = linear(g, f"{name}.layer1", s)
    return linear(g, f"{name}.layer2", gate(g, g("Mul", a, linear(g, f"{name}.layer3", s)), a))


def gate(g: Graph, x: str, by: str) -> str:
    """x * sigmoid(by)."""
    return g("Mul", x, g("Sigmoid", by))


def linear(g: Graph, name: str, x: str) -> str:
    """x W + b."""
    return g("Add", g("MatMul", x, f"{name}.W"), f"{name}.b")


def layer_norm(g: Graph, layer: Any, name: str, x: str) -> str:
    """gamma (x - mean) / sqrt(var + eps) + beta, or x where the configuration has no layer norm."""
    if not isinstance(layer, LayerNorm):
        return x
    gamma, beta = f"{name}.gamma", f"{name}.beta"
    return g("LayerNormalization", x, gamma, beta, axis=-1, epsilon=layer.eps)
