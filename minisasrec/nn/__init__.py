"""Modules, layers and initial weights."""

from minisasrec.nn.layers import Embedding, LayerNorm, Linear, dropout, residual
from minisasrec.nn.module import Module, Parameter

__all__ = ["Embedding", "LayerNorm", "Linear", "Module", "Parameter", "dropout", "residual"]
