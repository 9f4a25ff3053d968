"""Modules, layers, initial weights and optimisers."""

from minisasrec.nn.composition import composition
from minisasrec.nn.layers import Embedding, Identity, LayerNorm, Linear, Residual, dropout
from minisasrec.nn.module import Module, Parameter

__all__ = [
    "Embedding",
    "Identity",
    "LayerNorm",
    "Linear",
    "Module",
    "Parameter",
    "Residual",
    "composition",
    "dropout",
]
